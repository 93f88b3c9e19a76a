"""Normal observations with missing entries: their exact density, and their moments for EM, in blocks of steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels.conditional_gaussian import condition

# Entries of the conditional covariances held at once.
_BLOCK_ENTRIES = 2**20


def partial_log_density(means: Array, covariances: Array, data: Sequences) -> Array:
    """Log-density of the observed entries of each step under each state, [sequence, time, state].

    Args:
        means: [state, feature].
        covariances: [state, feature, feature] or one for all.
        data: the sequences.
    """

    # Backward passes recompute a block instead of keeping its covariances.
    @jax.checkpoint
    def block(step: tuple[Array, Array]) -> Array:
        values, observed = step
        return condition(means, covariances, values, observed).log_density

    result = jax.lax.map(block, _steps(data), batch_size=_block_length(means))
    return result.reshape(*data.values.shape[:2], means.shape[0])


def completed(means: Array, covariances: Array, data: Sequences, weights: Array) -> tuple[Array, Array]:
    """What EM needs of the missing entries.

    Returns:
        expected observations given the entries seen and the state, [sequence, time, state, feature], and Σ weights · their covariance,
        [state, feature, feature].
    """
    values, observed = _steps(data)
    flat_weights = weights.reshape(-1, weights.shape[-1])
    length = min(_block_length(means), len(values))
    padding = -len(values) % length

    def blocks(array: Array) -> Array:
        return jnp.pad(array, [(0, padding)] + [(0, 0)] * (array.ndim - 1)).reshape(-1, length, *array.shape[1:])

    def block(total: Array, steps: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        values, observed, weights = steps
        found = condition(means, covariances, values[:, None], observed[:, None])
        return total + jnp.einsum("bk,bknm->knm", weights, found.covariance), found.mean

    start = jnp.zeros((*means.shape, means.shape[-1]), means.dtype)
    spread, expected = jax.lax.scan(block, start, (blocks(values), blocks(observed), blocks(flat_weights)))
    expected = expected.reshape(-1, *means.shape)[: len(values)]
    return expected.reshape(*data.values.shape[:2], *means.shape), spread


def _steps(data: Sequences) -> tuple[Array, Array]:
    values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
    return values.reshape(-1, values.shape[-1]), observed.reshape(-1, observed.shape[-1])


def _block_length(means: Array) -> int:
    return max(1, _BLOCK_ENTRIES // (means.shape[0] * means.shape[1] ** 2))
