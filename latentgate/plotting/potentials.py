"""Langevin models on a grid: tuning curves over positions, and paths of single trials."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.arguments import checked_label, checked_names, checked_rows, checked_sequences, conditions, evenly, plain_array
from latentgate.plotting.axes import axes_or_new, bare, legend_above
from latentgate.plotting.colours import INK, PALE, state_colours
from latentgate.plotting.means import condition_means
from latentgate.plotting.texts import number, with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from latentgate.data import Sequences

_TICKS = (-1.0, -0.5, 0.0, 0.5, 1.0)
_MOST_PATHS = 40


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
        TypeError: for a fit in place of its rates.
        ValueError: for rates that do not fit the grid or the names, a grid that is not even, or an unknown order.

    Example:
        >>> import numpy as np
        >>> grid = np.linspace(-1, 1, 24)
        >>> tuning_curves(grid, np.exp(grid[:, None] * [1.0, -2.0]), names=["unit 3", "unit 8"]).get_xlabel()
        'position x'
    """
    grid, curves = plain_array(grid, "grid", "positions, [point]"), plain_array(rates, "rates", "fit.model.tuning_curves(fit.params)")
    steps = np.diff(grid) if grid.ndim == 1 else np.zeros(0)
    if not steps.size or not np.allclose(steps, steps.mean(), rtol=1e-3) or not steps.mean() > 0:
        raise ValueError(f"grid: found shape {grid.shape}, expected evenly spaced positions, [point], increasing.")
    if curves.ndim != 2 or len(curves) != len(grid):
        raise ValueError(f"rates: found shape {curves.shape}, expected ({len(grid)}, number of neurons).")
    names = checked_names(names, curves.shape[1], "neuron", [f"neuron {index}" for index in range(curves.shape[1])])
    if order not in ("peak", None):
        raise ValueError(f"order: found {order!r}, expected 'peak' or None.")
    rows = np.argsort(curves.argmax(0), kind="stable") if order == "peak" else np.arange(curves.shape[1])
    largest = curves.max(0)
    ax = axes_or_new(ax, 4.2, 0.9 + 0.22 * len(rows))
    step = steps.mean()
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
        ax.text(1.02, place, number(float(largest[neuron]), 3), transform=ax.get_yaxis_transform(), va="center", fontsize="small", color=INK)
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
        TypeError: for a fit in place of its paths.
        ValueError: for paths of another shape than the data's, data without times, an unknown label or alignment.
        IndexError: for sequences that there are none of.

    Example:
        >>> import numpy as np
        >>> import latentgate as lg
        >>> trials = lg.LangevinOnGrid.sequences([np.zeros((20, 3))] * 2, 0.05, labels={"went_right": [True, False]})
        >>> paths = np.linspace(0, 0.9, 21) * np.array([[1.0], [-1.0]])
        >>> [text.get_text() for text in position_paths(paths, trials, by="went_right").get_legend().get_texts()]
        ['went right', 'not went right']
    """
    checked_sequences(data)
    values = plain_array(paths, "paths", "fit.model.decision_variable(fit.params, data)")
    if values.shape != (data.num_sequences, data.max_length):
        raise ValueError(f"paths: found shape {values.shape}, expected ({data.num_sequences}, {data.max_length}), those of the data.")
    if data.times is None:
        raise ValueError("data: found no times, expected sequences with times.")
    if align not in ("start", "end"):
        raise ValueError(f"align: found {align!r}, expected 'start' or 'end'.")
    checked_label(by, data)
    shown = checked_rows(sequences, data, evenly(len(values), _MOST_PATHS))
    lengths = np.asarray(data.lengths)
    kinds, kind = conditions(by, data)
    zero = np.asarray(data.times)[np.arange(len(values)), np.where(align == "start", 0, lengths - 1)]
    times = np.asarray(data.times) - zero[:, None]
    ax = axes_or_new(ax, 5.2, 3.0)
    colours = state_colours(len(kinds))
    for index in shown:
        ax.plot(times[index, : lengths[index]], values[index, : lengths[index]], color=colours[kind[index]], linewidth=0.7, alpha=0.45)
    for which, name in enumerate(kinds):
        own = kind == which
        mean_times, mean = condition_means(times[own], values[own], lengths[own], align)
        ax.plot(mean_times, mean, color="white", linewidth=4.0, zorder=4)
        ax.plot(mean_times, mean, color=colours[which], linewidth=2.4, zorder=5, label=name)
    for end, position in zip(absorbing, (-1.0, 1.0), strict=True):
        ax.axhline(position, color=INK if end else PALE, linewidth=1.0, linestyle=(0, (2, 2)))
    if by is not None:
        legend_above(ax)
    origin = "the first row" if align == "start" else "the end"
    ax.set(ylim=(-1.08, 1.08), ylabel="position x", yticks=_TICKS, xlabel=with_unit(f"time from {origin}", unit))
    bare(ax)
    return ax
