"""Normal noise of experts: the law of its standard deviation, the density of residuals, and the closed-form step."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from ..base import with_shape
from ..distributions import RootInverseGamma, numbers_of
from ..emissions.checks import positive, prior_or


def variance_prior_or(prior: dist.Distribution | Literal["flat"] | None, scale: float) -> dist.Distribution:
    """The prior given, or InverseGamma(1.5, scale²/4), which has its mode at scale²/10 and weighs as five observations.

    Raises:
        ValueError: unless it is inverse gamma or flat.
    """
    found = prior_or("variance_prior", prior, dist.InverseGamma(1.5, 0.25 * scale**2))
    if not isinstance(found, dist.InverseGamma | dist.ImproperUniform):
        raise ValueError(f'variance_prior: found {found!r}, expected an InverseGamma of numpyro, "flat", or None.')
    return found


def min_scale_or(min_scale: float | None) -> float:
    """The smallest standard deviation allowed; 0 for None."""
    return 0.0 if min_scale is None else positive("min_scale", min_scale)


def scale_prior(variance_prior: dist.Distribution, smallest: float, shape: tuple[int, ...]) -> dist.Distribution:
    """Law of standard deviations whose variances have an inverse gamma prior, or a flat one."""
    if isinstance(variance_prior, dist.InverseGamma):
        return with_shape(RootInverseGamma(*numbers_of(variance_prior, "concentration", "rate"), smallest), shape, "scale")
    support = constraints.greater_than_eq(smallest) if smallest else constraints.positive
    return dist.ImproperUniform(support, shape, ()).to_event(len(shape))


def normal_log_density(residual: Array, scale: Array) -> Array:
    """Log-density of residuals [K, ...] under standard deviations [K] or []."""
    scale = scale.reshape(-1, *[1] * (residual.ndim - 1))
    return -0.5 * (residual / scale) ** 2 - jnp.log(scale) - 0.5 * jnp.log(2 * jnp.pi)


def scale_mode(variance_prior: dist.Distribution, smallest: float, squares: Array, counts: Array, current: Array) -> Array:
    """Posterior mode of standard deviations given weighted sums of squares and weights, both [K], or [] for a shared one (`current` tells which).

    A standard deviation without data and without a prior stays as it is.
    """
    if current.ndim == 0:
        squares, counts = squares.sum(), counts.sum()
    if isinstance(variance_prior, dist.InverseGamma):
        concentration, rate = numbers_of(variance_prior, "concentration", "rate")
        # The mode of the standard deviation, whose density has one more power of it than that of the variance.
        scale = jnp.sqrt((0.5 * squares + rate) / (0.5 * counts + concentration + 0.5))
    else:
        scale = jnp.where(counts > 0, jnp.sqrt(squares / jnp.where(counts > 0, counts, 1.0)), current)
    return jnp.maximum(scale, smallest)
