"""Regressors of the kinematics on the activity, by name."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.neural_network import MLPRegressor
from sklearn.utils.validation import check_is_fitted, check_X_y, validate_data
from threadpoolctl import threadpool_limits

from .nadaraya_watson import NadarayaWatson

REGRESSORS = ("linear", "nadaraya-watson", "gaussian-process", "neural-network")


def make_regressor(regressor: Any, groups: np.ndarray, gap: int, random_state: int | None) -> Any:
    """An unfitted regressor.

    Args:
        regressor: a name, or a scikit-learn regressor, which is cloned.
        groups: lag of each feature; bins of one lag share a scale in "nadaraya-watson".
        gap: rows next to a row that "nadaraya-watson" leaves out with it.
        random_state: of named regressors that draw numbers.

    Raises:
        ValueError: for an unknown name.
        TypeError: for something that is neither a name nor a regressor.
    """
    if regressor == "linear":
        return StandardisedRidge()
    if regressor == "nadaraya-watson":
        return NadarayaWatson(groups=groups, gap=gap)
    if regressor == "gaussian-process":
        return SparselyTunedGaussianProcess(random_state=random_state)
    if regressor == "neural-network":
        return StandardisedNetwork(random_state=random_state)
    if isinstance(regressor, str):
        raise ValueError(f"regressor: found {regressor!r}, expected one of {', '.join(map(repr, REGRESSORS))}, or a scikit-learn regressor.")
    if not (hasattr(regressor, "fit") and hasattr(regressor, "predict") and hasattr(regressor, "get_params")):
        raise TypeError(f"regressor: found {type(regressor).__name__}, expected one of {', '.join(map(repr, REGRESSORS))}, or a scikit-learn regressor.")
    return clone(regressor)


class StandardisedRidge(RegressorMixin, BaseEstimator):
    """Ridge regression on standardised features, kept as one linear map, so that a prediction costs one product.

    Args:
        alpha: penalty; chosen by generalised cross-validation from 1e-2 to 1e6 if None.

    Attributes:
        coef_, intercept_: of the features as they are, [feature, target] and [target].
    """

    def __init__(self, alpha: float | None = None):
        self.alpha = alpha

    def fit(self, X: Any, y: Any) -> StandardisedRidge:
        """Learns the map."""
        X, y = check_X_y(X, y, multi_output=True, y_numeric=True, dtype="float64")
        self.n_features_in_ = X.shape[1]
        centre, scale = _standard(X)
        ridge: Any = RidgeCV(np.logspace(-2, 6, 17)) if self.alpha is None else Ridge(self.alpha)
        ridge.fit((X - centre) / scale, y)
        coefficients = np.reshape(ridge.coef_, (-1, X.shape[1])).T / scale[:, None]
        self.coef_ = coefficients[:, 0] if y.ndim == 1 else coefficients
        self.intercept_ = ridge.intercept_ - centre @ self.coef_
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Values of the map."""
        check_is_fitted(self)
        return np.asarray(X, float) @ self.coef_ + self.intercept_


class StandardisedNetwork(RegressorMixin, BaseEstimator):
    """A network of one hidden layer of tanh units on standardised features, with a penalty on its weights and a limit of iterations.

    Args:
        units: of the hidden layer.
        alpha: penalty, as scikit-learn's `MLPRegressor` has it.
        max_iterations: of L-BFGS; stopping early is part of the regularisation.
        random_state: of the first weights.
    """

    def __init__(self, units: int = 40, alpha: float = 30.0, max_iterations: int = 200, random_state: int | None = None):
        self.units = units
        self.alpha = alpha
        self.max_iterations = max_iterations
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> StandardisedNetwork:
        """Learns the weights."""
        X, y = check_X_y(X, y, multi_output=True, y_numeric=True, dtype="float64")
        self.n_features_in_ = X.shape[1]
        self.flat_ = y.ndim == 1
        centre, scale = _standard(X)
        network = MLPRegressor(
            hidden_layer_sizes=(self.units,),
            activation="tanh",
            solver="lbfgs",
            alpha=self.alpha,
            max_iter=self.max_iterations,
            random_state=self.random_state,
        )
        # One thread is many times faster for matrices this small, and the limit of iterations is meant.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit((X - centre) / scale, y)
        first, self.output_weights_ = network.coefs_
        self.weights_ = first / scale[:, None]
        self.bias_, self.output_bias_ = network.intercepts_[0] - centre @ self.weights_, network.intercepts_[1]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Outputs of the network."""
        check_is_fitted(self)
        outputs = np.tanh(np.asarray(X, float) @ self.weights_ + self.bias_) @ self.output_weights_ + self.output_bias_
        return outputs[:, 0] if self.flat_ else outputs


def _standard(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations, one where a feature never changes."""
    scale = features.std(0)
    return features.mean(0), np.where(scale > 0, scale, 1.0)


