"""The recordings for decoding: published facts on the real files, parsers and cutting rules on made-up ones."""

import os
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from latentgate.data import RECORDINGS, RecordingUnavailable, load, recordings
from latentgate.data import video_position_tracking as tracking
from latentgate.data.lorenz_spikes import read_hdf5
from latentgate.data.monkey_reach_flint import read_csv
from latentgate.data.rat_linear_track import cut_laps, read_track

HEADER = b"<Start settings>\nthreshold: 199\nclockrate: 1000\nFields: <time uint32><xloc uint16><yloc uint16>\n<End settings>\n"


def real(name):
    folder = os.environ.get("LATENTGATE_DATA")
    for file in RECORDINGS[name].files:
        if not folder or not (Path(folder) / file.file).is_file():
            pytest.skip(f"{file.file} is not in the folder that LATENTGATE_DATA names")
    return load(name, download=False)


def test_flint_facts():
    data = real("monkey_reach_flint")
    assert data.values.shape == (1, 7792, 10)
    assert data.num_inputs == {"velocity": 2}
    assert data.bin_width == 0.1
    assert data.complete
    train, test = slice(0, 5000), slice(5000, 6000)
    z, x = data.inputs["velocity"][0], data.values[0]
    # The Kalman filter that the authors compare with, in its information form: their published numbers are 0.889 rad and 0.765.
    before, after = z[train][:-1], z[train][1:]
    dynamics = np.linalg.lstsq(before, after, rcond=None)[0].T
    noise = (after - before @ dynamics.T).T @ (after - before @ dynamics.T) / len(after)
    loadings = np.linalg.lstsq(z[train], x[train], rcond=None)[0].T
    residuals = x[train] - z[train] @ loadings.T
    gain = loadings.T @ np.linalg.inv(residuals.T @ residuals / len(residuals))
    mean, covariance, decoded = np.zeros(2), np.cov(z[train].T), []
    for index, row in enumerate(x[test]):
        if index:
            mean, covariance = dynamics @ mean, dynamics @ covariance @ dynamics.T + noise
        posterior = np.linalg.inv(np.linalg.inv(covariance) + gain @ loadings)
        mean, covariance = posterior @ (np.linalg.solve(covariance, mean) + gain @ row), posterior
        decoded.append(mean)
    decoded = np.array(decoded)
    angles = np.arctan2(z[test][:, 1], z[test][:, 0]) - np.arctan2(decoded[:, 1], decoded[:, 0])
    assert abs(np.abs(np.arctan2(np.sin(angles), np.cos(angles))).mean() - 0.889) < 0.002
    assert abs(np.sqrt(((z[test] - decoded) ** 2).sum() / (z[test] ** 2).sum()) - 0.765) < 0.001


