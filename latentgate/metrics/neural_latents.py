"""What the Neural Latents Benchmark asks of predicted rates besides bits per spike: behaviour, average responses and neural speed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from latentgate.data._checks import as_float_array
from latentgate.metrics.regression import correlation

# The benchmark's grid of ridge penalties.
RIDGES = np.logspace(-4, 0, 9)


def velocity_r_squared(train_rates: Any, train_velocity: Any, rates: Any, velocity: Any, train_mask: Any = None, mask: Any = None) -> float:
    """R² of the velocity that a ridge regression decodes from rates, the mean over its dimensions and over groups of trials.

    The penalty is chosen from nine values between 1e-4 and 1 by five-fold cross-validation over consecutive rows of the training trials. Bins whose velocity
    is NaN are left out. A dimension in which the true velocity does not move counts 0 (1 if it is met exactly), as in scikit-learn's `r2_score`.

    Args:
        train_rates: rates of the training trials, [trial, time, neuron].
        train_velocity: velocity in the same bins, shifted by the lag one believes in, [trial, time, dimension].
        rates: rates of the evaluated trials.
        velocity: their velocity.
        train_mask: boolean [trial, group]: training trials of each group, which has its own decoder. None: one group of all.
        mask: boolean [trial, group]: evaluated trials of each group.

    Raises:
        TypeError, ValueError: arrays that do not fit, rates that are not finite where there is a velocity, or a group without trials.

    Source: `velocity_decoding` of nlb_tools 0.0.4; Pei et al. 2021, "Neural Latents Benchmark '21".

    Example:
        >>> import numpy as np, latentgate.metrics as metrics
        >>> rates = np.random.default_rng(0).gamma(2.0, size=(20, 10, 3))
        >>> velocity = rates @ np.array([[1.0, 0.0], [-1.0, 2.0], [0.0, 1.0]])
        >>> round(metrics.velocity_r_squared(rates[:15], velocity[:15], rates[15:], velocity[15:]), 4)
        1.0
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV

    parts = []
    for prefix, part, goal, groups in (("train_", train_rates, train_velocity, train_mask), ("", rates, velocity, mask)):
        part, goal = _trials(part, f"{prefix}rates"), _trials(goal, f"{prefix}velocity")
        if part.shape[:2] != goal.shape[:2]:
            raise ValueError(f"`{prefix}rates` has shape {part.shape} but `{prefix}velocity` has {goal.shape}; expected the same trials and bins.")
        parts.append((part, goal, _groups(groups, len(part), f"{prefix}mask")))
    (train_rates, train_velocity, train_groups), (rates, velocity, groups) = parts
    if train_groups.shape[1] != groups.shape[1]:
        raise ValueError(f"`train_mask` has {train_groups.shape[1]} groups but `mask` has {groups.shape[1]}; expected as many.")
    scores = []
    for group in range(groups.shape[1]):
        learned_from = _with_velocity(train_rates[train_groups[:, group]], train_velocity[train_groups[:, group]], "train_")
        scored_on = _with_velocity(rates[groups[:, group]], velocity[groups[:, group]], "")
        scores.append(GridSearchCV(Ridge(), {"alpha": RIDGES}).fit(*learned_from).score(*scored_on))
    return float(np.mean(scores))


def psth_r_squared(psth: Any, rates: Any, conditions: Sequence[Any], jitter: Any = None) -> float:
    """R² of the mean predicted rates of each condition against its peri-stimulus time histogram, the mean over neurons.

    Conditions and bins are stacked before the score is taken. A neuron whose histogram is constant counts 0 (1 if it is met exactly), as in scikit-learn's
    `r2_score`.

    Args:
        psth: [condition, time, neuron]; bins whose first neuron is NaN are left out.
        rates: predicted rates of the evaluated trials, [trial, time, neuron].
        conditions: for each condition the indices of its trials; a condition without any is left out.
        jitter: by how many bins each trial has been cut later than its condition's histogram, [trial], of either sign; None: 0. Rates are moved back, and
            a bin that a trial of the condition does not reach must not be among the histogram's.

    Raises:
        TypeError, ValueError: arrays that do not fit, no condition with trials, or rates missing where a histogram has a bin.

    Source: `eval_psth` of nlb_tools 0.0.4; Pei et al. 2021, "Neural Latents Benchmark '21".

    Example:
        >>> import numpy as np, latentgate.metrics as metrics
        >>> rates = np.arange(24.0).reshape(4, 3, 2)
        >>> metrics.psth_r_squared(np.stack([rates[:2].mean(0), rates[2:].mean(0)]), rates, [[0, 1], [2, 3]])
        1.0
    """
    from sklearn.metrics import r2_score

    psth, rates = _trials(psth, "psth"), _trials(rates, "rates")
    if psth.shape[1:] != rates.shape[1:]:
        raise ValueError(f"`psth` has shape {psth.shape} but `rates` has {rates.shape}; expected the same bins and neurons.")
    if len(conditions) != len(psth):
        raise ValueError(f"`conditions` has {len(conditions)} entries for {len(psth)} histograms; expected one each.")
    shifts = np.zeros(len(rates), int) if jitter is None else np.asarray(jitter)
    if shifts.shape != (len(rates),) or shifts.dtype.kind not in "iu":
        raise ValueError(f"`jitter` has shape {shifts.shape} and dtype {shifts.dtype}; expected {len(rates)} integers, one for each trial.")
    truth, predicted = [], []
    for condition, (histogram, chosen) in enumerate(zip(psth, conditions, strict=True)):
        chosen = np.asarray(chosen)
        if chosen.size == 0:
            continue
        there = ~np.isnan(histogram[:, 0])
        mean = np.mean([_later(rates[trial], int(shifts[trial])) for trial in chosen.astype(int)], axis=0)[there]
        if np.isnan(mean).any():
            raise ValueError(f"`rates` is NaN, after jitter, in bins of condition {condition} that its histogram has; expected rates in all of them.")
        truth.append(histogram[there])
        predicted.append(mean)
    if not truth:
        raise ValueError("`conditions` is empty for every histogram; expected the trials of at least one.")
    return float(r2_score(np.concatenate(truth), np.concatenate(predicted)))


