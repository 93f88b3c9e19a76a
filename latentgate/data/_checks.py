"""Checks and padding behind `Sequences`: every problem is named before an array is built."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

DEFAULT_INPUT_NAME = "inputs"


def as_float_array(value: Any, what: str, ragged: str = "") -> np.ndarray:
    """`value` as a float64 array; masked entries of a `numpy.ma` array become NaN.

    Args:
        value: an array, or nested lists of numbers.
        what: the beginning of every message.
        ragged: what to do about rows of different lengths.

    Raises:
        TypeError: if `value` holds text, objects, dates or complex numbers.
        ValueError: if `value` is ragged.
    """
    try:
        if np.ma.isMaskedArray(value) and value.dtype.kind in "biuf":
            value = np.where(np.ma.getmaskarray(value), np.nan, np.ma.getdata(value))
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{what} cannot be read as one array ({error}); expected rows of equal length.{ragged}") from error
    if array.dtype.kind == "c":
        raise TypeError(f"{what} has complex dtype {array.dtype}; expected real numbers. Pass real and imaginary parts apart.")
    if array.dtype.kind in "mM":
        raise TypeError(f"{what} has dtype {array.dtype}; expected real numbers. Convert dates and times to seconds.")
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{what} has dtype {array.dtype}; expected real numbers. Convert it first, for instance with .astype(float), and mark missing entries with NaN."
        )
    return array.astype(np.float64)


def _as_list(value: Any, argument: str, columns: str) -> list[Any]:
    """A list with one entry per sequence from a list, a tuple or one [sequence, time, column] array."""
    expected = f"expected a list with one [time, {columns}] array per sequence"
    dimensions = getattr(value, "ndim", None)
    if isinstance(value, (str, bytes, Mapping)) or (dimensions is None and not isinstance(value, Iterable)):
        raise TypeError(f"`{argument}` is of type {type(value).__name__}; {expected}.")
    if dimensions in (None, 3) or (dimensions == 1 and np.asarray(value).dtype.kind == "O"):
        return list(value)
    raise ValueError(
        f"`{argument}` is one array of shape {getattr(value, 'shape', ())}; {expected}, or one [sequence, time, {columns}] "
        f"array. Wrap a single sequence in a list: {argument}=[array]."
    )


def check_arrays(value: Any, argument: str, columns: str = "feature") -> list[np.ndarray]:
    """One float64 [time, column] array per sequence, all with the same number of columns, none empty."""
    entries = _as_list(value, argument, columns)
    if not entries:
        raise ValueError(f"`{argument}` is empty; expected at least one [time, {columns}] array.")
    spikes = " Times of spikes become counts with Sequences.from_spikes(spikes, bin_width=...)." if columns == "feature" else ""
    arrays = []
    for index, entry in enumerate(entries):
        what = f"sequence {index} of `{argument}`"
        array = as_float_array(entry, what, spikes)
        if array.ndim == 1:
            array = array[:, None]
        if array.ndim != 2:
            raise ValueError(f"{what} has {array.ndim} dimensions; expected [time, {columns}]. Wrap a single sequence in a list: {argument}=[array].")
        if array.shape[0] == 0:
            raise ValueError(f"{what} is empty (shape {array.shape}); expected at least one time step. Leave it out.")
        if array.shape[1] == 0:
            raise ValueError(f"{what} has no {columns}s (shape {array.shape}); expected at least one column.")
        if arrays and array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                f"{what} has {array.shape[1]} {columns}s but sequence 0 has {arrays[0].shape[1]}; expected the same "
                "number in every sequence. Fill a column that was not recorded with NaN (observations) or 0 (inputs)."
            )
        arrays.append(array)
    return arrays


def check_observations(value: Any, argument: str) -> list[np.ndarray]:
    """As `check_arrays`, and no infinite entry and no sequence without any observed entry."""
    arrays = check_arrays(value, argument)
    for index, array in enumerate(arrays):
        infinite = np.argwhere(np.isinf(array))
        if infinite.size:
            step, feature = infinite[0]
            raise ValueError(
                f"sequence {index} of `{argument}` is infinite at step {step}, feature {feature}; expected finite numbers. Mark missing entries with NaN."
            )
        if np.isnan(array).all():
            raise ValueError(f"every entry of sequence {index} of `{argument}` is missing (NaN); expected at least one observed entry. Leave the sequence out.")
    return arrays


def check_inputs(inputs: Any, lengths: Sequence[int]) -> dict[str, list[np.ndarray]]:
    """Named input sets as {name: one [time, input] array per sequence}, finite and of the lengths of the sequences."""
    if inputs is None:
        return {}
    named = dict(inputs) if isinstance(inputs, Mapping) else {DEFAULT_INPUT_NAME: inputs}
    checked = {}
    for name, value in named.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"`inputs` has the key {name!r}; expected non-empty strings as names of the input sets.")
        argument = "inputs" if not isinstance(inputs, Mapping) else f"inputs[{name!r}]"
        arrays = check_arrays(value, argument, "input")
        check_count(arrays, len(lengths), argument)
        for index, (array, length) in enumerate(zip(arrays, lengths, strict=True)):
            if len(array) != length:
                raise ValueError(
                    f"sequence {index} of `{argument}` has {len(array)} steps but the observations have {length}; expected one row of inputs per time step."
                )
            bad = np.argwhere(~np.isfinite(array))
            if bad.size:
                step, column = bad[0]
                raise ValueError(
                    f"sequence {index} of `{argument}` is {array[step, column]} at step {step}, input {column}; "
                    "expected finite numbers. Inputs cannot be missing: fill them in before."
                )
        checked[name] = arrays
    return checked


def check_times(times: Any, lengths: Sequence[int]) -> list[np.ndarray] | None:
    """One strictly increasing float64 [time] array per sequence."""
    if times is None:
        return None
    if getattr(times, "ndim", None) == 2:
        times = list(times)
    entries = _as_list(times, "times", "1")
    check_count(entries, len(lengths), "times")
    checked = []
    for index, (entry, length) in enumerate(zip(entries, lengths, strict=True)):
        what = f"sequence {index} of `times`"
        array = as_float_array(entry, what)
        if array.shape != (length,):
            raise ValueError(f"{what} has shape {array.shape}; expected ({length},), one time per step.")
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            raise ValueError(f"{what} is {array[bad[0]]} at step {bad[0]}; expected finite times.")
        bad = np.flatnonzero(np.diff(array) <= 0)
        if bad.size:
            step = bad[0] + 1
            raise ValueError(
                f"{what} is not strictly increasing: {array[step]} at step {step} follows {array[step - 1]}. Sort the "
                "steps by time and merge steps at equal times."
            )
        checked.append(array)
    return checked


def check_count(entries: Sequence[Any] | np.ndarray, expected: int, argument: str) -> None:
    """Raises ValueError unless `entries` has one entry per sequence."""
    if len(entries) != expected:
        raise ValueError(f"`{argument}` has {len(entries)} entries for {expected} sequences; expected one each.")


def check_names(names: Any, expected: int, argument: str, columns: str = "feature") -> tuple[str, ...] | None:
    """A tuple of `expected` strings."""
    if names is None:
        return None
    if isinstance(names, str):
        raise TypeError(f"`{argument}` is the string {names!r}; expected a list of strings, one per {columns}.")
    names = tuple(str(name) if isinstance(name, np.str_) else name for name in names)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise TypeError(f"`{argument}` holds {wrong[0]!r} of type {type(wrong[0]).__name__}; expected strings only.")
    if len(names) != expected:
        raise ValueError(f"`{argument}` has {len(names)} names but there are {expected} {columns}s; expected one each.")
    return names


def check_input_names(names: Any, num_inputs: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Names of the columns of each input set, as {name of the set: tuple of strings}."""
    if names is None:
        return {}
    if not isinstance(names, Mapping):
        if len(num_inputs) != 1:
            raise ValueError(
                f"`input_names` is a list for {len(num_inputs)} input sets ({', '.join(num_inputs) or 'none'}); "
                "expected a mapping from the name of an input set to the names of its columns."
            )
        names = {next(iter(num_inputs)): names}
    for name in names:
        if name not in num_inputs:
            raise ValueError(f"`input_names` has the input set {name!r}; there are: {', '.join(num_inputs) or 'none'}.")
    checked = {}
    for name, value in names.items():
        columns = check_names(value, num_inputs[name], f"input_names[{name!r}]", "input")
        if columns is not None:
            checked[name] = columns
    return checked


