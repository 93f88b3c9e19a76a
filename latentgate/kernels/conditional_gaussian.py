"""A multivariate normal of which some entries are seen: their density, and the rest given them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Conditioned(NamedTuple):
    """A multivariate normal after some of its entries have been seen.

    Attributes:
        log_density: of the entries seen, [...]; 0 where none was.
        mean: of all entries given those seen, [..., D]; an entry seen keeps its value.
        covariance: likewise, [..., D, D]; zero in the rows and columns of entries seen.
    """

    log_density: Array
    mean: Array
    covariance: Array


def condition(mean: Array, covariance: Array, values: Array, observed: Array) -> Conditioned:
    """Sees the entries one after the other: each adds the density of its innovation and is taken out of the rest.

    The sequence of rank-one corrections is the Cholesky factorisation with the unseen rows left out, and needs no solve.

    Args:
        mean: [..., D].
        covariance: [..., D, D], positive definite.
        values: [..., D]; anything finite where not observed.
        observed: bool [..., D].

    Returns:
        see `Conditioned`; NaN where the covariance is not positive definite.

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.conditional_gaussian import condition
        >>> covariance = jnp.array([[1.0, 0.5], [0.5, 1.0]])
        >>> condition(jnp.zeros(2), covariance, jnp.array([2.0, 0.0]), jnp.array([True, False])).mean.tolist()
        [2.0, 1.0]
    """
    size = mean.shape[-1]
    shape = jnp.broadcast_shapes(mean.shape[:-1], covariance.shape[:-2], values.shape[:-1], observed.shape[:-1])
    dtype = jnp.result_type(mean, covariance, values)
    mean = jnp.broadcast_to(mean, (*shape, size)).astype(dtype)
    covariance = jnp.broadcast_to(covariance, (*shape, size, size)).astype(dtype)
    values = jnp.broadcast_to(values, (*shape, size)).astype(dtype)
    observed = jnp.broadcast_to(observed, (*shape, size))
    entries = jnp.arange(size)
    log_two_pi = jnp.log(2 * jnp.pi).astype(dtype)

    def see(carry, j):
        log_density, mean, covariance = carry
        seen, value = _entry(observed, j), _entry(values, j)
        column = jax.lax.dynamic_index_in_dim(covariance, j, covariance.ndim - 1, keepdims=False)
        # An entry that is not seen passes through with a unit variance that is never used.
        variance = jnp.where(seen, _entry(column, j), 1.0)
        variance = jnp.where(variance > 0, variance, jnp.nan)
        innovation = value - _entry(mean, j)
        added = -0.5 * (log_two_pi + jnp.log(variance) + innovation**2 / variance)
        gain = column / variance[..., None]
        itself = entries == j
        moved = jnp.where(itself, value[..., None], mean + gain * innovation[..., None])
        reduced = covariance - gain[..., :, None] * column[..., None, :]
        reduced = jnp.where(itself[:, None] | itself[None, :], 0.0, reduced)
        log_density = log_density + jnp.where(seen, added, 0.0)
        mean = jnp.where(seen[..., None], moved, mean)
        covariance = jnp.where(seen[..., None, None], reduced, covariance)
        return (log_density, mean, covariance), None

    start = (jnp.zeros(shape, dtype), mean, covariance)
    return Conditioned(*jax.lax.scan(see, start, entries)[0])


def _entry(vectors: Array, index) -> Array:
    return jax.lax.dynamic_index_in_dim(vectors, index, vectors.ndim - 1, keepdims=False)
