"""Nadaraya-Watson regression with scales learned by leaving neighbourhoods out."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, check_X_y, validate_data

_CHUNK = 1000
_SMALL_CHUNK = 128


class NadarayaWatson(RegressorMixin, BaseEstimator):
    """Kernel-weighted mean of the training targets, with a normal kernel: f(x) = Σ z_i k(x, x_i) / Σ k(x, x_i).

    Scales minimise the mean square error of predictions that leave out the row itself and its neighbours in time. Features of one group share a scale: one
    group is the published regressor; one group a lag lets older bins count less.

    Args:
        groups: group 0, 1, ... of each feature; all in one group if None.
        gap: rows on either side left out with the row itself. Rows of a recording resemble their neighbours, all the more if their lagged bins overlap.
        bandwidth: one number, the standard deviation of the kernel; learned if None.
        max_rows: rows used to learn the scales, taken evenly in blocks; predictions use all rows.
        max_iterations: of the optimiser.

    Attributes:
        scales_: factor of each feature before distances are taken, [feature].

    Example:
        >>> import numpy as np
        >>> x = np.linspace(0, 6, 200)[:, None]
        >>> bool(NadarayaWatson().fit(x, np.sin(x[:, 0])).score(x, np.sin(x[:, 0])) > 0.99)
        True
    """

    def __init__(self, groups: Any = None, gap: int = 0, bandwidth: float | None = None, max_rows: int = 5000, max_iterations: int = 20):
        self.groups = groups
        self.gap = gap
        self.bandwidth = bandwidth
        self.max_rows = max_rows
        self.max_iterations = max_iterations

    def fit(self, X: Any, y: Any) -> NadarayaWatson:
        """Keeps the rows and learns the scales."""
        X, y = check_X_y(X, y, multi_output=True, y_numeric=True, dtype="float64", ensure_min_samples=2)
        self.n_features_in_ = X.shape[1]
        self.flat_ = y.ndim == 1
        targets = y[:, None] if self.flat_ else y
        if self.bandwidth is not None:
            if not self.bandwidth > 0:
                raise ValueError(f"bandwidth: found {self.bandwidth!r}, expected a number above 0, or None to learn it.")
            self.scales_ = np.full(X.shape[1], 1.0 / self.bandwidth)
        else:
            self.scales_ = self._learned(X, targets)
        self.rows_, self.targets_ = X * self.scales_, targets
        self.squares_ = (self.rows_**2).sum(1)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """f(x) for each row; far from all training rows that of the nearest."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=float)
        scaled = X * self.scales_
        means = np.concatenate([self._mean(scaled[first : first + _CHUNK])[0] for first in range(0, len(scaled), _CHUNK)])
        return means[:, 0] if self.flat_ else means

    def predict_with_weight(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """f(x), and the sum of the kernel over the training rows, which tells how many of them are near."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=float)
        scaled = X * self.scales_
        parts = [self._mean(scaled[first : first + _CHUNK]) for first in range(0, len(scaled), _CHUNK)]
        means, weights = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
        return (means[:, 0] if self.flat_ else means), weights

    def held_out_predictions(self, blocks: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Predictions of training rows from other training rows, with the learned scales.

        Args:
            blocks: (rows to predict, bool mask of the rows to predict from), which together cover all rows once.
        """
        means, _ = self.held_out_with_weight(blocks)
        return means

    def held_out_with_weight(self, blocks: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """The same, and the sums of the kernel over the rows predicted from."""
        check_is_fitted(self)
        means, weights = np.zeros_like(self.targets_), np.zeros(len(self.rows_))
        for predicted, kept in blocks:
            for first in range(0, len(predicted), _CHUNK):
                part = predicted[first : first + _CHUNK]
                means[part], weights[part] = _weighted_mean(self._distances(self.rows_[part])[:, kept], self.targets_[kept])
        return (means[:, 0] if self.flat_ else means), weights

    def _distances(self, scaled: np.ndarray) -> np.ndarray:
        distances = scaled @ (-2.0 * self.rows_.T)
        distances += self.squares_
        distances += (scaled**2).sum(1)[:, None]
        return distances

    def _mean(self, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _weighted_mean(self._distances(scaled), self.targets_)

    def _learned(self, X: np.ndarray, targets: np.ndarray) -> np.ndarray:
        groups = np.zeros(X.shape[1], int) if self.groups is None else np.asarray(self.groups)
        if groups.shape != (X.shape[1],) or not np.issubdtype(groups.dtype, np.integer) or groups.min() < 0:
            raise ValueError(f"groups: found shape {groups.shape} of {groups.dtype}, expected one group 0, 1, ... for each of the {X.shape[1]} features.")
        chosen = _even_blocks(len(X), self.max_rows)
        if len(chosen) <= 2 * self.gap + 1:
            raise ValueError(f"gap: found {self.gap}, expected less than half of the {len(chosen)} rows, so that some are left to predict from.")
        rows, goals = X[chosen] - X[chosen].mean(0), targets[chosen] - targets[chosen].mean(0)
        goals = goals / (np.sqrt(np.mean(goals**2)) or 1.0)
        num_groups = int(groups.max()) + 1

        def loss(log_scales: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = left_out_error(rows * np.exp(log_scales)[groups], goals, chosen, self.gap)
            return value, np.bincount(groups, gradient, minlength=num_groups)

        spread = np.sqrt(2.0 * rows.var(0).sum())
        starts = [np.full(num_groups, np.log(factor / spread)) for factor in (1.5, 3.0, 6.0, 12.0)]
        start = min(starts, key=lambda candidate: loss(candidate)[0])
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": self.max_iterations})
        return np.exp(found.x)[groups]


def left_out_error(scaled: np.ndarray, goals: np.ndarray, order: np.ndarray, gap: int) -> tuple[float, np.ndarray]:
    """Mean square error of kernel means without a row and its neighbours, and its gradient in the logarithm of each feature's scale.

    Args:
        scaled: features, [row, feature].
        goals: targets, [row, target].
        order: position of each row in time, increasing, [row].
        gap: largest difference of position of a neighbour.
    """
    squares = (scaled**2).sum(1)
    total, by_row, by_column = 0.0, np.zeros(len(scaled)), np.zeros(len(scaled))
    product = np.zeros_like(scaled)
    for first in range(0, len(scaled), _SMALL_CHUNK):
        part = slice(first, min(first + _SMALL_CHUNK, len(scaled)))
        weights = scaled[part] @ (-2.0 * scaled.T)
        weights += squares
        for row, position in enumerate(range(part.start, part.stop)):
            near = slice(*np.searchsorted(order, (order[position] - gap, order[position] + gap + 1)))
            weights[row, near] = np.inf
        weights -= weights.min(1, keepdims=True)
        weights *= -0.5
        np.exp(weights, out=weights)
        weights /= weights.sum(1, keepdims=True)
        means = weights @ goals
        residuals = means - goals[part]
        total += float((residuals**2).sum())
        # d mean_i = Σ_k weight_ik (goal_k - mean_i) (-d distance_ik / 2), and the distance is quadratic in each scale.
        slopes = residuals @ goals.T
        slopes -= (residuals * means).sum(1)[:, None]
        slopes *= weights
        by_row[part] = slopes.sum(1)
        by_column += slopes.sum(0)
        product[part] = slopes @ scaled
    gradient = ((by_row + by_column)[:, None] * scaled**2 - 2.0 * scaled * product).sum(0)
    return total / goals.size, gradient * (-2.0 / goals.size)


def _weighted_mean(distances: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel means and sums of the kernel; overwrites the distances."""
    nearest = distances.min(1, keepdims=True)
    distances -= nearest
    distances *= -0.5
    weights = np.exp(distances, out=distances)
    total = weights.sum(1)
    return (weights @ targets) / total[:, None], total * np.exp(-0.5 * nearest[:, 0])


def _even_blocks(num_rows: int, most: int) -> np.ndarray:
    """Rows in twenty blocks spread evenly, so that neighbours in time stay neighbours."""
    if num_rows <= most:
        return np.arange(num_rows)
    length = max(most // 20, 1)
    return np.unique(np.concatenate([np.arange(first, first + length) for first in np.linspace(0, num_rows - length, most // length).astype(int)]))
