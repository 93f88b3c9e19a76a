"""The M-step of GLMs with many covariates: a damped Fisher-scoring step against any prior.

The expected log-likelihood of every row of weights (one state, one neuron) is replaced by a quadratic around the present weights; the prior is kept
exactly, whatever its form (flat, normal, Laplace, tied across states, one-hot), and the sum is climbed by L-BFGS at a cost that does not depend on the
number of time steps. The step is taken if the true objective rises, else the curvature is raised and the step computed anew. All rows of a state share
one Gram matrix, scaled by their mean Fisher information: exact curvature would cost a pass over the data for every neuron.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from ..base import Params, Prior, log_prior
from ..unconstrained import maximise

# Steps on the surrogate, which cost next to nothing, and how often the curvature is raised before the M-step gives up for this iteration.
SURROGATE_STEPS = 40
ATTEMPTS = 5
DAMPING = 4.0


class LinearRows(NamedTuple):
    """Weights of every state and neuron on the columns of the design.

    Attributes:
        mean: [state, neuron, column].
        variance: of the weights, same shape, or None where they are known.
    """

    mean: Array
    variance: Array | None


def quadratic_step(
    rows_of: Callable[[Params], LinearRows],
    expected_log_likelihood: Callable[[LinearRows], Array],
    information: Callable[[LinearRows], Array],
    design: Array,
    weights: Array,
    priors: dict[str, Prior],
    params: Params,
) -> Params:
    """Parameters with a larger objective, or the same ones.

    Args:
        rows_of: parameters to linear weights.
        expected_log_likelihood: linear weights to Σ weights · log-likelihood, scalar.
        information: linear weights to the Fisher information of the predictor, summed over steps with `weights`, [state, neuron].
        design: covariates [sequence, time, column].
        weights: state probabilities [sequence, time, state].
        priors: prior of each parameter.
        params: current values.
    """
    rows = rows_of(params)
    present, gradient = jax.value_and_grad(lambda mean: expected_log_likelihood(rows._replace(mean=mean)))(rows.mean)
    present = present + log_prior(priors, params)
    flat = design.reshape(-1, design.shape[-1])
    gram = jnp.stack([(flat * weights[..., k].reshape(-1, 1)).T @ flat for k in range(weights.shape[-1])])
    occupancy = weights.sum((0, 1))[:, None]
    curvature = information(rows) / jnp.where(occupancy > 0, occupancy, 1.0)

    def attempt(damping: Array) -> tuple[Params, Array]:
        def surrogate(new: Params) -> Array:
            proposed = rows_of(new)
            move = proposed.mean - rows.mean
            bend = jnp.einsum("knp,kpq,knq->kn", move, gram, move)
            if proposed.variance is not None:
                # What uncertain weights cost is their spread times the same curvature, undamped: it is part of the objective.
                bend = damping * bend + jnp.einsum("knp,kpp->kn", proposed.variance, gram)
            else:
                bend = damping * bend
            return (gradient * move).sum() - 0.5 * (curvature * bend).sum()

        new = maximise(surrogate, priors, params, SURROGATE_STEPS)
        return new, expected_log_likelihood(rows_of(new)) + log_prior(priors, new)

    def unfinished(state: tuple[Array, Array, Params, Array]) -> Array:
        tried, _, _, value = state
        # Written so that NaN counts as no progress.
        return (tried < ATTEMPTS) & ~(value >= present)

    def again(state: tuple[Array, Array, Params, Array]) -> tuple[Array, Array, Params, Array]:
        tried, damping, _, _ = state
        new, value = attempt(damping)
        return tried + 1, damping * DAMPING, new, value

    start = (jnp.zeros((), jnp.int32), jnp.ones(()), params, jnp.full_like(present, -jnp.inf))
    _, _, new, value = lax.while_loop(unfinished, again, start)
    return jax.tree.map(lambda a, b: jnp.where(value >= present, a, b), new, params)
