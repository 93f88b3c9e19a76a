"""Langevin flows: the force field in a plane of the latents, and the inputs that the data call for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.arguments import checked_sequence, checked_sequences, plain_array
from latentgate.plotting.axes import axes_or_new, bare
from latentgate.plotting.colours import DIVERGING, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from latentgate.data import Sequences


def force_field(points: Any, forces: Any, *, paths: Any = None, unit: str = "per step²", ax: Axes | None = None) -> Axes:
    """Forces at points of a plane as arrows of one length, coloured by strength, over paths in that plane.

    Args:
        points: coordinates in the plane, [point, 2].
        forces: components along the two directions of the plane, [point, 2]; a force of NaN is not drawn.
        paths: of single trials, [sequence, time, 2], or a list of [time, 2]; None for none.
        unit: of the forces.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for arrays of other shapes, or no force that could be drawn.

    Example:
        >>> import numpy as np
        >>> from latentgate import plotting
        >>> points = np.stack(np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)), -1).reshape(-1, 2)
        >>> plotting.force_field(points, -points).get_xlabel()
        'first direction'
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    places, arrows = plain_array(points, "points", "coordinates in a plane, [point, 2]"), plain_array(forces, "forces", "forces in that plane, [point, 2]")
    if places.ndim != 2 or places.shape[1] != 2:
        raise ValueError(f"points: found shape {places.shape}, expected (number of points, 2), coordinates in a plane.")
    if arrows.shape != places.shape:
        raise ValueError(f"forces: found shape {arrows.shape}, expected {places.shape}, one force at each point.")
    lines = [] if paths is None else [np.asarray(path, float) for path in paths]
    for index, line in enumerate(lines):
        if line.ndim != 2 or line.shape[1] != 2:
            raise ValueError(f"paths: found shape {line.shape} in path {index}, expected (time, 2), coordinates in the plane.")
    drawn = np.isfinite(arrows).all(1)
    if not drawn.any():
        raise ValueError("forces: found none that is finite, expected at least one.")
    places, arrows = places[drawn], arrows[drawn]
    strength = np.linalg.norm(arrows, axis=1)
    ax = axes_or_new(ax, 4.8, 4.0)
    for line in lines:
        ax.plot(*line.T, color=PALE, linewidth=0.6, zorder=1)
    # A point of equilibrium has a force without direction.
    directions = arrows / np.where(strength > 0, strength, 1.0)[:, None]
    # Without the palest yellow, which a white page swallows.
    colours = ListedColormap(colormaps["viridis_r"](np.linspace(0.15, 1.0, 256)))
    image = ax.quiver(*places.T, *directions.T, strength, cmap=colours, angles="xy", pivot="mid", width=0.005, zorder=2)
    # As high as the axes, whatever their aspect.
    ax.figure.colorbar(image, cax=ax.inset_axes((1.04, 0.0, 0.04, 1.0)), label=f"force ({unit})")
    ax.set(xlabel="first direction", ylabel="second direction", aspect="equal")
    bare(ax)
    return ax


def inferred_inputs(inputs: Any, data: Sequences, *, sequence: int = 0, unit: str | None = "s", ax: Axes | None = None) -> Axes:
    """Inferred inputs of one sequence over time, a row for each latent.

    Args:
        inputs: [sequence, time, latent] in standard deviations of the noise of a step, from `model.inferred_inputs(fit.params, data)`.
        data: the sequences.
        sequence: which of them.
        unit: of the width of bins, where the data have one.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for inputs of another shape than the data's.
        IndexError: for a sequence that there is none of.

    Example:
        >>> import numpy as np
        >>> import latentgate as lg
        >>> trials = lg.Sequences.from_arrays([np.zeros((20, 3))], bin_width=0.01)
        >>> inferred_inputs(np.random.default_rng(0).normal(size=(1, 20, 2)), trials).get_xlabel()
        'time (s)'
    """
    checked_sequences(data)
    values = plain_array(inputs, "inputs", "fit.model.inferred_inputs(fit.params, data)")
    if values.ndim != 3 or values.shape[:2] != (data.num_sequences, data.max_length):
        raise ValueError(f"inputs: found shape {values.shape}, expected ({data.num_sequences}, {data.max_length}, number of latents), those of the data.")
    sequence = checked_sequence(sequence, data)
    if int(data.lengths[sequence]) < 2:
        raise ValueError(f"sequence: found {sequence}, which has one row only, expected one with inputs between its rows.")
    # The last step leads nowhere.
    shown = values[sequence, : int(data.lengths[sequence]) - 1].T
    width = 1.0 if data.bin_width is None else float(data.bin_width)
    # Inputs that are all zero still need a scale.
    limit = np.abs(shown).max(initial=0.0) or 1.0
    ax = axes_or_new(ax, 5.6, max(2.2, 0.9 + 0.2 * len(shown)))
    image = ax.imshow(
        shown,
        aspect="auto",
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        extent=(0.0, width * shown.shape[1], len(shown) - 0.5, -0.5),
        interpolation="none",
    )
    ax.figure.colorbar(image, ax=ax, label="input (s.d. of\nthe noise)" if len(shown) < 9 else "input (s.d. of the noise)")
    ax.set(ylabel="latent", yticks=range(len(shown)), xlabel="time (steps)" if data.bin_width is None or unit is None else f"time ({unit})")
    ax.tick_params(length=0)
    bare(ax)
    return ax
