"""Labelled arrays: dimensions by name, padding, coordinates, and the way back."""

import hypothesis
import numpy as np
import pytest

from latentgate.data import Sequences
from tests.data.test_sequences import example, ragged, same

xr = pytest.importorskip("xarray")
BUDGET = hypothesis.settings(max_examples=30, deadline=None)
DIMS = ("sequence", "time", "neuron")


def padded(arrays):
    longest = max(map(len, arrays))
    return np.stack([np.pad(array, ((0, longest - len(array)), (0, 0)), constant_values=np.nan) for array in arrays])


@BUDGET
@hypothesis.given(arrays=ragged())
def test_any_order_of_dimensions_is_the_same_data(arrays):
    """Ragged arrays padded with NaN; missing entries stay, but for steps at the end that are missing altogether."""
    hypothesis.assume(all(not np.isnan(array[-1]).all() for array in arrays))
    array = xr.DataArray(padded(arrays), dims=DIMS)
    expected = Sequences.from_arrays(arrays)
    for order in (DIMS, DIMS[::-1], ("time", "neuron", "sequence")):
        same(Sequences.from_xarray(array.transpose(*order)), expected)
    same(Sequences.from_xarray([xr.DataArray(rows.T, dims=("feature", "time")) for rows in arrays]), expected)


def test_coordinates_become_names_labels_and_bin_width():
    values = np.random.default_rng(0).normal(size=(4, 2, 3))
    array = xr.DataArray(
        values,
        dims=("time", "neuron", "sequence"),
        coords={"time": 5 + 0.02 * np.arange(4), "neuron": ["a", "b"], "rewarded": ("sequence", [True, False, True]), "day": ("sequence", ["mo", "mo", "tu"])},
    )
    drive = xr.DataArray(np.arange(24.0).reshape(3, 2, 4), dims=("sequence", "input", "time"), coords={"input": ["left", "right"]})
    data = Sequences.from_xarray(array, inputs=drive, labels={"score": [1.0, 2.0, 3.0]}, groups="day")
    np.testing.assert_array_equal(data.values, values.transpose(2, 0, 1))
    assert data.bin_width == pytest.approx(0.02, rel=1e-9)
    assert data.times is None
    assert data.names == ("a", "b")
    assert data.input_names == {"inputs": ("left", "right")}
    assert data.inputs["inputs"][1, 2].tolist() == [10.0, 14.0]
    assert data.labels["rewarded"].tolist() == [True, False, True]
    assert data.labels["score"].tolist() == [1.0, 2.0, 3.0]
    assert data.groups.tolist() == ["mo", "mo", "tu"]
    same(Sequences.from_xarray(array, inputs={"inputs": drive}, labels={"score": [1.0, 2.0, 3.0]}, groups="day"), data)


def test_irregular_and_plain_time():
    irregular = xr.DataArray(np.ones((3, 2)), dims=("time", "neuron"), coords={"time": [0.0, 0.1, 0.3]})
    assert Sequences.from_xarray(irregular).times.tolist() == [[0.0, 0.1, 0.3]]
    assert Sequences.from_xarray(irregular).bin_width is None
    numbered = xr.DataArray(np.ones(3), dims="time", coords={"time": np.arange(3)})
    assert Sequences.from_xarray(numbered).bin_width is None
    assert Sequences.from_xarray(numbered).times is None


def test_round_trip_of_everything():
    data = example().standardized("choice")
    same(Sequences.from_xarray(data.to_xarray()), data)
    stored = data.to_xarray()
    assert dict(stored["values"].sizes) == {"sequence": 3, "time": 6, "feature": 3}
    assert stored["values"].isnull().sum() == 3 * 6 + 1
    same(Sequences.from_xarray(stored.transpose(..., "sequence")), data)
    same(Sequences.from_xarray(stored.isel(sequence=[2, 0])), data.select([2, 0]))


@BUDGET
@hypothesis.given(arrays=ragged())
def test_round_trip_keeps_what_is_missing_at_the_end(arrays):
    """Also labels whose names are those of dimensions."""
    ones = [np.ones((len(row), 1)) for row in arrays]
    data = Sequences.from_arrays(arrays, inputs={"u": ones, "values": ones}, labels={"time": np.arange(len(arrays)), "a.b": ["x"] * len(arrays)})
    same(Sequences.from_xarray(data.to_xarray()), data)


def test_round_trip_through_a_file(tmp_path):
    pytest.importorskip("netCDF4")
    example().to_xarray().to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "a.nc", engine="netcdf4") as stored:
        back = Sequences.from_xarray(stored.load())
    assert back.events["lever in"][2].tolist() == [0.1, 0.2]
    np.testing.assert_array_equal(back.values, example().values)
    assert back.bin_width == 0.05


ARRAY = xr.DataArray(np.ones((2, 3, 4)), dims=DIMS)


@pytest.mark.parametrize(
    ("array", "options", "error", "words"),
    [
        (np.ones((2, 3, 4)), {}, TypeError, ["`array`", "ndarray", "from_arrays"]),
        (ARRAY.rename(sequence="trial"), {}, ValueError, ["`array`", "trial, time, neuron", "rename"]),
        (ARRAY.rename(time="bin"), {}, ValueError, ["`array`", "sequence, bin, neuron"]),
        ([ARRAY], {}, ValueError, ["`array[0]`", "`sequence`"]),
        ([], {}, ValueError, ["`array` is an empty list"]),
        (xr.Dataset({"counts": ARRAY}), {}, ValueError, ["Dataset with counts", "dataset['counts']"]),
        (ARRAY.assign_coords(time=np.array([0, 1, 2], "m8[s]")), {}, TypeError, ["`time`", "numpy.timedelta64"]),
        (ARRAY, {"inputs": xr.DataArray(np.ones((2, 4, 1)), dims=("sequence", "time", "input"))}, ValueError, ["`inputs['inputs']`", "4 steps", "has 3"]),
        (ARRAY, {"inputs": xr.DataArray(np.ones((3, 3, 1)), dims=("sequence", "time", "input"))}, ValueError, ["`inputs['inputs']`", "3 sequences"]),
        (ARRAY, {"inputs": ARRAY}, ValueError, ["`inputs['inputs']`", "sequence, time, neuron", "input"]),
        (ARRAY, {"groups": "day"}, ValueError, ["`groups`", "'day'"]),
        (ARRAY * np.nan, {}, ValueError, ["sequence 0", "missing"]),
        (example().to_xarray().isel(sequence=0), {}, ValueError, ["`sequence`", "isel(sequence=[0])"]),
    ],
)
def test_errors(array, options, error, words):
    with pytest.raises(error) as caught:
        Sequences.from_xarray(array, **options)
    for word in words:
        assert word in str(caught.value)
