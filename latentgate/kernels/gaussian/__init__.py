"""The Gaussian chain: filter, smoother, log-normaliser with its derivative rule, exact posterior draws, and one step at a time."""

from .arrays import Information, Observations
from .chain import BACKENDS, FORMS, GaussianChain, expected_log_density
from .questions import GaussianFiltered, GaussianSmoothed
from .sequences_last import Edges
from .steps import forecast, predict, update

__all__ = [
    "BACKENDS",
    "FORMS",
    "Edges",
    "GaussianChain",
    "GaussianFiltered",
    "GaussianSmoothed",
    "Information",
    "Observations",
    "expected_log_density",
    "forecast",
    "predict",
    "update",
]
