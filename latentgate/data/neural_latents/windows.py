"""Windows around the events of a recording: counts, behaviour, and what the benchmark scores against."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from latentgate.data.neural_latents.grid import binned, cut, first_bins, resampled
from latentgate.data.neural_latents.nwb import NWBRecording
from latentgate.data.neural_latents.psth import average_responses
from latentgate.data.neural_latents.recipes import FORWARD_MS, Recipe


class Windows:
    """The windows of some trials of a recording.

    Attributes:
        trials: rows of the trial table whose event is known, in their order.
        starts: bin in which each trial's window begins, [trial].
        jitter: by how many bins its window is cut later than its event asks for, [trial].
    """

    def __init__(self, recording: NWBRecording, recipe: Recipe, bin_ms: int, splits: tuple[str, ...], seed: int):
        table = recording.trials
        for column in (recipe.align, *recipe.behaviour_columns, *(name for name in (recipe.start, recipe.outliers, recipe.decoders) if name)):
            if column not in table.columns:
                raise ValueError(f"the trial table has no column {column!r}; it has {', '.join(map(str, table.columns))}. Is `name` the data set's?")
        chosen = pd.DataFrame(table.loc[table["split"].isin(splits)])
        jitter = _drawn(chosen, recipe, bin_ms, seed)
        known = ~np.isnan(np.asarray(chosen[recipe.align], float)) & ~np.isnan(jitter)
        if not known.any():
            raise ValueError(f"no trial is of the split {' or '.join(splits)} and has its {recipe.align}; the splits are {sorted(set(table['split']))}.")
        self.recording, self.recipe, self.bin_ms, self.splits = recording, recipe, bin_ms, splits
        self.trials, self.jitter = pd.DataFrame(chosen.loc[known]), jitter[known].astype(int)
        self._events = np.asarray(self.trials[recipe.align], float)
        self.starts = self._bins(self._events, recipe.window[0]) + self.jitter

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Counts of all units [trial, time, unit] in the observed bins and in the forward bins; NaN where a unit was not recorded."""
        observed = self.recipe.num_bins(self.bin_ms)
        num_forward = FORWARD_MS // self.bin_ms
        forward_starts = self._bins(self._events, self.recipe.window[1]) + self.jitter
        num_trials, num_units = len(self.starts), len(self.recording.units)
        counts, forward = np.empty((num_trials, observed, num_units)), np.empty((num_trials, num_forward, num_units))
        for unit in range(num_units):
            # One unit at a time: all bins of all units of an hour would not fit into memory.
            series = binned(self.recording, unit, self.bin_ms)
            counts[..., unit], forward[..., unit] = cut(series, self.starts, observed), cut(series, forward_starts, num_forward)
        return counts, forward

    def behaviour(self) -> np.ndarray:
        """Behaviour as it is decoded: [trial, time, dimension], or [trial, column]."""
        if self.recipe.behaviour is None:
            columns = np.array(self.trials[list(self.recipe.behaviour_columns)], float)
            columns[np.asarray(self.trials[self.recipe.outliers]) != 0] = np.nan
            return columns
        series = self.recording.behaviour
        if series is None:
            raise ValueError(f"the recording has no time series {self.recipe.behaviour!r}, which the scores need; expected the benchmark's training file.")
        starts = self._bins(self._events, self.recipe.window[0] + self.recipe.lag_ms)
        return cut(resampled(series, self.bin_ms), starts, self.recipe.num_bins(self.bin_ms))

    def targets(self, held_out: np.ndarray, counts: np.ndarray, forward: np.ndarray, train: Windows, psth: bool) -> dict[str, Any]:
        """What these trials are scored against, under the benchmark's names.

        Args:
            held_out: boolean [unit].
            counts: of these trials, as `counts` gives them.
            forward: the same in the forward bins.
            train: windows of the training trials.
            psth: average responses too.
        """
        scored = counts[..., held_out]
        if self.recipe.start is not None:
            places = self.starts[:, None] + np.arange(counts.shape[1])
            first, last = self._bins(np.asarray(self.trials[self.recipe.start], float), 0), self._bins(self._events, 0)
            scored = np.where(((places >= first[:, None]) & (places < last[:, None]))[..., None], scored, np.nan)
        found: dict[str, Any] = {
            "eval_spikes_heldout": scored,
            "train_behavior": train.behaviour(),
            "eval_behavior": self.behaviour(),
            "eval_spikes_heldin_forward": forward[..., ~held_out],
            "eval_spikes_heldout_forward": forward[..., held_out],
        }
        if self.recipe.decoders is not None:
            for part, windows in (("train", train), ("eval", self)):
                group = np.asarray(windows.trials[self.recipe.decoders])
                found[f"{part}_decode_mask"] = np.stack([group == 0, group == 1], axis=1)
        if psth and self.recipe.conditions:
            found["psth"], found["eval_cond_idx"] = average_responses(self.recording, self.recipe, self.bin_ms, (*train.splits, *self.splits), self.trials)
            if self.recipe.max_jitter_ms:
                found["eval_jitter"] = self.jitter
        return found

    def _bins(self, seconds: np.ndarray, offset_ms: int) -> np.ndarray:
        return first_bins(seconds, offset_ms, self.bin_ms)


def _drawn(chosen: pd.DataFrame, recipe: Recipe, bin_ms: int, seed: int) -> np.ndarray:
    """Jitter in bins; the same draws as the benchmark's tools make with this seed."""
    if not recipe.max_jitter_ms:
        return np.zeros(len(chosen))
    produced = np.asarray(chosen["tp"], float)
    most = np.where(chosen["split"] == "test", 0.0, np.clip(recipe.window[1] - recipe.window[0] - produced, 0.0, recipe.max_jitter_ms))
    bins = np.floor(np.round(most / bin_ms, 4))
    # The old generator, because the benchmark's own draws are wanted.
    return np.round(np.random.RandomState(seed).random_sample(len(chosen)) * bins)
