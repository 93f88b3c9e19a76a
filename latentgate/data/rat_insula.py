"""The recording "rat_insula": 96 units of rat insula while a rat presses a lever for a reward, cut into trials."""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence

import numpy as np

from latentgate.data.binning import bin_edges, events_within, number_of_bins, spike_counts
from latentgate.data.sequences import Sequences

SECONDS_BEFORE_LEVER = 5.0
SECONDS_AFTER_PORT_ENTRY = 30.0
SECONDS_AFTER_LEVER = 90.0

# Positions in RAW.Erast of the MATLAB file.
_LEVER_IN_REWARDED, _RETRACTS_REWARDED, _PORT_ENTRY_REWARDED, _LEVER_PRESS = 0, 1, 2, 3
_LEVER_IN_UNREWARDED, _RETRACTS_UNREWARDED, _PORT_ENTRY_OTHER = 6, 7, 8


def read_matlab(path: str | os.PathLike[str], bin_width: float = 0.05, minimum_rate: float = 0.2, overlap: str = "keep") -> Sequences:
    """Reads the MATLAB file of the recording and cuts it into trials; see `cut_trials` for the options."""
    from scipy.io import loadmat

    raw = loadmat(os.fspath(path), squeeze_me=True, struct_as_record=False, variable_names=["RAW"])["RAW"]
    spikes = [np.atleast_1d(np.asarray(unit, float)) for unit in raw.Nrast]
    events = [np.atleast_1d(np.asarray(event, float)) for event in raw.Erast]
    return cut_trials(spikes, events, bin_width=bin_width, minimum_rate=minimum_rate, overlap=overlap)


def cut_trials(
    spikes: Sequence[np.ndarray],
    events: Sequence[np.ndarray],
    bin_width: float = 0.05,
    minimum_rate: float = 0.2,
    overlap: str = "keep",
) -> Sequences:
    """Spike counts of every trial, one sequence each, in chronological order.

    A trial runs from 5 s before lever-in to 30 s after the port entry that collects the reward (rewarded) or to 90 s
    after lever-in (unrewarded). A rewarded trial whose reward was never collected has no such port entry before the
    next lever-in (the recording has none of these); it ends like an unrewarded one, 90 s after lever-in, or at the next
    lever-in if that is earlier, and stays labelled rewarded.

    In the recording every trial but the last runs 2.6 to 5 s into the next: the last seconds of a trial are the first
    of the next, 264 s of 4 792 s in all. With `overlap="keep"` these seconds are in both, so neighbouring trials on the
    two sides of a train-test split share them; with "trim" a trial ends where the next one begins.

    Args:
        spikes: spike times of each unit in s.
        events: event times in s, in the order of RAW.Erast (see the recording's description).
        bin_width: width of the bins in s; an incomplete last bin is left out.
        minimum_rate: units are kept whose mean rate from time 0 to the last spike of any unit is above it, in Hz.
        overlap: "keep" or "trim".

    Returns:
        Counts [trial, time, unit] with the label "rewarded", the events "lever in", "lever press", "lever retracts" and
        "port entry" (every one within the trial's bins, in s from its start), and names "unit 12" by the position in
        `spikes`, counted from 0.

    Raises:
        ValueError: options out of range, or no unit above `minimum_rate`.
    """
    for argument, value, lowest in (("bin_width", bin_width, "above 0"), ("minimum_rate", minimum_rate, "at least 0")):
        real = isinstance(value, numbers.Real) and not isinstance(value, bool) and np.isfinite(float(value))
        if not real or float(value) < 0 or (float(value) == 0 and argument == "bin_width"):
            unit = "s" if argument == "bin_width" else "Hz"
            raise ValueError(f"`{argument}` is {value!r}; expected a number {lowest}, in {unit}.")
    if overlap not in ("keep", "trim"):
        raise ValueError(f"`overlap` is {overlap!r}; expected 'keep' or 'trim'.")
    duration = max(unit.max() for unit in spikes if unit.size)
    kept = [index for index, unit in enumerate(spikes) if unit.size / duration > minimum_rate]
    if not kept:
        raise ValueError(f"no unit fires above `minimum_rate` = {minimum_rate} Hz; choose a lower rate.")
    starts, ends, rewarded = _trials(events)
    if overlap == "trim":
        ends[:-1] = np.minimum(ends[:-1], starts[1:])
    edges = [_edges(start, end, bin_width) for start, end in zip(starts, ends, strict=True)]
    binned_ends = [edge[-1] for edge in edges]
    marks = {
        "lever in": (_LEVER_IN_REWARDED, _LEVER_IN_UNREWARDED),
        "lever press": (_LEVER_PRESS,),
        "lever retracts": (_RETRACTS_REWARDED, _RETRACTS_UNREWARDED),
        "port entry": (_PORT_ENTRY_REWARDED, _PORT_ENTRY_OTHER),
    }
    return Sequences.from_arrays(
        spike_counts([spikes[unit] for unit in kept], edges),
        names=[f"unit {unit}" for unit in kept],
        labels={"rewarded": rewarded},
        # The same moment is in the recording more than once where a mark is the union of several events.
        events={name: events_within(np.unique(np.concatenate([events[row] for row in rows])), starts, binned_ends) for name, rows in marks.items()},
        bin_width=float(bin_width),
        starts=starts,
    )


def _trials(events: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts (s), ends (s) and rewarded of the trials, in chronological order."""
    rewarded_levers, other_levers = events[_LEVER_IN_REWARDED], events[_LEVER_IN_UNREWARDED]
    levers = np.concatenate([rewarded_levers, other_levers])
    rewarded = np.arange(levers.size) < rewarded_levers.size
    order = np.argsort(levers, kind="stable")
    levers, rewarded = levers[order], rewarded[order]
    following = np.append(levers[1:], np.inf)
    port_entries = np.sort(events[_PORT_ENTRY_REWARDED])
    ends = levers + SECONDS_AFTER_LEVER
    for index in np.flatnonzero(rewarded):
        own = port_entries[(port_entries >= levers[index]) & (port_entries < following[index])]
        ends[index] = own[0] + SECONDS_AFTER_PORT_ENTRY if own.size else min(ends[index], following[index])
    return levers - SECONDS_BEFORE_LEVER, ends, rewarded


def _edges(start: float, end: float, bin_width: float) -> np.ndarray:
    """Edges of the complete bins of [start, end)."""
    num_bins = number_of_bins(end - start, bin_width)
    if num_bins == 0:
        raise ValueError(f"`bin_width` is {bin_width} s but a trial lasts {end - start:.3f} s; choose narrower bins.")
    return bin_edges(start, bin_width, num_bins)
