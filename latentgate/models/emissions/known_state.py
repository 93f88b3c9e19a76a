"""States that are observed themselves, or known to lie in a set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior
from ..observations import recoding
from .base import Emission
from .checks import at_least

# Integers below it are exact in float32, so that two codes never look alike.
_EXACT = 2**24


class KnownState(Emission):
    """One column that says which state the chain is in, where that is known.

    A value k in 0, ..., K - 1 says that the state is k; a code of `censored` says that it lies in that code's set; NaN says nothing. The log-likelihood is 0
    for states that agree and -inf for all others. In a `Product` it adds what is known of the state to any other observation.

    No parameters.

    Args:
        num_states: K, that of the model.
        censored: {code: states}; codes are integers of at least K.

    Raises:
        ValueError: for a code below K, an empty set, or a state out of range.

    Example:
        >>> import latentgate as lg
        >>> lg.emissions.KnownState(4, censored={99: (0, 1, 2)})  # alive at the end of the study
        KnownState(num_states=4, censored=((99, (0, 1, 2)),))
    """

    num_states: int
    censored: tuple[tuple[int, tuple[int, ...]], ...]

    def __init__(self, num_states: int, censored: Mapping[int, Iterable[int]] | None = None):
        self.num_states = at_least("num_states", num_states)
        found = []
        for code, states in ({} if censored is None else censored).items():
            members = sorted({_integer(f"censored[{code!r}]", state) for state in states})
            if not self.num_states <= _integer("censored", code) < _EXACT:
                raise ValueError(
                    f"censored: found the code {code}, expected at least {self.num_states}, since smaller numbers are states themselves, and below {_EXACT}."
                )
            if not members:
                raise ValueError(f"censored[{code}]: found no states, expected at least one; mark by NaN where nothing is known.")
            outside = [state for state in members if not 0 <= state < self.num_states]
            if outside:
                raise ValueError(f"censored[{code}]: found the state {outside[0]}, expected 0 to {self.num_states - 1}.")
            found.append((int(code), tuple(members)))
        self.censored = tuple(sorted(found))

    @property
    def num_features(self) -> int:
        """One."""
        return 1

    @property
    def anchored(self) -> bool:
        """Whether the data name the states, so that these cannot be renumbered: always."""
        return True

    def priors(self, num_states: int) -> dict[str, Prior]:
        """None; see `Part.priors`."""
        self._require(num_states)
        return {}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {}

    def _require(self, num_states: int) -> None:
        if num_states != self.num_states:
            raise ValueError(f"num_states: found {self.num_states} for KnownState, expected {num_states} as the model has.")

    def check(self, data: Sequences) -> None:
        """States and codes only."""
        super().check(data)
        values, observed = np.asarray(data.values), np.asarray(data.observed)
        wrong = observed & ~np.isin(values, self._symbols())
        if wrong.any():
            sequence, step, _ = np.argwhere(wrong)[0]
            codes = "".join(f", {code}" for code, _ in self.censored) or ", and no codes, since there is no censored={...}"
            raise ValueError(
                f"data: found {values[sequence, step, 0]:g} in {sequence_name(data, int(sequence))}, step {step}, expected a state 0 to {self.num_states - 1}"
                f"{codes}; recode the values, and mark by NaN where nothing is known."
                f"{recoding(values[observed], self.num_states)}"
            )

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Nothing to start from; see `Part.initialize`."""
        self._require(num_states)
        return {}

    def _symbols(self) -> np.ndarray:
        """Values that have a meaning, [symbol]: states, then codes."""
        return np.array([*range(self.num_states), *(code for code, _ in self.censored)])

    def _members(self) -> np.ndarray:
        """Whether a symbol allows a state, bool [symbol, state]."""
        rows = [[state in states for state in range(self.num_states)] for _, states in self.censored]
        return np.concatenate([np.eye(self.num_states, dtype=bool), np.array(rows, bool).reshape(-1, self.num_states)])

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
        agree = jnp.any((values == self._symbols())[..., None] & self._members(), axis=-2)
        return jnp.where(observed & ~agree, -jnp.inf, jnp.zeros((), values.dtype))

    def possible(self, data: Sequences, num_states: int) -> np.ndarray:
        """See `Emission.possible`: the states that a value or code stands for."""
        agree = np.any((np.asarray(data.values) == self._symbols())[..., None] & self._members(), axis=-2)
        return agree | ~np.asarray(data.observed)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Nothing to estimate; see `Emission.m_step`."""
        return {}

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """The state itself; see `Emission.sample`."""
        return jnp.asarray(state, jnp.result_type(float))[None]


def sequence_name(data: Sequences, index: int) -> str:
    """A sequence as its owner knows it: by number, and by its group and labels where it has them."""
    notes = [] if data.groups is None else [f"group {data.groups[index]}"]
    notes += [f"{name} {values[index]}" for name, values in data.labels.items()]
    return f"sequence {index}" + (f" ({', '.join(notes)})" if notes else "")


def _integer(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{name}: found {value!r}, expected integers.")
    return int(value)
