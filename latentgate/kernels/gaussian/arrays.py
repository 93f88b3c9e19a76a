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

from ..shapes import check_lengths, dtype_of, fits
from ..small_matrices import cholesky, log_determinant, solve_triangular, square_root
from .potentials import Chain, Nodes, Rows, Shifts, Whitened, apply, transposed

# So many observations are handled row by row whatever the number of latents: a little slower, and exact for noise that is singular or very small.
FEW_ROWS = 8
# Matrices with more entries than this are not tested for being positive semidefinite before they are used: the answer is NaN then, too.
_CHEAP_TO_TEST = 4096


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
    laid = _nodes(nodes, form, arrays.lengths, time_first)
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


def _nodes(nodes: Seen | Told, form: str, lengths: Array | None, time_first) -> Nodes:
    if isinstance(nodes, Told):
        return Shifts(time_first(nodes.precision, 2), time_first(nodes.shift, 1), time_first(nodes.log_constant, 0))
    if in_rows(nodes, form):
        return rows_of(*seen_rows(nodes), time_first)
    return whitened_of(without_padding(nodes, lengths), time_first)


def in_rows(nodes: Seen, form: str) -> bool:
    """Whether observations are handled row by row: where there are no more of them than latents, or where it is asked for."""
    num_rows, size = nodes.matrix.shape[-2:]
    return form == "square_root" or (form == "auto" and num_rows <= max(size, FEW_ROWS))


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


def without_padding(nodes: Seen, lengths: Array | None) -> Seen:
    """The same observations; noise that is given per step is one at padding and at missing entries, so that whatever stands there has no derivative either."""
    matrix, noise, values, observed = nodes
    diagonal = noise.ndim == values.ndim
    kept = observed
    if lengths is not None:
        real = (jnp.arange(values.shape[-2]) < lengths[..., None])[..., None]
        values = jnp.where(real, values, 0.0)
        matrix = matrix if matrix.shape[-3] == 1 else jnp.where(real[..., None], matrix, 0.0)
        kept = jnp.broadcast_to(real, values.shape) if observed is None else observed & real
    if kept is not None and noise.shape[-2 if diagonal else -3] > 1:
        both = kept if diagonal else kept[..., :, None] & kept[..., None, :]
        noise = jnp.where(both, noise, 1.0 if diagonal else jnp.eye(noise.shape[-1], dtype=noise.dtype))
    return Seen(matrix, noise, values, observed)


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


def check(initial_mean, initial_covariance, matrix, bias, covariance, nodes, lengths) -> None:
    """Reads shapes and, where they are known and small, values.

    Raises:
        ValueError: if shapes do not fit together, covariances are not positive semidefinite, or lengths are out of range.
        TypeError: if the nodes are neither `Observations` nor `Information`.
    """
    if not isinstance(nodes, Observations | Information):
        raise TypeError(f"nodes: found {type(nodes).__name__}, expected Observations or Information.")
    observing = isinstance(nodes, Observations)
    name, data = ("values", nodes.values) if observing else ("shift", nodes.shift)
    shape = np.shape(data)
    if len(shape) < 2 or 0 in shape[-2:]:
        raise ValueError(f"nodes.{name}: found shape {shape}, expected [..., T, {'N' if observing else 'd'}] with at least one step and one column.")
    *batch, num_steps, columns = shape
    # The one that differs from the others is the one to name.
    sizes = [np.shape(array)[-1] for array in (initial_mean, initial_covariance, matrix, covariance) if np.ndim(array)]
    size = max(sizes, key=sizes.count, default=1)
    layout = Layout(tuple(batch), num_steps)
    layout.fit("initial_mean", initial_mean, (size,), "d", per_step=False)
    layout.fit("initial_covariance", initial_covariance, (size, size), "d, d", per_step=False)
    layout.fit("matrix", matrix, (size, size), "d, d", edge=True)
    if bias is not None:
        layout.fit("bias", bias, (size,), "d", edge=True)
    layout.fit("covariance", covariance, (size, size), "d, d", edge=True)
    semidefinite("initial_covariance", initial_covariance)
    semidefinite("covariance", covariance)
    if lengths is not None:
        check_lengths(lengths, layout.batch, num_steps)
    if isinstance(nodes, Observations):
        _check_observations(nodes, layout, columns, size)
    else:
        if columns != size:
            raise ValueError(f"nodes.shift: found shape {shape}, expected {(*batch, num_steps, size)}, one column for each latent.")
        layout.fit("nodes.precision", nodes.precision, (size, size), "d, d")
        semidefinite("nodes.precision", nodes.precision)
        if nodes.log_constant is not None and np.shape(nodes.log_constant) != shape[:-1]:
            raise ValueError(f"nodes.log_constant: found shape {np.shape(nodes.log_constant)}, expected one number a step, {shape[:-1]}.")


