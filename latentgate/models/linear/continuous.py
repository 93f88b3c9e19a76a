"""Linear dynamics in continuous time, seen at any times."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.distributions import constraints

from latentgate.data import Sequences
from latentgate.kernels import GaussianSmoothed
from latentgate.kernels.gaussian import Edges
from latentgate.kernels.linear_sde import discretise

from ..base import Params, Prior
from ..distributions import positive_definite
from ..unconstrained import maximise
from .dynamics import NUMERICAL_STEPS, Dynamics, edge_density, flat
from .moments import second_moments


class LinearSDE(Dynamics):
    """A linear stochastic differential equation dz = drift z dt + noise, seen at the times of the data, regular or not.

    Parameters: `drift` [latent, previous_latent] and `diffusion` [latent, latent_other] (spectral density), per unit of time. Transitions over each gap are
    exact.

    Example:
        >>> import latentgate as lg
        >>> lg.dynamics.LinearSDE().dims()
        {'drift': ('latent', 'previous_latent'), 'diffusion': ('latent', 'latent_other')}
    """

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        shape = (num_states, num_states)
        return {"drift": flat(constraints.real, shape), "diffusion": flat(positive_definite, shape)}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"drift": ("latent", "previous_latent"), "diffusion": ("latent", "latent_other")}

    def check(self, data: Sequences) -> None:
        """See `Part.check`."""
        if data.times is None:
            raise ValueError("data: found no times, expected Sequences.from_arrays(..., times=[...]) for LinearSDE.")
        gaps = np.diff(np.asarray(data.times), axis=1)
        as_computed = np.diff(np.asarray(data.times).astype(jnp.zeros(0).dtype), axis=1)
        if (np.abs(as_computed - gaps) > 1e-3 * gaps).any():
            raise ValueError(
                f"data: found times up to {np.max(data.times):g}, whose gaps {jnp.zeros(0).dtype} does not resolve; take the start of each sequence off its "
                "times, or set JAX_ENABLE_X64=1."
            )

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Decay over some dozens of typical gaps."""
        times = jnp.asarray(data.times)
        dtype = jnp.asarray(data.values).dtype
        count = jnp.asarray(data.lengths - 1).sum()
        gap = jnp.where(count > 0, (times[:, -1] - times[:, 0]).sum() / jnp.maximum(count, 1), 1.0).astype(dtype)
        rate = jnp.exp(jax.random.uniform(key, (num_states,), dtype, np.log(0.01), np.log(0.3))) / gap
        return {"drift": jnp.diag(-rate).astype(dtype), "diffusion": jnp.diag(2 * rate).astype(dtype)}

    def edges(self, params: Params, data: Sequences) -> Edges:
        """See `Dynamics.edges`."""
        matrix, covariance = discretise(params["drift"], params["diffusion"], jnp.diff(jnp.asarray(data.times), axis=1))
        return Edges(matrix, jnp.zeros(params["drift"].shape[-1], matrix.dtype), covariance)

    def step(self, params: Params, inputs: Array | None, gap: Array | None) -> Edges:
        """See `Dynamics.step`."""
        assert gap is not None
        matrix, covariance = discretise(params["drift"], params["diffusion"], gap)
        return Edges(matrix, jnp.zeros(params["drift"].shape[-1], matrix.dtype), covariance)

    def m_step(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Params:
        """See `Dynamics.m_step`: numerical, on the expected moments of every step."""
        return maximise(lambda new: self.expected(new, data, smoothed), self.priors(smoothed.means.shape[-1]), params, NUMERICAL_STEPS)

    def expected(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Array:
        """Expected log-density of the edges, scalar."""
        second = second_moments(smoothed)
        matrix, _, covariance = self.edges(params, data)
        real = jnp.asarray(data.mask)[:, 1:]
        # Padding has no gap, so nothing happens there; any regular covariance will do.
        covariance = jnp.where(real[..., None, None], covariance, jnp.eye(covariance.shape[-1], dtype=covariance.dtype))
        # Of sequences of two steps the chain has one edge, and gives it without a dimension of time.
        lagged = smoothed.lagged_moments.reshape(second[:, 1:].shape)
        density = edge_density(matrix, covariance, second[:, :-1], second[:, 1:], lagged, 1.0)
        return jnp.where(real, density, 0.0).sum()
