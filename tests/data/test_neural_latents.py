"""Files of the Neural Latents Benchmark, made up here in its layouts, read as its own tools read them."""

import doctest
import importlib

import numpy as np
import pytest

from latentgate.data.neural_latents import RECIPES, read, read_groups, write_submission

h5py = pytest.importorskip("h5py", reason="the benchmark's files are HDF5: pip install h5py")

TRIALS, SPACING, UNITS = 26, 3.4, 7
SPLITS = np.array((["train"] * 4 + ["val"] * 2 + ["none"]) * 4)[:TRIALS]


def trial_table(name, generator, splits, unknown):
    """Columns of a trial table, times in s; each trial has room for 1.5 s before its event and 0.2 s after."""
    count = len(splits)
    begin = 1.0 + SPACING * np.arange(count)
    event = begin + 2.2 + np.round(generator.uniform(0.0, 0.5, count), 4)
    columns = {"start_time": begin, "stop_time": begin + SPACING - 0.1, "split": splits}
    if name == "dmfc_rsg":
        produced = np.round(generator.uniform(1000.0, 1450.0, count), 1)
        columns |= {"go_time": event, "set_time": event - produced / 1000, "ts": generator.choice([1100.0, 1200.0], count), "tp": produced}
        columns |= {
            "is_eye": np.arange(count) % 2,
            "theta": np.zeros(count),
            "is_short": np.arange(count) // 2 % 2,
            "is_outlier": (np.arange(count) % 9 == 4) * 1,
        }
    elif name != "mc_rtt":
        event[unknown] = np.nan
        columns["move_onset_time"] = event
        columns |= {"trial_type": np.arange(count) % 3, "trial_version": np.zeros(count, int)}
        columns |= {"cond_dir": 90.0 * (np.arange(count) % 2), "ctr_hold_bump": np.arange(count) // 2 % 2 == 1}
    return columns


def content(name, seed=0, splits=SPLITS, units=range(UNITS), unknown=6):
    """What a made-up recording holds: spikes, intervals, trials and behaviour."""
    generator = np.random.default_rng(seed)
    trials = trial_table(name, generator, splits, unknown)
    seconds = trials["stop_time"][-1] + 0.5
    spikes = [np.sort(np.round(generator.uniform(0, seconds - 0.002, int(20 * seconds)), 5)) for _ in units]
    wave = np.cumsum(generator.normal(size=(round(seconds * 1000), 2)), axis=0)
    wave[2000:2050] = np.nan
    return {
        "spikes": spikes,
        "held_out": np.isin(list(units), (1, 4)),
        "ids": np.array(units) + 100,
        "intervals": np.array([[0.0, seconds]]),
        "trials": trials,
        "behaviour": None if name == "dmfc_rsg" else (RECIPES[name].behaviour, wave),
    }


def write_by_hand(path, made):
    """An NWB 2 file as plain HDF5, with what the benchmark's files have and a reader needs."""
    with h5py.File(path, "w") as file:
        units = file.create_group("units")
        units["id"] = made["ids"]
        units["heldout"] = made["held_out"]
        units["spike_times"] = np.concatenate(made["spikes"])
        units["spike_times_index"] = np.cumsum([len(times) for times in made["spikes"]])
        units["obs_intervals"] = np.tile(made["intervals"], (len(made["ids"]), 1))
        units["obs_intervals_index"] = np.arange(1, len(made["ids"]) + 1) * len(made["intervals"])
        trials = file.create_group("intervals/trials")
        trials["id"] = np.arange(len(made["trials"]["split"]))
        for column, values in made["trials"].items():
            trials.create_dataset(column, data=values.tolist() if column == "split" else values)
        # A column of lists, as the benchmark's target positions are.
        trials["target_pos"] = np.zeros((2 * len(trials["id"]), 2))
        trials["target_pos_index"] = 2 * np.arange(1, len(trials["id"]) + 1)
        if made["behaviour"] is not None:
            series = file.create_group(f"processing/behavior/{made['behaviour'][0]}")
            series["data"] = made["behaviour"][1]
            series["starting_time"] = 0.0
            series["starting_time"].attrs["rate"] = 1000.0


def write_by_pynwb(path, made):
    """The same through the reference implementation."""
    import datetime

    pynwb = pytest.importorskip("pynwb", reason="the reference implementation of the format is the oracle: pip install pynwb")
    file = pynwb.NWBFile("made up", "1", datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC))
    file.add_unit_column("heldout", "hidden in test trials")
    for number, times, held_out in zip(made["ids"], made["spikes"], made["held_out"], strict=True):
        file.add_unit(id=int(number), spike_times=times, heldout=bool(held_out), obs_intervals=made["intervals"])
    for column in made["trials"]:
        if column not in ("start_time", "stop_time"):
            file.add_trial_column(column, column)
    for row in range(len(made["trials"]["split"])):
        file.add_trial(**{column: values[row].item() for column, values in made["trials"].items()})
    if made["behaviour"] is not None:
        module = file.create_processing_module("behavior", "behaviour")
        name, wave = made["behaviour"]
        module.add(pynwb.TimeSeries(name=name, data=wave, unit="mm/s", rate=1000.0, starting_time=0.0, comments="columns=[x,y]"))
    with pynwb.NWBHDF5IO(str(path), "w") as output:
        output.write(file)


