"""What a fit holds: transitions as a table, held-out scores of several models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.arguments import square
from latentgate.plotting.axes import axes_or_new, bare, legend_above
from latentgate.plotting.colours import GREY, INK, state_colours
from latentgate.plotting.texts import mean_stay, probability

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def transition_matrix(probabilities: Any, *, bin_width: float | None = None, ax: Axes | None = None) -> Axes:
    """A transition matrix as a table and, given the width of a step, the mean stay in each state; `transition_graph` draws it as a graph.

    Args:
        probabilities: [state, state], from row to column.
        bin_width: width of a step in s, or None.
        ax: axes to draw into; None makes a figure.

    Raises:
        TypeError: for a fit in place of its probabilities.
        ValueError: for another shape.

    Example:
        >>> import numpy as np
        >>> transition_matrix(np.eye(2)).get_xlabel()
        'to state'
    """
    matrix = square(probabilities, "probabilities", "fit.params['transition.probs'], [state, state]")
    num_states = len(matrix)
    ax = axes_or_new(ax, 1.6 + 0.8 * num_states, 1.0 + 0.8 * num_states)
    ax.imshow(matrix, cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
    for row in range(num_states):
        for column in range(num_states):
            value = matrix[row, column]
            size = "small" if num_states < 6 else "x-small"
            ax.text(column, row, probability(value), ha="center", va="center", color="white" if value > 0.5 else INK, fontsize=size)
    ax.set(xticks=range(num_states), yticks=range(num_states), xlabel="to state", ylabel="from state")
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        for label, colour in zip(labels, state_colours(num_states), strict=True):
            label.set(color=colour, fontweight="bold")
    if bin_width is not None:
        for row, stay in enumerate(np.diagonal(matrix)):
            ax.text(num_states - 0.4, row, mean_stay(float(stay), bin_width), va="center", fontsize="small", color=INK)
        ax.text(num_states - 0.4, -0.5, "mean stay", va="center", fontsize="small", color=INK)
    return ax


def bits_per_spike(scores: Mapping[str, float], by_sequence: Mapping[str, Any] | None = None, *, ax: Axes | None = None) -> Axes:
    """Held-out bits per spike of several models; a homogeneous Poisson is zero.

    Args:
        scores: {model: bits per spike of all held-out sequences}.
        by_sequence: {model: [sequence]}, drawn as points beside the bars, joined across models for each sequence.
        ax: axes to draw into; None makes a figure.

    Raises:
        TypeError: for something else than a mapping.
        ValueError: if `by_sequence` names other models than `scores`, or has not as many sequences for each of them.

    Example:
        >>> bits_per_spike({"one state": 0.21, "three states": 0.34}, {"one state": [0.2, 0.22], "three states": [0.33, 0.35]}).get_ylabel()
        'held-out bits per spike'
    """
    for argument, value in (("scores", scores), ("by_sequence", by_sequence)):
        if value is not None and not (isinstance(value, Mapping) and value):
            raise TypeError(f"{argument}: found {value!r}, expected a mapping from the names of models, one at least.")
    if by_sequence is not None and set(by_sequence) != set(scores):
        raise ValueError(f"by_sequence: found the models {sorted(by_sequence)}, expected {sorted(scores)}.")
    points = None if by_sequence is None else [np.asarray(by_sequence[model], float) for model in scores]
    if points is not None and (points[0].ndim != 1 or len({point.shape for point in points}) > 1):
        raise ValueError(f"by_sequence: found shapes {[point.shape for point in points]}, expected one number a sequence, the same sequences for each model.")
    ax = axes_or_new(ax, 1.4 + 1.5 * len(scores), 3.4)
    values = list(scores.values())
    positions = np.arange(len(scores), dtype=float)
    ax.bar(positions, values, width=0.62, color="#A6C8DD", edgecolor="#0072B2", linewidth=1.0, zorder=1)
    if points is not None:
        ax.plot(positions, np.stack(points), color=GREY, linewidth=0.6, zorder=2)
        ax.scatter(np.repeat(positions, len(points[0])), np.concatenate(points), 9, color=INK, alpha=0.6, linewidth=0, zorder=3, label="one held-out trial")
        legend_above(ax)
    ax.axhline(0, color=INK, linewidth=1.0)
    ax.text(1.01, 0.0, "homogeneous\nPoisson", transform=ax.get_yaxis_transform(), va="center", fontsize="small")
    # The numbers stand below, where no point can cover them.
    names = [f"{model.replace(' ', chr(10), 1)}\n{value:.3f}" for model, value in scores.items()]
    ax.set(xticks=positions, xticklabels=names, ylabel="held-out bits per spike")
    bare(ax)
    return ax
