"""Count GLMs against plain loops, and the one-hot prior against its formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, gammaln
from scipy.stats import nbinom, poisson

import latentgate as lg
from latentgate.models.base import log_prior
from latentgate.models.emissions.links import rate
from latentgate.models.priors import CategoricalBound, GumbelSoftmaxLogOdds, gumbel_softmax_log_density

pytestmark = pytest.mark.usefixtures("float64")

LINKS = {"exp": np.exp, "softplus": lambda x: np.log1p(np.exp(x)), "sigmoid": expit}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    lengths = (9, 5)
    return lg.Sequences.from_arrays(
        [rng.poisson(0.8, (length, 3)).astype(float) for length in lengths], inputs=[rng.normal(size=(length, 2)) for length in lengths]
    )


def by_loops(emission, params, data, logpmf):
    """Log-likelihood [sequence][time, state] from the definition of the model."""
    weights = np.asarray(emission.coupling_weights(params))
    basis = emission.history.matrix()
    result = []
    for sequence, values in enumerate(data.to_list()):
        inputs = np.asarray(data.inputs["inputs"])[sequence]
        rows = np.zeros((len(values), weights.shape[0]))
        for t in range(len(values)):
            for k in range(weights.shape[0]):
                for n in range(values.shape[1]):
                    predictor = params["bias"][k, n] + params["weights"][k, n] @ inputs[t]
                    for lag in range(1, min(t, len(basis)) + 1):
                        predictor += (weights[k, n] * values[t - lag][:, None] * basis[lag - 1]).sum()
                    rows[t, k] += logpmf(values[t, n], emission.bin_width * LINKS[emission.link](predictor), n)
        result.append(rows)
    return result


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("self_history", ["separate", "coupled", "none"])
def test_poisson_glm_is_its_definition(link, self_history, data):
    emission = lg.emissions.PoissonGLM(
        3, lg.basis.RaisedCosine(2, window=4), lg.priors.Ridge(), self_history=self_history, link=link, bin_width=0.5, num_inputs=2
    )
    params = emission.initialize(jax.random.key(0), data, 2)
    wanted = by_loops(emission, params, data, lambda y, mean, n: poisson.logpmf(y, mean))
    found = np.asarray(emission.log_likelihood(params, data))
    for sequence, rows in enumerate(wanted):
        np.testing.assert_allclose(found[sequence, : len(rows)], rows, rtol=1e-11)
    np.testing.assert_allclose(emission.log_likelihood(params, emission.prepare(data)), found, rtol=1e-12)
    weights = np.asarray(emission.coupling_weights(params))
    if self_history == "none":
        assert (weights[:, np.arange(3), np.arange(3)] == 0).all()
    if self_history == "separate":
        np.testing.assert_allclose(weights[:, np.arange(3), np.arange(3)], params["history"])


def test_negative_binomial_glm_is_its_definition(data):
    emission = lg.emissions.NegativeBinomialGLM(3, lg.basis.Exponential(3), lg.priors.Ridge(), num_inputs=2)
    params = emission.initialize(jax.random.key(0), data, 2) | {"concentration": jnp.array([0.7, 3.0, 20.0])}
    size = np.asarray(params["concentration"])
    wanted = by_loops(emission, params, data, lambda y, mean, n: nbinom.logpmf(y, size[n], size[n] / (size[n] + mean)))
    found = np.asarray(emission.log_likelihood(params, data))
    for sequence, rows in enumerate(wanted):
        np.testing.assert_allclose(found[sequence, : len(rows)], rows, rtol=1e-10)


def test_links_are_stable_in_the_tails():
    predictor = jnp.array([-800.0, -40.0, -30.0, 0.3, 40.0])
    soft = rate("softplus", predictor)
    np.testing.assert_allclose(soft.log[:3], predictor[:3], rtol=1e-12)
    np.testing.assert_allclose(soft.value[4], 40.0)
    assert np.isfinite(jax.vmap(jax.grad(lambda x: rate("softplus", x).log))(predictor)).all()
    for link in LINKS:
        slope = jax.vmap(jax.grad(lambda x, link=link: rate(link, x).value))(predictor[1:4])
        np.testing.assert_allclose(rate(link, predictor[1:4]).information, slope**2 / rate(link, predictor[1:4]).value, rtol=1e-6)


def test_the_gumbel_softmax_density_is_the_one_of_the_paper():
    rng = np.random.default_rng(0)
    types, prior, temperature = rng.dirichlet([1, 1, 1], 7), rng.dirichlet([1, 1, 1], 7), 0.2
    wanted = (
        math.lgamma(3)
        + 2 * np.log(temperature)
        - 3 * np.log((prior * types**-temperature).sum(-1))
        + (np.log(prior) - (temperature + 1) * np.log(types)).sum(-1)
    )
    np.testing.assert_allclose(gumbel_softmax_log_density(jnp.log(types), jnp.log(prior), temperature), wanted, rtol=1e-10)


def test_log_odds_density_integrates_to_one_and_matches_its_samples():
    law = GumbelSoftmaxLogOdds(jnp.array([0.2, 0.5, 0.3]), 0.5)
    grid = jnp.linspace(-40, 40, 801)
    points = jnp.stack(jnp.meshgrid(grid, grid, indexing="ij"), -1)
    density = jnp.exp(law.log_prob(points))
    assert float(density.sum() * (grid[1] - grid[0]) ** 2) == pytest.approx(1.0, abs=1e-6)
    mean = (density[..., None] * points).sum((0, 1)) * (grid[1] - grid[0]) ** 2
    draws = law.sample(jax.random.key(0), (20_000,))
    # Two means of 20 000 draws, each within 4.5 standard errors: a false alarm in 1e-5 of keys.
    assert (np.abs(draws.mean(0) - mean) < 4.5 * draws.std(0) / np.sqrt(20_000)).all()


def test_categorical_bound_is_minus_kullback_leibler():
    q, p = np.array([0.2, 0.0, 0.8]), np.array([0.3, 0.3, 0.4])
    assert float(CategoricalBound(jnp.array(p)).log_prob(jnp.array(q))) == pytest.approx(-(0.2 * np.log(0.2 / 0.3) + 0.8 * np.log(0.8 / 0.4)))


def test_categorical_form_is_the_expected_log_likelihood_to_second_order(data):
    # Small strengths: the error of the bound is of third order in them, so a tenth of the strength makes a thousandth of the error.
    coupling = lg.priors.OneHot("categorical")
    emission = lg.emissions.PoissonGLM(3, lg.basis.Exponential(3), coupling, self_history="coupled")
    params = emission.initialize(jax.random.key(0), data, 1)
    probs = np.asarray(params["type_probs"])[0]
    rng = np.random.default_rng(2)
    errors = []
    for strength in (0.05, 0.2):
        params["log_strength"] = jnp.full_like(params["log_strength"], np.log(strength))
        found = float(emission.log_likelihood(params, data)[0, :9].sum())
        plain = lg.emissions.PoissonGLM(3, lg.basis.Exponential(3), lg.priors.Flat(), self_history="coupled")
        signs = np.stack([np.stack([rng.choice([-1, 0, 1], p=probs[n, m], size=4000) for m in range(3)], -1) for n in range(3)], -2)

        def one(sign, strength=strength, plain=plain):
            return plain.log_likelihood({"bias": params["bias"], "coupling": strength * sign[None, ..., None]}, data)[0, :9].sum()

        values = jax.vmap(one)(jnp.asarray(signs, float))
        errors.append((abs(found - float(values.mean())), float(values.std()) / np.sqrt(4000)))
    for (error, noise), strength in zip(errors, (0.05, 0.2), strict=True):
        assert error < 4.5 * noise + 10 * strength**3


@pytest.mark.parametrize("form", ["gumbel-softmax", "categorical"])
@pytest.mark.parametrize("dale", [False, True])
def test_one_hot_weights_are_type_times_strength(form, dale):
    prior = lg.priors.OneHot(form, dale=dale)
    weights = 0.5 * jax.random.normal(jax.random.key(0), (2, 4, 4, 1))
    params = prior.from_weights(weights)
    types = np.broadcast_to(prior.type_probs(params), (2, 4, 4, 3))
    np.testing.assert_allclose(types.sum(-1), 1.0)
    found = prior.weights(params)
    np.testing.assert_allclose(found, (types[..., 2] - types[..., 0])[..., None] * np.exp(params["log_strength"]))
    assert {name: value.ndim for name, value in params.items()} == {name: len(dims) for name, dims in prior.dims().items()}
    if not dale:
        # Weights come back where they are larger than the prior's typical strength.
        large = np.abs(weights) > 0.1
        np.testing.assert_allclose(np.asarray(found)[large], np.asarray(weights)[large], rtol=1e-6)
    assert np.isfinite(log_prior(prior.priors((2, 4, 4, 1)), params))


@pytest.mark.parametrize(
    "prior",
    [lg.priors.Flat(), lg.priors.Ridge(0.3), lg.priors.L1(0.1), lg.priors.GaussianTied(), lg.priors.OneHot(), lg.priors.OneHot("categorical")],
    ids=lambda prior: type(prior).__name__ + getattr(prior, "form", ""),
)
def test_m_step_climbs_and_no_two_states_start_alike(prior, data):
    emission = lg.emissions.PoissonGLM(3, lg.basis.Exponential(3), prior, link="softplus", num_inputs=2)
    params = emission.initialize(jax.random.key(3), data, 2)
    weights = np.asarray(emission.coupling_weights(params))
    assert np.abs(weights[0] - weights[1]).max() > 1e-3
    shares = np.random.default_rng(0).dirichlet([1, 1], (2, 9)) * np.asarray(data.mask)[..., None]

    @jax.jit
    def climb(params):
        return emission.m_step(params, data, jnp.asarray(shares))

    def objective(params):
        return emission.expected_log_likelihood(params, data, jnp.asarray(shares)) + log_prior(emission.priors(2), params)

    values = [float(objective(params))]
    for _ in range(6):
        params = climb(params)
        values.append(float(objective(params)))
    assert (np.diff(values) >= -1e-9 * abs(values[-1])).all()
    assert values[1] > values[0] + 1e-3


def test_a_ridge_m_step_ends_at_a_stationary_point(data):
    emission = lg.emissions.PoissonGLM(3, lg.basis.Exponential(3), lg.priors.Ridge(0.5))
    params = emission.initialize(jax.random.key(3), data, 1)
    ones = jnp.asarray(np.asarray(data.mask)[..., None], float)

    def objective(params):
        return emission.expected_log_likelihood(params, data, ones) + log_prior(emission.priors(1), params)

    step = jax.jit(lambda params: emission.m_step(params, data, ones))
    for _ in range(40):
        params = step(params)
    gradient = jax.grad(objective)(params)
    assert max(float(jnp.abs(value).max()) for value in gradient.values()) < 1e-5


def test_simulation_follows_the_glm():
    emission = lg.emissions.PoissonGLM(2, lg.basis.Separate(2), lg.priors.Flat(), self_history="coupled", num_inputs=1)
    model = lg.HMM(1, emission)
    coupling = np.array([[[0.0, -0.5], [0.3, 0.0]], [[-0.4, 0.0], [0.0, -0.6]]])[None]
    params = {
        "initial.probs": jnp.ones(1),
        "transition.probs": jnp.ones((1, 1)),
        "emission.bias": jnp.array([[-0.5, -1.0]]),
        "emission.coupling": jnp.asarray(coupling),
        "emission.weights": jnp.array([[[0.7], [-0.3]]]),
    }
    inputs = [np.random.default_rng(0).normal(size=(6000, 1))]
    data, _ = model.simulate(jax.random.key(5), params, [6000], inputs=inputs)
    fit = lg.fit(model, data, lg.EM(max_iterations=30), seed=0)
    # Fisher information of a rate of about 0.4 over 6 000 steps: standard errors of at most 0.05; five of them.
    np.testing.assert_allclose(fit.params["emission.coupling"], coupling, atol=0.25)
    np.testing.assert_allclose(fit.params["emission.weights"], params["emission.weights"], atol=0.1)


def test_bases():
    np.testing.assert_allclose(lg.basis.Exponential(5).matrix().ravel(), [0.6364, 0.2341, 0.0861, 0.0317, 0.0117], atol=5e-5)
    cosine = lg.basis.RaisedCosine(4, window=20).matrix()
    assert (cosine >= 0).all()
    np.testing.assert_allclose(cosine.sum(0), 1.0)
    assert (np.diff(cosine.argmax(0)) > 0).all()
    values = np.random.default_rng(0).poisson(1.0, (1, 6, 2)).astype(float)
    features = np.asarray(lg.basis.Separate(3).features(values))
    for lag in (1, 2, 3):
        np.testing.assert_array_equal(features[:, lag:, :, lag - 1], values[:, :-lag])
        assert (features[:, :lag, :, lag - 1] == 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lg.emissions.PoissonGLM(3, coupling=lg.priors.Ridge()), "history"),
        (lambda: lg.emissions.PoissonGLM(3, lg.basis.Exponential(2), coupling="one-hot"), "lg.priors"),
        (lambda: lg.emissions.PoissonGLM(3, history=5), "lg.basis"),
        (lambda: lg.emissions.PoissonGLM(3, link="log"), "link"),
        (lambda: lg.emissions.PoissonGLM(3, bin_width=0), "bin_width"),
        (lambda: lg.emissions.PoissonGLM(3, lg.basis.Exponential(2), self_history="both"), "self_history"),
        (lambda: lg.emissions.PoissonGLM(3, lg.basis.Exponential(2), self_history="coupled"), "without coupling"),
        (lambda: lg.priors.OneHot("soft"), "form"),
        (lambda: lg.priors.OneHot(temperature=0), "temperature"),
        (lambda: lg.priors.OneHot(concentration=(0.1, 1, 1)), "concentration"),
        (lambda: lg.basis.RaisedCosine(5, window=3), "num_functions"),
        (lambda: lg.basis.Exponential(0), "window"),
        (lambda: lg.basis.Exponential(3, time_constant=0), "time_constant"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_log_factorials_are_not_lost(data):
    emission = lg.emissions.PoissonGLM(3)
    params = {"bias": jnp.zeros((1, 3))}
    values = data.to_list()[0]
    np.testing.assert_allclose(emission.log_likelihood(params, data)[0, :, 0], -3.0 - gammaln(values + 1).sum(-1))
