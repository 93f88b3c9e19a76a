"""Langevin flows: the force field in a plane of the latents, and the inputs that the data call for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.colours import DIVERGING, PALE, axes_or_new, bare

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
    places, arrows = np.asarray(points, float), np.asarray(forces, float)
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
    image = ax.quiver(*places.T, *directions.T, strength, cmap="viridis_r", angles="xy", pivot="mid", width=0.005, zorder=2)
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
    """
    values = np.asarray(inputs, float)
    if values.ndim != 3 or values.shape[:2] != (data.num_sequences, data.max_length):
        raise ValueError(f"inputs: found shape {values.shape}, expected ({data.num_sequences}, {data.max_length}, number of latents), those of the data.")
    if not 0 <= sequence < data.num_sequences:
        raise IndexError(f"sequence: found {sequence}, expected 0 to {data.num_sequences - 1}.")
    # The last step leads nowhere.
    shown = values[sequence, : int(data.lengths[sequence]) - 1].T
    width = 1.0 if data.bin_width is None else float(data.bin_width)
    limit = np.abs(shown).max(initial=0.0)
    ax = axes_or_new(ax, 5.2, 0.9 + 0.2 * len(shown))
    image = ax.imshow(
        shown,
        aspect="auto",
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        extent=(0.0, width * shown.shape[1], len(shown) - 0.5, -0.5),
        interpolation="none",
    )
    ax.figure.colorbar(image, ax=ax, label="input (s.d. of the noise)")
    ax.set(ylabel="latent", yticks=range(len(shown)), xlabel="time (steps)" if data.bin_width is None or unit is None else f"time ({unit})")
    ax.tick_params(length=0)
    bare(ax)
    return ax
