"""The sigmoid gate, normalised or not."""

from __future__ import annotations

import jax
from jax import Array

from ..base import Params
from .linear import LinearGate, Scale, linear_scores, set_linear, to_log_weights


class Sigmoid(LinearGate):
    """Every expert opens by itself, sigmoid(weights[k] · inputs + bias[k]); divided by their sum where the gate is normalised.

    Without normalisation the weights do not sum to one, and there is no density: such a gate serves in regressions of gated means only (Nguyen et al. 2024).
    The sigmoid is injective, so nothing can be added to all rows; but where all doors are nearly closed, a normalised gate is a softmax, and adding one number
    to all biases is hardly felt.

    Parameters: `weights` [expert, input], `bias` [expert].

    Args:
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        normalised: whether weights sum to one.
        weight_scale: standard deviation of the normal prior of every weight; "flat" for maximum likelihood.
        bias_scale: likewise of every bias.
        bound: largest absolute weight or bias, or None: a box as part of the estimator.

    Raises:
        ValueError: for scales or a bound that are not positive.

    Example:
        >>> import latentgate as lg
        >>> lg.gates.Sigmoid(normalised=False).normalised
        False
    """

    inputs: str
    num_inputs: int | None
    weight_scale: float | None
    bias_scale: float | None
    bound: float | None
    sums_to_one: bool

    def __init__(
        self,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        normalised: bool = True,
        weight_scale: Scale = 10.0,
        bias_scale: Scale = 10.0,
        bound: float | None = None,
    ):
        set_linear(self, inputs, num_inputs, weight_scale, bias_scale, bound)
        self.sums_to_one = bool(normalised)

    @property
    def normalised(self) -> bool:
        """See `Gate.normalised`."""
        return self.sums_to_one

    @property
    def translatable(self) -> bool:
        """See `LinearGate.translatable`."""
        return False

    def leading_scores(self, params: Params, inputs: Array) -> Array:
        """Logarithms of the sigmoids, [K, ...]."""
        return jax.nn.log_sigmoid(linear_scores(params["weights"], params["bias"], inputs))

    def log_weights(self, params: Params, inputs: Array) -> Array:
        """See `Gate.log_weights`."""
        return to_log_weights(self.leading_scores(params, inputs)) if self.sums_to_one else self.scores(params, inputs)

    def m_step(self, params: Params, inputs: Array, targets: Array, log_likelihood: Array | None = None) -> Params:
        """See `Gate.m_step`.

        Raises:
            ValueError: for a gate that is not normalised: without a density there is nothing to expect.
        """
        if not self.sums_to_one:
            raise ValueError("gate: found Sigmoid(normalised=False), expected a gate whose weights sum to one; fit gated means by gradient instead.")
        return super().m_step(params, inputs, targets, log_likelihood)
