"""NWB files: small ones are written here with pynwb, and read against NumPy and pynapple."""

import datetime
import sys
import warnings

import numpy as np
import pytest
import xarray as xr

import latentgate as lg
from latentgate.data import Sequences
from latentgate.inference import Fit
from latentgate.inference.outcomes import Outcome

pynwb = pytest.importorskip("pynwb")
from latentgate.adapters.nwb import Contents, add_results, describe, read  # noqa: E402

IDS, LOCATIONS, QUALITIES = [12, 5, 7, 30], ["M1", "PMd", "M1", "M1"], ["good", "good", "poor", "good"]
WIDTH, DURATION = 0.02, 20.0
STARTS = np.array([0.5, 4.0, 7.5, 12.0, 16.0])
STOPS = STARTS + np.array([2.0, 3.1, 1.5, 2.0, 3.0])
CUES = np.array([1.2, 5.0, np.nan, 13.0, 17.5])
OBSERVED = [[[0.0, 9.0], [9.0, 20.0]], [[0.0, 12.511], [13.0, 20.0]], [], [[0.0, 20.0]]]
POSITION = np.random.default_rng(1).integers(0, 1000, (2000, 2))
ROOT = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)


def spike_times():
    rng = np.random.default_rng(0)
    return [np.sort(rng.uniform(0, DURATION, 300 + 100 * unit)) for unit in range(4)]


def example_file():
    file = pynwb.NWBFile("a reaching monkey", "one", ROOT)
    device = file.create_device("probe")
    file.add_electrode_column("depth", "mm")
    groups = {name: file.create_electrode_group(f"shank {name}", "a shank", name, device) for name in ("M1", "PMd")}
    for name, group in groups.items():
        for depth in (1.0, 2.0):
            file.add_electrode(location=name, group=group, depth=depth)
    file.add_unit_column("quality", "of the cluster")
    for unit, times in enumerate(spike_times()):
        electrodes = [0, 1] if LOCATIONS[unit] == "M1" else [2]
        file.add_unit(
            id=IDS[unit],
            spike_times=times,
            obs_intervals=np.reshape(OBSERVED[unit], (-1, 2)),
            quality=QUALITIES[unit],
            electrodes=electrodes,
            electrode_group=groups[LOCATIONS[unit]],
        )
    for name in ("go_cue_time", "rewarded", "target", "difficulty"):
        file.add_trial_column(name, name)
    file.add_trial_column("lick_times", "several a trial", index=True)
    for trial, (start, stop, cue) in enumerate(zip(STARTS, STOPS, CUES, strict=True)):
        licks = start + 0.3 * np.arange(1, trial + 2)
        file.add_trial(start, stop, go_cue_time=cue, rewarded=trial % 2 == 0, target="left" if trial < 2 else "right", difficulty=trial / 2, lick_times=licks)
    blocks = pynwb.epoch.TimeIntervals(name="blocks", description="two blocks")
    blocks.add_row(start_time=0.0, stop_time=10.0)
    blocks.add_row(start_time=10.0, stop_time=20.0)
    file.add_time_intervals(blocks)
    behaviour = file.create_processing_module("behavior", "behaviour")
    hand = pynwb.behavior.SpatialSeries(
        name="hand_position", data=POSITION, reference_frame="screen", unit="m", conversion=0.001, offset=-0.25, rate=100.0, starting_time=0.005
    )
    behaviour.add(pynwb.behavior.Position(spatial_series=hand))
    stamps = np.arange(0.0, DURATION, 0.005) ** 1.0
    behaviour.add(pynwb.TimeSeries(name="force", data=np.sin(stamps), unit="N", timestamps=stamps))
    file.add_acquisition(pynwb.TimeSeries(name="force", data=np.cos(stamps), unit="V", timestamps=stamps))
    file.add_acquisition(pynwb.TimeSeries(name="laser", data=np.ones(3), unit="a.u.", timestamps=[1.0, 1.5, 18.0]))
    return file


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    path = tmp_path_factory.mktemp("nwb") / "session.nwb"
    with pynwb.NWBHDF5IO(path, "w") as target:
        target.write(example_file())
    return path


def oracle_counts(start, num_bins, unit):
    """By its definition, one bin after the other."""
    times = spike_times()[unit]
    opens = [start + WIDTH * step for step in range(num_bins)]
    return np.array([((times >= left) & (times < left + WIDTH)).sum() for left in opens], float)


