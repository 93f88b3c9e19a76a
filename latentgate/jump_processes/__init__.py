"""What people read off a fitted Markov jump process: quantities with intervals, paths between observations, checks against the data."""

from .checks import chapman_kolmogorov, prevalence
from .paths import sample_paths
from .quantities import quantities

__all__ = ["chapman_kolmogorov", "prevalence", "quantities", "sample_paths"]
