"""Few-shot co-smoothing: how much of held-out neurons can be read from latents after few trials."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from latentgate.data._checks import as_float_array
from latentgate.metrics.counts import co_smoothing_bits_per_spike


def few_shot_co_smoothing(
    train_latents: Any,
    train_counts: Any,
    latents: Any,
    counts: Any,
    num_trials: int,
    *,
    draws: int = 20,
    ridge: float = 1e-3,
    seed: int = 0,
    mean_rates: Any = None,
    average: bool = True,
) -> np.ndarray | float:
    """Bits per spike of held-out neurons whose rates a Poisson regression on latents learned from a few training trials.

    Many latents reach the same co-smoothing score once their readout is learned from all trials. Those that carry dynamics of no use to the neurons need
    more trials for it: of two models with equal co-smoothing, the one with the higher few-shot score has the simpler latents.

    Each draw takes `num_trials` training trials without replacement and regresses every held-out neuron on the latents of these trials (log link, ridge on
    weights of latents scaled to unit variance over all training trials); a neuron without spikes in them gets the constant rate of half a spike in all.

    Args:
        train_latents: inferred latents of the training trials, [trial, time, latent]; held-out neurons must not have been used for them.
        train_counts: counts of the held-out neurons, [trial, time, neuron]; NaN marks a missing one.
        latents: inferred latents of the evaluated trials.
        counts: counts of the held-out neurons in the evaluated trials.
        num_trials: training trials in each draw (the k of the source).
        draws: number of draws.
        ridge: penalty, per row.
        seed: of the draws.
        mean_rates: as in `co_smoothing_bits_per_spike`: None for the means of `counts`.
        average: the mean over draws; False gives one value for each, [draw].

    Raises:
        TypeError, ValueError: arrays that do not fit or are not finite, numbers out of range, or no spike.

    Source: Dabholkar and Barak, "When predict can also explain: few-shot prediction to select better neural latents" (2024, arXiv 2405.14425).

    Example:
        >>> import numpy as np, latentgate.metrics as metrics
        >>> generator = np.random.default_rng(0)
        >>> latents = generator.normal(size=(40, 30, 1))
        >>> counts = generator.poisson(np.exp(latents))
        >>> few, many = (metrics.few_shot_co_smoothing(latents[:30], counts[:30], latents[30:], counts[30:], k) for k in (1, 20))
        >>> bool(0.2 < few < many)
        True
    """
    from sklearn.linear_model import PoissonRegressor
    from threadpoolctl import threadpool_limits

    train_latents, train_counts = _pair(train_latents, train_counts, "train_")
    latents, counts = _pair(latents, counts, "")
    for what, first, second in (("latents", train_latents, latents), ("counts", train_counts, counts)):
        if first.shape[2] != second.shape[2]:
            raise ValueError(f"`train_{what}` has shape {first.shape} but `{what}` has {second.shape}; expected the same last dimension.")
    for argument, value, most in (("num_trials", num_trials, len(train_latents)), ("draws", draws, None)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1 or (most is not None and value > most):
            raise ValueError(f"`{argument}` is {value!r}; expected a whole number from 1" + ("" if most is None else f" to {most}, the training trials") + ".")
    if not (np.isfinite(ridge) and ridge > 0):
        raise ValueError(f"`ridge` is {ridge!r}; expected a number above 0: the readout of few trials is not determined without a penalty.")
    flat = train_latents.reshape(-1, train_latents.shape[2])
    spread = flat.std(0)
    centre, spread = flat.mean(0), np.where(spread > 0, spread, 1.0)
    train_features, features = (train_latents - centre) / spread, ((latents - centre) / spread).reshape(-1, latents.shape[2])
    generator = np.random.default_rng(seed)
    scores = np.zeros(draws)
    for draw in range(draws):
        chosen = generator.choice(len(train_features), size=num_trials, replace=False)
        shots = train_features[chosen].reshape(-1, flat.shape[1])
        targets = train_counts[chosen].reshape(len(shots), -1)
        rates = np.zeros((len(features), targets.shape[1]))
        for neuron, target in enumerate(targets.T):
            seen = ~np.isnan(target)
            if not target[seen].any():
                rates[:, neuron] = 0.5 / max(seen.sum(), 1)
                continue
            # Threads cost a hundred times what regressions of this size take.
            with threadpool_limits(1):
                regression = PoissonRegressor(alpha=ridge, solver="newton-cholesky", max_iter=300)
                rates[:, neuron] = regression.fit(shots[seen], target[seen]).predict(features)
        scores[draw] = co_smoothing_bits_per_spike(rates, counts.reshape(rates.shape), mean_rates)
    return float(scores.mean()) if average else scores


def _pair(latents: Any, counts: Any, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    latents, counts = as_float_array(latents, f"`{prefix}latents`"), as_float_array(counts, f"`{prefix}counts`")
    if latents.ndim != 3 or counts.ndim != 3 or latents.shape[:2] != counts.shape[:2] or 0 in latents.shape or 0 in counts.shape:
        raise ValueError(
            f"`{prefix}latents` has shape {latents.shape} and `{prefix}counts` {counts.shape}; expected [trial, time, latent] and [trial, time, neuron]."
        )
    if not np.isfinite(latents).all():
        raise ValueError(f"`{prefix}latents` is not finite throughout; expected numbers in every bin.")
    return latents, counts
