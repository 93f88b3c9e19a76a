"""Linear experts with normal noise, own or shared."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from latentgate.data import Sequences
from latentgate.kernels.small_matrices import cholesky, solve_positive_definite

from ..base import Params, Prior, with_shape
from ..distributions import RootInverseGamma, numbers_of
from ..emissions.checks import at_least, positive, prior_or, warn_about_scale
from ..emissions.statistics import column_spread, feature_moments
from ..newton import weighted_gram
from .base import Experts


class LinearGaussian(Experts):
    """Normal observations about a line (or plane) of the inputs: y ~ Normal(weights[k] · inputs + bias[k], scale[k]²).

    Parameters: `weights` [expert, input], `bias` [expert], standard deviations `scale` [expert], or one for all, [].

    The default priors are weak and proper, relative to `scale` (see `lg.emissions.Gaussian`), so that no expert collapses onto a few rows: weights and biases
    Normal(0, (100 scale)²), variances InverseGamma(1.5, scale²/4). Without them the likelihood has no bound: an expert that passes through two rows exactly
    earns an infinite density. For maximum likelihood pass "flat" and, better, a `min_scale`.

    Args:
        num_experts: K.
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        shared_scale: whether all experts have one standard deviation.
        scale: typical standard deviation of the observation, in the units of the data; inputs are taken to be of order one.
        weight_prior, bias_prior: of every weight and bias: a numpyro distribution, or "flat". The M-step is closed form for Normal and flat ones.
        variance_prior: of every variance: an InverseGamma of numpyro, or "flat".
        min_scale: no standard deviation is less: a box as part of the estimator.

    Raises:
        ValueError: for a number of experts or inputs below one, scales that are not positive, or a variance prior of another kind.

    Example:
        >>> import latentgate as lg
        >>> lg.experts.LinearGaussian(3, num_inputs=2).dims()
        {'weights': ('expert', 'input'), 'bias': ('expert',), 'scale': ('expert',)}
    """

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
        self.variance_prior = prior_or("variance_prior", variance_prior, dist.InverseGamma(1.5, 0.25 * self.scale**2))
        if not isinstance(self.variance_prior, dist.InverseGamma | dist.ImproperUniform):
            raise ValueError(f'variance_prior: found {self.variance_prior!r}, expected an InverseGamma of numpyro, "flat", or None.')
        self.min_scale = 0.0 if min_scale is None else positive("min_scale", min_scale)
        self.default_priors = weight_prior is None or bias_prior is None or variance_prior is None

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {
            "weights": with_shape(self.weight_prior, (num_states, self.columns), "weights"),
            "bias": with_shape(self.bias_prior, (num_states,), "bias"),
            "scale": scale_prior(self.variance_prior, self.min_scale, () if self.shared_scale else (num_states,)),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"weights": ("expert", "input"), "bias": ("expert",), "scale": () if self.shared_scale else ("expert",)}

    def check(self, data: Sequences) -> None:
        """One feature, the input set, and a warning where `scale` is far from the spread of the data."""
        super().check(data)
        if self.default_priors:
            warn_about_scale("LinearGaussian experts", self.scale, data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Lines through scattered points about the mean, with slopes of either sign."""
        mean, deviation = (moment[0] for moment in feature_moments(data))
        deviation = jnp.where(deviation > 0, deviation, self.scale)
        centre, spread = column_spread(data.inputs[self.inputs], data.lengths)
        for_weights, for_bias = jax.random.split(key)
        weights = deviation * jax.random.normal(for_weights, (num_states, self.columns)) / (spread * jnp.sqrt(self.columns))
        bias = mean + deviation * jax.random.normal(for_bias, (num_states,)) - weights @ centre
        scale = jnp.full(() if self.shared_scale else (num_states,), jnp.maximum(deviation, 1.01 * self.min_scale), weights.dtype)
        return {"weights": weights, "bias": bias, "scale": scale}

    def means(self, params: Params, inputs: Array) -> Array:
        """Mean of every expert given inputs [..., M], [..., K]."""
        return jnp.moveaxis(self._leading_means(params, inputs), 0, -1)

    def _leading_means(self, params: Params, inputs: Array) -> Array:
        linear = jnp.einsum("km,...m->k...", params["weights"], inputs)
        return linear + params["bias"].reshape(-1, *[1] * (linear.ndim - 1))

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        values = jnp.asarray(data.values)[..., 0]
        terms = normal_log_density(values - self._leading_means(params, jnp.asarray(data.inputs[self.inputs])), params["scale"])
        if not data.complete:
            terms = jnp.where(jnp.asarray(data.observed)[..., 0], terms, 0.0)
        return jnp.moveaxis(terms, 0, -1)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Posterior mode of weights and biases given the scales (weighted least squares), then of the scales given these."""
        inputs = jnp.asarray(data.inputs[self.inputs])
        design = jnp.concatenate([inputs, jnp.ones_like(inputs[..., :1])], axis=-1)
        return weighted_least_squares(self, params, design, data, weights) or super().m_step(params, data, weights)

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        mean = params["weights"][state] @ inputs[self.inputs] + params["bias"][state]
        scale = params["scale"] if self.shared_scale else params["scale"][state]
        return (mean + scale * jax.random.normal(key, (), mean.dtype))[None]


def scale_prior(variance_prior: dist.Distribution, smallest: float, shape: tuple[int, ...]) -> dist.Distribution:
    """Law of standard deviations whose variances have an inverse gamma prior, or a flat one."""
    if isinstance(variance_prior, dist.InverseGamma):
        return with_shape(RootInverseGamma(*numbers_of(variance_prior, "concentration", "rate"), smallest), shape, "scale")
    support = constraints.greater_than(smallest) if smallest else constraints.positive
    return dist.ImproperUniform(support, shape, ()).to_event(len(shape))


def normal_log_density(residual: Array, scale: Array) -> Array:
    """Log-density of residuals [K, ...] under standard deviations [K] or []."""
    scale = scale.reshape(-1, *[1] * (residual.ndim - 1))
    return -0.5 * (residual / scale) ** 2 - jnp.log(scale) - 0.5 * jnp.log(2 * jnp.pi)


def weighted_least_squares(experts, params: Params, design: Array, data: Sequences, weights: Array) -> Params | None:
    """The M-step of experts whose mean is weights · columns + bias; None where a prior has no closed form.

    Args:
        experts: with `weight_prior`, `bias_prior`, `variance_prior`, `min_scale` and `shared_scale` as in `LinearGaussian`.
        params: current `weights` [K, D - 1], `bias` [K] and `scale`.
        design: [sequence, time, D], the last column ones.
        data: the sequences, of one feature.
        weights: responsibilities [sequence, time, K].
    """
    if not all(isinstance(prior, dist.Normal | dist.ImproperUniform) for prior in (experts.weight_prior, experts.bias_prior)):
        return None
    values = jnp.asarray(data.values)[..., 0]
    if not data.complete:
        weights = jnp.where(jnp.asarray(data.observed), weights, 0.0)
    leading = jnp.moveaxis(weights, -1, 0)
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
    coefficients = coefficients + step
    squares = jnp.einsum("kst,kst->k", leading, (values - jnp.einsum("kc,stc->kst", coefficients, design)) ** 2)
    counts = leading.sum((1, 2))
    if experts.shared_scale:
        squares, counts = squares.sum(), counts.sum()
    if isinstance(experts.variance_prior, dist.InverseGamma):
        concentration, rate = numbers_of(experts.variance_prior, "concentration", "rate")
        # The mode of the standard deviation, whose density has one more power of it than that of the variance.
        scale = jnp.sqrt((0.5 * squares + rate) / (0.5 * counts + concentration + 0.5))
    else:
        scale = jnp.where(counts > 0, jnp.sqrt(squares / jnp.where(counts > 0, counts, 1.0)), params["scale"])
    return {"weights": coefficients[:, :-1], "bias": coefficients[:, -1], "scale": jnp.maximum(scale, experts.min_scale)}


def _normal_numbers(prior: dist.Distribution) -> tuple[Array, Array]:
    """Location and precision of a normal prior; zeros for a flat one."""
    if isinstance(prior, dist.ImproperUniform):
        return jnp.zeros(()), jnp.zeros(())
    location, scale = numbers_of(prior, "loc", "scale")
    return location, scale**-2.0
