"""The number systems in which a chain's messages are passed.

One forward and one backward recursion serve three semirings: `SCALED` (non-negative weights, renormalised at every step; the fast one),
`LOG` (log-weights under log-sum-exp; for near-deterministic chains) and `MAX` (log-weights under the maximum; the most probable path).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
from jax import Array, lax

# Written-out sums over the states beat XLA's dot and reduce inside a loop body up to about this many states (CPU, JAX 0.12).
UNROLLED_STATES = 16


@dataclass(frozen=True)
class Semiring:
    """A strategy object: what "times", "sum" and "one" mean for messages.

    Attributes:
        name: as users spell it.
        one: the neutral weight.
        zero: the weight of an impossible state.
        lift: log-potentials [..., K] and the axes to take the maximum over -> (weights, log-scale taken out).
        times: elementwise product of weights.
        divide: elementwise quotient; a divisor of zero weight leaves the dividend as it is.
        vector_matrix: p [..., K], A [..., K, K] -> [..., K].
        normalise: p [..., K] -> (p over its total, total [...]).
        log: a total as a logarithm.
        join: associative product of two segment summaries (see `summarise`).
        summarise: step matrices [..., K, K] -> segment summary, a pair (matrix, log-weight per row).
    """

    name: str
    one: float
    zero: float
    lift: Callable[[Array, tuple[int, ...]], tuple[Array, Array]]
    times: Callable[[Array, Array], Array]
    divide: Callable[[Array, Array], Array]
    vector_matrix: Callable[[Array, Array], Array]
    normalise: Callable[[Array], tuple[Array, Array]]
    log: Callable[[Array], Array]
    summarise: Callable[[Array], tuple[Array, Array]]
    join: Callable[[tuple[Array, Array], tuple[Array, Array]], tuple[Array, Array]]


def safe_log(x: Array) -> Array:
    """Log x with log 0 = -inf and a zero, not infinite, derivative there."""
    positive = x > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, x, 1.0)), -jnp.inf)


def _finite_max(x: Array, axis: int | tuple[int, ...], keepdims: bool = True) -> Array:
    largest = lax.stop_gradient(jnp.max(x, axis=axis, keepdims=keepdims))
    return jnp.where(jnp.isfinite(largest), largest, 0.0)


def _lift_to_weights(log_x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    scale = _finite_max(log_x, axes)
    return jnp.exp(log_x - scale), jnp.squeeze(scale, axes)


def _keep_logs(log_x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    return log_x, jnp.zeros_like(jnp.max(log_x, axis=axes))


def _vector_matrix_scaled(p: Array, matrix: Array) -> Array:
    num_states = p.shape[-1]
    if num_states <= UNROLLED_STATES:
        return sum(p[..., i, None] * matrix[..., i, :] for i in range(num_states))  # pyright: ignore[reportReturnType]
    if p.size == num_states:
        return (p[..., :, None] * matrix).sum(-2)
    return jnp.einsum("...i,...ij->...j", p, matrix)


def _divide_scaled(dividend: Array, divisor: Array) -> Array:
    return dividend / jnp.where(divisor > 0, divisor, 1.0)


def _divide_logs(dividend: Array, divisor: Array) -> Array:
    return dividend - jnp.where(jnp.isfinite(divisor), divisor, 0.0)


def _normalise_scaled(p: Array) -> tuple[Array, Array]:
    total = p.sum(-1)
    return _divide_scaled(p, total[..., None]), total


def log_sum_exp(x: Array, axis: int) -> Array:
    """Log Σ exp over one axis; -inf where every entry is -inf, with finite derivatives everywhere."""
    largest = _finite_max(x, axis)
    return safe_log(jnp.exp(x - largest).sum(axis)) + jnp.squeeze(largest, axis)


def _vector_matrix_log(p: Array, matrix: Array) -> Array:
    return log_sum_exp(p[..., :, None] + matrix, -2)


def _normalise_log(p: Array) -> tuple[Array, Array]:
    total = log_sum_exp(p, -1)
    return _divide_logs(p, total[..., None]), total


def _vector_matrix_max(p: Array, matrix: Array) -> Array:
    return (p[..., :, None] + matrix).max(-2)


def _normalise_max(p: Array) -> tuple[Array, Array]:
    total = p.max(-1)
    return _divide_logs(p, total[..., None]), total


def _rows_normalised(normalise: Callable[[Array], tuple[Array, Array]], log: Callable[[Array], Array], matrix: Array):
    """A segment as p(state at its end | state before it) and log p(its data | state before it), up to a constant."""
    rows, totals = normalise(matrix)
    return rows, _relative(log(totals))


def _relative(row_weights: Array) -> Array:
    # Only ratios between rows are ever used; without this, float32 loses them as the sums of logarithms grow.
    return row_weights - _finite_max(row_weights, -1)


def _join_scaled(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    rows, weight = first
    next_rows, next_weight = second
    # Each row keeps its own scale: a row that is hopeless against its neighbours may be the only one that is ever entered.
    reachable = safe_log(rows) + next_weight[..., None, :]
    scale = _finite_max(reachable, -1)
    product = jnp.einsum("...ij,...jk->...ik", jnp.exp(reachable - scale), next_rows)
    joined, totals = _normalise_scaled(product)
    return joined, _relative(weight + safe_log(totals) + scale[..., 0])


def _join_logs(vector_matrix, normalise, first: tuple[Array, Array], second: tuple[Array, Array]):
    rows, weight = first
    next_rows, next_weight = second
    product = vector_matrix(rows, (next_rows + next_weight[..., :, None])[..., None, :, :])
    joined, totals = normalise(product)
    return joined, _relative(weight + totals)


SCALED = Semiring(
    name="scaled",
    one=1.0,
    zero=0.0,
    lift=_lift_to_weights,
    times=jnp.multiply,
    divide=_divide_scaled,
    vector_matrix=_vector_matrix_scaled,
    normalise=_normalise_scaled,
    log=safe_log,
    summarise=partial(_rows_normalised, _normalise_scaled, safe_log),
    join=_join_scaled,
)
LOG = Semiring(
    name="log",
    one=0.0,
    zero=-jnp.inf,
    lift=_keep_logs,
    times=jnp.add,
    divide=_divide_logs,
    vector_matrix=_vector_matrix_log,
    normalise=_normalise_log,
    log=lambda total: total,
    summarise=partial(_rows_normalised, _normalise_log, lambda total: total),
    join=partial(_join_logs, _vector_matrix_log, _normalise_log),
)
MAX = Semiring(
    name="max",
    one=0.0,
    zero=-jnp.inf,
    lift=_keep_logs,
    times=jnp.add,
    divide=_divide_logs,
    vector_matrix=_vector_matrix_max,
    normalise=_normalise_max,
    log=lambda total: total,
    summarise=partial(_rows_normalised, _normalise_max, lambda total: total),
    join=partial(_join_logs, _vector_matrix_max, _normalise_max),
)
SEMIRINGS = {"scaled": SCALED, "log": LOG}