def check_labels(values: Any, expected: int, argument: str) -> np.ndarray:
    """A one-dimensional array of numbers, booleans or strings, one entry per sequence."""
    array = np.asarray(values)
    if array.dtype.kind not in "biufU":
        raise TypeError(f"`{argument}` has dtype {array.dtype}; expected numbers, booleans or strings.")
    if array.ndim != 1:
        raise ValueError(f"`{argument}` has {array.ndim} dimensions; expected one entry per sequence ({expected}).")
    check_count(array, expected, argument)
    return array.astype(np.float64) if array.dtype.kind == "f" else array.copy()


def check_mapping(value: Any, argument: str) -> dict[str, Any]:
    """`value` as a dict with string keys; None is the empty dict."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"`{argument}` is {type(value).__name__}; expected a mapping from names (strings) to values.")
    return dict(value)


def check_events(events: Any, expected: int) -> dict[str, list[np.ndarray]]:
    """{name: one float64 array of event times (s from the start of the sequence) per sequence}."""
    checked = {}
    for name, entries in check_mapping(events, "events").items():
        argument = f"events[{name!r}]"
        entries = list(entries)
        check_count(entries, expected, argument)
        checked[name] = []
        for index, entry in enumerate(entries):
            times = np.atleast_1d(as_float_array(entry, f"sequence {index} of `{argument}`"))
            if times.ndim != 1 or not np.isfinite(times).all():
                raise ValueError(f"sequence {index} of `{argument}` is {entry!r}; expected a flat list of finite times in s.")
            checked[name].append(times)
    return checked


def check_bin_width(bin_width: Any) -> float | None:
    """A positive finite number of seconds."""
    if bin_width is None:
        return None
    if isinstance(bin_width, bool) or not isinstance(bin_width, numbers.Real):
        raise TypeError(f"`bin_width` is {bin_width!r}; expected a positive number of seconds, for instance bin_width=0.05 for 50 ms.")
    if not 0 < float(bin_width) < np.inf:
        raise ValueError(f"`bin_width` is {bin_width!r}; expected a positive number of seconds, for instance bin_width=0.05 for 50 ms.")
    return float(bin_width)


def pad(arrays: Sequence[np.ndarray], repeat_last: bool = False) -> np.ndarray:
    """Stacks [time, ...] arrays into one [sequence, time, ...] array, padded with 0 or with the last entry."""
    longest = max(len(array) for array in arrays)
    padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
        if repeat_last:
            row[len(array) :] = array[-1]
    return padded
