"""Emissions of hidden Markov models as experts."""

from __future__ import annotations

import abc
from typing import Self

import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Part, Prior
from ..emissions.base import Emission
from ..emissions.checks import at_least
from .base import Experts


class ByEmission(Experts):
    """Experts whose law is that of an emission, expert by expert; what they do is left to it."""

    @property
    @abc.abstractmethod
    def law(self) -> Emission:
        """The emission, whose states are the experts."""

    @property
    def num_features(self) -> int:
        """Columns of an observation."""
        return self.law.num_features

    @property
    def num_lags(self) -> int:
        """See `Emission.num_lags`."""
        return self.law.num_lags

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Emission.input_sets`."""
        return self.law.input_sets

    @property
    def anchored(self) -> bool:
        """See `Emission.anchored`."""
        return self.law.anchored

    def to_emission(self, params: Params) -> Params:
        """Parameters as the emission knows them."""
        return params

    def from_emission(self, params: Params) -> Params:
        """The inverse of `to_emission`."""
        return params

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return self.law.priors(num_states)

    def dims(self) -> dict[str, tuple[str, ...]]:
        """Those of the emission, whose states are experts here; experts that the emission itself has are inner ones."""
        renamed = {"state": "expert", "expert": "inner_expert"}
        return {name: tuple(renamed.get(dim, dim) for dim in axes) for name, axes in self.law.dims().items()}

    def check(self, data: Sequences) -> None:
        """See `Part.check`."""
        self.law.check(data)

    def catalogue(self, data: Sequences) -> Sequences:
        """See `Part.catalogue`."""
        return self.law.catalogue(data)

    def prepare(self, data: Sequences) -> Sequences:
        """See `Part.prepare`."""
        return self.law.prepare(data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """See `Part.initialize`."""
        return self.from_emission(self.law.initialize(key, data, num_states))

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        return self.law.log_likelihood(self.to_emission(params), data)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """The M-step of the emission."""
        return self.from_emission(self.law.m_step(self.to_emission(params), data, weights))

    def possible(self, data: Sequences, num_states: int) -> np.ndarray:
        """See `Emission.possible`."""
        return self.law.possible(data, num_states)

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        return self.law.sample(key, self.to_emission(params), state, inputs, recent)


class OfEmission(ByEmission):
    """Experts that are any emission of the HMM family: `OfEmission(3, lg.emissions.NegativeBinomial(20))`.

    An emission that reads inputs is a regression in every expert; one that does not has constant experts, among which the gate alone depends on the inputs.

    Parameters: those of the emission, where "state" reads "expert".

    Args:
        num_experts: K.
        emission: from `lg.emissions`.

    Raises:
        ValueError: for a number of experts below one, or something that is no emission.

    Example:
        >>> import latentgate as lg
        >>> lg.experts.OfEmission(3, lg.emissions.Gaussian(2, "tied")).dims()
        {'means': ('expert', 'feature'), 'covariances': ('feature', 'feature_other')}
    """

    num_experts: int
    emission: Emission

    def __init__(self, num_experts: int, emission: Emission):
        self.num_experts = at_least("num_experts", num_experts)
        if not isinstance(emission, Emission):
            raise ValueError(f"emission: found {emission!r}, expected one of lg.emissions, for example lg.emissions.Gaussian(2).")
        if isinstance(emission, Experts):
            raise ValueError(f"emission: found {type(emission).__name__}, which are experts already, expected one of lg.emissions; pass them as they are.")
        self.emission = emission

    @property
    def law(self) -> Emission:
        """The emission."""
        return self.emission

    def suited_to(self, data: Sequences) -> Self:
        """See `Part.suited_to`."""
        return type(self)(self.num_experts, self.emission.suited_to(data))

    def adopt(self, other: Part, params: Params) -> Params:
        """See `Part.adopt`; from experts of an emission as that emission does."""
        if isinstance(other, ByEmission):
            return self.emission.adopt(other.law, other.to_emission(params))
        return super().adopt(other, params)
