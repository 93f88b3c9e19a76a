"""Filtered covariances and gains of every step: what a Gaussian chain knows before it has read the values of its data."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..small_matrices import solve, square_root, triangularise
from .potentials import Chain, Gains, at, transposed


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

    def every_step(self, num_steps: int) -> Forward:
        """The same as a table of all steps."""
        if self.last is None:
            return self
        index = jnp.minimum(jnp.arange(num_steps), self.last)
        table = self._replace(last=None)
        return jax.tree.map(lambda leaf: jnp.take(leaf, index, axis=0), table)


def forward(chain: Chain, backend: str) -> Forward:
    """Gains of every step: settled where the chain is constant, else step by step or by an associative scan."""
    if chain.constant:
        return _until_settled(chain)
    if backend == "associative" and chain.num_steps > 1:
        return _in_parallel(chain)

    def step(predicted: Array, now: Array):
        entry, predicted = _step(chain, predicted, now)
        return predicted, entry

    _, entries = jax.lax.scan(step, _first(chain), jnp.arange(chain.num_steps))
    return Forward(*entries, None)


def _step(chain: Chain, predicted: Array, now: Array) -> tuple[tuple[Gains, Array, Array], Array]:
    """The entry of one step, and the root predicted for the next."""
    gains = chain.nodes.sharpen(now, predicted)
    following = at(chain.matrix, now) @ gains.root
    noise = jnp.broadcast_to(at(chain.noise, now), following.shape)
    return _entry(chain, gains, now), triangularise(jnp.concatenate([following, noise], -1))


def _entry(chain: Chain, gains: Gains, now: Array) -> tuple[Gains, Array, Array]:
    matrix = at(chain.matrix, jnp.maximum(now - 1, 0))
    return gains, gains.closed @ matrix, transposed(matrix) @ gains.seen @ matrix


def _first(chain: Chain) -> Array:
    """Root of the first predicted covariance, with the batch dimensions that those of later steps have."""
    return jnp.broadcast_to(chain.root, (*chain.covariance_batch, *chain.root.shape[-2:]))


def _until_settled(chain: Chain) -> Forward:
    """The Riccati recursion until it stands still to rounding; the table beyond that step is empty."""
    first = _first(chain)
    entry = jax.eval_shape(lambda: _step(chain, first, jnp.int32(0))[0])
    tables = jax.tree.map(lambda leaf: jnp.zeros((chain.num_steps, *leaf.shape), leaf.dtype), entry)
    rounding = 4 * jnp.finfo(first.dtype).eps

    def moving(state: tuple[Array, Array, Any, Array]) -> Array:
        now, _, _, settled = state
        return (now < chain.num_steps) & ~settled

    def advance(state: tuple[Array, Array, Any, Array]):
        now, predicted, tables, _ = state
        entry, following = _step(chain, predicted, now)
        tables = jax.tree.map(lambda table, value: jax.lax.dynamic_update_index_in_dim(table, value, now, 0), tables, entry)
        return now + 1, following, tables, _still(predicted, following, rounding)

    end, _, tables, _ = jax.lax.while_loop(moving, advance, (jnp.int32(0), first, tables, jnp.asarray(False)))
    return Forward(*tables, end - 1)


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


def _in_parallel(chain: Chain) -> Forward:
    """Särkkä & García-Fernández 2021, with the covariances alone; means follow by an affine scan, and the likelihood afterwards, step by step."""
    num_steps = chain.num_steps
    steps = jnp.arange(num_steps)
    sharpen = jax.vmap(chain.nodes.sharpen)
    noise = _each_step(chain.noise, num_steps - 1)
    first = _first(chain)
    unseen = jnp.concatenate([first[None], jnp.broadcast_to(noise, (num_steps - 1, *first.shape))])
    matrix = _each_step(chain.matrix, num_steps - 1)
    matrix = jnp.concatenate([jnp.zeros_like(matrix[:1]), matrix])
    gains = sharpen(steps, unseen)
    precision = transposed(matrix) @ gains.seen @ matrix
    start = _Element(gains.closed @ matrix, gains.covariance, jnp.broadcast_to(precision, gains.covariance.shape))
    start = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, gains.covariance.shape), start)
    filtered = jax.lax.associative_scan(_combine, start).covariance
    before = square_root(filtered[:-1])
    predicted = triangularise(jnp.concatenate([matrix[1:] @ before, jnp.broadcast_to(noise, before.shape)], -1))
    gains = sharpen(steps, jnp.concatenate([first[None], predicted]))
    return Forward(*jax.vmap(lambda gains, now: _entry(chain, gains, now))(gains, steps), None)


def _combine(earlier: _Element, later: _Element) -> _Element:
    size = earlier.covariance.shape[-1]
    # (I + C J)⁻¹ [A, C] needs no inverse of C or J.
    inner = jnp.eye(size, dtype=earlier.covariance.dtype) + earlier.covariance @ later.precision
    solution, _ = solve(inner, jnp.concatenate([earlier.matrix, earlier.covariance], -1))
    matrix, covariance = solution[..., :size], solution[..., size:]
    covariance = later.matrix @ covariance @ transposed(later.matrix) + later.covariance
    precision = transposed(earlier.matrix) @ later.precision @ matrix + earlier.precision
    return _Element(later.matrix @ matrix, 0.5 * (covariance + transposed(covariance)), 0.5 * (precision + transposed(precision)))


def _each_step(array: Array, num_steps: int) -> Array:
    return jnp.broadcast_to(array, (num_steps, *array.shape[1:]))
