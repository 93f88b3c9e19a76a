"""The log-joint about a point fit: its unconstrained coordinates, their gradient and their Hessian, in double precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from scipy.optimize import linear_sum_assignment

from latentgate.data import Sequences
from latentgate.models import StateSpaceModel
from latentgate.models.base import Params
from latentgate.models.unconstrained import constrain, unconstrain

Of = Literal["posterior", "likelihood"]
Rows = Array | np.ndarray

# Beyond this a Hessian takes minutes and gigabytes, and its normal approximation is rarely what is wanted.
MOST_COORDINATES = 2000
# Roundings of a parameter's own precision below which a move of it is no move.
_ROUNDINGS = 8
# Points of one compiled call; the host loops over calls, so that memory does not grow with the number of coordinates, and Ctrl-C is heard.
_TOGETHER = 16
# Step of finite differences in units of a coordinate's scale: its square, and rounding divided by it, are both far below what standard errors need.
_STEP = 1e-4
# Relative disagreement with finite differences from which second derivatives of a model count as wrong.
_WRONG = 1e-4


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


@dataclass(frozen=True, eq=False)
class Curvature:
    """Minus a log-density about a point, in its free coordinates.

    Attributes:
        value: log-joint, or log-likelihood.
        gradient: of minus the value, [free].
        hessian: of minus the value, [free, free].
        exact: whether the Hessian is by automatic differentiation; otherwise by differences of gradients.
    """

    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    exact: bool


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


def curvature(model: StateSpaceModel, data: Sequences, params: Mapping[str, Any], point: Coordinates, of: Of, start: np.ndarray | None = None) -> Curvature:
    """Value, gradient and Hessian about a point, or about other values `start` [free] of its free coordinates; inside `double_precision`.

    Forward-over-reverse, a column at a time. One product with the log-likelihood's Hessian is compared with a difference of gradients; where they disagree
    the model's own derivative rule holds to first order only (Laplace's approximation and evidence bounds, whose expansion point moves), and its Hessian is
    made of central differences of the exact gradient.

    Raises:
        ValueError: if the value is not finite, and parameters lie outside their support.
        FloatingPointError: if it or its derivatives are not finite for another reason.
    """
    free, scale = point.free, point.scale[point.free]
    start, count = point.values[free] if start is None else start, len(free)

    def derivatives(points: np.ndarray, tangents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _evaluated(model, data, params, point, points, tangents)

    direction = scale * np.random.default_rng(0).choice([-1.0, 1.0], count)
    points = np.concatenate([np.tile(start, (count + 1, 1)), [start + _STEP * direction, start - _STEP * direction]])
    # Point by point: the likelihood's part and the prior's.
    values, gradients, products = derivatives(points, np.concatenate([np.eye(count), np.tile(direction, (3, 1))]))
    parts = slice(0, 2 if of == "posterior" else 1)
    value, gradient = values[0, parts].sum(), gradients[0, parts].sum(0)
    if not np.isfinite(value):
        lost = [name for name, entry in zip(point.names, point.values, strict=True) if np.isnan(entry)]
        if lost:
            raise ValueError(f"params: found {', '.join(lost[:5])} outside the support of the prior, expected values inside or at its boundary.")
        raise FloatingPointError(
            f"fit: found a log-{'joint' if of == 'posterior' else 'likelihood'} of {-value} at its parameters, expected a finite one; "
            + ('of="likelihood" leaves the prior out.' if np.isfinite(values[0, 0]) else "are these the data it was fitted to?")
        )
    likelihood = products[:count, 0]
    difference = (gradients[-2, 0] - gradients[-1, 0]) / (2 * _STEP)
    # In units of the coordinates' scales, so that all count alike.
    error = np.abs(products[count, 0] - difference) * scale
    magnitude = np.abs(scale[:, None] * likelihood * scale).sum(1)
    exact = not (np.isfinite(difference).all() and np.max(error, initial=0.0) > _WRONG * np.max(magnitude, initial=0.0))
    if not exact:
        steps = _STEP * np.diag(scale)
        _, moved, _ = derivatives(np.concatenate([start + steps, start - steps]), np.zeros((2 * count, count)))
        likelihood = (moved[:count, 0] - moved[count:, 0]) / (2 * _STEP * scale[:, None])
    hessian = likelihood + products[:count, 1] if of == "posterior" else likelihood
    hessian = 0.5 * (hessian + hessian.T)
    if not (np.isfinite(hessian).all() and np.isfinite(gradient).all()):
        bad = tuple(point.names[index] for index in free[~(np.isfinite(hessian).all(1) & np.isfinite(gradient))])
        raise FloatingPointError(f"fit: found derivatives that are not finite for {', '.join(bad[:5])}, expected finite ones at its parameters.")
    return Curvature(-float(value), gradient, hessian, exact)


def with_boundary(
    model: StateSpaceModel, data: Sequences, params: Mapping[str, Any], point: Coordinates, of: Of, shape: Curvature
) -> tuple[Coordinates, Curvature]:
    """Holds coordinates too that are so near the boundary that the data cannot tell them from it: rates that a climb left on their way to zero.

    They are those that bend, whose standard error would be more than three scales, and along which the density falls on one side alone. No normal law
    is like that, and the delta method would call the smallest of such rates the best known. Inside `double_precision`.
    """
    free = point.free
    scale = point.scale[free]
    doubtful = np.flatnonzero(point.bent[free] & (np.diag(shape.hessian) * scale**2 < 1 / 9))
    if not len(doubtful):
        return point, shape
    reach = point.reach[free][doubtful]
    sizes = np.stack([-reach, reach, -40.0 * scale[doubtful], 40.0 * scale[doubtful]])
    moves = (sizes[:, :, None] * np.eye(len(free))[doubtful]).reshape(-1, len(free))
    values, _, _ = _evaluated(model, data, params, point, point.values[free] + moves, np.zeros_like(moves))
    rise = values[:, : 2 if of == "posterior" else 1].sum(1).reshape(2, 2, -1) + shape.value
    # So improbable that the recursion underflows.
    rise = np.where(np.isnan(rise), np.inf, rise)
    within, anywhere = rise[0], rise.max(0)
    near = free[doubtful[((within > 1.0) & (anywhere[::-1] < 0.5)).any(0)]]
    if not len(near):
        return point, shape
    held, jacobian = point.held.copy(), point.jacobian.copy()
    held[near] = True
    # Entries that such a coordinate moves by a part of themselves; the other probabilities of its row stay free.
    lost = (np.abs(jacobian[:, near]) * point.scale[near] > 0.1 * np.abs(point.estimate)[:, None]).any(1)
    jacobian[:, near] = 0.0
    jacobian[lost] = 0.0
    point = replace(point, held=held, jacobian=jacobian, pinned=point.pinned | lost, boundary=point.boundary | lost)
    kept = np.isin(free, point.free)
    return point, replace(shape, gradient=shape.gradient[kept], hessian=shape.hessian[np.ix_(kept, kept)])


def _evaluated(
    model: StateSpaceModel, data: Sequences, params: Mapping[str, Any], point: Coordinates, points: np.ndarray, tangents: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """See `_derivatives`; for any number of points [point, free]."""
    fixed = {name: jnp.asarray(np.asarray(params[name], float)) for name in sorted(params)}
    found = []
    for first in range(0, len(points), _TOGETHER):
        # Every call is of the same shape, and so of the same program.
        rows = np.arange(first, first + _TOGETHER).clip(max=len(points) - 1)
        answer = _derivatives(model, data, fixed, point.values, point.free, point.pinned, points[rows], tangents[rows])
        found.append([np.asarray(part)[: len(points) - first] for part in answer])
    values, gradients, products = (np.concatenate(part) for part in zip(*found, strict=True))
    return values, gradients, products


def natural_draws(model: StateSpaceModel, params: Mapping[str, Any], point: Coordinates, values: np.ndarray) -> dict[str, np.ndarray]:
    """Natural parameters at unconstrained `values` [draw, coordinate]: {name: [draw, ...]}; inside `double_precision`."""
    fixed = {name: jnp.asarray(np.asarray(params[name], float)) for name in sorted(params)}
    return {name: np.asarray(value) for name, value in _natural(model, fixed, point.pinned, values).items()}


def natural_entries(model: StateSpaceModel, params: Mapping[str, Any], values: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Of each row of `values` [row, coordinate], one natural entry, `entries` [row]; inside `double_precision`."""
    fixed = {name: jnp.asarray(np.asarray(params[name], float)) for name in sorted(params)}
    return np.asarray(_entries(model, fixed, values, entries))


