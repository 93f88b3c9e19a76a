"""Recordings as decoders take them: one array or one array a session, checked, with lagged bins that never leave their session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from latentgate.arguments import suspect

CONSTANT_NEURONS = ("refuse", "drop")


class Sessions(NamedTuple):
    """Arrays of sessions, laid out.

    Attributes:
        arrays: float64 [time, feature] of each session.
        single: whether the user gave one array and not a list of them.
        flat: whether the arrays had no feature dimension.
    """

    arrays: list[np.ndarray]
    single: bool
    flat: bool

    def like_given(self, arrays: Sequence[np.ndarray]) -> Any:
        """Results, one array a session, in the form in which the sessions were given."""
        return arrays[0] if self.single else list(arrays)


def read_sessions(value: Any, name: str) -> Sessions:
    """Checks one array [time, feature] or a list of them, one a session; [time] counts as one feature.

    Raises:
        ValueError: if there is no session, no bin in one, no feature, unequal numbers of features, or an infinite number.
    """
    listed = isinstance(value, list | tuple) and len(value) > 0 and np.ndim(value[0]) > 0
    given = list(value) if listed else [value]
    arrays = []
    for index, one in enumerate(given):
        place = f"{name}[{index}]" if listed else name
        try:
            array = np.asarray(one, dtype=float)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{place}: found something that is no array of numbers, expected [time, feature] ({error}).") from error
        if array.ndim not in (1, 2) or 0 in array.shape:
            kept = "a list of such arrays, one a session" if array.ndim == 3 else "with at least one bin and one feature"
            raise ValueError(f"{place}: found shape {array.shape}, expected [time, feature], {kept}.")
        if np.isinf(array).any():
            where = np.argwhere(np.isinf(array))[0]
            raise ValueError(f"{place}: found an infinite number in bin {where[0]}, expected finite numbers (NaN where a neuron was not observed).")
        arrays.append(array)
    flat = all(array.ndim == 1 for array in arrays)
    arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
    widths = sorted({array.shape[1] for array in arrays})
    if len(widths) > 1:
        raise ValueError(f"{name}: found sessions of {widths} features, expected the same number in each.")
    return Sessions(arrays, not listed, flat)


def check_width(sessions: Sessions, expected: int, name: str) -> None:
    """Raises ValueError if the sessions do not have the number of features of the training data."""
    found = sessions.arrays[0].shape[1]
    if found != expected:
        raise ValueError(f"{name}: found {found} features, expected {expected}, as in the training data.")


def check_observed(sessions: Sessions, name: str) -> None:
    """Raises ValueError for a session in which nothing was observed."""
    for index, array in enumerate(sessions.arrays):
        if np.isnan(array).all():
            raise ValueError(f"{name}: found nothing but NaN in session {index}, expected some observed bins; leave the session out.")


def read_pairs(neural: Any, kinematics: Any) -> tuple[Sessions, Sessions]:
    """Training data, checked against each other.

    Raises:
        ValueError: for sessions that do not pair bin by bin, NaN in the kinematics, or a session without any neural observation.
    """
    activity, targets = read_sessions(neural, "neural"), read_sessions(kinematics, "kinematics")
    if len(activity.arrays) != len(targets.arrays):
        raise ValueError(f"kinematics: found {len(targets.arrays)} sessions, expected {len(activity.arrays)}, as in neural.")
    check_observed(activity, "neural")
    for index, (rows, goals) in enumerate(zip(activity.arrays, targets.arrays, strict=True)):
        if len(rows) != len(goals):
            raise ValueError(f"kinematics: found {len(goals)} bins in session {index}, expected {len(rows)}, one for each bin of neural.")
        missing = np.flatnonzero(np.isnan(goals).any(1))
        if missing.size:
            raise ValueError(
                f"kinematics: found NaN in {missing.size} bins of session {index}, the first in bin {missing[0]}, expected numbers: "
                "cut the session there into two, or interpolate."
            )
    _suspect_swapped(activity, targets)
    return activity, targets


def _suspect_swapped(activity: Sessions, targets: Sessions) -> None:
    """Warns where the kinematics are spike counts and the neural activity is none: the two are then likely to have changed places."""
    if targets.arrays[0].shape[1] <= activity.arrays[0].shape[1] or not all(_are_counts(goals) for goals in targets.arrays):
        return
    if not any(_are_counts(rows) for rows in activity.arrays):
        suspect("neural", "its numbers are no counts, and those of kinematics are, in more columns. The order is fit(neural, kinematics).")


def _are_counts(array: np.ndarray) -> bool:
    known = array[~np.isnan(array)]
    return bool(((known >= 0) & (known == np.floor(known))).all())


def varying_neurons(activity: Sessions, constant_neurons: str) -> np.ndarray:
    """Which neurons a decoder uses, bool [neuron].

    Raises:
        ValueError: if `constant_neurons` is unknown, if neurons are constant and it is "refuse", or if all are constant.
    """
    if constant_neurons not in CONSTANT_NEURONS:
        raise ValueError(f"constant_neurons: found {constant_neurons!r}, expected one of {', '.join(map(repr, CONSTANT_NEURONS))}.")
    rows = np.concatenate(activity.arrays)
    # Not NumPy's NaN functions: they warn about a neuron that was never observed.
    lowest, highest = np.where(np.isnan(rows), np.inf, rows).min(0), np.where(np.isnan(rows), -np.inf, rows).max(0)
    varying = highest > lowest
    if not varying.any():
        raise ValueError("neural: found only constant neurons, expected some that vary over the bins.")
    if constant_neurons == "refuse" and not varying.all():
        names = ", ".join(map(str, np.flatnonzero(~varying)[:10]))
        raise ValueError(
            f"neural: found {int((~varying).sum())} neurons that never change (columns {names}), expected neurons that vary: "
            'leave them out, or pass constant_neurons="drop".'
        )
    return varying


def windows(session: np.ndarray, lags: int) -> np.ndarray:
    """Each bin beside the `lags` - 1 before it, newest first, [time, lags x feature]; before the first bin stands the first bin.

    Example:
        >>> import numpy as np
        >>> windows(np.array([[1.0], [2.0], [3.0]]), 2).tolist()
        [[1.0, 1.0], [2.0, 1.0], [3.0, 2.0]]
    """
    steps = np.arange(len(session))
    return np.concatenate([session[np.maximum(steps - lag, 0)] for lag in range(lags)], axis=1)


def bin_spikes(spike_times: Sequence[np.ndarray], bin_width: float, start: float, stop: float) -> np.ndarray:
    """Spike counts [bin, neuron] in half-open bins of `bin_width` from `start`; an incomplete last bin is left out.

    Args:
        spike_times: times of each neuron, in the unit of the others.
        bin_width: above 0.
        start: of the first bin.
        stop: no bin reaches beyond it.

    Raises:
        ValueError: if the width is not positive or no bin fits.

    Example:
        >>> import numpy as np
        >>> bin_spikes([np.array([0.05, 0.15, 0.17])], 0.1, 0.0, 0.3)[:, 0].tolist()
        [1.0, 2.0, 0.0]
    """
    if not bin_width > 0:
        raise ValueError(f"bin_width: found {bin_width!r}, expected a width above 0.")
    # A last bin that is complete but for rounding counts as complete.
    count = int((stop - start) / bin_width + 1e-9)
    if count < 1:
        raise ValueError(f"stop: found {stop}, expected at least one bin of {bin_width} after start = {start}.")
    edges = start + bin_width * np.arange(count + 1)
    return np.stack([np.diff(np.searchsorted(np.sort(np.asarray(times, float)), edges)) for times in spike_times], axis=1).astype(float)
