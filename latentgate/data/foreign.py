"""Files that latentgate did not write: plain arrays in a .npz file are read, of others it is said which lines read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from latentgate.data import storage
from latentgate.data.registry import RECORDINGS
from latentgate.data.sequences import Sequences

_KNOWN = ("values", "inputs", "lengths")


def read_npz(path: Path, *, bin_width: float | None = None) -> Sequences:
    """Reads a .npz file: one of `Sequences.save`, or one of plain arrays.

    Plain arrays are either one array, [time, feature] (one sequence) or [sequence, time, feature], under any name; or `values`, and with it `inputs`, of the
    same number of dimensions, and `lengths`, [sequence]: of sequences laid one after the other in [total steps, feature], or padded to
    [sequence, time, feature].

    Args:
        path: of the file.
        bin_width: of a step, in s, for plain arrays.

    Raises:
        FileNotFoundError: no such file.
        TypeError: `bin_width` for a file of Sequences.save, which knows its own.
        ValueError: other arrays; the message lists them and shows the line that reads them.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> from latentgate.data.foreign import read_npz
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "counts.npz"
        >>> np.savez(path, values=np.zeros((7, 2)), lengths=[3, 4])
        >>> read_npz(path, bin_width=0.02)
        Sequences(2 sequences, 3–4 steps, 2 features, bins of 0.02 s (0.14 s in all); inputs: none; 0.0 % missing)
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.absolute()}; expected a .npz file.")
    with np.load(path, allow_pickle=False) as archive:
        names = list(archive.files)
        if "header" in names:
            if bin_width is not None:
                raise TypeError(f"`bin_width` is an option of .npz files of plain arrays; {path} was written by Sequences.save, which kept it.")
            return storage.read(path)
        arrays: dict[str, Any] = {}
        for name in names:
            try:
                arrays[name] = archive[name]
            except ValueError:
                # An object array: only a pickle holds it, and unpickling runs whatever stands in it.
                arrays[name] = None
    return _from_plain(path, arrays, bin_width)


def _from_plain(path: Path, arrays: dict[str, Any], bin_width: float | None) -> Sequences:
    if any(array is None for array in arrays.values()):
        objects = ", ".join(repr(name) for name, array in arrays.items() if array is None)
        raise ValueError(
            f"{path} holds Python objects under {objects}, which are pickled and never read. A list of arrays is kept without pickle by "
            "numpy.savez(path, values=numpy.concatenate(arrays), lengths=[len(array) for array in arrays])."
        )
    numeric = [name for name, array in arrays.items() if array.dtype.kind in "biuf" and array.ndim in (2, 3)]
    if "values" in arrays and set(arrays) <= set(_KNOWN):
        return _from_named(path, arrays, bin_width)
    if len(arrays) == 1 and numeric:
        return _from_named(path, {"values": arrays[numeric[0]]}, bin_width)
    listed = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in arrays.items()) or "none"
    example = numeric[0] if numeric else next(iter(arrays), "values")
    whole = f"[arrays[{example!r}]]" if example in numeric and arrays[example].ndim == 2 else f"arrays[{example!r}]"
    raise ValueError(
        f"{path} was not written by Sequences.save, and which of its arrays are the observations is not clear. It has: {listed}. Expected one array "
        f"[time, feature] or [sequence, time, feature], or arrays named values, inputs and lengths. Read it yourself: arrays = numpy.load({str(path)!r}); "
        f"data = lg.Sequences.from_arrays({whole}, bin_width=...)"
    )


