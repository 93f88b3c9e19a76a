"""What a fit is worth: transitions, the course of every restart, held-out scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.colours import INK, PALE, axes_or_new, bare, state_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from latentgate.inference import Fit

_HIGHLIGHT = "#D55E00"
# Below one nat the distance to the best is drawn to scale, above it on a logarithm.
_LINEAR_NATS = 1.0


def transition_matrix(probabilities: Any, *, bin_width: float | None = None, ax: Axes | None = None) -> Axes:
    """A transition matrix with its numbers and, given the width of a step, the mean stay in each state.

    Args:
        probabilities: [state, state], from row to column.
        bin_width: width of a step in s, or None.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for another shape.

    Example:
        >>> import numpy as np
        >>> transition_matrix(np.eye(2)).get_xlabel()
        'to state'
    """
    matrix = np.asarray(probabilities, float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"probabilities: found shape {matrix.shape}, expected [state, state].")
    num_states = len(matrix)
    ax = axes_or_new(ax, 1.6 + 0.8 * num_states, 1.0 + 0.8 * num_states)
    ax.imshow(matrix, cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
    for row in range(num_states):
        for column in range(num_states):
            value = matrix[row, column]
            size = "small" if num_states < 6 else "x-small"
            ax.text(column, row, _probability(value), ha="center", va="center", color="white" if value > 0.5 else INK, fontsize=size)
    ax.set(xticks=range(num_states), yticks=range(num_states), xlabel="to state", ylabel="from state")
    for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
        for label, colour in zip(labels, state_colours(num_states), strict=True):
            label.set(color=colour, fontweight="bold")
    if bin_width is not None:
        stay = np.diagonal(matrix)
        for row, probability in enumerate(stay):
            text = "∞" if probability >= 1 else f"{bin_width / (1 - probability):.3g} s"
            ax.text(num_states - 0.4, row, text, va="center", fontsize="small", color=INK)
        ax.text(num_states - 0.4, -0.5, "mean stay", va="center", fontsize="small", color=INK)
    return ax


def _probability(value: float) -> str:
    if 0 < value < 0.0005:
        return "<.001"
    return f"{value:.0f}" if value in (0, 1) else f"{value:.3f}".removeprefix("0")


def em_trace(fit: Fit, *, ax: Axes | None = None) -> Axes:
    """How far below the best value found each restart was at every iteration.

    The scale is logarithmic down to one nat and linear from there to the best value at the top. The restart that was kept is drawn in colour; every
    restart ends with a filled point if it converged, with an open one if it stopped for another reason, and with a cross if it broke down.

    Args:
        fit: the fit.
        ax: axes to draw into; None makes a figure.
    """
    ax = axes_or_new(ax, 5.2, 3.4)
    best = max(float(np.nanmax(record.log_joint_history)) for record in fit.restarts)
    order = sorted(range(len(fit.restarts)), key=lambda index: index == fit.best_restart)
    for index in order:
        record = fit.restarts[index]
        kept = index == fit.best_restart
        colour = _HIGHLIGHT if kept else "#8C8C8C"
        below = record.log_joint_history - best
        width, label, level = (2.0, "kept", 3) if kept else (1.2, None, 2)
        ax.plot(np.arange(1, len(below) + 1), below, color=colour, linewidth=width, label=label, zorder=level)
        mark = "X" if record.outcome.failed else "o"
        face = colour if record.outcome.name == "CONVERGED" or record.outcome.failed else "white"
        ax.scatter(len(below), below[-1], 30, marker=mark, facecolor=face, edgecolor=colour, zorder=4)
    if len(fit.restarts) > 1:
        ax.plot([], [], color="#8C8C8C", linewidth=1.2, label="other restarts")
    ax.set_yscale("symlog", linthresh=_LINEAR_NATS, linscale=0.5)
    ax.set_ylim(top=_LINEAR_NATS / 2)
    ax.set_yticks([tick for tick in ax.get_yticks() if tick <= 0])
    ax.axhline(0, color=PALE, linewidth=0.8, zorder=1)
    ax.set(xlabel="iteration", ylabel="log-joint below the best (nats)")
    ax.legend(loc="lower right", frameon=False, fontsize="small")
    bare(ax)
    return ax


def bits_per_spike(scores: Mapping[str, float], by_sequence: Mapping[str, Any] | None = None, *, ax: Axes | None = None) -> Axes:
    """Held-out bits per spike of several models; a homogeneous Poisson is zero.

    Args:
        scores: {model: bits per spike of all held-out sequences}.
        by_sequence: {model: [sequence]}, drawn as points beside the bars, joined across models for each sequence.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: if `by_sequence` names other models than `scores`.
    """
    if by_sequence is not None and set(by_sequence) != set(scores):
        raise ValueError(f"by_sequence: found the models {sorted(by_sequence)}, expected {sorted(scores)}.")
    ax = axes_or_new(ax, 1.4 + 1.5 * len(scores), 3.4)
    values = list(scores.values())
    positions = np.arange(len(scores), dtype=float)
    ax.bar(positions, values, width=0.62, color="#A6C8DD", edgecolor="#0072B2", linewidth=1.0, zorder=1)
    if by_sequence is not None:
        points = np.stack([np.asarray(by_sequence[model], float) for model in scores])
        ax.plot(positions, points, color="#8C8C8C", linewidth=0.6, zorder=2)
        ax.scatter(np.repeat(positions, points.shape[1]), points.ravel(), 9, color=INK, alpha=0.6, linewidth=0, zorder=3, label="one held-out trial")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, fontsize="small")
    ax.axhline(0, color=INK, linewidth=1.0)
    ax.text(1.01, 0.0, "homogeneous\nPoisson", transform=ax.get_yaxis_transform(), va="center", fontsize="small")
    # The numbers stand below, where no point can cover them.
    names = [f"{model.replace(' ', chr(10), 1)}\n{value:.3f}" for model, value in scores.items()]
    ax.set(xticks=positions, xticklabels=names, ylabel="held-out bits per spike")
    bare(ax)
    return ax
