"""Binary observations with one probability for each state and feature."""

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


class Bernoulli(Emission):
    """Independent binary features: P(y_n = 1) = probs[z, n].

    Parameters: `probs` [state, feature].

    Args:
        num_features: columns of the data, each 0 or 1.
        prior: of every probability; Beta priors have a closed-form M-step, any other prior a numerical one. Beta(1.1, 1.1) if None: a tenth of an
            observation of each value, which keeps probabilities inside (0, 1).

    Raises:
        ValueError: for a wrong number of features.

    Example:
        >>> import latentgate as lg
        >>> lg.emissions.Bernoulli(4).dims()
        {'probs': ('state', 'feature')}
    """

    features: int
    prior: dist.Distribution

    def __init__(self, num_features: int, prior: dist.Distribution | None = None):
        self.features = at_least("num_features", num_features)
        self.prior = prior_or("prior", prior, dist.Beta(1.1, 1.1))

    @property
    def num_features(self) -> int:
        """Columns of the data."""
        return self.features

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {"probs": with_shape(self.prior, (num_states, self.features), "probs")}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"probs": ("state", "feature")}

    def check(self, data: Sequences) -> None:
        """Zeros and ones only."""
        super().check(data)
        check_categories("Bernoulli", 2, data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Mean log-odds, scattered by about one."""
        ones, count = jnp.asarray(data.values).sum((0, 1)), jnp.asarray(data.observed).sum((0, 1))
        log_odds = jnp.log(ones + 0.5) - jnp.log(count - ones + 0.5)
        return {"probs": jax.nn.sigmoid(log_odds + jax.random.normal(key, (num_states, self.features)))}

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        probs = params["probs"]
        ones = jnp.asarray(data.values)
        zeros = jnp.where(jnp.asarray(data.observed), 1.0 - ones, 0.0)
        certain_zero, certain_one = probs == 0, probs == 1
        log_one = jnp.log(jnp.where(certain_zero, 1.0, probs))
        log_zero = jnp.log1p(-jnp.where(certain_one, 0.0, probs))
        contradicted = ones @ certain_zero.T.astype(probs.dtype) + zeros @ certain_one.T.astype(probs.dtype) > 0
        return jnp.where(contradicted, -jnp.inf, ones @ log_one.T + zeros @ log_zero.T)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Posterior mode of each probability under a Beta prior; without weight and with a flat prior it keeps what it had."""
        if not isinstance(self.prior, dist.Beta):
            return super().m_step(params, data, weights)
        values, observed = jnp.asarray(data.values), jnp.asarray(data.observed).astype(weights.dtype)
        ones = jnp.einsum("stk,stn->kn", weights, values)
        zeros = jnp.einsum("stk,stn->kn", weights, observed - values * observed)
        # A negative pseudo-count means that the density has its supremum at the boundary.
        one, zero = numbers_of(self.prior, "concentration1", "concentration0")
        for_one, for_zero = jnp.maximum(ones + one - 1, 0.0), jnp.maximum(zeros + zero - 1, 0.0)
        total = for_one + for_zero
        return {"probs": jnp.where(total > 0, for_one / jnp.where(total > 0, total, 1.0), params["probs"])}

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        probs = params["probs"][state]
        return jax.random.bernoulli(key, probs).astype(probs.dtype)
