"""Bins of a recording: where times fall, counts of a unit, and samples of a series."""

from __future__ import annotations

import numpy as np

from latentgate.data.neural_latents.nwb import NWBRecording

_NANOSECOND = 1_000_000


def first_bins(seconds: np.ndarray, offset_ms: int, bin_ms: int) -> np.ndarray:
    """The first bin that begins at so many ms after each time or later."""
    exact = np.round(np.asarray(seconds, float) * 1e9).astype(np.int64) + offset_ms * _NANOSECOND
    return -(-exact // (bin_ms * _NANOSECOND))


def binned(recording: NWBRecording, unit: int, bin_ms: int) -> np.ndarray:
    """Counts of a unit in all bins of the recording, [bin]; NaN where the first ms of a bin was not recorded."""
    seen = observed_ms(recording, unit)
    spikes = recording.spikes[unit]
    counts = np.bincount(spikes[seen[spikes]] // bin_ms, minlength=-(-recording.num_ms // bin_ms)).astype(float)
    counts[~seen[::bin_ms]] = np.nan
    return counts


def observed_ms(recording: NWBRecording, unit: int) -> np.ndarray:
    """Boolean [ms]: whether a unit was recorded."""
    seen = np.zeros(recording.num_ms, bool)
    for start, stop in recording.observed[unit]:
        seen[max(start, 0) : stop] = True
    return seen


def cut(series: np.ndarray, starts: np.ndarray, num_bins: int) -> np.ndarray:
    """Windows [trial, time, ...] of a series [bin, ...]; NaN beyond its ends."""
    places = starts[:, None] + np.arange(num_bins)
    inside = (places >= 0) & (places < len(series))
    windows = series[np.where(inside, places, 0)]
    windows[~inside] = np.nan
    return windows


def resampled(series: np.ndarray, bin_ms: int) -> np.ndarray:
    """A behavioural series [ms, dimension] at one sample a bin, without aliasing, as the benchmark does it.

    Gaps are bridged by straight lines for the filter, and stay gaps.
    """
    from scipy.signal import decimate

    if bin_ms == 1:
        return series
    whole = series.copy()
    for column in whole.T:
        gaps = np.isnan(column)
        if gaps.any() and not gaps.all():
            column[gaps] = np.interp(np.flatnonzero(gaps), np.flatnonzero(~gaps), column[~gaps])
    samples = np.asarray(decimate(whole, bin_ms, axis=0, n=500, ftype="fir"))
    samples[np.isnan(series[::bin_ms])] = np.nan
    return samples
