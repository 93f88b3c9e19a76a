"""Distributions of arrays with a given pattern of zeros, whose bijections see the free entries alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaln, xlogy
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import Transform

from .distributions import mended

_Constraint: Any = constraints.Constraint
_Transform: Any = Transform


@dataclasses.dataclass(frozen=True)
class Pattern:
    """Some entries of an array, in row-major order; hashable, so that it can be static in compiled code.

    Attributes:
        shape: of the array.
        entries: positions in the flattened array, ascending.
        groups: of every entry, the number of its group, in order of first appearance: entries of one group are tied. Empty where none are.
        units: of every free coordinate; empty for ones. Coordinates of a like size are what optimisers need.
    """

    shape: tuple[int, ...]
    entries: tuple[int, ...]
    groups: tuple[int, ...] = ()
    units: tuple[float, ...] = ()

    @classmethod
    def of(cls, mask: Any) -> Pattern:
        """The entries where a boolean array is True.

        Raises:
            ValueError: unless it is an array of booleans with at least one dimension.
        """
        array = np.asarray(mask)
        if array.dtype != bool or array.ndim == 0:
            raise ValueError(f"mask: found {array.dtype} of shape {array.shape}, expected an array of booleans; compare a matrix of numbers with > 0.")
        return cls(array.shape, tuple(np.flatnonzero(array).tolist()))

    @property
    def mask(self) -> np.ndarray:
        """Bool array of `shape`, True at the entries."""
        mask = np.zeros(int(np.prod(self.shape)), bool)
        mask[list(self.entries)] = True
        return mask.reshape(self.shape)

    @property
    def num_entries(self) -> int:
        """E; tied entries count once."""
        return max(self.groups) + 1 if self.groups else len(self.entries)

    @property
    def firsts(self) -> tuple[int, ...]:
        """Index, among the entries, of the first of every group, [E]."""
        return tuple(self.groups.index(group) for group in range(self.num_entries)) if self.groups else tuple(range(len(self.entries)))

    def take(self, array: Array) -> Array:
        """[..., *shape] to [..., E]."""
        array = jnp.asarray(array)
        return array.reshape(*array.shape[: array.ndim - len(self.shape)], -1)[..., np.array(self.entries, int)[list(self.firsts)]]

    def put(self, entries: Array) -> Array:
        """[..., E] to [..., *shape], zero elsewhere."""
        entries = jnp.asarray(entries)
        if self.groups:
            entries = entries[..., np.array(self.groups, int)]
        flat = jnp.zeros((*entries.shape[:-1], int(np.prod(self.shape))), entries.dtype).at[..., np.array(self.entries, int)].set(entries)
        return flat.reshape(*entries.shape[:-1], *self.shape)

    def array_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """[..., E] to [..., *shape]."""
        return (*shape[:-1], *self.shape)

    def vector_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """[..., *shape] to [..., E]."""
        return (*shape[: len(shape) - len(self.shape)], self.num_entries)


def references(allowed: Any) -> np.ndarray:
    """The column that each row of a boolean matrix is compared with, [row]: the diagonal where it is True, else the first True.

    Raises:
        ValueError: unless it is a matrix of booleans with a True in every row.
    """
    array = np.asarray(allowed)
    if array.dtype != bool or array.ndim != 2:
        raise ValueError(f"allowed: found {array.dtype} of shape {array.shape}, expected a matrix of booleans; compare a matrix of numbers with > 0.")
    empty = np.flatnonzero(~array.any(axis=1))
    if empty.size:
        raise ValueError(f"allowed: found no True in row {empty[0]}, expected at least one in every row.")
    diagonal = np.zeros(len(array), bool)
    diagonal[: min(array.shape)] = np.diagonal(array)
    return np.where(diagonal, np.arange(len(array)), array.argmax(axis=1))


def contrasts(allowed: Any) -> np.ndarray:
    """The same matrix without the references: where the free coordinates of rows that sum to one are."""
    array = np.array(allowed)
    array[np.arange(len(array)), references(array)] = False
    return array


class OnEntries(dist.Distribution):
    """Independent values on some entries of an array, zero on all others: rates on the edges of a graph, say.

    Its unconstrained coordinates are those of the entries alone, [E], so that every engine (EM, MAP, SVI, NUTS) and every Hessian has as many coordinates as
    there is freedom. The density does not look at the other entries.

    Args:
        prior: of one entry, a univariate numpyro distribution; its batch shape is (), (E,) for the E entries in row-major order, or broadcasts to the
            mask's shape and has as many dimensions.
        mask: array of booleans, True where an entry is free.

    Attributes:
        prior: mended, batch shape () or (E,).

    Raises:
        ValueError: for a prior that is not univariate or does not fit the mask, or a mask that is not one.

    Example:
        >>> import jax, numpy as np, numpyro.distributions as dist
        >>> from numpyro.distributions import biject_to
        >>> from latentgate.models.patterns import OnEntries
        >>> rates = OnEntries(dist.Gamma(2.0, 1.0), ~np.eye(3, dtype=bool))
        >>> rates.sample(jax.random.key(0)).shape, biject_to(rates.support).inverse_shape((3, 3))
        ((3, 3), (6,))
    """

    arg_constraints = {}  # noqa: RUF012 - numpyro's protocol
    pytree_data_fields = ("prior",)
    pytree_aux_fields = ("pattern",)
    reparametrized_params = []  # noqa: RUF012 - numpyro's protocol

    def __init__(self, prior: dist.Distribution, mask: Any, *, validate_args: bool | None = None):
        self.pattern = mask if isinstance(mask, Pattern) else Pattern.of(mask)
        self.prior = _of_entries(prior, self.pattern)
        super().__init__((), self.pattern.shape, validate_args=validate_args)

    @property
    def mask(self) -> np.ndarray:
        """Bool array, True where an entry is free."""
        return self.pattern.mask

    @property
    def support(self) -> Any:
        """The prior's support on the entries, zero elsewhere."""
        return _EntriesConstraint(self.prior.support, self.pattern)

    @property
    def mean(self) -> Array:
        """Mean of each entry."""
        return self.pattern.put(jnp.broadcast_to(self.prior.mean, (self.pattern.num_entries,)))

    @property
    def variance(self) -> Array:
        """Variance of each entry."""
        return self.pattern.put(jnp.broadcast_to(self.prior.variance, (self.pattern.num_entries,)))

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draws, [*sample_shape, *mask.shape]."""
        return self.pattern.put(jnp.asarray(self.prior.expand((self.pattern.num_entries,)).sample(key, sample_shape)))

    def log_prob(self, value: Array, intermediates: Any = None) -> Array:
        """Log-density of the entries, [...]."""
        return jnp.sum(jnp.asarray(self.prior.log_prob(self.pattern.take(value))), axis=-1)


def _of_entries(prior: Any, pattern: Pattern) -> dist.Distribution:
    """The prior with batch shape () or (E,)."""
    if not isinstance(prior, dist.Distribution) or prior.event_shape:
        raise ValueError(f"prior: found {prior!r}, expected a univariate distribution of numpyro, for example Gamma(2.0, 1.0).")
    prior = mended(prior)
    if prior.batch_shape in ((), (pattern.num_entries,)):
        return prior
    base = prior.base_dist if isinstance(prior, dist.ExpandedDistribution) else prior
    try:
        if len(prior.batch_shape) != len(pattern.shape):
            raise ValueError
        arguments = {name: pattern.take(jnp.broadcast_to(getattr(base, name), pattern.shape)) for name in base.arg_constraints}
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"prior: found {type(base).__name__} of batch shape {prior.batch_shape}, expected (), one for each of the {pattern.num_entries} free entries, "
            f"({pattern.num_entries},), or one that broadcasts to {pattern.shape}."
        ) from error
    return mended(type(base)(**arguments))


class _EntriesConstraint(_Constraint):
    def __init__(self, base: Any, pattern: Pattern):
        self.base, self.pattern = base, pattern

    @property
    def event_dim(self) -> int:
        return len(self.pattern.shape)

    def __call__(self, x: Array) -> Array:
        axes = tuple(range(-self.event_dim, 0))
        inside = jnp.all(self.base(self.pattern.take(x)), axis=-1)
        return inside & jnp.all((x == 0) | self.pattern.mask, axis=axes)

    def __repr__(self) -> str:
        return f"on_entries({self.base!r}, {self.pattern.num_entries} of {self.pattern.shape})"

    def feasible_like(self, prototype: Array) -> Array:
        return self.pattern.put(self.base.feasible_like(self.pattern.take(prototype)))

    def tree_flatten(self):
        return (self.base,), (("base",), {"pattern": self.pattern})

    def eq(self, other: object, static: bool = False) -> Any:
        return isinstance(other, _EntriesConstraint) and self.pattern == other.pattern and self.base.eq(other.base, static=static)

    def __eq__(self, other: object) -> bool:
        return bool(self.eq(other, static=True))

    def __hash__(self) -> int:
        return hash((type(self.base), self.pattern))


class _EntriesTransform(_Transform):
    domain = constraints.real_vector

    def __init__(self, base: Any, constraint: _EntriesConstraint):
        self.base, self.constraint = base, constraint

    @property
    def codomain(self) -> _EntriesConstraint:
        return self.constraint

    @property
    def _units(self) -> Array:
        pattern = self.constraint.pattern
        return jnp.asarray(pattern.units or (1.0,) * pattern.num_entries)

    def __call__(self, x: Array) -> Array:
        return self.constraint.pattern.put(self.base(x * self._units))

    def _inverse(self, y: Array) -> Array:
        return self.base._inverse(self.constraint.pattern.take(y)) / self._units

    def log_abs_det_jacobian(self, x: Array, y: Array, intermediates: Any = None) -> Array:
        steepness = self.base.log_abs_det_jacobian(x * self._units, self.constraint.pattern.take(y)) + jnp.log(self._units)
        return jnp.sum(jnp.broadcast_to(steepness, jnp.shape(x)), axis=-1)

    def forward_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.constraint.pattern.array_shape(shape)

    def inverse_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.constraint.pattern.vector_shape(shape)

    def tree_flatten(self):
        return (self.base, self.constraint), (("base", "constraint"), {})

    def eq(self, other: object, static: bool = False) -> Any:
        return isinstance(other, _EntriesTransform) and self.constraint.eq(other.constraint, static=static)


@biject_to.register(_EntriesConstraint)
def _entries_bijection(constraint: Any) -> _EntriesTransform:
    return _EntriesTransform(biject_to(constraint.base), constraint)


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
        >>> from latentgate.models.patterns import SimplexRows
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
