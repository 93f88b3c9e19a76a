"""NWB files in and out, through pynwb: spikes, trials and behaviour become `Sequences`; states and latents become a processing module.

The files of the Neural Latents Benchmark, whose trials and bins follow the benchmark's own rules, are read by `latentgate.data.neural_latents`.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from latentgate.data import Sequences, _kinds
from latentgate.data._checks import check_bin_width
from latentgate.data.binning import ROUNDING
from latentgate.data.time_series import from_spikes

from ._nwb_contents import Contents, chosen, describe, opened, series, unit_table
from ._nwb_results import add_results
from ._nwb_trials import Trials, read_trials

__all__ = ["Contents", "add_results", "describe", "read"]

_AXES = "xyz"


def read(
    path: str | os.PathLike[str],
    bin_width: float | None = None,
    trials: Any = "trials",
    align: str | None = None,
    window: Any = None,
    units: Any = None,
    behaviour: Any = None,
    events: Any = None,
    labels: Any = None,
) -> Sequences:
    """Counts the spikes of an NWB file in bins of its trials; `latentgate.load("session.nwb", ...)` calls it.

    Bins, alignment and behaviour follow `Sequences.from_spikes`. A bin that is not wholly within the observation intervals of a unit (`obs_intervals`) is
    missing for that unit; a unit without any such interval counts as observed throughout. Trials without a time that is needed are left out with a warning.

    Args:
        path: of the file.
        bin_width: width of the bins in s.
        trials: name of an interval table ("trials", "epochs", or another); [trial, 2] starts and ends in s, or a pynapple IntervalSet; None for one sequence
            over the whole recording, from the first observation interval (or spike) to the last.
        align: name of a column of times of that table: a trial is then a window around it.
        window: (before, after) in s, with `align`.
        units: which units: {column: value, or list of values} of the table of units (also `group` and `location` of their electrode group, and what their
            electrodes have in common); a boolean for each, or row numbers; None for all.
        behaviour: names or paths of time series that become input sets, for instance "hand_position" or "processing/behavior/Position/position"; a list of
            them, or {name of the input set: name or path}. Conversion and offset are applied: inputs are in the unit of the series.
        events: names of columns of times of the interval table (a trial keeps its own), or of time series whose time stamps are events (a trial keeps
            those within it); None for all such columns, [] for none.
        labels: names of other columns of the interval table; None for all with one number, boolean or text a row, [] for none. Beside them, "trial" is the id
            of the row.

    Returns:
        Counts [trial, time, unit] with `bin_width` and `starts`; names "unit 12" by the ids of the units.

    Raises:
        ImportError: without pynwb: pip install 'latentgate[nwb]'.
        FileNotFoundError: no such file.
        TypeError, ValueError: no NWB file, no units, names that the file does not have (those it has are listed), or as `Sequences.from_spikes`.

    Example:
        >>> import datetime, pathlib, tempfile, pynwb
        >>> import latentgate as lg
        >>> file = pynwb.NWBFile("a session", "one", datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
        >>> file.add_unit(spike_times=[0.1, 0.7, 1.2], id=12)
        >>> file.add_trial_column("rewarded", "whether the animal was rewarded")
        >>> file.add_trial(0.0, 1.0, rewarded=True)
        >>> file.add_trial(1.0, 2.0, rewarded=False)
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "session.nwb"
        >>> with pynwb.NWBHDF5IO(path, "w") as target:
        ...     target.write(file)
        >>> data = lg.load(path, bin_width=0.5)
        >>> data.names, data.values[..., 0].tolist(), data.labels["rewarded"].tolist()
        (('unit 12',), [[1.0, 1.0], [1.0, 0.0]], [True, False])
    """
    width = check_bin_width(bin_width)
    if width is None:
        raise ValueError(f"`bin_width` is needed to count spikes: expected seconds, for instance bin_width=0.02. The file is {describe(path)}")
    if (align is None) != (window is None):
        absent, given = ("align", "window") if align is None else ("window", "align")
        raise ValueError(f"`{given}` is given without `{absent}`; expected both: align='go_cue_time', window=(before, after) in s, for instance (-0.3, 0.7).")
    with opened(path) as file:
        names, spikes, observed = _spikes(file, units)
        found = _trials(file, trials, align, window, labels, events, spikes, observed)
        inputs, input_names = _behaviour(file, behaviour)
        data = from_spikes(spikes, width, found.bounds, behaviour=inputs, events=found.moments, labels=found.labels, names=names)
    data = dataclasses.replace(data, input_names=input_names, events=found.own_events(data) | data.events)
    return _with_gaps(data, observed, width)


def _spikes(file: Any, which: Any) -> tuple[list[str], list[np.ndarray], list[np.ndarray | None]]:
    """Name, spike times and observation intervals [interval, 2] (None without) of each chosen unit."""
    if file.units is None or not len(file.units) or "spike_times" not in file.units.colnames:
        raise ValueError("the file has no table of units with spike times; expected sorted spikes. Time series go to Sequences.from_arrays.")
    rows = _rows(file.units, which)
    ids = np.asarray(file.units.id[:])
    names = [f"unit {ids[row]}" for row in rows]
    spikes = [np.asarray(file.units.get_unit_spike_times(int(row)), float) for row in rows]
    if "obs_intervals" not in file.units.colnames:
        return names, spikes, [None] * len(rows)
    stated = [np.reshape(file.units.get_unit_obs_intervals(int(row)), (-1, 2)).astype(float) for row in rows]
    return names, spikes, [intervals if len(intervals) else None for intervals in stated]


def _rows(units: Any, which: Any) -> np.ndarray:
    count = len(units)
    if which is None:
        return np.arange(count)
    if isinstance(which, Mapping):
        table = unit_table(units)
        kept = np.ones(count, bool)
        for column, wanted in which.items():
            if column not in table:
                raise ValueError(f"`units` asks for {column!r}, which the units do not have; they have: {', '.join(map(repr, table.columns)) or 'no columns'}.")
            values = [wanted] if isinstance(wanted, str) or not hasattr(wanted, "__iter__") else list(wanted)
            matching = table[column].isin(values).to_numpy()
            if not matching.any():
                there = ", ".join(map(repr, table[column].dropna().unique().tolist()[:20]))
                raise ValueError(f"`units` asks for {column} {wanted!r}, which no unit has; expected some of: {there}.")
            kept &= matching
        if not kept.any():
            raise ValueError(f"no unit has all that `units` asks for, {dict(which)!r}; each alone is met by some. Ask for less.")
        return np.flatnonzero(kept)
    array = np.asarray(which)
    if array.ndim != 1 or array.dtype.kind not in "bui" or not array.size:
        raise TypeError(f"`units` is {which!r}; expected {{column: value}}, a boolean for each of the {count} units, or their row numbers.")
    if array.dtype.kind == "b":
        if len(array) != count or not array.any():
            raise ValueError(f"`units` has {len(array)} booleans, {array.sum()} of them True; expected one for each of the {count} units, and some True.")
        return np.flatnonzero(array)
    if array.min() < 0 or array.max() >= count or len(np.unique(array)) < len(array):
        raise ValueError(f"`units` is {array.tolist()}; expected distinct row numbers from 0 to {count - 1} (ids are asked for by {{'id': ...}}).")
    return array


def _trials(file: Any, trials: Any, align: Any, window: Any, labels: Any, events: Any, spikes: list[np.ndarray], observed: list[np.ndarray | None]) -> Trials:
    if isinstance(trials, str):
        return read_trials(file, trials, align, window, labels, events)
    if align is not None or labels:
        raise ValueError(f"`{'align' if align is not None else 'labels'}` names columns of an interval table; expected its name in `trials`.")
    asked = [] if events is None else [events] if isinstance(events, str) else list(events)
    moments = {str(name).rpartition("/")[2]: Trials.stamps(file, name) for name in asked}
    if trials is None:
        known = [intervals.ravel() for intervals in observed if intervals is not None] or [times for times in spikes if times.size]
        if not known:
            raise ValueError("the chosen units never fired, and have no observation intervals; expected `trials`, to say which time they cover.")
        whole = np.concatenate(known)
        return Trials(np.array([[whole.min(), whole.max()]]), {}, moments, {})
    if _kinds.is_intervals(trials):
        trials = np.stack([trials.start, trials.end], axis=1)
    return Trials(trials, {}, moments, {})


def _behaviour(file: Any, asked: Any) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], dict[str, tuple[str, ...]]]:
    """Times and values of each time series that was asked for, and the names of its columns."""
    if asked is None:
        return {}, {}
    listed = [asked] if isinstance(asked, str) else asked
    named = dict(listed) if isinstance(listed, Mapping) else {str(name).rpartition("/")[2]: name for name in listed}
    found, columns = series(file), {}
    records = {}
    for name, place in named.items():
        entry = chosen(found, place, f"behaviour[{name!r}]", "a time series")
        values = np.asarray(entry.data[:])
        if values.dtype.kind not in "biuf" or values.ndim not in (1, 2):
            raise ValueError(f"the time series {place!r} has shape {values.shape} and dtype {values.dtype}; expected numbers [sample] or [sample, column].")
        values = values.reshape(len(values), -1) * float(entry.conversion)
        channels = entry.fields.get("channel_conversion")
        values = values * (1.0 if channels is None else np.asarray(channels[:], float)) + float(entry.offset)
        records[name] = (np.asarray(entry.get_timestamps()[:], float), values)
        count = values.shape[1]
        spatial = type(entry).__name__ == "SpatialSeries" and 1 < count <= len(_AXES)
        columns[name] = (name,) if count == 1 else tuple(_AXES[:count]) if spatial else tuple(f"{name} {column}" for column in range(count))
    return records, columns


def _with_gaps(data: Sequences, observed: list[np.ndarray | None], width: float) -> Sequences:
    """Bins that are not wholly within the observation intervals of a unit are missing for it."""
    if all(intervals is None for intervals in observed) or data.starts is None:
        return data
    lengths = np.asarray(data.lengths)
    opens = np.concatenate([start + width * np.arange(length) for start, length in zip(data.starts, lengths, strict=True)])
    seen = np.ones((len(opens), len(observed)), bool)
    # Most units of a recording have the same intervals.
    distinct: dict[bytes, np.ndarray] = {}
    for column, intervals in enumerate(observed):
        if intervals is not None:
            key = intervals.tobytes()
            distinct[key] = _within(opens, opens + width, intervals, ROUNDING * width) if key not in distinct else distinct[key]
            seen[:, column] = distinct[key]
    if seen.all():
        return data
    counts = [np.where(known, count, np.nan) for known, count in zip(np.split(seen, np.cumsum(lengths)[:-1]), data.to_list(), strict=True)]
    blind = [index for index, count in enumerate(counts) if np.isnan(count).all()]
    if len(blind) == len(counts):
        raise ValueError("no bin of any trial lies within the observation intervals of a unit; expected trials and obs_intervals in s on one clock.")
    if blind:
        warnings.warn(f"in {len(blind)} of {len(counts)} trials no unit was observed; every bin of them is missing: {blind[:10]}.", stacklevel=5)
    return data.with_values(counts)


def _within(opens: np.ndarray, closes: np.ndarray, intervals: np.ndarray, rounding: float) -> np.ndarray:
    """Boolean [bin]: whether one interval holds the bin, where intervals that touch are one."""
    ordered = intervals[np.argsort(intervals[:, 0])]
    ends = np.maximum.accumulate(ordered[:, 1])
    first = np.append(True, ordered[1:, 0] > ends[:-1] + rounding)
    begins, stops = ordered[first, 0], ends[np.append(np.flatnonzero(first)[1:] - 1, len(ends) - 1)]
    place = np.searchsorted(begins, opens + rounding, side="right") - 1
    return (place >= 0) & (closes <= stops[place] + rounding)
