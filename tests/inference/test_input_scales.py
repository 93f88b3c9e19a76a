"""Inputs in other units: the same likelihood after conversion, and no question of a fit answered in the wrong ones."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
import xarray as xr

import latentgate as lg
from latentgate.models.original_units import intercepts_of, to_original_units

pytestmark = pytest.mark.usefixtures("float64")

LENGTHS = (12, 9)
DRIVE, OTHER = 2, 1


def sequences(kind: str) -> lg.Sequences:
    """Two trials with inputs far from zero and of very unlike units, one missing observation, and a column of ones."""
    rng = np.random.default_rng(3)
    draw = {
        "binary": lambda n: rng.integers(0, 2, (n, 1)),
        "category": lambda n: rng.integers(0, 3, (n, 1)),
        "real": lambda n: rng.normal(size=(n, 2)),
        "one": lambda n: rng.normal(size=(n, 1)),
        "count": lambda n: rng.poisson(1.0, (n, 2)),
        "both": lambda n: np.concatenate([rng.integers(0, 2, (n, 1)), rng.normal(size=(n, 1))], 1),
    }[kind]
    arrays = [np.asarray(draw(length), float) for length in LENGTHS]
    arrays[0][3] = np.nan
    inputs = {
        "inputs": [rng.normal(size=(length, DRIVE)) * [20.0, 0.01] + [300.0, -0.5] for length in LENGTHS],
        "task": [5.0 + rng.normal(size=(length, OTHER)) for length in LENGTHS],
        "design": [np.column_stack([np.full(length, 2.0), 40.0 + 3.0 * rng.normal(size=length)]) for length in LENGTHS],
    }
    return lg.Sequences.from_arrays(arrays, inputs=inputs)


def stay(emission):
    return lg.HMM(2, emission)


FAMILIES = {
    "bernoulli": (stay(lg.emissions.BernoulliGLM(DRIVE)), "binary"),
    "bernoulli with ones for a bias": (stay(lg.emissions.BernoulliGLM(2, "design", bias=False)), "binary"),
    "categorical": (stay(lg.emissions.CategoricalGLM(3, DRIVE)), "category"),
    "regression": (stay(lg.emissions.LinearRegression(2, DRIVE)), "real"),
    "tied regression": (stay(lg.emissions.LinearRegression(2, DRIVE, tied=True)), "real"),
    "counts": (stay(lg.emissions.PoissonGLM(2, history=lg.basis.Exponential(3), coupling=lg.priors.Ridge(), num_inputs=DRIVE)), "count"),
    "overdispersed counts": (stay(lg.emissions.NegativeBinomialGLM(2, num_inputs=DRIVE)), "count"),
    "gated rows": (lg.HMM(3, lg.emissions.BernoulliGLM(OTHER, "task"), lg.transitions.Gated(DRIVE)), "binary"),
    "gated rows per origin": (lg.HMM(2, lg.emissions.Poisson(2), lg.transitions.Gated(DRIVE, per_origin=True)), "count"),
    "rows by softmax": (lg.HMM(2, lg.emissions.Poisson(2), lg.transitions.ByGate(lg.gates.Softmax("task", num_inputs=OTHER))), "count"),
    "product": (stay(lg.emissions.Product(choice=lg.emissions.BernoulliGLM(DRIVE), time=lg.emissions.LinearRegression(1, OTHER, "task"))), "both"),
    "experts": (lg.MixtureOfExperts(lg.gates.Softmax("task", num_inputs=OTHER), lg.experts.LinearGaussian(3, num_inputs=DRIVE)), "one"),
    "poisson experts": (lg.MixtureOfExperts(lg.gates.TopK(2, num_inputs=DRIVE), lg.experts.Poisson(3, num_inputs=DRIVE)), "binary"),
    "experts in states": (
        stay(lg.emissions.MixtureOfExperts(gate=lg.gates.Softmax(num_inputs=DRIVE), experts=lg.experts.LinearGaussian(2, "task", num_inputs=OTHER))),
        "one",
    ),
    "linear dynamics": (
        lg.LinearGaussianSSM(2, 2, dynamics=lg.dynamics.Linear(num_inputs=DRIVE), num_inputs=DRIVE),
        "real",
    ),
    "poisson dynamics": (lg.PoissonLDS(2, num_neurons=2, num_inputs=DRIVE), "count"),
}


def parameters(model, data, seed: int = 0) -> dict[str, np.ndarray]:
    """Some parameters in their supports; a start would compile k-means for nothing."""
    rng = np.random.default_rng(seed)

    def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name.endswith("probs"):
            return rng.dirichlet(np.ones(shape[-1]), shape[:-1])
        if name.endswith("covariance") and shape[-2:] == (shape[-1],) * 2:
            return 0.5 * np.eye(shape[-1])
        if name.endswith(("covariance", "covariances", "scale", "concentration", "dispersion")):
            return rng.uniform(0.5, 1.5, shape)
        return 0.5 * rng.normal(size=shape)

    wanted = jax.eval_shape(model.initialize, jax.random.key(0), data)
    return {name: drawn(name, leaf.shape) for name, leaf in wanted.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_raw_inputs_have_the_same_likelihood_under_converted_parameters(name):
    model, kind = FAMILIES[name]
    raw = sequences(kind)
    scaled = raw.standardized()
    params = parameters(model, scaled)
    converted = to_original_units(model, params, scaled.input_scales, intercepts_of(scaled))
    assert converted.keys() == params.keys()
    assert {key: np.shape(value) for key, value in converted.items()} == {key: np.shape(value) for key, value in params.items()}
    assert any(not np.array_equal(converted[key], params[key]) for key in params)
    expected = np.asarray(model.log_likelihood(params, scaled))
    np.testing.assert_allclose(model.log_likelihood(converted, raw), expected, rtol=1e-8)
    # The inputs matter: raw ones under the parameters for scaled ones are something else.
    assert not np.allclose(np.asarray(model.log_likelihood(params, raw)), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (stay(lg.emissions.BernoulliGLM(DRIVE, bias=False)), ["BernoulliGLM", "bias", "'inputs'"]),
        (lg.MixtureOfExperts(lg.gates.Softmax(num_inputs=DRIVE), lg.experts.Polynomial(2, degree=2, num_inputs=DRIVE)), ["Polynomial", "'inputs'"]),
        (lg.MixtureOfExperts(lg.gates.Gaussian(num_inputs=DRIVE), lg.experts.LinearGaussian(2, num_inputs=DRIVE)), ["Gaussian", "'inputs'"]),
    ],
)
def test_what_cannot_be_converted_is_named(model, words):
    kind = "binary" if "Bernoulli" in words[0] else "one"
    scaled = sequences(kind).standardized()
    with pytest.raises(ValueError) as caught:
        to_original_units(model, parameters(model, scaled), scaled.input_scales)
    for word in words:
        assert word in str(caught.value)


def test_parts_that_read_other_inputs_stay_as_they_are():
    model, kind = FAMILIES["product"]
    data = sequences(kind)
    params = parameters(model, data)
    converted = to_original_units(model, params, data.standardized("task").input_scales)
    changed = {name for name in params if not np.array_equal(params[name], converted[name])}
    assert changed == {"emission.time.weights", "emission.time.bias"}


@pytest.fixture(scope="module")
def fitted():
    with jax.enable_x64(True):
        raw = sequences("binary")
        train = raw.standardized()
        return raw, train, lg.fit(FAMILIES["bernoulli"][0], train, lg.EM(restarts=1, max_iterations=5), seed=0, progress=False)


def test_a_fit_reports_in_original_units_and_keeps_its_scales(fitted, tmp_path):
    raw, train, fit = fitted
    assert set(fit.input_scales) == {"inputs", "task", "design"}
    found = fit.in_original_units()
    assert isinstance(found, xr.Dataset)
    assert found["emission.weights"].dims == ("state", "input")
    converted = {name: found[name].values for name in fit.params}
    np.testing.assert_allclose(fit.model.log_likelihood(converted, raw), fit.log_likelihood(train), rtol=1e-8)
    _, unit = train.input_scales["inputs"]
    np.testing.assert_allclose(found["emission.weights"] * unit, fit.params["emission.weights"])
    loaded = lg.Fit.load(fit.save(tmp_path / "fit.nc"))
    for name, scale in fit.input_scales.items():
        np.testing.assert_array_equal(loaded.input_scales[name], scale)
    xr.testing.assert_allclose(loaded.in_original_units(), found)
    np.testing.assert_allclose(loaded.log_likelihood(train), fit.log_likelihood(train))


@pytest.mark.parametrize(
    "ask", ["smooth", "filter", "log_likelihood", "most_probable_path", "posterior_log_likelihoods", "bic", "uncertainty", "sample", "predict"]
)
def test_every_question_refuses_other_units(fitted, ask):
    raw, _, fit = fitted
    options = {"sample": ("sample_latents", (2, 0)), "predict": ("posterior_predictive", (2, 0))}
    name, more = options.get(ask, (ask, ()))
    with pytest.raises(ValueError, match=r"not standardised as those of the fit.*standardized\(like=train\)"):
        getattr(fit, name)(raw, *more)
    with pytest.raises(ValueError, match=r"otherwise than those of the fit.*like=train"):
        getattr(fit, name)(raw.select([0]).standardized(), *more)


def test_a_fit_to_raw_inputs_refuses_standardised_ones(fitted):
    _, train, fit = fitted
    plain = dataclasses.replace(fit, input_scales={})
    with pytest.raises(ValueError, match=r"found standardised inputs, expected raw"):
        plain.smooth(train)
    assert plain.in_original_units()["emission.bias"].values.tolist() == fit.params["emission.bias"].tolist()


def test_simulations_are_in_the_units_of_the_fit(fitted):
    _, train, fit = fitted
    inputs = {name: [np.asarray(value)[0, :5]] for name, value in train.inputs.items()}
    simulated, _ = fit.simulate([5], seed=0, inputs=inputs)
    assert fit.log_likelihood(simulated).shape == (1,)


def test_draws_are_converted_one_by_one(fitted):
    _, _, fit = fitted
    rng = np.random.default_rng(0)
    draws = {name: np.stack([[np.asarray(value) * rng.uniform(0.5, 1.0) for _ in range(3)]] * 2) for name, value in fit.params.items()}
    draws |= {name: draws[name] / draws[name].sum(-1, keepdims=True) for name in ("initial.probs", "transition.probs")}
    from latentgate.inference.posterior import Posterior

    posterior = Posterior(draws, {}, np.zeros(2, int), np.zeros(0), None)
    found = dataclasses.replace(fit, posterior=posterior).in_original_units()
    assert found["posterior.emission.weights"].dims == ("chain", "draw", "state", "input")
    one = to_original_units(fit.model, {name: value[1, 2] for name, value in draws.items()}, fit.input_scales)
    for name, value in one.items():
        np.testing.assert_allclose(found[f"posterior.{name}"][1, 2], value)
    np.testing.assert_allclose(found["emission.bias"], found["posterior.emission.bias"].mean(("chain", "draw")))


def test_spike_history_as_inputs_is_what_a_glm_with_history_sees():
    data = sequences("count")
    basis = lg.basis.RaisedCosine(2, window=4)
    own = lg.HMM(2, lg.emissions.PoissonGLM(2, history=basis, coupling=lg.priors.Flat(), self_history="coupled"))
    given = lg.HMM(2, lg.emissions.PoissonGLM(2, num_inputs=4, inputs="history"))
    history = lg.basis.spike_history(data, basis)
    assert history.shape == (2, 12, 4)
    assert (history[~np.asarray(data.mask)] == 0).all()
    params = {name: np.asarray(value) for name, value in own.initialize(jax.random.key(0), data).items()}
    # Weights [state, neuron, source, function] become those of inputs [state, neuron, source * function].
    weights = np.asarray(own.emission.coupling_weights({name.removeprefix("emission."): value for name, value in params.items()}))
    as_inputs = {name: params[name] for name in given.dims() if name in params} | {"emission.weights": weights.reshape(2, 2, 4)}
    with_history = data.with_inputs({"history": history})
    np.testing.assert_allclose(given.log_likelihood(as_inputs, with_history), own.log_likelihood(params, data), rtol=1e-10)
    with pytest.raises(TypeError, match=r"basis: found int.*lg\.basis"):
        lg.basis.spike_history(data, 3)
