"""Filtered covariances and gains of every step: what a Gaussian chain knows before it has read the values of its data."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..small_matrices import solve, solve_triangular, square_root, triangularise
from .potentials import Chain, Gains, Rows, Settled, at, transposed


class Forward(NamedTuple):
    """Gains of every step, as a table of the steps that differ.

    Attributes:
        gains: leaves [step, ...].
        transition: filtered mean per filtered mean before, [step, ..., d, d].
        informed: AᵀVA: what the data at a step say of the latent before, [step, ..., d, d].
        last: the step from which on nothing changes, scalar; None where the table holds every step.
    """

    gains: Gains
    transition: Array
    informed: Array
    last: Array | None

    def lazily(self) -> tuple[Gains, Array | Settled]:
        """Gains and Φ of every step, to be multiplied with vectors."""
        last = self.last
        if last is None:
            return self.gains, self.transition
        gains = Gains(*(Settled(leaf, last) for leaf in self.gains))
        return gains._replace(log_volume=gains.log_volume.every_step()), Settled(self.transition, last)

    def every_step(self) -> Forward:
        """The same as a table of all steps."""
        last = self.last
        if last is None:
            return self
        return jax.tree.map(lambda leaf: Settled(leaf, last).every_step(), self._replace(last=None))


def forward(chain: Chain, backend: str) -> Forward:
    """Gains of every step: settled where the chain is constant, else step by step or by an associative scan."""
    if chain.constant:
        return _until_settled(chain)
    steps = jnp.arange(chain.num_steps)
    if backend == "associative" and chain.num_steps > 1:
        joint = _in_parallel(chain)
    else:

        def step(predicted: Array, now: Array):
            joint = _see(chain, predicted, now)
            return _predict(chain, joint, now), joint

        joint = jax.lax.scan(step, _first(chain), steps)[1]
    return Forward(*_entry(chain, joint, chain.row_matrix, matrix_into(chain)), None)


def matrix_into(chain: Chain) -> Array:
    """A of the edge into each step, [1 or T, ..., d, d]; the first step's is never used."""
    if chain.matrix.shape[0] == 1:
        return chain.matrix
    return jnp.concatenate([chain.matrix[:1], chain.matrix])


def _see(chain: Chain, predicted: Array, now: Array) -> Array:
    """Roots of the innovations' covariance and of the filtered covariance, and what ties them, in one triangularisation.

    Args:
        chain: the chain.
        predicted: X with X Xᵀ the predicted covariance, [..., d, M].
        now: the step.
    """
    matrix, noise = at(chain.row_matrix, now), at(chain.row_noise, now)
    *batch, size, _ = predicted.shape
    num_rows = matrix.shape[-2]
    above = jnp.concatenate([matrix @ predicted, jnp.broadcast_to(noise, (*batch, num_rows, num_rows))], -1)
    below = jnp.concatenate([predicted, jnp.zeros((*batch, size, num_rows), predicted.dtype)], -1)
    return triangularise(jnp.concatenate([above, below], -2))


def _predict(chain: Chain, joint: Array, now: Array) -> Array:
    """X of the next step, see `_see`."""
    size = chain.root.shape[-1]
    following = at(chain.matrix, now) @ joint[..., -size:, -size:]
    return jnp.concatenate([following, jnp.broadcast_to(at(chain.noise, now), following.shape)], -1)


def _entry(chain: Chain, joint: Array, rows: Array, matrix: Array) -> tuple[Gains, Array, Array]:
    """What `Forward` keeps of a step: its gains, Φ, AᵀVA."""
    num_rows, size = rows.shape[-2:]
    innovation, shared, root = joint[..., :num_rows, :num_rows], joint[..., num_rows:, :num_rows], joint[..., num_rows:, num_rows:]
    whitener = solve_triangular(innovation, jnp.eye(num_rows, dtype=joint.dtype))
    whitened = whitener @ rows
    covariance = root @ transposed(root)
    closed = jnp.eye(size, dtype=joint.dtype) - shared @ whitened
    gain = shared @ whitener if isinstance(chain.nodes, Rows) else covariance
    volume = jnp.log(jnp.abs(jnp.diagonal(innovation, axis1=-2, axis2=-1))).sum(-1)
    informed = whitened @ matrix
    return Gains(root, covariance, closed, gain, transposed(whitened) @ whitened, whitener, volume), closed @ matrix, transposed(informed) @ informed


def _first(chain: Chain) -> Array:
    """X of the first step, see `_see`: as wide as those of later steps, and with their batch dimensions."""
    root = jnp.broadcast_to(chain.root, (*chain.covariance_batch, *chain.root.shape[-2:]))
    return jnp.concatenate([root, jnp.zeros_like(root)], -1)


