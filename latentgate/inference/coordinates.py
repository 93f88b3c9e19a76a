"""The unconstrained coordinates of a model at a point, and the natural entries that they move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from scipy.optimize import linear_sum_assignment

from latentgate.models import StateSpaceModel
from latentgate.models.base import Params
from latentgate.models.unconstrained import constrain, unconstrain

Rows = Array | np.ndarray

# Beyond this a Hessian takes minutes and gigabytes, and its normal approximation is rarely what is wanted.
MOST_COORDINATES = 2000
# Roundings of a parameter's own precision below which a move of it is no move.
_ROUNDINGS = 8


@contextmanager
def double_precision() -> Iterator[None]:
    """Double precision for what runs inside: the smallest curvatures of a Hessian are lost in single precision, whatever the fit was made in."""
    with jax.enable_x64(True):
        yield


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The unconstrained coordinates of a model at one point, and the natural entries that they move.

    Both are flat: parameters one after the other by name, as `ravel_pytree` does. Coordinates are only those of the bijections' domains, so entries that
    the structure of a model fixes have none.

    Attributes:
        names: of each coordinate: the entry it moves most, such as "transition.rates[0, 1]"; [coordinate].
        values: unconstrained, [coordinate]; infinite at the boundary of a support.
        held: at the boundary, and therefore not free, [coordinate].
        scale: a move that changes its parameter by about the parameter's size, or over which the bijection bends, whichever is less; [coordinate].
        bent: whether the second is what limits it (logarithms, log-odds), [coordinate].
        reach: of a bent coordinate, a move that takes a small entry to the size of its parameter's largest, and three scales beyond; [coordinate].
        entry_names: [entry].
        estimate: natural values, [entry].
        jacobian: d natural / d coordinate, [entry, coordinate]; zero for held coordinates and entries that are not moved.
        pinned: entries that no free coordinate moves, [entry].
        boundary: those of them that would move, were their coordinates not held, [entry].
    """

    names: tuple[str, ...]
    values: np.ndarray
    held: np.ndarray
    scale: np.ndarray
    bent: np.ndarray
    reach: np.ndarray
    entry_names: tuple[str, ...]
    estimate: np.ndarray = field(repr=False)
    jacobian: np.ndarray = field(repr=False)
    pinned: np.ndarray = field(repr=False)
    boundary: np.ndarray = field(repr=False)

    @property
    def free(self) -> np.ndarray:
        """Indices of the coordinates that are not held."""
        return np.flatnonzero(~self.held)


