"""dynamax is the oracle: both sides must give one likelihood and one posterior of the states."""

import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamax import hidden_markov_model as theirs
from dynamax.hidden_markov_model.models.initial import ParamsStandardHMMInitialState
from dynamax.hidden_markov_model.models.transitions import ParamsStandardHMMTransitions
from dynamax.nonlinear_gaussian_ssm import NonlinearGaussianSSM
from numpyro import distributions as dist

import latentgate as lg
from latentgate.adapters.dynamax import from_dynamax, to_dynamax
from latentgate.models.specification import to_specification

K, T = 3, 25


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


def rows(rng, *shape):
    values = rng.random(shape) + 0.1
    return jnp.asarray(values / values.sum(-1, keepdims=True))


def covariance(rng, *shape):
    root = rng.normal(size=(*shape, 2, 2))
    return jnp.asarray(root @ np.swapaxes(root, -1, -2) + np.eye(2))


def made(name):
    """A dynamax model, its parameters with random values of every emission parameter, emissions [time, ...] and inputs or None."""
    rng = np.random.default_rng(0)
    inputs, real = rng.normal(size=(T, 2)), rng.normal(size=(T, 2))
    means = jnp.asarray(rng.normal(size=(K, 2)))
    built = {
        "poisson": (theirs.PoissonHMM(K, 2), {"rates": jnp.asarray(rng.gamma(2.0, size=(K, 2)))}, rng.poisson(2.0, (T, 2)), None),
        "gaussian": (theirs.GaussianHMM(K, 2), {"means": means, "covs": covariance(rng, K)}, real, None),
        "diagonal": (theirs.DiagonalGaussianHMM(K, 2), {"means": means, "scale_diags": jnp.asarray(rng.gamma(5.0, 0.3, (K, 2)))}, real, None),
        "spherical": (theirs.SphericalGaussianHMM(K, 2), {"means": means, "scales": jnp.asarray(rng.gamma(5.0, 0.3, K))}, real, None),
        "shared": (theirs.SharedCovarianceGaussianHMM(K, 2), {"means": means, "cov": covariance(rng)}, real, None),
        "bernoulli": (theirs.BernoulliHMM(K, 2), {"probs": jnp.asarray(rng.random((K, 2)))}, rng.integers(0, 2, (T, 2)), None),
        "categorical": (theirs.CategoricalHMM(K, 1, 4), {"probs": rows(rng, K, 1, 4)}, rng.integers(0, 4, (T, 1)), None),
        "linear": (
            theirs.LinearRegressionHMM(K, 2, 2),
            {"weights": jnp.asarray(rng.normal(size=(K, 2, 2))), "biases": means, "covs": jnp.asarray(rng.gamma(3.0, size=(K, 2)))[..., None] * jnp.eye(2)},
            real,
            inputs,
        ),
        "logistic": (
            theirs.LogisticRegressionHMM(K, 2),
            {"weights": jnp.asarray(rng.normal(size=(K, 2))), "biases": jnp.asarray(rng.normal(size=K))},
            rng.integers(0, 2, T),
            inputs,
        ),
        "softmax": (
            theirs.CategoricalRegressionHMM(K, 4, 2),
            {"weights": jnp.asarray(rng.normal(size=(K, 4, 2))), "biases": jnp.asarray(rng.normal(size=(K, 4)))},
            rng.integers(0, 4, T),
            inputs,
        ),
    }
    hmm, values, observed, inputs = built[name]
    return hmm, filled(hmm, values, rng), observed, inputs


def filled(hmm, values, rng):
    """Dynamax's parameters with these emissions; its own `initialize` takes seconds to compile."""
    module = sys.modules[type(hmm).__module__]
    return getattr(module, f"Params{type(hmm).__name__}")(
        initial=ParamsStandardHMMInitialState(probs=rows(rng, hmm.num_states)),
        transitions=ParamsStandardHMMTransitions(transition_matrix=rows(rng, hmm.num_states, hmm.num_states)),
        emissions=getattr(module, f"Params{type(hmm.emission_component).__name__}")(**values),
    )


NAMES = ["poisson", "gaussian", "diagonal", "spherical", "shared", "bernoulli", "categorical", "linear", "logistic", "softmax"]


