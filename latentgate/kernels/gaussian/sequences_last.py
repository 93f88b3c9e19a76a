"""The mean path of a Gaussian chain with a precision and a shift for every latent: the linear system that Newton's method solves again and again.

`GaussianChain` answers the same question from roots of covariances, whatever the noise; here covariances themselves are propagated, with the sequences in the
last dimension, where a processor works on many of them at once. That is ten times as fast, and good to rounding unless the first latent's variance is near the
inverse of the machine's precision. Noise may be singular. Nothing is inverted.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..discrete import resolve
from .arrays import Information
from .chain import GaussianChain

# Sums over so few latents are written out, which XLA makes one loop over the sequences of; its own reduction is several times slower.
_UNROLLED = 8


class Edges(NamedTuple):
    """Edges of a Gaussian chain: matrix and covariance [d, d] or [sequence, time - 1, d, d]; bias [d], or [sequence, time - 1, d]."""

    matrix: Array
    bias: Array
    covariance: Array


class Law(NamedTuple):
    """Prior of the latents: initial_mean [d], initial_covariance [d, d], and edges."""

    initial_mean: Array
    initial_covariance: Array
    edges: Edges


class Sites(NamedTuple):
    """Nodes exp(-zᵀJz/2 + hᵀz + c): precision J [time, d, d, sequence], shift h [time, d, sequence]."""

    precision: Array
    shift: Array


class Posterior(NamedTuple):
    """Of a chain with sites: means [time, d, sequence] and, where asked for, covariances [time, d, d, sequence] and log-normaliser [sequence]."""

    means: Array
    covariances: Array | None
    log_normaliser: Array | None


def chain(law: Law, sites: Sites, log_constant: Array | None, lengths: Array, backend: str) -> GaussianChain:
    """The chain itself; log_constant is [time, sequence]."""
    nodes = Information(
        jnp.transpose(sites.precision, (3, 0, 1, 2)), jnp.transpose(sites.shift, (2, 0, 1)), None if log_constant is None else log_constant.swapaxes(0, 1)
    )
    return GaussianChain(law.initial_mean, law.initial_covariance, *law.edges, nodes, lengths, backend=backend)


def posterior(law: Law, sites: Sites, lengths: Array, backend: str, spread: bool) -> Posterior:
    """Means of the latents given everything; with `spread` covariances and log-normaliser too.

    Args:
        law: of the latents.
        sites: zero beyond the lengths.
        lengths: [sequence].
        backend: as of `GaussianChain`; "associative" asks the chain itself.
        spread: see above.
    """
    if resolve(backend) == "sequential":
        return _sequential(law, sites, lengths, spread)
    whole = chain(law, sites, None, lengths, backend)
    if not spread:
        return Posterior(jnp.transpose(whole.most_probable_path(), (1, 2, 0)), None, None)
    smoothed = whole.smooth()
    return Posterior(jnp.transpose(smoothed.means, (1, 2, 0)), jnp.transpose(smoothed.covariances, (1, 2, 3, 0)), smoothed.log_normaliser)


def prior_means(law: Law, num_steps: int, lengths: Array) -> Array:
    """Means of the latents before any data, [time, d, sequence]; zero at padding."""
    active = jnp.arange(num_steps)[:, None] < lengths

    def step(mean: Array, now: tuple[Edges, Array]):
        edge, real = now
        moved = apply(edge.matrix, mean) + edge.bias
        mean = jnp.where(real, moved, mean)
        return mean, mean

    first = repeated(law.initial_mean, lengths)
    _, later = scan_edges(step, first, law.edges, (active[1:],))
    return jnp.where(active[:, None], jnp.concatenate([first[None], later]), 0.0)


def see(mean: Array, covariance: Array, node: tuple[Array, Array]) -> tuple[Array, Array, Array, Array]:
    """One latent meets its node, without an inverse.

    Args:
        mean: before, [d, sequence].
        covariance: before, [d, d, sequence].
        node: precision and shift.

    Returns:
        mean and covariance after, shift less what the mean before explains of it, and the log-normaliser's increment [sequence].
    """
    precision, shift = node
    size = len(mean)

    def by_column(k, carry: tuple[Array, Array, Array]):
        rest, covariance, volume = carry
        # The next column l of J = Σ l lᵀ; a direction without information has a column of zeros.
        pivot = rest[k, k]
        positive = pivot > 0
        column = rest[:, k] * jnp.where(positive, 1 / jnp.sqrt(jnp.where(positive, pivot, 1.0)), 0.0)
        rest = rest - column[:, None] * column[None]
        gain = apply(covariance, column)
        innovation = 1.0 + jnp.sum(column * gain, 0)
        return rest, covariance - gain[:, None] * (gain / innovation)[None], volume + jnp.log(innovation)

    start = (precision, covariance, jnp.zeros_like(mean[0]))
    _, covariance, volume = jax.lax.fori_loop(0, size, by_column, start)
    told = apply(precision, mean)
    surprise = shift - told
    gained = apply(covariance, surprise)
    increment = jnp.sum(mean * (shift - 0.5 * told), 0) + 0.5 * jnp.sum(surprise * gained, 0) - 0.5 * volume
    return mean + gained, covariance, surprise, increment


def _sequential(law: Law, sites: Sites, lengths: Array, spread: bool) -> Posterior:
    num_steps = sites.shift.shape[0]
    active = jnp.arange(num_steps)[:, None] < lengths

    def forward(carry: tuple[Array, Array], now: tuple[Edges, Any, Array]):
        edge, sites, real = now
        mean, covariance = carry
        moved = apply(edge.matrix, mean) + edge.bias
        spread = between(edge.matrix, covariance) + edge.covariance
        # Padding stands still, so that what an unstable law would become there cannot overflow.
        moved, spread = jnp.where(real, moved, mean), jnp.where(real, spread, covariance)
        seen, filtered, surprise, increment = see(moved, spread, sites)
        return (seen, filtered), (moved, filtered, surprise, increment)

    nodes = (sites.precision, sites.shift)
    first_mean, first_covariance = repeated(law.initial_mean, lengths), repeated(law.initial_covariance, lengths)
    mean, covariance, surprise, increment = see(first_mean, first_covariance, jax.tree.map(lambda leaf: leaf[0], nodes))
    _, later = scan_edges(forward, (mean, covariance), law.edges, (jax.tree.map(lambda leaf: leaf[1:], nodes), active[1:]))
    first = (first_mean, covariance, surprise, increment)
    predicted, filtered, surprise, increment = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)

    def look_back(carry: tuple[Array, Array | None], now: Any):
        pull, weight = carry
        predicted, filtered, surprise, precision = now
        push = surprise + pull
        shift = apply(filtered, push)
        score = push - apply(precision, shift)
        if weight is None:
            return (score, None), (predicted + shift, None)
        told = _product(precision, filtered)
        covariance = filtered - _product(_product(filtered, weight), filtered)
        carried = weight - _product(told, weight)
        carried = carried - _product(carried, told.swapaxes(0, 1)) + precision - _product(told, precision)
        return (score, 0.5 * (carried + carried.swapaxes(0, 1))), (predicted + shift, covariance)

    def backward(carry: tuple[Array, Array | None], now: tuple[Edges, Any]):
        edge, step = now
        score, weight = carry
        matrix = edge.matrix.swapaxes(0, 1)
        return look_back((apply(matrix, score), None if weight is None else between(matrix, weight)), step)

    steps = (predicted, filtered, surprise, sites.precision)
    nothing = (jnp.zeros_like(first_mean), jnp.zeros_like(first_covariance) if spread else None)
    carry, last = look_back(nothing, jax.tree.map(lambda leaf: leaf[-1], steps))
    _, earlier = scan_edges(backward, carry, law.edges, (jax.tree.map(lambda leaf: leaf[:-1], steps),), reverse=True)
    means, covariances = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), earlier, last)
    means = jnp.where(active[:, None], means, 0.0)
    if not spread:
        return Posterior(means, None, None)
    return Posterior(means, jnp.where(active[:, None, None], covariances, 0.0), jnp.where(active, increment, 0.0).sum(0))


def scan_edges(step, carry, edges: Edges, others: tuple, reverse: bool = False):
    """Scan over the edges, constant or not, laid out with the sequences last, and what goes with each."""
    changing = [leaf.ndim > rank for leaf, rank in zip(edges, (2, 1, 2), strict=True)]
    laid = [jnp.moveaxis(leaf, 0, -1) if own else leaf[..., None] for leaf, own in zip(edges, changing, strict=True)]
    moving = [leaf if own else None for leaf, own in zip(laid, changing, strict=True)]

    def inner(carry, now):
        own, others = now
        edge = Edges(*(still if leaf is None else leaf for leaf, still in zip(own, laid, strict=True)))
        return step(carry, (edge, *others))

    return jax.lax.scan(inner, carry, (moving, others), reverse=reverse)


def repeated(array: Array, lengths: Array) -> Array:
    """The same array for every sequence, [..., sequence]."""
    return jnp.broadcast_to(array[..., None], (*array.shape, len(lengths)))


def apply(matrix: Array, vector: Array) -> Array:
    """Matrices [i, j, 1 or sequence] times vectors [j, sequence]."""
    if matrix.shape[-1] == 1:
        return matrix[..., 0] @ vector
    if len(vector) > _UNROLLED:
        return jnp.sum(matrix * vector[None], 1)
    total = matrix[:, 0] * vector[0]
    for j in range(1, len(vector)):
        total = total + matrix[:, j] * vector[j]
    return total


def _product(left: Array, right: Array) -> Array:
    """Matrices [i, j, 1 or sequence] times matrices [j, k, sequence]."""
    if left.shape[-1] == 1:
        return (left[..., 0] @ right.reshape(right.shape[0], -1)).reshape(left.shape[0], *right.shape[1:])

    def add(j, total: Array) -> Array:
        return total + left[:, j][:, None] * right[j][None]

    return jax.lax.fori_loop(0, right.shape[0], add, jnp.zeros((left.shape[0], *right.shape[1:]), right.dtype))


def between(matrix: Array, covariance: Array) -> Array:
    """A P Aᵀ of symmetric P."""
    once = _product(matrix, covariance)
    return _product(matrix, once.swapaxes(0, 1))
