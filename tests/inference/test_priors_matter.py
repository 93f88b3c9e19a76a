"""Every prior that any model accepts moves the gradient that MAP, SVI and NUTS climb, and the M-step of EM; elsewhere some did neither."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

import latentgate as lg
from latentgate.models.base import log_prior
from latentgate.models.emissions.base import Emission
from latentgate.models.gates import Gate

from ..model_table import small_models


def more_models():
    """Emissions that the table of models has not."""
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(20, 2)) for _ in range(2)]

    def data(make):
        return lg.Sequences.from_arrays([make().astype(float) for _ in inputs], inputs=inputs)

    binary, labels, counts = (data(lambda high=high, width=width: rng.integers(0, high, (20, width))) for high, width in ((2, 2), (3, 1), (6, 2)))
    return {
        "bernoulli": (lg.HMM(2, lg.emissions.Bernoulli(2)), binary),
        "categorical": (lg.HMM(2, lg.emissions.Categorical(3)), labels),
        "categorical glm": (lg.HMM(2, lg.emissions.CategoricalGLM(3, 2)), labels),
        "negative binomial": (lg.HMM(2, lg.emissions.NegativeBinomial(2)), counts),
        "gaussian, diagonal": (lg.HMM(2, lg.emissions.Gaussian(2, covariance="diagonal")), counts),
        "stationary": (lg.HMM(2, lg.emissions.Poisson(2), lg.transitions.Stationary(concentration=2.0)), counts),
    }


MODELS = small_models() | more_models()
# Numbers that are priors: parameters of a prior that a part keeps as plain numbers.
NUMBERS = ("concentration", "stickiness", "scale", "temperature", "weight_scale", "bias_scale")


def priors_of(module: eqx.Module, path: tuple[str, ...] = ()):
    """(path, value) of every prior that a model keeps, in all its parts."""
    for field in dataclasses.fields(module):
        value, here = getattr(module, field.name), (*path, field.name)
        if isinstance(value, dist.Distribution) or (field.name in NUMBERS and value is not None and not isinstance(value, eqx.Module)):
            yield here, value
        elif isinstance(value, eqx.Module):
            yield from priors_of(value, here)
        elif isinstance(value, dict):
            for name, part in value.items():
                yield from priors_of(part, (*here, name))


def other_prior(value):
    """Another prior with the same support."""
    if isinstance(value, tuple):
        return tuple(1.5 * number + 0.1 * index for index, number in enumerate(value))
    if isinstance(value, int | float):
        return 1.5 * value + 0.5
    if isinstance(value, dist.Independent):
        return other_prior(value.base_dist).to_event(value.reinterpreted_batch_ndims)
    if isinstance(value, dist.ExpandedDistribution):
        return other_prior(value.base_dist).expand(value.batch_shape)
    shifted = {
        name: jnp.asarray(getattr(value, name)) + 0.7 if constraint is constraints.real else 1.5 * jnp.asarray(getattr(value, name))
        for name, constraint in value.arg_constraints.items()
    }
    return type(value)(**shifted)


def replaced(module, path, value):
    """The module with what stands at `path` replaced."""
    if not path:
        return value
    inside = module[path[0]] if isinstance(module, dict) else getattr(module, path[0])
    new = replaced(inside, path[1:], value)
    if isinstance(module, dict):
        return {**module, path[0]: new}
    # Not the constructor: it would check and fill in again what the model has behind it.
    copy = object.__new__(type(module))
    for field in dataclasses.fields(module):
        object.__setattr__(copy, field.name, new if field.name == path[0] else getattr(module, field.name))
    return copy


def cases():
    """One case a kind: the part that keeps the prior, with its own form of coupling, and the name of the prior there."""
    seen = set()
    for name, (model, _) in MODELS.items():
        for path, _ in priors_of(model):
            owner = model
            for step in path[:-1]:
                owner = owner[step] if isinstance(owner, dict) else getattr(owner, step)
            parameter = {"history_prior": "emission.history", "weight_prior": "emission.weights", "bias_prior": "emission.bias"}.get(path[-1])
            kind = (type(owner).__name__, *(getattr(owner, option, None) for option in ("form", "dale", "covariance")), path[-1])
            # Emissions with a `scale` only build their default priors from it; `history_prior` without a history is nobody's prior (its own test is below).
            # The temperature of a gate is part of the model.
            part = (isinstance(owner, Emission) and path[-1] == "scale") or (isinstance(owner, Gate) and path[-1] == "temperature")
            idle = part or (parameter is not None and parameter not in model.dims())
            if kind not in seen and not idle:
                seen.add(kind)
                yield pytest.param(name, path, id=f"{kind[0]}.{path[-1]} in {name}")


CASES = list(cases())


def test_the_table_reaches_every_kind_of_prior():
    assert len(CASES) > 20
    assert {case.values[1][-1] for case in CASES} > {"concentration", "prior", "scale", "temperature", "log_strength", "weight_prior"}


def test_a_prior_without_its_parameter_is_refused():
    with pytest.raises(ValueError, match="history_prior: found Normal"):
        lg.emissions.PoissonGLM(3, history_prior=dist.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="weight_prior: found Normal"):
        lg.emissions.NegativeBinomialGLM(3, weight_prior=dist.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="bias_prior: found Normal"):
        lg.emissions.BernoulliGLM(2, bias=False, bias_prior=dist.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="temperature: found"):
        lg.priors.OneHot("categorical", temperature=0.3)


@eqx.filter_jit
def m_step(model, params, data, smoothed):
    """Compiled once for the model that all priors of a row are compared with."""
    return model.m_step(params, data, smoothed)


@pytest.mark.parametrize(("name", "path"), CASES)
def test_a_prior_moves_the_gradient_and_the_m_step(name, path, float64):
    model, data = MODELS[name]
    value = dict(priors_of(model))[path]
    other = replaced(model, path, other_prior(value))
    params = model.initialize(jax.random.key(2), data)

    def difference(params):
        return log_prior(other.priors(), params) - log_prior(model.priors(), params)

    slopes = {key: float(jnp.abs(slope - slope.mean()).max() + jnp.abs(slope).max()) for key, slope in jax.jit(jax.grad(difference))(params).items()}
    moved = [key for key, slope in slopes.items() if slope > 1e-6]
    assert moved, f"the prior at {path} changes no gradient"
    smoothed = model.smooth(params, data)
    new, old = (m_step(one, params, data, smoothed) for one in (other, model))
    changes = {key: float(np.abs(np.asarray(new[key]) - np.asarray(old[key])).max()) for key in moved}
    assert max(changes.values()) > 1e-7, f"the prior at {path} changes no M-step: {changes}"
