"""The decisions of a monkey: facts on the real file, cutting rules on a made-up one."""

import os
from pathlib import Path

import numpy as np
import pytest

from latentgate.data import RECORDINGS, load
from latentgate.data.monkey_pmd_decisions import read_npz


def test_facts():
    folder = os.environ.get("LATENTGATE_DATA")
    if not folder or not (Path(folder) / RECORDINGS["monkey_pmd_decisions"].file).is_file():
        pytest.skip("monkey_pmd_decisions.npz is not in the folder that LATENTGATE_DATA names")
    data = load("monkey_pmd_decisions", download=False)
    assert (data.num_sequences, data.num_features, data.bin_width) == (1056, 14, 0.01)
    np.testing.assert_array_equal(data.lengths - 1, np.floor(data.labels["reaction_time"] / 0.01 + 1e-6))
    assert data.labels["reaction_time"].min() == pytest.approx(0.307)
    assert (data.labels["chosen_right"] == data.labels["correct_right"]).mean() > 0.8
    easy = ~data.labels["hard"]
    assert (data.labels["chosen_right"] == data.labels["correct_right"])[easy].mean() > 0.97
    assert not data.observed[np.arange(1056), data.lengths - 1].any()
    # What the whole trial holds between stimulus and reaction, bin by bin or in one bin of the same window.
    late = load("monkey_pmd_decisions", bin_width=0.3, boundary=False, trials=slice(0, 50), download=False)
    for index in range(50):
        np.testing.assert_array_equal(late.values[index, late.lengths[index] - 1], data.to_list()[index][:-1][-30:].sum(0))


def write(path, **changed):
    """Two trials of two neurons: spike times of trial 0 neuron 0, trial 0 neuron 1, trial 1 neuron 0, trial 1 neuron 1."""
    spikes = [[0.95, 1.0, 1.05, 1.31], [1.0999, 1.3999], [], [2.5, 2.549, 2.55]]
    fields = {
        "spike_times": np.concatenate([np.asarray(own, np.float32) for own in spikes]),
        "offsets": np.cumsum([0, *map(len, spikes)]),
        "num_trials": 2,
        "num_neurons": 2,
        "stimulus_onset": np.array([1.0, 2.4]),
        "reaction_time": np.array([0.4, 0.2]),
        "chosen_right": np.array([True, False]),
        "correct_right": np.array([True, True]),
        "hard": np.array([False, True]),
    }
    fields = {name: value for name, value in (fields | changed).items() if value is not None}
    np.savez(path, **fields)
    return path


def test_bins_end_with_the_reaction(tmp_path):
    path = write(tmp_path / "made_up.npz")
    data = read_npz(path, bin_width=0.1)
    assert data.lengths.tolist() == [5, 3]
    assert data.to_list()[0][:4].tolist() == [[2, 1], [0, 0], [0, 0], [1, 1]]
    assert data.to_list()[1][:2].tolist() == [[0, 0], [0, 3]], "a spike on an edge belongs to the bin it opens"
    assert np.isnan(data.to_list()[0][4]).all()
    assert data.inputs["boundary"][:, :, 0].tolist() == [[0, 0, 0, 0, 1], [0, 0, 1, 0, 0]]
    assert data.labels["chosen_right"].tolist() == [True, False]
    plain = read_npz(path, bin_width=0.1, start=-0.1, end=-0.15, boundary=False, trials=[1])
    # From 2.3 to 2.45: one bin, laid from the end.
    assert plain.to_list()[0].tolist() == [[0, 0]]
    assert (plain.times, plain.labels["trial"].tolist(), plain.bin_width) == (None, [1], 0.1)
    shifted = read_npz(path, bin_width=0.06, trials=[0])
    # 0.4 s are six bins of 60 ms, and 40 ms at the stimulus are left out.
    assert shifted.to_list()[0][:6].sum(0).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bin_width": 0.0}, "`bin_width` is 0.0"),
        ({"start": "a"}, "`start` is 'a'"),
        ({"end": np.nan}, "`end` is nan"),
        ({"start": 0.35, "bin_width": 0.1}, "leave 0.050 s of trial 0"),
    ],
)
def test_errors(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        read_npz(write(tmp_path / "made_up.npz"), **options)


def test_errors_of_the_file(tmp_path):
    with pytest.raises(ValueError, match="no array 'hard'"):
        read_npz(write(tmp_path / "short.npz", hard=None))
    with pytest.raises(ValueError, match="offsets of shape"):
        read_npz(write(tmp_path / "wrong.npz", offsets=np.array([0, 9])))
