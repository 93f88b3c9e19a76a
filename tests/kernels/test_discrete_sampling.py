"""Sampled paths against the enumerated distribution over paths.

Every test of a distribution is a chi-square at a fixed key. All of them together would fail a correct sampler with
probability at most `FALSE_ALARM`, so a failure is a fault.
"""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats

from latentgate import kernels
from tests.kernels.chains import BACKENDS, SEMIRINGS, WAYS, flavoured_batches, ordinary_chain, quick_jit
from tests.oracles import discrete_chain as oracle

pytestmark = pytest.mark.usefixtures("float64")

FALSE_ALARM = 1e-4
NUM_CHI_SQUARES = 40
STATES, STEPS, DRAWS = 3, 4, 20_000
LENGTHS = np.array([4, 3])


@functools.lru_cache
def sampler(semiring: str, backend: str, num_samples: int | None):
    return quick_jit(functools.partial(kernels.sample, num_samples=num_samples, semiring=semiring, backend=backend))


@functools.lru_cache
def chains(kind: str):
    """Two sequences, of four steps and of three, with forbidden moves and states."""
    rng = np.random.default_rng(0)
    initial, nodes = rng.normal(size=(2, STATES)), rng.normal(size=(2, STEPS, STATES))
    edges = rng.normal(size=(2, STATES, STATES) if kind == "constant" else (2, STEPS - 1, STATES, STATES))
    nodes[0, 2, 1] = initial[1, 2] = edges[0, ..., 0, 2] = -np.inf
    nodes -= 500.0
    return initial, edges, nodes


def path_index(states: np.ndarray) -> np.ndarray:
    """Position of each path in the enumeration, last step fastest."""
    return states @ STATES ** np.arange(states.shape[-1])[::-1]


