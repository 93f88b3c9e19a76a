"""Markov jump processes over time: prevalence, and one sequence between its observations."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.arguments import checked_names, checked_sequence, checked_sequences, plain_array
from latentgate.plotting.axes import axes_or_new, bare, legend_above, panels_or_new
from latentgate.plotting.colours import INK, PALE, state_colours, state_names
from latentgate.plotting.texts import with_unit

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from latentgate.data import Sequences
    from latentgate.data.jump_processes import JumpPath


def prevalence(counts: xr.Dataset, *, names: Many[str] | None = None, unit: str | None = None, ax: Many[Axes] | None = None) -> list[Axes]:
    """Share of the subjects under observation in each state over time, as the data have it (steps) and as the model expects it (dashed), a panel a state.

    Time is measured from each subject's first row.

    Args:
        counts: from `latentgate.jump_processes.prevalence`.
        names: of the states.
        unit: of time.
        ax: one axes a state; None makes a figure.

    Returns:
        the axes of the states.

    Raises:
        ValueError: for a dataset without `observed` and `expected`, or another number of axes or names than states.

    Example:
        >>> import xarray as xr
        >>> shares = {name: (("time", "state"), [[4.0, 0.0], [1.5, 2.5]]) for name in ("observed", "expected")}
        >>> counts = xr.Dataset(shares | {"at_risk": ("time", [4.0, 4.0])}, coords={"time": [0.0, 1.0]})
        >>> [axes.get_title() for axes in prevalence(counts, names=["well", "ill"], unit="years")]
        ['well', 'ill']
    """
    missing = [name for name in ("observed", "expected", "at_risk") if name not in getattr(counts, "data_vars", ())]
    if missing:
        raise ValueError(f"counts: found no {missing[0]!r}, expected the dataset that latentgate.jump_processes.prevalence returns.")
    num_states = counts.sizes["state"]
    names = checked_names(names, num_states, "state", state_names(num_states))
    panels = panels_or_new(ax, num_states, "one a state", 1.0 + 2.2 * num_states, 2.6, share="y")
    at_risk = counts["at_risk"].values
    times = counts["time"].values[at_risk > 0]
    shares = {which: 100 * counts[which].values[at_risk > 0] / at_risk[at_risk > 0, None] for which in ("observed", "expected")}
    for state, (panel, colour) in enumerate(zip(panels, state_colours(num_states), strict=True)):
        panel.step(times, shares["observed"][:, state], where="mid", color=colour, linewidth=2.2, label="observed")
        panel.plot(times, shares["expected"][:, state], color=INK, linewidth=1.2, linestyle=(0, (4, 2)), label="expected")
        panel.set(title=names[state], ylim=(0, 100), xlim=(times[0], times[-1]), xlabel=with_unit("time", unit))
        panel.tick_params(labelleft=state == 0)
        bare(panel)
    panels[0].set_ylabel("per cent of subjects")
    panels[0].legend(frameon=False, fontsize="small")
    return panels


def jump_paths(
    paths: Many[JumpPath],
    data: Sequences | None = None,
    *,
    sequence: int = 0,
    observations: Any = None,
    names: Many[str] | None = None,
    num_states: int | None = None,
    unit: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Paths of one sequence as steps through its states, drawn faintly over each other, with the observations as points in front.

    Args:
        paths: of one sequence, for instance `[draw[3] for draw in latentgate.jump_processes.sample_paths(...)]` for sequence 3.
        data: the sequences, for the times of observations.
        sequence: which of them the paths are of.
        observations: states to be shown at the rows, [time], NaN for none (or a label that is no state); the feature "state", or the only feature, if None.
        names: of the states, from the lowest line up.
        num_states: K; as many as the paths and observations visit, if None.
        unit: of time.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: without paths, for observations of another length than the sequence, or another number of names than states.
        IndexError: for a sequence that there is none of.

    Example:
        >>> from latentgate.data.jump_processes import flashing_ratchet, simulate_jump_path
        >>> path = simulate_jump_path(0, flashing_ratchet(), initial=3, duration=2.5)
        >>> len(jump_paths([path]).lines)
        1
    """
    if hasattr(paths, "log_joint_history") or not len(paths):
        raise ValueError("paths: found none, expected at least one path of the sequence, as latentgate.jump_processes.sample_paths draws them.")
    times, seen = _observations(data, sequence, observations)
    visited = [*(int(path.states.max()) for path in paths), *seen[np.isfinite(seen)].astype(int)]
    num_states = max(visited) + 1 if num_states is None else num_states
    names = checked_names(names, num_states, "state", state_names(num_states))
    ax = axes_or_new(ax, 7.5, 0.9 + 0.45 * num_states)
    # Each draw a hair aside of the others, so that many on one line look denser than one.
    asides = np.linspace(-0.16, 0.16, len(paths)) if len(paths) > 1 else np.zeros(1)
    strength = max(0.1, min(1.0, 8.0 / len(paths)))
    for path, aside in zip(paths, asides, strict=True):
        ax.step([*path.times, path.end], [*path.states + aside, path.states[-1] + aside], where="post", color="#0072B2", linewidth=0.9, alpha=strength)
    if times.size:
        ax.vlines(times, -0.5, num_states - 0.5, color=PALE, linewidth=0.6, zorder=1)
        colours = state_colours(num_states)
        known = np.isfinite(seen)
        ax.scatter(times[known], seen[known], 34, color=colours[seen[known].astype(int)], edgecolor="white", linewidth=0.8, zorder=4, clip_on=False)
    end = max(path.end for path in paths)
    ax.set(xlim=(paths[0].times[0], end), ylim=(-0.5, num_states - 0.5), yticks=range(num_states), yticklabels=names)
    ax.set_xlabel(with_unit("time", unit))
    bare(ax)
    return ax


