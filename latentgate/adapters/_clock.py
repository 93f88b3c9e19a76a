"""Results of a fit on the clock of the recording: one row per step of all sequences, in the order of time; runs of states."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from latentgate.data import Sequences
from latentgate.data.binning import ROUNDING


@dataclasses.dataclass(frozen=True)
class Rows:
    """A result with one row per step.

    Attributes:
        times: [step] increasing, in s: centres of bins, or times of observation.
        columns: {what the numbers are: {name of a column: [step]}}: "probability", "state", "mean" and "sd", or "latent".
        support: [sequence, 2] first and last moment of each sequence, in the order of time.
    """

    times: np.ndarray
    columns: dict[str, dict[str, np.ndarray]]
    support: np.ndarray


@dataclasses.dataclass(frozen=True)
class Runs:
    """Stretches of bins in one state, in the order of time; none crosses from one sequence into another.

    Attributes:
        starts: [run] in s.
        ends: [run] in s.
        states: [run].
        sequences: [run] index of the sequence.
    """

    starts: np.ndarray
    ends: np.ndarray
    states: np.ndarray
    sequences: np.ndarray


def rows(result: Any, data: Sequences) -> Rows:
    """All steps of a result, in the order of time.

    Args:
        result: of `fit.smooth`, `fit.filter`, `fit.most_probable_path`, or one draw of `fit.sample_latents`.
        data: the sequences that it is of.

    Raises:
        TypeError: something else.
        ValueError: several draws, another number of sequences or steps, data without a clock, sequences that overlap in time.
    """
    result = _single_draw(result)
    _check_shape(result, data)
    times, support = _clock(data)
    order = _order(support)
    lengths = np.asarray(data.lengths)

    def flat(array: xr.DataArray) -> np.ndarray:
        values = array.transpose("sequence", "time", ...).values
        return np.concatenate([values[index, : lengths[index]] for index in order])

    if isinstance(result, xr.Dataset):
        deviations = np.sqrt(np.diagonal(flat(result["covariance"]), axis1=-2, axis2=-1))
        columns = {"mean": _named(result["mean"], "latent", flat(result["mean"])), "sd": _named(result["mean"], "latent", deviations, " sd")}
    elif "state" in result.dims:
        columns = {"probability": _named(result, "state", flat(result))}
    elif "latent" in result.dims:
        columns = {"latent": _named(result, "latent", flat(result))}
    else:
        columns = {"state": {"state": flat(result)}}
    return Rows(np.concatenate([times[index] for index in order]), columns, support[order])


def runs(path: Any, data: Sequences) -> Runs:
    """Stretches of bins in one state.

    Args:
        path: dims (sequence, time): of `fit.most_probable_path`, or one draw of `fit.sample_latents`, of a model with states.
        data: the sequences that it is of, with `starts` and `bin_width`.

    Raises:
        TypeError: no path of states.
        ValueError: as `rows`; data without bins.
    """
    path = _single_draw(path)
    if not isinstance(path, xr.DataArray) or set(path.dims) != {"sequence", "time"} or path.dtype.kind not in "iu":
        raise TypeError(f"`path` is {_kind(path)}; expected states with dims (sequence, time), as fit.most_probable_path(data) gives them.")
    _check_shape(path, data)
    if data.starts is None or data.bin_width is None:
        raise ValueError(f"a run of states begins and ends with a bin, but `data` has {_lacking(data)}. {_REMEDY}")
    values = path.transpose("sequence", "time").values
    order = _order(_clock(data)[1])
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for index in order:
        states = values[index, : int(data.lengths[index])]
        edges = np.flatnonzero(np.diff(states)) + 1
        first, last = np.append(0, edges), np.append(edges, len(states))
        begin = float(data.starts[index])
        found.append((begin + data.bin_width * first, begin + data.bin_width * last, states[first], np.full(len(first), index)))
    starts, ends, states, sequences = (np.concatenate(column) for column in zip(*found, strict=True))
    # The end of a sequence is computed from its start: by rounding it may lie behind the start of the next.
    ends[:-1] = np.minimum(ends[:-1], starts[1:])
    return Runs(starts, ends, states, sequences)


_REMEDY = (
    "Sequences.from_spikes and lg.load of an NWB file know both; of others, say them: Sequences.from_arrays(..., bin_width=0.02, starts=[...]), with the time "
    "in s at which each sequence begins."
)


def _lacking(data: Sequences) -> str:
    return " and ".join([f"no `{name}`" for name in ("starts", "bin_width") if getattr(data, name) is None])


def _kind(value: Any) -> str:
    return f"of dims ({', '.join(map(str, value.dims))}) and dtype {value.dtype}" if isinstance(value, xr.DataArray) else f"of type {type(value).__name__}"


def _single_draw(result: Any) -> Any:
    if isinstance(result, (xr.DataArray, xr.Dataset)) and "draw" in result.dims:
        if result.sizes["draw"] != 1:
            raise ValueError(f"`result` has {result.sizes['draw']} draws; expected one of them: result.isel(draw=0).")
        return result.isel(draw=0)
    return result


def _check_shape(result: Any, data: Sequences) -> None:
    known = isinstance(result, xr.Dataset) and {"mean", "covariance"} <= set(result) and "latent" in result["mean"].dims
    if isinstance(result, xr.DataArray):
        known = set(result.dims) in ({"sequence", "time"}, {"sequence", "time", "state"}, {"sequence", "time", "latent"})
    if not known:
        raise TypeError(f"`result` is {_kind(result)}; expected what fit.smooth, filter or most_probable_path gives, or one draw of sample_latents.")
    found, expected = (result.sizes["sequence"], result.sizes["time"]), (data.num_sequences, data.max_length)
    if found != expected:
        raise ValueError(f"`result` has {found[0]} sequences of up to {found[1]} steps, `data` {expected[0]} of up to {expected[1]}; expected those it is of.")


def _clock(data: Sequences) -> tuple[list[np.ndarray], np.ndarray]:
    """Times [step] of each sequence, and [sequence, 2] its first and last moment, on the clock of the recording."""
    lengths = [int(length) for length in data.lengths]
    if data.starts is not None and data.bin_width is not None:
        width, starts = data.bin_width, np.asarray(data.starts, float)
        times = [start + width * (np.arange(length) + 0.5) for start, length in zip(starts, lengths, strict=True)]
        return times, np.stack([starts, starts + width * np.array(lengths)], axis=1)
    if data.times is None:
        raise ValueError(f"`data` has {_lacking(data)}, and no `times`: where its steps are on the clock of the recording is not known. {_REMEDY}")
    times = [np.asarray(data.times)[index, :length] for index, length in enumerate(lengths)]
    early = next((index for index, each in enumerate(times) if data.starts is not None and each[0] < data.starts[index]), None)
    if data.starts is not None and early is not None:
        raise ValueError(
            f"sequence {early} of `data` begins at {data.starts[early]:g} s by `starts` but at {times[early][0]:g} s by `times`; expected `times` on the clock "
            "of the recording (add the starts to them), or `bin_width`."
        )
    short = next((index for index, length in enumerate(lengths) if length < 2), None)
    if short is not None:
        raise ValueError(f"sequence {short} of `data` has a single time, hence no duration; expected at least two times, or `starts` and `bin_width`.")
    return times, np.array([[each[0], each[-1]] for each in times])


def _order(support: np.ndarray) -> np.ndarray:
    """The order of sequences in time.

    Raises:
        ValueError: two that overlap by more than rounding.
    """
    order = np.lexsort((support[:, 1], support[:, 0]))
    begins, ends = support[order, 0], support[order, 1]
    overlap = ends[:-1] - begins[1:]
    wrong = np.flatnonzero(overlap > ROUNDING * (ends - begins)[:-1])
    if wrong.size:
        first, second = order[wrong[0]], order[wrong[0] + 1]
        raise ValueError(
            f"sequences {first} and {second} of `data` overlap in time, {support[first, 0]:g} to {support[first, 1]:g} s and {support[second, 0]:g} to "
            f"{support[second, 1]:g} s; expected that they follow each other, for a moment has one value. Give sequences that do not overlap, for instance "
            f"every second one, or one at a time: result.isel(sequence=[{first}]) with data.select([{first}]), cut to its longest sequence; where `times` "
            "count from the start of each sequence, give `starts` and `bin_width`."
        )
    return order


def _named(array: xr.DataArray, dimension: str, values: np.ndarray, suffix: str = "") -> dict[str, np.ndarray]:
    """Columns named by a dimension: "state 0", or its own names."""
    labels = array[dimension].values.tolist() if dimension in array.coords else range(array.sizes[dimension])
    return {f"{label if isinstance(label, str) else f'{dimension} {label}'}{suffix}": values[..., column] for column, label in enumerate(labels)}
