"""The prior of a stiffness matrix."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import multigammaln
from numpyro.distributions import constraints

from latentgate.kernels.small_matrices import cholesky, log_determinant, solve_triangular

from ..distributions import numbers_of, positive_definite

# Degrees of freedom beyond the number of rows and one: the density of the determinant's power (a tenth) is nearly flat where stiffness vanishes.
_EXCESS = 0.2


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


def mended_matrix_prior(prior: dist.Distribution) -> dist.Distribution:
    """The mended form of a Wishart of numpyro; anything else unchanged."""
    return Wishart(prior.concentration, scale_tril=prior.scale_tril) if type(prior) is dist.Wishart else prior


def weak_wishart(size: int, mode: float) -> Wishart:
    """A weak, proper law of positive definite matrices [size, size] whose mode is `mode` times the identity."""
    return Wishart(size + 1.0 + _EXCESS, scale_tril=np.sqrt(mode / _EXCESS) * np.eye(size))
