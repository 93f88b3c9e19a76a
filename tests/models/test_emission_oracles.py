"""M-steps and densities of single emissions against other libraries, closed forms and limits."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import sklearn.linear_model
from numpy.testing import assert_allclose, assert_array_equal

import latentgate as lg
from latentgate.models.base import log_prior
from latentgate.models.emissions import negative_binomial
from latentgate.models.emissions.negative_binomial import log_rising_ratio

from .laws import as_arrays, with_priors

pytestmark = pytest.mark.usefixtures("float64")

LENGTHS = (40, 25)


def random_data(seed: int, draw, num_inputs: int = 0):
    """Sequences of two lengths and weights of two states."""
    rng = np.random.default_rng(seed)
    values = [draw(rng, length) for length in LENGTHS]
    inputs = [rng.normal(size=(length, num_inputs)) for length in LENGTHS] if num_inputs else None
    data = lg.Sequences.from_arrays(values, inputs=inputs)
    first = rng.uniform(0.1, 1.0, size=data.mask.shape) * data.mask
    return data, np.stack([first, data.mask - first], axis=-1)


def flat(data, weights):
    """Values, inputs and weights over the real steps only."""
    inputs = data.inputs["inputs"][data.mask] if data.inputs else None
    return data.values[data.mask], inputs, weights[data.mask]


@eqx.filter_jit
def _repeated(emission, params, data, weights, times):
    return jax.lax.fori_loop(0, times, lambda _, params: emission.m_step(params, data, weights), params)


def repeated(emission, params, data, weights, times=1):
    """M-steps with the same weights; how many compiles nothing anew."""
    return _repeated(emission, params, as_arrays(data), jnp.asarray(weights), jnp.asarray(times))


@eqx.filter_jit
def _start(emission, data):
    return emission.initialize(jax.random.key(0), data, 2)


def start(emission, data):
    return _start(emission, as_arrays(data))


@eqx.filter_jit
def objective(emission, params, data, weights):
    return emission.expected_log_likelihood(params, data, weights) + log_prior(emission.priors(2), params)


def test_bernoulli_glm_is_penalised_logistic_regression():
    data, weights = random_data(0, lambda rng, length: rng.integers(0, 2, size=(length, 1)), 3)
    values, inputs, state_weights = flat(data, weights)
    for bias in (False, True):
        priors = {"weight_prior": dist.Normal(0.0, 1.5)} | ({"bias_prior": dist.Normal(0.0, 1e6)} if bias else {})
        emission = lg.emissions.BernoulliGLM(3, bias=bias, **priors)
        params = start(emission, data)
        found = repeated(emission, params, data, weights, 20)
        for state in range(2):
            model = sklearn.linear_model.LogisticRegression(C=1.5**2, fit_intercept=bias, tol=1e-12, max_iter=2000, solver="newton-cg")
            model.fit(inputs, values[:, 0], sample_weight=state_weights[:, state])
            assert_allclose(found["weights"][state], model.coef_[0], rtol=1e-6, atol=1e-7)
            if bias:
                assert_allclose(found["bias"][state], model.intercept_[0], rtol=1e-6, atol=1e-7)


def test_categorical_glm_is_multinomial_regression():
    data, weights = random_data(1, lambda rng, length: rng.integers(0, 3, size=(length, 1)), 2)
    values, inputs, state_weights = flat(data, weights)
    wide = dist.Normal(0.0, 1e5)
    emission = lg.emissions.CategoricalGLM(3, 2, weight_prior=wide, bias_prior=wide)
    found = repeated(emission, start(emission, data), data, weights, 20)
    for state in range(2):
        model = sklearn.linear_model.LogisticRegression(C=np.inf, tol=1e-12, max_iter=5000, solver="newton-cg")
        model.fit(inputs, values[:, 0], sample_weight=state_weights[:, state])
        assert_allclose(found["weights"][state], model.coef_[1:] - model.coef_[0], rtol=1e-5, atol=1e-6)
        assert_allclose(found["bias"][state], model.intercept_[1:] - model.intercept_[0], rtol=1e-5, atol=1e-6)


def test_two_categories_are_a_bernoulli_glm():
    data, weights = random_data(2, lambda rng, length: rng.integers(0, 2, size=(length, 1)), 2)
    binary, categorical = lg.emissions.BernoulliGLM(2), lg.emissions.CategoricalGLM(2, 2)
    params = start(binary, data)
    widened = {"weights": params["weights"][:, None], "bias": params["bias"][:, None]}
    assert_allclose(categorical.log_likelihood(widened, data), binary.log_likelihood(params, data), rtol=1e-12)
    found, expected = repeated(categorical, widened, data, weights), repeated(binary, params, data, weights)
    assert_allclose(found["weights"][:, 0], expected["weights"], rtol=1e-10)
    assert_allclose(found["bias"][:, 0], expected["bias"], rtol=1e-10)


def test_positive_weights_make_one_more_likely():
    data = lg.Sequences.from_arrays([np.ones((1, 1))], inputs=[np.array([[2.0]])])
    params = {"weights": jnp.array([[3.0]]), "bias": jnp.array([-1.0])}
    assert_allclose(jnp.exp(lg.emissions.BernoulliGLM(1).log_likelihood(params, data)), 1 / (1 + np.exp(-5.0)), rtol=1e-12)


def test_newton_recovers_from_a_saturated_start():
    """All curvature of the data has vanished at the start, and the first Newton step is thousands of times too long."""
    data, weights = random_data(3, lambda rng, length: rng.integers(0, 2, size=(length, 1)), 2)
    emission = lg.emissions.BernoulliGLM(2, weight_prior=dist.Normal(0.0, 30.0), bias_prior=dist.Normal(0.0, 30.0))
    start = {"weights": jnp.array([[200.0, -300.0], [150.0, 90.0]]), "bias": jnp.array([100.0, -100.0])}
    near = {"weights": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    found, expected = repeated(emission, start, data, weights, 40), repeated(emission, near, data, weights, 40)
    assert_allclose(found["weights"], expected["weights"], rtol=1e-6, atol=1e-8)


def test_a_prior_of_correlated_weights():
    data, weights = random_data(4, lambda rng, length: rng.integers(0, 2, size=(length, 1)), 2)
    prior = dist.MultivariateNormal(jnp.array([1.0, -1.0]), jnp.array([[0.2, 0.15], [0.15, 0.3]]))
    emission = lg.emissions.BernoulliGLM(2, weight_prior=prior)
    found = repeated(emission, {"weights": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}, data, weights, 20)
    gradient = jax.grad(lambda p: emission.expected_log_likelihood(p, data, weights) + log_prior(emission.priors(2), p))(found)
    assert_allclose(gradient["weights"], 0.0, atol=1e-7)
    assert_allclose(gradient["bias"], 0.0, atol=1e-7)


def test_linear_regression_is_weighted_least_squares():
    data, weights = random_data(5, lambda rng, length: rng.normal(size=(length, 2)), 3)
    values, inputs, state_weights = flat(data, weights)
    wide = dist.Normal(0.0, 1e8)
    emission = lg.emissions.LinearRegression(2, 3, weight_prior=wide, bias_prior=wide, covariance_prior=dist.InverseGamma(1.5, 0.25))
    found = repeated(emission, start(emission, data), data, weights)
    design = np.hstack([inputs, np.ones((len(inputs), 1))])
    for state in range(2):
        weight = state_weights[:, state]
        root = np.sqrt(weight)[:, None]
        coefficients = np.linalg.lstsq(root * design, root * values, rcond=None)[0]
        assert_allclose(found["weights"][state], coefficients[:3].T, rtol=1e-9)
        assert_allclose(found["bias"][state], coefficients[3], rtol=1e-8, atol=1e-10)
        squares = weight @ (values - design @ coefficients) ** 2
        assert_allclose(found["covariances"][state], (squares + 0.5) / (weight.sum() + 5.0), rtol=1e-9)


def test_gaussian_is_the_weighted_covariance():
    data, weights = random_data(6, lambda rng, length: rng.normal(size=(length, 3)) @ rng.normal(size=(3, 3)))
    values, _, state_weights = flat(data, weights)
    emission = lg.emissions.Gaussian(3, mean_prior=dist.Normal(0.0, 1e8))
    found = repeated(emission, start(emission, data), data, weights)
    for state in range(2):
        weight = state_weights[:, state]
        assert_allclose(found["means"][state], np.average(values, axis=0, weights=weight), rtol=1e-9, atol=1e-12)
        scatter = np.cov(values.T, aweights=weight, ddof=0) * weight.sum()
        # InverseWishart(N + 2, (2N + 3) / 10 I): N + 2 + N + 1 = 9 more observations of scatter 0.9 I in all.
        assert_allclose(found["covariances"][state], (scatter + 0.9 * np.eye(3)) / (weight.sum() + 9.0), rtol=1e-6)


@pytest.mark.parametrize("covariance", ["full", "diagonal", "tied"])
def test_an_empty_gaussian_state_ends_at_the_mode_of_the_prior(covariance):
    data, weights = random_data(7, lambda rng, length: rng.normal(size=(length, 2)))
    emission = lg.emissions.Gaussian(2, covariance, scale=3.0)
    found = repeated(emission, start(emission, data), data, 0 * weights)
    assert_allclose(found["means"], 0.0, atol=1e-12)
    mode = 0.1 * 3.0**2 * (1.0 if covariance == "diagonal" else np.eye(2))
    assert_allclose(found["covariances"], np.broadcast_to(mode, found["covariances"].shape), rtol=1e-6)


def test_a_constant_feature_keeps_a_positive_variance():
    data = lg.Sequences.from_arrays([np.full((30, 2), 7.0)])
    for covariance in ("full", "diagonal", "tied"):
        emission = lg.emissions.Gaussian(2, covariance)
        params = start(emission, data)
        assert not np.allclose(params["means"][0], params["means"][1])
        found = repeated(emission, params, data, np.full((1, 30, 2), 0.5), 50)
        assert np.isfinite(emission.log_likelihood(found, data)).all()


def test_an_offset_of_the_data_costs_no_digits():
    """Features of unit spread and correlation 0.98 around one thousand, in float32."""
    covariance = np.array([[1.0, 0.98], [0.98, 1.0]])
    values = np.float32(1000.0 + np.random.default_rng(8).multivariate_normal([0.0, 0.0], covariance, size=20))
    data = lg.Sequences.from_arrays([values])
    params = {"means": np.array([[1000.0, 1000.0], [1001.0, 999.0]]), "covariances": np.stack([covariance, 2 * covariance])}
    emission = lg.emissions.Gaussian(2)
    expected = emission.log_likelihood(jax.tree.map(jnp.asarray, params), data)
    with jax.enable_x64(False):
        found = emission.log_likelihood(jax.tree.map(jnp.asarray, params), data)
        assert found.dtype == jnp.float32
    assert_allclose(found, expected, rtol=2e-5, atol=2e-4)


def test_large_covariances_call_no_linear_algebra_library():
    """See `latentgate.kernels.small_matrices`: batched LAPACK calls of size 12 or more can deadlock."""
    data, weights = random_data(9, lambda rng, length: rng.normal(size=(length, 13)))
    emission = lg.emissions.Gaussian(13)
    params = jax.vmap(lambda key: emission.initialize(key, data, 2))(jax.random.split(jax.random.key(0), 2))

    def step(params):
        moved = emission.m_step(params, data, jnp.asarray(weights))
        return moved, emission.log_likelihood(moved, data), log_prior(emission.priors(2), moved)

    assert "custom_call" not in jax.jit(jax.vmap(step)).lower(params).as_text()


def test_rising_ratio_is_the_sum_it_stands_for():
    for counts in (0, 1, 2, 7, 300, 2000):
        for concentration in (1e-6, 0.3, 1.0, 7.9, 50.0, 1e4, 1e9, 1e15):
            truth = math.fsum(math.log1p(j / concentration) for j in range(counts))
            found = log_rising_ratio(jnp.asarray(float(counts)), jnp.asarray(concentration))
            assert_allclose(found, truth, rtol=1e-12, atol=2e-14 * (1 + counts))
            with jax.enable_x64(False):
                single = log_rising_ratio(jnp.float32(counts), jnp.float32(concentration))
            assert_allclose(single, truth, rtol=3e-6, atol=1e-5 * (1 + counts) ** 0.5)


def test_a_negative_binomial_of_large_concentration_is_poisson():
    data, _ = random_data(10, lambda rng, length: rng.poisson(4.0, size=(length, 2)))
    rates = jnp.array([[1.0, 2.0], [5.0, 0.1]])
    found = lg.emissions.NegativeBinomial(2).log_likelihood({"rates": rates, "concentration": jnp.full(2, 1e13)}, data)
    assert_allclose(found[data.mask], lg.emissions.Poisson(2).log_likelihood({"rates": rates}, data)[data.mask], rtol=1e-10)


def test_negative_binomial_recovers_its_concentration():
    """20 000 draws: the standard error of log concentration is about 0.02, and the fixed seed is within three of it."""
    rng = np.random.default_rng(11)
    data = lg.Sequences.from_arrays([rng.negative_binomial(3.0, 3.0 / (3.0 + 4.0), size=(20_000, 1))])
    emission = lg.emissions.NegativeBinomial(1)
    found = repeated(emission, {"rates": jnp.ones((1, 1)), "concentration": jnp.array([10.0])}, data, np.ones((1, 20_000, 1)), 20)
    assert_allclose(found["rates"], 4.0, rtol=0.03)
    assert_allclose(found["concentration"], 3.0, rtol=0.06)


def test_large_counts_are_not_looked_up(monkeypatch):
    """Tables of small counts and the formula give the same; the emissions differ, so that neither is compiled for the other."""
    data, weights = random_data(13, lambda rng, length: rng.negative_binomial(2.0, 0.2, size=(length, 2)))
    params = {"rates": jnp.array([[7.0, 9.0], [8.0, 5.0]]), "concentration": jnp.array([1.0, 4.0])}
    emission = lg.emissions.NegativeBinomial(2)

    def answers():
        return jax.jit(lambda params: (emission.m_step(params, data, jnp.asarray(weights)), emission.log_likelihood(params, data)))(params)

    expected = answers()
    monkeypatch.setattr(negative_binomial, "_TALLIED", 3)
    found = answers()
    assert_allclose(found[0]["concentration"], expected[0]["concentration"], rtol=1e-10)
    assert_allclose(found[1], expected[1], rtol=1e-12)


NUMERICAL = [
    (
        lg.emissions.Gaussian(2, "diagonal", mean_prior=dist.StudentT(3.0, 2.0, 0.1)),
        lambda rng, length: rng.normal(size=(length, 2)),
        "mean_prior",
        dist.StudentT(3.0, -2.0, 0.1),
        "means",
    ),
    (
        lg.emissions.BernoulliGLM(2, weight_prior=dist.HalfNormal(1.0)),
        lambda rng, length: rng.integers(0, 2, size=(length, 1)),
        "weight_prior",
        dist.HalfNormal(0.01),
        "weights",
    ),
]


@pytest.mark.parametrize(("emission", "draw", "which", "other", "name"), NUMERICAL, ids=["heavy tails", "positive weights"])
def test_a_prior_without_closed_form_is_obeyed_numerically(emission, draw, which, other, name):
    data, weights = random_data(12, draw, sum(emission.input_sets.values()))
    emission = with_priors(emission, {which: getattr(emission, which)})
    params = start(emission, data)
    params[name] = jnp.abs(params[name])
    found = repeated(emission, params, data, weights)
    assert objective(emission, found, data, weights) > objective(emission, params, data, weights)
    assert np.all(emission.priors(2)[name].support(found[name]))
    elsewhere = repeated(with_priors(emission, {which: other}), params, data, weights)
    assert float(jnp.abs(elsewhere[name] - found[name]).max()) > 0.05


@pytest.mark.parametrize(
    "emission",
    [
        lg.emissions.Gaussian(2, mean_prior=dist.StudentT(3.0)),
        lg.emissions.Gaussian(2, "diagonal", covariance_prior=dist.LogNormal(0.0, 1.0)),
        lg.emissions.Gaussian(2, "tied", mean_prior=dist.Normal(0.0, 1.0).expand([2]).to_event(1)),
        lg.emissions.Poisson(2, prior=dist.LogNormal(0.0, 1.0)),
        lg.emissions.NegativeBinomial(2, rate_prior=dist.LogNormal(0.0, 1.0)),
        lg.emissions.NegativeBinomial(2, concentration_prior=dist.Uniform(1.0, 9.0)),
        lg.emissions.Bernoulli(2, prior=dist.Uniform(0.2, 0.8)),
        lg.emissions.LinearRegression(2, 1, weight_prior=dist.Laplace(0.0, 1.0)),
        lg.emissions.LinearRegression(2, 1, bias_prior=dist.StudentT(3.0)),
        lg.emissions.LinearRegression(2, 1, covariance_prior=dist.Gamma(2.0, 1.0)),
        lg.emissions.BernoulliGLM(2, weight_prior=dist.HalfNormal(1.0)),
        lg.emissions.BernoulliGLM(2, bias_prior=dist.Uniform(-1.0, 1.0)),
        lg.emissions.CategoricalGLM(3, 2, weight_prior=dist.HalfNormal(1.0)),
    ],
    ids=lambda emission: type(emission).__name__,
)
def test_every_other_prior_takes_the_numerical_way(emission, monkeypatch):
    """No closed form is used for a prior that it does not know."""
    monkeypatch.setattr(lg.emissions.Emission, "m_step", lambda self, params, data, weights: "numerical")
    assert emission.m_step({}, None, np.ones((1, 1, 2))) == "numerical"


def test_certain_probabilities_forbid_and_are_never_not_a_number():
    data = lg.Sequences.from_arrays([np.array([[0.0], [1.0], [np.nan]])])
    found = lg.emissions.Bernoulli(1).log_likelihood({"probs": jnp.array([[0.0], [1.0], [0.5]])}, data)[0]
    assert_array_equal(found[:2, :2], [[0.0, -np.inf], [-np.inf, 0.0]])
    assert_allclose(found, [[0.0, -np.inf, np.log(0.5)], [-np.inf, 0.0, np.log(0.5)], [0.0, 0.0, 0.0]])
    found = lg.emissions.Categorical(2).log_likelihood({"probs": jnp.array([[1.0, 0.0], [0.0, 1.0]])}, data)[0]
    assert_array_equal(found, [[0.0, -np.inf], [-np.inf, 0.0], [0.0, 0.0]])
    counts = lg.Sequences.from_arrays([np.array([[0.0], [1.0]])])
    silent = lg.emissions.NegativeBinomial(1).log_likelihood({"rates": jnp.array([[0.0]]), "concentration": jnp.ones(1)}, counts)[0]
    assert_array_equal(silent, [[0.0], [-np.inf]])


def test_under_a_flat_prior_a_state_without_weight_keeps_what_it_had():
    data = lg.Sequences.from_arrays([np.array([[0.0], [1.0], [1.0]])])
    weights = np.stack([np.zeros((1, 3)), np.ones((1, 3))], axis=-1)
    bernoulli = lg.emissions.Bernoulli(1, prior=dist.Beta(1.0, 1.0))
    assert_allclose(bernoulli.m_step({"probs": jnp.array([[0.3], [0.3]])}, data, weights)["probs"], [[0.3], [2 / 3]])
    categorical = lg.emissions.Categorical(2, prior=dist.Dirichlet(np.ones(2)))
    found = categorical.m_step({"probs": jnp.array([[0.3, 0.7], [0.3, 0.7]])}, data, weights)["probs"]
    assert_allclose(found, [[0.3, 0.7], [1 / 3, 2 / 3]])
    one_sided = weights * np.array([[0.0], [1.0], [1.0]])
    certain = categorical.m_step({"probs": jnp.array([[0.3, 0.7], [0.3, 0.7]])}, data, one_sided)
    assert_allclose(certain["probs"][1], [0.0, 1.0])
    assert np.isfinite(log_prior(categorical.priors(2), certain))
