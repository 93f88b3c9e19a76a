"""What the laws ask of an emission, compiled once for each row of the table."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import latentgate as lg
from latentgate.models.base import log_prior
from latentgate.models.distributions import mended
from latentgate.models.unconstrained import constrain, unconstrain

from .table import NUM_STATES, Row

# The table's parameters and two starts.
NUM_RESTARTS = 3


class Bench:
    """A row of the table with its data, complete and with missing entries, and compiled questions."""

    def __init__(self, row: Row):
        self.row = row
        self.emission = with_priors(row.emission, {name: getattr(row.emission, name) for name in row.other_priors})

    @cached_property
    def complete(self) -> lg.Sequences:
        return lg.Sequences.from_arrays(self.row.values, inputs=self.row.inputs)

    @cached_property
    def missing(self) -> lg.Sequences:
        """A quarter of the entries missing, one step altogether, and of the last sequence all but one entry."""
        rng = np.random.default_rng(20)
        values = [np.where(rng.uniform(size=value.shape) < 0.25, np.nan, value) for value in self.row.values]
        values[0][2] = np.nan
        values[0][0] = self.row.values[0][0]
        values[1][1] = self.row.values[1][1]
        values[-1][:] = np.nan
        values[-1][1, 0] = self.row.values[-1][1, 0]
        return lg.Sequences.from_arrays(values, inputs=self.row.inputs)

    @cached_property
    def weights(self) -> np.ndarray:
        """State probabilities, some of them exactly zero, none in the padding and none where a state forbids the data."""
        rng = np.random.default_rng(21)
        mask = np.asarray(self.complete.mask)
        probs = rng.dirichlet(np.ones(NUM_STATES), size=mask.shape)
        probs[:, 1] = np.eye(NUM_STATES)[0]
        possible = np.isfinite(self.inspect(self.data("complete"), weights=np.ones(probs.shape))[0][0])
        probs = np.where(possible, probs, 0.0)
        probs /= probs.sum(-1, keepdims=True)
        return np.where(mask[..., None], probs, 0.0)

    @cached_property
    def params(self) -> dict[str, jax.Array]:
        return {name: jnp.asarray(value) for name, value in self.row.params.items()}

    @cached_property
    def starts(self) -> dict[str, jax.Array]:
        """What `initialize` gives under `vmap` and `jit`, [restart, ...]."""
        keys = jax.random.split(jax.random.key(0), NUM_RESTARTS - 1)
        return jax.jit(jax.vmap(lambda key: self.emission.initialize(key, self.complete, NUM_STATES)))(keys)

    @cached_property
    def restarts(self) -> dict[str, jax.Array]:
        return {name: jnp.concatenate([value[None], self.starts[name]]) for name, value in self.params.items()}

    def data(self, which: str) -> lg.Sequences:
        """Complete or missing; flagged as incomplete, so that both go through one compiled program, the one that minds what is missing."""
        return dataclasses.replace(getattr(self, which), complete=False)

    def shortcut(self):
        """Log-likelihoods and an M-step of all restarts by the program for complete data."""
        assert self.complete.complete
        return _shortcut(self.emission, self.restarts, as_arrays(self.complete), jnp.asarray(self.weights))

    def m_step(self, data: lg.Sequences, *, params=None, weights=None, emission=None, repeat: int = 1):
        """M-steps of all restarts, one after the other with the same weights."""
        emission = self.emission if emission is None else emission
        params = self.restarts if params is None else params
        weights = jnp.asarray(self.weights) if weights is None else jnp.asarray(weights)
        return _repeat(emission, params, as_arrays(data), weights, jnp.asarray(repeat))

    def inspect(self, data: lg.Sequences, params=None, weights=None):
        """Log-likelihoods [restart, sequence, time, state], objectives [restart], and their gradients in unconstrained space [restart, ...]."""
        params = self.restarts if params is None else params
        weights = jnp.asarray(self.weights) if weights is None else jnp.asarray(weights)
        return _inspect(self.emission, params, as_arrays(data), weights)


def as_arrays(data: lg.Sequences) -> lg.Sequences:
    """Leaves on the device, of the precision that JAX has now."""
    return jax.tree.map(jnp.asarray, data)


def with_priors(emission, priors: dict):
    """The emission with these priors, their numbers as arrays: a change of numbers then compiles nothing."""
    for name, prior in priors.items():
        prior = jax.tree.map(lambda leaf: jnp.array(leaf, float), mended(prior))
        emission = eqx.tree_at(lambda whole, name=name: getattr(whole, name), emission, prior)
    return emission


@eqx.filter_jit
def _repeat(emission, params, data, weights, repeat):
    def once(_, params):
        return jax.vmap(lambda one: emission.m_step(one, data, weights))(params)

    return jax.lax.fori_loop(0, repeat, once, params)


@eqx.filter_jit
def _shortcut(emission, params, data, weights):
    return jax.vmap(lambda one: (emission.log_likelihood(one, data), emission.m_step(one, data, weights)))(params)


@eqx.filter_jit
def _inspect(emission, params, data, weights):
    priors = emission.priors(NUM_STATES)

    def one(params):
        def objective(free):
            natural = constrain(priors, free)
            log_likelihood = emission.log_likelihood(natural, data)
            weighted = jnp.where(weights > 0, weights * log_likelihood, 0.0)
            return weighted.sum() + log_prior(priors, natural), log_likelihood

        (value, log_likelihood), gradient = jax.value_and_grad(objective, has_aux=True)(unconstrain(priors, params))
        return log_likelihood, value, gradient

    return jax.vmap(one)(params)


@eqx.filter_jit
def scores(emission, params, inputs, keys):
    """Gradients of the log-density at draws of every state, in unconstrained space, [state, draw, parameter]."""
    priors = emission.priors(NUM_STATES)
    free = unconstrain(priors, params)
    recent = jnp.zeros((emission.num_lags, emission.num_features))

    def one(key, state):
        value = emission.sample(key, params, state, inputs, recent)
        data = lg.Sequences(
            values=value[None, None],
            observed=jnp.ones((1, 1, value.size), bool),
            lengths=jnp.ones(1, jnp.int32),
            inputs={name: columns[None, None] for name, columns in inputs.items()},
            times=None,
            complete=True,
        )
        gradient = jax.grad(lambda free: emission.log_likelihood(constrain(priors, free), data)[0, 0, state])(free)
        return jnp.concatenate([gradient[name].reshape(-1) for name in sorted(gradient)])

    return jax.vmap(lambda state: jax.vmap(lambda key: one(key, state))(keys))(jnp.arange(NUM_STATES))
