"""The discrete chain against the enumeration of all its paths."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from latentgate import kernels
from tests.kernels.chains import (
    BACKENDS,
    KINDS,
    WAYS,
    Answers,
    Chains,
    answers,
    compiled,
    enumerated,
    flavoured_batches,
)
from tests.oracles import discrete_chain as oracle

pytestmark = pytest.mark.usefixtures("float64")

# Every semiring and backend meets three states in every kind of transitions; other numbers of states need fewer.
CASES = [(kind, 3, 6, way) for kind in KINDS for way in WAYS]
CASES += [("per-step", 1, 6, WAYS[0]), ("constant", 2, 6, WAYS[1])]
CASES += [("constant", 4, 6, WAYS[0]), ("per-step", 4, 6, WAYS[3])]
CASES += [("per-step", 2, 1, way) for way in WAYS] + [("constant", 2, 1, WAYS[0]), ("constant", 2, 1, WAYS[3])]


def case_name(value) -> str | None:
    return "-".join(value) if isinstance(value, tuple) else None


def check_log_normaliser(found: np.ndarray, truth: list[oracle.Enumeration], bound: float) -> None:
    """Within the bound, and the rounding of its increments where these are large and cancel."""
    expected = np.array([one.log_normaliser for one in truth])
    increments = np.stack([one.log_increments for one in truth])
    sizes = np.abs(np.where(np.isfinite(increments), increments, 0.0)).sum(axis=1)
    allowed = bound + 2 * np.finfo(found.dtype).eps * sizes
    assert_array_equal(np.isneginf(found), np.isneginf(expected))
    possible = np.isfinite(expected)
    assert (np.abs(found[possible] - expected[possible]) <= allowed[possible]).all()


def check_smoother(found: kernels.Smoothed, truth: list[oracle.Enumeration], constant: bool, bound: float) -> None:
    assert not found.underflow.any()
    check_log_normaliser(found.log_normaliser, truth, bound)
    assert_allclose(found.marginals, np.stack([one.marginals for one in truth]), rtol=0, atol=bound)
    pairs = np.stack([one.expected_transitions if constant else one.pair_marginals for one in truth])
    assert found.expected_transitions.shape == pairs.shape
    assert_allclose(found.expected_transitions, pairs, rtol=0, atol=bound)


def check_filter(found: kernels.Filtered, truth: list[oracle.Enumeration], batch: Chains, bound: float) -> None:
    check_log_normaliser(found.log_normaliser, truth, bound)
    assert not np.isnan(found.probs).any()
    assert not np.isnan(found.log_increments).any()
    with np.errstate(invalid="ignore"):
        check_log_normaliser(found.log_increments.sum(axis=1), truth, bound)
    for b, one in enumerate(truth):
        impossible = np.flatnonzero(one.log_increments == -np.inf)
        stop = impossible[0] + 1 if len(impossible) else batch.log_nodes.shape[1]
        assert_allclose(found.probs[b, :stop], one.filter_probs[:stop], rtol=0, atol=bound)
        assert_allclose(found.log_increments[b, :stop], one.log_increments[:stop], rtol=bound, atol=bound)
        assert_array_equal(found.probs[b, batch.lengths[b] :], 0)
        assert_array_equal(found.log_increments[b, batch.lengths[b] :], 0)


def check_gradient(found: Answers, truth: list[oracle.Enumeration], batch: Chains, bound: float) -> None:
    """Fisher: marginals, expected transitions, first marginal; shared potentials collect from all sequences."""
    initial, edges, nodes = found.gradient
    assert_allclose(nodes, np.stack([one.marginals for one in truth]), rtol=0, atol=bound)
    assert_allclose(initial, np.stack([one.marginals[0] for one in truth]), rtol=0, atol=bound)
    if batch.log_transitions.ndim == 4:
        expected = np.stack([one.pair_marginals for one in truth])
    else:
        expected = np.stack([one.expected_transitions for one in truth])
        expected = expected.sum(axis=0) if batch.log_transitions.ndim == 2 else expected
    assert edges.shape == expected.shape
    assert_allclose(edges, expected, rtol=0, atol=bound)


@pytest.mark.parametrize(("kind", "num_states", "num_steps", "way"), CASES, ids=case_name)
def test_against_enumeration(kind, num_states, num_steps, way):
    bound = 1e-10
    for batch, truth in zip(flavoured_batches(kind, num_states, num_steps), enumerated(kind, num_states, num_steps), strict=True):
        found = answers(batch, *way)
        check_log_normaliser(found.log_normaliser, truth, bound)
        check_smoother(found.smoothed, truth, kind != "per-step", bound)
        check_filter(found.filtered, truth, batch, bound)
        check_gradient(found, truth, batch, bound)


def rounding_bound(batch: Chains, semiring: str) -> float:
    """Bound on the rounding of probabilities in float32.

    Each of the T steps makes a few relative errors of the size of epsilon, and the exponential of a potential that
    lies c below the largest of its step errs by a relative c epsilon. What is common to a step cancels in the scaled
    semiring; in the log semiring it enters a sum once going forward and once going back, and rounds that sum.
    """

    def contrast(values: np.ndarray, axes: tuple[int, ...]) -> float:
        top = np.max(values, axis=axes, keepdims=True)
        finite = np.isfinite(values)
        return float((np.broadcast_to(top, values.shape)[finite] - values[finite]).max(initial=0.0))

    def magnitude(values: np.ndarray) -> float:
        return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))

    parts = ((batch.log_initial, (-1,)), (batch.log_nodes, (-1,)), (batch.log_transitions, (-2, -1)))
    total = sum(contrast(values, axes) for values, axes in parts)
    epsilon, num_steps = float(np.finfo(np.float32).eps), batch.log_nodes.shape[1]
    bound = 4 * epsilon * num_steps * (1 + total)
    if semiring == "log":
        bound += epsilon * num_steps * sum(magnitude(values) for values, _ in parts)
    return bound


@pytest.mark.parametrize("way", WAYS, ids=case_name)
def test_float32_against_enumeration(way, float32):
    for batch in flavoured_batches("per-step", 3, 6):
        single = batch.astype(np.float32)
        truth = [oracle.enumerate_chain(*sequence) for sequence in single]
        found = answers(single, *way)
        assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32), np.dtype(bool)}
        bound = rounding_bound(single, way[0])
        check_smoother(found.smoothed, truth, False, bound)
        check_filter(found.filtered, truth, single, bound)
        check_gradient(found, truth, single, bound)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_of_results_follows_the_potentials(dtype):
    batch = flavoured_batches("per-sequence", 3, 6)[0].astype(dtype)
    shapes = jax.eval_shape(compiled("smooth", "scaled", "sequential"), *batch.arguments)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype(dtype), np.dtype(bool)}
    filtered = jax.eval_shape(compiled("filter", "log", "associative"), *batch.arguments)
    assert {leaf.dtype for leaf in jax.tree.leaves(filtered)} == {np.dtype(dtype)}
    path = jax.eval_shape(compiled("most_probable_path", "scaled", "sequential"), *batch.arguments)
    assert (path.states.dtype, path.log_joint.dtype) == (np.dtype(np.int32), np.dtype(dtype))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("kind", "num_states", "num_steps"),
    [("constant", 3, 6), ("per-step", 3, 6), ("per-sequence", 4, 6), ("per-step", 1, 6), ("per-step", 2, 1)],
)
def test_most_probable_path_against_enumeration(kind, num_states, num_steps, backend):
    ties = 0
    for batch, truth in zip(flavoured_batches(kind, num_states, num_steps), enumerated(kind, num_states, num_steps), strict=True):
        found = compiled("most_probable_path", "", backend, optimised=False)(*batch.arguments)
        states, log_joint = np.asarray(found.states), np.asarray(found.log_joint)
        assert states.dtype == np.int32
        assert_allclose(log_joint, [one.best_log_joint for one in truth], rtol=1e-12, atol=1e-10)
        for b, (one, sequence) in enumerate(zip(truth, batch, strict=True)):
            length = sequence[-1]
            assert_array_equal(states[b, length:], -1)
            if one.best_log_joint == -np.inf:
                continue
            assert_allclose(oracle.path_log_joint(states[b], *sequence), one.best_log_joint, rtol=1e-12, atol=1e-10)
            if one.num_best == 1:
                assert_array_equal(states[b, :length], one.best_path)
            else:
                ties += 1
    if num_states == 3:
        assert ties < 10


@pytest.mark.parametrize("backend", BACKENDS)
def test_most_probable_path_with_ties(backend):
    """All paths weigh the same: any is right, the log-joint is not in doubt."""
    batch = Chains(np.zeros(3), np.zeros((3, 3)), np.full((6, 6, 3), 0.5), np.arange(1, 7))
    found = numpy_tree_path(batch, backend)
    assert_allclose(found.log_joint, 0.5 * batch.lengths, rtol=1e-14)
    for b, length in enumerate(batch.lengths):
        assert ((found.states[b, :length] >= 0) & (found.states[b, :length] < 3)).all()
        assert_array_equal(found.states[b, length:], -1)


def numpy_tree_path(batch: Chains, backend: str) -> kernels.Path:
    return jax.tree.map(np.asarray, compiled("most_probable_path", "", backend, optimised=False)(*batch.arguments))


@pytest.mark.parametrize("way", [("scaled", "sequential"), ("log", "associative")], ids=case_name)
def test_per_step_transitions_shared_by_a_batch(way):
    """Leading dimensions of 1 broadcast; the gradient then sums over the batch."""
    batch = flavoured_batches("per-step", 3, 6)[0]
    shared = Chains(batch.log_initial[0], batch.log_transitions[:1], batch.log_nodes, batch.lengths)
    truth = [oracle.enumerate_chain(*sequence) for sequence in shared]
    found = answers(shared, *way)
    check_smoother(found.smoothed, truth, False, 1e-10)
    initial, edges, _ = found.gradient
    assert_allclose(initial, sum(one.marginals[0] for one in truth), atol=1e-10)
    assert edges.shape == (1, 5, 3, 3)
    assert_allclose(edges[0], sum(one.pair_marginals for one in truth), atol=1e-10)


@pytest.mark.parametrize("semiring", ["scaled", "log"])
def test_lengths_may_be_left_out(semiring):
    batch = flavoured_batches("per-sequence", 3, 6)[0]
    full = Chains(*batch.arguments[:3], np.full(6, 6))
    truth = [oracle.enumerate_chain(*sequence) for sequence in full]
    for lengths in (None, full.lengths):
        found = kernels.log_normaliser(*full.arguments[:3], lengths, semiring=semiring)
        check_log_normaliser(np.asarray(found), truth, 1e-10)


@pytest.mark.parametrize("way", WAYS, ids=case_name)
def test_impossible_data_is_an_answer_and_not_a_failure(way):
    """A state that cannot be left, data that contradict it: minus infinity, zeros, no NaN, no underflow."""
    identity = np.where(np.eye(3) > 0, 0.0, -np.inf)
    nodes = np.zeros((6, 6, 3))
    nodes[:, 1, 1:] = -np.inf
    nodes[:, 4, 0] = -np.inf
    # Padding hides the contradiction from the shorter sequences.
    batch = Chains(np.zeros((6, 3)), np.stack([identity] * 6), nodes, np.arange(1, 7))
    truth = [oracle.enumerate_chain(*sequence) for sequence in batch]
    found = answers(batch, *way)
    assert_array_equal(np.isneginf(found.log_normaliser), batch.lengths > 4)
    check_smoother(found.smoothed, truth, True, 1e-12)
    assert_array_equal(found.smoothed.marginals[4:], 0)
    assert_array_equal(found.smoothed.expected_transitions[4:], 0)
    for part in found.gradient:
        assert np.isfinite(part).all()
    assert_array_equal(found.gradient[2][4:], 0)
    path = numpy_tree_path(batch, way[1])
    assert_array_equal(np.isneginf(path.log_joint), batch.lengths > 4)
