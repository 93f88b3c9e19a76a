"""Errors that several emissions share."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from latentgate.arguments import at_least, described, positive
from latentgate.data import Sequences

from ..distributions import mended

# How far the spread of a feature may lie from `scale` before the default priors are questioned.
_SUSPECT_RATIO = 30.0

__all__ = ["at_least", "positive", "prior_or", "refuse_idle_prior", "warn_about_scale"]


def prior_or(name: str, prior: dist.Distribution | Literal["flat"] | None, default: dist.Distribution) -> dist.Distribution:
    """The prior given, the default for None, or for "flat" a constant density on the default's support.

    Raises:
        ValueError: unless it is a numpyro distribution, and not one on all real numbers for a parameter that is bounded.
    """
    if isinstance(prior, str) and prior == "flat":
        return dist.ImproperUniform(default.support, (), ())
    if prior is None:
        return mended(default)
    if not isinstance(prior, dist.Distribution):
        raise ValueError(f"{name}: found {described(prior)}, expected a distribution of numpyro, for example {type(default).__name__}(...), or None.")
    if prior.support is constraints.real and default.support is not constraints.real and not isinstance(prior, dist.Delta):
        raise ValueError(
            f"{name}: found {type(prior).__name__}, which gives weight to every real number, expected one on the support of this parameter, "
            f"as {type(default).__name__} is (support: {_support(default)}); the support of a prior is the constraint of its parameter."
        )
    return mended(prior)


def _support(law: dist.Distribution) -> str:
    return type(law.support).__name__.strip("_").replace("_", " ")


def refuse_idle_prior(name: str, prior: dist.Distribution | None, exists: bool, why: str) -> None:
    """Raises ValueError for a prior of a parameter that the emission has not: accepted, it would change nothing."""
    if prior is not None and not exists:
        raise ValueError(f"{name}: found {type(prior).__name__}, expected None, since {why}; leave it out.")


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
