"""Nonlinear filters, each a strategy with the steps init, predict and update: `filter(strategy, model, observations)`."""

from .beliefs import GaussianBelief, ParticleBelief, update_information
from .extended import Extended, Iterated
from .model import NonlinearModel
from .particle import Particle
from .run import Filtered, filter, filter_information  # noqa: A004 - the public name
from .strategy import Strategy
from .unscented import Unscented

__all__ = [
    "Extended",
    "Filtered",
    "GaussianBelief",
    "Iterated",
    "NonlinearModel",
    "Particle",
    "ParticleBelief",
    "Strategy",
    "Unscented",
    "filter",
    "filter_information",
    "update_information",
]
