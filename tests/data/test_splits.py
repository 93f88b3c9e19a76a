"""Splits and folds: every sequence once, no group cut, the same seed the same split."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from latentgate.data import Sequences


def sequences(groups=None, count=6):
    count = count if groups is None else len(groups)
    return Sequences.from_arrays([np.full((2, 1), float(index)) for index in range(count)], groups=groups)


def members(data):
    return data.values[:, 0, 0].astype(int).tolist()


@hypothesis.given(st.lists(st.integers(0, 4), min_size=2, max_size=12), st.floats(0.05, 0.95), st.integers(0, 99))
def test_split_never_cuts_a_group(groups, fraction, seed):
    hypothesis.assume(len(set(groups)) > 1)
    data = sequences(groups)
    train, test = data.split(fraction, seed)
    assert sorted(members(train) + members(test)) == list(range(len(groups)))
    assert members(train) == sorted(members(train))
    assert not set(train.groups.tolist()) & set(test.groups.tolist())
    again, _ = data.split(fraction, seed)
    assert members(again) == members(train)


def test_split_shares_and_seeds():
    data = sequences(count=50)
    train, test = data.split(0.6, seed=0)
    assert (train.num_sequences, test.num_sequences) == (30, 20)
    assert members(train) != members(data.split(0.6, seed=1)[0])
    train, test = sequences(count=2).split(0.999, seed=0)
    assert (train.num_sequences, test.num_sequences) == (1, 1)


@hypothesis.given(st.lists(st.sampled_from("abcde"), min_size=2, max_size=12), st.integers(2, 5))
def test_folds_cover_everything_once(groups, num_folds):
    hypothesis.assume(num_folds <= len(set(groups)))
    folds = sequences(groups).folds(num_folds)
    assert len(folds) == num_folds
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(len(groups)))
    for train, test in folds:
        assert train.size
        assert test.size
        assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(groups)))
        assert not {groups[index] for index in train} & {groups[index] for index in test}


def test_folds_are_interleaved_in_order_of_appearance():
    tests = [test.tolist() for _, test in sequences(["z", "z", "b", "a", "a", "c"]).folds(2)]
    assert tests == [[0, 1, 3, 4], [2, 5]]
    assert [test.tolist() for _, test in sequences(count=5).folds(2)] == [[0, 2, 4], [1, 3]]


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1.5, np.nan, "half", True])
def test_bad_fraction(fraction):
    with pytest.raises(ValueError, match="`fraction`"):
        sequences().split(fraction, seed=0)


def test_one_group_cannot_be_split():
    with pytest.raises(ValueError, match="one group"):
        sequences(["a", "a"]).split(0.5, seed=0)


@pytest.mark.parametrize(("num_folds", "error"), [(1, ValueError), (7, ValueError), (2.0, TypeError), (True, TypeError)])
def test_bad_number_of_folds(num_folds, error):
    with pytest.raises(error, match="`num_folds`"):
        sequences().folds(num_folds)
