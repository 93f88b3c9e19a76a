"""Tables, wide and long: pandas' own grouping and pivoting as oracles."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from latentgate.data import Sequences

pd = pytest.importorskip("pandas")
WIDE = pd.DataFrame(
    {
        "trial": ["b", "a", "b", "a", "b"],
        "t": [0.2, 0.0, 0.1, 0.1, 0.0],
        "x": [3.0, 10.0, 2.0, np.nan, 1.0],
        "y": [-3.0, -10.0, -2.0, -11.0, -1.0],
        "contrast": [0.3, 0.7, 0.2, 0.8, 0.1],
        "mouse": ["m1", "m2", "m1", "m2", "m1"],
        "correct": [1, 0, 1, 0, 1],
    }
)


def test_a_wide_table():
    data = Sequences.from_table(
        WIDE, sequence="trial", values=["x", "y"], time="t", inputs={"stimulus": "contrast"}, labels=["correct", "mouse"], groups="mouse"
    )
    assert [row[:, 1].tolist() for row in data.to_list()] == [[-1.0, -2.0, -3.0], [-10.0, -11.0]]
    assert data.observed[1, :2, 0].tolist() == [True, False]
    assert data.names == ("x", "y")
    assert data.inputs["stimulus"][0, :, 0].tolist() == [0.1, 0.2, 0.3]
    assert data.input_names == {"stimulus": ("contrast",)}
    assert data.labels["trial"].tolist() == ["b", "a"]
    assert data.labels["correct"].tolist() == [1, 0]
    assert data.groups.tolist() == ["m1", "m2"]
    assert data.bin_width == pytest.approx(0.1)
    assert data.times[0].tolist() == [0.0, 0.1, 0.2]
    unsorted = Sequences.from_table(WIDE.drop(columns="t"), sequence="trial", values="y")
    assert [row[:, 0].tolist() for row in unsorted.to_list()] == [[-3.0, -2.0, -1.0], [-10.0, -11.0]]


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32 - 1))
def test_a_long_table_is_pandas_pivot(seed):
    """Shuffled rows, some of them absent."""
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([range(3), range(4), ["n2", "n10", "n1"]], names=["trial", "bin", "neuron"])
    frame = pd.DataFrame({"count": rng.poisson(2.0, len(index))}, index=index).reset_index()
    frame = frame.sample(frac=0.8, random_state=int(seed % 1000))
    data = Sequences.from_table(frame, sequence="trial", values="count", time="bin", feature="neuron")
    wide = frame.pivot_table(index=["trial", "bin"], columns="neuron", values="count")
    assert data.names == tuple(wide.columns)
    for trial, rows in zip(data.labels["trial"], data.to_list(), strict=True):
        np.testing.assert_array_equal(rows, wide.loc[trial].to_numpy())
    assert data.labels["trial"].tolist() == frame["trial"].drop_duplicates().tolist()
    # A wide table says the same, one row per step.
    again = Sequences.from_table(wide.reset_index(), sequence="trial", values=list(wide.columns), time="bin")
    order = [again.labels["trial"].tolist().index(trial) for trial in data.labels["trial"]]
    np.testing.assert_array_equal(again.select(order).values, data.values)


def test_steps_without_rows_are_missing_where_the_width_of_bins_is_known(tmp_path):
    table = {"s": [1, 1, 1, 2], "t": [0.3, 0.1, 0.6, 9.0], "v": [2, 1, 3, 4]}
    data = Sequences.from_table(table, sequence="s", values="v", time="t", bin_width=0.1)
    np.testing.assert_array_equal(data.to_list()[0][:, 0], [1, np.nan, 2, np.nan, np.nan, 3])
    assert data.times is None
    assert data.bin_width == 0.1
    kept = Sequences.from_table(table, sequence="s", values="v", time="t")
    assert kept.times[0].tolist() == [0.1, 0.3, 0.6]
    assert kept.bin_width is None
    pd.DataFrame(table).to_csv(tmp_path / "t.csv", index=False)
    np.testing.assert_array_equal(Sequences.from_table(tmp_path / "t.csv", sequence="s", values="v", time="t").values, kept.values)


LONG = pd.DataFrame({"s": [1, 1, 1], "t": [0, 0, 1], "n": ["a", "b", "a"], "v": [1.0, 2.0, 3.0], "u": [0.1, 0.2, 0.3]})


@pytest.mark.parametrize(
    ("table", "options", "error", "words"),
    [
        (WIDE, {"values": "z"}, ValueError, ["`values`", "'z'", "'x', 'y'"]),
        (WIDE, {"sequence": "session"}, ValueError, ["`sequence`", "'session'"]),
        (WIDE, {"values": []}, ValueError, ["`values` is empty"]),
        (WIDE, {"values": "mouse"}, TypeError, ["'mouse'", "'m1'", "sequence 'b', row 0"]),
        (WIDE, {"inputs": "x"}, ValueError, ["'x'", "sequence 'a', row 3", "cannot be missing"]),
        (WIDE, {"labels": "contrast"}, ValueError, ["`labels`", "'contrast' changes within sequence 'b'", "0.3 in row 0, 0.2 in row 2"]),
        (WIDE, {"groups": "t"}, ValueError, ["`groups`", "'t' changes"]),
        (WIDE.assign(t=[0.0, 0.0, 0.1, 0.1, 0.0]), {"time": "t"}, ValueError, ["rows 0 and 4", "sequence 'b'", "time 0.0", "`feature`"]),
        (WIDE.assign(t=[np.nan, 0.0, 0.1, 0.1, 0.0]), {"time": "t"}, ValueError, ["time is missing", "sequence 'b', row 0"]),
        (WIDE, {"time": "t", "bin_width": 0.03}, ValueError, ["sequence 'b', row 0", "0.2", "6.66667 bins of 0.03"]),
        (WIDE.assign(t=[0.3, 0.0, 0.1, 0.1, 0.0]), {"time": "t", "bin_width": 0.1, "inputs": "contrast"}, ValueError, ["sequence 'b' has no row for step 2"]),
        (WIDE, {"feature": "mouse"}, ValueError, ["`feature` is given without `time`"]),
        (WIDE, {"values": ["x", "y"], "feature": "mouse", "time": "t"}, ValueError, ["`values` names 2 columns"]),
        (pd.concat([LONG, LONG[:1]]), {"sequence": "s", "values": "v", "time": "t", "feature": "n"}, ValueError, ["rows 0 and 3", "n 'a'"]),
        (LONG, {"sequence": "s", "values": "v", "time": "t", "feature": "n", "inputs": "u"}, ValueError, ["'u' is 0.1", "0.2 in another row"]),
        (LONG.assign(n=["a", None, "a"]), {"sequence": "s", "values": "v", "time": "t", "feature": "n"}, ValueError, ["feature is missing", "row 1"]),
        (WIDE[:0], {}, ValueError, ["no rows"]),
        (np.ones((2, 2)), {}, TypeError, ["`table`", "ndarray", "DataFrame"]),
        (WIDE.assign(trial=["b", None, "b", "a", "b"]), {}, ValueError, ["row 1", "no sequence in the column 'trial'"]),
    ],
)
def test_errors_name_column_and_row(table, options, error, words):
    with pytest.raises(error) as caught:
        Sequences.from_table(table, **({"sequence": "trial", "values": "x"} | options))
    for word in words:
        assert word in str(caught.value)
