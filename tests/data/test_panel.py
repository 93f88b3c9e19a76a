"""Panel data: what a table becomes, which rows stay, and how each thing that can be wrong with it is named."""

import datetime

import numpy as np
import pandas as pd
import pytest

from latentgate.data.panel import censored_sets, panel

NAN = np.nan


def table(**changes):
    """Three subjects; "b" has one row. Stage 3 is death, 9 says alive."""
    columns = {
        "who": ["a", "a", "a", "b", "c", "c"],
        "year": [0.0, 1.5, 2.0, 0.0, 1.0, 3.0],
        "stage": [1, 2, 3, 1, 9, 2],
        "age": [50.0, 51.5, 52.0, 70.0, 60.0, 62.0],
        "fev": [90.0, NAN, NAN, 80.0, 70.0, 60.0],
    }
    return pd.DataFrame(columns | changes)


def build(frame=None, **options):
    options = {"subject": "who", "time": "year", "state": "stage", "states": [1, 2, 3], "censored": {9: (1, 2)}} | options
    return panel(table() if frame is None else frame, **options)


def arrival(data, index=0):
    return data.inputs["arrival"][index, : data.lengths[index], 0].tolist()


def test_a_table_becomes_sequences():
    data = build(outcomes=["fev"], covariates=["age"], exact_entry=[3])
    assert data.names == ("state", "fev")
    assert data.input_names == {"inputs": ("age",)}
    assert data.labels["subject"].tolist() == data.groups.tolist() == ["a", "b", "c"]
    assert data.lengths.tolist() == [3, 1, 2]
    np.testing.assert_array_equal(data.to_list()[0], [[0, 90], [1, NAN], [2, NAN]])
    np.testing.assert_array_equal(data.to_list()[1], [[0, 80]])
    np.testing.assert_array_equal(data.to_list()[2], [[3, 70], [1, 60]])
    np.testing.assert_array_equal(data.times[0], [0, 1.5, 2])
    np.testing.assert_array_equal(data.inputs["inputs"][0, :, 0], [50, 51.5, 52])
    assert arrival(data) == [0, 0, 1]
    assert arrival(data, 2) == [0, 0]


def test_without_exact_rows_there_are_no_arrivals():
    assert build().inputs == {}
    assert build(exact_entry=[1]).num_inputs == {"arrival": 1}


def test_every_form_of_table_is_the_same(tmp_path):
    frame = table()
    frame.to_csv(tmp_path / "table.csv", index=False)
    shuffled = frame.set_index(np.array([5, 3, 3, 1, 0, 9]))
    mapping = {name: column.to_numpy() for name, column in frame.items()}
    options = {"covariates": "age", "outcomes": "fev"}
    expected = build(frame, **options)
    for other in (tmp_path / "table.csv", str(tmp_path / "table.csv"), shuffled, mapping, {name: list(column) for name, column in mapping.items()}):
        data = build(other, **options)
        for mine, theirs in zip(data.to_list(), expected.to_list(), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_array_equal(data.times, expected.times)
        np.testing.assert_array_equal(data.groups, expected.groups)


def test_rows_of_subjects_may_interleave():
    order = [3, 0, 4, 1, 2, 5]
    data = build(table().iloc[order])
    assert data.groups.tolist() == ["b", "a", "c"]
    assert data.to_list()[1][:, 0].tolist() == [0, 1, 2]


def test_states_by_default_are_those_that_occur():
    data = build(states=None)
    assert data.to_list()[0][:, 0].tolist() == [0, 1, 2]
    assert data.to_list()[2][0, 0] == 3
    words = build(table(stage=["well", None, "dead", "well", "ill", "ill"]), states=None, censored=None)
    np.testing.assert_array_equal(words.to_list()[0][:, 0], [2, NAN, 0])
    with pytest.raises(ValueError, match=r"cannot be sorted.*`states`"):
        build(table(stage=["well", 2, 3, 1, 2, 2]), states=None, censored=None)


def test_integer_codes_survive_missing_states():
    data = build(table(stage=[1, NAN, 3, 1, 9, 2]))
    np.testing.assert_array_equal(data.to_list()[0][:, 0], [0, NAN, 2])


def test_subjects_may_be_numbers():
    assert build(table(who=[7, 7, 7, 2, 3, 3])).groups.dtype.kind == "i"
    assert build(table(who=["7", 7, 7, 2, 3, 3])).groups.tolist() == ["7", "7", "2", "3"]


def test_labels_read_with_error_are_outcomes_with_codes():
    data = build(state=None, states=None, censored=None, outcomes={"stage": [9, 1, 2, 3], "fev": None})
    assert data.names == ("stage", "fev")
    assert data.to_list()[2][:, 0].tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"'stage' holds 9 at subject 'c', row 4 .*one of 1, 2, 3, as `outcomes` says"):
        build(state=None, states=None, censored=None, outcomes={"stage": [1, 2, 3]})


