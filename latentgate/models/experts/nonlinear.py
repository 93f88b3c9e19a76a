"""Experts whose mean is any smooth function of parameters and inputs, with normal noise."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, with_shape
from ..designs import is_flat
from ..emissions.base import NUMERICAL_STEPS
from ..emissions.checks import at_least, positive, warn_about_scale
from ..emissions.statistics import feature_moments
from ..newton import fits_newton, row_log_prior
from ..unconstrained import maximise
from .base import ExpertsWithMeans
from .levenberg_marquardt import MOST_PARAMETERS, levenberg_marquardt
from .noise import min_scale_or, normal_log_density, scale_mode, scale_prior, variance_prior_or


class NormalAboutCurves(ExpertsWithMeans):
    """Normal observations about a function of the inputs that subclasses give; see `Nonlinear` and `Network`."""

    num_experts: int
    inputs: str
    num_inputs: int | None
    shared_scale: bool
    scale: float
    variance_prior: dist.Distribution
    min_scale: float

    def __init__(
        self,
        num_experts: int,
        inputs: str,
        num_inputs: int | None,
        shared_scale: bool,
        scale: float,
        variance_prior: dist.Distribution | Literal["flat"] | None,
        min_scale: float | None,
    ):
        self.num_experts = at_least("num_experts", num_experts)
        self.inputs = inputs
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)
        self.shared_scale = bool(shared_scale)
        self.scale = positive("scale", scale)
        self.variance_prior = variance_prior_or(variance_prior, self.scale)
        self.min_scale = min_scale_or(min_scale)

    @abc.abstractmethod
    def mean(self, params: Params, inputs: Array) -> Array:
        """Mean of one expert, scalar, given its parameters and the inputs [M] of one step."""

    @abc.abstractmethod
    def mean_priors(self) -> dict[str, tuple[dist.Distribution, tuple[int, ...]]]:
        """{parameter of the mean: (prior, shape of the parameter in one expert)}."""

    @abc.abstractmethod
    def mean_dims(self) -> dict[str, tuple[str, ...]]:
        """{parameter of the mean: dimension names after "expert"}."""

    @abc.abstractmethod
    def initialize_means(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Starting values of the parameters of the mean, different in every expert."""

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        means: dict[str, Prior] = {name: with_shape(prior, (num_states, *shape), name) for name, (prior, shape) in self.mean_priors().items()}
        return means | {"scale": scale_prior(self.variance_prior, self.min_scale, () if self.shared_scale else (num_states,))}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        means = {name: ("expert", *axes) for name, axes in self.mean_dims().items()}
        return means | {"scale": () if self.shared_scale else ("expert",)}

    def check(self, data: Sequences) -> None:
        """One feature, inputs that determine the mean, and a warning where `scale` is far from the spread of the data."""
        super().check(data)
        self.check_design(data, flat_scale=is_flat(self.variance_prior) and not self.min_scale)
        if not is_flat(self.variance_prior):
            warn_about_scale(f"{type(self).__name__} experts", self.scale, data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """See `Part.initialize`."""
        deviation = feature_moments(data)[1][0]
        deviation = jnp.where(deviation > 0, deviation, self.scale)
        scale = jnp.full(() if self.shared_scale else (num_states,), jnp.maximum(deviation, 1.01 * self.min_scale))
        return self.initialize_means(key, data, num_states) | {"scale": scale}

    def leading_means(self, params: Params, inputs: Array) -> Array:
        """See `ExpertsWithMeans.leading_means`."""
        own = {name: params[name] for name in self.mean_dims()}
        flat = inputs.reshape(-1, inputs.shape[-1])
        found = jax.vmap(lambda one: jax.vmap(lambda row: self.mean(one, row))(flat))(own)
        return found.reshape(-1, *inputs.shape[:-1])

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        terms = normal_log_density(self._residuals(params, data), params["scale"])
        if not data.complete:
            terms = jnp.where(jnp.asarray(data.observed)[..., 0], terms, 0.0)
        return jnp.moveaxis(terms, 0, -1)

    def _residuals(self, params: Params, data: Sequences) -> Array:
        return jnp.asarray(data.values)[..., 0] - self.leading_means(params, jnp.asarray(data.inputs[self.inputs]))

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Levenberg-Marquardt steps in the mean of every expert given the scales, then the posterior mode of the scales."""
        if not data.complete:
            weights = jnp.where(jnp.asarray(data.observed), weights, 0.0)
        leading = jnp.moveaxis(weights, -1, 0)
        priors = self.mean_priors()
        own = {name: params[name] for name in priors}
        num_parameters = sum(int(np.prod(shape)) for _, shape in priors.values())
        newton = num_parameters <= MOST_PARAMETERS and all(fits_newton(prior, 1 + len(shape)) for prior, shape in priors.values())
        found = self._levenberg_marquardt(own, params["scale"], data, leading) if newton else self._climb(own, params["scale"], data, leading)
        squares = jnp.sum(_times(leading, self._residuals(found, data) ** 2), axis=(1, 2))
        return found | {"scale": scale_mode(self.variance_prior, self.min_scale, squares, leading.sum((1, 2)), params["scale"])}

    def _climb(self, own: Params, scale: Array, data: Sequences, leading: Array) -> Params:
        priors = self.priors(leading.shape[0])

        def expected(new: Params) -> Array:
            return jnp.sum(_times(leading, normal_log_density(self._residuals(new, data), scale)))

        return maximise(expected, {name: priors[name] for name in own}, own, NUMERICAL_STEPS)

    def _levenberg_marquardt(self, own: Params, scale: Array, data: Sequences, leading: Array) -> Params:
        priors = self.mean_priors()
        shapes = {name: own[name].shape[1:] for name in priors}
        inputs = jnp.asarray(data.inputs[self.inputs])
        inputs, values = inputs.reshape(-1, inputs.shape[-1]), jnp.asarray(data.values).reshape(-1)
        flat = leading.reshape(leading.shape[0], -1)
        variances = jnp.broadcast_to(scale, flat.shape[:1]) ** 2

        def split(rows: Array) -> Params:
            """Parameters [..., *shape] from rows [..., P]."""
            ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
            parts = jnp.split(rows, ends[:-1], axis=-1)
            return {name: part.reshape(*rows.shape[:-1], *shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

        def log_prior(rows: Array) -> Array:
            new = split(rows)
            return sum((row_log_prior(prior, new[name]) for name, (prior, _) in priors.items()), start=jnp.zeros(rows.shape[0], rows.dtype))

        start = jnp.concatenate([own[name].reshape(flat.shape[0], -1) for name in shapes], axis=-1)
        return split(levenberg_marquardt(lambda row, given: self.mean(split(row), given), log_prior, start, inputs, values, flat, variances))

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        mean = self.mean({name: params[name][state] for name in self.mean_dims()}, inputs[self.inputs])
        scale = params["scale"] if self.shared_scale else params["scale"][state]
        return (mean + scale * jax.random.normal(key, (), mean.dtype))[None]


class Nonlinear(NormalAboutCurves):
    """Normal observations about a function of your own: y ~ Normal(function(params of expert k, inputs), scale[k]²).

    Parameters: those of the function under their names, each with a leading dimension "expert"; standard deviations `scale` [expert], or one for all, [].
    A fit with it cannot be written to a file, which would have to hold code; see `Network` for what can.

    Args:
        num_experts: K.
        function: (params of one expert {name: array}, inputs [M]) -> mean, scalar; of `jax.numpy`, differentiable.
        priors: {name: prior of the parameter in one expert}; its shape is that of the parameter. Restarts begin at draws from it, under a flat one
            (`numpyro.distributions.ImproperUniform`) at standard normal numbers.
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        shared_scale, scale, variance_prior, min_scale: see `LinearGaussian`.

    Raises:
        ValueError: for something that cannot be called, no priors, or a parameter called "scale"; and as `LinearGaussian`.

    Example:
        >>> import jax.numpy as jnp, numpyro.distributions as dist, latentgate as lg
        >>> bends = lg.experts.Nonlinear(2, lambda own, x: jnp.tanh(own["eta"] @ x), {"eta": dist.Normal(0, 1).expand([3])}, num_inputs=3)
        >>> bends.dims()
        {'eta': ('expert', 'eta_0'), 'scale': ('expert',)}
    """

    function: Callable[[Params, Array], Array]
    own_priors: dict[str, dist.Distribution]

    def __init__(
        self,
        num_experts: int,
        function: Callable[[Params, Array], Array],
        priors: Mapping[str, dist.Distribution],
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        shared_scale: bool = False,
        scale: float = 1.0,
        variance_prior: dist.Distribution | Literal["flat"] | None = None,
        min_scale: float | None = None,
    ):
        super().__init__(num_experts, inputs, num_inputs, shared_scale, scale, variance_prior, min_scale)
        if not callable(function):
            raise ValueError(f"function: found {function!r}, expected one of parameters and inputs, for example lambda own, x: jnp.tanh(own['eta'] @ x).")
        if not isinstance(priors, Mapping) or not priors or not all(isinstance(prior, dist.Distribution) for prior in priors.values()):
            raise ValueError(f"priors: found {priors!r}, expected {{name: a distribution of numpyro}} for every parameter of the function.")
        if "scale" in priors:
            raise ValueError("priors: found one of 'scale', expected parameters of the mean alone; see variance_prior.")
        self.function = function
        self.own_priors = dict(priors)

    def mean(self, params: Params, inputs: Array) -> Array:
        """See `NormalAboutCurves.mean`."""
        return jnp.asarray(self.function(params, inputs))

    def mean_priors(self) -> dict[str, tuple[dist.Distribution, tuple[int, ...]]]:
        """See `NormalAboutCurves.mean_priors`."""
        return {name: (prior, (*prior.batch_shape, *prior.event_shape)) for name, prior in self.own_priors.items()}

    def mean_dims(self) -> dict[str, tuple[str, ...]]:
        """See `NormalAboutCurves.mean_dims`."""
        return {name: tuple(f"{name}_{axis}" for axis in range(len(shape))) for name, (_, shape) in self.mean_priors().items()}

    def check_design(self, data: Sequences, *, flat_scale: bool) -> None:
        """Calls the function on one step, so that its mistakes show before anything is compiled; what inputs determine only its owner knows."""
        own = {name: jax.ShapeDtypeStruct(shape, jnp.result_type(float)) for name, (_, shape) in self.mean_priors().items()}
        row = jax.ShapeDtypeStruct(np.shape(data.inputs[self.inputs])[-1:], jnp.result_type(float))
        found = jax.eval_shape(self.mean, own, row)
        if found.shape:
            raise ValueError(f"function: found a result of shape {found.shape}, expected one number, the mean of one expert at one step.")

    def initialize_means(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Draws from the priors; standard normal numbers in unconstrained space under flat ones."""
        params = {}
        for name, (prior, shape) in self.mean_priors().items():
            key, own = jax.random.split(key)
            if is_flat(prior):
                drawn = jax.random.normal(own, (num_states, *shape))
                params[name] = dist.transforms.biject_to(prior.support)(drawn)
            else:
                params[name] = jnp.asarray(prior.sample(own, (num_states,)))
        return params


def _times(weights: Array, values: Array) -> Array:
    """Products, zero without weight whatever the value is there."""
    return jnp.where(weights > 0, weights * values, 0.0)
