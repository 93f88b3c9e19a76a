"""Nodes and arrows that graphs of states are drawn with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.axes import axes_or_new
from latentgate.plotting.colours import GREY, INK, state_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RADIUS = 0.16
# Of the lines: between the smallest number that is drawn and the largest.
_THINNEST, _THICKEST = 0.7, 5.0
# How far, in node radii, an edge keeps to its right of the straight line between two nodes, so that one there and one back stay apart.
_ASIDE = 0.36
_MARGIN = 2.6 * _RADIUS
# Where the ends of a loop meet the rim, to both sides of its middle; how far from the middle of the node its label stands, and what room that takes.
_LOOP_HALF_ANGLE = np.deg2rad(38.0)
_LOOP_REACH = 2.35 * _RADIUS
_LABEL_ROOM = np.array([0.28, 0.16])
# To a unit of distance; edges of many states cross, and their numbers need more room.
_INCHES, _INCHES_OF_MANY, _MANY = 2.2, 2.8, 4
# Behind numbers, so that they can be read where they lie on edges.
_HALO = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}


def places_of(positions: Any, num_states: int) -> np.ndarray:
    """Checked positions [state, 2], or places on a circle.

    Raises:
        ValueError: for positions of another shape.
    """
    places = _circle(num_states) if positions is None else np.asarray(positions, float)
    if places.shape != (num_states, 2):
        raise ValueError(f"positions: found shape {places.shape}, expected ({num_states}, 2), one row a state.")
    return places


def canvas(ax: Any, places: np.ndarray, loops: np.ndarray | None = None) -> Axes:
    """Axes without a frame, in which all nodes have room, and so have loops at the states where there are some, [state]."""
    points = [places - _MARGIN, places + _MARGIN]
    if loops is not None:
        ends = places + _LOOP_REACH * _outwards(places)
        points += [(ends - _LABEL_ROOM)[loops], (ends + _LABEL_ROOM)[loops]]
    low, high = np.concatenate(points).min(0), np.concatenate(points).max(0)
    scale = _INCHES if len(places) < _MANY else _INCHES_OF_MANY
    width, height = (0.4 + scale * (high - low)).clip(2.0, 9.0)
    # As wide as the note above.
    ax = axes_or_new(ax, float(width) if loops is None else max(float(width), 4.4), float(height))
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.set_axis_off()
    return ax


def widths_of(values: np.ndarray) -> np.ndarray:
    """Widths of arrows, growing with the logarithm."""
    if not values.size:
        return values
    logs = np.log(values)
    # Beyond three orders of magnitude below the largest all are equally thin.
    share = np.clip(1 + (logs - logs.max()) / np.log(1e3), 0.0, 1.0)
    return _THINNEST + (_THICKEST - _THINNEST) * share


def draw_edges(ax: Axes, places: np.ndarray, matrix: np.ndarray, smallest: float, label_of: Any) -> np.ndarray:
    """An arrow for each entry off the diagonal that is positive and at least `smallest`; whether anything leaves each state, [state]."""
    num_states = len(matrix)
    drawn = [(int(i), int(j)) for i, j in np.argwhere(~np.eye(num_states, dtype=bool)) if matrix[i, j] > 0 and matrix[i, j] >= smallest]
    widths = widths_of(np.array([matrix[edge] for edge in drawn]))
    for (i, j), width in zip(drawn, widths, strict=True):
        _draw_edge(ax, places[i], places[j], float(width), label_of(i, j), None if (j, i) in drawn else places.mean(0))
    return np.array([any(i == state for i, _ in drawn) for state in range(num_states)])


def draw_nodes(ax: Axes, places: np.ndarray, names: list[str], absorbing: np.ndarray) -> None:
    """A node for each state in its colour, a square where it is absorbing."""
    from matplotlib.patches import Circle, Rectangle

    for (x, y), name, colour, square in zip(places.tolist(), names, state_colours(len(names)), absorbing, strict=True):
        face = (float(colour[0]), float(colour[1]), float(colour[2]))
        if square:
            corner, side = (x - _RADIUS, y - _RADIUS), 2 * _RADIUS
            ax.add_patch(Rectangle(corner, side, side, facecolor=face, edgecolor=INK, linewidth=1.6, zorder=3))
        else:
            ax.add_patch(Circle((x, y), _RADIUS, facecolor=face, edgecolor="white", linewidth=1.0, zorder=3))
        light = colour @ np.array([0.299, 0.587, 0.114]) > 0.6
        size = "small" if len(name) <= 5 else "x-small" if len(name) <= 7 else "xx-small"
        ax.text(x, y, name, ha="center", va="center", fontsize=size, fontweight="bold", color=INK if light else "white", zorder=4)


def draw_loop(ax: Axes, places: np.ndarray, state: int, width: float, label: str) -> None:
    """An arrow from a state to itself on the side away from the other states, with its label beyond."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    outwards = _outwards(places)[state]
    middle = float(np.arctan2(outwards[1], outwards[0]))
    rim = 1.1 * _RADIUS
    tail, head = (places[state] + rim * np.array([np.cos(middle + turn), np.sin(middle + turn)]) for turn in (_LOOP_HALF_ANGLE, -_LOOP_HALF_ANGLE))
    reach = 1.5 * _RADIUS
    sides = [end + reach * np.array([np.cos(middle + turn), np.sin(middle + turn)]) for end, turn in ((tail, 0.55), (head, -0.55))]
    curve = Path([tuple(map(float, point)) for point in (tail, *sides, head)], [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4])
    ax.add_patch(
        FancyArrowPatch(path=curve, arrowstyle=f"-|>,head_length={3 + width},head_width={1.5 + 0.6 * width}", color=GREY, linewidth=width, shrinkA=0, shrinkB=0)
    )
    x, y = places[state] + _LOOP_REACH * outwards
    across, upright = _alignment(outwards)
    ax.text(float(x), float(y), label, ha=across, va=upright, fontsize="small", color=INK, linespacing=1.0, zorder=2)


