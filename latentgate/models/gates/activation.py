"""The activation gate: softmax of an activation of linear scores, where the temperature is identified."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior
from ..emissions.checks import positive, prior_or
from .linear import LinearGate, Scale, linear_scores, set_linear

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "gelu": jax.nn.gelu, "silu": jax.nn.silu, "softplus": jax.nn.softplus, "relu": jax.nn.relu}
# Multiplying its argument multiplies it.
_HOMOGENEOUS = ("relu",)


class Activation(LinearGate):
    """Softmax of activated linear scores: weight of expert k = softmax_k(activation(weights[k] · inputs + bias[k]) / temperature).

    The dense-to-sparse gate with an activation (Nguyen, Akbarian and Ho 2024): unlike that of linear scores its temperature is identified, and so are the
    scores of every expert: nothing can be added to all rows.

    Parameters: `weights` [expert, input], `bias` [expert]; `temperature` [] where it is free.

    Args:
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        activation: "sigmoid", "tanh", "gelu" (its usual approximation by tanh), "silu", "softplus" or "relu".
        temperature: a positive number, or None for a free parameter.
        weight_scale: standard deviation of the normal prior of every weight; "flat" for maximum likelihood.
        bias_scale: likewise of every bias.
        temperature_prior: of a free temperature: a numpyro distribution, "flat", or None for LogNormal(0, 1).
        bound: largest absolute weight or bias, or None: a box as part of the estimator.

    Raises:
        ValueError: for an unknown activation, scales, a bound or a temperature that are not positive, a free temperature beside "relu" (which is homogeneous,
            so the temperature is not identified), or a prior of a temperature that is fixed.

    Example:
        >>> import latentgate as lg
        >>> sorted(lg.gates.Activation(num_inputs=2, activation="tanh").dims())
        ['bias', 'temperature', 'weights']
    """

    inputs: str
    num_inputs: int | None
    weight_scale: float | None
    bias_scale: float | None
    bound: float | None
    activation: str
    temperature: float | None
    temperature_prior: dist.Distribution | None

    def __init__(
        self,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        activation: str = "sigmoid",
        temperature: float | None = None,
        weight_scale: Scale = 10.0,
        bias_scale: Scale = 10.0,
        temperature_prior: dist.Distribution | Literal["flat"] | None = None,
        bound: float | None = None,
    ):
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: found {activation!r}, expected one of {', '.join(map(repr, ACTIVATIONS))}; for none use lg.gates.Softmax.")
        if temperature is None and activation in _HOMOGENEOUS:
            raise ValueError(f"temperature: found None (free) with activation={activation!r}, expected a number: weights can take up any factor there.")
        if temperature is not None and temperature_prior is not None:
            raise ValueError(f"temperature_prior: found {temperature_prior!r}, expected None, since the temperature is fixed at {temperature!r}; leave it out.")
        set_linear(self, inputs, num_inputs, weight_scale, bias_scale, bound)
        self.activation = activation
        self.temperature = None if temperature is None else positive("temperature", temperature)
        self.temperature_prior = prior_or("temperature_prior", temperature_prior, dist.LogNormal(0.0, 1.0)) if temperature is None else None

    @property
    def translatable(self) -> bool:
        """See `LinearGate.translatable`."""
        return False

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        own: dict[str, Prior] = {} if self.temperature_prior is None else {"temperature": self.temperature_prior}
        return {**super().priors(num_states), **own}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {**super().dims(), **({} if self.temperature_prior is None else {"temperature": ()})}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Scores that differ by about one over the spread of the inputs, and a low temperature, at which the gate is not flat."""
        start = super().initialize(key, data, num_states)
        return start if self.temperature_prior is None else {**start, "temperature": jnp.full((), 0.5, start["bias"].dtype)}

    def leading_scores(self, params: Params, inputs: Array) -> Array:
        """See `ScoredGate.leading_scores`."""
        activated = ACTIVATIONS[self.activation](linear_scores(params["weights"], params["bias"], inputs))
        return activated / (params["temperature"] if self.temperature is None else self.temperature)
