"""The recording "rat_linear_track": 31 hippocampal units while a rat runs along a linear track, cut into laps."""

from __future__ import annotations

import numbers
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from latentgate.data import video_position_tracking
from latentgate.data.binning import bin_edges, number_of_bins, spike_counts
from latentgate.data.sequences import Sequences

FRAMES_PER_SECOND = 60.0
DIRECTIONS = ("backward", "forward")


def read_track(
    spikes_path: str | os.PathLike[str],
    position_path: str | os.PathLike[str],
    bin_width: float = 0.1,
    minimum_speed: float = 20.0,
    minimum_distance: float = 0.5,
    maximum_pause: float = 0.5,
    smoothing: float = 0.1,
    maximum_speed: float = 500.0,
) -> Sequences:
    """Reads the spike times and the tracked positions of the recording and cuts them into laps; see `cut_laps` for the options.

    Spike times are in seconds and video frames in ticks of a 30 kHz clock; both count from the same zero (both files begin at 4 397.0 s).

    Args:
        spikes_path: MATLAB file, `spikes[tetrode][unit].time` in s.
        position_path: file of the tracked position, see `latentgate.data.video_position_tracking`.
        bin_width, minimum_speed, minimum_distance, maximum_pause, smoothing, maximum_speed: as in `cut_laps`.

    Source: github nelpy/example-data, linear-track.
    """
    spikes, names = _read_spikes(spikes_path)
    tracked = video_position_tracking.read(position_path)
    return cut_laps(
        spikes,
        tracked.times,
        tracked.positions,
        names=names,
        bin_width=bin_width,
        minimum_speed=minimum_speed,
        minimum_distance=minimum_distance,
        maximum_pause=maximum_pause,
        smoothing=smoothing,
        maximum_speed=maximum_speed,
    )


def cut_laps(
    spikes: Sequence[np.ndarray],
    times: np.ndarray,
    positions: np.ndarray,
    names: Sequence[str] | None = None,
    bin_width: float = 0.1,
    minimum_speed: float = 20.0,
    minimum_distance: float = 0.5,
    maximum_pause: float = 0.5,
    smoothing: float = 0.1,
    maximum_speed: float = 500.0,
) -> Sequences:
    """Spike counts of every running lap, one sequence each, in chronological order.

    The track is the first principal axis of the smoothed positions at which the rat moves, with x growing along it; it is measured in pixels (the camera
    was not calibrated) from the 1st to the 99th percentile of these positions. A lap is a stretch of time in which the rat runs one way along the axis
    at `minimum_speed` or more, but for pauses of at most `maximum_pause`, and covers at least the share `minimum_distance` of the track. Laps in which the
    tracked spot jumps (faster than `maximum_speed`) are left out.

    Args:
        spikes: spike times of each unit in s, on the clock of `times`.
        times: [frame], s, strictly increasing.
        positions: [frame, 2], pixels.
        names: names of the units; by default "unit 0", "unit 1", ...
        bin_width: width of the bins in s; an incomplete last bin of a lap is left out.
        minimum_speed: along the axis, pixels per s.
        minimum_distance: between the first and the last step of a lap, as a share of the length of the track, in (0, 1].
        maximum_pause: s; 0 breaks a lap at the first slow step.
        smoothing: standard deviation in s of the Gaussian that smooths the positions before speeds are taken.
        maximum_speed: pixels per s.

    Returns:
        Counts [lap, time, unit] with the input sets "position" (pixels from the lower end of the track, in the middle of the bin), "velocity" (along the
        track, pixels per s, mean over the bin) and "speed" (its magnitude), and the labels "direction" ("forward": towards greater x) and "start" (s on the
        recording's clock).

    Raises:
        ValueError: an option out of range, times and positions that do not fit, or no lap.
    """
    _check_options(bin_width, minimum_speed, minimum_distance, maximum_pause, smoothing, maximum_speed)
    times, positions = np.asarray(times, float), np.asarray(positions, float)
    if times.ndim != 1 or positions.shape != (len(times), 2) or len(times) < 2:
        raise ValueError(f"`times` has shape {times.shape} and `positions` {positions.shape}; expected [frame] and [frame, 2], two frames at least.")
    clock, position, velocity, speed, length = _along_track(times, positions, smoothing, minimum_speed, maximum_speed)
    laps = []
    for sign in (-1.0, 1.0):
        for first, last in _stretches(sign * velocity >= minimum_speed, int(maximum_pause * FRAMES_PER_SECOND)):
            covered = sign * (position[last - 1] - position[first])
            if covered >= minimum_distance * length and speed[first:last].max() <= maximum_speed:
                laps.append((clock[first], clock[last - 1], sign))
    laps = [lap for lap in sorted(laps) if lap[1] - lap[0] >= bin_width]
    if not laps:
        raise ValueError(
            "found no lap; expected at least one. Lower `minimum_speed` or `minimum_distance`, allow a longer `maximum_pause`, or narrow the bins."
        )
    edges = [bin_edges(start, bin_width, number_of_bins(end - start, bin_width)) for start, end, _ in laps]
    velocities = [np.diff(np.interp(edge, clock, position)) / bin_width for edge in edges]
    return Sequences.from_arrays(
        spike_counts(spikes, edges),
        inputs={
            "position": [np.interp(0.5 * (edge[1:] + edge[:-1]), clock, position) for edge in edges],
            "velocity": velocities,
            "speed": [np.abs(velocity) for velocity in velocities],
        },
        names=[f"unit {unit}" for unit in range(len(spikes))] if names is None else names,
        input_names={"position": ["pixels"], "velocity": ["pixels per s"], "speed": ["pixels per s"]},
        labels={"direction": [DIRECTIONS[int(sign > 0)] for _, _, sign in laps], "start": np.array([start for start, _, _ in laps])},
        bin_width=float(bin_width),
        starts=[start for start, _, _ in laps],
    )


