"""Some of the trials, or the same with something else in them: other observations, other inputs, wider bins."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from latentgate.data import _checks, splits
from latentgate.data.binning import regular_step
from latentgate.data.sequences import Sequences


def select(data: Sequences, which: Any) -> Sequences:
    """See `Sequences.select`."""
    chosen = splits.as_indices(which, data.num_sequences)
    lengths = np.asarray(data.lengths)[chosen]
    longest = int(lengths.max())
    observed = np.asarray(data.observed)[chosen, :longest]
    real = lengths[:, None] > np.arange(longest)
    # What a model found in all sequences does not hold for some.
    return dataclasses.replace(
        data,
        values=np.asarray(data.values)[chosen, :longest],
        observed=observed,
        lengths=lengths,
        inputs={name: np.asarray(value)[chosen, :longest] for name, value in data.inputs.items()},
        times=None if data.times is None else np.asarray(data.times)[chosen, :longest],
        complete=bool(observed[real].all()),
        labels={name: value[chosen] for name, value in data.labels.items()},
        events={name: [value[index] for index in chosen] for name, value in data.events.items()},
        groups=None if data.groups is None else data.groups[chosen],
        starts=None if data.starts is None else data.starts[chosen],
        shared={},
    )


def with_inputs(data: Sequences, inputs: Any, input_names: Any) -> Sequences:
    """See `Sequences.with_inputs`."""
    named = {name: _rows(data, value) for name, value in inputs.items()} if isinstance(inputs, Mapping) else _rows(data, inputs)
    lists = _checks.check_inputs(named, [int(length) for length in data.lengths])
    padded = {name: _checks.pad(sets) for name, sets in lists.items()}
    names = _checks.check_input_names(input_names, {name: value.shape[2] for name, value in padded.items()})
    # Columns that are the same as before are in the units that they were in.
    scales = {name: scale for name, scale in data.input_scales.items() if name in padded and np.array_equal(padded[name], data.inputs[name])}
    # What a model found in the old inputs does not hold for the new.
    return dataclasses.replace(data, inputs=padded, input_names=names, input_scales=scales, shared={})


def with_values(data: Sequences, values: Any, names: Any) -> Sequences:
    """See `Sequences.with_values`."""
    arrays = _checks.check_arrays(_rows(data, values), "values")
    _checks.check_count(arrays, data.num_sequences, "values")
    for index, (array, length) in enumerate(zip(arrays, data.lengths, strict=True)):
        if len(array) != length:
            raise ValueError(f"sequence {index} of `values` has {len(array)} steps but the sequence has {length}; expected one row per time step.")
        if np.isinf(array).any():
            step, feature = np.argwhere(np.isinf(array))[0]
            raise ValueError(f"sequence {index} of `values` is infinite at step {step}, feature {feature}; expected finite numbers, or NaN where missing.")
    seen = [~np.isnan(array) for array in arrays]
    num_features = arrays[0].shape[1]
    if names is None and num_features == data.num_features:
        names = data.names
    return dataclasses.replace(
        data,
        values=_checks.pad([np.where(ok, array, 0.0) for ok, array in zip(seen, arrays, strict=True)]),
        observed=_checks.pad(seen),
        complete=all(bool(ok.all()) for ok in seen),
        names=_checks.check_names(names, num_features, "names"),
        shared={},
    )


def rebinned(data: Sequences, factor: int) -> Sequences:
    """See `Sequences.rebinned`."""
    if isinstance(factor, bool) or not isinstance(factor, numbers.Integral) or factor < 1:
        raise ValueError(f"`factor` is {factor!r}; expected an integer of at least 1, the number of bins that become one.")
    factor = int(factor)
    lengths = [int(length) // factor for length in data.lengths]
    short = [index for index, length in enumerate(lengths) if length == 0]
    if short:
        raise ValueError(f"`factor` is {factor} but sequence {short[0]} has {int(data.lengths[short[0]])} steps; expected at most that many. Leave it out.")
    times = None
    if data.times is not None:
        rows = [row[:length] for row, length in zip(np.asarray(data.times), np.asarray(data.lengths), strict=True)]
        if regular_step(rows) is None:
            raise ValueError("`data` has irregular times; expected regular ones: bins of unequal widths have no common wider bin.")
        times = [row[: length * factor : factor] for row, length in zip(rows, lengths, strict=True)]

    def grouped(array: Any, row: int) -> np.ndarray:
        used = np.asarray(array)[row, : lengths[row] * factor]
        return used.reshape(lengths[row], factor, *used.shape[1:])

    annotations: dict[str, Any] = data.annotations() | {"bin_width": None if data.bin_width is None else data.bin_width * factor}
    rows = range(data.num_sequences)
    wider = Sequences.from_arrays(
        [np.where(grouped(data.observed, row).all(1), grouped(data.values, row).sum(1), np.nan) for row in rows],
        inputs={name: [grouped(value, row).mean(1) for row in rows] for name, value in data.inputs.items()},
        times=times,
        **annotations,
    )
    return dataclasses.replace(wider, input_scales=data.input_scales)


def _rows(data: Sequences, value: Any) -> Any:
    """One array per sequence from a padded [sequence, time, column] array that fits the data; other things as they are."""
    if getattr(value, "ndim", None) == 3 and tuple(value.shape[:2]) == tuple(data.values.shape[:2]):
        return [row[:length] for row, length in zip(np.asarray(value), np.asarray(data.lengths), strict=True)]
    return value
