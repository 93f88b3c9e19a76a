"""Event times counted in bins: the one place where edges, bounds and rounding are decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

# Of a bin. Recorded times have few decimals and are often multiples of the bin width: what is on an edge but for rounding is on it.
ROUNDING = 1e-6
# Relative, of steps that are called equal.
_REGULAR = 1e-6


def number_of_bins(duration: float, bin_width: float) -> int:
    """Complete bins in a duration; a last bin that is complete but for rounding counts."""
    return int(np.floor(duration / bin_width + ROUNDING))


def bin_edges(start: float, bin_width: float, num_bins: int) -> np.ndarray:
    """Edges [num_bins + 1] of the half-open bins [start + t bin_width, start + (t + 1) bin_width)."""
    return start + bin_width * np.arange(num_bins + 1)


def first_of_bins(times: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """For each edge of equal bins, the index of the first of the sorted `times` at or after it; a time on an edge but for rounding is at it."""
    return np.searchsorted(times, _lowered(edges))


def spike_counts(spikes: Sequence[np.ndarray], edges: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Spike counts [time, neuron] of each sequence.

    Args:
        spikes: times of each neuron, in any order.
        edges: edges of the bins of each sequence, equally spaced; sequences may overlap.

    Example:
        >>> import numpy as np
        >>> from latentgate.data.binning import bin_edges, spike_counts
        >>> spike_counts([np.array([0.31, 0.1, 0.2])], [bin_edges(0.1, 0.1, 2)])[0].tolist()
        [[1.0], [1.0]]
    """
    # All sequences in one search: many short trials would otherwise cost a call for each trial and neuron.
    bounds = np.concatenate([_lowered(edge) for edge in edges])
    last = np.cumsum([len(edge) for edge in edges]) - 1
    counts = np.empty((len(bounds) - len(edges), len(spikes)))
    for column, times in enumerate(spikes):
        counts[:, column] = np.delete(np.diff(np.searchsorted(np.sort(times), bounds)), last[:-1])
    return np.split(counts, np.cumsum([len(edge) - 1 for edge in edges])[:-1])


def _lowered(edges: np.ndarray) -> np.ndarray:
    """Edges of equal bins, so little lower that a time on an edge but for rounding is above it."""
    return edges - ROUNDING * (edges[1] - edges[0])


def events_within(times: np.ndarray, starts: Sequence[float] | np.ndarray, ends: Sequence[float] | np.ndarray) -> list[np.ndarray]:
    """The times that fall into each interval [start, end), in order, from its start."""
    ordered = np.sort(times)
    return [ordered[(ordered >= start) & (ordered < end)] - start for start, end in zip(starts, ends, strict=True)]


def sample_means(times: np.ndarray, values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean of the samples in each bin, the line between neighbouring samples at the centre of a bin without any, [time, column].

    Args:
        times: [sample], s, increasing.
        values: [sample, column], NaN where a sample is missing.
        edges: [time + 1].

    Returns:
        NaN where a bin has no samples and lies beyond the record of a column.
    """
    centres = 0.5 * (edges[1:] + edges[:-1])
    means = np.empty((len(centres), values.shape[1]))
    for column in range(values.shape[1]):
        known = ~np.isnan(values[:, column])
        when, what = times[known], values[known, column]
        if not when.size:
            means[:, column] = np.nan
            continue
        first = first_of_bins(when, edges)
        counts = np.diff(first)
        sums = np.bincount(np.repeat(np.arange(len(centres)), counts), what[first[0] : first[-1]], minlength=len(centres))
        between = np.interp(centres, when, what, left=np.nan, right=np.nan)
        means[:, column] = np.where(counts > 0, sums / np.maximum(counts, 1), between)
    return means


def regular_step(times: Sequence[Any]) -> float | None:
    """The step that separates neighbouring times in all sequences (to a millionth of it), or None; None too where no sequence has two times."""
    steps = np.concatenate([np.diff(np.asarray(row, float)) for row in times])
    if not steps.size or not (steps > 0).all():
        return None
    # The whole span over its steps has the least rounding.
    longest = max((np.asarray(row, float) for row in times), key=len)
    step = float((longest[-1] - longest[0]) / (len(longest) - 1))
    scale = max(float(np.abs(row).max()) for row in map(np.asarray, times) if len(row))
    return step if (np.abs(steps - step) <= _REGULAR * step + 4 * np.spacing(scale)).all() else None
