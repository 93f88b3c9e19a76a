"""The discriminative Kalman filter."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from . import conditioned, stationary
from .base import ChainDecoder, Posterior, Potentials, answer
from .covariances import COVARIANCES, ConstantCovariance, Covariance, KernelCovariance, KnownCovariance
from .cross_fitting import contiguous_blocks, held_out_predictions
from .division import RULES, divide
from .regressors import make_regressor

PAST = ("count", "condition")
# Rules whose published code begins a session with the law of its first bin.
SECOND_START = ("code", "robust")


class DiscriminativeKalmanFilter(ChainDecoder):
    """Filters kinematics z with a learned law p(z_t | x_t) = Normal(f(x_t), Q(x_t)) of the activity, instead of a model of the activity.

    The kinematics are a stationary Gaussian chain, Z_t = A Z_{t-1} + Normal(0, Γ) with A S Aᵀ + Γ = S, and what a bin says of them beyond that is the
    quotient Normal(f, Q) / Normal(0, S): node potentials with precision Q⁻¹ - S⁻¹ and shift Q⁻¹ f.

    With `lags` above one, x_t is a window of bins, and neighbouring windows share bins. `past="count"` treats them as if they did not, as the published
    filter would, and counts the shared bins again and again. `past="condition"` counts every bin once. Let W_t be the last L bins and V_t all of them but
    the present one. Then the present bin says p(z_t | W_t) / p(z_t | V_t), which is p(W_t | z_t, V_t) up to a factor, and the step from z_{t-1} to z_t is
    p(z_t | z_{t-1}, V_t). The windows enter by what regressions make of them: f of W_t, and g, a second regression, of the pair (z_t, z_{t-1}) on V_t; the
    two laws p(f | z_t, g) and p(z_t | z_{t-1}, g) are linear with normal noise, and learned from predictions of bins that the regressions had not seen, so
    that what f repeats of g, and what each of them shrinks, is known. (The plain quotient of Normal(f, Q) and a law of z_t given V_t is not, and drifts off
    where the two regressions err differently.)

    Args:
        regressor: of f: "linear" (ridge), "nadaraya-watson", "gaussian-process", "neural-network", or any scikit-learn regressor.
        covariance: Q: "constant", from held-out residuals; "kernel", a function of the activity learned from them; or a function that is known, from windows
            [bin, feature] to covariances [bin, d, d] of the kinematics.
        lags: bins in a window, the present one included.
        past: "count" or "condition", see above; with one lag there is nothing to condition on.
        rule: where Q⁻¹ - S⁻¹ is not positive definite: "clip", "paper", "code" or "robust", see `latentgate.decoding.division.divide`. "code" and "robust"
            also begin a session with Normal(f, Q) of its first bin, as the published code does.
        folds: contiguous blocks of the training data left out in turn, so that the residuals behind Q are of bins the regressor had not seen.
        gap: bins on either side of a bin or block that are left out with it; as many as `lags` if None.
        dynamics_matrix: A, if it is known; else by the Yule-Walker equations.
        stationary_covariance: S, if it is known; else by the same equations.
        centred: whether kinematics are taken about their mean; the published decoders take them about zero.
        unstable: "refuse" or "shrink", see `latentgate.decoding.stationary.estimate`.
        constant_neurons: "refuse" raises where a neuron never changes in the training data, "drop" leaves it out.
        random_state: of named regressors that draw numbers; same number, same result.

    Attributes:
        regressor_: fitted, from windows to kinematics in whitened coordinates (see `dynamics_`).
        dynamics_: A, Γ, S and the whitened coordinates.
        standardised_errors_: of the filter on the training data, with regressors that had not seen the bin, over their claimed standard deviations, [bin, d].

    Raises:
        ValueError: in `fit`, for unknown options or data as in `Decoder.fit`.

    Example:
        >>> import numpy as np
        >>> z = np.sin(np.arange(400) / 10.0)[:, None]
        >>> x = z * np.ones((1, 5)) + np.random.default_rng(0).normal(size=(400, 5))
        >>> decoder = DiscriminativeKalmanFilter("linear").fit(x[:300], z[:300])
        >>> decoder.predict(x[300:]).shape, decoder.step(x[300]).covariance.shape
        ((100, 1), (1, 1))

    Source: Burkhart, Brandman, Franco, Hochberg, Harrison, Neural Computation 32:969 (2020); "condition" is this package's.
    """

    def __init__(
        self,
        regressor: Any = "nadaraya-watson",
        covariance: Any = "constant",
        lags: int = 1,
        past: str = "count",
        rule: str = "clip",
        folds: int = 5,
        gap: int | None = None,
        dynamics_matrix: Any = None,
        stationary_covariance: Any = None,
        centred: bool = True,
        unstable: str = "refuse",
        constant_neurons: str = "refuse",
        random_state: int | None = 0,
    ):
        self.regressor = regressor
        self.covariance = covariance
        self.lags = lags
        self.past = past
        self.rule = rule
        self.folds = folds
        self.gap = gap
        self.dynamics_matrix = dynamics_matrix
        self.stationary_covariance = stationary_covariance
        self.centred = centred
        self.unstable = unstable
        self.constant_neurons = constant_neurons
        self.random_state = random_state

    def predict_unfiltered(self, neural: Any) -> Any:
        """f(x) alone, in the form of the activity; the mean of the training kinematics where a bin is missing."""
        sessions, laws = self._laws(neural, "unfiltered")
        return sessions.like_given([means[:, 0] if self.flat_ else means for means, _ in laws])

    def _check_options(self) -> None:
        if not callable(self.covariance) and self.covariance not in COVARIANCES:
            known = ", ".join(map(repr, COVARIANCES))
            raise ValueError(f"covariance: found {self.covariance!r}, expected one of {known}, or a function from windows to covariances.")
        for name, found, known in (("past", self.past, PAST), ("rule", self.rule, RULES)):
            if found not in known:
                raise ValueError(f"{name}: found {found!r}, expected one of {', '.join(map(repr, known))}.")
        if self.past == "condition" and self.lags == 1:
            raise ValueError('past: found "condition" with lags=1, expected lags of at least 2, for one bin has no past in its window.')
        if self.past == "condition" and callable(self.covariance):
            raise ValueError('covariance: found a function with past="condition", expected "constant" or "kernel": it is that of the predictions.')
        if self.past == "condition" and self.rule in SECOND_START:
            raise ValueError(f'rule: found {self.rule!r} with past="condition", expected "clip" or "paper".')
        if self.gap is not None and (isinstance(self.gap, bool) or not isinstance(self.gap, numbers.Integral) or self.gap < 0):
            raise ValueError(f"gap: found {self.gap!r}, expected an integer of at least 0, or None for as many as lags.")

    def _learn(self, rows: list[np.ndarray], targets: list[np.ndarray]) -> None:
        self.dynamics_ = stationary.estimate(targets, self.unstable, self.dynamics_matrix, self.stationary_covariance, self.centred)
        goals = [self.dynamics_.whiten(session) for session in targets]
        self._past_width = rows[0].shape[1] // self.lags * (self.lags - 1)
        self.regressor_, now = self._regression(rows, goals)
        errors = np.concatenate([goal - means for goal, means in zip(goals, now, strict=True)])
        if self.past == "condition":
            crops = [session[:-1, : self._past_width] for session in rows]
            self.past_regressor_, pasts = self._regression(crops, [np.concatenate([goal[1:], goal[:-1]], axis=1) for goal in goals])
            later = [np.concatenate(parts) for parts in ([one[1:] for one in now], pasts, [one[1:] for one in goals], [one[:-1] for one in goals])]
            used = ~np.isnan(later[0]).any(1) & ~np.isnan(later[1]).any(1)
            self._conditioned = conditioned.estimate(*(one[used] for one in later))
            self._first_covariance = ConstantCovariance(errors[~np.isnan(errors).any(1)])(errors)
            residuals = [self._conditioned.residuals(one[1:], past, goal[1:]) for one, past, goal in zip(now, pasts, goals, strict=True)]
            spreads = self._learn_covariance([session[1:] for session in rows], residuals)
            spreads = spreads if isinstance(spreads, np.ndarray) else [np.concatenate([self._first_covariance, one]) for one in spreads]
        else:
            pasts = [None] * len(rows)
            spreads = self._learn_covariance(rows, np.split(errors, np.cumsum([len(one) for one in rows])[:-1]))
        spreads = [spreads] * len(rows) if isinstance(spreads, np.ndarray) else spreads
        laws = answer([self._chain(*one) for one in zip(now, spreads, pasts, strict=True)], "filter")
        self._keep_errors(targets, self._restored(laws))

    def _regression(self, rows: list[np.ndarray], goals: list[np.ndarray]) -> tuple[Any, list[np.ndarray]]:
        """The regressor, and its held-out predictions for each session, NaN where a window is not complete."""
        activity, targets, sessions, seen = _complete(rows, goals)
        gap = int(self.lags if self.gap is None else self.gap)
        groups = np.arange(activity.shape[1]) // self.varying_.sum()
        regressor = make_regressor(self.regressor, groups, gap if self.lags > 1 or self.gap else 0, self.random_state)
        regressor.fit(activity, targets[:, 0] if targets.shape[1] == 1 else targets)
        means = held_out_predictions(regressor, activity, targets, contiguous_blocks(sessions, self.folds, gap))
        if np.linalg.matrix_rank(targets - means) < targets.shape[1]:
            raise ValueError("kinematics: found held-out errors that are exactly zero in some direction, expected noise in every direction.")
        whole = np.full((len(seen), targets.shape[1]), np.nan)
        whole[seen] = means
        return regressor, np.split(whole, np.cumsum([len(session) for session in rows])[:-1])

    def _learn_covariance(self, rows: list[np.ndarray], residuals: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
        """Covariance of the residuals at the training rows, from other rows: [1, d, d], or [bin, d, d] of each session, that of all where there is none."""
        activity, errors, sessions, seen = _complete(rows, residuals)
        gap = int(self.lags if self.gap is None else self.gap)
        self._covariance: Covariance
        if callable(self.covariance):
            self._covariance = KnownCovariance(self.covariance, self.dynamics_.root, activity)
        elif self.covariance == "constant":
            self._covariance = ConstantCovariance(errors)
        else:
            scales = getattr(self.regressor_, "scales_", np.ones(activity.shape[1]))
            self._covariance = KernelCovariance(activity, errors, gap, scales / np.sqrt(np.mean(scales**2)))
        found = self._covariance.held_out(contiguous_blocks(sessions, self.folds, gap))
        if len(found) == 1:
            return found
        whole = np.tile(np.eye(errors.shape[1]), (len(seen), 1, 1))
        whole[seen] = found
        return np.split(whole, np.cumsum([len(session) for session in rows])[:-1])

    def _distribution(self, rows: list[np.ndarray], question: str) -> list[tuple[np.ndarray, np.ndarray]]:
        if question == "unfiltered":
            return [self._unfiltered(session) for session in rows]
        return super()._distribution(rows, question)

    def _unfiltered(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        means = self._predictions(self.regressor_, rows, len(self.dynamics_.centre))
        means[np.isnan(means).any(1)] = 0.0
        return self.dynamics_.restore(means), np.tile(self.dynamics_.covariance, (len(rows), 1, 1))

    def _potentials(self, rows: np.ndarray) -> Potentials:
        size = len(self.dynamics_.centre)
        pasts = self._predictions(self.past_regressor_, rows[:-1, : self._past_width], 2 * size) if self.past == "condition" else None
        return self._chain(self._predictions(self.regressor_, rows, size), self._spread(rows), pasts)

    def _predictions(self, regressor: Any, rows: np.ndarray, width: int) -> np.ndarray:
        """[row, width], NaN where a window is not complete."""
        seen = ~np.isnan(rows).any(1)
        means = np.full((len(rows), width), np.nan)
        if seen.any():
            means[seen] = np.reshape(regressor.predict(rows[seen]), (-1, width))
        return means

    def _spread(self, rows: np.ndarray) -> np.ndarray:
        """Covariances behind the nodes, [row, d, d] or [1, d, d]; of no meaning where a window is not complete."""
        if isinstance(self._covariance, ConstantCovariance):
            return self._covariance.value
        seen = ~np.isnan(rows).any(1)
        spreads = np.tile(np.eye(len(self.dynamics_.centre)), (len(rows), 1, 1))
        if seen.any():
            spreads[seen] = self._covariance(rows[seen])
        return spreads

    def _chain(self, means: np.ndarray, spread: np.ndarray, pasts: np.ndarray | None) -> Potentials:
        """Potentials of a session.

        Args:
            means: f of each window, [bin, d], NaN where it is not complete.
            spread: covariances of its nodes, [bin, d, d] or [1, d, d].
            pasts: g of each window but the first, [bin - 1, 2 d], NaN likewise.
        """
        size, num_steps = len(self.dynamics_.centre), len(means)
        seen = ~np.isnan(means).any(1)
        initial = np.zeros(size), np.eye(size)
        matrix, bias, noise = self.dynamics_.whitened_matrix[None], np.zeros((1, size)), self.dynamics_.whitened_noise[None]
        precision, shift = np.zeros((num_steps, size, size)), np.zeros((num_steps, size))
        nodes = seen.copy()
        if pasts is not None:
            nodes[1:] = False
            known = ~np.isnan(pasts).any(1)
            told = np.concatenate([[False], known]) & seen
            if told.any():
                each = spread if len(spread) == 1 else spread[told]
                precision[told], shift[told] = self._conditioned.nodes(means[told], pasts[told[1:]], each)
            if num_steps > 1:
                link = self._conditioned
                matrix, noise = (np.where(known[:, None, None], ours, plain) for ours, plain in ((link.step_matrix, matrix), (link.step_noise, noise)))
                bias = np.where(known[:, None], link.step_bias_of(np.where(known[:, None], pasts, 0.0)), bias)
            spread = self._first_covariance
        if nodes.any():
            each = spread if len(spread) == 1 else spread[nodes]
            quotient, shift[nodes] = divide(means[nodes], each, np.zeros((1, size)), np.eye(size)[None], self.rule)
            if nodes.all() and len(quotient) == 1:
                precision = quotient
            else:
                precision[nodes] = quotient
        if self.rule in SECOND_START and seen[0]:
            initial = means[0], spread[0]
            precision = np.repeat(precision, num_steps, 0) if len(precision) == 1 else precision
            precision[0], shift[0] = 0.0, 0.0
        return Potentials(*initial, matrix, bias, noise, precision, shift)

    def _begin(self) -> None:
        super()._begin()
        self._first = True
        self._past = np.full((1, 2 * len(self.dynamics_.centre)), np.nan)

    def _advance(self, window: np.ndarray) -> Posterior:
        size = len(self.dynamics_.centre)
        row, first, self._first = window[None], self._first, False
        mean = self._predictions(self.regressor_, row, size)
        precision, shift = np.zeros((size, size)), np.zeros(size)
        if not np.isnan(mean).any():
            if first and self.rule in SECOND_START:
                self._law = (mean[0], self._spread(row)[0])
            elif first or self.past == "count":
                spread = self._first_covariance if self.past == "condition" else self._spread(row)
                told = divide(mean, spread, np.zeros((1, size)), np.eye(size)[None], self.rule)
                precision, shift = told[0][0], told[1][0]
            elif not np.isnan(self._past).any():
                told = self._conditioned.nodes(mean, self._past, self._spread(row))
                precision, shift = told[0][0], told[1][0]
        edge = self.dynamics_.whitened_matrix, np.zeros(size), self.dynamics_.whitened_noise
        if self.past == "condition":
            self._past = self._predictions(self.past_regressor_, row[:, : self._past_width], 2 * size)
            if not np.isnan(self._past).any():
                edge = self._conditioned.step_matrix, self._conditioned.step_bias_of(self._past)[0], self._conditioned.step_noise
        return self._move(precision, shift, *edge)


def _complete(rows: list[np.ndarray], values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows and values without NaN in either, the session of each, and which they are among all."""
    activity, targets = np.concatenate(rows), np.concatenate(values)
    sessions = np.repeat(np.arange(len(rows)), [len(session) for session in rows])
    seen = ~np.isnan(activity).any(1) & ~np.isnan(targets).any(1)
    return activity[seen], targets[seen], sessions[seen], seen
