"""Laws of the discrete chain, on chains that hypothesis draws.

Each law puts a chain and its transformations into one batch, so that all laws share the compiled programs.
"""

from __future__ import annotations

import itertools

import hypothesis
import hypothesis.extra.numpy as hypothesis_numpy
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.kernels.chains import WAYS, Chains, answers, assert_same

pytestmark = pytest.mark.usefixtures("float64")

LAW = hypothesis.settings(deadline=None, derandomize=True, max_examples=20)
STATES, STEPS, ROWS = 3, 6, 6
every_way = pytest.mark.parametrize("way", WAYS, ids="-".join)

finite_potentials = st.floats(-6, 6)
potentials = st.one_of(finite_potentials, finite_potentials, finite_potentials, st.just(-np.inf))
garbage = st.sampled_from([1e30, -1e30, 1e300, np.inf, -np.inf, np.nan, 0.0])


def arrays(shape, elements=potentials):
    return hypothesis_numpy.arrays(np.float64, shape, elements=elements, fill=st.nothing())


@st.composite
def sequences(draw, constant=None, elements=potentials):
    """Initial [K], transitions [K, K] or [T-1, K, K], nodes [T, K]."""
    constant = draw(st.booleans()) if constant is None else constant
    edge_shape = (STATES, STATES) if constant else (STEPS - 1, STATES, STATES)
    return tuple(draw(arrays(shape, elements)) for shape in (STATES, edge_shape, (STEPS, STATES)))


def batch_of(rows, lengths) -> Chains:
    """Six sequences, the last repeated when there are fewer, in the shape that every law shares."""
    rows, lengths = list(rows), [int(length) for length in np.broadcast_to(lengths, len(rows))]
    rows += [rows[-1]] * (ROWS - len(rows))
    lengths += [lengths[-1]] * (ROWS - len(lengths))
    return Chains(*(np.stack(part) for part in zip(*rows, strict=True)), np.array(lengths))


@every_way
@LAW
@hypothesis.given(sequence=sequences(), length=st.integers(1, STEPS))
def test_renaming_states_renames_the_answers(way, sequence, length):
    initial, edges, nodes = sequence
    orders = [list(order) for order in itertools.permutations(range(STATES))]
    batch = batch_of([(initial[o], edges[..., o, :][..., o], nodes[:, o]) for o in orders], length)
    found = answers(batch, *way)
    assert_same(found.log_normaliser, found.log_normaliser[0])
    for b, order in enumerate(orders):
        assert_same(found.smoothed.marginals[b], found.smoothed.marginals[0][:, order])
        assert_same(found.filtered.probs[b], found.filtered.probs[0][:, order])
        pairs = found.smoothed.expected_transitions
        assert_same(pairs[b], pairs[0][..., order, :][..., order])


@every_way
@LAW
@hypothesis.given(
    sequence=sequences(constant=False),
    length=st.integers(1, STEPS - 1),
    node_garbage=arrays((STEPS, STATES), garbage),
    edge_garbage=arrays((STEPS - 1, STATES, STATES), garbage),
)
def test_padding_has_no_influence(way, sequence, length, node_garbage, edge_garbage):
    """Whatever it holds, NaN and infinity included, for values and derivatives alike."""
    initial, edges, nodes = sequence
    filled_nodes = np.concatenate([nodes[:length], node_garbage[length:]])
    filled_edges = np.concatenate([edges[: length - 1], edge_garbage[length - 1 :]])
    batch = batch_of([(initial, edges, nodes), (initial, filled_edges, filled_nodes)], length)
    found = answers(batch, *way)
    for leaf in jax.tree.leaves(found):
        assert_array_equal(leaf[1], leaf[0])
    assert_array_equal(found.gradient[2][1, length:], 0)
    assert_array_equal(found.gradient[1][1, length - 1 :], 0)


@every_way
@LAW
@hypothesis.given(
    sequence=sequences(constant=False),
    cut=st.integers(1, STEPS - 1),
    leaving=arrays(STATES),
    entering=arrays(STATES),
)
def test_a_transition_of_rank_one_cuts_the_chain(way, sequence, cut, leaving, entering):
    """The log-normaliser is the sum over the two parts, and each part's marginals are its own."""
    initial, edges, nodes = sequence
    edges = edges.copy()
    edges[cut - 1] = leaving[:, None] + entering
    left_nodes = nodes.copy()
    left_nodes[cut - 1] += leaving
    right_nodes = np.concatenate([nodes[cut:], np.zeros((cut, STATES))])
    right_edges = np.concatenate([edges[cut:], np.zeros((cut, STATES, STATES))])
    rows = [(initial, edges, nodes), (initial, edges, left_nodes), (entering, right_edges, right_nodes)]
    found = answers(batch_of(rows, [STEPS, cut, STEPS - cut]), *way)
    whole, left, right = found.log_normaliser[:3]
    assert_same(whole, left + right)
    if whole > -np.inf:
        assert_same(found.smoothed.marginals[0, :cut], found.smoothed.marginals[1, :cut])
        assert_same(found.smoothed.marginals[0, cut:], found.smoothed.marginals[2, : STEPS - cut])


