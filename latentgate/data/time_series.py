"""Spike times, behaviour and events on a recording's clock become sequences of bins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from latentgate.data import _kinds
from latentgate.data._checks import DEFAULT_INPUT_NAME, as_float_array, check_bin_width, check_mapping
from latentgate.data._units import check_clocks, check_spike_train
from latentgate.data.binning import bin_edges, events_within, number_of_bins, sample_means, spike_counts
from latentgate.data.sequences import Sequences


def from_spikes(
    spikes: Any,
    bin_width: float,
    trials: Any = None,
    *,
    align: Any = None,
    window: Any = None,
    behaviour: Any = None,
    events: Any = None,
    labels: Mapping[str, Any] | None = None,
    groups: Any = None,
    names: Any = None,
) -> Sequences:
    """Counts spikes in the bins of trials, one sequence per trial.

    Bin t of a trial that begins at s is [s + t bin_width, s + (t + 1) bin_width): a spike on an edge belongs to the bin that the edge opens (also where it is
    on the edge but for rounding, a millionth of a bin). An incomplete last bin is left out. Trials may overlap. All times are in s, on one clock.

    Args:
        spikes: list of [spike] times, one array per neuron and in any order; {name of a neuron: times}; or a pynapple TsGroup.
        bin_width: width of the bins.
        trials: [trial, 2] starts and ends; or a pynapple IntervalSet, whose metadata become labels. None for one sequence over the time support of a TsGroup
            (one for each of its intervals).
        align: in place of `trials`, times of events, [event] or a pynapple Ts: a trial around each of them.
        window: (before, after) with `align`, for instance (-0.5, 1.0): bins begin at the event + before, and end at the event + after.
        behaviour: {name of an input set: (times [sample], values [sample] or [sample, column])}, or pynapple Tsd and TsdFrame in place of the pairs (columns
            give the names of the inputs); one of these alone is the set "inputs". The input of a bin is the mean of the samples in it, and where there are
            none, on the line between its neighbours at the centre of the bin. NaN samples are left out.
        events: {name: [event] times, or a pynapple Ts}; each trial keeps those within its bins, in s from its start.
        labels: {name: one number, boolean or string per trial}.
        groups: one session label per trial.
        names: of the neurons; by default "unit 0", "unit 1", ... or the keys.

    Returns:
        Counts [trial, time, neuron] with `bin_width` and `starts`.

    Raises:
        TypeError: what is neither times nor a pynapple object.
        ValueError: spikes that look like counts, milliseconds or samples; trials that end before they start or hold no bin; behaviour whose record ends within
            a trial; options that do not fit together. The neuron or trial is named.

    Example:
        >>> import numpy as np
        >>> from latentgate.data.time_series import from_spikes
        >>> data = from_spikes({"a": [0.1, 0.9, 1.2], "b": [1.7]}, 0.5, trials=[[0.0, 1.0], [1.0, 2.0]])
        >>> data.values.tolist(), data.starts.tolist()
        ([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]], [0.0, 1.0])
        >>> from_spikes([[3.0, 4.1]], 0.1, align=[4.0], window=(-0.1, 0.2)).values.ravel().tolist()
        [0.0, 0.0, 1.0]
    """
    width = check_bin_width(bin_width)
    if width is None:
        raise ValueError("`bin_width` is None; expected the width of the bins in s.")
    trains, found_names = _spike_trains(spikes)
    bounds, found_labels = _trials(spikes, trials, align, window)
    check_clocks(trains, bounds, width)
    edges = []
    for index, (start, end) in enumerate(bounds):
        num_bins = number_of_bins(end - start, width)
        if num_bins < 1:
            raise ValueError(
                f"`bin_width` is {width:g} s but trial {index} lasts {end - start:g} s (from {start:g} to {end:g} s); expected at least one bin in a trial. "
                "Give both in seconds, choose narrower bins, or leave the trial out."
            )
        edges.append(bin_edges(start, width, num_bins))
    starts, ends = bounds[:, 0], np.array([edge[-1] for edge in edges])
    inputs, input_names = _behaviour(behaviour, edges)
    moments = {name: _moments(value, f"events[{name!r}]") for name, value in check_mapping(events, "events").items()}
    return Sequences.from_arrays(
        spike_counts(trains, edges),
        inputs=inputs,
        names=found_names if names is None else names,
        input_names=input_names,
        labels=found_labels | check_mapping(labels, "labels"),
        events={name: events_within(times, starts, ends) for name, times in moments.items()},
        groups=groups,
        bin_width=width,
        starts=starts,
    )


def _spike_trains(spikes: Any) -> tuple[list[np.ndarray], list[str]]:
    """Spike times and the name of each neuron."""
    expected = "expected a list with the spike times of one neuron (in s) per entry, {name: times}, or a pynapple TsGroup"
    if _kinds.is_table(spikes) or _kinds.is_labelled(spikes) or isinstance(spikes, (str, bytes)) or not hasattr(spikes, "__iter__"):
        raise TypeError(f"`spikes` is of type {type(spikes).__name__}; {expected}.")
    if _kinds.is_timestamps(spikes):
        raise TypeError(f"`spikes` is one {type(spikes).__name__}; {expected}. Wrap a single neuron in a list: spikes=[times].")
    if isinstance(spikes, np.ndarray) and spikes.dtype.kind != "O":
        if spikes.ndim == 1:
            raise ValueError(f"`spikes` is one flat array of {spikes.size} numbers; {expected}. Wrap a single neuron in a list: spikes=[times].")
        raise ValueError(
            f"`spikes` is one array of shape {spikes.shape}; {expected}. Counts that are binned already go to Sequences.from_arrays([counts], bin_width=...)."
        )
    # A TsGroup is a mapping too.
    entries = {key: spikes[key] for key in spikes} if isinstance(spikes, Mapping) else dict(enumerate(spikes))
    if not entries:
        raise ValueError(f"`spikes` is empty; {expected}.")
    if not isinstance(spikes, Mapping) and all(np.ndim(entry) == 0 and not _kinds.is_timestamps(entry) for entry in entries.values()):
        raise ValueError(f"`spikes` is a flat list of {len(entries)} numbers; {expected}. Wrap a single neuron in a list: spikes=[times].")
    trains = []
    for key, entry in entries.items():
        times = _moments(entry, f"spikes[{key!r}]")
        check_spike_train(times, f"spikes[{key!r}]")
        trains.append(times)
    return trains, [key if isinstance(key, str) else f"unit {key}" for key in entries]


def _moments(value: Any, argument: str) -> np.ndarray:
    """[moment] finite times in s, from numbers or a pynapple Ts."""
    if not _kinds.is_timestamps(value) and np.size(value) == 0:
        return np.zeros(0)
    times = np.atleast_1d(as_float_array(value.t if _kinds.is_timestamps(value) else value, f"`{argument}`"))
    if times.ndim != 1:
        raise ValueError(
            f"`{argument}` has shape {times.shape}; expected a flat list of times in s. Counts that are binned already go to Sequences.from_arrays."
        )
    wrong = np.flatnonzero(~np.isfinite(times))
    if wrong.size:
        raise ValueError(f"`{argument}` is {times[wrong[0]]} at position {wrong[0]}; expected finite times in s. Leave the others out.")
    return times


def _trials(spikes: Any, trials: Any, align: Any, window: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Starts and ends [trial, 2], and labels of the trials."""
    if trials is not None and align is not None:
        raise ValueError("`trials` and `align` are both given; expected one of them: starts and ends, or events with a window around them.")
    if (align is None) != (window is None):
        absent, given = ("align", "window") if align is None else ("window", "align")
        raise ValueError(f"`{given}` is given without `{absent}`; expected both: align=[event times], window=(before, after) in s, for instance (-0.5, 1.0).")
    if align is not None:
        moments = _moments(align, "align")
        around = as_float_array(window, "`window`")
        if around.shape != (2,) or not np.isfinite(around).all() or not around[0] < around[1]:
            raise ValueError(f"`window` is {window!r}; expected (before, after) in s from the event, before < after, for instance (-0.5, 1.0).")
        bounds = moments[:, None] + around
    elif trials is not None:
        bounds = np.stack([trials.start, trials.end], axis=1) if _kinds.is_intervals(trials) else as_float_array(trials, "`trials`")
    elif _kinds.is_spike_group(spikes):
        support = spikes.time_support
        return np.stack([support.start, support.end], axis=1), {}
    else:
        raise ValueError(
            "`trials` is None; expected [trial, 2] starts and ends in s (one row for a whole recording: trials=[[start, end]]), a pynapple IntervalSet, or "
            "`align` with `window`."
        )
    if bounds.ndim != 2 or bounds.shape[1] != 2:
        hint = " Transpose it." if bounds.ndim == 2 and bounds.shape[0] == 2 else " Wrap a single trial: trials=[[start, end]]." if bounds.shape == (2,) else ""
        raise ValueError(f"`trials` has shape {bounds.shape}; expected [trial, 2], a start and an end in s for each trial.{hint}")
    if not len(bounds):
        raise ValueError(f"`{'align' if align is not None else 'trials'}` is empty; expected at least one.")
    wrong = np.flatnonzero(~np.isfinite(bounds).all(1))
    if wrong.size:
        raise ValueError(f"trial {wrong[0]} of `trials` is {bounds[wrong[0]].tolist()}; expected finite times in s. Leave the trial out.")
    wrong = np.flatnonzero(bounds[:, 1] <= bounds[:, 0])
    if wrong.size:
        start, end = bounds[wrong[0]]
        raise ValueError(f"trial {wrong[0]} of `trials` starts at {start:g} s and ends at {end:g} s; expected an end after the start.")
    return bounds, _metadata(trials) if _kinds.is_intervals(trials) else {}


