"""The graph of rates of a Markov jump process."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.colours import INK, axes_or_new, state_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
