"""Softmax regression under state weights: predictor, log-probabilities and the Newton M-step that choices share."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences

from ..newton import newton_rows, value_and_derivatives, weighted_gram

# Candidates of an M-step: one or two full Newton steps suffice near the previous EM iterate, the rest pay for halvings.
NEWTON_STEPS = 5


def log_odds(weights: Array, bias: Array | None, inputs: Array) -> Array:
    """Log-odds of classes 1 .. C - 1 against class 0, [..., state, class - 1], for inputs [..., input]."""
    predictor = jnp.einsum("...m,kcm->...kc", inputs, weights)
    return predictor if bias is None else predictor + bias


def log_normaliser(odds: Array) -> Array:
    """log(1 + Σ exp(odds)) over the last axis."""
    if odds.shape[-1] == 1:
        return jax.nn.softplus(odds[..., 0])
    return jax.nn.logsumexp(jnp.concatenate([jnp.zeros_like(odds[..., :1]), odds], axis=-1), axis=-1)


def chosen_log_probs(odds: Array, data: Sequences) -> Array:
    """Log-probability of the class observed, [sequence, time, state]; 0 where it is missing."""
    chosen = jnp.sum(odds * _indicators(odds.shape[-1], data)[:, :, None, :], axis=-1) - log_normaliser(odds)
    return jnp.where(jnp.asarray(data.observed), chosen, 0.0)


def _indicators(num_odds: int, data: Sequences) -> Array:
    """One-hot observations without class 0, [sequence, time, class - 1]."""
    values = jnp.asarray(data.values)
    return (values == 1 + jnp.arange(num_odds)).astype(values.dtype)


def newton_m_step(
    weights: Array,
    bias: Array | None,
    data: Sequences,
    inputs: Array,
    state_probs: Array,
    log_prior: Callable[[Array, Array | None], Array],
) -> tuple[Array, Array | None]:
    """Weights [state, class - 1, input] and biases [state, class - 1] that do not lower the expected log-joint of any state.

    Args:
        weights, bias: current values.
        data: the sequences.
        inputs: [sequence, time, input].
        state_probs: [sequence, time, state].
        log_prior: log-density of weights and biases of each state, [state]; smooth.
    """
    num_states, num_odds, num_inputs = weights.shape
    state_probs = jnp.where(jnp.asarray(data.observed), state_probs, 0.0)
    design = inputs if bias is None else jnp.concatenate([inputs, jnp.ones_like(inputs[..., :1])], axis=-1)
    seen = _indicators(num_odds, data)[:, :, None, :]
    shape = (num_states, num_odds, design.shape[-1])

    def split(rows: Array) -> tuple[Array, Array | None]:
        rows = rows.reshape(shape)
        return rows[..., :num_inputs], None if bias is None else rows[..., num_inputs]

    def evaluate(rows: Array) -> tuple[Array, Array, Array]:
        value, gradient, curvature = value_and_derivatives(lambda rows: log_prior(*split(rows)), rows)
        odds = log_odds(rows.reshape(shape), None, design)
        normaliser = log_normaliser(odds)
        value = value + jnp.sum(state_probs * (jnp.sum(odds * seen, axis=-1) - normaliser), axis=(0, 1))
        probs = jnp.exp(odds - normaliser[..., None])
        weighted = state_probs[..., None] * probs
        residual = state_probs[..., None] * seen - weighted
        gradient = gradient + jnp.einsum("stkc,stm->kcm", residual, design).reshape(gradient.shape)
        between = weighted[..., :, None] * (jnp.eye(num_odds) - probs[..., None, :])
        gram = weighted_gram(design, between.reshape(*between.shape[:2], -1)).reshape(num_states, num_odds, num_odds, shape[2], shape[2])
        return value, gradient, curvature + jnp.moveaxis(gram, 2, 3).reshape(curvature.shape)

    start = weights if bias is None else jnp.concatenate([weights, bias[..., None]], axis=-1)
    return split(newton_rows(evaluate, start.reshape(num_states, -1), NEWTON_STEPS))
