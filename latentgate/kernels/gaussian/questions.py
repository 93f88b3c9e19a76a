"""The questions asked of a Gaussian chain, and the one derivative rule: the gradient of the log-normaliser is made of smoothed moments (Fisher's identity).

With r, N the adjoints of the predicted moments at a step (zero at padding), x, P the smoothed moments, e and D the smoothed innovations,

    d log Z = r₀·dm₀ + ½(r₀r₀ᵀ - N₀)·dP₀ + Σ rₜ₊₁·dbₜ + ½(rₜ₊₁rₜ₊₁ᵀ - Nₜ₊₁)·dQₜ + (rₜ₊₁xₜᵀ - Nₜ₊₁AₜPₜ)·dAₜ
              + nodes: x·dh - ½(P + xxᵀ)·dJ + dc, or -e·dy + ½(eeᵀ - D)·dR + (exᵀ - Kᵀ(I - NP))·dH

(de Jong; Koopman & Shephard 1992; section 6.5 of the notes): one backward pass, no automatic differentiation through a recursion, singular noise included.
The rule is a `custom_jvp`, so JAX transposes it for reverse mode and differentiates it again for Hessians.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero

from ..batching import natively_batched_tree
from ..small_matrices import square_root
from ..sums import summed_outer_product
from .arrays import Arrays, Seen, Told, chain_of, in_rows, seen_rows, whitened_of, without_padding
from .covariances import Forward, forward, matrix_into
from .means import Backward, Filtering, affine_scan, backward, backward_means, filter_means
from .potentials import Chain, Rows, Shifts, apply, apply_transposed, transposed


class GaussianFiltered(NamedTuple):
    """Filtered law of each latent.

    Attributes:
        means: E[z_t | data up to t], [..., T, d]; zero at padding.
        covariances: [..., T, d, d]; zero at padding. Leading dimensions are of size one where all sequences share them.
        log_increments: log p(data at t | data before t), [..., T]; zero at padding.
        log_normaliser: their sum, [...].
    """

    means: Array
    covariances: Array
    log_increments: Array
    log_normaliser: Array


class GaussianSmoothed(NamedTuple):
    """Smoothed law of each latent.

    Attributes:
        log_normaliser: [...].
        means: E[z_t | all data], [..., T, d]; zero at padding.
        covariances: [..., T, d, d]; zero at padding. Leading dimensions are of size one where all sequences share them.
        lagged_moments: Σ_t E[z_t z_{t+1}ᵀ | all data], [..., d, d]; for edges per step each of them, [..., T-1, d, d].
    """

    log_normaliser: Array
    means: Array
    covariances: Array
    lagged_moments: Array


def filtered(arrays: Arrays, form: str, backend: str) -> GaussianFiltered:
    """The filter."""
    chain, ahead, filtering = _filter(arrays, form, backend)
    covariances = ahead.every_step().gains.covariance
    means = filtering.means
    if chain.active is not None:
        means, covariances = _without_padding(chain, means, covariances)
    return GaussianFiltered(
        jnp.moveaxis(means, 0, -2), jnp.moveaxis(covariances, 0, -3), jnp.moveaxis(filtering.log_increments, 0, -1), filtering.log_normaliser
    )


def smoothed(arrays: Arrays, form: str, backend: str) -> GaussianSmoothed:
    """The smoother."""
    chain, ahead, filtering = _filter(arrays, form, backend)
    behind = backward(chain, ahead, filtering, arrays.lengths, backend)
    means, covariances = behind.means, behind.covariances
    if chain.active is not None:
        means, covariances = _without_padding(chain, means, covariances)
    per_step = arrays.matrix.shape[-3] > 1 or arrays.covariance.shape[-3] > 1
    if per_step:
        lagged = behind.lagged[:-1]
        if chain.active is not None:
            lagged = jnp.where(chain.active[1:, ..., None, None], lagged, 0.0)
        moments = jnp.moveaxis(lagged + means[:-1, ..., :, None] * means[1:][..., None, :], 0, -3)
    else:
        moments = behind.lagged_total + summed_outer_product(means[:-1], means[1:])
    return GaussianSmoothed(filtering.log_normaliser, jnp.moveaxis(means, 0, -2), jnp.moveaxis(covariances, 0, -3), moments)


def smoothed_means(arrays: Arrays, form: str, backend: str) -> Array:
    """The most probable path, [..., T, d]."""
    chain, ahead, filtering = _filter(arrays, form, backend)
    means = backward_means(chain, ahead, filtering, backend)[1]
    if chain.active is not None:
        means = jnp.where(chain.active[..., None], means, 0.0)
    return jnp.moveaxis(means, 0, -2)


def sampled(key: Array, arrays: Arrays, num_samples: int, form: str, backend: str) -> Array:
    """Exact posterior draws, [num_samples, ..., T, d]: a draw from the prior, moved by the smoother of its own data's difference from the real ones.

    Durbin & Koopman 2002; all draws share one pass over the covariances.
    """
    chain, ahead, filtering = _filter(arrays, form, backend)
    means = backward_means(chain, ahead, filtering, backend)[1]
    shape = (num_samples, *means.shape)
    for_latents, for_nodes = jax.random.split(key)
    noise = jax.random.normal(for_latents, shape, means.dtype)
    first = apply(chain.root, noise[:, 0])[:, None]
    offsets = jnp.moveaxis(jnp.concatenate([first, apply(chain.noise, noise[:, 1:])], 1), 0, 1)

    def widened(leaf: Array) -> Array:
        return leaf[:, None]

    drawn = affine_scan(_every(widened(matrix_into(chain)), len(means)), offsets, backend)
    nodes = chain.nodes
    if isinstance(nodes, Rows):
        told = jax.random.normal(for_nodes, (*shape[:-1], nodes.values.shape[-1]), means.dtype)
        told = jnp.moveaxis(apply(nodes.root, told), 0, 1) + apply(widened(nodes.matrix), drawn)
        nodes = Rows(widened(nodes.matrix), widened(nodes.root), told, widened(nodes.count))
    else:
        told = jnp.moveaxis(apply(square_root(nodes.precision), jax.random.normal(for_nodes, shape, means.dtype)), 0, 1)
        told = told + apply(widened(nodes.precision), drawn)
        nodes = Shifts(widened(nodes.precision), told, jnp.zeros(told.shape[:-1], told.dtype))
    # The same covariances, without biases: the smoother is linear in the data that remain.
    active = None if chain.active is None else widened(chain.active)
    imagined = chain._replace(matrix=widened(chain.matrix), bias=jnp.zeros_like(drawn), nodes=nodes, active=active)
    ahead = ahead._replace(gains=jax.tree.map(widened, ahead.gains), transition=widened(ahead.transition), informed=widened(ahead.informed))
    corrected = backward_means(imagined, ahead, filter_means(imagined, ahead, backend), backend)[1]
    draws = jnp.moveaxis(drawn - corrected, 1, 0) + means
    if chain.active is not None:
        draws = jnp.where(chain.active[..., None], draws, 0.0)
    return jnp.moveaxis(draws, 1, -2)


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def log_normaliser(arrays: Arrays, form: str, backend: str) -> Array:
    """Log-normaliser, [...]."""
    return natively_batched_tree(_log_normaliser, form, backend)(arrays)


def _log_normaliser(arrays: Arrays, form: str, backend: str) -> Array:
    return _filter(arrays, form, backend)[2].log_normaliser


@partial(log_normaliser.defjvp, symbolic_zeros=True)
def _log_normaliser_jvp(form: str, backend: str, primals: tuple[Arrays], tangents: tuple[Arrays]):
    (arrays,), (tangent,) = primals, tangents
    adjoints = natively_batched_tree(_adjoints, form, backend)(arrays)
    total = jnp.zeros_like(adjoints.log_normaliser)
    for name in ("initial_mean", "initial_covariance", "matrix", "bias", "covariance"):
        total += _product(getattr(adjoints, name), getattr(tangent, name), total.ndim)
    nodes, moved = arrays.nodes, tangent.nodes
    if isinstance(nodes, Told):
        for name in nodes._fields:
            total += _product(getattr(adjoints.nodes, name), getattr(moved, name), total.ndim)
        return adjoints.log_normaliser, total
    assert isinstance(moved, Seen)
    if not in_rows(nodes, form):
        return adjoints.log_normaliser, total + _told_by(nodes, moved, adjoints.nodes, arrays.lengths)
    # From the observations as given to rows, missing entries taken out: a function without recursion, left to JAX.
    filled = Seen(*(_instantiated(a, b) for a, b in zip(nodes, moved, strict=True)))
    observed = nodes.observed
    _, rows = jax.jvp(lambda matrix, noise, values: seen_rows(Seen(matrix, noise, values, observed))[:3], tuple(nodes[:3]), tuple(filled[:3]))
    for adjoint, change in zip(adjoints.nodes, rows, strict=True):
        total += _product(adjoint, change, total.ndim)
    return adjoints.log_normaliser, total


class Adjoints(NamedTuple):
    """Derivatives of the log-normaliser in everything a chain is made of, laid out as `Arrays`; those of nodes as their kind wants them."""

    log_normaliser: Array
    initial_mean: Array
    initial_covariance: Array
    matrix: Array
    bias: Array
    covariance: Array
    nodes: Any


def _adjoints(arrays: Arrays, form: str, backend: str) -> Adjoints:
    chain, ahead, filtering = _filter(arrays, form, backend)
    behind = backward(chain, ahead, filtering, arrays.lengths, backend)
    full = ahead.every_step()
    closed = full.gains.closed
    score = filtering.surprise + apply_transposed(closed, behind.adjoint)
    precision = full.gains.seen + transposed(closed) @ behind.adjoint_precision @ closed
    if chain.active is not None:
        precision = jnp.where(chain.active[..., None, None], precision, 0.0)
    later, later_precision = score[1:], precision[1:]
    carried = later_precision @ chain.matrix @ full.gains.covariance[:-1]
    before = behind.means[:-1]
    if chain.active is not None:
        before = jnp.where(chain.active[1:, ..., None], before, 0.0)
    if chain.num_steps == 1:
        zero = jnp.zeros_like(score[:1])
        later, before, later_precision, carried = zero, zero, jnp.zeros_like(precision[:1]), jnp.zeros_like(precision[:1])
    return Adjoints(
        filtering.log_normaliser,
        score[0],
        0.5 * (score[0][..., :, None] * score[0][..., None, :] - precision[0]),
        _outer(arrays.matrix, later, before, carried, 1.0),
        _like(arrays.bias, later, 1),
        _outer(arrays.covariance, later, later, later_precision, 0.5),
        _node_adjoints(arrays, form, chain, full, filtering, behind),
    )


def _node_adjoints(arrays: Arrays, form: str, chain: Chain, full: Forward, filtering: Filtering, behind: Backward) -> Any:
    nodes = arrays.nodes
    means, covariances = behind.means, behind.covariances
    if chain.active is not None:
        means, covariances = _without_padding(chain, means, covariances)
    if isinstance(nodes, Told):
        constant = jnp.ones(filtering.log_increments.shape, means.dtype) if chain.active is None else chain.active.astype(means.dtype)
        return Told(_outer(nodes.precision, means, means, -covariances, -0.5), jnp.moveaxis(means, 0, -2), jnp.moveaxis(constant, 0, -1))
    if not in_rows(nodes, form):
        return jnp.moveaxis(means, 0, -2), jnp.moveaxis(covariances, 0, -3)
    rows, gains = chain.nodes, full.gains
    assert isinstance(rows, Rows)
    innovation = apply(gains.whitener, rows.values - apply(rows.matrix, filtering.predicted))
    error = apply_transposed(gains.whitener, innovation) - apply_transposed(gains.gain, behind.adjoint)
    precision = transposed(gains.whitener) @ gains.whitener + transposed(gains.gain) @ behind.adjoint_precision @ gains.gain
    shared = transposed(gains.gain) - transposed(gains.gain) @ behind.adjoint_precision @ gains.covariance
    if chain.active is not None:
        error = jnp.where(chain.active[..., None], error, 0.0)
        precision, shared = (jnp.where(chain.active[..., None, None], array, 0.0) for array in (precision, shared))
    matrix, noise = seen_rows(nodes)[:2]
    return (
        _outer(matrix, error, means, shared, 1.0),
        _outer(noise, error, error, precision, 0.5),
        -jnp.moveaxis(error, 0, -2),
    )


def _told_by(nodes: Seen, moved: Seen, smoothed_moments: tuple[Array, Array], lengths: Array | None) -> Array:
    """Derivative of the expected log-density of the observations, the law of the latents held fixed."""
    filled = tuple(_instantiated(a, b) for a, b in zip(nodes[:3], moved[:3], strict=True))

    def expected(matrix: Array, noise: Array, values: Array) -> Array:
        return expected_log_density(Seen(matrix, noise, values, nodes.observed), *smoothed_moments, lengths)

    return jax.jvp(expected, tuple(nodes[:3]), filled)[1]


def expected_log_density(nodes: Seen, means: Array, covariances: Array, lengths: Array | None) -> Array:
    """Expected log-density of observations where each latent is normal with these moments, [...]."""
    white = whitened_of(without_padding(nodes, lengths), lambda array, rank: jnp.moveaxis(array, -1 - rank, 0))
    residual = white.residual(jnp.moveaxis(means, -2, 0))
    spread = jnp.sum(white.precision * jnp.moveaxis(covariances, -3, 0), (-1, -2))
    density = white.log_density - 0.5 * ((residual**2).sum(-1) + spread)
    if lengths is not None:
        density = jnp.where(jnp.arange(means.shape[-2]).reshape(-1, *[1] * lengths.ndim) < lengths, density, 0.0)
    return density.sum(0)


def _filter(arrays: Arrays, form: str, backend: str) -> tuple[Chain, Forward, Filtering]:
    chain = chain_of(arrays, form)
    ahead = forward(chain, backend)
    return chain, ahead, filter_means(chain, ahead, backend)


def _without_padding(chain: Chain, means: Array, covariances: Array) -> tuple[Array, Array]:
    assert chain.active is not None
    return jnp.where(chain.active[..., None], means, 0.0), jnp.where(chain.active[..., None, None], covariances, 0.0)


def _outer(like: Array, left: Array, right: Array, minus: Array, factor: float) -> Array:
    """Factor · (left rightᵀ - minus), laid out as `like`: summed over time where that has no time, [..., 1 or T, i, j]."""
    if like.shape[-3] == 1 and left.shape[0] > 1:
        return factor * (summed_outer_product(left, right) - minus.sum(0))[..., None, :, :]
    return factor * jnp.moveaxis(left[..., :, None] * right[..., None, :] - minus, 0, -3)


def _like(like: Array, values: Array, rank: int) -> Array:
    """Values [T, ...], summed over time where `like` has no time."""
    summed = like.shape[-1 - rank] == 1 and values.shape[0] > 1
    return jnp.moveaxis(values.sum(0, keepdims=True) if summed else values, 0, -1 - rank)


def _product(adjoint: Array, tangent: Any, batch_rank: int) -> Array | float:
    """Sum of products over everything but the batch."""
    if isinstance(tangent, SymbolicZero):
        return 0.0
    return jnp.sum(adjoint * tangent, tuple(range(batch_rank - max(adjoint.ndim, tangent.ndim), 0)))


def _instantiated(primal: Any, tangent: Any) -> Any:
    return jnp.zeros_like(primal) if isinstance(tangent, SymbolicZero) else tangent


def _every(array: Array, num_steps: int) -> Array:
    return jnp.broadcast_to(array, (num_steps, *array.shape[1:]))
