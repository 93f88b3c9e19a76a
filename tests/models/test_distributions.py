"""Mended distributions against SciPy, and where numpyro's own fail."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from numpyro.distributions import biject_to

import latentgate as lg
from latentgate.models.base import with_shape
from latentgate.models.distributions import Beta, Dirichlet, Gamma, InverseWishart, mended
from latentgate.models.specification import from_specification, to_specification

pytestmark = pytest.mark.usefixtures("float64")


def test_dirichlet():
    concentration, value = np.array([2.0, 1.0, 0.7]), np.array([0.2, 0.5, 0.3])
    assert_allclose(Dirichlet(concentration).log_prob(value), scipy.stats.dirichlet(concentration).logpdf(value), rtol=1e-12)
    flat = Dirichlet(np.ones(3)).log_prob(np.array([[0.0, 0.4, 0.6], [0.0, 0.0, 1.0]]))
    assert_allclose(flat, np.log(2.0), rtol=1e-12)
    assert Dirichlet(np.full(3, 1.1)).log_prob(np.array([0.0, 0.4, 0.6])) == -np.inf


def test_beta():
    value = np.array([0.01, 0.4, 0.99])
    assert_allclose(Beta(2.0, 0.7).log_prob(value), scipy.stats.beta(2.0, 0.7).logpdf(value), rtol=1e-12)
    assert_allclose(Beta(1.0, 1.0).log_prob(np.array([0.0, 1.0])), 0.0, atol=1e-15)


def test_gamma():
    value = np.array([0.01, 2.0, 30.0])
    assert_allclose(Gamma(2.0, 0.7).log_prob(value), scipy.stats.gamma(2.0, scale=1 / 0.7).logpdf(value), rtol=1e-12)
    assert_allclose(Gamma(1.0, 0.7).log_prob(0.0), np.log(0.7), rtol=1e-12)


def test_inverse_wishart():
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(4, 3, 5))
    values, scale = roots[:3] @ roots[:3].swapaxes(-1, -2), roots[3] @ roots[3].T
    prior = mended(dist.InverseWishart(6.0, scale))
    assert isinstance(prior, InverseWishart)
    found = jax.jit(prior.log_prob)(values)
    assert_allclose(found, [scipy.stats.invwishart(6.0, scale).logpdf(value) for value in values], rtol=1e-10)
    assert_allclose(jax.jit(with_shape(prior, (3, 3, 3), "covariances").log_prob)(values), found.sum(), rtol=1e-12)
    mode = scale / (6.0 + 3 + 1)
    around = jax.jit(prior.log_prob)(mode * np.array([1.0, 1.01, 0.99])[:, None, None])
    assert around[0] > max(around[1:])


def test_the_bijection_of_the_inverse_wishart_calls_no_linear_algebra_library():
    prior = with_shape(InverseWishart(15.0, scale_tril=np.eye(13)), (2, 13, 13), "covariances")
    roots = np.random.default_rng(1).normal(size=(2, 13, 15))
    values = jnp.asarray(roots @ roots.swapaxes(-1, -2))
    transform = biject_to(prior.support)

    def there_and_back(values):
        back = transform(transform.inv(values))
        return back, prior.log_prob(back)

    lowered = jax.jit(there_and_back).lower(values)
    assert "custom_call" not in lowered.as_text()
    assert_allclose(lowered.compile()(values)[0], values, rtol=1e-10, atol=1e-10)


def test_what_is_not_mended_stays():
    for prior in (dist.Normal(0.0, 1.0), dist.InverseGamma(2.0, 1.0)):
        assert mended(prior) is prior
    assert isinstance(mended(dist.Gamma(2.0, 1.0)), Gamma)
    assert isinstance(mended(dist.Beta(2.0, 1.0)), Beta)
    assert isinstance(mended(dist.Dirichlet(np.ones(2))), Dirichlet)


def test_a_model_read_from_a_file_keeps_its_closed_form(monkeypatch):
    for emission in (lg.emissions.Gaussian(2), lg.emissions.Bernoulli(2), lg.emissions.Categorical(3)):
        restored = from_specification(to_specification(emission))
        for name, prior in emission.priors(2).items():
            again = restored.priors(2)[name]
            value = prior.sample(jax.random.key(0))
            found, expected = jax.jit(lambda value, again=again, prior=prior: (again.log_prob(value), prior.log_prob(value)))(value)
            assert_allclose(found, expected, rtol=1e-12)
    # Traced, not run: the numerical way would call this.
    monkeypatch.setattr(lg.emissions.Emission, "m_step", None)
    data = lg.Sequences.from_arrays([np.arange(6.0).reshape(3, 2)])
    params = {"means": jnp.zeros((1, 2)), "covariances": jnp.eye(2)[None]}
    restored = from_specification(to_specification(lg.emissions.Gaussian(2)))
    shapes = jax.eval_shape(lambda params: restored.m_step(params, data, jnp.ones((1, 3, 1))), params)
    assert shapes["covariances"].shape == (1, 2, 2)
