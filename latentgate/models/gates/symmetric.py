"""Zero-sum arrays of symmetric matrices, and their law."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import Transform

from ..zero_sum import ZeroSum

_Constraint: Any = constraints.Constraint
_Transform: Any = Transform


def packed(matrices: Array) -> Array:
    """The upper triangles of symmetric matrices [..., M, M], row by row, [..., M (M + 1) / 2]."""
    rows, columns = np.triu_indices(matrices.shape[-1])
    return matrices[..., rows, columns]


def unpacked(entries: Array, size: int) -> Array:
    """Symmetric matrices [..., M, M] with given upper triangles: the inverse of `packed`."""
    index = np.zeros((size, size), int)
    rows, columns = np.triu_indices(size)
    index[rows, columns] = index[columns, rows] = np.arange(len(rows))
    return entries[..., index]


class SymmetricZeroSum(dist.Distribution):
    """K symmetric matrices [K, M, M] that sum to zero: every entry normal given that sum, or flat.

    The density is a function of the sum of squares of all entries, so that rotating the inputs of a quadratic form changes nothing. Its unconstrained
    coordinates are the differences of upper triangles to those of the last matrix.

    Args:
        num_matrices: K.
        size: M.
        scale: standard deviation of a diagonal entry before matrices were made to sum to zero (of another one √½ times that); None for a flat density.
        bound: largest absolute difference of an entry to that of the last matrix, or None.

    Example:
        >>> import jax, latentgate.models.gates.symmetric as symmetric
        >>> symmetric.SymmetricZeroSum(3, 2, 1.0).sample(jax.random.key(0)).shape
        (3, 2, 2)
    """

    arg_constraints = {}  # noqa: RUF012 - numpyro's protocol
    pytree_data_fields = ("triangles",)
    pytree_aux_fields = ("size",)

    def __init__(self, num_matrices: int, size: int, scale: float | None = None, bound: float | None = None, *, validate_args: bool | None = None):
        self.size = size
        rows, columns = np.triu_indices(size)
        scales = None if scale is None else jnp.asarray(np.where(rows == columns, scale, scale * np.sqrt(0.5)))
        self.triangles = ZeroSum((num_matrices, len(rows)), scales, bound)
        super().__init__((), (num_matrices, size, size), validate_args=validate_args)

    @property
    def support(self) -> Any:
        """Symmetric matrices that sum to zero, within the bound."""
        return _SymmetricConstraint(self.triangles.support, self.size)

    @property
    def mean(self) -> Array:
        """Zero."""
        return jnp.zeros(self.event_shape)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """A draw; see `ZeroSum.sample`."""
        return unpacked(self.triangles.sample(key, sample_shape), self.size)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log-density of the upper triangles, [...]; see `ZeroSum.log_prob`."""
        return self.triangles.log_prob(packed(value))


class _SymmetricConstraint(_Constraint):
    event_dim = 3

    def __init__(self, triangles: Any, size: int):
        self.triangles, self.size = triangles, size

    def __call__(self, x: Array) -> Array:
        return self.triangles(packed(x)) & jnp.all(x == jnp.swapaxes(x, -1, -2), axis=(-3, -2, -1))

    def feasible_like(self, prototype: Array) -> Array:
        return jnp.zeros_like(prototype)

    def tree_flatten(self):
        return (), ((), {"triangles": self.triangles, "size": self.size})

    def eq(self, other: object, static: bool = False) -> Any:
        return self == other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SymmetricConstraint) and (self.size, self.triangles) == (other.size, other.triangles)

    def __hash__(self) -> int:
        return hash((self.size, self.triangles))


class _SymmetricTransform(_Transform):
    """Contrasts of upper triangles to matrices."""

    domain = constraints.real_vector

    def __init__(self, constraint: _SymmetricConstraint):
        self.constraint = constraint

    @property
    def codomain(self) -> _SymmetricConstraint:
        return self.constraint

    @property
    def _base(self) -> Any:
        return biject_to(self.constraint.triangles)

    def __call__(self, x: Array) -> Array:
        return unpacked(self._base(x), self.constraint.size)

    def _inverse(self, y: Array) -> Array:
        return self._base._inverse(packed(y))

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates: Any = None) -> Array:
        """With respect to the upper triangles, as the density is."""
        return self._base.log_abs_det_jacobian(x, packed(y))

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*self._base.forward_shape(shape)[:-1], self.constraint.size, self.constraint.size)

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._base.inverse_shape((*shape[:-2], shape[-1] * (shape[-1] + 1) // 2))

    def tree_flatten(self):
        return (), ((), {"constraint": self.constraint})

    def eq(self, other: object, static: bool = False) -> Any:
        return self == other

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SymmetricTransform) and self.constraint == other.constraint


@biject_to.register(_SymmetricConstraint)
def _symmetric_bijection(constraint: Any) -> _SymmetricTransform:
    return _SymmetricTransform(constraint)
