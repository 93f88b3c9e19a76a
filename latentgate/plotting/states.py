"""States over time with event marks, and how much time each condition spends in each state."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.arguments import checked_label, checked_rows, checked_sequences, condition_name, plain_array
from latentgate.plotting.axes import axes_or_new, bare, legend_above
from latentgate.plotting.colours import INK, state_colours, state_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from latentgate.data import Sequences

# About as many as a picture of usual width has pixels to show.
_MAX_COLUMNS = 1000
# Of the names of groups, beside their rows if these are high enough.
_INCHES_A_LETTER = 0.085
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
        TypeError: for a fit, or the moments of latents, in place of states; for something else than `Sequences`.
        ValueError: if `states` is not of the data's shape or holds other numbers than states, if `by` is no label, or `num_states` is less than is shown.
        IndexError: for sequences that there are none of.

    Example:
        >>> import latentgate as lg
        >>> data = lg.load("simulated_insula")
        >>> axes = states_over_time(0 * data.values[:, :, 0].astype(int), data, by="rewarded")
        >>> axes.get_xlabel()
        'time in trial (s)'
    """
    checked_sequences(data)
    values = plain_array(states, "states", "fit.most_probable_path(data) or fit.smooth(data)")
    expected = (data.num_sequences, data.max_length)
    if values.ndim not in (2, 3) or values.shape[:2] != expected:
        raise ValueError(f"states: found shape {values.shape}, expected {expected}, or that and a state axis, to fit the data.")
    if values.ndim == 2 and not (values == np.round(values)).all():
        raise ValueError("states: found fractions, expected whole numbers, the index of the state at each step, -1 at padding; or [sequence, time, state].")
    checked_label(by, data)
    rows = checked_rows(sequences, data, np.arange(data.num_sequences))
    found = values.shape[2] if values.ndim == 3 else int(values.max()) + 1
    if num_states is not None and num_states < found:
        raise ValueError(f"num_states: found {num_states}, expected at least {found}, as many as `states` shows.")
    colours = state_colours(max(found, 1) if num_states is None else num_states)
    if by is not None:
        rows = rows[np.argsort(~data.labels[by][rows] if data.labels[by].dtype == bool else data.labels[by][rows], kind="stable")]
    ax = axes_or_new(ax, 9.0, float(np.clip(1.6 + 0.11 * len(rows), 2.4, 9.0)))
    width = 1.0 if data.bin_width is None else data.bin_width
    longest = int(np.asarray(data.lengths)[rows].max())
    if values.ndim == 2:
        _draw_rows(ax, values[rows, :longest].astype(int), colours, longest * width)
    else:
        _draw_bands(ax, values[rows, :longest], colours, width)
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
    legend_above(ax, 8, handles=handles, handlelength=1.0)


def _name_groups(ax: Axes, by: str, labels: np.ndarray) -> None:
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))
    ends = np.append(starts[1:], len(labels))
    names = [condition_name(by, labels[start]) for start in starts]
    height = ax.get_window_extent().height / ax.figure.dpi
    upright = all(len(name) * _INCHES_A_LETTER < height * (end - start) / len(labels) for name, start, end in zip(names, starts, ends, strict=True))
    for name, start, end in zip(names, starts, ends, strict=True):
        place, turn = ax.get_yaxis_transform(), 90 if upright else 0
        ax.text(-0.012, (start + end) / 2, f"{name}\n({end - start})", transform=place, ha="right", va="center", rotation=turn, multialignment="center")
        if start:
            ax.axhline(float(start), color=INK, linewidth=1.5)


def occupancy(occupied: Any, labels: Any, *, name: str = "True", other_name: str = "False", ax: Axes | None = None) -> Axes:
    """Share of time in each state in two conditions, one point a trial, with the means.

    Args:
        occupied: [sequence, state], for instance from `latentgate.comparison.occupancy`.
        labels: boolean [sequence].
        name: of the condition where `labels` is True (filled points).
        other_name: of the other one (open points).
        ax: axes to draw into; None makes a figure.

    Raises:
        TypeError: for a fit in place of shares.
        ValueError: if `labels` is not one boolean a sequence.

    Example:
        >>> import numpy as np
        >>> axes = occupancy([[0.2, 0.8], [0.7, 0.3]], np.array([True, False]), name="rewarded", other_name="not rewarded")
        >>> axes.get_ylabel()
        'share of time'
    """
    occupied, labels = plain_array(occupied, "occupied", "latentgate.comparison.occupancy(fit.smooth(data))"), np.asarray(labels)
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
    legend_above(ax)
    bare(ax)
    return ax
