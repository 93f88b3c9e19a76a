"""Spike counts whose rate depends on the state, on past spikes of all neurons and on inputs: the emissions of HMM-GLMs."""

from __future__ import annotations

import abc

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaln

from latentgate.arguments import described
from latentgate.data import Sequences

from ..base import Params, Part, Prior, with_computed, with_shape
from ..basis import Basis
from ..observations import check_counts
from ..priors import CouplingPrior
from .base import Emission
from .checks import at_least, positive, prior_or, refuse_idle_prior
from .links import LINKS, Rate, rate
from .poisson import log_factorials, with_log_factorials
from .quadratic_step import LinearRows, quadratic_step

_DESIGN = "_design"
SELF_HISTORY = ("separate", "coupled", "none")


class _CountGLM(Emission):
    """What Poisson and negative-binomial GLMs share: the predictor, its parameters and the simulation."""

    num_neurons: int
    history: Basis | None
    coupling: CouplingPrior | None
    self_history: str
    link: str
    bin_width: float
    num_inputs: int
    inputs: str
    bias_prior: dist.Distribution
    history_prior: dist.Distribution
    weight_prior: dist.Distribution

    def __init__(
        self,
        num_neurons: int,
        history: Basis | None = None,
        coupling: CouplingPrior | None = None,
        *,
        self_history: str = "separate",
        link: str = "exp",
        bin_width: float = 1.0,
        num_inputs: int = 0,
        inputs: str = "inputs",
        bias_prior: dist.Distribution | None = None,
        history_prior: dist.Distribution | None = None,
        weight_prior: dist.Distribution | None = None,
    ):
        if coupling is not None and not isinstance(coupling, CouplingPrior):
            raise ValueError(f"coupling: found {described(coupling)}, expected one of lg.priors (Flat, Ridge, L1, GaussianTied, OneHot) or None.")
        if history is not None and not isinstance(history, Basis):
            raise ValueError(f"history: found {described(history)}, expected one of lg.basis, for example lg.basis.Exponential(window=5).")
        if coupling is not None and history is None:
            raise ValueError("history: found None, expected a basis (lg.basis) for the coupling to act through.")
        if link not in LINKS:
            raise ValueError(f"link: found {link!r}, expected one of {', '.join(map(repr, LINKS))}.")
        if self_history not in SELF_HISTORY:
            raise ValueError(f"self_history: found {self_history!r}, expected one of {', '.join(map(repr, SELF_HISTORY))}.")
        if self_history == "coupled" and coupling is None:
            raise ValueError('self_history: found "coupled" without coupling, expected "separate" or "none".')
        self.num_neurons = at_least("num_neurons", num_neurons)
        self.history = history
        self.coupling = coupling
        self.self_history = self_history if history is not None else "none"
        self.link = link
        self.bin_width = positive("bin_width", bin_width)
        self.num_inputs = at_least("num_inputs", num_inputs, 0)
        self.inputs = inputs
        refuse_idle_prior("history_prior", history_prior, self.self_history == "separate", "there is no separate self-history")
        refuse_idle_prior("weight_prior", weight_prior, num_inputs > 0, "there are no inputs (num_inputs=0)")
        self.bias_prior = prior_or("bias_prior", bias_prior, dist.Normal(0.0, 2.0))
        self.history_prior = prior_or("history_prior", history_prior, dist.Normal(0.0, 1.0))
        self.weight_prior = prior_or("weight_prior", weight_prior, dist.Normal(0.0, 1.0))

    @property
    def num_features(self) -> int:
        """Number of neurons."""
        return self.num_neurons

    @property
    def num_lags(self) -> int:
        """Window of the history basis."""
        return 0 if self.history is None else self.history.window

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Emission.input_sets`."""
        return {self.inputs: self.num_inputs} if self.num_inputs else {}

    def _coupling_shape(self, num_states: int) -> tuple[int, int, int, int]:
        functions = 0 if self.history is None else self.history.num_functions
        return (num_states, self.num_neurons, self.num_neurons, functions)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        shape = self._coupling_shape(num_states)
        result: dict[str, Prior] = {"bias": with_shape(self.bias_prior, (num_states, self.num_neurons), "bias")}
        if self.coupling is not None:
            result |= self.coupling.priors(shape)
        if self.self_history == "separate":
            result["history"] = with_shape(self.history_prior, (num_states, self.num_neurons, shape[3]), "history")
        if self.num_inputs:
            result["weights"] = with_shape(self.weight_prior, (num_states, self.num_neurons, self.num_inputs), "weights")
        return result

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        result: dict[str, tuple[str, ...]] = {"bias": ("state", "neuron")}
        if self.coupling is not None:
            result |= self.coupling.dims()
        if self.self_history == "separate":
            result["history"] = ("state", "neuron", "basis")
        if self.num_inputs:
            result["weights"] = ("state", "neuron", "input")
        return result

    def check(self, data: Sequences) -> None:
        """Counts only."""
        super().check(data)
        check_counts(type(self).__name__, data)

    def prepare(self, data: Sequences) -> Sequences:
        """Adds the design (a constant, the filtered past, the inputs) and log y!."""
        columns = [jnp.ones((*data.values.shape[:2], 1))]
        if self.history is not None:
            features = self.history.features(data.values)
            columns.append(features.reshape(*features.shape[:2], -1))
        if self.num_inputs:
            columns.append(data.inputs[self.inputs])
        return with_log_factorials(with_computed(data, _DESIGN, jnp.concatenate(columns, -1)))

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Mean rates with scattered biases; random coupling and history, so that no two states start alike."""
        keys = jax.random.split(key, 4)
        mean = (data.values.sum((0, 1)) + 0.5) / (data.observed.sum((0, 1)) + 1.0) / self.bin_width
        bias = _inverse_link(self.link, mean) + 0.3 * jax.random.normal(keys[0], (num_states, self.num_neurons))
        params = {"bias": bias}
        shape = self._coupling_shape(num_states)
        # Small enough that the summed drive of all sources stays of order one.
        scale = 1.0 / jnp.sqrt(1.0 + self.num_neurons * max(shape[3], 1))
        if self.coupling is not None:
            params |= self.coupling.from_weights(scale * jax.random.normal(keys[1], shape))
        if self.self_history == "separate":
            params["history"] = scale * jax.random.normal(keys[2], (num_states, self.num_neurons, shape[3]))
        if self.num_inputs:
            params["weights"] = 0.1 * jax.random.normal(keys[3], (num_states, self.num_neurons, self.num_inputs))
        return params

    def adopt(self, other: Part, params: Params) -> Params:
        """See `Part.adopt`; coupling weights found under another prior become the parameters of this one."""
        if self.coupling is not None and isinstance(other, _CountGLM) and other.coupling is not None:
            if (other.history, other.self_history, other.link) != (self.history, self.self_history, self.link):
                raise ValueError("start: found a GLM with another history basis, self_history or link, expected the same.")
            params = params | self.coupling.from_weights(jnp.asarray(other.coupling.weights(params)))
        return super().adopt(other, params)

    def coupling_weights(self, params: Params) -> Array:
        """Weights from source onto neuron in each state, [state, neuron, source, basis], self-history included where it is modelled.

        Args:
            params: of the emission, or of the whole model with the prefix "emission.".
        """
        params = {name.removeprefix("emission."): jnp.asarray(value) for name, value in params.items()}
        num_states = params["bias"].shape[0]
        weights = jnp.zeros(self._coupling_shape(num_states), params["bias"].dtype)
        diagonal = jnp.eye(self.num_neurons)[:, :, None]
        if self.coupling is not None:
            free = self.coupling.weights(params)
            weights = free if self.self_history == "coupled" else free * (1 - diagonal)
        if self.self_history == "separate":
            weights = weights + params["history"][:, :, None, :] * diagonal
        return weights

    def _design(self, data: Sequences) -> Array:
        return jnp.asarray(data.inputs[_DESIGN] if _DESIGN in data.inputs else self.prepare(data).inputs[_DESIGN])

    def _rows(self, params: Params) -> LinearRows:
        """Weights of every state and neuron on the columns of the design."""
        num_states = params["bias"].shape[0]
        mean, variance = [params["bias"][..., None]], [jnp.zeros((num_states, self.num_neurons, 1))]
        uncertain = None
        if self.history is not None:
            mean.append(self.coupling_weights(params).reshape(num_states, self.num_neurons, -1))
            uncertain = None if self.coupling is None else self.coupling.weight_variance(params)
            if uncertain is not None:
                if self.self_history != "coupled":
                    uncertain = uncertain * (1 - jnp.eye(self.num_neurons)[:, :, None])
                uncertain = jnp.broadcast_to(uncertain, self._coupling_shape(num_states))
                variance.append(uncertain.reshape(num_states, self.num_neurons, -1))
        if self.num_inputs:
            mean.append(params["weights"])
            variance.append(jnp.zeros_like(params["weights"]))
        return LinearRows(jnp.concatenate(mean, -1), None if uncertain is None else jnp.concatenate(variance, -1))

    @abc.abstractmethod
    def _terms(self, params: Params, counts: Array, rates: Rate) -> Array:
        """Log-probability of counts [..., 1, neuron] up to log y!, at rates [..., state, neuron]."""

    def _rates(self, rows: LinearRows, data: Sequences) -> Rate:
        return rate(self.link, _drive(self._design(data), rows.mean))

    def _log_likelihood_of_rows(self, rows: LinearRows, params: Params, data: Sequences) -> Array:
        rates = self._rates(rows, data)
        terms = self._terms(params, data.values[:, :, None, :], rates)
        if rows.variance is not None:
            terms = terms - 0.5 * self.bin_width * rates.information * _drive(self._design(data) ** 2, rows.variance)
        if not data.complete:
            terms = jnp.where(data.observed[:, :, None, :], terms, 0.0)
        return terms.sum(-1) - log_factorials(data)

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        return self._log_likelihood_of_rows(self._rows(params), params, data)

    def _mean_of_step(self, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        predictor = params["bias"][state]
        if self.history is not None:
            # `recent` ends with the last observation, which has lag 1.
            filtered = jnp.asarray(self.history.matrix(), predictor.dtype).T @ recent[::-1]
            predictor = predictor + jnp.einsum("nmb,bm->n", self.coupling_weights(params)[state], filtered)
        if self.num_inputs:
            predictor = predictor + params["weights"][state] @ inputs[self.inputs]
        return self.bin_width * rate(self.link, predictor).value


class PoissonGLM(_CountGLM):
    """Poisson counts with spike history and coupling: y_n ~ Poisson(bin_width · σ(bias + Σ_m w_{n←m} Σ_k φ_k y_{t-k,m} + weights · inputs)).

    Each state has its own bias, coupling, self-history and input weights. Before the first step of a sequence the history is empty.

    Parameters: `bias` [state, neuron]; those of the coupling prior (see `lg.priors`); `history` [state, neuron, basis] where self-history is separate;
    `weights` [state, neuron, input].

    Args:
        num_neurons: columns of the data.
        history: basis of past spikes (`lg.basis`); None for no history.
        coupling: prior of the coupling between neurons (`lg.priors`); None for none.
        self_history: "separate" (own weights, outside the coupling prior), "coupled" (the diagonal of the coupling) or "none".
        link: σ, "exp", "softplus" or "sigmoid".
        bin_width: Δ; with seconds here, σ is a rate in spikes per second, with 1 it is counts per bin.
        num_inputs: columns of the input set, 0 for none.
        inputs: its name.
        bias_prior: Normal(0, 2) if None.
        history_prior: Normal(0, 1) if None.
        weight_prior: Normal(0, 1) if None.

    Raises:
        ValueError: for an unknown link or self_history, or coupling without a history basis.

    Example:
        >>> import latentgate as lg
        >>> glm = lg.emissions.PoissonGLM(20, history=lg.basis.RaisedCosine(4, window=20), coupling=lg.priors.OneHot())
        >>> glm.num_lags
        20
    """

    def _terms(self, params: Params, counts: Array, rates: Rate) -> Array:
        return counts * (rates.log + jnp.log(self.bin_width)) - self.bin_width * rates.value

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """A damped Fisher-scoring step against the exact prior; see `quadratic_step`."""
        observed = data.observed[:, :, None, :].astype(weights.dtype)
        if not data.complete:
            # The Gram matrix is one for all neurons: what no neuron has seen must not enter it.
            weights = jnp.where(jnp.asarray(data.observed).any(-1, keepdims=True), weights, 0.0)

        def information(rows: LinearRows) -> Array:
            spread = self.bin_width * self._rates(rows, data).information * observed
            return jnp.einsum("stk,stkn->kn", weights, spread)

        def expected(rows: LinearRows) -> Array:
            return (weights * self._log_likelihood_of_rows(rows, params, data)).sum()

        return quadratic_step(self._rows, expected, information, self._design(data), weights, self.priors(weights.shape[-1]), params)

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        mean = self._mean_of_step(params, state, inputs, recent)
        return jax.random.poisson(key, mean).astype(mean.dtype)


class NegativeBinomialGLM(_CountGLM):
    """Negative-binomial counts with spike history and coupling: mean as `PoissonGLM`, variance mean + mean² / concentration.

    Parameters: as `PoissonGLM`, and `concentration` [neuron], positive; the larger, the closer to Poisson.

    Args: as `PoissonGLM`; the concentrations have a Gamma(2, 0.1) prior.
    """

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return super().priors(num_states) | {"concentration": with_shape(dist.Gamma(2.0, 0.1), (self.num_neurons,), "concentration")}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return super().dims() | {"concentration": ("neuron",)}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """See `Part.initialize`."""
        return super().initialize(key, data, num_states) | {"concentration": jnp.full(self.num_neurons, 10.0)}

    def _terms(self, params: Params, counts: Array, rates: Rate) -> Array:
        concentration = params["concentration"]
        log_mean = rates.log + jnp.log(self.bin_width)
        log_total = jnp.logaddexp(jnp.log(concentration), log_mean)
        shape = gammaln(counts + concentration) - gammaln(concentration)
        return shape + concentration * (jnp.log(concentration) - log_total) + counts * (log_mean - log_total)

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        mean = self._mean_of_step(params, state, inputs, recent)
        for_gamma, for_poisson = jax.random.split(key)
        mixed = mean * jax.random.gamma(for_gamma, params["concentration"]) / params["concentration"]
        return jax.random.poisson(for_poisson, mixed).astype(mean.dtype)


def _drive(design: Array, rows: Array) -> Array:
    """Design [sequence, time, column] times rows [state, neuron, column]: [sequence, time, state, neuron]."""
    num_states, num_neurons, _ = rows.shape
    return (design @ rows.reshape(num_states * num_neurons, -1).T).reshape(*design.shape[:2], num_states, num_neurons)


def _inverse_link(link: str, mean: Array) -> Array:
    if link == "exp":
        return jnp.log(mean)
    if link == "sigmoid":
        # A sigmoid rate cannot exceed one per bin width.
        clipped = jnp.minimum(mean, 0.95)
        return jnp.log(clipped) - jnp.log1p(-clipped)
    return mean + jnp.log(-jnp.expm1(-mean))
