"""Recordings of jump processes: published facts on the real files, and the readers on made-up ones."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import expm

from latentgate.data import RECORDINGS, load
from latentgate.data.jump_processes import flashing_ratchet, stationary_law
from latentgate.data.jump_recordings import read_fev, read_flashing_ratchet, read_psor


def folder_with(*files):
    folder = os.environ.get("LATENTGATE_DATA")
    for file in files:
        if not folder or not (Path(folder) / file).is_file():
            pytest.skip(f"{file} is not in the folder that LATENTGATE_DATA names")
    return Path(folder or "")


def real(name, **options):
    folder_with(*(file.file for file in RECORDINGS[name].files))
    return load(name, download=False, **options)


def deviance(data, log_rates, effects):
    """-2 log-likelihood of the progressive chain of "psor", given the first states."""
    before, after, gaps, rows = [], [], [], []
    for index, length in enumerate(data.lengths):
        states, times = data.values[index, :length, 0].astype(int), data.times[index, :length]
        before.extend(states[:-1])
        after.extend(states[1:])
        gaps.extend(np.diff(times))
        rows.extend(data.inputs["inputs"][index, : length - 1] if data.inputs else np.zeros((length - 1, 2)))
    rates = np.exp(log_rates + np.array(rows) @ effects)
    generators = np.zeros((len(gaps), 4, 4))
    site = np.arange(3)
    generators[:, site, site + 1], generators[:, site, site] = rates, -rates
    return -2 * np.log(expm(generators * np.array(gaps)[:, None, None])[np.arange(len(gaps)), before, after]).sum()


def test_psor_has_the_deviances_that_msm_finds():
    """At the maxima, found with scipy; -2 log L of msm is 1114.899461 and 1246.015280."""
    data = real("psor")
    assert data.num_sequences == 271
    assert data.num_steps == 720
    assert data.names == ("state",)
    assert data.input_names == {"inputs": ("hieffusn", "ollwsdrt")}
    assert data.times[0, :2].tolist() == [6.4606, 17.078]
    # hieffusn has one effect on all three rates, ollwsdrt one on the first two and one on the third.
    effects = np.array([[0.49833736] * 3, [-0.57059105, -0.57059105, 0.49521189]])
    assert abs(deviance(data, np.array([-2.25067989, -1.71262618, -1.60548501]), effects) - 1114.899461) < 1e-6
    everyone = real("psor", covariates=False)
    assert everyone.num_sequences == 305
    assert everyone.inputs == {}
    assert abs(deviance(everyone, np.array([-2.39419682, -1.85049304, -1.34776026]), np.zeros((2, 3))) - 1246.015280) < 1e-6


def test_fev_facts():
    data = real("fev")
    assert data.num_sequences == 203
    assert data.num_steps == 5896
    assert data.names == ("fev", "state")
    assert data.num_inputs == {"acute": 1, "arrival": 1}
    dead = data.inputs["arrival"][:, :, 0] == 1
    assert dead.sum() == 96
    np.testing.assert_array_equal(dead, data.mask & ~data.observed[:, :, 0])
    np.testing.assert_array_equal(data.values[:, :, 1][data.mask], np.where(dead, 2, 3)[data.mask])
    assert data.observed[:, :, 1][data.mask].all()
    assert data.values[:, :, 0].max() < 999
    assert data.values[0, :3, 0].tolist() == [95.16, 112.9, 101.61]
    assert data.times[0, :3].tolist() == [190, 249, 278]
    assert data.inputs["acute"][0, 6:9, 0].tolist() == [1, 1, 1]


def test_flashing_ratchet_facts():
    folder = folder_with("flashing_ratchet_rates.csv")
    rates = np.loadtxt(folder / "flashing_ratchet_rates.csv", delimiter=",")
    np.testing.assert_allclose(flashing_ratchet(), rates, rtol=1e-6)
    data = real("flashing_ratchet")
    assert data.values.shape == (10_000, 100, 1)
    np.testing.assert_array_equal(data.times[[0, -1]], np.tile(np.linspace(0, 2.5, 100), (2, 1)))
    states = data.values[:, :, 0].astype(int)
    # Paths are independent, and start in the stationary law: five standard errors of a share, of 6 shares twice; false-alarm rate 7e-6.
    law = stationary_law(flashing_ratchet())
    for step in (0, 99):
        share = np.bincount(states[:, step], minlength=6) / 10_000
        assert (np.abs(share - law) < 5 * np.sqrt(law * (1 - law) / 10_000)).all()
    # Transitions over the gap of the file are those of its rates (36 shares; 2e-5).
    counts = np.bincount((states[:, :-1] * 6 + states[:, 1:]).ravel(), minlength=36).reshape(6, 6)
    expected = expm(flashing_ratchet() * 2.5 / 99)
    error = np.sqrt(expected * (1 - expected) / counts.sum(axis=1, keepdims=True))
    assert (np.abs(counts / counts.sum(axis=1, keepdims=True) - expected) < 5 * error).all()


def test_some_paths_of_the_ratchet(tmp_path):
    path = tmp_path / "paths.csv"
    path.write_text("0,1,2\n3,4,5\n5,5,5\n")
    assert read_flashing_ratchet(path).labels["path"].tolist() == [0, 1, 2]
    data = read_flashing_ratchet(path, paths=[2, 0])
    assert data.values[:, :, 0].tolist() == [[5, 5, 5], [0, 1, 2]]
    assert data.labels["path"].tolist() == [2, 0]
    assert data.times[1].tolist() == [0, 1.25, 2.5]
    assert data.names == ("state",)
    assert read_flashing_ratchet(path, paths=slice(1, None)).num_sequences == 2
    with pytest.raises(IndexError, match="holds 3"):
        read_flashing_ratchet(path, paths=[3])
    path.write_text("0,1,6\n")
    with pytest.raises(ValueError, match=r"0 to 6; expected paths of states 0 to 5"):
        read_flashing_ratchet(path)
    path.write_text("0,1,x\n")
    with pytest.raises(ValueError, match="separated by commas"):
        read_flashing_ratchet(path)


def test_psor_reader(tmp_path):
    path = tmp_path / "psor.csv"
    path.write_text('"ptnum","months","state","hieffusn","ollwsdrt"\n7,1.5,1,0,1\n7,2,2,1,NA\n7,3,4,1,NA\n9,1,1,0,NA\n9,2,1,0,NA\n')
    data = read_psor(path)
    assert data.groups.tolist() == [7]
    assert data.to_list()[0][:, 0].tolist() == [0, 3]
    assert data.times[0].tolist() == [1.5, 3]
    # The last row has its own hieffusn, and the sedimentation rate of the last row before it that stays.
    np.testing.assert_array_equal(data.inputs["inputs"][0], [[0, 1], [1, 1]])
    assert read_psor(path, covariates=False).lengths.tolist() == [3, 2]
    path.write_text("ptnum,months,state,hieffusn,ollwsdrt\n7,1.5,5,0,1\n")
    with pytest.raises(ValueError, match=r"'state' holds 5 at subject 7, row 0"):
        read_psor(path)


def test_fev_reader(tmp_path):
    path = tmp_path / "fev.csv"
    path.write_text("ptnum,days,fev,acute\n1,200,80,0\n1,300,999,1\n2,190,90,1\n")
    data = read_fev(path)
    np.testing.assert_array_equal(data.to_list()[0], [[80, 3], [np.nan, 2]])
    assert data.inputs["arrival"][0, :, 0].tolist() == [0, 1]
    assert data.inputs["acute"][0, :, 0].tolist() == [0, 1]
    assert data.groups.tolist() == [1, 2]
    path.write_text("ptnum,days,fev,acute\n1,200,80,0\n1,300,999,1\n1,301,90,1\n")
    with pytest.raises(ValueError, match="patient 1 after death"):
        read_fev(path)
