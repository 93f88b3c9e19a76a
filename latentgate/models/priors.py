"""Priors of the coupling between neurons: how much the states have in common.

A coupling prior owns the parameters behind the weights [state, neuron, source, basis] (from `source` onto `neuron`) and says how weights are made of them.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from latentgate.arguments import positive

from .base import Params, Prior, with_shape

AXES = ("state", "neuron", "source", "basis")
TYPES = ("inhibitory", "none", "excitatory")
Shape = tuple[int, int, int, int]


class CouplingPrior(eqx.Module):
    """Interface of a coupling prior; shapes are (states, neurons, sources, basis functions)."""

    @abc.abstractmethod
    def priors(self, shape: Shape) -> dict[str, Prior]:
        """Prior of each parameter."""

    @abc.abstractmethod
    def dims(self) -> dict[str, tuple[str, ...]]:
        """Dimension names of each parameter."""

    @abc.abstractmethod
    def from_weights(self, weights: Array) -> Params:
        """Parameters that reproduce given weights closely: the way in from a random start, or from a fit under another prior."""

    @abc.abstractmethod
    def weights(self, params: Params) -> Array:
        """Weights [state, neuron, source, basis]."""

    def weight_variance(self, params: Params) -> Array | None:
        """Variance of each weight under the parameters, for priors that keep a distribution over weights; None otherwise."""
        return None


class _Free(CouplingPrior):
    @abc.abstractmethod
    def _prior(self) -> dist.Distribution:
        """Prior of one weight."""

    def priors(self, shape: Shape) -> dict[str, Prior]:
        """See base."""
        return {"coupling": with_shape(self._prior(), shape, "coupling")}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See base."""
        return {"coupling": AXES}

    def from_weights(self, weights: Array) -> Params:
        """See base."""
        return {"coupling": weights}

    def weights(self, params: Params) -> Array:
        """See base."""
        return params["coupling"]


class Flat(_Free):
    """No prior: maximum likelihood. Parameter: `coupling` [state, neuron, source, basis]."""

    def _prior(self) -> dist.Distribution:
        return dist.ImproperUniform(constraints.real, (), ())

    def priors(self, shape: Shape) -> dict[str, Prior]:
        """See base."""
        return {"coupling": dist.ImproperUniform(constraints.real, shape, ())}


class Ridge(_Free):
    """Independent normal weights around zero. Parameter: `coupling` [state, neuron, source, basis].

    Args:
        scale: standard deviation.
    """

    scale: float = 1.0

    def __check_init__(self):
        positive("scale", self.scale)

    def _prior(self) -> dist.Distribution:
        return dist.Normal(0.0, self.scale)


class L1(_Free):
    """Independent Laplace weights around zero; their mode is sparse. Parameter: `coupling` [state, neuron, source, basis].

    Args:
        scale: of the Laplace density exp(-|w| / scale).
    """

    scale: float = 0.1

    def __check_init__(self):
        positive("scale", self.scale)

    def _prior(self) -> dist.Distribution:
        return dist.Laplace(0.0, self.scale)