def _from_named(path: Path, arrays: dict[str, Any], bin_width: float | None) -> Sequences:
    values: Any = arrays["values"]
    inputs, lengths = arrays.get("inputs"), arrays.get("lengths")
    if values.ndim not in (2, 3):
        raise ValueError(f"`values` of {path} has shape {values.shape}; expected [time, feature] or [sequence, time, feature].")
    if inputs is not None and inputs.shape[: values.ndim - 1] != values.shape[:-1]:
        raise ValueError(f"`inputs` of {path} has shape {inputs.shape} and `values` {values.shape}; expected the two to differ in their last dimension only.")
    if values.ndim == 2:
        return Sequences.from_concatenated(values, lengths=[len(values)] if lengths is None else lengths, inputs=inputs, bin_width=bin_width)
    if lengths is None:
        return Sequences.from_arrays(values, inputs=inputs, bin_width=bin_width)
    if lengths.shape != (len(values),) or lengths.dtype.kind not in "iu" or lengths.min() < 1 or lengths.max() > values.shape[1]:
        raise ValueError(
            f"`lengths` of {path} is {lengths.tolist()}; expected {len(values)} integers, one per sequence, from 1 to the {values.shape[1]} steps of `values`."
        )
    kept = [slice(0, int(length)) for length in lengths]
    rows = None if inputs is None else [row[part] for row, part in zip(inputs, kept, strict=True)]
    return Sequences.from_arrays([row[part] for row, part in zip(values, kept, strict=True)], inputs=rows, bin_width=bin_width)


def advice(path: Path, expected: str) -> str:
    """What to do with a file that `load` does not read.

    Args:
        path: of something that is there.
        expected: what `load` reads, as in "expected .npz or .nc".
    """
    if path.is_dir():
        return f"{path} is a folder; {expected}, or the name of a recording. The folder of downloaded recordings goes into LATENTGATE_DATA, or `cache=`."
    suffix, where = path.suffix.lower(), repr(str(path))
    if suffix == ".mat":
        return _of_matlab(path)
    if suffix in (".csv", ".tsv", ".txt", ".parquet", ".xlsx"):
        reader = {".parquet": "read_parquet", ".xlsx": "read_excel"}.get(suffix, "read_csv")
        options = ', sep="\\t"' if suffix == ".tsv" else ""
        return (
            f"{path} is a table, and which column is what is not in it. Read it with: import pandas; data = lg.Sequences.from_table(pandas.{reader}({where}"
            f'{options}), sequence="trial", values=["neuron 1", "neuron 2"], time="time"), with the names of your columns; a table of visits to a clinic goes '
            "to lg.panel."
        )
    if suffix == ".npy":
        return f"{path} is one array without names. Read it with: data = lg.Sequences.from_arrays([numpy.load({where})], bin_width=...), for [time, feature]."
    if suffix in (".pkl", ".pickle"):
        return f"{path} is a pickle, which runs code when it is read; latentgate reads none. Open it where it was made, and save with Sequences.save."
    found = f"has the suffix {suffix}" if suffix else "has no suffix"
    return f"`name_or_path` is {path}, which {found}; {expected}, or the name of a recording. Arrays of your own go to lg.Sequences.from_arrays([array])."


def _of_matlab(path: Path) -> str:
    where = repr(str(path))
    known = next((name for name, recording in RECORDINGS.items() if any(file.file == path.name for file in recording.files)), None)
    by_name = f" If it is the public recording, load it by its name: lg.load({known!r})." if known else ""
    try:
        from scipy.io import whosmat

        variables = whosmat(path)
    except NotImplementedError:
        return (
            f"{path} is a MATLAB file of version 7.3: HDF5, with every array transposed. Read it with: import h5py; file = h5py.File({where}); "
            "data = lg.Sequences.from_arrays([file['counts'][:].T], bin_width=...), for a variable 'counts' of [time, neuron]; list(file) names the variables."
            f"{by_name}"
        )
    except (ValueError, OSError, TypeError) as error:
        return f"{path} ends in .mat but is no MATLAB file that scipy can read ({error}); save it again from MATLAB."
    listed = ", ".join(f"{name} {shape} {kind}" for name, shape, kind in variables) or "none"
    example = next((name for name, shape, _ in variables if len(shape) == 2 and min(shape) > 1), variables[0][0] if variables else "counts")
    return (
        f"which variables of {path} are the observations is not clear. It has: {listed}. Read it with: import scipy.io; "
        f"data = lg.Sequences.from_arrays([scipy.io.loadmat({where})[{example!r}]], bin_width=...), for counts [time, neuron]; spike times go to "
        f"lg.Sequences.from_spikes.{by_name}"
    )
