"""Are these seconds? What gives away spike times in milliseconds or samples, and counts in place of times."""

from __future__ import annotations

import numpy as np

# Spans of spikes and trials that differ by more than this factor are looked at more closely.
_FAR = 100.0
# Hz: a unit that fires less than this, over a span a hundred times that of the trials, is more likely one whose times are not in s.
_SLOW = 0.1
# Samples per second of the slowest recordings of spikes.
_SAMPLING = 5_000.0
_ENOUGH = 50


def check_spike_train(times: np.ndarray, argument: str) -> None:
    """Raises ValueError for what looks like counts per bin: whole numbers, most of them repeated, not in order."""
    if times.size < 10 or (times != np.floor(times)).any() or (times < 0).any():
        return
    if (np.diff(times) < 0).any() and len(np.unique(times)) < times.size / 2:
        raise ValueError(
            f"`{argument}` holds {times.size} whole numbers with only {len(np.unique(times))} distinct values; these look like counts per bin, expected the "
            "times of spikes in s. Counts go to Sequences.from_arrays([counts], bin_width=...), with counts [time, neuron]."
        )


def check_clocks(trains: list[np.ndarray], bounds: np.ndarray, bin_width: float) -> None:
    """Raises ValueError where spikes and trials are not on one clock in seconds, as far as their spans and rates tell.

    Args:
        trains: spike times of each neuron.
        bounds: [trial, 2].
        bin_width: in s.
    """
    fired = [times for times in trains if times.size]
    if not fired:
        return
    first, last = min(times.min() for times in fired), max(times.max() for times in fired)
    start, end = bounds[:, 0].min(), bounds[:, 1].max()
    where = f"spikes run from {first:g} to {last:g}, trials from {start:g} to {end:g}"
    span, covered = last - first, end - start
    rate = np.median([times.size for times in fired]) / span if span > 0 else np.inf
    if span > _FAR * covered and rate < _SLOW:
        raise ValueError(f"`spikes` do not look like seconds: {where}, and the median unit would fire at {rate:.2g} Hz. {_remedy(span / covered, 'spikes')}")
    if covered > _FAR * span and sum(times.size for times in fired) >= _ENOUGH:
        raise ValueError(f"`trials` do not look like seconds: {where}. {_remedy(covered / span if span > 0 else np.inf, 'trials')}")
    if last < start or first >= end:
        raise ValueError(
            f"no spike falls into any trial: {where} s. Expected spikes and trials in s on the same clock; milliseconds (divide by 1000), samples (divide by "
            "the sampling rate), or trials counted from their own start look like this."
        )


def _remedy(ratio: float, argument: str) -> str:
    if _SAMPLING < ratio < np.inf:
        return f"These look like samples: divide `{argument}` by the sampling rate."
    return f"These look like milliseconds: divide `{argument}` by 1000."
