"""No potential."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from ..base import Params, WithoutParameters
from .base import Potential, Rows


class NoForce(WithoutParameters, Potential):
    """U = 0: latents that diffuse with inertia, and nothing pulls them. The control that tells what a potential is worth. No parameters.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> lg.potentials.NoForce().force({}, jnp.ones(2), {}).tolist()
        [0.0, 0.0]
    """

    def energy(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.energy`."""
        return jnp.zeros(positions.shape[:-1], positions.dtype)

    def force(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.force`."""
        return jnp.zeros_like(positions)

    def largest_curvature(self, params: Params, radius: float = jnp.inf) -> Array:
        """Zero; see `Potential.largest_curvature`."""
        return jnp.zeros(())
