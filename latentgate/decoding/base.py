"""What all decoders share: scikit-learn's habits, the Gaussian chain, one bin at a time, and honest intervals."""

from __future__ import annotations

import abc
import numbers
from typing import Any, NamedTuple, Self

import jax
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from latentgate.kernels import GaussianChain, Information
from latentgate.kernels.gaussian import predict as predict_step
from latentgate.kernels.gaussian import update as update_step

from . import stationary
from .sessions import Sessions, check_observed, check_width, read_pairs, read_sessions, varying_neurons, windows

_SHORTEST = 64


class Posterior(NamedTuple):
    """Law of the kinematics at one bin: mean [d] and covariance [d, d]."""

    mean: np.ndarray
    covariance: np.ndarray


class Potentials(NamedTuple):
    """A Gaussian chain over one session, in whitened coordinates.

    Attributes:
        initial_mean, initial_covariance: law of the first latent, [d] and [d, d].
        matrix, bias, noise: edges, [T - 1, d, d], [T - 1, d], [T - 1, d, d], or [1, ...] where all are the same.
        precision, shift: nodes, [T, d, d] or [1, d, d], and [T, d].
    """

    initial_mean: np.ndarray
    initial_covariance: np.ndarray
    matrix: np.ndarray
    bias: np.ndarray
    noise: np.ndarray
    precision: np.ndarray
    shift: np.ndarray