def test_counts_in_trials_with_gaps(session):
    data = lg.load(session, bin_width=WIDTH)
    assert data.names == ("unit 12", "unit 5", "unit 7", "unit 30")
    np.testing.assert_array_equal(data.starts, STARTS)
    assert data.lengths.tolist() == [100, 155, 75, 100, 150]
    for trial, rows in enumerate(data.to_list()):
        expected = np.stack([oracle_counts(STARTS[trial], len(rows), unit) for unit in range(4)], axis=1)
        if trial == 3:
            # Unit 5 pauses from 12.511 to 13.0: the bin that begins at 12.5 is cut, that of 13.0 is whole.
            assert np.isnan(rows[25:50, 1]).all()
            expected[25:50, 1] = np.nan
        np.testing.assert_array_equal(rows, expected)
    assert data.complete is False


def test_counts_are_those_of_pynapple(session):
    nap = pytest.importorskip("pynapple")
    units = nap.load_file(str(session))["units"]
    data = lg.load(session, bin_width=WIDTH)
    # Of a bin inside an epoch, pynapple has the same half-open one; the last is closed on the right there.
    for trial, rows in enumerate(data.to_list()):
        epoch = nap.IntervalSet(STARTS[trial], STARTS[trial] + WIDTH * len(rows))
        theirs = units.count(WIDTH, epoch)
        ours = np.where(np.isnan(rows), 0, rows).sum(0)
        order = [list(theirs.columns).index(unit) for unit in IDS]
        whole = np.where(np.isnan(rows), np.nan, theirs.values[:, order])
        np.testing.assert_array_equal(rows, whole)
        assert ours.sum() > 100


def test_labels_and_events(session):
    data = lg.load(session, bin_width=WIDTH)
    assert set(data.labels) == {"trial", "rewarded", "target", "difficulty"}
    assert data.labels["rewarded"].tolist() == [True, False, True, False, True]
    assert data.labels["rewarded"].dtype == bool
    assert data.labels["target"].tolist() == ["left", "left", "right", "right", "right"]
    assert data.labels["difficulty"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert set(data.events) == {"go_cue_time", "lick_times"}
    np.testing.assert_allclose(np.concatenate(data.events["go_cue_time"]), [0.7, 1.0, 1.0, 1.5])
    assert [len(times) for times in data.events["go_cue_time"]] == [1, 1, 0, 1, 1]
    assert [len(times) for times in data.events["lick_times"]] == [1, 2, 3, 4, 5]
    few = lg.load(session, bin_width=WIDTH, labels="target", events=["lick_times", "acquisition/laser"])
    assert set(few.labels) == {"trial", "target"}
    assert set(few.events) == {"lick_times", "laser"}
    assert [times.round(9).tolist() for times in few.events["laser"]] == [[0.5, 1.0], [], [], [], [2.0]]
    assert lg.load(session, bin_width=WIDTH, events=[], labels=[]).events == {}


def test_alignment_leaves_out_trials_without_the_event(session):
    with pytest.warns(UserWarning, match=r"1 of 5 rows of 'trials' have no go_cue_time"):
        data = lg.load(session, bin_width=WIDTH, align="go_cue_time", window=(-0.3, 0.7))
    assert data.labels["trial"].tolist() == [0, 1, 3, 4]
    assert data.lengths.tolist() == [50] * 4
    np.testing.assert_allclose(data.starts, CUES[[0, 1, 3, 4]] - 0.3)
    np.testing.assert_allclose(np.concatenate(data.events["go_cue_time"]), 0.3)
    # Before and after the windows.
    assert [len(times) for name in ("start_time", "stop_time") for times in data.events[name]] == [0] * 8
    counts = np.stack([oracle_counts(data.starts[2], 50, unit) for unit in (0, 2, 3)], axis=1)
    np.testing.assert_array_equal(data.to_list()[2][:, [0, 2, 3]], counts)
    # Unit 5 is observed again at the cue, at 13.0.
    np.testing.assert_array_equal(np.isnan(data.to_list()[2][:, 1]), np.arange(50) < 15)


def test_events_belong_to_their_own_trial(session):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = lg.load(session, bin_width=0.5, align="go_cue_time", window=(-5.0, 5.0))
    # The windows overlap: cues of other trials fall into them, and are not theirs.
    assert [times.tolist() for times in data.events["go_cue_time"]] == [[5.0]] * 4


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ({"location": "M1", "quality": "good"}, ("unit 12", "unit 30")),
        ({"location": ["PMd", "M1"], "quality": "poor"}, ("unit 7",)),
        ({"depth": 1.0}, ("unit 5",)),
        ({"group": "shank PMd"}, ("unit 5",)),
        ([True, False, False, True], ("unit 12", "unit 30")),
        ([3, 0], ("unit 30", "unit 12")),
    ],
)
def test_choice_of_units(session, units, expected):
    data = lg.load(session, bin_width=0.5, units=units)
    assert data.names == expected
    names = [f"unit {unit}" for unit in IDS]
    np.testing.assert_array_equal(data.values, lg.load(session, bin_width=0.5).values[..., [names.index(name) for name in expected]])


