"""Linear experts with normal noise, own or shared."""

from __future__ import annotations

from typing import Any

from latentgate.data import Sequences

from ..designs import input_names
from .lines import Lines


class LinearGaussian(Lines):
    """Normal observations about a line (or plane) of the inputs: y ~ Normal(weights[k] · inputs + bias[k], scale[k]²).

    Parameters: `weights` [expert, input], `bias` [expert], standard deviations `scale` [expert], or one for all, [].

    The default priors are weak and proper, relative to `scale` (see `lg.emissions.Gaussian`), so that no expert collapses onto a few rows: weights and biases
    Normal(0, (100 scale)²), variances InverseGamma(1.5, scale²/4). Without them the likelihood has no bound: an expert that passes through two rows exactly
    earns an infinite density. For maximum likelihood pass "flat" and, better, a `min_scale`.

    Args:
        num_experts: K.
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        shared_scale: whether all experts have one standard deviation.
        scale: typical standard deviation of the observation, in the units of the data; inputs are taken to be of order one.
        weight_prior, bias_prior: of every weight and bias: a numpyro distribution, or "flat". The M-step is closed form for Normal and flat ones.
        variance_prior: of every variance: an InverseGamma of numpyro, or "flat".
        min_scale: no standard deviation is less: a box as part of the estimator.

    Raises:
        ValueError: for a number of experts or inputs below one, scales that are not positive, or a variance prior of another kind.

    Example:
        >>> import latentgate as lg
        >>> lg.experts.LinearGaussian(3, num_inputs=2).dims()
        {'weights': ('expert', 'input'), 'bias': ('expert',), 'scale': ('expert',)}
    """

    # Its own, or type checkers would take the constructor of a data class for it.
    __init__ = Lines.__init__

    @property
    def num_weights(self) -> int:
        """M."""
        return self.columns

    @property
    def weight_axis(self) -> str:
        """See `Lines.weight_axis`."""
        return "input"

    def features(self, inputs: Any) -> Any:
        """The inputs themselves."""
        return inputs

    def feature_names(self, data: Sequences) -> list[str]:
        """See `Lines.feature_names`."""
        return input_names(self.inputs, data)
