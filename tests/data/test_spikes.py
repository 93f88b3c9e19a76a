"""Spike times to bins: oracles are whole milliseconds, numpy's histogram, and pynapple."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from latentgate.data import Sequences
from latentgate.data.binning import regular_step

BUDGET = hypothesis.settings(max_examples=40, deadline=None)
rng = np.random.default_rng(0)
SPIKES = [np.sort(rng.uniform(0.0, 60.0, count)) for count in (300, 180, 20)]
TRIALS = np.array([[1.0, 3.03], [2.5, 9.0], [40.0, 41.0]])


def test_counts_are_those_of_a_histogram_with_explicit_edges():
    data = Sequences.from_spikes(SPIKES, 0.1, TRIALS)
    assert data.lengths.tolist() == [20, 65, 10]
    assert data.starts.tolist() == [1.0, 2.5, 40.0]
    assert data.bin_width == 0.1
    assert data.names == ("unit 0", "unit 1", "unit 2")
    for (start, _), rows in zip(TRIALS, data.to_list(), strict=True):
        edges = start + 0.1 * np.arange(len(rows) + 1)
        # A histogram's last bin is closed; no spike of these is on an edge.
        np.testing.assert_array_equal(rows, np.stack([np.histogram(unit, edges)[0] for unit in SPIKES], 1))


@BUDGET
@hypothesis.given(
    milliseconds=st.lists(st.integers(0, 4000), max_size=40),
    start=st.integers(0, 2000),
    width=st.integers(1, 200),
    length=st.integers(1, 2500),
)
def test_whole_milliseconds_fall_into_half_open_bins_exactly(milliseconds, start, width, length):
    """Spikes on edges, which 0.1 * 3 > 0.3 would put on the wrong side; the oracle counts integers."""
    hypothesis.assume(length >= width)
    end = start + length
    # A second unit keeps spikes and trials on one clock whatever is drawn.
    trains = [np.array(milliseconds) / 1000, np.array([start + 0.5, 4000.5]) / 1000]
    data = Sequences.from_spikes(trains, width / 1000, [[start / 1000, end / 1000]])
    num_bins = length // width
    expected = np.zeros(num_bins)
    for spike in milliseconds:
        step = (spike - start) // width
        if 0 <= step < num_bins:
            expected[step] += 1
    np.testing.assert_array_equal(data.values[0, :, 0], expected)


@BUDGET
@hypothesis.given(seed=st.integers(0, 2**32 - 1), pieces=st.integers(1, 6), factor=st.integers(1, 4))
def test_spikes_are_conserved(seed, pieces, factor):
    """Trials that tile a span hold each spike once, in any order of spikes, and wide bins what their narrow ones held."""
    draw = np.random.default_rng(seed)
    times = draw.permutation(draw.uniform(0.0, 12.0 * pieces, 200))
    tiles = 12.0 * np.stack([np.arange(pieces), 1.0 + np.arange(pieces)], axis=1)
    data = Sequences.from_spikes([times], 0.25, tiles)
    assert data.values.sum() == 200
    assert data.rebinned(factor).values.sum() == 200
    wide = Sequences.from_spikes([times], 0.25 * factor, tiles)
    np.testing.assert_array_equal(data.rebinned(factor).values, wide.values)
    np.testing.assert_array_equal(data.rebinned(factor).starts, wide.starts)


def test_trials_around_events():
    data = Sequences.from_spikes(
        {"a": [9.6, 10.0, 10.99, 11.0], "b": [20.2]}, 0.5, align=[10.0, 20.0], window=(-0.5, 1.0), events={"cue": [10.25, 11.0], "late": [30.0]}
    )
    assert data.names == ("a", "b")
    assert data.values[..., 0].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert data.values[..., 1].tolist() == [[0, 0, 0], [0, 1, 0]]
    assert data.starts.tolist() == [9.5, 19.5]
    assert [row.tolist() for row in data.events["cue"]] == [[0.75], []]
    assert [row.tolist() for row in data.events["late"]] == [[], []]


def test_behaviour_is_the_mean_of_a_bin_and_a_line_where_there_are_no_samples():
    times = np.array([0.0, 0.1, 0.2, 1.0, 1.4, 2.0])
    values = np.stack([times, [5.0, np.nan, 7.0, 1.0, 3.0, 0.0]], axis=1)
    data = Sequences.from_spikes([[0.5, 1.7]], 0.5, [[0.0, 2.0]], behaviour={"track": (times, values), "one": (times, times)})
    assert data.num_inputs == {"track": 2, "one": 1}
    # Bin 1 has no samples: at 0.75 s between (0.2, 0.2) and (1.0, 1.0); bin 3, at 1.75 s, between (1.4, 1.4) and (2.0, 2.0).
    np.testing.assert_allclose(data.inputs["one"][0, :, 0], [0.1, 0.75, 1.2, 1.75])
    np.testing.assert_allclose(data.inputs["track"][0, :, 1], [6.0, 7.0 - 6.0 * 0.55 / 0.8, 2.0, 3.0 - 3.0 * 0.35 / 0.6])


def test_a_silent_neuron_is_fine():
    data = Sequences.from_spikes([SPIKES[0], []], 0.1, TRIALS, labels={"good": [True, False, True]}, groups=[0, 0, 1], names=["a", "b"])
    assert data.values[..., 1].sum() == 0
    assert data.labels["good"].tolist() == [True, False, True]
    assert data.groups.tolist() == [0, 0, 1]


MILLISECONDS = [1000 * unit for unit in SPIKES]
COUNTS = list(rng.poisson(1.0, (3, 200)))


@pytest.mark.parametrize(
    ("spikes", "options", "error", "words"),
    [
        (MILLISECONDS, {"trials": TRIALS}, ValueError, ["`spikes`", "milliseconds", "divide `spikes` by 1000"]),
        ([np.round(30_000 * unit) for unit in SPIKES], {"trials": TRIALS}, ValueError, ["`spikes`", "samples", "sampling rate"]),
        (SPIKES, {"trials": 1000 * TRIALS}, ValueError, ["`trials`", "milliseconds", "divide `trials` by 1000"]),
        (SPIKES, {"trials": TRIALS + 500}, ValueError, ["no spike falls into any trial", "0.", "same clock"]),
        (SPIKES, {"trials": TRIALS, "bin_width": 20}, ValueError, ["`bin_width` is 20 s", "trial 0 lasts 2.03 s", "narrower"]),
        (SPIKES, {"trials": TRIALS, "bin_width": "20 ms"}, TypeError, ["`bin_width`", "20 ms"]),
        (SPIKES, {"trials": TRIALS, "bin_width": None}, ValueError, ["`bin_width` is None"]),
        (np.stack(COUNTS), {"trials": TRIALS}, ValueError, ["`spikes`", "(3, 200)", "from_arrays"]),
        (COUNTS, {"trials": TRIALS}, ValueError, ["`spikes[0]`", "counts", "from_arrays"]),
        ([np.ones((3, 2))], {"trials": TRIALS}, ValueError, ["`spikes[0]`", "(3, 2)", "flat list"]),
        (SPIKES[0], {"trials": TRIALS}, ValueError, ["`spikes`", "spikes=[times]"]),
        (list(SPIKES[0]), {"trials": TRIALS}, ValueError, ["`spikes`", "spikes=[times]"]),
        (3.0, {"trials": TRIALS}, TypeError, ["`spikes`", "float"]),
        ({}, {"trials": TRIALS}, ValueError, ["`spikes` is empty"]),
        ([[0.1, np.nan]], {"trials": TRIALS}, ValueError, ["`spikes[0]` is nan at position 1"]),
        (SPIKES, {}, ValueError, ["`trials` is None", "trials=[[start, end]]", "`align`"]),
        (SPIKES, {"trials": [[1.0, 2.0], [4.0, 3.0]]}, ValueError, ["trial 1", "starts at 4 s and ends at 3 s"]),
        (SPIKES, {"trials": [1.0, 2.0]}, ValueError, ["`trials`", "(2,)", "trials=[[start, end]]"]),
        (SPIKES, {"trials": TRIALS[:2, :1]}, ValueError, ["`trials`", "(2, 1)"]),
        (SPIKES, {"trials": [[np.nan, 1.0]]}, ValueError, ["trial 0", "finite"]),
        (SPIKES, {"trials": np.zeros((0, 2))}, ValueError, ["`trials` is empty"]),
        (SPIKES, {"align": [3.0]}, ValueError, ["`align` is given without `window`"]),
        (SPIKES, {"window": (0, 1)}, ValueError, ["`window` is given without `align`"]),
        (SPIKES, {"align": [3.0], "window": (1.0, 0.5)}, ValueError, ["`window`", "before < after"]),
        (SPIKES, {"align": [3.0], "window": (0.0, 0.5), "trials": TRIALS}, ValueError, ["`trials` and `align`"]),
        (SPIKES, {"trials": TRIALS, "behaviour": {"x": (np.arange(9.0), np.arange(9.0))}}, ValueError, ["`behaviour['x']`", "bin 56 of trial 1", "0 to 8 s"]),
        (SPIKES, {"trials": TRIALS, "behaviour": {"x": (np.arange(9.0), np.arange(8.0))}}, ValueError, ["`behaviour['x']`", "9 times", "(8,)"]),
        (SPIKES, {"trials": TRIALS, "behaviour": {"x": ([0.0, 99.0, 1.0], np.arange(3.0))}}, ValueError, ["back in time", "1 s follows 99 s"]),
        (SPIKES, {"trials": TRIALS, "behaviour": {"x": np.arange(9.0)}}, TypeError, ["`behaviour['x']`", "(times, values)"]),
        (SPIKES, {"trials": TRIALS, "labels": {"x": [1]}}, ValueError, ["`labels['x']`", "1 entries for 3"]),
    ],
)
def test_errors_say_what_to_do(spikes, options, error, words):
    with pytest.raises(error) as caught:
        Sequences.from_spikes(spikes, **({"bin_width": 0.1} | options))
    for word in words:
        assert word in str(caught.value)


def test_rare_spikes_and_few_trials_of_a_long_recording_are_no_mistake():
    hour = [np.sort(rng.uniform(0, 3600, 7200)), np.array([10.5])]
    assert Sequences.from_spikes(hour, 0.1, [[10.0, 11.0]]).values[..., 1].sum() == 1


def test_regular_step():
    assert regular_step([0.1 * np.arange(5), 7 + 0.1 * np.arange(3)]) == pytest.approx(0.1, rel=1e-12)
    assert regular_step([[0.0, 0.1, 0.20001]]) is None
    assert regular_step([[0.0, 0.1], [0.0, 0.2]]) is None
    assert regular_step([[3.0], [4.0]]) is None
    # Recorded in single precision, an hour into a session.
    assert regular_step([3600 + np.arange(0, 5, 0.5)]) == 0.5


def test_pynapple_objects_and_their_own_counts():
    nap = pytest.importorskip("pynapple")
    support = nap.IntervalSet(0.0, 60.0)
    group = nap.TsGroup({3: nap.Ts(SPIKES[0]), 7: nap.Ts(SPIKES[1])}, time_support=support)
    # pynapple merges trials that overlap.
    epochs = nap.IntervalSet([1.0, 5.0, 40.0], [3.0, 9.0, 41.0], metadata={"rewarded": [True, False, True], "side": ["l", "r", "l"]})
    frame = nap.TsdFrame(t=np.arange(0.005, 60.0, 0.01), d=rng.normal(size=(6000, 2)), columns=["x", "y"])
    data = Sequences.from_spikes(group, 0.1, epochs, behaviour={"position": frame}, events={"lick": nap.Ts(np.array([1.55, 6.2]))})
    assert data.names == ("unit 3", "unit 7")
    assert data.labels["rewarded"].tolist() == [True, False, True]
    assert data.labels["side"].tolist() == ["l", "r", "l"]
    assert data.input_names == {"position": ("x", "y")}
    assert [row.round(9).tolist() for row in data.events["lick"]] == [[0.55], [1.2], []]
    counted, averaged = group.count(0.1, ep=epochs), frame.bin_average(0.1, ep=epochs)
    real = np.asarray(data.mask)
    np.testing.assert_array_equal(data.values[real], counted.values)
    np.testing.assert_allclose(data.inputs["position"][real], averaged.values, rtol=1e-12, atol=1e-12)
    centres = np.concatenate([start + 0.1 * (0.5 + np.arange(length)) for start, length in zip(data.starts, data.lengths, strict=True)])
    np.testing.assert_allclose(counted.t, centres)
    whole = Sequences.from_spikes(group, 0.5, behaviour=frame)
    assert (whole.num_sequences, whole.max_length, whole.num_inputs) == (1, 120, {"inputs": 2})
    aligned = Sequences.from_spikes(group, 0.1, align=nap.Ts(np.array([1.5, 41.0])), window=(-0.5, 1.0))
    np.testing.assert_array_equal(aligned.values[0], data.values[0, :15])


def test_coarse_behaviour_agrees_with_pynapples_interpolation():
    nap = pytest.importorskip("pynapple")
    slow = nap.Tsd(t=np.arange(0.0, 60.1, 1.7), d=rng.normal(size=36))
    data = Sequences.from_spikes(SPIKES, 0.1, [[2.0, 50.0]], behaviour={"slow": slow})
    centres = nap.Ts(2.05 + 0.1 * np.arange(480))
    empty = ~np.isin(np.arange(480), np.floor((slow.t[(slow.t >= 2) & (slow.t < 50)] - 2.0) / 0.1 + 1e-6).astype(int))
    np.testing.assert_allclose(data.inputs["slow"][0, empty, 0], slow.interpolate(centres).values[empty], atol=1e-12)


@pytest.mark.parametrize("make", ["TsGroup", "DataArray", "DataFrame", "dict", "Tsd", "list of Ts", "list of DataArray"])
def test_from_arrays_names_the_constructor_to_use(make):
    nap, xr, pd = (pytest.importorskip(name) for name in ("pynapple", "xarray", "pandas"))
    things = {
        "TsGroup": (nap.TsGroup({0: nap.Ts(SPIKES[0])}), "Sequences.from_spikes"),
        "DataArray": (xr.DataArray(np.ones((2, 3))), "Sequences.from_xarray"),
        "DataFrame": (pd.DataFrame({"a": [1.0]}), "Sequences.from_table"),
        "dict": ({"a": np.ones((3, 2))}, "Sequences.from_table"),
        "Tsd": (nap.Tsd(t=np.arange(3.0), d=np.ones(3)), "times=[series.t]"),
        "list of Ts": ([nap.Ts(SPIKES[0])], "Sequences.from_spikes"),
        "list of DataArray": ([xr.DataArray(np.ones((2, 3)))], "Sequences.from_xarray"),
    }
    thing, words = things[make]
    with pytest.raises(TypeError) as caught:
        Sequences.from_arrays(thing)
    assert "`arrays`" in str(caught.value)
    assert words in str(caught.value)