class CopyingNumpy:
    """NumPy for nlb_tools, which overwrites the arrays of data frames; since pandas 3 they are read-only."""

    def __getattr__(self, name):
        return (lambda array, copy: np.nan_to_num(array)) if name == "nan_to_num" else getattr(np, name)


def check_against_arrays(benchmark, tensors, targets):
    held_in, bins = benchmark.held_in, tensors["train_spikes_heldin"].shape[1]
    shown = benchmark.evaluation.to_list()
    for part, data in (("train", benchmark.train), ("eval", benchmark.evaluation)):
        values = np.stack(data.to_list())
        np.testing.assert_array_equal(values[:, :bins][..., held_in], tensors[f"{part}_spikes_heldin"])
        if part == "train":
            np.testing.assert_array_equal(values[:, :bins][..., ~held_in], tensors["train_spikes_heldout"])
            np.testing.assert_array_equal(values[:, bins:][..., held_in], tensors["train_spikes_heldin_forward"])
            np.testing.assert_array_equal(values[:, bins:][..., ~held_in], tensors["train_spikes_heldout_forward"])
    assert np.isnan(np.stack(shown)[:, :, ~held_in]).all()
    assert np.isnan(np.stack(shown)[:, bins:]).all()
    for key, expected in targets.items():
        if key in ("train_cond_idx", "train_jitter"):
            continue
        if key == "eval_cond_idx":
            assert [list(one) for one in benchmark.targets[key]] == [list(one) for one in expected]
            continue
        np.testing.assert_allclose(benchmark.targets[key], np.asarray(expected, float), rtol=1e-9, atol=1e-9, err_msg=key)
    assert set(benchmark.targets) <= set(targets)


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize(("name", "bin_ms"), [("mc_maze", 20), ("mc_rtt", 20), ("area2_bump", 20), ("dmfc_rsg", 5)])
def test_as_the_benchmark_cuts_it(tmp_path, monkeypatch, name, bin_ms):
    """Every array, average responses and jitter included, equals that of nlb_tools on files that pynwb wrote; and files written by hand read the same."""
    recordings = [content(name)]
    if name == "mc_maze":
        # Two files in a row, the first with a break.
        recordings = [content(name, splits=SPLITS[:14]), content(name, seed=3, splits=SPLITS[14:])]
        recordings[0]["intervals"] = np.array([[0.0, 20.003], [20.2015, recordings[0]["intervals"][0, 1]]])
    path, by_hand = tmp_path / "pynwb", tmp_path / "by_hand"
    for folder, write in ((path, write_by_pynwb), (by_hand, write_by_hand)):
        folder.mkdir()
        for number, made in enumerate(recordings):
            write(folder / f"{number}.nwb", made)
    interface = pytest.importorskip("nlb_tools.nwb_interface", reason="nlb_tools is the oracle: pip install --no-deps nlb_tools==0.0.4")
    tools = importlib.import_module("nlb_tools.make_tensors")
    monkeypatch.setattr(interface, "np", CopyingNumpy())
    dataset = interface.NWBDataset(str(path))
    dataset.resample(bin_ms)
    options = {"save_file": False, "seed": 3}
    tensors = tools.make_train_input_tensors(dataset, name, "train", include_forward_pred=True, **options)
    tensors |= tools.make_eval_input_tensors(dataset, name, "val", **options)
    targets = tools.make_eval_target_tensors(dataset, name, "train", "val", include_psth=True, **options)
    benchmark = read(path, name, bin_ms=bin_ms, psth=True, seed=3)
    (group,) = targets
    assert benchmark.group == group
    check_against_arrays(benchmark, tensors, targets[group])
    assert set(benchmark.targets) >= {"eval_spikes_heldout", "train_behavior", "eval_behavior", "eval_spikes_heldin_forward"} | (
        {"psth", "eval_cond_idx"} if name != "mc_rtt" else set()
    )
    again = read(by_hand, name, bin_ms=bin_ms, seed=3)
    np.testing.assert_array_equal(again.train.values, benchmark.train.values)
    np.testing.assert_array_equal(again.evaluation.values, benchmark.evaluation.values)
    np.testing.assert_array_equal(again.targets["eval_behavior"], benchmark.targets["eval_behavior"])


