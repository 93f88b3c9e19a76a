"""What a decoder says, against the truth."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.arguments import checked_names, plain_array
from latentgate.plotting.axes import bare, legend_above, panels_or_new
from latentgate.plotting.colours import INK, state_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def decoded(
    truth: Any,
    predicted: Any,
    interval: Any = None,
    *,
    level: float | None = None,
    bin_width: float | None = None,
    names: Many[str] | None = None,
    unit: str | None = None,
    ax: Many[Axes] | None = None,
) -> list[Axes]:
    """Decoded kinematics of one session against the truth over time, a panel for each dimension, with their intervals as bands.

    Args:
        truth: [time, dimension], or [time]. NaN where it is not known.
        predicted: of the same shape, from `decoder.predict(neural)`.
        interval: lower and upper ends, each of that shape, from `decoder.predict_interval(neural, level)`; None for none.
        level: of the interval, for the legend.
        bin_width: of a bin in s; time is counted in bins if None.
        names: of the dimensions.
        unit: of the kinematics.
        ax: one axes for each dimension; None makes a figure.

    Returns:
        the axes.

    Raises:
        TypeError: for lists of sessions.
        ValueError: for arrays of different shapes, a level outside 0 to 1, a bin width that is not positive, or another number of names or axes than
            dimensions.

    Example:
        >>> import numpy as np
        >>> truth = np.sin(np.arange(100) / 8)
        >>> panels = decoded(truth, 0.9 * truth, (truth - 0.3, truth + 0.3), level=0.9, bin_width=0.05, names=["velocity"], unit="cm/s")
        >>> panels[0].get_ylabel(), panels[0].get_xlabel()
        ('velocity (cm/s)', 'time (s)')
    """
    real = _columns(truth, "truth")
    means = _columns(predicted, "predicted")
    ends = None if interval is None else [_columns(end, "interval") for end in interval]
    for argument, found in (("predicted", means), *(() if ends is None else (("interval", end) for end in ends))):
        if found.shape != real.shape:
            raise ValueError(f"{argument}: found shape {found.shape}, expected {real.shape}, that of the truth.")
    if ends is not None and len(ends) != 2:
        raise ValueError(f"interval: found {len(ends)} arrays, expected two, the lower and the upper ends.")
    if level is not None and not 0 < level < 1:
        raise ValueError(f"level: found {level!r}, expected a share between 0 and 1.")
    if bin_width is not None and not bin_width > 0:
        raise ValueError(f"bin_width: found {bin_width!r}, expected a positive width in s.")
    size = real.shape[1]
    names = checked_names(names, size, "dimension", ["kinematics"] if size == 1 else [f"dimension {index}" for index in range(size)])
    panels = panels_or_new(ax, size, "one for each dimension", 8.0, 0.8 + 1.7 * size, stacked=True, share="x")
    times = np.arange(len(real)) * (1.0 if bin_width is None else bin_width)
    for column, (panel, name, colour) in enumerate(zip(panels, names, state_colours(size), strict=True)):
        if ends is not None:
            label = "interval" if level is None else f"{100 * level:.4g} % interval"
            panel.fill_between(times, ends[0][:, column], ends[1][:, column], color=colour, alpha=0.25, linewidth=0, label=label)
        panel.plot(times, real[:, column], color=INK, linewidth=1.2, label="truth")
        panel.plot(times, means[:, column], color=colour, linewidth=1.6, label="decoded")
        panel.set(ylabel=name if unit is None else f"{name} ({unit})", xlim=(times[0], max(times[-1], times[0] + (bin_width or 1.0))))
        bare(panel)
    panels[-1].set_xlabel("time (bins)" if bin_width is None else "time (s)")
    legend_above(panels[0], 3)
    return panels


def _columns(value: Any, argument: str) -> np.ndarray:
    if isinstance(value, list | tuple) and len(value) and np.ndim(value[0]) > 0:
        raise TypeError(f"{argument}: found a list of {len(value)} arrays, expected one array [time, dimension] of one session; draw sessions one by one.")
    array = plain_array(value, argument, "one array [time, dimension]")
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{argument}: found shape {array.shape}, expected [time, dimension], or [time].")
    return array
