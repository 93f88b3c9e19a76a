"""Models whose latents are a function of noise, and whose posterior is a law of that noise: what training by a lower bound asks of them."""

from __future__ import annotations

import abc
from typing import NamedTuple

import equinox as eqx
from jax import Array

from latentgate.data import Sequences

from .base import Model, Params
from .guides import Guide


class Bound(NamedTuple):
    """The two parts of the evidence lower bound, log_likelihood - divergence.

    Attributes:
        log_likelihood: of the observations given a path drawn from the guide, averaged over draws, [sequence].
        divergence: of the guide from the prior, [sequence].
    """

    log_likelihood: Array
    divergence: Array


class NoiseSpaceModel(Model):
    """A model with a guide, fitted by `lg.AmortisedSVI`. Its log-likelihood is a lower bound."""

    guide: eqx.AbstractVar[Guide]

    @property
    def approximate(self) -> bool:
        """True: the log-likelihood is a lower bound."""
        return True

    @abc.abstractmethod
    def bound(self, params: Params, data: Sequences, key: Array, *, shown: Array | None = None, weights: Array | None = None, num_draws: int = 1) -> Bound:
        """The evidence lower bound of each sequence, in two parts.

        Args:
            params: parameters, those of the guide included.
            data: sequences.
            key: of the draws.
            shown: bool, which observations the guide may read, [sequence, time, neuron]; all if None.
            weights: of every observation in the log-likelihood, [sequence, time, neuron]; one where observed if None.
            num_draws: paths drawn a sequence.
        """

    @abc.abstractmethod
    def held_out_gain(self, params: Params, training: Sequences, data: Sequences, hidden: Array, key: Array, num_draws: int) -> Array:
        """Gain over constant signals in predicting observations that the guide is not shown, scalar: bits per spike, or nats a signal.

        Args:
            params: parameters.
            training: sequences whose means are the constants.
            data: sequences to predict in.
            hidden: bool, which observations are predicted, [sequence, time, neuron]; those that are missing do not count.
            key: of the draws.
            num_draws: paths whose predictions are averaged.
        """
