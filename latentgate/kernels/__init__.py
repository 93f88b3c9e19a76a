"""Pure jitted functions over arrays; needs JAX and NumPy only."""

from .discrete import (
    BACKENDS,
    DiscreteChain,
    Path,
    filter,
    log_normaliser,
    most_probable_path,
    sample,
    smooth,
)
from .gaussian import GaussianChain, GaussianFiltered, GaussianSmoothed, Information, Observations
from .independent import IndependentChain, log_sum_exp_leading, softmax_leading
from .posterior import Filtered, Smoothed
from .semirings import SEMIRINGS, log_sum_exp, safe_log

__all__ = [
    "BACKENDS",
    "SEMIRINGS",
    "DiscreteChain",
    "Filtered",
    "GaussianChain",
    "GaussianFiltered",
    "GaussianSmoothed",
    "IndependentChain",
    "Information",
    "Observations",
    "Path",
    "Smoothed",
    "filter",
    "log_normaliser",
    "log_sum_exp",
    "log_sum_exp_leading",
    "most_probable_path",
    "safe_log",
    "sample",
    "smooth",
    "softmax_leading",
]