def coordinates(model: StateSpaceModel, params: Mapping[str, Any]) -> Coordinates:
    """The unconstrained coordinates at `params`; inside `double_precision`.

    Raises:
        ValueError: for more than `MOST_COORDINATES` of them, or parameters outside the support of their prior.
    """
    rounding = {name: float(np.finfo(np.asarray(value).dtype).eps) if np.asarray(value).dtype.kind == "f" else 0.0 for name, value in params.items()}
    natural = {name: jnp.asarray(np.asarray(params[name], float)) for name in sorted(params)}
    sizes = {name: int(np.prod(leaf.shape)) for name, leaf in sorted(jax.eval_shape(lambda one: unconstrain(model.priors(), one), natural).items())}
    total = sum(sizes.values())
    if total > MOST_COORDINATES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise ValueError(
            f"fit: found {total} unconstrained coordinates ({sizes[largest]} of them of {largest!r}), expected at most {MOST_COORDINATES} for a Hessian; "
            "fit with lg.NUTS(...) or lg.SVI(...), whose draws need none."
        )
    estimate = np.concatenate([np.ravel(value) for value in natural.values()])
    values, jacobian, bend, structure, reached = (np.asarray(array) for array in _geometry(model, natural))
    owner_of_entry = np.repeat(np.arange(len(natural)), [value.size for value in natural.values()])
    owner = np.repeat(np.arange(len(natural)), [sizes[name] for name in natural])
    eps = _ROUNDINGS * np.array([max(rounding[name], np.finfo(float).eps) for name in natural])

    size = np.array([np.max(np.abs(value), initial=0.0) for value in natural.values()])
    moves = structure != 0
    steepest = np.where(np.isfinite(jacobian), np.abs(jacobian), 0.0).max(0, initial=0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_size = np.where(size[owner] > 0, size[owner] / steepest, 1.0)
        by_bend = np.where(bend > 0, steepest / bend, np.inf)
    bent = by_bend <= by_size
    scale = np.where(bent, by_bend, by_size)
    # The largest entry that a coordinate moves: what "nothing" is measured by.
    extent = np.where(moves, np.abs(estimate)[:, None], 0.0).max(0, initial=0.0)
    with np.errstate(invalid="ignore"):
        held = ~np.isfinite(values) | ~np.isfinite(scale) | (steepest == 0) | (steepest * scale <= eps[owner] * extent)
    held &= moves.any(0)
    jacobian = np.where(held[None, :], 0.0, jacobian)
    still = np.abs(jacobian) * np.where(held, 0.0, scale) <= eps[owner] * extent
    unmoved = (still | ~moves).all(1)
    boundary = unmoved & moves[:, held].any(1)
    pinned = boundary | ~moves.any(1)
    jacobian[pinned] = 0.0
    outside = ~pinned & ~(np.abs(reached - estimate) <= np.sqrt(eps[owner_of_entry]) * size[owner_of_entry])
    entry_names = _entry_names(natural)
    if outside.any():
        worst = int(np.argmax(outside))
        raise ValueError(f"params: found {entry_names[worst]} = {estimate[worst]} outside the support of the prior, expected values inside or at its boundary.")
    scale = np.where(held | ~np.isfinite(scale), 1.0, scale)
    reach = np.where(held, 0.0, scale * (3.0 + np.log(np.where(bent & ~held, by_size / scale, 1.0))))
    names = _coordinate_names(structure, jacobian, held, owner, owner_of_entry, entry_names)
    return Coordinates(names, values, held, scale, bent, reach, entry_names, estimate, jacobian, pinned, boundary)


def natural_draws(model: StateSpaceModel, params: Mapping[str, Any], point: Coordinates, values: np.ndarray) -> dict[str, np.ndarray]:
    """Natural parameters at unconstrained `values` [draw, coordinate]: {name: [draw, ...]}; inside `double_precision`."""
    fixed = {name: jnp.asarray(np.asarray(params[name], float)) for name in sorted(params)}
    return {name: np.asarray(value) for name, value in _natural(model, fixed, point.pinned, values).items()}


def natural_entries(model: StateSpaceModel, params: Mapping[str, Any], values: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Of each row of `values` [row, coordinate], one natural entry, `entries` [row]; inside `double_precision`."""
    fixed = {name: jnp.asarray(np.asarray(params[name], float)) for name in sorted(params)}
    return np.asarray(_entries(model, fixed, values, entries))


def maps(model: StateSpaceModel, params: Params):
    """Unconstrained vector, function from such a vector to the natural one, natural vector, function from that to parameters."""
    priors = model.priors()
    start, unravel_free = ravel_pytree(unconstrain(priors, params))
    estimate, unravel = ravel_pytree(params)
    return start, lambda vector: ravel_pytree(constrain(priors, unravel_free(vector)))[0], estimate, unravel


@eqx.filter_jit
def _geometry(model: StateSpaceModel, params: Params) -> tuple[Array, Array, Array, Array, Array]:
    """Coordinates; Jacobian; largest second derivative along each; Jacobian with boundary coordinates moved inside; natural values reached."""
    start, natural, _, _ = maps(model, params)
    point = jnp.where(jnp.isnan(start), 0.0, start)
    jacobian = jax.jacfwd(natural)(point)

    def second(tangent: Array) -> Array:
        return jnp.abs(jax.jvp(lambda x: jax.jvp(natural, (x,), (tangent,))[1], (point,), (tangent,))[1]).max()

    bend = jax.lax.map(second, jnp.eye(len(start), dtype=start.dtype))
    # Somewhere inside, where every coordinate moves what it can move.
    inside = jnp.where(jnp.isfinite(start), jnp.clip(start, -20.0, 20.0), 0.0)
    return start, jacobian, bend, jax.jacfwd(natural)(inside), natural(point)


@eqx.filter_jit
def _natural(model: StateSpaceModel, params: Params, pinned: Rows, values: Rows) -> Params:
    _, natural, estimate, unravel = maps(model, params)
    return jax.lax.map(lambda vector: unravel(jnp.where(pinned, estimate, natural(jnp.where(jnp.isnan(vector), 0.0, vector)))), jnp.asarray(values))


@eqx.filter_jit
def _entries(model: StateSpaceModel, params: Params, values: Rows, entries: Rows) -> Array:
    _, natural, _, _ = maps(model, params)
    return jax.lax.map(lambda row: natural(jnp.where(jnp.isnan(row[0]), 0.0, row[0]))[row[1]], (jnp.asarray(values), jnp.asarray(entries)))


def _entry_names(params: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(f"{name}{list(index) if index else ''}" for name, value in params.items() for index in np.ndindex(*np.shape(value)))


def _coordinate_names(
    structure: np.ndarray, jacobian: np.ndarray, held: np.ndarray, owner: np.ndarray, owner_of_entry: np.ndarray, entry_names: tuple[str, ...]
) -> tuple[str, ...]:
    """Of each coordinate, the entry it moves most; no entry twice."""
    names = [""] * structure.shape[1]
    for index in np.unique(owner):
        mine, entries = np.flatnonzero(owner == index), np.flatnonzero(owner_of_entry == index)
        moved = np.abs(np.where(held, structure, jacobian)[np.ix_(entries, mine)])
        steepest = moved.max(0, initial=0.0)
        moved = moved / np.where(steepest > 0, steepest, 1.0)
        best = moved.argmax(0)
        if len(np.unique(best)) < len(mine) <= len(entries):
            rows, chosen = linear_sum_assignment(-moved.T)
            best[rows] = chosen
        for coordinate, entry in zip(mine, best, strict=True):
            names[coordinate] = entry_names[entries[entry]]
    return tuple(names)