def test_flint_parser(tmp_path):
    neural, velocity = tmp_path / "x.csv", tmp_path / "z.csv"
    neural.write_text("1,2,3\n4,5,6\n")
    velocity.write_text("0.1,0.2\n-0.3,0.4\n")
    data = read_csv(neural, velocity)
    assert data.values[0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert data.inputs["velocity"][0].tolist() == [[0.1, 0.2], [-0.3, 0.4]]
    assert data.input_names == {"velocity": ("x", "y")}
    velocity.write_text("0.1,0.2\n")
    with pytest.raises(ValueError, match="2 rows but"):
        read_csv(neural, velocity)
    with pytest.raises(ValueError, match="3 columns"):
        read_csv(neural, neural)
    neural.write_text("1,two,3\n")
    with pytest.raises(ValueError, match="cannot be read"):
        read_csv(neural, velocity)


def test_lorenz_facts():
    data = real("lorenz_spikes")
    assert data.values.shape == (800, 100, 60)
    assert data.num_inputs == {"rates": 60, "latents": 3}
    assert (data.labels["split"] == "train").sum() == 640
    assert (data.labels["split"] == "valid").sum() == 160
    assert sorted(data.labels["trial"]) == list(range(800))
    counts, rates, latents = data.values, data.inputs["rates"], data.inputs["latents"]
    assert (counts == np.floor(counts)).all()
    # Counts are Poisson with the true rates: their total has the expected value within four standard deviations (false alarm 6e-5).
    expected = rates.sum() * data.bin_width
    assert abs(counts.sum() - expected) < 4 * np.sqrt(expected)
    np.testing.assert_allclose(latents.std((0, 1)), 1.0, atol=0.02)
    for condition in (0, 19):
        of_condition = data.labels["condition"] == condition
        assert of_condition.sum() == 40
        assert np.ptp(latents[of_condition], axis=0).max() == 0


def write_lorenz(path, without=None):
    with netCDF4.Dataset(path, "w") as file:
        for name, size in {"train": 3, "valid": 2, "time": 4, "neuron": 5, "latent": 3, "one": 1}.items():
            file.createDimension(name, size)
        values = {"n_trials_per_init_cond": (("one",), [2])}
        for part, trials in (("train", [0, 3, 4]), ("valid", [1, 2])):
            values[f"{part}_data"] = ((part, "time", "neuron"), np.full((len(trials), 4, 5), trials[0]))
            values[f"{part}_truth"] = ((part, "time", "neuron"), np.ones((len(trials), 4, 5)))
            values[f"{part}_lowd"] = ((part, "time", "latent"), np.zeros((len(trials), 4, 3)))
            values[f"{part}_inds"] = ((part,), trials)
        for name, (dimensions, value) in values.items():
            if name != without:
                file.createVariable(name, "f8" if "_inds" not in name else "i8", dimensions)[:] = value
    return path


def test_lorenz_parser(tmp_path):
    data = read_hdf5(write_lorenz(tmp_path / "a.h5"))
    assert data.labels["split"].tolist() == ["train"] * 3 + ["valid"] * 2
    assert data.labels["trial"].tolist() == [0, 3, 4, 1, 2]
    assert data.labels["condition"].tolist() == [0, 1, 2, 0, 1]
    assert data.values[:, 0, 0].tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(ValueError, match=r"no array 'valid_lowd'.*train_data"):
        read_hdf5(write_lorenz(tmp_path / "b.h5", without="valid_lowd"))


def test_linear_track_facts():
    data = real("rat_linear_track")
    assert data.num_features == 31
    assert data.names[:2] == ("tetrode 1 unit 1", "tetrode 1 unit 2")
    assert set(data.inputs) == {"position", "velocity", "speed"}
    assert (data.num_sequences, data.num_steps) == (45, 2215)
    assert (data.labels["direction"] == "forward").sum() == 24
    # Laps are in the quarter of an hour on the track, one after the other.
    starts = data.labels["start"]
    assert (np.diff(starts) > data.lengths[:-1] * data.bin_width).all()
    assert starts[0] > 4397
    assert starts[-1] < 4397 + 1000
    for index, length in enumerate(data.lengths):
        position, velocity = (data.inputs[name][index, :length, 0] for name in ("position", "velocity"))
        assert np.sign(position[-1] - position[0]) == (1 if data.labels["direction"][index] == "forward" else -1)
        assert abs(position[-1] - position[0]) > 200
        assert -10 < position.min() < position.max() < 430
        assert np.abs(velocity).max() < 200
    folder = Path(os.environ["LATENTGATE_DATA"])
    tracked = tracking.read(folder / "rat_linear_track.videoPositionTracking")
    assert tracked.positions.shape == (118_964, 2)  # of 118 965 records two have the same time
    assert tracked.settings["camera resolution"] == "640x480"
    narrow = load("rat_linear_track", bin_width=0.05, minimum_speed=40.0, maximum_pause=0.0, download=False)
    assert narrow.num_sequences < 45
    assert narrow.inputs["speed"][0].max() < 200


def track_file(path, ticks, x, y, header=HEADER, cut=0):
    records = np.zeros(len(ticks), [("time", "<u4"), ("x", "<u2"), ("y", "<u2")])
    records["time"], records["x"], records["y"] = ticks, x, y
    content = header + records.tobytes()
    path.write_bytes(content[: len(content) - cut])
    return path


def test_position_parser(tmp_path):
    tracked = tracking.read(track_file(tmp_path / "a", [5000, 5016, 5016, 5033], [1, 2, 3, 40_000], [9, 8, 7, 6]))
    assert tracked.times.tolist() == [5.0, 5.016, 5.033]
    assert tracked.positions.tolist() == [[1, 9], [3, 7], [40_000, 6]]
    assert tracked.settings["threshold"] == "199"


@pytest.mark.parametrize(
    ("header", "ticks", "cut", "message"),
    [
        (b"no header\n", [1, 2], 0, "does not begin with a header"),
        (HEADER.replace(b"clockrate: 1000\n", b""), [1, 2], 0, "clockrate"),
        (HEADER.replace(b"xloc", b"abscissa"), [1, 2], 0, "xloc"),
        (HEADER.replace(b"xloc uint16", b"xloc nibble"), [1, 2], 0, "'nibble'"),
        (HEADER, [1, 2], 3, "cut off"),
        (HEADER, [2, 1], 0, "runs backwards: frame 1"),
    ],
)
def test_position_parser_errors(tmp_path, header, ticks, cut, message):
    with pytest.raises(ValueError, match=message):
        tracking.read(track_file(tmp_path / "a", ticks, [0, 0], [0, 0], header, cut))


def runs():
    """Times, positions and spikes of a made-up session of 40 s: there in 8 s, rest, back in 8 s with a pause, rest, half-way and back."""
    times = 100 + np.arange(0, 40, 0.01)
    along = np.interp(times - 100, [0, 4, 12, 16, 20, 20.3, 24.3, 28, 30, 32, 40], [0, 0, 400, 400, 200, 200, 0, 0, 100, 0, 0])
    return times, np.stack([100 + 0.8 * along, 50 + 0.6 * along], axis=1), along


def test_laps_of_a_made_up_session(tmp_path):
    times, positions, along = runs()
    spikes = [np.array([100.0, 106.0, 106.01, 118.0]), np.arange(100, 140, 0.5) + 0.013, np.array([])]
    data = cut_laps(spikes, times, positions, bin_width=0.1)
    assert data.labels["direction"].tolist() == ["forward", "backward"]
    np.testing.assert_allclose(data.labels["start"], [104, 116], atol=0.2)
    np.testing.assert_allclose(data.lengths * 0.1, [8, 8.3], atol=0.3)
    assert data.names == ("unit 0", "unit 1", "unit 2")
    for index, length in enumerate(data.lengths):
        middles = data.labels["start"][index] + 0.1 * (np.arange(length) + 0.5)
        position = data.inputs["position"][index, :length, 0]
        expected = np.interp(middles, times, along)
        # The lower end is the first percentile, near 0; smoothing rounds the corners.
        np.testing.assert_allclose(position - expected, (position - expected).mean(), atol=6)
        assert abs((position - expected).mean()) < 10
        inner = slice(5, 30)
        np.testing.assert_allclose(np.abs(data.inputs["velocity"][index, inner, 0]), 50.0, atol=0.5)
        for unit, unit_times in enumerate(spikes):
            edges = data.labels["start"][index] + 0.1 * np.arange(length + 1)
            inside = (unit_times[:, None] >= edges[:-1]) & (unit_times[:, None] < edges[1:])
            assert data.values[index, :length, unit].tolist() == inside.sum(0).tolist()
    assert data.values[0].sum(0)[0] == 2
    assert cut_laps(spikes, times, positions, minimum_distance=0.2).num_sequences == 4
    # Without a pause the way back falls into two halves, neither of which is long enough.
    assert cut_laps(spikes, times, positions, maximum_pause=0.0, minimum_distance=0.7).num_sequences == 1
    jumping = positions.copy()
    jumping[800:] += [3000.0, 0.0]
    assert cut_laps(spikes, times, jumping, minimum_distance=0.02, names=["a", "b", "c"]).labels["start"][0] > 108


def test_track_errors():
    times, positions, _ = runs()
    for option, value in (("bin_width", 0), ("minimum_speed", -1.0), ("minimum_distance", 1.5), ("maximum_pause", np.nan), ("smoothing", "none")):
        with pytest.raises(ValueError, match=f"`{option}`"):
            cut_laps([times], times, positions, **{option: value})
    with pytest.raises(ValueError, match="never moves"):
        cut_laps([times], times, positions, minimum_speed=400.0)
    with pytest.raises(ValueError, match="found no lap"):
        cut_laps([times], times, positions, bin_width=30.0)
    with pytest.raises(ValueError, match=r"\(4000, 2\)"):
        cut_laps([times], times[:-1], positions)


def test_reader_takes_both_files(tmp_path):
    from scipy.io import savemat

    times, positions, _ = runs()
    header = HEADER.replace(b"1000", b"30000")
    position_path = track_file(tmp_path / "position", np.round(times * 30_000).astype(np.int64), *np.round(positions).T.astype(int), header)
    units = np.empty(2, object)
    units[:] = [np.zeros((0, 0)), {"time": np.array([106.0, 118.0])}]
    tetrodes = np.empty(2, object)
    tetrodes[:] = [np.zeros((0, 0)), units]
    savemat(tmp_path / "spikes.mat", {"spikes": tetrodes})
    data = read_track(tmp_path / "spikes.mat", position_path)
    assert data.names == ("tetrode 2 unit 2",)
    assert data.values.sum((1, 2)).tolist() == [1, 1]


def test_recording_of_two_files_needs_both(monkeypatch, tmp_path):
    (tmp_path / "x.csv").write_text("1,2\n3,4\n")
    (tmp_path / "z.csv").write_text("1,2\n3,4\n")
    first, second = (recordings.RecordingFile(f, f"https://example.invalid/{f}", recordings.sha256(tmp_path / f)) for f in ("x.csv", "z.csv"))
    two = recordings.Recording(
        "x.csv", "two", "MIT", "test", "latentgate.data.monkey_reach_flint:read_csv", url=first.url, sha256=first.sha256, companions=(second,)
    )
    monkeypatch.setitem(RECORDINGS, "two", two)
    monkeypatch.setenv("LATENTGATE_DATA", str(tmp_path))
    monkeypatch.setenv("LATENTGATE_CACHE", str(tmp_path / "cache"))
    assert two.files == (first, second)
    assert load("two").num_steps == 2
    assert recordings.find_all("two") == [tmp_path / "x.csv", tmp_path / "z.csv"]
    with pytest.raises(TypeError, match=r"`bins` is no option.*none"):
        load("two", bins=1)
    (tmp_path / "z.csv").write_text("other")
    with pytest.raises(ValueError, match=r"z\.csv has the SHA-256"):
        load("two")
    (tmp_path / "z.csv").unlink()
    with pytest.raises(RecordingUnavailable, match=r"Download https://example\.invalid/z\.csv"):
        load("two", download=False)


def test_registry_pins_every_file():
    for recording in RECORDINGS.values():
        for file in recording.files:
            assert (file.url is None) == (file.sha256 is None)
        assert len({file.file for file in recording.files}) == len(recording.files)
