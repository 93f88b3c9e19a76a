"""Stochastic hard gates as estimators: their gradients beside the exact sum over experts, and fits by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax import Array
from jax.flatten_util import ravel_pytree

from latentgate.data import Sequences
from latentgate.models import MixtureOfExperts
from latentgate.models.base import Params, log_prior
from latentgate.models.unconstrained import constrain, unconstrain

from .arguments import mixed
from .estimators import Exact, GradientEstimator, GumbelSoftmax, Objective, Reinforce, StraightThrough, check_objective, pull_back

__all__ = ["Exact", "GradientEstimator", "GumbelSoftmax", "Reinforce", "StochasticFit", "StraightThrough", "compare_gradients", "fit_stochastic"]


def compare_gradients(
    mixture: Any,
    data: Sequences,
    estimators: Mapping[str, GradientEstimator] | None = None,
    *,
    objective: Objective = "expected",
    num_samples: int = 1,
    replications: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Bias and variance of estimators of the gate's gradient, beside the exact sum over experts.

    A gate that draws one expert a row needs such an estimator where the sum over experts cannot be taken: in deep networks, say. Inside a mixture likelihood
    none of them is needed, since K is small and the sum exact; here they are compared with it.

    Args:
        mixture: a fit of `lg.MixtureOfExperts`, a pair (model, params), or a `lg.studies.MixtureTruth`: where the gradient is taken.
        data: the sequences.
        estimators: {name: estimator}; all kinds with their defaults if None.
        objective: "expected" or "marginal", see `GradientEstimator.gradient`.
        num_samples: draws of the choices of all rows behind each estimate.
        replications: independent estimates, at least two.
        seed: of the draws.

    Returns:
        `mean`, `bias`, `variance` (estimator, coordinate) of single estimates, `standard_error` of the bias, and `exact` (coordinate). Coordinates are entries
        of the gate's parameters, such as "gate.weights[0, 0]".

    Raises:
        ValueError: for something that is no mixture of experts, an unknown objective, too few replications or samples.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> model = lg.MixtureOfExperts(gate=lg.gates.Softmax(), experts=lg.experts.LinearGaussian(2))
        >>> data = lg.Sequences.from_arrays([np.zeros((4, 1))], inputs=[np.arange(4.0)[:, None]])
        >>> gate, means = {"gate.weights": [[0.5], [-0.5]], "gate.bias": [0.0, 0.0]}, {"experts.weights": [[0.0], [0.0]], "experts.bias": [0.0, 1.0]}
        >>> params = {**gate, **means, "experts.scale": [1.0, 1.0]}
        >>> found = lg.mixtures.compare_gradients((model, params), data, {"reinforce": lg.mixtures.Reinforce()}, replications=400)
        >>> bool((abs(found["bias"]) < 4 * found["standard_error"]).all())
        True
    """
    check_objective(objective)
    if replications < 2:
        raise ValueError(f"replications: found {replications}, expected at least 2.")
    model, params = mixed("mixture", mixture)
    model.check(data)
    model = model.suited_to(data)
    data = model.catalogue(data)
    if estimators is None:
        estimators = {"reinforce": Reinforce(), "straight-through": StraightThrough(), "gumbel-softmax": GumbelSoftmax()}
    names = [f"{name}{list(index)}" for name in sorted(params) if name.startswith("gate.") for index in np.ndindex(np.shape(params[name]))]
    keys = jax.random.split(jax.random.key(seed), replications)
    exact = np.asarray(_gradients(Exact(), model, params, data, keys[:1], 1, objective))[0]
    drawn = [np.asarray(_gradients(one, model, params, data, keys, one.samples(num_samples), objective)) for one in estimators.values()]
    mean, variance = np.array([values.mean(0) for values in drawn]), np.array([values.var(0, ddof=1) for values in drawn])
    dims = ("estimator", "coordinate")
    columns = {"mean": mean, "bias": mean - exact, "standard_error": np.sqrt(variance / replications), "variance": variance}
    table: dict[str, Any] = {name: (dims, column) for name, column in columns.items()}
    attributes = {"objective": objective, "num_samples": num_samples, "replications": replications}
    return xr.Dataset({**table, "exact": ("coordinate", exact)}, coords={"estimator": list(estimators), "coordinate": names}, attrs=attributes)


@eqx.filter_jit
def _gradients(
    estimator: GradientEstimator, model: MixtureOfExperts, params: Params, data: Sequences, keys: Array, num_samples: int, objective: Objective
) -> Array:
    """Estimates by the gate's parameters in alphabetical order, [replication, coordinate]."""

    def one(key: Array) -> Array:
        gradient, _ = pull_back(estimator, model, params, data, key, num_samples, objective)
        return jnp.concatenate([gradient[name].reshape(-1) for name in sorted(gradient) if name.startswith("gate.")])

    return jax.lax.map(one, keys)


@dataclass(frozen=True)
class StochasticFit:
    """Where stochastic gradients led.

    Attributes:
        params: parameters after the last step.
        history: dataset over `step`: the exact `objective` before each step that was recorded, and the `log_prior`.
        model: the mixture; with `params` what `lg.mixtures.hellinger` and others compare.
    """

    model: MixtureOfExperts
    params: dict[str, np.ndarray]
    history: xr.Dataset


