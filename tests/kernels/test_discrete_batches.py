"""Batches, padding, vmap and tracing of the discrete chain; and chains longer than enumeration can take."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from latentgate import kernels
from tests.kernels.chains import (
    WAYS,
    Chains,
    answers,
    assert_same,
    compiled,
    flavoured_batches,
    log_probs,
    ordinary_chain,
    quick_jit,
)
from tests.oracles import discrete_chain as oracle

pytestmark = pytest.mark.usefixtures("float64")

every_way = pytest.mark.parametrize("way", WAYS, ids="-".join)
STATES, STEPS, ROWS = 3, 6, 6
LONG_STATES, LONG_STEPS = 5, 17


@pytest.fixture(scope="module")
def long_batch() -> Chains:
    """Lengths on both sides of a power of two, where a tree of steps is uneven."""
    rng = np.random.default_rng(5)
    lengths = np.array([17, 16, 15, 9, 8, 2, 1])
    nodes = rng.normal(scale=3, size=(len(lengths), LONG_STEPS, LONG_STATES)) - 100
    edges = log_probs(rng, len(lengths), LONG_STEPS - 1, LONG_STATES, LONG_STATES)
    return Chains(log_probs(rng, len(lengths), LONG_STATES), edges, nodes, lengths)


@every_way
def test_longer_chains_against_the_recursion(way, long_batch):
    smooth = compiled("smooth", *way, optimised=way[1] == "sequential")
    found = jax.tree.map(np.asarray, smooth(*long_batch.arguments))
    assert not found.underflow.any()
    for b, sequence in enumerate(long_batch):
        truth = oracle.decimal_smoother(*sequence)
        assert_allclose(found.log_normaliser[b], truth.log_normaliser, rtol=1e-13)
        assert_same(found.marginals[b], truth.marginals, 1e-12)
        assert_same(found.expected_transitions[b], truth.pair_statistics, 1e-12)


@every_way
def test_vmap_is_a_batch(way):
    smooth = functools.partial(kernels.smooth, semiring=way[0], backend=way[1])
    mapped_smooth = quick_jit(jax.vmap(smooth))
    for batch in flavoured_batches("per-step", STATES, STEPS):
        whole, mapped = answers(batch, *way).smoothed, mapped_smooth(*batch.arguments)
        for left, right in zip(jax.tree.leaves(mapped), jax.tree.leaves(whole), strict=True):
            assert left.shape == right.shape
            assert_same(left, right, 1e-12)


@pytest.mark.parametrize("way", [("scaled", "sequential"), ("log", "sequential")], ids="-".join)
def test_a_batch_is_its_sequences_one_by_one_and_its_dimensions_fold(way):
    smooth = compiled("smooth", *way, optimised=False)
    batch = flavoured_batches("per-step", STATES, STEPS)[0]
    whole = answers(batch, *way).smoothed
    for b in range(ROWS):
        one = smooth(*(part[b] for part in batch.arguments))
        for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(whole), strict=True):
            assert_same(left, right[b], 1e-12)
    folded = smooth(*(part.reshape(2, 3, *part.shape[1:]) for part in batch.arguments))
    for left, right in zip(jax.tree.leaves(folded), jax.tree.leaves(whole), strict=True):
        assert left.shape == (2, 3, *right.shape[1:])
        assert_same(left.reshape(right.shape), right, 1e-12)


def test_vmap_over_some_arguments():
    """Many initial laws for one constant matrix, one node sequence and one length."""
    initial, edges, nodes, lengths = flavoured_batches("per-step", STATES, STEPS)[0].arguments
    smooth = quick_jit(jax.vmap(kernels.smooth, in_axes=(0, None, None, None)))
    partly = smooth(initial, edges[0, 0], nodes[0], lengths[4])
    for b in range(ROWS):
        truth = oracle.decimal_smoother(initial[b], edges[0, 0], nodes[0], lengths[4])
        assert_same(partly.log_normaliser[b], truth.log_normaliser)
        assert_same(partly.marginals[b], truth.marginals)
        assert_same(partly.expected_transitions[b], truth.pair_statistics.sum(axis=0))


@pytest.mark.parametrize("length", [1, 4])
def test_padded_is_ragged(length):
    """A sequence cut to its length, without lengths, and the same with padding."""
    initial, edges, nodes = ordinary_chain(0, 3, 6)
    padded = kernels.smooth(initial, edges, nodes, length)
    ragged = kernels.smooth(initial, edges, nodes[:length])
    assert_same(padded.log_normaliser, ragged.log_normaliser, 1e-13)
    assert_same(padded.marginals[:length], ragged.marginals, 1e-13)
    assert_array_equal(padded.marginals[length:], 0)
    assert_same(padded.expected_transitions, ragged.expected_transitions, 1e-13)


@pytest.mark.parametrize("name", ["log_normaliser", "filter", "smooth", "most_probable_path", "sample"])
def test_one_trace_a_shape(name):
    """New values and new lengths in old shapes trace nothing and compile nothing, called under jit or plainly."""
    traces, compilations = [], []
    kernel = getattr(kernels, name)

    def counted(*arguments):
        traces.append(name)
        return kernel(*arguments)

    def listen(event: str, _duration: float, **_details) -> None:
        if "compile" in event or "trace" in event:
            compilations.append(event)

    key = (jax.random.key(0),) if name == "sample" else ()
    draws = []
    for seed in (0, 1):
        initial, edges, nodes = ordinary_chain(seed, 3, 12, contrast=seed + 1.0)
        draws.append(tuple(jnp.asarray(part) for part in (initial, edges, np.stack([nodes, nodes]), [12 - seed, 3])))
    program = jax.jit(counted)
    jax.block_until_ready((program(*key, *draws[0]), kernel(*key, *draws[0])))
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.block_until_ready((program(*key, *draws[1]), kernel(*key, *draws[1])))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert traces == [name]
    assert compilations == []
