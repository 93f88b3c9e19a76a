"""Smooth functions on [-1, 1]: cubic B-splines, and a prior of their coefficients that favours smooth ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

# Of a cubic spline.
FEWEST_KNOTS = 4


def cubic_basis(points: np.ndarray, num_knots: int) -> np.ndarray:
    """Cubic B-splines on equidistant knots that cover [-1, 1], at some points: [point, knot], rows that sum to one.

    Args:
        points: in [-1, 1], [point].
        num_knots: number of splines, at least 4.

    Source: Eilers, Marx, Statist. Sci. 11:89 (1996).
    """
    from scipy.interpolate import BSpline

    spacing = 2.0 / (num_knots - 3)
    knots = -1.0 + spacing * np.arange(-3, num_knots + 1)
    # The last knot inside is 1 but for rounding, and a point on it must not fall outside.
    inside = np.clip(np.asarray(points, float), knots[3], knots[num_knots])
    return BSpline.design_matrix(inside, knots, 3).toarray()


def coefficients_of(values: np.ndarray, points: np.ndarray, num_knots: int) -> np.ndarray:
    """Coefficients [..., knot] of the spline nearest to values [..., point] in the sense of least squares."""
    return np.linalg.lstsq(cubic_basis(points, num_knots), np.moveaxis(np.atleast_2d(values), -1, 0), rcond=None)[0].T.reshape(
        *np.shape(values)[:-1], num_knots
    )


class SmoothCoefficients(dist.Distribution):
    """Normal law of spline coefficients, [knot]: a random walk of second differences, and a weak normal that makes it proper.

    The slope of the function is about a random walk along x, with standard deviation `roughness` over a unit of length, whatever the number of knots.

    Args:
        num_knots: number of coefficients.
        roughness: standard deviation of the change of slope over a unit of length.
        level: standard deviation of a coefficient by itself.

    Example:
        >>> import jax
        >>> from latentgate.models.splines import SmoothCoefficients
        >>> SmoothCoefficients(8, 1.0, 10.0).sample(jax.random.key(0)).shape
        (8,)
    """

    arg_constraints = {}  # noqa: RUF012 - numpyro's protocol
    support: Any = constraints.real_vector
    pytree_data_fields = ()
    pytree_aux_fields = ("num_knots", "roughness", "level")

    def __init__(self, num_knots: int, roughness: float, level: float, *, validate_args: bool | None = None):
        self.num_knots, self.roughness, self.level = num_knots, roughness, level
        super().__init__(batch_shape=(), event_shape=(num_knots,), validate_args=validate_args)

    @property
    def precision(self) -> np.ndarray:
        """Inverse covariance, [knot, knot]."""
        second = np.diff(np.eye(self.num_knots), n=2, axis=0)
        spacing = 2.0 / (self.num_knots - 3)
        # A slope that walks with variance σ² a unit of length changes by σ² δ between knots δ apart, and a second difference of values is δ times that.
        return second.T @ second / (self.roughness**2 * spacing**3) + np.eye(self.num_knots) / self.level**2

    @property
    def mean(self) -> Array:
        """Zero."""
        return jnp.zeros(self.num_knots)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, [*sample_shape, knot]."""
        assert key is not None
        root = np.linalg.inv(np.linalg.cholesky(self.precision))
        return jax.random.normal(key, (*sample_shape, self.num_knots)) @ jnp.asarray(root)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log-density, [...]."""
        precision = self.precision
        squares = jnp.sum(value * (value @ jnp.asarray(precision)), -1)
        return 0.5 * (np.linalg.slogdet(precision)[1] - self.num_knots * np.log(2 * np.pi)) - 0.5 * squares