def fit_stochastic(
    model: MixtureOfExperts,
    data: Sequences,
    estimator: GradientEstimator,
    *,
    seed: int,
    steps: int = 1000,
    learning_rate: float = 0.02,
    num_samples: int = 1,
    objective: Objective = "expected",
    start: Any = None,
    record_every: int = 10,
) -> StochasticFit:
    """Climbs the objective plus the log-prior by Adam with estimated gradients of gate and experts, all rows at each step.

    It is there to compare estimators as estimators. `lg.fit` with `lg.EM` or `lg.MAP` sums over experts, and is better in every respect: see
    `compare_gradients`. The expected log-density is no more than the log-likelihood, and is greatest for hard gates.

    Args:
        model: the mixture.
        data: the sequences.
        estimator: `Reinforce`, `StraightThrough`, `GumbelSoftmax`, or `Exact` for the sum over experts.
        seed: of the start and the draws.
        steps: of Adam, at least one.
        learning_rate: of Adam, in unconstrained coordinates and per row of data.
        num_samples: draws of the choices of all rows at each step.
        objective: "expected" or "marginal", see `GradientEstimator.gradient`.
        start: a fit, a pair (model, params), or None for a start of the model's own.
        record_every: steps between the entries of the history.

    Returns:
        parameters and history.

    Raises:
        ValueError: for numbers that are not positive, an unknown objective, or data that do not belong to the model.
        FloatingPointError: if gradients overflow, as those of `StraightThrough` do where experts disagree by more than an exponential can hold.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> x = np.linspace(-1, 1, 60)[:, None]
        >>> data = lg.Sequences.from_arrays([np.abs(x)], inputs=[x])
        >>> model = lg.MixtureOfExperts(gate=lg.gates.Softmax(), experts=lg.experts.LinearGaussian(2))
        >>> found = lg.mixtures.fit_stochastic(model, data, lg.mixtures.Reinforce(), seed=0, steps=200)
        >>> bool(found.history["objective"][-1] > found.history["objective"][0])
        True
    """
    check_objective(objective)
    for name, value in (("steps", steps), ("record_every", record_every), ("learning_rate", learning_rate)):
        if not value > 0:
            raise ValueError(f"{name}: found {value}, expected a positive number.")
    model = model.suited_to(data)
    model.check(data)
    data = model.catalogue(data)
    for_start, for_steps = jax.random.split(jax.random.key(seed))
    params = model.initialize(for_start, model.prepare(data)) if start is None else mixed("start", start)[1]
    blocks = -(-steps // record_every)
    params, objectives, priors = _climb(
        model, params, data, estimator, jax.random.split(for_steps, blocks), steps, record_every, learning_rate, estimator.samples(num_samples), objective
    )
    objectives, priors = np.asarray(objectives), np.asarray(priors)
    if not np.isfinite(objectives).all() or not all(np.isfinite(np.asarray(value)).all() for value in params.values()):
        broken = np.flatnonzero(~np.isfinite(objectives))
        at = f"step {record_every * broken[0]}" if broken.size else "the last steps"
        raise FloatingPointError(
            f"estimator: found gradients of {type(estimator).__name__} that are not finite by {at}; the experts disagree by more than an exponential can hold. "
            'Use relaxation="linear", GumbelSoftmax, or Reinforce.'
        )
    history = xr.Dataset({"objective": ("step", objectives), "log_prior": ("step", priors)}, coords={"step": record_every * np.arange(blocks)})
    history.attrs.update({"objective": objective, "estimator": type(estimator).__name__, "num_samples": num_samples, "learning_rate": learning_rate})
    return StochasticFit(model, {name: np.asarray(value) for name, value in params.items()}, history)


@eqx.filter_jit
def _climb(
    model: MixtureOfExperts,
    params: Params,
    data: Sequences,
    estimator: GradientEstimator,
    keys: Array,
    steps: int,
    record_every: int,
    learning_rate: float,
    num_samples: int,
    objective: Objective,
) -> tuple[Params, Array, Array]:
    """Parameters after the steps, and the objective and the log-prior at the head of each block."""
    priors = model.priors()
    start, unravel = ravel_pytree(unconstrain(priors, params))
    solver = optax.adam(learning_rate)
    count = jnp.asarray(data.mask).sum()

    def natural(vector: Array) -> Params:
        return constrain(priors, unravel(vector))

    def step(carry: tuple[Array, Any], key: Array) -> tuple[tuple[Array, Any], tuple[Array, Array]]:
        vector, state = carry
        params, back = jax.vjp(natural, vector)
        gradient, value = pull_back(estimator, model, params, data, key, num_samples, objective)
        of_prior, slope = jax.value_and_grad(lambda vector: log_prior(priors, natural(vector)))(vector)
        updates, state = solver.update(-(back(gradient)[0] + slope) / count, state, vector)
        return (vector + jnp.asarray(updates), state), (value, of_prior)

    def block(carry: tuple[Array, Any], numbered: tuple[Array, Array]) -> tuple[tuple[Array, Any], tuple[Array, Array]]:
        key, first = numbered

        def one(carry: tuple[Array, Any], index: Array) -> tuple[tuple[Array, Any], tuple[Array, Array]]:
            after, recorded = step(carry, jax.random.fold_in(key, index))
            # The last block may be shorter than the others.
            return jax.tree.map(lambda new, old: jnp.where(first + index < steps, new, old), after, carry), recorded

        carry, recorded = jax.lax.scan(one, carry, jnp.arange(record_every))
        return carry, jax.tree.map(lambda values: values[0], recorded)

    firsts = record_every * jnp.arange(keys.shape[0])
    (vector, _), (values, of_priors) = jax.lax.scan(block, (start, solver.init(start)), (keys, firsts))
    return natural(vector), values, of_priors