class SparselyTunedGaussianProcess(RegressorMixin, BaseEstimator):
    """Gaussian-process regression with exact inference on all rows, its hyperparameters learned on some.

    One squared-exponential kernel with one length for all features, plus noise, for all targets. The marginal likelihood of `tuning_rows` rows drawn without
    replacement decides the hyperparameters; above `max_rows` rows, as many rows drawn without replacement are kept.

    Args:
        tuning_rows: rows on which hyperparameters are learned.
        max_rows: rows of the exact inference, whose cost grows with their cube.
        random_state: of the two draws.

    Attributes:
        kernel_: the learned kernel, noise included.
    """

    def __init__(self, tuning_rows: int = 1000, max_rows: int = 6000, random_state: int | None = None):
        self.tuning_rows = tuning_rows
        self.max_rows = max_rows
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> SparselyTunedGaussianProcess:
        """Learns the hyperparameters, then solves for the weights."""
        X, y = check_X_y(X, y, multi_output=True, y_numeric=True, dtype="float64")
        self.n_features_in_ = X.shape[1]
        self.flat_ = y.ndim == 1
        targets = y[:, None] if self.flat_ else y
        rng = np.random.default_rng(self.random_state)
        self.centre_, self.spread_ = targets.mean(0), np.sqrt(targets.var(0).mean()) or 1.0
        targets = (targets - self.centre_) / self.spread_
        chosen = np.sort(rng.permutation(len(X))[: self.tuning_rows])
        length = float(np.sqrt(X.var(0).sum())) or 1.0
        kernel = ConstantKernel(1.0, (1e-3, 1e3)) * RBF(length, (1e-2 * length, 1e3 * length)) + WhiteKernel(0.3, (1e-4, 1e1))
        self.kernel_: Any = GaussianProcessRegressor(kernel).fit(X[chosen], targets[chosen]).kernel_
        self.kept_ = np.sort(rng.permutation(len(X))[: self.max_rows])
        self.rows_, self.targets_, self.all_rows_ = X[self.kept_], targets[self.kept_], X
        self.weights_ = self._solved(np.ones(len(self.kept_), bool))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Posterior means."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype="float64")
        means = self.centre_ + self.spread_ * (self.kernel_.k1(X, self.rows_) @ self.weights_)
        return means[:, 0] if self.flat_ else means

    def held_out_predictions(self, blocks: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Predictions of training rows from other training rows, with the learned hyperparameters; see `NadarayaWatson.held_out_predictions`."""
        check_is_fitted(self)
        means = np.zeros((len(self.all_rows_), self.targets_.shape[1]))
        for predicted, kept in blocks:
            used = kept[self.kept_]
            kernel = self.kernel_.k1(self.all_rows_[predicted], self.rows_[used])
            means[predicted] = self.centre_ + self.spread_ * (kernel @ self._solved(used))
        return means[:, 0] if self.flat_ else means

    def _solved(self, used: np.ndarray) -> np.ndarray:
        return cho_solve(cho_factor(self.kernel_(self.rows_[used]), lower=True, overwrite_a=True), self.targets_[used])
