"""Hidden Markov models against hmmlearn and dynamax: log-likelihood, smoothed marginals, most probable path, and five EM iterations.

Initial law and transitions have flat Dirichlet priors against hmmlearn, and Dirichlet(1.5) priors against dynamax, which finds no mode where a flat
prior meets a transition that never happened. Emission priors are matched by algebra where the libraries write them differently;
each case says how. A Normal(0, 1e8) prior of a mean moves it by less than rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import latentgate as lg

hmmlearn = pytest.importorskip("hmmlearn.hmm")
dynamax = pytest.importorskip("dynamax.hidden_markov_model")

pytestmark = pytest.mark.usefixtures("float64")

NUM_STATES, NUM_FEATURES, NUM_INPUTS, NUM_CATEGORIES = 3, 2, 2, 4
NUM_ITERATIONS = 5
WIDE = dist.Normal(0.0, 1e8)

_rng = np.random.default_rng(0)
INITIAL = _rng.dirichlet(np.full(NUM_STATES, 3.0))
TRANSITIONS = _rng.dirichlet(np.full(NUM_STATES, 3.0), size=NUM_STATES)
MEANS = 2 * _rng.normal(size=(NUM_STATES, NUM_FEATURES))
VARIANCES = _rng.gamma(4.0, 0.3, size=(NUM_STATES, NUM_FEATURES))
_roots = _rng.normal(size=(NUM_STATES, NUM_FEATURES, 4))
COVARIANCES = _roots @ _roots.swapaxes(-1, -2) / 4
RATES = _rng.gamma(2.0, 2.0, size=(NUM_STATES, NUM_FEATURES))
PROBS = _rng.uniform(0.1, 0.9, size=(NUM_STATES, NUM_FEATURES))
CATEGORIES = _rng.dirichlet(np.full(NUM_CATEGORIES, 2.0), size=NUM_STATES)
WEIGHTS = _rng.normal(size=(NUM_STATES, NUM_FEATURES, NUM_INPUTS))
BIAS = _rng.normal(size=(NUM_STATES, NUM_FEATURES))


class Found(NamedTuple):
    """Answers of a library: [sequence], list of [time, state], list of [time], and parameters after EM under our names."""

    log_likelihood: np.ndarray
    marginals: list[np.ndarray]
    path: list[np.ndarray]
    params: dict[str, np.ndarray]


@eqx.filter_jit
def _iterate(model, params, data):
    return model.m_step(params, data, model.smooth(params, data))


def ask(emission, params: dict[str, np.ndarray], values: list[np.ndarray], inputs=None, iterate: bool = True, concentration: float = 1.0) -> Found:
    model = lg.HMM(NUM_STATES, emission, lg.transitions.Stationary(concentration), initial_concentration=concentration)
    data = lg.Sequences.from_arrays(values, inputs=inputs)
    params = {"initial.probs": INITIAL, "transition.probs": TRANSITIONS, **{f"emission.{name}": value for name, value in params.items()}}
    params = {name: jnp.asarray(value) for name, value in params.items()}
    model.check(data)
    smoothed = model.smooth(params, data)
    path = np.asarray(model.most_probable_path(params, data).states)
    after = params
    for _ in range(NUM_ITERATIONS if iterate else 0):
        after = _iterate(model, after, data)
    lengths = [len(value) for value in values]
    return Found(
        np.asarray(smoothed.log_normaliser),
        [np.asarray(row)[:length] for row, length in zip(smoothed.marginals, lengths, strict=True)],
        [row[:length] for row, length in zip(path, lengths, strict=True)],
        {name: np.asarray(value) for name, value in after.items()} if iterate else {},
    )


def assert_agree(found: Found, truth: Found):
    assert_allclose(found.log_likelihood, truth.log_likelihood, rtol=1e-10)
    for left, right in zip(found.marginals, truth.marginals, strict=True):
        assert_allclose(left, right, atol=1e-9)
    for left, right in zip(found.path, truth.path, strict=True):
        assert_array_equal(left, right)
    for name, value in truth.params.items():
        assert_allclose(found.params[name], value, rtol=1e-8, atol=1e-10, err_msg=name)


def draw(seed: int, lengths: tuple[int, ...], emit) -> list[np.ndarray]:
    """Observations of a sticky path."""
    rng = np.random.default_rng(seed)
    values = []
    for length in lengths:
        states = np.repeat(rng.integers(0, NUM_STATES, size=length // 5 + 1), 5)[:length]
        values.append(np.array([np.atleast_1d(emit(rng, state)) for state in states], float))
    return values


GAUSSIAN = draw(1, (40, 25), lambda rng, state: rng.multivariate_normal(MEANS[state], COVARIANCES[state]))
COUNTS = draw(2, (40, 25), lambda rng, state: rng.poisson(RATES[state]))
BINARY = draw(3, (40, 40), lambda rng, state: rng.uniform(size=NUM_FEATURES) < PROBS[state])
CATEGORICAL = draw(4, (40, 25), lambda rng, state: rng.choice(NUM_CATEGORIES, p=CATEGORIES[state]))
INPUTS = list(np.random.default_rng(5).normal(size=(2, 40, NUM_INPUTS)))
EQUAL = {
    name: [values[0], np.resize(values[1], values[0].shape)] for name, values in (("gaussian", GAUSSIAN), ("counts", COUNTS), ("categorical", CATEGORICAL))
}


def ask_hmmlearn(model, values: list[np.ndarray], set_up: dict, params_of, whole: bool = False) -> Found:
    model.set_params(init_params="", n_iter=NUM_ITERATIONS, tol=-np.inf)
    model.startprob_, model.transmat_ = INITIAL, TRANSITIONS
    for name, value in set_up.items():
        setattr(model, name, value)
    lengths = [len(value) for value in values]
    stacked = np.concatenate(values).astype(int if whole else float)
    cuts = np.cumsum(lengths)[:-1]
    log_likelihood = np.array([model.score(value.astype(stacked.dtype)) for value in values])
    marginals, path = np.split(model.predict_proba(stacked, lengths), cuts), np.split(model.decode(stacked, lengths)[1], cuts)
    model.fit(stacked, lengths)
    assert len(model.monitor_.history) == NUM_ITERATIONS
    params = {"initial.probs": model.startprob_, "transition.probs": model.transmat_, **params_of(model)}
    return Found(log_likelihood, marginals, path, params)


@pytest.mark.parametrize("kind", ["full", "diagonal", "tied"])
def test_hmmlearn_gaussian(kind):
    """Its covariances are (prior + scatter) / (weight' + n), with weight' = weight - N for matrices and weight - 1 for variances.

    Ours are (Ψ + S) / (df + N + 1 + n) and (2b + S) / (2(a + 1) + n).
    """
    start = {"full": COVARIANCES, "diagonal": VARIANCES, "tied": COVARIANCES[0]}[kind]
    size = NUM_FEATURES
    if kind == "diagonal":
        prior, settings = dist.InverseGamma(1.5, 0.25), {"covars_prior": 0.5, "covars_weight": 6.0}
    else:
        prior, settings = dist.InverseWishart(size + 2.0, 0.5 * np.eye(size)), {"covars_prior": 0.5 * np.eye(size), "covars_weight": 3 * size + 3.0}
    peer = hmmlearn.GaussianHMM(NUM_STATES, covariance_type={"diagonal": "diag"}.get(kind, kind), means_weight=0.0, means_prior=0.0, **settings)

    def params_of(model):
        full = model.covars_
        covariances = {"full": full, "diagonal": np.diagonal(full, axis1=-2, axis2=-1), "tied": full[0]}[kind]
        return {"emission.means": model.means_, "emission.covariances": covariances}

    truth = ask_hmmlearn(peer, GAUSSIAN, {"means_": MEANS, "covars_": start}, params_of)
    emission = lg.emissions.Gaussian(size, kind, mean_prior=WIDE, covariance_prior=prior)
    assert_agree(ask(emission, {"means": MEANS, "covariances": start}, GAUSSIAN), truth)


def test_hmmlearn_poisson():
    """Maximum likelihood: Gamma(1, 1e-12); hmmlearn weighs its own prior by the steps of all states together, so it is set to nothing."""
    peer = hmmlearn.PoissonHMM(NUM_STATES, lambdas_prior=0.0, lambdas_weight=0.0)
    truth = ask_hmmlearn(peer, COUNTS, {"lambdas_": RATES}, lambda model: {"emission.rates": model.lambdas_}, whole=True)
    emission = lg.emissions.Poisson(NUM_FEATURES, prior=dist.Gamma(1.0, 1e-12))
    assert_agree(ask(emission, {"rates": RATES}, COUNTS), truth)


def test_hmmlearn_categorical():
    peer = hmmlearn.CategoricalHMM(NUM_STATES, emissionprob_prior=1.3, n_features=NUM_CATEGORIES)
    params_of = lambda model: {"emission.probs": model.emissionprob_}  # noqa: E731
    truth = ask_hmmlearn(peer, CATEGORICAL, {"emissionprob_": CATEGORIES}, params_of, whole=True)
    emission = lg.emissions.Categorical(NUM_CATEGORIES, prior=dist.Dirichlet(np.full(NUM_CATEGORIES, 1.3)))
    assert_agree(ask(emission, {"probs": CATEGORIES}, CATEGORICAL), truth)


def ask_dynamax(model, values: list[np.ndarray], set_up: dict, params_of, inputs=None, iterate: bool = True) -> Found:
    params, props = model.initialize(jax.random.key(0), initial_probs=INITIAL, transition_matrix=TRANSITIONS, **set_up)
    params = jax.tree.map(jnp.asarray, params)
    stacked, driven = jnp.asarray(np.stack(values)), None if inputs is None else jnp.asarray(np.stack(inputs))
    rows = [(row, None if driven is None else driven[index]) for index, row in enumerate(stacked)]
    posteriors = [model.smoother(params, row, inputs=drive) for row, drive in rows]
    path = [np.asarray(model.most_likely_states(params, row, inputs=drive)) for row, drive in rows]
    after = {}
    if iterate:
        fitted, _ = model.fit_em(params, props, stacked, inputs=driven, num_iters=NUM_ITERATIONS, verbose=False)
        after = {"initial.probs": fitted.initial.probs, "transition.probs": fitted.transitions.transition_matrix, **params_of(fitted.emissions)}
    return Found(
        np.array([posterior.marginal_loglik for posterior in posteriors]),
        [np.asarray(posterior.smoothed_probs) for posterior in posteriors],
        path,
        after,
    )


CONCENTRATION = 1.5
CHAIN = {"initial_probs_concentration": CONCENTRATION, "transition_matrix_concentration": CONCENTRATION}


def agrees_with_dynamax(truth: Found, emission, params: dict[str, np.ndarray], values: list[np.ndarray], inputs=None, iterate: bool = True):
    assert_agree(ask(emission, params, values, inputs, iterate, CONCENTRATION), truth)


def test_dynamax_gaussian():
    """Its joint normal inverse-Wishart mode divides by df + N + 2 + n, ours by df + N + 1 + n."""
    peer = dynamax.GaussianHMM(NUM_STATES, NUM_FEATURES, emission_prior_concentration=1e-14, emission_prior_scale=0.3, emission_prior_extra_df=1.5, **CHAIN)
    names = lambda fitted: {"emission.means": fitted.means, "emission.covariances": fitted.covs}  # noqa: E731
    truth = ask_dynamax(peer, EQUAL["gaussian"], {"emission_means": MEANS, "emission_covariances": COVARIANCES}, names)
    prior = dist.InverseWishart(NUM_FEATURES + 2.5, 0.3 * np.eye(NUM_FEATURES))
    emission = lg.emissions.Gaussian(NUM_FEATURES, mean_prior=WIDE, covariance_prior=prior)
    agrees_with_dynamax(truth, emission, {"means": MEANS, "covariances": COVARIANCES}, EQUAL["gaussian"])


def test_dynamax_diagonal_gaussian():
    """Its joint normal inverse-gamma mode divides by a + 3/2 + n/2, ours by a + 1 + n/2."""
    peer = dynamax.DiagonalGaussianHMM(
        NUM_STATES,
        NUM_FEATURES,
        emission_prior_mean_concentration=1e-14,
        emission_prior_concentration=1.2,
        emission_prior_scale=0.4,
        **CHAIN,
    )
    names = lambda fitted: {"emission.means": fitted.means, "emission.covariances": fitted.scale_diags**2}  # noqa: E731
    truth = ask_dynamax(peer, EQUAL["gaussian"], {"emission_means": MEANS, "emission_scale_diags": np.sqrt(VARIANCES)}, names)
    emission = lg.emissions.Gaussian(NUM_FEATURES, "diagonal", mean_prior=WIDE, covariance_prior=dist.InverseGamma(1.7, 0.4))
    agrees_with_dynamax(truth, emission, {"means": MEANS, "covariances": VARIANCES}, EQUAL["gaussian"])


def test_dynamax_poisson():
    peer = dynamax.PoissonHMM(NUM_STATES, NUM_FEATURES, emission_prior_concentration=2.5, emission_prior_rate=0.7, **CHAIN)
    truth = ask_dynamax(peer, EQUAL["counts"], {"emission_rates": RATES}, lambda fitted: {"emission.rates": fitted.rates})
    emission = lg.emissions.Poisson(NUM_FEATURES, prior=dist.Gamma(2.5, 0.7))
    agrees_with_dynamax(truth, emission, {"rates": RATES}, EQUAL["counts"])


def test_dynamax_bernoulli():
    peer = dynamax.BernoulliHMM(NUM_STATES, NUM_FEATURES, emission_prior_concentration1=1.7, emission_prior_concentration0=1.2, **CHAIN)
    truth = ask_dynamax(peer, BINARY, {"emission_probs": PROBS}, lambda fitted: {"emission.probs": fitted.probs})
    emission = lg.emissions.Bernoulli(NUM_FEATURES, prior=dist.Beta(1.7, 1.2))
    agrees_with_dynamax(truth, emission, {"probs": PROBS}, BINARY)


def test_dynamax_categorical():
    peer = dynamax.CategoricalHMM(NUM_STATES, 1, NUM_CATEGORIES, emission_prior_concentration=1.4, **CHAIN)
    truth = ask_dynamax(peer, EQUAL["categorical"], {"emission_probs": CATEGORIES[:, None]}, lambda fitted: {"emission.probs": fitted.probs[:, 0]})
    emission = lg.emissions.Categorical(NUM_CATEGORIES, prior=dist.Dirichlet(np.full(NUM_CATEGORIES, 1.4)))
    agrees_with_dynamax(truth, emission, {"probs": CATEGORIES}, EQUAL["categorical"])


def test_dynamax_linear_regression():
    """It has no priors. InverseGamma(-1, 0), which is flat, cannot be constructed, so its numbers are put into one that can."""
    peer = dynamax.LinearRegressionHMM(NUM_STATES, NUM_INPUTS, 1, **CHAIN)
    weights, bias, variances = WEIGHTS[:, :1], BIAS[:, :1], VARIANCES[:, :1]
    values = [value[:, :1] for value in EQUAL["gaussian"]]
    names = lambda fitted: {  # noqa: E731
        "emission.weights": fitted.weights,
        "emission.bias": fitted.biases,
        "emission.covariances": fitted.covs[:, :, 0],
    }
    set_up = {"emission_weights": weights, "emission_biases": bias, "emission_covariances": variances[..., None]}
    truth = ask_dynamax(peer, values, set_up, names, INPUTS)
    leaves, structure = jax.tree.flatten(dist.InverseGamma(1.0, 2.0))
    flat = jax.tree.unflatten(structure, [{1.0: -1.0, 2.0: 0.0}.get(leaf, leaf) for leaf in leaves])
    assert (flat.concentration, flat.rate) == (-1.0, 0.0)
    emission = lg.emissions.LinearRegression(1, NUM_INPUTS, weight_prior=WIDE, bias_prior=WIDE, covariance_prior=flat)
    agrees_with_dynamax(truth, emission, {"weights": weights, "bias": bias, "covariances": variances}, values, INPUTS)


def test_dynamax_logistic_regression():
    """Its M-step is a number of gradient steps, which says nothing about ours; see `test_emission_oracles.py` for that."""
    peer = dynamax.LogisticRegressionHMM(NUM_STATES, NUM_INPUTS, **CHAIN)
    values = [value[:, 0] for value in BINARY]
    set_up = {"emission_weights": WEIGHTS[:, 0], "emission_biases": BIAS[:, 0]}
    truth = ask_dynamax(peer, values, set_up, None, INPUTS, iterate=False)
    emission = lg.emissions.BernoulliGLM(NUM_INPUTS)
    params = {"weights": WEIGHTS[:, 0], "bias": BIAS[:, 0]}
    agrees_with_dynamax(truth, emission, params, [value[:, None] for value in values], INPUTS, iterate=False)


def test_dynamax_categorical_regression():
    """It has weights for every category; ours are the differences from category 0."""
    rng = np.random.default_rng(6)
    weights, bias = rng.normal(size=(NUM_STATES, NUM_CATEGORIES, NUM_INPUTS)), rng.normal(size=(NUM_STATES, NUM_CATEGORIES))
    peer = dynamax.CategoricalRegressionHMM(NUM_STATES, NUM_CATEGORIES, NUM_INPUTS, **CHAIN)
    values = [value[:, 0].astype(int) for value in EQUAL["categorical"]]
    truth = ask_dynamax(peer, values, {"emission_weights": weights, "emission_biases": bias}, None, INPUTS, iterate=False)
    emission = lg.emissions.CategoricalGLM(NUM_CATEGORIES, NUM_INPUTS)
    params = {"weights": weights[:, 1:] - weights[:, :1], "bias": bias[:, 1:] - bias[:, :1]}
    agrees_with_dynamax(truth, emission, params, [value[:, None] for value in values], INPUTS, iterate=False)
