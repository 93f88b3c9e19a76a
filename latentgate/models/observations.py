"""Do these observations belong to the model? If not, what was found, what was expected, and what probably happened."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from latentgate.arguments import suspect
from latentgate.data import Sequences

# The arguments that size a model by the columns of its data.
_SIZES = ("emission_dim", "num_neurons", "num_features")
# How far from whole numbers counts may be that were only rounded on their way.
_ROUNDING = 1e-3
# Counts that are not zero: below this a common divisor may be chance.
_ENOUGH = 20


def require_sequences(data: Any, argument: str = "data") -> None:
    """Raises TypeError unless an argument is a `Sequences`."""
    if isinstance(data, Sequences):
        return
    advice = "read a recording with lg.load(...)" if isinstance(data, str) else "wrap arrays with lg.Sequences.from_arrays([...])"
    raise TypeError(f"{argument}: found {type(data).__name__}, expected lg.Sequences; {advice}.")


def check_features(owner: Any, expected: int, data: Sequences) -> None:
    """Raises ValueError unless the data have `expected` columns; the owner is the model, or the part of it, that reads them."""
    found = data.num_features
    if found == expected:
        return
    counted = f"{found} feature{'s' * (found != 1)}"
    advice = _shape_advice(owner, expected, data)
    raise ValueError(f"data: found {counted}, expected {expected} for {type(owner).__name__}; arrays are [time, feature]. {advice}")


def _shape_advice(owner: Any, expected: int, data: Sequences) -> str:
    found, lengths = data.num_features, np.asarray(data.lengths)
    if found == 1 and expected == len(lengths):
        return (
            f"Each one-dimensional array counts as a sequence with one feature: if they are the {expected} neurons of one session, pass "
            "arrays=[np.stack(arrays, axis=1)]."
        )
    if found > 1 and (lengths == expected).all():
        return f"Every sequence has {expected} steps, so they seem to be [feature, time]: transpose each, arrays=[array.T for array in arrays]."
    if expected == 1 and _is_one_hot(data):
        return "The rows are one-hot: pass the number of the category, array.argmax(axis=1)."
    sizes = [name for name in _SIZES if name in inspect.signature(type(owner)).parameters]
    build = f"Build the model with {sizes[0]}={found}, or give" if sizes else "Give"
    return f"{build} it the {expected} column{'s' * (expected != 1)} that it was made for."


def _is_one_hot(data: Sequences) -> bool:
    values = np.asarray(data.values)[np.asarray(data.mask)]
    return bool(np.isin(values, (0.0, 1.0)).all() and (values.sum(-1) == 1).all())


def check_counts(owner: str, data: Sequences) -> None:
    """Raises ValueError at the first negative or fractional count; warns of counts that all are multiples of one number."""
    values, observed = np.asarray(data.values), np.asarray(data.observed)
    wrong = observed & ((values < 0) | (values != np.floor(values)))
    if wrong.any():
        raise ValueError(f"data: found {_first(values, wrong)}, expected counts 0, 1, 2, ... for {owner}; {_count_advice(values[observed], data)}.")
    fired = values[observed & (values > 0)]
    if fired.size >= _ENOUGH and fired.min() > 1 and fired.min() < fired.max():
        divisor = int(np.gcd.reduce(fired.astype(np.int64)))
        if divisor > 1:
            suspect(
                "counts",
                f"all of them are multiples of {divisor}, which rates in Hz are and spike counts hardly ever. Pass counts per bin: "
                f"np.rint(array / {divisor}) if {divisor} is one over the width of a bin in s.",
            )


def check_categories(owner: str, num_categories: int, data: Sequences) -> None:
    """Raises ValueError at the first observed value that is not one of 0, 1, ..., num_categories - 1."""
    values, observed = np.asarray(data.values), np.asarray(data.observed)
    wrong = observed & ((values < 0) | (values >= num_categories) | (values != np.floor(values)))
    if wrong.any():
        known = "0 or 1" if num_categories == 2 else f"integers 0 to {num_categories - 1}"
        raise ValueError(
            f"data: found {_first(values, wrong)}, expected {known} for {owner}; recode the values, and mark what is missing by NaN."
            f"{recoding(values[observed], num_categories)}"
        )


def recoding(values: np.ndarray, num_categories: int) -> str:
    """How values [value] become 0, 1, ..., num_categories - 1, as a sentence after a space; empty where it cannot be told."""
    if (values != np.floor(values)).any():
        return ""
    if values.min() == 1 and values.max() == num_categories:
        return " They count from 1: pass array - 1."
    if num_categories == 2 and set(np.unique(values)) == {-1.0, 1.0}:
        return " They are -1 and 1: pass (array + 1) / 2."
    if num_categories == 2 and values.min() >= 0:
        return " Whole numbers beyond 1 may be counts: those are for lg.emissions.Poisson, or pass array > 0."
    return ""


def _first(values: np.ndarray, wrong: np.ndarray) -> str:
    """The first wrong entry, with as many digits as show what is wrong with it, and where it is."""
    sequence, step, feature = np.argwhere(wrong)[0]
    value = float(values[sequence, step, feature])
    text = f"{value:g}" if float(f"{value:g}") != np.rint(value) or value == np.rint(value) else repr(value)
    return f"{text} in sequence {sequence}, step {step}, feature {feature}"


def _count_advice(values: np.ndarray, data: Sequences) -> str:
    """What to do about observed values [value] that are no counts."""
    fractional = values != np.floor(values)
    if np.abs(values - np.rint(values)).max() < _ROUNDING and values.min() > -_ROUNDING:
        return "they are whole numbers up to rounding: pass np.rint(array)"
    if (values < 0).any():
        if not fractional.any():
            return "spike counts are not negative: mark what is missing by NaN, or take an emission for signed numbers (lg.emissions.Gaussian)"
        return "pass the raw spike counts per bin, not rates and not centred or z-scored ones; signed numbers are for lg.emissions.Gaussian"
    if data.num_features == 1 and data.bin_width is None and _increase(data):
        return "they only increase, as spike times do: count them in bins with lg.Sequences.from_spikes(spikes, bin_width=...)"
    if data.bin_width is not None and np.abs(values * data.bin_width - np.rint(values * data.bin_width)).max() < _ROUNDING:
        return f"pass spike counts per bin, not rates: np.rint(array * {data.bin_width:g})"
    return "pass spike counts per bin, not rates"


def _increase(data: Sequences) -> bool:
    """Whether the only feature increases from step to step in every sequence."""
    steps = np.diff(np.asarray(data.values)[..., 0], axis=1)
    return bool(data.max_length > 2 and (steps[np.asarray(data.mask)[:, 1:]] > 0).all())
