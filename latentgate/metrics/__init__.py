"""Figures of merit on plain arrays."""

from .benchmark_scores import evaluate
from .counts import bits_per_spike, co_smoothing_bits_per_spike, forward_prediction_bits_per_spike, homogeneous_poisson_log_likelihood, mean_rates
from .few_shot import few_shot_co_smoothing
from .intervals import interval_coverage
from .neural_latents import psth_r_squared, speed_interval_correlation, velocity_r_squared
from .regression import correlation, mean_absolute_angular_error, normalised_root_mean_square_error, r_squared, root_mean_square_error
from .states import state_accuracy

__all__ = [
    "bits_per_spike",
    "co_smoothing_bits_per_spike",
    "correlation",
    "evaluate",
    "few_shot_co_smoothing",
    "forward_prediction_bits_per_spike",
    "homogeneous_poisson_log_likelihood",
    "interval_coverage",
    "mean_absolute_angular_error",
    "mean_rates",
    "normalised_root_mean_square_error",
    "psth_r_squared",
    "r_squared",
    "root_mean_square_error",
    "speed_interval_correlation",
    "state_accuracy",
    "velocity_r_squared",
]
