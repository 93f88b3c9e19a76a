"""Transition matrices by scaling and squaring, a generator to every gap.

With Λ the largest exit rate, exp(Q t) = exp(-x) exp(x (I + Q/Λ)), where x = Λt, and I + Q/Λ has no negative entry. t is halved until x < 1, the
series summed, and the result squared as often as that gap was halved. Unlike Padé's approximant this subtracts nothing and solves nothing: no entry is
negative, small ones are as accurate as large ones, and no rate gives NaN. Rows are brought back to sum to one after every squaring, or the rounding of the
sums would double each time.

Sources: Higham, SIAM J. Matrix Anal. Appl. 26:1179 (2005), scaling and squaring; Paterson, Stockmeyer, SIAM J. Comput. 2:60 (1973), the series in few
products; Xue, Ye, Math. Comp. 82:1577 (2013), entrywise accuracy of this scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ..batching import largest

# Gaps up to Λt = 2^64; a longer one counts as that long.
_BLOCKS, _LEVELS = 8, 8
# Up to this many states it is quicker to multiply with the gaps in the lanes of the processor than matrix by matrix.
_STATES_IN_LANES = 5


def transition_matrices(generators: ArrayLike, gaps: ArrayLike, index: ArrayLike | None = None) -> Array:
    """The matrices exp(generators[index] · gap), for as many generators as gaps or nearly so.

    The derivative holds for the generator as a free matrix, its diagonal independent of the rest, so that the expected jumps and times of an E-step are
    derivatives of the log-likelihood (q_ij ∂/∂q_ij and ∂/∂q_ii); the gaps may be differentiated too.

    Args:
        generators: [G, K, K], rates per unit time off the diagonal, rows that sum to zero.
        gaps: durations, not negative, [U].
        index: int [U], which generator; None where there is one, or one to each gap.

    Returns:
        [U, K, K]; entry [u, i, j] = P(state j after the gap | state i before it).

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.generators.scaling import transition_matrices
        >>> generator = jnp.array([[-1.0, 1.0], [1.0, -1.0]])
        >>> moves = transition_matrices(jnp.stack([generator, 2 * generator]), jnp.array([0.5, 0.5]), jnp.array([0, 1]))
        >>> [round(float(stay), 4) for stay in moves[:, 0, 0]]
        [0.6839, 0.5677]
    """
    dtype = jnp.result_type(generators, gaps, jnp.float32)
    generators, gaps = jnp.asarray(generators, dtype), jnp.asarray(gaps, dtype)
    size = generators.shape[-1]
    fastest = jax.lax.stop_gradient(jnp.max(-jnp.diagonal(generators, axis1=-2, axis2=-1), -1))
    fastest = jnp.where(fastest > 0, fastest, 1.0)
    directions = generators / fastest[:, None, None]
    if index is not None:
        directions, fastest = directions[jnp.asarray(index)], fastest[jnp.asarray(index)]
    directions = jnp.broadcast_to(directions, (*gaps.shape, size, size))
    share, moving_share, squarings = _halved(fastest, gaps)
    if size <= _STATES_IN_LANES:
        in_lanes = _squared(*_short(jnp.moveaxis(directions, 0, -1), share, moving_share, _multiply_in_lanes), squarings, _multiply_in_lanes)
        return jnp.moveaxis(in_lanes, -1, 0)
    column = (slice(None), None, None)
    return _squared(*_short(directions, share[column], moving_share[column], jnp.matmul), squarings[column], jnp.matmul)


def _halved(fastest: Array, gaps: Array) -> tuple[Array, Array, Array]:
    """Expected jumps x < 1 of each halved gap, the same with the derivative in the gap, and how often it was halved."""
    constant_gaps = jax.lax.stop_gradient(gaps)
    rate, rate_exponent = jnp.frexp(fastest)
    gap, gap_exponent = jnp.frexp(constant_gaps)
    exponent = jnp.where(constant_gaps > 0, rate_exponent + gap_exponent, 0)
    squarings = jnp.clip(exponent, 0, _BLOCKS * _LEVELS)
    # By their exponents, since the product of rate and gap may overflow.
    share = jnp.ldexp(rate * gap, jnp.minimum(exponent, 0))
    slope = jnp.where(constant_gaps > 0, share / jnp.where(constant_gaps > 0, constant_gaps, 1.0), fastest)
    return share, share + slope * (gaps - constant_gaps), squarings


def _short(directions: Array, share: Array, moving_share: Array, multiply: Callable[[Array, Array], Array]) -> tuple[Array, int]:
    """Exp of x times Q/Λ by the series, and the axis that its rows run along."""
    in_lanes = multiply is _multiply_in_lanes
    size = directions.shape[0 if in_lanes else -1]
    identity = jnp.eye(size, dtype=directions.dtype)
    identity = identity[:, :, None] if in_lanes else identity
    matrix = identity * share + directions * moving_share
    # The remainder is below rounding for x < 1; and no fewer terms than the longest path of single jumps, or what is possible would come out as zero.
    terms = max(20 if directions.dtype == jnp.float64 else 12, size + 2)
    width = round(math.sqrt(terms))
    powers = [identity, matrix]
    while len(powers) <= width:
        powers.append(multiply(powers[-1], matrix))

    def part(first: int) -> Array:
        total = identity * (1 / math.factorial(first))
        for n in range(1, width):
            total = total + powers[n] * (1 / math.factorial(first + n))
        return total

    firsts = range(0, terms, width)
    total = part(firsts[-1])
    for first in reversed(firsts[:-1]):
        total = multiply(total, powers[width]) + part(first)
    axis = 1 if in_lanes else -1
    return _with_unit_rows(total * jnp.exp(-share), axis), axis


def _squared(matrices: Array, axis: int, squarings: Array, multiply: Callable[[Array, Array], Array]) -> Array:
    """Each matrix squared as often as asked."""
    most = largest(squarings)

    def level(matrices: Array, done: Array):
        def square(matrices: Array) -> Array:
            return jnp.where(done < squarings, _with_unit_rows(multiply(matrices, matrices), axis), matrices)

        return jax.lax.cond(done < most, square, lambda matrices: matrices, matrices), None

    # Computed anew in the reverse pass, a few levels at a time: kept, all levels would cost memory whether or not they are taken.
    @jax.checkpoint
    def some_levels(matrices: Array, done: Array) -> Array:
        return jax.lax.scan(level, matrices, done + jnp.arange(_LEVELS, dtype=squarings.dtype))[0]

    def block(matrices: Array, done: Array):
        return jax.lax.cond(done < most, some_levels, lambda matrices, _: matrices, matrices, done), None

    return jax.lax.scan(block, matrices, _LEVELS * jnp.arange(_BLOCKS, dtype=squarings.dtype))[0]


# A reverse pass would otherwise keep both factors as they are spread, [K, K, K, U].
@partial(jax.checkpoint, prevent_cse=False)
def _multiply_in_lanes(left: Array, right: Array) -> Array:
    """Products of matrices [K, K, U]."""
    return jnp.sum(left[:, :, None, :] * right[None, :, :, :], axis=1)


def _with_unit_rows(matrices: Array, axis: int) -> Array:
    """Rows over their sums, which differ from one by rounding alone: a constant to derivatives."""
    return matrices * jax.lax.stop_gradient(1.0 / jnp.sum(matrices, axis, keepdims=True))
