"""The interface of an emission: what the data say about the state at each step."""

from __future__ import annotations

import abc

import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Part
from ..observations import check_features
from ..unconstrained import maximise

# L-BFGS steps of an M-step without closed form: EM needs progress, not convergence, at each iteration.
NUMERICAL_STEPS = 12


class Emission(Part):
    """Distribution of an observation given the state."""

    @property
    @abc.abstractmethod
    def num_features(self) -> int:
        """Columns of an observation."""

    @property
    def num_lags(self) -> int:
        """How many earlier observations an observation depends on, besides the state."""
        return 0

    @property
    def input_sets(self) -> dict[str, int]:
        """{name: number of columns} of the input sets it reads."""
        return {}

    @property
    def anchored(self) -> bool:
        """Whether the data say which state is which, so that states must not be renumbered."""
        return False

    @abc.abstractmethod
    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """Log-density of each step under each state, [sequence, time, state]; missing entries add nothing."""

    @abc.abstractmethod
    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """One observation [feature], given the state (scalar), the inputs {name: [input]} and the last observations [lag, feature]."""

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Parameters that do not lower Σ weights · log-likelihood + log-prior; numerical here, closed form where there is one.

        Args:
            params: current values.
            data: the sequences.
            weights: state probabilities, [sequence, time, state], zero at padding.
        """
        num_states = weights.shape[-1]
        return maximise(lambda new: self.expected_log_likelihood(new, data, weights), self.priors(num_states), params, NUMERICAL_STEPS)

    def expected_log_likelihood(self, params: Params, data: Sequences, weights: Array) -> Array:
        """Σ weights · log-likelihood, scalar; a state that forbids an observation costs only where it has weight."""
        values = self.log_likelihood(params, data)
        return jnp.sum(jnp.where(weights > 0, weights * values, 0.0))

    def possible(self, data: Sequences, num_states: int) -> np.ndarray:
        """States that an observation allows whatever the parameters are, bool [sequence, time, state]; all of them for most emissions."""
        return np.ones((*np.shape(data.values)[:2], num_states), bool)

    def check(self, data: Sequences) -> None:
        """Checks the number of features and the input sets; subclasses add the support."""
        check_features(self, self.num_features, data)
        check_inputs(type(self).__name__, self.input_sets, data)


def check_inputs(owner: str, wanted: dict[str, int], data: Sequences) -> None:
    """Raises ValueError unless the data have each input set with the right number of columns."""
    for name, columns in wanted.items():
        if name not in data.inputs:
            known = ", ".join(map(repr, data.inputs)) or "none"
            raise ValueError(f"inputs: found the sets {known}, expected {name!r} for {owner}; pass Sequences.from_arrays(..., inputs={{{name!r}: [...]}}).")
        found = data.inputs[name].shape[-1]
        if found != columns:
            raise ValueError(f"inputs[{name!r}]: found {found} columns, expected {columns} for {owner}.")
