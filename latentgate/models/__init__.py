"""Models and the parts they are made of."""

import latentgate.models._whole_numpyro  # noqa: F401 - before any part imports numpyro
from latentgate.devices import require_platforms

from . import guides, potentials
from .base import StateSpaceModel
from .hmm import HMM
from .jump_process import MarkovJumpProcess
from .langevin import LangevinFlow
from .langevin_on_grid import LangevinOnGrid
from .linear import LinearGaussianSSM, PoissonLDS
from .mixture_of_experts import MixtureOfExperts

# Emissions make arrays as soon as they are built, and JAX has no words for a GPU that is not there.
require_platforms()

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
