"""The filter of latents seen through counts: at each step the mode given what the earlier counts left, and the curvature there (Eden et al. 2004)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.kernels import GaussianFiltered
from latentgate.kernels.gaussian import Edges
from latentgate.kernels.gaussian.sequences_last import Law, apply, between, repeated, scan_edges, see

from .approximation import Counts, Options, Readout, climb
from .count_terms import count_terms


def laplace_filter(options: Options, law: Law, readout: Readout, counts: Counts, log_factorials: Array) -> GaussianFiltered:
    """Law of each latent given the counts up to its step, and Laplace's approximation of each step's log-probability given those before.

    The product of these is an approximation of its own: its log-normaliser is not that of the smoother.

    Args: as `approximation.laplace`.
    """
    loadings = readout.loadings
    outer = (loadings[:, :, None] * loadings[:, None, :]).reshape(len(loadings), -1).T
    size, num_steps = loadings.shape[1], len(counts.values)
    active = jnp.arange(num_steps)[:, None] < counts.lengths
    offsets = jnp.broadcast_to(readout.offset, counts.values.shape)
    eps = float(jnp.finfo(counts.values.dtype).eps)
    enough = jnp.full(len(counts.lengths), eps**0.75, counts.values.dtype)

    def meet(mean: Array, covariance: Array, now: tuple[Array, Array, Array, Array]):
        values, observed, offset, factorials = now

        def expand(path: Array):
            terms = count_terms(options.link, values, loadings @ path + offset).where(observed)
            precision = (outer @ terms.curvature).reshape(size, size, -1)
            node = (precision, loadings.T @ (terms.slope + terms.curvature * (loadings @ path)))
            return terms, see(mean, covariance, node)

        def evaluate(point: tuple[Array, Array]):
            path, pull = point
            terms, (new, *_) = expand(path)
            value = terms.value.sum(0) - 0.5 * jnp.sum(pull * (path - mean), 0)
            step = (new - path, loadings.T @ (terms.slope - terms.curvature * (loadings @ (new - path))) - pull)
            return value, step, jnp.sum(step[0] * (loadings.T @ terms.slope - pull), 0)

        end = climb(evaluate, (mean, jnp.zeros_like(mean)), enough)
        path = end.point[0]
        terms, (_, spread, _, increment) = expand(path)
        drive = loadings @ path
        constant = (terms.value - drive * (terms.slope + 0.5 * terms.curvature * drive)).sum(0) - factorials
        return path, spread, jnp.where(end.done, increment + constant, jnp.nan)

    def step(carry: tuple[Array, Array], now: tuple[Edges, tuple[Array, Array, Array, Array], Array]):
        edge, data, real = now
        mean, covariance = carry
        moved = jnp.where(real, apply(edge.matrix, mean) + edge.bias, mean)
        spread = jnp.where(real, between(edge.matrix, covariance) + edge.covariance, covariance)
        mean, covariance, increment = meet(moved, spread, data)
        return (mean, covariance), (mean, covariance, increment)

    data = (counts.values, counts.observed, offsets, log_factorials)
    first = meet(repeated(law.initial_mean, counts.lengths), repeated(law.initial_covariance, counts.lengths), jax.tree.map(lambda leaf: leaf[0], data))
    _, later = scan_edges(step, first[:2], law.edges, (jax.tree.map(lambda leaf: leaf[1:], data), active[1:]))
    means, covariances, increments = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, later)
    increments = jnp.where(active, increments, 0.0).T
    means = jnp.transpose(jnp.where(active[:, None], means, 0.0), (2, 0, 1))
    covariances = jnp.transpose(jnp.where(active[:, None, None], covariances, 0.0), (3, 0, 1, 2))
    return GaussianFiltered(means, covariances, increments, increments.sum(-1))
