"""Every bad input of Sequences is an error that names the argument and the place."""

import datetime

import numpy as np
import pytest

from latentgate.data import Sequences

GOOD = [np.ones((3, 2)), np.ones((5, 2))]


def holes(value, step, feature=0):
    array = np.ones((5, 2))
    array[step, feature] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        ([], ValueError, ["`arrays` is empty"]),
        (None, TypeError, ["`arrays`", "NoneType"]),
        ("spikes", TypeError, ["`arrays`", "str"]),
        ({"a": GOOD[0]}, TypeError, ["`arrays`", "dict"]),
        (3.0, TypeError, ["`arrays`", "float"]),
        (np.ones((3, 2)), ValueError, ["`arrays`", "(3, 2)", "arrays=[array]"]),
        (np.ones(3), ValueError, ["`arrays`", "(3,)"]),
        (np.ones((2, 2, 2, 2)), ValueError, ["`arrays`", "(2, 2, 2, 2)"]),
        ([1.0, 2.0], ValueError, ["sequence 0 of `arrays`", "0 dimensions", "arrays=[array]"]),
        ([np.ones((2, 2, 2))], ValueError, ["sequence 0 of `arrays`", "3 dimensions"]),
        ([GOOD[0], np.ones((0, 2))], ValueError, ["sequence 1 of `arrays`", "empty"]),
        ([GOOD[0], []], ValueError, ["sequence 1 of `arrays`", "empty"]),
        ([np.ones((3, 0))], ValueError, ["sequence 0 of `arrays`", "no features"]),
        (np.ones((2, 3, 0)), ValueError, ["sequence 0 of `arrays`", "no features"]),
        ([*GOOD, np.ones((4, 3))], ValueError, ["sequence 2 of `arrays`", "3 features", "has 2"]),
        ([GOOD[0], np.array([["a", "b"]])], TypeError, ["sequence 1 of `arrays`", "<U1"]),
        ([GOOD[0], np.array([[1, None]])], TypeError, ["sequence 1 of `arrays`", "object"]),
        ([GOOD[0], np.ones((2, 2), complex)], TypeError, ["sequence 1 of `arrays`", "complex128"]),
        ([np.array([datetime.datetime(2024, 1, 1)], "M8[s]")], TypeError, ["sequence 0 of `arrays`", "seconds"]),
        ([[[1.0, 2.0], [3.0]]], ValueError, ["sequence 0 of `arrays`", "equal length"]),
        ([GOOD[0], holes(np.inf, 4, 1)], ValueError, ["sequence 1 of `arrays`", "step 4, feature 1", "NaN"]),
        ([GOOD[0], holes(-np.inf, 2)], ValueError, ["sequence 1 of `arrays`", "step 2, feature 0"]),
        ([GOOD[0], np.full((2, 2), np.nan)], ValueError, ["every entry of sequence 1 of `arrays`", "missing"]),
    ],
)
def test_bad_arrays(arrays, error, words):
    with pytest.raises(error) as caught:
        Sequences.from_arrays(arrays)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"inputs": [np.ones((3, 1))]}, ValueError, ["`inputs`", "1 entries for 2 sequences"]),
        ({"inputs": np.ones((3, 1))}, ValueError, ["`inputs`", "(3, 1)", "inputs=[array]"]),
        ({"inputs": [np.ones((3, 1)), np.ones((4, 1))]}, ValueError, ["sequence 1 of `inputs`", "4 steps", "have 5"]),
        ({"inputs": [np.ones((3, 1)), np.ones((5, 2))]}, ValueError, ["sequence 1 of `inputs`", "2 inputs"]),
        ({"inputs": {"u": [np.ones((3, 2)), holes(np.nan, 3)]}}, ValueError, ["sequence 1 of `inputs['u']`", "step 3"]),
        ({"inputs": [np.ones((3, 2)), holes(np.inf, 1, 1)]}, ValueError, ["inf at step 1, input 1"]),
        ({"inputs": [np.ones((3, 0)), np.ones((5, 0))]}, ValueError, ["no inputs"]),
        ({"inputs": [["a"] * 3, ["a"] * 5]}, TypeError, ["sequence 0 of `inputs`", "<U1"]),
        ({"inputs": {1: [np.ones(3), np.ones(5)]}}, TypeError, ["`inputs`", "key 1"]),
        ({"inputs": {"": [np.ones(3), np.ones(5)]}}, TypeError, ["`inputs`", "non-empty"]),
        ({"times": [np.arange(3), [0, 1, 3, 2, 4]]}, ValueError, ["sequence 1 of `times`", "step 3", "increasing"]),
        ({"times": [[0, 1, 1], np.arange(5)]}, ValueError, ["sequence 0 of `times`", "step 2", "equal times"]),
        ({"times": [np.arange(3), np.arange(4)]}, ValueError, ["sequence 1 of `times`", "(4,)", "(5,)"]),
        ({"times": [np.arange(3)]}, ValueError, ["`times`", "1 entries for 2 sequences"]),
        ({"times": [np.arange(3), [0, 1, np.nan, 3, 4]]}, ValueError, ["sequence 1 of `times`", "nan at step 2"]),
        ({"times": 3}, TypeError, ["`times`", "int"]),
        ({"names": ["a"]}, ValueError, ["`names`", "1 names", "2 features"]),
        ({"names": "ab"}, TypeError, ["`names`", "'ab'"]),
        ({"names": [1, 2]}, TypeError, ["`names`", "int"]),
        ({"input_names": ["a"]}, ValueError, ["`input_names`", "0 input sets"]),
        ({"input_names": {"u": ["a"]}}, ValueError, ["`input_names`", "'u'"]),
        ({"labels": {"x": [1]}}, ValueError, ["`labels['x']`", "1 entries for 2 sequences"]),
        ({"labels": {"x": [1, None]}}, TypeError, ["`labels['x']`", "object"]),
        ({"labels": {"x": [[1, 2], [3, 4]]}}, ValueError, ["`labels['x']`", "2 dimensions"]),
        ({"labels": [1, 2]}, TypeError, ["`labels`", "mapping"]),
        ({"events": {"lever": [[1.0]]}}, ValueError, ["`events['lever']`", "1 entries for 2 sequences"]),
        ({"events": {"lever": [[1.0], [np.nan]]}}, ValueError, ["sequence 1 of `events['lever']`", "finite"]),
        ({"groups": [1, 2, 3]}, ValueError, ["`groups`", "3 entries for 2 sequences"]),
        ({"bin_width": 0.0}, ValueError, ["`bin_width`", "positive"]),
        ({"bin_width": np.nan}, ValueError, ["`bin_width`", "nan"]),
        ({"bin_width": "50 ms"}, TypeError, ["`bin_width`", "'50 ms'"]),
        ({"bin_width": True}, TypeError, ["`bin_width`", "True"]),
    ],
)
def test_bad_options(options, error, words):
    with pytest.raises(error) as caught:
        Sequences.from_arrays(GOOD, **options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, ValueError, ["exactly one of `session_starts` and `lengths`", "neither"]),
        ({"lengths": [8], "session_starts": [0]}, ValueError, ["exactly one", "both"]),
        ({"lengths": [3, 4]}, ValueError, ["`lengths` sum to 7", "8 steps"]),
        ({"lengths": [8, 0]}, ValueError, ["`lengths[1]` is 0"]),
        ({"lengths": [9, -1]}, ValueError, ["`lengths[1]` is -1"]),
        ({"lengths": [4.0, 4.0]}, TypeError, ["`lengths`", "float64"]),
        ({"lengths": []}, ValueError, ["`lengths`", "(0,)"]),
        ({"lengths": 8}, ValueError, ["`lengths`", "()"]),
        ({"session_starts": [1, 4]}, ValueError, ["`session_starts` begins with 1", "expected 0"]),
        ({"session_starts": [0, 4, 4]}, ValueError, ["`session_starts`", "position 2", "increasing"]),
        ({"session_starts": [0, 5, 3]}, ValueError, ["`session_starts`", "3 at position 2"]),
        ({"session_starts": [0, 8]}, ValueError, ["`session_starts` ends with 8", "8 steps"]),
        ({"lengths": [8], "inputs": np.ones((7, 1))}, ValueError, ["`inputs`", "(7, 1)", "8 steps"]),
        ({"lengths": [8], "inputs": {"u": np.ones((9, 1))}}, ValueError, ["`inputs['u']`", "(9, 1)"]),
        ({"lengths": [8], "times": np.arange(7)}, ValueError, ["`times`", "(7,)"]),
        ({"lengths": [4, 4], "times": [0, 1, 2, 3, 4, 5, 5, 6]}, ValueError, ["sequence 1 of `times`", "step 2"]),
    ],
)
def test_bad_sessions(options, error, words):
    with pytest.raises(error) as caught:
        Sequences.from_concatenated(np.ones((8, 2)), **options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("array", "error", "words"),
    [
        (np.ones((2, 4, 1)), ValueError, ["`array`", "3 dimensions", "from_arrays"]),
        (np.ones((0, 2)), ValueError, ["`array` is empty"]),
        (np.array([["a"]] * 8), TypeError, ["`array`", "<U1"]),
        (np.array([1.0] * 4 + [np.nan] * 4), ValueError, ["every entry of sequence 1 of `array`"]),
        (np.array([1.0] * 7 + [np.inf]), ValueError, ["sequence 1 of `array`", "step 3"]),
    ],
)
def test_bad_concatenated_array(array, error, words):
    with pytest.raises(error) as caught:
        Sequences.from_concatenated(array, lengths=[4, 4])
    for word in words:
        assert word in str(caught.value)


def test_times_may_restart_in_each_session_and_be_one_array():
    data = Sequences.from_concatenated(np.ones(4), lengths=[2, 2], times=[5.0, 6.0, 0.0, 1.0])
    assert data.times.tolist() == [[5.0, 6.0], [0.0, 1.0]]
    assert Sequences.from_arrays(np.ones((2, 3, 1)), times=np.array([[0, 1, 2], [0, 2, 4]])).times.shape == (2, 3)
