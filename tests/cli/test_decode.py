"""`latentgate decode`: the file holds what the fit says."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import latentgate as lg
from latentgate import cli
from latentgate.cli.decode import labelled, to_table

from .running import run


@pytest.fixture(scope="module")
def data():
    return lg.load("simulated_insula")


def test_netcdf(fitted, data, tmp_path):
    path = tmp_path / "states.nc"
    done = run("decode", fitted[1], "simulated_insula", "--json", "--out", path)
    assert done.code == cli.DONE, done.err
    facts = json.loads(done.out)
    assert facts["dims"] == {"sequence": 24, "time": 700, "state": 2}
    assert facts["num_steps"] == data.num_steps
    with xr.open_dataset(path) as found:
        np.testing.assert_array_equal(found["smoothed"], lg.Fit.load(fitted[1]).smooth(data))
        np.testing.assert_array_equal(found["length"], data.lengths)
        np.testing.assert_allclose(found["bin_start"], 0.05 * np.arange(700))
        assert found.attrs["recording"] == "simulated_insula"
    assert "decoding" in done.err


def test_csv_of_the_path(fitted, data, tmp_path):
    path = tmp_path / "states.csv"
    done = run("decode", fitted[1], "simulated_insula", "--what", "path", "--out", path)
    assert done.code == cli.DONE, done.err
    table = pd.read_csv(path)
    states = lg.Fit.load(fitted[1]).most_probable_path(data).values
    assert list(table.columns) == ["sequence", "step", "bin_start", "state"]
    assert len(table) == data.num_steps
    np.testing.assert_array_equal(table["state"], np.concatenate([states[index, :length] for index, length in enumerate(data.lengths)]))
    np.testing.assert_array_equal(table.groupby("sequence")["step"].max() + 1, data.lengths)


def test_latents_have_means_and_deviations():
    """Without a fit: a law of latents as `Fit.smooth` returns it."""
    data = lg.Sequences.from_arrays([np.zeros((2, 1)), np.zeros((3, 1))], times=[[0.0, 1.5], [0.0, 1.0, 4.0]])
    rng = np.random.default_rng(0)
    root = rng.normal(size=(2, 3, 2, 2))
    mean, covariance = rng.normal(size=(2, 3, 2)), root @ root.swapaxes(-1, -2)
    law = xr.Dataset({"mean": (("sequence", "time", "latent"), mean), "covariance": (("sequence", "time", "latent", "latent_other"), covariance)})
    table = to_table(labelled(law, data), data)
    assert table["observation_time"].tolist() == [0.0, 1.5, 0.0, 1.0, 4.0]
    np.testing.assert_array_equal(table["mean of latent 1"], [*mean[0, :2, 1], *mean[1, :, 1]])
    np.testing.assert_allclose(table["standard deviation of latent 0"], np.sqrt([*covariance[0, :2, 0, 0], *covariance[1, :, 0, 0]]))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("{}/none.nc", "simulated_insula", "--out", "{}/states.nc"), cli.FAILED, "found no file"),
        (("{}/bad.nc", "simulated_insula", "--out", "{}/states.nc"), cli.FAILED, "cannot be read as netCDF"),
        (("{fit}", "simulated_insula", "--out", "{}/states.txt"), cli.WRONG_ARGUMENTS, "ends in .nc or .csv"),
        (("{fit}", "simulated_insula", "--what", "sing", "--out", "{}/states.nc"), cli.WRONG_ARGUMENTS, "invalid choice: 'sing'"),
        (("{fit}", "{}/other.npz", "--out", "{}/states.nc"), cli.FAILED, "expected 15"),
    ],
)
def test_what_is_refused(arguments, code, said, fitted, tmp_path):
    (tmp_path / "bad.nc").write_bytes(b"CDF nothing")
    lg.Sequences.from_arrays([np.ones((5, 2))]).save(tmp_path / "other.npz")
    done = run("decode", *(argument.format(tmp_path, fit=fitted[1]) for argument in arguments))
    assert done.code == code
    assert said in done.err
    assert not (tmp_path / "states.nc").exists()
