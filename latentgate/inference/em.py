"""Expectation-maximisation."""

from __future__ import annotations

from typing import Any

import jax

from latentgate.data import Sequences
from latentgate.kernels import Smoothed
from latentgate.models import StateSpaceModel
from latentgate.models.base import Params

from .climb import Climber, Evaluation
from .restarts import RestartEngine


class _ExpectationMaximisation(Climber):
    def start(self, model: StateSpaceModel, params: Params) -> Params:
        return params

    def params(self, model: StateSpaceModel, point: Any) -> Params:
        return point

    def evaluate(self, model: StateSpaceModel, data: Sequences, point: Params) -> Evaluation:
        def one(params: Params) -> Evaluation:
            smoothed = model.potentials(params, data).smooth()
            log_joint = smoothed.log_normaliser.sum() + model.log_prior(params) + model.log_penalty(params, data)
            occupancy = smoothed.occupancy if isinstance(smoothed, Smoothed) else None
            return Evaluation(log_joint, smoothed.log_normaliser, model.m_step(params, data, smoothed), occupancy)

        return jax.vmap(one)(point)


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
