"""What can be read off a generator: stationary law, sojourns, passages, occupation, time scales, currents and entropy production.

Every function takes generators [..., K, K] (q_ij the rate from i to j per unit time, rows that sum to zero) and uses their off-diagonal entries, so that the
diagonal's rounding does not matter. Linear systems are eliminated without a subtraction (Grassmann, Taksar, Heyman), so that answers are as accurate for
rates of 1e-12 as for rates of one. All can be differentiated, but where an answer is infinite, NaN, or an eigenvalue repeats.

Source: Grassmann, Taksar, Heyman, Oper. Res. 33:1107 (1985); Norris, Markov Chains (1997), chapter 3; Schnakenberg, Rev. Mod. Phys. 48:571 (1976).
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from . import scaling
from .elimination import absorbed, eliminated, off_diagonal, reached

Target = ArrayLike | Sequence[int]


@jax.jit
def stationary_law(generator: ArrayLike) -> Array:
    """The law that does not change with time, [..., K].

    States that are left for good have probability zero. Where there are several closed classes (two absorbing states, say) no one law is stationary, where the
    chain ends depends on where it began, and all entries are NaN.

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.generators.summaries import stationary_law
        >>> stationary_law(jnp.array([[-1.0, 1.0], [3.0, -3.0]])).tolist()
        [0.75, 0.25]
    """
    return eliminated(off_diagonal(generator))


@jax.jit
def mean_sojourn_times(generator: ArrayLike) -> Array:
    """Mean time of a stay in each state, [..., K]; infinite where a state is absorbing."""
    return _over(1.0, jnp.sum(off_diagonal(generator), -1))


@jax.jit
def jump_probabilities(generator: ArrayLike) -> Array:
    """The embedded chain: where a jump from i leads, [..., K, K]; an absorbing state leads to itself."""
    rates = off_diagonal(generator)
    leaving = jnp.sum(rates, -1, keepdims=True)
    identity = jnp.eye(rates.shape[-1], dtype=rates.dtype)
    return jnp.where(leaving > 0, rates / jnp.where(leaving > 0, leaving, 1.0), identity)


def hitting_probabilities(generator: ArrayLike, target: Target) -> Array:
    """Probability ever to be in the target, from each state, [..., K].

    Args:
        generator: [..., K, K].
        target: the states aimed at: one state, several, or a mask, bool [K].

    Raises:
        ValueError: for flags of another number than K, a state that does not exist, or a target that is neither flags nor numbers.
    """
    rates = off_diagonal(generator)
    inside = _mask(target, rates.shape[-1])
    outward = jnp.where(inside[:, None], 0.0, rates)
    possible = jnp.any(reached(outward) & inside, -1)
    between = outward * (possible & ~inside)[..., None, :]
    into = jnp.sum(outward * inside, -1)
    lost = jnp.sum(outward * ~possible[..., None, :], -1)
    solution = absorbed(between, jnp.where(possible & ~inside, into + lost, 1.0), jnp.where(possible & ~inside, into, 0.0))
    return jnp.where(inside, 1.0, jnp.where(possible, solution, 0.0))


def first_passage_times(generator: ArrayLike, target: Target) -> Array:
    """Mean time until the target is first entered, from each state, [..., K]; zero inside it, infinite where it may never be entered.

    Args:
        generator: [..., K, K].
        target: the states aimed at: one state, several, or a mask, bool [K].

    Raises:
        ValueError: for flags of another number than K, a state that does not exist, or a target that is neither flags nor numbers.

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.generators.summaries import first_passage_times
        >>> first_passage_times(jnp.array([[-1.0, 1.0, 0.0], [0.0, -0.5, 0.5], [0.0, 0.0, 0.0]]), 2).tolist()
        [3.0, 2.0, 0.0]
    """
    rates = off_diagonal(generator)
    inside = _mask(target, rates.shape[-1])
    outward = jnp.where(inside[:, None], 0.0, rates)
    onward = reached(outward)
    possible = jnp.any(onward & inside, -1)
    certain = jnp.all(~onward | possible[..., None, :], -1)
    solved = certain & ~inside
    between = jnp.where(solved[..., :, None] & solved[..., None, :], outward, 0.0)
    solution = absorbed(between, jnp.where(solved, jnp.sum(outward * inside, -1), 1.0), jnp.where(solved, 1.0, 0.0))
    return jnp.where(inside, 0.0, jnp.where(certain, solution, jnp.inf))


@jax.jit
def expected_time_in_states(generator: ArrayLike, initial: ArrayLike, duration: ArrayLike) -> Array:
    """Expected time spent in each state during an interval, [..., K]; sums to the duration.

    Args:
        generator: [..., K, K].
        initial: law of the state at the start, [..., K].
        duration: not negative, [...].

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.generators.summaries import expected_time_in_states
        >>> expected_time_in_states(jnp.array([[-1.0, 1.0], [1.0, -1.0]]), jnp.array([0.5, 0.5]), 4.0).tolist()
        [2.0, 2.0]
    """
    rates = off_diagonal(generator)
    generator = rates - jnp.eye(rates.shape[-1], dtype=rates.dtype) * jnp.sum(rates, -1, keepdims=True)
    initial, duration = jnp.asarray(initial, generator.dtype), jnp.asarray(duration, generator.dtype)
    batch = jnp.broadcast_shapes(generator.shape[:-2], initial.shape[:-1], duration.shape)
    size = generator.shape[-1]
    generator = jnp.broadcast_to(generator, (*batch, size, size)).reshape(-1, size, size)
    starts, durations = jnp.broadcast_to(initial, (*batch, size)).reshape(-1, size), jnp.broadcast_to(duration, batch).reshape(-1)

    # d/dq_kk of the sum of a row of exp(Q t), Q a free matrix, is the time expected in k.
    def total(generator: Array) -> Array:
        return jnp.sum(starts[:, :, None] * scaling.transition_matrices(generator, durations))

    times = jnp.diagonal(jax.grad(total)(generator), axis1=-2, axis2=-1)
    return times.reshape(*batch, size)


@jax.jit
def relaxation_times(generator: ArrayLike) -> Array:
    """Time scales 1 / -Re(eigenvalue) of the approach to the stationary law, slowest first, [..., K - 1].

    A complex pair counts twice; its imaginary part is an oscillation. With c closed classes the first c - 1 are infinite.
    """
    rates = off_diagonal(generator)
    size = rates.shape[-1]
    generator = rates - jnp.eye(size, dtype=rates.dtype) * jnp.sum(rates, -1, keepdims=True)
    decay = jnp.sort(-jnp.real(jnp.linalg.eigvals(generator)), -1)
    onward = reached(rates)
    # Eigenvalues that are zero are so by the graph, one to each closed class, and not by a threshold.
    closed = jnp.all(~onward | jnp.swapaxes(onward, -1, -2), -1)
    classes = jnp.sum(closed / jnp.sum(onward, -1), -1, keepdims=True)
    slowest = jnp.arange(size) < jnp.round(classes)
    return _over(1.0, jnp.where(slowest, 0.0, decay))[..., 1:]


@jax.jit
def stationary_currents(generator: ArrayLike) -> Array:
    """Net stationary flow of probability from i to j, π_i q_ij - π_j q_ji, per unit time, [..., K, K]; zero in detailed balance."""
    flow = _stationary_flow(generator)
    return flow - jnp.swapaxes(flow, -1, -2)


@jax.jit
def entropy_production(generator: ArrayLike) -> Array:
    """Stationary rate of entropy production, Σ_ij π_i q_ij log(π_i q_ij / π_j q_ji), nats per unit time, [...].

    Zero in detailed balance; infinite where an edge in use has no reverse.
    """
    flow = _stationary_flow(generator)
    back = jnp.swapaxes(flow, -1, -2)
    both = (flow > 0) & (back > 0)
    force = jnp.where(both, jnp.log(jnp.where(both, flow, 1.0)) - jnp.log(jnp.where(both, back, 1.0)), 0.0)
    # Each pair is counted twice, and is not negative.
    total = 0.5 * jnp.sum((flow - back) * force, (-2, -1))
    return jnp.where(jnp.any((flow > 0) & (back == 0), (-2, -1)), jnp.inf, total)


def _stationary_flow(generator: ArrayLike) -> Array:
    return stationary_law(generator)[..., :, None] * off_diagonal(generator)


def _over(numerator: float, denominator: Array) -> Array:
    """A quotient that is infinite over zero, and whose derivative there is zero instead of NaN."""
    return jnp.where(denominator > 0, numerator / jnp.where(denominator > 0, denominator, 1.0), jnp.inf)


def _mask(target: Target, size: int) -> Array:
    """The target as flags [K]."""
    concrete = not isinstance(target, Tracer)
    states = np.asarray(target) if concrete else jnp.asarray(target)
    if states.dtype == bool:
        if states.shape != (size,):
            raise ValueError(f"target has flags of shape {states.shape}; give one flag to each of the {size} states, or the numbers of the states aimed at")
        return jnp.asarray(states)
    if not jnp.issubdtype(states.dtype, jnp.integer):
        raise ValueError(f"target has entries of type {states.dtype}; give the numbers of the states aimed at, or one flag to each state")
    if isinstance(states, np.ndarray) and np.any((states < 0) | (states >= size)):
        raise ValueError(f"target names state {states[(states < 0) | (states >= size)].flat[0]}; the {size} states have the numbers 0 to {size - 1}")
    return jnp.any(jnp.arange(size) == jnp.asarray(states).reshape(-1, 1), 0)
