"""All scores of the Neural Latents Benchmark, from its target file and a submission."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latentgate.metrics.counts import co_smoothing_bits_per_spike
from latentgate.metrics.neural_latents import psth_r_squared, speed_interval_correlation, velocity_r_squared

DATA_SETS = ("mc_maze", "mc_rtt", "area2_bump", "dmfc_rsg", "mc_maze_large", "mc_maze_medium", "mc_maze_small")

# What the benchmark puts in the place of rates of exactly zero.
ZERO_RATE = 1e-9


def evaluate(targets: Any, submission: Any) -> dict[str, dict[str, float]]:
    """Scores of a submission to the Neural Latents Benchmark, by its own rules.

    Args:
        targets: {group: {array}} or the HDF5 file that `make_eval_target_tensors` of nlb_tools writes. A group is a data set at 5 ms bins ("mc_maze") or at
            20 ms ("mc_maze_20").
        submission: {group: {array}} or a submission file: expected counts per bin, [trial, time, neuron], under the names of
            `latentgate.data.neural_latents.write_submission`.

    Returns:
        {group: {score: value}} of every group that both have, with the benchmark's names: "co-bps"; "vel R2" where training rates are submitted and the targets
        have behaviour, or for dmfc_rsg "tp corr"; "psth R2" where the targets have histograms; "fp-bps" where both have forward arrays.

    Raises:
        FileNotFoundError: a file that does not exist.
        ImportError: a file, without h5py.
        ValueError: nothing in common, an array that is missing, or arrays that do not fit.

    Source: `evaluate` of nlb_tools 0.0.4, which gives the same numbers in a list by split; Pei et al. 2021, "Neural Latents Benchmark '21".

    Example:
        >>> import latentgate.metrics as metrics
        >>> targets = {"eval_spikes_heldout": [[[0], [2], [0], [0]]]}
        >>> rates = {"eval_rates_heldin": [[[1.0]] * 4], "eval_rates_heldout": [[[0.0], [2.0], [0.0], [0.0]]]}
        >>> round(metrics.evaluate({"mc_rtt": targets}, {"mc_rtt": rates})["mc_rtt"]["co-bps"], 6)
        2.0
    """
    known, given = _groups(targets, "targets"), _groups(submission, "submission")
    names = [name + suffix for name in DATA_SETS for suffix in ("", "_20")]
    common = [name for name in names if "eval_spikes_heldout" in known.get(name, {}) and "eval_rates_heldout" in given.get(name, {})]
    if not common:
        raise ValueError(
            f"`targets` has the groups {sorted(known)} and `submission` {sorted(given)}; expected at least one data set with eval_spikes_heldout in the one "
            "and eval_rates_heldout in the other."
        )
    return {name: _scores(name, known[name], given[name]) for name in common}


def _scores(name: str, targets: Mapping[str, Any], submission: Mapping[str, Any]) -> dict[str, float]:
    def array(source: Mapping[str, Any], key: str) -> np.ndarray:
        if key not in source:
            what = "targets" if source is targets else "submission"
            raise ValueError(f"`{what}` has no {key!r} for {name}; it has {', '.join(sorted(source))}.")
        return np.asarray(source[key], float)

    counts = array(targets, "eval_spikes_heldout")
    held_out = array(submission, "eval_rates_heldout")
    rates = np.concatenate([array(submission, "eval_rates_heldin"), held_out], axis=-1)
    scores = {"co-bps": co_smoothing_bits_per_spike(held_out, counts, zero_rate=ZERO_RATE)}
    if name.startswith("dmfc_rsg"):
        # Columns: eye or hand, direction, prior, shown interval, produced interval.
        behaviour = array(targets, "eval_behavior")
        scores["tp corr"] = speed_interval_correlation(rates, ~np.isnan(counts[..., 0]), behaviour[:, -1], behaviour[:, :3])
    elif "train_rates_heldin" in submission and "train_behavior" in targets:
        train_rates = np.concatenate([array(submission, "train_rates_heldin"), array(submission, "train_rates_heldout")], axis=-1)
        masks = [np.asarray(targets[key]).astype(bool) if "train_decode_mask" in targets else None for key in ("train_decode_mask", "eval_decode_mask")]
        scores["vel R2"] = velocity_r_squared(train_rates, array(targets, "train_behavior"), rates, array(targets, "eval_behavior"), *masks)
    if "psth" in targets:
        jitter = np.asarray(targets["eval_jitter"]) if "eval_jitter" in targets else None
        scores["psth R2"] = psth_r_squared(array(targets, "psth"), rates, list(targets["eval_cond_idx"]), jitter)
    if "eval_rates_heldin_forward" in submission and "eval_spikes_heldin_forward" in targets:
        forward = [
            np.concatenate([array(source, f"eval_{what}_heldin_forward"), array(source, f"eval_{what}_heldout_forward")], axis=-1)
            for source, what in ((submission, "rates"), (targets, "spikes"))
        ]
        scores["fp-bps"] = co_smoothing_bits_per_spike(*forward, zero_rate=ZERO_RATE)
    return scores


def _groups(source: Any, argument: str) -> dict[str, dict[str, Any]]:
    if isinstance(source, Mapping):
        return {name: {key: _plain(value) for key, value in group.items()} for name, group in source.items() if isinstance(group, Mapping)}
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"`{argument}` is of type {type(source).__name__}; expected a mapping of groups, or the path of an HDF5 file.")
    from latentgate.data.neural_latents import read_groups

    return read_groups(Path(source))


def _plain(value: Any) -> Any:
    """The array of an open HDF5 dataset, and anything else as it is."""
    return value[()] if hasattr(value, "dtype") and not isinstance(value, np.ndarray) else value
