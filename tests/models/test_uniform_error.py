"""Labels with one probability of error: against the same law written as a table, and against brute force."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

import latentgate as lg
from latentgate.models.specification import from_specification, to_specification

from .laws import as_arrays

pytestmark = pytest.mark.usefixtures("float64")

UniformError = lg.emissions.UniformError
K = 3


def labels(seed: int = 0) -> lg.Sequences:
    """Labels of three states at irregular times, one of them missing."""
    rng = np.random.default_rng(seed)
    values = [rng.integers(0, K, (length, 1)).astype(float) for length in (7, 5)]
    values[0][3] = np.nan
    return lg.Sequences.from_arrays(values, times=[np.cumsum(rng.choice([0.5, 1.0], len(value))) for value in values])


def test_it_is_the_table_with_equal_errors():
    """The likelihood of a jump process."""
    error, data = 0.12, labels()
    table = np.full((K, K), error / (K - 1)) + (1.0 - error - error / (K - 1)) * np.eye(K)
    shared = {"initial.probs": jnp.array([0.5, 0.3, 0.2]), "transition.rates": jnp.array([[0.0, 0.4, 0.2], [0.3, 0.0, 0.1], [0.5, 0.6, 0.0]])}
    tied = lg.MarkovJumpProcess(K, UniformError(K), initial="free")
    free = lg.MarkovJumpProcess(K, lg.emissions.Misclassified(K), initial="free")
    found = tied.log_likelihood({**shared, "emission.error": jnp.asarray(error)}, data)
    assert_allclose(found, free.log_likelihood({**shared, "emission.probs": jnp.asarray(table)}, data), rtol=1e-13)


@pytest.mark.parametrize("prior", [dist.Beta(2.5, 4.0), dist.TruncatedNormal(0.3, 0.2, low=0.0, high=1.0)], ids=["closed form", "numerical"])
def test_the_m_step_is_the_best_of_brute_force(prior):
    data, emission = labels(), UniformError(K, prior)
    weights = np.random.default_rng(1).dirichlet(np.ones(K), data.observed.shape[:2]) * data.mask[..., None]
    seen = weights * data.observed
    right = (seen * (data.values == np.arange(K))).sum()
    wrong = seen.sum() - right
    density = scipy.stats.beta(2.5, 4.0).logpdf if isinstance(prior, dist.Beta) else scipy.stats.norm(0.3, 0.2).logpdf

    def loss(error):
        return -(right * np.log1p(-error) + wrong * np.log(error / (K - 1)) + density(error))

    best = scipy.optimize.minimize_scalar(loss, bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-10}).x
    found = jax.jit(lambda data, weights: emission.m_step({"error": jnp.asarray(0.1)}, data, weights))(as_arrays(data), jnp.asarray(weights))
    assert_allclose(found["error"], best, atol=1e-6)


def test_errors_of_zero_and_one_are_certainties():
    data = lg.Sequences.from_arrays([np.array([[1.0], [np.nan]])])
    for error, expected in ((0.0, [-np.inf, 0.0, -np.inf]), (1.0, [-np.log(2.0), -np.inf, -np.log(2.0)])):
        found = np.asarray(UniformError(K).log_likelihood({"error": jnp.asarray(error)}, data))[0]
        assert_allclose(found, [expected, np.zeros(K)])


def test_without_weight_and_prior_the_error_stays():
    data = labels()
    found = UniformError(K, dist.Beta(1.0, 1.0)).m_step({"error": jnp.asarray(0.2)}, data, jnp.zeros((*data.observed.shape[:2], K)))
    assert found["error"] == 0.2


def test_it_is_saved_and_refuses_what_does_not_fit():
    emission = UniformError(K, dist.Beta(2.0, 9.0))
    again = from_specification(json.loads(json.dumps(to_specification(emission))))
    assert again.num_states == K
    assert_array_equal([again.prior.concentration1, again.prior.concentration0], [2.0, 9.0])
    assert emission.anchored
    with pytest.raises(ValueError, match="num_states: found 1, expected an integer of at least 2"):
        UniformError(1)
    with pytest.raises(ValueError, match="found 3 for UniformError, expected 4"):
        emission.priors(4)
    with pytest.raises(ValueError, match="found 3 in sequence 0, step 1"):
        emission.check(lg.Sequences.from_arrays([np.array([[0.0], [3.0]])]))
