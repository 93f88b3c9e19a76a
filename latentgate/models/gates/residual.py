"""The residual gate: linear scores and a saturating function of them."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from ..base import Params
from ..emissions.checks import positive
from .linear import LinearGate, Scale, linear_scores, set_linear


class Residual(LinearGate):
    """Softmax of s + amplitude · tanh(steepness · s), with s = weights[k] · inputs + bias[k] (the non-linear residual gate of NoRGa, 2024).

    The saturating part takes away the interaction of gate and experts that linear scores have, and with it the slow rates; it also means that adding a row to
    all rows changes the gate.

    Parameters: `weights` [expert, input], `bias` [expert].

    Args:
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        amplitude: α, positive.
        steepness: τ, positive.
        weight_scale: standard deviation of the normal prior of every weight; "flat" for maximum likelihood.
        bias_scale: likewise of every bias.
        bound: largest absolute weight or bias, or None: a box as part of the estimator.
        temperature: positive number that divides scores.

    Raises:
        ValueError: for numbers that are not positive.

    Example:
        >>> import latentgate as lg
        >>> lg.gates.Residual(num_inputs=2, amplitude=2.0).amplitude
        2.0
    """

    inputs: str
    num_inputs: int | None
    weight_scale: float | None
    bias_scale: float | None
    bound: float | None
    amplitude: float
    steepness: float
    temperature: float

    def __init__(
        self,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        amplitude: float = 1.0,
        steepness: float = 1.0,
        weight_scale: Scale = 10.0,
        bias_scale: Scale = 10.0,
        bound: float | None = None,
        temperature: float = 1.0,
    ):
        set_linear(self, inputs, num_inputs, weight_scale, bias_scale, bound)
        self.amplitude, self.steepness = positive("amplitude", amplitude), positive("steepness", steepness)
        self.temperature = positive("temperature", temperature)

    @property
    def translatable(self) -> bool:
        """See `LinearGate.translatable`."""
        return False

    def leading_scores(self, params: Params, inputs: Array) -> Array:
        """See `ScoredGate.leading_scores`."""
        linear = linear_scores(params["weights"], params["bias"], inputs)
        return (linear + self.amplitude * jnp.tanh(self.steepness * linear)) / self.temperature
