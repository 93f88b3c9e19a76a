"""Held-out scores for several models, whole sessions at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

import latentgate.metrics as metrics
from latentgate.arguments import at_least, described
from latentgate.data import Sequences
from latentgate.models import StateSpaceModel
from latentgate.models.observations import require_sequences

from .engine import Engine
from .fitting import fit


def cross_validate(
    models: Mapping[object, StateSpaceModel],
    data: Sequences,
    engine: Engine,
    *,
    num_folds: int,
    seed: int,
    counts: bool = True,
    progress: bool | None = None,
) -> xr.Dataset:
    """Blocked cross-validation: no session (`data.groups`; each sequence, if there are none) is ever cut.

    Args:
        models: {label: model}, for example {k: lg.HMM(k, emission) for k in range(1, 5)}.
        data: sequences.
        engine: fitted anew in each fold.
        num_folds: at least 2.
        seed: of the starting points.
        counts: also score bits per spike over the training rates; the data must be counts.
        progress: as in `lg.fit`.

    Returns:
        dims (model, fold): `log_likelihood` (held out, nats), `log_likelihood_per_step`, `train_log_likelihood_per_step`, `converged`, and `bits_per_spike`.

    Raises:
        ValueError: for fewer than two folds or no model.
    """
    if not isinstance(models, Mapping):
        raise TypeError(f"models: found {described(models)}, expected {{label: model}}, for example {{2: lg.HMM(2, emission), 3: lg.HMM(3, emission)}}.")
    if not models:
        raise ValueError("models: found none, expected {label: model}, for example {2: lg.HMM(2, emission)}.")
    at_least("num_folds", num_folds, 2)
    require_sequences(data)
    names = ["log_likelihood", "log_likelihood_per_step", "train_log_likelihood_per_step", "converged"] + ["bits_per_spike"] * counts
    scores = {name: np.zeros((len(models), num_folds)) for name in names}
    for fold, (train_index, test_index) in enumerate(data.folds(num_folds)):
        train, test = data.select(train_index), data.select(test_index)
        for row, model in enumerate(models.values()):
            result = fit(model, train, engine, seed=seed, progress=progress)
            held_out = float(result.log_likelihood(test).sum())
            scores["log_likelihood"][row, fold] = held_out
            scores["log_likelihood_per_step"][row, fold] = held_out / test.num_steps
            scores["train_log_likelihood_per_step"][row, fold] = float(result.log_likelihood(train).sum()) / train.num_steps
            scores["converged"][row, fold] = result.converged
            if counts:
                scores["bits_per_spike"][row, fold] = metrics.bits_per_spike(held_out, test, metrics.mean_rates(train))
    return xr.Dataset({name: (("model", "fold"), value) for name, value in scores.items()}, coords={"model": list(models)})
