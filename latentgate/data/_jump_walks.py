"""Behind the simulators of jump processes: paths, the walk that makes them, and the checks of what they are given."""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class JumpPath:
    """A path of a jump process, constant between its jumps.

    Attributes:
        times: [1 + jump] start of the path, then the times of its jumps.
        states: int [1 + jump] the state from each of these times until the next.
        end: until when the path is known.
    """

    times: np.ndarray
    states: np.ndarray
    end: float

    def at(self, times: Any) -> np.ndarray:
        """The states at the given times, int and of their shape.

        Raises:
            ValueError: a time outside the path.
        """
        times = np.asarray(times, float)
        if not ((times >= self.times[0]) & (times <= self.end)).all():
            raise ValueError(f"`times` leaves the path, which lasts from {self.times[0]:g} to {self.end:g}; expected times within it.")
        return self.states[np.searchsorted(self.times, times, side="right") - 1]

    def occupation(self, num_states: int) -> np.ndarray:
        """[K] the time spent in each state."""
        return np.bincount(self.states, weights=np.diff(self.times, append=self.end), minlength=num_states)

    def jumps(self, num_states: int) -> np.ndarray:
        """Int [K, K], the number of jumps from row to column."""
        pairs = self.states[:-1] * num_states + self.states[1:]
        return np.bincount(pairs, minlength=num_states**2).reshape(num_states, num_states)


def check_generator(generator: Any, argument: str) -> np.ndarray:
    """`generator` as float64 [K, K].

    Raises:
        ValueError: another shape, rates that are negative or not finite, or rows that do not sum to 0.
    """
    matrix = np.asarray(generator, float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"`{argument}` has shape {matrix.shape}; expected [K, K].")
    if not np.isfinite(matrix).all():
        raise ValueError(f"`{argument}` is not finite; expected finite rates.")
    negative = np.argwhere((matrix < 0) & ~np.eye(len(matrix), dtype=bool))
    if negative.size:
        source, target = negative[0]
        raise ValueError(f"`{argument}` has the rate {matrix[source, target]:g} from {source} to {target}; expected rates that are not negative.")
    # Published and stored generators have few digits.
    wrong = np.flatnonzero(np.abs(matrix.sum(axis=1)) > len(matrix) * 1e-6 * np.abs(matrix).max(axis=1))
    if wrong.size:
        raise ValueError(f"row {wrong[0]} of `{argument}` sums to {matrix[wrong[0]].sum():g}; expected 0: the diagonal is minus the sum of the rates.")
    return matrix


def with_diagonal(rates: np.ndarray) -> np.ndarray:
    """The generator [K, K] with these rates off the diagonal."""
    generator = rates.copy()
    np.fill_diagonal(generator, 0.0)
    np.fill_diagonal(generator, -generator.sum(axis=1))
    return generator


class Rates:
    """A generator prepared for drawing jumps."""

    def __init__(self, generator: np.ndarray) -> None:
        jumps = generator.copy()
        np.fill_diagonal(jumps, 0.0)
        self.num_states = len(jumps)
        self.exits: list[float] = jumps.sum(axis=1).tolist()
        edges = np.cumsum(jumps, axis=1)
        for row, rates in zip(edges, jumps, strict=True):
            if rates.any():
                # Rounding of the sum must not lead beyond the last state that can be reached at all.
                row[np.flatnonzero(rates)[-1] :] = np.inf
        self.edges: list[list[float]] = edges.tolist()


def walk(rng: np.random.Generator, pieces: Sequence[Rates], edges: np.ndarray, state: int, stop: frozenset[int]) -> JumpPath:
    """A path over the intervals between `edges`, piece n holding in the n-th (the last piece in all further ones), until a state of `stop` is entered."""
    times, states = [float(edges[0])], [state]
    for interval in range(len(edges) - 1):
        if state in stop:
            break
        rates = pieces[min(interval, len(pieces) - 1)]
        now, end = float(edges[interval]), float(edges[interval + 1])
        while state not in stop and rates.exits[state] > 0:
            now += rng.exponential() / rates.exits[state]
            if now >= end:
                break
            state = bisect.bisect_right(rates.edges[state], rng.random() * rates.exits[state])
            times.append(now)
            states.append(state)
    return JumpPath(np.array(times), np.array(states), times[-1] if state in stop else float(edges[-1]))


