"""Distributions of numpyro, mended where a fit meets their weak spots: zeros on a simplex, and factorisations by LAPACK."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import betaln, gammaln, multigammaln, xlog1py, xlogy
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import CholeskyTransform, ComposeTransform, LowerCholeskyTransform

from latentgate.kernels.small_matrices import cholesky, log_determinant, solve_triangular


class Dirichlet(dist.Dirichlet):
    """Dirichlet whose density is defined on the faces of the simplex, where flat priors have their modes.

    numpyro's is 0 · log 0 = NaN there for a concentration of one.
    """

    def log_prob(self, value: Array) -> Array:
        """Log-density, [...]."""
        concentration = jnp.asarray(self.concentration)
        normaliser = gammaln(concentration).sum(-1) - gammaln(concentration.sum(-1))
        return xlogy(concentration - 1.0, value).sum(-1) - normaliser


class Beta(dist.Beta):
    """Beta whose density is computed from its own concentrations; numpyro's keeps a copy of them, in the precision of its making."""

    def log_prob(self, value: Array) -> Array:
        """Log-density, [...]."""
        one, zero = jnp.asarray(self.concentration1), jnp.asarray(self.concentration0)
        return xlogy(one - 1.0, value) + xlog1py(zero - 1.0, -value) - betaln(one, zero)


class Gamma(dist.Gamma):
    """Gamma whose density is defined at zero, where one with a concentration of one has its mode."""

    def log_prob(self, value: Array) -> Array:
        """Log-density, [...]."""
        concentration, rate = jnp.asarray(self.concentration), jnp.asarray(self.rate)
        return xlogy(concentration, rate) + xlogy(concentration - 1.0, value) - rate * value - gammaln(concentration)


_Constraint: Any = type(constraints.positive_definite)


class _PositiveDefinite(_Constraint):
    """The constraint under another name, to be given a bijection of our own."""


class _Factorisation(CholeskyTransform):
    def __call__(self, x: Array) -> Array:
        return cholesky(x)


@biject_to.register(_PositiveDefinite)
def _positive_definite_bijection(constraint: Any) -> ComposeTransform:
    return ComposeTransform([LowerCholeskyTransform(), _Factorisation().inv])


positive_definite = _PositiveDefinite()


class InverseWishart(dist.InverseWishart):
    """numpyro's inverse Wishart, whose density and bijection call no LAPACK (see `latentgate.kernels.small_matrices`)."""

    support = positive_definite
    # One of the equivalent ways to give the scale, so that the arguments are enough to make another.
    arg_constraints = {"concentration": constraints.positive, "scale_tril": constraints.lower_cholesky}  # noqa: RUF012 - numpyro's protocol

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log-density, [...]."""
        size = value.shape[-1]
        concentration, scale_factor = numbers_of(self.base_dist, "concentration", "scale_tril")
        factor = cholesky(value)
        trace = jnp.sum(solve_triangular(factor, scale_factor) ** 2, axis=(-1, -2))
        normaliser = 0.5 * concentration * (size * jnp.log(2.0) - log_determinant(scale_factor)) + multigammaln(0.5 * concentration, size)
        return -0.5 * (concentration + size + 1) * log_determinant(factor) - 0.5 * trace - normaliser


class Wishart(dist.Wishart):
    """numpyro's Wishart, whose density and bijection call no LAPACK (see `latentgate.kernels.small_matrices`)."""

    support = positive_definite
    # One of the equivalent ways to give the scale, so that the arguments are enough to make another.
    arg_constraints = {"concentration": constraints.positive, "scale_tril": constraints.lower_cholesky}  # noqa: RUF012 - numpyro's protocol

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log-density, [...]."""
        size = value.shape[-1]
        concentration, scale_factor = numbers_of(self.base_dist, "concentration", "scale_tril")
        factor = cholesky(value)
        trace = jnp.sum(solve_triangular(scale_factor, factor) ** 2, axis=(-1, -2))
        normaliser = 0.5 * concentration * (size * jnp.log(2.0) + log_determinant(scale_factor)) + multigammaln(0.5 * concentration, size)
        return 0.5 * (concentration - size - 1) * log_determinant(factor) - 0.5 * trace - normaliser


def mended(prior: dist.Distribution) -> dist.Distribution:
    """The mended form of a Beta, Dirichlet, Gamma, Wishart or inverse Wishart of numpyro; anything else unchanged."""
    if type(prior) is dist.Gamma:
        return Gamma(prior.concentration, prior.rate)
    if type(prior) is dist.Beta:
        return Beta(prior.concentration1, prior.concentration0)
    if type(prior) is dist.Dirichlet:
        return Dirichlet(prior.concentration)
    if type(prior) is dist.Wishart:
        return Wishart(prior.concentration, scale_tril=prior.scale_tril)
    if type(prior) is dist.InverseWishart:
        return InverseWishart(prior.concentration, scale_tril=prior.base_dist.scale_tril)
    return prior


def numbers_of(prior: dist.Distribution, *names: str) -> tuple[Array, ...]:
    """Parameters of a distribution, by name, as arrays."""
    return tuple(jnp.asarray(getattr(prior, name)) for name in names)


def dirichlet_mode(counts: Array, concentration: Array, previous: Array) -> Array:
    """Posterior mode of probability rows [..., C] given expected counts; a row without counts or prior keeps what it had."""
    weight = jnp.maximum(counts + concentration - 1.0, 0.0)
    total = weight.sum(-1, keepdims=True)
    return jnp.where(total > 0, weight / jnp.where(total > 0, total, 1.0), previous)


class RootInverseGamma(dist.Distribution):
    """Law of a standard deviation whose variance is inverse gamma, from a smallest value on.

    Args:
        concentration, rate: of the inverse gamma law of the variance.
        smallest: no standard deviation is less; the density is not normalised for what that cuts off.
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}  # noqa: RUF012 - numpyro's protocol
    pytree_data_fields = ("concentration", "rate")
    pytree_aux_fields = ("smallest",)

    def __init__(self, concentration: Any, rate: Any, smallest: float = 0.0, *, validate_args: bool | None = None):
        self.concentration, self.rate, self.smallest = concentration, rate, smallest
        super().__init__(jnp.broadcast_shapes(jnp.shape(concentration), jnp.shape(rate)), (), validate_args=validate_args)

    @property
    def support(self) -> Any:
        """Above the smallest value."""
        return constraints.greater_than_eq(self.smallest) if self.smallest else constraints.positive

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws; those below the smallest value are raised to it."""
        variance = dist.InverseGamma(self.concentration, self.rate).sample(key, sample_shape)
        return jnp.maximum(jnp.sqrt(jnp.asarray(variance)), self.smallest)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log-density, [...]."""
        return jnp.asarray(dist.InverseGamma(self.concentration, self.rate).log_prob(value**2)) + jnp.log(2.0 * value)
