"""The multinomial logit step that fits linear gates to fractional targets."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.kernels import softmax_leading

from ..newton import newton_rows
from ..zero_sum import contrasts_of, rows_of

# Candidates of an M-step: one full Newton step suffices near the previous EM iterate, the rest pay for halvings.
NEWTON_STEPS = 3


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
    active: Array | None = None,
) -> tuple[Array, Array]:
    """Weights [K, M] and biases [K] that do not lower Σ targets · log softmax((weights · inputs + bias) / temperature) under zero-sum normal priors.

    The concave problem of Jordan and Jacobs 1994, with the targets of an E-step as responses. Its gradient is Σ (target - total · prob) z and its Hessian
    -Σ total · (diag(prob) - prob probᵀ) ⊗ z zᵀ, z being the inputs and a one.

    Args:
        weights, bias: current values; rows sum to zero.
        inputs: [sequence, time, M].
        targets: [sequence, time, K], not negative.
        weight_scale, bias_scale: of the prior; None for none; one for each column if an array [M].
        bound, temperature: see `Softmax`.
        num_steps: Newton candidates.
        active: choices among which the softmax is taken, bool [K, sequence, time], at least one at every step; all if None. Targets of others are ignored.
    """
    num_choices, num_columns = weights.shape[0], weights.shape[1] + 1
    free = num_choices - 1
    targets = jnp.moveaxis(targets, -1, 0).reshape(num_choices, -1)
    if active is not None:
        active = active.reshape(targets.shape)
        targets = jnp.where(active, targets, 0.0)
    total = sum(targets[1:], start=targets[0])
    # Columns leading: whole columns of rows are what vector instructions work on.
    design = jnp.concatenate([jnp.moveaxis(inputs, -1, 0).reshape(num_columns - 1, -1), jnp.ones((1, total.size), inputs.dtype)])
    products = jnp.stack([design[one] * design[other] for one, other in _pairs(num_columns)])
    scales = [jnp.inf if scale is None else scale for scale in (weight_scale, bias_scale)]
    precision = jnp.concatenate([jnp.broadcast_to(1.0 / jnp.asarray(scales[0]) ** 2, (num_columns - 1,)), jnp.reshape(1.0 / jnp.asarray(scales[1]) ** 2, (1,))])
    # Of the differences to the last row, given that rows sum to zero.
    spread = jnp.eye(free) - 1.0 / num_choices
    prior_curvature = jnp.einsum("kl,cd->kcld", spread, jnp.diag(precision)).reshape(free * num_columns, -1)

    def evaluate(rows: Array) -> tuple[Array, Array, Array]:
        scores = (rows.reshape(free, num_columns) @ design) / temperature
        every = jnp.concatenate([scores, jnp.zeros_like(scores[:1])])
        if active is not None:
            every = jnp.where(active, every, -jnp.inf)
        probs, normaliser = softmax_leading(every)
        value = jnp.sum(sum((targets[k] * scores[k] for k in range(1, free)), start=targets[0] * scores[0]) - total * normaliser)
        probs = probs[:-1]
        gradient = ((targets[:-1] - total * probs) @ design.T).reshape(-1) / temperature
        between = [total * (probs[k] * (1.0 - probs[k]) if k == other else -probs[k] * probs[other]) for k, other in _pairs(free)]
        curvature = _unfolded(jnp.stack(between) @ products.T, free, num_columns) / temperature**2
        pull = prior_curvature @ rows[0]
        return (value - 0.5 * rows[0] @ pull)[None], (gradient - pull)[None], (curvature + prior_curvature)[None]

    start = jnp.concatenate([contrasts_of(weights), contrasts_of(bias)[:, None]], axis=-1).reshape(1, -1)
    found = newton_rows(evaluate, start, num_steps, bound)[0].reshape(free, num_columns)
    return rows_of(found[:, :-1]), rows_of(found[:, -1])


def _pairs(size: int) -> list[tuple[int, int]]:
    return [(one, other) for one in range(size) for other in range(one, size)]


def _unfolded(folded: Array, num_rows: int, num_columns: int) -> Array:
    """A symmetric matrix [rows · columns, rows · columns] from its distinct entries [pairs of rows, pairs of columns]."""
    for axis, size in enumerate((num_rows, num_columns)):
        place = np.zeros((size, size), int)
        for index, (one, other) in enumerate(_pairs(size)):
            place[one, other] = place[other, one] = index
        folded = jnp.take(folded, place.reshape(-1), axis)
    blocks = folded.reshape(num_rows, num_rows, num_columns, num_columns)
    return jnp.moveaxis(blocks, 2, 1).reshape(num_rows * num_columns, -1)
