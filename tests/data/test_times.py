"""Rows inserted between observations: the likelihood of a jump process must not notice them, and rates may change at them."""

import itertools

import numpy as np
import pytest
from scipy.linalg import expm

from latentgate.data import Sequences
from latentgate.data.jump_processes import simulate_panel
from latentgate.data.times import cut_at, with_times
from tests.data.test_sequences import example

SLOW = np.array([[-0.7, 0.5, 0.1, 0.1], [0.3, -0.9, 0.4, 0.2], [0.0, 0.6, -0.9, 0.3], [0.0, 0.0, 0.0, 0.0]])
FAST = np.array([[-2.0, 0.7, 1.0, 0.3], [1.5, -2.9, 1.0, 0.4], [0.2, 0.8, -1.5, 0.5], [0.0, 0.0, 0.0, 0.0]])


def log_likelihood(data, index, generators):
    """Forward recursion of one sequence over the three kinds of arrival, from the uniform law; generators(index, row) hold until the next row."""
    length = int(data.lengths[index])
    kinds = np.asarray(data.inputs["arrival"])[index, :, 0] if "arrival" in data.inputs else np.zeros(length)
    law, total = np.full(4, 0.25), 0.0
    for row in range(length):
        if row:
            generator, gap = generators(index, row - 1), data.times[index, row] - data.times[index, row - 1]
            rates = generator - np.diag(np.diag(generator))
            if kinds[row] == 2:
                law = (law * np.exp(np.diag(generator) * gap)) @ (np.eye(4) + rates)
            else:
                law = law @ expm(generator * gap)
                law = law @ rates if kinds[row] == 1 else law
        if data.observed[index, row, 0]:
            state = int(data.values[index, row, 0])
            law = law * (np.isin(range(4), [0, 1]) if state == 4 else np.arange(4) == state)
        total += np.log(law.sum())
        law = law / law.sum()
    return total


def likelihoods(data, generators=lambda index, row: SLOW):
    return np.array([log_likelihood(data, index, generators) for index in range(data.num_sequences)])


def mixed(seed=0):
    """Twelve subjects, some watched continuously now and then, with deaths, codes for "0 or 1", unseen rows and a covariate."""
    rng = np.random.default_rng(seed)
    watched = simulate_panel(rng, SLOW, [np.arange(3.0) * 1.3 + 0.1] * 3, [0.4, 0.3, 0.3, 0], exact_transitions=True, exact_entry=[3]).data
    visited = simulate_panel(rng, SLOW, [np.sort(rng.uniform(0, 5, size=5)) for _ in range(9)], [0.4, 0.3, 0.3, 0], exact_entry=[3]).data
    arrays, times, arrivals = [], [], []
    for data in (watched, visited):
        for index, array in enumerate(data.to_list()):
            length = len(array)
            arrival = data.inputs["arrival"][index, :length].copy()
            if data is visited:
                array = np.where((array < 2) & (rng.uniform(size=array.shape) < 0.3), 4.0, array)
                array = np.where((array == 2) & (rng.uniform(size=array.shape) < 0.3), np.nan, array)
                array[0] = 0.0
            arrays.append(array)
            times.append(data.times[index, :length])
            arrivals.append(arrival)
    covariates = [rng.normal(size=(len(array), 2)) for array in arrays]
    labels = {"subject": np.arange(len(arrays))}
    inputs = {"inputs": covariates, "arrival": arrivals}
    return Sequences.from_arrays(
        arrays, inputs=inputs, times=times, names=["state"], input_names={"inputs": ["x", "y"]}, labels=labels, groups=labels["subject"]
    )


def test_inserted_rows_do_not_change_the_likelihood():
    data = mixed()
    assert {0, 1, 2} <= set(data.inputs["arrival"].ravel())
    asked = np.linspace(-0.5, 5.5, 13)
    finer, rows = with_times(data, asked)
    assert finer.num_steps > data.num_steps
    np.testing.assert_allclose(likelihoods(finer), likelihoods(data), rtol=1e-12)
    for index, row in enumerate(rows):
        first, last = data.times[index, 0], data.times[index, -1]
        np.testing.assert_array_equal(finer.times[index, row], asked[(asked >= first) & (asked <= last)])
    assert finer.input_names == data.input_names
    np.testing.assert_array_equal(finer.groups, data.groups)


