"""Results as pynapple objects: times and values against NumPy, and there and back through pynapple's own counts."""

import sys
import warnings

import numpy as np
import pytest
import xarray as xr

import latentgate as lg
from latentgate.data import Sequences
from latentgate.inference import Fit
from latentgate.inference.outcomes import Outcome

nap = pytest.importorskip("pynapple")
from latentgate.adapters.pynapple import state_intervals, to_pynapple  # noqa: E402

WIDTH = 0.1
# Not in the order of time; the second begins where the third ends.
TRIALS = [[10.0, 11.0], [3.0, 4.5], [2.0, 3.0]]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return Sequences.from_spikes([np.sort(rng.uniform(0, 12, 200)) for _ in range(3)], WIDTH, TRIALS)


def expected_times(data):
    """Centres of the bins, in the order of time: sequences 2, 1, 0."""
    return np.concatenate([TRIALS[trial][0] + WIDTH * (np.arange(data.lengths[trial]) + 0.5) for trial in (2, 1, 0)])


def in_order(values, data):
    return np.concatenate([values[trial, : data.lengths[trial]] for trial in (2, 1, 0)])


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def test_probabilities(data):
    values = np.random.default_rng(1).dirichlet([1.0, 1.0], (3, 15))
    frame = to_pynapple(xr.DataArray(values, dims=("sequence", "time", "state")), data)
    assert isinstance(frame, nap.TsdFrame)
    assert list(frame.columns) == ["state 0", "state 1"]
    np.testing.assert_allclose(frame.t, expected_times(data), atol=1e-9)
    np.testing.assert_array_equal(frame.values, in_order(values, data))
    np.testing.assert_allclose(frame.time_support.values, [[2.0, 3.0 - 1e-6], [3.0, 4.5], [10.0, 11.0]], atol=1e-9)
    # A trial cut out by its interval is that trial.
    np.testing.assert_array_equal(frame.restrict(nap.IntervalSet(10.0, 11.0)).values, values[0, :10])


def test_latents(data):
    rng = np.random.default_rng(2)
    roots = rng.normal(size=(3, 15, 2, 2))
    mean, covariance = rng.normal(size=(3, 15, 2)), roots @ roots.swapaxes(-1, -2)
    dims = ("sequence", "time", "latent", "latent_other")
    frame = to_pynapple(xr.Dataset({"mean": (dims[:3], mean), "covariance": (dims, covariance)}), data)
    assert list(frame.columns) == ["latent 0", "latent 1", "latent 0 sd", "latent 1 sd"]
    np.testing.assert_array_equal(frame[:, frame.quantity == "mean"].values, in_order(mean, data))
    variances = np.stack([covariance[..., 0, 0], covariance[..., 1, 1]], axis=-1)
    np.testing.assert_allclose(frame[:, frame.quantity == "sd"].values ** 2, in_order(variances, data), rtol=1e-12)
    draws = xr.DataArray(np.stack([mean, 2 * mean]), dims=("draw", "sequence", "time", "latent"))
    np.testing.assert_array_equal(to_pynapple(draws.isel(draw=1), data).values, 2 * in_order(mean, data))
    np.testing.assert_array_equal(to_pynapple(draws.isel(draw=[0]), data).values, in_order(mean, data))
    with pytest.raises(ValueError, match=r"2 draws; expected one of them: result\.isel\(draw=0\)"):
        to_pynapple(draws, data)


def test_path_and_its_runs(data):
    states = np.where(np.asarray(data.mask), np.random.default_rng(3).integers(0, 3, (3, 15)), -1)
    # Both sides of the moment at which one sequence ends and the next begins are in state 1.
    states[2, 9] = states[1, 0] = 1
    path = xr.DataArray(states, dims=("sequence", "time"))
    series = to_pynapple(path, data)
    assert isinstance(series, nap.Tsd)
    np.testing.assert_array_equal(series.values, in_order(states, data))
    intervals = state_intervals(path, data)
    assert sorted(intervals) == [0, 1, 2]
    for state, found in intervals.items():
        np.testing.assert_allclose(series.restrict(found).t, expected_times(data)[in_order(states, data) == state], atol=1e-9)
        assert found.tot_length() == pytest.approx(WIDTH * (states == state).sum(), abs=1e-5)
        for (start, _), sequence in zip(found.values, found["sequence"], strict=True):
            assert TRIALS[sequence][0] - 1e-9 <= start < TRIALS[sequence][1]
    touching = intervals[1].values
    assert np.isclose(touching[:, 0], 3.0).any()
    assert np.isclose(touching[:, 1], 3.0 - 1e-6, atol=1e-9).any()


