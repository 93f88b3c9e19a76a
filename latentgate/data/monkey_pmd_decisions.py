"""The recording "monkey_pmd_decisions": 14 neurons of monkey dorsal premotor cortex in 1 056 perceptual decisions."""

from __future__ import annotations

import numbers
import os
from typing import Any

import numpy as np

from latentgate.data import splits
from latentgate.data.binning import bin_edges, number_of_bins, spike_counts
from latentgate.data.boundary_trials import boundary_trials
from latentgate.data.sequences import Sequences

_FIELDS = ("spike_times", "offsets", "num_trials", "num_neurons", "stimulus_onset", "reaction_time", "chosen_right", "correct_right", "hard")


def read_npz(
    path: str | os.PathLike[str], bin_width: float = 0.01, start: float = 0.0, end: float = 0.0, trials: Any = None, boundary: bool = True
) -> Sequences:
    """Reads the recording and counts spikes from the stimulus to the reaction.

    The bins are laid from the reaction backwards, so that the last of them ends with the reaction; what is left over at the stimulus is left out.

    Args:
        path: file of the recording.
        bin_width: width of the bins in s.
        start: beginning of the window in s after stimulus onset; may be negative.
        end: end of the window in s after the reaction (the hand's first movement); may be negative.
        trials: which trials: None for all, else indices, booleans or a slice.
        boundary: whether a trial ends at a boundary (see `latentgate.data.boundary_trials`), and so has a row more, without counts, at its end.

    Returns:
        Counts [trial, time, neuron] with the labels "chosen_right", "correct_right", "hard" and "reaction_time" (s after stimulus onset), and the number of the
        trial as "trial".

    Raises:
        ValueError: a file of something else, an option out of range, or a trial whose window is shorter than a bin.
        IndexError, TypeError: `trials` that are no indices of trials.

    Source: github engellab/neuralflow, examples/2024_the_dynamics_and_geometry at 508cf7b; Genkin, Shenoy, Chandrasekaran, Engel, Nature 645:168 (2025).
    """
    for name, value in (("bin_width", bin_width), ("start", start), ("end", end)):
        real = isinstance(value, numbers.Real) and not isinstance(value, bool) and np.isfinite(float(value))
        if not real or (name == "bin_width" and float(value) <= 0):
            raise ValueError(f"`{name}` is {value!r}; expected a {'positive ' if name == 'bin_width' else ''}number, in s.")
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in _FIELDS if name not in file]
        if missing:
            raise ValueError(f"{path} has no array {missing[0]!r}; expected the converted recording, with {', '.join(_FIELDS)}.")
        fields = {name: file[name] for name in _FIELDS}
    num_trials, num_neurons, offsets = int(fields["num_trials"]), int(fields["num_neurons"]), fields["offsets"]
    if offsets.shape != (num_trials * num_neurons + 1,) or offsets[-1] != len(fields["spike_times"]):
        raise ValueError(f"{path} has offsets of shape {offsets.shape}; expected one more than {num_trials} trials times {num_neurons} neurons.")
    chosen = np.arange(num_trials) if trials is None else splits.as_indices(trials, num_trials)
    counts = []
    for trial in chosen:
        own = range(trial * num_neurons, (trial + 1) * num_neurons)
        begin = fields["stimulus_onset"][trial] + start
        stop = fields["stimulus_onset"][trial] + fields["reaction_time"][trial] + end
        num_bins = number_of_bins(stop - begin, bin_width)
        if num_bins < 1:
            raise ValueError(f"`start` and `end` leave {stop - begin:.3f} s of trial {trial}; expected at least one bin of {bin_width} s.")
        # Times have three decimals, but are in single precision: as they are, a spike on an edge would fall to either side.
        spikes = [np.round(np.asarray(fields["spike_times"][offsets[entry] : offsets[entry + 1]], float), 5) for entry in own]
        counts += spike_counts(spikes, [bin_edges(stop - num_bins * bin_width, bin_width, num_bins)])
    labels = {name: fields[name][chosen] for name in ("chosen_right", "correct_right", "hard", "reaction_time")}
    annotations: dict[str, Any] = {"names": [f"neuron {neuron}" for neuron in range(num_neurons)], "labels": labels | {"trial": chosen}}
    if boundary:
        return boundary_trials(counts, bin_width, **annotations)
    return Sequences.from_arrays(counts, bin_width=float(bin_width), **annotations)
