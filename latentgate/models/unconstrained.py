"""Parameters as one unconstrained vector and back, and the numerical M-step that works there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from numpyro.distributions import biject_to

from .base import Params, Prior, log_prior, resolve


def transforms(priors: Mapping[str, Prior], params: Mapping[str, Array]) -> dict:
    """Bijection from the reals to the support of each prior; the support of a hierarchical prior must not depend on other parameters' values."""
    return {name: biject_to(resolve(prior, params).support) for name, prior in priors.items()}


def unconstrain(priors: Mapping[str, Prior], params: Mapping[str, Array]) -> Params:
    """Natural to unconstrained values."""
    return {name: transform.inv(params[name]) for name, transform in transforms(priors, params).items()}


def constrain(priors: Mapping[str, Prior], free: Mapping[str, Array]) -> Params:
    """Unconstrained to natural values, in the order of the priors, so that each hierarchical prior sees the parameters before it."""
    params: Params = {}
    for name, prior in priors.items():
        params[name] = biject_to(resolve(prior, params).support)(free[name])
    return params


def maximise(objective: Callable[[Params], Array], priors: Mapping[str, Prior], params: Params, num_steps: int) -> Params:
    """Raises objective + log-prior by L-BFGS in unconstrained space, from `params`.

    The log-prior is the density in natural space, without the Jacobian, so the result is the same maximum that closed forms find.
    The best point visited is returned, so the value never falls.

    Args:
        objective: scalar function of the natural parameters.
        priors: prior of each parameter.
        params: starting values.
        num_steps: L-BFGS steps.
    """
    start, unravel = ravel_pytree(unconstrain(priors, params))

    def loss(vector: Array) -> Array:
        natural = constrain(priors, unravel(vector))
        return -(objective(natural) + log_prior(priors, natural))

    best = minimise(loss, start, num_steps)
    return constrain(priors, unravel(best))


def minimise(loss: Callable[[Array], Array], start: Array, num_steps: int) -> Array:
    """Best point visited by L-BFGS with a backtracking line search (optax), among the start and the first `num_steps` points after it."""
    solver = lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def step(carry, _):
        point, state, best, best_value = carry
        value, gradient = value_and_grad(point, state=state)
        better = value < best_value
        best, best_value = jnp.where(better, point, best), jnp.where(better, value, best_value)
        updates, state = solver.update(gradient, state, point, value=value, grad=gradient, value_fn=loss)
        moved = point + updates
        usable = jnp.all(jnp.isfinite(moved))
        return (jnp.where(usable, moved, point), state, best, best_value), None

    # Every point is valued at the head of the next step, so the loss is compiled once and one step more is run.
    carry = (start, solver.init(start), start, jnp.full((), jnp.inf, start.dtype))
    return jax.lax.scan(step, carry, None, length=num_steps + 1)[0][2]


def lbfgs() -> optax.GradientTransformationExtraArgs:
    """The optimiser of every gradient fit. (A zoom line search climbs no faster here and takes twice as long to compile.)"""
    return optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(max_backtracking_steps=16, decrease_factor=0.5, store_grad=True))
