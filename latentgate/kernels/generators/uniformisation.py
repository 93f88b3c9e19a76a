"""Transition matrices by uniformisation with shared powers.

With Λ the largest exit rate, B = I + Q/Λ has no negative entry, and exp(Q t) = Σ_n Poisson(n; Λt) Bⁿ: the powers are the same for every gap of a generator,
so all gaps together are one matrix product. Long gaps (Λt beyond the series) are written in base two, in units of the longest that the series reaches:
exp(Q t) = exp(Q r) Π exp(Q θ 2ᵏ/Λ) over the bits of the whole part, where again the squares are shared. Nothing is subtracted, so no entry is negative, small
ones are as accurate as large ones, and no rate is too high.

Source: Jensen, Skand. Aktuarietidskr. 36:87 (1953); Tataru, Hobolth, BMC Bioinformatics 12:465 (2011).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ..batching import largest

# (longest Λt, terms): what the series leaves out is below 1e-17.
_SHORT = (2.0, 24)
_LONG = (16.0, 64)
# Gaps up to Λt = 16 · 2^24; a chain so fast has settled long before.
_BITS = 24
# Of the long way, kept at a time: memory of more than some 32 MB is fetched from the system anew at every call.
_MOST_NUMBERS = 1_000_000


def transition_matrices(generators: ArrayLike, gaps: ArrayLike, index: ArrayLike | None = None) -> Array:
    """The matrices exp(generators[index] · gap) of many gaps.

    The derivative holds for the generator as a free matrix, its diagonal independent of the rest, so that the expected jumps and times of an E-step are
    derivatives of the log-likelihood (q_ij ∂/∂q_ij and ∂/∂q_ii). Gaps are constants.

    Args:
        generators: [G, K, K], rates per unit time off the diagonal, rows that sum to zero.
        gaps: durations, not negative, [U].
        index: int [U], which generator; None where there is one.

    Returns:
        [U, K, K]; entry [u, i, j] = P(state j after the gap | state i before it).

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.generators.uniformisation import transition_matrices
        >>> generator = jnp.array([[[-1.0, 1.0], [1.0, -1.0]]])
        >>> [round(float(stay), 4) for stay in transition_matrices(generator, jnp.array([0.0, 0.5, 1e6]))[:, 0, 0]]
        [1.0, 0.6839, 0.5]
    """
    dtype = jnp.result_type(generators, gaps, jnp.float32)
    generators, gaps = jnp.asarray(generators, dtype), jax.lax.stop_gradient(jnp.asarray(gaps, dtype))
    fastest = jax.lax.stop_gradient(jnp.max(-jnp.diagonal(generators, axis1=-2, axis2=-1), -1))
    fastest = jnp.where(fastest > 0, fastest, 1.0)
    jumps = jnp.eye(generators.shape[-1], dtype=dtype) + generators / fastest[:, None, None]
    which = None if index is None or generators.shape[0] == 1 else jnp.asarray(index)
    expected = gaps * (fastest[0] if which is None else fastest[which])
    ways = [
        lambda jumps, expected: _series(jumps, expected, which, *_SHORT),
        lambda jumps, expected: _series(jumps, expected, which, *_LONG),
        lambda jumps, expected: _in_parts(jumps, expected, which),
    ]
    longest = largest(expected)
    return jax.lax.switch((longest > _SHORT[0]).astype(jnp.int32) + (longest > _LONG[0]), ways, jumps, expected)


def _series(jumps: Array, expected: Array, which: Array | None, longest: float, terms: int) -> Array:
    """Σ_n Poisson(n; expected) jumpsⁿ, [U, K, K], for expected numbers of jumps up to `longest`."""
    # Enough for the longest way from one state to another, however unlikely: what is possible must not come out as zero.
    terms = max(terms, jumps.shape[-1] + 2)
    powers = _powers(jumps, terms)
    num_generators, _, size, _ = powers.shape
    weights = _poisson(expected, longest, terms)
    if which is None:
        matrices = (weights @ powers.reshape(terms, size * size)).reshape(-1, size, size)
    elif num_generators * 4 <= expected.shape[0]:
        # Weights spread over the generators make one product of all; more generators than that would make it mostly zeros.
        spread = jnp.where(which[:, None, None] == jnp.arange(num_generators)[:, None], weights[:, None, :], 0.0)
        matrices = (spread.reshape(-1, num_generators * terms) @ powers.reshape(-1, size * size)).reshape(-1, size, size)
    else:
        matrices = jnp.einsum("un,unij->uij", weights, powers[which])
    return matrices


def _in_parts(jumps: Array, expected: Array, which: Array | None) -> Array:
    """`_binary`, so few gaps at a time that its levels fit a small memory, which is set aside at every call, whether or not this way is taken."""
    num_gaps, size = expected.shape[0], jumps.shape[-1]
    part = max(1, _MOST_NUMBERS // (_BITS * size * size))
    # Levels are computed anew in the reverse pass.
    binary = jax.checkpoint(lambda expected, which: _binary(jumps, expected, which))
    if num_gaps <= part:
        return binary(expected, which)
    padded = [None if array is None else jnp.pad(array, (0, -num_gaps % part)).reshape(-1, part) for array in (expected, which)]
    return jax.lax.map(lambda own: binary(*own), tuple(padded)).reshape(-1, size, size)[:num_gaps]


def _binary(jumps: Array, expected: Array, which: Array | None) -> Array:
    """As `_series`, for any expected numbers of jumps."""
    longest, terms = _LONG
    whole = jnp.clip(jnp.floor(expected / longest), 0, 2.0**_BITS - 1)
    matrices = _series(jumps, jnp.clip(expected - whole * longest, 0, longest), which, longest, terms)
    full = jnp.full(jumps.shape[:1], longest, jumps.dtype)
    unit = _with_unit_rows(_series(jumps, full, jnp.arange(jumps.shape[0]), longest, terms))
    most = largest(whole)

    def level(carry: tuple[Array, Array], place: Array):
        def multiply(matrices: Array, square: Array) -> tuple[Array, Array]:
            size = square.shape[-1]
            product = (matrices.reshape(-1, size) @ square[0]).reshape(matrices.shape) if which is None else matrices @ square[which]
            wanted = jnp.floor(whole / place) % 2 == 1
            return jnp.where(wanted[:, None, None], _with_unit_rows(product), matrices), _with_unit_rows(square @ square)

        return jax.lax.cond(place <= most, multiply, lambda matrices, square: (matrices, square), *carry), None

    return jax.lax.scan(level, (matrices, unit), 2.0 ** jnp.arange(_BITS, dtype=jumps.dtype))[0][0]


def _powers(matrix: Array, count: int) -> Array:
    """Powers 0 ... count - 1 of matrices [G, K, K], by doubling, [G, count, K, K]."""
    size = matrix.shape[-1]
    powers = jnp.broadcast_to(jnp.eye(size, dtype=matrix.dtype), matrix.shape)[:, None]
    step = matrix
    while powers.shape[1] < count:
        further = (powers.reshape(powers.shape[0], -1, size) @ step).reshape(powers.shape)
        powers = jnp.concatenate([powers, further], axis=1)
        step = step @ step
    return powers[:, :count]


def _poisson(expected: Array, longest: float, terms: int) -> Array:
    """Poisson probabilities 0 ... terms - 1, [U, terms]; powers by doubling, since exponentials would cost more than the matrix product."""
    share = (expected / longest)[:, None]
    powers = jnp.ones_like(share)
    while powers.shape[1] < terms:
        powers = jnp.concatenate([powers, powers * share], axis=1)
        share = share * share
    heights = jnp.asarray([longest**n / math.factorial(n) for n in range(terms)], expected.dtype)
    return powers[:, :terms] * heights * jnp.exp(-expected)[:, None]


def _with_unit_rows(matrices: Array) -> Array:
    """Rows over their sums, which differ from one by rounding alone: a constant to derivatives."""
    return matrices * jax.lax.stop_gradient(1.0 / matrices.sum(-1, keepdims=True))
