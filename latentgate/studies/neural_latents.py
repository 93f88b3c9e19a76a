"""The Neural Latents Benchmark with one call: fit, predict, score, and write the submission."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from latentgate.data import Sequences
from latentgate.data.neural_latents import Benchmark, write_submission
from latentgate.metrics import evaluate
from latentgate.studies.co_smoothing import Strategy, hidden


@dataclasses.dataclass(frozen=True)
class BenchmarkRun:
    """What came of a run.

    Attributes:
        scores: {score: value} under the benchmark's names; empty where the truth is kept back.
        rates: the submission's arrays by name.
    """

    scores: dict[str, float]
    rates: dict[str, np.ndarray]


def run(
    benchmark: Benchmark, predict: Strategy | Callable[[Sequences, Sequences], Any], path: str | os.PathLike[str] | None = None, seed: int = 0
) -> BenchmarkRun:
    """Runs a model on a data set of the benchmark.

    Args:
        benchmark: the data set, from `latentgate.data.neural_latents.read`.
        predict: a function of `benchmark.train` and `benchmark.evaluation` that gives expected counts per bin of the evaluated trials, [trial, time, neuron],
            forward bins included; or a pair: those of the training trials, then those. Training rates are needed for the scores of behaviour. Or a
            `Strategy` of `latentgate.studies.co_smoothing`, which is fitted and predicts both, the training trials from what evaluated trials have.
        path: of a submission file to write (.h5); None for none.
        seed: of a strategy.

    Raises:
        ValueError: rates of another shape, or that cannot be scored.

    Source: Pei et al. 2021, "Neural Latents Benchmark '21".

    Example:
        >>> import numpy as np
        >>> from latentgate.data.neural_latents.benchmark import from_tensors
        >>> from latentgate.studies.baselines import PSTH
        >>> from latentgate.studies.neural_latents import run
        >>> rates = np.exp(np.sin(np.arange(30.0) / 4))[:, None] * np.ones(4)
        >>> counts = np.random.default_rng(0).poisson(rates, size=(40, 30, 4))
        >>> tensors = {"train_spikes_heldin": counts[:30, :, :3], "train_spikes_heldout": counts[:30, :, 3:], "eval_spikes_heldin": counts[30:, :, :3]}
        >>> benchmark = from_tensors("mc_rtt", 20, tensors, {"eval_spikes_heldout": counts[30:, :, 3:]})
        >>> bool(run(benchmark, PSTH()).scores["co-bps"] > 0.1)
        True
    """
    if isinstance(predict, Strategy):
        predictor = predict.fit(benchmark.train, benchmark.held_in, seed)
        num_forward = benchmark.num_forward if benchmark.train.max_length == benchmark.evaluation.max_length else 0
        train_rates, rates = predictor(hidden(benchmark.train, benchmark.held_in, num_forward)), predictor(benchmark.evaluation)
    else:
        found = predict(benchmark.train, benchmark.evaluation)
        train_rates, rates = found if isinstance(found, tuple) else (None, found)
    submission = benchmark.submission(rates, train_rates)
    scores = evaluate({benchmark.group: benchmark.targets}, {benchmark.group: submission})[benchmark.group] if benchmark.targets else {}
    if path is not None:
        write_submission(Path(path), benchmark.group, submission)
    return BenchmarkRun(scores, submission)
