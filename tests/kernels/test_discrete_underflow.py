"""Near-deterministic chains: the scaled semiring says that it underflows, and is never finite and wrong."""

from __future__ import annotations

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from latentgate import kernels
from tests.kernels.chains import BACKENDS, Answers, Chains, answers, compiled, log_probs
from tests.oracles import discrete_chain as oracle

pytestmark = pytest.mark.usefixtures("float64")

every_backend = pytest.mark.parametrize("backend", BACKENDS)
STEPS, STATES = 12, 3


def staying(num_states: int, leave: float) -> np.ndarray:
    """Transitions that keep the state, with potential `leave` for any other move."""
    return np.where(np.eye(num_states) > 0, 0.0, leave)


def left_right(num_states: int, stay: float = 0.5) -> np.ndarray:
    """Each state is kept or left for the next; none is entered again."""
    weights = stay * np.eye(num_states) + (1 - stay) * np.eye(num_states, k=1)
    weights[-1, -1] = 1.0
    with np.errstate(divide="ignore"):
        return np.log(weights)


def contrasts(*blocks: tuple[int, int, float], num_states: int = STATES) -> np.ndarray:
    """Node potentials in blocks: (steps, favoured state, nats per step)."""
    rows = [np.where(np.arange(num_states) == state, nats, 0.0) for steps, state, nats in blocks for _ in range(steps)]
    return np.stack(rows)


def lost_chains() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Chains whose most probable history is swept away by a scaled forward pass; twelve steps, three states."""
    even, first = np.zeros(STATES), np.array([0.0, -np.inf, -np.inf])
    at_once = contrasts((1, 0, 800.0), (1, 1, 1600.0), (10, 2, 0.0))
    spread = contrasts((6, 0, 400 / 3), (6, 1, 800 / 3))
    waiting = contrasts((1, 2, 0.0), (5, 1, 160.0), (5, 2, 0.0), (1, 0, 1600.0))
    once_rigid = np.repeat(log_probs(np.random.default_rng(0), STATES, STATES)[None], STEPS - 1, axis=0)
    once_rigid[5] = staying(STATES, -np.inf)
    crossing = contrasts((5, 2, 0.0), (1, 0, 800.0), (1, 1, 1600.0), (5, 2, 0.0))
    return {
        "a switch of 2000 nats, in one step": (even, staying(STATES, -2000.0), at_once),
        "no switch at all, in one step": (even, staying(STATES, -np.inf), at_once),
        "a switch of 2000 nats, over many steps": (even, staying(STATES, -2000.0), spread),
        "no switch at all, over many steps": (even, staying(STATES, -np.inf), spread),
        "left-right, and the data go back": (first, left_right(STATES), waiting),
        "one rigid step in an ordinary chain": (even, once_rigid, crossing),
    }


CROWD = 1000


def in_a_crowd(batch: Chains, semiring: str, backend: str) -> Answers:
    """The answers to a small batch, repeated to the size that all tests here share, and its first members' only."""
    count = len(batch.lengths)
    repeated = Chains(*(np.resize(part, (CROWD, *part.shape[1:])) for part in batch.arguments))
    return jax.tree.map(lambda leaf: leaf[:count], answers(repeated, semiring, backend, optimised=True))


@every_backend
@pytest.mark.parametrize("name", lost_chains())
def test_lost_history_is_underflow_in_the_scaled_semiring_and_right_in_the_log_one(name, backend):
    chain = lost_chains()[name]
    truth = oracle.decimal_smoother(*chain)
    batch = Chains(*(part[None] for part in chain), np.array([STEPS]))
    found = in_a_crowd(batch, "scaled", backend)
    assert found.smoothed.underflow.all()
    assert np.isnan(found.log_normaliser).all()
    assert np.isnan(found.smoothed.log_normaliser).all()
    assert np.isnan(found.smoothed.marginals).all()
    assert np.isnan(found.smoothed.expected_transitions).all()
    for part in found.gradient:
        assert np.isnan(part).any()
    # The filter looks at the past only, so it may be right about it; its sum may not be finite and wrong.
    filtered = found.filtered.log_normaliser[0]
    assert np.isnan(filtered) or np.isclose(filtered, truth.log_normaliser, rtol=1e-9)

    constant = chain[1].ndim == 2
    found = in_a_crowd(batch, "log", backend if constant else "sequential")
    pairs = truth.pair_statistics.sum(axis=0) if constant else truth.pair_statistics
    assert not found.smoothed.underflow.any()
    assert_allclose(found.log_normaliser[0], truth.log_normaliser, rtol=1e-13)
    assert_allclose(found.smoothed.marginals[0], truth.marginals, rtol=0, atol=1e-10)
    assert_allclose(found.smoothed.expected_transitions[0], pairs, rtol=0, atol=1e-10)
    assert_allclose(found.gradient[2][0], truth.marginals, rtol=0, atol=1e-10)
    assert_allclose(found.filtered.probs[0], truth.filter_probs, rtol=0, atol=1e-10)

    path = compiled("most_probable_path", "", backend)(*batch.arguments)
    along = oracle.path_log_joint(path.states[0], *chain)
    assert_allclose(path.log_joint[0], along, rtol=1e-13)
    assert along > truth.log_normaliser - STEPS * np.log(STATES)


