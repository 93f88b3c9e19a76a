"""Potentials as landscapes: a curve with its band, with a path that moves on it, and a surface over a plane."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.arguments import checked_names, plain_array
from latentgate.plotting.axes import axes_or_new, bare, legend_above, panels_or_new
from latentgate.plotting.colours import INK, state_colours
from latentgate.plotting.texts import with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEVELS = 12


def potential(
    grid: Any, heights: Any, band: Any = None, *, absorbing: Many[bool] = (False, False), names: Many[str] | None = None, ax: Axes | None = None
) -> Axes:
    """A potential over its grid, or one for each condition, with credible bands.

    Args:
        grid: positions, [point].
        heights: Φ, [point] or [condition, point].
        band: lower and upper limits, each of the shape of `heights`; None for none.
        absorbing: whether the process ends at the first and at the last point; such an end is marked.
        names: of the conditions.
        ax: axes to draw into; None makes a figure.

    Raises:
        TypeError: for a fit in place of its potential.
        ValueError: for arrays that do not fit the grid, or another number of names than conditions.

    Example:
        >>> import numpy as np
        >>> from latentgate import plotting
        >>> grid = np.linspace(-1, 1, 50)
        >>> plotting.potential(grid, grid**2).get_ylabel()
        'potential Φ'
    """
    grid, rows = plain_array(grid, "grid", "positions, [point]"), np.atleast_2d(plain_array(heights, "heights", "fit.model.potential(fit.params)"))
    limits = None if band is None else [np.atleast_2d(plain_array(limit, "band", "lower and upper limits")) for limit in band]
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(f"grid: found shape {grid.shape}, expected positions, [point].")
    if limits is not None and len(limits) != 2:
        raise ValueError(f"band: found {len(limits)} arrays, expected two, the lower and the upper limits.")
    for what, found in (("heights", rows), *(() if limits is None else (("band", limit) for limit in limits))):
        if found.shape != (len(rows), len(grid)):
            raise ValueError(f"{what}: found shape {found.shape}, expected ({len(rows)}, {len(grid)}), one number at each point of the grid.")
    labels: list[Any] = [None] * len(rows) if names is None else checked_names(names, len(rows), "condition", [])
    ax = axes_or_new(ax, 4.2, 3.0)
    for index, (row, colour) in enumerate(zip(rows, state_colours(len(rows)), strict=True)):
        if limits is not None:
            ax.fill_between(grid, limits[0][index], limits[1][index], color=colour, alpha=0.25, linewidth=0)
        ax.plot(grid, row, color=colour, linewidth=2.0, label=labels[index])
    for end, position in zip(absorbing, (grid[0], grid[-1]), strict=True):
        if end:
            ax.axvline(position, color=INK, linewidth=1.0, linestyle=(0, (2, 2)))
    if names is not None:
        ax.legend(frameon=False, fontsize="small")
    ax.set(xlabel="position x", ylabel="potential Φ")
    ax.locator_params(axis="x", nbins=5)
    bare(ax)
    return ax


def potential_path(
    grid: Any,
    heights: Any,
    paths: Any,
    times: Any = None,
    *,
    band: Any = None,
    absorbing: Many[bool] = (False, False),
    names: Many[str] | None = None,
    unit: str | None = "s",
    ax: Many[Axes] | None = None,
) -> list[Axes]:
    """A potential, and below it how a few trials move in it, time running down; a ball on the curve and below it marks each start, a diamond each end.

    Args:
        grid: positions, [point].
        heights: Φ, [point].
        paths: positions of one trial, [time], or a list of them, as rows of `model.decision_variable(fit.params, data)`. NaN at padding is left out.
        times: of their rows, in the same form; rows are counted if None.
        band: lower and upper limits of Φ, [point] each; None for none.
        absorbing: whether the process ends at the first and at the last point; such an end is marked.
        names: of the trials, for a legend.
        unit: of time.
        ax: two axes, for the potential and for the paths; None makes a figure.

    Returns:
        the two axes.

    Raises:
        TypeError: for a fit in place of its potential.
        ValueError: for arrays that do not fit, several potentials, a path without positions, or another number of names or axes.

    Example:
        >>> import numpy as np
        >>> grid = np.linspace(-1, 1, 50)
        >>> walk = np.clip(np.random.default_rng(0).normal(0, 0.1, 60).cumsum(), -1, 1)
        >>> [axes.get_ylabel() for axes in potential_path(grid, -2 * grid**2, walk, 0.02 * np.arange(60))]
        ['potential Φ', 'time (s)']
    """
    grid, curve = plain_array(grid, "grid", "positions, [point]"), plain_array(heights, "heights", "fit.model.potential(fit.params)")
    if curve.ndim != 1:
        raise ValueError(f"heights: found shape {curve.shape}, expected one potential, [point]; draw conditions one by one.")
    walks = _walks(paths, "paths")
    clocks = [np.arange(len(walk), dtype=float) for walk in walks] if times is None else _walks(times, "times")
    if [len(clock) for clock in clocks] != [len(walk) for walk in walks]:
        raise ValueError(f"times: found lengths {[len(clock) for clock in clocks]}, expected {[len(walk) for walk in walks]}, those of the paths.")
    labels: list[Any] = [None] * len(walks) if names is None else checked_names(names, len(walks), "path", [])
    for index, walk in enumerate(walks):
        if not np.isfinite(walk).any():
            raise ValueError(f"paths: found no finite position in path {index}, expected at least one.")
    above, below = panels = panels_or_new(ax, 2, "for the potential and for the paths", 4.6, 4.8, stacked=True, share="x", ratios=(1, 1.2))
    potential(grid, curve, band, absorbing=absorbing, ax=above)
    above.lines[0].set_color(INK)
    for fill in above.collections:
        fill.set_color(INK)
    above.set_xlabel("")
    for walk, clock, label, colour in zip(walks, clocks, labels, state_colours(len(walks)), strict=True):
        real = np.isfinite(walk)
        places, when = walk[real], clock[real]
        below.plot(places, when, color=colour, linewidth=1.4, label=label)
        for row, mark in ((0, "o"), (-1, "D")):
            style: dict[str, Any] = {"marker": mark, "color": colour, "markeredgecolor": "white", "markersize": 7, "zorder": 5, "clip_on": False}
            below.plot(places[row], when[row], **style)
            above.plot(places[row], np.interp(places[row], grid, curve), **style)
    for end, position in zip(absorbing, (grid[0], grid[-1]), strict=True):
        if end:
            below.axvline(position, color=INK, linewidth=1.0, linestyle=(0, (2, 2)))
    finish = max(float(np.nanmax(clock)) for clock in clocks)
    start = min(float(np.nanmin(clock)) for clock in clocks)
    below.locator_params(axis="x", nbins=5)
    below.set(ylim=(finish, start), xlim=above.get_xlim(), xlabel="position x", ylabel="time (steps)" if times is None else with_unit("time", unit))
    if names is not None:
        legend_above(above, handles=below.get_legend_handles_labels()[0])
    bare(below)
    return panels


def _walks(value: Any, argument: str) -> list[np.ndarray]:
    many = isinstance(value, list | tuple) and len(value) > 0 and np.ndim(value[0]) == 1
    arrays = value if many else np.atleast_2d(plain_array(value, argument, "positions, [time], or a list of such arrays"))
    walks = [plain_array(array, argument, "positions, [time], or a list of such arrays") for array in arrays]
    if not walks or any(walk.ndim != 1 or not walk.size for walk in walks):
        raise ValueError(f"{argument}: found shapes {[walk.shape for walk in walks]}, expected [time], or a list of such arrays.")
    return walks


def landscape(
    first: Any, second: Any, heights: Any, *, paths: Any = None, names: Many[str] | None = None, unit: str | None = None, ax: Axes | None = None
) -> Axes:
    """A potential over a plane of the latents as shades with level lines, the deeper the darker, and paths of single trials over it.

    A ball marks where a path starts, a diamond where it ends.

    Args:
        first: coordinates along the first direction, [column], increasing.
        second: coordinates along the second direction, [row], increasing.
        heights: the potential, [row, column]; NaN is left white.
        paths: of single trials, [time, 2], a list of them, or [sequence, time, 2]; NaN at padding is left out.
        names: of the two directions.
        unit: of the potential.
        ax: axes to draw into; None makes a figure.

    Raises:
        TypeError: for a fit in place of its potential.
        ValueError: for arrays that do not fit, or another number of names than two.

    Example:
        >>> import numpy as np
        >>> side = np.linspace(-1.5, 1.5, 40)
        >>> heights = (side**2 - 1)[None] ** 2 + side[:, None] ** 2
        >>> landscape(side, side, heights, paths=np.zeros((5, 2))).get_xlabel()
        'latent 0'
    """
    across, up = plain_array(first, "first", "coordinates, [column]"), plain_array(second, "second", "coordinates, [row]")
    surface = plain_array(heights, "heights", "the potential, [row, column]")
    for argument, side in (("first", across), ("second", up)):
        if side.ndim != 1 or len(side) < 2 or not (np.diff(side) > 0).all():
            raise ValueError(f"{argument}: found shape {side.shape}, expected increasing coordinates of at least two points.")
    if surface.shape != (len(up), len(across)) or not np.isfinite(surface).any():
        raise ValueError(f"heights: found shape {surface.shape}, expected ({len(up)}, {len(across)}), a row for each of `second`, and finite numbers.")
    names = checked_names(names, 2, "direction", ["latent 0", "latent 1"])
    walks = [] if paths is None else [np.asarray(path, float) for path in ([paths] if np.ndim(paths[0]) == 1 else paths)]
    for index, walk in enumerate(walks):
        if walk.ndim != 2 or walk.shape[1] != 2:
            raise ValueError(f"paths: found shape {walk.shape} in path {index}, expected (time, 2), coordinates in the plane.")
    ax = axes_or_new(ax, 5.0, 4.0)
    shades = ax.contourf(across, up, np.ma.masked_invalid(surface), _LEVELS, cmap="Blues_r", alpha=0.85)
    ax.contour(across, up, np.ma.masked_invalid(surface), _LEVELS, colors="white", linewidths=0.5)
    for walk in walks:
        line = walk[np.isfinite(walk).all(1)]
        ax.plot(*line.T, color="#E69F00", linewidth=1.2, zorder=3)
        for row, mark in ((0, "o"), (-1, "D")):
            if len(line):
                ax.plot(*line[row], mark, color="#E69F00", markeredgecolor=INK, markeredgewidth=0.8, markersize=6, zorder=4)
    ax.figure.colorbar(shades, cax=ax.inset_axes((1.04, 0.0, 0.04, 1.0)), label=with_unit("potential", unit))
    ax.set(xlim=(across[0], across[-1]), ylim=(up[0], up[-1]), xlabel=names[0], ylabel=names[1], aspect="equal")
    bare(ax)
    return ax