def _metadata(intervals: Any) -> dict[str, np.ndarray]:
    """Columns of the metadata of an IntervalSet, as labels; strings where they are not all numbers."""
    table = intervals.metadata
    columns = {str(name): np.asarray(table[name]) for name in table.columns}
    return {name: column if column.dtype.kind in "biufU" else column.astype(str) for name, column in columns.items()}


def _behaviour(behaviour: Any, edges: list[np.ndarray]) -> tuple[dict[str, list[np.ndarray]], dict[str, list[str]]]:
    """Input sets, one [time, column] array per trial, and the names of their columns."""
    if behaviour is None:
        return {}, {}
    inputs, names = {}, {}
    given: dict[str, Any] = (
        {DEFAULT_INPUT_NAME: behaviour} if _kinds.is_time_series(behaviour) or isinstance(behaviour, tuple) else check_mapping(behaviour, "behaviour")
    )
    for name, record in given.items():
        times, values = _record(record, f"behaviour[{name!r}]")
        columns = getattr(record, "columns", None)
        if columns is not None:
            names[name] = [str(column) for column in columns]
        inputs[name] = []
        for index, edge in enumerate(edges):
            means = sample_means(times, values, edge)
            missing = np.argwhere(np.isnan(means))
            if missing.size:
                step, column = missing[0]
                raise ValueError(
                    f"`behaviour[{name!r}]` has no sample at or beyond bin {step} of trial {index}, {edge[step]:g} to {edge[step + 1]:g} s (column {column}): "
                    f"its record runs from {times[0]:g} to {times[-1]:g} s; expected one that covers every trial. Shorten the trial or leave it out."
                )
            inputs[name].append(means)
    return inputs, names


def _record(record: Any, argument: str) -> tuple[np.ndarray, np.ndarray]:
    """Times [sample], and values [sample, column] that may be NaN."""
    if _kinds.is_time_series(record):
        times, values = record.t, record.values
    elif isinstance(record, (tuple, list)) and len(record) == 2:
        times, values = record
    else:
        raise TypeError(f"`{argument}` is of type {type(record).__name__}; expected (times, values), a pynapple Tsd or a TsdFrame.")
    times = _moments(times, f"{argument}: times")
    values = as_float_array(values, f"`{argument}`: values")
    if values.ndim not in (1, 2) or len(values) != len(times) or not len(times):
        raise ValueError(f"`{argument}` has {len(times)} times and values of shape {values.shape}; expected values [sample] or [sample, column], one per time.")
    backwards = np.flatnonzero(np.diff(times) < 0)
    if backwards.size:
        raise ValueError(f"`{argument}` goes back in time: {times[backwards[0] + 1]:g} s follows {times[backwards[0]]:g} s; sort the samples by time.")
    return times, values[:, None] if values.ndim == 1 else values
