"""Emissions: what the data say about the state."""

from .base import Emission
from .count_glm import NegativeBinomialGLM, PoissonGLM
from .poisson import Poisson

__all__ = ["Emission", "NegativeBinomialGLM", "Poisson", "PoissonGLM"]
