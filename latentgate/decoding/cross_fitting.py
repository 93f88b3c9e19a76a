"""Predictions of training bins by regressors that have not seen them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from sklearn.base import clone


def contiguous_blocks(sessions: np.ndarray, folds: int, gap: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Blocks of neighbouring bins, each with the bins that are far enough from it to learn from.

    Whole sessions make up the blocks where there are as many sessions as blocks, at least.

    Args:
        sessions: session of each row, not decreasing, [row].
        folds: number of blocks.
        gap: rows next to a block, in its session, that are left out of learning.

    Returns:
        (rows of the block, bool mask [row] of the rows to learn from), one a block; the blocks cover all rows once.

    Raises:
        ValueError: if there are fewer than two blocks, or too few rows.
    """
    if isinstance(folds, bool) or not isinstance(folds, int | np.integer) or folds < 2:
        raise ValueError(f"folds: found {folds!r}, expected an integer of at least 2.")
    count = len(sessions)
    if count < 4 * folds:
        raise ValueError(f"neural: found {count} complete bins, expected at least {4 * folds} for {folds} folds.")
    edges = np.linspace(0, count, folds + 1).astype(int)
    starts = np.flatnonzero(np.diff(sessions, prepend=sessions[0] - 1))
    if len(starts) >= folds:
        edges = np.concatenate([[0], starts[np.abs(starts[:, None] - edges[1:-1]).argmin(0)], [count]])
        edges = np.unique(edges)
    rows = np.arange(count)
    blocks = []
    for first, last in itertools.pairwise(edges):
        near = (rows >= first - gap) & (rows < first) & (sessions == sessions[first])
        near |= (rows >= last) & (rows < last + gap) & (sessions == sessions[last - 1])
        blocks.append((rows[first:last], ~near & ((rows < first) | (rows >= last))))
    return blocks


def held_out_predictions(fitted: Any, activity: np.ndarray, targets: np.ndarray, blocks: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Predictions of each block by a regressor that learned from the others, [row, target].

    Args:
        fitted: regressor fitted on all rows. One with a method of this name, taking the blocks, keeps its hyperparameters; others are cloned and fitted again.
        activity: [row, feature].
        targets: [row, target].
        blocks: see `contiguous_blocks`.
    """
    if hasattr(fitted, "held_out_predictions"):
        return np.reshape(fitted.held_out_predictions(blocks), targets.shape)
    predictions = np.zeros_like(targets)
    for rows, kept in blocks:
        regressor: Any = clone(fitted)
        regressor.fit(activity[kept], _target(targets[kept]))
        predictions[rows] = np.reshape(regressor.predict(activity[rows]), (len(rows), -1))
    return predictions


def _target(targets: np.ndarray) -> np.ndarray:
    return targets[:, 0] if targets.shape[1] == 1 else targets
