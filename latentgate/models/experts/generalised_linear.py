"""Experts for counts and categories: Poisson regression, binary and multinomial logit."""

from __future__ import annotations

import abc
from typing import Literal, Self

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Part, Prior, with_shape
from ..designs import check_design, input_names, is_flat, observed_rows
from ..emissions.base import Emission
from ..emissions.bernoulli_glm import BernoulliGLM
from ..emissions.categorical_glm import CategoricalGLM
from ..emissions.checks import at_least, prior_or
from ..emissions.count_glm import PoissonGLM
from ..emissions.logistic import NEWTON_STEPS
from ..emissions.statistics import column_spread
from ..newton import fits_newton, newton_rows, row_log_prior, value_and_derivatives, weighted_gram
from ..observations import check_categories, check_counts
from ..sized import sized_by_inputs
from .base import Experts, ExpertsOnInputs
from .of_emission import ByEmission

Given = dist.Distribution | Literal["flat"] | None


class GeneralisedLinear(ByEmission, ExpertsOnInputs):
    """Experts whose law is that of a GLM emission on one input set."""

    num_experts: int
    inputs: str
    num_inputs: int | None
    weight_prior: dist.Distribution
    bias_prior: dist.Distribution

    def _set(self, num_experts: int, inputs: str, num_inputs: int | None, weight_prior: Given, bias_prior: Given) -> None:
        self.num_experts = at_least("num_experts", num_experts)
        self.inputs = inputs
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)
        self.weight_prior = prior_or("weight_prior", weight_prior, dist.Normal(0.0, 2.0))
        self.bias_prior = prior_or("bias_prior", bias_prior, dist.Normal(0.0, 2.0))

    @property
    @abc.abstractmethod
    def law(self) -> Emission:
        """The GLM emission; raises ValueError while the number of inputs is open."""

    @abc.abstractmethod
    def check_support(self, data: Sequences) -> None:
        """Raises ValueError at the first value that the law does not allow."""

    @property
    def num_features(self) -> int:
        """One."""
        return 1

    @property
    def num_lags(self) -> int:
        """None."""
        return 0

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Emission.input_sets`."""
        return {self.inputs: self.columns}

    @property
    def anchored(self) -> bool:
        """Never."""
        return False

    def suited_to(self, data: Sequences) -> Self:
        """The same experts for as many inputs as the data have."""
        return sized_by_inputs(self, data)

    def check(self, data: Sequences) -> None:
        """One feature, the input set, the support, and inputs that determine the weights."""
        ExpertsOnInputs.check(self, data)
        self.check_support(data)
        check_design(
            f"{type(self).__name__} experts",
            input_names(self.inputs, data),
            observed_rows(data.inputs[self.inputs], data),
            flat_weights=is_flat(self.weight_prior),
            flat_bias=is_flat(self.bias_prior),
            num_parameters=data.inputs[self.inputs].shape[-1] + 1,
        )

    def adopt(self, other: Part, params: Params) -> Params:
        """See `Part.adopt`."""
        return Experts.adopt(self, other, params)


class Poisson(GeneralisedLinear):
    """Poisson counts whose logarithmic rate is linear in the inputs: y ~ Poisson(exp(weights[k] · inputs + bias[k])).

    Parameters: `weights` [expert, input], `bias` [expert]. An expert without data goes to the mode of the priors. For several neurons, history or another
    link wrap `lg.emissions.PoissonGLM` in `OfEmission`.

    Args:
        num_experts: K.
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        weight_prior, bias_prior: of every weight and bias: a numpyro distribution, or "flat"; Normal(0, 2) if None, for inputs of order one.

    Raises:
        ValueError: for a number of experts or inputs below one.

    Example:
        >>> import latentgate as lg
        >>> lg.experts.Poisson(2, num_inputs=3).dims()
        {'weights': ('expert', 'input'), 'bias': ('expert',)}
    """

    def __init__(self, num_experts: int, inputs: str = "inputs", *, num_inputs: int | None = None, weight_prior: Given = None, bias_prior: Given = None):
        self._set(num_experts, inputs, num_inputs, weight_prior, bias_prior)

    @property
    def law(self) -> PoissonGLM:
        """A GLM of one neuron without history."""
        return PoissonGLM(1, num_inputs=self.columns, inputs=self.inputs, weight_prior=self.weight_prior, bias_prior=self.bias_prior)  # pyright: ignore[reportCallIssue]

    def to_emission(self, params: Params) -> Params:
        """With an axis for the one neuron."""
        return {"weights": params["weights"][:, None], "bias": params["bias"][:, None]}

    def from_emission(self, params: Params) -> Params:
        """The inverse of `to_emission`."""
        return {"weights": params["weights"][:, 0], "bias": params["bias"][:, 0]}

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {
            "weights": with_shape(self.weight_prior, (num_states, self.columns), "weights"),
            "bias": with_shape(self.bias_prior, (num_states,), "bias"),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"weights": ("expert", "input"), "bias": ("expert",)}

    def check_support(self, data: Sequences) -> None:
        """Counts only."""
        check_counts("Poisson experts", data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Rates that change by about a half over the spread of the inputs, about the mean count."""
        centre, spread = column_spread(data.inputs[self.inputs], data.lengths)
        for_weights, for_bias = jax.random.split(key)
        weights = 0.5 * jax.random.normal(for_weights, (num_states, self.columns)) / (spread * jnp.sqrt(self.columns))
        # Half a count, so that data of zeros alone do not start at the rate zero.
        mean = (jnp.asarray(data.values).sum() + 0.5) / (jnp.asarray(data.observed).sum() + 1.0)
        return {"weights": weights, "bias": jnp.log(mean) + 0.3 * jax.random.normal(for_bias, (num_states,)) - weights @ centre}

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Weighted Poisson regression of every expert by damped Newton, under the priors."""
        if not (fits_newton(self.weight_prior, 2) and fits_newton(self.bias_prior, 1)):
            return Emission.m_step(self, params, data, weights)
        if not data.complete:
            weights = jnp.where(jnp.asarray(data.observed), weights, 0.0)
        leading, values = jnp.moveaxis(weights, -1, 0), jnp.asarray(data.values)[..., 0]
        inputs = jnp.asarray(data.inputs[self.inputs])
        design = jnp.concatenate([inputs, jnp.ones_like(inputs[..., :1])], axis=-1)

        def log_prior(rows: Array) -> Array:
            return row_log_prior(self.weight_prior, rows[:, :-1]) + row_log_prior(self.bias_prior, rows[:, -1])

        def evaluate(rows: Array) -> tuple[Array, Array, Array]:
            value, gradient, curvature = value_and_derivatives(log_prior, rows)
            predictor = jnp.einsum("kc,stc->kst", rows, design)
            expected = leading * jnp.exp(predictor)
            value = value + jnp.sum(leading * values * predictor - expected, axis=(1, 2))
            gradient = gradient + jnp.einsum("kst,stc->kc", leading * values - expected, design)
            return value, gradient, curvature + weighted_gram(design, jnp.moveaxis(expected, 0, -1))

        found = newton_rows(evaluate, jnp.concatenate([params["weights"], params["bias"][:, None]], axis=-1), NEWTON_STEPS)
        return {"weights": found[:, :-1], "bias": found[:, -1]}


class Bernoulli(GeneralisedLinear):
    """Binary logit: P(y = 1) = sigmoid(weights[k] · inputs + bias[k]). A positive weight makes y = 1 more likely as its input grows.

    Parameters: `weights` [expert, input], `bias` [expert]. An expert without data goes to the mode of the priors.

    Args:
        num_experts: K.
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        weight_prior, bias_prior: of every weight and bias: a numpyro distribution, or "flat"; Normal(0, 2) if None, for inputs of order one. Under flat
            ones an expert whose zeros and ones a plane divides has no maximum.

    Raises:
        ValueError: for a number of experts or inputs below one.

    Example:
        >>> import latentgate as lg
        >>> lg.experts.Bernoulli(2, num_inputs=3).dims()
        {'weights': ('expert', 'input'), 'bias': ('expert',)}
    """

    def __init__(self, num_experts: int, inputs: str = "inputs", *, num_inputs: int | None = None, weight_prior: Given = None, bias_prior: Given = None):
        self._set(num_experts, inputs, num_inputs, weight_prior, bias_prior)

    @property
    def law(self) -> BernoulliGLM:
        """The GLM of binary choices."""
        return BernoulliGLM(self.columns, self.inputs, weight_prior=self.weight_prior, bias_prior=self.bias_prior)

    def check_support(self, data: Sequences) -> None:
        """Zeros and ones."""
        check_categories("Bernoulli experts", 2, data)

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"weights": ("expert", "input"), "bias": ("expert",)}


class Multinomial(GeneralisedLinear):
    """Multinomial logit of a category 0, 1, ..., C - 1: log P(y = c) / P(y = 0) = weights[k, c - 1] · inputs + bias[k, c - 1].

    Parameters: `weights` [expert, contrast, input], `bias` [expert, contrast], contrasts being categories 1 .. C - 1 against category 0. An expert without
    data goes to the mode of the priors.

    Args:
        num_experts: K.
        num_categories: C, at least 2.
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        weight_prior, bias_prior: as in `Bernoulli`.

    Raises:
        ValueError: for a number of experts or inputs below one, or fewer than two categories.

    Example:
        >>> import latentgate as lg
        >>> lg.experts.Multinomial(2, 4, num_inputs=3).dims()
        {'weights': ('expert', 'contrast', 'input'), 'bias': ('expert', 'contrast')}
    """

    num_categories: int

    def __init__(
        self,
        num_experts: int,
        num_categories: int,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        weight_prior: Given = None,
        bias_prior: Given = None,
    ):
        self._set(num_experts, inputs, num_inputs, weight_prior, bias_prior)
        self.num_categories = at_least("num_categories", num_categories, 2)

    @property
    def law(self) -> CategoricalGLM:
        """The GLM of categories."""
        return CategoricalGLM(self.num_categories, self.columns, self.inputs, weight_prior=self.weight_prior, bias_prior=self.bias_prior)

    def check_support(self, data: Sequences) -> None:
        """Categories only."""
        check_categories("Multinomial experts", self.num_categories, data)

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"weights": ("expert", "contrast", "input"), "bias": ("expert", "contrast")}
