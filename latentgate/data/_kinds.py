"""Telling what a user holds by its shape, without importing the packages that made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_table(value: Any) -> bool:
    """A pandas DataFrame (or one of another maker)."""
    return hasattr(value, "columns") and hasattr(value, "iloc")


def is_labelled(value: Any) -> bool:
    """An xarray DataArray or Dataset."""
    return hasattr(value, "dims") and hasattr(value, "coords") and hasattr(value, "transpose")


def is_spike_group(value: Any) -> bool:
    """A pynapple TsGroup: spike times by unit."""
    return isinstance(value, Mapping) and hasattr(value, "time_support") and hasattr(value, "rates")


def is_intervals(value: Any) -> bool:
    """A pynapple IntervalSet."""
    return hasattr(value, "start") and hasattr(value, "end") and hasattr(value, "values") and hasattr(value, "intersect")


def is_timestamps(value: Any) -> bool:
    """A pynapple Ts, Tsd or TsdFrame: anything with times."""
    return hasattr(value, "t") and hasattr(value, "time_support")


def is_time_series(value: Any) -> bool:
    """A pynapple Tsd or TsdFrame: times with values."""
    return is_timestamps(value) and hasattr(value, "values")


def refuse_other_kinds(arrays: Any) -> None:
    """Says which constructor takes what is no list of arrays.

    Raises:
        TypeError: a TsGroup, other pynapple objects, xarray objects, a DataFrame or a mapping; or a list of xarray or pynapple objects.
    """
    expected = "expected a list with one [time, feature] array per sequence."
    if is_spike_group(arrays):
        raise TypeError(f"`arrays` is a pynapple TsGroup; {expected} Count its spikes in bins with Sequences.from_spikes(group, bin_width=...).")
    if is_table(arrays):
        raise TypeError(
            f"`arrays` is a {type(arrays).__name__}; {expected} Read a table with Sequences.from_table(table, sequence=..., values=...), "
            "or pass one table of numbers as a list: arrays=[table.to_numpy()]."
        )
    if is_labelled(arrays):
        raise TypeError(f"`arrays` is an xarray {type(arrays).__name__}; {expected} Use Sequences.from_xarray, which knows its dimensions by name.")
    if is_time_series(arrays):
        raise TypeError(f"`arrays` is a pynapple {type(arrays).__name__}; {expected} Pass its numbers, arrays=[series.values], with times=[series.t].")
    if isinstance(arrays, Mapping):
        raise TypeError(
            f"`arrays` is of type {type(arrays).__name__}; {expected} Columns of a table go to Sequences.from_table(table, sequence=..., values=...), "
            "{neuron: spike times} to Sequences.from_spikes(spikes, bin_width=...), and arrays by the name of their sequence are "
            "arrays=list(mapping.values())."
        )
    if isinstance(arrays, (list, tuple)) and arrays:
        if is_labelled(arrays[0]):
            raise TypeError("`arrays` is a list of xarray objects; use Sequences.from_xarray, which knows their dimensions by name.")
        if is_timestamps(arrays[0]) and not is_time_series(arrays[0]):
            raise TypeError("`arrays` is a list of pynapple Ts, which are times; count them in bins with Sequences.from_spikes(spikes, bin_width=...).")