@every_backend
def test_underflow_is_named_by_sequence(backend):
    """One lost sequence in a batch leaves the others alone."""
    initial, edges, nodes = lost_chains()["no switch at all, in one step"]
    calm = np.where(np.arange(STEPS)[:, None] < 1, nodes, 0.0)
    nodes = np.stack([calm, nodes, nodes])
    batch = Chains(np.stack([initial] * 3), np.stack([edges] * 3), nodes, np.array([STEPS, STEPS, 1]))
    found = in_a_crowd(batch, "scaled", backend)
    assert_array_equal(found.smoothed.underflow, [False, True, False])
    assert_array_equal(np.isnan(found.smoothed.marginals).any(axis=(1, 2)), [False, True, False])
    for b in (0, 2):
        truth = oracle.decimal_smoother(initial, edges, batch.log_nodes[b], batch.lengths[b])
        assert_allclose(found.log_normaliser[b], truth.log_normaliser, rtol=1e-13)
        assert_allclose(found.smoothed.marginals[b], truth.marginals, atol=1e-12)


def test_a_sample_of_a_near_deterministic_chain_follows_the_posterior():
    for name, chain in lost_chains().items():
        truth = oracle.decimal_smoother(*chain)
        states = kernels.sample(jax.random.key(0), *chain, num_samples=64, semiring="log", backend="sequential")
        certain = truth.marginals.max(axis=1) > 1 - 1e-12
        expected = np.broadcast_to(truth.marginals.argmax(axis=1)[certain], (64, certain.sum()))
        assert_array_equal(np.asarray(states)[:, certain], expected, err_msg=name)


@every_backend
def test_history_that_hides_in_a_parity(backend):
    """Two states take turns, and the data of a few steps pull towards the other turn: 771 nats against 712.

    No single step is hopeless, but the weight exp(-712) of the move that changes the turn is below the normal doubles.
    """
    edges = np.full((STATES, STATES), -np.inf)
    edges[1, [0, 2]] = edges[2, 1] = 0.0
    edges[2, 2] = -712.0
    nodes = np.zeros((STEPS, STATES))
    nodes[0, 2] = nodes[5, 0] = -np.inf
    nodes[[2, 6, 7, 9], 1] = -348.0, -468.0, -269.0, -439.0
    nodes[[3, 5, 7], 2] = -224.0, -327.0, -267.0
    chain, length = (np.zeros(STATES), edges, nodes), 10
    truth = oracle.decimal_smoother(*chain, length)
    batch = Chains(*(part[None] for part in chain), np.array([length]))
    scaled, log = in_a_crowd(batch, "scaled", backend), in_a_crowd(batch, "log", backend)
    assert_allclose(log.log_normaliser[0], truth.log_normaliser, rtol=1e-13)
    assert_allclose(log.smoothed.marginals[0], truth.marginals, rtol=0, atol=1e-10)
    check_scaled_is_right_or_says_so(scaled, log, np.ones(1), 1e-8)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@every_backend
