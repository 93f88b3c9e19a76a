"""Transitions whose rows are gates: the input-output HMM."""

from __future__ import annotations

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, repeated
from ..gates.base import Gate
from .base import Transition
from .rows import starting_rows

# M-steps that turn rows that mostly stay into parameters of a gate.
_STARTING_STEPS = 4


class ByGate(Transition):
    """P(z_t = j | z_{t-1} = i, u_t) = weight_j of a gate at u_t: the input-output HMM of Bengio and Frasconi 1995, with any gate of the library.

    The inputs of a step gate the transition *into* it. With one gate for all origins the state does not depend on the one before it.

    Parameters: those of the gate, `weights` [state, next_state, input] and `bias` [state, next_state] for a softmax; without the first dimension where one gate
    serves all origins.

    Args:
        gate: from `lg.gates`, with weights that sum to one, over the next states.
        per_origin: whether each origin has a gate of its own.

    Raises:
        ValueError: for something that is no gate, one without a density, or one that models its inputs.

    Example:
        >>> import latentgate as lg
        >>> lg.transitions.ByGate(lg.gates.Softmax(num_inputs=2)).dims()
        {'weights': ('state', 'next_state', 'input'), 'bias': ('state', 'next_state')}
    """

    gate: Gate
    per_origin: bool

    def __init__(self, gate: Gate, *, per_origin: bool = True):
        if not isinstance(gate, Gate):
            raise ValueError(f"gate: found {gate!r}, expected one of lg.gates, for example lg.gates.Softmax().")
        if not gate.normalised or gate.models_inputs or gate.anchored:
            raise ValueError(f"gate: found {type(gate).__name__}, expected one with weights that sum to one, all alike, that does not model inputs.")
        self.gate = gate
        self.per_origin = bool(per_origin)

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Transition.input_sets`."""
        return self.gate.input_sets

    def suited_to(self, data: Sequences) -> Self:
        """See `Part.suited_to`."""
        return eqx.tree_at(lambda transition: transition.gate, self, self.gate.suited_to(data))

    def check(self, data: Sequences) -> None:
        """Checks the input set."""
        self.gate.check(data)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        priors = self.gate.priors(num_states)
        return {name: repeated(name, prior, num_states) for name, prior in priors.items()} if self.per_origin else priors

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        origins = ("state",) if self.per_origin else ()
        return {name: (*origins, *("next_state" if dim == "expert" else dim for dim in axes)) for name, axes in self.gate.dims().items()}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Gates fitted to rows that mostly stay, and differ by chance in how they mind the inputs."""
        rows, gates = jax.random.split(key)
        inputs, real = jnp.asarray(data.inputs[self.gate.inputs]), jnp.asarray(data.mask)[..., None]

        def one(key: Array, row: Array) -> Params:
            params = self.gate.initialize(key, data, num_states)
            # Half of what the gate says by itself, so that it goes on minding the inputs.
            targets = jnp.where(real, 0.5 * (row + jnp.exp(self.gate.log_weights(params, inputs))), 0.0)
            return jax.lax.fori_loop(0, _STARTING_STEPS, lambda _, params: self.gate.m_step(params, inputs, targets), params)

        if not self.per_origin:
            return self.gate.initialize(gates, data, num_states)
        return jax.vmap(one)(jax.random.split(gates, num_states), starting_rows(rows, num_states))

    def degeneracy(self, params: Params, data: Sequences) -> str | None:
        """See `Part.degeneracy`."""
        rows = [params] if not self.per_origin else [{name: value[row] for name, value in params.items()} for row in range(len(next(iter(params.values()))))]
        return next((name for name in (self.gate.degeneracy(row, data) for row in rows) if name), None)

    def log_probs(self, params: Params, data: Sequences) -> Array:
        """See `Transition.log_probs`."""
        return self._rows(params, jnp.asarray(data.inputs[self.gate.inputs])[:, 1:])

    def _rows(self, params: Params, inputs: Array) -> Array:
        """Log-probabilities into steps with inputs [..., M], [..., K, K]."""
        if self.per_origin:
            return jnp.moveaxis(jax.vmap(lambda params: self.gate.log_weights(params, inputs))(params), 0, -2)
        row = self.gate.log_weights(params, inputs)
        return jnp.broadcast_to(row[..., None, :], (*row.shape, row.shape[-1]))

    def step_probs(self, params: Params, inputs: dict[str, Array]) -> Array:
        """See `Transition.step_probs`."""
        return jnp.exp(self._rows(params, inputs[self.gate.inputs]))

    def m_step(self, params: Params, data: Sequences, expected: Array) -> Params:
        """The gate's own M-step, with expected transitions as targets."""
        inputs = jnp.asarray(data.inputs[self.gate.inputs])[:, 1:]
        if not self.per_origin:
            return self.gate.m_step(params, inputs, expected.sum(-2))
        return jax.vmap(lambda params, targets: self.gate.m_step(params, inputs, targets))(params, jnp.moveaxis(expected, -2, 0))
