"""A search for a wrong finite number among near-deterministic chains."""

from __future__ import annotations

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose

from latentgate import kernels
from tests.kernels.chains import BACKENDS, answers
from tests.kernels.rigid import CROWD, check_scaled_is_right_or_says_so, rigid_chains, sizes_of
from tests.oracles import discrete_chain as oracle

pytestmark = pytest.mark.usefixtures("float64")

every_backend = pytest.mark.parametrize("backend", BACKENDS)


@pytest.mark.parametrize("kind", ["per-sequence", "per-step"])
@every_backend
def test_search_for_a_wrong_finite_number(backend, kind):
    """Twenty thousand rigid chains: NaN, or what the log semiring says; and that is what exact arithmetic says."""
    for seed in range(20):
        chains = rigid_chains(np.random.default_rng(seed), CROWD, kind == "per-sequence")
        scaled = answers(chains, "scaled", backend, optimised=True)
        log = answers(chains, "log", "sequential")
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
            log = answers(chains.astype(np.float64), "log", "sequential")
        flagged = check_scaled_is_right_or_says_so(scaled, log, sizes_of(chains), 2e-3)
        assert 0.01 < flagged.mean() < 0.95


@functools.lru_cache
def both_semirings(backend: str):
    """One sequence under both semirings, compiled once for hypothesis."""

    def program(initial, edges, nodes, length):
        return [kernels.smooth(initial, edges, nodes, length, semiring=semiring, backend=backend) for semiring in ("scaled", "log")]

    return jax.jit(program)


levels = st.one_of(st.sampled_from([0.0, -np.inf, -2000.0, -745.0, -700.0]), st.floats(-900, 0))
node_levels = st.one_of(st.sampled_from([0.0, 0.0, -np.inf, 800.0, 1600.0]), st.floats(-1000, 1000))


@every_backend
@hypothesis.settings(deadline=None, derandomize=True, max_examples=150)
@hypothesis.given(data=st.data(), length=st.integers(1, 5))
def test_hypothesis_looks_for_a_wrong_finite_number(backend, data, length):
    """As above, where a counterexample would be made small."""
    draw = [np.array(data.draw(st.lists(elements, min_size=size, max_size=size))) for elements, size in ((levels, 2), (levels, 4), (node_levels, 10))]
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
