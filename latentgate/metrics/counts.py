"""How well rates explain spike counts."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from scipy.special import gammaln, xlogy

from latentgate.data import Sequences
from latentgate.data._checks import as_float_array
from latentgate.metrics._checks import counts_and_rates


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


def co_smoothing_bits_per_spike(rates: Any, counts: Any, mean_rates: Any = None, zero_rate: float | None = None) -> float:
    """How much better predicted rates explain the counts of held-out neurons than constant rates do, in bits per spike.

    Poisson log-likelihood of the counts under `rates`, less that under `mean_rates`, divided by the number of spikes and log 2. Minus infinity where a
    spike fell into a bin whose predicted rate is zero, unless `zero_rate` is given.

    Args:
        rates: predicted counts per bin, [time, neuron] or [trial, time, neuron], at least 0; where a count is NaN they are not looked at.
        counts: spike counts of the held-out neurons in the same bins; NaN marks a missing one, which is left out.
        mean_rates: constant counts per bin [neuron], above 0: `mean_rates` of training data is the strict choice. None takes the means of `counts`
            themselves, as the benchmark of the source does.
        zero_rate: what stands in for rates of exactly 0, predicted and constant ones; the benchmark takes 1e-9. None leaves them as they are.

    Raises:
        TypeError, ValueError: arrays that do not fit, rates that are not finite where there is a count, negative rates or counts, mean rates or a zero
            rate not above 0, or no spike.

    Source: Pei et al. 2021, "Neural Latents Benchmark '21", equation 2; `bits_per_spike` of nlb_tools 0.0.4 with `mean_rates=None, zero_rate=1e-9`.

    Example:
        >>> import latentgate.metrics as metrics
        >>> metrics.co_smoothing_bits_per_spike([[0.0], [2.0]], [[0], [2]], [1.0])
        1.0
        >>> metrics.co_smoothing_bits_per_spike([[0.0], [2.0], [5.0]], [[0], [2], [float("nan")]])
        1.0
    """
    rates, counts, seen = counts_and_rates(rates, counts)
    spikes = counts.sum()
    if spikes == 0:
        raise ValueError("`counts` holds no spike; expected at least one to measure bits per spike.")
    if mean_rates is None:
        constant = counts.sum(0) / np.maximum(seen.sum(0), 1)
    else:
        constant = as_float_array(mean_rates, "`mean_rates`")
        if constant.shape != (counts.shape[1],):
            raise ValueError(f"`mean_rates` has shape {constant.shape}; expected ({counts.shape[1]},), one rate per neuron.")
        if not (np.isfinite(constant) & (constant > 0)).all():
            raise ValueError(f"`mean_rates` holds {constant[~(constant > 0) | ~np.isfinite(constant)][0]}; expected finite rates above 0.")
    if zero_rate is not None:
        if not (np.isfinite(zero_rate) and zero_rate > 0):
            raise ValueError(f"`zero_rate` is {zero_rate!r}; expected a number above 0, or None.")
        rates, constant = np.where(seen & (rates == 0), zero_rate, rates), np.where(constant == 0, zero_rate, constant)
    gain = (xlogy(counts, rates) - rates).sum() - (xlogy(counts, constant) - constant * seen).sum()
    return float(gain / (spikes * np.log(2.0)))


def forward_prediction_bits_per_spike(rates: Any, counts: Any, num_forward: int, mean_rates: Any = None, zero_rate: float | None = None) -> float:
    """`co_smoothing_bits_per_spike` of the last bins of each trial, of which a model has seen no neuron at all.

    Args:
        rates: predicted counts per bin, [trial, time, neuron], of all neurons, held in and held out.
        counts: spike counts of the same shape; NaN marks a missing one.
        num_forward: number of bins at the end of each trial to score; the benchmark predicts 200 ms.
        mean_rates: as in `co_smoothing_bits_per_spike`.
        zero_rate: as in `co_smoothing_bits_per_spike`.

    Raises:
        TypeError, ValueError: as `co_smoothing_bits_per_spike`; arrays without trials; or more bins than there are.

    Source: Pei et al. 2021, "Neural Latents Benchmark '21".

    Example:
        >>> import latentgate.metrics as metrics
        >>> metrics.forward_prediction_bits_per_spike([[[9.0], [0.0], [2.0]]], [[[1], [0], [2]]], num_forward=2)
        1.0
    """
    rates, counts = as_float_array(rates, "`rates`"), as_float_array(counts, "`counts`")
    if rates.ndim != 3 or counts.shape != rates.shape:
        raise ValueError(f"`rates` has shape {rates.shape} and `counts` {counts.shape}; expected the same [trial, time, neuron].")
    if isinstance(num_forward, bool) or not isinstance(num_forward, numbers.Integral) or not 1 <= num_forward <= rates.shape[1]:
        raise ValueError(f"`num_forward` is {num_forward!r}; expected a number of bins from 1 to {rates.shape[1]}.")
    return co_smoothing_bits_per_spike(rates[:, -num_forward:], counts[:, -num_forward:], mean_rates, zero_rate)
