"""The bootstrap particle filter."""

from __future__ import annotations

import numbers

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentgate.kernels.small_matrices import cholesky, log_determinant, solve_triangular, square_root

from .beliefs import ParticleBelief
from .model import NonlinearModel
from .strategy import Strategy, emission_of, masked


class Particle(Strategy):
    """The bootstrap particle filter: particles follow the dynamics and are weighted by the likelihood of the observation.

    Before a prediction the particles are resampled (systematically) if their effective sample size has fallen below a share of their number. The exponential
    of the summed increments is an unbiased estimate of the likelihood. An observation that is impossible for every particle has the increment -inf and
    leaves the weights as they were.

    Args:
        num_particles: at least 1.
        resample_below: share of `num_particles`, from 0 (never) to 1 (whenever the weights are not equal).

    Raises:
        ValueError: an argument out of range.

    Source: Gordon, Salmond, Smith, IEE Proceedings F 140:107 (1993); systematic resampling: Kitagawa (1996).

    Example:
        >>> import latentgate.filters as filters
        >>> filters.Particle(1000).num_particles
        1000
    """

    num_particles: int
    resample_below: float

    def __init__(self, num_particles: int = 1000, resample_below: float = 0.5):
        if isinstance(num_particles, bool) or not isinstance(num_particles, int) or num_particles < 1:
            raise ValueError(f"num_particles: found {num_particles!r}, expected a positive integer.")
        if isinstance(resample_below, bool) or not isinstance(resample_below, numbers.Real) or not 0 <= float(resample_below) <= 1:
            raise ValueError(f"resample_below: found {resample_below!r}, expected a number from 0 to 1.")
        self.num_particles = num_particles
        self.resample_below = float(resample_below)

    def init(self, model: NonlinearModel, key: Array | None = None) -> ParticleBelief:
        """Particles drawn from the model's initial law; a key is needed."""
        if key is None:
            raise ValueError("key: found None, expected a random key, for instance jax.random.key(0): the particle filter draws numbers.")
        key, own = jax.random.split(key)
        particles = self._scattered(own, model.initial_mean, model.initial_covariance)
        return ParticleBelief(particles, jnp.full(self.num_particles, -jnp.log(self.num_particles), particles.dtype), key)

    def predict(self, model: NonlinearModel, belief: ParticleBelief) -> ParticleBelief:
        """See `Strategy.predict`."""
        key, for_resampling, for_noise = jax.random.split(belief.key, 3)
        equal = jnp.full_like(belief.log_weights, -jnp.log(self.num_particles))
        wanted = belief.effective_sample_size < self.resample_below * self.num_particles
        chosen = jnp.where(wanted, systematic(for_resampling, belief.log_weights), jnp.arange(self.num_particles))
        moved = jax.vmap(model.dynamics)(belief.particles[chosen])
        return ParticleBelief(self._scattered(for_noise, moved, model.dynamics_covariance), jnp.where(wanted, equal, belief.log_weights), key)

    def update(self, model: NonlinearModel, belief: ParticleBelief, observation: Array, observed: Array | None = None) -> tuple[ParticleBelief, Array]:
        """See `Strategy.update`."""
        return belief.reweight(_log_likelihoods(model, belief.particles, observation, observed))

    def _scattered(self, key: Array, means: Array, covariance: Array) -> Array:
        """One draw from each Normal(mean, covariance), [particle, d]."""
        noise = jax.random.normal(key, (self.num_particles, covariance.shape[-1]), covariance.dtype)
        return means + noise @ square_root(covariance).T


def systematic(key: Array, log_weights: Array) -> Array:
    """Indices [particle] drawn by systematic resampling: one uniform number for all, each particle as often as its weight says, up to one."""
    total = jnp.cumsum(jnp.exp(log_weights - jnp.max(log_weights)))
    count = log_weights.shape[0]
    places = (jnp.arange(count, dtype=total.dtype) + jax.random.uniform(key, (), total.dtype)) / count
    # Rounding may carry the last place to 1, which is beyond every particle.
    places = jnp.minimum(places, jnp.nextafter(jnp.ones((), total.dtype), jnp.zeros((), total.dtype)))
    return jnp.searchsorted(total / total[-1], places, side="right")


def _log_likelihoods(model: NonlinearModel, particles: Array, observation: Array, observed: Array | None) -> Array:
    """Log-likelihood of one observation under each particle, [particle]."""
    if model.log_likelihood is None:
        return _gaussian(model, particles, observation, observed)
    terms = jax.vmap(model.log_likelihood, (0, None))(particles, observation)
    if terms.ndim == 1:
        return terms if observed is None else jnp.where(observed.any(), terms, 0.0)
    return terms.sum(-1) if observed is None else jnp.where(observed, terms, 0.0).sum(-1)


def _gaussian(model: NonlinearModel, particles: Array, observation: Array, observed: Array | None) -> Array:
    emission, covariance = emission_of(model)
    residuals = observation - jax.vmap(emission)(particles)
    _, noise, count = masked(residuals[0], covariance, observed)
    residuals = residuals if observed is None else jnp.where(observed, residuals, 0.0)
    factor = cholesky(noise)
    whitened = solve_triangular(factor, residuals.T)
    return -0.5 * ((whitened**2).sum(0) + log_determinant(factor) + count * jnp.log(2.0 * jnp.pi))


def terms_of(model: NonlinearModel, observation: Array) -> tuple[int, ...]:
    """Shape of what the model's own log-likelihood returns for one latent.

    Raises:
        ValueError: neither one number nor one term per entry.
    """
    assert model.log_likelihood is not None
    shape = eqx.filter_eval_shape(model.log_likelihood, model.initial_mean, observation).shape
    if shape not in ((), observation.shape):
        raise ValueError(f"log_likelihood: found a result of shape {shape}, expected one number or one term per entry, {observation.shape}.")
    return shape
