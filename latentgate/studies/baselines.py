"""Baselines of co-smoothing without a latent model: responses averaged over trials, and regressions on smoothed counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from latentgate.data import Sequences
from latentgate.metrics import mean_rates
from latentgate.studies.co_smoothing import Predictor, hidden, inner_split, score


@dataclasses.dataclass(frozen=True)
class PSTH:
    """The mean count of each neuron by the time since the start of a trial, whatever the other neurons do.

    Sums over trials are smoothed over time and drawn towards the mean rate, as if so many further trials had had it; both strengths are chosen by every
    fifth training trial. Trials of other lengths count as far as they reach; where no training trial reaches, the mean rate is predicted.

    Attributes:
        label: a label of the trials, known in test trials too, each value of which gets its own average; None: one for all trials.
        widths: standard deviations of the Gaussian to choose from, in bins; 0 for none.
        weights: strengths to choose from, in trials.
    """

    label: str | None = None
    widths: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0)
    weights: tuple[float, ...] = (1.0, 4.0, 16.0)

    def fit(self, train: Sequences, held_in: np.ndarray, seed: int) -> Predictor:
        """See `Strategy`."""
        inner, validation = inner_split(train, seed)
        constant = mean_rates(inner)
        scores = {
            (width, weight): score(self._learn(inner, width, weight)(validation), validation, ~held_in, constant)
            for width in self.widths
            for weight in self.weights
        }
        return self._learn(train, *max(scores, key=lambda choice: scores[choice]))

    def _learn(self, train: Sequences, width: float, weight: float) -> Predictor:
        constant = mean_rates(train)

        def average(trials: np.ndarray) -> np.ndarray:
            counts = np.where(train.observed, train.values, 0.0)[trials].sum(0)
            return (_gaussian(counts, width) + weight * constant) / (_gaussian(np.asarray(train.observed)[trials].sum(0).astype(float), width) + weight)

        everything = np.ones(train.num_sequences, bool)
        labels = None if self.label is None else self._labels(train)
        averages: dict[Any, np.ndarray] = {} if labels is None else {value: average(labels == value) for value in np.unique(labels)}
        overall = average(everything)

        def predict(data: Sequences) -> np.ndarray:
            values = [None] * data.num_sequences if self.label is None else self._labels(data)
            rates = np.broadcast_to(constant, data.values.shape).copy()
            reached = min(data.max_length, train.max_length)
            for row, value in enumerate(values):
                rates[row, :reached] = averages.get(value, overall)[:reached]
            return rates

        return predict

    def _labels(self, data: Sequences) -> np.ndarray:
        if self.label not in data.labels:
            raise ValueError(f"`label` is {self.label!r} but the trials have the labels {sorted(data.labels)}; expected one of them, or None.")
        return data.labels[self.label]


@dataclasses.dataclass(frozen=True)
class SmoothingGLM:
    """Counts of the held-in neurons under a Gaussian, and Poisson regressions of each held-out neuron on them.

    Width of the Gaussian, whether square roots are taken after smoothing, and the ridge are chosen by every fifth training trial. A held-in neuron is
    predicted by its own smoothed count.

    Attributes:
        widths: standard deviations of the Gaussian to choose from, in bins.
        ridges: penalties to choose from, per row, of features scaled to unit variance.
        square_roots: whether to take square roots: the possibilities to choose from.
    """

    widths: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
    ridges: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1)
    square_roots: tuple[bool, ...] = (False, True)

    def fit(self, train: Sequences, held_in: np.ndarray, seed: int) -> Predictor:
        """See `Strategy`."""
        inner, validation = inner_split(train, seed)
        masked, constant = hidden(validation, held_in), mean_rates(inner)

        def value(width: float, root: bool, ridge: float) -> float:
            return score(self._learn(inner, held_in, width, root, ridge)(masked), validation, ~held_in, constant)

        middle = self.ridges[len(self.ridges) // 2]
        shapes = [(width, root) for width in self.widths for root in self.square_roots]
        width, root = max(shapes, key=lambda shape: value(*shape, middle))
        ridge = max(self.ridges, key=lambda ridge: value(width, root, ridge))
        return self._learn(train, held_in, width, root, ridge)

    def _learn(self, train: Sequences, held_in: np.ndarray, width: float, root: bool, ridge: float) -> Predictor:
        constant = mean_rates(train)

        def features(data: Sequences) -> np.ndarray:
            smooth = smoothed_counts(data, width, constant)[..., held_in]
            return np.sqrt(smooth) if root else smooth

        regress = poisson_regressions(features(train), train, ridge, ~held_in)

        def predict(data: Sequences) -> np.ndarray:
            rates = smoothed_counts(data, width, constant)
            rates[..., ~held_in] = regress(features(data))
            return rates

        return predict


def smoothed_counts(data: Sequences, width: float, constant: np.ndarray) -> np.ndarray:
    """Counts under a Gaussian of so many bins, over what was observed, [sequence, time, neuron]; the constant rates where nothing near was observed."""
    seen = np.asarray(data.observed)
    counts = np.where(seen, data.values, 0.0)
    total, exposure = _gaussian(counts, width, axis=1), _gaussian(seen.astype(float), width, axis=1)
    return np.where(exposure > 0, total / np.where(exposure > 0, exposure, 1.0), constant)


def poisson_regressions(features: np.ndarray, train: Sequences, ridge: float, neurons: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Poisson regressions (log link) of some neurons on features of the same bin.

    Args:
        features: [sequence, time, feature] of the training trials.
        train: their counts.
        ridge: penalty per row, of features scaled to unit variance.
        neurons: boolean [neuron], those to predict.

    Returns:
        A function of features [sequence, time, feature] that gives rates [sequence, time, chosen neuron].
    """
    from sklearn.linear_model import PoissonRegressor
    from threadpoolctl import threadpool_limits

    real = np.asarray(train.mask)
    rows = features[real]
    centre, spread = rows.mean(0), rows.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    rows = (rows - centre) / spread
    constant = mean_rates(train)
    learned: list[tuple[np.ndarray, float]] = []
    for neuron in np.flatnonzero(neurons):
        seen, counts = np.asarray(train.observed)[real][:, neuron], np.asarray(train.values)[real][:, neuron]
        if not counts[seen].any():
            learned.append((np.zeros(rows.shape[1]), float(np.log(constant[neuron]))))
            continue
        # Threads cost more than what regressions of this size take.
        with threadpool_limits(1):
            regression = PoissonRegressor(alpha=ridge, max_iter=1000).fit(rows[seen], counts[seen])
        learned.append((regression.coef_, float(regression.intercept_)))
    weights, biases = np.stack([weight for weight, _ in learned]), np.array([bias for _, bias in learned])

    def predict(features: np.ndarray) -> np.ndarray:
        return np.exp(((features - centre) / spread) @ weights.T + biases)

    return predict


def _gaussian(array: np.ndarray, width: float, axis: int = 0) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    return array if width == 0 else gaussian_filter1d(array, width, axis=axis, mode="constant")
