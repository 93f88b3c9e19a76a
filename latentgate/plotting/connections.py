"""Coupling of neurons in each state, and the connection types that the states share."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.arguments import plain_array
from latentgate.plotting.axes import axes_or_new, panels_or_new, whole_ticks
from latentgate.plotting.colours import DIVERGING, EXCITATORY, INHIBITORY, state_colours, state_names

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
        TypeError: for a fit in place of its weights.
        ValueError: for another shape, weights that are not finite, a limit that is not positive, or another number of axes than states.

    Example:
        >>> import numpy as np
        >>> [axes.get_title() for axes in coupling(np.zeros((2, 5, 5)))]
        ['state 0', 'state 1']
    """
    weights = plain_array(weights, "weights", "fit.model.emission.coupling_weights(fit.params)")
    weights = weights.sum(-1) if weights.ndim == 4 else weights
    if weights.ndim != 3 or weights.shape[1] != weights.shape[2] or not weights.size:
        raise ValueError(f"weights: found shape {weights.shape}, expected [state, neuron, source] with as many sources as neurons.")
    if not np.isfinite(weights).all():
        raise ValueError("weights: found NaN or infinity, expected finite numbers.")
    if limit is not None and not limit > 0:
        raise ValueError(f"limit: found {limit!r}, expected a positive weight.")
    num_states, num_neurons = weights.shape[:2]
    panels = panels_or_new(ax, num_states, "one a state", 1.2 + 2.6 * num_states, 3.0)
    between = weights[:, ~np.eye(num_neurons, dtype=bool)]
    if limit is None:
        limit = float(np.quantile(np.abs(between), _SHOWN_QUANTILE)) if between.size else 0.0
    limit = limit if limit > 0 else 1.0
    image = None
    for panel, matrix, title, colour in zip(panels, weights, state_names(num_states), state_colours(num_states), strict=True):
        hidden = np.ma.masked_array(matrix, np.eye(num_neurons, dtype=bool))
        image = panel.imshow(hidden, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest")
        panel.set_facecolor("#D9D9D9")
        panel.set_title(title, color=colour, fontweight="bold")
        _name_axes(panel, first=panel is panels[0])
    beyond = "both" if np.abs(between).max(initial=0.0) > limit else "neither"
    assert image is not None
    bar = panels[0].figure.colorbar(image, ax=panels, extend=beyond, shrink=0.8, pad=0.02)
    bar.set_label("weight per spike")
    return panels


def connection_types(type_prior: Any, *, ax: Axes | None = None) -> Axes:
    """The learned one-hot prior a⁰ of every pair as one picture: the colours of its types mixed by their probabilities.

    White is surely unconnected, full red surely excitatory, full blue surely inhibitory, purple undecided between the two. The diagonal is left grey.

    Args:
        type_prior: [neuron, source, type] probabilities of (inhibitory, none, excitatory); [source, type] where types belong to the sender (Dale).
        ax: axes to draw into; None makes a figure.

    Raises:
        TypeError: for a fit in place of its prior.
        ValueError: for another shape, or numbers that are no probabilities.

    Example:
        >>> import numpy as np
        >>> connection_types(np.full((5, 5, 3), 1 / 3)).get_title()
        'shared types a⁰'
    """
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    probabilities = plain_array(type_prior, "type_prior", "fit.params['emission.type_prior']")
    if probabilities.shape[-1:] != (3,) or probabilities.ndim not in (2, 3):
        raise ValueError(f"type_prior: found shape {probabilities.shape}, expected [neuron, source, 3] or [source, 3].")
    # Single precision, with room for what a fit rounds.
    if not (np.abs(probabilities.sum(-1) - 1) < 1e-3).all() or (probabilities < 0).any():
        raise ValueError("type_prior: found rows that do not sum to one, expected probabilities of (inhibitory, none, excitatory).")
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


def _name_axes(ax: Axes, first: bool) -> None:
    ax.set_xlabel("from neuron")
    ax.set_ylabel("onto neuron" if first else "")
    ax.tick_params(labelsize="small", labelleft=first)
    for axis in (ax.xaxis, ax.yaxis):
        whole_ticks(axis)
