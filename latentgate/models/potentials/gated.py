"""Mixtures of potentials whose weights a gate gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, with_prefix, without_prefix
from ..gates.base import Gate
from ..gates.constant import Random
from ..gates.top_k import NoisyTopK, TopK
from .base import Potential, Rows
from .mixed import Mixed, checked_members

# The name of the inputs of a gate that reads the positions themselves.
LATENTS = "latents"
# Positions that a gate takes the spread of its inputs from, before there are any.
_TYPICAL = 256


class Gated(Mixed):
    """A mixture of potentials: U(z) = Σ_k w_k U_k(z), with weights w from any gate of the library.

    The gate reads the inputs of the step, and then switches forces on and off in time; or, with inputs="latents", the positions themselves, and then each
    potential rules a region. U(z) = Σ_k w_k(z) U_k(z) is an energy also there: the force is -Σ_k w_k(z) ∇U_k(z) - Σ_k U_k(z) ∇w_k(z). The second term does not
    vanish where potentials meet at different heights, and constants in a U_k count.

    Weights need not sum to one: with `lg.gates.Sigmoid(normalised=False)` every potential is switched by itself.

    Parameters: those of the gate under `gate.`, as `gate.weights` [potential, gate_input]; those of the potentials under their numbers, as `0.stiffness`.
    Potentials have places of their own, and are never renumbered.

    Args:
        gate: from `lg.gates`, over the potentials.
        potentials: at least one, in a sequence.
        inputs: name of the input set in place of the gate's own; "latents" for the positions. A gate made with inputs="latents" reads them too.

    Raises:
        ValueError: for something that is no gate, or no potentials; for a gate that cannot weigh so many; with inputs="latents" for a gate whose weights jump,
            or a force without an energy.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> gate = lg.gates.Sigmoid(normalised=False, num_inputs=1)
        >>> switched = lg.potentials.Gated(gate, (lg.potentials.Quadratic(diagonal=True, centre=False),))
        >>> params = {"gate.weights": jnp.zeros((1, 1)), "gate.bias": jnp.zeros(1), "0.stiffness": jnp.ones(2)}
        >>> switched.force(params, jnp.array([1.0, -2.0]), {"inputs": jnp.ones(1)}).tolist()
        [-0.5, 1.0]
    """

    gate: Gate
    potentials: tuple[Potential, ...]

    def __init__(self, gate: Gate, potentials: Sequence[Potential], inputs: str | None = None):
        if not isinstance(gate, Gate):
            raise ValueError(f"gate: found {gate!r}, expected one of lg.gates, for example lg.gates.Softmax().")
        self.potentials = checked_members(potentials)
        if inputs is not None:
            if not isinstance(inputs, str):
                raise ValueError(f'inputs: found {inputs!r}, expected the name of an input set, "latents", or None.')
            gate = eqx.tree_at(lambda gate: gate.inputs, gate, inputs)
        gate.check_experts(len(self.potentials))
        self.gate = gate
        if self.reads_latents:
            if isinstance(gate, TopK | NoisyTopK | Random):
                raise ValueError(
                    f"gate: found {type(gate).__name__}, expected one with smooth weights, since the energy would jump where others are selected; use Softmax."
                )
            without = [number for number, member in enumerate(self.potentials) if not member.conservative]
            if without:
                raise ValueError(
                    f"potentials[{without[0]}]: found a force without an energy, expected an energy for a gate that reads latents; "
                    "pass KnownForce(..., energy=...), or a gate that reads inputs."
                )

    @property
    def reads_latents(self) -> bool:
        """Whether the gate reads positions."""
        return self.gate.inputs == LATENTS

    @property
    def input_sets(self) -> dict[str, int]:
        """{name: number of columns} of the input sets that the gate and the members read."""
        return ({} if self.reads_latents else self.gate.input_sets) | super().input_sets

    def suited_to(self, data: Sequences) -> Self:
        """The same mixture, with gate and members suited to the data."""
        gate = self.gate if self.reads_latents else self.gate.suited_to(data)
        members = tuple(member.suited_to(data) for member in self.potentials)
        return eqx.tree_at(lambda mixture: (mixture.gate, mixture.potentials), self, (gate, members))

    def check_latents(self, latent_dim: int) -> None:
        """Checks the gate and the members."""
        if self.reads_latents and self.gate.num_inputs not in (None, latent_dim):
            raise ValueError(f"gate: found num_inputs={self.gate.num_inputs}, expected {latent_dim}, the number of latents it reads; leave num_inputs out.")
        super().check_latents(latent_dim)

    def check(self, data: Sequences) -> None:
        """Checks the gate's input set and the members."""
        if not self.reads_latents:
            self.gate.check(data)
        elif LATENTS in data.inputs:
            raise ValueError("inputs: found an input set 'latents' and a gate that reads the latents; give the set another name.")
        super().check(data)

    def _sized(self, latent_dim: int) -> Gate:
        """The gate, with the number of inputs that it has if it reads positions."""
        if not self.reads_latents or self.gate.num_inputs is not None:
            return self.gate
        return eqx.tree_at(lambda gate: gate.num_inputs, self.gate, latent_dim, is_leaf=lambda leaf: leaf is None)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return with_prefix("gate", self._sized(num_states).priors(len(self.potentials))) | super().priors(num_states)

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`; the gate's experts are the potentials."""
        named = {"expert": "potential"} | ({"input": "latent", "input_other": "latent_other"} if self.reads_latents else {})
        gate = {f"gate.{name}": tuple(named.get(axis, f"gate_{axis}") for axis in axes) for name, axes in self.gate.dims().items()}
        return gate | super().dims()

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Starts of the gate, for latents of order one if it reads them, and of the members."""
        for_gate, for_members = jax.random.split(key)
        seen = _typical_latents(num_states) if self.reads_latents else data
        gate = self._sized(num_states).initialize(for_gate, seen, len(self.potentials))
        return with_prefix("gate", gate) | super().initialize(for_members, data, num_states)

    def weights(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Mixed.weights`."""
        inputs = positions if self.reads_latents else rows[self.gate.inputs]
        return jnp.exp(self._sized(positions.shape[-1]).log_weights(without_prefix("gate", params), inputs))

    def force(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.force`."""
        if not self.reads_latents:
            return super().force(params, positions, rows)
        weights, pull = jax.vjp(lambda points: self.weights(params, points, rows), positions)
        (along_weights,) = pull(self.energies(params, positions, rows))
        return jnp.sum(weights[..., None, :] * self.forces(params, positions, rows), -1) - along_weights

    def largest_curvature(self, params: Params, radius: float = jnp.inf) -> Array:
        """See `Potential.largest_curvature`: of the members, if the gate reads inputs; no bound is known if it reads latents."""
        if self.reads_latents:
            return jnp.full((), jnp.inf)
        members = self.member_curvatures(params, radius)
        # A weight by itself is at most one.
        return jnp.max(members) if self.gate.normalised else jnp.sum(members)


def _typical_latents(latent_dim: int) -> Sequences:
    """Standard normal positions, always the same, as the inputs of a gate."""
    positions = np.random.default_rng(0).standard_normal((_TYPICAL, latent_dim))
    return Sequences.from_arrays([np.zeros((_TYPICAL, 1))], inputs={LATENTS: [positions]})
