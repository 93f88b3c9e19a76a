"""Scores of several choices, of which only differences matter: arrays whose rows sum to zero, and their law."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import Transform

_Constraint: Any = constraints.Constraint
_Transform: Any = Transform


def contrasts_of(rows: Array, axis: int = 0) -> Array:
    """Differences of the first K - 1 rows to the last, along an axis of size K."""
    rows = jnp.moveaxis(rows, axis, 0)
    return jnp.moveaxis(rows[:-1] - rows[-1:], 0, axis)


def rows_of(contrasts: Array, axis: int = 0) -> Array:
    """Rows that sum to zero with the given differences to the last: the inverse of `contrasts_of`."""
    contrasts = jnp.moveaxis(contrasts, axis, 0)
    rows = jnp.concatenate([contrasts, jnp.zeros_like(contrasts[:1])])
    return jnp.moveaxis(rows - rows.sum(0, keepdims=True) / rows.shape[0], 0, axis)


class ZeroSum(dist.Distribution):
    """Arrays [K, ...] whose K rows sum to zero: independent normals given that sum, or flat.

    Adding one number to all scores of a softmax changes nothing. This law fixes that freedom without singling out a choice, so choices can be renumbered. Its
    unconstrained coordinates are the differences to the last row.

    Args:
        shape: of the array.
        scale: standard deviation of every entry before the rows were made to sum to zero; None for a flat density.
        bound: largest absolute difference to the last row, or None: a box in the coordinates, for estimators whose theory asks for a compact set.

    Raises:
        ValueError: for a shape without rows, or a scale or bound that is not positive.

    Example:
        >>> import jax, latentgate.models.zero_sum as zero_sum
        >>> abs(float(zero_sum.ZeroSum((3, 2), 1.0).sample(jax.random.key(0)).sum(0).max())) < 1e-6
        True
    """

    arg_constraints = {}  # noqa: RUF012 - numpyro's protocol
    pytree_data_fields = ("scale",)
    pytree_aux_fields = ("shape_of_array", "bound")

    def __init__(self, shape: tuple[int, ...], scale: Any = None, bound: float | None = None, *, validate_args: bool | None = None):
        if not shape or shape[0] < 1:
            raise ValueError(f"shape: found {shape}, expected at least one row.")
        for name, value in (("scale", scale), ("bound", bound)):
            if value is not None and not isinstance(value, jax.core.Tracer) and not bool(np.all(np.asarray(value) > 0)):
                raise ValueError(f"{name}: found {value}, expected a positive number, or None.")
        self.shape_of_array, self.scale, self.bound = tuple(shape), scale, bound
        super().__init__(batch_shape=(), event_shape=tuple(shape), validate_args=validate_args)

    @property
    def support(self) -> Any:
        """Rows that sum to zero, within the bound."""
        return _ZeroSumConstraint(self.shape_of_array, self.bound)

    @property
    def mean(self) -> Array:
        """Zero."""
        return jnp.zeros(self.shape_of_array)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """A draw; outside the bound none is made.

        Raises:
            ValueError: for a flat or a bounded law.
        """
        if self.scale is None or self.bound is not None:
            raise ValueError("prior of gate weights: found a flat or bounded one, expected a scale alone; there is nothing to draw from.")
        assert key is not None
        drawn = self.scale * jax.random.normal(key, (*sample_shape, *self.shape_of_array))
        axis = len(sample_shape)
        return drawn - drawn.mean(axis, keepdims=True)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log-density with respect to orthonormal coordinates of the arrays whose rows sum to zero, [...]."""
        axes = tuple(range(-len(self.shape_of_array), 0))
        if self.scale is None:
            return jnp.zeros(jnp.shape(value)[: jnp.ndim(value) - len(axes)])
        # Every column has one coordinate less than it has entries.
        squares = jnp.sum((value / self.scale) ** 2, axis=axes)
        free = self.shape_of_array[0] - 1
        per_column = jnp.log(2 * jnp.pi) + 2 * jnp.log(jnp.broadcast_to(jnp.asarray(self.scale), self.shape_of_array)[0])
        return -0.5 * squares - 0.5 * free * jnp.sum(per_column)


class _ZeroSumConstraint(_Constraint):
    def __init__(self, shape: tuple[int, ...], bound: float | None):
        self.shape, self.bound = shape, bound

    @property
    def event_dim(self) -> int:
        return len(self.shape)

    def __call__(self, x: Array) -> Array:
        axis = x.ndim - len(self.shape)
        close = jnp.abs(x.sum(axis)) <= 1e-4 * (1.0 + jnp.abs(x).sum(axis))
        inside = close.reshape(*close.shape[:axis], -1).all(-1)
        if self.bound is None:
            return inside
        within = jnp.abs(contrasts_of(x, axis)) <= self.bound * (1 + 1e-5)
        return inside & within.reshape(*within.shape[:axis], -1).all(-1)

    def feasible_like(self, prototype: Array) -> Array:
        return jnp.zeros_like(prototype)

    def tree_flatten(self):
        return (), ((), {"shape": self.shape, "bound": self.bound})

    def eq(self, other: object, static: bool = False) -> Any:
        return self == other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ZeroSumConstraint) and (self.shape, self.bound) == (other.shape, other.bound)

    def __hash__(self) -> int:
        return hash((self.shape, self.bound))


class _ZeroSumTransform(_Transform):
    """Contrasts [..., (K - 1) · rest] to rows [..., K, ...]; a bounded contrast is bound · tanh of its coordinate."""

    domain = constraints.real_vector

    def __init__(self, constraint: _ZeroSumConstraint):
        self.constraint = constraint

    @property
    def codomain(self) -> _ZeroSumConstraint:
        return self.constraint

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.constraint.shape

    def __call__(self, x: Array) -> Array:
        contrasts = x if self.constraint.bound is None else self.constraint.bound * jnp.tanh(x)
        return rows_of(contrasts.reshape(*x.shape[:-1], self._shape[0] - 1, *self._shape[1:]), x.ndim - 1)

    def _inverse(self, y: Array) -> Array:
        axis = y.ndim - len(self._shape)
        contrasts = contrasts_of(y, axis).reshape(*y.shape[:axis], -1)
        # A fit on the edge of the box would be at infinity.
        return contrasts if self.constraint.bound is None else jnp.arctanh(jnp.clip(contrasts / self.constraint.bound, -1 + 1e-7, 1 - 1e-7))

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates: Any = None) -> Array:
        """With respect to orthonormal coordinates of the rows: a constant, and the slope of tanh where there is a bound."""
        num_columns = int(np.prod(self._shape[1:]))
        constant = -0.5 * num_columns * np.log(self._shape[0])
        if self.constraint.bound is None:
            return jnp.full(x.shape[:-1], constant)
        slope = jnp.log(self.constraint.bound) + 2.0 * (jnp.log(2.0) - x - jax.nn.softplus(-2.0 * x))
        return constant + slope.sum(-1)

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], *self._shape)

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        rest = int(np.prod(self._shape[1:]))
        return (*shape[: len(shape) - len(self._shape)], (self._shape[0] - 1) * rest)

    def tree_flatten(self):
        return (), ((), {"constraint": self.constraint})

    def eq(self, other: object, static: bool = False) -> Any:
        return self == other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ZeroSumTransform) and self.constraint == other.constraint


@biject_to.register(_ZeroSumConstraint)
def _zero_sum_bijection(constraint: Any) -> _ZeroSumTransform:
    return _ZeroSumTransform(constraint)
