"""The Gaussian gate: experts own regions of the inputs, which have a law too."""

from __future__ import annotations

from types import NoneType
from typing import Any, Literal, cast

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import Distribution, ImproperUniform, constraints

from latentgate.data import Sequences
from latentgate.kernels.small_matrices import cholesky, inverse, solve_positive_definite

from ..base import Params, Prior
from ..distributions import Dirichlet, dirichlet_mode, numbers_of, positive_definite
from ..emissions.checks import at_least, positive
from ..emissions.gaussian import COVARIANCES
from ..emissions.gaussian import Gaussian as GaussianLaw
from .base import Gate
from .linear import to_log_weights


class Gaussian(Gate):
    """Joint model of inputs and observations: expert k ~ probs, inputs | k ~ Normal(means[k], covariances[k]) (GLLiM; Xu, Jordan and Hinton 1995).

    The weights given the inputs are probs[k] · N(inputs; k) / Σ; the likelihood is that of inputs *and* observations, whose EM is in closed form. It may not
    be compared with the likelihoods of other gates, which are of observations given inputs.

    Parameters: `probs` [expert]; `means` [expert, input]; `covariances` [expert, input, input_other] (full), variances [expert, input] (diagonal), or one
    matrix for all experts [input, input_other] (tied: weights are then a softmax of linear scores).

    Args:
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        covariance: "full", "diagonal" or "tied".
        scale: typical standard deviation of an input, to which the default priors are relative; see `lg.emissions.Gaussian`.
        concentration: of the Dirichlet prior of the probabilities; 1 is flat.
        mean_prior: of every mean: a numpyro distribution, "flat", or None for the default.
        covariance_prior: of every covariance: likewise. The M-step is closed form for Normal and flat means and InverseWishart (or, diagonal, InverseGamma)
            and flat covariances. With flat covariances the likelihood has no bound.

    Raises:
        ValueError: for an unknown covariance, a scale or concentration that is not positive, or a prior of the wrong shape (once the number of inputs is
            known).

    Example:
        >>> import latentgate as lg
        >>> lg.gates.Gaussian(num_inputs=2).dims()["covariances"]
        ('expert', 'input', 'input_other')
    """

    inputs: str
    num_inputs: int | None
    covariance: str
    scale: float
    concentration: float
    mean_prior: Distribution | str | None
    covariance_prior: Distribution | str | None

    def __init__(
        self,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        covariance: str = "full",
        scale: float = 1.0,
        concentration: float = 1.0,
        mean_prior: Distribution | Literal["flat"] | None = None,
        covariance_prior: Distribution | Literal["flat"] | None = None,
    ):
        if covariance not in COVARIANCES:
            raise ValueError(f"covariance: found {covariance!r}, expected one of {', '.join(map(repr, COVARIANCES))}.")
        for name, prior in (("mean_prior", mean_prior), ("covariance_prior", covariance_prior)):
            if prior is not None and not isinstance(prior, Distribution) and prior != "flat":
                raise ValueError(f'{name}: found {prior!r}, expected a distribution of numpyro, "flat", or None.')
        self.inputs = inputs
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)
        self.covariance = covariance
        self.scale, self.concentration = positive("scale", scale), positive("concentration", concentration)
        self.mean_prior, self.covariance_prior = mean_prior, covariance_prior
        if self.num_inputs is not None:
            self._law()

    def _law(self) -> GaussianLaw:
        """The law of the inputs as an emission, with default priors in place of flat ones."""
        own: dict[str, Any] = {name: None if isinstance(prior, str) else prior for name, prior in self._own_priors.items()}
        return GaussianLaw(self.columns, self.covariance, scale=self.scale, **own)

    @property
    def _own_priors(self) -> dict[str, Distribution | str | None]:
        return {"mean_prior": self.mean_prior, "covariance_prior": self.covariance_prior}

    @property
    def models_inputs(self) -> bool:
        """See `Gate.models_inputs`."""
        return True

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        priors: dict[str, Any] = {"probs": Dirichlet(jnp.full(num_states, self.concentration)), **self._law().priors(num_states)}
        for name, own in (("means", self.mean_prior), ("covariances", self.covariance_prior)):
            if isinstance(own, str):
                shape = priors[name].event_shape
                matrix = name == "covariances" and self.covariance != "diagonal"
                support: Any = positive_definite if matrix else constraints.positive if name == "covariances" else constraints.real
                own_dims = 2 if matrix else 0
                priors[name] = ImproperUniform(support, shape[: len(shape) - own_dims], shape[len(shape) - own_dims :]).to_event(len(shape) - own_dims)
        return priors

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        matrix = ("input", "input_other")
        covariances = {"full": ("expert", *matrix), "diagonal": ("expert", "input"), "tied": matrix}[self.covariance]
        return {"probs": ("expert",), "means": ("expert", "input"), "covariances": covariances}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Means at inputs far apart, the overall variances for every expert."""
        mask = jnp.asarray(data.mask)
        start = self._law().initialize(key, _observed(jnp.asarray(data.inputs[self.inputs]), mask), num_states)
        return {"probs": jnp.full(num_states, 1.0 / num_states, start["means"].dtype), **start}

    def log_potentials(self, params: Params, inputs: Array) -> Array:
        """Joint log-density of expert and inputs, [..., K]."""
        flat = inputs.reshape(1, -1, inputs.shape[-1])
        law = {"means": params["means"], "covariances": params["covariances"]}
        density = self._law().log_likelihood(law, _observed(flat)).reshape(*inputs.shape[:-1], -1)
        return density + jnp.log(params["probs"])

    def log_weights(self, params: Params, inputs: Array) -> Array:
        """See `Gate.log_weights`."""
        return to_log_weights(jnp.moveaxis(self.log_potentials(params, inputs), -1, 0))

    def log_prevalence(self, params: Params) -> Array:
        """See `Gate.log_prevalence`."""
        return jnp.log(params["probs"])

    def sample_inputs(self, key: Array, params: Params, expert: Array) -> Array:
        """See `Gate.sample_inputs`."""
        law = {"means": params["means"], "covariances": params["covariances"]}
        return self._law().sample(key, law, expert, {}, jnp.zeros((0, self.columns)))

    def m_step(self, params: Params, inputs: Array, targets: Array, log_likelihood: Array | None = None) -> Params:
        """Posterior modes: of the probabilities; of the means given the covariances; then of the covariances given the means. None lowers the objective."""
        law = self._law()
        mean_prior = None if isinstance(self.mean_prior, str) else law.mean_prior
        covariance_prior = None if isinstance(self.covariance_prior, str) else law.covariance_prior
        conjugate = dist.InverseGamma if self.covariance == "diagonal" else dist.InverseWishart
        if not (isinstance(mean_prior, dist.Normal | NoneType) and isinstance(covariance_prior, conjugate | NoneType)):
            return super().m_step(params, inputs, targets, log_likelihood)
        leading = jnp.moveaxis(targets, -1, 0)
        counts = leading.sum((1, 2))
        probs = dirichlet_mode(counts, jnp.asarray(self.concentration), params["probs"])
        location, precision = jnp.zeros(()), jnp.zeros(())
        if mean_prior is not None:
            location, scale = numbers_of(mean_prior, "loc", "scale")
            precision = scale**-2.0
        location, precision = (jnp.broadcast_to(number, params["means"].shape) for number in (location, precision))
        some = jnp.where(counts > 0, counts, 1.0)[:, None]
        # About the present means, so that a large offset of the inputs costs no digits.
        shifts = jnp.stack([jnp.einsum("st,stm->m", weight, inputs - mean) for weight, mean in zip(leading, params["means"], strict=True)]) / some
        average = jnp.where(counts[:, None] > 0, params["means"] + shifts, jnp.where(precision > 0, location, params["means"]))
        update = self._diagonal if self.covariance == "diagonal" else self._matrices
        means, covariances = update(params, inputs, leading, counts, average, location, precision, covariance_prior)
        return {"probs": probs, "means": means, "covariances": covariances}

    def _diagonal(self, params, inputs, leading, counts, average, location, precision, prior) -> tuple[Array, Array]:
        counts = counts[:, None]
        strength = counts / params["covariances"] + precision
        means = average + jnp.where(strength > 0, (location - average) * precision / jnp.where(strength > 0, strength, 1.0), 0.0)
        squares = jnp.stack([jnp.einsum("st,stm->m", weight, (inputs - mean) ** 2) for weight, mean in zip(leading, means, strict=True)])
        if prior is None:
            return means, jnp.where(counts > 0, squares / jnp.where(counts > 0, counts, 1.0), params["covariances"])
        concentration, rate = numbers_of(prior, "concentration", "rate")
        return means, (0.5 * squares + rate) / (0.5 * counts + concentration + 1)

    def _matrices(self, params, inputs, leading, counts, average, location, precision, prior) -> tuple[Array, Array]:
        size = inputs.shape[-1]
        strength = counts[:, None, None] * inverse(cholesky(params["covariances"])) + precision[:, :, None] * jnp.eye(size)
        step = solve_positive_definite(cholesky(strength), (precision * (location - average))[..., None])[..., 0]
        # An expert without rows and without a prior stays where it is.
        means = average + jnp.where(jnp.isfinite(step).all(-1, keepdims=True), step, 0.0)
        roots = [(jnp.sqrt(weight)[..., None] * (inputs - mean)).reshape(-1, size) for weight, mean in zip(leading, means, strict=True)]
        scatter = jnp.stack([root.T @ root for root in roots])
        if self.covariance == "tied":
            scatter, counts = scatter.sum(0), counts.sum()
        if prior is None:
            some = counts[..., None, None]
            return means, jnp.where(some > 0, scatter / jnp.where(some > 0, some, 1.0), params["covariances"])
        concentration, factor = numbers_of(cast(dist.InverseWishart, prior).base_dist, "concentration", "scale_tril")
        factor = factor.astype(scatter.dtype)
        freedom = concentration + counts + size + 1
        return means, (scatter + factor @ jnp.swapaxes(factor, -1, -2)) / freedom[..., None, None]


def _observed(inputs: Array, mask: Array | None = None) -> Sequences:
    """Inputs [sequence, time, M] as observations; `mask` bool [sequence, time] marks real steps, all if None."""
    shape = inputs.shape
    observed = jnp.ones(shape, bool) if mask is None else jnp.broadcast_to(mask[..., None], shape)
    lengths = jnp.full(shape[0], shape[1], jnp.int32) if mask is None else mask.sum(-1).astype(jnp.int32)
    return Sequences(values=inputs, observed=observed, lengths=lengths, inputs={}, times=None, complete=True)
