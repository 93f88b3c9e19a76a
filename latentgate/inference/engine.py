"""What an engine is, and what it is asked to do."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import jax

from latentgate.arguments import at_least
from latentgate.data import Sequences
from latentgate.models.base import Model, StateSpaceModel

from .checkpoint import Checkpoint
from .fit import Fit


class Task(NamedTuple):
    """One model, one data set, and how to go about it; all checked.

    Attributes:
        model: the structure.
        data: as the user gave it.
        prepared: `data` with what the model computes from it once.
        seed: of everything random.
        start: parameters to start from, or None.
        progress: see `lg.fit`.
        checkpoint: where to resume from and to write to.
    """

    model: Any
    data: Sequences
    prepared: Sequences
    seed: int
    start: dict[str, jax.Array] | None
    progress: bool | None
    checkpoint: Checkpoint


class Engine(abc.ABC):
    """A strategy of `lg.fit`; its options are its attributes, and `identity` names all of them."""

    name: str

    @property
    def copies(self) -> int:
        """How many sets of parameters run at once: restarts, or chains."""
        return int(getattr(self, "restarts", getattr(self, "chains", 1)))

    def check_model(self, model: Model) -> None:
        """Raises TypeError, before anything is compiled, for a model that the engine cannot fit: here one that is no chain."""
        if not isinstance(model, StateSpaceModel):
            raise TypeError(
                f"engine: found {type(self).__name__} with {type(model).__name__}, whose latents cannot be integrated out; expected lg.AmortisedSVI(...)."
            )

    @abc.abstractmethod
    def fit(self, task: Task) -> Fit:
        """Fits the model of a task."""

    @property
    def identity(self) -> str:
        """Text that differs where the answer, or the layout of a checkpoint, may differ."""
        return f"{type(self).__name__} {sorted((name, _text(value)) for name, value in vars(self).items())}"

    @staticmethod
    def whole(label: str, value: Any, least: int = 1) -> int:
        """`value` as an integer.

        Raises:
            ValueError: if it is none, or less than `least`.
        """
        return at_least(label, value, least)


def _text(value: Any) -> str:
    """What a value is, the same in every process: the text of a function would name its place in memory."""
    if isinstance(value, Engine):
        return value.identity
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else repr(value)
