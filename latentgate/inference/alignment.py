"""Which state of one fit is which state of another: linear assignment; likewise experts, and experts within states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

STATE_AXES = ("state", "next_state")
EXPERT_AXIS = "expert"


def label_axes(dims: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Dimensions whose labels are interchangeable: those of states; in a model without states those of experts."""
    named = {dim for axes in dims.values() for dim in axes}
    return STATE_AXES if named & set(STATE_AXES) else (EXPERT_AXIS,)


def has_states(dims: Mapping[str, Sequence[str]]) -> bool:
    """Whether parameters with these dimensions belong to states (or experts) that can be renumbered."""
    return any(dim in label_axes(dims) for axes in dims.values() for dim in axes)


def match_rows(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Permutation p such that other[p] is nearest to reference in squared distance; rows [state, feature]."""
    return linear_sum_assignment(_squared_distances(reference, other))[1]


def match_labels(reference: np.ndarray, other: np.ndarray, num_states: int) -> np.ndarray:
    """Permutation p such that label p[k] of `other` overlaps most with label k of `reference`; labels [...], negative ones ignored."""
    reference, other = np.asarray(reference).ravel(), np.asarray(other).ravel()
    real = (reference >= 0) & (other >= 0)
    overlap = np.zeros((num_states, num_states))
    np.add.at(overlap, (reference[real], other[real]), 1)
    return linear_sum_assignment(-overlap)[1]


def permute_states(params: Mapping[str, np.ndarray], dims: Mapping[str, Sequence[str]], order: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters with their states reordered.

    Args:
        params: arrays with the dimensions `dims`.
        dims: dimension names.
        order: [state]: new state k is old state order[k]. Or [state, 1 + expert], as `match_params` gives for states that have experts: the old state, and
            then which of its experts each new one is.
    """
    order, axes_of_labels = np.asarray(order), label_axes(dims)
    states = order if order.ndim == 1 else order[:, 0]
    result = {}
    for name, value in params.items():
        value = np.asarray(value)
        for axis, dim in enumerate(dims[name]):
            if dim in axes_of_labels:
                value = np.take(value, states, axis)
        if order.ndim == 2 and EXPERT_AXIS in dims[name]:
            state, expert = dims[name].index("state"), dims[name].index(EXPERT_AXIS)
            index = order[:, 1:] if state < expert else order[:, 1:].T
            index = np.expand_dims(index, tuple(axis for axis in range(value.ndim) if axis not in (state, expert)))
            value = np.take_along_axis(value, index, expert)
        result[name] = value
    return result


def match_params(reference: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], dims: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Permutation of the states of `other` that brings its parameters nearest to `reference`; see `permute_states`.

    Only parameters with a single state axis are compared (a permutation acts on them row by row); each is divided by the spread of the reference. Where
    there are none to compare, states stay as they are. States that have experts are compared by their best matching experts. Empty for a model without states.
    """
    if not has_states(dims):
        return np.zeros(0, int)
    labels = label_axes(dims)
    compared = {
        name: axes
        for name, axes in dims.items()
        if sum(dim in labels for dim in axes) == 1 and not name.startswith("initial.") and (EXPERT_AXIS not in axes or EXPERT_AXIS in labels)
    }
    nested = {name: axes for name, axes in dims.items() if EXPERT_AXIS in axes and EXPERT_AXIS not in labels}
    if not compared and not nested:
        return np.arange(_num_states(reference, dims))

    def features(params: Mapping[str, np.ndarray]) -> np.ndarray:
        columns = []
        for name, axes in compared.items():
            axis = [dim in labels for dim in axes].index(True)
            rows = np.moveaxis(np.asarray(params[name]), axis, 0).reshape(np.shape(params[name])[axis], -1)
            columns.append(rows / (_spread(reference[name]) * np.sqrt(rows.shape[1])))
        return np.concatenate(columns, axis=1) if columns else np.zeros((_num_states(params, dims), 0))

    distance = _squared_distances(features(reference), features(other))
    if not nested:
        return linear_sum_assignment(distance)[1]

    def experts_of(params: Mapping[str, np.ndarray]) -> np.ndarray:
        columns = []
        for name, axes in nested.items():
            rows = np.moveaxis(np.asarray(params[name]), (axes.index("state"), axes.index(EXPERT_AXIS)), (0, 1))
            rows = rows.reshape(*rows.shape[:2], -1)
            columns.append(rows / (_spread(reference[name]) * np.sqrt(rows.shape[2])))
        return np.concatenate(columns, axis=2)

    here, there = experts_of(reference), experts_of(other)
    orders = np.zeros((len(here), len(there), here.shape[1]), int)
    for one, another in np.ndindex(*orders.shape[:2]):
        pairs = _squared_distances(here[one], there[another])
        rows, orders[one, another] = linear_sum_assignment(pairs)
        distance[one, another] += pairs[rows, orders[one, another]].mean()
    states = linear_sum_assignment(distance)[1]
    return np.concatenate([states[:, None], orders[np.arange(len(states)), states]], axis=1)


def _squared_distances(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    return ((reference[:, None] - other[None]) ** 2).sum(-1)


def _spread(values: np.ndarray) -> float:
    spread = float(np.asarray(values).std())
    return spread if spread > 0 else 1.0


def _num_states(params: Mapping[str, np.ndarray], dims: Mapping[str, Sequence[str]]) -> int:
    labels = label_axes(dims)
    return next(np.shape(params[name])[axes.index(dim)] for name, axes in dims.items() for dim in axes if dim in labels)
