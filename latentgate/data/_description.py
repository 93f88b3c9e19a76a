"""Sequences in a line."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import numpy as np

from latentgate.data.binning import regular_step


def describe(data: Any) -> str:
    """The representation of `Sequences`; of traced ones, or of a tree of something else in their shape, only what is safe to ask."""
    leaves = (data.values, data.observed, data.lengths)
    if any(isinstance(leaf, jax.core.Tracer) or not isinstance(leaf, (np.ndarray, jax.Array)) for leaf in leaves):
        return f"Sequences(values={data.values!r}, complete={data.complete})"
    lengths = np.asarray(data.lengths)
    shortest, longest = int(lengths.min()), int(lengths.max())
    steps = str(longest) if shortest == longest else f"{shortest}–{longest}"
    inputs = ", ".join(f"{name} ({width})" for name, width in data.num_inputs.items()) or "none"
    missing = 100 * (1 - np.asarray(data.observed).sum() / (lengths.sum() * data.num_features))
    counted = [
        f"{data.num_sequences} sequence{'s' * (data.num_sequences != 1)}",
        f"{steps} step{'s' * (steps != '1')}",
        f"{data.num_features} feature{'s' * (data.num_features != 1)}",
    ]
    if data.bin_width is not None:
        counted.append(f"bins of {data.bin_width:g} s ({lengths.sum() * data.bin_width:.6g} s in all)")
    return f"Sequences({', '.join(counted)}; inputs: {inputs}{_times(data)}; {missing:.1f} % missing)"


def _times(data: Any) -> str:
    if data.times is None:
        return ""
    rows = [row[:length] for row, length in zip(np.asarray(data.times), np.asarray(data.lengths), strict=True)]
    if max(map(len, rows)) < 2:
        return "; times"
    step = regular_step(rows)
    return "; irregular times" if step is None else f"; times every {step:g}"
