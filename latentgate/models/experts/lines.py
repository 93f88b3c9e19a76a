"""What experts share whose mean is linear in weights on columns made from the inputs."""

from __future__ import annotations

import abc
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, with_shape
from ..designs import check_design, is_flat, observed_rows
from ..emissions.checks import at_least, positive, prior_or, warn_about_scale
from ..emissions.statistics import column_spread, feature_moments
from ..sized import sized_by_inputs
from .base import ExpertsWithMeans
from .least_squares import weighted_least_squares
from .noise import min_scale_or, normal_log_density, scale_prior, variance_prior_or


class Lines(ExpertsWithMeans):
    """Normal observations about weights[k] · columns(inputs) + bias[k]; see `LinearGaussian` for the arguments."""

    num_experts: int
    inputs: str
    num_inputs: int | None
    shared_scale: bool
    scale: float
    weight_prior: dist.Distribution
    bias_prior: dist.Distribution
    variance_prior: dist.Distribution
    min_scale: float
    default_priors: bool

    def __init__(
        self,
        num_experts: int,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        shared_scale: bool = False,
        scale: float = 1.0,
        weight_prior: dist.Distribution | Literal["flat"] | None = None,
        bias_prior: dist.Distribution | Literal["flat"] | None = None,
        variance_prior: dist.Distribution | Literal["flat"] | None = None,
        min_scale: float | None = None,
    ):
        self.num_experts = at_least("num_experts", num_experts)
        self.inputs = inputs
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)
        self.shared_scale = bool(shared_scale)
        self.scale = positive("scale", scale)
        wide = dist.Normal(0.0, 100.0 * self.scale)
        self.weight_prior = prior_or("weight_prior", weight_prior, wide)
        self.bias_prior = prior_or("bias_prior", bias_prior, wide)
        self.variance_prior = variance_prior_or(variance_prior, self.scale)
        self.min_scale = min_scale_or(min_scale)
        self.default_priors = weight_prior is None or bias_prior is None or variance_prior is None

    @property
    @abc.abstractmethod
    def num_weights(self) -> int:
        """D, weights of an expert."""

    @property
    @abc.abstractmethod
    def weight_axis(self) -> str:
        """Name of their dimension."""

    @abc.abstractmethod
    def features(self, inputs: Any) -> Any:
        """Columns [..., D] made from inputs [..., M], of NumPy (in the precision of the data, for checks) or JAX."""

    @abc.abstractmethod
    def feature_names(self, data: Sequences) -> list[str]:
        """What to call the columns in an error."""

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {
            "weights": with_shape(self.weight_prior, (num_states, self.num_weights), "weights"),
            "bias": with_shape(self.bias_prior, (num_states,), "bias"),
            "scale": scale_prior(self.variance_prior, self.min_scale, () if self.shared_scale else (num_states,)),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"weights": ("expert", self.weight_axis), "bias": ("expert",), "scale": () if self.shared_scale else ("expert",)}

    def check(self, data: Sequences) -> None:
        """One feature, inputs that determine the weights, and a warning where `scale` is far from the spread of the data."""
        super().check(data)
        self.check_design(data, flat_scale=is_flat(self.variance_prior) and not self.min_scale)
        if self.default_priors:
            warn_about_scale(f"{type(self).__name__} experts", self.scale, data)

    def check_design(self, data: Sequences, *, flat_scale: bool) -> None:
        """See `ExpertsWithMeans.check_design`."""
        sized = sized_by_inputs(self, data)
        check_design(
            f"{type(self).__name__} experts",
            sized.feature_names(data),
            sized.features(observed_rows(data.inputs[self.inputs], data)),
            flat_weights=is_flat(self.weight_prior),
            flat_bias=is_flat(self.bias_prior),
            num_parameters=sized.num_weights + 1 + flat_scale,
        )

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Lines through scattered points about the mean, with slopes of either sign."""
        mean, deviation = (moment[0] for moment in feature_moments(data))
        deviation = jnp.where(deviation > 0, deviation, self.scale)
        centre, spread = column_spread(self.features(jnp.asarray(data.inputs[self.inputs])), data.lengths)
        for_weights, for_bias = jax.random.split(key)
        weights = deviation * jax.random.normal(for_weights, (num_states, self.num_weights)) / (spread * jnp.sqrt(self.num_weights))
        bias = mean + deviation * jax.random.normal(for_bias, (num_states,)) - weights @ centre
        scale = jnp.full(() if self.shared_scale else (num_states,), jnp.maximum(deviation, 1.01 * self.min_scale), weights.dtype)
        return {"weights": weights, "bias": bias, "scale": scale}

    def leading_means(self, params: Params, inputs: Array) -> Array:
        """See `ExpertsWithMeans.leading_means`."""
        linear = jnp.einsum("km,...m->k...", params["weights"], self.features(inputs))
        return linear + params["bias"].reshape(-1, *[1] * (linear.ndim - 1))

    def residuals(self, params: Params, data: Sequences) -> Array:
        """Observations minus means, [K, sequence, time]."""
        return jnp.asarray(data.values)[..., 0] - self.leading_means(params, jnp.asarray(data.inputs[self.inputs]))

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        terms = self.log_density(params, self.residuals(params, data))
        if not data.complete:
            terms = jnp.where(jnp.asarray(data.observed)[..., 0], terms, 0.0)
        return jnp.moveaxis(terms, 0, -1)

    def log_density(self, params: Params, residuals: Array) -> Array:
        """Log-density of residuals [K, ...]."""
        return normal_log_density(residuals, params["scale"])

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Posterior mode of weights and biases given the scales (weighted least squares), then of the scales given these."""
        return weighted_least_squares(self, params, self.design(data), data, weights)

    def design(self, data: Sequences) -> Array:
        """Columns and ones, [sequence, time, D + 1]."""
        columns = self.features(jnp.asarray(data.inputs[self.inputs]))
        return jnp.concatenate([columns, jnp.ones_like(columns[..., :1])], axis=-1)

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        mean = self.leading_means(params, inputs[self.inputs])[state]
        return (mean + self._scale_of(params, state) * jax.random.normal(key, (), mean.dtype))[None]

    def _scale_of(self, params: Params, state: Array) -> Array:
        return params["scale"] if self.shared_scale else params["scale"][state]
