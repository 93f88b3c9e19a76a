"""The rat insula recording: published facts on the real file, cutting rules on a made-up one."""

import os
from pathlib import Path

import numpy as np
import pytest

from latentgate.data import load
from latentgate.data.rat_insula import cut_trials


@pytest.fixture(scope="module")
def insula():
    folder = os.environ.get("LATENTGATE_DATA")
    if not folder or not (Path(folder) / "rat_insula.mat").is_file():
        pytest.skip("rat_insula.mat is not in the folder that LATENTGATE_DATA names")
    return load("rat_insula", download=False)


def test_facts(insula):
    assert insula.num_sequences == 72
    assert insula.num_features == 74
    assert insula.complete
    assert insula.labels["rewarded"].dtype == np.bool_
    assert insula.labels["rewarded"].sum() == 46
    assert (~insula.labels["rewarded"]).sum() == 26
    assert insula.bin_width == 0.05
    assert insula.groups is None
    assert (insula.lengths[~insula.labels["rewarded"]] == 1900).all()
    assert (insula.values == np.floor(insula.values)).all()
    assert insula.names[:3] == ("unit 8", "unit 10", "unit 11")
    rates = insula.values.sum((0, 1)) / (insula.num_steps * insula.bin_width)
    assert (rates > 0.2).all()


def test_events_of_the_real_trials(insula):
    rewarded = insula.labels["rewarded"]
    seconds = insula.lengths * insula.bin_width
    assert set(insula.events) == {"lever in", "lever press", "lever retracts", "port entry"}
    for index in range(72):
        (lever_in,), (retracts,) = insula.events["lever in"][index], insula.events["lever retracts"][index]
        np.testing.assert_allclose(lever_in, 5.0, atol=1e-9)
        presses = insula.events["lever press"][index]
        assert len(presses) == rewarded[index]
        for name in insula.events:
            assert ((insula.events[name][index] >= 0) & (insula.events[name][index] < seconds[index])).all()
        if rewarded[index]:
            assert lever_in < presses[0] < retracts
            collected = insula.events["port entry"][index]
            collected = collected[collected > retracts][0]
            assert 0 <= collected + 30 - seconds[index] < 0.05
        else:
            np.testing.assert_allclose(retracts - lever_in, 60.0, atol=0.01)


def test_options_on_the_real_file(insula):
    wide = load("rat_insula", bin_width=0.1, minimum_rate=5.0, download=False)
    assert wide.num_features < 20
    assert wide.lengths.max() == 950
    columns = [insula.names.index(name) for name in wide.names]
    pairs = insula.values[0][:, columns]
    steps = wide.lengths[0]
    np.testing.assert_array_equal(pairs[: 2 * steps].reshape(steps, 2, -1).sum(1), wide.values[0, :steps])
    trimmed = load("rat_insula", overlap="trim", download=False)
    lost = (insula.num_steps - trimmed.num_steps) * 0.05
    assert 255 < lost < 270, "the trials overlap by 263.5 s"
    assert trimmed.lengths[-1] == insula.lengths[-1]


def made_up(port_entries=(120.0,), rewarded_levers=(100.0,), other_levers=(300.0,)):
    """Spikes of three units and events of a few trials; unit 1 is silent but for one spike."""
    rng = np.random.default_rng(0)
    spikes = [np.sort(rng.uniform(0, 1000, size=2000)), np.array([500.0]), np.append(np.arange(0.0, 1000.0), 1000.0)]
    events = [np.array(rewarded_levers), np.array([110.0]), np.array(port_entries), np.array([108.0])]
    events += [np.array([1.0]), np.array([8.0]), np.array(other_levers), np.array([360.0]), np.array([96.0, 305.0])]
    return spikes, events


def test_windows_counts_and_names():
    spikes, events = made_up()
    data = cut_trials(spikes, events, bin_width=0.5)
    assert data.lengths.tolist() == [(55) * 2, 95 * 2]
    assert data.labels["rewarded"].tolist() == [True, False]
    assert data.names == ("unit 0", "unit 2")
    for row, (start, end) in zip(data.values, [(95.0, 150.0), (295.0, 390.0)], strict=True):
        inside = spikes[0][(spikes[0] >= start) & (spikes[0] < end)]
        assert row[:, 0].sum() == inside.size
        expected, _ = np.histogram(inside, np.arange(start, end + 0.25, 0.5))
        np.testing.assert_array_equal(row[: len(expected), 0], expected)
    assert data.values[0, :4, 1].tolist() == [1, 0, 1, 0], "a spike on an edge belongs to the bin it opens"
    assert [list(times) for times in data.events["port entry"]] == [[1.0, 25.0], [10.0]]
    assert [list(times) for times in data.events["lever press"]] == [[13.0], []]


def test_trials_are_chronological():
    spikes, events = made_up(rewarded_levers=(500.0,), port_entries=(520.0,), other_levers=(700.0, 300.0))
    data = cut_trials(spikes, events)
    assert data.labels["rewarded"].tolist() == [False, True, False]


def test_reward_that_was_never_collected():
    spikes, events = made_up(rewarded_levers=(100.0, 150.0, 600.0), port_entries=(170.0,), other_levers=(300.0,))
    data = cut_trials(spikes, events, bin_width=0.5)
    assert data.labels["rewarded"].tolist() == [True, True, False, True]
    assert (data.lengths * 0.5).tolist() == [55.0, 55.0, 95.0, 95.0]


def test_overlap_options():
    spikes, events = made_up(rewarded_levers=(100.0,), port_entries=(120.0,), other_levers=(152.0,))
    keep, trim = (cut_trials(spikes, events, overlap=overlap) for overlap in ("keep", "trim"))
    np.testing.assert_allclose(keep.lengths * 0.05, [55.0, 95.0])
    np.testing.assert_allclose(trim.lengths * 0.05, [52.0, 95.0])
    np.testing.assert_array_equal(keep.to_list()[0][:1040], trim.to_list()[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bin_width": 0}, "`bin_width` is 0"),
        ({"bin_width": -1.0}, "`bin_width`"),
        ({"bin_width": np.nan}, "`bin_width`"),
        ({"bin_width": "a"}, "`bin_width`"),
        ({"bin_width": 200.0}, "`bin_width` is 200"),
        ({"minimum_rate": -0.1}, "`minimum_rate`"),
        ({"minimum_rate": 1e6}, "no unit"),
        ({"overlap": "drop"}, "`overlap`"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ValueError, match=words):
        cut_trials(*made_up(), **options)
