"""Regression on means that a gate weighs: one normal law about their weighted sum, not a mixture of laws."""

from __future__ import annotations

from typing import Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.flatten_util import ravel_pytree

from latentgate.data import Sequences

from ..base import Params, Part, Prior, log_prior, repeated, split_keys, with_prefix, without_prefix
from ..designs import is_flat
from ..experts.base import ExpertsWithMeans
from ..experts.levenberg_marquardt import MOST_PARAMETERS, levenberg_marquardt
from ..experts.noise import min_scale_or, normal_log_density, scale_mode, scale_prior, variance_prior_or
from ..gates.base import Gate
from ..unconstrained import constrain, maximise, unconstrain
from .base import NUMERICAL_STEPS, Emission
from .checks import positive, warn_about_scale
from .statistics import feature_moments


class GatedRegression(Emission):
    """Normal observations about gated means, in every state: y ~ Normal(Σ_k weight_zk(x) · mean_zk(x), scale[z]²).

    Least squares on a sum of experts. Since only means are added, the weights need not sum to one. `lg.HMM(1, GatedRegression(...))` is the static regression.

    Parameters: those of the gate under `gate.` and of the experts' means under `experts.` (their own noise has no part in it), each with a leading dimension
    "state"; standard deviations `scale` [state].

    Args:
        gate: from `lg.gates`.
        experts: from `lg.experts`, with means: LinearGaussian, Polynomial, StudentT, Network, Nonlinear. Their priors of noise are not used.
        scale: typical standard deviation of the observation, in the units of the data.
        variance_prior: of every variance: an InverseGamma of numpyro, or "flat"; InverseGamma(1.5, scale²/4) if None.
        min_scale: no standard deviation is less.

    Raises:
        ValueError: for something that is no gate, experts without means, a scale that is not positive, or a variance prior of another kind.

    Example:
        >>> import latentgate as lg
        >>> emission = lg.emissions.GatedRegression(lg.gates.Softmax(num_inputs=1), lg.experts.LinearGaussian(3, num_inputs=1))
        >>> list(emission.dims())
        ['gate.weights', 'gate.bias', 'experts.weights', 'experts.bias', 'scale']
    """

    gate: Gate
    experts: ExpertsWithMeans
    scale: float
    variance_prior: dist.Distribution
    min_scale: float

    def __init__(
        self,
        gate: Gate,
        experts: ExpertsWithMeans,
        *,
        scale: float = 1.0,
        variance_prior: dist.Distribution | Literal["flat"] | None = None,
        min_scale: float | None = None,
    ):
        if not isinstance(gate, Gate):
            raise ValueError(f"gate: found {gate!r}, expected one of lg.gates, for example lg.gates.Softmax().")
        if not isinstance(experts, ExpertsWithMeans):
            raise ValueError(f"experts: found {experts!r}, expected experts with means: LinearGaussian, Polynomial, StudentT, Network or Nonlinear.")
        if gate.models_inputs:
            raise ValueError(f"gate: found {type(gate).__name__}, which is a law of the inputs too, expected one of weights alone.")
        self.gate, self.experts = gate, experts
        self.scale = positive("scale", scale)
        self.variance_prior = variance_prior_or(variance_prior, self.scale)
        self.min_scale = min_scale_or(min_scale)

    @property
    def num_features(self) -> int:
        """One."""
        return 1

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Emission.input_sets`."""
        return {**self.gate.input_sets, **self.experts.input_sets}

    def _one(self) -> dict[str, Prior]:
        """Priors of gate and means in one state."""
        num_experts, noise = self.experts.num_experts, self.experts.noise_names
        means = {name: prior for name, prior in self.experts.priors(num_experts).items() if name not in noise}
        return {**with_prefix("gate", self.gate.priors(num_experts)), **with_prefix("experts", means)}

    def priors(self, num_states: int) -> dict[str, Prior]:
        """Priors of one regression, repeated for every state."""
        priors: dict[str, Prior] = {name: repeated(name, prior, num_states) for name, prior in self._one().items()}
        return priors | {"scale": scale_prior(self.variance_prior, self.min_scale, (num_states,))}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        means = {name: axes for name, axes in self.experts.dims().items() if name not in self.experts.noise_names}
        own = {**with_prefix("gate", self.gate.dims()), **with_prefix("experts", means)}
        expert = "own_expert" if self.gate.anchored or self.experts.anchored else "expert"
        dims: dict[str, tuple[str, ...]] = {name: ("state", *(expert if dim == "expert" else dim for dim in axes)) for name, axes in own.items()}
        return dims | {"scale": ("state",)}

    def check(self, data: Sequences) -> None:
        """One feature, the input sets, inputs that determine the means, and a warning where `scale` is far from the spread of the data."""
        self.gate.check(data)
        Emission.check(self.suited_to(data), data)
        self.experts.check_design(data, flat_scale=False)
        if not is_flat(self.variance_prior):
            warn_about_scale("GatedRegression", self.scale, data)

    def suited_to(self, data: Sequences) -> Self:
        """See `Part.suited_to`."""
        parts = (self.gate.suited_to(data), self.experts.suited_to(data))
        return eqx.tree_at(lambda emission: (emission.gate, emission.experts), self, parts)

    def catalogue(self, data: Sequences) -> Sequences:
        """See `Part.catalogue`."""
        return self.experts.catalogue(self.gate.catalogue(data))

    def prepare(self, data: Sequences) -> Sequences:
        """See `Part.prepare`."""
        return self.experts.prepare(self.gate.prepare(data))

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Gates and means of the parts' own starts, the overall standard deviation."""
        deviation = feature_moments(data)[1][0]
        scale = jnp.maximum(jnp.where(deviation > 0, deviation, self.scale), 1.01 * self.min_scale)

        def one(key: Array) -> Params:
            keys = split_keys(key, ["gate", "experts"])
            means = self.experts.initialize(keys["experts"], data, self.experts.num_experts)
            means = {name: value for name, value in means.items() if name not in self.experts.noise_names}
            gate = self.gate.initialize(keys["gate"], data, self.experts.num_experts)
            return {**with_prefix("gate", gate), **with_prefix("experts", means)}

        return jax.vmap(one)(jax.random.split(key, num_states)) | {"scale": jnp.full(num_states, scale)}

    def adopt(self, other: Part, params: Params) -> Params:
        """See `Part.adopt`; from parameters of the same names, those of an `lg.emissions.MixtureOfExperts` without its noise, for example."""
        missing = {"scale": params["experts.scale"].mean(-1)} if "experts.scale" in params and "scale" not in params else {}
        return super().adopt(other, params | missing)

    def means(self, params: Params, inputs: dict[str, Array]) -> Array:
        """Weighted sum of the experts' means in every state given inputs {name: [..., M]}, [..., state]."""
        return jnp.moveaxis(jax.vmap(lambda own: self._mean(own, inputs))(_without_scale(params)), 0, -1)

    def _mean(self, own: Params, inputs: dict[str, Array]) -> Array:
        weights = jnp.exp(self.gate.log_weights(without_prefix("gate", own), jnp.asarray(inputs[self.gate.inputs])))
        means = self.experts.leading_means(without_prefix("experts", own), jnp.asarray(inputs[self.experts.inputs]))
        weighted = jnp.moveaxis(weights, -1, 0) * means
        return sum(weighted[1:], start=weighted[0])

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        terms = normal_log_density(self._residuals(params, data), params["scale"])
        if not data.complete:
            terms = jnp.where(jnp.asarray(data.observed)[..., 0], terms, 0.0)
        return jnp.moveaxis(terms, 0, -1)

    def _residuals(self, params: Params, data: Sequences) -> Array:
        predicted = jax.vmap(lambda own: self._mean(own, data.inputs))(_without_scale(params))
        return jnp.asarray(data.values)[..., 0] - predicted

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Levenberg-Marquardt steps in gate and means of every state given the scales, then the posterior mode of the scales."""
        if not data.complete:
            weights = jnp.where(jnp.asarray(data.observed), weights, 0.0)
        leading = jnp.moveaxis(weights, -1, 0)
        own = _without_scale(params)
        small = sum(value[0].size for value in own.values()) <= MOST_PARAMETERS
        found = (self._levenberg_marquardt if small else self._climb)(own, params["scale"], data, leading)
        squares = jnp.sum(jnp.where(leading > 0, leading * self._residuals(found, data) ** 2, 0.0), axis=(1, 2))
        return found | {"scale": scale_mode(self.variance_prior, self.min_scale, squares, leading.sum((1, 2)), params["scale"])}

    def _levenberg_marquardt(self, own: Params, scale: Array, data: Sequences, leading: Array) -> Params:
        priors = self._one()
        start = jax.vmap(lambda one: ravel_pytree(unconstrain(priors, one))[0])(own)
        unravel = ravel_pytree(unconstrain(priors, {name: value[0] for name, value in own.items()}))[1]
        inputs = {name: jnp.asarray(data.inputs[name]) for name in (self.gate.inputs, self.experts.inputs)}
        steps = {name: values.reshape(-1, values.shape[-1]) for name, values in inputs.items()}

        def natural(row: Array) -> Params:
            return constrain(priors, unravel(row))

        rows = levenberg_marquardt(
            lambda row, given: self._mean(natural(row), given),
            jax.vmap(lambda row: log_prior(priors, natural(row))),
            start,
            steps,
            jnp.asarray(data.values).reshape(-1),
            leading.reshape(leading.shape[0], -1),
            scale**2,
        )
        return jax.vmap(natural)(rows)

    def _climb(self, own: Params, scale: Array, data: Sequences, leading: Array) -> Params:
        values, priors = jnp.asarray(data.values)[..., 0], self._one()

        def one(state: tuple[Params, Array, Array]) -> Params:
            start, weight, spread = state

            def expected(new: Params) -> Array:
                squares = (values - self._mean(new, data.inputs)) ** 2
                return -0.5 * jnp.sum(jnp.where(weight > 0, weight * squares, 0.0)) / spread**2

            return maximise(expected, priors, start, NUMERICAL_STEPS)

        # State by state: mapped side by side, every line search would wait for the longest.
        return jax.lax.map(one, (own, leading, scale))

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        mean = self._mean({name: value[state] for name, value in _without_scale(params).items()}, inputs)
        return (mean + params["scale"][state] * jax.random.normal(key, (), mean.dtype))[None]


def _without_scale(params: Params) -> Params:
    return {name: value for name, value in params.items() if name != "scale"}
