"""Figures of merit on plain arrays."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from latentgate.data import Sequences


def mean_rates(train: Sequences) -> np.ndarray:
    """Mean count per step of each neuron, [neuron]; a silent one counts half a spike, so that held-out spikes stay possible."""
    counts = np.asarray(train.values).sum((0, 1))
    steps = np.asarray(train.observed).sum((0, 1))
    return np.where(counts > 0, counts, 0.5) / steps


def homogeneous_poisson_log_likelihood(data: Sequences, rates: np.ndarray) -> float:
    """Log-likelihood of counts under constant rates [neuron], counts per step; missing entries add nothing."""
    values, observed = np.asarray(data.values), np.asarray(data.observed)
    terms = values * np.log(rates) - rates - gammaln(values + 1.0)
    return float(np.where(observed, terms, 0.0).sum())


def bits_per_spike(log_likelihood: float, data: Sequences, rates: np.ndarray) -> float:
    """Log-likelihood gain over constant rates, in bits per spike (Pei et al. 2021, eq. 2, with rates from other data).

    Args:
        log_likelihood: total log-likelihood of `data` under the model, nats.
        data: spike counts.
        rates: mean counts per step of the training data, [neuron].

    Raises:
        ValueError: if the data hold no spike.
    """
    spikes = float(np.asarray(data.values).sum())
    if spikes == 0:
        raise ValueError("data: found no spike, expected at least one to measure bits per spike.")
    return (log_likelihood - homogeneous_poisson_log_likelihood(data, rates)) / (spikes * float(np.log(2.0)))


def state_accuracy(truth: np.ndarray, inferred: np.ndarray, num_states: int) -> float:
    """Share of steps whose inferred state is the true one after the best renumbering; negative labels (padding) are ignored."""
    from latentgate.inference.alignment import match_labels

    truth, inferred = np.asarray(truth).ravel(), np.asarray(inferred).ravel()
    order = match_labels(truth, inferred, num_states)
    renumbered = np.argsort(order)[np.maximum(inferred, 0)]
    real = (truth >= 0) & (inferred >= 0)
    return float((renumbered[real] == truth[real]).mean())
