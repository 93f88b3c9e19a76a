"""Rows inserted between observations: at times where a posterior is asked for, and where rates change."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from latentgate.data._checks import as_float_array
from latentgate.data.panel import ARRIVAL, OBSERVED_CONTINUOUSLY, SNAPSHOT, STATE
from latentgate.data.sequences import Sequences


def with_times(data: Sequences, times: Any, *, num_states: int | None = None) -> tuple[Sequences, list[np.ndarray]]:
    """The same sequences with a row at each of the given times, unobserved where there was none.

    The likelihood of a jump process does not change: an inserted row has no observation, the inputs of the row before it, and the arrival of a snapshot. In
    an interval that was observed continuously (arrival 2 at its end) nothing moved before that end, so that a row inserted there has the state of the row
    before and is observed continuously too. Times equal to that of a row (to 4 units in the last place) are that row; times before the first row of a
    sequence or after its last are ignored.

    Args:
        data: sequences with times.
        times: [request], the same for all sequences, or a list with one such array per sequence; increasing (repeats allowed), in the unit of `data.times`.
        num_states: number of states K; only needed to tell a code for several states (K and above) from a state, where an interval that was observed
            continuously and follows such a code would be cut, which is refused.

    Returns:
        The sequences, `data` itself when nothing is inserted; and for each sequence the indices of the rows of those of its times that are not ignored, in
        their order. Labels, groups, events and names stay; `bin_width` is dropped where rows are inserted.

    Raises:
        ValueError: sequences without times; requested times that are not finite or out of order; an interval that was observed continuously would be cut
            although the state at its start is not known.

    Example:
        >>> import numpy as np
        >>> from latentgate.data import Sequences
        >>> from latentgate.data.times import with_times
        >>> data = Sequences.from_arrays([np.array([0.0, 1.0])], times=[[0.0, 2.0]], names=["state"])
        >>> finer, rows = with_times(data, [1.5, 2.0, 7.0])
        >>> finer.times[0].tolist(), rows[0].tolist()
        ([0.0, 1.5, 2.0], [1, 2])
    """
    rows = _row_times(data)
    requests = _requests(times, len(rows))
    placed = [_snap(request, row) for request, row in zip(requests, rows, strict=True)]
    inside = [request[(request >= row[0]) & (request <= row[-1])] for request, row in zip(placed, rows, strict=True)]
    finer = _insert(data, rows, inside, num_states)
    return finer, [np.searchsorted(row, request) for row, request in zip(_row_times(finer), inside, strict=True)]


def cut_at(data: Sequences, cuts: Any, name: str = "period", origin: str = "start", *, num_states: int | None = None) -> Sequences:
    """The same sequences with rows at the given cut points and an input set that says which period each row begins.

    With it rates can be constant between the cut points and different across them: a row's inputs hold until the next row, and no interval spans a cut.
    Inserted rows are as in `with_times`; a row whose interval is cut keeps its arrival for the last piece (an exact entry is still exact, at the rates of
    the last piece).

    Args:
        data: sequences with times.
        cuts: [cut] strictly increasing times, in the unit of `data.times`; with none, `data` is returned as it is.
        name: name of the new input set.
        origin: "start" counts the cuts from the first row of each sequence; "clock" takes them as times of `data.times` (as the option pci of msm).
        num_states: as in `with_times`.

    Returns:
        Sequences with the input set `name` [sequence, time, cut] of indicators: column j is 1 in rows from cut j on until cut j + 1; the rows of the first
        period, before all cuts, are 0 throughout. Cuts outside a sequence insert nothing.

    Raises:
        ValueError: sequences without times, cuts not finite or not strictly increasing, an input set of that name already, an unknown origin; and as
            `with_times`.

    Example:
        >>> import numpy as np
        >>> from latentgate.data import Sequences
        >>> from latentgate.data.times import cut_at
        >>> data = Sequences.from_arrays([np.array([0.0, 1.0])], times=[[5.0, 8.0]], names=["state"])
        >>> cut = cut_at(data, [2.0])
        >>> cut.times[0].tolist(), cut.inputs["period"][0, :, 0].tolist()
        ([5.0, 7.0, 8.0], [0.0, 1.0, 1.0])
    """
    if origin not in ("start", "clock"):
        raise ValueError(f"`origin` is {origin!r}; expected 'start' or 'clock'.")
    if not isinstance(name, str) or not name or name == ARRIVAL or name in data.inputs:
        raise ValueError(f"`name` is {name!r}; expected a name that is not '{ARRIVAL}' and no input set yet; there are: {', '.join(data.inputs) or 'none'}.")
    points = np.atleast_1d(as_float_array(cuts, "`cuts`"))
    if points.ndim != 1 or not np.isfinite(points).all() or (np.diff(points) <= 0).any():
        raise ValueError(f"`cuts` is {cuts!r}; expected a flat list of finite, strictly increasing times.")
    rows = _row_times(data)
    if not points.size:
        return data
    placed = [_snap(points + (row[0] if origin == "start" else 0.0), row) for row in rows]
    inside = [cut[(cut >= row[0]) & (cut <= row[-1])] for cut, row in zip(placed, rows, strict=True)]
    finer = _insert(data, rows, inside, num_states)
    # Column 0 is the first period, which has no indicator.
    indicators = np.eye(points.size + 1)[:, 1:]
    periods = [indicators[np.searchsorted(cut, row, side="right")] for cut, row in zip(placed, _row_times(finer), strict=True)]
    inputs = {key: np.asarray(value) for key, value in finer.inputs.items()} | {name: periods}
    return finer.with_inputs(inputs, finer.input_names | {name: [f"from {point:g}" for point in points]})


def _row_times(data: Sequences) -> list[np.ndarray]:
    if data.times is None:
        raise ValueError("`data` has no times; expected sequences with times, in whose unit the rows are placed. Give `times` when building them.")
    return [row[:length] for row, length in zip(np.asarray(data.times, float), np.asarray(data.lengths), strict=True)]


def _requests(times: Any, num_sequences: int) -> list[np.ndarray]:
    """One array of requested times per sequence."""
    nested = getattr(times, "ndim", None) == 2 or (isinstance(times, (list, tuple)) and any(np.ndim(entry) for entry in times))
    if nested and len(times) != num_sequences:
        raise ValueError(f"`times` has {len(times)} entries for {num_sequences} sequences; expected one array for all of them, or one each.")
    requests = []
    for index, entry in enumerate(times if nested else [times]):
        what = f"sequence {index} of `times`" if nested else "`times`"
        request = np.atleast_1d(as_float_array(entry, what)) if np.size(entry) else np.zeros(0)
        if request.ndim != 1:
            raise ValueError(f"{what} has {request.ndim} dimensions; expected a flat list of times.")
        if not np.isfinite(request).all():
            raise ValueError(f"{what} is {request[~np.isfinite(request)][0]} at position {np.flatnonzero(~np.isfinite(request))[0]}; expected finite times.")
        backwards = np.flatnonzero(np.diff(request) < 0)
        if backwards.size:
            position = backwards[0] + 1
            raise ValueError(f"{what} is out of order: {request[position]:g} at position {position} follows {request[position - 1]:g}; sort the times.")
        requests.append(request)
    return requests if nested else requests * num_sequences


def _snap(request: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The requested times, those within rounding of a row moved onto it: a gap of one unit in the last place is no gap anyone asked for."""
    right = np.clip(np.searchsorted(rows, request), 0, len(rows) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(request - rows[left]) <= np.abs(rows[right] - request), rows[left], rows[right])
    tolerance = 4 * np.spacing(np.maximum(np.abs(request), np.abs(nearest)))
    return np.where(np.abs(request - nearest) <= tolerance, nearest, request)


