"""Timing callables in turns; needs JAX and NumPy only."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np


class Lap(NamedTuple):
    """Seconds of one call: on the clock, and of processor time over all threads, which other programs disturb far less."""

    wall: float
    processor: float


@dataclass(frozen=True)
class Timing:
    """Durations of one callable.

    Attributes:
        first_call: seconds of the very first call, compilation included.
        laps: one a round, the mean of the calls made in that round.
    """

    first_call: float
    laps: tuple[Lap, ...]

    @property
    def median(self) -> float:
        """Of the rounds, in s on the clock."""
        return float(np.median([lap.wall for lap in self.laps]))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Lower and upper, of the rounds, in s on the clock."""
        lower, upper = np.percentile([lap.wall for lap in self.laps], (25, 75))
        return float(lower), float(upper)

    @property
    def compilation(self) -> float:
        """First call minus median, in s; noise around zero where there is nothing to compile."""
        return self.first_call - self.median

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, in s."""
        lower, upper = self.quartiles
        return {
            "median_s": self.median,
            "lower_quartile_s": lower,
            "upper_quartile_s": upper,
            "processor_s": float(np.median([lap.processor for lap in self.laps])),
            "first_call_s": self.first_call,
            "compilation_s": self.compilation,
            "rounds": len(self.laps),
        }


def timed(call: Callable[[], Any]) -> tuple[Lap, Any]:
    """One call, waited for, and what it returned; NumPy results pass through."""
    wall, processor = time.perf_counter(), time.process_time()
    result = jax.block_until_ready(call())
    return Lap(time.perf_counter() - wall, time.process_time() - processor), result


def duration(call: Callable[[], Any], repeats: int = 1) -> Lap:
    """Mean of `repeats` calls, each waited for."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        jax.block_until_ready(call())
    return Lap((time.perf_counter() - wall) / repeats, (time.process_time() - processor) / repeats)


def round_robin(calls: Mapping[str, Callable[[], Any]], rounds: int, seconds: float, at_least: int = 3, smallest_sample: float = 0.01) -> dict[str, Timing]:
    """Times callables in turns, so that noise of the machine hits all of them alike.

    Args:
        calls: {name: callable without arguments}.
        rounds: turns, at most.
        seconds: no new turn is begun after this time, once `at_least` turns are done.
        at_least: turns, at least.
        smallest_sample: short calls are repeated within a turn until they fill about this many seconds.

    Returns:
        {name: timing}.

    Example:
        >>> from latentgate.timing import round_robin
        >>> len(round_robin({"nothing": lambda: None}, rounds=5, seconds=0.0)["nothing"].laps)
        3
    """
    names = list(calls)
    first = {name: duration(calls[name]).wall for name in names}
    repeats = {name: max(1, math.ceil(smallest_sample / max(duration(calls[name]).wall, 1e-9))) for name in names}
    measured: dict[str, list[Lap]] = {name: [] for name in names}
    begun = time.perf_counter()
    for turn in range(rounds):
        if turn >= at_least and time.perf_counter() - begun > seconds:
            break
        # A new order each turn: nobody always runs on the caches that the same neighbour left.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            measured[name].append(duration(calls[name], repeats[name]))
    return {name: Timing(first[name], tuple(measured[name])) for name in names}


def load_average() -> list[float]:
    """Load over 1, 5 and 15 minutes: runnable processes; above the number of cores, timings are of a busy machine."""
    return [round(load, 2) for load in os.getloadavg()]