def speed_interval_correlation(rates: Any, inside: Any, intervals: Any, conditions: Any) -> float:
    """Correlation of neural speed with the interval that the animal then produced: Pearson's r within each condition, averaged over conditions.

    Speed is the mean Euclidean distance between the rates of consecutive bins inside a trial's window. If time is kept by how fast activity runs through
    one and the same path, faster trials are shorter ones, and the correlation is negative.

    Args:
        rates: predicted rates, [trial, time, neuron].
        inside: boolean [trial, time], the bins of each trial's window (between set and go).
        intervals: produced interval of each trial, [trial].
        conditions: what trials are grouped by, [trial] or [trial, factor]; trials with NaN in it are left out.

    Raises:
        TypeError, ValueError: arrays that do not fit, a condition of fewer than two trials or without any variation, or a trial with fewer than
            two bins inside.

    Source: `speed_tp_correlation` of nlb_tools 0.0.4; Sohn, Narain, Meirhaeghe, Jazayeri, Neuron 103:934 (2019).

    Example:
        >>> import numpy as np, latentgate.metrics as metrics
        >>> speeds = np.array([1.0, 2.0, 3.0])
        >>> rates = speeds[:, None, None] * np.arange(5.0)[None, :, None]
        >>> round(metrics.speed_interval_correlation(rates, np.ones((3, 5), bool), 10.0 - speeds, np.zeros(3)), 9)
        -1.0
    """
    rates = _trials(rates, "rates")
    inside = np.asarray(inside)
    if inside.shape != rates.shape[:2] or inside.dtype != bool:
        raise ValueError(f"`inside` has shape {inside.shape} and dtype {inside.dtype}; expected booleans of shape {rates.shape[:2]}.")
    intervals, conditions = as_float_array(intervals, "`intervals`"), as_float_array(conditions, "`conditions`")
    conditions = conditions[:, None] if conditions.ndim == 1 else conditions
    if intervals.shape != (len(rates),) or conditions.ndim != 2 or len(conditions) != len(rates):
        raise ValueError(
            f"`intervals` has shape {intervals.shape} and `conditions` {conditions.shape}; expected ({len(rates)},) and ({len(rates)}, number of factors)."
        )
    correlations = []
    for condition in np.unique(conditions[~np.isnan(conditions).any(axis=1)], axis=0):
        trials = np.flatnonzero((conditions == condition).all(axis=1))
        short = trials[inside[trials].sum(axis=1) < 2]
        if short.size:
            raise ValueError(f"`inside` has fewer than 2 bins in trial {short[0]}; expected 2 or more, as speed is measured between bins.")
        if len(trials) < 2:
            raise ValueError(f"`conditions` has one trial of condition {condition.tolist()}; expected 2 or more of each, to correlate.")
        speeds = [np.linalg.norm(np.diff(rates[trial][inside[trial]], axis=0), axis=1).mean() for trial in trials]
        correlations.append(correlation(speeds, intervals[trials], average=True))
    if not correlations:
        raise ValueError("`conditions` is NaN in every trial; expected at least one condition.")
    return float(np.mean(correlations))


def _trials(value: Any, argument: str) -> np.ndarray:
    array = as_float_array(value, f"`{argument}`")
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(f"`{argument}` has shape {array.shape}; expected three dimensions, [trial, time, feature], none of them empty.")
    return array


def _groups(mask: Any, num_trials: int, argument: str) -> np.ndarray:
    groups = np.ones((num_trials, 1), bool) if mask is None else np.asarray(mask)
    if groups.ndim != 2 or len(groups) != num_trials or groups.dtype != bool:
        raise ValueError(f"`{argument}` has shape {groups.shape} and dtype {groups.dtype}; expected booleans of shape ({num_trials}, number of groups).")
    empty = np.flatnonzero(~groups.any(axis=0))
    if empty.size:
        raise ValueError(f"`{argument}` is False in every trial for group {empty[0]}; expected at least one trial in each group.")
    return groups


def _with_velocity(rates: np.ndarray, velocity: np.ndarray, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both where the velocity is known."""
    rates, velocity = rates.reshape(-1, rates.shape[-1]), velocity.reshape(-1, velocity.shape[-1])
    known = ~np.isnan(velocity).any(axis=1)
    if not np.isfinite(rates[known]).all():
        raise ValueError(f"`{prefix}rates` is not finite in bins whose velocity is known; expected numbers in all of them.")
    return rates[known], velocity[known]


def _later(rates: np.ndarray, shift: int) -> np.ndarray:
    """Rates [time, neuron] moved to later bins, or earlier by a negative shift; NaN comes in at the end that is laid bare."""
    moved = np.full_like(rates, np.nan)
    if shift >= 0:
        moved[shift:] = rates[: len(rates) - shift]
    else:
        moved[:shift] = rates[-shift:]
    return moved
