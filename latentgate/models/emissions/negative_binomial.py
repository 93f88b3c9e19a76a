"""Overdispersed counts with one rate for each state and neuron."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from latentgate.data import Sequences

from ..base import Params, Prior, with_shape
from ..distributions import numbers_of
from ..newton import newton_rows
from ..observations import check_counts
from .base import Emission
from .checks import at_least, prior_or
from .poisson import log_factorials, with_log_factorials

# Candidates for each concentration in one M-step.
_NEWTON_STEPS = 4
# Where all counts are below this, logarithms are computed once a count and not once an observation.
_TALLIED = 256
# Where Stirling's series is exact to rounding with the terms below.
_SHIFT = 16
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188)


class NegativeBinomial(Emission):
    """Independent overdispersed counts: mean rates[z, n], variance mean + mean² / concentration[n].

    A Poisson count whose rate has a gamma distribution; the larger the concentration, the closer to Poisson. States share the concentrations.

    Parameters: `rates` [state, neuron], expected counts per time step; `concentration` [neuron]. The rates of a state without data go to the mode of
    their prior.

    Args:
        num_neurons: columns of the data.
        rate_prior: of every rate; Gamma(1.1, 0.1) if None. With Gamma priors the rates have a closed-form update, and with a prior of the
            concentrations over the positive reals these have a Newton update; with any other priors the whole M-step is by L-BFGS.
        concentration_prior: of every concentration; Gamma(2, 0.1) if None.

    Raises:
        ValueError: for a wrong number of neurons.

    Example:
        >>> import latentgate as lg
        >>> lg.emissions.NegativeBinomial(20).dims()
        {'rates': ('state', 'neuron'), 'concentration': ('neuron',)}
    """

    num_neurons: int
    rate_prior: dist.Distribution
    concentration_prior: dist.Distribution

    def __init__(self, num_neurons: int, rate_prior: dist.Distribution | None = None, concentration_prior: dist.Distribution | None = None):
        self.num_neurons = at_least("num_neurons", num_neurons)
        # That of the Poisson emission.
        self.rate_prior = prior_or("rate_prior", rate_prior, dist.Gamma(1.1, 0.1))
        # Mean 20; without data far from Poisson no likelihood has a maximum, and the prior supplies it.
        self.concentration_prior = prior_or("concentration_prior", concentration_prior, dist.Gamma(2.0, 0.1))

    @property
    def num_features(self) -> int:
        """Number of neurons."""
        return self.num_neurons

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {
            "rates": with_shape(self.rate_prior, (num_states, self.num_neurons), "rates"),
            "concentration": with_shape(self.concentration_prior, (self.num_neurons,), "concentration"),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"rates": ("state", "neuron"), "concentration": ("neuron",)}

    def check(self, data: Sequences) -> None:
        """Counts only."""
        super().check(data)
        check_counts("NegativeBinomial", data)

    def prepare(self, data: Sequences) -> Sequences:
        """Adds log y! summed over neurons."""
        return with_log_factorials(data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Mean rates, scattered by about a half; moderate overdispersion."""
        scatter = jnp.exp(0.5 * jax.random.normal(key, (num_states, self.num_neurons)))
        mean = (jnp.asarray(data.values).sum((0, 1)) + 0.5) / (jnp.asarray(data.observed).sum((0, 1)) + 1.0)
        return {"rates": mean * scatter, "concentration": jnp.full(self.num_neurons, 10.0)}

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        rates, concentration = params["rates"], params["concentration"]
        values, observed = jnp.asarray(data.values), jnp.asarray(data.observed).astype(rates.dtype)
        possible = rates > 0
        log_growth = jnp.log1p(rates / concentration)
        gain = jnp.log(jnp.where(possible, rates, 1.0)) - log_growth
        forbidden = values @ (~possible).astype(rates.dtype).T > 0
        shape = jnp.sum(observed * _shapes(values, concentration), axis=-1, keepdims=True)
        result = values @ gain.T - observed @ (concentration * log_growth).T + shape - log_factorials(data)
        return jnp.where(forbidden, -jnp.inf, result)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Posterior mode of the rates given the concentrations, then a damped Newton ascent of the concentrations given the rates."""
        positive = isinstance(self.concentration_prior.support, type(constraints.positive)) and not self.concentration_prior.event_shape
        if not (isinstance(self.rate_prior, dist.Gamma) and positive):
            return super().m_step(params, data, weights)
        values, observed = jnp.asarray(data.values), jnp.asarray(data.observed).astype(weights.dtype)
        counts, exposure = jnp.einsum("stk,stn->kn", weights, values), jnp.einsum("stk,stn->kn", weights, observed)
        rates = self._rates(params["concentration"], counts, exposure)
        shape_of = _weighted_shape(values, weights.sum(-1, keepdims=True) * observed)

        def objective(log_concentration: Array) -> Array:
            concentration = jnp.exp(log_concentration[:, 0])
            log_growth = jnp.log1p(rates / concentration)
            by_state = -jnp.sum((counts + exposure * concentration) * log_growth, axis=0)
            return by_state + shape_of(concentration) + self.concentration_prior.expand((self.num_neurons,)).log_prob(concentration)

        def evaluate(rows: Array) -> tuple[Array, Array, Array]:
            # Twice forward: each neuron has one unknown.
            along = (jnp.ones_like(rows),)
            (value, slope), (_, bend) = jax.jvp(lambda x: jax.jvp(objective, (x,), along), (rows,), along)
            return value, slope[:, None], -bend[:, None, None]

        start = jnp.log(params["concentration"])[:, None]
        found = newton_rows(evaluate, start, _NEWTON_STEPS)
        return {"rates": rates, "concentration": jnp.exp(found[:, 0])}

    def _rates(self, concentration: Array, counts: Array, exposure: Array) -> Array:
        """The positive root of (b / r) μ² + (E + b - (a - 1) / r) μ - (A + a - 1) = 0, which is where the derivative in the rate μ vanishes."""
        shape, rate = numbers_of(self.rate_prior, "concentration", "rate")
        quadratic = rate / concentration
        linear = exposure + rate - (shape - 1) / concentration
        # A negative one means that the density has its supremum at zero.
        constant = jnp.maximum(counts + shape - 1, 0.0)
        root = jnp.sqrt(linear**2 + 4 * quadratic * constant)
        # Of the two forms of the root, the one without cancellation.
        rising = linear > 0
        safe = jnp.where(rising, linear + root, 1.0)
        return jnp.where(constant > 0, jnp.where(rising, 2 * constant / safe, (root - linear) / (2 * quadratic)), 0.0)

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        rates, concentration = params["rates"][state], params["concentration"]
        for_gamma, for_poisson = jax.random.split(key)
        mixed = rates * jax.random.gamma(for_gamma, concentration) / concentration
        return jax.random.poisson(for_poisson, mixed).astype(rates.dtype)


def _shapes(counts: Array, concentration: Array) -> Array:
    """`log_rising_ratio` of every count, looked up where the counts are small."""

    def look_up(concentration: Array) -> Array:
        table = log_rising_ratio(jnp.arange(_TALLIED, dtype=counts.dtype)[:, None], concentration)
        return table[jnp.minimum(counts, _TALLIED - 1).astype(jnp.int32), jnp.arange(concentration.shape[0])]

    # The choice depends on the data alone, so it stays a choice when restarts are mapped.
    return jax.lax.cond(counts.max() < _TALLIED, look_up, lambda concentration: log_rising_ratio(counts, concentration), concentration)


def _weighted_shape(counts: Array, present: Array) -> Callable[[Array], Array]:
    """The function Σ present · `log_rising_ratio`(counts, concentration) over steps, of the concentrations [neuron].

    Args:
        counts, present: [sequence, time, neuron].
    """
    num_neurons = counts.shape[-1]
    slot = jnp.minimum(counts, _TALLIED - 1).astype(jnp.int32) * num_neurons + jnp.arange(num_neurons)
    tally = jax.ops.segment_sum(present.reshape(-1), slot.reshape(-1), _TALLIED * num_neurons).reshape(_TALLIED, num_neurons)
    levels = jnp.arange(_TALLIED, dtype=counts.dtype)[:, None]

    def from_tally(concentration: Array) -> Array:
        return jnp.sum(tally * log_rising_ratio(levels, concentration), axis=0)

    def from_counts(concentration: Array) -> Array:
        return jnp.sum(present * log_rising_ratio(counts, concentration), axis=(0, 1))

    return lambda concentration: jax.lax.cond(counts.max() < _TALLIED, from_tally, from_counts, concentration)


def log_rising_ratio(counts: Array, concentration: Array) -> Array:
    """Log Γ(r + y) / (Γ(r) r^y) = Σ_{j < y} log(1 + j / r) for counts y and concentrations r.

    A difference of two log-gammas would lose all digits for large r, where this tends to zero. So the arguments are shifted by 16, where
    Stirling's series is exact to rounding, and the leading terms are subtracted by hand.
    """
    shifted = concentration + _SHIFT
    last = shifted + counts
    main = (last - 0.5) * jnp.log1p(counts / shifted) - counts + counts * jnp.log1p(_SHIFT / concentration)
    # Along an axis of its own: a loop over the steps would be compiled sixteen times, and its derivatives with it.
    steps = jnp.log1p(counts[..., None] / (concentration[..., None] + jnp.arange(_SHIFT)))
    return main - steps.sum(-1) + _stirling_rest(last) - _stirling_rest(shifted)


def _stirling_rest(z: Array) -> Array:
    inverse_square = z**-2.0
    series = jnp.zeros_like(z)
    for coefficient in reversed(_STIRLING):
        series = series * inverse_square + coefficient
    return series / z
