"""NWB files of the benchmark, read as plain HDF5: units, trial table and one behavioural time series, on a grid of 1 ms.

Its rules are the benchmark's own: spikes in ms, files that follow each other, one set of observation intervals for all units of a kind. NWB files in general
are read by `latentgate.adapters.nwb`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latentgate.data.neural_latents.tensors import hdf5


@dataclasses.dataclass(frozen=True)
class NWBRecording:
    """What the benchmark needs of one recording; times of several files follow each other with a gap, as if recorded in a row.

    Attributes:
        units: ids of the units, held-in ones first, by id.
        held_out: [unit].
        spikes: for each unit, the ms in which its spikes fall, sorted.
        observed: for each unit, [interval, 2]: first ms, and first ms after, of each interval in which it was recorded.
        trials: the trial table, with `trial_id`, `end_time`, and all times in s on the common clock.
        behaviour: [ms, dimension], NaN where there is none; None where none was asked for.
        num_ms: length.
    """

    units: np.ndarray
    held_out: np.ndarray
    spikes: list[np.ndarray]
    observed: list[np.ndarray]
    trials: pd.DataFrame
    behaviour: np.ndarray | None
    num_ms: int


@dataclasses.dataclass(frozen=True)
class _File:
    units: dict[int, tuple[bool, np.ndarray, np.ndarray]]
    trials: pd.DataFrame
    behaviour: tuple[np.ndarray, np.ndarray] | None
    num_ms: int


def read_nwb(paths: list[Path], behaviour: str | None) -> NWBRecording:
    """Reads the files of one recording.

    Args:
        paths: the files, in the order of their time.
        behaviour: name of the time series to read, or None.

    Raises:
        ImportError: without h5py.
        ValueError: no NWB file of the benchmark's layout: units with spike times and the flag `heldout`, and a trial table.
    """
    files = [_read(path, behaviour) for path in paths]
    offsets, end = [0], files[0].num_ms
    for file in files[1:]:
        # Where the benchmark's own reader lets the next file begin: 50 ms after the last sample, rounded up to 100 ms.
        offsets.append(int(np.ceil(round((end - 1 + 50) / 100, 6))) * 100)
        end = offsets[-1] + file.num_ms
    flags: dict[int, bool] = {}
    for file in files:
        flags |= {unit: held_out for unit, (held_out, _, _) in file.units.items()}
    units = np.array(sorted(flags, key=lambda unit: (flags[unit], unit)))
    spikes, observed = [], []
    for unit in units:
        there = [(offset, *file.units[unit][1:]) for offset, file in zip(offsets, files, strict=True) if unit in file.units]
        spikes.append(np.concatenate([offset + own for offset, own, _ in there]))
        observed.append(np.concatenate([offset + intervals for offset, _, intervals in there]))
    tables, count = [], 0
    for offset, file in zip(offsets, files, strict=True):
        table = file.trials.copy()
        for column in table.columns:
            if str(column).endswith("_time"):
                table[column] = table[column] + offset / 1000
        table["trial_id"] += count
        count += len(table)
        tables.append(table)
    trials = pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]
    held_out = np.array([flags[unit] for unit in units])
    return NWBRecording(units, held_out, spikes, observed, trials, _stacked(files, offsets, end, behaviour), end)


def _stacked(files: list[_File], offsets: list[int], end: int, name: str | None) -> np.ndarray | None:
    known = [(offset, *file.behaviour) for offset, file in zip(offsets, files, strict=True) if file.behaviour is not None]
    if name is None or not known:
        return None
    values = np.full((end, known[0][2].shape[1]), np.nan)
    for offset, times, samples in known:
        inside = offset + times < end
        values[(offset + times)[inside]] = samples[inside]
    return values


def _read(path: Path, behaviour: str | None) -> _File:
    h5py = hdf5()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.absolute()}; expected an NWB file of the benchmark.")
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is no HDF5 file, hence no NWB file.")
    with h5py.File(path, "r") as file:
        for needed in ("units/id", "units/spike_times", "units/spike_times_index", "units/heldout", "intervals/trials/start_time", "intervals/trials/split"):
            if needed not in file:
                raise ValueError(f"{path} has no {needed}; expected an NWB file of the Neural Latents Benchmark, with units, their flag heldout, and trials.")
        trials = _table(file["intervals/trials"])
        ids, held_out = np.asarray(file["units/id"][()], int), np.asarray(file["units/heldout"][()]).astype(bool)
        spikes = _ragged(file["units/spike_times"][()], file["units/spike_times_index"][()])
        last = max([float(trials["end_time"].iloc[-1]), *(times[-1] for times in spikes if times.size)])
        intervals = [np.array([[0.0, np.ceil(last * 1000) / 1000]])] * len(ids)
        if "units/obs_intervals" in file:
            intervals = _ragged(file["units/obs_intervals"][()], file["units/obs_intervals_index"][()])
        num_ms = round(max(each[-1][-1] for each in intervals) * 1000)
        units = {}
        for flag in (False, True):
            chosen = np.flatnonzero(held_out == flag)
            for unit in chosen:
                # The benchmark takes the intervals of the first unit for all of its kind.
                observed = np.stack([np.ceil(_ms(intervals[chosen[0]][:, 0])), np.floor(_ms(intervals[chosen[0]][:, 1]))], axis=1).astype(int)
                within = _ms(spikes[unit]).astype(int)
                units[int(ids[unit])] = (flag, np.sort(within[(within >= 0) & (within < num_ms)]), observed)
        series = None if behaviour is None else _series(file, behaviour, path)
    return _File(units, trials, series, num_ms)


def _ms(seconds: np.ndarray) -> np.ndarray:
    """Times in ms; a spike at 2.9999999999 ms by rounding errors is one at 3."""
    return np.round(np.asarray(seconds, float) * 1000, 6)


def _ragged(values: np.ndarray, ends: np.ndarray) -> list[np.ndarray]:
    return np.split(np.asarray(values, float), np.asarray(ends, int)[:-1])


def _table(group: Any) -> pd.DataFrame:
    """The columns with one entry a trial; those with lists are left out."""
    rows = len(group["id"])
    columns = {}
    for name, values in group.items():
        if not hasattr(values, "shape") or values.ndim != 1 or len(values) != rows or name.endswith("_index") or f"{name}_index" in group:
            continue
        array = values[()]
        if array.dtype.kind in "OS":
            array = np.array([entry.decode() if isinstance(entry, bytes) else str(entry) for entry in array])
        columns[name] = array
    return pd.DataFrame(columns).rename(columns={"id": "trial_id", "stop_time": "end_time"})


def _series(file: Any, name: str, path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Times (ms) and values [sample, dimension] of the time series of this name, wherever it is in the file; None where there is none, as in test files."""
    found: list[Any] = []
    file.visititems(lambda place, item: found.append(item) if place.rpartition("/")[2] == name and hasattr(item, "keys") and "data" in item else None)
    if not found:
        return None
    values = np.asarray(found[0]["data"][()], float)
    if "timestamps" in found[0]:
        exact = _ms(found[0]["timestamps"][()])
    else:
        start = found[0]["starting_time"]
        exact = _ms(np.arange(len(values)) / float(start.attrs["rate"]) + float(start[()]))
    times = np.round(exact).astype(int)
    if (np.abs(exact - times) > 1e-3).any() or (times < 0).any():
        raise ValueError(f"the time series {name!r} of {path} has samples off the grid of 1 ms from 0; expected the benchmark's own files, sampled at 1 kHz.")
    return times, values.reshape(len(values), -1)
