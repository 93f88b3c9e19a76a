"""Generators of Markov jump processes: rates, per unit of time, and what they depend on."""

from .base import Generator, graph_mask
from .covariates import LogLinear
from .free import Free, pseudo_jumps
from .langevin import Langevin
from .parametric import Parametric
from .per_group import PerGroup
from .phases import PhaseType
from .reversible import Reversible

__all__ = ["Free", "Generator", "Langevin", "LogLinear", "Parametric", "PerGroup", "PhaseType", "Reversible", "graph_mask", "pseudo_jumps"]
