"""`jax.vmap` of a chain is a chain with one more batch dimension.

JAX's own batching turns `lax.cond` into a select, which runs both branches: every vmapped chain (restarts, samplers' chains) would pay for the log
semiring that only doubtful chains need. The kernels take leading batch dimensions natively, so vmap hands the mapped axis to them instead.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap


@lru_cache
def natively_batched(question: Callable[..., Any], semiring: str, backend: str) -> Callable[..., Any]:
    """`question(log_initial, log_transitions, log_nodes, lengths, semiring, backend)` as a function of its arrays that vmap extends by a batch dimension."""

    @custom_vmap
    def ask(log_initial: Array, log_transitions: Array, log_nodes: Array, lengths: Array | None):
        return question(log_initial, log_transitions, log_nodes, lengths, semiring, backend)

    @ask.def_vmap
    def _(axis_size: int, in_batched: Any, log_initial: Array, log_transitions: Array, log_nodes: Array, lengths: Array | None):
        initial_mapped, transitions_mapped, nodes_mapped, lengths_mapped = in_batched
        batch_rank = log_nodes.ndim - nodes_mapped - 2
        per_step = log_transitions.ndim - transitions_mapped == batch_rank + 3
        if not nodes_mapped:
            log_nodes = jnp.broadcast_to(log_nodes, (axis_size, *log_nodes.shape))
        if lengths is not None:
            lengths = _with_rank(lengths, batch_rank, lengths_mapped)
        batched = ask(
            _with_rank(log_initial, batch_rank + 1, initial_mapped),
            _with_rank(log_transitions, batch_rank + (3 if per_step else 2), transitions_mapped),
            log_nodes,
            lengths,
        )
        return batched, jax.tree.map(lambda _: True, batched)

    # What JAX knows of `custom_vmap` does not reach to transposition, so derivatives of an answer are those of the plain recursion.
    @jax.custom_jvp
    def answer(*chain):
        return ask(*chain)

    @answer.defjvp
    def _(primals, tangents):
        return jax.jvp(lambda *chain: question(*chain, semiring, backend), primals, tangents)

    return answer


@lru_cache
def natively_batched_tree(question: Callable[..., Any], *options: str) -> Callable[[Any], Any]:
    """The same for `question(arrays, *options)` of one pytree, each of whose leaves has every batch dimension, of size one where it does not use it."""

    @custom_vmap
    def ask(arrays: Any):
        return question(arrays, *options)

    @ask.def_vmap
    def _(axis_size: int, in_batched: Any, arrays: Any):
        (mapped,) = in_batched
        batched = ask(jax.tree.map(lambda leaf, own: leaf if own else leaf[None], arrays, mapped))
        own = jax.tree.map(lambda leaf: leaf.shape[0] == axis_size and axis_size > 1, batched)
        return jax.tree.map(lambda leaf, own: leaf if own else leaf[0], batched, own), own

    @jax.custom_jvp
    def answer(arrays: Any):
        return ask(arrays)

    @answer.defjvp
    def _(primals, tangents):
        return jax.jvp(lambda arrays: question(arrays, *options), primals, tangents)

    return answer


@custom_vmap
def largest(values: Array) -> Array:
    """The largest of numbers that are not negative, over what vmap maps as well: a condition on it stays one, where vmap would make it a select of all ways."""
    return jnp.max(values, initial=0)


@largest.def_vmap
def _(axis_size: int, in_batched: list[bool], values: Array) -> tuple[Array, bool]:
    return largest(values), False


def _with_rank(array: Array, rank: int, mapped: bool) -> Array:
    """Leading dimension mapped, or of size one, before `rank` others: where there are fewer, ones are put in."""
    missing = rank + mapped - array.ndim
    return array.reshape(*(array.shape[:1] if mapped else (1,)), *[1] * missing, *array.shape[mapped:])
