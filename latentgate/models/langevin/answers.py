"""What is asked of a Langevin flow, compiled: averages over paths drawn from its guide, and draws from its prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import GaussianSmoothed

from ..base import Params, without_prefix

if TYPE_CHECKING:
    from ..noise_space import Bound
    from .flow import LangevinFlow, Paths

# Draws of the guide that averages are taken over, and the seed of those that no caller has a key for: the same data give the same answer.
DRAWS = 32
_SEED = 0


@eqx.filter_jit
def lower_bound(model: LangevinFlow, params: Params, data: Sequences, key: Array) -> Bound:
    """`LangevinFlow.bound` with as many draws as averages take."""
    return model.bound(params, data, key, num_draws=DRAWS)


def _drawn(model: LangevinFlow, params: Params, data: Sequences, of: Callable[[Paths], Any], keys: Array, **options: bool) -> Any:
    """A function of paths for every key, leading."""
    law, states = model.noise_law(params, data)
    return jax.lax.map(lambda key: of(model.paths(params, data, law, states, key, **options)), keys)


@eqx.filter_jit
def expected_counts(model: LangevinFlow, params: Params, data: Sequences, without_inputs: bool) -> Array:
    """See `LangevinFlow.expected_counts`."""
    readout = without_prefix("emission", params)

    def mean(paths: Paths) -> Array:
        return model.readout.mean(readout, model.readout.predictor(readout, paths.positions, paths.velocities))

    rates = _drawn(model, params, data, mean, jax.random.split(jax.random.key(_SEED), DRAWS), without_inputs=without_inputs).mean(0)
    return jnp.where(jnp.asarray(data.mask)[..., None], jnp.swapaxes(rates, 0, 1), 0.0)


@eqx.filter_jit
def smoothed(model: LangevinFlow, params: Params, data: Sequences) -> GaussianSmoothed:
    """See `LangevinFlow.smooth`."""
    keys = jax.random.split(jax.random.key(_SEED), DRAWS)
    draws = _drawn(model, params, data, lambda paths: jnp.swapaxes(paths.positions, 0, 1), keys)
    means = draws.mean(0)
    centred = draws - means
    covariances = jnp.einsum("lsti,lstj->stij", centred, centred) / (DRAWS - 1)
    parts = model.bound(params, data, jax.random.key(_SEED), num_draws=DRAWS)
    real = jnp.asarray(data.mask)[..., None]
    lagged = jnp.full((len(means), means.shape[-1], means.shape[-1]), jnp.nan, means.dtype)
    bound = parts.log_likelihood - parts.divergence
    return GaussianSmoothed(bound, jnp.where(real, means, 0.0), jnp.where(real[..., None], covariances, 0.0), lagged)


@eqx.filter_jit
def mean_path(model: LangevinFlow, params: Params, data: Sequences) -> tuple[Array, Array]:
    """Positions and velocities along the path of the mean noise, [sequence, time, latent] each."""
    law, states = model.noise_law(params, data)
    paths = model.paths(params, data, law, states, None)
    return jnp.swapaxes(paths.positions, 0, 1), jnp.swapaxes(paths.velocities, 0, 1)


@eqx.filter_jit
def inferred_inputs(model: LangevinFlow, params: Params, data: Sequences) -> Array:
    """See `LangevinFlow.inferred_inputs`."""
    law, states = model.noise_law(params, data)
    inputs = model.paths(params, data, law, states, None).inputs
    return jnp.swapaxes(jnp.concatenate([inputs, jnp.zeros_like(inputs[:1])]), 0, 1)


@eqx.filter_jit
def sampled(model: LangevinFlow, key: Array, params: Params, data: Sequences, num_samples: int | None) -> Array:
    """See `LangevinFlow.sample_latents`."""
    draws = _drawn(model, params, data, lambda paths: jnp.swapaxes(paths.positions, 0, 1), jax.random.split(key, num_samples or 1))
    return draws if num_samples is not None else draws[0]


@eqx.filter_jit
def simulated(model: LangevinFlow, key: Array, params: Params, data: Sequences) -> tuple[Array, Array]:
    """Observations [sequence, time, neuron], and positions and velocities side by side, [sequence, time, 2 latent], drawn from the prior."""
    for_start, for_noise, for_states, for_values = jax.random.split(key, 4)
    count, steps = data.observed.shape[:2]
    start = jax.random.normal(for_start, (count, 2 * model.latent_dim))
    noise = jax.random.normal(for_noise, (steps - 1, count, model.latent_dim))
    states = None if model.states is None else model.states.simulate(without_prefix("states", params), count, steps, for_states)
    positions, velocities = model._travel(params, data, start, noise, states, None, None)
    readout = without_prefix("emission", params)
    values = model.readout.sample(for_values, readout, model.readout.predictor(readout, positions, velocities))
    return jnp.swapaxes(values, 0, 1), jnp.swapaxes(jnp.concatenate([positions, velocities], -1), 0, 1)


def held_out_gain(model: LangevinFlow, params: Params, training: Sequences, data: Sequences, hidden: Array, key: Array, num_draws: int) -> Array:
    """See `NoiseSpaceModel.held_out_gain`."""
    values = jnp.asarray(data.values)
    weight = (hidden & jnp.asarray(data.observed)).astype(values.dtype)
    readout = without_prefix("emission", params)
    law, states = model.noise_law(params, data, ~hidden)

    def log_probs(key: Array) -> Array:
        paths = model.paths(params, data, law, states, key)
        predictor = model.readout.predictor(readout, paths.positions, paths.velocities)
        return model.readout.log_prob(readout, values, jnp.swapaxes(predictor, 0, 1))

    predicted = jax.nn.logsumexp(jax.lax.map(log_probs, jax.random.split(key, num_draws)), axis=0) - jnp.log(num_draws)
    known = jnp.asarray(training.observed)
    total, count = jnp.where(known, jnp.asarray(training.values), 0.0).sum((0, 1)), known.sum((0, 1))
    constant = model.readout.initialize_offset(total, count, training)
    gain = (weight * (predicted - model.readout.log_prob(constant, values, constant["bias"]))).sum()
    return gain / model.readout.unit((weight * values).sum(), weight.sum())
