"""Exact discretisation of linear stochastic differential equations over any gaps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

# A gap is halved until drift times gap is below 1/2, where twenty terms of the series are exact to rounding; 2^40 halvings' worth is any gap there is.
_TERMS = 20
_MOST_HALVINGS = 40


def discretise(drift: Array, diffusion: Array, gaps: Array) -> tuple[Array, Array]:
    """Transition over each gap of dx = drift x dt + white noise of spectral density `diffusion`.

    x(t + gap) | x(t) ~ Normal(exp(drift gap) x(t), ∫₀^gap exp(drift s) diffusion exp(drift s)ᵀ ds). Both are series over a short gap, doubled as often as
    needed: A(2h) = A(h)², Q(2h) = A(h) Q(h) A(h)ᵀ + Q(h). Nothing is inverted and nothing grows that the process does not let grow, so unstable,
    integrated and stiff drifts are exact alike, and Q stays positive semidefinite.

    Args:
        drift: [d, d], per unit of time.
        diffusion: positive semidefinite, [d, d], per unit of time.
        gaps: durations, not negative, [...].

    Returns:
        transition matrices and noise covariances, [..., d, d] each.

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.linear_sde import discretise
        >>> matrix, covariance = discretise(jnp.array([[0.0]]), jnp.array([[2.0]]), jnp.array([0.5]))
        >>> matrix.tolist(), covariance.tolist()
        ([[[1.0]]], [[[1.0]]])
    """
    dtype = jnp.result_type(drift, diffusion, gaps, jnp.float32)
    drift, diffusion, gaps = (jnp.asarray(array, dtype) for array in (drift, diffusion, gaps))
    size = drift.shape[-1]
    norm = jnp.max(jnp.sum(jnp.abs(drift), -1)) * gaps
    halvings = jnp.clip(jnp.ceil(jnp.log2(jnp.where(norm > 0.5, 2 * norm, 1.0))), 0, _MOST_HALVINGS)
    halvings = jax.lax.stop_gradient(halvings)
    short = (gaps * 2.0**-halvings)[..., None, None]
    matrix = jnp.broadcast_to(jnp.eye(size, dtype=dtype), (*gaps.shape, size, size))

    def add(carry: tuple[Array, Array, Array, Array], term: Array):
        matrix, covariance, power, moment = carry
        covariance = covariance + moment
        power = short / term * (drift @ power)
        moment = short / (term + 1) * (drift @ moment + moment @ drift.T)
        return (matrix + power, covariance, power, moment), None

    # A loop, since twenty terms written out take four times as long to compile and no less to run.
    terms = jnp.arange(1, _TERMS, dtype=dtype)
    (matrix, covariance, _, _), _ = jax.lax.scan(add, (matrix, jnp.zeros_like(matrix), matrix, short * diffusion), terms)

    def double(carry: tuple[Array, Array], index: Array):
        matrix, covariance = carry
        wanted = (index < halvings)[..., None, None]
        doubled = matrix @ covariance @ jnp.swapaxes(matrix, -1, -2) + covariance
        return (jnp.where(wanted, matrix @ matrix, matrix), jnp.where(wanted, doubled, covariance)), None

    (matrix, covariance), _ = jax.lax.scan(double, (matrix, covariance), jnp.arange(_MOST_HALVINGS))
    return matrix, 0.5 * (covariance + jnp.swapaxes(covariance, -1, -2))


def stationary_covariance(matrix: Array, noise: Array) -> Array:
    """The S with S = A S Aᵀ + Q of a stable A, [..., d, d]; infinite or NaN where A is not stable.

    Args:
        matrix: A, [..., d, d].
        noise: Q, [..., d, d].
    """

    def double(carry: tuple[Array, Array], _: None):
        matrix, covariance = carry
        return (matrix @ matrix, covariance + matrix @ covariance @ jnp.swapaxes(matrix, -1, -2)), None

    (_, covariance), _ = jax.lax.scan(double, (matrix, noise), None, length=_MOST_HALVINGS)
    return 0.5 * (covariance + jnp.swapaxes(covariance, -1, -2))
