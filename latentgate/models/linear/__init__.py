"""Models whose latents have linear dynamics with normal noise."""

from .continuous import LinearSDE
from .dynamics import Dynamics, Linear
from .gaussian import LinearGaussianSSM
from .poisson import PoissonLDS
from .rotations import DampedRotations
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