def test_behaviour_in_its_unit(session):
    place = "processing/behavior/Position/hand_position"
    data = lg.load(session, bin_width=WIDTH, behaviour=["hand_position", "processing/behavior/force"])
    assert data.input_names == {"hand_position": ("x", "y"), "force": ("force",)}
    metres, when = POSITION * 0.001 - 0.25, 0.005 + np.arange(len(POSITION)) / 100
    for step in (0, 40, 149):
        inside = (when >= STARTS[4] + step * WIDTH) & (when < STARTS[4] + (step + 1) * WIDTH)
        assert inside.sum() == 2
        np.testing.assert_allclose(data.inputs["hand_position"][4, step], metres[inside].mean(0), rtol=1e-12)
    centres = STARTS[1] + WIDTH * (np.arange(155) + 0.5)
    np.testing.assert_allclose(data.inputs["force"][1, :, 0], np.sin(centres - 0.0025), atol=1e-4)
    named = lg.load(session, bin_width=WIDTH, behaviour={"hand": place})
    np.testing.assert_array_equal(named.inputs["hand"], data.inputs["hand_position"])


def test_other_trials(session):
    blocks = lg.load(session, bin_width=WIDTH, trials="blocks", units=[0])
    assert blocks.starts.tolist() == [0.0, 10.0]
    np.testing.assert_array_equal(blocks.to_list()[1][:, 0], oracle_counts(10.0, 500, 0))
    whole = lg.load(session, bin_width=WIDTH, trials=None)
    assert (whole.num_sequences, whole.num_steps, whole.starts.tolist()) == (1, 1000, [0.0])
    given = lg.load(session, bin_width=WIDTH, trials=[[1.0, 2.0]], units=[0], events="laser")
    np.testing.assert_array_equal(given.to_list()[0][:, 0], oracle_counts(1.0, 50, 0))
    assert given.events["laser"][0].tolist() == [0.0, 0.5]


def test_a_gap_between_intervals_that_touch_is_none():
    from latentgate.adapters.nwb import _within

    opens = np.arange(10) * 0.1
    touching = np.array([[0.3, 0.6], [0.0, 0.3], [0.1, 0.2], [0.7, 0.9]])
    assert _within(opens, opens + 0.1, touching, 1e-7).tolist() == [True] * 6 + [False, True, True, False]
    across = opens[:8] + 0.05
    assert _within(across, across + 0.1, touching, 1e-7).tolist() == [True] * 5 + [False, False, True]


