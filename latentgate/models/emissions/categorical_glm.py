"""Choices among several categories driven by inputs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, with_shape
from ..newton import fits_newton, row_log_prior
from ..observations import check_categories
from .base import Emission
from .checks import at_least, prior_or, refuse_idle_prior
from .logistic import chosen_log_probs, log_odds, newton_m_step
from .statistics import column_spread


class CategoricalGLM(Emission):
    """Softmax regression of a category 0, 1, ..., C - 1, with category 0 as reference.

    log P(y = c) / P(y = 0) = weights[z, c - 1] · inputs + bias[z, c - 1]. Weights are log-odds against category 0; with two categories this is
    `BernoulliGLM`.

    Parameters: `weights` [state, contrast, input] and `bias` [state, contrast], contrasts being categories 1 .. C - 1 against category 0.
    A state without data goes to the mode of the priors.

    Args:
        num_categories: C, at least 2.
        num_inputs: columns of the input set.
        inputs: its name.
        bias: whether there are biases.
        weight_prior: of every weight; Normal(0, 2) if None. Smooth priors over the reals have a Newton M-step, others L-BFGS.
        bias_prior: of every bias; Normal(0, 2) if None.

    Raises:
        ValueError: for a wrong number of categories or inputs.

    Example:
        >>> import latentgate as lg
        >>> lg.emissions.CategoricalGLM(3, num_inputs=4).dims()
        {'weights': ('state', 'contrast', 'input'), 'bias': ('state', 'contrast')}
    """

    num_categories: int
    num_inputs: int
    inputs: str
    bias: bool
    weight_prior: dist.Distribution
    bias_prior: dist.Distribution

    def __init__(
        self,
        num_categories: int,
        num_inputs: int,
        inputs: str = "inputs",
        *,
        bias: bool = True,
        weight_prior: dist.Distribution | None = None,
        bias_prior: dist.Distribution | None = None,
    ):
        self.num_categories = at_least("num_categories", num_categories, 2)
        self.num_inputs = at_least("num_inputs", num_inputs)
        self.inputs = inputs
        self.bias = bias
        refuse_idle_prior("bias_prior", bias_prior, bias, "there is no bias (bias=False)")
        self.weight_prior = prior_or("weight_prior", weight_prior, dist.Normal(0.0, 2.0))
        self.bias_prior = prior_or("bias_prior", bias_prior, dist.Normal(0.0, 2.0))

    @property
    def num_features(self) -> int:
        """One."""
        return 1

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Emission.input_sets`."""
        return {self.inputs: self.num_inputs}

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        shape = (num_states, self.num_categories - 1)
        weights: dict[str, Prior] = {"weights": with_shape(self.weight_prior, (*shape, self.num_inputs), "weights")}
        return weights | {"bias": with_shape(self.bias_prior, shape, "bias")} if self.bias else weights

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        weights = {"weights": ("state", "contrast", "input")}
        return weights | {"bias": ("state", "contrast")} if self.bias else weights

    def check(self, data: Sequences) -> None:
        """Integers in range, and the input set."""
        super().check(data)
        check_categories("CategoricalGLM", self.num_categories, data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Random weights of about one log-odds per standard deviation of an input, biases about the overall log-odds."""
        mean, deviation = column_spread(data.inputs[self.inputs], data.lengths)
        for_weights, for_bias = jax.random.split(key)
        shape = (num_states, self.num_categories - 1)
        weights = jax.random.normal(for_weights, (*shape, self.num_inputs)) / deviation
        if not self.bias:
            return {"weights": weights}
        values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
        counts = jnp.sum(observed & (values == jnp.arange(self.num_categories)), axis=(0, 1))
        overall = jnp.log(counts[1:] + 0.5) - jnp.log(counts[0] + 0.5)
        return {"weights": weights, "bias": overall - weights @ mean + 0.5 * jax.random.normal(for_bias, shape)}

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        return chosen_log_probs(log_odds(params["weights"], params.get("bias"), jnp.asarray(data.inputs[self.inputs])), data)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Weighted softmax regression of every state by damped Newton, under the priors."""
        if not (fits_newton(self.weight_prior, 3) and fits_newton(self.bias_prior, 2)):
            return super().m_step(params, data, weights)

        def log_prior(weights: Array, bias: Array | None) -> Array:
            value = row_log_prior(self.weight_prior, weights)
            return value if bias is None else value + row_log_prior(self.bias_prior, bias)

        inputs = jnp.asarray(data.inputs[self.inputs])
        found, bias = newton_m_step(params["weights"], params.get("bias"), data, inputs, weights, log_prior)
        return {"weights": found} | ({} if bias is None else {"bias": bias})

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        odds = log_odds(params["weights"], params.get("bias"), inputs[self.inputs])[state]
        return jax.random.categorical(key, jnp.concatenate([jnp.zeros(1, odds.dtype), odds]))[None].astype(odds.dtype)
