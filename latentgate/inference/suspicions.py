"""What may be meant but is more often a slip, looked for once before a fit: warned of, never refused."""

from __future__ import annotations

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentgate.arguments import suspect
from latentgate.data import Sequences
from latentgate.models import HMM, LangevinOnGrid, MixtureOfExperts, StateSpaceModel
from latentgate.models.transitions import Jump

# Bins this wide, in s, in which a feature counts so few events a second, are more often given in milliseconds.
_WIDE_BIN = 5.0
_SPARSE = 0.1
# A column this many spreads away from zero has lost half of the digits of float32.
_FAR_FROM_ZERO = 3e3
# How much of a gap between times may be lost to rounding.
_LOST_GAP = 0.01

_FLOAT64 = "or compute in float64: jax.config.update('jax_enable_x64', True) before anything else."


def look_over(model: Any, data: Sequences, copies: int) -> None:
    """Warns of what looks like a slip in the data, or in how large the model is for them.

    Args:
        model: the structure, whose `check` the data have passed.
        data: as the user gave them.
        copies: restarts or chains that run at once.
    """
    _swapped_axes(data)
    _milliseconds(data)
    _late_events(data)
    _never_observed(data)
    if not jax.config.read("jax_enable_x64"):
        _digits(data)
        _digits_of_times(model, data)
    if isinstance(model, StateSpaceModel) and not isinstance(model, MixtureOfExperts):
        _one_step(model, data)
    if isinstance(model, HMM) and not isinstance(model, LangevinOnGrid):
        _too_many_states(model, data, copies)
    _long_history(model, data)


def _swapped_axes(data: Sequences) -> None:
    """More features than steps prove nothing; that the steps differ more from each other than the features do is what gives [feature, time] away."""
    lengths, width = np.asarray(data.lengths), data.num_features
    known = data.names is not None or bool(data.inputs) or data.times is not None
    if known or not data.complete or not 1 < data.max_length < width or (lengths != data.max_length).any():
        return
    mean = np.asarray(data.values).mean(0)
    between_steps, between_features = width * mean.mean(1).var(ddof=1), len(mean) * mean.mean(0).var(ddof=1)
    if between_steps > 4 * between_features:
        suspect(
            "arrays",
            f"every sequence has {data.max_length} steps and {width} features, and the steps differ more from each other than the features do, as in "
            "[feature, time]; expected [time, feature]. Transpose each: arrays=[array.T for array in arrays].",
        )


def _milliseconds(data: Sequences) -> None:
    width = data.bin_width
    if width is None or width < _WIDE_BIN:
        return
    values = np.asarray(data.values)[np.asarray(data.observed)]
    if (values < 0).any() or (values != np.floor(values)).any() or values.max() < 2:
        return
    rate = values.mean() / width
    if 0 < rate < _SPARSE:
        suspect(
            "bin_width",
            f"found {width:g} s, in which a feature counts {values.mean():.2g} events, {rate:.2g} a second; {width:g} ms would make it {1000 * rate:.3g} a "
            f"second. Pass seconds: bin_width={width / 1000:g}.",
        )


def _late_events(data: Sequences) -> None:
    if data.bin_width is None:
        return
    durations = np.asarray(data.lengths) * data.bin_width
    for name, entries in data.events.items():
        late = np.array([time / duration for times, duration in zip(entries, durations, strict=True) for time in times])
        if late.size and np.median(late) > 1 and late.max() <= 1000:
            suspect(
                "events",
                f"most events of {name!r} lie beyond the ends of their sequences, as times in milliseconds would; sequences last up to {durations.max():g} s. "
                "Events are in s from the start of their sequence.",
            )


def _never_observed(data: Sequences) -> None:
    if data.complete:
        return
    absent = np.flatnonzero(~np.asarray(data.observed).any((0, 1)))
    if absent.size:
        which = f"feature {absent[0]}" if data.names is None else f"feature {absent[0]} ({data.names[absent[0]]!r})"
        others = f" and {absent.size - 1} more are" if absent.size > 1 else " is"
        suspect("data", f"{which}{others} missing (NaN) at every step, so that what the fit says of it is its prior. Leave such columns out.")


def _digits(data: Sequences) -> None:
    sets = {"feature": (np.asarray(data.values), np.asarray(data.observed))}
    mask = np.asarray(data.mask)[..., None]
    sets |= {f"column of inputs[{name!r}]": (np.asarray(values), mask) for name, values in data.inputs.items()}
    for name, (values, seen) in sets.items():
        count = np.maximum(seen.sum((0, 1)), 1)
        centre = np.where(seen, values, 0.0).sum((0, 1)) / count
        spread = np.sqrt((np.where(seen, values - centre, 0.0) ** 2).sum((0, 1)) / count)
        far = np.flatnonzero((spread > 1e-12 * np.abs(centre)) & (np.abs(centre) > _FAR_FROM_ZERO * spread))
        if far.size:
            column = far[0]
            suspect(
                "float32",
                f"{name} {column} has mean {centre[column]:g} and spread {spread[column]:.2g}, and float32 keeps seven digits. "
                f"Take the mean off and divide by the spread, {_FLOAT64}",
            )
            return


def _digits_of_times(model: Any, data: Sequences) -> None:
    if data.times is None or not isinstance(getattr(model, "transition", None), Jump):
        return
    times, real = np.asarray(data.times), np.asarray(data.mask)[:, 1:]
    gaps, kept = np.diff(times, axis=1), np.diff(times.astype(np.float32), axis=1)
    if (np.abs(kept - gaps)[real] > _LOST_GAP * gaps[real]).any():
        suspect(
            "float32", f"times up to {times.max():g} leave it no digits for gaps of {gaps[real].min():.2g}. Take off the start of each sequence, {_FLOAT64}"
        )


def _one_step(model: Any, data: Sequences) -> None:
    if data.max_length == 1 and getattr(model, "num_states", 2) > 1:
        suspect(
            "data",
            f"all {data.num_sequences} sequences have one step, so that nothing can be learned of what follows what. If the rows of one array are the steps "
            "of one session, pass it as arrays=[array].",
        )


def _too_many_states(model: HMM, data: Sequences, copies: int) -> None:
    states, steps = model.num_states, int(np.asarray(data.lengths).sum())
    if states > steps and not model.anchored:
        suspect("num_states", f"found {states} for {steps} steps in all, so that most states can never be visited. Take fewer states.")
        return
    padded, itemsize = data.num_sequences * data.max_length, jnp.zeros(()).dtype.itemsize
    # Log-likelihoods, filtered and smoothed probabilities of every step, and a matrix of transitions beside its expected counts.
    needed = copies * itemsize * (3 * padded * states + 2 * states**2)
    memory = _memory()
    if memory is not None and needed > memory:
        suspect(
            "num_states",
            f"found {states} for {padded} steps (padding included) and {copies} restarts at once, which take about {needed / 1e9:.0f} GB; the machine has "
            f"{memory / 1e9:.0f} GB. Take fewer states or restarts, or cut the sequences.",
        )


def _memory() -> float | None:
    """Bytes of the machine where they limit a fit, or None on an accelerator and where nobody tells."""
    if jax.default_backend() != "cpu" or "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")


def _long_history(model: Any, data: Sequences) -> None:
    lags = int(getattr(getattr(model, "emission", model), "num_lags", 0))
    if lags >= data.max_length:
        suspect(
            "history",
            f"found a window of {lags} steps, but the longest sequence has {data.max_length}, so that the data say nothing of the longer lags. "
            "A window is in time steps: take a shorter one, or longer sequences.",
        )