def assert_distributed(counts: np.ndarray, probs: np.ndarray) -> None:
    """Chi-square, cells of fewer than five expected counts pooled; impossible cells must be empty."""
    assert counts[probs == 0].sum() == 0
    expected = counts.sum() * probs
    rare = expected < 5
    cells = [np.append(part[~rare], part[rare].sum()) for part in (counts, expected)]
    observed, expected = (part[cells[1] > 0] for part in cells)
    statistic = ((observed - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(statistic, len(expected) - 1) > FALSE_ALARM / NUM_CHI_SQUARES


def assert_independent(left: np.ndarray, right: np.ndarray) -> None:
    """Chi-square of a table of two lists of states."""
    table = np.zeros((STATES, STATES))
    np.add.at(table, (left, right), 1)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    assert stats.chi2_contingency(table, correction=False).pvalue > FALSE_ALARM / NUM_CHI_SQUARES


DRAWN = [("per-step", way) for way in WAYS] + [("constant", WAYS[0]), ("constant", WAYS[-1])]


@pytest.mark.parametrize(("kind", "way"), DRAWN, ids=str)
def test_paths_are_drawn_from_the_posterior(kind, way):
    states = np.asarray(sampler(*way, DRAWS)(jax.random.key(1), *chains(kind), LENGTHS))
    assert states.shape == (DRAWS, 2, STEPS)
    assert states.dtype == np.int32
    assert_array_equal(states[:, 1, 3:], -1)
    for b, length in enumerate(LENGTHS):
        truth = oracle.enumerate_chain(*(part[b] for part in chains(kind)), length)
        assert ((states[:, b, :length] >= 0) & (states[:, b, :length] < STATES)).all()
        counts = np.bincount(path_index(states[:, b, :length]), minlength=STATES**length)
        assert_distributed(counts, truth.path_probs)
    if way == ("scaled", "sequential"):
        assert_independent(states[:, 0, 0], states[:, 1, 0])
        assert_independent(states[:-1, 0, 1], states[1:, 0, 1])


def test_sequences_of_a_batch_are_drawn_independently():
    """Without `num_samples` each sequence gets one path, and equal sequences get different ones."""
    initial, edges, nodes = (part[0] for part in chains("constant"))
    many = np.broadcast_to(nodes, (DRAWS, STEPS, STATES))
    states = np.asarray(sampler("scaled", "sequential", None)(jax.random.key(2), initial, edges, many))
    assert states.shape == (DRAWS, STEPS)
    truth = oracle.enumerate_chain(initial, edges, nodes)
    assert_distributed(np.bincount(path_index(states), minlength=STATES**STEPS), truth.path_probs)
    assert_independent(states[::2, 3], states[1::2, 3])


@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_paths_are_drawn_from_the_posterior_in_float32(semiring, float32):
    initial, edges, nodes = (np.asarray(part, np.float32) for part in chains("per-step"))
    states = np.asarray(sampler(semiring, "sequential", DRAWS)(jax.random.key(3), initial, edges, nodes, LENGTHS))
    for b, length in enumerate(LENGTHS):
        truth = oracle.enumerate_chain(initial[b], edges[b], nodes[b], length)
        counts = np.bincount(path_index(states[:, b, :length]), minlength=STATES**length)
        assert_distributed(counts, truth.path_probs)


def test_the_same_key_gives_the_same_paths_whatever_the_way():
    """Backends and semirings differ in rounding only, which moves no draw here."""
    for kind, ways in (("per-step", WAYS), ("constant", (WAYS[0], WAYS[-1]))):
        draws = [np.asarray(sampler(*way, DRAWS)(jax.random.key(4), *chains(kind), LENGTHS)) for way in ways]
        for other in draws[1:]:
            assert_array_equal(other, draws[0])
        again = np.asarray(sampler(*ways[0], DRAWS)(jax.random.key(4), *chains(kind), LENGTHS))
        assert_array_equal(again, draws[0])
        different = np.asarray(sampler(*ways[0], DRAWS)(jax.random.key(5), *chains(kind), LENGTHS))
        assert (different != draws[0]).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_padding_holds_moves_no_draw(backend):
    initial, edges, nodes = chains("per-step")
    filled_edges, filled_nodes = edges.copy(), nodes.copy()
    filled_edges[1, 2:], filled_nodes[1, 3:] = np.inf, np.nan
    sample = sampler("scaled", backend, DRAWS)
    plain = sample(jax.random.key(6), initial, edges, nodes, LENGTHS)
    assert_array_equal(sample(jax.random.key(6), initial, filled_edges, filled_nodes, LENGTHS), plain)


def test_only_possible_paths_are_drawn():
    """Chains with minus infinity in every place: each path drawn has a finite log-joint."""
    sample = quick_jit(functools.partial(kernels.sample, num_samples=50))
    checked = 0
    for batch in flavoured_batches("per-step", 3, 6):
        states = np.asarray(sample(jax.random.key(7), *batch.arguments))
        for b, sequence in enumerate(batch):
            if oracle.enumerate_chain(*sequence).log_normaliser > -np.inf:
                checked += 1
                joints = [oracle.path_log_joint(path, *sequence) for path in states[:, b]]
                assert np.isfinite(joints).all()
            assert_array_equal(states[:, b, sequence[-1] :], -1)
    assert checked > 30


def test_shapes_of_samples():
    """No batch, one batch dimension, two; one path, several, a list of one."""
    initial, edges, nodes = ordinary_chain(0, 3, 5)

    def shape(num_samples, *batch):
        folded = np.broadcast_to(nodes, (*batch, 5, 3))
        draw = functools.partial(kernels.sample, num_samples=num_samples)
        return jax.eval_shape(draw, jax.random.key(8), initial, edges, folded).shape

    assert shape(None) == (5,)
    assert shape(2) == (2, 5)
    assert shape(1) == (1, 5)
    assert shape(None, 4) == (4, 5)
    assert shape(3, 2, 4) == (3, 2, 4, 5)


def test_one_state_and_one_step():
    key = jax.random.key(9)
    assert_array_equal(kernels.sample(key, np.zeros(1), np.zeros((1, 1)), np.zeros((5, 1)), 4), [0, 0, 0, 0, -1])
    single = kernels.sample(key, np.array([0.0, -np.inf]), np.zeros((0, 2, 2)), np.zeros((1, 2)), num_samples=4)
    assert_array_equal(single, np.zeros((4, 1)))


def test_scaled_draws_are_right_where_scaled_messages_underflow():
    """The last step decides for the state whose weight the scaled forward pass has lost long before."""
    initial, edges = np.log([0.5, 0.5]), np.array([[0.0, -2000.0], [-2000.0, 0.0]])
    nodes = np.array([[0.0, -900.0], [0.0, 0.0], [-900.0, 0.0], [-900.0, 0.0]])
    draws = [kernels.sample(jax.random.key(0), initial, edges, nodes, num_samples=4, semiring=semiring) for semiring in ("scaled", "log")]
    assert_array_equal(draws[0], draws[1])
    assert_array_equal(draws[0], np.ones((4, 4)))
