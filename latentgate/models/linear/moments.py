"""Expected sums over smoothed latents: all that a closed-form M-step reads."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import GaussianSmoothed
from latentgate.kernels.small_matrices import cholesky, solve_positive_definite


class EdgeMoments(NamedTuple):
    """Sums over all edges t → t + 1 of all sequences; x is the latent before with its regressors, z the latent after.

    Attributes:
        regressors: Σ E[x xᵀ], [k, k].
        cross: Σ E[z xᵀ], [d, k].
        after: Σ E[z zᵀ], [d, d].
        count: number of edges.
    """

    regressors: Array
    cross: Array
    after: Array
    count: Array


def second_moments(smoothed: GaussianSmoothed) -> Array:
    """E[z zᵀ] of every step, [sequence, time, d, d]; zero at padding."""
    means = smoothed.means
    return smoothed.covariances + means[..., :, None] * means[..., None, :]


def edge_moments(smoothed: GaussianSmoothed, data: Sequences, inputs: Array | None, bias: bool) -> EdgeMoments:
    """Sums for the regression of each latent on the one before, on inputs at its own step, and on a constant.

    Args:
        smoothed: of a chain with constant edges.
        data: the sequences.
        inputs: [sequence, time, m], zero in the padding, or None.
        bias: whether there is a constant.
    """
    means, second = smoothed.means, second_moments(smoothed)
    real = jnp.asarray(data.mask)
    later = real[:, 1:].astype(means.dtype)
    after = second[:, 1:].sum((0, 1))
    before = jnp.where(later[..., None, None] > 0, second[:, :-1], 0.0).sum((0, 1))
    lagged = smoothed.lagged_moments.sum(tuple(range(smoothed.lagged_moments.ndim - 2)))
    columns = [] if inputs is None else [jnp.asarray(inputs)[:, 1:]]
    if bias:
        columns.append(jnp.ones((*later.shape, 1), means.dtype))
    if not columns:
        return EdgeMoments(before, lagged.T, after, later.sum())
    known = jnp.concatenate(columns, -1) * later[..., None]
    with_before = jnp.einsum("sti,stj->ij", known, means[:, :-1])
    regressors = jnp.block([[before, with_before.T], [with_before, jnp.einsum("sti,stj->ij", known, known)]])
    cross = jnp.concatenate([lagged.T, jnp.einsum("sti,stj->ij", means[:, 1:], known)], -1)
    return EdgeMoments(regressors, cross, after, later.sum())


def regression(regressors: Array, cross: Array, otherwise: Array) -> Array:
    """Coefficients cross · regressors⁻¹, [..., d, k]; `otherwise` for a regressor that is always zero, and for all where others are collinear."""
    # Units of the regressors must not decide whether the factorisation succeeds.
    scale = jnp.sqrt(jnp.diagonal(regressors, axis1=-2, axis2=-1))
    usable = scale > 0
    scale = jnp.where(usable, scale, 1.0)
    idle = jnp.where(usable, 0.0, 1.0)[..., None] * jnp.eye(scale.shape[-1], dtype=scale.dtype)
    factor = cholesky(regressors / (scale[..., :, None] * scale[..., None, :]) + idle)
    solved = solve_positive_definite(factor, jnp.swapaxes(cross, -1, -2) / scale[..., :, None]) / scale[..., :, None]
    solved = jnp.where(usable[..., None, :], jnp.swapaxes(solved, -1, -2), otherwise)
    return jnp.where(jnp.isfinite(solved).all((-1, -2), keepdims=True), solved, otherwise)


def residual_moment(moments: EdgeMoments, coefficients: Array) -> Array:
    """Σ E[(z - C x)(z - C x)ᵀ], symmetric, [d, d]."""
    explained = moments.cross @ coefficients.T
    total = moments.after - explained - explained.T + coefficients @ moments.regressors @ coefficients.T
    return 0.5 * (total + total.T)