def _insert(data: Sequences, rows: list[np.ndarray], inside: list[np.ndarray], num_states: int | None) -> Sequences:
    """The sequences with rows at the times `inside` that are no rows yet."""
    merged = [np.union1d(row, request) for row, request in zip(rows, inside, strict=True)]
    if all(len(new) == len(row) for new, row in zip(merged, rows, strict=True)):
        return data
    arrays, arrivals = [], []
    inputs: dict[str, list[np.ndarray]] = {name: [] for name in data.inputs}
    for index, (array, row, new) in enumerate(zip(data.to_list(), rows, merged, strict=True)):
        source = np.searchsorted(row, new, side="right") - 1
        inserted = row[source] != new
        observations = np.where(inserted[:, None], np.nan, array[source])
        for name, value in data.inputs.items():
            inputs[name].append(np.asarray(value)[index][source])
        if ARRIVAL in data.inputs:
            arrival = inputs[ARRIVAL][-1][:, 0]
            # The last row is never inserted, so that there is always one after an inserted row.
            following = np.minimum(source + 1, len(row) - 1)
            continuous = inserted & (np.asarray(data.inputs[ARRIVAL])[index, following, 0] == OBSERVED_CONTINUOUSLY)
            arrival = np.where(continuous, OBSERVED_CONTINUOUSLY, np.where(inserted, SNAPSHOT, arrival))
            arrivals.append(arrival[:, None])
            if continuous.any():
                _carry_state(data, index, array, source, continuous, observations, num_states)
        arrays.append(observations)
    if arrivals:
        inputs[ARRIVAL] = arrivals
    # Rows are no bins any more.
    finer = Sequences.from_arrays(arrays, inputs=inputs, times=merged, **(data.annotations() | {"bin_width": None}))
    return dataclasses.replace(finer, input_scales=dict(data.input_scales))


def _carry_state(
    data: Sequences, index: int, array: np.ndarray, source: np.ndarray, continuous: np.ndarray, observations: np.ndarray, num_states: int | None
) -> None:
    """Writes the state of the row before into the inserted rows of intervals that were observed continuously."""
    if STATE not in (data.names or ()):
        raise ValueError(
            f"sequence {index} has rows observed continuously (arrival 2) but no feature {STATE!r}; a row can be inserted there only where the state is known. "
            "Ask for times outside these intervals."
        )
    column = (data.names or ()).index(STATE)
    state = array[source, column]
    known = np.isfinite(state) if num_states is None else state < num_states
    unknown = np.flatnonzero(continuous & ~known)
    if unknown.size:
        row = source[unknown[0]]
        raise ValueError(
            f"a row would be inserted into sequence {index} after row {row}, in an interval that was observed continuously (arrival 2), but the state at row "
            f"{row} is not known; expected one state there, which nothing left before the interval's end. Ask for times outside this interval."
        )
    observations[continuous, column] = state[continuous]
