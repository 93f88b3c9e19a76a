"""Models and the parts they are made of."""

# ArviZ, if it was imported first, leaves a numpyro that is loaded when first touched; its submodules would then be loaded twice, as two sets of classes.
from numpyro import distributions as _distributions  # noqa: F401

from . import guides, potentials
from .base import StateSpaceModel
from .hmm import HMM
from .jump_process import MarkovJumpProcess
from .langevin import LangevinFlow
from .langevin_on_grid import LangevinOnGrid
from .linear import LinearGaussianSSM, PoissonLDS
from .mixture_of_experts import MixtureOfExperts

__all__ = [
    "HMM",
    "LangevinFlow",
    "LangevinOnGrid",
    "LinearGaussianSSM",
    "MarkovJumpProcess",
    "MixtureOfExperts",
    "PoissonLDS",
    "StateSpaceModel",
    "guides",
    "potentials",
]
