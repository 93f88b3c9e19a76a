"""Factors, solves and log-determinants of many small matrices, without LAPACK.

XLA's CPU runtime on two cores can deadlock on two batched LAPACK calls of size 12 or more in one program, and a call becomes batched as soon as
it is mapped over restarts. Here the batch is vectorised and one loop runs over the dimension. Nothing is added to a diagonal.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array


@jax.custom_jvp
def cholesky(matrices: Array) -> Array:
    """Lower factors L with L Lᵀ = A.

    Args:
        matrices: A, [..., D, D]; their symmetric part is used.

    Returns:
        [..., D, D], zero above the diagonal; NaN throughout a factor whose matrix is not positive definite.

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.small_matrices import cholesky
        >>> cholesky(jnp.array([[4.0, 2.0], [2.0, 10.0]])).tolist()
        [[2.0, 0.0], [1.0, 3.0]]
    """
    symmetric = _symmetric(matrices)
    size = symmetric.shape[-1]
    rows = jnp.arange(size)

    def column(j, factor: Array) -> Array:
        done = _row(factor, j)
        rest = _column(symmetric, j) - jnp.einsum("...ik,...k->...i", factor, done)
        pivot = jax.lax.dynamic_index_in_dim(rest, j, rest.ndim - 1)
        root = jnp.sqrt(jnp.where(pivot > 0, pivot, jnp.nan))
        entries = jnp.where(rows > j, rest / root, jnp.where(rows == j, root, 0.0))
        return jax.lax.dynamic_update_index_in_dim(factor, entries, j, factor.ndim - 1)

    factor = jax.lax.fori_loop(0, size, column, jnp.zeros_like(symmetric))
    positive = jnp.all(jnp.diagonal(factor, axis1=-2, axis2=-1) > 0, axis=-1)
    return jnp.where(positive[..., None, None], factor, jnp.nan)


@cholesky.defjvp
def _cholesky_jvp(primals, tangents):
    (matrices,), (tangent,) = primals, tangents
    factor = cholesky(matrices)
    # dL = L Φ(L⁻¹ dA L⁻ᵀ), Φ keeping the lower triangle and half the diagonal.
    half = solve_triangular(factor, _symmetric(tangent))
    inner = solve_triangular(factor, jnp.swapaxes(half, -1, -2))
    lower = jnp.tril(inner) - 0.5 * inner * jnp.eye(inner.shape[-1], dtype=inner.dtype)
    return factor, factor @ lower


def solve_triangular(factor: Array, right: Array, transposed: bool = False) -> Array:
    """Solution X of L X = B, or of Lᵀ X = B.

    Args:
        factor: L, lower triangular, [..., D, D].
        right: B, [..., D, M], of the same leading dimensions.
        transposed: solve with Lᵀ.
    """
    shape = jnp.broadcast_shapes(factor.shape[:-2], right.shape[:-2])
    dtype = jnp.result_type(factor, right)
    factor = jnp.broadcast_to(factor, shape + factor.shape[-2:]).astype(dtype)
    right = jnp.broadcast_to(right, shape + right.shape[-2:]).astype(dtype)
    lower = jnp.tril(factor)
    upper = jnp.swapaxes(lower, -1, -2)

    def forward(_, right: Array) -> Array:
        return _substitute(lower, right, range(lower.shape[-1]))

    def backward(_, right: Array) -> Array:
        return _substitute(upper, right, range(upper.shape[-1] - 1, -1, -1))

    if transposed:
        return jax.lax.custom_linear_solve(lambda x: upper @ x, right, backward, forward)
    return jax.lax.custom_linear_solve(lambda x: lower @ x, right, forward, backward)


def solve_positive_definite(factor: Array, right: Array) -> Array:
    """Solution X of L Lᵀ X = B, for the factor L of `cholesky`; shapes as in `solve_triangular`."""
    return solve_triangular(factor, solve_triangular(factor, right), transposed=True)


def inverse(factor: Array) -> Array:
    """(L Lᵀ)⁻¹, symmetric to the last bit, [..., D, D]."""
    whitener = solve_triangular(factor, jnp.eye(factor.shape[-1], dtype=factor.dtype))
    return _symmetric(jnp.swapaxes(whitener, -1, -2) @ whitener)


def log_determinant(factor: Array) -> Array:
    """Log |L Lᵀ|, [...]."""
    return 2.0 * jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)


def square_root(matrices: Array) -> Array:
    """Some C with C Cᵀ = A for a positive semidefinite A, singular ones included: Cholesky factorisation with the largest pivot first.

    Args:
        matrices: A, [..., D, D]; their symmetric part is used.

    Returns:
        [..., D, D], not triangular; NaN throughout where A has an eigenvalue that is negative beyond rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.small_matrices import square_root
        >>> root = square_root(jnp.array([[0.0, 0.0], [0.0, 4.0]]))
        >>> (root @ root.T).tolist()
        [[0.0, 0.0], [0.0, 4.0]]
    """
    rest = _symmetric(matrices)
    size = rest.shape[-1]
    diagonal = jnp.diagonal(rest, axis1=-2, axis2=-1)
    rounding = 8 * size * jnp.finfo(rest.dtype).eps * jnp.max(jnp.abs(diagonal), -1)
    # A pivot that is only the rounding of what was taken from it would blow up the rounding beside it.
    smallest = 8 * size * jnp.finfo(rest.dtype).eps * diagonal

    def column(j, carry):
        rest, root, valid = carry
        diagonal = jnp.diagonal(rest, axis1=-2, axis2=-1)
        largest = jnp.argmax(diagonal, -1, keepdims=True)
        pivot = jnp.take_along_axis(diagonal, largest, -1)
        positive = pivot > jnp.maximum(jnp.take_along_axis(smallest, largest, -1), 0.0)
        scale = jnp.where(positive, 1 / jnp.sqrt(jnp.where(positive, pivot, 1.0)), 0.0)
        entries = jnp.take_along_axis(rest, largest[..., None], -1)[..., 0] * scale
        # What remains is positive semidefinite up to rounding, unless the matrix was not; entries that should vanish are then no larger than that.
        valid &= jnp.min(diagonal, -1) >= -rounding
        taken = jnp.arange(size) == largest
        keep = ~(taken[..., :, None] | taken[..., None, :]) | ~positive[..., None]
        rest = jnp.where(keep, rest - entries[..., :, None] * entries[..., None, :], 0.0)
        return rest, jax.lax.dynamic_update_index_in_dim(root, entries, j, root.ndim - 1), valid

    start = (rest, jnp.zeros_like(rest), jnp.all(jnp.isfinite(rest), axis=(-2, -1)))
    rest, root, valid = jax.lax.fori_loop(0, size, column, start)
    valid &= jnp.max(jnp.abs(rest), axis=(-2, -1), initial=0.0) <= rounding
    return jnp.where(valid[..., None, None], root, jnp.nan)


def triangularise(rows: Array) -> Array:
    """The lower triangular L with L Lᵀ = X Xᵀ, by Householder reflections of X from the right; X is never squared.

    Args:
        rows: X, [..., D, M] with M ≥ D, of any rank.

    Returns:
        [..., D, D]; entries on the diagonal may be negative.
    """
    size, width = rows.shape[-2:]
    columns = jnp.arange(width)

    def reflect(j, rows: Array) -> Array:
        row = _row(rows, j)
        tail = jnp.where(columns >= j, row, 0.0)
        lead = jnp.where(columns == j, row, 0.0)
        squared = jnp.sum(tail * tail, -1, keepdims=True)
        nonzero = squared > 0
        norm = jnp.where(nonzero, jnp.sqrt(jnp.where(nonzero, squared, 1.0)), 0.0)
        signed = jnp.where(jnp.sum(lead, -1, keepdims=True) > 0, -norm, norm)
        mirror = jnp.where(columns == j, row - signed, tail)
        half = squared - signed * jnp.sum(lead, -1, keepdims=True)
        weight = jnp.where(nonzero, 1 / jnp.where(nonzero, half, 1.0), 0.0)
        along = jnp.einsum("...ij,...j->...i", rows, mirror) * weight
        return rows - along[..., :, None] * mirror[..., None, :]

    return jnp.tril(jax.lax.fori_loop(0, size, reflect, rows)[..., :size])


def solve(matrices: Array, right: Array) -> tuple[Array, Array]:
    """Solution X of A X = B and log |det A|, for any regular A, by Gauss-Jordan elimination with partial pivoting.

    Args:
        matrices: A, [..., D, D].
        right: B, [..., D, M], of the same leading dimensions.

    Returns:
        X, [..., D, M]; infinite or NaN where A is singular. Log |det A|, [...].
    """
    size = matrices.shape[-1]
    rows = jnp.arange(size)
    shape = jnp.broadcast_shapes(matrices.shape[:-2], right.shape[:-2])
    joined = jnp.concatenate([jnp.broadcast_to(matrices, shape + matrices.shape[-2:]), jnp.broadcast_to(right, shape + right.shape[-2:])], -1)

    def eliminate(j, carry):
        joined, log_determinant = carry
        column = _column(joined, j)
        chosen = jnp.argmax(jnp.where(rows >= j, jnp.abs(column), -1.0), -1, keepdims=True)
        order = jnp.where(rows == j, chosen, jnp.where(rows == chosen, j, rows))
        joined = jnp.take_along_axis(joined, order[..., None], -2)
        pivot = _column(_row(joined, j), j)
        row = _row(joined, j) / pivot[..., None]
        factors = jnp.where(rows == j, 0.0, _column(joined, j))
        joined = joined - factors[..., :, None] * row[..., None, :]
        joined = jax.lax.dynamic_update_index_in_dim(joined, row, j, joined.ndim - 2)
        return joined, log_determinant + jnp.log(jnp.abs(pivot))

    joined, log_determinant = jax.lax.fori_loop(0, size, eliminate, (joined, jnp.zeros(shape, joined.dtype)))
    return joined[..., size:], log_determinant


def _symmetric(matrices: Array) -> Array:
    return 0.5 * (matrices + jnp.swapaxes(matrices, -1, -2))


def _row(matrices: Array, index) -> Array:
    return jax.lax.dynamic_index_in_dim(matrices, index, matrices.ndim - 2, keepdims=False)


def _column(matrices: Array, index) -> Array:
    return jax.lax.dynamic_index_in_dim(matrices, index, matrices.ndim - 1, keepdims=False)


def _substitute(triangular: Array, right: Array, order: range) -> Array:
    diagonal = jnp.diagonal(triangular, axis1=-2, axis2=-1)
    strict = triangular * (1 - jnp.eye(triangular.shape[-1], dtype=triangular.dtype))

    def row(step, solution: Array) -> Array:
        j = order.start + order.step * step
        known = jnp.einsum("...k,...km->...m", _row(strict, j), solution)
        pivot = jax.lax.dynamic_index_in_dim(diagonal, j, diagonal.ndim - 1)
        return jax.lax.dynamic_update_index_in_dim(solution, (_row(right, j) - known) / pivot, j, solution.ndim - 2)

    # Rows that are not yet solved hold zero, so that they add nothing.
    return jax.lax.fori_loop(0, len(order), row, jnp.zeros_like(right))
