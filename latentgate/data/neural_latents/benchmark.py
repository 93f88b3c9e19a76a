"""One data set of the benchmark: what to learn from, what to predict, and what it is scored against."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentgate.data.neural_latents.nwb import read_nwb
from latentgate.data.neural_latents.recipes import FORWARD_MS, RECIPES, Recipe, group_name
from latentgate.data.neural_latents.tensors import read_groups
from latentgate.data.neural_latents.windows import Windows
from latentgate.data.sequences import Sequences


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A data set of the Neural Latents Benchmark.

    Attributes:
        name: of the data set.
        bin_ms: width of the bins.
        train: counts [trial, time, neuron] of the training trials, held-in neurons first; the last `num_forward` bins are those of forward prediction. Where a
            file of tensors has no forward bins for training, there are none here.
        evaluation: the evaluated trials with their forward bins; held-out neurons, and all neurons in forward bins, are missing.
        num_heldin: number of held-in neurons.
        num_forward: number of forward bins of an evaluated trial.
        targets: what `latentgate.metrics.evaluate` needs, under the benchmark's names; empty where the truth is kept back.
    """

    name: str
    bin_ms: int
    train: Sequences
    evaluation: Sequences
    num_heldin: int
    num_forward: int
    targets: dict[str, Any]

    @property
    def group(self) -> str:
        """Name of the group in target and submission files, for instance "mc_maze_20"."""
        return group_name(self.name, self.bin_ms)

    @property
    def held_in(self) -> np.ndarray:
        """Boolean [neuron]: True for the neurons that evaluated trials have."""
        return np.arange(self.train.num_features) < self.num_heldin

    def submission(self, rates: Any, train_rates: Any = None) -> dict[str, np.ndarray]:
        """Predicted rates as the benchmark takes them.

        Args:
            rates: expected counts per bin of `evaluation`, [trial, time, neuron], forward bins included.
            train_rates: the same of `train`, for the scores of behaviour; None without.

        Raises:
            ValueError: another shape.
        """
        found = {}
        for part, given, data in (("eval", rates, self.evaluation), ("train", train_rates, self.train)):
            if given is None:
                continue
            array = np.asarray(given, float)
            if array.shape != data.values.shape:
                raise ValueError(
                    f"`{'rates' if part == 'eval' else 'train_rates'}` has shape {array.shape}; expected {data.values.shape}, forward bins included."
                )
            observed = self.evaluation.max_length - self.num_forward
            for kind, neurons in (("heldin", self.held_in), ("heldout", ~self.held_in)):
                found[f"{part}_rates_{kind}"] = array[:, :observed, neurons]
                if part == "eval":
                    found[f"{part}_rates_{kind}_forward"] = array[:, observed:, neurons]
        return found


def read(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    name: str,
    *,
    bin_ms: int = 5,
    phase: str = "val",
    psth: bool = False,
    seed: int = 0,
) -> Benchmark:
    """Reads a data set of the Neural Latents Benchmark.

    Args:
        path: NWB files as they are published, or HDF5 files as `make_train_input_tensors`, `make_eval_input_tensors` and `make_eval_target_tensors` of
            nlb_tools write them: one file, several, or a folder that holds nothing else of that suffix.
        name: the data set: one of `RECIPES`.
        bin_ms: width of the bins; the benchmark has 5 and 20.
        phase: "val" learns from the training trials and is scored on the validation trials; "test" learns from both and predicts the test trials, whose truth
            is kept back. Files of tensors are of one phase already.
        psth: targets with average responses, which take about a second for each neuron and hour; NWB files only.
        seed: of the jitter of dmfc_rsg; NWB files only.

    Raises:
        FileNotFoundError: no such file, or no file of the benchmark in the folder.
        ImportError: without h5py.
        ValueError: an option out of range, or a file of another kind, data set or bin width.

    Source: the cutting of nlb_tools 0.0.4, to the bin; but windows are never shortened where trials overlap.

    Example:
        >>> import pathlib, tempfile, h5py, numpy as np
        >>> from latentgate.data.neural_latents import read
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "mc_rtt.h5"
        >>> with h5py.File(path, "w") as file:
        ...     for key, neurons in (("train_spikes_heldin", 3), ("train_spikes_heldout", 1), ("eval_spikes_heldin", 3)):
        ...         file[key] = np.ones((2, 30, neurons))
        >>> benchmark = read(path, "mc_rtt", bin_ms=20)
        >>> benchmark.group, benchmark.num_heldin, benchmark.evaluation.values.shape
        ('mc_rtt_20', 3, (2, 40, 4))
    """
    if name not in RECIPES:
        raise ValueError(f"`name` is {name!r}; expected one of {', '.join(RECIPES)}.")
    if phase not in ("val", "test"):
        raise ValueError(f"`phase` is {phase!r}; expected 'val' or 'test'.")
    recipe = RECIPES[name]
    recipe.num_bins(bin_ms)
    paths, suffix = _files(path)
    if suffix == ".nwb":
        return _from_nwb(paths, name, recipe, bin_ms, phase, psth, seed)
    tensors: dict[str, np.ndarray] = {}
    targets: dict[str, Any] = {}
    for one in paths:
        for group, arrays in read_groups(one).items():
            if group == "":
                tensors |= arrays
            elif group == group_name(name, bin_ms):
                targets |= arrays
    return from_tensors(name, bin_ms, tensors, targets)


