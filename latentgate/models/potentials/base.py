"""The interface of a potential: what pulls latents."""

from __future__ import annotations

import abc

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Part
from ..emissions.base import check_inputs

Rows = dict[str, Array]


class Potential(Part):
    """An energy U of latent positions, and the force -∇U that it exerts.

    A potential is a part like any other: `num_states` in the methods that it inherits from `Part` is the number of latents d.
    """

    @property
    def input_sets(self) -> dict[str, int]:
        """{name: number of columns} of the input sets it reads."""
        return {}

    @property
    def num_states(self) -> int:
        """Number of states of the discrete chain that switches it, read from the row "_states"; 0 for a potential that nothing switches."""
        return 0

    @abc.abstractmethod
    def energy(self, params: Params, positions: Array, rows: Rows) -> Array:
        """U at positions [..., d], [...].

        Args:
            params: parameters.
            positions: [..., d].
            rows: {name: [..., M]} inputs of the step, for every name in `input_sets`.
        """

    def force(self, params: Params, positions: Array, rows: Rows) -> Array:
        """-∇U at positions [..., d], [..., d]; by automatic differentiation here, in closed form where there is one."""
        return -jax.grad(lambda points: jnp.sum(self.energy(params, points, rows)))(positions)

    @property
    def conservative(self) -> bool:
        """Whether the force is that of an energy which is known."""
        return True

    def largest_curvature(self, params: Params, radius: float = jnp.inf) -> Array:
        """An upper bound of the largest absolute eigenvalue of the Hessian of U within a distance of the origin, []; infinite where none is known.

        A flow is stable for steps below 2 / sqrt(largest curvature).
        """
        return jnp.full((), jnp.inf)

    def check_latents(self, latent_dim: int) -> None:
        """Raises ValueError if the potential is not one of so many latents."""

    def check(self, data: Sequences) -> None:
        """Checks the input sets."""
        check_inputs(type(self).__name__, self.input_sets, data)
