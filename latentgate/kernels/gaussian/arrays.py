"""What the user gives, checked and laid out: batch dimensions first, then time of size one where nothing changes.

Every array has the full number of batch dimensions, of size one where they share it, so that `jax.vmap` is one more of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike

from ..shapes import checked_lengths, fits
from ..small_matrices import cholesky, log_determinant, solve_triangular, square_root
from .potentials import Chain, Nodes, Rows, Shifts, Whitened, apply, transposed


@partial(jax.tree_util.register_dataclass, data_fields=["values", "matrix", "bias", "covariance", "variances", "observed"], meta_fields=[])
@dataclass(frozen=True)
class Observations:
    """Node potentials of linear observations with normal noise, y = H z + bias + Normal(0, R).

    Attributes:
        values: y, [..., T, N]; anything where not observed.
        matrix: H, [N, d], [..., N, d], or per step [..., T, N, d].
        bias: [N], [..., N], or per step [..., T, N]; zero if None.
        covariance: R, positive semidefinite, [N, N], [..., N, N], or per step [..., T, N, N]; give it or `variances`.
        variances: diagonal of R, [N], [..., N], or per step [..., T, N].
        observed: bool [..., T, N]; all if None.
    """

    values: ArrayLike
    matrix: ArrayLike
    bias: ArrayLike | None = None
    covariance: ArrayLike | None = None
    variances: ArrayLike | None = None
    observed: ArrayLike | None = None


@partial(jax.tree_util.register_dataclass, data_fields=["precision", "shift", "log_constant"], meta_fields=[])
@dataclass(frozen=True)
class Information:
    """Node potentials exp(-zᵀJz/2 + hᵀz + c).

    Attributes:
        precision: J, positive semidefinite, [d, d], [..., d, d], or per step [..., T, d, d].
        shift: h, [..., T, d].
        log_constant: c, [..., T]; zero if None.
    """

    precision: ArrayLike
    shift: ArrayLike
    log_constant: ArrayLike | None = None


class Seen(NamedTuple):
    """Observations laid out: matrix [..., 1 or T, N, d], noise [..., 1 or T, N, N] or its diagonal, values [..., T, N], observed [..., T, N] or None."""

    matrix: Array
    noise: Array
    values: Array
    observed: Array | None


class Told(NamedTuple):
    """Information laid out: precision [..., 1 or T, d, d], shift [..., T, d], log_constant [..., T]."""

    precision: Array
    shift: Array
    log_constant: Array


class Arrays(NamedTuple):
    """A whole chain laid out: mean [..., d], covariance [..., d, d]; edges [..., 1 or T-1, d, d] and [..., 1 or T-1, d]; lengths [...] or None."""

    initial_mean: Array
    initial_covariance: Array
    matrix: Array
    bias: Array
    covariance: Array
    nodes: Seen | Told
    lengths: Array | None


def chain_of(arrays: Arrays, form: str) -> Chain:
    """Time first, roots taken, nodes in the form asked for; padding made harmless."""
    nodes = arrays.nodes
    data = nodes.values if isinstance(nodes, Seen) else nodes.shift
    num_steps, batch = data.shape[-2], data.shape[:-2]
    active = None
    if arrays.lengths is not None:
        steps = jnp.arange(num_steps).reshape(-1, *[1] * len(batch))
        active = jnp.broadcast_to(steps < arrays.lengths, (num_steps, *batch))

    def time_first(array: Array, rank: int, edge: bool = False, padding: ArrayLike = 0.0) -> Array:
        moved = jnp.moveaxis(array, -1 - rank, 0)
        if active is None or moved.shape[0] == 1:
            return moved
        kept = (active[1:] if edge else active).reshape(num_steps - edge, *batch, *[1] * rank)
        return jnp.where(kept, moved, padding)

    bias = time_first(arrays.bias, 1, edge=True)
    shape = jnp.broadcast_shapes(bias.shape[1:], arrays.initial_mean.shape)
    bias = jnp.concatenate([jnp.broadcast_to(arrays.initial_mean, (1, *shape)), jnp.broadcast_to(bias, (num_steps - 1, *shape))])
    laid = _nodes(nodes, form, time_first)
    if isinstance(laid, Rows):
        row_matrix, row_noise = laid.matrix, laid.root
    else:
        row_matrix = transposed(square_root(laid.precision))
        row_noise = jnp.eye(row_matrix.shape[-1], dtype=row_matrix.dtype).reshape(*[1] * (row_matrix.ndim - 2), *row_matrix.shape[-2:])
    return Chain(
        matrix=time_first(arrays.matrix, 2, edge=True),
        bias=bias,
        root=square_root(arrays.initial_covariance),
        noise=square_root(time_first(arrays.covariance, 2, edge=True)),
        nodes=laid,
        row_matrix=row_matrix,
        row_noise=row_noise,
        active=active,
    )


def _nodes(nodes: Seen | Told, form: str, time_first) -> Nodes:
    if isinstance(nodes, Told):
        return Shifts(time_first(nodes.precision, 2), time_first(nodes.shift, 1), time_first(nodes.log_constant, 0))
    if in_rows(nodes, form):
        return rows_of(*seen_rows(nodes), time_first)
    return whitened_of(nodes, time_first)


def in_rows(nodes: Seen, form: str) -> bool:
    """Whether observations are handled row by row: where there are no more of them than latents, or where it is asked for."""
    num_rows, size = nodes.matrix.shape[-2:]
    return form == "square_root" or (form == "auto" and num_rows <= size)


def seen_rows(nodes: Seen) -> tuple[Array, Array, Array, Array]:
    """Matrix, noise covariance, values and number of entries observed; a missing entry is a row of zeros with unit noise of its own."""
    matrix, noise, values, observed = nodes
    if noise.ndim == values.ndim:
        noise = noise[..., None] * jnp.eye(noise.shape[-1], dtype=noise.dtype)
    if observed is None:
        return matrix, noise, values, jnp.full((*[1] * (values.ndim - 1),), float(values.shape[-1]), values.dtype)
    both = observed[..., :, None] & observed[..., None, :]
    matrix = jnp.where(observed[..., None], matrix, 0.0)
    noise = jnp.where(both, noise, jnp.eye(noise.shape[-1], dtype=noise.dtype))
    return matrix, noise, jnp.where(observed, values, 0.0), observed.sum(-1).astype(values.dtype)


def rows_of(matrix: Array, noise: Array, values: Array, count: Array, time_first) -> Rows:
    """Nodes of the rows that `seen_rows` gives."""
    noise = time_first(noise, 2, padding=jnp.eye(noise.shape[-1], dtype=noise.dtype))
    return Rows(time_first(matrix, 2), square_root(noise), time_first(values, 1), time_first(count, 0))


def whitened_of(nodes: Seen, time_first) -> Whitened:
    """Observations in information form."""
    matrix, noise, values, observed = nodes
    log_two_pi = jnp.log(2 * jnp.pi).astype(values.dtype)
    if observed is not None:
        values = jnp.where(observed, values, 0.0)
    if noise.ndim == values.ndim:
        positive = jnp.where(noise > 0, noise, jnp.nan)
        weights, each = 1 / jnp.sqrt(positive), 0.5 * (jnp.log(positive) + log_two_pi)
        if observed is not None:
            weights, each = jnp.where(observed, weights, 0.0), jnp.where(observed, each, 0.0)
        precision, values, log_density = _weighted_squares(matrix, weights**2), weights * values, -each.sum(-1)
        if weights.shape[-2] == 1:
            matrix, weights = weights[..., None] * matrix, None
        else:
            weights = time_first(weights, 1)
    else:
        weights, count = None, jnp.asarray(noise.shape[-1])
        if observed is not None:
            both = observed[..., :, None] & observed[..., None, :]
            noise, count = jnp.where(both, noise, jnp.eye(noise.shape[-1], dtype=noise.dtype)), observed.sum(-1)
        factor = cholesky(noise)
        whitener = solve_triangular(factor, jnp.eye(noise.shape[-1], dtype=noise.dtype))
        log_density = -0.5 * (log_determinant(factor) + count * log_two_pi)
        if observed is not None:
            whitener = jnp.where(observed[..., None, :], whitener, 0.0)
        matrix, values = whitener @ matrix, apply(whitener, values)
        precision = transposed(matrix) @ matrix
    return Whitened(time_first(precision, 2), time_first(matrix, 2), time_first(values, 1), weights, time_first(log_density, 0))


def _weighted_squares(matrix: Array, weights: Array) -> Array:
    """Hᵀ diag(weights) H, [..., 1 or T, d, d]; one matrix product where H is the same everywhere."""
    num_rows, size = matrix.shape[-2:]
    if matrix.size == num_rows * size:
        squares = matrix.reshape(num_rows, size, 1) * matrix.reshape(num_rows, 1, size)
        return (weights @ squares.reshape(num_rows, -1)).reshape(*weights.shape[:-1], size, size)
    return jnp.einsum("...ni,...n,...nj->...ij", matrix, weights, matrix)


def checked(initial_mean, initial_covariance, matrix, bias, covariance, nodes, lengths) -> Arrays:
    """The chain laid out.

    Raises:
        ValueError: if shapes do not fit together, covariances are not positive semidefinite, or lengths are out of range.
        TypeError: if the nodes are neither `Observations` nor `Information`.
    """
    if not isinstance(nodes, Observations | Information):
        raise TypeError(f"nodes: found {type(nodes).__name__}, expected Observations or Information.")
    given = [initial_mean, initial_covariance, matrix, covariance, *jax.tree.leaves((bias, nodes))]
    floats = [jnp.asarray(x) for x in given if not jnp.issubdtype(jnp.asarray(x).dtype, jnp.bool_)]
    dtype = jnp.result_type(jnp.float32, *floats)
    data, name = (nodes.values, "values") if isinstance(nodes, Observations) else (nodes.shift, "shift")
    data = jnp.asarray(data, dtype)
    if data.ndim < 2 or 0 in data.shape[-2:]:
        raise ValueError(f"{name}: found shape {data.shape}, expected [..., T, {'N' if name == 'values' else 'd'}] with at least one step and one column.")
    *batch, num_steps, _ = data.shape
    batch = tuple(batch)
    size = jnp.shape(matrix)[-1] if jnp.ndim(matrix) else 0
    layout = _Layout(batch, num_steps, dtype)
    laid_edges = layout.place("matrix", matrix, (size, size), "d, d", edge=True)
    laid_bias = layout.place("bias", jnp.zeros(size) if bias is None else bias, (size,), "d", edge=True)
    laid_noise = layout.place("covariance", covariance, (size, size), "d, d", edge=True)
    mean = layout.place("initial_mean", initial_mean, (size,), "d", per_step=False)
    first = layout.place("initial_covariance", initial_covariance, (size, size), "d, d", per_step=False)
    semidefinite("initial_covariance", initial_covariance)
    semidefinite("covariance", covariance)
    if lengths is not None:
        lengths = checked_lengths(lengths, batch, num_steps)
    laid_nodes = _laid_observations(nodes, data, layout, size) if isinstance(nodes, Observations) else _laid_information(nodes, data, layout, size)
    return Arrays(mean, first, laid_edges, laid_bias, laid_noise, laid_nodes, lengths)


@dataclass(frozen=True)
class _Layout:
    batch: tuple[int, ...]
    num_steps: int
    dtype: jnp.dtype

    def place(self, name: str, array: ArrayLike, core: tuple[int, ...], letters: str, edge: bool = False, per_step: bool = True) -> Array:
        """An array with all batch dimensions and, unless it belongs to no step, a time dimension."""
        array = jnp.asarray(array, self.dtype)
        num_steps = self.num_steps - edge
        rank = len(core)
        changing = per_step and array.ndim == len(self.batch) + 1 + rank
        wanted = (*self.batch, num_steps, *core) if changing else (*self.batch, *core)
        if not fits(array.shape, wanted, rank + changing):
            ways = f"[{letters}] = {core}, one a sequence {(*self.batch, *core)}"
            if per_step:
                ways += f", or one a step {(*self.batch, num_steps, *core)}"
            raise ValueError(f"{name}: found shape {array.shape}, expected {ways}.")
        missing = len(wanted) - array.ndim
        array = array.reshape(*[1] * missing, *array.shape)
        if per_step and not changing:
            array = jnp.expand_dims(array, -1 - rank)
        if changing and num_steps == 0:
            array = jnp.zeros((*array.shape[: len(self.batch)], 1, *core), self.dtype)
        return array


def _laid_observations(nodes: Observations, values: Array, layout: _Layout, size: int) -> Seen:
    num_rows = values.shape[-1]
    matrix = layout.place("nodes.matrix", nodes.matrix, (num_rows, size), "N, d")
    if (nodes.covariance is None) == (nodes.variances is None):
        found = "neither" if nodes.covariance is None else "both"
        raise ValueError(f"nodes: found {found} of covariance and variances, expected one of them for the noise of the observations.")
    if nodes.covariance is not None:
        noise = layout.place("nodes.covariance", nodes.covariance, (num_rows, num_rows), "N, N")
        semidefinite("nodes.covariance", nodes.covariance)
    else:
        assert nodes.variances is not None
        noise = layout.place("nodes.variances", nodes.variances, (num_rows,), "N")
        if not isinstance(nodes.variances, Tracer) and (np.asarray(nodes.variances) < 0).any():
            raise ValueError(f"nodes.variances: found {np.asarray(nodes.variances).min():g}, expected variances, which are not negative.")
    observed = None
    if nodes.observed is not None:
        observed = jnp.asarray(nodes.observed)
        if observed.dtype != jnp.bool_ or observed.shape != values.shape:
            raise ValueError(f"nodes.observed: found {observed.dtype} {observed.shape}, expected bool {values.shape}, True where an entry is observed.")
        values = jnp.where(observed, values, 0.0)
    if nodes.bias is not None:
        values = values - layout.place("nodes.bias", nodes.bias, (num_rows,), "N")
    return Seen(matrix, noise, values, observed)


def _laid_information(nodes: Information, shift: Array, layout: _Layout, size: int) -> Told:
    if shift.shape[-1] != size:
        raise ValueError(f"nodes.shift: found {shift.shape[-1]} columns, expected as many as latents, d = {size}.")
    precision = layout.place("nodes.precision", nodes.precision, (size, size), "d, d")
    semidefinite("nodes.precision", nodes.precision)
    constant = jnp.zeros(shift.shape[:-1], layout.dtype) if nodes.log_constant is None else jnp.asarray(nodes.log_constant, layout.dtype)
    if constant.shape != shift.shape[:-1]:
        raise ValueError(f"nodes.log_constant: found shape {constant.shape}, expected one number a step, {shift.shape[:-1]}.")
    return Told(precision, shift, constant)


def semidefinite(name: str, matrix: ArrayLike) -> None:
    """Raises ValueError if concrete matrices are not symmetric and positive semidefinite up to rounding; inside compiled code the answer is NaN instead."""
    if isinstance(matrix, Tracer):
        return
    array = np.asarray(matrix)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2] or array.size == 0:
        return
    array = array.reshape(-1, *array.shape[-2:])
    array = array[np.isfinite(array).all((-2, -1))]
    if not len(array):
        return
    scale = np.abs(array).max((-2, -1))
    eps = float(np.finfo(array.dtype if array.dtype.kind == "f" else float).eps)
    uneven = np.abs(array - np.swapaxes(array, -1, -2)).max((-2, -1))
    if (uneven > 1e3 * eps * scale).any():
        worst = int(np.argmax(uneven / np.where(scale > 0, scale, 1)))
        raise ValueError(f"{name}: found a matrix that differs from its transpose by {uneven[worst]:.3g}, expected a symmetric one.")
    smallest = np.linalg.eigvalsh(array).min(-1)
    if (smallest < -1e2 * array.shape[-1] * eps * scale).any():
        raise ValueError(f"{name}: found a matrix with eigenvalue {smallest.min():.3g}, expected a positive semidefinite one.")
