"""Choosing sequences: by index, and in training and test parts that never cut a group (session)."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np


def as_indices(which: Any, num_sequences: int) -> np.ndarray:
    """Indices, int [chosen], from indices (negative ones count from the end), booleans, a slice or one index.

    Raises:
        TypeError, ValueError, IndexError: not indices, nothing chosen, or an index out of range.
    """
    if isinstance(which, slice):
        which = np.arange(num_sequences)[which]
    indices = np.atleast_1d(np.asarray(which))
    if indices.ndim != 1 or indices.size == 0:
        raise ValueError(f"`which` has shape {indices.shape}; expected a flat list with at least one index.")
    if indices.dtype.kind == "b":
        if indices.size != num_sequences:
            raise ValueError(f"`which` has {indices.size} booleans for {num_sequences} sequences; expected one each.")
        indices = np.flatnonzero(indices)
        if indices.size == 0:
            raise ValueError("`which` is False for every sequence; expected at least one True.")
    if indices.dtype.kind not in "iu":
        raise TypeError(f"`which` has dtype {indices.dtype}; expected integers or booleans.")
    indices = indices.astype(np.int64)
    wrong = indices[(indices < -num_sequences) | (indices >= num_sequences)]
    if wrong.size:
        raise IndexError(f"`which` holds {wrong[0]}; expected indices of {num_sequences} sequences.")
    return indices % num_sequences


def group_numbers(groups: np.ndarray) -> np.ndarray:
    """Numbers 0, 1, ... [sequence] of the labels in `groups`, in their order of appearance."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def split_indices(groups: np.ndarray, fraction: float, seed: Any) -> tuple[np.ndarray, np.ndarray]:
    """Draws whole groups into a training and a test part.

    Args:
        groups: [sequence] labels; equal labels stay together.
        fraction: share of the groups in the training part, rounded; each part gets at least one group.
        seed: seed of `numpy.random.default_rng`.

    Returns:
        Indices of the training and of the test sequences, each in increasing order.

    Raises:
        ValueError: `fraction` not strictly between 0 and 1, or fewer than two groups.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, numbers.Real) or not 0 < float(fraction) < 1:
        raise ValueError(f"`fraction` is {fraction!r}; expected a number between 0 and 1 (both excluded), the training share.")
    group = group_numbers(groups)
    count = int(group.max()) + 1
    if count < 2:
        raise ValueError("found one group of sequences; expected two or more to split. Cut the recording into sessions.")
    num_train = min(max(round(float(fraction) * count), 1), count - 1)
    chosen = np.random.default_rng(seed).permutation(count)[:num_train]
    in_train = np.isin(group, chosen)
    return np.flatnonzero(in_train), np.flatnonzero(~in_train)


def fold_indices(groups: np.ndarray, num_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Deals whole groups in turn into folds: fold f tests groups f, f + num_folds, ... in their order of appearance.

    Args:
        groups: [sequence] labels; equal labels stay together.
        num_folds: number of folds, from 2 to the number of groups.

    Returns:
        (train indices, test indices) of each fold, in increasing order.

    Raises:
        TypeError, ValueError: `num_folds` is no integer or out of range.
    """
    if isinstance(num_folds, bool) or not isinstance(num_folds, numbers.Integral):
        raise TypeError(f"`num_folds` is {num_folds!r}; expected an integer.")
    group = group_numbers(groups)
    count = int(group.max()) + 1
    if not 2 <= num_folds <= count:
        raise ValueError(f"`num_folds` is {num_folds}; expected 2 to {count}, the number of groups (or sequences).")
    return [(np.flatnonzero(group % num_folds != fold), np.flatnonzero(group % num_folds == fold)) for fold in range(int(num_folds))]
