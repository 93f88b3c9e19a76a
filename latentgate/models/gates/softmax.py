"""The softmax gate, and the multinomial logit step that fits it to fractional targets."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import log_sum_exp_leading

from ..base import Params, Prior
from ..emissions.checks import at_least, positive
from ..emissions.statistics import column_spread
from ..newton import newton_rows, weighted_gram
from ..zero_sum import ZeroSum, contrasts_of, rows_of
from .base import Gate

# Candidates of an M-step: one full Newton step suffices near the previous EM iterate, the rest pay for halvings.
NEWTON_STEPS = 3
# Of the default prior, for inputs of order one: weak, and enough for a unique answer where the experts' inputs do not overlap.
WIDE = 100.0


class Softmax(Gate):
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
        temperature: positive number that divides scores. With linear scores it is not identified beside the weights, and so never free.

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
        weight_scale: float | Literal["flat"] = WIDE,
        bias_scale: float | Literal["flat"] = WIDE,
        bound: float | None = None,
        temperature: float = 1.0,
    ):
        self.inputs = inputs
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)
        self.weight_scale = None if weight_scale == "flat" else positive("weight_scale", weight_scale)  # pyright: ignore[reportArgumentType]
        self.bias_scale = None if bias_scale == "flat" else positive("bias_scale", bias_scale)  # pyright: ignore[reportArgumentType]
        self.bound = None if bound is None else positive("bound", bound)
        self.temperature = positive("temperature", temperature)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {
            "weights": ZeroSum((num_states, self.columns), self.weight_scale, self.bound),
            "bias": ZeroSum((num_states,), self.bias_scale, self.bound),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"weights": ("expert", "input"), "bias": ("expert",)}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Scores that differ by about one over the spread of the inputs."""
        mean, deviation = column_spread(data.inputs[self.inputs], data.lengths)
        for_weights, for_bias = jax.random.split(key)
        weights = jax.random.normal(for_weights, (num_states, self.columns)) * self.temperature / deviation
        weights = weights - weights.mean(0)
        bias = 0.1 * self.temperature * jax.random.normal(for_bias, (num_states,)) - weights @ mean
        if self.bound is not None:
            weights, bias = (rows_of(jnp.clip(contrasts_of(rows), -0.9 * self.bound, 0.9 * self.bound)) for rows in (weights, bias))
        return {"weights": weights, "bias": bias - bias.mean()}

    def scores(self, params: Params, inputs: Array) -> Array:
        """Scores of the experts, [..., K]."""
        return jnp.moveaxis(self._leading_scores(params, inputs), 0, -1)

    def _leading_scores(self, params: Params, inputs: Array) -> Array:
        linear = jnp.einsum("km,...m->k...", params["weights"], inputs)
        bias = params["bias"].reshape(-1, *[1] * (linear.ndim - 1))
        return (linear + bias) / self.temperature

    def log_weights(self, params: Params, inputs: Array) -> Array:
        """See `Gate.log_weights`."""
        scores = self._leading_scores(params, inputs)
        return jnp.moveaxis(scores - log_sum_exp_leading(scores), 0, -1)

    def m_step(self, params: Params, inputs: Array, targets: Array) -> Params:
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


def newton_logit(
    weights: Array,
    bias: Array,
    inputs: Array,
    targets: Array,
    *,
    weight_scale: float | Array | None,
    bias_scale: float | Array | None,
    bound: float | None = None,
    temperature: float = 1.0,
    num_steps: int = NEWTON_STEPS,
) -> tuple[Array, Array]:
    """Weights [K, M] and biases [K] that do not lower Σ targets · log softmax((weights · inputs + bias) / temperature) under zero-sum normal priors.

    The concave problem of Jordan and Jacobs 1994, with the targets of an E-step as responses. Its gradient is Σ (target - total · prob) z and its Hessian
    -Σ total · (diag(prob) - prob probᵀ) ⊗ z zᵀ, z being the inputs and a one.

    Args:
        weights, bias: current values; rows sum to zero.
        inputs: [sequence, time, M].
        targets: [sequence, time, K], not negative.
        weight_scale, bias_scale: of the prior; None for none.
        bound, temperature: see `Softmax`.
        num_steps: Newton candidates.
    """
    num_choices, num_columns = weights.shape[0], weights.shape[1] + 1
    free = num_choices - 1
    targets = jnp.moveaxis(targets, -1, 0)
    total = sum(targets[1:], start=targets[0])
    design = jnp.concatenate([inputs, jnp.ones_like(inputs[..., :1])], axis=-1)
    scales = [jnp.inf if scale is None else scale for scale in (weight_scale, bias_scale)]
    precision = jnp.concatenate([jnp.broadcast_to(1.0 / jnp.asarray(scales[0]) ** 2, (num_columns - 1,)), jnp.reshape(1.0 / jnp.asarray(scales[1]) ** 2, (1,))])
    # Of the differences to the last row, given that rows sum to zero.
    spread = jnp.eye(free) - 1.0 / num_choices
    prior_curvature = jnp.einsum("kl,cd->kcld", spread, jnp.diag(precision)).reshape(free * num_columns, -1)
    pairs = [(k, other) for k in range(free) for other in range(k, free)]

    def evaluate(rows: Array) -> tuple[Array, Array, Array]:
        contrasts = rows.reshape(free, num_columns)
        scores = jnp.einsum("kc,stc->kst", contrasts, design) / temperature
        normaliser = log_sum_exp_leading(jnp.concatenate([scores, jnp.zeros_like(scores[:1])]))
        value = jnp.sum(sum((targets[k] * scores[k] for k in range(1, free)), start=targets[0] * scores[0]) - total * normaliser)
        probs = jnp.exp(scores - normaliser)
        residual = targets[:-1] - total * probs
        gradient = jnp.einsum("kst,stc->kc", residual, design).reshape(-1) / temperature
        between = jnp.stack([total * (probs[k] * (1.0 - probs[k]) if k == other else -probs[k] * probs[other]) for k, other in pairs], axis=-1)
        grams = weighted_gram(design, between) / temperature**2
        curvature = jnp.zeros((free, free, num_columns, num_columns), rows.dtype)
        index = np.array(pairs)
        curvature = curvature.at[index[:, 0], index[:, 1]].set(grams).at[index[:, 1], index[:, 0]].set(grams)
        curvature = jnp.moveaxis(curvature, 2, 1).reshape(free * num_columns, -1)
        pull = prior_curvature @ rows[0]
        return (value - 0.5 * rows[0] @ pull)[None], (gradient - pull)[None], (curvature + prior_curvature)[None]

    start = jnp.concatenate([contrasts_of(weights), contrasts_of(bias)[:, None]], axis=-1).reshape(1, -1)
    found = newton_rows(evaluate, start, num_steps, bound)[0].reshape(free, num_columns)
    return rows_of(found[:, :-1]), rows_of(found[:, -1])
