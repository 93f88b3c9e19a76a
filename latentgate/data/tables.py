"""Tables with one row per step, or per step and feature, become sequences."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from latentgate.data._checks import check_bin_width
from latentgate.data._tables import Table, as_labels, column_sets, names_of
from latentgate.data.binning import ROUNDING, regular_step
from latentgate.data.sequences import Sequences


def from_table(
    table: Any,
    *,
    sequence: str,
    values: Any,
    time: str | None = None,
    inputs: Any = None,
    labels: Any = None,
    groups: str | None = None,
    feature: str | None = None,
    bin_width: float | None = None,
) -> Sequences:
    """Makes sequences, one per trial or session, of a table.

    A wide table has one row per step and a column per feature. A long table has one row per step and feature: the column `feature` says which feature a row is
    of, and `values` is one column; an absent row is a missing entry. Rows of a sequence need not be adjacent; they are sorted by time, if there is one, and
    otherwise keep their order. For panel data of a jump process (states, exact times, censoring) see `lg.panel`, which reads the same tables.

    Args:
        table: pandas DataFrame, mapping from names to columns, or path of a csv file.
        sequence: column that says which sequence a row is of; sequences come in the order of their first rows.
        values: name or names of the columns of the observations, numbers; missing entries are missing.
        time: column of the times, numbers: they become `times`, and `bin_width` too where they are regular.
        inputs: name or names of the columns of the inputs, the set "inputs"; or {name of an input set: its columns}. In a long table the rows of one step
            must agree on them.
        labels: name or names of columns that are constant within a sequence.
        groups: column of the sessions, constant within a sequence; splits never cut a group.
        feature: column of the features of a long table.
        bin_width: width of a step in s: the times must be whole numbers of it apart; steps without a row are missing, and sequences have no `times`.

    Returns:
        Sequences with the label `sequence`, and the names of features and inputs.

    Raises:
        TypeError: entries that are no numbers where numbers are expected.
        ValueError: a column that is not there; two rows for one step (and feature), both of which are named; a missing time or input; a label that changes
            within a sequence; times off the bins; long and wide mixed up.

    Example:
        >>> from latentgate.data.tables import from_table
        >>> long = {"trial": [1, 1, 1, 2], "bin": [0, 0, 1, 0], "neuron": ["a", "b", "a", "b"], "count": [3, 0, 1, 2]}
        >>> data = from_table(long, sequence="trial", values="count", time="bin", feature="neuron")
        >>> data.names, data.to_list()[0].tolist(), data.labels["trial"].tolist()
        (('a', 'b'), [[3.0, 0.0], [1.0, nan]], [1, 2])
    """
    names, sets = names_of(values, "values"), column_sets(() if inputs is None else inputs, "inputs")
    label_names = names_of(() if labels is None else labels, "labels")
    if not names:
        raise ValueError("`values` is empty; expected the name of at least one column.")
    if feature is not None and len(names) != 1:
        raise ValueError(
            f"`values` names {len(names)} columns although `feature` is given; expected one column in a long table. Leave out `feature` if it is wide."
        )
    if feature is not None and time is None:
        raise ValueError("`feature` is given without `time`; expected the column that says of which step the rows of a long table are.")
    width = check_bin_width(bin_width)
    if width is not None and time is None and feature is not None:
        raise ValueError("`bin_width` is given without `time`; expected the column of the times.")
    single = {"sequence": sequence, "time": time, "feature": feature, "groups": groups}
    columns = {argument: (column,) for argument, column in single.items() if column is not None}
    columns |= {"values": names, "inputs": tuple(column for chosen in sets.values() for column in chosen), "labels": label_names}
    rows = Table(table, columns, sequence, noun="sequence")
    times = None if time is None else rows.times(time)
    observed = np.stack([rows.numbers(column) for column in names], axis=1)
    known = {name: _inputs(rows, chosen) for name, chosen in sets.items()}
    features = None if feature is None else _features(rows, feature)
    arrays, clocks, columns_of = [], [], {name: [] for name in sets}
    first_rows = []
    for index in rows.rows_of().values():
        first_rows.append(index[0])
        steps, place = (None, np.arange(len(index))) if times is None else _steps(rows, times, index, width)
        number = len(index) if steps is None else len(steps)
        which = None if features is None else features[1][index]
        _refuse_repeats(rows, index, place, which, time, feature)
        array = np.full((number, observed.shape[1] if features is None else len(features[0])), np.nan)
        if which is None:
            array[place] = observed[index]
        else:
            array[place, which] = observed[index, 0]
        arrays.append(array)
        clocks.append(steps)
        for name, value in known.items():
            columns_of[name].append(_input_rows(rows, value, sets[name], index, place, number))
    regular = None if times is None or width is not None else regular_step(clocks)
    labelled = {name: _constant(rows, name, "labels") for name in label_names}
    return Sequences.from_arrays(
        arrays,
        inputs=columns_of,
        times=clocks if times is not None and width is None else None,
        names=list(names) if features is None else [str(name) for name in features[0]],
        input_names=dict(sets),
        labels={sequence: rows.subject_labels()[first_rows]} | {name: column[first_rows] for name, column in labelled.items()},
        groups=None if groups is None else _constant(rows, groups, "groups")[first_rows],
        bin_width=regular if width is None else width,
    )


def _inputs(rows: Table, columns: tuple[str, ...]) -> np.ndarray:
    """[row, input] numbers, none missing."""
    found = np.stack([rows.numbers(column) for column in columns], axis=1)
    missing = np.argwhere(np.isnan(found))
    if missing.size:
        row, column = missing[0]
        raise ValueError(f"the input {columns[column]!r} is missing at {rows.at(row)}; expected one in every row: inputs cannot be missing. Fill it in before.")
    return found


def _features(rows: Table, column: str) -> tuple[list[Hashable], np.ndarray]:
    """The features in order (of numbers, or of the alphabet), and that of each row."""
    entries = rows.values(column)
    missing = [row for row, entry in enumerate(entries) if entry is None]
    if missing:
        raise ValueError(f"the feature is missing (column {column!r}) at {rows.at(missing[0])}; expected one in every row of a long table.")
    try:
        order = sorted(set(entries))
    except TypeError:
        order = sorted(set(entries), key=str)
    positions = {entry: position for position, entry in enumerate(order)}
    return order, np.array([positions[entry] for entry in entries])


def _steps(rows: Table, times: np.ndarray, index: np.ndarray, width: float | None) -> tuple[np.ndarray, np.ndarray]:
    """The times of the steps of a sequence, and the step of each of its rows."""
    own = times[index]
    if width is None:
        steps, place = np.unique(own, return_inverse=True)
        return steps, place
    exact = (own - own.min()) / width
    place = np.rint(exact).astype(np.int64)
    # Of a bin, and what times of this size are rounded by.
    off = np.flatnonzero(np.abs(exact - place) > ROUNDING + 4 * np.spacing(np.abs(own).max()) / width)
    if off.size:
        row = int(index[off[0]])
        raise ValueError(
            f"the time {times[row]:g} at {rows.at(row)} is {exact[off[0]]:g} bins of {width:g} after the first of its sequence; expected a whole number. "
            "Choose another `bin_width`, or leave it out and keep the times."
        )
    return own.min() + width * np.arange(place.max() + 1), place


def _refuse_repeats(rows: Table, index: np.ndarray, place: np.ndarray, which: np.ndarray | None, time: str | None, feature: str | None) -> None:
    """Raises ValueError for two rows of one step (and feature)."""
    if time is None:
        return
    seen: dict[tuple[int, int], int] = {}
    for row, step, column in zip(index.tolist(), place.tolist(), [0] * len(index) if which is None else which.tolist(), strict=True):
        before = seen.setdefault((step, column), row)
        if before != row:
            of = f"time {rows.frame[time].iloc[row]}" + ("" if feature is None else f" and {feature} {rows.frame[feature].iloc[row]!r}")
            remedy = "Name the column of the features (`feature`) if the table is long, or merge the rows." if feature is None else "Merge the rows."
            raise ValueError(f"rows {before} and {row} (counted from 0) of sequence {rows.subjects[row]!r} are both of {of}; expected one row each. {remedy}")


def _input_rows(rows: Table, value: np.ndarray, columns: tuple[str, ...], index: np.ndarray, place: np.ndarray, number: int) -> np.ndarray:
    """[step, input] inputs of one sequence, on which all rows of a step agree."""
    found = np.full((number, value.shape[1]), np.nan)
    found[place] = value[index]
    differ = np.argwhere(found[place] != value[index])
    if differ.size:
        row, column = int(index[differ[0, 0]]), differ[0, 1]
        other = found[place[differ[0, 0]], column]
        raise ValueError(
            f"the input {columns[column]!r} is {value[row, column]:g} at {rows.at(row)} but {other:g} in another row of the same step; expected one value."
        )
    absent = np.flatnonzero(np.isnan(found[:, 0]))
    if absent.size:
        raise ValueError(
            f"sequence {rows.subjects[index[0]]!r} has no row for step {absent[0]}, and so no inputs; expected one for every step: inputs cannot be missing. "
            "Add the row, with the observation missing."
        )
    return found


def _constant(rows: Table, column: str, argument: str) -> np.ndarray:
    """[row] a column that does not change within a sequence, as labels."""
    entries = rows.values(column)
    for who, index in rows.rows_of().items():
        first = entries[index[0]]
        for row in index[1:]:
            if entries[row] != first:
                raise ValueError(
                    f"`{argument}`: the column {column!r} changes within sequence {who!r}: {first!r} in row {index[0]}, {entries[row]!r} in row {row} (counted "
                    "from 0); expected one value per sequence. What changes within a sequence is an input."
                )
    missing = [row for row, entry in enumerate(entries) if entry is None]
    numeric = as_labels([entry for entry in entries if entry is not None]).dtype.kind in "iuf"
    if missing and not numeric:
        raise ValueError(f"`{argument}`: the column {column!r} is missing at {rows.at(missing[0])}; expected one value per sequence.")
    return as_labels([np.nan if entry is None else entry for entry in entries])