def _outwards(places: np.ndarray) -> np.ndarray:
    """Directions away from the middle of all places, [state, 2]; upwards from the middle itself."""
    away = places - places.mean(0)
    lengths = np.linalg.norm(away, axis=1, keepdims=True)
    return np.where(lengths > 1e-9, away / np.where(lengths > 1e-9, lengths, 1.0), [0.0, 1.0])


def _circle(num_states: int) -> np.ndarray:
    """Places on a circle on which neighbours are a unit apart, clockwise from the left."""
    if num_states == 1:
        return np.zeros((1, 2))
    angles = np.pi - 2 * np.pi * np.arange(num_states) / num_states
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) / (2 * np.sin(np.pi / num_states))


def _alignment(direction: np.ndarray) -> tuple[str, str]:
    """How a text is aligned that stands in this direction from its point."""
    across = "left" if direction[0] > 0.4 else "right" if direction[0] < -0.4 else "center"
    return across, "bottom" if direction[1] > 0.4 else "top" if direction[1] < -0.4 else "center"


def _draw_edge(ax: Axes, start: np.ndarray, end: np.ndarray, width: float, label: str, middle: np.ndarray | None) -> None:
    """An arrow with its label; `middle` is that of all nodes, for an edge without one back, whose label stands on the side away from it."""
    from matplotlib.patches import FancyArrowPatch

    along = (end - start) / np.linalg.norm(end - start)
    right = np.array([along[1], -along[0]])
    shift = (_ASIDE if middle is None else 0.0) * _RADIUS * right
    # The head must not hide in the node: both ends stop at its rim.
    rim = _RADIUS * 1.08
    tail, head = start + shift + rim * along, end + shift - rim * along
    arrow = FancyArrowPatch(
        (float(tail[0]), float(tail[1])),
        (float(head[0]), float(head[1])),
        arrowstyle=f"simple,head_length={4 + 1.3 * width},head_width={4 + 1.6 * width},tail_width={width}",
        color=GREY,
        linewidth=0,
        shrinkA=0,
        shrinkB=0,
        zorder=1,
    )
    ax.add_patch(arrow)
    # Of two edges there and back each on its own side; nearer the tail than the head, so that numbers of edges that cross keep apart.
    side = right if middle is None or right @ (0.5 * (start + end) - middle) > -1e-9 else -right
    x, y = tail + 0.42 * (head - tail) + (0.018 + 0.005 * width) * side
    across, upright = _alignment(side)
    ax.text(float(x), float(y), label, ha=across, va=upright, fontsize="small", color=INK, linespacing=0.95, bbox=_HALO, zorder=2)
