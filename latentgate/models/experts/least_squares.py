"""Weighted least squares for all experts at once: the M-step of experts whose mean is linear in their weights."""

from __future__ import annotations

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels.small_matrices import cholesky, solve_positive_definite

from ..base import Params
from ..distributions import numbers_of
from ..emissions.base import NUMERICAL_STEPS
from ..newton import weighted_gram
from ..unconstrained import maximise
from .noise import scale_mode


def weighted_least_squares(experts, params: Params, design: Array, data: Sequences, weights: Array, precisions: Array | None = None) -> Params:
    """The M-step of experts whose mean is weights · columns + bias: closed form for normal and flat priors of these, L-BFGS for others; then the scale.

    Args:
        experts: with `priors`, `weight_prior`, `bias_prior`, `variance_prior` and `min_scale` as in `LinearGaussian`.
        params: current `weights` [K, D - 1], `bias` [K] and `scale`.
        design: [sequence, time, D], the last column ones.
        data: the sequences, of one feature.
        weights: responsibilities [sequence, time, K].
        precisions: of each row relative to 1 / scale², [K, sequence, time]; None for ones.
    """
    values = jnp.asarray(data.values)[..., 0]
    if not data.complete:
        weights = jnp.where(jnp.asarray(data.observed), weights, 0.0)
    leading = jnp.moveaxis(weights, -1, 0)
    counts = leading.sum((1, 2))
    if precisions is not None:
        leading = leading * precisions
    closed = all(isinstance(prior, dist.Normal | dist.ImproperUniform) for prior in (experts.weight_prior, experts.bias_prior))
    coefficients = (_quadratic_maximum if closed else _numerical_maximum)(experts, params, design, values, leading)
    squares = jnp.einsum("kst,kst->k", leading, (values - jnp.einsum("kc,stc->kst", coefficients, design)) ** 2)
    scale = scale_mode(experts.variance_prior, experts.min_scale, squares, counts, params["scale"])
    return {"weights": coefficients[:, :-1], "bias": coefficients[:, -1], "scale": scale}


def _quadratic_maximum(experts, params: Params, design: Array, values: Array, leading: Array) -> Array:
    """Weights and bias side by side, [K, D], that maximise the expected log-joint given the scales."""
    coefficients = jnp.concatenate([params["weights"], params["bias"][:, None]], axis=-1)
    location, precision = (
        jnp.concatenate([jnp.broadcast_to(own, params["weights"].shape), jnp.broadcast_to(last, params["bias"].shape)[:, None]], axis=-1)
        for own, last in zip(_normal_numbers(experts.weight_prior), _normal_numbers(experts.bias_prior), strict=True)
    )
    variances = jnp.broadcast_to(params["scale"], params["bias"].shape)[:, None] ** 2
    # The objective is quadratic, so its maximum is one Newton step away, and the step is computed from residuals.
    residual = values - jnp.einsum("kc,stc->kst", coefficients, design)
    gradient = jnp.einsum("kst,stc->kc", leading * residual, design) / variances + precision * (location - coefficients)
    of_prior = precision[..., None] * jnp.eye(design.shape[-1], dtype=design.dtype)
    curvature = weighted_gram(design, jnp.moveaxis(leading, 0, -1)) / variances[..., None] + of_prior
    step = solve_positive_definite(cholesky(curvature), gradient[..., None])[..., 0]
    # An expert without rows and without a prior stays where it is.
    step = jnp.where(jnp.isfinite(step).all(-1, keepdims=True), step, 0.0)
    # Along a step that a nearly singular system has spoilt, the best point: the objective cannot fall. Of a good step that is its end.
    rise, bend = jnp.sum(gradient * step, axis=-1), jnp.einsum("kc,kcd,kd->k", step, curvature, step)
    length = jnp.where(bend > 0, rise / jnp.where(bend > 0, bend, 1.0), 0.0)
    return coefficients + length[:, None] * step


def _numerical_maximum(experts, params: Params, design: Array, values: Array, leading: Array) -> Array:
    """The same under any prior: no lower an expected log-joint than that of `params`."""
    priors = experts.priors(leading.shape[0])
    own = {name: params[name] for name in ("weights", "bias")}
    precision = leading / jnp.broadcast_to(params["scale"], params["bias"].shape)[:, None, None] ** 2

    def expected(new: Params) -> Array:
        residual = values - jnp.einsum("kc,stc->kst", jnp.concatenate([new["weights"], new["bias"][:, None]], axis=-1), design)
        return -0.5 * jnp.sum(precision * residual**2)

    found = maximise(expected, {name: priors[name] for name in own}, own, NUMERICAL_STEPS)
    return jnp.concatenate([found["weights"], found["bias"][:, None]], axis=-1)


def _normal_numbers(prior: dist.Distribution) -> tuple[Array, Array]:
    """Location and precision of a normal prior; zeros for a flat one."""
    if isinstance(prior, dist.ImproperUniform):
        return jnp.zeros(()), jnp.zeros(())
    location, scale = numbers_of(prior, "loc", "scale")
    return location, scale**-2.0
