"""Where to start a fit of tuning curves: along a direction in which smoothed counts differ."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences

# Bins on either side that are averaged.
_REACH = 4
# Share of a trial, at its end, that tells where it went.
_LATE = 0.4
_POWER_STEPS = 50
# Of the slopes of log-rates.
_STEEPEST = 2.0


def tuned_lines(key: Array, data: Sequences, late: bool) -> tuple[Array, Array]:
    """Log-rates as lines over x: height in the middle and slope, [neuron] each.

    x is, to start with, a projection of counts averaged over some bins: on their first principal component, turned by a random amount in each restart.

    Args:
        key: JAX random key.
        data: counts.
        late: whether only the last part of a sequence is looked at, where trials that end at a boundary differ most.
    """
    values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
    seen = observed.any(-1)
    ends = jnp.cumsum(jnp.pad(values, ((0, 0), (_REACH + 1, _REACH), (0, 0))), axis=1)
    number = jnp.cumsum(jnp.pad(observed.astype(values.dtype), ((0, 0), (_REACH + 1, _REACH), (0, 0))), axis=1)
    width = 2 * _REACH + 1
    number = number[:, width:] - number[:, :-width]
    means = (ends[:, width:] - ends[:, :-width]) / jnp.where(number > 0, number, 1.0)
    weights = seen.astype(values.dtype)
    if late:
        rows = jnp.arange(values.shape[1])
        weights = weights * (rows >= (1.0 - _LATE) * seen.sum(1, keepdims=True))
    weights = weights[..., None] / weights.sum()
    centre = jnp.sum(means * weights, (0, 1))
    spread = jnp.sqrt(jnp.sum((means - centre) ** 2 * weights, (0, 1)))
    scaled = (means - centre) / jnp.where(spread > 0, spread, 1.0)
    correlations = jnp.einsum("stn,stm->nm", scaled * weights, scaled)
    first, second, third = jax.random.split(key, 3)
    size = values.shape[-1]
    direction = jax.lax.fori_loop(
        0, _POWER_STEPS, lambda _, vector: correlations @ vector / jnp.linalg.norm(correlations @ vector), jax.random.normal(first, (size,))
    )
    direction = direction + 0.5 / jnp.sqrt(size) * jax.random.normal(second, (size,))
    scores = scaled @ direction
    scale = jnp.sqrt(jnp.sum(scores**2 * weights[..., 0]))
    position = jnp.clip(0.5 * scores / jnp.where(scale > 0, scale, 1.0), -1.0, 1.0)
    square = jnp.sum(position**2 * weights[..., 0])
    slope = jnp.einsum("stn,st->n", (means - centre) * weights, position) / jnp.where(square > 0, square, 1.0)
    mean = (values.sum((0, 1)) + 0.5) / (observed.sum((0, 1)) + 1.0)
    steep = jnp.clip(slope / mean, -_STEEPEST, _STEEPEST) + 0.1 * jax.random.normal(third, (size,))
    return jnp.log(mean), steep