class GaussianTied(CouplingPrior):
    """Whole weights tied across states: w^s ~ N(w⁰, scale²), w⁰ ~ N(0, center_scale²) learned (Li et al. 2024, the Gaussian prior, GHG).

    Parameters: `coupling_center` w⁰ [neuron, source, basis]; `coupling` [state, neuron, source, basis].

    Args:
        scale: how far states may stray.
        center_scale: how large the shared weights may be.
    """

    scale: float = 1 / 3
    center_scale: float = 1.0

    def __check_init__(self):
        positive("scale", self.scale)
        positive("center_scale", self.center_scale)

    def priors(self, shape: Shape) -> dict[str, Prior]:
        """See base."""

        def around_center(params: Params) -> dist.Distribution:
            return dist.Normal(params["coupling_center"], self.scale).expand(shape).to_event(4)

        return {"coupling_center": with_shape(dist.Normal(0.0, self.center_scale), shape[1:], "coupling_center"), "coupling": around_center}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See base."""
        return {"coupling_center": AXES[1:], "coupling": AXES}

    def from_weights(self, weights: Array) -> Params:
        """See base."""
        return {"coupling_center": weights.mean(0), "coupling": weights}

    def weights(self, params: Params) -> Array:
        """See base."""
        return params["coupling"]


class OneHot(CouplingPrior):
    """Coupling is type times strength, and only the type is shared: w^s = (a^s_exc − a^s_inh) · w̃^s (Li et al. 2024, eq. 3-6).

    The type a^s = (inhibitory, none, excitatory) of a pair is drawn for each state around a⁰, the anatomical layer, which is learned; strengths w̃ > 0 are
    free in each state. Two forms:

    - "gumbel-softmax": a^s is a soft one-hot vector, Gumbel-Softmax(a⁰, temperature). Its density on the simplex has no maximum (it is unbounded at the
      corners for small temperatures), so the parameter is the pair of log-odds ln(a_inh / a_none), ln(a_exc / a_none), in which the same law has a mode.
    - "categorical": the type is discrete, and the parameter is its probability vector q under the mean-field bound: expected log-likelihood (to second order
      in the weights, so that an uncertain type costs what it should) minus KL(q ‖ a⁰). These are probabilities of types.

    Parameters: `type_prior` a⁰ [neuron, source, type]; `type_log_odds` [state, neuron, source, 2] or `type_probs` [state, neuron, source, type];
    `log_strength` ln w̃ [state, neuron, source, basis]. With `dale`, types belong to the sending neuron and lose their `neuron` axis.

    Args:
        form: "gumbel-softmax" or "categorical".
        temperature: of the Gumbel-Softmax, 0.2 if None; the categorical form has none.
        log_strength: prior of ln w̃.
        concentration: Dirichlet prior of a⁰, (inhibitory, none, excitatory); at least 1 each, so that a⁰ has a mode.
        dale: one type for all targets of a sending neuron.

    Raises:
        ValueError: for an unknown form, a temperature or concentration out of range.

    Example:
        >>> import latentgate as lg
        >>> sorted(lg.priors.OneHot().dims())
        ['log_strength', 'type_log_odds', 'type_prior']
    """

    form: str
    temperature: float | None
    log_strength: dist.Distribution
    concentration: tuple[float, ...]
    dale: bool

    def __init__(
        self,
        form: str = "gumbel-softmax",
        temperature: float | None = None,
        log_strength: dist.Distribution | None = None,
        concentration: tuple[float, ...] = (1.1, 1.1, 1.1),
        dale: bool = False,
    ):
        if form not in ("gumbel-softmax", "categorical"):
            raise ValueError(f'form: found {form!r}, expected "gumbel-softmax" or "categorical".')
        if temperature is not None and form == "categorical":
            raise ValueError(f'temperature: found {temperature!r}, expected None, since form="categorical" has none; leave it out.')
        if temperature is not None:
            positive("temperature", temperature)
        if len(concentration) != 3 or min(concentration) < 1:
            raise ValueError(f"concentration: found {concentration!r}, expected three numbers of at least 1: inhibitory, none, excitatory.")
        self.form = form
        self.temperature = 0.2 if temperature is None and form == "gumbel-softmax" else temperature
        self.log_strength = dist.Normal(-5.0, 2.0) if log_strength is None else log_strength
        self.concentration = tuple(concentration)
        self.dale = dale

    def _type_shape(self, shape: Shape) -> tuple[int, ...]:
        return shape[2:3] if self.dale else shape[1:3]

    def priors(self, shape: Shape) -> dict[str, Prior]:
        """See base."""
        pairs = self._type_shape(shape)
        states = (shape[0], *pairs)

        temperature = self.temperature

        def log_odds(params: Params) -> dist.Distribution:
            assert temperature is not None
            return GumbelSoftmaxLogOdds(jnp.broadcast_to(params["type_prior"], (*states, 3)), temperature)

        def categorical(params: Params) -> dist.Distribution:
            return CategoricalBound(jnp.broadcast_to(params["type_prior"], (*states, 3)))

        types: dict[str, Prior] = {"type_log_odds": log_odds} if self.form == "gumbel-softmax" else {"type_probs": categorical}
        return {
            "type_prior": with_shape(dist.Dirichlet(jnp.array(self.concentration)), (*pairs, 3), "type_prior"),
            **types,
            "log_strength": with_shape(self.log_strength, shape, "log_strength"),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See base."""
        pair = ("source",) if self.dale else ("neuron", "source")
        types = {"type_log_odds": ("state", *pair, "type_odds")} if self.form == "gumbel-softmax" else {"type_probs": ("state", *pair, "type")}
        return {"type_prior": (*pair, "type"), **types, "log_strength": AXES}

    def from_weights(self, weights: Array) -> Params:
        """See base; the sign gives the type, softly, and a weight that is small beside the others leans to none."""
        total = weights.sum(-1)
        if self.dale:
            total = total.sum(1)
        # Half of the mass on "none" at a weight of the typical size.
        size = jnp.sqrt(jnp.mean(total**2, axis=(-1,) if self.dale else (-1, -2), keepdims=True)) / 2
        size = jnp.where(size > 0, size, 1.0)
        signed = total / size
        odds = jnp.stack([-3 * signed - 1, 3 * signed - 1], -1).clip(-6.0, 6.0)
        full = jnp.concatenate([odds[..., :1], jnp.zeros_like(odds[..., :1]), odds[..., 1:]], -1)
        probs = jax.nn.softmax(full, -1)
        sign = jnp.abs(probs[..., 2] - probs[..., 0])
        sign = sign[:, None, :, None] if self.dale else sign[..., None]
        strength = jnp.abs(weights) / jnp.where(sign > 0, sign, 1.0)
        floor = jnp.exp(jnp.asarray(self.log_strength.mean))
        log_strength = jnp.log(jnp.where(strength > floor, strength, floor))
        prior = (probs.mean(0) + jnp.array(self.concentration) / sum(self.concentration)) / 2
        types = {"type_log_odds": odds} if self.form == "gumbel-softmax" else {"type_probs": probs}
        return {"type_prior": prior, **types, "log_strength": log_strength}

    def type_probs(self, params: Params) -> Array:
        """The types a^s (soft one-hot) or their probabilities, [state, neuron, source, type]; neuron axis of size 1 under `dale`."""
        if self.form == "gumbel-softmax":
            odds = params["type_log_odds"]
            types = jax.nn.softmax(jnp.concatenate([odds[..., :1], jnp.zeros_like(odds[..., :1]), odds[..., 1:]], -1), -1)
        else:
            types = params["type_probs"]
        return types[:, None] if self.dale else types

    def weights(self, params: Params) -> Array:
        """See base."""
        types = self.type_probs(params)
        return (types[..., 2] - types[..., 0])[..., None] * jnp.exp(params["log_strength"])

    def weight_variance(self, params: Params) -> Array | None:
        """See base; of the discrete type, with the strength known."""
        if self.form == "gumbel-softmax":
            return None
        types = self.type_probs(params)
        spread = types[..., 2] + types[..., 0] - (types[..., 2] - types[..., 0]) ** 2
        return spread[..., None] * jnp.exp(2 * params["log_strength"])


