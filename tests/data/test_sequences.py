"""Sequences: building, padding, selecting, and the laws that tie the constructors together."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from latentgate.data import Sequences


@st.composite
def ragged(draw, max_sequences=5, max_length=7, max_features=3):
    """Arrays with missing entries, but never a sequence without any observation."""
    lengths = draw(st.lists(st.integers(1, max_length), min_size=1, max_size=max_sequences))
    features = draw(st.integers(1, max_features))
    seed = draw(st.integers(0, 2**32 - 1))
    share = draw(st.sampled_from([0.0, 0.3]))
    rng = np.random.default_rng(seed)
    arrays = []
    for length in lengths:
        array = rng.normal(size=(length, features))
        array[rng.uniform(size=array.shape) < share] = np.nan
        array[rng.integers(length), rng.integers(features)] = 1.0
        arrays.append(array)
    return arrays


def example():
    """Three ragged sequences with everything that can be attached to them."""
    rng = np.random.default_rng(0)
    lengths = [4, 2, 6]
    arrays = [rng.poisson(2.0, size=(length, 3)).astype(float) for length in lengths]
    arrays[2][1, 2] = np.nan
    return Sequences.from_arrays(
        arrays,
        inputs={
            "stimulus": [rng.normal(size=(length, 2)) for length in lengths],
            "choice": [rng.normal(size=(length, 1)) for length in lengths],
        },
        times=[np.cumsum(rng.uniform(0.1, 1.0, size=length)) for length in lengths],
        names=["a", "b", "c"],
        input_names={"stimulus": ["left", "right"]},
        labels={"rewarded": [True, False, True], "animal": ["rat 1", "rat 2", "rat 1"], "score": [0.5, 1.5, -2.0]},
        events={"lever in": [[0.5], [], [0.1, 0.2]], "never": [[], [], []]},
        groups=["monday", "monday", "tuesday"],
        bin_width=0.05,
        starts=[12.5, -3.0, 100.0],
    )


def same(first, second):
    """Asserts that two Sequences agree in every field, annotations included."""
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.observed, second.observed)
    np.testing.assert_array_equal(first.lengths, second.lengths)
    assert first.lengths.dtype == second.lengths.dtype
    assert first.inputs.keys() == second.inputs.keys()
    for name in first.inputs:
        np.testing.assert_array_equal(first.inputs[name], second.inputs[name])
    assert (first.times is None) == (second.times is None)
    if first.times is not None:
        np.testing.assert_array_equal(first.times, second.times)
    assert first.complete == second.complete
    assert first.names == second.names
    assert first.input_names == second.input_names
    assert first.labels.keys() == second.labels.keys()
    for name in first.labels:
        np.testing.assert_array_equal(first.labels[name], second.labels[name])
        assert first.labels[name].dtype == second.labels[name].dtype
    assert first.events.keys() == second.events.keys()
    for name in first.events:
        for one, other in zip(first.events[name], second.events[name], strict=True):
            np.testing.assert_array_equal(one, other)
    assert (first.groups is None) == (second.groups is None)
    if first.groups is not None:
        np.testing.assert_array_equal(first.groups, second.groups)
    assert first.bin_width == second.bin_width
    assert (first.starts is None) == (second.starts is None)
    if first.starts is not None:
        np.testing.assert_array_equal(first.starts, second.starts)
    assert first.input_scales.keys() == second.input_scales.keys()
    for name in first.input_scales:
        np.testing.assert_array_equal(first.input_scales[name], second.input_scales[name])


def test_fields_of_a_ragged_example():
    data = example()
    assert (data.num_sequences, data.max_length, data.num_features, data.num_steps) == (3, 6, 3, 12)
    assert data.num_inputs == {"stimulus": 2, "choice": 1}
    assert data.values.shape == (3, 6, 3)
    assert data.values.dtype == np.float64
    assert data.observed.dtype == np.bool_
    assert data.lengths.dtype == np.int32
    assert data.lengths.tolist() == [4, 2, 6]
    np.testing.assert_array_equal(data.mask.sum(1), [4, 2, 6])
    assert not data.complete
    assert data.values[2, 1, 2] == 0
    assert not data.observed[2, 1, 2]
    assert not data.observed[~data.mask].any()
    assert not data.values[~data.mask].any()
    assert not data.inputs["stimulus"][~data.mask].any()
    np.testing.assert_array_equal(data.times[1, 2:], np.full(4, data.times[1, 1]))
    assert data.observed.sum() == 12 * 3 - 1
    assert data.labels["rewarded"].tolist() == [True, False, True]
    assert data.events["lever in"][2].tolist() == [0.1, 0.2]


def test_one_dimensional_and_three_dimensional_and_single_step():
    flat = Sequences.from_arrays([np.arange(4.0), [5.0]])
    assert flat.values.shape == (2, 4, 1)
    assert flat.lengths.tolist() == [4, 1]
    cube = np.arange(24.0).reshape(2, 4, 3)
    data = Sequences.from_arrays(cube, inputs=cube[:, :, :1])
    np.testing.assert_array_equal(data.values, cube)
    assert data.complete
    assert data.num_inputs == {"inputs": 1}
    assert Sequences.from_arrays([[[1.0, 2.0]]]).values.shape == (1, 1, 2)


def test_other_number_types_become_float64():
    for kind in (np.bool_, np.uint8, np.int64, np.float32, np.float16):
        assert Sequences.from_arrays([np.ones((2, 2), kind)]).values.dtype == np.float64
    assert Sequences.from_arrays([[[1, 2], [3, 4]]]).values.tolist() == [[[1, 2], [3, 4]]]


def test_masked_arrays_are_missing():
    array = np.ma.masked_array(np.array([[1, 2], [3, 4]]), mask=[[False, True], [False, False]])
    data = Sequences.from_arrays([array])
    assert not data.complete
    assert not data.observed[0, 0, 1]
    assert data.observed.sum() == 3


def test_the_arrays_given_are_copied():
    array = np.ones((3, 2))
    labels = np.array([1])
    data = Sequences.from_arrays([array], labels={"x": labels})
    array[:] = 7
    labels[:] = 7
    assert (data.values == 1).all()
    assert data.labels["x"][0] == 1


def test_frozen():
    with pytest.raises(AttributeError):
        example().values = 0


@hypothesis.given(ragged())
def test_to_list_returns_what_went_in(arrays):
    data = Sequences.from_arrays(arrays)
    for array, back in zip(arrays, data.to_list(), strict=True):
        np.testing.assert_array_equal(array, back)
    assert data.complete == (not any(np.isnan(array).any() for array in arrays))
    assert data.num_steps == sum(len(array) for array in arrays)


@hypothesis.given(ragged())
def test_concatenated_agrees_with_separate_arrays(arrays):
    lengths = [len(array) for array in arrays]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(int)
    inputs = [array[:, :1] * 0 + index for index, array in enumerate(np.nan_to_num(a) for a in arrays)]
    times = [np.arange(length) + 0.5 for length in lengths]
    separate = Sequences.from_arrays(arrays, inputs=inputs, times=times)
    whole = np.concatenate(arrays)
    common = {"inputs": np.concatenate(inputs), "times": np.concatenate(times)}
    same(separate, Sequences.from_concatenated(whole, lengths=lengths, **common))
    same(separate, Sequences.from_concatenated(whole, session_starts=starts, **common))
    named = Sequences.from_concatenated(whole, lengths=lengths, inputs={"u": np.concatenate(inputs)})
    np.testing.assert_array_equal(named.inputs["u"], separate.inputs["inputs"])


@hypothesis.given(ragged(), st.data())
def test_select_agrees_with_building_from_the_selected(arrays, draw):
    data = Sequences.from_arrays(arrays)
    chosen = draw.draw(st.lists(st.integers(-len(arrays), len(arrays) - 1), min_size=1, max_size=6))
    same(data.select(chosen), Sequences.from_arrays([arrays[index] for index in chosen]))


def test_select_keeps_annotations_and_trims():
    data = example()
    part = data.select([1, 0])
    assert part.max_length == 4
    assert part.times.shape == (2, 4)
    assert part.inputs["choice"].shape == (2, 4, 1)
    assert part.complete, "the missing entry was in the sequence left out"
    assert part.labels["animal"].tolist() == ["rat 2", "rat 1"]
    assert [entry.tolist() for entry in part.events["lever in"]] == [[], [0.5]]
    assert part.groups.tolist() == ["monday", "monday"]
    assert part.names == ("a", "b", "c")
    assert part.bin_width == 0.05
    assert part.starts.tolist() == [-3.0, 12.5]
    assert part.input_names == data.input_names
    same(data.select([True, False, True]), data.select([0, 2]))
    same(data.select(slice(1, None)), data.select([1, 2]))
    same(data.select(-1), data.select([2]))
    same(data.select(data.labels["rewarded"]), data.select([0, 2]))
    same(data.select([0, 1, 2]), data)


@pytest.mark.parametrize(
    ("which", "error", "words"),
    [
        ([], ValueError, "at least one"),
        ([3], IndexError, "3"),
        ([-4], IndexError, "-4"),
        ([0.0], TypeError, "float64"),
        ([True], ValueError, "1 booleans for 3"),
        ([False] * 3, ValueError, "every sequence"),
        ([[0, 1]], ValueError, "(1, 2)"),
        ("0", TypeError, "integers or booleans"),
    ],
)
def test_select_errors(which, error, words):
    with pytest.raises(error, match="`which`") as caught:
        example().select(which)
    assert words in str(caught.value)


def test_with_inputs():
    data = example()
    new = [np.ones((length, 4)) for length in data.lengths]
    replaced = data.with_inputs(new, input_names=["a", "b", "c", "d"])
    assert replaced.num_inputs == {"inputs": 4}
    assert replaced.input_names == {"inputs": ("a", "b", "c", "d")}
    assert replaced.labels is data.labels
    assert replaced.values is data.values
    padded = np.random.default_rng(0).normal(size=(3, 6, 2))
    from_padded = data.with_inputs({"u": padded, "v": new})
    np.testing.assert_array_equal(from_padded.inputs["u"], np.where(data.mask[..., None], padded, 0))
    same(data.with_inputs(data.inputs, data.input_names), data)
    assert data.with_inputs(None).num_inputs == {}
    with pytest.raises(ValueError, match=r"sequence 1 of `inputs`.*3 steps.*have 2"):
        data.with_inputs([np.ones((4, 1)), np.ones((3, 1)), np.ones((6, 1))])


def test_repr():
    assert repr(example()) == (
        "Sequences(3 sequences, 2–6 steps, 3 features, bins of 0.05 s (0.6 s in all); inputs: stimulus (2), choice (1); irregular times; 2.8 % missing)"
    )
    steps = [np.arange(3.0), np.arange(2.0)]
    regular = Sequences.from_arrays(steps, times=[7.0 + 0.1 * row for row in steps])
    assert repr(regular) == "Sequences(2 sequences, 2–3 steps, 1 feature; inputs: none; times every 0.1; 0.0 % missing)"
    assert "irregular times" in repr(Sequences.from_arrays(steps, times=[[0.0, 0.1, 0.2], [0.0, 0.11]]))
    assert repr(Sequences.from_arrays([[1.0]])) == ("Sequences(1 sequence, 1 step, 1 feature; inputs: none; 0.0 % missing)")