def _check_options(bin_width: float, minimum_speed: float, minimum_distance: float, maximum_pause: float, smoothing: float, maximum_speed: float) -> None:
    options: dict[str, tuple[Any, bool, float]] = {
        "bin_width": (bin_width, False, np.inf),
        "minimum_speed": (minimum_speed, False, np.inf),
        "minimum_distance": (minimum_distance, False, 1.0),
        "maximum_pause": (maximum_pause, True, np.inf),
        "smoothing": (smoothing, False, np.inf),
        "maximum_speed": (maximum_speed, False, np.inf),
    }
    for argument, (value, zero, highest) in options.items():
        real = isinstance(value, numbers.Real) and not isinstance(value, bool) and np.isfinite(float(value))
        if not real or float(value) < 0 or (float(value) == 0 and not zero) or float(value) > highest:
            bound = "" if highest == np.inf else f" and at most {highest:g}"
            raise ValueError(f"`{argument}` is {value!r}; expected a number {'at least' if zero else 'above'} 0{bound}.")


def _read_spikes(path: str | os.PathLike[str]) -> tuple[list[np.ndarray], list[str]]:
    """Spike times (s) and names of the units that have any spike."""
    from scipy.io import loadmat

    tetrodes = loadmat(os.fspath(path), squeeze_me=True, struct_as_record=False, variable_names=["spikes"])["spikes"]
    spikes, names = [], []
    for tetrode, units in enumerate(np.atleast_1d(tetrodes), start=1):
        for unit, entry in enumerate(np.ravel(np.atleast_1d(units)), start=1):
            # Clusters that the sorter left empty are empty arrays, not structures.
            times = np.atleast_1d(np.asarray(getattr(entry, "time", []), float))
            if times.size:
                spikes.append(np.sort(times))
                names.append(f"tetrode {tetrode} unit {unit}")
    return spikes, names


def _along_track(
    times: np.ndarray, positions: np.ndarray, smoothing: float, minimum_speed: float, maximum_speed: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Clock [step], position and velocity along the track, speed in the plane, and the length of the track."""
    from scipy.ndimage import gaussian_filter1d

    clock = times[0] + np.arange(int((times[-1] - times[0]) * FRAMES_PER_SECOND) + 1) / FRAMES_PER_SECOND
    even = np.stack([np.interp(clock, times, column) for column in positions.T], axis=1)
    smooth = gaussian_filter1d(even, smoothing * FRAMES_PER_SECOND, axis=0)
    velocities = np.gradient(smooth, 1.0 / FRAMES_PER_SECOND, axis=0)
    speed = np.hypot(velocities[:, 0], velocities[:, 1])
    moving = (speed >= minimum_speed) & (speed <= maximum_speed)
    if not moving.any():
        raise ValueError(f"the tracked spot never moves at `minimum_speed` = {minimum_speed} pixels per s; lower it.")
    axis = np.linalg.svd(smooth[moving] - smooth[moving].mean(0), full_matrices=False)[2][0]
    axis = axis if axis[0] >= 0 else -axis
    position = smooth @ axis
    lower, upper = np.percentile(position[moving], [1.0, 99.0])
    return clock, position - lower, velocities @ axis, speed, float(upper - lower)


def _stretches(running: np.ndarray, longest_pause: int) -> list[tuple[int, int]]:
    """(first, one past the last) step of each run of True, runs with a pause of at most `longest_pause` steps between them joined."""
    turns = np.flatnonzero(np.diff(np.concatenate([[False], running, [False]])))
    joined: list[tuple[int, int]] = []
    for first, last in zip(turns[::2].tolist(), turns[1::2].tolist(), strict=True):
        if joined and first - joined[-1][1] <= longest_pause:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined
