"""Reading columns of a table with one row per observation: what is wrong is named by column, subject and row."""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from latentgate.data._checks import DEFAULT_INPUT_NAME


class Table:
    """The columns of a table and the subject of each row.

    Args:
        table: pandas DataFrame, mapping from names to columns of equal length, or path of a text file of values separated by commas.
        columns: {argument that names it: names of columns}, all of which must exist.
        subject: name of the column of subjects.
        noun: what messages call a subject.

    Attributes:
        frame: pandas DataFrame with the rows numbered from 0.
        subjects: [row] the subject of each row.

    Raises:
        TypeError: a table of another kind.
        ValueError: no rows, a column that the table has not or has twice, a row without a subject.
    """

    def __init__(self, table: Any, columns: Mapping[str, tuple[str, ...]], subject: str, noun: str = "subject") -> None:
        self.noun = noun
        self.frame = _frame(table)
        if not len(self.frame):
            raise ValueError("`table` has no rows; expected one row per observation.")
        names = list(self.frame.columns)
        for argument, wanted in columns.items():
            for name in wanted:
                if name not in names:
                    raise ValueError(f"`{argument}` names the column {name!r}, which the table does not have; it has: {', '.join(map(repr, names))}.")
                if names.count(name) > 1:
                    raise ValueError(f"`{argument}` names the column {name!r}, of which the table has {names.count(name)}; expected one. Rename the others.")
        missing = np.flatnonzero(self.frame[subject].isna().to_numpy())
        if missing.size:
            raise ValueError(f"row {missing[0]} (counted from 0) has no {noun} in the column {subject!r}; expected one in every row.")
        self.subjects: list[Any] = self.frame[subject].tolist()

    def at(self, row: int) -> str:
        """How messages name a row."""
        return f"{self.noun} {self.subjects[row]!r}, row {row} (counted from 0)"

    def subject_labels(self) -> np.ndarray:
        """[row] the subjects as numbers, or as strings where they are not all numbers."""
        return as_labels(self.subjects)

    def rows_of(self) -> dict[Any, np.ndarray]:
        """{subject: its rows in the order of the table}, in the order of their first rows."""
        rows: dict[Any, list[int]] = {}
        for row, who in enumerate(self.subjects):
            rows.setdefault(who, []).append(row)
        return {who: np.array(listed) for who, listed in rows.items()}

    def times(self, column: str) -> np.ndarray:
        """[row] a column of times, all known.

        Raises:
            ValueError: a time that is missing.
        """
        times = self.numbers(column)
        missing = np.flatnonzero(np.isnan(times))
        if missing.size:
            raise ValueError(f"the time is missing (column {column!r}) at {self.at(missing[0])}; expected one in every row. Leave the row out.")
        return times

    def values(self, column: str) -> list[Any]:
        """The entries of a column as they are; None where an entry is missing."""
        series = self.frame[column]
        return [None if gone else value for value, gone in zip(series.tolist(), series.isna().tolist(), strict=True)]

    def numbers(self, column: str) -> np.ndarray:
        """[row] a column of numbers as float64; NaN where an entry is missing.

        Raises:
            TypeError: an entry that is no number.
            ValueError: an infinite entry.
        """
        entries = self.values(column)
        array = np.full(len(entries), np.nan)
        for row, entry in enumerate(entries):
            if entry is None:
                continue
            if not isinstance(entry, numbers.Real):
                raise TypeError(
                    f"the column {column!r} holds {entry!r} at {self.at(row)}; expected numbers. Convert dates to numbers of days (or another unit) since a "
                    "common origin, and categories to indicators, for instance with pandas.get_dummies."
                )
            array[row] = float(entry)
        infinite = np.flatnonzero(np.isinf(array))
        if infinite.size:
            raise ValueError(f"the column {column!r} is infinite at {self.at(infinite[0])}; expected finite numbers, or NaN where it is missing.")
        return array

    def codes(self, column: str, codes: Mapping[Any, int], expected: str) -> np.ndarray:
        """[row] the numbers that `codes` gives the entries of a column; NaN where an entry is missing.

        Raises:
            ValueError: an entry that `codes` does not have.
        """
        array = np.full(len(self.frame), np.nan)
        for row, entry in enumerate(self.values(column)):
            if entry is None:
                continue
            if entry not in codes:
                raise ValueError(f"the column {column!r} holds {entry!r} at {self.at(row)}; expected {expected}.")
            array[row] = codes[entry]
        return array