def test_covariates_in_several_sets():
    data = build(covariates={"inputs": ["age"], "growth": ["age", "year"]})
    assert data.num_inputs == {"inputs": 1, "growth": 2}
    np.testing.assert_array_equal(data.inputs["growth"][2, :2], [[60, 1], [62, 3]])


def test_exact_transitions():
    assert arrival(build(exact_transitions=True)) == [0, 2, 2]
    frame = table().assign(watched=[True, False, True, False, False, True])
    assert arrival(build(frame, exact_transitions="watched")) == [0, 0, 2]
    assert arrival(build(frame, exact_transitions="watched", exact_entry=[2, 3])) == [0, 1, 2]
    assert arrival(build(frame, exact_transitions="watched"), 2) == [0, 2]


def test_arrivals_from_a_column():
    frame = table().assign(kind=[1, 2, 1, 0, 0, 1])
    data = build(frame, arrival="kind")
    assert arrival(data) == [0, 2, 1]
    assert arrival(data, 2) == [0, 1]
    with pytest.raises(ValueError, match=r"'kind' holds 3 at subject 'a', row 2 .*obstype"):
        build(table().assign(kind=[0, 1, 3, 0, 0, 0]), arrival="kind")
    with pytest.raises(ValueError, match=r"'kind' is missing at subject 'c', row 5"):
        build(table().assign(kind=[0, 1, 1, 0, 0, NAN]), arrival="kind")
    with pytest.raises(ValueError, match=r"'kind' .*subject 'c', row 4 .*not known"):
        build(table().assign(kind=[0, 1, 1, 0, 1, 0]), arrival="kind")
    with pytest.raises(ValueError, match="`arrival` is given together"):
        build(frame, arrival="kind", exact_entry=[3])


def visits(age, stage, **options):
    """One subject "a" with these ages and stages at the times 0, 1, ..., beside a complete one."""
    frame = pd.DataFrame(
        {"who": ["a"] * len(age) + ["b", "b"], "year": [*range(len(age)), 0, 1], "stage": [*stage, 1, 1], "age": [*age, 1, 1], "sex": [*range(len(age)), 0, 0]}
    )
    return panel(frame, subject="who", time="year", state="stage", states=[1, 2, 3], covariates=["age", "sex"], **options)


def test_rows_with_a_missing_covariate_go_but_the_last():
    data = visits([50, NAN, 52, NAN], [1, 2, 2, 3])
    assert data.times[0].tolist() == [0, 2, 3]
    assert data.to_list()[0][:, 0].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(data.inputs["inputs"][0], [[50, 0], [52, 2], [52, 3]])


def test_the_last_row_is_carried_over_rows_that_go():
    data = visits([50, NAN, NAN], [1, 2, 3])
    assert data.times[0].tolist()[: data.lengths[0]] == [0, 2]
    np.testing.assert_array_equal(data.inputs["inputs"][0], [[50, 0], [50, 2]])


def test_subjects_without_covariates_are_left_out():
    assert visits([NAN, NAN], [1, 2]).groups.tolist() == ["b"]
    # What is left of "a" is a row at which nothing is observed.
    assert visits([NAN, 50], [1, NAN]).groups.tolist() == ["b"]
    frame = table(age=NAN)
    with pytest.raises(ValueError, match="no subject is left"):
        build(frame, covariates="age")


def test_missing_covariates_carried_or_refused():
    data = visits([NAN, 50, NAN, 52, NAN], [1, 1, 2, 2, 3], missing_covariates="carry")
    assert data.times[0].tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(data.inputs["inputs"][0, :, 0], [50, 50, 52, 52])
    with pytest.raises(ValueError, match=r"'age' is missing at subject 'a', row 1 .*'error'"):
        visits([50, NAN], [1, 2], missing_covariates="error")
    with pytest.raises(ValueError, match=r"`missing_covariates` is 'omit'.*'drop', 'carry', 'error'"):
        visits([50, NAN], [1, 2], missing_covariates="omit")


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([1, 1, 2, 2], 1),  # 1 was left for 2 exactly at row 2, by a path not seen since row 0
        ([1, 2, 2, 2], 0),  # nothing happened at row 2
        ([1, NAN, 2, 2], 0),  # who knows
    ],
)
def test_a_dropped_row_ends_continuous_observation(stages, expected):
    data = visits([50, NAN, 52, 53], stages, exact_transitions=True)
    assert data.times[0].tolist() == [0, 2, 3]
    assert arrival(data) == [0, expected, 2]


def test_the_first_row_that_stays_is_a_snapshot():
    assert arrival(visits([NAN, 51, 52], [1, 2, 3], exact_transitions=True)) == [0, 2]


