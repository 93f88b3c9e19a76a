"""What a model says of data, averaged over draws of its parameters; a point estimate is one draw."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import GaussianFiltered, GaussianSmoothed
from latentgate.models.base import Model, Params

# Draws taken as one more batch dimension of the kernels; more would hold more memory, and be no faster.
_TOGETHER = 8


@eqx.filter_jit
def laws(model: Model, draws: Params, data: Sequences, question: str) -> tuple[dict[str, Array], Array]:
    """Mean over draws of the smoothed or filtered laws.

    Args:
        model: the structure.
        draws: leaves [draw, ...].
        data: sequences.
        question: "smooth" or "filter".

    Returns:
        "probs" [sequence, time, state] of a discrete chain; "mean" [sequence, time, latent] and "covariance" [sequence, time, latent, latent] of a
        Gaussian one, which spread of the means over draws adds to. Log-likelihood of each draw [draw, sequence].
    """

    def ask(params: Params) -> tuple[dict[str, Array], Array]:
        answer = getattr(model, question)(params, data)
        if isinstance(answer, GaussianSmoothed | GaussianFiltered):
            outer = answer.means[..., :, None] * answer.means[..., None, :]
            return {"mean": answer.means, "own": jnp.broadcast_to(answer.covariances, outer.shape), "outer": outer}, answer.log_normaliser
        return {"probs": answer.marginals if question == "smooth" else answer.probs}, answer.log_normaliser

    def add(total: dict[str, Array], params: Params) -> tuple[dict[str, Array], Array]:
        found, log_likelihood = ask(params)
        return jax.tree.map(jnp.add, total, found), log_likelihood

    first = jax.eval_shape(lambda draws: ask({name: value[0] for name, value in draws.items()})[0], draws)
    total, log_likelihood = jax.lax.scan(add, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first), draws)
    mean = jax.tree.map(lambda leaf: leaf / len(log_likelihood), total)
    if "probs" in mean:
        return mean, log_likelihood
    spread = mean["outer"] - mean["mean"][..., :, None] * mean["mean"][..., None, :]
    return {"mean": mean["mean"], "covariance": mean["own"] + spread}, log_likelihood


@eqx.filter_jit
def log_likelihoods(model: Model, draws: Params, data: Sequences) -> Array:
    """Log-likelihood of each sequence under each draw, latents integrated out, [draw, sequence]."""
    return jax.lax.map(lambda params: model.log_likelihood(params, data), draws, batch_size=_TOGETHER)


@eqx.filter_jit
def one_step_ahead(model: Model, draws: Params, data: Sequences) -> Array:
    """Log p(data at t | data before t, parameters) under each draw, [draw, sequence, time]; zero at padding."""
    return jax.lax.map(lambda params: model.filter(params, data).log_increments, draws, batch_size=_TOGETHER)


@eqx.filter_jit
def latents(model: Model, draws: Params, data: Sequences, key: Array) -> Array:
    """One exact draw of the latents for each draw of the parameters: int32 [draw, sequence, time], -1 at padding, or [draw, sequence, time, latent]."""
    keys = jax.random.split(key, len(next(iter(draws.values()))))
    return jax.lax.map(lambda now: model.sample_latents(now[1], now[0], data), (draws, keys))


def log_mean_exp(values: Array) -> Array:
    """Log of the mean of exp over the leading axis."""
    return jax.nn.logsumexp(values, axis=0) - jnp.log(len(values))