def test_rates_that_follow_covariates_hold_across_inserted_rows():
    data = mixed(1)

    def generators(of):
        return lambda index, row: SLOW * np.exp(0.5 * of.inputs["inputs"][index, row, 0])

    finer, _ = with_times(data, np.linspace(0, 5, 11))
    np.testing.assert_allclose(likelihoods(finer, generators(finer)), likelihoods(data, generators(data)), rtol=1e-12)


def test_rows_that_were_there_keep_everything():
    data = mixed()
    finer, _ = with_times(data, [0.77, 2.5])
    for index in range(data.num_sequences):
        length, kept = int(data.lengths[index]), np.searchsorted(finer.times[index], data.times[index, : int(data.lengths[index])])
        np.testing.assert_array_equal(finer.values[index, kept], data.values[index, :length])
        np.testing.assert_array_equal(finer.observed[index, kept], data.observed[index, :length])
        for name in data.inputs:
            np.testing.assert_array_equal(finer.inputs[name][index, kept], data.inputs[name][index, :length])


def test_in_a_continuous_interval_the_state_is_known():
    data = Sequences.from_arrays(
        [np.array([[0, 5.0], [1, 6.0], [2, 7.0]])], inputs={"arrival": [[[0.0], [2.0], [1.0]]]}, times=[[0.0, 1.0, 2.0]], names=["state", "label"]
    )
    finer, rows = with_times(data, [0.5, 1.5])
    np.testing.assert_array_equal(finer.to_list()[0], [[0, 5], [0, np.nan], [1, 6], [np.nan, np.nan], [2, 7]])
    assert finer.inputs["arrival"][0, :, 0].tolist() == [0, 2, 2, 0, 1]
    assert rows[0].tolist() == [1, 3]


def test_a_continuous_interval_from_an_unknown_state_is_not_cut():
    arrival = {"arrival": [[[0.0], [2.0]]]}
    unknown = Sequences.from_arrays([np.array([np.nan, 1.0])], inputs=arrival, times=[[0.0, 1.0]], names=["state"])
    with pytest.raises(ValueError, match=r"sequence 0 after row 0, .*observed continuously.*not known"):
        with_times(unknown, [0.5])
    assert with_times(unknown, [0.0, 1.0])[0] is unknown
    coded = Sequences.from_arrays([np.array([3.0, 1.0])], inputs=arrival, times=[[0.0, 1.0]], names=["state"])
    with pytest.raises(ValueError, match=r"row 0 is not known"):
        cut_at(coded, [0.5], num_states=3)
    assert cut_at(coded, [0.5], num_states=4).to_list()[0][1] == 3
    nameless = Sequences.from_arrays([np.array([3.0, 1.0])], inputs=arrival, times=[[0.0, 1.0]])
    with pytest.raises(ValueError, match="no feature 'state'"):
        with_times(nameless, [0.5])


def test_nothing_to_insert_is_no_operation():
    data = mixed()
    for times in ([], [-3.0, 99.0], [[]] * data.num_sequences, [row[:2] for row in data.times]):
        same_data, rows = with_times(data, times)
        assert same_data is data
        assert len(rows) == data.num_sequences
    assert rows[0].tolist() == [0, 1]
    assert cut_at(data, []) is data


def test_annotations_stay():
    data = example()
    finer, rows = with_times(data, [[0.9], [], [1.5, 1.5]])
    assert finer.num_steps == data.num_steps + sum(bool(len(row)) for row in rows)
    assert rows[2].tolist() == [rows[2][0]] * 2
    assert finer.names == data.names
    assert finer.events.keys() == data.events.keys()
    assert finer.bin_width is None
    np.testing.assert_array_equal(finer.labels["animal"], data.labels["animal"])


def test_times_within_rounding_are_the_row():
    data = Sequences.from_arrays([np.array([0.0, 1.0, 0.0])], times=[[0.1, 0.3, 0.7]], names=["state"])
    assert 0.1 + 0.2 != 0.3
    finer, rows = with_times(data, [0.1 + 0.2])
    assert finer is data
    assert rows[0].tolist() == [1]
    cut = cut_at(data, [0.2])
    assert cut.lengths.tolist() == [3]
    assert cut.inputs["period"][0, :, 0].tolist() == [0, 1, 1]


