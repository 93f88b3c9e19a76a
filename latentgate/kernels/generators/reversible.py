"""Transition matrices of reversible generators, from one symmetric eigendecomposition each.

A generator in detailed balance with π is q_ij = S_ij √(π_j/π_i), S symmetric, and similar to the symmetric matrix H with H_ij = S_ij. With H = V diag(d) Vᵀ
every gap costs two products, and the derivative of exp(Q t) in any direction is V (Φ ∘ Vᵀ·V) Vᵀ with the divided differences of exp(d t), which are smooth
where eigenvalues tie. The eigenvectors themselves, which are not, are never differentiated.

Entries are right to rounding of the largest one, not each to its own: where a record shows several jumps within a very short gap, take `uniformisation`.
Time scales slower than 1/Λ by a factor c lose that factor in precision (Λ the largest exit rate); `uniformisation` and `scaling` do not.

Source: Najfeld, Havel, Adv. Appl. Math. 16:321 (1995), section 4.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


class _Decomposition(NamedTuple):
    """Of generators [..., K, K]: exp(Q t) = left diag(exp(rates t)) right."""

    left: Array
    rates: Array
    right: Array


def generator(stationary: ArrayLike, symmetric: ArrayLike) -> Array:
    """The generator q_ij = S_ij √(π_j/π_i), in detailed balance with π.

    Args:
        stationary: π, positive, [..., K].
        symmetric: S, not negative off the diagonal, the rate at which i and j exchange, [..., K, K]; its symmetric part is used, its diagonal is not.

    Returns:
        [..., K, K], rows that sum to zero.
    """
    dtype = jnp.result_type(stationary, symmetric, jnp.float32)
    stationary, symmetric = jnp.asarray(stationary, dtype), jnp.asarray(symmetric, dtype)
    identity = jnp.eye(symmetric.shape[-1], dtype=dtype)
    exchange = 0.5 * (symmetric + jnp.swapaxes(symmetric, -1, -2)) * (1 - identity)
    rates = exchange * jnp.sqrt(stationary[..., None, :] / stationary[..., :, None])
    return rates - identity * jnp.sum(rates, -1, keepdims=True)


def transition_matrices(stationary: ArrayLike, symmetric: ArrayLike, gaps: ArrayLike, index: ArrayLike | None = None) -> Array:
    """The matrices exp(Q[index] · gap) of reversible generators Q.

    Args:
        stationary: π, positive, [..., G, K].
        symmetric: S, not negative off the diagonal, [..., G, K, K]; its symmetric part is used, its diagonal is not.
        gaps: durations, not negative, [U].
        index: int [U], which generator; None where there is one, or one to each gap.

    Returns:
        [..., U, K, K]; entry [u, i, j] = P(state j after the gap | state i before it). It can be differentiated once.

    Raises:
        NotImplementedError: when differentiated twice; `scaling.transition_matrices(generator(stationary, symmetric), gaps, index)` can be.

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.generators.reversible import transition_matrices
        >>> moves = transition_matrices(jnp.array([[0.25, 0.75]]), jnp.ones((1, 2, 2)), jnp.array([0.0, 100.0]))
        >>> moves.round(4).tolist()
        [[[1.0, 0.0], [0.0, 1.0]], [[0.25, 0.75], [0.25, 0.75]]]
    """
    dtype = jnp.result_type(stationary, symmetric, gaps, jnp.float32)
    gaps = jnp.asarray(gaps, dtype)
    generators = generator(stationary, symmetric).astype(dtype)
    decomposition = jax.lax.stop_gradient(_decomposed(generators, jnp.asarray(stationary, dtype)))
    if index is not None:
        index = jnp.asarray(index)
        generators = generators[..., index, :, :]
        decomposition = _Decomposition(decomposition.left[..., index, :, :], decomposition.rates[..., index, :], decomposition.right[..., index, :, :])
    return _exponential(decomposition, generators, gaps)


def _decomposed(generators: Array, stationary: Array) -> _Decomposition:
    generators, root = jax.lax.stop_gradient(generators), jnp.sqrt(jax.lax.stop_gradient(stationary))
    rates, vectors = jnp.linalg.eigh(generators * root[..., :, None] / root[..., None, :])
    # None is positive but by rounding, which would grow with the gap.
    rates = jnp.minimum(rates, 0.0)
    return _Decomposition(vectors / root[..., :, None], rates, jnp.swapaxes(vectors, -1, -2) * root[..., None, :])


@jax.custom_jvp
def _exponential(decomposition: _Decomposition, generators: Array, gaps: Array) -> Array:
    """exp(Q t), as a function of the free matrices Q and the gaps; the decomposition is a constant."""
    left, rates, right = decomposition
    matrices = jnp.maximum((left * jnp.exp(rates * gaps[:, None])[..., None, :]) @ right, 0.0)
    return matrices / jnp.sum(matrices, -1, keepdims=True)


@_exponential.defjvp
def _(primals, tangents):
    decomposition, generators, gaps = primals
    _, generator_tangents, gap_tangents = tangents
    matrices = _exponential(decomposition, generators, gaps)
    left, rates, right = _differentiated_once(decomposition, generators, gaps)
    along_generators = left @ ((right @ generator_tangents @ left) * _divided_differences(rates, gaps)) @ right
    return matrices, along_generators + (generators @ matrices) * gap_tangents[:, None, None]


@jax.custom_jvp
def _differentiated_once(decomposition: _Decomposition, generators: Array, gaps: Array) -> _Decomposition:
    """The decomposition, in a derivative that would be silently wrong if it were differentiated as though that were a constant."""
    del generators, gaps
    return decomposition


@_differentiated_once.defjvp
def _(primals, tangents):
    raise NotImplementedError(
        "reversible.transition_matrices was differentiated twice; it has first derivatives only: take "
        "scaling.transition_matrices(reversible.generator(stationary, symmetric), gaps, index) for a Hessian"
    )


def _divided_differences(rates: Array, gaps: Array) -> Array:
    """(exp(a t) - exp(b t)) / (a - b) of all pairs of rates, t exp(a t) where they tie, [..., U, K, K]."""
    gaps = gaps[:, None, None]
    larger = jnp.maximum(rates[..., :, None], rates[..., None, :])
    difference = jnp.abs(rates[..., :, None] - rates[..., None, :]) * gaps
    # exp(larger t) times (1 - exp(-difference)) / difference: no cancellation, and no overflow since rates are not positive.
    apart = difference > 0
    share = jnp.where(apart, -jnp.expm1(-difference) / jnp.where(apart, difference, 1.0), 1.0)
    return gaps * jnp.exp(larger * gaps) * share
