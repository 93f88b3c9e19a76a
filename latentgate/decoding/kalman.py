"""The Kalman filter as a decoder: the classical one, with a linear model of the activity."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import stationary
from .base import ChainDecoder, Posterior, Potentials, answer

NOISES = ("full", "diagonal")


class KalmanDecoder(ChainDecoder):
    """Filters kinematics z with a linear model of the activity, x_t = H z_t + c + Normal(0, Λ), the activity by least squares.

    Args:
        lags: bins in x, the present one included; above one, neighbouring x share bins, which the filter takes for independent.
        noise: Λ: "full" or "diagonal".
        dynamics_matrix: A, if it is known; else by the Yule-Walker equations.
        stationary_covariance: S, if it is known; else by the same equations.
        centred: whether kinematics are taken about their mean, and activity about its; the published decoders take them about zero.
        unstable: "refuse" or "shrink", see `latentgate.decoding.stationary.estimate`.
        constant_neurons: "refuse" raises where a neuron never changes in the training data, "drop" leaves it out.

    Attributes:
        observation_matrix_: H, [lags x neuron, d].
        observation_bias_: c, [lags x neuron].
        observation_covariance_: Λ, [lags x neuron, lags x neuron].
        dynamics_: A, Γ, S and the whitened coordinates.
        standardised_errors_: of the filter on the training data, over their claimed standard deviations, [bin, d].

    Example:
        >>> import numpy as np
        >>> z = np.sin(np.arange(400) / 10.0)[:, None]
        >>> x = z * np.ones((1, 5)) + np.random.default_rng(0).normal(size=(400, 5))
        >>> bool(KalmanDecoder().fit(x[:300], z[:300]).score(x[300:], z[300:]) > 0.5)
        True

    Source: Wu, Gao, Bienenstock, Donoghue, Black, Neural Computation 18:80 (2006).
    """

    def __init__(
        self,
        lags: int = 1,
        noise: str = "full",
        dynamics_matrix: Any = None,
        stationary_covariance: Any = None,
        centred: bool = True,
        unstable: str = "refuse",
        constant_neurons: str = "refuse",
    ):
        self.lags = lags
        self.noise = noise
        self.dynamics_matrix = dynamics_matrix
        self.stationary_covariance = stationary_covariance
        self.centred = centred
        self.unstable = unstable
        self.constant_neurons = constant_neurons

    def _check_options(self) -> None:
        if self.noise not in NOISES:
            raise ValueError(f"noise: found {self.noise!r}, expected one of {', '.join(map(repr, NOISES))}.")

    def _learn(self, rows: list[np.ndarray], targets: list[np.ndarray]) -> None:
        self.dynamics_ = stationary.estimate(targets, self.unstable, self.dynamics_matrix, self.stationary_covariance, self.centred)
        activity, goals = np.concatenate(rows), np.concatenate([self.dynamics_.whiten(session) for session in targets])
        seen = ~np.isnan(activity).any(1)
        activity, goals = activity[seen], goals[seen]
        design = np.concatenate([goals, np.full((len(goals), 1), float(self.centred))], axis=1)
        solution = np.linalg.lstsq(design, activity, rcond=None)[0]
        residuals = activity - design @ solution
        covariance = residuals.T @ residuals / len(residuals)
        if self.noise == "diagonal":
            covariance = np.diag(np.diagonal(covariance))
        smallest, largest = np.linalg.eigvalsh(covariance)[[0, -1]]
        if not smallest > 1e-12 * largest:
            raise ValueError(
                f"neural: found {activity.shape[1]} columns (lags included) whose noise covariance from {len(activity)} bins is singular, expected columns "
                'that are not combinations of each other: leave some out, or pass noise="diagonal".'
            )
        self._whitened_matrix = solution[:-1].T
        self.observation_matrix_ = np.linalg.solve(self.dynamics_.root.T, self._whitened_matrix.T).T
        self.observation_bias_ = solution[-1] - self.observation_matrix_ @ self.dynamics_.centre
        self._whitened_bias = solution[-1]
        self.observation_covariance_ = covariance
        self._weights = np.linalg.solve(covariance, self._whitened_matrix).T
        self._precision = _symmetric(self._weights @ self._whitened_matrix)
        self._keep_errors(targets, self._restored(answer([self._potentials(session) for session in rows], "filter")))

    def _potentials(self, rows: np.ndarray) -> Potentials:
        size = len(self.dynamics_.centre)
        precision, shift = self._nodes(rows)
        dynamics = self.dynamics_
        return Potentials(np.zeros(size), np.eye(size), dynamics.whitened_matrix[None], np.zeros((1, size)), dynamics.whitened_noise[None], precision, shift)

    def _nodes(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Precision [1 or T, d, d] and shift [T, d]; missing entries add nothing."""
        missing = np.isnan(rows)
        if not missing.any():
            return self._precision[None], (rows - self._whitened_bias) @ self._weights.T
        size = len(self._precision)
        precision, shift = np.zeros((len(rows), size, size)), np.zeros((len(rows), size))
        patterns, which = np.unique(missing, axis=0, return_inverse=True)
        for index, pattern in enumerate(patterns):
            kept, steps = np.flatnonzero(~pattern), which == index
            matrix = self._whitened_matrix[kept]
            weights = np.linalg.solve(self.observation_covariance_[np.ix_(kept, kept)], matrix).T
            precision[steps] = _symmetric(weights @ matrix)
            shift[steps] = (rows[steps][:, kept] - self._whitened_bias[kept]) @ weights.T
        return precision, shift

    def _advance(self, window: np.ndarray) -> Posterior:
        precision, shift = self._nodes(window[None])
        dynamics = self.dynamics_
        return self._move(precision[0], shift[0], dynamics.whitened_matrix, np.zeros(len(shift[0])), dynamics.whitened_noise)


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return 0.5 * (matrix + matrix.T)
