"""Markov jump processes: the graph of rates, prevalence over time, one sequence between its observations."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.colours import INK, PALE, axes_or_new, bare, state_colours, state_names

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from latentgate.data import Sequences
    from latentgate.data.jump_processes import JumpPath

_NODE_RADIUS = 0.16
# Of the lines: between the slowest rate that is drawn and the fastest.
_THINNEST, _THICKEST = 0.7, 5.0
# How far, in node radii, an edge keeps to its right of the straight line between two nodes, so that one there and one back stay apart.
_ASIDE = 0.36


def generator_graph(
    rates: Any,
    intervals: Any = None,
    *,
    names: Many[str] | None = None,
    positions: Any = None,
    smallest: float = 0.0,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A generator as a graph: states as nodes, edges as arrows whose width grows with the logarithm of the rate, with the numbers beside them.

    A state that nothing leaves is a square.

    Args:
        rates: [state, state] rates per unit of time, from row to column; the diagonal is not looked at. The `generator` of
            `latentgate.jump_processes.quantities` with its dimension `statistic` brings its own intervals.
        intervals: [2, state, state], lower and upper ends, or None.
        names: of the states; their numbers if None.
        positions: [state, 2] of the nodes, the distance of neighbours about one; on a circle, the first state leftmost, if None.
        smallest: rates below it are left out.
        unit: of time, for a note such as "rates per month".
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for arrays of another shape, or another number of names.

    Example:
        >>> import numpy as np
        >>> axes = generator_graph(np.array([[0.0, 2.0], [0.0, 0.0]]), names=["ill", "dead"])
        >>> [text.get_text() for text in axes.texts]
        ['2', 'ill', 'dead']
    """
    matrix, ends = _rates_and_ends(rates, intervals)
    num_states = len(matrix)
    names = [str(state) for state in range(num_states)] if names is None else list(names)
    if len(names) != num_states:
        raise ValueError(f"names: found {len(names)}, expected {num_states}, one a state.")
    places = _circle(num_states) if positions is None else np.asarray(positions, float)
    if places.shape != (num_states, 2):
        raise ValueError(f"positions: found shape {places.shape}, expected ({num_states}, 2), one row a state.")
    span = np.ptp(places, axis=0)
    ax = axes_or_new(ax, *(1.2 + 2.0 * span).clip(2.2, 9.0))
    drawn = [(int(i), int(j)) for i, j in np.argwhere(~np.eye(num_states, dtype=bool)) if matrix[i, j] > 0 and matrix[i, j] >= smallest]
    widths = _widths(np.array([matrix[edge] for edge in drawn]))
    for (i, j), width in zip(drawn, widths, strict=True):
        label = _number(matrix[i, j], 3)
        if ends is not None:
            label += f"\n{_number(ends[0, i, j])}–{_number(ends[1, i, j])}"
        _draw_edge(ax, places[i], places[j], float(width), _ASIDE if (j, i) in drawn else 0.0, label)
    left = np.array([any(i == state for i, _ in drawn) for state in range(num_states)])
    for state, colour in enumerate(state_colours(num_states)):
        _draw_node(ax, places[state], names[state], colour, absorbing=not left[state])
    low, high = places.min(0) - 2.6 * _NODE_RADIUS, places.max(0) + 2.6 * _NODE_RADIUS
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.set_axis_off()
    if unit is not None:
        note = f"rates per {unit}" + ("" if ends is None else ", with intervals below") + ("" if left.all() else "; square: absorbing")
        ax.set_title(note, fontsize="small", color=INK)
    return ax


def _rates_and_ends(rates: Any, intervals: Any) -> tuple[np.ndarray, np.ndarray | None]:
    if intervals is None and "statistic" in getattr(rates, "dims", ()):
        rates, intervals = rates.sel(statistic="estimate"), rates.sel(statistic=["lower", "upper"]).transpose("statistic", ...)
    matrix = np.asarray(rates, float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"rates: found shape {matrix.shape}, expected [state, state], or the same with a dimension statistic.")
    if intervals is None:
        return matrix, None
    ends = np.asarray(intervals, float)
    if ends.shape != (2, *matrix.shape):
        raise ValueError(f"intervals: found shape {ends.shape}, expected {(2, *matrix.shape)}: lower and upper ends.")
    return matrix, ends


