"""How well rates explain spike counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import gammaln, xlogy

from latentgate.data import Sequences
from latentgate.data._checks import as_float_array
from latentgate.metrics._checks import paired_rows


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


def co_smoothing_bits_per_spike(rates: Any, counts: Any, mean_rates: Any) -> float:
    """How much better predicted rates explain the counts of held-out neurons than constant rates do, in bits per spike.

    Poisson log-likelihood of the counts under `rates`, less that under `mean_rates`, divided by the number of spikes and log 2. Minus infinity where a
    spike fell into a bin whose predicted rate is zero.

    Args:
        rates: predicted counts per bin [time, neuron], at least 0, without NaN.
        counts: spike counts of the held-out neurons in the same bins, [time, neuron].
        mean_rates: constant counts per bin [neuron], above 0. The benchmark of the source takes the means of `counts` themselves; `mean_rates` of
            training data is the stricter choice.

    Raises:
        TypeError, ValueError: arrays that are not finite or do not fit, negative rates or counts, mean rates not above 0, or no spike.

    Source: Pei et al. 2021, "Neural Latents Benchmark '21", equation 2.

    Example:
        >>> import latentgate.metrics as metrics
        >>> metrics.co_smoothing_bits_per_spike([[0.0], [2.0]], [[0], [2]], [1.0])
        1.0
    """
    rates, counts = paired_rows(rates, counts, ("rates", "counts"))
    constant = as_float_array(mean_rates, "`mean_rates`")
    if constant.shape != (counts.shape[1],):
        raise ValueError(f"`mean_rates` has shape {constant.shape}; expected ({counts.shape[1]},), one rate per neuron.")
    if not (np.isfinite(constant) & (constant > 0)).all():
        raise ValueError(f"`mean_rates` holds {constant[~(constant > 0) | ~np.isfinite(constant)][0]}; expected finite rates above 0.")
    for argument, array in (("rates", rates), ("counts", counts)):
        if (array < 0).any():
            raise ValueError(f"`{argument}` holds {array.min()}; expected no negative number.")
    spikes = counts.sum()
    if spikes == 0:
        raise ValueError("`counts` holds no spike; expected at least one to measure bits per spike.")
    gain = (xlogy(counts, rates) - rates).sum() - (xlogy(counts, constant) - constant).sum()
    return float(gain / (spikes * np.log(2.0)))
