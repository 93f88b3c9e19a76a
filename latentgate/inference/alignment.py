"""Which state of one fit is which state of another: linear assignment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

STATE_AXES = ("state", "next_state")


def has_states(dims: Mapping[str, Sequence[str]]) -> bool:
    """Whether parameters with these dimensions belong to states that can be renumbered."""
    return any(dim in STATE_AXES for axes in dims.values() for dim in axes)


def match_rows(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Permutation p such that other[p] is nearest to reference in squared distance; rows [state, feature]."""
    distance = ((reference[:, None] - other[None]) ** 2).sum(-1)
    return linear_sum_assignment(distance)[1]


def match_labels(reference: np.ndarray, other: np.ndarray, num_states: int) -> np.ndarray:
    """Permutation p such that label p[k] of `other` overlaps most with label k of `reference`; labels [...], negative ones ignored."""
    reference, other = np.asarray(reference).ravel(), np.asarray(other).ravel()
    real = (reference >= 0) & (other >= 0)
    overlap = np.zeros((num_states, num_states))
    np.add.at(overlap, (reference[real], other[real]), 1)
    return linear_sum_assignment(-overlap)[1]


def permute_states(params: Mapping[str, np.ndarray], dims: Mapping[str, Sequence[str]], order: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters with their states reordered: new state k is old state order[k]."""
    result = {}
    for name, value in params.items():
        for axis, dim in enumerate(dims[name]):
            if dim in STATE_AXES:
                value = np.take(np.asarray(value), order, axis)
        result[name] = np.asarray(value)
    return result


def _num_states(params: Mapping[str, np.ndarray], dims: Mapping[str, Sequence[str]]) -> int:
    return next(np.shape(params[name])[axes.index(dim)] for name, axes in dims.items() for dim in axes if dim in STATE_AXES)


def match_params(reference: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], dims: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Permutation of the states of `other` that brings its parameters nearest to `reference`.

    Only parameters with a single state axis are compared (a permutation acts on them row by row); each is divided by the spread of the reference. Where
    there are none to compare, states stay as they are. Empty for a model without states.
    """
    if not has_states(dims):
        return np.zeros(0, int)

    compared = {
        name: [dim in STATE_AXES for dim in axes].index(True)
        for name, axes in dims.items()
        if [dim in STATE_AXES for dim in axes].count(True) == 1 and not name.startswith("initial.")
    }
    if not compared:
        return np.arange(_num_states(reference, dims))

    def features(params: Mapping[str, np.ndarray]) -> np.ndarray:
        columns = []
        for name, axis in compared.items():
            rows = np.moveaxis(np.asarray(params[name]), axis, 0).reshape(np.shape(params[name])[axis], -1)
            spread = np.asarray(reference[name]).std()
            columns.append(rows / (spread * np.sqrt(rows.shape[1]) if spread > 0 else 1.0))
        return np.concatenate(columns, axis=1)

    return match_rows(features(reference), features(other))