def _number(value: float, digits: int = 2) -> str:
    if np.isnan(value):
        return "?"
    # Powers of ten would be longer than the zeros they save.
    rounded = f"{value:.{digits}g}"
    return "∞" if np.isinf(value) else f"{float(rounded):.0f}" if 10**digits <= abs(value) < 1e6 else rounded


def _circle(num_states: int) -> np.ndarray:
    """Places on a circle on which neighbours are a unit apart, clockwise from the left."""
    if num_states == 1:
        return np.zeros((1, 2))
    angles = np.pi - 2 * np.pi * np.arange(num_states) / num_states
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) / (2 * np.sin(np.pi / num_states))


def _widths(rates: np.ndarray) -> np.ndarray:
    if not rates.size:
        return rates
    logs = np.log(rates)
    # Beyond three orders of magnitude below the fastest all are equally thin.
    share = np.clip(1 + (logs - logs.max()) / np.log(1e3), 0.0, 1.0)
    return _THINNEST + (_THICKEST - _THINNEST) * share


def _draw_edge(ax: Axes, start: np.ndarray, end: np.ndarray, width: float, aside: float, label: str) -> None:
    from matplotlib.patches import FancyArrowPatch

    along = (end - start) / np.linalg.norm(end - start)
    right = np.array([along[1], -along[0]])
    shift = aside * _NODE_RADIUS * right
    # The head must not hide in the node: both ends stop at its rim.
    rim = _NODE_RADIUS * 1.08
    tail, head = start + shift + rim * along, end + shift - rim * along
    arrow = FancyArrowPatch(
        (float(tail[0]), float(tail[1])),
        (float(head[0]), float(head[1])),
        arrowstyle=f"simple,head_length={4 + 1.3 * width},head_width={4 + 1.6 * width},tail_width={width}",
        color="#8C8C8C",
        linewidth=0,
        shrinkA=0,
        shrinkB=0,
        zorder=1,
    )
    ax.add_patch(arrow)
    # On the outer side, and nearer the tail than the head, so that numbers of edges that cross keep apart.
    x, y = tail + 0.42 * (head - tail) + (0.018 + 0.005 * width) * right
    across = "left" if right[0] > 0.4 else "right" if right[0] < -0.4 else "center"
    upright = "bottom" if right[1] > 0.4 else "top" if right[1] < -0.4 else "center"
    ax.text(float(x), float(y), label, ha=across, va=upright, fontsize="small", color=INK, linespacing=0.95, zorder=2)


def _draw_node(ax: Axes, place: np.ndarray, name: str, colour: np.ndarray, absorbing: bool) -> None:
    from matplotlib.patches import Circle, Rectangle

    x, y = float(place[0]), float(place[1])
    if absorbing:
        corner, side = (x - _NODE_RADIUS, y - _NODE_RADIUS), 2 * _NODE_RADIUS
        node = Rectangle(corner, side, side, facecolor=tuple(colour), edgecolor=INK, linewidth=1.6, zorder=3)
    else:
        node = Circle((x, y), _NODE_RADIUS, facecolor=tuple(colour), edgecolor="white", linewidth=1.0, zorder=3)
    ax.add_patch(node)
    light = colour @ np.array([0.299, 0.587, 0.114]) > 0.6
    ax.text(x, y, name, ha="center", va="center", fontsize="small", fontweight="bold", color=INK if light else "white", zorder=4)