def as_labels(values: list[Any]) -> np.ndarray:
    """An array of numbers or booleans, or of strings where they are not all numbers."""
    array = np.asarray(values)
    return array if array.dtype.kind in "biuf" else np.asarray([str(value) for value in values])


def column_sets(value: Any, argument: str) -> dict[str, tuple[str, ...]]:
    """{name of an input set: its columns}, from such a mapping, or from names of columns for the set "inputs"; sets without columns are left out."""
    named = value if isinstance(value, Mapping) else {DEFAULT_INPUT_NAME: value}
    sets = {name: names_of(columns, argument) for name, columns in named.items()}
    return {name: columns for name, columns in sets.items() if columns}


def names_of(value: Any, argument: str) -> tuple[str, ...]:
    """A tuple of names of columns, from one name or several.

    Raises:
        TypeError: something that is no string.
        ValueError: a name that occurs twice.
    """
    names = (value,) if isinstance(value, str) else tuple(value)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"`{argument}` holds {name!r} of type {type(name).__name__}; expected names of columns.")
    if len(set(names)) != len(names):
        raise ValueError(f"`{argument}` names a column twice: {', '.join(map(repr, names))}; expected each once.")
    return names


def order_of(codes: Any, argument: str) -> dict[Any, int]:
    """{code: its position} of a list of distinct codes.

    Raises:
        TypeError: no list.
        ValueError: no code, or one that occurs twice.
    """
    if isinstance(codes, (str, bytes)) or not hasattr(codes, "__iter__"):
        raise TypeError(f"`{argument}` is {codes!r}; expected a list of codes that occur in the table.")
    listed = np.asarray(codes).tolist() if isinstance(codes, np.ndarray) else list(codes)
    positions = {code: index for index, code in enumerate(listed)}
    if not listed or len(positions) != len(listed):
        raise ValueError(f"`{argument}` is {listed!r}; expected at least one code, and each once.")
    return positions


def _frame(table: Any) -> Any:
    import pandas as pd

    if isinstance(table, (str, os.PathLike)):
        return pd.read_csv(table)
    if isinstance(table, pd.DataFrame):
        return table.reset_index(drop=True)
    if not isinstance(table, Mapping):
        raise TypeError(f"`table` is of type {type(table).__name__}; expected a pandas DataFrame, a mapping from names to columns, or the path of a csv file.")
    lengths = {name: len(column) for name, column in table.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of `table` have different lengths ({', '.join(f'{name}: {count}' for name, count in lengths.items())}); expected one.")
    return pd.DataFrame({name: list(column) for name, column in table.items()})


def fill_covariates(covariates: np.ndarray, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Which rows of one subject stay, and its covariates without gaps there.

    Args:
        covariates: [row, covariate], NaN where missing.
        rule: "drop" leaves out rows with a missing covariate but the last, whose missing ones are carried from the last row that stays; "carry" carries
            each from the row before.

    Returns:
        Indices of the rows that stay, and [row that stays, covariate]. No row stays without a covariate known.
    """
    missing = np.isnan(covariates)
    if rule == "carry":
        # Position of the last known entry of each column so far; -1 before the first.
        known = np.maximum.accumulate(np.where(missing, -1, np.arange(len(covariates))[:, None]), axis=0)
        kept = np.flatnonzero((known >= 0).all(axis=1))
        return kept, np.take_along_axis(covariates, known, axis=0)[kept]
    complete = ~missing.any(axis=1)
    filled = covariates.copy()
    if complete.any() and not complete[-1]:
        filled[-1] = np.where(missing[-1], covariates[np.flatnonzero(complete)[-1]], covariates[-1])
        complete[-1] = True
    kept = np.flatnonzero(complete)
    return kept, filled[kept]