def initial_law(initial: Any, num_states: int) -> np.ndarray:
    """[K] the law of the first state, given as a law or as a state."""
    law = np.asarray(initial)
    if law.ndim == 0 and law.dtype.kind in "iu" and 0 <= law < num_states:
        return np.eye(num_states)[int(law)]
    if law.shape != (num_states,) or law.dtype.kind not in "iuf" or not ((law >= 0).all() and abs(law.sum() - 1) < 1e-10):
        raise ValueError(f"`initial` is {initial!r}; expected a state from 0 to {num_states - 1}, or a law of {num_states} probabilities that sum to 1.")
    return law.astype(float)


def draw_initial(rng: np.random.Generator, law: np.ndarray) -> int:
    """A state of this law [K]."""
    return int(rng.choice(len(law), p=law))


def check_observation_times(times: Any, index: int) -> np.ndarray:
    """[time] the times at which a subject is looked at, strictly increasing."""
    row = np.asarray(times, float)
    if row.ndim != 1 or not row.size or not np.isfinite(row).all() or (np.diff(row) <= 0).any():
        raise ValueError(f"subject {index} of `observation_times` is {times!r}; expected a flat list of finite, strictly increasing times.")
    return row


def check_covariates(covariates: Sequence[Any] | None, times: list[np.ndarray]) -> list[np.ndarray] | None:
    """One finite [time, covariate] array per subject, or None."""
    if covariates is None:
        return None
    arrays = [np.asarray(row, float) for row in covariates]
    if len(arrays) != len(times):
        raise ValueError(f"`covariates` has {len(arrays)} entries for {len(times)} subjects; expected one [time, covariate] array each.")
    for index, (array, row) in enumerate(zip(arrays, times, strict=True)):
        if array.ndim != 2 or len(array) != len(row) or array.shape[1] != arrays[0].shape[-1] or not np.isfinite(array).all():
            raise ValueError(f"subject {index} of `covariates` has shape {array.shape} for {len(row)} times; expected finite [time, covariate].")
    return arrays


def rates_of_subjects(generator: Any, times: list[np.ndarray], covariates: list[np.ndarray] | None) -> list[list[Rates]]:
    """The generators of each subject, one per row, or one for all its rows."""
    if callable(generator):
        function: Callable[[np.ndarray], Any] = generator
        if covariates is None:
            raise ValueError("`generator` is a function of covariates, but `covariates` is not given; expected one [time, covariate] array per subject.")
        subjects = [[Rates(check_generator(function(row), "generator(covariates)")) for row in array] for array in covariates]
    elif isinstance(generator, (list, tuple)) and np.ndim(generator[0]) >= 2:
        if len(generator) != len(times):
            raise ValueError(f"`generator` has {len(generator)} entries for {len(times)} subjects; expected one each.")
        subjects = []
        for index, (entry, row) in enumerate(zip(generator, times, strict=True)):
            matrices = np.asarray(entry, float)
            if matrices.ndim == 3 and len(matrices) != len(row):
                raise ValueError(f"subject {index} of `generator` has {len(matrices)} matrices for {len(row)} times; expected one per time.")
            stacked = matrices if matrices.ndim == 3 else matrices[None]
            subjects.append([Rates(check_generator(matrix, f"generator[{index}]")) for matrix in stacked])
    else:
        common = Rates(check_generator(generator, "generator"))
        subjects = [[common]] * len(times)
    counts = {rates.num_states for pieces in subjects for rates in pieces}
    if len(counts) > 1:
        raise ValueError(f"the generators have {' and '.join(map(str, sorted(counts)))} states; expected the same number everywhere.")
    return subjects


def check_exact_entry(exact_entry: Sequence[int], rates: list[list[Rates]]) -> frozenset[int]:
    """The states whose entry is seen exactly; all are absorbing."""
    states = frozenset(int(state) for state in exact_entry)
    num_states = rates[0][0].num_states
    for state in states:
        if not 0 <= state < num_states or any(piece.exits[state] > 0 for pieces in rates for piece in pieces):
            raise ValueError(f"`exact_entry` holds {state}; expected absorbing states (no rate leads out of them), numbered from 0 to {num_states - 1}.")
    return states


def label_probabilities(label_error: Any, num_states: int) -> np.ndarray:
    """[K, K], law of the label in each state."""
    error = np.asarray(label_error, float)
    if error.ndim == 0 and 0 <= error <= 1 and num_states > 1:
        wrong = float(error) / (num_states - 1)
        return np.where(np.eye(num_states, dtype=bool), 1 - float(error), wrong)
    if error.shape != (num_states, num_states) or not ((error >= 0).all() and np.allclose(error.sum(axis=1), 1, rtol=0, atol=1e-10)):
        raise ValueError(f"`label_error` is {label_error!r}; expected a probability, or [{num_states}, {num_states}] with rows that are laws.")
    return error
