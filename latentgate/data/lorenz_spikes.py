"""The recording "lorenz_spikes": simulated spike trains of 60 neurons driven by a Lorenz attractor, with their true rates and latents."""

from __future__ import annotations

import os

import numpy as np

from latentgate.data.sequences import Sequences

BIN_WIDTH = 0.01
_PARTS = ("train", "valid")


def read_hdf5(path: str | os.PathLike[str]) -> Sequences:
    """Reads the HDF5 file of the recording: 640 training and 160 validation trials of 100 bins of 10 ms.

    The trials start from 20 initial conditions, 40 trials each, dealt out to both parts: trials of one condition share their true rates and latents
    and differ in their spikes only. To hold out trajectories and not only spikes, split by the label "condition".

    Args:
        path: of the file, with the arrays {train,valid}_data, _truth, _lowd and _inds and the number of trials per condition.

    Returns:
        Counts [trial, time, neuron], the training trials first, with the input sets "rates" (true rates, Hz) and "latents" (the three coordinates of the
        attractor, each scaled to unit variance) and the labels "split" ("train" or "valid"), "trial" (number in the simulation) and "condition".
        The input sets are the truth to compare with: a model fitted to the counts must not be given them.

    Raises:
        ValueError: an array is missing or has another shape than the counts.

    Source: github felixp8/lfads-nlb-tutorials, data/lfads_lorenz.h5; the simulation of Pandarinath et al., Nature Methods 15:805 (2018).
    """
    arrays = _arrays(path)
    counts, rates, latents, trials = (np.concatenate([arrays[f"{part}_{what}"] for part in _PARTS]) for what in ("data", "truth", "lowd", "inds"))
    if counts.ndim != 3 or rates.shape != counts.shape or latents.shape[:2] != counts.shape[:2] or trials.shape != counts.shape[:1]:
        raise ValueError(
            f"{path} has counts of shape {counts.shape}, rates {rates.shape}, latents {latents.shape} and trial numbers {trials.shape}; expected "
            "[trial, time, neuron] twice, [trial, time, latent] and [trial]."
        )
    per_condition = int(np.ravel(arrays["n_trials_per_init_cond"])[0])
    return Sequences.from_arrays(
        counts,
        inputs={"rates": rates, "latents": latents},
        names=[f"neuron {number}" for number in range(counts.shape[2])],
        labels={
            "split": np.repeat(_PARTS, [len(arrays[f"{part}_data"]) for part in _PARTS]),
            "trial": trials,
            "condition": trials // per_condition,
        },
        bin_width=BIN_WIDTH,
    )


def _arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    import netCDF4

    needed = [f"{part}_{what}" for part in _PARTS for what in ("data", "truth", "lowd", "inds")] + ["n_trials_per_init_cond"]
    with netCDF4.Dataset(os.fspath(path)) as file:
        file.set_auto_mask(False)
        missing = [name for name in needed if name not in file.variables]
        if missing:
            raise ValueError(f"{path} has no array {missing[0]!r}; it has {', '.join(file.variables) or 'none'}.")
        return {name: np.asarray(file.variables[name][:]) for name in needed}
