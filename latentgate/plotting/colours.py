"""Colours that stay apart for colour-blind readers."""

from __future__ import annotations

import numpy as np

_STATES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F7F7F")
INK, PALE, GREY = "#333333", "#BFBFBF", "#8C8C8C"
# One line that stands out among grey ones.
HIGHLIGHT = "#D55E00"
# The ends of the diverging map, for what is inhibitory and what is excitatory.
DIVERGING = "RdBu_r"
INHIBITORY, EXCITATORY = "#2166AC", "#B2182B"


def state_colours(num_states: int) -> np.ndarray:
    """Colours of the states, RGB [state, 3] in 0 to 1, the same in every picture with as many states.

    Beyond eight states they come from a map, and only neighbours in number are hard to tell apart.

    Args:
        num_states: how many.

    Raises:
        ValueError: for less than one state.

    Source: Okabe and Ito (2008), "Color universal design", in an order in which the first few also differ in lightness.

    Example:
        >>> state_colours(3).shape
        (3, 3)
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    if num_states < 1:
        raise ValueError(f"num_states: found {num_states}, expected at least 1.")
    if num_states <= len(_STATES):
        return np.array([to_rgb(colour) for colour in _STATES[:num_states]])
    return np.asarray(colormaps["turbo"](np.linspace(0.05, 0.95, num_states)))[:, :3]


def state_names(num_states: int) -> list[str]:
    """What states are called in pictures, by their index."""
    return [f"state {state}" for state in range(num_states)]