def test_history_that_swings_twice(backend, dtype):
    """A state that is never left: the data favour 0, then 1, then 0, and 1 on the whole.

    A forward pass loses state 1 in the first third and a backward pass loses it in the last, so that both keep state
    0 and agree with one another. In float32 little more than a nat a step does it.
    """
    size = {np.float64: 1.0, np.float32: 0.125}[dtype]
    thirds = (100, 0, 8.0 * size), (100, 1, 18.0 * size), (100, 0, 8.0 * size)
    edges = np.stack([staying(2, -np.inf), staying(2, -2000.0)])
    nodes = np.stack([contrasts(*thirds, num_states=2)] * 2)
    chains = Chains(np.zeros(2), edges, nodes, np.array([300, 300])).astype(dtype)
    truth = oracle.decimal_smoother(*next(iter(chains)))
    assert_allclose(truth.log_normaliser, 1800.0 * size, rtol=1e-12)
    found = jax.tree.map(np.asarray, compiled("smooth", "log", backend)(*chains.arguments))
    assert_allclose(found.log_normaliser, truth.log_normaliser, rtol=1e-6)
    assert_allclose(found.marginals[0], truth.marginals, rtol=0, atol=1e-4)
    found = jax.tree.map(np.asarray, compiled("smooth", "scaled", backend)(*chains.arguments))
    assert_array_equal(np.isnan(found.log_normaliser), found.underflow)
    right = np.isclose(found.log_normaliser, truth.log_normaliser, rtol=1e-6)
    assert (found.underflow | right).all(), f"{found.log_normaliser} and not {truth.log_normaliser}"


def check_scaled_is_right_or_says_so(scaled, log, sizes: np.ndarray, bound: float) -> np.ndarray:
    """NaN exactly where underflow is declared; elsewhere the log semiring's numbers. Returns the declared ones."""
    flagged = scaled.smoothed.underflow
    assert_array_equal(np.isnan(scaled.log_normaliser), flagged)
    assert_array_equal(np.isnan(scaled.smoothed.log_normaliser), flagged)
    held = ~flagged
    impossible = np.isneginf(log.log_normaliser)
    wrong = np.isneginf(scaled.log_normaliser[held]) != impossible[held]
    assert not wrong.any(), f"-inf differs in sequences {np.flatnonzero(held)[wrong]}"
    finite = held & ~impossible
    error = np.abs(scaled.log_normaliser - np.where(impossible, 0.0, log.log_normaliser))[finite]
    wrong = ~(error <= bound * np.maximum(1.0, sizes[finite]))
    assert not wrong.any(), f"log-normaliser wrong by {error[wrong]} in sequences {np.flatnonzero(finite)[wrong]}"
    for left, right in [
        (scaled.smoothed.marginals, log.smoothed.marginals),
        (scaled.smoothed.expected_transitions, log.smoothed.expected_transitions),
        (scaled.gradient[2], log.gradient[2]),
        (scaled.gradient[0], log.gradient[0]),
    ]:
        error = np.abs(left - right)[held].max(axis=tuple(range(1, left.ndim)), initial=0.0)
        wrong = ~(error <= bound)
        assert not wrong.any(), f"smoother wrong by {error[wrong]} in sequences {np.flatnonzero(held)[wrong]}"
    return flagged


EDGE_LEVELS = np.array([-np.inf, 0.0, 0.0, -1.0, -30.0, -87.0, -104.0, -300.0, -700.0, -745.0, -2000.0])
NODE_LEVELS = np.array([0.0, 0.0, 1.0, -1.0, 50.0, -88.0, 350.0, 400.0, -700.0, 708.0, 800.0, -1600.0, -np.inf])


