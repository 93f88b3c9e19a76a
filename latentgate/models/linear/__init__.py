"""Models whose latents have linear dynamics with normal noise."""

from .dynamics import DampedRotations, Dynamics, Linear, LinearSDE
from .gaussian import LinearGaussianSSM
from .poisson import PoissonLDS
from .structural import Autoregressive, LocalLevel, LocalTrend, Seasonal, Structural

__all__ = [
    "Autoregressive",
    "DampedRotations",
    "Dynamics",
    "Linear",
    "LinearGaussianSSM",
    "LinearSDE",
    "LocalLevel",
    "LocalTrend",
    "PoissonLDS",
    "Seasonal",
    "Structural",
]
