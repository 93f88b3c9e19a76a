"""What a model says of data, averaged over draws of its parameters; a point estimate is one draw."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences
from latentgate.models import StateSpaceModel
from latentgate.models.base import Params

# Draws taken as one more batch dimension of the kernels; more would hold more memory, and be no faster.
_TOGETHER = 8


@eqx.filter_jit
def state_probabilities(model: StateSpaceModel, draws: Params, data: Sequences, question: str) -> tuple[Array, Array]:
    """Mean over draws of the smoothed or filtered laws.

    Args:
        model: the structure.
        draws: leaves [draw, ...].
        data: sequences.
        question: "smooth" or "filter".

    Returns:
        probabilities [sequence, time, state]; log-likelihood of each draw [draw, sequence].
    """

    def add(total: Array, params: Params) -> tuple[Array, Array]:
        answer = getattr(model.potentials(params, data), question)()
        return total + (answer.marginals if question == "smooth" else answer.probs), answer.log_normaliser

    first = {name: value[0] for name, value in draws.items()}
    shape = jax.eval_shape(lambda params: model.potentials(params, data).log_nodes, first)
    total, log_likelihood = jax.lax.scan(add, jnp.zeros(shape.shape, shape.dtype), draws)
    return total / len(log_likelihood), log_likelihood


@eqx.filter_jit
def log_likelihoods(model: StateSpaceModel, draws: Params, data: Sequences) -> Array:
    """Log-likelihood of each sequence under each draw, latents integrated out, [draw, sequence]."""
    return jax.lax.map(lambda params: model.potentials(params, data).log_normaliser(), draws, batch_size=_TOGETHER)


@eqx.filter_jit
def one_step_ahead(model: StateSpaceModel, draws: Params, data: Sequences) -> Array:
    """Log p(data at t | data before t, parameters) under each draw, [draw, sequence, time]; zero at padding."""
    return jax.lax.map(lambda params: model.potentials(params, data).filter().log_increments, draws, batch_size=_TOGETHER)


@eqx.filter_jit
def latents(model: StateSpaceModel, draws: Params, data: Sequences, key: Array) -> Array:
    """One exact draw of the latents for each draw of the parameters, int32 [draw, sequence, time]; -1 at padding."""
    keys = jax.random.split(key, len(next(iter(draws.values()))))
    return jax.lax.map(lambda now: model.potentials(now[0], data).sample(now[1]), (draws, keys))


def log_mean_exp(values: Array) -> Array:
    """Log of the mean of exp over the leading axis."""
    return jax.nn.logsumexp(values, axis=0) - jnp.log(len(values))
