"""Densities of mixtures side by side at points of y: overlaps of experts, and the Hellinger distance of the mixtures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.optimize import linear_sum_assignment

from latentgate.data import Sequences
from latentgate.models.base import Params, without_prefix

# A grid is refined until the densities integrate to one this closely, and then by a factor of four for other mixtures with narrower experts.
CLOSE_TO_ONE = 1e-9
_FEWEST_VALUES, _MOST_VALUES = 128, 16_384
_REFINED = 4
# Squared Hellinger distance below which one minus the overlap is too rough.
_CLOSE = 1e-6


def log_parts(model: Any, params: Params, inputs: Mapping[str, Array], points: Array) -> tuple[Array, Array]:
    """Log-weights [x, K] and log-densities [x, y, K] of the experts, at inputs {name: [x, M]} and points [x, y, feature]; may be traced."""
    given = {name: jnp.broadcast_to(rows[:, None], (*points.shape[:2], rows.shape[-1])) for name, rows in inputs.items()}
    lengths = jnp.full(points.shape[:1], points.shape[1], jnp.int32)
    data = model.prepare(Sequences(points, jnp.ones(points.shape, bool), lengths, given, None, True))
    log_weights = model.gate.log_weights(without_prefix("gate", params), inputs[model.gate.inputs])
    return log_weights, model.experts.log_likelihood(without_prefix("experts", params), data)


@eqx.filter_jit
def gate_weights(model: Any, params: Params, inputs: Array) -> Array:
    """Weights of the experts for parameters {name: [replication, ...]} at inputs [x, M], [replication, x, K]."""
    return jax.vmap(lambda own: jnp.exp(model.gate.log_weights(without_prefix("gate", own), inputs)))(params)


class Overlaps(NamedTuple):
    """Integrals over y of a fitted mixture f and a true one g at each x.

    Attributes:
        experts: ∫ √(f_k g_j) dy of each fitted with each true expert, [..., x, k, k*].
        mixtures: ∫ √(f g) dy, [..., x].
        half_squares: ½ ∫ (√f − √g)² dy, [..., x].
    """

    experts: Array
    mixtures: Array
    half_squares: Array

    def squared_hellinger(self) -> np.ndarray:
        """Squared Hellinger distance at each x, [..., x], of integrals over a grid.

        The half square is the same as one minus the overlap where both densities integrate to one on the grid. It loses no digits where they are close; where
        they are not, the overlap does not mind that the tails of one of them are cut off.
        """
        apart, close = 1.0 - np.asarray(self.mixtures), np.asarray(self.half_squares)
        return np.where(apart > _CLOSE, apart, close)


@eqx.filter_jit
def overlaps(true_model: Any, target: Params, model: Any, fitted: Params, inputs: Mapping[str, Array], points: Array, widths: Array) -> Overlaps:
    """Of fitted mixtures and a true one, at each x.

    Args:
        true_model: of the true mixture.
        target: its parameters.
        model: of the fitted mixtures.
        fitted: {name: [replication, ...]}.
        inputs: {name: [x, M]}.
        points: of y, [x, y, feature].
        widths: of the integral over y, Σ_y widths · φ(points), [x, y].
    """
    true_weights, true_densities = log_parts(true_model, target, inputs, points)
    true_roots = jnp.exp(0.5 * true_densities)
    true_root = jnp.sqrt(jnp.einsum("xk,xyk->xy", jnp.exp(true_weights), true_roots**2))

    def one(params: Params) -> Overlaps:
        weights, densities = log_parts(model, params, inputs, points)
        roots = jnp.exp(0.5 * densities)
        root = jnp.sqrt(jnp.einsum("xk,xyk->xy", jnp.exp(weights), roots**2))
        experts = jnp.einsum("xy,xyk,xyj->xkj", widths, roots, true_roots)
        return Overlaps(experts, jnp.sum(widths * root * true_root, -1), 0.5 * jnp.sum(widths * (root - true_root) ** 2, -1))

    # One replication at a time: all of them on the grid would need gigabytes.
    return jax.lax.map(one, fitted)


def midpoint_grid(mixtures: Sequence[tuple[Any, Params]], inputs: Mapping[str, Array], low: float, high: float) -> tuple[Array, Array, float]:
    """Points [y] and width of a midpoint rule on [low, high], fine enough for all the mixtures at inputs {name: [x, M]}.

    Returns:
        points, width, and by how much the worst integral of a density differs from one.
    """
    count = _FEWEST_VALUES
    while True:
        grid, width = _midpoints(low, high, count)
        worst = max(float(_worst_integral(model, params, inputs, grid, width)) for model, params in mixtures)
        if worst < CLOSE_TO_ONE or count >= _MOST_VALUES:
            return (*_midpoints(low, high, _REFINED * count), worst)
        count *= 2


def _midpoints(low: float, high: float, count: int) -> tuple[Array, Array]:
    width = (high - low) / count
    return low + width * (jnp.arange(count) + 0.5), jnp.asarray(width)


@eqx.filter_jit
def _worst_integral(model: Any, params: Params, inputs: Mapping[str, Array], grid: Array, width: Array) -> Array:
    rows = next(iter(inputs.values())).shape[0]
    log_weights, log_densities = log_parts(model, params, inputs, jnp.broadcast_to(grid[:, None], (rows, grid.shape[0], 1)))
    total = width * jnp.einsum("xk,xyk->x", jnp.exp(log_weights), jnp.exp(log_densities))
    return jnp.max(jnp.abs(total - 1.0))


@eqx.filter_jit
def draws(model: Any, params: Params, inputs: Mapping[str, Array], keys: Array) -> Array:
    """An observation [feature] for every key [x] at inputs {name: [x, M]}."""
    recent = jnp.zeros((0, model.experts.num_features))
    return jax.vmap(lambda key, rows: model.mixture.sample(key, params, rows, recent)[0])(keys, dict(inputs))


def matched(overlap: np.ndarray) -> np.ndarray:
    """True expert of each fitted one, [k], given the overlaps of their densities [k, k*].

    One to one, by the best assignment, where there are as many; else each fitted expert belongs to the true one that it overlaps most with.
    """
    if not np.isfinite(overlap).all():
        return np.zeros(len(overlap), int)
    if overlap.shape[0] == overlap.shape[1]:
        rows, columns = linear_sum_assignment(overlap, maximize=True)
        return columns[np.argsort(rows)]
    return overlap.argmax(-1)


def summed_weights(weights: np.ndarray, cells: np.ndarray, num_true: int) -> np.ndarray:
    """Weights [..., x, k] of fitted experts summed over those that belong to the same true one, by cells [..., k]: [..., x, k*]."""
    return np.einsum("...xk,...kj->...xj", weights, cells[..., None] == np.arange(num_true))
