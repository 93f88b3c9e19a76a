"""Langevin models on a grid: the potential, tuning curves over it, and paths of single trials."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.colours import INK, PALE, axes_or_new, bare, state_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from latentgate.data import Sequences

_TICKS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def potential(
    grid: Any, heights: Any, band: Any = None, *, absorbing: Many[bool] = (False, False), names: Many[str] | None = None, ax: Axes | None = None
) -> Axes:
    """A potential over its grid, or one for each condition, with credible bands.

    Args:
        grid: positions, [point].
        heights: Φ, [point] or [condition, point].
        band: lower and upper limits, each of the shape of `heights`; None for none.
        absorbing: whether the process ends at the first and at the last point; such an end is marked.
        names: of the conditions.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for arrays that do not fit the grid, or another number of names than conditions.

    Example:
        >>> import numpy as np
        >>> from latentgate import plotting
        >>> grid = np.linspace(-1, 1, 50)
        >>> plotting.potential(grid, grid**2).get_ylabel()
        'potential Φ'
    """
    grid, rows = np.asarray(grid, float), np.atleast_2d(np.asarray(heights, float))
    limits = None if band is None else [np.atleast_2d(np.asarray(limit, float)) for limit in band]
    for what, found in (("heights", rows), *(() if limits is None else (("band", limit) for limit in limits))):
        if found.shape != (len(rows), len(grid)):
            raise ValueError(f"{what}: found shape {found.shape}, expected ({len(rows)}, {len(grid)}), one number at each point of the grid.")
    if names is not None and len(names) != len(rows):
        raise ValueError(f"names: found {len(names)}, expected {len(rows)}, one a condition.")
    ax = axes_or_new(ax, 4.2, 3.0)
    for index, (row, colour) in enumerate(zip(rows, state_colours(len(rows)), strict=True)):
        if limits is not None:
            ax.fill_between(grid, limits[0][index], limits[1][index], color=colour, alpha=0.25, linewidth=0)
        ax.plot(grid, row, color=colour, linewidth=2.0, label=None if names is None else names[index])
    for end, position in zip(absorbing, (grid[0], grid[-1]), strict=True):
        if end:
            ax.axvline(position, color=INK, linewidth=1.0, linestyle=(0, (2, 2)))
    if names is not None:
        ax.legend(frameon=False, fontsize="small")
    ax.set(xlabel="position x", ylabel="potential Φ", xticks=_TICKS)
    bare(ax)
    return ax


def tuning_curves(grid: Any, rates: Any, *, names: Many[str] | None = None, order: str | None = "peak", unit: str = "Hz", ax: Axes | None = None) -> Axes:
    """Tuning curves as rows of an image, each over its largest rate, which is written beside it.

    Args:
        grid: positions, [point].
        rates: [point, neuron].
        names: of the neurons.
        order: "peak" to sort neurons by the position of their largest rate, None to leave them as they are.
        unit: of the rates.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for rates that do not fit the grid or the names, or an unknown order.
    """
    grid, curves = np.asarray(grid, float), np.asarray(rates, float)
    if curves.ndim != 2 or len(curves) != len(grid):
        raise ValueError(f"rates: found shape {curves.shape}, expected ({len(grid)}, number of neurons).")
    names = [f"neuron {index}" for index in range(curves.shape[1])] if names is None else list(names)
    if len(names) != curves.shape[1]:
        raise ValueError(f"names: found {len(names)}, expected {curves.shape[1]}, one a neuron.")
    if order not in ("peak", None):
        raise ValueError(f"order: found {order!r}, expected 'peak' or None.")
    rows = np.argsort(curves.argmax(0), kind="stable") if order == "peak" else np.arange(curves.shape[1])
    largest = curves.max(0)
    ax = axes_or_new(ax, 4.2, 0.9 + 0.22 * len(rows))
    step = grid[1] - grid[0]
    image = ax.imshow(
        (curves / np.where(largest > 0, largest, 1.0)).T[rows],
        aspect="auto",
        cmap="magma",
        vmin=0,
        vmax=1,
        extent=(grid[0] - step / 2, grid[-1] + step / 2, len(rows) - 0.5, -0.5),
        interpolation="none",
    )
    for place, neuron in enumerate(rows):
        ax.text(1.02, place, f"{largest[neuron]:.3g}", transform=ax.get_yaxis_transform(), va="center", fontsize="small", color=INK)
    ax.text(1.02, -0.9, unit, transform=ax.get_yaxis_transform(), va="center", fontsize="small", color=INK)
    ax.set(yticks=range(len(rows)), yticklabels=[names[neuron] for neuron in rows], xlabel="position x", xticks=_TICKS)
    ax.tick_params(length=0)
    ax.figure.colorbar(image, ax=ax, label="rate over the largest", pad=0.14)
    bare(ax)
    return ax


def position_paths(
    paths: Any,
    data: Sequences,
    *,
    sequences: Any = None,
    by: str | None = None,
    align: str = "start",
    absorbing: Many[bool] = (False, False),
    unit: str | None = "s",
    ax: Axes | None = None,
) -> Axes:
    """Paths of single trials over time, and their mean under each value of a label.

    Args:
        paths: positions, [sequence, time], from `model.decision_variable(fit.params, data)`; NaN at padding.
        data: the sequences, with times.
        sequences: which of them are drawn one by one: indices; up to forty, evenly spaced, if None. Means are over all.
        by: a label of the data, by which paths are coloured.
        align: "start" or "end": where time zero is.
        absorbing: whether the process ends at -1 and at 1; such an end is marked.
        unit: of time.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for paths of another shape than the data's, data without times, an unknown label or alignment.
    """
    values = np.asarray(paths, float)
    if values.shape != (data.num_sequences, data.max_length):
        raise ValueError(f"paths: found shape {values.shape}, expected ({data.num_sequences}, {data.max_length}), those of the data.")
    if data.times is None:
        raise ValueError("data: found no times, expected sequences with times.")
    if align not in ("start", "end"):
        raise ValueError(f"align: found {align!r}, expected 'start' or 'end'.")
    if by is not None and by not in data.labels:
        raise ValueError(f"by: found {by!r}, expected one of the labels {', '.join(map(repr, data.labels)) or '(there are none)'}.")
    lengths = np.asarray(data.lengths)
    shown = np.unique(np.linspace(0, len(values) - 1, min(len(values), 40)).astype(int)) if sequences is None else np.asarray(sequences, int)
    kinds, kind = np.unique(np.asarray(data.labels[by]), return_inverse=True) if by is not None else (np.zeros(1), np.zeros(len(values), int))
    zero = np.asarray(data.times)[np.arange(len(values)), np.where(align == "start", 0, lengths - 1)]
    times = np.asarray(data.times) - zero[:, None]
    ax = axes_or_new(ax, 5.2, 3.0)
    colours = state_colours(len(kinds))
    for index in shown:
        ax.plot(times[index, : lengths[index]], values[index, : lengths[index]], color=colours[kind[index]], linewidth=0.7, alpha=0.45)
    for which, name in enumerate(kinds):
        mean_times, mean = _mean(times[kind == which], values[kind == which], lengths[kind == which], align)
        label = None if by is None else (by.replace("_", " ") if name else f"not {by.replace('_', ' ')}") if kinds.dtype == bool else f"{by} {name}"
        ax.plot(mean_times, mean, color="white", linewidth=4.0, zorder=4)
        ax.plot(mean_times, mean, color=colours[which], linewidth=2.4, zorder=5, label=label)
    for end, position in zip(absorbing, (-1.0, 1.0), strict=True):
        ax.axhline(position, color=INK if end else PALE, linewidth=1.0, linestyle=(0, (2, 2)))
    if by is not None:
        ax.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(kinds))
    origin = "the first row" if align == "start" else "the end"
    ax.set(ylim=(-1.08, 1.08), ylabel="position x", yticks=_TICKS, xlabel=f"time from {origin}" + ("" if unit is None else f" ({unit})"))
    bare(ax)
    return ax


def _mean(times: np.ndarray, values: np.ndarray, lengths: np.ndarray, align: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean path, row by row from the start or the end, as far as half of the sequences go."""
    reach = int(np.median(lengths))
    place = np.arange(reach)
    index = np.broadcast_to(place, (len(lengths), reach)) if align == "start" else lengths[:, None] - reach + place
    real = (index >= 0) & (index < lengths[:, None])
    index = np.clip(index, 0, lengths[:, None] - 1)
    picked, when = (np.where(real, np.take_along_axis(array, index, 1), np.nan) for array in (values, times))
    return np.nanmean(when, 0), np.nanmean(picked, 0)
