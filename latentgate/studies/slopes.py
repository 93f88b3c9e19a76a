"""Slopes of losses on the scale of logarithms, with what is needed to judge them: bootstrap intervals, local slopes, a test of curvature."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import f as f_distribution

STATISTICS = ("mean", "median", "mean-log")


class Line(NamedTuple):
    """A fitted power law prefactor · n^slope.

    Attributes:
        slope, prefactor: of least squares of the log statistic on log n.
        interval: of the slope, percentiles of the bootstrap, [2].
        prefactor_interval: likewise.
        local: slopes between consecutive sizes, [size - 1].
        local_interval: [size - 1, 2].
        curvature: p-value of the F-test that a parabola fits no better than the line; NaN for fewer than four sizes.
    """

    slope: float
    prefactor: float
    interval: np.ndarray
    prefactor_interval: np.ndarray
    local: np.ndarray
    local_interval: np.ndarray
    curvature: float


def log_statistic(losses: np.ndarray, statistic: str) -> np.ndarray:
    """Log of the mean, log of the median, or mean of the log over the last axis; NaN losses are left out, and NaN is what is not finite.

    Raises:
        ValueError: for an unknown statistic.
    """
    if statistic not in STATISTICS:
        raise ValueError(f"statistic: found {statistic!r}, expected one of {', '.join(map(repr, STATISTICS))}.")
    known = ~np.isnan(losses)
    count = known.sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if statistic == "mean-log":
            found = np.where(known, np.log(losses), 0.0).sum(-1) / count
        elif statistic == "mean":
            found = np.log(np.where(known, losses, 0.0).sum(-1) / count)
        else:
            ordered = np.sort(losses, -1)
            middle = [np.take_along_axis(ordered, np.maximum(index, 0)[..., None], -1)[..., 0] for index in ((count - 1) // 2, count // 2)]
            found = np.log(0.5 * (middle[0] + middle[1]))
    return np.where(np.isfinite(found), found, np.nan)


def fit_line(sizes: np.ndarray, losses: np.ndarray, statistic: str, *, level: float, draws: int, seed: int) -> Line:
    """Least squares of the log statistic on log n; the bootstrap draws replications anew within every size.

    Args:
        sizes: [size], increasing.
        losses: [size, replication], NaN where there is none.
        statistic: see `log_statistic`.
        level: of the intervals.
        draws: of the bootstrap.
        seed: of the bootstrap.
    """
    log_sizes = np.log(np.asarray(sizes, float))
    centred = log_sizes - log_sizes.mean()
    found = log_statistic(losses, statistic)
    generator = np.random.default_rng(seed)
    resampled = np.empty((draws, len(sizes)))
    for index, row in enumerate(losses):
        known = row[~np.isnan(row)]
        if not len(known):
            resampled[:, index] = np.nan
            continue
        resampled[:, index] = log_statistic(known[generator.integers(len(known), size=(draws, len(known)))], statistic)
    slope, intercept = _least_squares(centred, log_sizes, found)
    slopes, intercepts = _least_squares(centred, log_sizes, resampled)
    with np.errstate(invalid="ignore"):
        local, locals_ = np.diff(found) / np.diff(log_sizes), np.diff(resampled) / np.diff(log_sizes)
    tails = np.array([0.5 - 0.5 * level, 0.5 + 0.5 * level])
    return Line(
        float(slope),
        float(np.exp(intercept)),
        np.quantile(slopes, tails),
        np.exp(np.quantile(intercepts, tails)),
        local,
        np.quantile(locals_, tails, axis=0).T,
        _curvature(centred, found),
    )


def _least_squares(centred: np.ndarray, log_sizes: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(invalid="ignore"):
        slope = values @ centred / (centred @ centred)
        return slope, values.mean(-1) - slope * log_sizes.mean()


def _curvature(centred: np.ndarray, values: np.ndarray) -> float:
    freedom = len(centred) - 3
    if freedom < 1 or not np.isfinite(values).all():
        return np.nan
    residuals = [values - np.polyval(np.polyfit(centred, values, degree), centred) for degree in (1, 2)]
    line, parabola = (float(residual @ residual) for residual in residuals)
    if parabola <= 0:
        return np.nan
    return float(f_distribution.sf(max(line - parabola, 0.0) / (parabola / freedom), 1, freedom))