class Decoder(RegressorMixin, BaseEstimator, abc.ABC):
    """Fits on sessions of neural activity and kinematics, predicts kinematics.

    A subclass learns from laid-out training data in `_learn` and answers `_distribution` and `step`.
    """

    lags: int
    constant_neurons: str

    def fit(self, neural: Any, kinematics: Any) -> Self:
        """Learns from one session or a list of them.

        Args:
            neural: activity [time, neuron] of one session, or a list of such arrays. NaN is a missing entry.
            kinematics: [time, d] (or [time]) of the same bins, without NaN.

        Raises:
            ValueError: for data that do not fit together, constant neurons, NaN in the kinematics, sessions without observation, unknown options, or
                kinematics without a stationary law.
        """
        if isinstance(self.lags, bool) or not isinstance(self.lags, numbers.Integral) or self.lags < 1:
            raise ValueError(f"lags: found {self.lags!r}, expected an integer of at least 1, the number of bins used, the present one included.")
        self._check_options()
        activity, targets = read_pairs(neural, kinematics)
        self.n_features_in_ = activity.arrays[0].shape[1]
        self.varying_ = varying_neurons(activity, self.constant_neurons)
        self.flat_ = targets.flat
        self._learn(self._windows(activity), targets.arrays)
        self.reset()
        return self

    def predict(self, neural: Any) -> Any:
        """Means of the kinematics given the activity up to each bin, [time, d] (or [time]), one array a session if a list was given."""
        sessions, laws = self._laws(neural)
        return sessions.like_given([means[:, 0] if self.flat_ else means for means, _ in laws])

    def predict_distribution(self, neural: Any) -> tuple[Any, Any]:
        """Means [time, d] and covariances [time, d, d] given the activity up to each bin, in the form of the activity."""
        sessions, laws = self._laws(neural)
        return sessions.like_given([means for means, _ in laws]), sessions.like_given([covariances for _, covariances in laws])

    def predict_interval(self, neural: Any, level: float = 0.9) -> tuple[Any, Any]:
        """Lower and upper ends, [time, d] each, of intervals that cover the share `level` of the bins, for each dimension.

        They are as many standard deviations wide as held-out errors on the training data were, so that they cover what they claim where the errors are
        not normal, too. The two sides may differ.

        Raises:
            ValueError: if the level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level: found {level!r}, expected a share between 0 and 1.")
        sessions, laws = self._laws(neural)
        ends = []
        for side in (0.5 * (1 - level), 0.5 * (1 + level)):
            factor = np.quantile(self.standardised_errors_, side, axis=0)
            ends.append(sessions.like_given([means + factor * np.sqrt(np.diagonal(covs, axis1=-2, axis2=-1)) for means, covs in laws]))
        return ends[0], ends[1]

    def score(self, X: Any, y: Any) -> float:
        """Coefficient of determination R² of the prediction over all bins of all sessions, mean over dimensions."""
        predicted, truth = self.predict(X), read_sessions(y, "kinematics")
        predicted = [predicted] if truth.single else predicted
        return float(r2_score(np.concatenate(truth.arrays), np.concatenate([np.reshape(one, (len(one), -1)) for one in predicted])))

    def reset(self) -> Self:
        """Forgets the bins streamed so far, as at the start of a session."""
        check_is_fitted(self, "n_features_in_")
        self._window: np.ndarray | None = None
        self._begin()
        return self

    def step(self, bin_activity: Any) -> Posterior:
        """The law of the kinematics after one more bin, in constant memory; `reset` starts a new session.

        Args:
            bin_activity: [neuron]; NaN is a missing entry.

        Raises:
            ValueError: if the number of neurons is not that of the training data, or a number is infinite.
        """
        values = np.asarray(bin_activity, float)
        if values.shape != (self.n_features_in_,):
            raise ValueError(f"bin_activity: found shape {values.shape}, expected ({self.n_features_in_},), one number for each neuron of the training data.")
        if np.isinf(values).any():
            raise ValueError("bin_activity: found an infinite number, expected finite numbers (NaN where a neuron was not observed).")
        values = values[self.varying_]
        if self._window is None:
            self._window = np.tile(values, self.lags)
        elif self.lags == 1:
            self._window = values
        else:
            self._window = np.concatenate([values, self._window[: -len(values)]])
        return self._advance(self._window)

    def _windows(self, sessions: Sessions) -> list[np.ndarray]:
        return [windows(array[:, self.varying_], self.lags) for array in sessions.arrays]

    def _laws(self, neural: Any, question: str = "filter") -> tuple[Sessions, list[tuple[np.ndarray, np.ndarray]]]:
        check_is_fitted(self, "n_features_in_")
        sessions = read_sessions(neural, "neural")
        check_width(sessions, self.n_features_in_, "neural")
        check_observed(sessions, "neural")
        return sessions, self._distribution(self._windows(sessions), question)

    def _keep_errors(self, targets: list[np.ndarray], laws: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Errors over their claimed standard deviations, at most 10 000 bins."""
        errors = np.concatenate(
            [(goal - means) / np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1)) for goal, (means, covariances) in zip(targets, laws, strict=True)]
        )
        self.standardised_errors_ = errors[:: -(-len(errors) // 10_000)]

    @abc.abstractmethod
    def _check_options(self) -> None: ...

    @abc.abstractmethod
    def _learn(self, rows: list[np.ndarray], targets: list[np.ndarray]) -> None: ...

    @abc.abstractmethod
    def _distribution(self, rows: list[np.ndarray], question: str) -> list[tuple[np.ndarray, np.ndarray]]: ...

    @abc.abstractmethod
    def _begin(self) -> None: ...

    @abc.abstractmethod
    def _advance(self, window: np.ndarray) -> Posterior: ...


class ChainDecoder(Decoder):
    """A decoder that is a Gaussian chain: a subclass gives the potentials of a session, and those of one bin."""

    unstable: str
    dynamics_: stationary.StationaryDynamics

    def smooth(self, neural: Any) -> Any:
        """Means of the kinematics given all activity of the session, in the form of the activity."""
        return self.smooth_distribution(neural)[0]

    def smooth_distribution(self, neural: Any) -> tuple[Any, Any]:
        """Means [time, d] and covariances [time, d, d] given all activity of the session."""
        sessions, laws = self._laws(neural, "smooth")
        return sessions.like_given([means for means, _ in laws]), sessions.like_given([covariances for _, covariances in laws])

    @property
    def matrix_(self) -> np.ndarray:
        """A, [d, d]."""
        return self.dynamics_.matrix

    @property
    def noise_(self) -> np.ndarray:
        """Γ, [d, d]."""
        return self.dynamics_.noise

    @property
    def stationary_covariance_(self) -> np.ndarray:
        """S, [d, d]."""
        return self.dynamics_.covariance

    def _distribution(self, rows: list[np.ndarray], question: str) -> list[tuple[np.ndarray, np.ndarray]]:
        return self._restored(answer([self._potentials(session) for session in rows], question))

    def _restored(self, laws: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, np.ndarray]]:
        return [(self.dynamics_.restore(means), self.dynamics_.restore_covariance(covariances)) for means, covariances in laws]

    def _begin(self) -> None:
        size = len(self.dynamics_.centre)
        self._law: tuple[Any, Any] = (np.zeros(size), np.eye(size))

    def _move(self, precision: np.ndarray, shift: np.ndarray, matrix: np.ndarray, bias: np.ndarray, noise: np.ndarray) -> Posterior:
        """Node of this bin, then the edge to the next."""
        mean, covariance, *ahead = _one_bin(*self._law, precision, shift, matrix, bias, noise)
        self._law = (ahead[0], ahead[1])
        return Posterior(self.dynamics_.restore(np.asarray(mean, float)), self.dynamics_.restore_covariance(np.asarray(covariance, float)))

    @abc.abstractmethod
    def _potentials(self, rows: np.ndarray) -> Potentials: ...


@jax.jit
def _one_bin(mean, covariance, precision, shift, matrix, bias, noise):
    mean, covariance, _ = update_step(mean, covariance, precision, shift, 0.0)
    return mean, covariance, *predict_step(mean, covariance, matrix, bias, noise)


def answer(potentials: list[Potentials], question: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Means and covariances of each session, by "filter" or "smooth" of its chain."""
    return [_answer(one, question) for one in potentials]


def _answer(potentials: Potentials, question: str) -> tuple[np.ndarray, np.ndarray]:
    count, size = potentials.shift.shape
    # Few distinct lengths, so that few programs are compiled.
    longest = max(_SHORTEST, 1 << int(count - 1).bit_length())
    matrix, bias, noise = (_long(array, longest - 1) for array in (potentials.matrix, potentials.bias, potentials.noise))
    shift = np.concatenate([potentials.shift, np.zeros((longest - count, size))])
    nodes = Information(_long(potentials.precision, longest), shift)
    chain = GaussianChain(potentials.initial_mean, potentials.initial_covariance, matrix, bias, noise, nodes, lengths=np.int32(count))
    found = chain.filter() if question == "filter" else chain.smooth()
    means = np.asarray(found.means, float)[:count]
    covariances = np.asarray(found.covariances, float)
    return means, np.broadcast_to(covariances, (*covariances.shape[:-3], longest, size, size))[:count]


def _long(array: np.ndarray, num_steps: int) -> np.ndarray:
    """The one entry that holds at every step, or the entries of all steps, the last repeated as padding."""
    return array[0] if len(array) == 1 else array[np.minimum(np.arange(num_steps), len(array) - 1)]
