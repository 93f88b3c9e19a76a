"""Inputs in units of their own spread: what was taken off and divided by stays with the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from latentgate.data.sequences import Sequences

Scales = Mapping[str, tuple[np.ndarray, np.ndarray]]


def standardized(data: Sequences, names: Any = None, like: Sequences | None = None) -> Sequences:
    """See `Sequences.standardized`."""
    if like is not None:
        if names is not None:
            raise ValueError("`names` is given together with `like`; expected one of them: `like` says which input sets are scaled.")
        _check_like(data, like)
        scales = like.input_scales
    else:
        scales = {name: _scale(data, name) for name in _chosen(data, names)}
    done = sorted(set(scales) & set(data.input_scales))
    if done:
        raise ValueError(f"inputs[{done[0]!r}] is standardised already; expected inputs in their original units. Standardise once, from the raw inputs.")
    inputs = dict(data.inputs)
    real = np.asarray(data.mask)[..., None]
    for name, (centre, unit) in scales.items():
        inputs[name] = np.where(real, (np.asarray(data.inputs[name]) - centre) / unit, 0.0)
    # What a model found in the old inputs does not hold for the new.
    return dataclasses.replace(data, inputs=inputs, input_scales=data.input_scales | dict(scales), shared={})


def same_scales(first: Scales, second: Scales) -> bool:
    """Whether inputs are in the same units."""
    if set(first) != set(second):
        return False
    return all(np.array_equal(one, other) for name in first for one, other in zip(first[name], second[name], strict=True))


def _chosen(data: Sequences, names: Any) -> list[str]:
    if names is None:
        if not data.inputs:
            raise ValueError("`data` has no inputs to standardise; expected some. Give `inputs` when building it.")
        return list(data.inputs)
    listed = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in listed if name not in data.inputs]
    if unknown:
        raise ValueError(f"`names` has the input set {unknown[0]!r}; there are: {', '.join(data.inputs) or 'none'}.")
    return listed


def _scale(data: Sequences, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column over the real steps; 0 and 1 of a column that never changes."""
    rows = np.asarray(data.inputs[name], float)[np.asarray(data.mask)]
    constant = np.ptp(rows, axis=0) == 0
    return np.where(constant, 0.0, rows.mean(0)), np.where(constant, 1.0, rows.std(0))


def _check_like(data: Sequences, like: Sequences) -> None:
    if not isinstance(like, Sequences) or not like.input_scales:
        found = "sequences whose inputs are not standardised" if isinstance(like, Sequences) else type(like).__name__
        raise ValueError(f"`like` is {found}; expected what data.standardized() returned for the training data.")
    for name, (centre, _) in like.input_scales.items():
        found = data.num_inputs.get(name)
        if found != len(centre):
            has = "no such input set" if found is None else f"{found} columns"
            raise ValueError(f"inputs[{name!r}] of `data`: found {has}, expected {len(centre)} columns, as in `like`.")
