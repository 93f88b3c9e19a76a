"""Sums over steps that several emissions share: moments of the data, scatter about the means of states, and starting points."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences


def feature_moments(data: Sequences) -> tuple[Array, Array]:
    """Mean and standard deviation of the observed entries of each feature, [feature]; the deviation of a constant feature is 0."""
    values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
    count = jnp.maximum(observed.sum((0, 1)), 1)
    mean = values.sum((0, 1)) / count
    return mean, jnp.sqrt(jnp.sum(jnp.where(observed, (values - mean) ** 2, 0.0), axis=(0, 1)) / count)


def column_spread(columns: Array, lengths: Array) -> tuple[Array, Array]:
    """Mean and standard deviation over real steps of the columns of an input set [sequence, time, column]; 1 for a constant column."""
    columns = jnp.asarray(columns)
    real = (jnp.asarray(lengths)[:, None] > jnp.arange(columns.shape[1]))[..., None]
    count = real.sum()
    mean = jnp.where(real, columns, 0.0).sum((0, 1)) / count
    deviation = jnp.sqrt(jnp.where(real, (columns - mean) ** 2, 0.0).sum((0, 1)) / count)
    return mean, jnp.where(deviation > 0, deviation, 1.0)


def spread_steps(key: Array, data: Sequences, num_states: int, unit: Array) -> Array:
    """Observations far from one another, one a state, [state, feature]: k-means++ seeding, and a little noise so that none coincide.

    Args:
        key: random key.
        data: the sequences; missing entries count as the mean.
        num_states: K.
        unit: scale of each feature, positive, [feature].
    """
    mean, _ = feature_moments(data)
    standard = jnp.where(jnp.asarray(data.observed), (jnp.asarray(data.values) - mean) / unit, 0.0).reshape(-1, unit.shape[0])
    seen = jnp.asarray(data.observed).any(-1).reshape(-1)
    for_choice, for_noise = jax.random.split(key)

    def choose(distance: Array, key: Array) -> tuple[Array, Array]:
        # Where every observation has been met, any will do.
        weight = jnp.where(seen, jnp.where(jnp.any(seen & (distance > 0)), distance, 1.0), 0.0)
        chosen = standard[jax.random.categorical(key, jnp.log(weight))]
        return jnp.minimum(distance, jnp.sum((standard - chosen) ** 2, axis=-1)), chosen

    _, chosen = jax.lax.scan(choose, jnp.ones(standard.shape[0], standard.dtype), jax.random.split(for_choice, num_states))
    noise = 0.1 * jax.random.normal(for_noise, chosen.shape, chosen.dtype)
    return mean + unit * (chosen + noise)


def weighted_squares(values: Array, observed: Array | None, weights: Array, means: Array) -> Array:
    """Σ weights · (value - mean)² over the observed steps for each state and feature, [state, feature].

    Args:
        values: [sequence, time, feature].
        observed: bool of the same shape, or None if all are.
        weights: [sequence, time, state].
        means: [state, feature].
    """

    def one(state):
        # State by state: [sequence, time, state, feature] at once would not fit where it matters.
        weight, mean = state
        squares = (values - mean) ** 2
        if observed is not None:
            squares = jnp.where(observed, squares, 0.0)
        return weight.reshape(-1) @ squares.reshape(-1, values.shape[-1])

    return jax.lax.map(one, (jnp.moveaxis(weights, -1, 0), means))
