"""The log-joint about a point fit: its gradient and Hessian in unconstrained coordinates, in double precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences
from latentgate.models import StateSpaceModel
from latentgate.models.base import Params

from .coordinates import Coordinates, Rows, maps
from .directions import Decomposition, decompose

Of = Literal["posterior", "likelihood"]

# Points of one compiled call; the host loops over calls, so that memory does not grow with the number of coordinates, and Ctrl-C is heard.
_TOGETHER = 16
# Step of finite differences in units of a coordinate's scale: its square, and rounding divided by it, are both far below what standard errors need.
_STEP = 1e-4
# Relative disagreement with finite differences from which second derivatives of a model count as wrong.
_WRONG = 1e-4
# Within so many standard errors of the top, and in so many steps, it can be found by Newton's method.
_NEAR, _NEWTON_STEPS = 3.0, 8


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


def decomposed(shape: Curvature, point: Coordinates) -> Decomposition:
    """What the Hessian determines of the free coordinates of a point."""
    return decompose(shape.hessian, point.scale[point.free], point.bent[point.free], shape.exact)


def at_the_top(
    model: StateSpaceModel, data: Sequences, params: Mapping[str, Any], point: Coordinates, of: Of, shape: Curvature, parts: Decomposition
) -> tuple[Curvature, Decomposition]:
    """The curvature at the maximum next to a fit, by Newton's method, where that at the fit itself cannot tell what is flat.

    Along a curved set on which the density is constant (a change of the latents' basis, say) the second derivative is not zero but minus gradient times the
    set's own curvature. Far from a maximum, or where it is not reached within half a scale, the fit's own curvature stands.
    """
    scale = point.scale[point.free]
    first = now = point.values[point.free]
    for _ in range(_NEWTON_STEPS):
        noise = 10 * float(np.sum(np.abs(shape.gradient) * parts.unit**2 / scale))
        step = -parts.factor @ (parts.factor.T @ shape.gradient)
        now = now + step
        if parts.smallest > noise or not 1e-9 < np.linalg.norm(shape.gradient @ parts.factor) < _NEAR or np.any(np.abs(now - first) > 0.5 * scale):
            break
        try:
            following = curvature(model, data, params, point, of, now)
        except FloatingPointError:
            break
        if following.value < shape.value - 1e-9 * abs(shape.value):
            break
        shape, parts = following, decomposed(following, point)
    return shape, parts


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


@eqx.filter_jit
def _derivatives(
    model: StateSpaceModel, data: Sequences, params: Params, values: Rows, free: Rows, pinned: Rows, points: Rows, tangents: Rows
) -> tuple[Array, Array, Array]:
    """Minus the log-likelihood and the log-prior, their gradients, and their Hessians' product with a tangent, at some points [point, free].

    Returns:
        [point, 2], and twice [point, 2, free].
    """
    prepared = model.prepare(data)
    _, natural, estimate, unravel = maps(model, params)
    base = jnp.where(jnp.isnan(values), 0.0, jnp.asarray(values))

    def parameters(vector: Array) -> Params:
        # At the boundary the values themselves: bijections clip just inside it, where derivatives of logarithms overflow.
        return unravel(jnp.where(pinned, estimate, natural(base.at[free].set(vector))))

    losses = (
        lambda vector: -model.potentials(parameters(vector), prepared).log_normaliser().sum(),
        lambda vector: -model.log_prior(parameters(vector)) - model.log_penalty(parameters(vector), prepared),
    )

    def one(at: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        found = []
        for loss in losses:
            (value, gradient), (_, product) = jax.jvp(jax.value_and_grad(loss), (at[0],), (at[1],))
            found.append((value, gradient, product))
        values, gradients, products = (jnp.stack(part) for part in zip(*found, strict=True))
        return values, gradients, products

    return jax.lax.map(one, (jnp.asarray(points), jnp.asarray(tangents)))
