"""Potentials of a Gaussian chain as the recursions want them: time first, covariances as roots, data folded into one of three kinds of node.

Every array has its time dimension first, of size one where it does not change in time, and then all batch dimensions, of size one where they share it.
Latents are d-dimensional. What a node does to covariances is the same for all kinds: it is a number of rows of observations with normal noise. What it
does to means depends on how its data are given: a node answers what it adds to the mean recursion (`pull`) and what the data say at predicted means
(`surprise`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Gains(NamedTuple):
    """How one step's data sharpen a predicted covariance; independent of the data's values. Arrays, or `Settled` tables of them.

    Attributes:
        root: C with C Cᵀ the filtered covariance, [..., d, d].
        covariance: the filtered covariance, [..., d, d].
        closed: filtered mean per predicted mean, [..., d, d].
        gain: filtered mean per observation [..., d, N], or per shift [..., d, d].
        seen: precision of the data about the predicted mean, [..., d, d].
        whitener: inverse root of the innovations' covariance, [..., R, R].
        log_volume: log-determinant of that root, [...].
    """

    root: Any
    covariance: Any
    closed: Any
    gain: Any
    seen: Any
    whitener: Any
    log_volume: Any


class Rows(NamedTuple):
    """Observations y = H z + noise, with any noise covariance, handled as they are: in one triangularisation (square-root form).

    Attributes:
        matrix: H, [1 or T, ..., N, d]; zero in the rows of missing entries.
        root: of the noise covariance, [1 or T, ..., N, N]; a missing entry has unit noise of its own.
        values: y, [T, ..., N]; zero where missing.
        count: entries observed, [1 or T, ...].
    """

    matrix: Array
    root: Array
    values: Array
    count: Array

    def pull(self, gains: Gains) -> Array:
        """See the module, [T, ..., d]."""
        return apply(gains.gain, self.values)

    def surprise(self, gains: Gains, means: Array) -> tuple[Array, Array]:
        """Gradient of the increment with respect to the predicted mean [T, ..., d], and the increment [T, ...]."""
        whitened = apply(gains.whitener, self.values - apply(self.matrix, means))
        gradient = apply_transposed(self.matrix, apply_transposed(gains.whitener, whitened))
        return gradient, -0.5 * ((whitened**2).sum(-1) + self.count * jnp.log(2 * jnp.pi)) - gains.log_volume


class Shifts(NamedTuple):
    """Node potentials exp(-zᵀJz/2 + hᵀz + c).

    Attributes:
        precision: J, [1 or T, ..., d, d].
        shift: h, [T, ..., d].
        log_constant: c, [T, ...].
    """

    precision: Array
    shift: Array
    log_constant: Array

    def pull(self, gains: Gains) -> Array:
        """See the module, [T, ..., d]."""
        return apply(gains.gain, self.shift)

    def surprise(self, gains: Gains, means: Array) -> tuple[Array, Array]:
        """See `Rows.surprise`."""
        curved = apply(self.precision, means)
        slope = self.shift - curved
        gradient = apply_transposed(gains.closed, slope)
        value = self.log_constant + (means * (self.shift - 0.5 * curved)).sum(-1)
        return gradient, value + 0.5 * (apply_transposed(gains.root, slope) ** 2).sum(-1) - gains.log_volume


class Whitened(NamedTuple):
    """More observations than latents, in information form; innovations are taken before anything is squared, so that no large constants cancel.

    Attributes:
        precision: HᵀR⁻¹H of what is observed, [1 or T, ..., d, d].
        matrix: R^(-1/2) H, [1 or T, ..., N, d]; H itself where there are weights.
        values: R^(-1/2) y, [T, ..., N]; zero where missing.
        weights: R^(-1/2) of a diagonal R, zero where missing, [1 or T, ..., N]; None where the matrix already has it.
        log_density: of the noise at zero, [1 or T, ...].
    """

    precision: Array
    matrix: Array
    values: Array
    weights: Array | None
    log_density: Array

    def residual(self, means: Array) -> Array:
        """R^(-1/2) (y - H mean), [T, ..., N]."""
        expected = apply(self.matrix, means)
        return self.values - (expected if self.weights is None else self.weights * expected)

    def slope(self, residual: Array) -> Array:
        """HᵀR^(-1/2)ᵀ times a residual, [T, ..., d]."""
        return apply_transposed(self.matrix, residual if self.weights is None else self.weights * residual)

    def pull(self, gains: Gains) -> Array:
        """See the module, [T, ..., d]."""
        return apply(gains.gain, self.slope(self.values))

    def surprise(self, gains: Gains, means: Array) -> tuple[Array, Array]:
        """See `Rows.surprise`."""
        residual = self.residual(means)
        slope = self.slope(residual)
        gradient = apply_transposed(gains.closed, slope)
        value = self.log_density - 0.5 * (residual**2).sum(-1)
        return gradient, value + 0.5 * (apply_transposed(gains.root, slope) ** 2).sum(-1) - gains.log_volume


Nodes = Rows | Shifts | Whitened


class Chain(NamedTuple):
    """A chain ready for its recursions.

    Attributes:
        matrix: A, [1 or T-1, ..., d, d].
        bias: mean of the first latent, then the biases of the edges, [T, ..., d]: what is added to A times the mean before.
        root: of the first latent's covariance, [..., d, d].
        noise: root of the edges' covariances, [1 or T-1, ..., d, d].
        nodes: see the module.
        row_matrix, row_noise: rows that do to covariances what the nodes do, with a root of their noise covariance,
            [1 or T, ..., R, d] and [1 or T, ..., R, R].
        active: bool [T, ...], False at padding; None without padding.
    """

    matrix: Array
    bias: Array
    root: Array
    noise: Array
    nodes: Nodes
    row_matrix: Array
    row_noise: Array
    active: Array | None

    @property
    def num_steps(self) -> int:
        """T."""
        return self.bias.shape[0]

    @property
    def covariance_batch(self) -> tuple[int, ...]:
        """Batch dimensions of the covariances."""
        return jnp.broadcast_shapes(self.root.shape[:-2], *(array.shape[1:-2] for array in (self.matrix, self.noise, self.row_matrix, self.row_noise)))

    @property
    def constant(self) -> bool:
        """Whether neither edges nor nodes change in time, so that covariances settle and are the same for all data."""
        return self.num_steps > 2 and all(array.shape[0] == 1 for array in (self.matrix, self.noise, self.row_matrix, self.row_noise))


def at(array: Array, step: Array | int) -> Array:
    """The entry of a step, of an array whose leading dimension is time, or one where it does not change; beyond the end, the last."""
    if array.shape[0] == 1:
        return array[0]
    return jax.lax.dynamic_index_in_dim(array, step, 0, keepdims=False)


class Settled(NamedTuple):
    """Matrices of every step that stand still from one step on, [T, ..., i, j], kept as a table that is empty beyond that step.

    Attributes:
        table: [T, ..., i, j].
        last: the step from which on nothing changes, scalar.
    """

    table: Array
    last: Array

    def every_step(self) -> Array:
        """The matrices, or whatever the table holds, written out."""
        # A choice, not an index: it melts into what reads it, where XLA would copy the entries of every step.
        early = (jnp.arange(len(self.table)) < self.last).reshape(-1, *[1] * (self.table.ndim - 1))
        return jnp.where(early, self.table, at(self.table, self.last))

    def times(self, product: Callable[[Array, Array], Array], vector: Array) -> Array:
        """`product` of every step's matrix with vectors [T, ..., j]: one with the last matrix, and the few steps before it on their own."""
        head = min(len(self.table), _HEAD)

        def few() -> Array:
            early = Settled(self.table[:head], self.last).every_step()
            return product(at(self.table, self.last)[None], vector).at[:head].set(product(early, vector[:head]))

        return jax.lax.cond(self.last < head, few, lambda: product(self.every_step(), vector))


# Chains that settle within so many steps do most of their work in one matrix product.
_HEAD = 64


def apply(matrix: Array | Settled, vector: Array) -> Array:
    """Matrix times vector, all leading dimensions broadcast."""
    if isinstance(matrix, Settled):
        return matrix.times(apply, vector)
    if _is_one_matrix(matrix):
        return vector @ matrix.reshape(matrix.shape[-2:]).T
    return jnp.sum(matrix * vector[..., None, :], -1)


def apply_transposed(matrix: Array | Settled, vector: Array) -> Array:
    """Transposed matrix times vector, all leading dimensions broadcast."""
    if isinstance(matrix, Settled):
        return matrix.times(apply_transposed, vector)
    if _is_one_matrix(matrix):
        return vector @ matrix.reshape(matrix.shape[-2:])
    return jnp.sum(matrix * vector[..., :, None], -2)


def transposed(matrix: Array) -> Array:
    """The last two dimensions exchanged."""
    return jnp.swapaxes(matrix, -1, -2)


def _is_one_matrix(matrix: Array) -> bool:
    return matrix.size == matrix.shape[-1] * matrix.shape[-2]
