"""Expectation-maximisation."""

from __future__ import annotations

from typing import Any

import jax

from latentgate.data import Sequences
from latentgate.models import StateSpaceModel
from latentgate.models.base import Params

from .restarts import Climber, Evaluation, RestartEngine


class _ExpectationMaximisation(Climber):
    def start(self, model: StateSpaceModel, params: Params) -> Params:
        return params

    def params(self, model: StateSpaceModel, point: Any) -> Params:
        return point

    def evaluate(self, model: StateSpaceModel, data: Sequences, point: Params) -> Evaluation:
        # The chain itself is asked for all restarts at once (they are one more batch dimension), so its rare checks stay rare.
        chain = jax.vmap(model.potentials, (0, None))(point, data)
        smoothed = chain.smooth()
        prior = jax.vmap(model.log_prior)(point)
        proposal = jax.vmap(model.m_step, (0, None, 0))(point, data, smoothed)
        return Evaluation(smoothed.log_normaliser.sum(-1) + prior, smoothed.log_normaliser, proposal)


class EM(RestartEngine):
    """Expectation-maximisation of the log-joint (the log-likelihood under flat priors), from many starting points at once.

    The log-joint never falls; the engine checks this at every iteration.

    Args:
        restarts: independent starting points; the best is kept.
        max_iterations: limit for each restart.
        tolerance: a restart has converged when its log-joint rises by no more than tolerance * (1 + |log-joint|).
        block: iterations between updates of the progress bar.

    Example:
        >>> import latentgate as lg
        >>> lg.EM(restarts=20).restarts
        20
    """

    name = "EM"
    climber = _ExpectationMaximisation()
