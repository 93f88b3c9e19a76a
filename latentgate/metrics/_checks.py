"""Checks of the plain arrays that figures of merit are computed on."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentgate.data._checks import as_float_array


def finite_rows(value: Any, argument: str) -> np.ndarray:
    """`value` as a float64 [time, dimension] array without NaN or infinity; [time] becomes one dimension.

    Raises:
        TypeError: no real numbers.
        ValueError: another number of dimensions, no row, or a row that is not finite.
    """
    array = as_float_array(value, f"`{argument}`")
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"`{argument}` has shape {array.shape}; expected [time, dimension] with at least one row and one column.")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise ValueError(
            f"`{argument}` is not finite in {bad.size} of {len(array)} rows, the first of them row {bad[0]}; expected numbers throughout. "
            "Leave these rows out of every argument."
        )
    return array


def paired_rows(truth: Any, prediction: Any, names: tuple[str, str] = ("truth", "prediction")) -> tuple[np.ndarray, np.ndarray]:
    """Both as finite [time, dimension] arrays of one shape."""
    first, second = finite_rows(truth, names[0]), finite_rows(prediction, names[1])
    if first.shape != second.shape:
        raise ValueError(f"`{names[0]}` has shape {first.shape} but `{names[1]}` has {second.shape}; expected the same [time, dimension].")
    return first, second


def varying(array: np.ndarray, argument: str, what: str) -> None:
    """Raises ValueError if a column is constant, for which `what` is not defined."""
    constant = np.flatnonzero(np.ptp(array, axis=0) == 0)
    if constant.size:
        raise ValueError(f"`{argument}` is constant in dimension {constant[0]}, so that {what} is not defined there; leave this dimension out.")
