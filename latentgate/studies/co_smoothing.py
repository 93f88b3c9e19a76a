"""One protocol for co-smoothing: every method predicts neurons that it does not see in test trials, from those it does."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from latentgate.data import Sequences
from latentgate.metrics import co_smoothing_bits_per_spike, mean_rates
from latentgate.studies.pieces import cut_into_pieces, join_pieces

FORMAT = "latentgate co-smoothing 1"

Predictor = Callable[[Sequences], np.ndarray]


@runtime_checkable
class Strategy(Protocol):
    """A method that can be compared: fitted to all neurons of training trials, asked for rates of all neurons where only some are observed."""

    def fit(self, train: Sequences, held_in: np.ndarray, seed: int) -> Predictor:
        """Learns from the training trials.

        Args:
            train: counts [trial, time, neuron] of all neurons.
            held_in: boolean [neuron], True for the neurons that will be observed.
            seed: of whatever is drawn.

        Returns:
            A function of sequences in which held-out neurons are missing (entries that are not `observed` have no meaning), which gives expected counts per
            bin [trial, time, neuron]; what it gives at padding does not matter.
        """
        ...


def hidden(data: Sequences, held_in: Any, num_forward: int = 0) -> Sequences:
    """The same trials with held-out neurons, and all neurons in the last bins of each trial, made missing: not masked over but removed.

    Args:
        data: counts.
        held_in: boolean [neuron], True for neurons that stay.
        num_forward: number of bins at the end of each trial in which no neuron stays.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> from latentgate.studies.co_smoothing import hidden
        >>> hidden(lg.Sequences.from_arrays([np.ones((3, 2))]), [True, False], num_forward=1).to_list()[0].tolist()
        [[1.0, nan], [1.0, nan], [nan, nan]]
    """
    seen = np.asarray(data.observed) & _held_in(held_in, data)
    seen &= (np.arange(data.max_length) < np.asarray(data.lengths)[:, None] - num_forward)[..., None]
    return data.with_values(np.where(seen, data.values, np.nan))


def score(rates: Any, data: Sequences, neurons: np.ndarray, constant: np.ndarray) -> float:
    """Bits per spike of some neurons over constant rates.

    Args:
        rates: expected counts [trial, time, neuron] of all neurons.
        data: true counts; missing ones and padding are left out.
        neurons: boolean [neuron].
        constant: counts per bin of all neurons, [neuron].
    """
    counts = np.where(data.observed, data.values, np.nan)[..., neurons]
    return co_smoothing_bits_per_spike(np.asarray(rates, float)[..., neurons], counts, np.asarray(constant)[neurons])


@dataclasses.dataclass(frozen=True)
class InPieces:
    """Another strategy, given trials cut into pieces of so many bins: for models that are trained by minibatches of equal length.

    Attributes:
        strategy: the method.
        length: bins of a piece.
    """

    strategy: Strategy
    length: int

    def fit(self, train: Sequences, held_in: np.ndarray, seed: int) -> Predictor:
        """See `Strategy`."""
        predict = self.strategy.fit(cut_into_pieces(train, self.length), held_in, seed)
        return lambda data: join_pieces(predict(cut_into_pieces(data, self.length)), data)


@dataclasses.dataclass(frozen=True)
class Best:
    """The best of several strategies by co-smoothing of every fifth training trial (drawn by the seed), fitted again to all training trials.

    Attributes:
        candidates: the strategies to choose from.
    """

    candidates: tuple[Strategy, ...]

    def fit(self, train: Sequences, held_in: np.ndarray, seed: int) -> Predictor:
        """See `Strategy`."""
        inner, validation = inner_split(train, seed)
        masked, constant = hidden(validation, held_in), mean_rates(inner)
        scores = [score(candidate.fit(inner, held_in, seed)(masked), validation, ~held_in, constant) for candidate in self.candidates]
        return self.candidates[int(np.argmax(scores))].fit(train, held_in, seed)


def inner_split(train: Sequences, seed: int) -> tuple[Sequences, Sequences]:
    """Four fifths of the training trials to learn from and one to choose by."""
    return train.split(0.8, seed)


def predicted_rates(strategy: Strategy, train: Sequences, test: Sequences, held_in: Any, seed: int) -> np.ndarray:
    """Expected counts [trial, time, neuron] of the test trials by a strategy that is shown the held-in neurons there and nothing else.

    Raises:
        ValueError: predicted rates of another shape.
    """
    held_in = _held_in(held_in, train)
    rates = np.asarray(strategy.fit(train, held_in, seed)(hidden(test, held_in)))
    if rates.shape != test.values.shape:
        raise ValueError(f"{strategy} predicts rates of shape {rates.shape} for counts of shape {test.values.shape}; expected the same shape.")
    return rates


def co_smoothing(
    train: Sequences,
    test: Sequences,
    held_in: Any,
    strategies: Mapping[str, Strategy],
    seeds: Sequence[int] = (0, 1, 2),
    report: Callable[[str], None] | None = None,
) -> CoSmoothing:
    """Compares methods by how well they predict neurons that are hidden in the test trials.

    Args:
        train: counts of all neurons in the training trials.
        test: counts of all neurons in the test trials; no method sees the held-out ones.
        held_in: boolean [neuron], True for the neurons that are observed in the test trials.
        strategies: {name: method}.
        seeds: one fit of each method with each.
        report: called with a line after each fit.

    Returns:
        Bits per spike of the held-out neurons in the test trials over their mean rates in the training trials, with seconds.

    Raises:
        ValueError: neurons that do not fit, none of them held in or out, no strategy, or rates of another shape.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> from latentgate.studies.baselines import PSTH
        >>> from latentgate.studies.co_smoothing import co_smoothing
        >>> rates = np.exp(np.sin(np.arange(20.0)))[:, None] * np.ones(4)
        >>> counts = lg.Sequences.from_arrays(np.random.default_rng(0).poisson(rates, size=(30, 20, 4)))
        >>> result = co_smoothing(counts.select(slice(20)), counts.select(slice(20, 30)), np.arange(4) < 3, {"PSTH": PSTH()}, seeds=[0])
        >>> bool(result.bits["PSTH"][0] > 0.1)
        True
    """
    held_in = _held_in(held_in, train)
    if test.num_features != train.num_features:
        raise ValueError(f"`test` has {test.num_features} neurons but `train` has {train.num_features}; expected the same neurons.")
    if not strategies or not len(seeds):
        raise ValueError(f"`strategies` has {len(strategies)} methods and `seeds` {len(seeds)} seeds; expected at least one of each.")
    constant = mean_rates(train)
    bits: dict[str, list[float]] = {name: [] for name in strategies}
    seconds: dict[str, list[float]] = {name: [] for name in strategies}
    for name, strategy in strategies.items():
        for seed in seeds:
            begin = time.perf_counter()
            rates = predicted_rates(strategy, train, test, held_in, int(seed))
            seconds[name].append(time.perf_counter() - begin)
            bits[name].append(score(rates, test, ~held_in, constant))
            if report is not None:
                report(f"{name}, seed {seed}: {bits[name][-1]:.4f} bits per spike, {seconds[name][-1]:.1f} s")
    return CoSmoothing(bits, seconds, tuple(int(seed) for seed in seeds))


@dataclasses.dataclass(frozen=True)
class CoSmoothing:
    """Scores of methods under one protocol.

    Attributes:
        bits: {method: bits per spike for each seed}.
        seconds: {method: seconds of fitting and predicting for each seed, compilation included}.
        seeds: the seeds.
    """

    bits: dict[str, list[float]]
    seconds: dict[str, list[float]]
    seeds: tuple[int, ...]

    def table(self) -> str:
        """A Markdown table, one row for each method in the order they were given."""
        rows = ["| method | " + " | ".join(f"seed {seed}" for seed in self.seeds) + " | mean | s |", "|---" * (len(self.seeds) + 3) + "|"]
        for name, values in self.bits.items():
            rows.append(f"| {name} | " + " | ".join(f"{value:.4f}" for value in values) + f" | {np.mean(values):.4f} | {np.mean(self.seconds[name]):.1f} |")
        return "\n".join(rows)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes everything as JSON."""
        path = Path(path)
        path.write_text(json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1))
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CoSmoothing:
        """Reads what `save` wrote.

        Raises:
            ValueError: another file.
        """
        content = json.loads(Path(path).read_text())
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(f"{path} was not written by CoSmoothing.save; expected the format {FORMAT!r}.")
        return cls(content["bits"], content["seconds"], tuple(content["seeds"]))


def _held_in(held_in: Any, data: Sequences) -> np.ndarray:
    chosen = np.asarray(held_in)
    if chosen.shape != (data.num_features,) or chosen.dtype != bool:
        raise ValueError(f"`held_in` has shape {chosen.shape} and dtype {chosen.dtype}; expected {data.num_features} booleans, one for each neuron.")
    if chosen.all() or not chosen.any():
        raise ValueError(f"`held_in` is {bool(chosen[0])} for every neuron; expected some neurons held in and some held out.")
    return chosen
