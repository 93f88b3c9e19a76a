"""The M-step of count emissions: one regression a neuron on latents that are known by their means and covariances."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from numpyro.distributions import Distribution

from ..newton import newton_rows, row_log_prior, value_and_derivatives, weighted_gram
from .count_terms import Terms, count_terms


class Regressors(NamedTuple):
    """What predictors are made of, leading dimensions [sequence, time].

    Attributes:
        known: [..., k]: means of the latents, then inputs and a constant.
        covariances: of the latents, [..., d, d].
        own: of each neuron alone, [..., neuron, b], or None.
    """

    known: Array
    covariances: Array
    own: Array | None


def raise_rows(
    link: str, rows: Array, regressors: Regressors, counts: Array, observed: Array, priors: list[tuple[Distribution, slice, tuple[int, ...]]], num_steps: int
) -> Array:
    """Rows [neuron, k + b] that raise the expected log-probability of the counts plus the log-prior, each neuron's on its own; none ever falls.

    The curvature leaves out how the latents' covariances bend the average rate a second time, which makes each step cost one evaluation's matrix products.

    Args:
        link: "exp" or "softplus".
        rows: where to start.
        regressors: see there.
        counts: [sequence, time, neuron].
        observed: bool, as the counts.
        priors: with the columns that each is the prior of and the shape that these have as a parameter; all independent across neurons.
        num_steps: candidates tried.
    """
    num_known, size = regressors.known.shape[-1], regressors.covariances.shape[-1]
    flat_covariances = regressors.covariances.reshape(*regressors.covariances.shape[:2], size * size)

    def of_prior(rows: Array) -> Array:
        return sum((row_log_prior(prior, rows[:, columns].reshape(shape)) for prior, columns, shape in priors), jnp.zeros_like(rows[:, 0]))

    def evaluate(rows: Array) -> tuple[Array, Array, Array]:
        terms = row_terms(link, rows, regressors, counts, observed)
        value, gradient, curvature = value_and_derivatives(of_prior, rows)
        spread = (terms.curvature.reshape(-1, len(rows)).T @ flat_covariances.reshape(-1, size * size)).reshape(-1, size, size)
        gradient = gradient.at[:, :num_known].add(jnp.einsum("stn,stk->nk", terms.slope, regressors.known))
        gradient = gradient.at[:, :size].add(-jnp.einsum("nij,nj->ni", spread, rows[:, :size]))
        curvature = curvature.at[:, :num_known, :num_known].add(weighted_gram(regressors.known, terms.curvature))
        curvature = curvature.at[:, :size, :size].add(spread)
        if regressors.own is not None:
            weighted = terms.curvature[..., None] * regressors.own
            cross = jnp.einsum("stnb,stk->nbk", weighted, regressors.known)
            gradient = gradient.at[:, num_known:].add(jnp.einsum("stn,stnb->nb", terms.slope, regressors.own))
            curvature = curvature.at[:, num_known:, num_known:].add(jnp.einsum("stnb,stnc->nbc", weighted, regressors.own))
            curvature = curvature.at[:, num_known:, :num_known].add(cross)
            curvature = curvature.at[:, :num_known, num_known:].add(cross.swapaxes(1, 2))
        return value + terms.value.sum((0, 1)), gradient, curvature

    return newton_rows(evaluate, rows, num_steps)


def row_terms(link: str, rows: Array, regressors: Regressors, counts: Array, observed: Array) -> Terms:
    """Expected terms of every count, [sequence, time, neuron]."""
    num_known, size = regressors.known.shape[-1], regressors.covariances.shape[-1]
    mean = regressors.known @ rows[:, :num_known].T
    if regressors.own is not None:
        mean = mean + jnp.einsum("stnb,nb->stn", regressors.own, rows[:, num_known:])
    loadings = rows[:, :size]
    squares = (loadings[:, :, None] * loadings[:, None, :]).reshape(len(rows), -1)
    covariances = regressors.covariances.reshape(*regressors.covariances.shape[:2], size * size)
    return count_terms(link, counts, mean, covariances @ squares.T).where(observed)
