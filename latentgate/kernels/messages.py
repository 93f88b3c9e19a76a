"""Forward and backward messages of a discrete chain, sequentially or by an associative scan, in any semiring.

Everything here is time-major: nodes [T, ..., K]; edges [..., K, K] (constant) or [T-1, ..., K, K] (per step).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from .semirings import Semiring


class Weights(NamedTuple):
    """A chain's potentials lifted into a semiring.

    Attributes:
        initial: [..., K].
        edges: [..., K, K] or [T-1, ..., K, K].
        nodes: [T, ..., K].
        per_step: whether `edges` has a leading time axis.
        active: bool [T, ...], False at padding; None if nothing is padded.
    """

    initial: Array
    edges: Array
    nodes: Array
    per_step: bool
    active: Array | None


def forward(semiring: Semiring, weights: Weights, backend: str) -> tuple[Array, Array]:
    """Filtered weights [T, ..., K], each step normalised, and the totals [T, ...] that were divided out.

    Padding is not looked at: it comes last, so it cannot reach a real step.
    """
    passing = _forward_associative if backend == "associative" else _forward_sequential
    return passing(semiring, weights)


def backward(semiring: Semiring, weights: Weights, backend: str) -> tuple[Array, Array]:
    """Evidence of the future, for the steps 0 ... T-2.

    Returns:
        ahead: [T-1, ..., K], node weight times backward message at t + 1, normalised; zero where t + 1 is padding.
        behind: [T-1, ..., K], edges times `ahead`: the backward message at t; one where t + 1 is padding.
    """
    passing = _backward_associative if backend == "associative" else _backward_sequential
    return passing(semiring, weights)


def _forward_sequential(semiring: Semiring, weights: Weights) -> tuple[Array, Array]:
    def absorb(predicted: Array, node: Array) -> tuple[Array, Array]:
        return semiring.normalise(semiring.times(predicted, node))

    predicted = jnp.broadcast_to(weights.initial, weights.nodes.shape[1:])
    if not weights.per_step:

        def constant_step(predicted: Array, node: Array):
            filtered, total = absorb(predicted, node)
            return semiring.vector_matrix(filtered, weights.edges), (filtered, total)

        return lax.scan(constant_step, predicted, weights.nodes)[1]

    def step(filtered: Array, inputs: tuple[Array, Array]):
        node, edge = inputs
        filtered, total = absorb(semiring.vector_matrix(filtered, edge), node)
        return filtered, (filtered, total)

    first, first_total = absorb(predicted, weights.nodes[0])
    _, (rest, rest_totals) = lax.scan(step, first, (weights.nodes[1:], weights.edges))
    return jnp.concatenate([first[None], rest]), jnp.concatenate([first_total[None], rest_totals])


def _backward_sequential(semiring: Semiring, weights: Weights) -> tuple[Array, Array]:
    backwards = jnp.swapaxes(weights.edges, -1, -2)
    active = None if weights.active is None else weights.active[1:, ..., None]

    def step(message: Array, inputs):
        node, edge, is_active = inputs
        # Normalised before the product, not after: XLA then keeps the vector instead of recomputing it for every entry of the matrix.
        ahead, _ = semiring.normalise(semiring.times(node, message))
        behind = semiring.vector_matrix(ahead, backwards if edge is None else edge)
        if is_active is not None:
            ahead = jnp.where(is_active, ahead, semiring.zero)
            behind = jnp.where(is_active, behind, semiring.one)
        return behind, (ahead, behind)

    last = jnp.full_like(weights.nodes[0], semiring.one)
    return lax.scan(step, last, (weights.nodes[1:], backwards if weights.per_step else None, active), reverse=True)[1]


def _step_matrices(semiring: Semiring, weights: Weights) -> Array:
    """Edge into t + 1 times node at t + 1, [T-1, ..., K, K]; the semiring's identity where t + 1 is padding."""
    nodes = weights.nodes[1:, ..., None, :]
    edges = weights.edges if weights.per_step else weights.edges[None]
    matrices = semiring.times(jnp.broadcast_to(edges, nodes.shape[:-2] + edges.shape[-2:]), nodes)
    if weights.active is None:
        return matrices
    num_states = weights.nodes.shape[-1]
    identity = jnp.where(jnp.eye(num_states, dtype=bool), semiring.one, semiring.zero).astype(matrices.dtype)
    return jnp.where(weights.active[1:, ..., None, None], matrices, identity)


def _forward_associative(semiring: Semiring, weights: Weights) -> tuple[Array, Array]:
    start = semiring.times(jnp.broadcast_to(weights.initial, weights.nodes.shape[1:]), weights.nodes[0])
    first, first_total = semiring.normalise(start)
    if weights.nodes.shape[0] == 1:
        return first[None], first_total[None]
    rows, row_weights = lax.associative_scan(semiring.join, semiring.summarise(_step_matrices(semiring, weights)))
    # Totals are settled afterwards, step by step, so no sum of logarithms travels through the scan.
    entered, _ = semiring.lift(semiring.log(first) + row_weights, (first.ndim,))
    reached = semiring.vector_matrix(entered, rows)
    rest, _ = semiring.normalise(reached)
    filtered = jnp.concatenate([first[None], rest])
    predicted = semiring.vector_matrix(filtered[:-1], weights.edges)
    _, totals = semiring.normalise(semiring.times(predicted, weights.nodes[1:]))
    return filtered, jnp.concatenate([first_total[None], totals])


def _backward_associative(semiring: Semiring, weights: Weights) -> tuple[Array, Array]:
    if weights.nodes.shape[0] == 1:
        empty = jnp.zeros_like(weights.nodes[1:])
        return empty, empty
    summaries = semiring.summarise(_step_matrices(semiring, weights))
    # In a reversed scan JAX hands over the later segment first.
    _, row_weights = lax.associative_scan(lambda later, earlier: semiring.join(earlier, later), summaries, reverse=True)
    messages, _ = semiring.lift(row_weights, (row_weights.ndim - 1,))
    messages = jnp.concatenate([messages[1:], jnp.full_like(messages[:1], semiring.one)])
    ahead, _ = semiring.normalise(semiring.times(weights.nodes[1:], messages))
    behind = semiring.vector_matrix(ahead, jnp.swapaxes(weights.edges, -1, -2))
    if weights.active is not None:
        active = weights.active[1:, ..., None]
        ahead, behind = jnp.where(active, ahead, semiring.zero), jnp.where(active, behind, semiring.one)
    return ahead, behind
