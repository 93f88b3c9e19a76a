"""Any model as a numpyro program: every prior sampled, the log-likelihood added as a factor."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
from jax import Array
from numpyro.infer.util import potential_energy

from latentgate.data import Sequences
from latentgate.models import StateSpaceModel
from latentgate.models.base import Params, resolve
from latentgate.models.priors import CategoricalBound
from latentgate.models.unconstrained import constrain, unconstrain

from .restarts import starting_points


def numpyro_model(model: StateSpaceModel, data: Sequences, scale: float | Array = 1.0) -> None:
    """The model as a numpyro program, for numpyro's own engines, guides and tools.

    Args:
        model: any latentgate model.
        data: sequences; prepared or not.
        scale: of the log-likelihood: the number of all sequences over the number in a minibatch.

    Example:
        >>> import jax, numpy as np, latentgate as lg
        >>> from numpyro.infer import MCMC, NUTS
        >>> from latentgate.inference import numpyro_model
        >>> data = lg.Sequences.from_arrays([np.random.default_rng(0).poisson(2.0, (20, 1)).astype(float)])
        >>> sampler = MCMC(NUTS(numpyro_model), num_warmup=5, num_samples=5, progress_bar=False)
        >>> sampler.run(jax.random.key(0), lg.HMM(1, lg.emissions.Poisson(1)), data)
        >>> sampler.get_samples()["emission.rates"].shape
        (5, 1, 1)
    """
    params: Params = {}
    for name, prior in model.priors().items():
        params[name] = jnp.asarray(numpyro.sample(name, resolve(prior, params)))
    numpyro.factor("log_likelihood", scale * (model.potentials(params, data).log_normaliser().sum() + model.log_penalty(params, data)))


def potential(model: StateSpaceModel, data: Sequences, free: Params) -> Array:
    """Minus the log-joint density of unconstrained parameters, the Jacobian included, scalar."""
    return jnp.asarray(potential_energy(numpyro_model, (model, data), {}, free))


def require_density(model: StateSpaceModel, params: Params, engine: str) -> None:
    """Raises ValueError if a prior of the model is no probability law, so that there is no posterior to sample."""
    for name, prior in model.priors().items():
        if isinstance(resolve(prior, params), CategoricalBound):
            raise ValueError(
                f"engine: {engine} needs a posterior density, but the prior of {name!r} is a variational bound over a discrete type; "
                'use lg.priors.OneHot("gumbel-softmax"), or fit this model with lg.EM or lg.MAP.'
            )


def scattered_start(model: StateSpaceModel, data: Sequences, key: Array, centre: Params, copies: int) -> Params:
    """Unconstrained parameters near a fit, leaves [copy, ...]: the fit, mixed with a few per cent of a random start.

    The supports of priors are convex, so a mixture lies inside them, also where the fit itself lies on the boundary, at a probability of zero, say.
    """
    scatter = starting_points(model, data, jax.random.split(key, copies))
    mixed = {name: 0.97 * jnp.asarray(centre[name], value.dtype) + 0.03 * value for name, value in scatter.items()}
    return jax.vmap(lambda params: unconstrain(model.priors(), params))(mixed)


@eqx.filter_jit
def natural(model: StateSpaceModel, free: Params) -> Params:
    """Unconstrained draws, leaves [chain, draw, ...], as natural parameters."""
    return jax.vmap(jax.vmap(lambda one: constrain(model.priors(), one)))(free)
