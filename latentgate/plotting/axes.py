"""Where pictures are drawn: the axes that were given, or those of a figure of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Around every picture, in inches.
_MARGIN = 0.08


def axes_or_new(ax: Any, width: float, height: float) -> Axes:
    """`ax` itself, or the axes of a new figure of this size in inches.

    Raises:
        TypeError: if `ax` is something else than one axes.
    """
    if ax is None:
        return _new(1, 1, width, height)[0]
    if not hasattr(ax, "add_patch"):
        raise TypeError(f"ax: found {type(ax).__name__}, expected one matplotlib axes, for instance the second result of pyplot.subplots().")
    return ax


def panels_or_new(
    ax: Any, count: int, each: str, width: float, height: float, *, stacked: bool = False, share: str | None = None, ratios: Any = None
) -> list[Axes]:
    """The given axes as a list, or those of a new figure of this size in inches.

    Args:
        ax: axes, a list or array of them, or None.
        count: how many are needed.
        each: what each is for, for the error: "one a state".
        width, height: of a new figure.
        stacked: whether new axes stand one below the other.
        share: "x" or "y", which new axes have in common.
        ratios: of the widths of new axes, or of their heights where they are stacked.

    Raises:
        TypeError: if `ax` holds something else than axes.
        ValueError: for another number of axes.
    """
    if ax is None:
        return _new(count, 1, width, height, share, height_ratios=ratios) if stacked else _new(1, count, width, height, share, width_ratios=ratios)
    panels = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(panels) != count:
        raise ValueError(f"ax: found {len(panels)} axes, expected {count}, {each}.")
    return [axes_or_new(panel, width, height) for panel in panels]


def _new(rows: int, columns: int, width: float, height: float, share: str | None = None, **options: Any) -> list[Axes]:
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        rows, columns, figsize=(width, height), layout="constrained", squeeze=False, sharex=share == "x", sharey=share == "y", **options
    )
    engine: Any = figure.get_layout_engine()
    # Matplotlib's own margin cuts it fine where a title or a colour bar stands at the edge.
    engine.set(w_pad=_MARGIN, h_pad=_MARGIN)
    return list(panels.ravel())


def bare(ax: Axes) -> None:
    """Takes away the upper and the right edge of the frame."""
    ax.spines[["top", "right"]].set_visible(False)


def legend_above(ax: Axes, columns: int = 4, **options: Any) -> None:
    """The legend above the axes, where it covers no data."""
    style = {"frameon": False, "fontsize": "small", "handlelength": 1.4, "columnspacing": 1.2}
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, **(style | options))


def whole_ticks(axis: Any, most: int = 6) -> None:
    """Ticks at whole numbers alone, for what is counted."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=most, integer=True))