def _maps(model: StateSpaceModel, params: Params):
    """Unconstrained vector, function from such a vector to the natural one, natural vector, function from that to parameters."""
    priors = model.priors()
    start, unravel_free = ravel_pytree(unconstrain(priors, params))
    estimate, unravel = ravel_pytree(params)
    return start, lambda vector: ravel_pytree(constrain(priors, unravel_free(vector)))[0], estimate, unravel


@eqx.filter_jit
def _geometry(model: StateSpaceModel, params: Params) -> tuple[Array, Array, Array, Array, Array]:
    """Coordinates; Jacobian; largest second derivative along each; Jacobian with boundary coordinates moved inside; natural values reached."""
    start, natural, _, _ = _maps(model, params)
    point = jnp.where(jnp.isnan(start), 0.0, start)
    jacobian = jax.jacfwd(natural)(point)

    def second(tangent: Array) -> Array:
        return jnp.abs(jax.jvp(lambda x: jax.jvp(natural, (x,), (tangent,))[1], (point,), (tangent,))[1]).max()

    bend = jax.lax.map(second, jnp.eye(len(start), dtype=start.dtype))
    # Somewhere inside, where every coordinate moves what it can move.
    inside = jnp.where(jnp.isfinite(start), jnp.clip(start, -20.0, 20.0), 0.0)
    return start, jacobian, bend, jax.jacfwd(natural)(inside), natural(point)


