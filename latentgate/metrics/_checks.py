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


def counts_and_rates(rates: Any, counts: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rates, counts and which counts there are, each [row, neuron]; both are 0 where there is no count.

    Raises:
        TypeError, ValueError: arrays that do not fit, are negative, or not finite where there is a count; or no count at all.
    """
    arrays = []
    for argument, value in (("rates", rates), ("counts", counts)):
        array = as_float_array(value, f"`{argument}`")
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim not in (2, 3) or 0 in array.shape:
            raise ValueError(f"`{argument}` has shape {array.shape}; expected [time, neuron] or [trial, time, neuron] without an empty dimension.")
        arrays.append(array)
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(f"`rates` has shape {arrays[0].shape} but `counts` has {arrays[1].shape}; expected the same shape.")
    predicted, counted = (array.reshape(-1, array.shape[-1]) for array in arrays)
    seen = ~np.isnan(counted)
    if not seen.any():
        raise ValueError(f"`counts` is not finite in {len(counted)} of {len(counted)} rows; expected at least one count that is not missing.")
    predicted, counted = np.where(seen, predicted, 0.0), np.where(seen, counted, 0.0)
    for argument, array in (("rates", predicted), ("counts", counted)):
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if bad.size:
            raise ValueError(f"`{argument}` is not finite in {bad.size} of {len(array)} rows where there is a count, the first of them row {bad[0]}.")
        if (array < 0).any():
            raise ValueError(f"`{argument}` holds {array.min()}; expected no negative number.")
    return predicted, counted, seen