def _check_observations(nodes: Observations, layout: Layout, num_rows: int, size: int) -> None:
    layout.fit("nodes.matrix", nodes.matrix, (num_rows, size), "N, d")
    if nodes.bias is not None:
        layout.fit("nodes.bias", nodes.bias, (num_rows,), "N")
    if (nodes.covariance is None) == (nodes.variances is None):
        found = "neither" if nodes.covariance is None else "both"
        raise ValueError(f"nodes: found {found} of covariance and variances, expected one of them for the noise of the observations.")
    if nodes.covariance is not None:
        layout.fit("nodes.covariance", nodes.covariance, (num_rows, num_rows), "N, N")
        semidefinite("nodes.covariance", nodes.covariance)
    elif nodes.variances is not None:
        layout.fit("nodes.variances", nodes.variances, (num_rows,), "N")
    if nodes.observed is not None:
        wanted, dtype = (*layout.batch, layout.num_steps, num_rows), dtype_of(nodes.observed)
        if dtype != np.bool_ or np.shape(nodes.observed) != wanted:
            raise ValueError(f"nodes.observed: found {dtype} {np.shape(nodes.observed)}, expected bool {wanted}, True where an entry is observed.")


def lay_out(initial_mean, initial_covariance, matrix, bias, covariance, nodes: Observations | Information, lengths) -> Arrays:
    """A checked chain with all its dimensions; compiled."""
    given = [initial_mean, initial_covariance, matrix, covariance, *jax.tree.leaves((bias, nodes))]
    floats = [x for x in map(jnp.asarray, given) if not jnp.issubdtype(x.dtype, jnp.bool_)]
    dtype = jnp.result_type(jnp.float32, *floats)
    data = jnp.asarray(nodes.values if isinstance(nodes, Observations) else nodes.shift, dtype)
    *batch, num_steps, _ = data.shape
    size = jnp.shape(initial_mean)[-1]
    layout = Layout(tuple(batch), num_steps)

    def place(array: ArrayLike, rank: int, edge: bool = False, per_step: bool = True) -> Array:
        return layout.place(jnp.asarray(array, dtype), rank, edge, per_step)

    if isinstance(nodes, Observations):
        observed = None if nodes.observed is None else jnp.asarray(nodes.observed)
        values = data if observed is None else jnp.where(observed, data, 0.0)
        if nodes.bias is not None:
            values = values - place(nodes.bias, 1)
        noise = place(nodes.covariance, 2) if nodes.covariance is not None else place(nodes.variances, 1)  # pyright: ignore[reportArgumentType]
        laid = Seen(place(nodes.matrix, 2), noise, values, observed)
    else:
        constant = jnp.zeros(data.shape[:-1], dtype) if nodes.log_constant is None else jnp.asarray(nodes.log_constant, dtype)
        laid = Told(place(nodes.precision, 2), data, constant)
    return Arrays(
        place(initial_mean, 1, per_step=False),
        place(initial_covariance, 2, per_step=False),
        place(matrix, 2, edge=True),
        place(jnp.zeros(size) if bias is None else bias, 1, edge=True),
        place(covariance, 2, edge=True),
        laid,
        None if lengths is None else jnp.broadcast_to(jnp.asarray(lengths), layout.batch),
    )


class Layout(NamedTuple):
    """Dimensions of the data: batch [...], and time."""

    batch: tuple[int, ...]
    num_steps: int

    def _changing(self, array: ArrayLike, rank: int, per_step: bool) -> bool:
        return per_step and np.ndim(array) == len(self.batch) + 1 + rank

    def fit(self, name: str, array: ArrayLike, core: tuple[int, ...], letters: str, edge: bool = False, per_step: bool = True) -> None:
        """Raises ValueError unless an array is given once, once a sequence, or once a step."""
        num_steps, rank = self.num_steps - edge, len(core)
        changing = self._changing(array, rank, per_step)
        wanted = (*self.batch, num_steps, *core) if changing else (*self.batch, *core)
        if not fits(np.shape(array), wanted, rank + changing):
            ways = f"[{letters}] = {core}" + (f", one a sequence {(*self.batch, *core)}" if self.batch else "")
            ways += f", or one a step {(*self.batch, num_steps, *core)}" if per_step else ""
            raise ValueError(f"{name}: found shape {np.shape(array)}, expected {ways}.")

    def place(self, array: Array, rank: int, edge: bool, per_step: bool) -> Array:
        """An array with all batch dimensions and, unless it belongs to no step, a time dimension."""
        changing = self._changing(array, rank, per_step)
        missing = len(self.batch) + rank + changing - array.ndim
        array = array.reshape(*[1] * missing, *array.shape)
        if per_step and not changing:
            array = jnp.expand_dims(array, -1 - rank)
        if changing and self.num_steps == edge:
            return jnp.zeros((*array.shape[: len(self.batch)], 1, *array.shape[-rank:]), array.dtype)
        return array


def semidefinite(name: str, matrix: ArrayLike) -> None:
    """Raises ValueError if concrete matrices are not symmetric and positive semidefinite up to rounding; inside compiled code the answer is NaN instead."""
    if isinstance(matrix, Tracer):
        return
    if np.size(matrix) > _CHEAP_TO_TEST or np.size(matrix) == 0:
        return
    array = np.asarray(matrix)
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
