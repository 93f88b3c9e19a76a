"""Maximum a posteriori by gradient ascent on the marginal log-joint."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from latentgate.data import Sequences
from latentgate.models import StateSpaceModel
from latentgate.models.base import Params
from latentgate.models.unconstrained import constrain, lbfgs, unconstrain

from .climb import Climber, Evaluation
from .restarts import RestartEngine


class _Point(NamedTuple):
    free: Params
    solver: Any


class _GradientAscent(Climber):
    def start(self, model: StateSpaceModel, params: Params) -> _Point:
        free = jax.vmap(lambda one: unconstrain(model.priors(), one))(params)
        return _Point(free, jax.vmap(lambda one: lbfgs().init(ravel_pytree(one)[0]))(free))

    def params(self, model: StateSpaceModel, point: _Point) -> Params:
        return jax.vmap(lambda free: constrain(model.priors(), free))(point.free)

    def evaluate(self, model: StateSpaceModel, data: Sequences, point: _Point) -> Evaluation:
        priors = model.priors()

        def one(free: Params, solver: Any) -> Evaluation:
            start, unravel = ravel_pytree(free)

            def loss(vector: Array) -> tuple[Array, tuple[Array, Array]]:
                params = constrain(priors, unravel(vector))
                log_likelihood = model.potentials(params, data).log_normaliser()
                log_joint = log_likelihood.sum() + model.log_prior(params) + model.log_penalty(params, data)
                return -log_joint, (log_joint, log_likelihood)

            def value(vector: Array) -> Array:
                return loss(vector)[0]

            (_, (log_joint, log_likelihood)), gradient = jax.value_and_grad(loss, has_aux=True)(start)
            updates, solver = lbfgs().update(gradient, solver, start, value=-log_joint, grad=gradient, value_fn=value)
            moved = start + jnp.asarray(updates)
            return Evaluation(log_joint, log_likelihood, _Point(unravel(jnp.where(jnp.isfinite(moved).all(), moved, start)), solver))

        return jax.vmap(one)(point.free, point.solver)


class MAP(RestartEngine):
    """Maximum a posteriori by L-BFGS on the marginal log-joint in unconstrained space, from many starting points at once.

    The density is that of the natural parameters, without a Jacobian, so the maximum is the same one that EM climbs to. The gradient is the
    smoother's (Fisher's identity). Prefer it to `EM` where M-steps have no closed form.

    Args:
        restarts, max_iterations, tolerance, block: as in `EM`.
    """

    name = "MAP"
    climber = _GradientAscent()
