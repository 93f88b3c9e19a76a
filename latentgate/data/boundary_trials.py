"""Trials that end where a process reaches a boundary: counts as sequences with one row more, for the end itself."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from latentgate.data.sequences import Sequences

BOUNDARY, CONDITION = "boundary", "condition"
_ENDS = {False: 0.0, True: 1.0, "first": 2.0, "last": 3.0}


def boundary_trials(counts: Any, bin_width: float, *, ended: Any = True, conditions: Any = None, **annotations: Any) -> Sequences:
    """Sequences for models whose process ends at a boundary.

    The counts of bin t are rows 0 to T - 1, at the beginnings of the bins; no boundary has been reached then. A trial that has ended gets one row more,
    without counts, at the end of the last bin: a boundary was reached within that bin.

    Args:
        counts: one array [time, neuron] a trial; NaN marks missing entries.
        bin_width: width of a bin, in the units in which time is to be measured (s, say).
        ended: how trials ended: True (at one of the boundaries), False (not yet: the observer stopped), "first" or "last" for a known boundary; one value for
            all trials, or a list with one for each.
        conditions: number of the condition of each trial, 0, 1, ...; None for no such input set.
        **annotations: names, labels, events, groups: as in `Sequences.from_arrays`.

    Returns:
        Sequences with times, the input set "boundary" (0; in the last row 1, 2 or 3 as `ended` is True, "first" or "last") and, with conditions, "condition".

    Raises:
        ValueError: for a width that is not positive, an unknown end, or another number of ends or conditions than trials.

    Example:
        >>> import numpy as np
        >>> from latentgate.data.boundary_trials import boundary_trials
        >>> trials = boundary_trials([np.zeros((3, 2)), np.ones((5, 2))], 0.02)
        >>> trials.lengths.tolist(), trials.inputs["boundary"][0, :, 0].tolist()
        ([4, 6], [0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    """
    if isinstance(bin_width, bool) or not isinstance(bin_width, numbers.Real) or not 0 < float(bin_width) < np.inf:
        raise ValueError(f"bin_width: found {bin_width!r}, expected a positive number.")
    arrays = [np.asarray(trial, float) for trial in counts]
    for index, trial in enumerate(arrays):
        if trial.ndim != 2 or not len(trial):
            raise ValueError(f"counts: found shape {trial.shape} in trial {index}, expected [time, neuron] with at least one bin.")
    ends = [ended] * len(arrays) if isinstance(ended, bool | np.bool_ | str) else list(ended)
    if len(ends) != len(arrays):
        raise ValueError(f"ended: found {len(ends)} entries, expected one for each of the {len(arrays)} trials.")
    for index, end in enumerate(ends):
        if not isinstance(end, bool | np.bool_ | str) or end not in _ENDS:
            raise ValueError(f'ended: found {end!r} for trial {index}, expected True, False, "first" or "last".')
    codes = [_ENDS[end if isinstance(end, str) else bool(end)] for end in ends]
    more = [np.zeros((int(code > 0), trial.shape[1])) * np.nan for trial, code in zip(arrays, codes, strict=True)]
    rows = [np.concatenate([trial, end]) for trial, end in zip(arrays, more, strict=True)]
    inputs = {BOUNDARY: [np.append(np.zeros(len(trial)), [code] * (code > 0))[:, None] for trial, code in zip(arrays, codes, strict=True)]}
    if conditions is not None:
        numbers_given = np.asarray(conditions)
        if numbers_given.shape != (len(arrays),):
            raise ValueError(f"conditions: found shape {numbers_given.shape}, expected ({len(arrays)},), one number a trial.")
        inputs[CONDITION] = [np.full((len(row), 1), float(number)) for row, number in zip(rows, numbers_given, strict=True)]
    return Sequences.from_arrays(rows, inputs=inputs, times=[float(bin_width) * np.arange(len(row)) for row in rows], bin_width=float(bin_width), **annotations)
