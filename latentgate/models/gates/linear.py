"""What gates with scores that are linear in the inputs, or made of such, have in common."""

from __future__ import annotations

import abc
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from latentgate.data import Sequences
from latentgate.kernels import log_sum_exp_leading

from ..base import Params, Prior
from ..designs import check_design, input_names
from ..emissions.checks import at_least, positive
from ..emissions.statistics import column_spread
from ..zero_sum import ZeroSum, contrasts_of, rows_of
from .base import Gate

# Of the default prior, for inputs of order one: weak, and enough for a unique answer where the experts' inputs do not overlap.
WIDE = 100.0
# Starts stay off the edge of a box, where unconstrained coordinates are infinite.
_INSIDE = 0.9
# Standard deviation of the differences of scores, and rows in doubt, beyond which a gate without a prior is called a step.
_STEEP = 15.0
_DOUBT = 0.5

Scale = float | Literal["flat"]


class ScoredGate(Gate):
    """A gate whose weights are the softmax of scores, made experts first, [K, ...]: several times faster than experts last."""

    @abc.abstractmethod
    def leading_scores(self, params: Params, inputs: Array) -> Array:
        """Scores of the experts given inputs [..., M], [K, ...]."""

    def scores(self, params: Params, inputs: Array) -> Array:
        """Scores of the experts given inputs [..., M], [..., K]."""
        return jnp.moveaxis(self.leading_scores(params, inputs), 0, -1)

    def log_weights(self, params: Params, inputs: Array) -> Array:
        """See `Gate.log_weights`."""
        return to_log_weights(self.leading_scores(params, inputs))


class LinearGate(ScoredGate):
    """A gate with parameters `weights` [expert, input] and `bias` [expert].

    Attributes:
        weight_scale, bias_scale: standard deviations of their normal priors; None for flat ones.
        bound: half the width of the box they are in, or None.
    """

    weight_scale: eqx.AbstractVar[float | None]
    bias_scale: eqx.AbstractVar[float | None]
    bound: eqx.AbstractVar[float | None]

    @property
    def translatable(self) -> bool:
        """Whether adding one row to all rows changes nothing, so that rows sum to zero, and the bound is on differences."""
        return True

    @property
    def starting_spread(self) -> float:
        """Spread of the linear scores of a start over the inputs."""
        return 1.0

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        law = ZeroSum if self.translatable else independent_prior
        return {
            "weights": law((num_states, self.columns), self.weight_scale, self.bound),
            "bias": law((num_states,), self.bias_scale, self.bound),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"weights": ("expert", "input"), "bias": ("expert",)}

    def check(self, data: Sequences) -> None:
        """Checks the input set, and under flat priors that its columns determine the weights."""
        super().check(data)
        if self.weight_scale is None:
            rows = np.asarray(data.inputs[self.inputs], float)[np.asarray(data.mask)]
            owner = f"the gate {type(self).__name__}"
            names = input_names(self.inputs, data)
            check_design(owner, names, rows, flat_weights=True, flat_bias=self.bias_scale is None, num_parameters=len(names) + 1, remedy="weight_scale=...")

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Scores that differ by about one over the spread of the inputs."""
        mean, deviation = column_spread(data.inputs[self.inputs], data.lengths)
        for_weights, for_bias = jax.random.split(key)
        weights = jax.random.normal(for_weights, (num_states, self.columns)) * self.starting_spread / deviation
        if self.translatable:
            weights = weights - weights.mean(0)
        bias = 0.1 * self.starting_spread * jax.random.normal(for_bias, (num_states,)) - weights @ mean
        if self.bound is not None:
            weights, bias = (clipped(rows, _INSIDE * self.bound, self.translatable) for rows in (weights, bias))
        return {"weights": weights, "bias": bias - bias.mean() if self.translatable else bias}

    def degeneracy(self, params: Params, data: Sequences) -> str | None:
        """A flat prior, scores that differ by many units over the spread of the inputs, and next to no row whose expert is in doubt: the gate is a step."""
        if self.weight_scale is not None or self.bound is not None:
            return None
        inputs, real = jnp.asarray(data.inputs[self.inputs]), jnp.asarray(data.mask)
        differences = jnp.where(real, jnp.ptp(self.scores(params, inputs), axis=-1), jnp.nan)
        doubt = jnp.where(real, 1.0 - jnp.exp(self.log_weights(params, inputs).max(-1)), 0.0).sum()
        return "GATE_SEPARATED" if bool((jnp.nanstd(differences) > _STEEP) & (doubt < _DOUBT)) else None


def set_linear(gate: Any, inputs: str, num_inputs: int | None, weight_scale: Scale, bias_scale: Scale, bound: float | None) -> None:
    """Sets the attributes of a `LinearGate` in its constructor.

    Raises:
        ValueError: for a number of inputs below one, or scales or a bound that are not positive.
    """
    gate.inputs = inputs
    gate.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)
    gate.weight_scale, gate.bias_scale = scale_or_flat("weight_scale", weight_scale), scale_or_flat("bias_scale", bias_scale)
    gate.bound = None if bound is None else positive("bound", bound)


def scale_or_flat(name: str, scale: Scale) -> float | None:
    """The scale, or None for "flat".

    Raises:
        ValueError: for anything else than "flat" or a positive number.
    """
    if isinstance(scale, str):
        if scale != "flat":
            raise ValueError(f'{name}: found {scale!r}, expected a positive number, or "flat".')
        return None
    return positive(name, scale)


def independent_prior(shape: tuple[int, ...], scale: float | None, bound: float | None = None) -> dist.Distribution:
    """Independent normal entries, or flat ones, in a box or not."""
    if bound is None:
        prior = dist.ImproperUniform(constraints.real, (), ()) if scale is None else dist.Normal(0.0, scale)
    else:
        prior = dist.Uniform(-bound, bound) if scale is None else dist.TruncatedNormal(0.0, scale, low=-bound, high=bound)
    return prior.expand(shape).to_event(len(shape))


def clipped(rows: Array, bound: float, translatable: bool) -> Array:
    """Rows whose entries, or whose differences to the last row, are within the bound."""
    return rows_of(jnp.clip(contrasts_of(rows), -bound, bound)) if translatable else jnp.clip(rows, -bound, bound)


def linear_scores(weights: Array, bias: Array, inputs: Array) -> Array:
    """Weights [K, M] · inputs [..., M] + bias [K], experts first: [K, ...]."""
    linear = jnp.einsum("km,...m->k...", weights, inputs)
    return linear + bias.reshape(-1, *[1] * (linear.ndim - 1))


def to_log_weights(scores: Array) -> Array:
    """Scores [K, ...], of which at least one is finite everywhere, to log-weights [..., K]; -inf stays."""
    normaliser = log_sum_exp_leading(scores)
    return jnp.moveaxis(jnp.where(scores > -jnp.inf, scores - normaliser, -jnp.inf), 0, -1)