def _until_settled(chain: Chain) -> Forward:
    """The Riccati recursion until it stands still to rounding; the table beyond that step is empty."""
    size = chain.root.shape[-1]

    def step(predicted: Array):
        joint = _see(chain, predicted, jnp.int32(0))
        return _predict(chain, joint, jnp.int32(0)), _entry(chain, joint, chain.row_matrix[0], chain.matrix[0]), joint[..., -size:, -size:]

    first = _first(chain)
    predicted, entry, root = step(first)
    tables = jax.tree.map(lambda leaf: jnp.zeros((chain.num_steps, *leaf.shape), leaf.dtype).at[0].set(leaf), entry)
    rounding = float(4 * jnp.finfo(first.dtype).eps)

    def moving(state: tuple[Array, Array, Array, Any, Array]) -> Array:
        return (state[0] < chain.num_steps) & ~state[-1]

    def advance(state: tuple[Array, Array, Array, Any, Array]):
        now, predicted, before, tables, _ = state
        following, entry, root = step(predicted)
        tables = jax.tree.map(lambda table, value: jax.lax.dynamic_update_index_in_dim(table, value, now, 0), tables, entry)
        return now + 1, following, root, tables, _still(before, root, rounding)

    end, _, _, tables, _ = jax.lax.while_loop(moving, advance, (jnp.int32(1), predicted, root, tables, jnp.asarray(False)))
    gains, transition, informed = tables
    return Forward(gains, transition, informed, end - 1)


def _still(before: Array, after: Array, rounding: float) -> Array:
    """Whether no entry of C Cᵀ has moved by more than rounding, measured by the standard deviations; NaN counts as still."""
    old, new = before @ transposed(before), after @ transposed(after)
    deviation = jnp.sqrt(jnp.diagonal(new, axis1=-2, axis2=-1))
    return ~jnp.any(jnp.abs(new - old) > rounding * deviation[..., :, None] * deviation[..., None, :])


class _Element(NamedTuple):
    """Law of a latent given an earlier one and the data between: mean A z + ..., covariance C, and the precision J of those data about the earlier one."""

    matrix: Array
    covariance: Array
    precision: Array


def _in_parallel(chain: Chain) -> Array:
    """Särkkä & García-Fernández 2021, with the covariances alone; means follow by an affine scan, and the likelihood afterwards, step by step.

    Returns:
        what `_see` returns, of every step.
    """
    num_steps = chain.num_steps
    see = jax.vmap(lambda predicted, now: _see(chain, predicted, now))
    steps = jnp.arange(num_steps)
    first = _first(chain)
    size = first.shape[-2]
    noise = jnp.broadcast_to(chain.noise, (num_steps - 1, *first.shape[:-1], size))
    unseen = jnp.concatenate([noise, jnp.zeros_like(noise)], -1)
    matrix = matrix_into(chain).at[0].set(0.0) if chain.matrix.shape[0] > 1 else _after_nothing(chain.matrix, num_steps)
    gains, transition, informed = _entry(chain, see(jnp.concatenate([first[None], unseen]), steps), chain.row_matrix, matrix)
    elements = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, gains.covariance.shape), _Element(transition, gains.covariance, informed))
    before = square_root(jax.lax.associative_scan(_combine, elements).covariance[:-1])
    predicted = jnp.concatenate([matrix[1:] @ before, noise], -1)
    return see(jnp.concatenate([first[None], predicted]), steps)


def _after_nothing(matrix: Array, num_steps: int) -> Array:
    """A constant A for every step, with nothing before the first, [T, ..., d, d]."""
    return jnp.broadcast_to(matrix, (num_steps, *matrix.shape[1:])).at[0].set(0.0)


def _combine(earlier: _Element, later: _Element) -> _Element:
    size = earlier.covariance.shape[-1]
    # (I + C J)⁻¹ [A, C] needs no inverse of C or J.
    inner = jnp.eye(size, dtype=earlier.covariance.dtype) + earlier.covariance @ later.precision
    solution, _ = solve(inner, jnp.concatenate([earlier.matrix, earlier.covariance], -1))
    matrix, covariance = solution[..., :size], solution[..., size:]
    covariance = later.matrix @ covariance @ transposed(later.matrix) + later.covariance
    precision = transposed(earlier.matrix) @ later.precision @ matrix + earlier.precision
    return _Element(later.matrix @ matrix, 0.5 * (covariance + transposed(covariance)), 0.5 * (precision + transposed(precision)))