def test_description_says_what_is_there(session):
    found = describe(session)
    assert isinstance(found, Contents)
    assert found.num_units == 4
    assert found.unit_columns["location"] == ("M1", "PMd")
    assert found.unit_columns["quality"] == ("good", "poor")
    rows, columns = found.tables["trials"]
    assert rows == 5
    assert {"go_cue_time", "rewarded", "lick_times"} <= set(columns)
    assert found.tables["blocks"] == (2, ("start_time", "stop_time"))
    assert set(found.series) == {"acquisition/force", "acquisition/laser", "processing/behavior/force", "processing/behavior/Position/hand_position"}
    for part in ("a reaching monkey", "units: 4", "'blocks': 2 rows", "(2000, 2) in m, 100 per s from 0.005 s", "from 1 to 18 s"):
        assert part in str(found)
    # Whatever the description names, `load` finds.
    for name in found.series:
        record = lg.load(session, bin_width=0.5, trials=[[1.1, 1.4 + 0.2]], behaviour={"x": name})
        assert record.num_inputs["x"] in (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"`bin_width` is needed.*bin_width=0\.02[\s\S]*units: 4[\s\S]*'trials': 5 rows[\s\S]*hand_position"),
        ({"bin_width": 0.1, "trials": "trails"}, r"`trials` is 'trails'.*no interval table.*'trials'.*'blocks'|`trials` is 'trails'.*'blocks'.*'trials'"),
        ({"bin_width": 0.1, "align": "cue_time", "window": (0, 1)}, r"`align` is 'cue_time'.*'go_cue_time'"),
        ({"bin_width": 0.1, "align": "go_cue_time"}, r"`align` is given without `window`"),
        ({"bin_width": 0.1, "align": "start_time", "window": (1, 0)}, r"`window` is \(1, 0\); expected \(before, after\)"),
        ({"bin_width": 0.1, "align": "go_cue_time", "window": (0, 1), "trials": None}, r"`align` names columns of an interval table"),
        ({"bin_width": 0.1, "behaviour": "velocity"}, r"'velocity', but the file has no time series of that name; it has: .*hand_position"),
        ({"bin_width": 0.1, "behaviour": ["force"]}, r"2: .*acquisition/force.*; expected one of these paths"),
        ({"bin_width": 0.1, "units": {"area": "M1"}}, r"asks for 'area', which the units do not have; they have: .*'quality'.*'location'"),
        ({"bin_width": 0.1, "units": {"location": "V1"}}, r"location 'V1', which no unit has; expected some of: 'M1', 'PMd'"),
        ({"bin_width": 0.1, "units": {"location": "PMd", "quality": "poor"}}, r"no unit has all that"),
        ({"bin_width": 0.1, "units": [12, 5]}, r"row numbers from 0 to 3 \(ids are asked for by"),
        ({"bin_width": 0.1, "units": [True, False]}, r"2 booleans.*each of the 4 units"),
        ({"bin_width": 0.1, "labels": ["colour"]}, r"`labels` asks for 'colour'.*'target'"),
        ({"bin_width": 0.1, "events": ["saccade"]}, r"`events` asks for 'saccade'.*'go_cue_time'.*'acquisition/laser'"),
        ({"bin_width": 0.1, "trials": [[500.0, 501.0]]}, r"no spike falls into any trial"),
    ],
)
def test_errors_list_what_the_file_has(session, options, message):
    with pytest.raises(ValueError, match=message):
        lg.load(session, **options)


def test_files_that_are_none(tmp_path, session):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.nwb"):
        read(tmp_path / "nowhere.nwb", 0.1)
    (tmp_path / "text.nwb").write_text("no HDF5")
    with pytest.raises(ValueError, match=r"text\.nwb is no NWB file"):
        lg.load(tmp_path / "text.nwb", bin_width=0.1)
    with pytest.importorskip("h5py").File(tmp_path / "plain.nwb", "w") as plain:
        plain["counts"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"plain\.nwb is no NWB file.*of NWB 2"):
        lg.load(tmp_path / "plain.nwb", bin_width=0.1)
    with pytest.raises(TypeError, match=r"`binwidth` is no option of a \.nwb file; it has: bin_width, trials.*Did you mean 'bin_width'"):
        lg.load(session, binwidth=0.1)
    with pynwb.NWBHDF5IO(tmp_path / "empty.nwb", "w") as target:
        target.write(pynwb.NWBFile("empty", "two", ROOT))
    with pytest.raises(ValueError, match="no table of units with spike times"):
        lg.load(tmp_path / "empty.nwb", bin_width=0.1)


