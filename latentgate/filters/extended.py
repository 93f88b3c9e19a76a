"""The extended Kalman filter, and its iterated update."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.kernels.small_matrices import cholesky, log_determinant, solve_triangular

from .beliefs import GaussianBelief
from .model import NonlinearModel
from .strategy import GaussianStrategy, emission_of, masked


class Extended(GaussianStrategy):
    """The extended Kalman filter: dynamics and emission linearised at the mean of the belief.

    Exact for linear models. The covariance of the innovation must be positive definite.

    Source: Särkkä, "Bayesian Filtering and Smoothing" (2013), section 5.2.

    Example:
        >>> import jax.numpy as jnp
        >>> import latentgate.filters as filters
        >>> model = filters.NonlinearModel(jnp.zeros(1), jnp.eye(1), lambda z: 0.5 * z, jnp.eye(1), emission=lambda z: z, emission_covariance=jnp.eye(1))
        >>> filters.filter(filters.Extended(), model, jnp.ones((1, 1))).means.tolist()
        [[0.5]]
    """

    def predict(self, model: NonlinearModel, belief: GaussianBelief) -> GaussianBelief:
        """See `Strategy.predict`."""
        slope = jax.jacfwd(model.dynamics)(belief.mean)
        covariance = slope @ belief.covariance @ slope.T + model.dynamics_covariance
        return GaussianBelief(model.dynamics(belief.mean), 0.5 * (covariance + covariance.T))

    def update(self, model: NonlinearModel, belief: GaussianBelief, observation: Array, observed: Array | None = None) -> tuple[GaussianBelief, Array]:
        """See `Strategy.update`."""
        return _update_at(model, belief, belief.mean, observation, observed)


class Iterated(Extended):
    """The iterated extended Kalman filter: the emission is linearised again at the mean of the update, which so ends at the mode of the posterior.

    The iterations are Gauss-Newton steps of full length on the negative log-posterior of one latent. The log-density that `update` returns is that of the
    last linearisation.

    Args:
        iterations: linearisations per update; 1 is the extended Kalman filter.

    Raises:
        ValueError: `iterations` is no positive integer.

    Source: Bell & Cathey, IEEE Transactions on Automatic Control 38:294 (1993).

    Example:
        >>> import latentgate.filters as filters
        >>> filters.Iterated(iterations=5).iterations
        5
    """

    iterations: int

    def __init__(self, iterations: int = 10):
        if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
            raise ValueError(f"iterations: found {iterations!r}, expected a positive integer.")
        self.iterations = iterations

    def update(self, model: NonlinearModel, belief: GaussianBelief, observation: Array, observed: Array | None = None) -> tuple[GaussianBelief, Array]:
        """See `Strategy.update`."""

        def again(_, carry: tuple[GaussianBelief, Array]) -> tuple[GaussianBelief, Array]:
            return _update_at(model, belief, carry[0].mean, observation, observed)

        # The first place to linearise at is the prediction itself; its increment is overwritten.
        return jax.lax.fori_loop(0, self.iterations, again, (belief, jnp.zeros((), belief.mean.dtype)))


def _update_at(model: NonlinearModel, belief: GaussianBelief, point: Array, observation: Array, observed: Array | None) -> tuple[GaussianBelief, Array]:
    """Kalman update with the emission linearised at `point`."""
    emission, noise = emission_of(model)
    matrix = jax.jacfwd(emission)(point)
    if observed is not None:
        matrix = jnp.where(observed[:, None], matrix, 0.0)
    residual, noise, count = masked(observation - emission(point) - matrix @ (belief.mean - point), noise, observed)
    shared = matrix @ belief.covariance
    factor = cholesky(shared @ matrix.T + noise)
    whitened = solve_triangular(factor, jnp.concatenate([shared, residual[:, None]], axis=1))
    gain = solve_triangular(factor, whitened[:, :-1], transposed=True).T
    kept = jnp.eye(belief.mean.shape[-1], dtype=matrix.dtype) - gain @ matrix
    # Joseph's form: a sum of two positive semidefinite matrices, whatever the rounding of the gain.
    covariance = kept @ belief.covariance @ kept.T + gain @ noise @ gain.T
    surprise = whitened[:, -1] @ whitened[:, -1] + log_determinant(factor) + count * jnp.log(2.0 * jnp.pi)
    return GaussianBelief(belief.mean + gain @ residual, 0.5 * (covariance + covariance.T)), -0.5 * surprise