def test_periods():
    data = Sequences.from_arrays([np.arange(3.0), np.arange(2.0)], times=[[10.0, 11.0, 14.0], [12.0, 12.5]], names=["state"])
    from_start = cut_at(data, [1.0, 2.0], name="phase")
    assert from_start.times[0].tolist() == [10, 11, 12, 14]
    np.testing.assert_array_equal(from_start.inputs["phase"][0], [[0, 0], [1, 0], [0, 1], [0, 1]])
    np.testing.assert_array_equal(from_start.inputs["phase"][1, :2], [[0, 0], [0, 0]])
    assert from_start.input_names == {"phase": ("from 1", "from 2")}
    by_clock = cut_at(data, [5.0, 12.0, 20.0], origin="clock")
    assert by_clock.times[0].tolist() == [10, 11, 12, 14]
    np.testing.assert_array_equal(by_clock.inputs["period"][0], [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(by_clock.inputs["period"][1, :2], [[0, 1, 0], [0, 1, 0]])
    assert by_clock.lengths.tolist() == [4, 2]


@pytest.mark.parametrize("origin", ["start", "clock"])
def test_rates_that_change_at_cuts(origin):
    data = mixed(2)
    cuts = np.array([0.8, 2.1])
    cut = cut_at(data, cuts, origin=origin)
    found = likelihoods(cut, lambda index, row: SLOW + cut.inputs["period"][index, row] @ [1.0, 0.5] * (FAST - SLOW))
    phases = [SLOW, FAST, SLOW + 0.5 * (FAST - SLOW)]
    for index in range(data.num_sequences):
        length = int(data.lengths[index])
        times, kinds, seen = data.times[index, :length], data.inputs["arrival"][index, :, 0], data.to_list()[index][:, 0]
        edges = cuts + (times[0] if origin == "start" else 0.0)
        law, total = np.full(4, 0.25), 0.0
        for row in range(length):
            if row:
                knots = np.concatenate([times[row - 1 : row], edges[(edges > times[row - 1]) & (edges < times[row])], times[row : row + 1]])
                for start, end in itertools.pairwise(knots):
                    phase = phases[int((edges <= start).sum())]
                    law = law * np.exp(np.diag(phase) * (end - start)) if kinds[row] == 2 else law @ expm(phase * (end - start))
                jump = phase - np.diag(np.diag(phase))
                law = law @ (np.eye(4) * (kinds[row] == 2) + jump) if kinds[row] else law
            if not np.isnan(seen[row]):
                law = law * ((np.arange(4) < 2) if seen[row] == 4 else np.arange(4) == seen[row])
            total += np.log(law.sum())
            law = law / law.sum()
        np.testing.assert_allclose(found[index], total, rtol=1e-12)


def test_equal_rates_in_all_periods_change_nothing():
    data = mixed(3)
    np.testing.assert_allclose(likelihoods(cut_at(data, [0.4, 1.9, 2.0])), likelihoods(data), rtol=1e-12)


def test_bad_requests():
    data = mixed()
    with pytest.raises(ValueError, match=r"`times` is nan at position 1"):
        with_times(data, [0.0, np.nan])
    with pytest.raises(ValueError, match=r"sequence 2 of `times` is out of order: 1 at position 1 follows 2"):
        with_times(data, [[0.0], [1.0], [2.0, 1.0], *[[0.0]] * 9])
    with pytest.raises(ValueError, match=r"`times` has 2 entries for 12 sequences"):
        with_times(data, [[0.0], [1.0]])
    with pytest.raises(ValueError, match=r"`data` has no times"):
        with_times(Sequences.from_arrays([np.zeros(3)]), [1.0])
    for cuts in ([1.0, 1.0], [2.0, 1.0], [np.inf], [[1.0]]):
        with pytest.raises(ValueError, match="`cuts`"):
            cut_at(data, cuts)
    for name in ("inputs", "arrival", ""):
        with pytest.raises(ValueError, match="`name`"):
            cut_at(data, [1.0], name=name)
    with pytest.raises(ValueError, match="`origin` is 'birth'"):
        cut_at(data, [1.0], origin="birth")