@pytest.mark.parametrize("name", NAMES)
def test_both_sides_agree_both_ways(name):
    hmm, params, observed, inputs = made(name)
    model, ours = from_dynamax(hmm, params)
    assert set(ours) == set(model.dims())
    data = lg.Sequences.from_arrays([np.asarray(observed, float)], inputs=None if inputs is None else [inputs])
    model.check(data)
    smoothed = model.smooth(ours, data)

    def compare(hmm, params):
        posterior = hmm.smoother(params, jnp.asarray(observed), None if inputs is None else jnp.asarray(inputs))
        np.testing.assert_allclose(model.log_likelihood(ours, data)[0], posterior.marginal_loglik, rtol=1e-8)
        np.testing.assert_allclose(smoothed.marginals[0], posterior.smoothed_probs, atol=1e-8)

    compare(hmm, params)
    back, their_params = to_dynamax(model, ours)
    compare(back, their_params)
    if name != "spherical":
        assert type(back) is type(hmm)
        assert type(their_params) is type(params)
    if name not in ("spherical", "softmax"):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-15), their_params, params)
    again, ours_again = from_dynamax(back, their_params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-15), ours_again, ours)
    assert to_specification(again) == to_specification(model)


def test_priors_are_taken_over_and_given_back():
    hmm = theirs.BernoulliHMM(
        2,
        1,
        initial_probs_concentration=2.5,
        transition_matrix_concentration=1.3,
        transition_matrix_stickiness=7.0,
        emission_prior_concentration0=3.0,
        emission_prior_concentration1=4.0,
    )
    params = filled(hmm, {"probs": jnp.array([[0.5], [0.4]])}, np.random.default_rng(0))
    model, ours = from_dynamax(hmm, params)
    # dynamax leaves the normaliser of some priors out, so differences of log-priors are compared.
    other = params._replace(emissions=params.emissions._replace(probs=jnp.array([[0.2], [0.7]])), initial=params.initial._replace(probs=jnp.array([0.1, 0.9])))
    other = other._replace(transitions=other.transitions._replace(transition_matrix=jnp.array([[0.8, 0.2], [0.4, 0.6]])))
    ours_other = from_dynamax(hmm, other)[1]
    np.testing.assert_allclose(model.log_prior(ours_other) - model.log_prior(ours), hmm.log_prior(other) - hmm.log_prior(params), rtol=1e-10)
    back, _ = to_dynamax(model, ours)
    np.testing.assert_allclose(back.log_prior(params), hmm.log_prior(params), rtol=1e-12)


def test_priors_of_other_forms_warn():
    model = lg.HMM(2, lg.emissions.Poisson(1, prior=dist.LogNormal(0.0, 1.0)))
    params = {"initial.probs": np.full(2, 0.5), "transition.probs": np.full((2, 2), 0.5), "emission.rates": np.ones((2, 1))}
    with pytest.warns(UserWarning, match="LogNormal, expected Gamma"):
        to_dynamax(model, params)
    hmm = theirs.PoissonHMM(2, 1, initial_probs_concentration=jnp.array([1.0, 2.0]))
    with pytest.warns(UserWarning, match="first state"):
        from_dynamax(hmm, filled(hmm, {"rates": jnp.ones((2, 1))}, np.random.default_rng(0)))


def test_default_models_convert_silently():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for name in NAMES:
            hmm, params, *_ = made(name)
            model, ours = from_dynamax(hmm, params)
            to_dynamax(model, ours)


def test_what_has_no_counterpart_is_named():
    with pytest.raises(TypeError, match=r"found NonlinearGaussianSSM, expected one of dynamax's PoissonHMM.*LinearGaussianSSM"):
        from_dynamax(NonlinearGaussianSSM(2, 2), None)
    with pytest.raises(TypeError, match="found GammaHMM, expected one of"):
        from_dynamax(theirs.GammaHMM(2), None)
    with pytest.raises(TypeError, match="found NegativeBinomial, expected one that dynamax has too"):
        to_dynamax(lg.HMM(2, lg.emissions.NegativeBinomial(1)), {})
    with pytest.raises(TypeError, match="found Gated, expected Stationary or Sticky"):
        to_dynamax(lg.HMM(2, lg.emissions.Poisson(1), lg.transitions.Gated(1)), {})
    with pytest.raises(ValueError, match=r"found no 'initial.probs'"):
        to_dynamax(lg.HMM(2, lg.emissions.Poisson(1)), {})
    with pytest.raises(TypeError, match=r"found PoissonHMM, expected lg\.HMM"):
        to_dynamax(theirs.PoissonHMM(2, 1), {})


def test_covariances_and_columns_that_do_not_fit_are_refused():
    hmm, params, *_ = made("linear")
    correlated = params.emissions._replace(covs=params.emissions.covs + 0.1)
    with pytest.raises(ValueError, match="covariances between features"):
        from_dynamax(hmm, params._replace(emissions=correlated))
    hmm = theirs.CategoricalHMM(2, 3, 4)
    with pytest.raises(ValueError, match="found a categorical HMM of 3 columns"):
        from_dynamax(hmm, filled(hmm, {"probs": jnp.full((2, 3, 4), 0.25)}, np.random.default_rng(0)))
