"""Estimates of gradients of a mixture with a stochastic hard gate: what each estimator puts in the place of derivatives by the gate's weights."""

from __future__ import annotations

import abc
from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences
from latentgate.models import MixtureOfExperts
from latentgate.models.base import Params, without_prefix

Objective = Literal["expected", "marginal"]
Relaxation = Literal["mixture", "linear"]
Baseline = Literal["pooled", "row", "exact", "none"]


class Cotangents(NamedTuple):
    """Derivatives of the objective by the log-weights and by the log-densities of the experts, or estimates of them; [row, K] each, zero at padding.

    By log-weights they mean: pull them back through the gate. (Rows may be changed by any multiple of the weights, since those sum to one.)
    """

    log_weights: Array
    log_densities: Array


class GradientEstimator(eqx.Module):
    """An estimator of the gradient of Σ_n E_{k ~ π(x_n)} log f_k(y_n), the expected log-density of a gate that draws one expert a row, or of the marginal
    log-likelihood Σ_n log Σ_k π_k(x_n) f_k(y_n).

    With h the one-hot choice of a row, both are the expectation over h ~ π of a loss: of log Σ_k h_k f_k, and, as far as the gradient goes, of
    Σ_k h_k f_k / p with p = Σ_k π_k f_k held fixed.
    """

    @abc.abstractmethod
    def cotangents(self, key: Array, log_weights: Array, log_densities: Array, real: Array, objective: Objective) -> Cotangents:
        """From one draw of all rows.

        Args:
            key: random key.
            log_weights: [row, K]; -inf where an expert is not selected.
            log_densities: [row, K].
            real: which rows count, bool [row].
            objective: which gradient.
        """

    def gradient(
        self, model: MixtureOfExperts, params: Params, data: Sequences, key: Array, num_samples: int = 1, *, objective: Objective = "expected"
    ) -> Params:
        """An estimate of the gradient with respect to the gate's parameters.

        Args:
            model: the mixture, with its number of inputs known (`fit.model`, or `model.suited_to(data)`).
            params: all its parameters.
            data: the sequences.
            key: random key.
            num_samples: draws of the choices of all rows, over which the estimate is averaged.
            objective: "expected" for the expected log-density of the expert drawn, "marginal" for the log-likelihood.

        Returns:
            {name: array} of the parameters under "gate."; derivatives by natural parameters.

        Raises:
            ValueError: for another objective, or fewer samples than the estimator needs.
        """
        check_objective(objective)
        gate_only, _ = pull_back(self, model, params, model.catalogue(data), key, self.samples(num_samples), objective)
        return {name: value for name, value in gate_only.items() if name.startswith("gate.")}

    def samples(self, num_samples: int) -> int:
        """The number itself.

        Raises:
            ValueError: if the estimator needs more.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples: found {num_samples}, expected at least 1.")
        return num_samples

    def cotangents_of_samples(self, key: Array, log_weights: Array, log_densities: Array, real: Array, objective: Objective, num_samples: int) -> Cotangents:
        """The mean over independent draws."""
        keys = jax.random.split(key, num_samples)
        found = jax.lax.map(lambda key: self.cotangents(key, log_weights, log_densities, real, objective), keys)
        return Cotangents(*(part.mean(0) for part in found))


class Exact(GradientEstimator):
    """The sum over experts: no draws and no variance, the oracle of the others."""

    def cotangents(self, key: Array, log_weights: Array, log_densities: Array, real: Array, objective: Objective) -> Cotangents:
        """See `GradientEstimator.cotangents`."""
        weights = jnp.exp(log_weights)
        if objective == "expected":
            return _masked(Cotangents(_product(weights, log_densities), weights), real)
        responsibilities = jax.nn.softmax(log_weights + log_densities, axis=-1)
        return _masked(Cotangents(responsibilities, responsibilities), real)

    def cotangents_of_samples(self, key: Array, log_weights: Array, log_densities: Array, real: Array, objective: Objective, num_samples: int) -> Cotangents:
        """There is nothing to average."""
        return self.cotangents(key, log_weights, log_densities, real, objective)


class Reinforce(GradientEstimator):
    """The score-function estimator: Σ_j (h_j − π_j)(loss − baseline_j) ∇ log π_j. Unbiased, whatever the baseline.

    The variance of entry j is least for the baseline E[(h_j − π_j)² loss] / E[(h_j − π_j)²].

    Args:
        baseline: "pooled": the ratio of sums over all *other* rows of the same draw, one number an expert; "row": over the other draws of the same row, which
            takes at least two samples; "exact": the ratio of expectations of each row, which sums over all experts as the exact gradient does. (With two
            experts it then *is* the exact gradient.) "none": zero.

    Source: Williams, Mach. Learn. 8:229 (1992); the baseline: Bengio, Léonard, Courville, arXiv 1308.3432 (2013), section 3.
    """

    baseline: Baseline

    def __init__(self, baseline: Baseline = "pooled"):
        if baseline not in get_args(Baseline):
            raise ValueError(f"baseline: found {baseline!r}, expected one of {', '.join(map(repr, get_args(Baseline)))}.")
        self.baseline = baseline

    def samples(self, num_samples: int) -> int:
        """See `GradientEstimator.samples`."""
        if self.baseline == "row" and num_samples < 2:
            raise ValueError(f'num_samples: found {num_samples}, expected at least 2 for baseline="row", which leaves one out.')
        return super().samples(num_samples)

    def cotangents(self, key: Array, log_weights: Array, log_densities: Array, real: Array, objective: Objective) -> Cotangents:
        """See `GradientEstimator.cotangents`; without a baseline over draws."""
        return self.cotangents_of_samples(key, log_weights, log_densities, real, objective, 1)

    def cotangents_of_samples(self, key: Array, log_weights: Array, log_densities: Array, real: Array, objective: Objective, num_samples: int) -> Cotangents:
        """The mean over draws, which the baseline may compare with each other."""
        chosen = _choices(key, log_weights, num_samples)
        losses = _losses(log_weights, log_densities, objective)
        loss = jnp.where(real, jnp.take_along_axis(jnp.broadcast_to(losses, chosen.shape), chosen.argmax(-1)[..., None], -1)[..., 0], 0.0)
        weights = jnp.exp(log_weights)
        away = jnp.where(real[:, None], chosen - weights, 0.0)
        squares = away**2
        weighted = squares * loss[..., None]
        if self.baseline == "exact":
            others = jnp.sum(_product(weights, losses), -1, keepdims=True) - _product(weights, losses)
            rest = 1.0 - weights
            baseline = _product(rest, losses) + weights * others / jnp.where(rest > 0, rest, 1.0)
        elif self.baseline == "none":
            baseline = jnp.zeros_like(weights)
        else:
            axis = 0 if self.baseline == "row" else 1
            below = squares.sum(axis, keepdims=True) - squares
            baseline = (weighted.sum(axis, keepdims=True) - weighted) / jnp.where(below > 0, below, 1.0)
        by_weights = jnp.where(away != 0, away * (loss[..., None] - baseline), 0.0)
        by_densities = chosen if objective == "expected" else chosen * loss[..., None]
        return _masked(Cotangents(by_weights.mean(0), by_densities.mean(0)), real)


class StraightThrough(GradientEstimator):
    """Derivatives of the loss by the one-hot choice, taken for derivatives by the weights: Σ_k ∂loss/∂h_k ∇π_k. Biased where the loss is not linear in h.

    Args:
        relaxation: of the loss between one-hot choices: "mixture", log Σ_k h_k f_k, whose derivatives f_k / f_h have no bound where experts disagree, or
            "linear", Σ_k h_k log f_k. Linear losses (this one, and that of the marginal objective) have derivatives that do not depend on h, and the estimator
            then is the exact gradient.

    Source: Bengio, Léonard, Courville, arXiv 1308.3432 (2013), section 4.
    """

    relaxation: Relaxation

    def __init__(self, relaxation: Relaxation = "mixture"):
        self.relaxation = _checked(relaxation)

    def cotangents(self, key: Array, log_weights: Array, log_densities: Array, real: Array, objective: Objective) -> Cotangents:
        """See `GradientEstimator.cotangents`."""
        chosen = _choices(key, log_weights, 1)[0]
        if objective == "marginal":
            by_weights = jax.nn.softmax(log_weights + log_densities, axis=-1)
            ratio = _losses(log_weights, log_densities, objective)
            return _masked(Cotangents(by_weights, jnp.where(chosen > 0, ratio, 0.0)), real)
        if self.relaxation == "linear":
            return _masked(Cotangents(_product(jnp.exp(log_weights), log_densities), chosen), real)
        own = jnp.sum(jnp.where(chosen > 0, log_densities, 0.0), -1, keepdims=True)
        return _masked(Cotangents(jnp.exp(log_weights + log_densities - own), chosen), real)


class GumbelSoftmax(GradientEstimator):
    """Relaxed choices h = softmax((log π + Gumbel noise) / temperature), through which the loss is differentiated.

    The bias vanishes with the temperature, at the price of a variance that grows without bound.

    Args:
        temperature: positive.
        relaxation: of the loss between one-hot choices: "mixture", log Σ_k h_k f_k, or "linear", Σ_k h_k log f_k; of no use for the marginal objective.

    Source: Jang, Gu, Poole, ICLR 2017; Maddison, Mnih, Teh, ICLR 2017.
    """

    temperature: float
    relaxation: Relaxation

    def __init__(self, temperature: float = 0.5, relaxation: Relaxation = "mixture"):
        if not temperature > 0:
            raise ValueError(f"temperature: found {temperature}, expected a positive number.")
        self.temperature, self.relaxation = float(temperature), _checked(relaxation)

    def cotangents(self, key: Array, log_weights: Array, log_densities: Array, real: Array, objective: Objective) -> Cotangents:
        """See `GradientEstimator.cotangents`."""
        noise = jax.random.gumbel(key, log_weights.shape, log_weights.dtype)
        marginal = jax.lax.stop_gradient(jax.nn.logsumexp(log_weights + log_densities, axis=-1, keepdims=True))

        def total(log_weights: Array, log_densities: Array) -> Array:
            log_choice = jax.nn.log_softmax((log_weights + noise) / self.temperature, axis=-1)
            if objective == "marginal":
                loss = jnp.sum(jnp.exp(log_choice + log_densities - marginal), -1)
            elif self.relaxation == "linear":
                loss = jnp.sum(_product(jnp.exp(log_choice), log_densities), -1)
            else:
                loss = jax.nn.logsumexp(log_choice + log_densities, axis=-1)
            return jnp.sum(jnp.where(real, loss, 0.0))

        return _masked(Cotangents(*jax.grad(total, (0, 1))(log_weights, log_densities)), real)


@eqx.filter_jit
def pull_back(
    estimator: GradientEstimator, model: MixtureOfExperts, params: Params, data: Sequences, key: Array, num_samples: int, objective: Objective
) -> tuple[Params, Array]:
    """Estimated gradient by all parameters, {name: array}, and the exact objective."""

    def parts(params: Params) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        log_weights, log_densities = log_parts_of(model, params, data)
        # Derivatives of -inf are NaN times zero.
        return (jnp.where(log_weights > -jnp.inf, log_weights, 0.0), log_densities), (log_weights, log_densities)

    _, back, (log_weights, log_densities) = jax.vjp(parts, params, has_aux=True)
    real = jnp.asarray(data.mask).reshape(-1)
    found = estimator.cotangents_of_samples(key, log_weights, log_densities, real, objective, num_samples)
    return back(tuple(found))[0], exact_objective(log_weights, log_densities, real, objective)


def log_parts_of(model: MixtureOfExperts, params: Params, data: Sequences) -> tuple[Array, Array]:
    """Log-weights and log-densities of the experts at all rows, [row, K] each; sequences one after the other, padding included."""
    log_weights = model.gate.log_weights(without_prefix("gate", params), jnp.asarray(data.inputs[model.gate.inputs]))
    log_densities = model.experts.log_likelihood(without_prefix("experts", params), data)
    return log_weights.reshape(-1, model.num_experts), log_densities.reshape(-1, model.num_experts)


def exact_objective(log_weights: Array, log_densities: Array, real: Array, objective: Objective) -> Array:
    """The objective itself, scalar."""
    if objective == "expected":
        rows = jnp.sum(_product(jnp.exp(log_weights), log_densities), -1)
    else:
        rows = jax.nn.logsumexp(log_weights + log_densities, axis=-1)
    return jnp.sum(jnp.where(real, rows, 0.0))


def check_objective(objective: str) -> None:
    """Raises ValueError unless it is one."""
    if objective not in get_args(Objective):
        raise ValueError(f"objective: found {objective!r}, expected one of {', '.join(map(repr, get_args(Objective)))}.")


def _checked(relaxation: Relaxation) -> Relaxation:
    if relaxation not in get_args(Relaxation):
        raise ValueError(f"relaxation: found {relaxation!r}, expected one of {', '.join(map(repr, get_args(Relaxation)))}.")
    return relaxation


def _choices(key: Array, log_weights: Array, num_samples: int) -> Array:
    """One-hot choices, [sample, row, K]."""
    drawn = jax.random.categorical(key, log_weights, shape=(num_samples, *log_weights.shape[:-1]))
    return jax.nn.one_hot(drawn, log_weights.shape[-1], dtype=log_weights.dtype)


def _losses(log_weights: Array, log_densities: Array, objective: Objective) -> Array:
    """The loss of each choice, [row, K]."""
    if objective == "expected":
        return log_densities
    return jnp.exp(log_densities - jax.nn.logsumexp(log_weights + log_densities, axis=-1, keepdims=True))


def _product(weights: Array, values: Array) -> Array:
    """Weights times values, zero where weights are, whatever the value."""
    return jnp.where(weights > 0, weights * jnp.where(weights > 0, values, 0.0), 0.0)


def _masked(found: Cotangents, real: Array) -> Cotangents:
    return Cotangents(*(jnp.where(real[:, None], part, 0.0) for part in found))
