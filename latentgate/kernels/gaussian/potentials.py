"""Potentials of a Gaussian chain as the recursions want them: time first, covariances as roots, data folded into one of three kinds of node.

Every array has its time dimension first, of size one where it does not change in time, and then all batch dimensions, of size one where they share it.
Latents are d-dimensional. A node answers three things: how much it sharpens a predicted covariance (`sharpen`, which reads no data), what it adds to the
mean recursion (`pull`), and what the data say at predicted means (`surprise`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..small_matrices import cholesky, log_determinant, solve_triangular, triangularise


class Gains(NamedTuple):
    """How one step's data sharpen a predicted covariance; independent of the data's values.

    Attributes:
        root: C with C Cᵀ the filtered covariance, [..., d, d].
        covariance: the filtered covariance, [..., d, d].
        closed: filtered mean per predicted mean, [..., d, d].
        gain: filtered mean per observation [..., d, N], or per shift [..., d, d].
        seen: precision of the data about the predicted mean, innovations whitened, [..., d, d].
        whitener: inverse root of the innovation covariance, [..., N, N]; None for nodes in information form.
        log_volume: log-determinant of the root of the innovation covariance, or of its equivalent, [...].
    """

    root: Array
    covariance: Array
    closed: Array
    gain: Array
    seen: Array
    whitener: Array | None
    log_volume: Array


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

    def sharpen(self, step: Array | int, predicted: Array) -> Gains:
        """See the module; `predicted` is a root of the predicted covariance."""
        matrix, noise = at(self.matrix, step), at(self.root, step)
        num_rows, size = matrix.shape[-2:]
        shape = jnp.broadcast_shapes(matrix.shape[:-2], noise.shape[:-2], predicted.shape[:-2])
        spread = jnp.broadcast_to(matrix @ predicted, (*shape, num_rows, size))
        above = jnp.concatenate([spread, jnp.broadcast_to(noise, (*shape, num_rows, num_rows))], -1)
        below = jnp.concatenate([jnp.broadcast_to(predicted, (*shape, size, size)), jnp.zeros((*shape, size, num_rows), predicted.dtype)], -1)
        joint = triangularise(jnp.concatenate([above, below], -2))
        innovation, shared, root = joint[..., :num_rows, :num_rows], joint[..., num_rows:, :num_rows], joint[..., num_rows:, num_rows:]
        whitener = solve_triangular(innovation, jnp.eye(num_rows, dtype=predicted.dtype))
        whitened = whitener @ matrix
        closed = jnp.eye(size, dtype=predicted.dtype) - shared @ whitened
        pivots = jnp.abs(jnp.diagonal(innovation, axis1=-2, axis2=-1))
        return Gains(root, root @ transposed(root), closed, shared @ whitener, transposed(whitened) @ whitened, whitener, jnp.log(pivots).sum(-1))

    def pull(self, gains: Gains) -> Array:
        """See the module, [T, ..., d]."""
        return apply(gains.gain, self.values)

    def surprise(self, gains: Gains, means: Array) -> tuple[Array, Array]:
        """Gradient of the increment with respect to the predicted mean [T, ..., d], and the increment [T, ...]."""
        assert gains.whitener is not None
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

    def sharpen(self, step: Array | int, predicted: Array) -> Gains:
        """See the module."""
        return _sharpened_by(at(self.precision, step), predicted)

    def pull(self, gains: Gains) -> Array:
        """See the module, [T, ..., d]."""
        return apply(gains.gain, self.shift)

    def surprise(self, gains: Gains, means: Array) -> tuple[Array, Array]:
        """See `Rows.surprise`."""
        curved = apply(self.precision, means)
        slope = self.shift - curved
        gradient = apply_transposed(gains.closed, slope)
        value = self.log_constant + (means * (self.shift - 0.5 * curved)).sum(-1)
        return gradient, value + 0.5 * (slope * apply(gains.covariance, slope)).sum(-1) - gains.log_volume


class Whitened(NamedTuple):
    """More observations than latents, in information form; innovations are taken before anything is squared, so that no large constants cancel.

    Attributes:
        precision: HᵀR⁻¹H of what is observed, [1 or T, ..., d, d].
        matrix: H, [1 or T, ..., N, d].
        values: y, [T, ..., N].
        whitener: R^(-1/2), [1 or T, ..., N, N], or its diagonal [1 or T, ..., N]; zero where missing.
        log_density: of the noise at zero, [1 or T, ...].
    """

    precision: Array
    matrix: Array
    values: Array
    whitener: Array
    log_density: Array

    def sharpen(self, step: Array | int, predicted: Array) -> Gains:
        """See the module."""
        return _sharpened_by(at(self.precision, step), predicted)

    def whitened(self, residual: Array) -> Array:
        """R^(-1/2) times a residual, [T, ..., N]."""
        return self.whitener * residual if self.whitener.ndim == self.values.ndim else apply(self.whitener, residual)

    def slope(self, whitened: Array) -> Array:
        """HᵀR^(-1/2)ᵀ times a whitened residual, [T, ..., d]."""
        back = self.whitener * whitened if self.whitener.ndim == self.values.ndim else apply_transposed(self.whitener, whitened)
        return apply_transposed(self.matrix, back)

    @property
    def shift(self) -> Array:
        """HᵀR⁻¹y, [T, ..., d]."""
        return self.slope(self.whitened(self.values))

    def pull(self, gains: Gains) -> Array:
        """See the module, [T, ..., d]."""
        return apply(gains.gain, self.shift)

    def surprise(self, gains: Gains, means: Array) -> tuple[Array, Array]:
        """See `Rows.surprise`."""
        innovation = self.whitened(self.values - apply(self.matrix, means))
        slope = self.slope(innovation)
        gradient = apply_transposed(gains.closed, slope)
        value = self.log_density - 0.5 * (innovation**2).sum(-1)
        return gradient, value + 0.5 * (slope * apply(gains.covariance, slope)).sum(-1) - gains.log_volume


Nodes = Rows | Shifts | Whitened


class Chain(NamedTuple):
    """A chain ready for its recursions.

    Attributes:
        matrix: A, [1 or T-1, ..., d, d].
        bias: mean of the first latent, then the biases of the edges, [T, ..., d]: what is added to A times the mean before.
        root: of the first latent's covariance, [..., d, d].
        noise: root of the edges' covariances, [1 or T-1, ..., d, d].
        nodes: see the module.
        active: bool [T, ...], False at padding; None without padding.
    """

    matrix: Array
    bias: Array
    root: Array
    noise: Array
    nodes: Nodes
    active: Array | None

    @property
    def num_steps(self) -> int:
        """T."""
        return self.bias.shape[0]

    @property
    def covariance_batch(self) -> tuple[int, ...]:
        """Batch dimensions of the covariances."""
        seen = (self.nodes.matrix, self.nodes.root) if isinstance(self.nodes, Rows) else (self.nodes.precision,)
        return jnp.broadcast_shapes(self.root.shape[:-2], *(array.shape[1:-2] for array in (self.matrix, self.noise, *seen)))

    @property
    def constant(self) -> bool:
        """Whether neither edges nor nodes change in time, so that covariances are those of every sequence and settle."""
        seen = (self.nodes.matrix, self.nodes.root) if isinstance(self.nodes, Rows) else (self.nodes.precision,)
        return self.num_steps > 2 and all(array.shape[0] == 1 for array in (self.matrix, self.noise, *seen))


def at(array: Array, step: Array | int) -> Array:
    """The entry of a step, of an array whose leading dimension is time, or one where it does not change; beyond the end, the last."""
    if array.shape[0] == 1:
        return array[0]
    return jax.lax.dynamic_index_in_dim(array, step, 0, keepdims=False)


def apply(matrix: Array, vector: Array) -> Array:
    """Matrix times vector, all leading dimensions broadcast."""
    if _is_one_matrix(matrix):
        return vector @ matrix.reshape(matrix.shape[-2:]).T
    return jnp.sum(matrix * vector[..., None, :], -1)


def apply_transposed(matrix: Array, vector: Array) -> Array:
    """Transposed matrix times vector, all leading dimensions broadcast."""
    if _is_one_matrix(matrix):
        return vector @ matrix.reshape(matrix.shape[-2:])
    return jnp.sum(matrix * vector[..., :, None], -2)


def transposed(matrix: Array) -> Array:
    """The last two dimensions exchanged."""
    return jnp.swapaxes(matrix, -1, -2)


def _is_one_matrix(matrix: Array) -> bool:
    return matrix.size == matrix.shape[-1] * matrix.shape[-2]


def _sharpened_by(precision: Array, predicted: Array) -> Gains:
    # L (I + LᵀJL)⁻¹ Lᵀ needs neither the covariance nor the precision to be regular.
    identity = jnp.eye(predicted.shape[-1], dtype=predicted.dtype)
    factor = cholesky(identity + transposed(predicted) @ precision @ predicted)
    root = transposed(solve_triangular(factor, transposed(predicted)))
    covariance = root @ transposed(root)
    closed = identity - covariance @ precision
    seen = precision @ closed
    return Gains(root, covariance, closed, covariance, 0.5 * (seen + transposed(seen)), None, 0.5 * log_determinant(factor))
