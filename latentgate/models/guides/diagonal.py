"""Independent normal noise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.kernels.langevin import noise_divergence

from .base import NoiseLaw, active


class DiagonalLaw(NoiseLaw):
    """Independent normal noise: q = Normal(mean, diag scale²).

    Attributes:
        start_mean, start_scale: [sequence, 2 d].
        mean, scale: [time - 1, sequence, d].
        needed: bool [time - 1, sequence, 1]; the prior law elsewhere.
    """

    start_mean: Array
    start_scale: Array
    mean: Array
    scale: Array
    needed: Array

    def __init__(self, start_mean: Array, start_scale: Array, mean: Array, scale: Array, last: Array):
        self.needed = active(mean.shape[0] + 1, last)
        self.start_mean, self.start_scale = start_mean, start_scale
        self.mean, self.scale = jnp.where(self.needed, mean, 0.0), jnp.where(self.needed, scale, 1.0)

    def draw(self, key: Array) -> tuple[Array, Array]:
        """See `NoiseLaw.draw`."""
        for_start, for_steps = jax.random.split(key)
        start = self.start_mean + self.start_scale * jax.random.normal(for_start, self.start_mean.shape, self.start_mean.dtype)
        return start, self.mean + self.scale * jax.random.normal(for_steps, self.mean.shape, self.mean.dtype)

    def centre(self) -> tuple[Array, Array]:
        """See `NoiseLaw.centre`."""
        return self.start_mean, self.mean

    def divergence(self, steering: Array | None) -> Array:
        """See `NoiseLaw.divergence`."""
        mean = self.mean if steering is None else self.mean + steering
        steps = jnp.where(self.needed[..., 0], noise_divergence(mean, self.scale), 0.0)
        return noise_divergence(self.start_mean, self.start_scale) + steps.sum(0)

    def steered(self) -> Array:
        """See `NoiseLaw.steered`."""
        return self.needed.astype(self.mean.dtype)
