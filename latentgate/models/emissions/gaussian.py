"""Multivariate normal observations: full, diagonal or tied covariances."""

from __future__ import annotations

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels.small_matrices import cholesky, inverse, log_determinant, solve_positive_definite, solve_triangular

from ..base import Params, Prior, with_shape
from ..distributions import InverseWishart, numbers_of
from .base import Emission
from .checks import at_least, positive, prior_or, warn_about_scale
from .partly_observed import completed, partial_log_density
from .statistics import feature_moments, spread_steps, weighted_squares

COVARIANCES = ("full", "diagonal", "tied")


class Gaussian(Emission):
    """Normal observations: y ~ Normal(means[z], covariances[z]).

    Parameters: `means` [state, feature]; `covariances` [state, feature, feature_other] (full), variances [state, feature] (diagonal), or one
    matrix [feature, feature_other] for all states (tied).

    The default priors are weak and proper, relative to `scale`, so that no state collapses onto a few points and a state without data has
    defined parameters, those of the prior mode: means Normal(0, (100 scale)²); variances InverseGamma(1.5, scale²/4); covariances
    InverseWishart(N + 2, (2N + 3) scale²/10). All covariance priors have their mode at scale²/10 and weigh as 2N + 3 observations (5 for
    diagonal variances). Standardise the features, pass `scale`, or pass priors of your own.

    Args:
        num_features: N, columns of the data.
        covariance: "full", "diagonal" or "tied".
        scale: typical standard deviation of a feature, in the units of the data.
        mean_prior: of every mean; Normal priors have a closed-form M-step.
        covariance_prior: of every covariance; InverseWishart (full, tied) and InverseGamma (diagonal) priors have a closed-form M-step. With any
            other prior of either the whole M-step is numerical.

    Raises:
        ValueError: for a wrong number of features, an unknown covariance, a scale that is not positive or a covariance prior of the wrong shape.

    Example:
        >>> import latentgate as lg
        >>> lg.emissions.Gaussian(2, covariance="tied").dims()
        {'means': ('state', 'feature'), 'covariances': ('feature', 'feature_other')}
    """

    features: int
    covariance: str
    scale: float
    mean_prior: dist.Distribution
    covariance_prior: dist.Distribution
    default_priors: bool

    def __init__(
        self,
        num_features: int,
        covariance: str = "full",
        *,
        scale: float = 1.0,
        mean_prior: dist.Distribution | None = None,
        covariance_prior: dist.Distribution | None = None,
    ):
        if covariance not in COVARIANCES:
            raise ValueError(f"covariance: found {covariance!r}, expected one of {', '.join(map(repr, COVARIANCES))}.")
        size = self.features = at_least("num_features", num_features)
        self.covariance = covariance
        self.scale = positive("scale", scale)
        self.mean_prior = prior_or("mean_prior", mean_prior, dist.Normal(0.0, 100.0 * self.scale))
        if covariance == "diagonal":
            default = dist.InverseGamma(1.5, 0.25 * self.scale**2)
        else:
            default = InverseWishart(size + 2.0, scale_tril=np.sqrt(0.1 * (2 * size + 3)) * self.scale * np.eye(size))
        self.covariance_prior = prior_or("covariance_prior", covariance_prior, default)
        matrix = len(self.covariance_prior.event_shape) == 2
        if matrix == (covariance == "diagonal"):
            expected = "of one number, such as InverseGamma" if covariance == "diagonal" else f"of a {size} x {size} matrix, such as InverseWishart"
            shape = self.covariance_prior.event_shape
            raise ValueError(f"covariance_prior: found event shape {shape}, expected a distribution {expected}, for covariance={covariance!r}.")
        self.default_priors = mean_prior is None or covariance_prior is None

    @property
    def num_features(self) -> int:
        """Columns of the data."""
        return self.features

    def _covariances_shape(self, num_states: int) -> tuple[int, ...]:
        matrix = (self.features, self.features)
        return {"full": (num_states, *matrix), "diagonal": (num_states, self.features), "tied": matrix}[self.covariance]

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {
            "means": with_shape(self.mean_prior, (num_states, self.features), "means"),
            "covariances": with_shape(self.covariance_prior, self._covariances_shape(num_states), "covariances"),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        matrix = ("feature", "feature_other")
        return {
            "means": ("state", "feature"),
            "covariances": {"full": ("state", *matrix), "diagonal": ("state", "feature"), "tied": matrix}[self.covariance],
        }

    def check(self, data: Sequences) -> None:
        """Checks the number of features; warns where the default priors do not suit the units of the data."""
        super().check(data)
        if self.default_priors:
            warn_about_scale("Gaussian", self.scale, data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Means at observations far apart, the overall variances in every state."""
        _, deviation = feature_moments(data)
        unit = jnp.where(deviation > 0, deviation, self.scale)
        variances = jnp.diag(unit**2) if self.covariance != "diagonal" else unit**2
        return {
            "means": spread_steps(key, data, num_states, unit),
            "covariances": jnp.broadcast_to(variances, self._covariances_shape(num_states)),
        }

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        means, covariances = params["means"], params["covariances"]
        values = jnp.asarray(data.values)
        if self.covariance == "diagonal":
            terms = jnp.log(2 * jnp.pi * covariances) + (values[:, :, None, :] - means) ** 2 / covariances
            if not data.complete:
                terms = jnp.where(jnp.asarray(data.observed)[:, :, None, :], terms, 0.0)
            return -0.5 * terms.sum(-1)
        if not data.complete:
            return partial_log_density(means, covariances, data)
        factor = cholesky(covariances)
        whitener = jnp.broadcast_to(solve_triangular(factor, jnp.eye(self.features)), (*means.shape, self.features))
        # About a common centre, so that a large offset of the data costs no digits.
        centre = means.mean(0)
        whitened = jnp.einsum("stm,knm->stkn", values - centre, whitener) - jnp.einsum("km,knm->kn", means - centre, whitener)
        constant = self.features * jnp.log(2 * jnp.pi) + log_determinant(factor)
        return -0.5 * (jnp.sum(whitened**2, axis=-1) + constant)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Posterior mode of the means given the covariances, then of the covariances given the means; neither lowers the objective.

        Missing entries enter a full covariance by their conditional moments under the present parameters.
        """
        conjugate = dist.InverseGamma if self.covariance == "diagonal" else dist.InverseWishart
        if not (isinstance(self.mean_prior, dist.Normal) and isinstance(self.covariance_prior, conjugate)):
            return super().m_step(params, data, weights)
        return self._diagonal_m_step(params, data, weights) if self.covariance == "diagonal" else self._matrix_m_step(params, data, weights)

    def _diagonal_m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        values, observed = jnp.asarray(data.values), None if data.complete else jnp.asarray(data.observed)
        if observed is None:
            count = jnp.broadcast_to(weights.sum((0, 1))[:, None], params["means"].shape)
        else:
            count = jnp.einsum("stk,stn->kn", weights, observed.astype(weights.dtype))
        location, precision = self._mean_prior_moments(params["means"].shape)
        average = _average(jnp.einsum("stk,stn->kn", weights, values), count, location)
        data_precision = count / params["covariances"]
        means = average + (location - average) * precision / (data_precision + precision)
        squares = weighted_squares(values, observed, weights, means)
        concentration, rate = numbers_of(self.covariance_prior, "concentration", "rate")
        return {"means": means, "covariances": (0.5 * squares + rate) / (0.5 * count + concentration + 1)}

    def _matrix_m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        values, spread = jnp.asarray(data.values)[:, :, None, :], 0.0
        if not data.complete:
            # A step without any observation says nothing, and would only slow EM down.
            weights = jnp.where(jnp.asarray(data.observed).any(-1, keepdims=True), weights, 0.0)
            values, spread = completed(params["means"], params["covariances"], data, weights)
        count = weights.sum((0, 1))
        location, precision = self._mean_prior_moments(params["means"].shape)
        total = jnp.einsum("stk,stkn->kn", weights, jnp.broadcast_to(values, (*weights.shape, self.features)))
        average = _average(total, count[:, None], location)
        data_precision = count[:, None, None] * inverse(cholesky(params["covariances"]))
        factor = cholesky(data_precision + precision[:, :, None] * jnp.eye(self.features))
        pull = precision * (location - average)
        means = average + solve_positive_definite(factor, pull[..., None])[..., 0]
        scatter = _scatter(values, weights, means) + spread
        if self.covariance == "tied":
            scatter, count = scatter.sum(0), count.sum()
        concentration, scale_factor = numbers_of(cast(dist.InverseWishart, self.covariance_prior).base_dist, "concentration", "scale_tril")
        scale_factor = scale_factor.astype(scatter.dtype)
        freedom = concentration + count + self.features + 1
        return {"means": means, "covariances": (scatter + scale_factor @ jnp.swapaxes(scale_factor, -1, -2)) / freedom[..., None, None]}

    def _mean_prior_moments(self, shape: tuple[int, ...]) -> tuple[Array, Array]:
        location, scale = numbers_of(self.mean_prior, "loc", "scale")
        return jnp.broadcast_to(location, shape), jnp.broadcast_to(scale, shape) ** -2.0

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        mean = params["means"][state]
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        if self.covariance == "diagonal":
            return mean + jnp.sqrt(params["covariances"][state]) * noise
        covariance = params["covariances"] if self.covariance == "tied" else params["covariances"][state]
        return mean + cholesky(covariance) @ noise


def _average(total: Array, count: Array, otherwise: Array) -> Array:
    """Weighted means; where there is no weight the prior's, so that what follows ends at the prior's mode."""
    return jnp.where(count > 0, total / jnp.where(count > 0, count, 1.0), otherwise)


def _scatter(values: Array, weights: Array, means: Array) -> Array:
    """Σ weights · (value - mean)(value - mean)ᵀ for each state, [state, feature, feature]; values [sequence, time, state or 1, feature]."""

    def one(state):
        weight, mean, index = state
        chosen = values[:, :, 0] if values.shape[2] == 1 else values[:, :, index]
        residual = (jnp.sqrt(weight)[..., None] * (chosen - mean)).reshape(-1, means.shape[-1])
        return residual.T @ residual

    return jax.lax.map(one, (jnp.moveaxis(weights, -1, 0), means, jnp.arange(means.shape[0])))
