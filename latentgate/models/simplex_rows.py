"""The law of rows of probabilities of which some entries are zero, whose bijection sees the others alone."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaln, xlogy
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import Transform

from .patterns import Pattern, contrasts, references

_Constraint: Any = constraints.Constraint
_Transform: Any = Transform


class SimplexRows(dist.Distribution):
    """Rows of probabilities over the allowed entries of each row, zero on all others: Dirichlet rows of different lengths in one matrix.

    Unconstrained coordinates are the log-ratios to the reference of each row (see `references`), all rows in one vector; a row with a single allowed entry has
    none. As with the mended Dirichlet, the density is defined on the faces, and does not look at entries that are not allowed.

    Args:
        allowed: booleans [row, column], at least one True in every row.
        concentration: a number, [column] or [row, column]; used at the allowed entries.

    Attributes:
        concentration: [row, column], one where it is not used.

    Raises:
        ValueError: for a row without allowed entries, or a concentration of another shape.

    Example:
        >>> import jax, numpy as np
        >>> from numpyro.distributions import biject_to
        >>> from latentgate.models.simplex_rows import SimplexRows
        >>> rows = SimplexRows(np.array([[True, True, False], [True, True, True], [False, False, True]]), 1.1)
        >>> rows.sample(jax.random.key(0)).shape, biject_to(rows.support).inverse_shape((3, 3))
        ((3, 3), (3,))
    """

    arg_constraints = {}  # noqa: RUF012 - numpyro's protocol
    pytree_data_fields = ("concentration",)
    pytree_aux_fields = ("pattern",)
    reparametrized_params = []  # noqa: RUF012 - numpyro's protocol

    def __init__(self, allowed: Any, concentration: Any = 1.0, *, validate_args: bool | None = None):
        references(allowed)
        self.pattern = Pattern.of(allowed)
        shape = np.shape(concentration)
        if shape not in ((), self.pattern.shape[1:], self.pattern.shape):
            raise ValueError(f"concentration: found shape {shape}, expected (), {self.pattern.shape[1:]} or {self.pattern.shape}.")
        self.concentration = jnp.where(self.pattern.mask, jnp.asarray(concentration, jnp.result_type(float)), 1.0)
        super().__init__((), self.pattern.shape, validate_args=validate_args)

    @property
    def mask(self) -> np.ndarray:
        """Bool [row, column], True where an entry is allowed."""
        return self.pattern.mask

    @property
    def support(self) -> Any:
        """Rows that sum to one over the allowed entries."""
        return _SimplexRowsConstraint(self.pattern)

    @property
    def mean(self) -> Array:
        """Mean of each entry."""
        weight = jnp.where(self.mask, self.concentration, 0.0)
        return weight / weight.sum(-1, keepdims=True)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, [*sample_shape, row, column]."""
        assert key is not None
        # Of logarithms, since draws of a small concentration underflow.
        draws = jax.random.loggamma(key, self.concentration, (*sample_shape, *self.event_shape))
        return jax.nn.softmax(draws, axis=-1, where=self.mask)

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log-density, [...]."""
        mask, concentration = self.mask, self.concentration
        normaliser = jnp.where(mask, gammaln(concentration), 0.0).sum(-1) - gammaln(jnp.where(mask, concentration, 0.0).sum(-1))
        terms = jnp.where(mask, xlogy(concentration - 1.0, jnp.where(mask, value, 1.0)), 0.0)
        return jnp.sum(terms.sum(-1) - normaliser, axis=-1)


class _SimplexRowsConstraint(_Constraint):
    event_dim = 2

    def __init__(self, pattern: Pattern):
        self.pattern = pattern

    def __call__(self, x: Array) -> Array:
        x = jnp.asarray(x)
        # As wide as numpyro's for its simplex.
        rows = jnp.abs(x.sum(-1) - 1.0) < 10.0 * x.shape[-1] * jnp.finfo(x.dtype).eps
        return jnp.all(rows, axis=-1) & jnp.all(jnp.where(self.pattern.mask, x >= 0, x == 0), axis=(-2, -1))

    def __repr__(self) -> str:
        return f"simplex_rows({self.pattern.num_entries} of {self.pattern.shape})"

    def feasible_like(self, prototype: Array) -> Array:
        mask = self.pattern.mask
        return jnp.broadcast_to(mask / mask.sum(-1, keepdims=True), jnp.shape(prototype))

    def tree_flatten(self):
        return (), ((), {"pattern": self.pattern})

    def eq(self, other: object, static: bool = False) -> Any:
        return isinstance(other, _SimplexRowsConstraint) and self.pattern == other.pattern

    def __eq__(self, other: object) -> bool:
        return bool(self.eq(other))

    def __hash__(self) -> int:
        return hash((type(self), self.pattern))


class _SimplexRowsTransform(_Transform):
    domain = constraints.real_vector

    def __init__(self, constraint: _SimplexRowsConstraint):
        self.constraint = constraint

    @property
    def codomain(self) -> _SimplexRowsConstraint:
        return self.constraint

    @property
    def _free(self) -> Pattern:
        return Pattern.of(contrasts(self.constraint.pattern.mask))

    def __call__(self, x: Array) -> Array:
        return jax.nn.softmax(self._free.put(x), axis=-1, where=self.constraint.pattern.mask)

    def _inverse(self, y: Array) -> Array:
        compared = jnp.asarray(y)[..., np.arange(y.shape[-2]), references(self.constraint.pattern.mask)]
        return jnp.log(self._free.take(y)) - self._free.take(jnp.broadcast_to(jnp.log(compared)[..., None], y.shape))

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates: Any = None) -> Array:
        # Of a softmax with a reference: the product of all probabilities of the row.
        mask = self.constraint.pattern.mask
        logs = jax.nn.log_softmax(self._free.put(x), axis=-1, where=mask)
        return jnp.sum(jnp.where(mask, logs, 0.0), axis=(-2, -1))

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._free.array_shape(shape)

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self._free.vector_shape(shape)

    def tree_flatten(self):
        return (self.constraint,), (("constraint",), {})

    def eq(self, other: object, static: bool = False) -> Any:
        return isinstance(other, _SimplexRowsTransform) and self.constraint == other.constraint


@biject_to.register(_SimplexRowsConstraint)
def _simplex_rows_bijection(constraint: Any) -> _SimplexRowsTransform:
    return _SimplexRowsTransform(constraint)
