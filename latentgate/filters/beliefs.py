"""What a filter knows of the present latent: a Gaussian, or weighted particles."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentgate.kernels.small_matrices import cholesky, log_determinant, solve_triangular, square_root


class GaussianBelief(eqx.Module):
    """Normal(mean, covariance).

    Attributes:
        mean: [d].
        covariance: [d, d].
    """

    mean: Array
    covariance: Array

    def update_information(self, precision: Array, shift: Array, log_constant: Array | float = 0.0) -> tuple[GaussianBelief, Array]:
        """See `update_information`."""
        # In coordinates in which the belief is standard normal, so that a singular covariance needs no inverse.
        root = square_root(self.covariance)
        size = self.mean.shape[-1]
        factor = cholesky(jnp.eye(size, dtype=root.dtype) + root.T @ precision @ root)
        slope = shift - precision @ self.mean
        half = solve_triangular(factor, root.T)
        covariance = half.T @ half
        step = half @ slope
        value = log_constant + self.mean @ shift - 0.5 * self.mean @ precision @ self.mean
        return GaussianBelief(self.mean + half.T @ step, covariance), value + 0.5 * step @ step - 0.5 * log_determinant(factor)


class ParticleBelief(eqx.Module):
    """Weighted particles.

    Attributes:
        particles: [particle, d].
        log_weights: normalised, [particle].
        key: random key for the steps to come.
    """

    particles: Array
    log_weights: Array
    key: Array

    @property
    def mean(self) -> Array:
        """Weighted mean, [d]."""
        return jnp.exp(self.log_weights) @ self.particles

    @property
    def covariance(self) -> Array:
        """Weighted covariance, [d, d]."""
        centred = self.particles - self.mean
        return (jnp.exp(self.log_weights)[:, None] * centred).T @ centred

    @property
    def effective_sample_size(self) -> Array:
        """1 / sum of the squared weights, []."""
        return 1.0 / jnp.exp(2.0 * self.log_weights).sum()

    def reweight(self, log_likelihoods: Array) -> tuple[ParticleBelief, Array]:
        """Multiplies the weights by a likelihood [particle, in logs]; returns its log-mean under the old weights too.

        Where every particle is impossible the log-mean is -inf and the weights stay what they were.
        """
        joint = self.log_weights + log_likelihoods
        increment = jax.nn.logsumexp(joint)
        possible = increment > -jnp.inf
        log_weights = jnp.where(possible, joint - jnp.where(possible, increment, 0.0), self.log_weights)
        return ParticleBelief(self.particles, log_weights, self.key), increment

    def update_information(self, precision: Array, shift: Array, log_constant: Array | float = 0.0) -> tuple[ParticleBelief, Array]:
        """See `update_information`."""
        curved = (self.particles @ precision * self.particles).sum(-1)
        return self.reweight(self.particles @ shift - 0.5 * curved + log_constant)


def update_information(belief: Any, precision: Array, shift: Array, log_constant: Array | float = 0.0) -> tuple[Any, Array]:
    """Multiplies a belief by the potential exp(-zᵀJz/2 + hᵀz + c): the update of the discriminative Kalman filter, after any predict step.

    Exact for Gaussian beliefs; particles are weighted.

    Args:
        belief: a `GaussianBelief` or `ParticleBelief`.
        precision: J, symmetric [d, d]; zero where the data say nothing. It may have negative eigenvalues as long as the result stays proper; else the
            result is NaN (Gaussian).
        shift: h, [d].
        log_constant: c, [].

    Returns:
        The new belief, and the log of the mean of the potential under the old one.

    Raises:
        TypeError: another kind of belief.
        ValueError: shapes that do not fit.

    Source: Burkhart, Brandman, Franco, Hochberg, Harrison, Neural Computation 32:969 (2020), where J = Q(x)⁻¹ - S⁻¹ and h = Q(x)⁻¹ f(x).

    Example:
        >>> import jax.numpy as jnp
        >>> import latentgate.filters as filters
        >>> belief, _ = filters.update_information(filters.GaussianBelief(jnp.zeros(1), jnp.eye(1)), jnp.eye(1), jnp.ones(1))
        >>> belief.mean.round(6).tolist(), belief.covariance.round(6).tolist()
        ([0.5], [[0.5]])
    """
    if not isinstance(belief, GaussianBelief | ParticleBelief):
        raise TypeError(f"belief: found {type(belief).__name__}, expected a GaussianBelief or ParticleBelief.")
    size = belief.mean.shape[-1]
    if jnp.shape(precision) != (size, size) or jnp.shape(shift) != (size,):
        raise ValueError(
            f"precision and shift: found shapes {jnp.shape(precision)} and {jnp.shape(shift)}, expected ({size}, {size}) and ({size},) for this belief."
        )
    return belief.update_information(jnp.asarray(precision), jnp.asarray(shift), log_constant)