def test_times_are_checked():
    with pytest.raises(ValueError, match=r"times of subject 'a' are out of order: 1 in row 2 follows 1.5 in row 1"):
        build(table(year=[0, 1.5, 1.0, 0, 1, 3]))
    with pytest.raises(ValueError, match=r"'a' has two rows at the time 1.5, 1 and 2 .*different entries of 'state'"):
        build(table(year=[0, 1.5, 1.5, 0, 1, 3]))
    with pytest.raises(ValueError, match=r"'a' has two rows at the time 1.5, 1 and 2 .*same entries"):
        build(table(year=[0, 1.5, 1.5, 0, 1, 3], stage=[1, NAN, NAN, 1, 2, 2]))
    with pytest.raises(ValueError, match=r"time is missing \(column 'year'\) at subject 'c', row 4"):
        build(table(year=[0, 1.5, 2, 0, NAN, 3]))
    with pytest.raises(ValueError, match=r"'year' is infinite at subject 'c', row 5"):
        build(table(year=[0, 1.5, 2, 0, 1, np.inf]))
    days = [datetime.date(2020, 1, day) for day in range(1, 7)]
    for dates in (days, pd.to_datetime(days)):
        with pytest.raises(TypeError, match=r"'year' holds .*2020.*subject 'a', row 0.*numbers of days"):
            build(table(year=dates))


def test_entries_are_checked():
    with pytest.raises(ValueError, match=r"'stage' holds 4 at subject 'b', row 3 .*one of 1, 2, 3, or a code of `censored`: 9"):
        build(table(stage=[1, 2, 3, 4, 9, 2]))
    with pytest.raises(TypeError, match=r"'age' holds 'old' at subject 'a', row 1 .*get_dummies"):
        build(table(age=[50.0, "old", 52, 70, 60, 62]), covariates="age")
    with pytest.raises(ValueError, match=r"row 3 .* has no subject"):
        build(table(who=["a", "a", "a", None, "c", "c"]))
    with pytest.raises(ValueError, match=r"nothing is observed of subject 'b' \(1 rows, from row 3\)"):
        build(table(stage=[1, 2, 3, NAN, 9, 2]))
    with pytest.raises(ValueError, match=r"'watched' holds 2 .*True or False"):
        build(table().assign(watched=[0, 1, 2, 0, 0, 0]), exact_transitions="watched")


def test_columns_are_checked():
    for argument in ("subject", "time", "state", "outcomes", "covariates", "exact_transitions", "arrival"):
        with pytest.raises(ValueError, match=rf"`{argument}` names the column 'sex'.*it has: 'who', 'year', 'stage', 'age', 'fev'"):
            build(**{argument: "sex"})
    with pytest.raises(ValueError, match="'age', of which the table has 2"):
        build(pd.concat([table(), table()[["age"]]], axis=1), covariates="age")
    with pytest.raises(ValueError, match="names a column twice"):
        build(covariates=["age", "age"])
    with pytest.raises(ValueError, match="no rows"):
        build(table().iloc[:0])
    with pytest.raises(ValueError, match="different lengths"):
        build({"who": [1], "year": [1, 2], "stage": [1]})
    with pytest.raises(TypeError, match="`table` is of type list"):
        build([1, 2])


def test_options_are_checked():
    with pytest.raises(ValueError, match="neither `state` nor `outcomes`"):
        build(state=None, states=None, censored=None)
    for argument, value in {"states": [1], "exact_entry": [3], "censored": {9: (1,)}, "arrival": "age", "exact_transitions": True}.items():
        with pytest.raises(ValueError, match=rf"`{argument}` is given without `state`"):
            build(**{"state": None, "states": None, "censored": None, "outcomes": "fev"} | {argument: value})
    with pytest.raises(ValueError, match="`exact_entry` holds 9; expected states, which are 1, 2, 3"):
        build(exact_entry=[9])
    with pytest.raises(TypeError, match="`exact_entry` is 3"):
        build(exact_entry=3)
    with pytest.raises(TypeError, match="`exact_transitions` is 1"):
        build(exact_transitions=1)
    with pytest.raises(ValueError, match="each once"):
        build(states=[1, 2, 2])
    with pytest.raises(ValueError, match="input set 'arrival'"):
        build(covariates={"arrival": ["age"]})
    with pytest.raises(ValueError, match="feature 'state'"):
        build(table().rename(columns={"fev": "state"}), outcomes=["state"])


def test_censored_sets():
    assert censored_sets([1, 2, 3], {9: (1, 2), 8: [3]}) == {3: (0, 1), 4: (2,)}
    with pytest.raises(ValueError, match="code 2, which is one of the states"):
        censored_sets([1, 2, 3], {2: (1,)})
    with pytest.raises(ValueError, match=r"`censored\[9\]` holds 5, which is no state; the states are 1, 2"):
        censored_sets([1, 2], {9: (1, 5)})
    with pytest.raises(ValueError, match="at least one code"):
        censored_sets([1, 2], {9: ()})
