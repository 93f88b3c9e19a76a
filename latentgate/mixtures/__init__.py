"""What is read off a fitted mixture of experts: distances to another, how many experts there are, coefficients, boundaries, gradients of stochastic gates."""

from .comparison import gate_error, hellinger, match_experts, partition_mismatch
from .reading import expert_table, split_points, with_reference
from .selection import Dendrogram, dendrogram, icl
from .stochastic import Exact, GumbelSoftmax, Reinforce, StochasticFit, StraightThrough, compare_gradients, fit_stochastic

__all__ = [
    "Dendrogram",
    "Exact",
    "GumbelSoftmax",
    "Reinforce",
    "StochasticFit",
    "StraightThrough",
    "compare_gradients",
    "dendrogram",
    "expert_table",
    "fit_stochastic",
    "gate_error",
    "hellinger",
    "icl",
    "match_experts",
    "partition_mismatch",
    "split_points",
    "with_reference",
]
