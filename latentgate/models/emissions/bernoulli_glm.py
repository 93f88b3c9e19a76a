"""Binary choices driven by inputs: the GLM-HMM of behaviour."""

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


class BernoulliGLM(Emission):
    """Logistic regression of a binary observation: P(y = 1) = sigmoid(weights[z] · inputs + bias[z]).

    Sign convention: weights are log-odds of class 1. A positive weight makes y = 1 more likely as its input grows.

    Parameters: `weights` [state, input]; `bias` [state], if there is one.
    A state without data goes to the mode of the priors.

    Args:
        num_inputs: columns of the input set.
        inputs: its name.
        bias: whether each state has a bias.
        weight_prior: of every weight. Normal(0, 2) if None, the width that cross-validation chose for choices of mice (Ashwood et al., Nature
            Neuroscience 2022), for inputs of about unit variance. Smooth priors over the reals have a Newton M-step, others L-BFGS.
        bias_prior: of every bias; Normal(0, 2) if None.

    Raises:
        ValueError: for a wrong number of inputs.

    Example:
        >>> import latentgate as lg
        >>> lg.emissions.BernoulliGLM(num_inputs=4).dims()
        {'weights': ('state', 'input'), 'bias': ('state',)}
    """

    num_inputs: int
    inputs: str
    bias: bool
    weight_prior: dist.Distribution
    bias_prior: dist.Distribution

    def __init__(
        self,
        num_inputs: int,
        inputs: str = "inputs",
        *,
        bias: bool = True,
        weight_prior: dist.Distribution | None = None,
        bias_prior: dist.Distribution | None = None,
    ):
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
        weights: dict[str, Prior] = {"weights": with_shape(self.weight_prior, (num_states, self.num_inputs), "weights")}
        return weights | {"bias": with_shape(self.bias_prior, (num_states,), "bias")} if self.bias else weights

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        weights = {"weights": ("state", "input")}
        return weights | {"bias": ("state",)} if self.bias else weights

    def check(self, data: Sequences) -> None:
        """Zeros and ones, and the input set."""
        super().check(data)
        check_categories("BernoulliGLM", 2, data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Random weights of about one log-odds per standard deviation of an input, biases about the overall log-odds."""
        mean, deviation = column_spread(data.inputs[self.inputs], data.lengths)
        for_weights, for_bias = jax.random.split(key)
        weights = jax.random.normal(for_weights, (num_states, self.num_inputs)) / deviation
        if not self.bias:
            return {"weights": weights}
        ones, count = jnp.asarray(data.values).sum(), jnp.asarray(data.observed).sum()
        overall = jnp.log(ones + 0.5) - jnp.log(count - ones + 0.5)
        return {"weights": weights, "bias": overall - weights @ mean + 0.5 * jax.random.normal(for_bias, (num_states,))}

    def _odds(self, params: Params, inputs: Array) -> Array:
        return log_odds(params["weights"][:, None], params["bias"][:, None] if self.bias else None, inputs)

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        return chosen_log_probs(self._odds(params, jnp.asarray(data.inputs[self.inputs])), data)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Weighted logistic regression of every state by damped Newton, under the priors."""
        if not (fits_newton(self.weight_prior, 2) and fits_newton(self.bias_prior, 1)):
            return super().m_step(params, data, weights)

        def log_prior(weights: Array, bias: Array | None) -> Array:
            value = row_log_prior(self.weight_prior, weights[:, 0])
            return value if bias is None else value + row_log_prior(self.bias_prior, bias[:, 0])

        bias = params["bias"][:, None] if self.bias else None
        found, bias = newton_m_step(params["weights"][:, None], bias, data, jnp.asarray(data.inputs[self.inputs]), weights, log_prior)
        return {"weights": found[:, 0]} | ({} if bias is None else {"bias": bias[:, 0]})

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        odds = self._odds(params, inputs[self.inputs])[state]
        return jax.random.bernoulli(key, jax.nn.sigmoid(odds)).astype(odds.dtype)
