"""What is in an NWB file: units and what is known of them, interval tables, time series, each found by name."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import requirement

try:
    # Their methods take what they take through decorators that hide it from type checkers.
    pynwb: Any = importlib.import_module("pynwb")
    _common_tables: Any = importlib.import_module("hdmf.common")
except ImportError as error:
    raise requirement("nwb", "pynwb", "nwb") from error

# Attributes of an electrode group that tell its units apart.
_GROUP = ("name", "location")


@dataclasses.dataclass(frozen=True)
class Contents:
    """What an NWB file holds; printed, it is a short list.

    Attributes:
        path: of the file.
        session: its description.
        num_units: number of units, 0 without a table of units.
        unit_columns: {what is known of each unit: its distinct values, or the first few of them}.
        tables: {name of an interval table: (number of rows, its columns)}.
        series: {path of a time series: its shape, unit and span, as text}.
    """

    path: str
    session: str
    num_units: int
    unit_columns: dict[str, tuple[Any, ...]]
    tables: dict[str, tuple[int, tuple[str, ...]]]
    series: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{self.path}: {self.session}", f"  units: {self.num_units}"]
        lines += [f"    {name}: {', '.join(map(str, values))}" for name, values in self.unit_columns.items()]
        lines += [f"  interval table {name!r}: {rows} rows; columns {', '.join(columns)}" for name, (rows, columns) in self.tables.items()]
        lines += [f"  time series {name!r}: {text}" for name, text in self.series.items()]
        return "\n".join(lines)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The NWBFile in a file, open for reading.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no NWB file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.absolute()}; expected an NWB file.")
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(pynwb.NWBHDF5IO(path, "r")).read()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} is no NWB file that pynwb can read ({error}); expected one in HDF5, of NWB 2.") from error
        yield file


def describe(path: str | os.PathLike[str]) -> Contents:
    """Says what is in an NWB file, and by which names `latentgate.load` finds it.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no NWB file.

    Example:
        >>> import datetime, pathlib, tempfile, pynwb
        >>> from latentgate.adapters.nwb import describe
        >>> file = pynwb.NWBFile("a session", "one", datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
        >>> file.add_unit(spike_times=[0.1, 0.7])
        >>> file.add_trial(0.0, 1.0)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "session.nwb"
        >>> with pynwb.NWBHDF5IO(path, "w") as target:
        ...     target.write(file)
        >>> found = describe(path)
        >>> found.num_units, found.tables
        (1, {'trials': (1, ('start_time', 'stop_time'))})
    """
    with opened(path) as file:
        return Contents(
            path=str(path),
            session=str(file.session_description),
            num_units=0 if file.units is None else len(file.units),
            unit_columns={} if file.units is None else {str(name): _distinct(column) for name, column in unit_table(file.units).items()},
            tables={name: (len(table), tuple(table.colnames)) for name, table in tables(file).items()},
            series={name: _summary(entry) for name, entry in series(file).items()},
        )


def _distinct(column: pd.Series, most: int = 6) -> tuple[Any, ...]:
    values = column.dropna().unique().tolist()
    return tuple(values[:most]) + (("...",) if len(values) > most else ())


def _summary(entry: Any) -> str:
    shape, unit = tuple(np.shape(entry.data)), f" in {entry.unit}" if entry.unit else ""
    if entry.rate is not None:
        return f"{shape}{unit}, {entry.rate:g} per s from {entry.starting_time:g} s"
    stamps = entry.timestamps
    return f"{shape}{unit}" + (f", from {stamps[0]:g} to {stamps[-1]:g} s" if stamps is not None and len(stamps) else "")


def tables(file: Any) -> dict[str, Any]:
    """{name: interval table}: those of the file itself by their name, those within processing modules by their path."""
    return _by_path(file, pynwb.epoch.TimeIntervals, strip="intervals/")


def series(file: Any) -> dict[str, Any]:
    """{path: time series} of acquisition, stimuli and processing modules."""
    return _by_path(file, pynwb.TimeSeries)


def _by_path(file: Any, kind: Any, strip: str = "") -> dict[str, Any]:
    return {_path(entry).removeprefix(strip): entry for entry in file.objects.values() if isinstance(entry, kind)}


def _path(entry: Any) -> str:
    """Where an object stands, as it is written in the file: "processing/behavior/Position/position"."""
    parts = [entry.name]
    while entry.parent is not None and entry.parent.name != "root":
        entry = entry.parent
        parts.append(entry.name)
    top = entry.parent
    if top is not None:
        place = next((name for name in ("acquisition", "stimulus", "processing", "intervals", "analysis", "scratch") if _holds(top, name, entry)), None)
        parts += [place] if place is not None else []
    return "/".join(reversed(parts))


def _holds(file: Any, place: str, entry: Any) -> bool:
    if place == "intervals":
        return isinstance(entry, pynwb.epoch.TimeIntervals)
    return any(held is entry for held in (getattr(file, place, None) or {}).values())


def chosen(found: Mapping[str, Any], name: Any, argument: str, what: str) -> Any:
    """The entry of this path, or of this name at the end of its path.

    Raises:
        TypeError: a name that is no string.
        ValueError: none, or several; those that there are are listed.
    """
    if not isinstance(name, str):
        raise TypeError(f"`{argument}` is {name!r}; expected the name of {what}.")
    wanted = name.strip("/")
    near = [path for path in found if path == wanted or path.endswith(f"/{wanted}")]
    if wanted in found:
        return found[wanted]
    listed = ", ".join(map(repr, near or found)) or "none"
    if not near:
        raise ValueError(f"`{argument}` is {name!r}, but the file has no {what.removeprefix('a ').removeprefix('an ')} of that name; it has: {listed}.")
    if len(near) > 1:
        raise ValueError(f"`{argument}` is {name!r}, of which the file has {len(near)}: {listed}; expected one of these paths.")
    return found[near[0]]


def scalar_columns(table: Any) -> pd.DataFrame:
    """The columns of a table with one number, boolean or text a row, indexed by the ids of the rows."""
    columns = {}
    for name in table.colnames:
        column = table[name]
        if isinstance(column, (_common_tables.VectorIndex, _common_tables.DynamicTableRegion)) or name == "timeseries":
            continue
        values = np.asarray(column.data[:])
        if values.ndim == 1 and (values.dtype.kind in "biufSU" or all(isinstance(value, (str, bytes)) for value in values)):
            columns[name] = [value.decode() if isinstance(value, bytes) else str(value) for value in values] if values.dtype.kind in "OSU" else values
    return pd.DataFrame(columns, index=pd.Index(np.asarray(table.id[:]), name="id"))


def ragged_columns(table: Any) -> dict[str, Any]:
    """{name: column} of the columns with a list in each row."""
    return {name: table[name] for name in table.colnames if isinstance(table[name], _common_tables.VectorIndex)}


def unit_table(units: Any) -> pd.DataFrame:
    """What is known of each unit, by its id: columns of its table, name and location of its electrode group, and what its electrodes have in common."""
    table = scalar_columns(units)
    extra: dict[str, list[Any]] = {}
    if "electrodes" in units.colnames:
        regions = [units["electrodes"][row] for row in range(len(units))]
        for name in () if not len(regions) else regions[0].columns:
            shared = [_common(region[name]) for region in regions]
            if any(value is not None for value in shared):
                extra["group" if name == "group_name" else name] = shared
    if "electrode_group" in units.colnames:
        groups = [units["electrode_group"][row] for row in range(len(units))]
        extra |= {"group" if name == "name" else name: [getattr(group, name) for group in groups] for name in _GROUP}
    plain = {name: column for name, column in extra.items() if all(value is None or isinstance(value, (str, bool, int, float, np.generic)) for value in column)}
    for name, column in plain.items():
        if name not in table:
            table[name] = column
    return table


def _common(values: Any) -> Any:
    """The value that all entries have, or None."""
    listed = list(values)
    return listed[0] if listed and all(isinstance(value, (str, bool, int, float, np.generic)) and value == listed[0] for value in listed) else None
