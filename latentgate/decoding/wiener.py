"""The Wiener filter: ridge regression on lagged bins."""

from __future__ import annotations

import numpy as np

from .base import Decoder, Posterior
from .cross_fitting import contiguous_blocks, held_out_predictions
from .regressors import StandardisedRidge


class WienerFilter(Decoder):
    """Linear regression of the kinematics on the last bins, with a ridge penalty on standardised activity.

    Args:
        lags: bins used, the present one included.
        alpha: ridge penalty; chosen by generalised cross-validation from 1e-2 to 1e6 if None.
        folds: contiguous blocks of the training data left out in turn, for the covariance of the errors.
        constant_neurons: "refuse" raises where a neuron never changes in the training data, "drop" leaves it out.

    Attributes:
        regressor_: the fitted regressor.
        covariance_: of the held-out errors, [d, d].

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(300, 4))
        >>> WienerFilter(lags=2).fit(x, x[:, :2]).predict(x).shape
        (300, 2)
    """

    def __init__(self, lags: int = 5, alpha: float | None = None, folds: int = 5, constant_neurons: str = "refuse"):
        self.lags = lags
        self.alpha = alpha
        self.folds = folds
        self.constant_neurons = constant_neurons

    def _check_options(self) -> None:
        if self.alpha is not None and not self.alpha >= 0:
            raise ValueError(f"alpha: found {self.alpha!r}, expected a penalty of at least 0, or None to choose it.")

    def _learn(self, rows: list[np.ndarray], targets: list[np.ndarray]) -> None:
        activity, goals = np.concatenate(rows), np.concatenate(targets)
        seen = ~np.isnan(activity).any(1)
        self.centre_, self.stationary_covariance_ = goals.mean(0), np.cov(goals.T, bias=True).reshape(goals.shape[1], -1)
        self.regressor_ = StandardisedRidge(self.alpha).fit(activity[seen], goals[seen])
        blocks = contiguous_blocks(np.concatenate([np.full(len(one), index) for index, one in enumerate(rows)])[seen], self.folds, self.lags)
        errors = goals[seen] - held_out_predictions(self.regressor_, activity[seen], goals[seen], blocks)
        self.covariance_ = errors.T @ errors / len(errors)
        self.standardised_errors_ = errors / np.sqrt(np.diagonal(self.covariance_))

    def _distribution(self, rows: list[np.ndarray], question: str) -> list[tuple[np.ndarray, np.ndarray]]:
        return [self._law_of(session) for session in rows]

    def _law_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The stationary law where a bin is missing, else the regression."""
        seen = ~np.isnan(rows).any(1)
        means = np.tile(self.centre_, (len(rows), 1))
        if seen.any():
            means[seen] = np.reshape(self.regressor_.predict(rows[seen]), (int(seen.sum()), -1))
        return means, np.where(seen[:, None, None], self.covariance_, self.stationary_covariance_)

    def _begin(self) -> None:
        pass

    def _advance(self, window: np.ndarray) -> Posterior:
        means, covariances = self._law_of(window[None])
        return Posterior(means[0], covariances[0])
