"""One step at a time: what a decoder does while the data come in."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from ..small_matrices import cholesky, log_determinant, solve_triangular, square_root
from .potentials import apply, transposed


def predict(mean: Array, covariance: Array, matrix: Array, bias: Array, noise: Array) -> tuple[Array, Array]:
    """Law of the next latent.

    Args:
        mean: [..., d].
        covariance: [..., d, d].
        matrix: A, [..., d, d].
        bias: [..., d].
        noise: Q, [..., d, d].

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.gaussian import predict
        >>> one = jnp.ones((1, 1))
        >>> predict(jnp.ones(1), one, 0.5 * one, jnp.zeros(1), one)[1].tolist()
        [[1.25]]
    """
    return apply(matrix, mean) + bias, matrix @ covariance @ transposed(matrix) + noise


def update(mean: Array, covariance: Array, precision: Array, shift: Array, log_constant: Array | float = 0.0) -> tuple[Array, Array, Array]:
    """Law of a latent after the node potential exp(-zᵀJz/2 + hᵀz + c), and the logarithm of the potential's mean.

    Args:
        mean: before, [..., d].
        covariance: before, positive semidefinite, [..., d, d].
        precision: J, positive semidefinite, [..., d, d].
        shift: h, [..., d].
        log_constant: c, [...].

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.gaussian import update
        >>> one = jnp.ones((1, 1))
        >>> update(jnp.zeros(1), one, one, jnp.ones(1))[0].tolist()
        [0.5]
    """
    root = square_root(covariance)
    factor = cholesky(jnp.eye(mean.shape[-1], dtype=root.dtype) + transposed(root) @ precision @ root)
    sharpened = transposed(solve_triangular(factor, transposed(root)))
    after = sharpened @ transposed(sharpened)
    slope = shift - apply(precision, mean)
    moved = apply(after, slope)
    log_mean = log_constant + (mean * (shift + slope)).sum(-1) / 2 + (slope * moved).sum(-1) / 2 - 0.5 * log_determinant(factor)
    return mean + moved, after, log_mean


def forecast(mean: Array, covariance: Array, matrix: Array, bias: Array, noise: Array, num_steps: int) -> tuple[Array, Array]:
    """Laws of the next latents, without further data: means [num_steps, ..., d] and covariances [num_steps, ..., d, d].

    Args:
        mean, covariance, matrix, bias, noise: as in `predict`, or `matrix`, `bias` and `noise` per step, with a leading dimension [num_steps].
        num_steps: how far ahead.
    """

    def step(law: tuple[Array, Array], now: tuple[Array, Array, Array]):
        law = predict(*law, *now)
        return law, law

    def each(array: Array, rank: int) -> Array:
        return array if array.ndim > rank else jnp.broadcast_to(array, (num_steps, *array.shape))

    edges = (each(matrix, covariance.ndim), each(bias, mean.ndim), each(noise, covariance.ndim))
    return jax.lax.scan(step, (mean, covariance), edges)[1]
