"""Average responses of the benchmark: spikes smoothed at 1 ms, binned, and averaged over the trials of each condition."""

from __future__ import annotations

import numpy as np
import pandas as pd

from latentgate.data.neural_latents.grid import cut, first_bins, observed_ms
from latentgate.data.neural_latents.nwb import NWBRecording
from latentgate.data.neural_latents.recipes import Recipe

# The benchmark leaves out trials shorter than this share of their condition's mean.
_SHORTEST = 0.8


def average_responses(
    recording: NWBRecording, recipe: Recipe, bin_ms: int, splits: tuple[str, ...], evaluated: pd.DataFrame
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Peri-stimulus time histograms of each condition, and which evaluated trials belong to it.

    Args:
        recording: the recording.
        recipe: how it is cut.
        bin_ms: width of the bins.
        splits: trials that are averaged.
        evaluated: rows of the trial table that are scored.

    Returns:
        Expected counts per bin [condition, time, unit], NaN where a condition has no such bin, and for each condition the indices of its trials in `evaluated`.
    """
    table = pd.DataFrame(recording.trials.loc[recording.trials["split"].isin(splits)])
    fields = list(recipe.conditions)
    conditions = sorted(set(pd.DataFrame(table[fields]).dropna().itertuples(index=False, name=None)))
    usable = ~np.isnan(np.asarray(table[recipe.align], float))
    if recipe.outliers is not None:
        usable &= np.asarray(table[recipe.outliers]) != 1
    members = []
    for condition in conditions:
        rows = pd.DataFrame(table.loc[usable & np.asarray((table[fields] == condition).all(axis=1))])
        if len(rows):
            members.append(rows)
    num_bins = recipe.num_bins(bin_ms)
    responses = np.full((len(members), num_bins, len(recording.units)), np.nan)
    spans = [_spans(rows, recipe, bin_ms) for rows in members]
    members = [rows[kept] for rows, (kept, _, _) in zip(members, spans, strict=True)]
    for unit in range(len(recording.units)):
        rate = _smoothed(recording, unit, recipe.kernel_ms, bin_ms)
        for condition, (_, starts, blank) in enumerate(spans):
            windows = cut(rate, starts, num_bins)
            windows[np.arange(num_bins) < blank[:, None]] = np.nan
            if recipe.start is not None:
                # As many bins as the shortest trial has.
                windows[:, : blank.max()] = np.nan
            there = ~np.isnan(windows)
            total = np.where(there, windows, 0.0).sum(0)
            responses[condition, :, unit] = np.where(there.any(0), total / np.maximum(there.sum(0), 1), np.nan)
    places = [np.flatnonzero(np.isin(np.asarray(evaluated["trial_id"]), np.asarray(rows["trial_id"]))) for rows in members]
    return responses, places


def _spans(rows: pd.DataFrame, recipe: Recipe, bin_ms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which trials of a condition are averaged, the bins in which their windows begin, and how many bins at the beginning of each do not count."""
    events = np.asarray(rows[recipe.align], float)
    num_bins = recipe.num_bins(bin_ms)
    if recipe.start is not None:
        ends = first_bins(events, recipe.window[1], bin_ms)
        lengths = ends - first_bins(np.asarray(rows[recipe.start], float), 0, bin_ms)
        kept = lengths >= _SHORTEST * lengths.mean()
        return kept, ends[kept] - num_bins, np.maximum(num_bins - lengths[kept], 0)
    # Trials are averaged by bins counted from their event's; where the window is no multiple of the width, some windows begin a bin before others.
    starts = first_bins(events, recipe.window[0], bin_ms)
    offsets = starts - first_bins(events, 0, bin_ms)
    blank = offsets - offsets.min()
    return np.ones(len(rows), bool), starts - blank, blank


def _smoothed(recording: NWBRecording, unit: int, kernel_ms: int, bin_ms: int) -> np.ndarray:
    """Counts of a unit under a Gaussian, [bin]: smoothed at 1 ms within each recorded stretch, then summed in bins."""
    from scipy.signal import convolve
    from scipy.signal.windows import gaussian

    kernel = gaussian(6 * kernel_ms, kernel_ms, sym=True)
    kernel /= kernel.sum()
    seen = observed_ms(recording, unit)
    counts = np.bincount(recording.spikes[unit], minlength=recording.num_ms).astype(float)
    changes = np.flatnonzero(np.diff(seen)) + 1
    for start, stop in zip([0, *changes], [*changes, recording.num_ms], strict=True):
        # The Fourier transform of a convolution leaves small negative numbers.
        counts[start:stop] = np.maximum(convolve(counts[start:stop], kernel, "same"), 0.0) if seen[start] else 0.0
    padded = np.pad(counts, (0, -len(counts) % bin_ms)).reshape(-1, bin_ms).sum(axis=1)
    padded[~seen[::bin_ms]] = np.nan
    return padded