def test_there_and_back(data):
    """Counts of pynapple at the bins of the frame are the observations."""
    rng = np.random.default_rng(0)
    group = nap.TsGroup({unit: nap.Ts(np.sort(rng.uniform(0, 12, 200))) for unit in range(3)}, time_support=nap.IntervalSet(0, 12))
    same = Sequences.from_spikes(group, WIDTH, nap.IntervalSet([[0.0, 1.0], [3.0, 4.5]]))
    frame = to_pynapple(xr.DataArray(np.zeros((2, 15, 1)), dims=("sequence", "time", "state")), same)
    counts = group.count(WIDTH, frame.time_support)
    np.testing.assert_allclose(counts.t, frame.t, atol=1e-9)
    np.testing.assert_array_equal(counts.values, np.concatenate(same.to_list()))


def test_results_of_a_fit(data):
    params = {"initial.probs": np.full(2, 0.5), "transition.probs": np.array([[0.9, 0.1], [0.1, 0.9]]), "emission.rates": np.array([[1.0] * 3, [2.0] * 3])}
    fit = Fit(lg.HMM(2, lg.emissions.Poisson(3)), params, engine="by hand", seed=0, outcome=Outcome.CONVERGED, converged=True)
    smoothed = fit.smooth(data)
    np.testing.assert_array_equal(to_pynapple(smoothed, data).values, in_order(smoothed.values, data))
    path = fit.most_probable_path(data)
    assert sum(intervals.tot_length() for intervals in state_intervals(path, data).values()) == pytest.approx(3.5, abs=1e-4)


def test_times_in_place_of_bins():
    data = Sequences.from_arrays([np.zeros(3), np.zeros(2)], times=[[5.0, 5.5, 7.0], [0.5, 2.0]])
    frame = to_pynapple(xr.DataArray(np.arange(12.0).reshape(2, 3, 2), dims=("sequence", "time", "state")), data)
    assert frame.t.tolist() == [0.5, 2.0, 5.0, 5.5, 7.0]
    assert frame.values[:, 0].tolist() == [6.0, 8.0, 0.0, 2.0, 4.0]
    assert frame.time_support.values.tolist() == [[0.5, 2.0], [5.0, 7.0]]


def zeros(data, *dims):
    shape = [data.num_sequences, data.max_length, *[2] * len(dims)]
    return xr.DataArray(np.zeros(shape), dims=("sequence", "time", *dims))


def test_sequences_without_a_place_in_time(data):
    plain = Sequences.from_arrays([np.zeros(3)], bin_width=0.1)
    with pytest.raises(ValueError, match=r"no `starts`, and no `times`.*starts=\["):
        to_pynapple(zeros(plain, "state"), plain)
    single = Sequences.from_arrays([np.zeros(1)], times=[[3.0]])
    with pytest.raises(ValueError, match="sequence 0 of `data` has a single time"):
        to_pynapple(zeros(single, "state"), single)
    relative = Sequences.from_arrays([np.zeros(2)], times=[[0.0, 1.0]], starts=[40.0])
    with pytest.raises(ValueError, match=r"40 s by `starts` but at 0 s by `times`"):
        to_pynapple(zeros(relative, "state"), relative)
    overlapping = Sequences.from_spikes([[0.5, 1.5]], 0.1, align=[1.0, 1.2], window=(-0.5, 0.5))
    with pytest.raises(ValueError, match=r"sequences 0 and 1 of `data` overlap.*data\.select\(\[0\]\)"):
        to_pynapple(zeros(overlapping, "state"), overlapping)
    part = zeros(overlapping, "state").isel(sequence=[0])
    assert len(to_pynapple(part, overlapping.select([0]))) == 10


def test_what_is_no_result(data):
    with pytest.raises(ValueError, match=r"`result` has 2 sequences of up to 15 steps, `data` 3 of up to 15"):
        to_pynapple(zeros(data, "state").isel(sequence=[0, 1]), data)
    with pytest.raises(TypeError, match=r"`result` is of type ndarray"):
        to_pynapple(np.zeros((3, 15)), data)
    with pytest.raises(TypeError, match=r"dims \(sequence, time, feature\)"):
        to_pynapple(zeros(data, "feature"), data)
    with pytest.raises(TypeError, match=r"`path` is of dims \(sequence, time\) and dtype float64"):
        state_intervals(zeros(data), data)
    irregular = Sequences.from_arrays([np.zeros(3)], times=[[0.0, 0.1, 0.5]])
    with pytest.raises(ValueError, match="a run of states begins and ends with a bin, but `data` has no `starts` and no `bin_width`"):
        state_intervals(xr.DataArray([[0, 1, 1]], dims=("sequence", "time")), irregular)


def test_without_pynapple(monkeypatch):
    monkeypatch.delitem(sys.modules, "latentgate.adapters.pynapple")
    monkeypatch.setitem(sys.modules, "pynapple", None)
    with pytest.raises(ImportError, match=r"pip install 'latentgate\[pynapple\]'"):
        import latentgate.adapters.pynapple  # noqa: F401
