"""The analysis behind `latentgate demo`: from a recording by name to a one-hot HMM-GLM, its states and its held-out scores."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

import latentgate.metrics as metrics
from latentgate import basis, emissions, priors
from latentgate.comparison import GroupComparison, HeldOutScores, compare_groups, held_out_scores, occupancy
from latentgate.data import Sequences
from latentgate.demonstration.recording import SIMULATED, Origin, obtain
from latentgate.inference import EM, Fit, fit
from latentgate.models import HMM

ONE_STATE, FREE, ONE_HOT = "one-state GLM", "HMM-GLM (ridge)", "one-hot HMM-GLM"
_TEST_EVERY = 4
# Trials that count as neighbours where a slow drift must not pass for an effect.
_NEIGHBOURS = 8


@dataclasses.dataclass(frozen=True)
class Settings:
    """How large the demonstration is.

    Attributes:
        num_neurons: the most active neurons are kept, up to this many.
        num_states: K.
        window: lags of the spike history, in bins.
        time_constant: of its exponential decay, in bins.
        restarts: starting points of each fit of several states.
        one_state_iterations: limit of EM for the one-state GLM.
        free_iterations: limit of EM for the HMM-GLM that the one-hot model starts from.
        one_hot_iterations: limit of EM for the one-hot HMM-GLM.
        tolerance: of EM.
        num_permutations: of the test of occupancy.
    """

    num_neurons: int = 24
    num_states: int = 3
    window: int = 5
    time_constant: float = 2.0
    restarts: int = 3
    one_state_iterations: int = 100
    free_iterations: int = 30
    one_hot_iterations: int = 40
    tolerance: float = 1e-6
    num_permutations: int = 9999


QUICK = Settings(num_neurons=8, restarts=2, one_state_iterations=10, free_iterations=10, one_hot_iterations=10, num_permutations=999)


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """Everything the demonstration found; `latentgate.demonstration.report` turns it into pages and pictures.

    Attributes:
        origin: the recording.
        settings: sizes and limits.
        seed: of starting points and permutations.
        data: the trials, most active neurons only.
        num_recorded: neurons before the choice.
        train, test: indices of the trials.
        fits: {model: fit}.
        scores: on the held-out trials.
        smoothed: state probabilities of the one-hot model, [trial, time, state], NaN at padding.
        path: its most probable states, [trial, time], -1 at padding.
        condition: name of the boolean label that is compared, or None.
        occupied: [trial, state].
        tests: {what was compared: result}.
        accuracy: share of bins with the true state, for a simulation, else None.
        seconds: {stage: seconds}, compilation included.
    """

    origin: Origin
    settings: Settings
    seed: int
    data: Sequences
    num_recorded: int
    train: np.ndarray
    test: np.ndarray
    fits: dict[str, Fit]
    scores: HeldOutScores
    smoothed: np.ndarray
    path: np.ndarray
    condition: str | None
    occupied: np.ndarray
    tests: dict[str, GroupComparison]
    accuracy: float | None
    seconds: dict[str, float]

    @property
    def weights(self) -> np.ndarray:
        """Coupling of the one-hot model, [state, neuron, source, basis]."""
        fitted = self.fits[ONE_HOT]
        return np.asarray(fitted.model.emission.coupling_weights(fitted.params))  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def common_steps(self) -> int:
        """Steps of the shortest trial: a window that every trial has."""
        return int(np.asarray(self.data.lengths).min())


def demonstrate(recording: str | None, settings: Settings, seed: int, tell: Callable[[str], None], progress: bool | None = None) -> Demonstration:
    """Runs the whole analysis.

    Args:
        recording: a name in `RECORDINGS` or a path; None for "rat_insula" where it can be had, else "simulated_insula".
        settings: sizes and limits.
        seed: of starting points and permutations.
        tell: is called with one line at the start of each stage.
        progress: as in `lg.fit`.

    Raises:
        RecordingUnavailable: if `recording` is named and cannot be had.
        ValueError: an unknown name, fewer than two trials, or data that are no counts.
        NonFiniteLikelihoodError: if every restart of a fit broke down.
        KeyboardInterrupt: if a fit was interrupted.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, "reading"):
        tell("looking for the recording")
        recorded, origin = obtain(recording)
        data = most_active(recorded, settings.num_neurons)
        tell(f"recording {origin.name}: {origin.reason}")
        tell(f"{data.num_sequences} trials, {data.num_features} most active of {recorded.num_features} neurons, {_bin_text(data)}")
    if data.num_sequences < 2:
        raise ValueError(f"recording: found {data.num_sequences} sequence in {origin.name!r}, expected at least 2, to hold some out.")
    held_out = np.arange(data.num_sequences) % _TEST_EVERY == min(_TEST_EVERY, data.num_sequences) - 1
    train, test = data.select(~held_out), data.select(held_out)

    history = basis.Exponential(window=settings.window, time_constant=settings.time_constant)

    def model(num_states: int, coupling: priors.CouplingPrior) -> HMM:
        # Type checkers take the constructor that equinox writes for a leaf class for the inherited one.
        glm = emissions.PoissonGLM(  # pyright: ignore[reportCallIssue]
            data.num_features, history=history, coupling=coupling, bin_width=data.bin_width or 1.0
        )
        return HMM(num_states, glm)

    plan = (
        (ONE_STATE, model(1, priors.Ridge()), EM(1, settings.one_state_iterations, settings.tolerance)),
        (FREE, model(settings.num_states, priors.Ridge()), EM(settings.restarts, settings.free_iterations, settings.tolerance)),
        (ONE_HOT, model(settings.num_states, priors.OneHot()), EM(settings.restarts, settings.one_hot_iterations, settings.tolerance)),
    )
    fits: dict[str, Fit] = {}
    for name, structure, engine in plan:
        tell(f"fitting the {name} by {engine} (compiles first)")
        with _timed(seconds, f"fitting the {name}"):
            found = fit(structure, train, engine, seed=seed, start=fits[FREE] if name == ONE_HOT else None, progress=progress)
        if found.outcome.name == "INTERRUPTED":
            raise KeyboardInterrupt
        fits[name] = found

    tell("decoding states and scoring held-out trials")
    with _timed(seconds, "decoding and scoring"):
        probabilities = np.asarray(fits[ONE_HOT].smooth(data))
        # From the most to the least occupied one, so that numbers mean the same whatever the random start.
        order = np.argsort(-np.nansum(probabilities, axis=(0, 1)), kind="stable")
        fits[ONE_HOT] = fits[ONE_HOT].with_states(order)
        smoothed, path = probabilities[..., order], fits[ONE_HOT].most_probable_path(data).values
        scores = held_out_scores({name: found.log_likelihood(test).values for name, found in fits.items()}, test, train)
        condition = next((name for name, label in data.labels.items() if label.dtype == bool and label.any() and not label.all()), None)
        occupied = occupancy(smoothed)
        tests = {} if condition is None else _tests(smoothed, data, condition, settings.num_permutations, seed)
    return Demonstration(
        origin=origin,
        settings=settings,
        seed=seed,
        data=data,
        num_recorded=recorded.num_features,
        train=np.flatnonzero(~held_out),
        test=np.flatnonzero(held_out),
        fits=fits,
        scores=scores,
        smoothed=smoothed,
        path=path,
        condition=condition,
        occupied=occupied,
        tests=tests,
        accuracy=_accuracy(origin, recorded, path, settings.num_states),
        seconds=seconds,
    )


