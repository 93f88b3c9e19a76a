"""State paths of a discrete chain: the most probable one, and exact draws (forward filter, backward sample)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from .messages import Weights, forward
from .posterior import doubtful, lift
from .semirings import MAX, SCALED, SEMIRINGS
from .sums import compensated_sum


def most_probable_path(log_initial, log_transitions, log_nodes, lengths, backend: str) -> tuple[Array, Array]:
    """Viterbi: states [..., T] (-1 at padding) and the log-joint of the path [...]."""
    chain = lift(log_initial, log_transitions, log_nodes, lengths, MAX)
    messages, totals = forward(MAX, chain.weights, backend)
    increments = totals + chain.step_scales
    if chain.weights.active is not None:
        increments = jnp.where(chain.weights.active, increments, 0.0)

    def best(scores: Array, _) -> Array:
        return jnp.argmax(scores, -1)

    states = _trace_back(best, messages, chain.weights, jnp.add, None, backend)
    return states, compensated_sum(increments)


def sample(key, log_initial, log_transitions, log_nodes, lengths, semiring: str, backend: str) -> Array:
    """One exact draw of the states given all data, [..., T] (-1 at padding); with logarithms where scaled messages are in doubt."""
    numbers = SEMIRINGS[semiring]
    chain = lift(log_initial, log_transitions, log_nodes, lengths, numbers)
    messages, totals = forward(numbers, chain.weights, backend)
    uniforms = jax.random.uniform(key, messages.shape[:-1], messages.dtype)

    def draw(scores: Array, uniform: Array | None) -> Array:
        weights = scores if numbers is SCALED else jnp.exp(scores - scores.max(-1, keepdims=True))
        assert uniform is not None
        cumulative = jnp.cumsum(weights, -1)
        # u in [0, 1): strictly below the total, so the state drawn always has positive weight.
        return jnp.argmax(cumulative > uniform[..., None] * cumulative[..., -1:], -1)

    def drawn() -> Array:
        return _trace_back(draw, messages, chain.weights, numbers.times, uniforms, backend)

    if numbers is not SCALED:
        return drawn()
    return lax.cond(doubtful(chain.weights, totals).any(), lambda: sample(key, log_initial, log_transitions, log_nodes, lengths, "log", backend), drawn)


def _trace_back(
    choose: Callable[[Array, Array | None], Array],
    messages: Array,
    weights: Weights,
    times: Callable[[Array, Array], Array],
    uniforms: Array | None,
    backend: str,
) -> Array:
    """Choose the last state, then each earlier one given its successor; batch-major states with -1 at padding."""
    num_states = messages.shape[-1]
    active = weights.active
    last = choose(messages[-1], None if uniforms is None else uniforms[-1])
    # Column j holds the edges into state j.
    into = jnp.swapaxes(weights.edges, -1, -2)

    if backend == "associative":
        earlier = None if uniforms is None else jnp.broadcast_to(uniforms[:-1, ..., None], messages[:-1].shape)
        chosen = choose(times(messages[:-1, ..., None, :], into), earlier)
        if active is not None:
            free = choose(messages[:-1], None if uniforms is None else uniforms[:-1])
            chosen = jnp.where(active[1:, ..., None], chosen, free[..., None])
        if messages.shape[0] == 1:
            states = last[None]
        else:
            maps = lax.associative_scan(lambda later, sooner: jnp.take_along_axis(sooner, later, -1), chosen, reverse=True)
            states = jnp.concatenate([jnp.take_along_axis(maps, last[None, ..., None], -1)[..., 0], last[None]])
    else:

        def step(successor: Array, inputs):
            message, edge, uniform, is_active = inputs
            rows = jnp.broadcast_to(into if edge is None else edge, (*successor.shape, num_states, num_states))
            row = jnp.take_along_axis(rows, successor[..., None, None], -2)[..., 0, :]
            state = choose(times(message, row), uniform)
            if is_active is not None:
                state = jnp.where(is_active, state, choose(message, uniform))
            return state, state

        before = None if uniforms is None else uniforms[:-1]
        inputs = (messages[:-1], into if weights.per_step else None, before, None if active is None else active[1:])
        states = jnp.concatenate([lax.scan(step, last, inputs, reverse=True)[1], last[None]])

    if active is not None:
        states = jnp.where(active, states, -1)
    return jnp.moveaxis(states, 0, -1).astype(jnp.int32)
