"""The law of an array of which some entries are free and all others zero, whose bijection sees the free ones alone."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import Transform

from .distributions import mended
from .patterns import Pattern

_Constraint: Any = constraints.Constraint
_Transform: Any = Transform


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
        >>> from latentgate.models.on_entries import OnEntries
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
