"""States over time with event marks, and how much time each condition spends in each state."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.colours import INK, axes_or_new, bare, state_colours, state_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from latentgate.data import Sequences

# About as many as a picture of usual width has pixels to show.
_MAX_COLUMNS = 1000
_MARKS = ("v", "o", "s", "D", "^", "P", "X", "*")


def states_over_time(
    states: Any,
    data: Sequences,
    *,
    sequences: Many[int] | None = None,
    by: str | None = None,
    num_states: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """States of several sequences, one row each, with marks at their events.

    Args:
        states: most probable states, integers [sequence, time], drawn as coloured rows; or state probabilities [sequence, time, state], drawn as
            stacked bands. Padding (-1, NaN) stays white.
        data: the sequences, for their bin width, events and labels. Without a bin width the time axis counts steps, and events are left out.
        sequences: which ones, from top to bottom; None for all.
        by: name of a label of `data`; rows are grouped by it, and the groups are named at the left.
        num_states: number of colours in the legend; by default, what `states` shows.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: if `states` is not of the data's shape, or `by` is no label.

    Example:
        >>> import latentgate as lg
        >>> data = lg.load("simulated_insula")
        >>> axes = states_over_time(0 * data.values[:, :, 0].astype(int), data, by="rewarded")
        >>> axes.get_xlabel()
        'time in trial (s)'
    """
    states = np.asarray(states)
    if states.ndim not in (2, 3) or states.shape[:2] != data.values.shape[:2]:
        raise ValueError(f"states: found shape {states.shape}, expected {data.values.shape[:2]}, or that and a state axis, to fit the data.")
    if by is not None and by not in data.labels:
        raise ValueError(f"by: found {by!r}, expected a label of the data: {', '.join(map(repr, data.labels)) or 'there is none'}.")
    shown = states.shape[2] if states.ndim == 3 else int(states.max()) + 1
    colours = state_colours(shown if num_states is None else num_states)
    rows = np.arange(data.num_sequences) if sequences is None else np.atleast_1d(np.asarray(sequences))
    if by is not None:
        rows = rows[np.argsort(~data.labels[by][rows] if data.labels[by].dtype == bool else data.labels[by][rows], kind="stable")]
    ax = axes_or_new(ax, 9.0, float(np.clip(1.6 + 0.11 * len(rows), 2.4, 9.0)))
    width = 1.0 if data.bin_width is None else data.bin_width
    longest = int(np.asarray(data.lengths)[rows].max())
    if states.ndim == 2:
        _draw_rows(ax, states[rows, :longest], colours, longest * width)
    else:
        _draw_bands(ax, states[rows, :longest], colours, width)
    if data.bin_width is not None:
        _draw_events(ax, data, rows)
    ax.set(xlim=(0, longest * width), ylim=(len(rows), 0), yticks=[])
    ax.set_xlabel("time (steps)" if data.bin_width is None else "time in trial (s)")
    ax.set_ylabel(f"{len(rows)} trials" if by is None else "")
    if by is not None:
        _name_groups(ax, by, data.labels[by][rows])
    bare(ax)
    _name_marks(ax, colours)
    return ax


def _draw_rows(ax: Axes, states: np.ndarray, colours: np.ndarray, duration: float) -> None:
    # One column of pixels may have to cover several steps: it shows the state that most of them have, padding (-1) included.
    merged = -(-states.shape[1] // _MAX_COLUMNS)
    blocks = np.pad(states, ((0, 0), (0, -states.shape[1] % merged)), constant_values=-1)
    duration *= blocks.shape[1] / states.shape[1]
    blocks = blocks.reshape(len(blocks), -1, merged, 1)
    most = (blocks == np.append(np.arange(len(colours)), -1)).sum(2).argmax(-1)
    pixels = np.concatenate([colours, np.ones((1, 3))])[most]
    ax.imshow(pixels, extent=(0, duration, len(states), 0), aspect="auto", interpolation="nearest")
    for row in range(1, len(states)):
        ax.axhline(row, color="white", linewidth=0.6)


def _draw_bands(ax: Axes, probabilities: np.ndarray, colours: np.ndarray, width: float) -> None:
    edges = np.arange(probabilities.shape[1] + 1) * width
    for row, values in enumerate(probabilities):
        # A row fills nine tenths of its height, so that neighbouring trials stay apart.
        tops = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
        levels = row + 0.95 - 0.9 * np.concatenate([tops, tops[-1:]])
        for state in range(probabilities.shape[2]):
            ax.fill_between(edges, levels[:, state], levels[:, state + 1], color=colours[state], linewidth=0, step="post")


def _draw_events(ax: Axes, data: Sequences, rows: np.ndarray) -> None:
    size = 22.0 if len(rows) <= 30 else 10.0
    for mark, (name, times) in zip(_MARKS, data.events.items(), strict=False):
        where = [(time, row + 0.5) for row, sequence in enumerate(rows) for time in times[sequence]]
        if where:
            x, y = np.array(where).T
            ax.scatter(x, y, size, color=INK, edgecolor="white", linewidth=0.6, marker=mark, label=name, zorder=3)


def _name_marks(ax: Axes, colours: np.ndarray) -> None:
    from matplotlib.patches import Patch

    states = [Patch(color=colour, label=name) for colour, name in zip(colours, state_names(len(colours)), strict=True)]
    handles = states + ax.get_legend_handles_labels()[0]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=8, frameon=False, fontsize="small", handlelength=1.0)


def _name_groups(ax: Axes, by: str, labels: np.ndarray) -> None:
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))
    ends = np.append(starts[1:], len(labels))
    for start, end in zip(starts, ends, strict=True):
        text = f"{_group_name(by, labels[start])}\n({end - start})"
        place = ax.get_yaxis_transform()
        ax.text(-0.012, (start + end) / 2, text, transform=place, ha="right", va="center", rotation=90, multialignment="center")
        if start:
            ax.axhline(float(start), color=INK, linewidth=1.5)


def _group_name(by: str, value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return by if value else f"not {by}"
    return f"{by} {value}"


def occupancy(occupied: Any, labels: Any, *, name: str = "True", other_name: str = "False", ax: Axes | None = None) -> Axes:
    """Share of time in each state in two conditions, one point a trial, with the means.

    Args:
        occupied: [sequence, state], for instance from `latentgate.comparison.occupancy`.
        labels: boolean [sequence].
        name: of the condition where `labels` is True (filled points).
        other_name: of the other one (open points).
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: if `labels` is not one boolean a sequence.
    """
    occupied, labels = np.asarray(occupied), np.asarray(labels)
    if occupied.ndim != 2 or labels.shape != occupied.shape[:1] or labels.dtype != bool:
        raise ValueError(f"labels: found shape {labels.shape} and dtype {labels.dtype}, expected one boolean for each of {len(occupied)} sequences.")
    num_states = occupied.shape[1]
    ax = axes_or_new(ax, 1.6 + 1.3 * num_states, 3.4)
    # The spread of the points across means nothing; a fixed seed keeps pictures the same.
    scatter = np.random.default_rng(0).uniform(-0.11, 0.11, size=len(occupied))
    for state, colour in enumerate(state_colours(num_states)):
        for side, group, face in ((-0.2, labels, colour), (0.2, ~labels, "white")):
            values = occupied[group, state]
            ax.scatter(state + side + scatter[group], values, 16, facecolor=face, edgecolor=colour, linewidth=0.8, alpha=0.75, zorder=2)
            if len(values):
                ax.hlines(values.mean(), state + side - 0.16, state + side + 0.16, color=INK, linewidth=2.2, zorder=3)
    for face, label in ((INK, name), ("white", other_name)):
        ax.scatter([], [], 22, facecolor=face, edgecolor=INK, label=label)
    ax.plot([], [], color=INK, linewidth=2.2, label="mean")
    ax.set(xticks=range(num_states), xticklabels=state_names(num_states), xlim=(-0.5, num_states - 0.5), ylim=(0, None), ylabel="share of time")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, frameon=False, fontsize="small")
    bare(ax)
    return ax