class GumbelSoftmaxLogOdds(dist.Distribution):
    """Law of (ln a_1/a_2, ln a_3/a_2) when a = (a_1, a_2, a_3) ~ Gumbel-Softmax(probs, temperature).

    Density: that of the Gumbel-Softmax (Li et al. 2024, eq. 5; Maddison et al. 2017) times the Jacobian a_1 a_2 a_3.

    Args:
        probs: [..., 3].
        temperature: positive.
    """

    arg_constraints = {"probs": constraints.simplex, "temperature": constraints.positive}  # noqa: RUF012 - numpyro's protocol
    support: Any = constraints.real_vector

    def __init__(self, probs: Array, temperature: float, *, validate_args: bool | None = None):
        self.probs, self.temperature = probs, temperature
        super().__init__(batch_shape=jnp.shape(probs)[:-1], event_shape=(2,), validate_args=validate_args)

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Array:
        """See numpyro."""
        scores = (jnp.log(self.probs) + jax.random.gumbel(key, (*sample_shape, *self.batch_shape, 3))) / self.temperature
        return jnp.stack([scores[..., 0] - scores[..., 1], scores[..., 2] - scores[..., 1]], -1)

    def log_prob(self, value: Array) -> Array:
        """See numpyro."""
        scores = jnp.concatenate([value[..., :1], jnp.zeros_like(value[..., :1]), value[..., 1:]], -1)
        log_types = jax.nn.log_softmax(scores, -1)
        return gumbel_softmax_log_density(log_types, jnp.log(self.probs), self.temperature) + log_types.sum(-1)


def gumbel_softmax_log_density(log_types: Array, log_probs: Array, temperature: float) -> Array:
    """Log-density on the simplex of the Gumbel-Softmax law (Li et al. 2024, eq. 5, with the constant corrected), [...].

    Args:
        log_types: ln a, [..., k].
        log_probs: ln a⁰, [..., k]; log-probabilities, which the published code forgets.
        temperature: τ.
    """
    k = log_types.shape[-1]
    tilted = log_probs - temperature * log_types
    constant = math.lgamma(k) + (k - 1) * math.log(temperature)
    return constant - k * jax.nn.logsumexp(tilted, -1) + (tilted - log_types).sum(-1)


class CategoricalBound(dist.Distribution):
    """Minus the Kullback-Leibler divergence of a probability vector from a categorical prior, as a log-density on the simplex.

    It is the part of a mean-field bound that belongs to a discrete variable, so it is not normalised and cannot be sampled.

    Args:
        probs: of the prior, [..., k].
    """

    arg_constraints = {"probs": constraints.simplex}  # noqa: RUF012 - numpyro's protocol
    support: Any = constraints.simplex

    def __init__(self, probs: Array, *, validate_args: bool | None = None):
        self.probs = probs
        super().__init__(batch_shape=jnp.shape(probs)[:-1], event_shape=jnp.shape(probs)[-1:], validate_args=validate_args)

    def log_prob(self, value: Array) -> Array:
        """See numpyro."""
        return jnp.where(value > 0, value * (jnp.log(self.probs) - jnp.log(jnp.where(value > 0, value, 1.0))), 0.0).sum(-1)
