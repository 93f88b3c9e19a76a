"""The same trials with something else in them, and inputs in units of their spread."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from latentgate.data import Sequences, load
from tests.data.test_sequences import example, same


def inputs_of(data, name):
    return np.asarray(data.inputs[name])[np.asarray(data.mask)]


def test_with_values_keeps_all_but_the_observations():
    data = example()
    new = [np.full((length, 2), float(length)) for length in data.lengths]
    new[1][:] = np.nan
    changed = data.with_values(new, names=["x", "y"])
    assert changed.names == ("x", "y")
    assert changed.num_features == 2
    assert not changed.complete
    assert not changed.observed[1].any()
    assert [row[0, 0] for row in changed.to_list()][::2] == [4.0, 6.0]
    same(changed.with_values(data.to_list(), data.names), data)
    padded = np.where(data.observed, data.values, np.nan)
    same(data.with_values(padded), data)
    assert data.with_values(new).names is None
    for bad, words in ((new[:2], "2 entries for 3"), ([row[:-1] for row in new], "has 3 steps but the sequence has 4"), ([row * np.inf for row in new], "inf")):
        with pytest.raises(ValueError, match="`values`") as caught:
            data.with_values(bad)
        assert words in str(caught.value)


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32 - 1), factor=st.integers(1, 4))
def test_rebinning_sums_whole_groups(seed, factor):
    """Against a loop over groups; a missing bin makes its group missing."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(factor, 13, size=3)
    arrays = [rng.poisson(2.0, (length, 2)).astype(float) for length in lengths]
    arrays[0][rng.integers(lengths[0] - lengths[0] % factor), 0] = np.nan
    arrays[1][:, 1], arrays[1][0, 0] = np.nan, 1.0
    drive = [rng.normal(size=(length, 1)) for length in lengths]
    data = Sequences.from_arrays(
        arrays, inputs={"u": drive}, bin_width=0.1, starts=[0.0, 5.0, 9.0], labels={"l": ["a", "b", "c"]}, times=[0.1 * np.arange(n) for n in lengths]
    )
    hypothesis.assume(all(np.isfinite([sum(array[:factor, 0]) for array in arrays])))
    wide = data.rebinned(factor)
    assert wide.bin_width == pytest.approx(0.1 * factor)
    assert wide.labels["l"].tolist() == ["a", "b", "c"]
    assert wide.starts.tolist() == [0.0, 5.0, 9.0]
    for rows, array, times, own, found in zip(wide.to_list(), arrays, wide.times, drive, wide.inputs["u"], strict=True):
        groups = range(0, len(array) - factor + 1, factor)
        np.testing.assert_array_equal(rows, [[sum(array[start : start + factor, feature]) for feature in (0, 1)] for start in groups])
        np.testing.assert_allclose(times[: len(rows)], [0.1 * start for start in groups])
        np.testing.assert_allclose(found[: len(rows), 0], [np.mean(own[start : start + factor]) for start in groups])


@pytest.mark.parametrize(("factor", "words"), [(0, "at least 1"), (1.5, "1.5"), (3, "sequence 1 has 2 steps"), (2, "irregular times")])
def test_rebinning_errors(factor, words):
    with pytest.raises(ValueError, match=words):
        example().rebinned(factor)


def test_standardized_columns_have_mean_zero_and_unit_variance():
    data = example().with_inputs(
        {"u": [np.column_stack([np.ones(n), 50 + 3.0 * np.arange(n), np.arange(n) ** 2]) for n in (4, 2, 6)], "v": [np.arange(float(n)) for n in (4, 2, 6)]}
    )
    scaled = data.standardized("u")
    rows = inputs_of(scaled, "u")
    np.testing.assert_array_equal(rows[:, 0], 1.0)
    np.testing.assert_allclose(rows[:, 1:].mean(0), 0.0, atol=1e-14)
    np.testing.assert_allclose(rows[:, 1:].std(0), 1.0)
    assert (scaled.inputs["u"][~np.asarray(data.mask)] == 0).all()
    np.testing.assert_array_equal(scaled.inputs["v"], data.inputs["v"])
    centre, unit = scaled.input_scales["u"]
    np.testing.assert_allclose(rows * unit + centre, inputs_of(data, "u"), rtol=1e-13)
    assert set(data.standardized().input_scales) == {"u", "v"}
    test = data.select([2])
    np.testing.assert_array_equal(inputs_of(test.standardized(like=scaled), "u"), inputs_of(scaled.select([2]), "u"))
    same(test.standardized(like=scaled), scaled.select([2]))


def test_scales_stay_with_the_data(tmp_path):
    scaled = example().standardized()
    same(load(scaled.save(tmp_path / "a.npz")), scaled)
    assert set(scaled.with_values([np.zeros((n, 1)) for n in (4, 2, 6)]).input_scales) == {"stimulus", "choice"}
    replaced = scaled.with_inputs({"stimulus": scaled.inputs["stimulus"], "choice": scaled.inputs["choice"] + 1.0})
    assert set(replaced.input_scales) == {"stimulus"}
    assert set(scaled.split(0.5, seed=0)[0].input_scales) == {"stimulus", "choice"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: example().with_inputs(None).standardized(), "no inputs"),
        (lambda: example().standardized("drive"), "'drive'"),
        (lambda: example().standardized().standardized(), "standardised already"),
        (lambda: example().standardized(like=example()), "not standardised"),
        (lambda: example().with_inputs(None).standardized(like=example().standardized()), "no such input set"),
        (lambda: example().standardized("choice", like=example().standardized()), "one of them"),
    ],
)
def test_standardized_errors(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_starts_are_checked_and_kept():
    with pytest.raises(ValueError, match=r"`starts` has shape \(2,\)"):
        Sequences.from_arrays([[1.0]], starts=[0.0, 1.0])
    with pytest.raises(ValueError, match=r"`starts\[0\]` is nan"):
        Sequences.from_arrays([[1.0]], starts=[np.nan])
    data = Sequences.from_concatenated(np.arange(10.0), lengths=[4, 6], starts=[3.0, 1.0])
    assert data.select([1]).starts.tolist() == [1.0]
    assert data.with_inputs([np.ones(4), np.ones(6)]).starts.tolist() == [3.0, 1.0]
    assert data.split(0.5, seed=0)[0].starts is not None


def test_an_old_file_has_no_starts(tmp_path):
    path = example().save(tmp_path / "a.npz")
    with np.load(path) as archive:
        old = {name: archive[name] for name in archive.files if name != "starts"}
    np.savez(path, **old)
    assert load(path).starts is None
    np.testing.assert_array_equal(load(path).values, example().values)


def test_pieces_begin_where_they_are_cut():
    from latentgate.studies.pieces import cut_into_pieces

    data = Sequences.from_arrays([np.arange(7.0), np.arange(3.0)], bin_width=0.5, starts=[10.0, 2.0])
    assert cut_into_pieces(data, 3).starts.tolist() == [10.0, 11.5, 13.0, 2.0]
