"""The nonlinear state-space model with additive Gaussian noise that the filters work on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import Array


class NonlinearModel(eqx.Module):
    """Latents z_t = dynamics(z_{t-1}) + Normal(0, Q), observed as y_t = emission(z_t) + Normal(0, R); the first observation belongs to the first latent.

    A JAX pytree: the arrays are leaves, and so are those inside `dynamics` and `emission` where these are pytrees themselves.

    Args:
        initial_mean: of the first latent, [d].
        initial_covariance: of the first latent, [d, d], positive semidefinite.
        dynamics: from [d] to [d], in JAX operations.
        dynamics_covariance: Q, [d, d], positive semidefinite.
        emission: from [d] to [N], in JAX operations; None where only information updates or `log_likelihood` are used.
        emission_covariance: R, [N, N], positive semidefinite; needed with `emission`.
        log_likelihood: for the particle filter, in place of the Gaussian one: from a latent [d] and an observation [N] to log p(y | z), either one
            term per entry [N], which are summed over the entries observed, or one number. Missing entries hold 0 when it is called.

    Raises:
        ValueError: shapes that do not fit, a covariance that is not finite, symmetric and positive semidefinite.
        TypeError: `dynamics`, `emission` or `log_likelihood` is no function.

    Example:
        >>> import jax.numpy as jnp
        >>> import latentgate.filters as filters
        >>> model = filters.NonlinearModel(jnp.zeros(1), jnp.eye(1), jnp.sin, 0.1 * jnp.eye(1), emission=jnp.tanh, emission_covariance=jnp.eye(1))
        >>> model.latent_dim, model.emission_dim
        (1, 1)
    """

    initial_mean: Array
    initial_covariance: Array
    dynamics: Callable[[Array], Array]
    dynamics_covariance: Array
    emission: Callable[[Array], Array] | None
    emission_covariance: Array | None
    log_likelihood: Callable[[Array, Array], Array] | None

    def __init__(
        self,
        initial_mean: Any,
        initial_covariance: Any,
        dynamics: Callable[[Array], Array],
        dynamics_covariance: Any,
        *,
        emission: Callable[[Array], Array] | None = None,
        emission_covariance: Any = None,
        log_likelihood: Callable[[Array, Array], Array] | None = None,
    ):
        self.initial_mean = jnp.asarray(initial_mean, float)
        if self.initial_mean.ndim != 1 or self.initial_mean.size == 0:
            raise ValueError(f"initial_mean: found shape {self.initial_mean.shape}, expected [latent].")
        size = self.initial_mean.shape[0]
        self.initial_covariance = covariance_of("initial_covariance", initial_covariance, size)
        self.dynamics = dynamics
        self.dynamics_covariance = covariance_of("dynamics_covariance", dynamics_covariance, size)
        self.emission = emission
        self.emission_covariance = None
        self.log_likelihood = log_likelihood
        for name, function in (("dynamics", dynamics), ("emission", emission), ("log_likelihood", log_likelihood)):
            if not callable(function) and (function is not None or name == "dynamics"):
                raise TypeError(f"{name}: found {type(function).__name__}, expected a function.")
        image = jax.eval_shape(dynamics, self.initial_mean)
        if getattr(image, "shape", None) != (size,):
            raise ValueError(f"dynamics: found a result of shape {getattr(image, 'shape', None)} for a latent of shape ({size},), expected the same shape.")
        if (emission is None) != (emission_covariance is None):
            missing = "emission" if emission is None else "emission_covariance"
            raise ValueError(f"{missing}: found None, expected both `emission` and `emission_covariance`, or neither.")
        if emission is not None:
            seen = jax.eval_shape(emission, self.initial_mean)
            if len(getattr(seen, "shape", ())) != 1:
                raise ValueError(f"emission: found a result of shape {getattr(seen, 'shape', None)} for a latent of shape ({size},), expected [observation].")
            self.emission_covariance = covariance_of("emission_covariance", emission_covariance, seen.shape[0])

    @property
    def latent_dim(self) -> int:
        """Dimension of the latent."""
        return self.initial_mean.shape[-1]

    @property
    def emission_dim(self) -> int | None:
        """Dimension of an observation; None without `emission`."""
        return None if self.emission_covariance is None else self.emission_covariance.shape[-1]


def covariance_of(name: str, value: Any, size: int) -> Array:
    """`value` as a [size, size] array, checked unless it is traced."""
    matrix = jnp.asarray(value, float)
    if matrix.shape != (size, size):
        raise ValueError(f"{name}: found shape {matrix.shape}, expected ({size}, {size}).")
    if isinstance(matrix, jax.core.Tracer):
        return matrix
    concrete = np.asarray(matrix, np.float64)
    if not np.isfinite(concrete).all():
        raise ValueError(f"{name}: found NaN or infinity, expected finite numbers.")
    rounding = 64 * size * float(jnp.finfo(matrix.dtype).eps) * np.abs(concrete).max()
    if np.abs(concrete - concrete.T).max() > rounding:
        raise ValueError(f"{name}: found a matrix that is not symmetric, expected a covariance.")
    lowest = np.linalg.eigvalsh(concrete)[0]
    if lowest < -rounding:
        raise ValueError(f"{name}: found the eigenvalue {lowest:.3g}, expected a positive semidefinite matrix.")
    return matrix
