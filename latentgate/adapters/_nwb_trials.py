"""Trials of an NWB file: rows of an interval table with their bounds, labels and events."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from latentgate.data import Sequences

from ._nwb_contents import chosen, ragged_columns, scalar_columns, series, tables

_BOUNDS = ("start_time", "stop_time")


@dataclasses.dataclass(frozen=True)
class Trials:
    """Trials and what is known of them; times are those of the recording, in s.

    Attributes:
        bounds: [trial, 2] starts and ends.
        labels: {name: [trial]}.
        moments: {name: [event]} events of the recording, whichever trial they fall into.
        own: {name: one [event] array per trial} events of the trials themselves.
    """

    bounds: Any
    labels: dict[str, np.ndarray]
    moments: dict[str, np.ndarray]
    own: dict[str, list[np.ndarray]]

    def own_events(self, data: Sequences) -> dict[str, list[np.ndarray]]:
        """The events of each trial that fall within its bins, in s from its start."""
        starts = np.asarray(data.starts)
        ends = starts + np.asarray(data.lengths) * float(data.bin_width or 0.0)
        return {
            name: [times[(times >= start) & (times < end)] - start for times, start, end in zip(each, starts, ends, strict=True)]
            for name, each in self.own.items()
        }

    @staticmethod
    def stamps(file: Any, name: Any) -> np.ndarray:
        """Time stamps of a time series."""
        return np.asarray(chosen(series(file), name, "events", "a time series").get_timestamps()[:], float)


def read_trials(file: Any, name: str, align: str | None, window: Any, labels: Any, events: Any) -> Trials:
    """The trials of the interval table of this name; those without a time that bounds them are left out with a warning.

    Raises:
        TypeError, ValueError: no such table or column; those that there are are listed.
    """
    found = tables(file)
    if not found:
        raise ValueError(
            f"`trials` is {name!r}, but the file has no interval table; expected trials=[[start, end], ...] in s, or trials=None for one sequence."
        )
    table = chosen(found, name, "trials", "an interval table")
    columns = scalar_columns(table)
    times = {str(column): columns[column].to_numpy(float) for column in columns if _is_time(str(column)) and columns[column].dtype.kind in "iuf"}
    needed = _BOUNDS if align is None else (align,)
    if align is not None and align not in times:
        raise ValueError(f"`align` is {align!r}; expected a column of times of {name!r}: {', '.join(map(repr, times))}.")
    if not len(columns):
        raise ValueError(f"the interval table {name!r} has no rows; expected at least one trial.")
    known = np.all([np.isfinite(times[column]) for column in needed], axis=0)
    if not known.all():
        lost = f"{(~known).sum()} of {len(known)} rows of {name!r} have no {' or '.join(needed)}"
        if not known.any():
            raise ValueError(f"{lost}; expected at least one that has.")
        warnings.warn(f"{lost}; they are left out, the label 'trial' holds the ids of the others.", stacklevel=6)
    rows = np.flatnonzero(known)
    bounds = np.stack([times[column][rows] for column in _BOUNDS], axis=1) if align is None else times[align][rows, None] + _window(window)
    lists = {column: entry for column, entry in ragged_columns(table).items() if column.endswith("_times")}
    own = {column: [when[[row]][np.isfinite(when[[row]])] for row in rows] for column, when in times.items() if align is not None or column not in _BOUNDS}
    own |= {column: [np.sort(np.asarray(entry[int(row)], float)) for row in rows] for column, entry in lists.items()}
    moments = {}
    if events is not None:
        asked = [events] if isinstance(events, str) else list(events)
        elsewhere = series(file)
        for event in asked:
            if event not in own:
                listed = ", ".join(map(repr, [*own, *elsewhere])) or "none"
                if not isinstance(event, str) or not any(path == event or path.endswith(f"/{event}") for path in elsewhere):
                    raise ValueError(f"`events` asks for {event!r}; expected columns of times of {name!r}, or time series: {listed}.")
                moments[event.rpartition("/")[2]] = Trials.stamps(file, event)
        own = {column: entry for column, entry in own.items() if column in asked}
    return Trials(bounds, _labels(columns, rows, [*times], labels, name), moments, own)


def _is_time(column: str) -> bool:
    return column.endswith("_time")


def _window(window: Any) -> np.ndarray:
    array = np.asarray(window, float)
    if array.shape != (2,) or not np.isfinite(array).all() or not array[0] < array[1]:
        raise ValueError(f"`window` is {window!r}; expected (before, after) in s from the event, before < after, for instance (-0.5, 1.0).")
    return array


def _labels(columns: Any, rows: np.ndarray, times: list[str], asked: Any, table: str) -> dict[str, np.ndarray]:
    there = [str(column) for column in columns if column not in times]
    wanted = there if asked is None else [asked] if isinstance(asked, str) else list(asked)
    for label in wanted:
        if label not in there:
            raise ValueError(f"`labels` asks for {label!r}, which the interval table {table!r} does not have; it has: {', '.join(map(repr, there)) or 'none'}.")
    kept = {label: columns[label].to_numpy()[rows] for label in wanted}
    found = {label: values if values.dtype.kind in "biuf" else values.astype(str) for label, values in kept.items()}
    return {"trial": columns.index.to_numpy()[rows]} | found
