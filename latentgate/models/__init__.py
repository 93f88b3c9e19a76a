"""Models and the parts they are made of."""

from .base import StateSpaceModel
from .hmm import HMM

__all__ = ["HMM", "StateSpaceModel"]
