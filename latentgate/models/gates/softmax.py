"""The softmax gate."""

from __future__ import annotations

from jax import Array

from ..base import Params
from ..emissions.checks import positive
from .linear import WIDE, LinearGate, Scale, linear_scores, set_linear
from .logit import newton_logit


class Softmax(LinearGate):
    """Softmax of linear scores: weight of expert k = softmax_k((weights[k] · inputs + bias[k]) / temperature).

    Parameters: `weights` [expert, input], `bias` [expert]. Only differences of scores matter, so the rows of both sum to zero: an exact gauge under which
    experts can be renumbered. (Subtract a row from all to read coefficients relative to it.)

    Where the inputs of experts do not overlap, the likelihood rises for ever as the gate steepens: with `weight_scale="flat"` there is then no maximiser,
    and the outcome of the fit says so; under a proper prior the M-step's maximum is unique.

    Args:
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        weight_scale: standard deviation of the normal prior of every weight; "flat" for maximum likelihood.
        bias_scale: likewise of every bias.
        bound: largest absolute difference of a weight or bias to that of the last expert, or None: a box as part of the estimator.
        temperature: positive number that divides scores. With linear scores it is not identified beside the weights, and so never free. For one that falls
            along a schedule see `latentgate.inference.annealing.anneal`.

    Raises:
        ValueError: for scales, a bound or a temperature that are not positive.

    Example:
        >>> import latentgate as lg
        >>> lg.gates.Softmax(num_inputs=2).dims()
        {'weights': ('expert', 'input'), 'bias': ('expert',)}
    """

    inputs: str
    num_inputs: int | None
    weight_scale: float | None
    bias_scale: float | None
    bound: float | None
    temperature: float

    def __init__(
        self,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        weight_scale: Scale = WIDE,
        bias_scale: Scale = WIDE,
        bound: float | None = None,
        temperature: float = 1.0,
    ):
        set_linear(self, inputs, num_inputs, weight_scale, bias_scale, bound)
        self.temperature = positive("temperature", temperature)

    @property
    def starting_spread(self) -> float:
        """See `LinearGate.starting_spread`."""
        return self.temperature

    def leading_scores(self, params: Params, inputs: Array) -> Array:
        """See `ScoredGate.leading_scores`."""
        return linear_scores(params["weights"], params["bias"], inputs) / self.temperature

    def m_step(self, params: Params, inputs: Array, targets: Array, log_likelihood: Array | None = None) -> Params:
        """Damped Newton on the multinomial logit with fractional targets, in the differences to the last expert."""
        if targets.shape[-1] == 1:
            return params
        weights, bias = newton_logit(
            params["weights"],
            params["bias"],
            inputs,
            targets,
            weight_scale=self.weight_scale,
            bias_scale=self.bias_scale,
            bound=self.bound,
            temperature=self.temperature,
        )
        return {"weights": weights, "bias": bias}
