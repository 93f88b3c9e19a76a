"""Rare switches to nine digits, and a million steps in float32."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from latentgate import kernels
from tests.kernels.chains import BACKENDS, WAYS, Chains, answers, compiled, ordinary_chain
from tests.oracles import discrete_chain as oracle

pytestmark = pytest.mark.usefixtures("float64")

every_way = pytest.mark.parametrize("way", WAYS, ids="-".join)
SWITCH_STEPS = 60


def forced_switch(probability: float, contrast: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two states that swap with `probability`; data for state 0 in the first half and for state 1 in the second."""
    transitions = np.array([[np.log1p(-probability), np.log(probability)], [np.log(probability), np.log1p(-probability)]])
    nodes = -np.log(np.arange(2.0, SWITCH_STEPS + 2))[:, None] * np.ones(2)
    half = SWITCH_STEPS // 2
    nodes[:half, 1] -= contrast
    nodes[half:, 0] -= contrast
    return np.log([0.75, 0.25]), transitions, nodes


@every_way
def test_a_rare_switch_to_nine_digits(way):
    """Counts of the switch, of the one that must not happen, and of staying, each to a relative 1e-9.

    The probabilities and the contrasts are exact in neither format nor model, so the oracle takes the same doubles.
    With an infinite contrast only one path is left; with 30 nats a step the time of the switch is open, and the
    reverse switch has a count far below anything that an added floor would leave standing.
    """
    cases = [(p, contrast) for p in (1e-12, 1e-100, 1e-280) for contrast in (np.inf, 30.0)] + [(1e-12, 2.0), (1e-3, 4.0)]
    chains = [forced_switch(*case) for case in cases]
    stacked = (np.stack(part) for part in zip(*chains, strict=True))
    found = answers(Chains(*stacked, np.full(len(cases), SWITCH_STEPS)), *way)
    assert not found.smoothed.underflow.any()
    for b, (case, chain) in enumerate(zip(cases, chains, strict=True)):
        truth = oracle.decimal_smoother(*chain)
        counts = truth.pair_statistics.sum(axis=0)
        assert_allclose(found.log_normaliser[b], truth.log_normaliser, rtol=1e-13, err_msg=str(case))
        assert_allclose(found.smoothed.log_normaliser[b], truth.log_normaliser, rtol=1e-13, err_msg=str(case))
        assert_allclose(found.filtered.log_normaliser[b], truth.log_normaliser, rtol=1e-13, err_msg=str(case))
        # Below 1e-280 the count itself leaves the range of doubles.
        assert_allclose(found.smoothed.expected_transitions[b], counts, rtol=1e-9, atol=1e-280, err_msg=str(case))
        assert_allclose(found.gradient[1][b], counts, rtol=1e-9, atol=1e-280, err_msg=str(case))
        assert_allclose(found.smoothed.marginals[b], truth.marginals, rtol=1e-9, atol=1e-250, err_msg=str(case))
        assert_allclose(found.filtered.probs[b], truth.filter_probs, rtol=1e-9, atol=1e-250, err_msg=str(case))
        if case[1] == np.inf:
            assert_allclose(counts[0, 1], 1.0, rtol=1e-15)
            by_hand = np.log(0.75) + 58 * np.log1p(-case[0]) + np.log(case[0]) + chain[2].max(axis=1).sum()
            assert_allclose(truth.log_normaliser, by_hand, rtol=1e-14)


@every_way
def test_a_rare_switch_by_enumeration(way):
    """The same over all 2^6 paths, with the switch probability a parameter that is differentiated."""
    nodes = np.array([[0.0, -np.inf]] * 3 + [[-np.inf, 0.0]] * 3)

    def log_likelihood(log_switch):
        stay = jnp.log(-jnp.expm1(log_switch))
        edges = jnp.stack([jnp.stack([stay, log_switch]), jnp.stack([log_switch, stay])])
        initial = jnp.log(jnp.full(2, 0.5))
        return kernels.log_normaliser(initial, edges, nodes, semiring=way[0], backend=way[1])

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


@every_way
def test_float32_over_a_million_steps(way, float32):
    chains, truth = million_steps()
    smoothed = compiled("smooth", *way)(*chains.arguments)
    assert smoothed.log_normaliser.dtype == np.float32
    assert not smoothed.underflow
    assert abs(float(smoothed.log_normaliser) / truth.log_normaliser - 1) < 1e-6
    assert_allclose(smoothed.expected_transitions, truth.pair_statistics, rtol=1e-4)
    assert_allclose(smoothed.marginals, truth.marginals, rtol=0, atol=1e-4)


@pytest.mark.parametrize("semiring", ["scaled", "log"])
def test_float32_filter_and_gradient_over_a_million_steps(semiring, float32):
    chains, truth = million_steps()

    def program(edges, chains):
        initial, nodes, lengths = chains
        value, slope = jax.value_and_grad(
            lambda e: kernels.log_normaliser(initial, e, nodes, lengths, semiring=semiring)
        )(edges)
        return value, slope, kernels.filter(initial, edges, nodes, lengths, semiring=semiring)

    arguments = chains.log_transitions, (chains.log_initial, chains.log_nodes, chains.lengths)
    value, slope, filtered = jax.jit(program)(*arguments)
    assert abs(float(value) / truth.log_normaliser - 1) < 1e-6
    assert_allclose(slope, truth.pair_statistics, rtol=1e-4)
    assert abs(float(filtered.log_normaliser) / truth.log_normaliser - 1) < 1e-6
    assert_allclose(filtered.probs, truth.filter_probs, rtol=0, atol=1e-4)
    increments = np.asarray(filtered.log_increments, np.float64).sum()
    assert abs(increments / truth.log_normaliser - 1) < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_most_probable_path_over_a_million_steps(backend, float32):
    """The reported log-joint, and the path's own recomputed one, to a relative 1e-6 of the best in float64."""
    chains, _ = million_steps()
    found = compiled("most_probable_path", "", backend)(*chains.arguments)
    with jax.enable_x64(True):
        best = compiled("most_probable_path", "", "sequential")(*chains.astype(np.float64).arguments)
    chain = chains.arguments[:3]
    truth = oracle.path_log_joint(best.states, *chain)
    assert_allclose(best.log_joint, truth, rtol=1e-12)
    assert abs(oracle.path_log_joint(found.states, *chain) / truth - 1) < 1e-6
    assert abs(float(found.log_joint) / truth - 1) < 1e-6


@pytest.mark.parametrize("way", [("scaled", "sequential"), ("log", "sequential")], ids="-".join)
def test_float32_with_per_step_transitions_and_distant_potentials(way, float32):
    """A hundred thousand steps, each with its own transitions, data at -300 nats a step as of many neurons."""
    rng = np.random.default_rng(4)
    steps = 100_000
    initial, edges, nodes = ordinary_chain(4, 3, steps, contrast=3.0)
    edges = edges + 0.5 * rng.normal(size=(steps - 1, 3, 3))
    chain = [np.asarray(part, np.float32) for part in (initial, edges, nodes - 300.0)]
    truth = oracle.blocked_smoother(*chain, num_blocks=320)
    found = compiled("smooth", *way)(*chain)
    assert abs(float(found.log_normaliser) / truth.log_normaliser - 1) < 1e-6
    pairs = np.asarray(found.expected_transitions, np.float64).sum(axis=0)
    assert_allclose(pairs, truth.pair_statistics, rtol=1e-4)
    assert_allclose(found.marginals, truth.marginals, rtol=0, atol=1e-3)
