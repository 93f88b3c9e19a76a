"""Oscillations: latents that rotate and decay in pairs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from latentgate.data import Sequences
from latentgate.kernels import GaussianSmoothed
from latentgate.kernels.gaussian import Edges

from ..base import Params, Prior
from .dynamics import ConstantDynamics, flat
from .moments import EdgeMoments, edge_moments


class DampedRotations(ConstantDynamics):
    """Pairs of latents that rotate and decay: oscillations with a frequency and a damping each.

    Parameters: `damping` [oscillation], the factor a step in (0, 1); `frequency` [oscillation], radians a step in (0, π); `variances` [oscillation], of
    the noise of both latents of a pair.

    Example:
        >>> import latentgate as lg
        >>> sorted(lg.LinearGaussianSSM(4, 10, dynamics=lg.dynamics.DampedRotations()).dims())[:3]
        ['dynamics.damping', 'dynamics.frequency', 'dynamics.variances']
    """

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        if num_states % 2:
            raise ValueError(f"latent_dim: found {num_states}, expected an even number of latents for DampedRotations, two an oscillation.")
        half = (num_states // 2,)
        return {
            "damping": dist.Uniform(0.0, 1.0).expand(half).to_event(1),
            "frequency": dist.Uniform(0.0, np.pi).expand(half).to_event(1),
            "variances": flat(constraints.positive, half),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"damping": ("oscillation",), "frequency": ("oscillation",), "variances": ("oscillation",)}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Frequencies spread over the lower half of the band, differently in every restart."""
        dtype, half = jnp.asarray(data.values).dtype, num_states // 2
        frequency = jax.random.uniform(key, (half,), dtype, 0.05, np.pi / 2)
        return {"damping": jnp.full(half, 0.9, dtype), "frequency": jnp.sort(frequency), "variances": jnp.full(half, 0.2, dtype)}

    def edges(self, params: Params, data: Sequences) -> Edges:
        """See `Dynamics.edges`."""
        return self.step(params, None, None)

    def step(self, params: Params, inputs: Array | None, gap: Array | None) -> Edges:
        """See `Dynamics.step`."""
        coefficients, noise = self.coefficients_and_noise(params)
        return Edges(coefficients, jnp.zeros(len(coefficients), coefficients.dtype), noise)

    def coefficients_and_noise(self, params: Params) -> tuple[Array, Array]:
        """See `ConstantDynamics`."""
        cosine, sine = params["damping"] * jnp.cos(params["frequency"]), params["damping"] * jnp.sin(params["frequency"])
        blocks = jnp.stack([jnp.stack([cosine, -sine], -1), jnp.stack([sine, cosine], -1)], -2)
        half = len(blocks)
        matrix = jnp.einsum("kij,kl->kilj", blocks, jnp.eye(half, dtype=blocks.dtype)).reshape(2 * half, 2 * half)
        return matrix, jnp.diag(jnp.repeat(params["variances"], 2))

    def moments(self, data: Sequences, smoothed: GaussianSmoothed) -> EdgeMoments:
        """See `ConstantDynamics`."""
        return edge_moments(smoothed, data, None, False)

    @property
    def can_be_stationary(self) -> bool:
        """Always, since damping is below one."""
        return True
