"""The interface of a filter: init, predict, update."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from .beliefs import GaussianBelief
from .model import NonlinearModel


class Strategy(eqx.Module):
    """How a belief is carried through dynamics and observations. The steps of strategies with the same kind of belief can be mixed."""

    @abc.abstractmethod
    def init(self, model: NonlinearModel, key: Array | None = None) -> Any:
        """The belief about the first latent, before its observation."""

    @abc.abstractmethod
    def predict(self, model: NonlinearModel, belief: Any) -> Any:
        """The belief about the next latent."""

    @abc.abstractmethod
    def update(self, model: NonlinearModel, belief: Any, observation: Array, observed: Array | None = None) -> tuple[Any, Array]:
        """The belief after an observation, and the log-density that it had before.

        Args:
            model: with an `emission` (for the particle filter, or a `log_likelihood`).
            belief: about the latent that is observed.
            observation: [N]; anything finite where not observed.
            observed: bool [N]; None where all entries are. Missing entries add nothing.
        """


class GaussianStrategy(Strategy):
    """A strategy whose beliefs are Gaussian."""

    def init(self, model: NonlinearModel, key: Array | None = None) -> GaussianBelief:
        """The model's initial law; no key is needed."""
        return GaussianBelief(model.initial_mean, model.initial_covariance)


def masked(residual: Array, covariance: Array, observed: Array | None) -> tuple[Array, Array, Array]:
    """Residual, noise covariance and number of entries observed, with missing entries made independent, of unit noise and zero residual.

    Together with zero rows in the observation matrix this removes them exactly, whatever the noise's correlations.
    """
    if observed is None:
        return residual, covariance, jnp.asarray(residual.shape[-1], residual.dtype)
    both = observed[:, None] & observed[None, :]
    unit = jnp.eye(residual.shape[-1], dtype=covariance.dtype)
    return jnp.where(observed, residual, 0.0), jnp.where(both, covariance, unit), observed.sum().astype(residual.dtype)


def emission_of(model: NonlinearModel) -> tuple[Any, Array]:
    """The model's emission and its noise covariance.

    Raises:
        ValueError: the model has none.
    """
    if model.emission is None or model.emission_covariance is None:
        raise ValueError("model: found no emission, expected `emission` and `emission_covariance`, or information updates alone.")
    return model.emission, model.emission_covariance
