"""HDF5 files of the benchmark: arrays cut by its own tools, targets, and submissions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latentgate.data.neural_latents.recipes import RECIPES
from latentgate.files import replaced_in_one_step

RATES = (
    "train_rates_heldin",
    "train_rates_heldout",
    "eval_rates_heldin",
    "eval_rates_heldout",
    "eval_rates_heldin_forward",
    "eval_rates_heldout_forward",
)


def hdf5() -> Any:
    """The module h5py, which is optional.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError("the files of the Neural Latents Benchmark are read and written through h5py, which is not installed: pip install h5py") from error
    return h5py


def read_groups(path: str | os.PathLike[str]) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of an HDF5 file by group: {group: {name: array}}; arrays outside of any group are under "".

    Raises:
        FileNotFoundError: no such file.
        ImportError: without h5py.
        ValueError: no HDF5 file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.absolute()}; expected an HDF5 file.")
    h5py = hdf5()
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path} is no HDF5 file.")
    groups: dict[str, dict[str, np.ndarray]] = {}
    with h5py.File(path, "r") as file:
        for name, item in file.items():
            if isinstance(item, h5py.Dataset):
                groups.setdefault("", {})[name] = item[()]
            else:
                groups[name] = {key: value[()] for key, value in item.items() if isinstance(value, h5py.Dataset)}
    return groups


def write_submission(path: str | os.PathLike[str], name: str, rates: Mapping[str, Any]) -> Path:
    """Writes predicted rates in the form in which the benchmark takes them, float32, in one step.

    A file that is there keeps its groups of other data sets, so that several go into one submission.

    Args:
        path: of the file, ending in .h5.
        name: the group: a data set of the benchmark, followed by "_20" for bins of 20 ms.
        rates: expected counts per bin, [trial, time, neuron], as `Benchmark.submission` gives them: `train_rates_heldin`, `train_rates_heldout`,
            `eval_rates_heldin`, `eval_rates_heldout`, and `eval_rates_heldin_forward`, `eval_rates_heldout_forward`. The evaluated ones are needed, the
            training ones for all scores but those of dmfc_rsg and co-smoothing, the forward ones for forward prediction.

    Returns:
        The path written.

    Raises:
        ImportError: without h5py.
        FileNotFoundError: the folder does not exist.
        ValueError: another suffix, name or key; arrays that are missing, do not fit, are not finite or negative, or too small or large for float32.

    Example:
        >>> import pathlib, tempfile, numpy as np
        >>> from latentgate.data.neural_latents import read_groups, write_submission
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "submission.h5"
        >>> _ = write_submission(path, "mc_rtt_20", {"eval_rates_heldin": np.ones((2, 30, 3)), "eval_rates_heldout": np.ones((2, 30, 1))})
        >>> read_groups(path)["mc_rtt_20"]["eval_rates_heldout"].shape
        (2, 30, 1)
    """
    path = Path(path)
    if path.suffix != ".h5":
        raise ValueError(f"`path` is {path}; expected the suffix .h5.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"`path` is {path} but the folder {path.absolute().parent} does not exist; create it first.")
    if name not in RECIPES and name.removesuffix("_20") not in RECIPES:
        raise ValueError(f"`name` is {name!r}; expected one of {', '.join(RECIPES)}, or one of them followed by _20.")
    arrays = _checked(rates)
    groups = read_groups(path) if path.exists() else {}
    groups[name] = arrays
    with replaced_in_one_step(path) as partial, hdf5().File(partial, "w") as file:
        for group, content in groups.items():
            place = file if group == "" else file.create_group(group)
            for key, array in content.items():
                place.create_dataset(key, data=array, compression="gzip" if np.ndim(array) else None)
    return path


def _checked(rates: Mapping[str, Any]) -> dict[str, np.ndarray]:
    unknown = sorted(set(rates) - set(RATES))
    if unknown:
        raise ValueError(f"`rates` has {unknown[0]!r}; expected only {', '.join(RATES)}.")
    for key in ("eval_rates_heldin", "eval_rates_heldout"):
        if key not in rates:
            raise ValueError(f"`rates` has no {key!r}; it has {', '.join(rates) or 'nothing'}.")
    arrays = {}
    for key, value in rates.items():
        array = np.asarray(value, float)
        if array.ndim != 3 or 0 in array.shape:
            raise ValueError(f"`rates[{key!r}]` has shape {array.shape}; expected [trial, time, neuron] without an empty dimension.")
        if not (np.isfinite(array) & (array >= 0)).all():
            raise ValueError(f"`rates[{key!r}]` holds {array[~(np.isfinite(array) & (array >= 0))][0]}; expected finite rates of at least 0.")
        with np.errstate(over="ignore", under="ignore"):
            arrays[key] = array.astype(np.float32)
        if (~np.isfinite(arrays[key])).any() or ((arrays[key] == 0) & (array > 0)).any():
            raise ValueError(f"`rates[{key!r}]` holds rates that float32, the type of submissions, cannot hold: {array.min()} to {array.max()}.")
    for key in arrays:
        other = key.replace("heldout", "heldin") if "heldout" in key else key.replace("heldin", "heldout")
        if other not in arrays:
            raise ValueError(f"`rates` has {key!r} but no {other!r}; expected both.")
        if arrays[key].shape[:2] != arrays[other].shape[:2]:
            raise ValueError(
                f"`rates[{key!r}]` has shape {arrays[key].shape} but `rates[{other!r}]` has {arrays[other].shape}; expected the same trials and bins."
            )
        evaluated = key.removesuffix("_forward")
        if arrays[key].shape[::2] != arrays[evaluated].shape[::2]:
            raise ValueError(
                f"`rates[{key!r}]` has shape {arrays[key].shape} but {evaluated!r} has {arrays[evaluated].shape}; expected the same trials and neurons."
            )
    return arrays
