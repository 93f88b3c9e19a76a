"""Covariance of the kinematics given the activity, learned from held-out residuals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .nadaraya_watson import NadarayaWatson

COVARIANCES = ("constant", "kernel")


class ConstantCovariance:
    """Mean of the outer products of the residuals.

    Args:
        residuals: held-out, [row, d].
    """

    def __init__(self, residuals: np.ndarray):
        self.value = (residuals.T @ residuals / len(residuals))[None]

    def __call__(self, activity: np.ndarray) -> np.ndarray:
        """Covariances, [1, d, d]."""
        return self.value

    def held_out(self, blocks: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Covariances at the training rows, [1, d, d]."""
        return self.value


class KernelCovariance:
    """Kernel-weighted mean of the outer products of the residuals, which is positive definite as they are.

    The constant covariance counts in the mean like `size` + 1 rows at no distance, so that a place with few training rows has a covariance of full rank,
    and one with none has the constant one. The bandwidth minimises the error of outer products predicted without their neighbours.

    Args:
        activity: [row, feature].
        residuals: held-out, [row, d].
        gap: rows next to a row that are left out with it.
        scales: factor of each feature before distances are taken.
    """

    def __init__(self, activity: np.ndarray, residuals: np.ndarray, gap: int, scales: np.ndarray):
        self.size = residuals.shape[1]
        self.constant = residuals.T @ residuals / len(residuals)
        self.lower = np.tril_indices(self.size)
        self.scales = scales
        products = (residuals[:, :, None] * residuals[:, None, :])[:, *self.lower]
        self.regression = NadarayaWatson(gap=gap).fit(activity * scales, products)

    def __call__(self, activity: np.ndarray) -> np.ndarray:
        """Covariances, [row, d, d]."""
        return self._mixed(*self.regression.predict_with_weight(activity * self.scales))

    def held_out(self, blocks: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Covariances at the training rows, each from the rows of other blocks, [row, d, d]."""
        return self._mixed(*self.regression.held_out_with_weight(blocks))

    def _mixed(self, products: np.ndarray, weights: np.ndarray) -> np.ndarray:
        local = np.zeros((len(products), self.size, self.size))
        local[:, *self.lower] = products.reshape(len(products), -1)
        local = local + np.swapaxes(np.tril(local, -1), -1, -2)
        share = (weights / (weights + self.size + 1))[:, None, None]
        return share * local + (1 - share) * self.constant


class KnownCovariance:
    """A function of the activity that the user gives.

    Args:
        function: from windows [row, feature] to covariances [row, d, d] of the kinematics.
        root: lower triangular, from whitened coordinates to those of the kinematics.
        activity: of the training rows.
    """

    def __init__(self, function: Callable[..., Any], root: np.ndarray, activity: np.ndarray):
        self.function = function
        self.unroot = np.linalg.inv(root)
        self.activity = activity

    def __call__(self, activity: np.ndarray) -> np.ndarray:
        """Covariances, [row, d, d].

        Raises:
            ValueError: for a result of a wrong shape.
        """
        found = np.asarray(self.function(activity), float)
        expected = (len(activity), *self.unroot.shape)
        if found.shape != expected:
            raise ValueError(f"covariance: found a function whose result has shape {found.shape}, expected {expected}, one covariance a row.")
        return self.unroot @ found @ self.unroot.T

    def held_out(self, blocks: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Covariances at the training rows, [row, d, d]."""
        return self(self.activity)


Covariance = ConstantCovariance | KernelCovariance | KnownCovariance
