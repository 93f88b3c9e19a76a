"""What a discrete chain's messages say: log-normaliser, filtered and smoothed laws, expected transitions.

Why the scaled numbers can be trusted, or say that they cannot. Let tiny be the smallest normal number, eps the rounding unit and c_t the total of forward
step t. What underflows in that step is below tiny / c_t, and every predicted probability is at least the smallest edge, so when smallest edge times
smallest total exceeds 4 K tiny / eps, no entry loses more than rounding, forward or backward. Otherwise the chain is doubtful, and only then the same
question is put to the log semiring; one pass cannot vouch for the other, since both may have lost the same paths. A disagreement beyond rounding is an
underflow, and the numbers become NaN.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from .messages import Weights, backward, forward
from .semirings import SCALED, SEMIRINGS, Semiring
from .sums import compensated_sum, summed_outer_product


class Filtered(NamedTuple):
    """Filtered state probabilities.

    Attributes:
        probs: p(z_t | data up to t), [..., T, K]; zero at padding.
        log_increments: log p(data at t | data before t), [..., T]; zero at padding.
        log_normaliser: their sum, [...].
    """

    probs: Array
    log_increments: Array
    log_normaliser: Array


class Smoothed(NamedTuple):
    """Smoothed state probabilities and expected transitions.

    Attributes:
        log_normaliser: [...].
        marginals: p(z_t | all data), [..., T, K]; zero at padding.
        expected_transitions: expected number of transitions from i to j given all data, [..., K, K]; for per-step transitions
            the probability of each, [..., T-1, K, K].
        underflow: bool [...]. True where the scaled recursion lost weight that matters; the numbers there are NaN.
    """

    log_normaliser: Array
    marginals: Array
    expected_transitions: Array
    underflow: Array

    @property
    def occupancy(self) -> Array:
        """Expected number of steps in each state, [K]."""
        return self.marginals.sum(tuple(range(self.marginals.ndim - 1)))


class Chain(NamedTuple):
    """Lifted potentials with what was taken out of them.

    Attributes:
        weights: see `Weights`.
        step_scales: log-scale of initial, node and edge into each step, [T, ...]; zero at padding.
    """

    weights: Weights
    step_scales: Array


def lift(log_initial: Array, log_transitions: Array, log_nodes: Array, lengths: Array | None, semiring: Semiring) -> Chain:
    """Batch-major log-potentials to time-major weights."""
    per_step = log_transitions.ndim == log_nodes.ndim + 1
    log_nodes = jnp.moveaxis(log_nodes, -2, 0)
    num_steps, *batch, _ = log_nodes.shape
    active = None
    if lengths is not None:
        steps = jnp.arange(num_steps).reshape(-1, *[1] * len(batch))
        active = jnp.broadcast_to(steps < lengths, log_nodes.shape[:-1])
        log_nodes = jnp.where(active[..., None], log_nodes, 0.0)
    initial, initial_scale = semiring.lift(log_initial, (log_initial.ndim - 1,))
    nodes, scales = semiring.lift(log_nodes, (log_nodes.ndim - 1,))
    if per_step:
        log_transitions = jnp.moveaxis(log_transitions, -3, 0)
        if active is not None:
            log_transitions = jnp.where(active[1:, ..., None, None], log_transitions, 0.0)
    edges, edge_scales = semiring.lift(log_transitions, (log_transitions.ndim - 2, log_transitions.ndim - 1))
    scales = scales.at[0].add(initial_scale).at[1:].add(edge_scales)
    if active is not None:
        scales = jnp.where(active, scales, 0.0)
    return Chain(Weights(initial, edges, nodes, per_step, active), scales)


def log_normaliser(log_initial, log_transitions, log_nodes, lengths, semiring: str, backend: str) -> Array:
    """Forward pass alone; the log semiring is asked only where its totals leave doubt."""
    return _filter_pass(log_initial, log_transitions, log_nodes, lengths, semiring, backend).log_normaliser


def filtered(log_initial, log_transitions, log_nodes, lengths, semiring: str, backend: str) -> Filtered:
    """The filter, batch-major; NaN where the scaled recursion underflows."""
    result = _filter_pass(log_initial, log_transitions, log_nodes, lengths, semiring, backend)
    return Filtered(jnp.moveaxis(result.probs, 0, -2), jnp.moveaxis(result.log_increments, 0, -1), result.log_normaliser)


def _filter_pass(log_initial, log_transitions, log_nodes, lengths, semiring: str, backend: str) -> Filtered:
    numbers = SEMIRINGS[semiring]
    chain = lift(log_initial, log_transitions, log_nodes, lengths, numbers)
    messages, totals = forward(numbers, chain.weights, backend)
    increments = _log_increments(numbers, chain, totals)
    log_normaliser = compensated_sum(increments)
    probs = _blank_padding(messages if numbers is SCALED else jnp.exp(messages), chain.weights.active)
    if numbers is not SCALED:
        return Filtered(probs, increments, log_normaliser)

    def lost() -> Array:
        exact = _filter_pass(log_initial, log_transitions, log_nodes, lengths, "log", backend).log_normaliser
        return ~_agree(log_normaliser, exact, totals)

    underflow = _where_doubtful(doubtful(chain.weights, totals), lost)
    return Filtered(
        jnp.where(underflow[..., None], jnp.nan, probs),
        jnp.where(underflow, jnp.nan, increments),
        jnp.where(underflow, jnp.nan, log_normaliser),
    )


def smoothed(log_initial, log_transitions, log_nodes, lengths, semiring: str, backend: str) -> Smoothed:
    """Forward-backward, batch-major."""
    numbers = SEMIRINGS[semiring]
    chain = lift(log_initial, log_transitions, log_nodes, lengths, numbers)
    weights = chain.weights
    messages, totals = forward(numbers, weights, backend)
    joined = _joined_in_one_pass if backend == "sequential" and not weights.per_step else _joined_afterwards
    marginals, expected = joined(numbers, weights, messages, totals, backend)
    log_normaliser = compensated_sum(_log_increments(numbers, chain, totals))
    marginals = jnp.moveaxis(_blank_padding(marginals, weights.active), 0, -2)
    if weights.per_step:
        expected = jnp.moveaxis(expected, 0, -3)
    if numbers is not SCALED:
        return Smoothed(log_normaliser, marginals, expected, jnp.zeros(log_normaliser.shape, bool))

    def lost() -> Array:
        exact = smoothed(log_initial, log_transitions, log_nodes, lengths, "log", backend)
        rounding = float(jnp.finfo(marginals.dtype).eps) ** 0.5 / 16
        axes = tuple(range(log_normaliser.ndim, expected.ndim))
        # NaN is never close: an overflow may leave it in one and not in the other.
        close = jnp.abs(marginals - exact.marginals).max((-1, -2)) <= rounding
        close &= (jnp.abs(expected - exact.expected_transitions) <= rounding * (1 + exact.expected_transitions)).all(axes)
        return ~(_agree(log_normaliser, exact.log_normaliser, totals) & close) & ~jnp.isnan(exact.log_normaliser)

    underflow = _where_doubtful(doubtful(weights, totals), lost)
    spread = underflow.reshape(underflow.shape + (1,) * (expected.ndim - underflow.ndim))
    return Smoothed(
        jnp.where(underflow, jnp.nan, log_normaliser),
        jnp.where(underflow[..., None, None], jnp.nan, marginals),
        jnp.where(spread, jnp.nan, expected),
        underflow,
    )


def _joined_in_one_pass(semiring: Semiring, weights: Weights, messages: Array, totals: Array, _backend: str) -> tuple[Array, Array]:
    """Marginals [T, ..., K] and expected transitions [..., K, K], for constant edges.

    Backward messages are scaled by the forward totals, so that they overlap the forward ones by one but for drift, which is divided out. Whole arrays
    are scanned and none is sliced: on long chains the copies would cost more than the recursion.
    """
    backwards = jnp.swapaxes(weights.edges, -1, -2)

    def step(carry: tuple[Array, Array], inputs):
        behind, ahead = carry
        node, message, total, is_active = inputs
        marginal, overlap = semiring.normalise(semiring.times(message, behind))
        shared = semiring.divide(ahead, overlap[..., None])
        now = semiring.divide(semiring.times(node, behind), total[..., None])
        before = semiring.vector_matrix(now, backwards)
        if is_active is not None:
            now = jnp.where(is_active[..., None], now, semiring.zero)
            before = jnp.where(is_active[..., None], before, semiring.one)
        return (before, now), (marginal, shared)

    one = jnp.full_like(messages[0], semiring.one)
    start = (one, jnp.full_like(one, semiring.zero))
    _, (marginals, shared) = lax.scan(step, start, (weights.nodes, messages, totals, weights.active), reverse=True)
    if semiring is SCALED:
        return marginals, _expected_transitions_scaled(messages, shared, weights)
    return jnp.exp(marginals), _expected_transitions_log(messages, shared, weights)


def _joined_afterwards(semiring: Semiring, weights: Weights, messages: Array, _totals: Array, backend: str) -> tuple[Array, Array]:
    """The same for edges of every step, [T-1, ..., K, K], and for the associative backend."""
    ahead, behind = backward(semiring, weights, backend)
    before, overlap = semiring.normalise(semiring.times(messages[:-1], behind))
    marginals = jnp.concatenate([before, messages[-1:]])
    shared = semiring.divide(messages[:-1], overlap[..., None])
    if semiring is SCALED:
        return marginals, _expected_transitions_scaled(shared, ahead, weights)
    return jnp.exp(marginals), _expected_transitions_log(shared, ahead, weights)


def _log_increments(semiring: Semiring, chain: Chain, totals: Array) -> Array:
    increments = semiring.log(totals) + chain.step_scales
    return increments if chain.weights.active is None else jnp.where(chain.weights.active, increments, 0.0)


def _blank_padding(per_step: Array, active: Array | None) -> Array:
    return per_step if active is None else jnp.where(active[..., None], per_step, 0.0)


def _expected_transitions_scaled(before: Array, ahead: Array, weights: Weights) -> Array:
    if weights.per_step:
        return before[..., :, None] * weights.edges * ahead[..., None, :]
    return weights.edges * summed_outer_product(before, ahead)


def _expected_transitions_log(before: Array, ahead: Array, weights: Weights) -> Array:
    if weights.per_step:
        return jnp.exp(before[..., :, None] + weights.edges + ahead[..., None, :])

    def step(total: tuple[Array, Array], inputs: tuple[Array, Array]):
        # Kahan: one long running sum, which float32 would otherwise stop adding to.
        left, right = inputs
        term = jnp.exp(left[..., :, None] + weights.edges + right[..., None, :]) - total[1]
        raised = total[0] + term
        return (raised, (raised - total[0]) - term), None

    start = jnp.zeros(before.shape[1:] + before.shape[-1:], before.dtype)
    return lax.scan(step, (start, start), (before, ahead))[0][0]


def _smallest_trusted(dtype, num_states: int) -> float:
    return 4 * num_states * float(jnp.finfo(dtype).tiny) / float(jnp.finfo(dtype).eps)


def doubtful(weights: Weights, totals: Array) -> Array:
    """Whether some predicted probability could be so small that underflowed weights matter to it, [...]; see the module."""
    edges = weights.edges.min((-1, -2))
    if weights.per_step:
        edges = edges.min(0, initial=1.0)
    real = totals if weights.active is None else jnp.where(weights.active, totals, 1.0)
    return edges * real.min(0) < _smallest_trusted(totals.dtype, weights.nodes.shape[-1])


def _agree(log_normaliser: Array, exact: Array, totals: Array) -> Array:
    """Whether the scaled log-normaliser is the exact one but for rounding, [...]; NaN potentials agree with themselves."""
    size = totals.shape[0] + jnp.where(jnp.isfinite(exact), jnp.abs(exact), 0.0)
    close = jnp.abs(log_normaliser - exact) <= 64 * float(jnp.finfo(totals.dtype).eps) * size
    return close | (log_normaliser == exact) | jnp.isnan(exact)


def _where_doubtful(doubt: Array, lost: Callable[[], Array]) -> Array:
    """The answer of `lost` where there is doubt, False elsewhere; not even asked where there is none."""
    return lax.cond(jnp.any(doubt), lambda: doubt & lost(), lambda: jnp.zeros(doubt.shape, bool))