def most_active(data: Sequences, count: int) -> Sequences:
    """The same sequences with the `count` features of the largest sums, in their old order."""
    totals = np.asarray(data.values).sum((0, 1))
    kept = np.sort(np.argsort(-totals, kind="stable")[:count])
    names = None if data.names is None else [data.names[index] for index in kept]
    return data.with_values(np.where(data.observed, data.values, np.nan)[:, :, kept], names)


def _tests(smoothed: np.ndarray, data: Sequences, condition: str, num_permutations: int, seed: int) -> dict[str, GroupComparison]:
    labels = data.labels[condition]
    common = int(np.asarray(data.lengths).min())
    whole, window = occupancy(smoothed), occupancy(smoothed, common)
    return {
        "whole trials": compare_groups(whole, labels, num_permutations=num_permutations, seed=seed),
        "common window": compare_groups(window, labels, num_permutations=num_permutations, seed=seed),
        "neighbouring trials": compare_groups(whole, labels, block=_NEIGHBOURS, num_permutations=num_permutations, seed=seed),
    }


def _accuracy(origin: Origin, recorded: Sequences, path: np.ndarray, num_states: int) -> float | None:
    if origin.name != SIMULATED:
        return None
    from latentgate.data import bundled

    truth = bundled.simulate()
    # Another release of NumPy may draw other numbers; its states would not be those of the file.
    if not np.array_equal(truth.data.values, recorded.values):
        return None
    return metrics.state_accuracy(truth.states, path, num_states)


def _bin_text(data: Sequences) -> str:
    return "steps without a width" if data.bin_width is None else f"bins of {1000 * data.bin_width:.0f} ms"


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start
