"""Potentials that a discrete chain switches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences

from ..base import Params
from .base import Potential, Rows
from .mixed import Mixed, checked_members

# What a flow writes the states of its chain to.
STATES = "_states"


class Switching(Mixed):
    """Potentials of which the state of a discrete chain picks one at every step: U_t(z) = Σ_k s_tk U_k(z), with s_t the state as a one-hot vector.

    The flow runs the chain, and puts its states, or their probabilities, into the rows of the step; without a flow they are given as `rows["_states"]`
    [..., K].

    Parameters: those of the potentials under their numbers, as `0.stiffness`; those of the chain belong to the flow.

    Args:
        potentials: at least one, one a state, in a sequence.

    Raises:
        ValueError: for anything else, and for potentials that are switched themselves; and (when it is first used) for rows without states, or with another
            number of them.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> well = lg.potentials.Quadratic(diagonal=True, centre=False)
        >>> two = lg.potentials.Switching((well, lg.potentials.NoForce()))
        >>> states = {"_states": jnp.array([[1.0, 0.0], [0.0, 1.0]])}
        >>> two.force({"0.stiffness": jnp.ones(1)}, jnp.ones((2, 1)), states)[:, 0].tolist()
        [-1.0, 0.0]
    """

    potentials: tuple[Potential, ...]

    def __init__(self, potentials: Sequence[Potential]):
        self.potentials = checked_members(potentials)
        switched = [number for number, member in enumerate(self.potentials) if member.num_states]
        if switched:
            raise ValueError(
                f"potentials[{switched[0]}]: found switching potentials among those that are switched, expected plain ones; list them side by side."
            )

    @property
    def num_states(self) -> int:
        """States of the chain: one a potential."""
        return len(self.potentials)

    def suited_to(self, data: Sequences) -> Self:
        """The same potentials, suited to the data."""
        return eqx.tree_at(lambda mixture: mixture.potentials, self, tuple(member.suited_to(data) for member in self.potentials))

    def weights(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Mixed.weights`."""
        if STATES not in rows:
            known = ", ".join(map(repr, rows)) or "none"
            raise ValueError(f"rows: found {known}, expected {STATES!r} [..., {self.num_states}] for Switching, the states of the chain as one-hot vectors.")
        states = rows[STATES]
        if states.shape[-1] != self.num_states:
            raise ValueError(f"rows[{STATES!r}]: found {states.shape[-1]} states, expected {self.num_states}, one a potential.")
        return states

    def largest_curvature(self, params: Params, radius: float = jnp.inf) -> Array:
        """See `Potential.largest_curvature`: that of the member with most."""
        return jnp.max(self.member_curvatures(params, radius))
