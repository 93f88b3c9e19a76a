"""The oracles of the discrete chain agree with one another and with cases solved by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.oracles import discrete_chain as oracle


def random_chain(seed: int, num_states: int, num_steps: int, constant: bool):
    rng = np.random.default_rng(seed)
    edge_shape = (num_states, num_states) if constant else (num_steps - 1, num_states, num_states)
    initial, edges = rng.normal(size=num_states), rng.normal(size=edge_shape)
    nodes = rng.normal(size=(num_steps, num_states)) - 2
    edges[..., 0, 1] = -np.inf
    return initial, edges, nodes


def test_two_steps_by_hand():
    """Two states, two steps: four paths of weights 2*3*5 .. written out."""
    initial, edges, nodes = np.log([1.0, 2.0]), np.log([[3.0, 1.0], [1.0, 4.0]]), np.log([[1.0, 1.0], [5.0, 7.0]])
    found = oracle.enumerate_chain(initial, edges, nodes)
    weights = np.array([15.0, 7.0, 10.0, 56.0])
    assert_allclose(found.log_normaliser, np.log(88.0), rtol=1e-14)
    assert_allclose(found.path_probs, weights / 88, rtol=1e-14)
    assert_allclose(found.marginals, [[22 / 88, 66 / 88], [25 / 88, 63 / 88]], rtol=1e-14)
    assert_allclose(found.filter_probs, [[1 / 3, 2 / 3], [25 / 88, 63 / 88]], rtol=1e-14)
    assert_allclose(found.log_increments, [np.log(3), np.log(88 / 3)], rtol=1e-14)
    assert_allclose(found.expected_transitions, [[15 / 88, 7 / 88], [10 / 88, 56 / 88]], rtol=1e-14)
    assert found.best_path.tolist() == [1, 1]
    assert_allclose(found.best_log_joint, np.log(56.0), rtol=1e-14)


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("length", [1, 2, 5, None])
def test_decimal_recursion_is_enumeration(constant, length):
    chain = random_chain(1, 3, 6, constant)
    truth = oracle.enumerate_chain(*chain, length)
    found = oracle.decimal_smoother(*chain, length)
    assert_allclose(found.log_normaliser, truth.log_normaliser, rtol=1e-14)
    for left, right in [
        (found.filter_probs, truth.filter_probs),
        (found.marginals, truth.marginals),
        (found.pair_statistics, truth.pair_marginals),
    ]:
        assert_allclose(left, right, rtol=1e-13, atol=1e-300)


def test_decimal_recursion_does_not_underflow():
    """800 nats for state 0 and then 1600 for state 1 without a way between them: state 1 all along."""
    identity = np.where(np.eye(2) > 0, 0.0, -2000.0)
    found = oracle.decimal_smoother(np.zeros(2), identity, np.array([[800.0, 0.0], [0.0, 1600.0]]))
    assert_allclose(found.log_normaliser, 1600.0, rtol=1e-15)
    assert_allclose(found.marginals[:, 1], 1.0, rtol=1e-15)
    impossible = oracle.decimal_smoother(np.zeros(2), identity, np.full((2, 2), -np.inf))
    assert impossible.log_normaliser == -np.inf
    assert not impossible.marginals.any()


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize("num_blocks", [1, 7, 400])
def test_extended_precision_recursions_agree(constant, num_blocks):
    initial, edges, nodes = random_chain(2, 3, 300, constant)
    exact = oracle.decimal_smoother(initial, edges, nodes)
    filtered, increments = oracle.forward_recursion(initial, edges, nodes)
    blocked = oracle.blocked_smoother(initial, edges, nodes, num_blocks)
    assert_allclose(float(increments.sum()), exact.log_normaliser, rtol=1e-14)
    assert_allclose(blocked.log_normaliser, exact.log_normaliser, rtol=1e-14)
    assert_allclose(filtered.astype(float), exact.filter_probs, rtol=1e-12)
    assert_allclose(blocked.filter_probs, exact.filter_probs, rtol=1e-12)
    assert_allclose(blocked.marginals, exact.marginals, rtol=1e-12)
    assert_allclose(blocked.pair_statistics, exact.pair_statistics.sum(axis=0), rtol=1e-12)


def test_covariance_is_the_second_difference_of_enumeration():
    initial, edges, nodes = random_chain(3, 2, 4, True)
    shapes = [np.shape(part) for part in (initial, edges, nodes)]
    flat = np.concatenate([np.ravel(part) for part in (initial, edges, nodes)])
    step = 1e-3

    def value(shift: np.ndarray) -> float:
        parts = np.split(flat + shift, np.cumsum([np.prod(shape) for shape in shapes])[:-1])
        return oracle.enumerate_chain(*[p.reshape(s) for p, s in zip(parts, shapes, strict=True)]).log_normaliser

    axes = step * np.eye(len(flat))
    second = np.array([[value(a + b) - value(a - b) - value(b - a) + value(-a - b) for a in axes] for b in axes]) / (4 * step**2)
    assert_allclose(second, oracle.statistics_covariance(initial, edges, nodes), atol=2e-6)
