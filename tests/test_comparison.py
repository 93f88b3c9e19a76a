"""Held-out scores and the test of occupancy, against counting by hand and enumeration."""

import itertools

import numpy as np
import pytest

import latentgate as lg
from latentgate.comparison import compare_groups, held_out_scores, occupancy


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    arrays = [rng.poisson(1.5, (length, 3)).astype(float) for length in (20, 35, 28, 40)]
    return lg.Sequences.from_arrays(arrays)


def test_scores_add_up_to_the_pooled_bits(counts):
    train, test = counts.select([0, 1]), counts.select([2, 3])
    log_likelihood = np.array([-120.0, -150.0])
    scores = held_out_scores({"model": log_likelihood}, test, train)
    pooled = lg.metrics.bits_per_spike(log_likelihood.sum(), test, lg.metrics.mean_rates(train))
    np.testing.assert_allclose(scores.bits_per_spike("model"), pooled, rtol=1e-12)
    weighted = (scores.bits_per_spike_by_sequence("model") * scores.spikes).sum() / scores.spikes.sum()
    np.testing.assert_allclose(weighted, pooled, rtol=1e-12)


def test_counts_of_better_sequences(counts):
    scores = held_out_scores({"a": [-1.0, -2.0, -3.0, -4.0], "b": [-1.5, -1.5, -3.5, -4.0]}, counts, counts)
    assert scores.num_better("a", "b") == 2, "a tie is not better"
    assert scores.num_better("b", "a") == 1
    assert scores.num_better("a") == 4
    np.testing.assert_allclose(scores.gain("a", "b"), 0.5 / (scores.spikes.sum() * np.log(2)))


def test_sequence_without_spikes_has_no_bits(counts):
    silent = lg.Sequences.from_arrays([np.zeros((5, 3)), np.ones((5, 3))])
    bits = held_out_scores({"a": [-1.0, -1.0]}, silent, counts).bits_per_spike_by_sequence("a")
    assert np.isnan(bits[0])
    assert np.isfinite(bits[1])


def test_scores_of_another_length_are_refused(counts):
    with pytest.raises(ValueError, match=r"log_likelihood\['a'\]: found shape \(3,\), expected \(4,\)"):
        held_out_scores({"a": [0.0, 0.0, 0.0]}, counts, counts)


def test_occupancy_ignores_padding():
    probabilities = np.array([[[1.0, 0.0], [0.5, 0.5], [np.nan, np.nan]], [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]])
    np.testing.assert_allclose(occupancy(probabilities), [[0.75, 0.25], [1 / 3, 2 / 3]])
    np.testing.assert_allclose(occupancy(probabilities, 1), [[1.0, 0.0], [0.0, 1.0]])


def test_permutation_agrees_with_enumeration():
    rng = np.random.default_rng(1)
    values, labels = rng.dirichlet(np.ones(3), size=9), np.arange(9) < 4
    values[labels, 0] += 0.3
    observed = np.linalg.norm(values[labels].mean(0) - values[~labels].mean(0))
    reached = []
    for chosen in itertools.combinations(range(9), 4):
        inside = np.isin(np.arange(9), chosen)
        reached.append(np.linalg.norm(values[inside].mean(0) - values[~inside].mean(0)) >= observed - 1e-12)
    exact = np.mean(reached)
    result = compare_groups(values, labels, num_permutations=40_000, seed=0)
    np.testing.assert_allclose(result.p_value, exact, atol=5 * np.sqrt(exact * (1 - exact) / 40_000))
    np.testing.assert_allclose(result.means, [values[~labels].mean(0), values[labels].mean(0)])


def test_p_values_are_uniform_where_nothing_differs():
    rng = np.random.default_rng(2)
    labels = np.arange(20) % 2 == 0
    p_values = [compare_groups(rng.normal(size=(20, 2)), labels, num_permutations=199, seed=seed).p_value for seed in range(300)]
    below = np.mean(np.array(p_values) <= 0.1)
    assert abs(below - 0.1) < 4 * np.sqrt(0.09 / 300)


def test_blocks_agree_with_enumeration():
    rng = np.random.default_rng(5)
    values = rng.normal(size=(8, 2)) + 10 * np.repeat([0, 1], 4)[:, None]
    labels = np.array([True, False, False, False, True, True, False, True])
    centred = values - values.reshape(2, 4, 2).mean(1).repeat(4, axis=0)

    def distance(inside):
        return np.linalg.norm(centred[inside].mean(0) - centred[~inside].mean(0))

    firsts, seconds = itertools.combinations(range(4), 1), itertools.combinations(range(4, 8), 3)
    exact = np.mean([distance(np.isin(np.arange(8), a + b)) >= distance(labels) - 1e-12 for a, b in itertools.product(firsts, seconds)])
    result = compare_groups(values, labels, block=4, num_permutations=40_000, seed=0)
    np.testing.assert_allclose(result.p_value, exact, atol=5 * np.sqrt(exact * (1 - exact) / 40_000))


def test_neighbours_do_not_take_a_drift_for_an_effect():
    rng = np.random.default_rng(6)
    drift = np.linspace(0, 1, 40)[:, None]
    freely, among_neighbours = [], []
    for seed in range(300):
        # Mostly one kind in the first three blocks of eight and the other in the last two; one trial in each block is out of turn.
        labels = np.arange(40) < 24
        labels[np.arange(0, 40, 8) + rng.integers(8, size=5)] ^= True
        freely.append(compare_groups(drift, labels, num_permutations=199, seed=seed).p_value)
        among_neighbours.append(compare_groups(drift, labels, block=8, num_permutations=199, seed=seed).p_value)
    assert np.mean(np.array(freely) <= 0.1) > 0.9
    assert abs(np.mean(np.array(among_neighbours) <= 0.1) - 0.1) < 4 * np.sqrt(0.09 / 300)


def test_neighbours_show_an_effect_above_a_drift():
    rng = np.random.default_rng(7)
    labels = rng.permuted(np.arange(40) < 20)
    values = np.linspace(0, 1, 40)[:, None] + 0.5 * labels[:, None] + 0.2 * rng.normal(size=(40, 1))
    assert compare_groups(values, labels, block=8, seed=0).p_value < 0.01


def test_same_seed_same_p_value():
    rng = np.random.default_rng(3)
    values, labels = rng.normal(size=(12, 2)), np.arange(12) < 5
    first, again = (compare_groups(values, labels, num_permutations=99, seed=4).p_value for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("labels", "block", "words"),
    [
        (np.ones(4, bool), None, "expected two groups"),
        (np.array([0, 1, 0, 1]), None, "one boolean a sequence"),
        (np.array([True, False]), None, "one boolean a sequence"),
        (np.array([True, False, True, False]), 1, "block: found 1"),
    ],
)
def test_bad_arguments(labels, block, words):
    with pytest.raises(ValueError, match=words):
        compare_groups(np.zeros((4, 2)), labels, block=block)
