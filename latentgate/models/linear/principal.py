"""A start for models of counts: the directions in which the logarithms of smoothed counts vary most."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.kernels.small_matrices import cholesky, solve_triangular, square_root

# Standard deviation of the smoothing in steps, and how far it reaches.
_WIDTH, _REACH = 3.0, 9
_ROUNDS = 8


def principal_loadings(key: Array, counts: Array, observed: Array, mean: Array, size: int) -> Array:
    """Loadings L [neuron, size] with L Lᵀ near the covariance of log smoothed counts in its principal subspace, in a random basis.

    Args:
        key: JAX random key; another key gives another basis of the same subspace.
        counts: [sequence, time, neuron], zero where not observed.
        observed: bool, as the counts.
        mean: mean count of each neuron, above zero.
        size: number of latents; more than neurons are given small random loadings.
    """
    for_basis, for_rest = jax.random.split(key)
    num_neurons = counts.shape[-1]
    weights = observed.astype(counts.dtype)
    # One step of the mean count is added, so that a silent stretch has a logarithm.
    smooth = (smoothed_counts(counts) + mean) / (smoothed_counts(weights) + 1.0)
    deviation = jnp.where(observed, jnp.log(smooth / mean), 0.0)
    total = jnp.maximum(weights.sum((0, 1)), 1.0)
    deviation = jnp.where(observed, deviation - deviation.sum((0, 1)) / total, 0.0).reshape(-1, num_neurons)
    covariance = deviation.T @ deviation / weights.sum()
    level = jnp.trace(covariance) / num_neurons
    # Neurons that never fire have no direction of their own.
    lifted = covariance + 0.01 * jnp.where(level > 0, level, 1.0) * jnp.eye(num_neurons, dtype=covariance.dtype)
    rank = min(size, num_neurons)

    def turn(_, basis: Array) -> Array:
        moved = lifted @ basis
        # Twice, since one pass in float32 leaves columns that are not quite perpendicular.
        return _orthonormal(_orthonormal(moved))

    basis = jax.lax.fori_loop(0, _ROUNDS, turn, _orthonormal(jax.random.normal(for_basis, (num_neurons, rank), counts.dtype)))
    loadings = basis @ square_root(basis.T @ lifted @ basis)
    if rank < size:
        extra = 0.1 * jax.random.normal(for_rest, (num_neurons, size - rank), counts.dtype)
        loadings = jnp.concatenate([loadings, extra], -1)
    return loadings


def _orthonormal(columns: Array) -> Array:
    scaled = columns / jnp.linalg.norm(columns, axis=0)
    return solve_triangular(cholesky(scaled.T @ scaled), scaled.T).T


def smoothed_counts(values: Array) -> Array:
    """Sum over time under a Gaussian of height one, within each sequence."""
    num_steps = values.shape[1]
    padded = jnp.pad(values, ((0, 0), (_REACH, _REACH), (0, 0)))

    def add(total: Array, shift: Array) -> tuple[Array, None]:
        weight = jnp.exp(-0.5 * ((shift - _REACH) / _WIDTH) ** 2).astype(values.dtype)
        return total + weight * jax.lax.dynamic_slice_in_dim(padded, shift, num_steps, 1), None

    return jax.lax.scan(add, jnp.zeros_like(values), jnp.arange(2 * _REACH + 1))[0]
