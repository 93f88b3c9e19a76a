"""Cutting one concatenated array into sessions, and where sessions begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from latentgate.data import _checks


def cut(array: Any, session_starts: Any, lengths: Any, inputs: Any, times: Any) -> tuple[list[np.ndarray], Any, list[np.ndarray] | None]:
    """Checked observations, inputs (alone or by name) and times as lists with one array per session."""
    whole = _checks.as_float_array(array, "`array`")
    if whole.ndim not in (1, 2):
        raise ValueError(f"`array` has {whole.ndim} dimensions; expected [time, feature]. Use from_arrays for separate arrays.")
    if len(whole) == 0:
        raise ValueError(f"`array` is empty (shape {whole.shape}); expected at least one time step.")
    cuts = np.cumsum(session_lengths(session_starts, lengths, len(whole)))[:-1]

    def pieces(value: Any, argument: str) -> list[np.ndarray]:
        rows = _checks.as_float_array(value, f"`{argument}`")
        if rows.ndim == 0 or len(rows) != len(whole):
            raise ValueError(f"`{argument}` has shape {rows.shape} but `array` has {len(whole)} steps; expected one row per step.")
        return np.split(rows, cuts)

    if isinstance(inputs, Mapping):
        inputs = {name: pieces(value, f"inputs[{name!r}]") for name, value in inputs.items()}
    elif inputs is not None:
        inputs = pieces(inputs, "inputs")
    sessions = _checks.check_observations(np.split(whole, cuts), "array")
    return sessions, inputs, None if times is None else pieces(times, "times")


def check_starts(starts: Any, expected: int) -> np.ndarray:
    """[sequence] finite times in s at which sequences begin."""
    array = _checks.as_float_array(starts, "`starts`")
    if array.shape != (expected,):
        raise ValueError(f"`starts` has shape {array.shape}; expected ({expected},), one time in s for each sequence.")
    if not np.isfinite(array).all():
        index = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"`starts[{index}]` is {array[index]}; expected finite times in s.")
    return array


def session_lengths(session_starts: Any, lengths: Any, total: int) -> np.ndarray:
    """Lengths of the sessions of one concatenated array from exactly one of `session_starts` and `lengths`."""
    if (session_starts is None) == (lengths is None):
        found = "neither" if lengths is None else "both"
        raise ValueError(f"exactly one of `session_starts` and `lengths` is expected; found {found}.")
    argument, given = ("session_starts", session_starts) if lengths is None else ("lengths", lengths)
    array = np.asarray(given)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"`{argument}` has shape {array.shape}; expected a flat list of integers, one per session.")
    if array.dtype.kind not in "iu":
        raise TypeError(f"`{argument}` has dtype {array.dtype}; expected integers.")
    array = array.astype(np.int64)
    if lengths is not None:
        if (array < 1).any():
            index = int(np.flatnonzero(array < 1)[0])
            raise ValueError(f"`lengths[{index}]` is {array[index]}; expected at least one step. Leave empty sessions out.")
        if array.sum() != total:
            raise ValueError(f"`lengths` sum to {array.sum()} but `array` has {total} steps; expected the two to be equal.")
        return array
    if array[0] != 0:
        raise ValueError(f"`session_starts` begins with {array[0]}; expected 0, the first step of the first session.")
    steps = np.flatnonzero(np.diff(array) <= 0)
    if steps.size:
        index = int(steps[0]) + 1
        raise ValueError(
            f"`session_starts` is not strictly increasing: {array[index]} at position {index} follows {array[index - 1]}. Sort it and leave empty sessions out."
        )
    if array[-1] >= total:
        raise ValueError(f"`session_starts` ends with {array[-1]} but `array` has {total} steps; expected smaller starts.")
    return np.diff(np.append(array, total))
