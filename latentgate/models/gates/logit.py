"""The multinomial logit step that fits linear gates to fractional targets."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.kernels import log_sum_exp_leading, softmax_leading
from latentgate.kernels.batching import largest

from ..newton import ascent_direction, hold_at_bound
from ..zero_sum import contrasts_of, rows_of

# Share of a Newton step that is tried where the whole does not climb. EM comes back with new targets anyway, so one direction an iteration is enough.
_SHORTER = 0.25


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
    active: Array | None = None,
) -> tuple[Array, Array]:
    """Weights [K, M] and biases [K] that do not lower Σ targets · log softmax((weights · inputs + bias) / temperature) + log-prior, by one Newton or MM step.

    The prior is normal, of rows that sum to zero. The concave problem of Jordan and Jacobs 1994, with the targets of an E-step as responses. Its gradient is
    Σ (target - total · prob) z and its Hessian -Σ total · (diag(prob) - prob probᵀ) ⊗ z zᵀ, z being the inputs and a one.

    Args:
        weights, bias: current values; rows sum to zero.
        inputs: [sequence, time, M].
        targets: [sequence, time, K], not negative.
        weight_scale, bias_scale: of the prior; None for none; one for each column if an array [M].
        bound, temperature: see `Softmax`.
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

    def log_odds(rows: Array) -> Array:
        scores = (rows.reshape(free, num_columns) @ design) / temperature
        every = jnp.concatenate([scores, jnp.zeros_like(scores[:1])])
        return every if active is None else jnp.where(active, every, -jnp.inf)

    def value_of(rows: Array, odds: Array, normaliser: Array) -> Array:
        finite = odds if active is None else jnp.where(active, odds, 0.0)
        expected = sum((targets[k] * finite[k] for k in range(1, free)), start=targets[0] * finite[0])
        return jnp.sum(expected - total * normaliser) - 0.5 * rows @ prior_curvature @ rows

    start = jnp.concatenate([contrasts_of(weights), contrasts_of(bias)[:, None]], axis=-1).reshape(-1)
    odds = log_odds(start)
    probs, normaliser = softmax_leading(odds)
    gradient = ((targets[:-1] - total * probs[:-1]) @ design.T).reshape(-1) / temperature - prior_curvature @ start
    between = [total * (probs[k] * (1.0 - probs[k]) if k == other else -probs[k] * probs[other]) for k, other in _pairs(free)]
    curvature = _unfolded(jnp.stack(between) @ products.T, free, num_columns) / temperature**2 + prior_curvature

    def moved(step: Array) -> tuple[Array, Array]:
        candidate = start + step
        if bound is not None:
            candidate = jnp.clip(candidate, -bound, bound)
        odds = log_odds(candidate)
        return candidate, value_of(candidate, odds, log_sum_exp_leading(odds))

    def direction(bend: Array) -> Array:
        slope, bend = (gradient, bend) if bound is None else hold_at_bound(start, gradient, bend, bound)
        return ascent_direction(slope[None], bend[None])[0]

    newton = direction(curvature)
    candidate, value = moved(newton)
    present = value_of(start, odds, normaliser)
    climbs = value > present

    def shorter() -> Array:
        # No Hessian of a multinomial logit exceeds this one (Böhning 1992), so a full step with it never falls: where probabilities are all but zero and one,
        # a Newton step may be too long by any factor.
        bend = jnp.einsum("kl,cd->kcld", 0.5 * spread, _unfolded((products @ total)[None], 1, num_columns) / temperature**2)
        best, highest = start, present
        for step in (_SHORTER * newton, direction(bend.reshape(curvature.shape) + prior_curvature)):
            found, height = moved(step)
            better = height > highest
            best, highest = jnp.where(better, found, best), jnp.where(better, height, highest)
        return jnp.where(climbs, candidate, best)

    # Hardly ever asked for, and then by one restart of many: the others keep what they have.
    best = jax.lax.cond(largest(jnp.where(climbs, 0.0, 1.0)) > 0, shorter, lambda: candidate)
    best = best.reshape(free, num_columns)
    return rows_of(best[:, :-1]), rows_of(best[:, -1])


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
