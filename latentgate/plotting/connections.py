"""Coupling of neurons in each state, and the connection types that the states share."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.colours import DIVERGING, EXCITATORY, INHIBITORY, axes_or_new, state_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of the weights between different neurons; a few strong ones would otherwise leave the rest white.
_SHOWN_QUANTILE = 0.99


def coupling(weights: Any, *, limit: float | None = None, ax: Many[Axes] | None = None) -> list[Axes]:
    """Coupling matrices, one panel a state, on one diverging scale centred at zero.

    The diagonal, a neuron's own history, is left grey: it is usually much larger and is no coupling.

    Args:
        weights: [state, neuron, source] or [state, neuron, source, basis], from `source` onto `neuron`, as `PoissonGLM.coupling_weights` returns
            them. Basis functions sum to one each, so their weights are added: the total effect of a spike over its history.
        limit: weight at the ends of the colour scale; by default the 99th percentile of the absolute weights, and the colour bar is pointed
            where weights lie beyond.
        ax: one axes a state; None makes a figure.

    Returns:
        the axes of the states.

    Raises:
        ValueError: for another shape, or another number of axes than states.

    Example:
        >>> import numpy as np
        >>> [axes.get_title() for axes in coupling(np.zeros((2, 5, 5)))]
        ['state 0', 'state 1']
    """
    weights = np.asarray(weights, float)
    weights = weights.sum(-1) if weights.ndim == 4 else weights
    if weights.ndim != 3 or weights.shape[1] != weights.shape[2]:
        raise ValueError(f"weights: found shape {weights.shape}, expected [state, neuron, source] with as many sources as neurons.")
    num_states, num_neurons = weights.shape[:2]
    panels = _new_panels(num_states) if ax is None else list(np.ravel(np.asarray(ax, dtype=object)))
    if len(panels) != num_states:
        raise ValueError(f"ax: found {len(panels)} axes, expected {num_states}, one a state.")
    between = weights[:, ~np.eye(num_neurons, dtype=bool)]
    if limit is None:
        limit = float(np.quantile(np.abs(between), _SHOWN_QUANTILE)) if between.size else 0.0
    limit = limit if limit > 0 else 1.0
    image = None
    for panel, matrix, title in zip(panels, weights, state_names(num_states), strict=True):
        hidden = np.ma.masked_array(matrix, np.eye(num_neurons, dtype=bool))
        image = panel.imshow(hidden, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest")
        panel.set_facecolor("#D9D9D9")
        panel.set_title(title)
        _name_axes(panel, first=panel is panels[0])
    beyond = "both" if np.abs(between).max(initial=0.0) > limit else "neither"
    assert image is not None
    bar = panels[0].figure.colorbar(image, ax=panels, extend=beyond, shrink=0.8, pad=0.02)
    bar.set_label("weight")
    return panels


def connection_types(type_prior: Any, *, ax: Axes | None = None) -> Axes:
    """The learned one-hot prior a⁰ of every pair as one picture: the colours of its types mixed by their probabilities.

    White is surely unconnected, full red surely excitatory, full blue surely inhibitory, purple undecided between the two. The diagonal is left grey.

    Args:
        type_prior: [neuron, source, type] probabilities of (inhibitory, none, excitatory); [source, type] where types belong to the sender (Dale).
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for another shape.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    probabilities = np.asarray(type_prior, float)
    if probabilities.shape[-1:] != (3,) or probabilities.ndim not in (2, 3):
        raise ValueError(f"type_prior: found shape {probabilities.shape}, expected [neuron, source, 3] or [source, 3].")
    by_sender = probabilities.ndim == 2
    if by_sender:
        probabilities = probabilities[None]
    ax = axes_or_new(ax, 3.6, 1.6 if by_sender else 3.6)
    colours = np.array([to_rgb(INHIBITORY), (1.0, 1.0, 1.0), to_rgb(EXCITATORY)])
    mixed = probabilities @ colours
    if not by_sender:
        mixed[np.eye(len(mixed), mixed.shape[1], dtype=bool)] = to_rgb("#D9D9D9")
    ax.imshow(mixed.clip(0, 1), interpolation="nearest", aspect="auto" if by_sender else "equal")
    ax.set_title("shared types a⁰")
    _name_axes(ax, first=not by_sender)
    if by_sender:
        ax.set_yticks([])
    patches = [Patch(facecolor=colour, edgecolor="#7F7F7F", label=label) for colour, label in zip(colours, ("inhibitory", "none", "excitatory"), strict=True)]
    ax.legend(handles=patches, loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize="small", handlelength=1.0)
    return ax


def _new_panels(num_states: int) -> list[Axes]:
    from matplotlib import pyplot

    _, panels = pyplot.subplots(1, num_states, figsize=(1.2 + 2.6 * num_states, 3.0), layout="constrained", squeeze=False)
    return list(panels[0])


def _name_axes(ax: Axes, first: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel("from neuron")
    ax.set_ylabel("onto neuron" if first else "")
    ax.tick_params(labelsize="small", labelleft=first)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
