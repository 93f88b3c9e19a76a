"""Poisson counts with one rate for each state and neuron."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaln

from latentgate.data import Sequences

from ..base import Params, Prior, with_computed, with_shape
from ..observations import check_counts
from .base import Emission
from .checks import at_least, prior_or

_LOG_FACTORIALS = "_log_factorials"


class Poisson(Emission):
    """Independent Poisson counts: y_n ~ Poisson(rates[z, n]).

    Parameters: `rates` [state, neuron], expected counts per time step.

    Args:
        num_neurons: columns of the data.
        prior: of every rate; Gamma priors have a closed-form M-step, any other prior a numerical one.

    Example:
        >>> import latentgate as lg
        >>> lg.emissions.Poisson(20).num_features
        20
    """

    num_neurons: int
    prior: dist.Distribution

    def __init__(self, num_neurons: int, prior: dist.Distribution | None = None):
        self.num_neurons = at_least("num_neurons", num_neurons)
        # A tenth of a spike in a tenth of a bin: keeps every rate positive, and is forgotten after a few bins.
        self.prior = prior_or("prior", prior, dist.Gamma(1.1, 0.1))

    @property
    def num_features(self) -> int:
        """Number of neurons."""
        return self.num_neurons

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {"rates": with_shape(self.prior, (num_states, self.num_neurons), "rates")}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"rates": ("state", "neuron")}

    def check(self, data: Sequences) -> None:
        """Counts only."""
        super().check(data)
        check_counts("Poisson", data)

    def prepare(self, data: Sequences) -> Sequences:
        """Adds log y! summed over neurons."""
        return with_log_factorials(data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Mean rates, scattered by about a half."""
        scatter = jnp.exp(0.5 * jax.random.normal(key, (num_states, self.num_neurons)))
        # Half a spike, so that a silent neuron does not start at the forbidden rate zero.
        mean = (data.values.sum((0, 1)) + 0.5) / (data.observed.sum((0, 1)) + 1.0)
        return {"rates": mean * scatter}

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        rates = params["rates"]
        possible = rates > 0
        log_rates = jnp.log(jnp.where(possible, rates, 1.0))
        exposure = rates.sum(-1) if data.complete else data.observed.astype(rates.dtype) @ rates.T
        forbidden = data.values @ (~possible).astype(rates.dtype).T > 0
        result = data.values @ log_rates.T - exposure - log_factorials(data)
        return jnp.where(forbidden, -jnp.inf, result)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Posterior mode of each rate under a Gamma prior."""
        if not isinstance(self.prior, dist.Gamma):
            return super().m_step(params, data, weights)
        counts = jnp.einsum("stk,stn->kn", weights, data.values)
        if data.complete:
            exposure = weights.sum((0, 1))[:, None]
        else:
            exposure = jnp.einsum("stk,stn->kn", weights, data.observed.astype(weights.dtype))
        concentration, rate = jnp.asarray(self.prior.concentration), jnp.asarray(self.prior.rate)
        mode = (counts + concentration - 1) / (exposure + rate)
        # A negative mode means that the density has its supremum at zero; an empty state keeps what it had.
        return {"rates": jnp.where(exposure + rate > 0, jnp.maximum(mode, 0.0), params["rates"])}

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        rates = params["rates"][state]
        return jax.random.poisson(key, rates).astype(rates.dtype)


def with_log_factorials(data: Sequences) -> Sequences:
    """Adds Σ_n log y_n! of every step to the inputs, once."""
    return with_computed(data, _LOG_FACTORIALS, gammaln(jnp.asarray(data.values) + 1.0).sum(-1, keepdims=True))


def log_factorials(data: Sequences) -> Array:
    """Σ_n log y_n! of every step, [sequence, time, 1], prepared or computed here."""
    if _LOG_FACTORIALS in data.inputs:
        return data.inputs[_LOG_FACTORIALS]
    return gammaln(data.values + 1.0).sum(-1, keepdims=True)