@eqx.filter_jit
def _derivatives(
    model: StateSpaceModel, data: Sequences, params: Params, values: Rows, free: Rows, pinned: Rows, points: Rows, tangents: Rows
) -> tuple[Array, Array, Array]:
    """Minus the log-likelihood and the log-prior, their gradients, and their Hessians' product with a tangent, at some points [point, free].

    Returns:
        [point, 2], and twice [point, 2, free].
    """
    prepared = model.prepare(data)
    _, natural, estimate, unravel = _maps(model, params)
    base = jnp.where(jnp.isnan(values), 0.0, jnp.asarray(values))

    def parameters(vector: Array) -> Params:
        # At the boundary the values themselves: bijections clip just inside it, where derivatives of logarithms overflow.
        return unravel(jnp.where(pinned, estimate, natural(base.at[free].set(vector))))

    losses = (
        lambda vector: -model.potentials(parameters(vector), prepared).log_normaliser().sum(),
        lambda vector: -model.log_prior(parameters(vector)),
    )

    def one(at: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        found = []
        for loss in losses:
            (value, gradient), (_, product) = jax.jvp(jax.value_and_grad(loss), (at[0],), (at[1],))
            found.append((value, gradient, product))
        values, gradients, products = (jnp.stack(part) for part in zip(*found, strict=True))
        return values, gradients, products

    return jax.lax.map(one, (jnp.asarray(points), jnp.asarray(tangents)))


@eqx.filter_jit
def _natural(model: StateSpaceModel, params: Params, pinned: Rows, values: Rows) -> Params:
    _, natural, estimate, unravel = _maps(model, params)
    return jax.lax.map(lambda vector: unravel(jnp.where(pinned, estimate, natural(jnp.where(jnp.isnan(vector), 0.0, vector)))), jnp.asarray(values))


@eqx.filter_jit
def _entries(model: StateSpaceModel, params: Params, values: Rows, entries: Rows) -> Array:
    _, natural, _, _ = _maps(model, params)
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
