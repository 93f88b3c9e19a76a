"""Latents over time and in their plane."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.arguments import checked_label, checked_rows, checked_sequences, conditions, evenly, plain_array, step_times
from latentgate.plotting.axes import bare, legend_above, panels_or_new
from latentgate.plotting.colours import state_colours
from latentgate.plotting.means import condition_means

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from latentgate.data import Sequences

# Bands of more sequences than these hide each other.
_MOST_BANDS = 4
_MOST_LINES = 40
# Standard deviations on either side of a mean.
_BAND = 2.0


def latent_trajectories(
    latents: Any,
    data: Sequences,
    *,
    which: Many[int] | None = None,
    sequences: Many[int] | None = None,
    by: str | None = None,
    ax: Many[Axes] | None = None,
) -> list[Axes]:
    """One to three latents over time, a panel each, and of two or more the plane of the first two.

    Up to four sequences are drawn with bands of ± 2 standard deviations, where covariances are known; of more, lines alone. With a label, sequences have the
    colour of their condition, and thick lines are the means of the conditions, as far as half of their sequences go. In the plane a point marks each start.

    Args:
        latents: the dataset that `fit.smooth(data)` returns, with `mean` and `covariance`; or an array [sequence, time, latent].
        data: the sequences, for their lengths, labels and bin width.
        which: up to three latents, by index; the first three, or all, if None.
        sequences: which are drawn one by one; up to forty with a label and up to four without, evenly spaced, if None. Means are over all.
        by: a label of the data, by which sequences are coloured.
        ax: one axes for each latent and, of two or more latents, one for the plane; None makes a figure.

    Returns:
        the axes.

    Raises:
        TypeError: for a fit in place of its latents.
        ValueError: for latents of another shape than the data's, more than three of them, an unknown label, or another number of axes.
        IndexError: for latents or sequences that there are none of.

    Example:
        >>> import numpy as np
        >>> import latentgate as lg
        >>> data = lg.Sequences.from_arrays([np.zeros((30, 5))] * 3, bin_width=0.02)
        >>> walks = np.random.default_rng(0).normal(size=(3, 30, 2)).cumsum(1)
        >>> [axes.get_xlabel() for axes in latent_trajectories(walks, data)]
        ['time in trial (s)', 'time in trial (s)', 'latent 0']
    """
    checked_sequences(data)
    means, deviations = _moments(latents)
    if means.ndim != 3 or means.shape[:2] != (data.num_sequences, data.max_length):
        raise ValueError(f"latents: found shape {means.shape}, expected ({data.num_sequences}, {data.max_length}, number of latents), those of the data.")
    chosen = list(range(min(means.shape[2], 3))) if which is None else [int(latent) for latent in np.atleast_1d(np.asarray(which))]
    if not 1 <= len(chosen) <= 3:
        raise ValueError(f"which: found {len(chosen)} latents, expected one to three.")
    if min(chosen) < 0 or max(chosen) >= means.shape[2]:
        raise IndexError(f"which: found {chosen}, expected indices from 0 to {means.shape[2] - 1}.")
    checked_label(by, data)
    rows = checked_rows(sequences, data, evenly(data.num_sequences, _MOST_BANDS if by is None else _MOST_LINES))
    in_plane = len(chosen) > 1
    count = len(chosen) + in_plane
    panels = panels_or_new(ax, count, "one for each latent" + (" and one for the plane" if in_plane else ""), 0.8 + 3.1 * count, 3.0)
    kinds, kind = conditions(by, data)
    colours = state_colours(len(rows) if by is None else len(kinds))
    colour_of = {row: colours[place if by is None else kind[row]] for place, row in enumerate(rows.tolist())}
    faint = by is not None or len(rows) > _MOST_BANDS
    style: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.45} if faint else {"linewidth": 1.6}
    times, time_label = step_times(data)
    lengths = np.asarray(data.lengths)
    for panel, latent in zip(panels, chosen, strict=False):
        for row in rows.tolist():
            real = slice(0, lengths[row])
            line = means[row, real, latent]
            panel.plot(times[row, real], line, color=colour_of[row], label=None if by is not None or faint else f"sequence {row}", **style)
            if deviations is not None and not faint:
                reach = _BAND * deviations[row, real, latent]
                panel.fill_between(times[row, real], line - reach, line + reach, color=colour_of[row], alpha=0.2, linewidth=0)
        panel.set(xlabel=time_label, ylabel=f"latent {latent}")
        bare(panel)
    if in_plane:
        _draw_plane(panels[-1], means[:, :, chosen[:2]], rows, lengths, colour_of, style)
        panels[-1].set(xlabel=f"latent {chosen[0]}", ylabel=f"latent {chosen[1]}")
    if by is not None:
        for place, (name, colour) in enumerate(zip(kinds, colours, strict=True)):
            own = kind == place
            when, average = condition_means(times[own], means[own][:, :, chosen], lengths[own])
            for panel, line in zip(panels, average.T, strict=False):
                _strong(panel, when, line, colour, name)
            if in_plane:
                _strong(panels[-1], average[:, 0], average[:, 1], colour, None)
    if by is not None or not faint:
        legend_above(panels[0], 2)
    return panels


def _moments(latents: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Means, and standard deviations where there are covariances."""
    if "mean" in getattr(latents, "data_vars", ()):
        covariances = np.asarray(latents["covariance"], float) if "covariance" in latents else None
        return np.asarray(latents["mean"], float), None if covariances is None else np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
    return plain_array(latents, "latents", "fit.smooth(data) of a model with latents, or an array [sequence, time, latent]"), None


def _draw_plane(ax: Axes, points: np.ndarray, rows: np.ndarray, lengths: np.ndarray, colour_of: dict[int, np.ndarray], style: dict[str, Any]) -> None:
    for row in rows.tolist():
        path = points[row, : lengths[row]]
        ax.plot(*path.T, color=colour_of[row], **style)
        ax.plot(*path[0], "o", color=colour_of[row], markersize=4, markeredgecolor="white", markeredgewidth=0.6, zorder=3)
    ax.set_aspect("equal", adjustable="datalim")
    bare(ax)


def _strong(ax: Axes, x: np.ndarray, y: np.ndarray, colour: np.ndarray, name: str | None) -> None:
    """A thick line with a white rim, so that it can be seen on lines of its own colour."""
    ax.plot(x, y, color="white", linewidth=4.0, zorder=4)
    ax.plot(x, y, color=colour, linewidth=2.4, zorder=5, label=name)