def rigid_chains(rng: np.random.Generator, count: int, constant: bool) -> Chains:
    """Random chains of huge contrasts, in six manners.

    Round levels on the edges of both floating-point formats, with some nodes spread over the steps; anything up to
    1500 nats; little but what is nearly or just below the range of doubles; the same for float32; chains that only
    permute their states, or all but, whose data favour one history for some steps and then another, up to 450 nats a
    step; the same up to 60.
    """
    edge_shape = (count, STATES, STATES) if constant else (count, STEPS - 1, STATES, STATES)
    node_shape = (count, STEPS, STATES)

    def either(fraction, left, right):
        return np.where(rng.random(np.shape(right)) < fraction, left, right)

    initial = rng.choice([0.0, 0.0, -np.inf, -700.0], size=(count, STATES))
    round_edges = rng.choice(EDGE_LEVELS, size=edge_shape)
    diagonal = rng.random(edge_shape[:-2]) < 0.7
    round_edges = np.where(diagonal[..., None, None] & (np.eye(STATES) > 0), 0.0, round_edges)
    edges = [
        round_edges,
        either(0.3, -rng.uniform(0, 1500, edge_shape), round_edges),
        either(0.4, -rng.uniform(680, 750, edge_shape), np.zeros(edge_shape)),
        either(0.4, -rng.uniform(80, 110, edge_shape), round_edges),
    ]
    permuted = np.eye(STATES)[np.argsort(rng.random((count, STATES)), axis=1)]
    permuted = np.where(permuted > 0, 0.0, rng.choice([-np.inf, -2000.0, -712.0], size=(count, 1, 1)))
    permuting = permuted if constant else np.repeat(permuted[:, None], STEPS - 1, axis=1)
    edges += [permuting, permuting]
    round_nodes = rng.choice(NODE_LEVELS, size=node_shape)
    calm = rng.random((count, STEPS, 1)) < rng.choice([0.0, 0.5, 0.8], size=(count, 1, 1))
    gentle = rng.choice([1.0, 1 / STEPS, 0.5], size=(count, 1, 1))
    jitter = rng.normal(size=node_shape) * rng.choice([0.0, 1.0], size=(count, 1, 1))
    nodes = [
        np.where(calm, 0.0, round_nodes) * gentle + jitter,
        400 * rng.normal(size=node_shape),
        either(0.4, -rng.uniform(0, 750, node_shape), np.zeros(node_shape)),
        rng.uniform(-110, 110, node_shape),
    ]
    held = np.repeat(rng.random((count, STEPS // 4, STATES)), 4, axis=1)
    nodes += [-450 * held, -60 * held]
    manner = rng.integers(len(edges), size=count)
    chosen_edges, chosen_nodes = (np.stack(drawn)[manner, np.arange(count)] for drawn in (edges, nodes))
    return Chains(initial, chosen_edges, chosen_nodes, rng.integers(1, STEPS + 1, size=count))


def sizes_of(chains: Chains) -> np.ndarray:
    """Largest finite potential of each sequence, times its steps."""
    parts = (np.abs(part).reshape(len(chains.lengths), -1) for part in chains.arguments[:3])
    return STEPS * sum(np.where(np.isfinite(part), part, 0.0).max(axis=1) for part in parts)


@pytest.mark.parametrize("kind", ["per-sequence", "per-step"])
@every_backend
def test_search_for_a_wrong_finite_number(backend, kind):
    """Twenty thousand rigid chains: NaN, or what the log semiring says; and that is what exact arithmetic says."""
    for seed in range(20):
        chains = rigid_chains(np.random.default_rng(seed), CROWD, kind == "per-sequence")
        scaled = answers(chains, "scaled", backend, optimised=True)
        log = answers(chains, "log", "sequential", optimised=True)
        flagged = check_scaled_is_right_or_says_so(scaled, log, np.ones(CROWD), 1e-8)
        assert not log.smoothed.underflow.any()
        assert 0.01 < flagged.mean() < 0.9
    for b, sequence in list(enumerate(chains))[:60]:
        truth = oracle.decimal_smoother(*sequence)
        assert_allclose(log.log_normaliser[b], truth.log_normaliser, rtol=1e-13, atol=1e-11)
        assert_allclose(log.smoothed.marginals[b], truth.marginals, rtol=0, atol=1e-9)


@every_backend
def test_search_for_a_wrong_finite_number_in_float32(backend, float32):
    """The same where the range ends at 88 nats, against double precision on the same potentials."""
    for seed in range(5):
        chains = rigid_chains(np.random.default_rng(seed), CROWD, True).astype(np.float32)
        scaled = answers(chains, "scaled", backend, optimised=True)
        with jax.enable_x64(True):
            log = answers(chains.astype(np.float64), "log", "sequential", optimised=True)
        flagged = check_scaled_is_right_or_says_so(scaled, log, sizes_of(chains), 2e-3)
        assert 0.01 < flagged.mean() < 0.95


@functools.lru_cache
def both_semirings(backend: str):
    """One sequence under both semirings, compiled once for hypothesis."""

    def program(initial, edges, nodes, length):
        return [
            kernels.smooth(initial, edges, nodes, length, semiring=semiring, backend=backend)
            for semiring in ("scaled", "log")
        ]

    return jax.jit(program)


levels = st.one_of(st.sampled_from([0.0, -np.inf, -2000.0, -745.0, -700.0]), st.floats(-900, 0))
node_levels = st.one_of(st.sampled_from([0.0, 0.0, -np.inf, 800.0, 1600.0]), st.floats(-1000, 1000))


@every_backend
@hypothesis.settings(deadline=None, derandomize=True, max_examples=150)
@hypothesis.given(data=st.data(), length=st.integers(1, 5))
def test_hypothesis_looks_for_a_wrong_finite_number(backend, data, length):
    """As above, where a counterexample would be made small."""
    draw = [
        np.array(data.draw(st.lists(elements, min_size=size, max_size=size)))
        for elements, size in ((levels, 2), (levels, 4), (node_levels, 10))
    ]
    chain = draw[0], draw[1].reshape(2, 2), draw[2].reshape(5, 2)
    scaled, log = jax.tree.map(np.asarray, both_semirings(backend)(*chain, length))
    truth = oracle.decimal_smoother(*chain, length)
    assert_allclose(log.log_normaliser, truth.log_normaliser, rtol=1e-12, atol=1e-10)
    assert_allclose(log.marginals, truth.marginals, rtol=0, atol=1e-9)
    assert bool(scaled.underflow) == bool(np.isnan(scaled.log_normaliser))
    if not scaled.underflow:
        assert_allclose(scaled.log_normaliser, truth.log_normaliser, rtol=1e-12, atol=1e-8)
        assert_allclose(scaled.marginals, truth.marginals, rtol=0, atol=1e-8)
        assert_allclose(scaled.expected_transitions, truth.pair_statistics.sum(axis=0), rtol=0, atol=1e-8)


CALM_STATES, CALM_STEPS = 5, 2000


def check_no_alarm(chains: Chains, dtype, backend: str) -> None:
    """Not flagged, and right, the reference being double precision on the very same potentials."""
    chains = chains.astype(dtype)
    found = jax.tree.map(np.asarray, compiled("smooth", "scaled", backend)(*chains.arguments))
    assert not found.underflow.any()
    exact = compiled("smooth", "log", "sequential")(*chains.astype(np.float64).arguments)
    double = dtype == np.float64
    assert_allclose(found.log_normaliser, exact.log_normaliser, rtol=1e-12 if double else 1e-6)
    assert_allclose(found.marginals, exact.marginals, rtol=0, atol=1e-9 if double else 1e-3)


# What is not flagged where the range ends at 88 nats need not be tried as a tree where it ends at 708.
calm_ways = pytest.mark.parametrize(
    ("dtype", "backend"), [(np.float64, "sequential"), (np.float32, "sequential"), (np.float32, "associative")]
)


@calm_ways
def test_no_false_alarm_for_many_neurons(dtype, backend):
    """Hundreds of nats between states in every bin; transitions of at least 1e-6 forget them at the next."""
    rng = np.random.default_rng(2)
    transitions = np.full((CALM_STATES, CALM_STATES), 1e-6)
    np.fill_diagonal(transitions, 1 - 4e-6)
    held = np.repeat(rng.integers(CALM_STATES, size=(2, CALM_STEPS // 20)), 20, axis=1)
    nodes = rng.normal(scale=300.0, size=(2, CALM_STEPS, CALM_STATES)) - 500
    nodes[1] = nodes[1] / 300 + 250.0 * (np.arange(CALM_STATES) == held[1][:, None])
    nodes[0, 1000:] += 400.0 * (np.arange(CALM_STATES) == held[0, 1000:, None])
    initial = np.full(CALM_STATES, -np.log(CALM_STATES))
    check_no_alarm(Chains(initial, np.log(transitions), nodes, np.array([2000, 1500])), dtype, backend)


@calm_ways
def test_no_false_alarm_for_a_left_right_chain(dtype, backend):
    """Two thousand steps through five states that are never entered again, a few nats of data in each."""
    rng = np.random.default_rng(3)
    nodes = rng.normal(size=(2, CALM_STEPS, CALM_STATES)) - 3
    nodes[0, np.arange(CALM_STEPS), np.arange(CALM_STEPS) // 400] += 3.0
    nodes[1, np.arange(CALM_STEPS), np.minimum(np.arange(CALM_STEPS) // 10, 4)] += 1.0
    initial = np.where(np.arange(CALM_STATES) == 0, 0.0, -np.inf)
    check_no_alarm(Chains(initial, left_right(CALM_STATES, 0.99), nodes, np.array([2000, 1500])), dtype, backend)