def _observations(data: Sequences | None, sequence: int, observations: Any) -> tuple[np.ndarray, np.ndarray]:
    """Times of the rows and the states to be shown there, NaN for none."""
    if data is None:
        if observations is not None:
            raise ValueError("observations: found some without data, expected data= with them, for their times.")
        return np.zeros(0), np.zeros(0)
    times, length = _times(data, sequence)
    if observations is None:
        known = data.names or ()
        column = known.index("state") if "state" in known else 0 if data.num_features == 1 else None
        seen = np.full(length, np.nan) if column is None else np.where(data.observed[sequence, :length, column], data.values[sequence, :length, column], np.nan)
    else:
        seen = np.asarray(observations, float)
    if seen.shape != (length,):
        raise ValueError(f"observations: found shape {seen.shape}, expected ({length},), one a row of sequence {sequence}.")
    return times, seen


def smoothed_states(
    probabilities: Any, data: Sequences, *, sequence: int = 0, names: Many[str] | None = None, unit: str | None = None, ax: Axes | None = None
) -> Axes:
    """Probabilities of the states of one sequence over time, stacked, with a tick below at each row that shows something.

    Between rows the probabilities are joined by straight lines: `latentgate.data.times.with_times` inserts rows where they bend.

    Args:
        probabilities: [sequence, time, state], from `fit.smooth(data)`.
        data: the sequences.
        sequence: which of them.
        names: of the states.
        unit: of time.
        ax: axes to draw into; None makes a figure.

    Raises:
        TypeError: for a fit in place of probabilities.
        ValueError: for probabilities of another shape than the data's, data without times, or another number of names than states.
        IndexError: for a sequence that there is none of.

    Example:
        >>> import numpy as np
        >>> import latentgate as lg
        >>> visits = lg.Sequences.from_arrays([[0.0, 1.0]], times=[[0.0, 2.5]])
        >>> smoothed_states(np.eye(2)[None], visits, names=["well", "ill"], unit="years").get_xlabel()
        'time (years)'
    """
    checked_sequences(data)
    values = plain_array(probabilities, "probabilities", "fit.smooth(data) of a model with states")
    expected = (data.num_sequences, data.max_length)
    if values.ndim != 3 or values.shape[:2] != expected:
        raise ValueError(f"probabilities: found shape {values.shape}, expected ({expected[0]}, {expected[1]}, number of states).")
    times, length = _times(data, sequence)
    num_states = values.shape[2]
    names = checked_names(names, num_states, "state", state_names(num_states))
    ax = axes_or_new(ax, 7.5, 2.2)
    ax.stackplot(times, values[sequence, :length].T, colors=list(state_colours(num_states)), labels=names, linewidth=0)
    shown = times[np.asarray(data.observed)[sequence, :length].any(-1)]
    ax.plot(shown, np.full(len(shown), -0.04), linestyle="none", marker="|", markersize=8, color=INK, clip_on=False, label="observed")
    ax.set(xlim=(times[0], times[-1]), ylim=(0, 1), ylabel="probability")
    ax.set_xlabel(with_unit("time", unit), labelpad=8)
    ax.tick_params(axis="x", pad=9)
    legend_above(ax, num_states + 1, handlelength=1.0)
    bare(ax)
    return ax


def _times(data: Sequences, sequence: int) -> tuple[np.ndarray, int]:
    sequence = checked_sequence(sequence, checked_sequences(data))
    if data.times is None:
        raise ValueError("data: found no times, expected sequences with times; for steps of equal width use states_over_time.")
    length = int(data.lengths[sequence])
    return np.asarray(data.times)[sequence, :length], length
