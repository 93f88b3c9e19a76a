"""No potential."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior
from .base import Potential, Rows


class NoForce(Potential):
    """U = 0: latents that diffuse with inertia, and nothing pulls them. The control that tells what a potential is worth. No parameters.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> lg.potentials.NoForce().force({}, jnp.ones(2), {}).tolist()
        [0.0, 0.0]
    """

    def priors(self, num_states: int) -> dict[str, Prior]:
        """None; see `Part.priors`."""
        return {}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """None; see `Part.dims`."""
        return {}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Nothing; see `Part.initialize`."""
        return {}

    def energy(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.energy`."""
        return jnp.zeros(positions.shape[:-1], positions.dtype)

    def force(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.force`."""
        return jnp.zeros_like(positions)

    def largest_curvature(self, params: Params, radius: float = jnp.inf) -> Array:
        """Zero; see `Potential.largest_curvature`."""
        return jnp.zeros(())