def prevalence(counts: xr.Dataset, *, names: Many[str] | None = None, unit: str | None = None, ax: Many[Axes] | None = None) -> list[Axes]:
    """Share of the subjects under observation in each state over time, as the data have it (steps) and as the model expects it (dashed), a panel a state.

    Time is measured from each subject's first row.

    Args:
        counts: from `latentgate.jump_processes.prevalence`.
        names: of the states.
        unit: of time.
        ax: one axes a state; None makes a figure.

    Returns:
        the axes of the states.

    Raises:
        ValueError: for a dataset without `observed` and `expected`, or another number of axes or names than states.
    """
    missing = [name for name in ("observed", "expected", "at_risk") if name not in counts]
    if missing:
        raise ValueError(f"counts: found no {missing[0]!r}, expected the dataset that latentgate.jump_processes.prevalence returns.")
    num_states = counts.sizes["state"]
    names = state_names(num_states) if names is None else list(names)
    panels = _panels(num_states) if ax is None else list(np.ravel(np.asarray(ax, dtype=object)))
    for what, found in (("names", len(names)), ("ax", len(panels))):
        if found != num_states:
            raise ValueError(f"{what}: found {found}, expected {num_states}, one a state.")
    at_risk = counts["at_risk"].values
    times = counts["time"].values[at_risk > 0]
    shares = {which: 100 * counts[which].values[at_risk > 0] / at_risk[at_risk > 0, None] for which in ("observed", "expected")}
    for state, (panel, colour) in enumerate(zip(panels, state_colours(num_states), strict=True)):
        panel.step(times, shares["observed"][:, state], where="mid", color=colour, linewidth=2.2, label="observed")
        panel.plot(times, shares["expected"][:, state], color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label="expected")
        panel.set(title=names[state], ylim=(0, 100), xlim=(times[0], times[-1]), xlabel=_time_label("time", unit))
        panel.tick_params(labelleft=state == 0)
        bare(panel)
    panels[0].set_ylabel("per cent of subjects")
    panels[0].legend(frameon=False, fontsize="small")
    return panels


def _panels(num_states: int) -> list[Axes]:
    from matplotlib import pyplot

    _, panels = pyplot.subplots(1, num_states, figsize=(1.0 + 2.2 * num_states, 2.6), layout="constrained", squeeze=False, sharey=True)
    return list(panels[0])


