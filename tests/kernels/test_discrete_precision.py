"""Rare switches to nine digits, and a million steps in float32."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from latentgate import kernels
from tests.kernels.chains import SEMIRINGS, WAYS, Chains, answers, compiled, ordinary_chain
from tests.oracles import discrete_chain as oracle

pytestmark = pytest.mark.usefixtures("float64")

every_way = pytest.mark.parametrize("way", WAYS, ids="-".join)
SWITCH_STEPS = 32


def forced_switch(probability: float, contrast: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two states that swap with `probability`; data for state 0 in the first half and for state 1 in the second."""
    stay, move = np.log1p(-probability), np.log(probability)
    transitions = np.array([[stay, move], [move, stay]])
    nodes = -np.log(np.arange(2.0, SWITCH_STEPS + 2))[:, None] * np.ones(2)
    half = SWITCH_STEPS // 2
    nodes[:half, 1] -= contrast
    nodes[half:, 0] -= contrast
    return np.log([0.75, 0.25]), transitions, nodes


def switch_cases() -> dict[tuple[float, float], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Chains by switch probability and contrast, in nats per step.

    With an infinite contrast one path is left; with 45 nats a step the switch is certain and its time almost so; with
    few, its time is open. The reverse switch has a count far below anything that an added floor would leave standing.
    """
    cases = [(p, contrast) for p in (1e-12, 1e-100, 1e-280) for contrast in (np.inf, 45.0)]
    cases += [(1e-12, 4.0), (1e-3, 4.0)]
    return {case: forced_switch(*case) for case in cases}


@every_way
def test_a_rare_switch_to_nine_digits(way):
    """Counts of the switch, of the one that must not happen, and of staying, each to a relative 1e-9."""
    chains = [np.stack(part) for part in zip(*switch_cases().values(), strict=True)]
    smooth = compiled("smooth", *way, optimised=way[1] == "sequential")
    found = jax.tree.map(np.asarray, smooth(*chains))
    assert not found.underflow.any()
    for b, (case, chain) in enumerate(switch_cases().items()):
        truth = oracle.decimal_smoother(*chain)
        counts = truth.pair_statistics.sum(axis=0)
        assert_allclose(found.log_normaliser[b], truth.log_normaliser, rtol=1e-13, err_msg=str(case))
        # Below 1e-280 the count itself leaves the range of doubles.
        assert_allclose(found.expected_transitions[b], counts, rtol=1e-9, atol=1e-280, err_msg=str(case))
        assert_allclose(found.marginals[b], truth.marginals, rtol=1e-9, atol=1e-250, err_msg=str(case))
        assert counts[0, 1] > 1 - 1e-3
        if case[1] == np.inf:
            moves = SWITCH_STEPS - 2
            by_hand = np.log(0.75) + moves * np.log1p(-case[0]) + np.log(case[0]) + chain[2].max(axis=1).sum()
            assert_allclose(truth.log_normaliser, by_hand, rtol=1e-14)
            assert_allclose(counts[0, 1], 1.0, rtol=1e-15)


@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_a_rare_switch_in_filter_and_gradient(semiring):
    chains = [np.stack(part) for part in zip(*switch_cases().values(), strict=True)]
    found = answers(Chains(*chains, np.full(len(chains[0]), SWITCH_STEPS)), semiring, "sequential", optimised=True)
    for b, (case, chain) in enumerate(switch_cases().items()):
        truth = oracle.decimal_smoother(*chain)
        counts = truth.pair_statistics.sum(axis=0)
        assert_allclose(found.log_normaliser[b], truth.log_normaliser, rtol=1e-13, err_msg=str(case))
        assert_allclose(found.filtered.log_normaliser[b], truth.log_normaliser, rtol=1e-13, err_msg=str(case))
        assert_allclose(found.filtered.probs[b], truth.filter_probs, rtol=1e-9, atol=1e-250, err_msg=str(case))
        assert_allclose(found.gradient[1][b], counts, rtol=1e-9, atol=1e-280, err_msg=str(case))
        assert_allclose(found.gradient[2][b], truth.marginals, rtol=1e-9, atol=1e-250, err_msg=str(case))


@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_a_rare_switch_by_enumeration(semiring):
    """The same over all 2^6 paths, with the switch probability a parameter that is differentiated."""
    nodes = np.array([[0.0, -np.inf]] * 3 + [[-np.inf, 0.0]] * 3)

    def log_likelihood(log_switch):
        stay = jnp.log(-jnp.expm1(log_switch))
        edges = jnp.stack([jnp.stack([stay, log_switch]), jnp.stack([log_switch, stay])])
        return kernels.log_normaliser(jnp.log(jnp.full(2, 0.5)), edges, nodes, semiring=semiring)

    value, slope = jax.jit(jax.value_and_grad(log_likelihood))(jnp.log(1e-12))
    edges = np.log([[1 - 1e-12, 1e-12], [1e-12, 1 - 1e-12]])
    truth = oracle.enumerate_chain(np.log([0.5, 0.5]), edges, nodes)
    assert_allclose(value, truth.log_normaliser, rtol=1e-13)
    # One switch and four stays: d/d log p = 1 - 4 p / (1 - p).
    assert_allclose(slope, 1 - 4e-12, rtol=1e-13)


MILLION = 1_000_000


@functools.lru_cache
def million_steps() -> tuple[Chains, oracle.Recursion]:
    """Three states in float32, and the answers in extended precision to exactly these float32 potentials."""
    chain = [np.asarray(part, np.float32) for part in ordinary_chain(0, 3, MILLION)]
    return Chains(*chain, np.array(MILLION)), oracle.blocked_smoother(*chain)


def test_float32_over_a_million_steps(float32):
    chains, truth = million_steps()
    found = answers(chains, "scaled", "sequential", optimised=True)
    assert found.log_normaliser.dtype == np.float32
    increments = found.filtered.log_increments.astype(np.float64).sum()
    for value in (found.log_normaliser, found.filtered.log_normaliser, increments):
        assert abs(float(value) / truth.log_normaliser - 1) < 1e-6
    assert_allclose(found.gradient[1], truth.pair_statistics, rtol=1e-4)
    assert_allclose(found.filtered.probs, truth.filter_probs, rtol=0, atol=1e-4)
    check_million(found.smoothed, truth)


def test_float32_over_a_million_steps_in_the_log_semiring(float32):
    chains, truth = million_steps()
    check_million(compiled("smooth", "log", "sequential")(*chains.arguments), truth)


def check_million(found: kernels.Smoothed, truth: oracle.Recursion) -> None:
    assert not found.underflow
    assert abs(float(found.log_normaliser) / truth.log_normaliser - 1) < 1e-6
    assert_allclose(found.expected_transitions, truth.pair_statistics, rtol=1e-4)
    assert_allclose(found.marginals, truth.marginals, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_float32_over_a_million_steps_as_a_tree(semiring, float32):
    """Slow because XLA takes more than half a minute to compile a tree of this size."""
    chains, truth = million_steps()
    check_million(compiled("smooth", semiring, "associative")(*chains.arguments), truth)


def test_float32_most_probable_path_over_a_million_steps(float32):
    """The reported log-joint, and the path's own recomputed one, to a relative 1e-6 of the best in float64."""
    chains, _ = million_steps()
    found = compiled("most_probable_path", "", "sequential")(*chains.arguments)
    with jax.enable_x64(True):
        best = compiled("most_probable_path", "", "sequential")(*chains.astype(np.float64).arguments)
    chain = chains.arguments[:3]
    truth = oracle.path_log_joint(best.states, *chain)
    assert_allclose(best.log_joint, truth, rtol=1e-12)
    assert abs(oracle.path_log_joint(found.states, *chain) / truth - 1) < 1e-6
    assert abs(float(found.log_joint) / truth - 1) < 1e-6


@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_float32_with_per_step_transitions_and_distant_potentials(semiring, float32):
    """A hundred thousand steps, each with its own transitions, data at -300 nats a step as of many neurons."""
    rng = np.random.default_rng(4)
    steps = 100_000
    initial, edges, nodes = ordinary_chain(4, 3, steps, contrast=3.0)
    edges = edges + 0.5 * rng.normal(size=(steps - 1, 3, 3))
    chain = [np.asarray(part, np.float32) for part in (initial, edges, nodes - 300.0)]
    truth = oracle.blocked_smoother(*chain, num_blocks=320)
    found = compiled("smooth", semiring, "sequential")(*chain)
    assert abs(float(found.log_normaliser) / truth.log_normaliser - 1) < 1e-6
    pairs = np.asarray(found.expected_transitions, np.float64).sum(axis=0)
    assert_allclose(pairs, truth.pair_statistics, rtol=1e-4)
    assert_allclose(found.marginals, truth.marginals, rtol=0, atol=1e-3)