def test_windows_by_counting(tmp_path):
    """Without any other reader: spikes of a unit in the windows that the trial table asks for, from two files in a row, and the test trials of the second."""
    made = content("mc_maze", splits=SPLITS[:10], unknown=3)
    write_by_hand(tmp_path / "a_train.nwb", made)
    rest = content("mc_maze", seed=1, splits=np.array(["test"] * 6), units=[0, 2, 3, 5, 6], unknown=3)
    rest["behaviour"] = None
    rest["intervals"] = np.array([[0.0, 7.0], [7.2, rest["intervals"][0, 1]]])
    write_by_hand(tmp_path / "b_test.nwb", rest)
    benchmark = read(tmp_path, "mc_maze", bin_ms=20, phase="test")
    assert benchmark.num_heldin == 5
    assert benchmark.targets == {}
    assert benchmark.train.names == ("unit 100", "unit 102", "unit 103", "unit 105", "unit 106", "unit 101", "unit 104")
    chosen = np.flatnonzero(np.isin(SPLITS[:10], ("train", "val")) & ~np.isnan(made["trials"]["move_onset_time"]))
    assert benchmark.train.labels["trial"].tolist() == chosen.tolist()
    assert benchmark.evaluation.labels["trial"].tolist() == [10, 11, 12, 14, 15]
    for row, trial in enumerate(chosen):
        edges = (np.ceil((made["trials"]["move_onset_time"][trial] * 1000 - 250) / 20 - 1e-9) + np.arange(46)) * 0.02
        for column, unit in enumerate((0, 2, 3, 5, 6, 1, 4)):
            expected = np.histogram(made["spikes"][unit], edges - 1e-9)[0]
            np.testing.assert_array_equal(benchmark.train.values[row, :, column], expected)
    onsets = np.delete(rest["trials"]["move_onset_time"], 3)
    for row, onset in enumerate(onsets):
        edges = (np.ceil((onset * 1000 - 250) / 20 - 1e-9) + np.arange(36)) * 0.02
        for column, times in enumerate(rest["spikes"]):
            # Only spikes in recorded intervals count, and bins that begin outside of them are missing.
            recorded = times[(times < 7.0) | (times >= 7.2)]
            missing = (edges[:-1] > 7.0 - 1e-9) & (edges[:-1] < 7.2 - 1e-9)
            found = benchmark.evaluation.to_list()[row][:35, column]
            np.testing.assert_array_equal(found, np.where(missing, np.nan, np.histogram(recorded, edges - 1e-9)[0]))
    assert any((onsets - 0.25 < 7.2) & (onsets + 0.45 > 7.0))


def test_tensors_and_submission(tmp_path):
    generator = np.random.default_rng(5)
    counts = {key: generator.poisson(0.4, size=shape).astype(float) for key, shape in SHAPES.items()}
    with h5py.File(tmp_path / "input.h5", "w") as file:
        for key, array in counts.items():
            file[key] = array
    plain = read(tmp_path / "input.h5", "mc_rtt", bin_ms=20)
    assert plain.targets == {}
    assert (plain.num_heldin, plain.num_forward, plain.group) == (4, 10, "mc_rtt_20")
    truth = {"eval_spikes_heldout": generator.poisson(0.4, size=(3, 30, 2)), "eval_spikes_heldin_forward": np.ones((3, 10, 4))}
    with h5py.File(tmp_path / "target.h5", "w") as file:
        for key, array in truth.items():
            file[f"mc_rtt_20/{key}"] = array
    benchmark = read([tmp_path / "input.h5", tmp_path / "target.h5"], "mc_rtt", bin_ms=20)
    assert benchmark.train.complete
    check_against_arrays(benchmark, counts, truth)
    rates, train_rates = np.full((3, 40, 6), 0.4), np.full((5, 40, 6), 0.3)
    rates[:, 30:] = 0.7
    submission = benchmark.submission(rates, train_rates)
    path = write_submission(tmp_path / "submission.h5", benchmark.group, submission)
    write_submission(path, "mc_maze", {key: value for key, value in submission.items() if "train" not in key})
    written = read_groups(path)
    assert set(written) == {"mc_rtt_20", "mc_maze"}
    assert {key: array.shape for key, array in written["mc_rtt_20"].items()} == {
        "train_rates_heldin": (5, 30, 4),
        "train_rates_heldout": (5, 30, 2),
        "eval_rates_heldin": (3, 30, 4),
        "eval_rates_heldout": (3, 30, 2),
        "eval_rates_heldin_forward": (3, 10, 4),
        "eval_rates_heldout_forward": (3, 10, 2),
    }
    assert written["mc_rtt_20"]["eval_rates_heldin_forward"].dtype == np.float32
    assert (written["mc_rtt_20"]["eval_rates_heldin_forward"] == np.float32(0.7)).all()
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []
    with pytest.raises(ValueError, match=r"`rates` has shape \(3, 30, 6\); expected \(3, 40, 6\), forward bins included"):
        benchmark.submission(rates[:, :30])


