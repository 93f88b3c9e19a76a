"""Weighted least squares for all experts at once: the M-step of experts whose mean is linear in their weights."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels.small_matrices import cholesky, solve_positive_definite

from ..base import Params
from ..distributions import numbers_of
from ..newton import weighted_gram
from .noise import scale_mode


def weighted_least_squares(experts, params: Params, design: Array, data: Sequences, weights: Array, precisions: Array | None = None) -> Params | None:
    """The M-step of experts whose mean is weights · columns + bias; None where a prior has no closed form.

    Args:
        experts: with `weight_prior`, `bias_prior`, `variance_prior` and `min_scale` as in `LinearGaussian`.
        params: current `weights` [K, D - 1], `bias` [K] and `scale`.
        design: [sequence, time, D], the last column ones.
        data: the sequences, of one feature.
        weights: responsibilities [sequence, time, K].
        precisions: of each row relative to 1 / scale², [K, sequence, time]; None for ones.
    """
    if not all(isinstance(prior, dist.Normal | dist.ImproperUniform) for prior in (experts.weight_prior, experts.bias_prior)):
        return None
    values = jnp.asarray(data.values)[..., 0]
    if not data.complete:
        weights = jnp.where(jnp.asarray(data.observed), weights, 0.0)
    leading = jnp.moveaxis(weights, -1, 0)
    counts = leading.sum((1, 2))
    if precisions is not None:
        leading = leading * precisions
        weights = jnp.moveaxis(leading, 0, -1)
    coefficients = jnp.concatenate([params["weights"], params["bias"][:, None]], axis=-1)
    location, precision = (
        jnp.concatenate([jnp.broadcast_to(own, params["weights"].shape), jnp.broadcast_to(last, params["bias"].shape)[:, None]], axis=-1)
        for own, last in zip(_normal_numbers(experts.weight_prior), _normal_numbers(experts.bias_prior), strict=True)
    )
    variances = jnp.broadcast_to(params["scale"], params["bias"].shape)[:, None] ** 2
    # The objective is quadratic, so its maximum is one Newton step away, and the step is computed from residuals.
    residual = values - jnp.einsum("kc,stc->kst", coefficients, design)
    gradient = jnp.einsum("kst,stc->kc", leading * residual, design) / variances + precision * (location - coefficients)
    curvature = weighted_gram(design, weights) / variances[..., None] + precision[..., None] * jnp.eye(design.shape[-1], dtype=design.dtype)
    step = solve_positive_definite(cholesky(curvature), gradient[..., None])[..., 0]
    # An expert without rows and without a prior stays where it is.
    step = jnp.where(jnp.isfinite(step).all(-1, keepdims=True), step, 0.0)
    # Along a step that a nearly singular system has spoilt, the best point: the objective cannot fall. Of a good step that is its end.
    rise, bend = jnp.sum(gradient * step, axis=-1), jnp.einsum("kc,kcd,kd->k", step, curvature, step)
    length = jnp.where(bend > 0, rise / jnp.where(bend > 0, bend, 1.0), 0.0)
    coefficients = coefficients + length[:, None] * step
    squares = jnp.einsum("kst,kst->k", leading, (values - jnp.einsum("kc,stc->kst", coefficients, design)) ** 2)
    scale = scale_mode(experts.variance_prior, experts.min_scale, squares, counts, params["scale"])
    return {"weights": coefficients[:, :-1], "bias": coefficients[:, -1], "scale": scale}


def _normal_numbers(prior: dist.Distribution) -> tuple[Array, Array]:
    """Location and precision of a normal prior; zeros for a flat one."""
    if isinstance(prior, dist.ImproperUniform):
        return jnp.zeros(()), jnp.zeros(())
    location, scale = numbers_of(prior, "loc", "scale")
    return location, scale**-2.0
