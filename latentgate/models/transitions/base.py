"""The interface of a transition: how the state moves."""

from __future__ import annotations

import abc

import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Part
from ..emissions.base import check_inputs


class Transition(Part):
    """Law of the next state given the present one."""

    @property
    def input_sets(self) -> dict[str, int]:
        """{name: number of columns} of the input sets it reads."""
        return {}

    @abc.abstractmethod
    def log_probs(self, params: Params, data: Sequences) -> Array:
        """Constant, [1, K, K], or per step, [sequence, time - 1, K, K]; entry [i, j] from i to j, into the later step."""

    @abc.abstractmethod
    def step_probs(self, params: Params, inputs: dict[str, Array]) -> Array:
        """Transition matrix [K, K] into a step with these inputs {name: [input]}; for simulation."""

    def step_inputs(self, data: Sequences) -> dict[str, Array]:
        """What `step_probs` reads at each step, {name: [sequence, time, ...]}."""
        return {name: jnp.asarray(data.inputs[name]) for name in self.input_sets}

    @abc.abstractmethod
    def m_step(self, params: Params, data: Sequences, expected: Array) -> Params:
        """Parameters given expected transitions of each sequence, [sequence, K, K] or [sequence, time - 1, K, K]."""

    def check(self, data: Sequences) -> None:
        """Checks the input sets."""
        check_inputs(type(self).__name__, self.input_sets, data)
