"""Figures of merit on plain arrays."""

from .counts import bits_per_spike, co_smoothing_bits_per_spike, homogeneous_poisson_log_likelihood, mean_rates
from .intervals import interval_coverage
from .regression import correlation, mean_absolute_angular_error, normalised_root_mean_square_error, r_squared, root_mean_square_error
from .states import state_accuracy

__all__ = [
    "bits_per_spike",
    "co_smoothing_bits_per_spike",
    "correlation",
    "homogeneous_poisson_log_likelihood",
    "interval_coverage",
    "mean_absolute_angular_error",
    "mean_rates",
    "normalised_root_mean_square_error",
    "r_squared",
    "root_mean_square_error",
    "state_accuracy",
]
