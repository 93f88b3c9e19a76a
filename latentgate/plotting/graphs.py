"""States as a graph: the rates of a Markov jump process, the transitions of a hidden Markov model."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.arguments import checked_names, square
from latentgate.plotting.colours import INK
from latentgate.plotting.graph_parts import canvas, draw_edges, draw_loop, draw_nodes, places_of, widths_of
from latentgate.plotting.texts import mean_stay, number, probability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Rows of probabilities in single precision sum to one this nearly.
_ROUNDING = 1e-3


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
        TypeError: for a fit in place of rates.
        ValueError: for arrays of another shape, or another number of names.

    Example:
        >>> import numpy as np
        >>> axes = generator_graph(np.array([[0.0, 2.0], [0.0, 0.0]]), names=["ill", "dead"])
        >>> [text.get_text() for text in axes.texts]
        ['2', 'ill', 'dead']
    """
    matrix, ends = _rates_and_ends(rates, intervals)
    num_states = len(matrix)
    names = checked_names(names, num_states, "state", [str(state) for state in range(num_states)])
    places = places_of(positions, num_states)

    def label(i: int, j: int) -> str:
        return number(matrix[i, j], 3) + ("" if ends is None else f"\n{number(ends[0, i, j])}–{number(ends[1, i, j])}")

    ax = canvas(ax, places)
    left = draw_edges(ax, places, matrix, smallest, label)
    draw_nodes(ax, places, names, ~left)
    if unit is not None:
        note = f"rates per {unit}" + ("" if ends is None else ", with intervals below") + ("" if left.all() else "; square: absorbing")
        ax.set_title(note, fontsize="small", color=INK)
    return ax


def transition_graph(
    probabilities: Any,
    *,
    bin_width: float | None = None,
    names: Many[str] | None = None,
    positions: Any = None,
    smallest: float = 0.001,
    ax: Axes | None = None,
) -> Axes:
    """A transition matrix as a graph: arrows whose width grows with the logarithm of the probability, and a loop at each state with its mean stay.

    A state that is never left is a square. `transition_matrix` shows the same numbers as a table.

    Args:
        probabilities: [state, state] of one step, from row to column: `fit.params["transition.probs"]`.
        bin_width: width of a step in s, for mean stays in s; in steps if None.
        names: of the states; their numbers if None.
        positions: [state, 2] of the nodes, the distance of neighbours about one; on a circle, the first state leftmost, if None.
        smallest: probabilities below it are left out.
        ax: axes to draw into; None makes a figure.

    Raises:
        TypeError: for a fit in place of its probabilities.
        ValueError: for another shape, rows that do not sum to one, or another number of names.

    Example:
        >>> import numpy as np
        >>> axes = transition_graph(np.array([[0.9, 0.1], [0.5, 0.5]]), bin_width=0.05)
        >>> [text.get_text() for text in axes.texts]
        ['.100', '.500', '.900\\n0.5 s', '.500\\n0.1 s', '0', '1']
    """
    matrix = square(probabilities, "probabilities", "fit.params['transition.probs'], [state, state]")
    if (matrix < 0).any() or not (np.abs(matrix.sum(1) - 1) < _ROUNDING).all():
        raise ValueError(f"probabilities: found rows that sum to {matrix.sum(1).round(4).tolist()}, expected one; rates belong to generator_graph.")
    num_states = len(matrix)
    names = checked_names(names, num_states, "state", [str(state) for state in range(num_states)])
    places = places_of(positions, num_states)
    stays = np.diagonal(matrix)
    shown = (stays > 0) & (stays >= smallest)
    ax = canvas(ax, places, shown)
    draw_edges(ax, places, matrix, smallest, lambda i, j: probability(float(matrix[i, j])))
    for state, width in zip(np.flatnonzero(shown), widths_of(stays[shown]), strict=True):
        # Stays are the thickest of all, and say little by it.
        draw_loop(ax, places, int(state), 0.5 * float(width), f"{probability(stays[state])}\n{mean_stay(stays[state], bin_width)}")
    draw_nodes(ax, places, names, stays >= 1)
    step = "a step" if bin_width is None else f"{number(1000 * bin_width, 3)} ms" if bin_width < 1 else f"{number(bin_width, 3)} s"
    note = f"transition probabilities in {step}; at loops the mean stay"
    below = (matrix > 0) & (matrix < smallest)
    ax.set_title(note + (f"; below {probability(smallest)} left out" if below.any() else ""), fontsize="small", color=INK)
    return ax


def _rates_and_ends(rates: Any, intervals: Any) -> tuple[np.ndarray, np.ndarray | None]:
    if intervals is None and "statistic" in getattr(rates, "dims", ()):
        rates, intervals = rates.sel(statistic="estimate"), rates.sel(statistic=["lower", "upper"]).transpose("statistic", ...)
    matrix = square(rates, "rates", "[state, state], or the same with a dimension statistic")
    if intervals is None:
        return matrix, None
    ends = np.asarray(intervals, float)
    if ends.shape != (2, *matrix.shape):
        raise ValueError(f"intervals: found shape {ends.shape}, expected {(2, *matrix.shape)}: lower and upper ends.")
    return matrix, ends
