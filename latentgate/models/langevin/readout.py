"""What neurons, or other signals, say of positions and velocities."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaln

from latentgate.data import Sequences

from ..base import Params, Part, Prior
from ..emissions.links import rate
from ..observations import check_counts

# Standard deviation of the log-rates that a start gives.
_STARTING_GAIN = 0.5


class Readout(Part):
    """Independent signals about a linear predictor: η = matrix z + velocity_matrix v + bias.

    Attributes:
        num_signals: N.
        velocities: whether signals read velocities too.
    """

    num_signals: eqx.AbstractVar[int]
    velocities: eqx.AbstractVar[bool]

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`; `num_states` is the number of latents."""
        shape = (self.num_signals, num_states)
        found: dict[str, Prior] = {"matrix": dist.Normal(0.0, 1.0).expand(shape).to_event(2)}
        if self.velocities:
            found["velocity_matrix"] = dist.Normal(0.0, 10.0).expand(shape).to_event(2)
        found["bias"] = dist.Normal(0.0, 3.0).expand(shape[:1]).to_event(1)
        return found

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        found = {"matrix": ("neuron", "latent")}
        if self.velocities:
            found["velocity_matrix"] = ("neuron", "latent")
        return found | {"bias": ("neuron",)}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Random loadings, and the bias that explains mean signals."""
        loadings = _STARTING_GAIN / jnp.sqrt(num_states) * jax.random.normal(key, (self.num_signals, num_states))
        found = {"matrix": loadings}
        if self.velocities:
            found["velocity_matrix"] = jnp.zeros_like(loadings)
        observed = jnp.asarray(data.observed)
        return found | self.initialize_offset(jnp.where(observed, jnp.asarray(data.values), 0.0).sum((0, 1)), observed.sum((0, 1)), data)

    @abc.abstractmethod
    def initialize_offset(self, total: Array, count: Array, data: Sequences) -> Params:
        """`bias` and what else there is, from sums of signals and how many there are, [N] each."""

    def predictor(self, params: Params, positions: Array, velocities: Array) -> Array:
        """η, [..., N]."""
        found = positions @ params["matrix"].T + params["bias"]
        return found + velocities @ params["velocity_matrix"].T if self.velocities else found

    @abc.abstractmethod
    def log_prob(self, params: Params, signals: Array, predictor: Array) -> Array:
        """Log-density of every signal, [..., N]."""

    @abc.abstractmethod
    def unit(self, total: Array, count: Array) -> Array:
        """What a gain of log-likelihood is divided by, scalar: spikes times log 2, or the number of signals."""

    @abc.abstractmethod
    def mean(self, params: Params, predictor: Array) -> Array:
        """Expected signals, [..., N]."""

    @abc.abstractmethod
    def sample(self, key: Array, params: Params, predictor: Array) -> Array:
        """Signals, [..., N]."""


class PoissonReadout(Readout):
    """Spike counts: y ~ Poisson(σ(η)), expected counts per time step.

    Attributes:
        link: σ, "exp" or "softplus".
    """

    num_signals: int
    velocities: bool
    link: str

    def check(self, data: Sequences) -> None:
        """Counts only."""
        check_counts("LangevinFlow", data)

    def initialize_offset(self, total: Array, count: Array, data: Sequences) -> Params:
        """See `Readout.initialize_offset`; a silent neuron counts half a spike."""
        rates = (total + 0.5) / (count + 1.0)
        return {"bias": jnp.log(rates) if self.link == "exp" else rates + jnp.log(-jnp.expm1(-rates))}

    def log_prob(self, params: Params, signals: Array, predictor: Array) -> Array:
        """See `Readout.log_prob`."""
        found = rate(self.link, predictor)
        return signals * found.log - found.value - gammaln(signals + 1.0)

    def mean(self, params: Params, predictor: Array) -> Array:
        """See `Readout.mean`."""
        return rate(self.link, predictor).value

    def sample(self, key: Array, params: Params, predictor: Array) -> Array:
        """See `Readout.sample`."""
        return jax.random.poisson(key, self.mean(params, predictor)).astype(predictor.dtype)

    def unit(self, total: Array, count: Array) -> Array:
        """See `Readout.unit`."""
        return total * jnp.log(2.0)


class NormalReadout(Readout):
    """Continuous signals: y ~ Normal(η, variance), with a variance of each signal."""

    num_signals: int
    velocities: bool

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return super().priors(num_states) | {"variance": dist.InverseGamma(1.0, 0.01).expand((self.num_signals,)).to_event(1)}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return super().dims() | {"variance": ("neuron",)}

    def initialize_offset(self, total: Array, count: Array, data: Sequences) -> Params:
        """See `Readout.initialize_offset`: mean and variance of the signals."""
        mean = total / jnp.maximum(count, 1)
        squares = jnp.where(jnp.asarray(data.observed), (jnp.asarray(data.values) - mean) ** 2, 0.0).sum((0, 1)) / jnp.maximum(count, 1)
        return {"bias": mean, "variance": jnp.where(squares > 0, squares, 1.0)}

    def log_prob(self, params: Params, signals: Array, predictor: Array) -> Array:
        """See `Readout.log_prob`."""
        return dist.Normal(predictor, jnp.sqrt(params["variance"])).log_prob(signals)

    def mean(self, params: Params, predictor: Array) -> Array:
        """See `Readout.mean`."""
        return predictor

    def sample(self, key: Array, params: Params, predictor: Array) -> Array:
        """See `Readout.sample`."""
        return predictor + jnp.sqrt(params["variance"]) * jax.random.normal(key, predictor.shape, predictor.dtype)

    def unit(self, total: Array, count: Array) -> Array:
        """See `Readout.unit`."""
        return count