def from_tensors(
    name: str, bin_ms: int, tensors: Mapping[str, Any], targets: Mapping[str, Any], names: Sequence[str] | None = None, trials: Mapping[str, Any] | None = None
) -> Benchmark:
    """A data set from arrays under the names of nlb_tools.

    Args:
        name: of the data set.
        bin_ms: width of the bins.
        tensors: `train_spikes_heldin`, `train_spikes_heldout`, `eval_spikes_heldin`, and, if they are known, `train_spikes_heldin_forward`,
            `train_spikes_heldout_forward` and `eval_spikes_heldout`: counts [trial, time, neuron].
        targets: arrays of the target file; may be empty.
        names: of the neurons, held-in ones first.
        trials: {"train" and "eval": number of each trial in the recording}.

    Raises:
        ValueError: an array is missing, or arrays do not fit.
    """
    arrays = {}
    num_bins = RECIPES[name].num_bins(bin_ms)
    num_forward = FORWARD_MS // bin_ms
    for key in ("train_spikes_heldin", "train_spikes_heldout", "eval_spikes_heldin", "train_spikes_heldin_forward", "train_spikes_heldout_forward"):
        if key not in tensors:
            if key.endswith("_forward"):
                continue
            raise ValueError(f"the files of {name} have no array {key!r}; they have {', '.join(sorted(tensors)) or 'none'} outside of groups.")
        array = np.asarray(tensors[key], float)
        expected = num_forward if key.endswith("_forward") else num_bins
        if array.ndim != 3 or array.shape[1] != expected:
            raise ValueError(f"{key!r} has shape {array.shape}; expected [trial, {expected}, neuron] for {name} at `bin_ms` = {bin_ms}. Is it another width?")
        arrays[key] = array
    num_heldin, num_heldout = arrays["train_spikes_heldin"].shape[2], arrays["train_spikes_heldout"].shape[2]
    if arrays["eval_spikes_heldin"].shape[2] != num_heldin:
        raise ValueError(f"'eval_spikes_heldin' has {arrays['eval_spikes_heldin'].shape[2]} neurons but 'train_spikes_heldin' {num_heldin}; expected the same.")
    train = np.concatenate([arrays["train_spikes_heldin"], arrays["train_spikes_heldout"]], axis=2)
    if "train_spikes_heldin_forward" in arrays and "train_spikes_heldout_forward" in arrays:
        forward = np.concatenate([arrays["train_spikes_heldin_forward"], arrays["train_spikes_heldout_forward"]], axis=2)
        train = np.concatenate([train, forward], axis=1)
    seen = arrays["eval_spikes_heldin"]
    evaluation = np.full((len(seen), num_bins + num_forward, num_heldin + num_heldout), np.nan)
    evaluation[:, :num_bins, :num_heldin] = seen
    known = dict(targets)
    # The whole window of dmfc_rsg is shown, but only a part of it scored.
    if not known and "eval_spikes_heldout" in tensors and RECIPES[name].start is None:
        known = {"eval_spikes_heldout": np.asarray(tensors["eval_spikes_heldout"], float)}
    names = names or [f"held-in {number}" for number in range(num_heldin)] + [f"held-out {number}" for number in range(num_heldout)]

    def sequences(counts: np.ndarray, part: str) -> Sequences:
        return Sequences.from_arrays(counts, names=names, labels={} if trials is None else {"trial": trials[part]}, bin_width=bin_ms / 1000)

    return Benchmark(name, bin_ms, sequences(train, "train"), sequences(evaluation, "eval"), num_heldin, num_forward, known)


def _from_nwb(paths: list[Path], name: str, recipe: Recipe, bin_ms: int, phase: str, psth: bool, seed: int) -> Benchmark:
    recording = read_nwb(paths, recipe.behaviour)
    held_out = recording.held_out
    if held_out.all() or not held_out.any():
        raise ValueError(
            f"{paths[0]} has {held_out.sum()} held-out of {len(held_out)} units; expected some of each. `phase` 'test' needs the training file too."
        )
    train = Windows(recording, recipe, bin_ms, ("train",) if phase == "val" else ("train", "val"), seed)
    evaluated = Windows(recording, recipe, bin_ms, (phase,), seed)
    counts, forward = train.counts()
    eval_counts, eval_forward = evaluated.counts()
    tensors = {
        "train_spikes_heldin": counts[..., ~held_out],
        "train_spikes_heldout": counts[..., held_out],
        "train_spikes_heldin_forward": forward[..., ~held_out],
        "train_spikes_heldout_forward": forward[..., held_out],
        "eval_spikes_heldin": eval_counts[..., ~held_out],
    }
    targets = {} if phase == "test" else evaluated.targets(held_out, eval_counts, eval_forward, train, psth)
    names = [f"unit {unit}" for unit in recording.units]
    trials = {part: np.asarray(windows.trials["trial_id"], int) for part, windows in (("train", train), ("eval", evaluated))}
    return from_tensors(name, bin_ms, tensors, targets, names, trials)


def _files(path: Any) -> tuple[list[Path], str]:
    if isinstance(path, (str, os.PathLike)):
        folder = Path(path)
        paths = [folder]
        if folder.is_dir():
            paths = sorted(folder.glob("*.nwb")) or sorted(folder.glob("*.h5"))
            if not paths:
                raise FileNotFoundError(f"the folder {folder.absolute()} holds no file ending in .nwb or .h5; expected files of the benchmark.")
    else:
        paths = [Path(one) for one in path]
    suffixes = {one.suffix for one in paths}
    if suffixes not in ({".nwb"}, {".h5"}):
        raise ValueError(f"`path` is {path}; expected files that end in .nwb, or files that end in .h5.")
    return paths, suffixes.pop()