SHAPES = {
    "train_spikes_heldin": (5, 30, 4),
    "train_spikes_heldout": (5, 30, 2),
    "train_spikes_heldin_forward": (5, 10, 4),
    "train_spikes_heldout_forward": (5, 10, 2),
    "eval_spikes_heldin": (3, 30, 4),
}


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(ValueError, match="`name` is 'maze'; expected one of mc_maze"):
        read(tmp_path, "maze")
    with pytest.raises(ValueError, match="`bin_ms` is 7; expected a whole number of ms that divides 700 and 200"):
        read(tmp_path, "mc_maze", bin_ms=7)
    with pytest.raises(ValueError, match="`phase` is 'train'"):
        read(tmp_path, "mc_maze", phase="train")
    with pytest.raises(FileNotFoundError, match="holds no file ending in"):
        read(tmp_path, "mc_maze")
    with pytest.raises(ValueError, match=r"expected files that end in \.nwb"):
        read(tmp_path / "a.mat", "mc_maze")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read(tmp_path / "a.nwb", "mc_maze")
    (tmp_path / "no.nwb").write_text("no")
    with pytest.raises(ValueError, match="no HDF5 file"):
        read(tmp_path / "no.nwb", "mc_maze")
    with h5py.File(tmp_path / "other.nwb", "w") as file:
        file["units/id"] = np.arange(3)
    with pytest.raises(ValueError, match=r"has no units/spike_times; expected an NWB file of the Neural Latents Benchmark"):
        read(tmp_path / "other.nwb", "mc_maze")
    made = content("mc_rtt", splits=SPLITS[:7])
    write_by_hand(tmp_path / "rtt.nwb", made)
    with pytest.raises(ValueError, match="the trial table has no column 'move_onset_time'"):
        read(tmp_path / "rtt.nwb", "mc_maze")
    with pytest.raises(ValueError, match=r"no trial is of the split test and has its start_time; the splits are \['none', 'train', 'val'\]"):
        read(tmp_path / "rtt.nwb", "mc_rtt", phase="test")
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        for key, shape in SHAPES.items():
            file[key] = np.ones(shape)
    with pytest.raises(ValueError, match=r"'train_spikes_heldin' has shape \(5, 30, 4\); expected \[trial, 120, neuron\] for mc_rtt at `bin_ms` = 5"):
        read(tmp_path / "wide.h5", "mc_rtt")
    good = {"eval_rates_heldin": np.ones((3, 30, 4)), "eval_rates_heldout": np.ones((3, 30, 2))}
    for name, rates, message in (
        ("mc_rtt_10", good, "`name` is 'mc_rtt_10'"),
        ("mc_rtt", good | {"rates": 1}, "`rates` has 'rates'"),
        ("mc_rtt", {"eval_rates_heldin": good["eval_rates_heldin"]}, "`rates` has no 'eval_rates_heldout'"),
        ("mc_rtt", good | {"eval_rates_heldout": -np.ones((3, 30, 2))}, "holds -1.0; expected finite rates"),
        ("mc_rtt", good | {"eval_rates_heldout": np.full((3, 30, 2), 1e-60)}, "float32"),
        ("mc_rtt", good | {"eval_rates_heldout": np.ones((2, 30, 2))}, "expected the same trials and bins"),
        ("mc_rtt", good | {"train_rates_heldin": np.ones((2, 30, 4))}, "but no 'train_rates_heldout'"),
    ):
        with pytest.raises(ValueError, match=message):
            write_submission(tmp_path / "submission.h5", name, rates)
    assert not (tmp_path / "submission.h5").exists()


@pytest.mark.parametrize("module", ["tensors", "benchmark"])
def test_examples(module):
    assert doctest.testmod(importlib.import_module(f"latentgate.data.neural_latents.{module}"), raise_on_error=True).attempted > 0