def jump_paths(
    paths: Many[JumpPath],
    data: Sequences | None = None,
    *,
    sequence: int = 0,
    observations: Any = None,
    names: Many[str] | None = None,
    num_states: int | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Paths of one sequence as steps through its states, drawn faintly over each other, with the observations as points in front.

    Args:
        paths: of one sequence, for instance `[draw[3] for draw in latentgate.jump_processes.sample_paths(...)]` for sequence 3.
        data: the sequences, for the times of observations.
        sequence: which of them the paths are of.
        observations: states to be shown at the rows, [time], NaN for none (or a label that is no state); the feature "state", or the only feature, if None.
        names: of the states, from the lowest line up.
        num_states: K; as many as the paths and observations visit, if None.
        unit: of time.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: without paths, for observations of another length than the sequence, or another number of names than states.

    Example:
        >>> from latentgate.data.jump_processes import flashing_ratchet, simulate_jump_path
        >>> path = simulate_jump_path(0, flashing_ratchet(), initial=3, duration=2.5)
        >>> len(jump_paths([path]).lines)
        1
    """
    if not len(paths):
        raise ValueError("paths: found none, expected at least one path of the sequence.")
    times, seen = _observations(data, sequence, observations)
    visited = [*(int(path.states.max()) for path in paths), *seen[np.isfinite(seen)].astype(int)]
    num_states = max(visited) + 1 if num_states is None else num_states
    names = state_names(num_states) if names is None else list(names)
    if len(names) != num_states:
        raise ValueError(f"names: found {len(names)}, expected {num_states}, one a state.")
    ax = axes_or_new(ax, 7.5, 0.9 + 0.45 * num_states)
    # Each draw a hair aside of the others, so that many on one line look denser than one.
    asides = np.linspace(-0.16, 0.16, len(paths)) if len(paths) > 1 else np.zeros(1)
    strength = max(0.08, min(1.0, 2.5 / len(paths)))
    for path, aside in zip(paths, asides, strict=True):
        ax.step([*path.times, path.end], [*path.states + aside, path.states[-1] + aside], where="post", color="#0072B2", linewidth=0.9, alpha=strength)
    if times.size:
        ax.vlines(times, -0.5, num_states - 0.5, color=PALE, linewidth=0.6, zorder=1)
        colours = state_colours(num_states)
        known = np.isfinite(seen)
        ax.scatter(times[known], seen[known], 34, color=colours[seen[known].astype(int)], edgecolor="white", linewidth=0.8, zorder=4)
    end = max(path.end for path in paths)
    margin = 0.01 * (end - paths[0].times[0])
    ax.set(xlim=(paths[0].times[0] - margin, end + margin), ylim=(-0.5, num_states - 0.5), yticks=range(num_states), yticklabels=names)
    ax.set_xlabel(_time_label("time", unit))
    bare(ax)
    return ax


def _observations(data: Sequences | None, sequence: int, observations: Any) -> tuple[np.ndarray, np.ndarray]:
    """Times of the rows and the states to be shown there, NaN for none."""
    if data is None:
        if observations is not None:
            raise ValueError("observations: found some without data, expected data= with them, for their times.")
        return np.zeros(0), np.zeros(0)
    times, length = _times(data, sequence)
    if observations is None:
        known = data.names or ()
        column = known.index("state") if "state" in known else 0 if data.num_features == 1 else None
        seen = np.full(length, np.nan) if column is None else np.where(data.observed[sequence, :length, column], data.values[sequence, :length, column], np.nan)
    else:
        seen = np.asarray(observations, float)
    if seen.shape != (length,):
        raise ValueError(f"observations: found shape {seen.shape}, expected ({length},), one a row of sequence {sequence}.")
    return times, seen


def smoothed_states(
    probabilities: Any, data: Sequences, *, sequence: int = 0, names: Many[str] | None = None, unit: str | None = None, ax: Axes | None = None
) -> Axes:
    """Probabilities of the states of one sequence over time, stacked, with a tick below at each row that shows something.

    Between rows the probabilities are joined by straight lines: `latentgate.data.times.with_times` inserts rows where they bend.

    Args:
        probabilities: [sequence, time, state], from `fit.smooth(data)`.
        data: the sequences.
        sequence: which of them.
        names: of the states.
        unit: of time.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for probabilities of another shape than the data's, data without times, or another number of names than states.
    """
    values = np.asarray(probabilities, float)
    expected = (data.num_sequences, data.max_length)
    if values.ndim != 3 or values.shape[:2] != expected:
        raise ValueError(f"probabilities: found shape {values.shape}, expected ({expected[0]}, {expected[1]}, number of states).")
    times, length = _times(data, sequence)
    num_states = values.shape[2]
    names = state_names(num_states) if names is None else list(names)
    if len(names) != num_states:
        raise ValueError(f"names: found {len(names)}, expected {num_states}, one a state.")
    ax = axes_or_new(ax, 7.5, 2.2)
    ax.stackplot(times, values[sequence, :length].T, colors=list(state_colours(num_states)), labels=names, linewidth=0)
    shown = times[np.asarray(data.observed)[sequence, :length].any(-1)]
    ax.plot(shown, np.full(len(shown), -0.04), linestyle="none", marker="|", markersize=8, color=INK, clip_on=False, label="observed")
    ax.set(xlim=(times[0], times[-1]), ylim=(0, 1), ylabel="probability")
    ax.set_xlabel(_time_label("time", unit), labelpad=8)
    ax.tick_params(axis="x", pad=9)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=num_states + 1, frameon=False, fontsize="small", handlelength=1.0)
    bare(ax)
    return ax


def _times(data: Sequences, sequence: int) -> tuple[np.ndarray, int]:
    if data.times is None:
        raise ValueError("data: found no times, expected sequences with times; for steps of equal width use states_over_time.")
    length = int(data.lengths[sequence])
    return np.asarray(data.times)[sequence, :length], length


def _time_label(text: str, unit: str | None) -> str:
    return text if unit is None else f"{text} ({unit})"
