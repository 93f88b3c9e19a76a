"""States that look alike."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Part, Prior
from .base import Emission
from .checks import at_least


class Aggregated(Emission):
    """Another emission that several states share: what is observed depends on the state through its class alone.

    The open states of an ion channel pass one current, and the shut ones another; the phases of a stage of a disease look like that stage. Only the times tell
    states of a class apart.

    Parameters: those of the emission, with a dimension `class` in place of `state`.

    Args:
        emission: of a class.
        classes: the class of every state, numbers 0, ..., C - 1.

    Raises:
        ValueError: for something that is no emission, or classes of which one has no state.

    Source: Colquhoun, Hawkes, Proc. R. Soc. B 199:231 (1977), aggregated Markov processes.

    Example:
        >>> import latentgate as lg
        >>> two_open_three_shut = lg.emissions.Aggregated(lg.emissions.Gaussian(1, "tied"), [0, 0, 1, 1, 1])
        >>> two_open_three_shut.dims()["means"]
        ('class', 'feature')
    """

    emission: Emission
    classes: tuple[int, ...]

    def __init__(self, emission: Emission, classes: Sequence[int]):
        if not isinstance(emission, Emission):
            raise ValueError(f"emission: found {emission!r}, expected one of lg.emissions, for example lg.emissions.Gaussian(1).")
        self.emission = emission
        self.classes = tuple(at_least("classes", number, 0) for number in classes)
        empty = sorted(set(range(max(self.classes, default=-1) + 1)) - set(self.classes))
        if not self.classes or empty:
            found = f"no state in class {empty[0]}" if empty else "no classes"
            raise ValueError(f"classes: found {found}, expected the class of every state, numbers from 0 without a gap.")

    @property
    def num_classes(self) -> int:
        """C."""
        return max(self.classes) + 1

    @property
    def num_features(self) -> int:
        """Columns of an observation."""
        return self.emission.num_features

    @property
    def num_lags(self) -> int:
        """See `Emission.num_lags`."""
        return self.emission.num_lags

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Emission.input_sets`."""
        return self.emission.input_sets

    @property
    def anchored(self) -> bool:
        """True: a state has its class."""
        return True

    def _of_states(self, num_states: int) -> np.ndarray:
        if num_states != len(self.classes):
            raise ValueError(f"classes: found {len(self.classes)} entries, expected {num_states}, one for each state of the model.")
        return np.array(self.classes)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        self._of_states(num_states)
        return self.emission.priors(self.num_classes)

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {name: tuple("class" if dim == "state" else dim for dim in axes) for name, axes in self.emission.dims().items()}

    def check(self, data: Sequences) -> None:
        """See `Emission.check`."""
        self.emission.check(data)

    def prepare(self, data: Sequences) -> Sequences:
        """See `Part.prepare`."""
        return self.emission.prepare(data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """See `Part.initialize`."""
        self._of_states(num_states)
        return self.emission.initialize(key, data, self.num_classes)

    def adopt(self, other: Part, params: Params) -> Params:
        """See `Part.adopt`; from the same classes."""
        if not isinstance(other, Aggregated) or other.classes != self.classes:
            found = f"classes {other.classes}" if isinstance(other, Aggregated) else type(other).__name__
            raise ValueError(f"start: found {found}, expected an aggregated emission with the classes {self.classes}.")
        return self.emission.adopt(other.emission, params)

    def possible(self, data: Sequences, num_states: int) -> np.ndarray:
        """See `Emission.possible`."""
        return self.emission.possible(data, self.num_classes)[..., self._of_states(num_states)]

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        return self.emission.log_likelihood(params, data)[..., np.array(self.classes)]

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """The emission's own, with the weights of every class."""
        members = jnp.asarray(np.eye(self.num_classes)[self._of_states(weights.shape[-1])], weights.dtype)
        return self.emission.m_step(params, data, weights @ members)

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        return self.emission.sample(key, params, jnp.asarray(self.classes)[state], inputs, recent)
