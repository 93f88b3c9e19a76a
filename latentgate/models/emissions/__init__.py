"""Emissions: what the data say about the state."""

from .base import Emission
from .poisson import Poisson

__all__ = ["Emission", "Poisson"]
