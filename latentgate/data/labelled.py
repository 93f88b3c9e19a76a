"""Labelled arrays (xarray): dimensions are known by name, so that no order of axes can be wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from latentgate.data import _kinds
from latentgate.data._checks import DEFAULT_INPUT_NAME, as_float_array, check_mapping
from latentgate.data.binning import regular_step
from latentgate.data.sequences import Sequences

_FEATURES = ("feature", "neuron")
# Coordinates and variables of a Dataset that are no labels and no input sets.
_RESERVED = ("sequence", "time", "feature", "neuron", "times", "lengths", "starts", "groups", "values", "inputs")
_LABEL, _INPUTS, _EVENTS, _SCALE = "label.", "inputs.", "events.", "scale."


def from_xarray(array: Any, *, inputs: Any = None, labels: Mapping[str, Any] | None = None, groups: Any = None) -> Sequences:
    """Sequences of labelled arrays.

    Dimensions may come in any order. Steps at the end of a sequence in which everything is NaN are padding, so sequences may be ragged; other NaN are missing
    entries. A numeric coordinate `time` that is regular (to a millionth) gives `bin_width`, one that is not gives `times`; step numbers 0, 1, 2, ... give
    neither. Coordinates of the features are their names, and other coordinates along `sequence` become labels.

    Args:
        array: DataArray with the dimensions sequence, time and feature (or neuron): without sequence it is one sequence, without feature one feature. Or a list
            of such arrays [time, feature], one per sequence; or a Dataset that `Sequences.to_xarray` made.
        inputs: DataArray with the dimensions sequence, time and input, of the same sequences and steps; or {name of an input set: such an array}; or lists of
            arrays [time, input].
        labels: {name: one number, boolean or string per sequence}, besides the coordinates.
        groups: one session label per sequence; or the name of a coordinate along `sequence`.

    Raises:
        TypeError: no labelled array; a time coordinate of dates.
        ValueError: unknown dimensions, and as `Sequences.from_arrays`.

    Example:
        >>> import numpy as np, xarray as xr
        >>> from latentgate.data.labelled import from_xarray
        >>> array = xr.DataArray(np.zeros((2, 7, 4)), dims=("neuron", "time", "sequence"), coords={"time": 0.02 * np.arange(7), "neuron": ["a", "b"]})
        >>> data = from_xarray(array)
        >>> data.values.shape, data.names, round(data.bin_width, 9)
        ((4, 7, 2), ('a', 'b'), 0.02)
    """
    if hasattr(array, "data_vars"):
        if inputs is not None or "values" not in array.data_vars:
            raise ValueError(
                f"`array` is a Dataset with {', '.join(map(str, array.data_vars)) or 'no variables'}; expected a DataArray, or a Dataset that "
                "Sequences.to_xarray made, alone. Choose a variable: from_xarray(dataset['counts'], inputs={'name': dataset['name']})."
            )
        return _from_dataset(array, labels, groups)
    entries = list(array) if isinstance(array, (list, tuple)) else _apart(_checked(array, "array", _FEATURES))
    if not entries:
        raise ValueError("`array` is an empty list; expected at least one DataArray [time, feature].")
    rows = [_table(entry, f"array[{index}]", _FEATURES) for index, entry in enumerate(entries)]
    lengths = _real_lengths(rows)
    first = entries[0]
    found_labels = {} if isinstance(array, (list, tuple)) else _labels(array)
    if isinstance(groups, str):
        if groups not in found_labels:
            raise ValueError(
                f"`groups` is {groups!r}; expected one label per sequence, or one of the coordinates {', '.join(found_labels) or '(there are none)'}."
            )
        groups = found_labels[groups]
    times = [_times(entry, length) for entry, length in zip(entries, lengths, strict=True)]
    known = [row for row in times if row is not None]
    if known and len(known) < len(times):
        raise ValueError("some of the arrays have a numeric coordinate `time` and some have none; expected it in all or in none.")
    step = regular_step(known) if known else None
    sets = {} if inputs is None else dict(inputs) if isinstance(inputs, Mapping) else {DEFAULT_INPUT_NAME: inputs}
    columns = {name: _inputs(value, name, lengths, [len(row) for row in rows]) for name, value in sets.items()}
    return Sequences.from_arrays(
        [row[:length] for row, length in zip(rows, lengths, strict=True)],
        inputs={name: found for name, (found, _) in columns.items()},
        times=known if known and step is None else None,
        names=_names(first, _FEATURES),
        input_names={name: names for name, (_, names) in columns.items() if names is not None},
        labels=found_labels | check_mapping(labels, "labels"),
        groups=groups,
        bin_width=step,
    )


def to_xarray(data: Sequences) -> Any:
    """All of `data` in an xarray Dataset, NaN in the padding; `from_xarray` reads it back.

    Returns:
        `values` (sequence, time, feature), NaN where missing; input sets `inputs.name` (sequence, time, input; `inputs` for the one of this name), and
        `events.name` (sequence, event); as coordinates `lengths`, `times`, `starts`, `groups`, the labels, and the names of features and inputs. The
        coordinate `time` is in s from the start of a sequence where `bin_width` is known, which is among the attributes.

    Example:
        >>> import numpy as np
        >>> from latentgate.data import Sequences
        >>> data = Sequences.from_arrays([np.ones((2, 3)), np.ones((4, 3))], labels={"rewarded": [True, False]}, bin_width=0.5)
        >>> dict(data.to_xarray()["values"].sel(time=1.5).sizes), data.to_xarray()["rewarded"].values.tolist()
        ({'sequence': 2, 'feature': 3}, [True, False])
    """
    import xarray

    real = np.asarray(data.mask)
    variables: dict[str, Any] = {"values": (("sequence", "time", "feature"), np.where(data.observed, data.values, np.nan))}
    coordinates: dict[str, Any] = {"lengths": ("sequence", np.asarray(data.lengths))}
    if data.names is not None:
        coordinates["feature"] = list(data.names)
    if data.bin_width is not None:
        coordinates["time"] = data.bin_width * np.arange(data.max_length)
    if data.times is not None:
        coordinates["times"] = (("sequence", "time"), np.where(real, data.times, np.nan))
    if data.starts is not None:
        coordinates["starts"] = ("sequence", data.starts)
    if data.groups is not None:
        coordinates["groups"] = ("sequence", data.groups)
    for name, value in data.labels.items():
        coordinates[f"{_LABEL}{name}" if name in _RESERVED or "." in name else name] = ("sequence", value)
    for name, value in data.inputs.items():
        axis = "input" if len(data.inputs) == 1 else f"input {name}"
        variables[name if name == DEFAULT_INPUT_NAME else _INPUTS + name] = (("sequence", "time", axis), np.where(real[..., None], value, np.nan))
        if name in data.input_names:
            coordinates[axis] = list(data.input_names[name])
        if name in data.input_scales:
            variables[_SCALE + name] = (("scale", axis), np.stack(data.input_scales[name]))
    for index, (name, entries) in enumerate(data.events.items()):
        padded = np.full((len(entries), max(map(len, entries), default=0)), np.nan)
        for row, entry in zip(padded, entries, strict=True):
            row[: len(entry)] = entry
        variables[_EVENTS + name] = (("sequence", f"event {index}"), padded)
    attributes = {} if data.bin_width is None else {"bin_width": data.bin_width}
    return xarray.Dataset(variables, coordinates, attributes)


def _from_dataset(dataset: Any, labels: Any, groups: Any) -> Sequences:
    """The inverse of `to_xarray`."""
    if "sequence" not in dataset["values"].dims:
        raise ValueError(
            "`array` has lost its dimension `sequence`; expected a Dataset of Sequences.to_xarray. Choose sequences by a list: .isel(sequence=[0])."
        )
    coordinates = {str(name): value for name, value in dataset.coords.items()}
    sequences = _apart(_checked(dataset["values"], "values", _FEATURES))
    rows = [_table(entry, "values", _FEATURES) for entry in sequences]
    lengths = [int(length) for length in coordinates["lengths"].values] if "lengths" in coordinates else _real_lengths(rows)

    def cut(variable: Any) -> list[np.ndarray]:
        return [np.asarray(variable.isel(sequence=index).transpose("time", ...).values)[:length] for index, length in enumerate(lengths)]

    inputs, input_names, events, scales = {}, {}, {}, {}
    for key, variable in dataset.data_vars.items():
        name = str(key)
        if name == DEFAULT_INPUT_NAME or name.startswith(_INPUTS):
            own = name.removeprefix(_INPUTS)
            inputs[own] = cut(variable)
            axis = next(dim for dim in variable.dims if dim not in ("sequence", "time"))
            if axis in coordinates:
                input_names[own] = [str(column) for column in coordinates[axis].values]
        elif name.startswith(_EVENTS):
            padded = variable.transpose("sequence", ...).values
            events[name.removeprefix(_EVENTS)] = [row[~np.isnan(row)] for row in padded]
        elif name.startswith(_SCALE):
            centre, unit = variable.transpose("scale", ...).values
            scales[name.removeprefix(_SCALE)] = (centre, unit)
    found = {name.removeprefix(_LABEL): value for name, value in _labels(dataset["values"]).items() if name not in _RESERVED}
    own_groups = coordinates["groups"].values if "groups" in coordinates else None
    data = Sequences.from_arrays(
        [row[:length] for row, length in zip(rows, lengths, strict=True)],
        inputs=inputs,
        times=cut(coordinates["times"]) if "times" in coordinates else None,
        names=_names(dataset["values"], _FEATURES),
        input_names=input_names,
        labels=found | check_mapping(labels, "labels"),
        events=events,
        groups=own_groups if groups is None else groups,
        bin_width=dataset.attrs.get("bin_width"),
        starts=coordinates["starts"].values if "starts" in coordinates else None,
    )
    return dataclasses.replace(data, input_scales=scales)


def _checked(array: Any, argument: str, features: tuple[str, ...]) -> Any:
    """A DataArray whose dimensions all have a meaning."""
    if not _kinds.is_labelled(array):
        raise TypeError(f"`{argument}` is of type {type(array).__name__}; expected an xarray DataArray, or a list of them. Unlabelled arrays: from_arrays.")
    known = ("sequence", "time", *features)
    strange = [str(dim) for dim in array.dims if dim not in known]
    if strange or "time" not in array.dims or sum(name in array.dims for name in features) > 1:
        raise ValueError(
            f"`{argument}` has the dimensions {', '.join(map(str, array.dims)) or '(none)'}; expected sequence, time and {' or '.join(features)} in any "
            f"order. Rename them, for instance .rename({{{(strange or ['trial'])[0]!r}: 'sequence'}})."
        )
    return array


def _apart(array: Any) -> list[Any]:
    return [array.isel(sequence=index) for index in range(array.sizes["sequence"])] if "sequence" in array.dims else [array]


def _table(array: Any, argument: str, features: tuple[str, ...]) -> np.ndarray:
    """[time, column] numbers of one sequence."""
    array = _checked(array, argument, features)
    if "sequence" in array.dims:
        raise ValueError(f"`{argument}` has a dimension `sequence`; expected one sequence [time, {features[0]}] in each entry of a list.")
    rows = as_float_array(array.transpose("time", ...).values, f"`{argument}`")
    return rows[:, None] if rows.ndim == 1 else rows


def _real_lengths(rows: list[np.ndarray]) -> list[int]:
    """Steps up to the last with an entry; an all-missing sequence keeps its steps, so that the error names it."""
    return [int(np.flatnonzero(~np.isnan(row).all(1)).max(initial=-1)) + 1 or len(row) for row in rows]


def _times(array: Any, length: int) -> np.ndarray | None:
    """[time] the coordinate `time` of a sequence; None if it has none, or numbers of steps."""
    if "time" not in array.coords:
        return None
    values = np.asarray(array.coords["time"].values)
    if values.dtype.kind in "mM":
        raise TypeError("the coordinate `time` holds dates or durations; expected numbers, in s. Convert it: (time - time[0]) / numpy.timedelta64(1, 's').")
    if values.dtype.kind not in "biuf" or (values.dtype.kind in "iu" and np.array_equal(values, np.arange(len(values)))):
        return None
    return values[:length].astype(np.float64)


def _labels(array: Any) -> dict[str, np.ndarray]:
    """Coordinates along `sequence`, as labels; the numbers 0, 1, ... of the sequences themselves are none."""
    found = {}
    for name, coordinate in array.coords.items():
        values = np.asarray(coordinate.values)
        numbered = name == "sequence" and values.dtype.kind in "iu" and np.array_equal(values, np.arange(values.size))
        if coordinate.dims == ("sequence",) and not numbered:
            found[str(name)] = values if values.dtype.kind in "biufU" else values.astype(str)
    return found


def _names(array: Any, features: tuple[str, ...]) -> list[str] | None:
    axis = next((name for name in features if name in array.dims), None)
    return None if axis is None or axis not in array.coords else [str(name) for name in array.coords[axis].values]


def _inputs(value: Any, name: str, lengths: list[int], sizes: list[int]) -> tuple[list[np.ndarray], list[str] | None]:
    """[time, input] arrays of an input set, cut to the lengths, and the names of its columns."""
    argument = f"inputs[{name!r}]"
    listed = list(value) if isinstance(value, (list, tuple)) else _apart(_checked(value, argument, ("input",)))
    rows = [_table(entry, argument, ("input",)) for entry in listed]
    if len(rows) != len(lengths):
        raise ValueError(f"`{argument}` has {len(rows)} sequences but `array` has {len(lengths)}; expected the same.")
    for index, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        if len(row) != size:
            raise ValueError(f"sequence {index} of `{argument}` has {len(row)} steps but `array` has {size}; expected one row of inputs per time step.")
    return [row[:length] for row, length in zip(rows, lengths, strict=True)], _names(listed[0], ("input",)) if listed else None
