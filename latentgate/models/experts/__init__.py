"""Experts: conditional laws of an observation given inputs, of which a gate chooses one."""

from .base import Experts
from .linear_gaussian import LinearGaussian

__all__ = ["Experts", "LinearGaussian"]
