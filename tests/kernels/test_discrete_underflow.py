"""Near-deterministic chains: the scaled semiring says that it underflows, and is never finite and wrong."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from latentgate import kernels
from tests.kernels.chains import BACKENDS, Chains, compiled, log_probs, quick_jit
from tests.kernels.rigid import (
    STATES,
    STEPS,
    check_scaled_is_right_or_says_so,
    contrasts,
    in_a_crowd,
    left_right,
    staying,
)
from tests.oracles import discrete_chain as oracle

pytestmark = pytest.mark.usefixtures("float64")

every_backend = pytest.mark.parametrize("backend", BACKENDS)


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


@every_backend
@pytest.mark.parametrize("name", lost_chains())
def test_lost_history_is_underflow_in_the_scaled_semiring_and_right_in_the_log_one(name, backend):
    chain = lost_chains()[name]
    truth = oracle.decimal_smoother(*chain)
    batch = Chains(*(part[None] for part in chain), np.array([STEPS]))
    found = in_a_crowd(batch, "scaled", backend)
    if backend == "associative" and not found.smoothed.underflow.any():
        # Segments keep a scale for each row, so this backend may well get the history right.
        assert_allclose(found.log_normaliser[0], truth.log_normaliser, rtol=1e-12)
        assert_allclose(found.smoothed.marginals[0], truth.marginals, rtol=0, atol=1e-8)
    else:
        assert found.smoothed.underflow.all()
        assert np.isnan(found.smoothed.log_normaliser).all()
        assert np.isnan(found.smoothed.marginals).all()
        assert np.isnan(found.smoothed.expected_transitions).all()
        for part in found.gradient:
            assert np.isnan(part).any()
        assert np.isnan(found.log_normaliser[0]) or np.isclose(found.log_normaliser[0], truth.log_normaliser, rtol=1e-12)
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
    sample = quick_jit(functools.partial(kernels.sample, num_samples=64, semiring="log", backend="sequential"))
    for name, (initial, edges, nodes) in lost_chains().items():
        chain = initial, oracle.per_step_transitions(edges, STEPS), nodes
        truth = oracle.decimal_smoother(*chain)
        states = sample(jax.random.key(0), *chain)
        certain = truth.marginals.max(axis=1) > 1 - 1e-12
        expected = np.broadcast_to(truth.marginals.argmax(axis=1)[certain], (64, certain.sum()))
        assert_array_equal(np.asarray(states)[:, certain], expected, err_msg=name)


def found_by_search() -> dict[str, tuple[list, list]]:
    """Edges and nodes of small chains in which a scaled pass once lost the truth without saying so.

    No step is hopeless by itself. The weight exp(-712) of a move is below the normal doubles, or histories that never
    meet overtake one another by more than the range of doubles.
    """
    lost, never, none = -712, -np.inf, (0, 0, 0)
    no_third = (never, never, never)
    return {
        "two turns": (
            [(never, never, never), (0, never, 0), (never, 0, lost)],
            [
                (0, 0, never),
                none,
                (0, -348, 0),
                (0, 0, -224),
                none,
                (never, 0, -327),
                (0, -468, 0),
                (0, -269, -267),
                none,
                (0, -439, 0),
            ],
        ),
        "six steps": (
            [(lost, 0, 0), (lost, 0, never), (lost, lost, lost)],
            [(-300, 0, 0), (-400, -200, -400), (0, -600, -200), (-200, -600, 0), none, (-200, -400, 0)],
        ),
        "two states and a rare switch": (
            [(0, lost, never), (lost, 0, never), no_third],
            [
                (-400, 0, 0),
                (-600, 0, 0),
                (0, -300, 0),
                (0, -600, 0),
                (-200, -400, 0),
                (-200, -600, 0),
                (-600, 0, 0),
                (-600, 0, 0),
            ],
        ),
        "two states that alternate": (
            [(never, 0, never), (0, never, never), no_third],
            [
                (0, -600, never),
                (-400, -200, 0),
                (-600, 0, 0),
                (0, -600, 0),
                (-600, 0, 0),
                (-200, 0, 0),
                (-300, -200, 0),
                (-200, 0, 0),
                (-300, -600, 0),
                (-600, -200, 0),
            ],
        ),
        "as a tree": (
            [(0, never, 0), (never, 0, -700), (0, -700, never)],
            [(never, never, 0), (-400, -100, 0), (never, 0, -400), (-400, 0, never), (never, 0, -400), (0, never, -50)],
        ),
        "either way": (
            [none, (0, 0, never), (-740, never, 0)],
            [(never, 900, 0), (never, -500, 0), (never, -400, 200), (0, 500, 700), (0, 0, 400), (1000, 0, 0)],
        ),
    }


@every_backend
@pytest.mark.parametrize("name", found_by_search())
def test_chains_that_a_search_found(name, backend):
    edges, real = (np.array(part, float) for part in found_by_search()[name])
    nodes = np.zeros((STEPS, STATES))
    nodes[: len(real)] = real
    chain, length = (np.zeros(STATES), edges, nodes), len(real)
    truth = oracle.decimal_smoother(*chain, length)
    batch = Chains(*(part[None] for part in chain), np.array([length]))
    scaled, log = in_a_crowd(batch, "scaled", backend), in_a_crowd(batch, "log", backend)
    assert_allclose(log.log_normaliser[0], truth.log_normaliser, rtol=1e-13)
    assert_allclose(log.smoothed.marginals[0], truth.marginals, rtol=0, atol=1e-10)
    check_scaled_is_right_or_says_so(scaled, log, np.ones(1), 1e-8)


@every_backend
@pytest.mark.parametrize("leave", [-np.inf, -2000.0])
def test_history_that_swings_twice(leave, backend):
    """A state that is never left: the data favour 0, then 1, then 0, and 1 on the whole.

    A forward pass loses state 1 in the first third and a backward pass loses it in the last, so that both keep state
    0 and agree with one another.
    """
    chain = np.zeros(STATES), staying(STATES, leave), contrasts((4, 0, 200.0), (4, 1, 450.0), (4, 0, 200.0))
    truth = oracle.decimal_smoother(*chain)
    assert_allclose(truth.log_normaliser, 1800.0, rtol=1e-12)
    batch = Chains(*(part[None] for part in chain), np.array([STEPS]))
    scaled, log = in_a_crowd(batch, "scaled", backend), in_a_crowd(batch, "log", backend)
    assert_allclose(log.log_normaliser[0], truth.log_normaliser, rtol=1e-13)
    assert_allclose(log.smoothed.marginals[0], truth.marginals, rtol=0, atol=1e-10)
    check_scaled_is_right_or_says_so(scaled, log, np.ones(1), 1e-8)


@pytest.mark.parametrize(("dtype", "size"), [(np.float64, 1.0), (np.float32, 0.125)])
def test_history_that_swings_slowly(dtype, size):
    """The same over three hundred steps; in float32, two nats a step do it."""
    nodes = size * contrasts((100, 0, 8.0), (100, 1, 18.0), (100, 0, 8.0), num_states=2)
    chain = [np.asarray(part, dtype) for part in (np.zeros(2), staying(2, -np.inf), nodes)]
    truth = oracle.decimal_smoother(*chain)
    log = compiled("smooth", "log", "sequential")(*chain)
    assert_allclose(log.log_normaliser, truth.log_normaliser, rtol=1e-6)
    assert_allclose(log.marginals, truth.marginals, rtol=0, atol=1e-4)
    scaled = compiled("smooth", "scaled", "sequential")(*chain)
    assert bool(scaled.underflow) == bool(np.isnan(scaled.log_normaliser))
    if not scaled.underflow:
        assert_allclose(scaled.log_normaliser, truth.log_normaliser, rtol=1e-6)
        assert_allclose(scaled.marginals, truth.marginals, rtol=0, atol=1e-4)


CALM_STATES, CALM_STEPS = 5, 2000


def check_no_alarm(chains: Chains, dtype, backend: str) -> None:
    """Not flagged, and right, the reference being double precision on the very same potentials."""
    chains = chains.astype(dtype)
    smooth = compiled("smooth", "scaled", backend, optimised=backend == "sequential")
    found = jax.tree.map(np.asarray, smooth(*chains.arguments))
    assert not found.underflow.any()
    exact = compiled("smooth", "log", "sequential", optimised=False)(*chains.astype(np.float64).arguments)
    double = dtype == np.float64
    assert_allclose(found.log_normaliser, exact.log_normaliser, rtol=1e-12 if double else 1e-6)
    assert_allclose(found.marginals, exact.marginals, rtol=0, atol=1e-9 if double else 1e-3)


# What is not flagged where the range ends at 88 nats need not be tried as a tree where it ends at 708.
calm_ways = pytest.mark.parametrize(("dtype", "backend"), [(np.float64, "sequential"), (np.float32, "sequential"), (np.float32, "associative")])


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
