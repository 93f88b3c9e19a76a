"""States read with one probability of error, which every state and every wrong label share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, with_shape
from ..distributions import numbers_of
from ..observations import check_categories
from .base import Emission
from .checks import at_least, prior_or

# Probability of the right label at the start of a fit.
_MOSTLY_RIGHT = 0.9


class UniformError(Emission):
    """One column of labels 0, 1, ..., K - 1: the number of the state with probability 1 - error, each other number with probability error / (K - 1).

    One parameter where `Misclassified` has K (K - 1). Labels anchor states, so that states have names that fits agree on. Of two states an error above one
    half says the same as one below it with the states exchanged: for two states pass a prior that prefers one, if the posterior is to be sampled.

    Parameters: `error` [].

    Args:
        num_states: K, that of the model, at least 2.
        prior: of the error; a Beta prior has a closed-form M-step, any other prior a numerical one. Beta(1.1, 1.1) if None: a tenth of a wrong and of a
            right label, which keeps the error inside (0, 1).

    Raises:
        ValueError: for fewer than two states.

    Example:
        >>> import latentgate as lg
        >>> lg.MarkovJumpProcess(6, lg.emissions.UniformError(6), initial="free").dims()["emission.error"]
        ()
    """

    num_states: int
    prior: dist.Distribution

    def __init__(self, num_states: int, prior: dist.Distribution | None = None):
        self.num_states = at_least("num_states", num_states, 2)
        self.prior = prior_or("prior", prior, dist.Beta(1.1, 1.1))

    @property
    def num_features(self) -> int:
        """One."""
        return 1

    @property
    def anchored(self) -> bool:
        """Whether states cannot be renumbered, since a label means the state of its number: always."""
        return True

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        self._require(num_states)
        return {"error": with_shape(self.prior, (), "error")}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"error": ()}

    def _require(self, num_states: int) -> None:
        if num_states != self.num_states:
            raise ValueError(f"num_states: found {self.num_states} for UniformError, expected {num_states} as the model has.")

    def check(self, data: Sequences) -> None:
        """Labels in range only."""
        super().check(data)
        check_categories("UniformError", self.num_states, data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Mostly right, scattered by about a third in the log-odds."""
        self._require(num_states)
        log_odds = jnp.log((1.0 - _MOSTLY_RIGHT) / _MOSTLY_RIGHT)
        return {"error": jax.nn.sigmoid(log_odds + 0.3 * jax.random.normal(key))}

    def _right(self, data: Sequences) -> Array:
        """Whether a label is the number of the state, [sequence, time, state]."""
        return jnp.asarray(data.values) == jnp.arange(self.num_states)

    def _log_probs(self, params: Params) -> tuple[Array, Array]:
        """Log-probability of the right label, and of one wrong label."""
        error = params["error"]
        certain, never = error == 1, error == 0
        right = jnp.where(certain, -jnp.inf, jnp.log1p(-jnp.where(certain, 0.0, error)))
        wrong = jnp.where(never, -jnp.inf, jnp.log(jnp.where(never, 1.0, error) / (self.num_states - 1)))
        return right, wrong

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        right, wrong = self._log_probs(params)
        return jnp.where(jnp.asarray(data.observed), jnp.where(self._right(data), right, wrong), 0.0)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Posterior mode of the error under a Beta prior; without weight and with a flat prior it keeps what it had."""
        if not isinstance(self.prior, dist.Beta):
            return super().m_step(params, data, weights)
        seen = jnp.where(jnp.asarray(data.observed), weights, 0.0)
        total = seen.sum()
        right = jnp.where(self._right(data), seen, 0.0).sum()
        # A negative pseudo-count means that the density has its supremum at the boundary.
        one, zero = numbers_of(self.prior, "concentration1", "concentration0")
        for_wrong, for_right = jnp.maximum(total - right + one - 1, 0.0), jnp.maximum(right + zero - 1, 0.0)
        both = for_wrong + for_right
        return {"error": jnp.where(both > 0, for_wrong / jnp.where(both > 0, both, 1.0), params["error"])}

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        right, wrong = self._log_probs(params)
        log_probs = jnp.where(jnp.arange(self.num_states) == state, right, wrong)
        return jax.random.categorical(key, log_probs)[None].astype(log_probs.dtype)
