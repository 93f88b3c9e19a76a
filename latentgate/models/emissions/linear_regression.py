"""Linear regression on inputs, with weights for each state or one set for all."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels.small_matrices import cholesky, solve_positive_definite

from ..base import Params, Part, Prior, with_shape
from ..distributions import numbers_of
from ..newton import weighted_gram
from .base import Emission
from .checks import at_least, positive, prior_or, warn_about_scale
from .statistics import column_spread, feature_moments


class LinearRegression(Emission):
    """Normal observations about a linear function of inputs: y_n ~ Normal(weights[z, n] · inputs + bias[z, n], covariances[z, n]).

    Parameters: `weights` [state, feature, input], `bias` [state, feature], variances `covariances` [state, feature]. With `tied` weights are those of all
    states, [feature, input]: an input moves the means of all states alike.

    The default priors are weak and proper, relative to `scale` (see `Gaussian`): weights and biases Normal(0, (100 scale)²), variances
    InverseGamma(1.5, scale²/4). A state without data ends at the mode of the priors.

    Args:
        num_features: N, columns of the data.
        num_inputs: M, columns of the input set.
        inputs: its name.
        tied: whether all states have the same weights.
        scale: typical standard deviation of a feature, in the units of the data; inputs are taken to be of order one.
        weight_prior: of every weight.
        bias_prior: of every bias.
        covariance_prior: of every variance. The M-step is closed form for Normal, Normal and InverseGamma priors, numerical for any others.

    Raises:
        ValueError: for wrong numbers of features or inputs, or a scale that is not positive.

    Example:
        >>> import latentgate as lg
        >>> lg.emissions.LinearRegression(2, num_inputs=3, inputs="task").input_sets
        {'task': 3}
    """

    features: int
    num_inputs: int
    inputs: str
    tied: bool
    scale: float
    weight_prior: dist.Distribution
    bias_prior: dist.Distribution
    covariance_prior: dist.Distribution
    default_priors: bool

    def __init__(
        self,
        num_features: int,
        num_inputs: int,
        inputs: str = "inputs",
        *,
        tied: bool = False,
        scale: float = 1.0,
        weight_prior: dist.Distribution | None = None,
        bias_prior: dist.Distribution | None = None,
        covariance_prior: dist.Distribution | None = None,
    ):
        self.features = at_least("num_features", num_features)
        self.num_inputs = at_least("num_inputs", num_inputs)
        self.inputs = inputs
        self.tied = bool(tied)
        self.scale = positive("scale", scale)
        wide = dist.Normal(0.0, 100.0 * self.scale)
        self.weight_prior = prior_or("weight_prior", weight_prior, wide)
        self.bias_prior = prior_or("bias_prior", bias_prior, wide)
        self.covariance_prior = prior_or("covariance_prior", covariance_prior, dist.InverseGamma(1.5, 0.25 * self.scale**2))
        self.default_priors = weight_prior is None or bias_prior is None or covariance_prior is None

    @property
    def num_features(self) -> int:
        """Columns of the data."""
        return self.features

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Emission.input_sets`."""
        return {self.inputs: self.num_inputs}

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        shape = (num_states, self.features)
        return {
            "weights": with_shape(self.weight_prior, (*(shape[1:] if self.tied else shape), self.num_inputs), "weights"),
            "bias": with_shape(self.bias_prior, shape, "bias"),
            "covariances": with_shape(self.covariance_prior, shape, "covariances"),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        weights = ("feature", "input") if self.tied else ("state", "feature", "input")
        return {"weights": weights, "bias": ("state", "feature"), "covariances": ("state", "feature")}

    def check(self, data: Sequences) -> None:
        """Checks features and inputs; warns where the default priors do not suit the units of the data."""
        super().check(data)
        if self.default_priors:
            warn_about_scale("LinearRegression", self.scale, data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Random weights of the size that the spreads of features and inputs allow, through the mean; the overall variances."""
        mean, deviation = feature_moments(data)
        unit = jnp.where(deviation > 0, deviation, self.scale)
        centre, spread = column_spread(data.inputs[self.inputs], data.lengths)
        for_weights, for_bias = jax.random.split(key)
        shape = (num_states, self.features)
        weights = jax.random.normal(for_weights, (*(shape[1:] if self.tied else shape), self.num_inputs)) * unit[:, None] / (spread * jnp.sqrt(self.num_inputs))
        bias = mean - weights @ centre + 0.5 * unit * jax.random.normal(for_bias, shape)
        return {"weights": weights, "bias": bias, "covariances": jnp.broadcast_to(unit**2, shape)}

    def adopt(self, other: Part, params: Params) -> Params:
        """See `Part.adopt`; tied weights start from the mean over states, weights of each state from those they had in common."""
        adopted = super().adopt(other, params)
        weights = jnp.asarray(adopted["weights"])
        if isinstance(other, LinearRegression) and other.tied != self.tied:
            adopted["weights"] = weights.mean(0) if self.tied else jnp.broadcast_to(weights, (len(adopted["bias"]), *weights.shape))
        return adopted

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        inputs, weights = jnp.asarray(data.inputs[self.inputs]), params["weights"]
        slopes = jnp.einsum("stm,nm->stn", inputs, weights)[:, :, None] if self.tied else jnp.einsum("stm,knm->stkn", inputs, weights)
        predicted = slopes + params["bias"]
        variances = params["covariances"]
        terms = jnp.log(2 * jnp.pi * variances) + (jnp.asarray(data.values)[:, :, None, :] - predicted) ** 2 / variances
        if not data.complete:
            terms = jnp.where(jnp.asarray(data.observed)[:, :, None, :], terms, 0.0)
        return -0.5 * terms.sum(-1)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Posterior mode of weights and biases given the variances (ridge regression), then of the variances given these."""
        normal = isinstance(self.weight_prior, dist.Normal) and isinstance(self.bias_prior, dist.Normal)
        if not (normal and isinstance(self.covariance_prior, dist.InverseGamma)):
            return super().m_step(params, data, weights)
        inputs = jnp.asarray(data.inputs[self.inputs])
        design = jnp.concatenate([inputs, jnp.ones_like(inputs[..., :1])], axis=-1)
        variances = params["covariances"]
        start = self._coefficients(params["weights"], params["bias"])
        moments, _ = _residual_sums(start, design, data, weights)
        # The objective is quadratic, so its maximum is one Newton step away, and the step is computed from residuals.
        gradient = moments / variances[..., None]
        curvature = self._gram(design, data, weights) / variances[..., None, None]
        found = start + self._newton_step(params, gradient, jnp.broadcast_to(curvature, (*gradient.shape, gradient.shape[-1])))
        _, squares = _residual_sums(found, design, data, weights)
        concentration, rate = numbers_of(self.covariance_prior, "concentration", "rate")
        return {
            "weights": found[0, :, :-1] if self.tied else found[..., :-1],
            "bias": found[..., -1],
            "covariances": (0.5 * squares + rate) / (0.5 * self._count(data, weights) + concentration + 1),
        }

    def _coefficients(self, weights: Array, bias: Array) -> Array:
        """Weights and bias of every state, [state, feature, input + 1]."""
        return jnp.concatenate([jnp.broadcast_to(weights, (*bias.shape, self.num_inputs)), bias[..., None]], axis=-1)

    def _newton_step(self, params: Params, gradient: Array, curvature: Array) -> Array:
        """Step of weights and bias [state, feature, input + 1] to the posterior mode, given what the likelihood says of each state.

        Args:
            params: where the gradient was taken.
            gradient: of the expected log-likelihood, [state, feature, input + 1].
            curvature: minus its Hessian, [state, feature, input + 1, input + 1].
        """
        weights, bias = params["weights"], params["bias"]
        (location, scale), (bias_location, bias_scale) = (numbers_of(prior, "loc", "scale") for prior in (self.weight_prior, self.bias_prior))
        pull, bias_pull = (location - weights) / scale**2, (bias_location - bias) / bias_scale**2
        tightness, bias_tightness = jnp.broadcast_to(scale**-2.0, weights.shape), jnp.broadcast_to(bias_scale**-2.0, bias.shape)
        if not self.tied:
            gradient = gradient + self._coefficients(pull, bias_pull)
            curvature = curvature + self._coefficients(tightness, bias_tightness)[..., None] * jnp.eye(gradient.shape[-1])
            return solve_positive_definite(cholesky(curvature), gradient[..., None])[..., 0]
        # Unknowns of a feature are its weights and then the bias of every state; a state's own are the weights and its bias.
        num_states = len(bias)
        chosen = np.stack([np.r_[: self.num_inputs, self.num_inputs + state] for state in range(num_states)])
        own = jnp.asarray(np.eye(self.num_inputs + num_states)[chosen], gradient.dtype)
        gradient = jnp.einsum("kiu,kni->nu", own, gradient) + jnp.concatenate([pull, bias_pull.T], axis=-1)
        curvature = jnp.einsum("kiu,knij,kjv->nuv", own, curvature, own)
        curvature = curvature + jnp.concatenate([tightness, bias_tightness.T], axis=-1)[..., None] * jnp.eye(gradient.shape[-1])
        step = solve_positive_definite(cholesky(curvature), gradient[..., None])[..., 0]
        return jnp.einsum("kiu,nu->kni", own, step)

    def _count(self, data: Sequences, weights: Array) -> Array:
        return jnp.einsum("stk,stn->kn", weights, jnp.asarray(data.observed).astype(weights.dtype))

    def _gram(self, design: Array, data: Sequences, weights: Array) -> Array:
        """Σ weights · x xᵀ over the steps at which a feature is observed, [state, feature or 1, input + 1, input + 1]."""
        if data.complete:
            return weighted_gram(design, weights)[:, None]
        both = weights[..., :, None] * jnp.asarray(data.observed)[..., None, :]
        gram = weighted_gram(design, both.reshape(*both.shape[:2], -1))
        return gram.reshape(*both.shape[2:], *gram.shape[1:])

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        weights = params["weights"] if self.tied else params["weights"][state]
        mean = weights @ inputs[self.inputs] + params["bias"][state]
        return mean + jnp.sqrt(params["covariances"][state]) * jax.random.normal(key, mean.shape, mean.dtype)


def _residual_sums(coefficients: Array, design: Array, data: Sequences, weights: Array) -> tuple[Array, Array]:
    """Σ weights · residual · x [state, feature, input + 1] and Σ weights · residual² [state, feature] over observed entries."""
    values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
    flat = design.reshape(-1, design.shape[-1])

    def one(state: tuple[Array, Array]) -> tuple[Array, Array]:
        coefficients, weight = state
        residual = jnp.where(observed, values - design @ coefficients.T, 0.0).reshape(-1, values.shape[-1])
        weight = weight.reshape(-1)
        return (weight[:, None] * residual).T @ flat, weight @ residual**2

    return jax.lax.map(one, (coefficients, jnp.moveaxis(weights, -1, 0)))
