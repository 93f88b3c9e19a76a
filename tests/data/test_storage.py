"""Saved sequences come back whole; foreign files and pickles are refused."""

import importlib.util
import json

import jax
import numpy as np
import pytest

from latentgate.data import Sequences, load
from latentgate.data.storage import FORMAT, read
from tests.data.test_sequences import example, same

has_netcdf = all(importlib.util.find_spec(module) for module in ("xarray", "netCDF4"))
suffixes = pytest.mark.parametrize(
    "suffix",
    [
        ".npz",
        pytest.param(".nc", marks=pytest.mark.skipif(not has_netcdf, reason="xarray or netCDF4 is not installed")),
    ],
)


@suffixes
def test_round_trip_of_everything(tmp_path, suffix):
    path = example().save(tmp_path / f"data{suffix}")
    same(load(path), example())
    same(load(str(path)), example())
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@suffixes
def test_round_trip_of_the_least(tmp_path, suffix):
    data = Sequences.from_arrays([[1.0]])
    same(load(data.save(tmp_path / f"data{suffix}")), data)


@suffixes
def test_round_trip_of_awkward_labels(tmp_path, suffix):
    data = Sequences.from_arrays(
        [[1.0], [2.0, np.nan]],
        inputs={"a/b c": [[1.0], [2.0, 3.0]]},
        labels={
            "x/y": np.array([1, 2], np.uint8),
            "ß": np.array(["é", ""]),
            "long": np.array([2**62 + 1, -1]),
            "half": np.array([0.5, 1.0], np.float16),
        },
        groups=[3, 4],
    )
    same(load(data.save(tmp_path / f"data{suffix}")), data)


@suffixes
def test_saving_over_a_file_replaces_it(tmp_path, suffix):
    path = example().save(tmp_path / f"data{suffix}")
    Sequences.from_arrays([[1.0]]).save(path)
    assert load(path).num_steps == 1


def test_what_comes_out_of_jax_can_be_saved(tmp_path):
    data = jax.jit(lambda value: value)(example())
    back = load(data.save(tmp_path / "data.npz"))
    np.testing.assert_allclose(back.values, example().values, rtol=1e-6)


def test_netcdf_without_its_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="netCDF4"):
        example().save(tmp_path / "data.nc")
    assert list(tmp_path.iterdir()) == []


def test_same_data_same_bytes(tmp_path):
    one, two = example().save(tmp_path / "one.npz"), example().save(tmp_path / "two.npz")
    assert one.read_bytes() == two.read_bytes()


def test_wrong_suffix_missing_folder_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"\.npz or \.nc"):
        example().save(tmp_path / "data.pickle")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        example().save(tmp_path / "nowhere" / "data.npz")
    with pytest.raises(FileNotFoundError, match="no file"):
        load(tmp_path / "data.npz")
    with pytest.raises(ValueError, match=r"\.npz or \.nc"):
        read(tmp_path / "data.csv")


@pytest.mark.parametrize("header", [None, "not json", json.dumps({"format": "other"}), json.dumps([1])])
def test_foreign_npz(tmp_path, header):
    arrays = {"values": np.ones(3)} | ({} if header is None else {"header": np.array(header)})
    np.savez(tmp_path / "foreign.npz", **arrays)
    with pytest.raises(ValueError, match=r"not written by Sequences\.save"):
        read(tmp_path / "foreign.npz")


def test_newer_version(tmp_path):
    np.savez(tmp_path / "newer.npz", header=np.array(json.dumps({"format": FORMAT, "version": 99})))
    with pytest.raises(ValueError, match="Update latentgate"):
        load(tmp_path / "newer.npz")


def test_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "pickle.npz", header=np.array({"format": FORMAT}, dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        load(tmp_path / "pickle.npz")


def test_damaged_values_are_refused(tmp_path):
    path = example().save(tmp_path / "data.npz")
    with np.load(path) as archive:
        fields = dict(archive)
    fields["values"][0, 0, 0] = np.inf
    np.savez(path, **fields)
    with pytest.raises(ValueError, match="infinite"):
        load(path)
