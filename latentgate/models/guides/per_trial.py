"""Guides without a network: a law of its own for every sequence."""

from __future__ import annotations

from typing import Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params
from .base import Guide, NoiseLaw
from .diagonal import DiagonalLaw

COVARIANCES = ("diagonal", "full")
_STARTING_SCALE = 0.3


class FullLaw(NoiseLaw):
    """Jointly normal noise of a whole path.

    Attributes:
        mean: of start and steps laid out one after the other, [sequence, D], D = 2 d + (time - 1) d.
        factor: lower triangular, its diagonal positive: covariance = factor factorᵀ, [sequence, D, D].
        num_latents: d.
    """

    mean: Array
    factor: Array
    num_latents: int = eqx.field(static=True)

    def draw(self, key: Array) -> tuple[Array, Array]:
        """See `NoiseLaw.draw`."""
        standard = jax.random.normal(key, self.mean.shape, self.mean.dtype)
        return self._parts(self.mean + jnp.einsum("sij,sj->si", self.factor, standard))

    def centre(self) -> tuple[Array, Array]:
        """See `NoiseLaw.centre`."""
        return self._parts(self.mean)

    def divergence(self, steering: Array | None) -> Array:
        """See `NoiseLaw.divergence`."""
        diagonal = jnp.diagonal(self.factor, axis1=-2, axis2=-1)
        squares = (self.factor**2).sum((-2, -1)) + (self.mean**2).sum(-1)
        return 0.5 * (squares - self.mean.shape[-1]) - jnp.log(diagonal).sum(-1)

    def steered(self) -> Array:
        """See `NoiseLaw.steered`."""
        return jnp.ones((self.mean.shape[1] // self.num_latents - 2, self.mean.shape[0], 1), self.mean.dtype)

    def _parts(self, flat: Array) -> tuple[Array, Array]:
        start, steps = flat[:, : 2 * self.num_latents], flat[:, 2 * self.num_latents :]
        return start, jnp.moveaxis(steps.reshape(len(flat), -1, self.num_latents), 1, 0)


class PerTrial(Guide):
    """Mean and scale of the noise of every step as free numbers of every sequence, without a network: exact within its family, and of the data fitted alone.

    With `covariance="full"` the noise of a whole path is jointly normal, which is the exact posterior of a linear model with normal observations; its cost
    grows with the square of time.

    Parameters: `mean` [sequence, noise], and `scale` [sequence, noise] or `factor` [sequence, noise, other_noise], the noise laid out as that of the start
    (2 d numbers) and of each step (d numbers).

    Args:
        covariance: "diagonal" or "full".

    Raises:
        ValueError: for another covariance; when used, for data other than those it was fitted to.

    Example:
        >>> import latentgate as lg
        >>> lg.guides.PerTrial("full").covariance
        'full'
    """

    covariance: str
    latent_dim: int | None
    num_neurons: int | None
    num_inputs: int | None
    num_states: int | None
    size: tuple[int, int] | None

    def __init__(self, covariance: Literal["diagonal", "full"] = "diagonal"):
        if covariance not in COVARIANCES:
            raise ValueError(f"covariance: found {covariance!r}, expected one of {', '.join(map(repr, COVARIANCES))}.")
        self.covariance = covariance
        self.latent_dim = self.num_neurons = self.num_inputs = self.num_states = self.size = None

    @property
    def amortised(self) -> bool:
        """False."""
        return False

    def fitted_to(self, latent_dim: int, num_neurons: int, num_inputs: int, num_states: int) -> Self:
        """See `Guide.fitted_to`.

        Raises:
            ValueError: for switching potentials.
        """
        if num_states:
            raise ValueError("guide: found PerTrial with switching potentials, expected lg.guides.Recurrent, which says what the data tell of their states.")
        return eqx.tree_at(
            lambda guide: (guide.latent_dim, guide.num_neurons, guide.num_inputs, guide.num_states),
            self,
            (latent_dim, num_neurons, num_inputs, num_states),
            is_leaf=lambda leaf: leaf is None,
        )

    def suited_to(self, data: Sequences) -> Self:
        """Takes the number of sequences and steps from the data."""
        if self.size is not None:
            return self
        return eqx.tree_at(lambda guide: guide.size, self, (data.num_sequences, data.max_length), is_leaf=lambda leaf: leaf is None)

    def check(self, data: Sequences) -> None:
        """Raises ValueError for data of another size than those fitted to."""
        found = (data.num_sequences, data.max_length)
        if self.size is not None and found != self.size:
            raise ValueError(
                f"data: found {found[0]} sequences of up to {found[1]} steps, expected the {self.size[0]} of up to {self.size[1]} that lg.guides.PerTrial was "
                "fitted to: it has parameters for every one of them. Use lg.guides.Recurrent for data not fitted to."
            )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """See `Guide.shapes`."""
        sequences, noise = self._layout()
        if self.covariance == "full":
            return {"mean": (sequences, noise), "scale": (sequences, noise), "factor": (sequences, noise, noise)}
        return {"mean": (sequences, noise), "scale": (sequences, noise)}

    def positive(self) -> tuple[str, ...]:
        """See `Guide.positive`."""
        return ("scale",)

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        found = {"mean": ("fitted_sequence", "noise"), "scale": ("fitted_sequence", "noise"), "factor": ("fitted_sequence", "noise", "other_noise")}
        return {name: axes for name, axes in found.items() if name != "factor" or self.covariance == "full"}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Means near zero, scales below those of the prior."""
        shapes = self.suited_to(data).shapes()
        params = {name: jnp.zeros(shape) for name, shape in shapes.items()}
        params["scale"] = params["scale"] + _STARTING_SCALE
        params["mean"] = 0.01 * jax.random.normal(key, shapes["mean"])
        return params

    def law(self, params: Params, signals: Array, shown: Array, inputs: Array, last: Array) -> tuple[NoiseLaw, Array | None]:
        """See `Guide.law`."""
        latents = self.latent_dim or 0
        if self.covariance == "full":
            below = np.tril(np.ones((self._layout()[1],) * 2), -1)
            factor = params["factor"] * below + params["scale"][..., None] * np.eye(len(below))
            return FullLaw(params["mean"], factor.astype(params["mean"].dtype), latents), None

        def parts(flat: Array) -> tuple[Array, Array]:
            return flat[:, : 2 * latents], jnp.moveaxis(flat[:, 2 * latents :].reshape(len(flat), -1, latents), 1, 0)

        (start_mean, mean), (start_scale, scale) = parts(params["mean"]), parts(params["scale"])
        return DiagonalLaw(start_mean, start_scale, mean, scale, last), None

    def _layout(self) -> tuple[int, int]:
        assert self.size is not None
        assert self.latent_dim is not None
        return self.size[0], (self.size[1] + 1) * self.latent_dim
