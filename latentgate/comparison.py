"""Comparing models on held-out sequences, and conditions by the occupancy of states."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

import latentgate.metrics as metrics
from latentgate.data import Sequences

# Distances of permuted labels that equal the observed one must count as equal after another order of summation.
_TIE = 1e-9


@dataclasses.dataclass(frozen=True)
class HeldOutScores:
    """Log-likelihoods of models on the same held-out spike counts.

    Attributes:
        log_likelihood: {model: [sequence]}, nats.
        homogeneous: [sequence], of constant rates, nats.
        spikes: [sequence].
    """

    log_likelihood: dict[str, np.ndarray]
    homogeneous: np.ndarray
    spikes: np.ndarray

    def bits_per_spike(self, model: str) -> float:
        """Gain over constant rates, in bits per spike of all sequences together."""
        return float((self.log_likelihood[model] - self.homogeneous).sum() / (self.spikes.sum() * np.log(2.0)))

    def bits_per_spike_by_sequence(self, model: str) -> np.ndarray:
        """The same in each sequence, [sequence]; NaN where there is no spike."""
        gain = self.log_likelihood[model] - self.homogeneous
        return np.where(self.spikes > 0, gain / (np.where(self.spikes > 0, self.spikes, 1.0) * np.log(2.0)), np.nan)

    def gain(self, model: str, other: str | None = None) -> float:
        """Bits per spike by which `model` beats `other` (None: constant rates)."""
        return self.bits_per_spike(model) - (0.0 if other is None else self.bits_per_spike(other))

    def num_better(self, model: str, other: str | None = None) -> int:
        """In how many sequences `model` has the larger log-likelihood than `other` (None: constant rates)."""
        against = self.homogeneous if other is None else self.log_likelihood[other]
        return int((self.log_likelihood[model] > against).sum())


def held_out_scores(log_likelihood: Mapping[str, Any], test: Sequences, train: Sequences) -> HeldOutScores:
    """Scores of models on held-out counts beside constant rates.

    Args:
        log_likelihood: {model: log-likelihood of each sequence of `test`, [sequence]}, for instance from `Fit.log_likelihood`.
        test: held-out counts.
        train: counts that the constant rates are taken from.

    Raises:
        ValueError: if an array does not have one entry a sequence.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> counts = lg.Sequences.from_arrays([np.ones((4, 2)), np.ones((6, 2))])
        >>> held_out_scores({"model": [-8.0, -11.0]}, counts, counts).num_better("model")
        1
    """
    by_model = {model: np.asarray(values, float) for model, values in log_likelihood.items()}
    for model, values in by_model.items():
        if values.shape != (test.num_sequences,):
            raise ValueError(f"log_likelihood[{model!r}]: found shape {values.shape}, expected {(test.num_sequences,)}, one number for each sequence of test.")
    rates = metrics.mean_rates(train)
    each = [test.select(index) for index in range(test.num_sequences)]
    homogeneous = np.array([metrics.homogeneous_poisson_log_likelihood(one, rates) for one in each])
    return HeldOutScores(by_model, homogeneous, np.asarray(test.values, float).sum((1, 2)))


def occupancy(probabilities: Any, num_steps: int | None = None) -> np.ndarray:
    """Share of its time that each sequence spends in each state, [sequence, state].

    Args:
        probabilities: smoothed state probabilities [sequence, time, state], NaN at padding, as `Fit.smooth` returns them.
        num_steps: count only the first steps; None for all.
    """
    return np.nanmean(np.asarray(probabilities)[:, :num_steps], axis=1)


@dataclasses.dataclass(frozen=True)
class GroupComparison:
    """A permutation test of whether two groups of sequences differ in their mean occupancy.

    Attributes:
        means: mean of each group, [2, state]: first where the label is False, then where it is True.
        p_value: share of label arrangements, the observed one included, whose groups differ at least as much.
        num_arrangements: how many were looked at, the observed one included.
        block: labels changed places only among this many consecutive sequences; None for all.
    """

    means: np.ndarray
    p_value: float
    num_arrangements: int
    block: int | None


def compare_groups(values: Any, labels: Any, *, block: int | None = None, num_permutations: int = 9999, seed: int = 0) -> GroupComparison:
    """Tests whether the mean of `values` differs between two groups of sequences, by permuting the labels.

    The statistic is the Euclidean distance between the means of the two groups.

    Args:
        values: [sequence, state], for instance from `occupancy`.
        labels: boolean [sequence], in the order in which the sequences were recorded.
        block: None lets labels change places freely, which supposes that sequences are exchangeable; where like labels come in runs, a slow drift of
            the recording then passes for an effect. A number lets them change places only within blocks of so many consecutive sequences, and takes
            the mean of its block from each value: only neighbours are compared, and blocks with one kind of label say nothing. Drift within a block stays.
        num_permutations: random rearrangements beside the observed one.
        seed: of the rearrangements.

    Raises:
        ValueError: for shapes that do not fit, a single group, or a block of fewer than two sequences.

    Example:
        >>> import numpy as np
        >>> bool(compare_groups(np.arange(12.0).reshape(6, 2), np.arange(6) < 3).p_value < 0.2)
        True
    """
    values, labels = np.asarray(values, float), np.asarray(labels)
    if values.ndim != 2 or labels.shape != values.shape[:1] or labels.dtype != bool:
        raise ValueError(f"labels: found shape {labels.shape} and dtype {labels.dtype} for values of shape {values.shape}, expected one boolean a sequence.")
    if labels.all() or not labels.any():
        raise ValueError(f"labels: found {labels[0]} for every sequence, expected two groups.")
    if block is not None and block < 2:
        raise ValueError(f"block: found {block}, expected at least 2 sequences, so that labels can change places.")
    size = len(labels) if block is None else block
    generator = np.random.default_rng(seed)
    arrangements, centred = np.tile(labels, (num_permutations + 1, 1)), values.copy()
    for start in range(0, len(labels), size):
        here = slice(start, start + size)
        arrangements[1:, here] = generator.permuted(arrangements[1:, here], axis=1)
        centred[here] -= centred[here].mean(0)
    distances = np.linalg.norm(arrangements @ centred / labels.sum() - ~arrangements @ centred / (~labels).sum(), axis=1)
    reached = distances >= distances[0] * (1 - _TIE)
    return GroupComparison(np.stack([values[~labels].mean(0), values[labels].mean(0)]), float(reached.mean()), len(arrangements), block)