@every_way
@LAW
@hypothesis.given(sequence=sequences(), step=st.integers(0, STEPS - 1), shift=st.floats(-1e3, 1e3))
def test_a_constant_adds_to_the_log_normaliser_and_to_nothing_else(way, sequence, step, shift):
    """Once when in a node row or the initial law, at each of the T - 1 moves when in the transitions."""
    initial, edges, nodes = sequence
    shifted = nodes.copy()
    shifted[step] += shift
    rows = [sequence, (initial, edges, shifted), (initial + shift, edges, nodes), (initial, edges + shift, nodes)]
    lengths = [STEPS, STEPS, STEPS, STEPS, 1, 4]
    rows += [rows[3], rows[3]]
    found = answers(batch_of(rows, lengths), *way)
    plain = answers(batch_of([sequence] * ROWS, lengths), *way)
    added = shift * np.array([0, 1, 1, STEPS - 1, 0, 3])
    assert_same(found.log_normaliser, plain.log_normaliser + added, 1e-9)
    assert_same(found.smoothed.marginals, plain.smoothed.marginals)
    assert_same(found.smoothed.expected_transitions, plain.smoothed.expected_transitions)


def composed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Log of the product of two matrices of potentials."""
    return np.logaddexp.reduce(first[..., :, None] + second, axis=-2)


@every_way
@LAW
@hypothesis.given(sequence=sequences(constant=False))
def test_a_row_of_zeros_marginalises_its_step(way, sequence):
    """A missing step leaves the other steps as if it had been summed out by hand."""
    initial, edges, nodes = sequence
    for missing in range(STEPS - 1):
        nodes_without = nodes.copy()
        nodes_without[missing] = 0
        kept = np.append(np.delete(np.arange(STEPS), missing), missing)
        reduced_edges = np.concatenate([np.delete(edges, missing, axis=0), edges[:1]])
        reduced_initial = initial
        if missing == 0:
            reduced_initial = composed(initial, edges[0])
        else:
            reduced_edges[missing - 1] = composed(edges[missing - 1], edges[missing])
        rows = [(initial, edges, nodes_without), (reduced_initial, reduced_edges, nodes[kept])]
        found = answers(batch_of(rows, [STEPS, STEPS - 1]), *way)
        assert_same(found.log_normaliser[0], found.log_normaliser[1])
        assert_same(found.smoothed.marginals[0, kept[:-1]], found.smoothed.marginals[1, :-1])


@every_way
@LAW
@hypothesis.given(sequence=sequences(elements=finite_potentials))
def test_observing_a_state_costs_its_log_marginal(way, sequence):
    """Allowing one state only at a step multiplies the normaliser by that state's posterior probability there."""
    initial, edges, nodes = sequence
    step, rows = 2, [sequence]
    for state in range(STATES):
        observed = nodes.copy()
        observed[step, np.arange(STATES) != state] = -np.inf
        rows.append((initial, edges, observed))
    found = answers(batch_of(rows, STEPS), *way)
    ratios = np.exp(found.log_normaliser[1 : STATES + 1] - found.log_normaliser[0])
    assert_same(ratios, found.smoothed.marginals[0, step])


@every_way
@LAW
@hypothesis.given(sequence=sequences(constant=False))
def test_a_chain_read_backwards_has_the_same_answers(way, sequence):
    initial, edges, nodes = sequence
    reversed_nodes = nodes[::-1].copy()
    reversed_nodes[-1] += initial
    rows = [sequence, (np.zeros(STATES), edges[::-1].swapaxes(1, 2), reversed_nodes)]
    found = answers(batch_of(rows, STEPS), *way)
    assert_same(found.log_normaliser[1], found.log_normaliser[0])
    assert_same(found.smoothed.marginals[1], found.smoothed.marginals[0][::-1])
    pairs = found.smoothed.expected_transitions
    assert_same(pairs[1], pairs[0][::-1].swapaxes(1, 2))


@LAW
@hypothesis.given(sequence=sequences(), length=st.integers(1, STEPS))
def test_constant_transitions_are_per_step_ones_repeated_and_all_ways_agree(sequence, length):
    initial, edges, nodes = sequence
    if edges.ndim == 3:
        edges = edges[0]
    repeated = np.repeat(edges[None], STEPS - 1, axis=0)
    reference = None
    for way in WAYS:
        constant = answers(batch_of([(initial, edges, nodes)], length), *way)
        per_step = answers(batch_of([(initial, repeated, nodes)], length), *way)
        summed = per_step.smoothed.expected_transitions.sum(axis=1)
        assert_same(constant.smoothed.expected_transitions, summed)
        assert_same(constant.gradient[1], per_step.gradient[1].sum(axis=1))
        reference = constant if reference is None else reference
        for one in (constant, per_step):
            assert_same(one.log_normaliser, reference.log_normaliser)
            assert_same(one.smoothed.marginals, reference.smoothed.marginals)
            assert_same(one.filtered.probs, reference.filtered.probs)
