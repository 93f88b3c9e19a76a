"""Observations of a process that ends when it reaches a boundary: what is known of the end, beside another emission."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Part, Prior
from .base import Emission

# Values of the input set: not there yet; at one of the boundaries; at the first; at the last state.
INSIDE, REACHED, REACHED_FIRST, REACHED_LAST = 0, 1, 2, 3


class UntilBoundary(Emission):
    """Another emission, and whether the first or the last state, where the process ends, has been reached.

    The input set `inputs` [time, 1] holds 0 in rows where no boundary has been reached yet, and in the last row of a sequence may hold 1 (one of the
    boundaries has been reached since the row before), 2 (the first state) or 3 (the last state). Rows with 0 forbid the boundaries, others all other states.

    Parameters: those of the emission.

    Args:
        emission: what is seen in each state.
        first: whether the first state is a boundary.
        last: whether the last state is.
        inputs: name of the input set.

    Raises:
        ValueError: for something that is no emission, or without a boundary.

    Example:
        >>> import latentgate as lg
        >>> lg.emissions.UntilBoundary(lg.emissions.Poisson(5)).input_sets
        {'boundary': 1}
    """

    emission: Emission
    first: bool
    last: bool
    inputs: str

    def __init__(self, emission: Emission, first: bool = True, last: bool = True, inputs: str = "boundary"):
        if not isinstance(emission, Emission):
            raise ValueError(f"emission: found {emission!r}, expected one of lg.emissions, for example lg.emissions.Poisson(20).")
        if not (first or last):
            raise ValueError("first, last: found False for both, expected at least one boundary; leave UntilBoundary out where there is none.")
        self.emission, self.first, self.last, self.inputs = emission, bool(first), bool(last), inputs

    @property
    def num_features(self) -> int:
        """Those of the emission."""
        return self.emission.num_features

    @property
    def num_lags(self) -> int:
        """See `Emission.num_lags`."""
        return self.emission.num_lags

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Emission.input_sets`."""
        return {**self.emission.input_sets, self.inputs: 1}

    @property
    def anchored(self) -> bool:
        """True: boundaries are the first and the last state."""
        return True

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return self.emission.priors(num_states)

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return self.emission.dims()

    def check(self, data: Sequences) -> None:
        """As the emission; a boundary is reached in the last row, and one that exists."""
        super().check(data)
        self.emission.check(data)
        codes = np.asarray(data.inputs[self.inputs])[..., 0]
        known = [INSIDE, REACHED, *[REACHED_FIRST] * self.first, *[REACHED_LAST] * self.last]
        if (wrong := np.argwhere(~np.isin(codes, known))).size:
            sequence, step = wrong[0]
            raise ValueError(f"inputs[{self.inputs!r}]: found {codes[sequence, step]:g} in sequence {sequence}, step {step}, expected one of {known}.")
        before_last = np.asarray(data.lengths)[:, None] > np.arange(data.max_length) + 1
        if (early := np.argwhere((codes != INSIDE) & before_last)).size:
            sequence, step = early[0]
            raise ValueError(
                f"inputs[{self.inputs!r}]: found a boundary reached in sequence {sequence}, step {step} of {int(data.lengths[sequence])}, expected it in the "
                "last row, where the process ends; leave the rows after it out."
            )

    def _allowed(self, num_states: int) -> np.ndarray:
        """States that a code allows, bool [code, state]."""
        allowed = np.zeros((4, num_states), bool)
        allowed[REACHED, 0] = allowed[REACHED_FIRST, 0] = self.first
        allowed[REACHED, -1] = allowed[REACHED_LAST, -1] = self.last
        allowed[INSIDE] = ~allowed[REACHED]
        return allowed

    def possible(self, data: Sequences, num_states: int) -> np.ndarray:
        """See `Emission.possible`."""
        return self._allowed(num_states)[np.asarray(data.inputs[self.inputs])[..., 0].astype(int)] & self.emission.possible(data, num_states)

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        values = self.emission.log_likelihood(params, data)
        codes = jnp.asarray(data.inputs[self.inputs])[..., 0].astype(jnp.int32)
        return jnp.where(jnp.asarray(self._allowed(values.shape[-1]))[codes], values, -jnp.inf)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """See `Part.initialize`."""
        return self.emission.initialize(key, data, num_states)

    def prepare(self, data: Sequences) -> Sequences:
        """See `Part.prepare`."""
        return self.emission.prepare(data)

    def catalogue(self, data: Sequences) -> Sequences:
        """See `Part.catalogue`."""
        return self.emission.catalogue(data)

    def suited_to(self, data: Sequences) -> UntilBoundary:
        """See `Part.suited_to`."""
        return UntilBoundary(self.emission.suited_to(data), self.first, self.last, self.inputs)

    def adopt(self, other: Part, params: Params) -> Params:
        """See `Part.adopt`."""
        return self.emission.adopt(other.emission if isinstance(other, UntilBoundary) else other, params)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """See `Emission.m_step`."""
        return self.emission.m_step(params, data, weights)

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        return self.emission.sample(key, params, state, inputs, recent)
