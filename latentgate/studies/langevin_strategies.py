"""Langevin flows, and their controls, as methods of co-smoothing."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from latentgate.data import Sequences
from latentgate.inference import AmortisedSVI, Fit, fit
from latentgate.models import LangevinFlow
from latentgate.models.guides import Recurrent
from latentgate.models.potentials import Network, NoForce, Potential
from latentgate.studies.co_smoothing import Predictor


@dataclasses.dataclass(frozen=True)
class Langevin:
    """A Langevin flow of all neurons, whose guide reads the held-in ones alone; trained in float32.

    Attributes:
        latent_dim: number of latents.
        force: whether a potential is learned (a network of 64 units); latents move freely if not.
        white_noise: the control without dynamics: latents are independent draws at every bin.
        num_units: of the guide, in each direction.
        engine: how it is trained.
    """

    latent_dim: int
    force: bool = True
    white_noise: bool = False
    num_units: int = 64
    engine: AmortisedSVI = dataclasses.field(default_factory=AmortisedSVI)

    def model(self, num_neurons: int, held_in: np.ndarray | None = None) -> LangevinFlow:
        """The flow for so many neurons; its guide reads those held in, or all."""
        potential: Potential = Network(64) if self.force and not self.white_noise else NoForce()
        reads = None if held_in is None else np.flatnonzero(held_in)
        guide = Recurrent(self.num_units, steering=not self.white_noise, reads=reads)
        return LangevinFlow(self.latent_dim, num_neurons, potential, guide=guide, motion="white noise" if self.white_noise else "langevin")

    def trained(self, train: Sequences, held_in: np.ndarray | None, seed: int) -> Fit:
        """The fit to training trials."""
        plain = dataclasses.replace(train, inputs={}, input_names={})
        with jax.enable_x64(False):
            return fit(self.model(train.num_features, held_in), plain, self.engine, seed=seed, progress=False)

    def fit(self, train: Sequences, held_in: np.ndarray, seed: int) -> Predictor:
        """See `Strategy`."""
        found = self.trained(train, held_in, seed)

        def predict(data: Sequences) -> np.ndarray:
            with jax.enable_x64(False):
                params = {name: jnp.asarray(value) for name, value in found.params.items()}
                return np.asarray(found.model.expected_counts(params, data), float)

        return predict
