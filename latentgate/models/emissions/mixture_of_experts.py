"""Observations that are a mixture of experts in every state."""

from __future__ import annotations

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import log_sum_exp_leading

from ..base import Params, Part, Prior, repeated
from ..experts.base import Experts
from ..gates.base import Gate
from ..mixture import Mixture
from .base import Emission


class MixtureOfExperts(Emission):
    """Gated mixture of experts in every state: p(y | x, z) = Σ_k weight_zk(x) p(y | x, expert k of z).

    Given the states, experts of different steps are independent of each other. (Where the expert should persist, make it the state.)

    Parameters: those of the gate under `gate.` and of the experts under `experts.`, each with a leading dimension "state".

    Args:
        gate: from `lg.gates`, with weights that sum to one.
        experts: from `lg.experts`: K of them in every state.
        start: as in `lg.MixtureOfExperts`; states begin from partitions of their own.

    Raises:
        ValueError: as `lg.MixtureOfExperts`.

    Example:
        >>> import latentgate as lg
        >>> emission = lg.emissions.MixtureOfExperts(gate=lg.gates.Softmax(num_inputs=1), experts=lg.experts.LinearGaussian(3, num_inputs=1))
        >>> lg.HMM(2, emission).dims()["emission.experts.weights"]
        ('state', 'expert', 'input')
    """

    mixture: Mixture

    def __init__(self, gate: Gate, experts: Experts, *, start: str = "k-means"):
        self.mixture = Mixture(gate, experts, start)

    @property
    def num_features(self) -> int:
        """Columns of an observation."""
        return self.mixture.experts.num_features

    @property
    def num_lags(self) -> int:
        """See `Emission.num_lags`."""
        return self.mixture.experts.num_lags

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Emission.input_sets`."""
        return self.mixture.input_sets

    def priors(self, num_states: int) -> dict[str, Prior]:
        """Priors of one mixture, repeated for every state."""
        return {name: repeated(name, prior, num_states) for name, prior in self.mixture.priors().items()}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {name: ("state", *axes) for name, axes in self.mixture.interchangeable_dims().items()}

    def check(self, data: Sequences) -> None:
        """See `Part.check`."""
        self.mixture.check(data)

    def suited_to(self, data: Sequences) -> Self:
        """See `Part.suited_to`."""
        return eqx.tree_at(lambda emission: emission.mixture, self, self.mixture.suited_to(data))

    def catalogue(self, data: Sequences) -> Sequences:
        """See `Part.catalogue`."""
        return self.mixture.catalogue(data)

    def prepare(self, data: Sequences) -> Sequences:
        """See `Part.prepare`."""
        return self.mixture.prepare(data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """See `Part.initialize`."""
        return jax.vmap(lambda key: self.mixture.initialize(key, data))(jax.random.split(key, num_states))

    def adopt(self, other: Part, params: Params) -> Params:
        """See `Part.adopt`; from a mixture, part by part."""
        if not isinstance(other, MixtureOfExperts) or other.mixture.num_experts != self.mixture.num_experts:
            raise ValueError(f"start: found {type(other).__name__}, expected an emission of {self.mixture.num_experts} experts.")
        return jax.vmap(lambda params: self.mixture.adopt(other.mixture, params))({name: jnp.asarray(value) for name, value in params.items()})

    def degeneracy(self, params: Params, data: Sequences) -> str | None:
        """See `Part.degeneracy`."""
        num_states = len(next(iter(params.values())))
        found = (self.mixture.degeneracy({name: value[state] for name, value in params.items()}, data) for state in range(num_states))
        return next((name for name in found if name), None)

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        values = jnp.moveaxis(jax.vmap(lambda params: self._log_density(self._log_nodes(params, data)))(params), 0, -1)
        if data.complete or self.mixture.gate.models_inputs:
            return values
        # Weights sum to one but for rounding; a missing observation adds nothing at all.
        return jnp.where(jnp.asarray(data.observed).any(-1, keepdims=True), values, 0.0)

    def _log_nodes(self, params: Params, data: Sequences) -> Array:
        return self.mixture.log_nodes(params, data)

    @staticmethod
    def _log_density(nodes: Array) -> Array:
        return log_sum_exp_leading(jnp.moveaxis(nodes, -1, 0))

    def responsibilities(self, params: Params, data: Sequences) -> Array:
        """Probability of each expert given the state and the observation, [sequence, time, state, K]; NaN where the state forbids the observation."""

        def one(params: Params) -> Array:
            nodes = self._log_nodes(params, data)
            return jnp.exp(nodes - self._log_density(nodes)[..., None])

        return jnp.moveaxis(jax.vmap(one)(params), 0, 2)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """M-step of every state's mixture; an expert's weight is the state's times its responsibility."""

        def one(params: Params, weight: Array) -> Params:
            nodes = self._log_nodes(params, data)
            shares = jnp.where(weight[..., None] > 0, weight[..., None] * jnp.exp(nodes - self._log_density(nodes)[..., None]), 0.0)
            return self.mixture.m_step(params, data, shares)

        return jax.vmap(one)(params, jnp.moveaxis(weights, -1, 0))

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        return self.mixture.sample(key, {name: value[state] for name, value in params.items()}, inputs, recent)[0]
