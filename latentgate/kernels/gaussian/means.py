"""Filtered means, the log-normaliser, and the backward pass: what a Gaussian chain knows after it has read its data.

The backward pass carries the adjoints r, N of the filtered moments (de Jong; Koopman & Shephard 1992). With m, P the filtered mean and covariance,
Φ the transition of filtered means and V the precision of the data about the predicted mean,

    r_t = Aᵀ s_{t+1} + Φᵀ_{t+1} r_{t+1},   N_t = Aᵀ V_{t+1} A + Φᵀ_{t+1} N_{t+1} Φ_{t+1},   r_T = 0, N_T = 0,
    smoothed mean m + P r,   smoothed covariance P - P N P,   cov(z_t, z_{t+1}) = P_t Φᵀ_{t+1} (I - N_{t+1} P_{t+1}),

which divides by nothing, and so holds for singular noise.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from ..small_matrices import solve_triangular, triangularise
from ..sums import compensated_sum
from .covariances import Forward, matrix_into
from .potentials import Chain, Settled, apply, apply_transposed, at, transposed


class Filtering(NamedTuple):
    """Filtered means and what the data said at each step; time first.

    Attributes:
        predicted: means before a step's data, [T, ..., d].
        means: after them, [T, ..., d].
        surprise: s: gradient of the increment with respect to the predicted mean, [T, ..., d]; zero at padding.
        log_increments: log p(data at t | data before t), [T, ...]; zero at padding.
    """

    predicted: Array
    means: Array
    surprise: Array
    log_increments: Array

    @property
    def log_normaliser(self) -> Array:
        """Their sum, [...]."""
        return compensated_sum(self.log_increments)


class Backward(NamedTuple):
    """Smoothed moments, and the adjoints of filtered moments that they are made of.

    Attributes:
        adjoint: r, [T, ..., d].
        means: [T, ..., d].
        adjoint_precision: N, [T, ..., d, d].
        covariances: [T, ..., d, d].
        lagged: covariance of z_t with z_{t+1}, [T, ..., d, d]; the last entry of a sequence means nothing.
        lagged_total: their sum over the edges of a sequence, [..., d, d].
        suspicious: whether some steps' moments may have lost what they subtract, scalar.
    """

    adjoint: Array
    means: Array
    adjoint_precision: Array
    covariances: Array
    lagged: Array
    lagged_total: Array
    suspicious: Array


def filter_means(chain: Chain, forward: Forward, backend: str) -> Filtering:
    """The mean recursion: affine, with everything that depends on covariances given."""
    gains, transition = forward.lazily()
    offsets = apply(gains.closed, chain.bias) + chain.nodes.pull(gains)
    means = affine_scan(transition, offsets, backend)
    before = jnp.concatenate([jnp.zeros_like(means[:1]), means[:-1]])
    predicted = apply(matrix_into(chain), before) + chain.bias
    surprise, increments = chain.nodes.surprise(gains, predicted)
    if chain.active is not None:
        surprise, increments = jnp.where(chain.active[..., None], surprise, 0.0), jnp.where(chain.active, increments, 0.0)
    return Filtering(predicted, means, surprise, increments)


def affine_scan(matrices: Array | Settled, offsets: Array, backend: str) -> Array:
    """x_t = matrices_t x_{t-1} + offsets_t from x = 0, [T, ..., d].

    Args:
        matrices: [T, ..., d, d], batch dimensions broadcast to those of the offsets.
        offsets: [T, ..., d].
        backend: "sequential" or "associative".
    """
    if backend == "associative":
        return _affine_in_parallel(matrices.every_step() if isinstance(matrices, Settled) else matrices, offsets, False)

    def step(x: Array, now: tuple[Array, Array]):
        index, offset = now
        x = apply(_pick(matrices, index), x) + offset
        return x, x

    return jax.lax.scan(step, jnp.zeros_like(offsets[0]), (jnp.arange(len(offsets)), offsets))[1]


def affine_scan_back(matrices: Array | Settled, offsets: Array, backend: str) -> Array:
    """x_t = matricesᵀ_{t+1} x_{t+1} + offsets_{t+1} from nothing beyond the end, [T, ..., d]; arguments as `affine_scan`."""
    nothing = jnp.zeros_like(offsets[:1])
    if backend == "associative":
        whole = matrices.every_step() if isinstance(matrices, Settled) else matrices
        if len(offsets) == 1:
            return nothing
        return jnp.concatenate([_affine_in_parallel(transposed(whole[1:]), offsets[1:], True), nothing])

    def step(x: Array, now: tuple[Array, Array]):
        index, offset = now
        x = apply_transposed(_pick(matrices, index), x) + offset
        return x, x

    steps = jnp.arange(1, len(offsets))
    return jnp.concatenate([jax.lax.scan(step, nothing[0], (steps, offsets[1:]), reverse=True)[1], nothing])


def _affine_in_parallel(matrices: Array, offsets: Array, reverse: bool) -> Array:
    def combine(earlier, later):
        return later[0] @ earlier[0], apply(later[0], earlier[1]) + later[1]

    return jax.lax.associative_scan(combine, (matrices, offsets), reverse=reverse)[1]


def _pick(matrices: Array | Settled, step: Array) -> Array:
    if isinstance(matrices, Settled):
        return at(matrices.table, jnp.minimum(step, matrices.last))
    return at(matrices, step)


def backward_means(chain: Chain, forward: Forward, filtering: Filtering, backend: str) -> tuple[Array, Array]:
    """Adjoints r and smoothed means, [T, ..., d] each."""
    gains, transition = forward.lazily()
    informed = apply_transposed(matrix_into(chain), filtering.surprise)
    adjoint = affine_scan_back(transition, informed, backend)
    return adjoint, filtering.means + apply(gains.covariance, adjoint)


def backward(chain: Chain, forward: Forward, filtering: Filtering, lengths: Array | None, backend: str) -> Backward:
    """Smoothed moments of every step."""
    adjoint, means = backward_means(chain, forward, filtering, backend)
    second = _settling_backwards(chain, forward, lengths) if forward.last is not None else _step_by_step_backwards(chain, forward, backend)
    return _resolved(chain, forward, filtering, Backward(adjoint, means, *second))


# How much more the future may tell than the past before P - P N P is put in doubt: half the digits, less a margin.
def _least_left(dtype: jnp.dtype) -> float:
    return 64 * float(jnp.finfo(dtype).eps) ** 0.5


def _told_away(filtered: Array, smoothed: Array) -> Array:
    """Whether data to come leave almost nothing of a variance, [...]."""
    before, after = (jnp.diagonal(array, axis1=-2, axis2=-1) for array in (filtered, smoothed))
    return jnp.any(after < _least_left(before.dtype) * before, -1)


def _resolved(chain: Chain, forward: Forward, filtering: Filtering, behind: Backward) -> Backward:
    """The same, where the future tells far more than the past: there P - P N P loses what it subtracts, as after a near-diffuse start.

    Such steps take the form of Rauch, Tung and Striebel, made of sums alone, wherever the predicted covariance is regular enough to divide by. Looking for
    them is cheap; the second pass is only run where there are any.
    """
    if chain.num_steps == 1:
        return behind

    def rerun(behind: Backward) -> Backward:
        gains = forward.every_step().gains
        least = _least_left(behind.means.dtype)
        doubtful = _told_away(gains.covariance, behind.covariances)[:-1]
        if chain.active is not None:
            doubtful = doubtful & chain.active[1:]
        root = gains.root[:-1]
        size = root.shape[-1]
        above = jnp.concatenate([chain.matrix @ root, jnp.broadcast_to(chain.noise, root.shape)], -1)
        joint = triangularise(jnp.concatenate([above, jnp.concatenate([root, jnp.zeros_like(root)], -1)], -2))
        predicted, shared, left = joint[..., :size, :size], joint[..., size:, :size], joint[..., size:, size:]
        pivots = jnp.abs(jnp.diagonal(predicted, axis1=-2, axis2=-1))
        regular = jnp.all(pivots > least * jnp.sqrt((predicted**2).sum(-1)), -1)
        gain = transposed(solve_triangular(jnp.where(regular[..., None, None], predicted, jnp.eye(size, dtype=predicted.dtype)), transposed(shared), True))
        wanted = doubtful & regular

        def step(later: tuple[Array, Array], now):
            mean, covariance = later
            wanted, gain, left, filtered, predicted, own_mean, own_covariance, own_lag = now
            lag = gain @ covariance
            mean = jnp.where(wanted[..., None], filtered + apply(gain, mean - predicted), own_mean)
            covariance = jnp.where(wanted[..., None, None], left @ transposed(left) + lag @ transposed(gain), own_covariance)
            return (mean, covariance), (mean, covariance, jnp.where(wanted[..., None, None], lag, own_lag))

        each = (wanted, gain, left, filtering.means[:-1], filtering.predicted[1:], behind.means[:-1], behind.covariances[:-1], behind.lagged[:-1])
        means, covariances, lagged = jax.lax.scan(step, (behind.means[-1], behind.covariances[-1]), each, reverse=True)[1]
        return behind._replace(
            means=jnp.concatenate([means, behind.means[-1:]]),
            covariances=jnp.concatenate([covariances, behind.covariances[-1:]]),
            lagged=jnp.concatenate([lagged, behind.lagged[-1:]]),
            lagged_total=_over_edges(chain, lagged),
        )

    return jax.lax.cond(behind.suspicious, rerun, lambda behind: behind, behind)


def _over_edges(chain: Chain, lagged: Array) -> Array:
    """Sum over the edges of each sequence; [T - 1, ..., d, d] to [..., d, d]."""
    return (lagged if chain.active is None else jnp.where(chain.active[1:, ..., None, None], lagged, 0.0)).sum(0)


def _step_by_step_backwards(chain: Chain, forward: Forward, backend: str) -> tuple[Array, Array, Array, Array, Array]:
    transition, informed, gains = forward.transition, forward.informed, forward.gains
    if chain.active is not None:
        informed = jnp.where(chain.active[..., None, None], informed, 0.0)
    batch = jnp.broadcast_shapes(transition.shape[1:], informed.shape[1:])
    informed = jnp.broadcast_to(informed[1:], (chain.num_steps - 1, *batch))
    transition = jnp.broadcast_to(transition[1:], (chain.num_steps - 1, *batch))
    nothing = jnp.zeros((1, *batch), transition.dtype)
    if backend == "associative" and chain.num_steps > 1:

        def combine(later, earlier):
            # Scanned in reverse: N of the later steps seen through the earlier ones.
            return later[0] @ earlier[0], earlier[1] + transposed(earlier[0]) @ later[1] @ earlier[0]

        precision = jax.lax.associative_scan(combine, (transition, informed), reverse=True)[1]
    else:

        def step(precision: Array, now: tuple[Array, Array]):
            transition, informed = now
            precision = informed + transposed(transition) @ precision @ transition
            return precision, precision

        precision = jax.lax.scan(step, nothing[0], (transition, informed), reverse=True)[1]
    precision = jnp.concatenate([precision, nothing])
    covariances = _smoothed(gains.root, precision)
    lagged = gains.covariance[:-1] @ transposed(forward.transition[1:])
    lagged = lagged - lagged @ precision[1:] @ gains.covariance[1:]
    total = _over_edges(chain, lagged)
    lagged = jnp.concatenate([lagged, jnp.zeros_like(covariances[:1])])
    return precision, covariances, lagged, total, jnp.any(_told_away(gains.covariance, covariances))


def _smoothed(root: Array, precision: Array) -> Array:
    inner = jnp.eye(root.shape[-1], dtype=root.dtype) - transposed(root) @ precision @ root
    return root @ inner @ transposed(root)


def _settling_backwards(chain: Chain, forward: Forward, lengths: Array | None) -> tuple[Array, Array, Array, Array, Array]:
    """The same for a constant chain: one recursion by steps to go while gains stand still, and one for the steps before, where they do not."""
    assert forward.last is not None
    num_steps, last = chain.num_steps, forward.last
    gains, transition, informed = forward.gains, forward.transition, forward.informed
    batch = transition.shape[1:]
    dtype = transition.dtype

    def moments(step: Array, precision: Array, handed: Array) -> tuple[Array, Array, Array]:
        """N, covariance and lag of a step, given the N of the next; `handed` is that N."""
        following = jnp.minimum(step + 1, last)
        covariance = at(gains.covariance, step) @ transposed(at(transition, following))
        lagged = covariance - covariance @ handed @ at(gains.covariance, following)
        return precision, _smoothed(at(gains.root, step), precision), lagged

    def previous(step: Array, precision: Array) -> Array:
        return at(informed, step) + transposed(at(transition, step)) @ precision @ at(transition, step)

    def empty(shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
        table = jnp.zeros((num_steps, *shape), dtype)
        return table, table, table

    def put(tables, index, values):
        return jax.tree.map(lambda table, value: jax.lax.dynamic_update_index_in_dim(table, value, index, 0), tables, values)

    # Steps to go, from none, until N stands still; every step from `last` on finds itself here.
    rounding = float(4 * jnp.finfo(dtype).eps)

    def suspect(step: Array, covariance: Array) -> Array:
        return jnp.any(_told_away(at(gains.covariance, step), covariance))

    def settling(state):
        to_go, _, _, settled, _, _ = state
        return (to_go < num_steps - 1 - last) & ~settled

    def advance(state):
        to_go, precision, tables, _, total, suspicious = state
        following = previous(last, precision)
        scale = jnp.sqrt(jnp.abs(jnp.diagonal(following, axis1=-2, axis2=-1)))
        moved = jnp.abs(following - precision) > rounding * scale[..., :, None] * scale[..., None, :]
        values = moments(last, following, precision)
        suspicious = suspicious | suspect(last, values[1])
        return to_go + 1, following, put(tables, to_go + 1, values), ~jnp.any(moved), total + values[2], suspicious

    nothing = jnp.zeros(batch, dtype)
    steady = put(empty(batch), 0, moments(last, nothing, nothing))
    state = (jnp.int32(0), nothing, steady, last >= num_steps - 1, nothing, jnp.asarray(False))
    reached, _, steady, _, total, suspicious = jax.lax.while_loop(settling, advance, state)
    total = total + (num_steps - 1 - last - reached) * at(steady[2], reached)

    # The first steps, whose gains still change: for each length its own.
    ends = jnp.full((1,) * (len(batch) - 2), num_steps, jnp.int32) if lengths is None else lengths
    shape = jnp.broadcast_shapes((*ends.shape, 1, 1), batch)

    def after(table: Array, to_go: Array) -> Array:
        """Entries of the steady table at steps to go [step, ...], [step, ..., d, d]."""
        return jnp.take_along_axis(table, jnp.clip(to_go, 0, reached)[..., None, None], axis=0)

    def early(state):
        step, precision, tables, total, suspicious = state
        handed = jnp.where((step + 1 < ends)[..., None, None], precision, 0.0)
        own = jnp.where((step + 1 < ends)[..., None, None], previous(step + 1, handed), 0.0)
        own = jnp.broadcast_to(own, shape)
        values = tuple(jnp.broadcast_to(value, shape) for value in moments(step, own, handed))
        return step - 1, own, put(tables, step, values), total + values[2], suspicious | suspect(step, values[1])

    seed = jnp.broadcast_to(after(steady[0], (ends - 1 - last)[None])[0], shape)
    state = (last - 1, seed, empty(shape), jnp.broadcast_to(total, shape), suspicious)
    _, _, transient, total, suspicious = jax.lax.while_loop(lambda state: state[0] >= 0, early, state)
    steps = jnp.arange(num_steps).reshape(-1, *[1] * len(ends.shape))
    if lengths is None:
        settled = (num_steps - 1 - steps >= reached)[..., None, None]
        late = tuple(jnp.where(settled, at(table, reached), jnp.flip(table, 0)) for table in steady)
    else:
        late = tuple(after(table, ends - 1 - steps) for table in steady)
    precision, covariances, lagged = (jnp.where((steps < last)[..., None, None], early, late) for early, late in zip(transient, late, strict=True))
    if chain.active is not None:
        # Lengths differ, and with them the steps that are counted.
        total = _over_edges(chain, lagged[:-1])
    return precision, covariances, lagged, total, suspicious