def test_without_pynwb(session, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("latentgate.adapters") and "nwb" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pynwb", None)
    with pytest.raises(ImportError, match=r"pip install 'latentgate\[nwb\]'"):
        lg.load(session, bin_width=0.1)


def results(data):
    """Results of every kind with the dimensions that a fit gives them."""
    rng = np.random.default_rng(2)
    shape, mask = (data.num_sequences, data.max_length), np.asarray(data.mask)
    probabilities = np.where(mask[..., None], rng.dirichlet([1.0, 1.0, 1.0], shape), np.nan)
    path = np.where(mask, rng.integers(0, 3, shape), -1)
    roots = rng.normal(size=(*shape, 2, 2))
    moments = {"mean": rng.normal(size=(*shape, 2)), "covariance": roots @ roots.swapaxes(-1, -2)}
    dims = ("sequence", "time", "latent", "latent_other")
    return (
        xr.DataArray(probabilities, dims=("sequence", "time", "state"), name="smoothed"),
        xr.DataArray(path, dims=("sequence", "time"), name="most_probable_path"),
        xr.Dataset({name: (dims[: value.ndim], np.where(mask.reshape(*shape, *[1] * (value.ndim - 2)), value, np.nan)) for name, value in moments.items()}),
    )


def test_results_are_written_valid_and_read_back(session, tmp_path):
    data = lg.load(session, bin_width=0.5)
    probabilities, path, moments = results(data)
    out = tmp_path / "with results.nwb"
    with pynwb.NWBHDF5IO(session, "r") as source:
        file = source.read()
        for result, options in ((probabilities, {"description": "Three states."}), (path, {"name": "states"}), (moments, {})):
            assert add_results(file, result, data, **options)
        with pytest.raises(ValueError, match=r"has 'smoothed' already; it has: 'smoothed', 'states', 'latents_mean', 'latents_sd'"):
            add_results(file, probabilities, data)
        with pynwb.NWBHDF5IO(out, "w") as target:
            target.export(src_io=source, nwbfile=file)
    assert not pynwb.validate(path=out)
    centres = np.concatenate([start + 0.5 * (np.arange(length) + 0.5) for start, length in zip(STARTS, data.lengths, strict=True)])
    mask = np.asarray(data.mask)
    with pynwb.NWBHDF5IO(out, "r") as source:
        module = source.read().processing["latentgate"]
        smoothed = module["smoothed"]
        np.testing.assert_array_equal(smoothed.data[:], probabilities.values[mask])
        np.testing.assert_allclose(smoothed.timestamps[:], centres, rtol=1e-15)
        assert smoothed.unit == "probability"
        assert smoothed.description == "Three states. Columns: state 0, state 1, state 2."
        np.testing.assert_array_equal(module["latents_mean"].data[:], moments["mean"].values[mask])
        variances = np.einsum("stii->sti", moments["covariance"].values)[mask]
        np.testing.assert_allclose(module["latents_sd"].data[:] ** 2, variances, rtol=1e-12)
        table = module["states"].to_dataframe()
    rebuilt = np.full(mask.shape, -1)
    for row in table.itertuples():
        inside = (centres > row.start_time) & (centres < row.stop_time)
        places = np.argwhere(mask)[inside]
        assert set(places[:, 0]) == {row.sequence}
        rebuilt[tuple(places.T)] = row.state
    np.testing.assert_array_equal(rebuilt, path.values)
    assert (table.start_time.to_numpy()[1:] >= table.stop_time.to_numpy()[:-1]).all()
    within = np.diff(table.sequence) == 0
    assert (np.diff(table.state)[within] != 0).all()
    again = lg.load(out, bin_width=0.5, behaviour={"states": "smoothed"}, trials=[[0.5, 2.5]])
    np.testing.assert_allclose(again.inputs["states"][0], probabilities.values[0, :4], rtol=1e-12)


def test_results_of_a_fit_say_where_they_are_from(session):
    data = lg.load(session, bin_width=0.5)
    params = {"initial.probs": np.full(2, 0.5), "transition.probs": np.full((2, 2), 0.5), "emission.rates": np.ones((2, 4))}
    fit = Fit(lg.HMM(2, lg.emissions.Poisson(4)), params, engine="EM(restarts=1)", seed=7, outcome=Outcome.ITERATION_LIMIT, converged=False)
    file = example_file()
    (series,) = add_results(file, results(data)[0], data, fit=fit, description="Engaged or not.")
    assert series.description.startswith("Engaged or not. Model: HMM(num_states=2, emission=Poisson, transition=Stationary, ")
    assert " at 0x" not in series.description
    for part in ("emission.rates (2, 4)", "Engine: EM(restarts=1), seed 7", Outcome.ITERATION_LIMIT.value, "Columns: state 0"):
        assert part in series.description


def test_results_that_cannot_be_added():
    data = Sequences.from_arrays([np.zeros(3)], bin_width=0.1)
    path = xr.DataArray([[0, 1, 1]], dims=("sequence", "time"))
    with pytest.raises(TypeError, match=r"`nwbfile` is of type str"):
        add_results("file.nwb", path, data)
    with pytest.raises(ValueError, match=r"`name` is ''"):
        add_results(example_file(), path, data)
    with pytest.raises(ValueError, match=r"no `starts`, and no `times`.*Sequences\.from_arrays\(.*starts=\["):
        add_results(example_file(), path, data, name="states")
    irregular = Sequences.from_arrays([np.zeros(3)], times=[[0.0, 0.1, 0.5]])
    with pytest.raises(ValueError, match="a run of states begins and ends with a bin"):
        add_results(example_file(), path, irregular, name="states")
