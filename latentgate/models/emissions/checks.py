"""Errors that several emissions share."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import numpyro.distributions as dist

from latentgate.data import Sequences

from ..distributions import mended

# How far the spread of a feature may lie from `scale` before the default priors are questioned.
_SUSPECT_RATIO = 30.0


def at_least(name: str, value: int, smallest: int = 1) -> int:
    """The value as an integer.

    Raises:
        ValueError: unless it is an integer of at least `smallest`.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < smallest:
        raise ValueError(f"{name}: found {value!r}, expected an integer of at least {smallest}.")
    return int(value)


def positive(name: str, value: float) -> float:
    """The value, a positive finite number.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < np.inf:
        raise ValueError(f"{name}: found {value!r}, expected a positive number.")
    return float(value)


def prior_or(name: str, prior: dist.Distribution | Literal["flat"] | None, default: dist.Distribution) -> dist.Distribution:
    """The prior given, the default for None, or for "flat" a constant density on the default's support.

    Raises:
        ValueError: unless it is a numpyro distribution.
    """
    if isinstance(prior, str) and prior == "flat":
        return dist.ImproperUniform(default.support, (), ())
    if prior is None:
        return mended(default)
    if not isinstance(prior, dist.Distribution):
        raise ValueError(f"{name}: found {prior!r}, expected a distribution of numpyro, for example {type(default).__name__}(...), or None.")
    return mended(prior)


def refuse_idle_prior(name: str, prior: dist.Distribution | None, exists: bool, why: str) -> None:
    """Raises ValueError for a prior of a parameter that the emission has not: accepted, it would change nothing."""
    if prior is not None and not exists:
        raise ValueError(f"{name}: found {type(prior).__name__}, expected None, since {why}; leave it out.")


def check_categories(owner: str, num_categories: int, data: Sequences) -> None:
    """Raises ValueError at the first observed value that is not one of 0, 1, ..., num_categories - 1."""
    values, observed = np.asarray(data.values), np.asarray(data.observed)
    wrong = observed & ((values < 0) | (values >= num_categories) | (values != np.floor(values)))
    if wrong.any():
        sequence, step, feature = np.argwhere(wrong)[0]
        known = "0 or 1" if num_categories == 2 else f"integers 0 to {num_categories - 1}"
        raise ValueError(
            f"data: found {values[sequence, step, feature]:g} in sequence {sequence}, step {step}, feature {feature}, expected {known} for {owner}; "
            "recode the values, and mark what is missing by NaN."
        )


def warn_about_scale(owner: str, scale: float, data: Sequences) -> None:
    """Warns where a feature's spread is so far from `scale` that default priors made for it would decide the fit."""
    values = np.where(np.asarray(data.observed), np.asarray(data.values), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        deviation = np.nanstd(values, axis=(0, 1))
    ratio = deviation / scale
    suspect = np.flatnonzero((ratio > _SUSPECT_RATIO) | ((ratio > 0) & (ratio < 1 / _SUSPECT_RATIO)))
    if suspect.size:
        warnings.warn(
            f"scale: found {scale:g} and a standard deviation of {deviation[suspect[0]]:.3g} in feature {suspect[0]}, expected numbers of one order "
            f"for the default priors of {owner}; standardise the features, pass scale=..., or pass priors of your own.",
            UserWarning,
            stacklevel=3,
        )
