"""Colours that stay apart for colour-blind readers, and the axes helper that all pictures share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008), in an order in which the first few also differ in lightness.
_STATES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F7F7F")
INK, PALE = "#333333", "#BFBFBF"
# The ends of the diverging map, for what is inhibitory and what is excitatory.
DIVERGING = "RdBu_r"
INHIBITORY, EXCITATORY = "#2166AC", "#B2182B"


def state_colours(num_states: int) -> np.ndarray:
    """Colours of the states, RGB [state, 3] in 0 to 1; beyond eight states they come from a map and only neighbours are easily told apart."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if num_states <= len(_STATES):
        return np.array([to_rgb(colour) for colour in _STATES[:num_states]])
    return np.asarray(colormaps["turbo"](np.linspace(0.05, 0.95, num_states)))[:, :3]


def axes_or_new(ax: Any, width: float, height: float) -> Axes:
    """`ax` itself, or the axes of a new figure of this size in inches."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def bare(ax: Axes) -> None:
    """Takes away the upper and the right edge of the frame."""
    ax.spines[["top", "right"]].set_visible(False)


def state_names(num_states: int) -> list[str]:
    """What states are called in pictures, by their index."""
    return [f"state {state}" for state in range(num_states)]
