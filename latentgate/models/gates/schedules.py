"""Temperatures that fall from dense to sparse gates."""

from __future__ import annotations

import abc
import math

import equinox as eqx

from ..emissions.checks import at_least, positive


class Schedule(eqx.Module):
    """A temperature for each step 0, 1, ..., `steps`; constant afterwards."""

    start: eqx.AbstractVar[float]
    end: eqx.AbstractVar[float]
    steps: eqx.AbstractVar[int]

    @abc.abstractmethod
    def __call__(self, step: int) -> float:
        """The temperature at a step."""

    @property
    def temperatures(self) -> list[float]:
        """Those of steps 0 to `steps`."""
        return [self(step) for step in range(self.steps + 1)]


class Exponential(Schedule):
    """start · (end / start)^(step / steps), and `end` from then on (EvoMoE 2021, whose start and end are 1 and 0.5).

    Args:
        start: first temperature, positive.
        end: last one, positive and no larger.
        steps: at which it is reached.

    Raises:
        ValueError: for temperatures that are not positive, or rise, or no steps.

    Example:
        >>> import latentgate as lg
        >>> [round(t, 3) for t in lg.gates.schedules.Exponential(1.0, 0.25, 2).temperatures]
        [1.0, 0.5, 0.25]
    """

    start: float
    end: float
    steps: int

    def __init__(self, start: float = 1.0, end: float = 0.5, steps: int = 5):
        self.start, self.end, self.steps = _checked(start, end, steps)

    def __call__(self, step: int) -> float:
        """See `Schedule.__call__`."""
        return max(self.start * math.exp(step * math.log(self.end / self.start) / self.steps), self.end)


class Linear(Schedule):
    """start - step (start - end) / steps, and `end` from then on (EvoMoE 2021).

    Args:
        start: first temperature, positive.
        end: last one, positive and no larger.
        steps: at which it is reached.

    Raises:
        ValueError: for temperatures that are not positive, or rise, or no steps.

    Example:
        >>> import latentgate as lg
        >>> lg.gates.schedules.Linear(1.0, 0.5, 2).temperatures
        [1.0, 0.75, 0.5]
    """

    start: float
    end: float
    steps: int

    def __init__(self, start: float = 1.0, end: float = 0.5, steps: int = 5):
        self.start, self.end, self.steps = _checked(start, end, steps)

    def __call__(self, step: int) -> float:
        """See `Schedule.__call__`."""
        return max(self.start - step * (self.start - self.end) / self.steps, self.end)


def _checked(start: float, end: float, steps: int) -> tuple[float, float, int]:
    start, end = positive("start", start), positive("end", end)
    if end > start:
        raise ValueError(f"end: found {end}, expected at most the start, {start}: gates go from dense to sparse.")
    return start, end, at_least("steps", steps)
