"""Damped Newton for many small concave problems at once, and the pieces that regressions need for it."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from numpyro.distributions import Distribution, constraints

from latentgate.kernels.small_matrices import cholesky, solve_positive_definite

# value [row], gradient [row, D] and curvature (minus the Hessian) [row, D, D] at rows [row, D].
Evaluate = Callable[[Array], tuple[Array, Array, Array]]

# Inputs up to this many columns keep all products of two columns in memory: one matrix product then serves all states and restarts.
_MOST_COLUMNS = 16


def newton_rows(evaluate: Evaluate, start: Array, num_steps: int, bound: float | None = None) -> Array:
    """Raises the value of every row, each a problem of its own.

    Each step evaluates one candidate a row. A candidate that does not lower the row's value is taken and gives the next Newton direction with a
    full step; any other (NaN included) shortens the row's step, to 1/4, 1/64, 1/4096 ... of the full one, so that five candidates reach a billionth.
    The number of evaluations is therefore fixed, and no row ever falls.
    Where the curvature is not positive definite, its diagonal is raised to Gershgorin's bound, so the direction still ascends.

    Args:
        evaluate: see `Evaluate`; a row's results must depend on that row alone.
        start: rows [row, D].
        num_steps: candidates tried after the start.
        bound: largest absolute value of an entry, or None. An entry that is on the bound, and would be driven beyond it, is held while the others move (the
            projected Newton method of Bertsekas 1982).

    Returns:
        rows [row, D], none with a lower value than it had.
    """

    def step(carry, _):
        rows, value, direction, size, ratio = carry
        candidate = rows + size[:, None] * direction
        if bound is not None:
            candidate = jnp.clip(candidate, -bound, bound)
        found, gradient, curvature = evaluate(candidate)
        if bound is not None:
            gradient, curvature = hold_at_bound(candidate, gradient, curvature, bound)
        better = found >= value
        rows = jnp.where(better[:, None], candidate, rows)
        value = jnp.where(better, found, value)
        direction = jnp.where(better[:, None], ascent_direction(gradient, curvature), direction)
        size, ratio = jnp.where(better, 1.0, ratio * size), jnp.where(better, 0.25, 0.25 * ratio)
        return (rows, value, direction, size, ratio), None

    # The start is itself the first candidate, so that the problem is compiled once.
    ones = jnp.ones_like(start[:, 0])
    carry = (start, -jnp.inf * ones, jnp.zeros_like(start), ones, 0.25 * ones)
    (rows, *_), _ = jax.lax.scan(step, carry, None, length=num_steps + 1)
    return rows


def hold_at_bound(rows: Array, gradient: Array, curvature: Array, bound: float) -> tuple[Array, Array]:
    """Gradient [..., D] and curvature [..., D, D] with the entries of rows [..., D] left out that are on a bound and would be driven beyond it."""
    held = ((rows >= bound) & (gradient > 0)) | ((rows <= -bound) & (gradient < 0))
    apart = held[..., :, None] | held[..., None, :]
    return jnp.where(held, 0.0, gradient), jnp.where(apart, jnp.eye(rows.shape[-1], dtype=rows.dtype), curvature)


def ascent_direction(gradient: Array, curvature: Array) -> Array:
    """Newton direction [row, D]; zero where even the damped system has no solution."""
    plain = solve_positive_definite(cholesky(curvature), gradient[..., None])[..., 0]
    diagonal = jnp.diagonal(curvature, axis1=-2, axis2=-1)
    radius = jnp.abs(curvature).sum(-1) - jnp.abs(diagonal)
    largest = jnp.max(jnp.abs(diagonal) + radius, axis=-1)
    # Twice the distance to positive semi-definiteness, and a flat row moves along its gradient.
    shift = 2.0 * jnp.maximum(jnp.max(radius - diagonal, axis=-1), 0.0)
    shift = jnp.where(shift > 0, shift, jnp.where(largest > 0, largest, 1.0))
    damped_curvature = curvature + shift[..., None, None] * jnp.eye(curvature.shape[-1], dtype=curvature.dtype)
    damped = solve_positive_definite(cholesky(damped_curvature), gradient[..., None])[..., 0]
    direction = jnp.where(jnp.isfinite(plain).all(-1, keepdims=True), plain, damped)
    return jnp.where(jnp.isfinite(direction).all(-1, keepdims=True), direction, 0.0)


def value_and_derivatives(function: Callable[[Array], Array], rows: Array) -> tuple[Array, Array, Array]:
    """Value, gradient and curvature of a smooth function of rows whose result for a row depends on that row alone, by autodiff.

    Args:
        function: from rows [row, ...] to values [row].
        rows: [row, ...]; the trailing dimensions count as one of size D.

    Returns:
        values [row], gradient [row, D], curvature [row, D, D].
    """
    num_rows, size = rows.shape[0], rows[0].size
    flat = rows.reshape(num_rows, size)

    def flat_function(flat: Array) -> Array:
        return function(flat.reshape(rows.shape))

    gradient_of = jax.grad(lambda flat: flat_function(flat).sum())

    def column(direction: Array) -> Array:
        return jax.jvp(gradient_of, (flat,), (jnp.broadcast_to(direction, flat.shape),))[1]

    columns = jax.vmap(column)(jnp.eye(size, dtype=flat.dtype))
    return flat_function(flat), gradient_of(flat), -jnp.moveaxis(columns, 0, -1)


def row_log_prior(prior: Distribution, values: Array) -> Array:
    """Log-density of each row of an array [row, ...] under a prior that treats the rows independently, [row]."""
    batch_shape = values.shape[: values.ndim - len(prior.event_shape)]
    return jnp.asarray(prior.expand(batch_shape).log_prob(values)).reshape(values.shape[0], -1).sum(-1)


def fits_newton(prior: Distribution, num_dims: int) -> bool:
    """Whether a prior of an array [row, ...] of `num_dims` dimensions is over the reals and independent across rows."""
    support = prior.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return isinstance(support, type(constraints.real)) and len(prior.event_shape) < num_dims


def weighted_gram(inputs: Array, weights: Array) -> Array:
    """Σ_{s,t} weights[s, t, r] x xᵀ for inputs x [sequence, time, M]: [r, M, M]."""
    num_inputs = inputs.shape[-1]
    flat, weights = inputs.reshape(-1, num_inputs), weights.reshape(-1, weights.shape[-1])
    if num_inputs <= _MOST_COLUMNS:
        products = (flat[:, :, None] * flat[:, None, :]).reshape(-1, num_inputs**2)
        return (weights.T @ products).reshape(-1, num_inputs, num_inputs)
    return jax.lax.map(lambda weight: (flat * weight[:, None]).T @ flat, weights.T)
