"""Sequences in files: .npz and .nc (netCDF through xarray), never pickle; what is read is checked like new data."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from latentgate.data.sequences import Sequences
from latentgate.files import replaced_in_one_step

FORMAT = "latentgate sequences"
VERSION = 1
SUFFIXES = (".npz", ".nc")


def save(data: Sequences, path: str | os.PathLike[str]) -> Path:
    """Writes `data`, annotations included, to `path` (.npz or .nc), replacing a file that is there in one step.

    Raises:
        ValueError: another suffix.
        FileNotFoundError: the folder does not exist.
        ImportError: a .nc file without xarray and netCDF4 or h5netcdf.
    """
    path = Path(path)
    _check_suffix(path)
    header, fields = _to_fields(data)
    with replaced_in_one_step(path) as partial:
        if path.suffix == ".npz":
            arrays: dict[str, Any] = {key: array for key, (_, array) in fields.items()}
            np.savez_compressed(partial, header=np.array(json.dumps(header)), **arrays)
        else:
            _write_netcdf(partial, header, fields)
    return path


def read(path: str | os.PathLike[str]) -> Sequences:
    """Reads what `save` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another suffix, a damaged file, or one that `save` did not write.
    """
    path = Path(path)
    _check_suffix(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.absolute()}; expected one written by Sequences.save.")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            text = str(archive["header"]) if "header" in archive.files else None
            header = _check_header(text, path)
            fields = {key: archive[key] for key in archive.files if key != "header"}
    else:
        header, fields = _read_netcdf(path)
    return _from_fields(header, fields)


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"`path` is {path}; expected the suffix {' or '.join(SUFFIXES)}.")


def _check_header(text: str | None, path: Path) -> dict[str, Any]:
    header: Any = None
    if text is not None:
        try:
            header = json.loads(text)
        except json.JSONDecodeError:
            header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by Sequences.save; read its arrays and pass them to Sequences.from_arrays.")
    if header["version"] > VERSION:
        raise ValueError(f"{path} has version {header['version']}; expected at most {VERSION}. Update latentgate.")
    return header


def _to_fields(data: Sequences) -> tuple[dict[str, Any], dict[str, tuple[tuple[str, ...], np.ndarray]]]:
    """The header and {key: (dimension names, array)}; names given by people stand in the header, never in keys."""
    fields: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "values": (("sequence", "time", "feature"), np.where(data.observed, data.values, np.nan)),
        "lengths": (("sequence",), np.asarray(data.lengths)),
    }
    if data.times is not None:
        fields["times"] = (("sequence", "time"), np.asarray(data.times))
    for index, value in enumerate(data.inputs.values()):
        fields[f"input_{index}"] = (("sequence", "time", f"input_{index}_column"), np.asarray(value))
    for index, value in enumerate(data.labels.values()):
        fields[f"label_{index}"] = (("sequence",), value)
    if data.starts is not None:
        fields["starts"] = (("sequence",), data.starts)
    for index, name in enumerate(data.inputs):
        if name in data.input_scales:
            fields[f"input_{index}_scale"] = (("scale", f"input_{index}_column"), np.stack(data.input_scales[name]))
    if data.groups is not None:
        fields["groups"] = (("sequence",), data.groups)
    for index, entries in enumerate(data.events.values()):
        times = np.concatenate(entries)
        fields[f"event_{index}_count"] = (("sequence",), np.array([len(entry) for entry in entries], np.int64))
        # netCDF has no dimension of size zero: an event that never happened has counts only.
        if times.size:
            fields[f"event_{index}_times"] = ((f"event_{index}",), times)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "names": data.names,
        "inputs": list(data.inputs),
        "input_names": data.input_names,
        "labels": {name: value.dtype.str for name, value in data.labels.items()},
        "groups": None if data.groups is None else data.groups.dtype.str,
        "events": list(data.events),
        "bin_width": data.bin_width,
    }
    return header, fields


def _from_fields(header: dict[str, Any], fields: dict[str, np.ndarray]) -> Sequences:
    lengths = [int(length) for length in fields["lengths"]]

    def cut(padded: np.ndarray) -> list[np.ndarray]:
        return [row[:length] for row, length in zip(padded, lengths, strict=True)]

    def events(index: int) -> list[np.ndarray]:
        ends = np.cumsum(fields[f"event_{index}_count"])
        return np.split(fields.get(f"event_{index}_times", np.zeros(0)), ends[:-1])

    data = Sequences.from_arrays(
        cut(fields["values"]),
        inputs={name: cut(fields[f"input_{index}"]) for index, name in enumerate(header["inputs"])},
        times=cut(fields["times"]) if "times" in fields else None,
        names=header["names"],
        input_names=header["input_names"],
        labels={name: fields[f"label_{index}"].astype(kind) for index, (name, kind) in enumerate(header["labels"].items())},
        events={name: events(index) for index, name in enumerate(header["events"])},
        groups=fields["groups"].astype(header["groups"]) if header["groups"] else None,
        bin_width=header["bin_width"],
        starts=fields.get("starts"),
    )
    scales = {name: fields.get(f"input_{index}_scale") for index, name in enumerate(header["inputs"])}
    return dataclasses.replace(data, input_scales={name: (scale[0], scale[1]) for name, scale in scales.items() if scale is not None})


def _engine() -> Any:
    """The netCDF engine for xarray that is installed."""
    # h5netcdf installs without h5py and then fails only when it opens a file.
    for engine, modules in (("netcdf4", ("netCDF4",)), ("h5netcdf", ("h5netcdf", "h5py"))):
        if all(importlib.util.find_spec(module) for module in ("xarray", *modules)):
            return engine
    raise ImportError("a .nc file needs xarray and netCDF4 (or h5netcdf with h5py); install them, or use a .npz file.")


def _write_netcdf(path: Path, header: dict[str, Any], fields: dict[str, tuple[tuple[str, ...], np.ndarray]]) -> None:
    engine = _engine()
    import xarray

    dataset = xarray.Dataset(dict(fields), attrs={"latentgate": json.dumps(header)})
    packed = {key: {"zlib": True} for key, (_, array) in fields.items() if array.dtype.kind == "f"}
    dataset.to_netcdf(path, engine=engine, encoding=packed)


def _read_netcdf(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    engine = _engine()
    import xarray

    try:
        opened = xarray.open_dataset(path, engine=engine, decode_times=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read as netCDF; it is truncated, or another kind of file. ({error})") from error
    with opened as dataset:
        if str(dataset.attrs.get("format", "")).startswith("latentgate fit"):
            raise ValueError(f"{path} holds a fit, not data; read it with lg.Fit.load.")
        header = _check_header(dataset.attrs.get("latentgate"), path)
        return header, {str(key): np.asarray(variable.values) for key, variable in dataset.variables.items()}
