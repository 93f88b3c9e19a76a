"""What pictures are handed: arrays, names, sequences, conditions. Refused, in words, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.data._checks import as_float_array

if TYPE_CHECKING:
    from latentgate.data import Sequences


def plain_array(value: Any, argument: str, expected: str) -> np.ndarray:
    """`value` as a float array.

    Raises:
        TypeError: for a fit or a dataset, which many would hand over in place of what it holds, and for text or objects.
        ValueError: for ragged rows.
    """
    if hasattr(value, "log_joint_history"):
        raise TypeError(f"{argument}: found a fit, expected {expected}.")
    if hasattr(value, "data_vars"):
        raise TypeError(f"{argument}: found a dataset with {', '.join(map(str, value.data_vars))}, expected {expected}.")
    return as_float_array(value, argument)


def square(value: Any, argument: str, expected: str) -> np.ndarray:
    """A float array [state, state].

    Raises:
        TypeError, ValueError: for anything else.
    """
    matrix = plain_array(value, argument, expected)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"{argument}: found shape {matrix.shape}, expected {expected}.")
    return matrix


def checked_names(names: Many[str] | None, count: int, each: str, default: Many[str]) -> list[str]:
    """The names, or those by default.

    Raises:
        TypeError: for one text in place of several.
        ValueError: for another number of them.
    """
    if names is None:
        return list(default)
    if isinstance(names, str):
        raise TypeError(f"names: found the text {names!r}, expected a list of {count}, one a {each}.")
    names = [str(name) for name in names]
    if len(names) != count:
        raise ValueError(f"names: found {len(names)}, expected {count}, one a {each}.")
    return names


def checked_sequences(data: Any) -> Sequences:
    """`data` itself.

    Raises:
        TypeError: if it is no `Sequences`.
    """
    if not (hasattr(data, "lengths") and hasattr(data, "num_sequences")):
        raise TypeError(f"data: found {type(data).__name__}, expected lg.Sequences, those that the states or latents are of.")
    return data


def checked_rows(sequences: Any, data: Sequences, default: np.ndarray) -> np.ndarray:
    """Indices of sequences, or those by default.

    Raises:
        IndexError: for one that there is none of, or if there is none at all.
    """
    if sequences is None:
        return default
    rows = np.atleast_1d(np.asarray(sequences))
    if not rows.size or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= data.num_sequences:
        raise IndexError(f"sequences: found {rows.tolist()}, expected indices from 0 to {data.num_sequences - 1}.")
    return rows


def checked_sequence(sequence: int, data: Sequences) -> int:
    """One index of a sequence.

    Raises:
        IndexError: if there is none of this index.
    """
    if not 0 <= sequence < data.num_sequences:
        raise IndexError(f"sequence: found {sequence}, expected 0 to {data.num_sequences - 1}.")
    return int(sequence)


def checked_label(by: str | None, data: Sequences) -> None:
    """Refuses a `by` that is no label of the data.

    Raises:
        ValueError: then.
    """
    if by is not None and by not in data.labels:
        raise ValueError(f"by: found {by!r}, expected a label of the data: {', '.join(map(repr, data.labels)) or 'there is none'}.")


def conditions(by: str | None, data: Sequences) -> tuple[list[str | None], np.ndarray]:
    """Names of the values of a label, True before False, and which of them each sequence has; one without a name for no label."""
    if by is None:
        return [None], np.zeros(data.num_sequences, int)
    values = np.asarray(data.labels[by])
    kinds, kind = np.unique(values, return_inverse=True)
    if values.dtype == bool:
        kinds, kind = kinds[::-1], len(kinds) - 1 - kind
    return [condition_name(by, value) for value in kinds], kind


def condition_name(by: str, value: Any) -> str:
    """What a value of a label is called: "rewarded", "not rewarded", "side left", "contrast 0.25"."""
    words = by.replace("_", " ")
    if isinstance(value, bool | np.bool_):
        return words if value else f"not {words}"
    return f"{words} {value:.4g}" if isinstance(value, float | np.floating) else f"{words} {value}"


def step_times(data: Sequences) -> tuple[np.ndarray, str]:
    """Times of the middles of all steps from the start of their sequence, [sequence, time], and the label of such an axis."""
    if data.bin_width is not None:
        middles = (np.arange(data.max_length) + 0.5) * float(data.bin_width)
        return np.broadcast_to(middles, (data.num_sequences, data.max_length)), "time in trial (s)"
    if data.times is not None:
        times = np.asarray(data.times)
        return times - times[:, :1], "time from the first row"
    return np.broadcast_to(np.arange(data.max_length, dtype=float), (data.num_sequences, data.max_length)), "time (steps)"


def evenly(count: int, most: int) -> np.ndarray:
    """At most so many indices below `count`, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))
