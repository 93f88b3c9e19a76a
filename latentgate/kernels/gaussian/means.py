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
from .potentials import Chain, apply, apply_transposed, at, transposed


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
    """

    adjoint: Array
    means: Array
    adjoint_precision: Array
    covariances: Array
    lagged: Array


def filter_means(chain: Chain, forward: Forward, backend: str) -> Filtering:
    """The mean recursion: affine, with everything that depends on covariances given."""
    full = forward.every_step(chain.num_steps)
    offsets = apply(full.gains.closed, chain.bias) + chain.nodes.pull(full.gains)
    means = affine_scan(full.transition, offsets, backend)
    before = jnp.concatenate([jnp.zeros_like(means[:1]), means[:-1]])
    predicted = apply(matrix_into(chain), before) + chain.bias
    surprise, increments = chain.nodes.surprise(full.gains, predicted)
    if chain.active is not None:
        surprise, increments = jnp.where(chain.active[..., None], surprise, 0.0), jnp.where(chain.active, increments, 0.0)
    return Filtering(predicted, means, surprise, increments)


def affine_scan(matrices: Array, offsets: Array, backend: str, reverse: bool = False) -> Array:
    """x_t = matrices_t x_{t-1} + offsets_t from x = 0 (backwards in time if `reverse`), [T, ..., d].

    Args:
        matrices: [T, ..., d, d], batch dimensions broadcast to those of the offsets.
        offsets: [T, ..., d].
        backend: "sequential" or "associative".
        reverse: from the last step to the first.
    """
    if backend == "associative":

        def combine(earlier, later):
            return later[0] @ earlier[0], apply(later[0], earlier[1]) + later[1]

        return jax.lax.associative_scan(combine, (matrices, offsets), reverse=reverse)[1]

    def step(x: Array, now: tuple[Array, Array]):
        matrix, offset = now
        x = apply(matrix, x) + offset
        return x, x

    return jax.lax.scan(step, jnp.zeros_like(offsets[0]), (matrices, offsets), reverse=reverse)[1]


def backward_means(chain: Chain, forward: Forward, filtering: Filtering, backend: str) -> tuple[Array, Array]:
    """Adjoints r and smoothed means, [T, ..., d] each."""
    full = forward.every_step(chain.num_steps)
    informed = apply_transposed(matrix_into(chain), filtering.surprise)
    transitions = transposed(full.transition)
    # Step t takes what step t + 1 hands back; beyond the end there is nothing.
    offsets = jnp.concatenate([informed[1:], jnp.zeros_like(informed[:1])])
    handed = jnp.concatenate([transitions[1:], jnp.zeros_like(transitions[:1])])
    adjoint = affine_scan(handed, offsets, backend, reverse=True)
    return adjoint, filtering.means + apply(full.gains.covariance, adjoint)


def backward(chain: Chain, forward: Forward, filtering: Filtering, lengths: Array | None, backend: str) -> Backward:
    """Smoothed moments of every step."""
    adjoint, means = backward_means(chain, forward, filtering, backend)
    second = _settling_backwards(chain, forward, lengths) if forward.last is not None else _step_by_step_backwards(chain, forward, backend)
    return _resolved(chain, forward, filtering, Backward(adjoint, means, *second))


def _resolved(chain: Chain, forward: Forward, filtering: Filtering, behind: Backward) -> Backward:
    """The same, where the future tells far more than the past: there P - P N P loses what it subtracts, as after a near-diffuse start.

    Such steps take the form of Rauch, Tung and Striebel, made of sums alone, wherever the predicted covariance is regular enough to divide by. Looking for
    them is cheap; the second pass is only run where there are any.
    """
    if chain.num_steps == 1:
        return behind
    full = forward.every_step(chain.num_steps)
    least = 64 * float(jnp.finfo(behind.means.dtype).eps) ** 0.5
    before, after = (jnp.diagonal(array, axis1=-2, axis2=-1) for array in (full.gains.covariance, behind.covariances))
    doubtful = jnp.any(after < least * before, -1)[:-1]
    if chain.active is not None:
        doubtful = doubtful & chain.active[1:]

    def rerun(behind: Backward) -> Backward:
        size = before.shape[-1]
        root = full.gains.root[:-1]
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
        )

    return jax.lax.cond(jnp.any(doubtful), rerun, lambda behind: behind, behind)


def _step_by_step_backwards(chain: Chain, forward: Forward, backend: str) -> tuple[Array, Array, Array]:
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
    return precision, covariances, jnp.concatenate([lagged, jnp.zeros_like(lagged[:1])])


def _smoothed(root: Array, precision: Array) -> Array:
    inner = jnp.eye(root.shape[-1], dtype=root.dtype) - transposed(root) @ precision @ root
    return root @ inner @ transposed(root)


def _settling_backwards(chain: Chain, forward: Forward, lengths: Array | None) -> tuple[Array, Array, Array]:
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

    def settling(state):
        to_go, _, _, settled = state
        return (to_go < num_steps - 1 - last) & ~settled

    def advance(state):
        to_go, precision, tables, _ = state
        following = previous(last, precision)
        scale = jnp.sqrt(jnp.abs(jnp.diagonal(following, axis1=-2, axis2=-1)))
        moved = jnp.abs(following - precision) > rounding * scale[..., :, None] * scale[..., None, :]
        tables = put(tables, to_go + 1, moments(last, following, precision))
        return to_go + 1, following, tables, ~jnp.any(moved)

    nothing = jnp.zeros(batch, dtype)
    steady = put(empty(batch), 0, moments(last, nothing, nothing))
    state = (jnp.int32(0), nothing, steady, last >= num_steps - 1)
    reached, _, steady, _ = jax.lax.while_loop(settling, advance, state)

    # The first steps, whose gains still change: for each length its own.
    ends = jnp.full((1,) * (len(batch) - 2), num_steps, jnp.int32) if lengths is None else lengths
    shape = jnp.broadcast_shapes((*ends.shape, 1, 1), batch)

    def after(table: Array, to_go: Array) -> Array:
        """Entries of the steady table at steps to go [step, ...], [step, ..., d, d]."""
        return jnp.take_along_axis(table, jnp.clip(to_go, 0, reached)[..., None, None], axis=0)

    def early(step_precision):
        step, precision, tables = step_precision
        handed = jnp.where((step + 1 < ends)[..., None, None], precision, 0.0)
        own = jnp.where((step + 1 < ends)[..., None, None], previous(step + 1, handed), 0.0)
        own = jnp.broadcast_to(own, shape)
        values = moments(step, own, handed)
        return step - 1, own, put(tables, step, tuple(jnp.broadcast_to(value, shape) for value in values))

    seed = jnp.broadcast_to(after(steady[0], (ends - 1 - last)[None])[0], shape)
    _, _, transient = jax.lax.while_loop(lambda state: state[0] >= 0, early, (last - 1, seed, empty(shape)))
    steps = jnp.arange(num_steps).reshape(-1, *[1] * len(ends.shape))
    if lengths is None:
        settled = (num_steps - 1 - steps >= reached)[..., None, None]
        late = tuple(jnp.where(settled, at(table, reached), jnp.flip(table, 0)) for table in steady)
    else:
        late = tuple(after(table, ends - 1 - steps) for table in steady)
    return jax.tree.map(lambda transient, late: jnp.where((steps < last)[..., None, None], transient, late), transient, late)
