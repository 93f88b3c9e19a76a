"""The interface of a guide: the law of the noise that drove a path, given the data."""

from __future__ import annotations

import abc
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from latentgate.data import Sequences

from ..base import Params, Part, Prior


class NoiseLaw(eqx.Module):
    """A law of the noise of every path: standard normal draws under the prior, something nearer to the data under a guide.

    A path has noise twice: `start`, of its first position and velocity (2 d numbers), and `noise`, of each of its steps (d numbers). Time leads.
    """

    @abc.abstractmethod
    def draw(self, key: Array) -> tuple[Array, Array]:
        """Noise of the start [sequence, 2 d] and of the steps [time - 1, sequence, d]."""

    @abc.abstractmethod
    def centre(self) -> tuple[Array, Array]:
        """Their means, in the same shapes."""

    @abc.abstractmethod
    def divergence(self, steering: Array | None) -> Array:
        """Kullback-Leibler divergence from the standard normal law, [sequence].

        Args:
            steering: what a steering guide added to the means along a path, [time - 1, sequence, d], or None.
        """

    @abc.abstractmethod
    def steered(self) -> Array:
        """Where steering acts, [time - 1, sequence, 1]: not after the last step with data."""


class Guide(Part):
    """A family of laws of the noise given the data: q(noise | data) = Normal(mean, diag scale²), or richer.

    A guide is a part like any other, whose parameters are fitted with those of the model and stand beside them under `guide.`; their priors are flat.

    Attributes:
        latent_dim: d; None until a model has taken the guide.
        num_neurons, num_inputs: columns that the data have; None likewise.
        num_states: of the discrete chain of switching potentials, 0 without one; None likewise.
    """

    latent_dim: eqx.AbstractVar[int | None]
    num_neurons: eqx.AbstractVar[int | None]
    num_inputs: eqx.AbstractVar[int | None]
    num_states: eqx.AbstractVar[int | None]

    @property
    def amortised(self) -> bool:
        """Whether it tells the noise of any sequence, not of those alone that it was fitted to."""
        return True

    def readable(self) -> np.ndarray:
        """Which neurons it ever reads, bool [neuron]."""
        return np.ones(self.num_neurons or 0, bool)

    @abc.abstractmethod
    def fitted_to(self, latent_dim: int, num_neurons: int, num_inputs: int, num_states: int) -> Self:
        """The same guide for a model of so many latents, neurons, inputs and states."""

    @abc.abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter."""

    @abc.abstractmethod
    def positive(self) -> tuple[str, ...]:
        """Names of the parameters that are positive; all others are real."""

    @abc.abstractmethod
    def law(self, params: Params, signals: Array, shown: Array, inputs: Array, last: Array) -> tuple[NoiseLaw, Array | None]:
        """The law of the noise, and what the data say of the states of switching potentials.

        Args:
            params: of the guide.
            signals: of the neurons, time leading, [time, sequence, neuron].
            shown: bool, which of them may be read, [time, sequence, neuron].
            inputs: [time, sequence, input].
            last: number of the last step of each sequence at which anything was observed, [sequence]. Noise of later steps has its prior law: nothing
                is known of it.

        Returns:
            the law, and log-potentials of the states, [time, sequence, state], or None.
        """

    def steering_matrix(self, params: Params) -> Array | None:
        """G [d, 2 d], with which position and velocity of a step change the mean of the noise that leads on from it; None for a guide that does not steer."""
        return None

    def priors(self, num_states: int) -> dict[str, Prior]:
        """Flat: a guide approximates, and has no prior of its own."""
        supports = {name: constraints.positive if name in self.positive() else constraints.real for name in self.shapes()}
        return {name: dist.ImproperUniform(constraints.independent(supports[name], len(shape)), (), shape) for name, shape in self.shapes().items()}

    def check(self, data: Sequences) -> None:
        """Raises ValueError if the guide cannot be of these data."""


def active(num_steps: int, last: Array) -> Array:
    """Whether the noise of each step has a step with data ahead of it, [time - 1, sequence, 1]."""
    return (jnp.arange(num_steps - 1)[:, None] < last)[..., None]
