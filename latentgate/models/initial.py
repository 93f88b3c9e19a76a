"""The law of the first state."""

from __future__ import annotations

import abc

import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import safe_log

from .base import Params, Part, Prior
from .distributions import Dirichlet, dirichlet_mode


class Initial(Part):
    """Law of the first state of every sequence."""

    @abc.abstractmethod
    def log_probs(self, params: Params, num_states: int) -> Array:
        """Log-potential of the first state, [K]."""

    def probs(self, params: Params, num_states: int) -> Array:
        """Law to draw the first state from, [K].

        Raises:
            ValueError: if there is none.
        """
        return jnp.exp(self.log_probs(params, num_states))

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """See `Part.initialize`."""
        return {}

    def m_step(self, params: Params, first: Array) -> Params:
        """Parameters given expected numbers of first states [K]."""
        return {}


class FreeInitial(Initial):
    """Probabilities to be learned: `probs` [state], Dirichlet."""

    concentration: float = 1.0

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {"probs": Dirichlet(jnp.full(num_states, self.concentration))}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"probs": ("state",)}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """See `Part.initialize`."""
        return {"probs": jnp.full(num_states, 1.0 / num_states)}

    def log_probs(self, params: Params, num_states: int) -> Array:
        """See `Initial.log_probs`."""
        return safe_log(params["probs"])

    def m_step(self, params: Params, first: Array) -> Params:
        """Posterior mode."""
        return {"probs": dirichlet_mode(first, jnp.full(first.shape, self.concentration), params["probs"])}


class FixedInitial(Initial):
    """Known probabilities."""

    known: tuple[float, ...]

    def log_probs(self, params: Params, num_states: int) -> Array:
        """See `Initial.log_probs`."""
        return safe_log(jnp.asarray(self.known))


class GivenInitial(Initial):
    """The first state is given: the likelihood is conditional on it, and says nothing of its law."""

    def log_probs(self, params: Params, num_states: int) -> Array:
        """See `Initial.log_probs`."""
        return jnp.zeros(num_states)

    def probs(self, params: Params, num_states: int) -> Array:
        """There is none."""
        raise ValueError('initial: found "given", expected a law of the first state to simulate from; pass initial=[...] to simulate.')


def initial_of(initial: object, concentration: float, num_states: int) -> Initial:
    """The law that an argument stands for.

    Raises:
        ValueError: unless it is "free", "given" or K probabilities that sum to one.
    """
    if isinstance(initial, Initial):
        return initial
    if isinstance(initial, str) and initial in ("free", "given"):
        return FreeInitial(concentration) if initial == "free" else GivenInitial()
    try:
        known = np.asarray(initial, float)
    except (TypeError, ValueError):
        known = np.zeros(0)
    if known.shape != (num_states,) or (known < 0).any() or abs(known.sum() - 1) > 1e-6:
        raise ValueError(f'initial: found {initial!r}, expected "free", "given" or {num_states} probabilities that sum to one.')
    return FixedInitial(tuple(float(entry) for entry in known))
