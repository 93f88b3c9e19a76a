"""Levenberg-Marquardt steps for many weighted nonlinear least-squares problems at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.kernels.small_matrices import cholesky, solve_positive_definite

from ..newton import value_and_derivatives

# Candidates of an M-step: far from the maximum some fail, and only raise the damping.
_CANDIDATES = 6
# Damping of the first candidate, in units of the diagonal, and what a candidate that raises the value, or does not, multiplies it by. With a hundredth of it
# starts of gated regressions leapt into poor maxima twice as often.
_DAMPING, _BETTER, _WORSE = 0.1, 0.1, 30.0
# Beyond this many parameters in one problem the matrix costs more than it saves; take L-BFGS there.
MOST_PARAMETERS = 600
# Steps whose derivatives are in memory together.
_BLOCK = 8192


def levenberg_marquardt(
    mean: Callable[[Array, Any], Array],
    log_prior: Callable[[Array], Array],
    start: Array,
    inputs: Any,
    values: Array,
    weights: Array,
    variances: Array,
) -> Array:
    """Rows that do not lower -½ Σ weights · (value - mean)² / variance + log-prior, each row a problem of its own.

    Second derivatives of the mean are left out of the curvature, which is then never negative, and its diagonal is raised as long as steps fail: far from the
    maximum, and where units are saturated, an undamped step would be thousands of times too long. The number of evaluations is fixed.

    Args:
        mean: (row [P], inputs of one step) -> mean, scalar.
        log_prior: of rows [R, P], [R]; smooth.
        start: rows [R, P].
        inputs: arrays [step, ...], in any container.
        values: [step].
        weights: [R, step].
        variances: [R].

    Returns:
        rows [R, P].
    """
    # Block by block and row by row: derivatives [step, P] of all steps and rows at once would not fit where it matters.
    num_steps = values.shape[0]
    block = min(num_steps, _BLOCK)
    blocks = -(-num_steps // block)

    def in_blocks(array: Array) -> Array:
        padded = jnp.pad(array, [(0, blocks * block - num_steps), *[(0, 0)] * (array.ndim - 1)])
        return padded.reshape(blocks, block, *array.shape[1:])

    blocked_inputs, blocked_values = jax.tree.map(in_blocks, inputs), in_blocks(values)
    blocked_weights = jax.vmap(in_blocks)(weights)

    def one(problem: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        row, weight, variance = problem

        def add(total, now):
            given, value, weight = now
            predicted, slope = jax.vmap(jax.value_and_grad(mean), (None, 0))(row, given)
            used = weight > 0
            residual, slope = jnp.where(used, value - predicted, 0.0), jnp.where(used[:, None], slope, 0.0)
            terms = (-0.5 * jnp.sum(weight * residual**2), (weight * residual) @ slope, (slope * weight[:, None]).T @ slope)
            return tuple(sofar + term for sofar, term in zip(total, terms, strict=True)), None

        nothing = (jnp.zeros((), row.dtype), jnp.zeros_like(row), jnp.zeros((row.size, row.size), row.dtype))
        (value, gradient, curvature), _ = jax.lax.scan(add, nothing, (blocked_inputs, blocked_values, weight))
        return value / variance, gradient / variance, curvature / variance

    def evaluate(rows: Array) -> tuple[Array, Array, Array]:
        value, gradient, curvature = value_and_derivatives(log_prior, rows)
        seen_value, seen_gradient, seen_curvature = jax.lax.map(one, (rows, blocked_weights, variances))
        return value + seen_value, gradient + seen_gradient, curvature + seen_curvature

    def step(carry, _):
        rows, value, gradient, curvature, damping = carry
        diagonal = jnp.diagonal(curvature, axis1=-2, axis2=-1)
        # A parameter that nothing depends on here stays.
        raised = damping[:, None] * diagonal + jnp.where(diagonal > 0, 0.0, 1.0)
        system = curvature + raised[:, :, None] * jnp.eye(rows.shape[-1], dtype=rows.dtype)
        candidate = rows + solve_positive_definite(cholesky(system), gradient[..., None])[..., 0]
        found = (candidate, *evaluate(candidate))
        # Written so that NaN counts as a failure.
        better = found[1] >= value
        kept = (jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old) for new, old in zip(found, carry[:4], strict=True))
        return (*kept, jnp.where(better, _BETTER, _WORSE) * damping), None

    # From a value of -inf and a gradient of zero the first candidate is the start itself, so that the problem is compiled once.
    size = start.shape[-1]
    blank = (jnp.full_like(start[:, 0], -jnp.inf), jnp.zeros_like(start), jnp.broadcast_to(jnp.eye(size, dtype=start.dtype), (*start.shape, size)))
    carry = (start, *blank, jnp.full_like(start[:, 0], _DAMPING / _BETTER))
    (rows, *_), _ = jax.lax.scan(step, carry, None, length=_CANDIDATES + 1)
    return rows
