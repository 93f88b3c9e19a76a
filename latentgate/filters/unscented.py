"""The unscented Kalman filter."""

from __future__ import annotations

import numbers
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.kernels.small_matrices import cholesky, log_determinant, solve_triangular, square_root

from .beliefs import GaussianBelief
from .model import NonlinearModel
from .strategy import GaussianStrategy, emission_of, masked


class Unscented(GaussianStrategy):
    """The unscented Kalman filter: means and covariances through 2 d + 1 sigma points in place of derivatives.

    The points are the mean and its neighbours at plus and minus sqrt(d + λ) times the columns of a root of the covariance, λ = alpha² (d + kappa) - d. The
    update draws new points from the prediction. With the defaults no weight is negative, so that covariances stay positive semidefinite: from three
    dimensions on the mean itself has weight zero, which is the cubature filter. The usual small alpha gives weights of the order of 1 / alpha² that
    cancel, and loses as many digits.

    Args:
        alpha: spread of the points, above 0.
        beta: added to the weight of the mean in covariances.
        kappa: above -d; None for max(3 - d, 0).

    Raises:
        ValueError: a parameter out of range.

    Source: Julier & Uhlmann, Proceedings of the IEEE 92:401 (2004); Wan & van der Merwe (2000) for alpha and beta.

    Example:
        >>> import jax.numpy as jnp
        >>> import latentgate.filters as filters
        >>> model = filters.NonlinearModel(jnp.zeros(1), jnp.eye(1), lambda z: z**2, jnp.zeros((1, 1)))
        >>> filters.Unscented().predict(model, filters.GaussianBelief(jnp.zeros(1), jnp.eye(1))).mean.round(5).tolist()
        [1.0]
    """

    alpha: float
    beta: float
    kappa: float | None

    def __init__(self, alpha: float = 1.0, beta: float = 0.0, kappa: float | None = None):
        for name, value in (("alpha", alpha), ("beta", beta), ("kappa", kappa)):
            real = isinstance(value, numbers.Real) and not isinstance(value, bool) and np.isfinite(float(value))
            if not (real or (name == "kappa" and value is None)):
                raise ValueError(f"{name}: found {value!r}, expected a finite number.")
        if alpha <= 0:
            raise ValueError(f"alpha: found {alpha!r}, expected a number above 0.")
        self.alpha, self.beta = float(alpha), float(beta)
        self.kappa = None if kappa is None else float(kappa)

    def predict(self, model: NonlinearModel, belief: GaussianBelief) -> GaussianBelief:
        """See `Strategy.predict`."""
        mean, _, spread, weights = self._through(model.dynamics, belief)
        covariance = (spread.T * weights) @ spread + model.dynamics_covariance
        return GaussianBelief(mean, 0.5 * (covariance + covariance.T))

    def update(self, model: NonlinearModel, belief: GaussianBelief, observation: Array, observed: Array | None = None) -> tuple[GaussianBelief, Array]:
        """See `Strategy.update`."""
        emission, noise = emission_of(model)
        expected, offsets, spread, weights = self._through(emission, belief)
        if observed is not None:
            spread = jnp.where(observed, spread, 0.0)
        residual, noise, count = masked(observation - expected, noise, observed)
        factor = cholesky((spread.T * weights) @ spread + noise)
        whitened = solve_triangular(factor, jnp.concatenate([(spread.T * weights) @ offsets, residual[:, None]], axis=1))
        gain = solve_triangular(factor, whitened[:, :-1], transposed=True).T
        # Joseph's form over the points: positive semidefinite whenever no weight is negative.
        kept = offsets - spread @ gain.T
        covariance = (kept.T * weights) @ kept + gain @ noise @ gain.T
        surprise = whitened[:, -1] @ whitened[:, -1] + log_determinant(factor) + count * jnp.log(2.0 * jnp.pi)
        return GaussianBelief(belief.mean + gain @ residual, 0.5 * (covariance + covariance.T)), -0.5 * surprise

    def _through(self, function: Callable[[Array], Array], belief: GaussianBelief) -> tuple[Array, Array, Array, Array]:
        """Mean of the function [M], offsets of the points [P, d] and of their images [P, M] from their means, and weights in covariances [P]."""
        size = belief.mean.shape[-1]
        kappa = max(3.0 - size, 0.0) if self.kappa is None else self.kappa
        scaled = self.alpha**2 * (size + kappa)
        if scaled <= 0:
            raise ValueError(f"kappa: found {kappa!r}, expected a number above {-size}, minus the dimension of the latent.")
        centre = 1.0 - size / scaled
        weights = jnp.full(2 * size + 1, 0.5 / scaled, belief.mean.dtype)
        steps = jnp.sqrt(scaled) * square_root(belief.covariance).T
        offsets = jnp.concatenate([jnp.zeros_like(steps[:1]), steps, -steps])
        images = jax.vmap(function)(belief.mean + offsets)
        mean = weights.at[0].set(centre) @ images
        return mean, offsets, images - mean, weights.at[0].set(centre + 1.0 - self.alpha**2 + self.beta)
