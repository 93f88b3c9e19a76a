"""Mixtures of experts, alone and inside the chain, against textbook sums written without sight of the models."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import latentgate as lg
from latentgate.inference import match_params, permute_states

from ..oracles import gated_chain
from ..oracles.mixture_of_experts import Parameters, maxima, softmax_mixture

pytestmark = pytest.mark.usefixtures("float64")


def flat_experts(num_experts, **options):
    return lg.experts.LinearGaussian(num_experts, weight_prior="flat", bias_prior="flat", variance_prior="flat", **options)


def flat_model(num_experts=2):
    return lg.MixtureOfExperts(lg.gates.Softmax(weight_scale="flat", bias_scale="flat"), flat_experts(num_experts))


def named(parameters: Parameters) -> dict:
    whole = parameters.sum_to_zero()
    return {
        "gate.weights": whole.gate_weights,
        "gate.bias": whole.gate_bias,
        "experts.weights": whole.weights,
        "experts.bias": whole.bias,
        "experts.scale": whole.scale,
    }


def random_parameters(seed: int, num_experts: int, num_inputs: int) -> Parameters:
    rng = np.random.default_rng(seed)
    shape = (num_experts, num_inputs)
    return Parameters(
        rng.normal(size=shape), rng.normal(size=num_experts), rng.normal(size=shape), rng.normal(size=num_experts), rng.uniform(0.3, 1.5, num_experts)
    )


@pytest.fixture(scope="module")
def crossing():
    """Two lines that cross, and a gate between them: 150 rows, as one sequence."""
    rng = np.random.default_rng(4)
    inputs = rng.uniform(-1, 1, (150, 1))
    first = rng.random(150) < 1 / (1 + np.exp(-3 * inputs[:, 0]))
    outputs = np.where(first, 1.5 * inputs[:, 0], -inputs[:, 0] + 0.5) + np.where(first, 0.2, 0.3) * rng.normal(size=150)
    return inputs, outputs, lg.Sequences.from_arrays([outputs[:, None]], inputs=[inputs])


@pytest.fixture(scope="module")
def fitted(crossing):
    return lg.fit(flat_model(), crossing[2], lg.EM(restarts=6, max_iterations=2000, tolerance=1e-12), seed=0)


def test_log_likelihood_and_responsibilities_are_those_of_the_textbook():
    rng = np.random.default_rng(0)
    parameters = random_parameters(1, 3, 2)
    inputs, outputs = rng.normal(size=(12, 2)), rng.normal(size=12)
    outputs[4] = np.nan
    data = lg.Sequences.from_arrays([outputs[:7, None], outputs[7:, None]], inputs=[inputs[:7], inputs[7:]])
    model = lg.MixtureOfExperts(lg.gates.Softmax(), lg.experts.LinearGaussian(3)).suited_to(data)
    params = {name: jnp.asarray(value) for name, value in named(parameters).items()}
    smoothed = model.smooth(params, data)
    log_density, responsibilities = softmax_mixture(parameters, inputs, outputs)
    np.testing.assert_allclose(smoothed.log_normaliser, [log_density[:7].sum(), log_density[7:].sum()], rtol=1e-12)
    np.testing.assert_allclose(np.concatenate([smoothed.marginals[0], smoothed.marginals[1, :5]]), responsibilities, atol=1e-12)
    assert np.all(smoothed.marginals[1, 5:] == 0)
    np.testing.assert_allclose(smoothed.expected_transitions[0], responsibilities[:6].T @ responsibilities[1:7], atol=1e-12)
    filtered = model.filter(params, data)
    np.testing.assert_allclose(filtered.log_increments[0], log_density[:7], atol=1e-12)
    path = model.most_probable_path(params, data)
    np.testing.assert_array_equal(path.states[1], [*responsibilities[7:].argmax(1), -1, -1])


def test_em_and_map_reach_the_maximum_of_an_independent_optimiser(crossing, fitted):
    inputs, outputs, data = crossing
    best = maxima(inputs, outputs, starts=12)[0]
    assert fitted.converged
    np.testing.assert_allclose(fitted.log_likelihood_history[-1], best.log_likelihood, atol=1e-7)
    order = np.argsort(fitted.params["experts.scale"])
    for name, value in named(best.parameters).items():
        np.testing.assert_allclose(fitted.params[name][order], value, atol=1e-4, err_msg=name)
    climbed = lg.fit(flat_model(), data, lg.MAP(restarts=4, max_iterations=500, tolerance=1e-12), seed=1)
    np.testing.assert_allclose(climbed.log_likelihood_history[-1], best.log_likelihood, atol=1e-6)
    # Standard errors are those of the inverse observed information.
    errors = fitted.uncertainty(data, of="likelihood")
    assert errors.is_maximum
    found = errors.interval(
        lambda params: jnp.stack([params["gate.weights"][order[0], 0] - params["gate.weights"][order[1], 0], *params["experts.weights"][order, 0]])
    )
    np.testing.assert_allclose(found["standard_error"], best.standard_errors[[0, 2, 4]], rtol=1e-3)


@pytest.mark.skipif(not os.environ.get("LATENTGATE_DATA"), reason="the recording is not here")
def test_tones_have_the_maximum_of_the_literature_from_every_start():
    data = lg.load("tonedata")
    fit = lg.fit(flat_model(), data, lg.EM(restarts=6, max_iterations=2000, tolerance=1e-12), seed=0)
    ends = [record.log_likelihood_history[-1] for record in fit.restarts]
    np.testing.assert_allclose(ends, 142.848014, atol=1e-5)


def test_expected_maximisation_never_falls_with_priors_bounds_and_missing_rows(crossing):
    inputs, outputs, _ = crossing
    holes = outputs.copy()
    holes[::7] = np.nan
    data = lg.Sequences.from_arrays([holes[:, None]], inputs=[inputs])
    gate = lg.gates.Softmax(weight_scale=1.0, bound=1.5)
    fit = lg.fit(lg.MixtureOfExperts(gate, flat_experts(3, min_scale=0.25), start="random"), data, lg.EM(restarts=4, max_iterations=60), seed=0)
    for record in fit.restarts:
        assert np.all(np.diff(record.log_joint_history) >= -1e-9 * len(outputs))
    assert fit.params["experts.scale"].min() >= 0.25
    assert np.abs(fit.params["gate.weights"] - fit.params["gate.weights"][-1]).max() <= 1.5 + 1e-12
    np.testing.assert_allclose(fit.params["gate.weights"].sum(0), 0, atol=1e-12)


def test_an_hmm_of_mixtures_is_the_sum_over_all_paths_of_states_and_experts():
    rng = np.random.default_rng(3)
    inputs, outputs = rng.normal(size=(5, 1)), rng.normal(size=5)
    outputs[2] = np.nan
    own = [random_parameters(seed, 2, 1) for seed in (5, 6)]
    stacked = {name: np.stack([named(one)[name] for one in own]) for name in named(own[0])}
    initial, transitions = np.array([0.3, 0.7]), np.array([[0.8, 0.2], [0.4, 0.6]])
    weights = [stacked[name] for name in ("gate.weights", "gate.bias", "experts.weights", "experts.bias", "experts.scale")]
    oracle = gated_chain.enumerate_experts(initial, transitions, *gated_chain.softmax_linear_emission(*weights, inputs, outputs))
    emission = lg.emissions.MixtureOfExperts(lg.gates.Softmax(num_inputs=1), lg.experts.LinearGaussian(2, num_inputs=1))
    model = lg.HMM(2, emission)
    data = lg.Sequences.from_arrays([outputs[:, None]], inputs=[inputs])
    params = {"initial.probs": initial, "transition.probs": transitions} | {f"emission.{name}": value for name, value in stacked.items()}
    params = {name: jnp.asarray(value) for name, value in params.items()}
    smoothed = model.smooth(params, data)
    np.testing.assert_allclose(smoothed.log_normaliser[0], oracle.log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(smoothed.marginals[0], oracle.state_probs, atol=1e-12)
    emission_params = {name.removeprefix("emission."): value for name, value in params.items() if name.startswith("emission.")}
    np.testing.assert_allclose(emission.responsibilities(emission_params, data)[0], oracle.responsibilities, atol=1e-12)


def test_gates_as_transitions_are_the_input_output_hmm():
    rng = np.random.default_rng(8)
    inputs, outputs = rng.normal(size=(6, 2)), rng.normal(size=(6, 1))
    weights, bias = rng.normal(size=(2, 2, 2)), rng.normal(size=(2, 2))
    weights, bias = weights - weights.mean(1, keepdims=True), bias - bias.mean(1, keepdims=True)
    data = lg.Sequences.from_arrays([outputs], inputs=[inputs])
    model = lg.HMM(2, lg.emissions.Gaussian(1, covariance="diagonal"), lg.transitions.ByGate(lg.gates.Softmax(num_inputs=2)), initial=[0.4, 0.6])
    params = {
        "transition.weights": weights,
        "transition.bias": bias,
        "emission.means": np.array([[0.5], [-0.5]]),
        "emission.covariances": np.array([[1.0], [0.4]]),
    }
    params = {name: jnp.asarray(value) for name, value in params.items()}
    nodes = model.potentials(params, data).log_nodes[0]
    oracle = gated_chain.enumerate_input_driven(np.array([0.4, 0.6]), weights, bias, inputs, np.asarray(nodes))
    smoothed = model.smooth(params, data)
    np.testing.assert_allclose(smoothed.log_normaliser[0], oracle.log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(smoothed.marginals[0], oracle.state_probs, atol=1e-12)


def test_one_gate_for_all_origins_is_the_static_mixture(crossing, fitted):
    _, _, data = crossing
    gate = {name.removeprefix("gate."): jnp.asarray(value) for name, value in fitted.params.items() if name.startswith("gate.")}
    first = np.exp(fitted.model.gate.log_weights(gate, jnp.asarray(data.inputs["inputs"])[0, 0]))
    chain = lg.HMM(2, lg.emissions.LinearRegression(1, 1), lg.transitions.ByGate(lg.gates.Softmax(num_inputs=1), per_origin=False), initial=first)
    params = {
        **{f"transition.{name}": value for name, value in gate.items()},
        "emission.weights": fitted.params["experts.weights"][:, None],
        "emission.bias": fitted.params["experts.bias"][:, None],
        "emission.covariances": fitted.params["experts.scale"][:, None] ** 2,
    }
    params = {name: jnp.asarray(value) for name, value in params.items()}
    np.testing.assert_allclose(chain.log_likelihood(params, data)[0], fitted.log_likelihood(data)[0], rtol=1e-12)


def test_renumbering_experts_changes_nothing_and_matching_finds_the_numbers(crossing, fitted):
    _, _, data = crossing
    turned = fitted.with_states([1, 0])
    np.testing.assert_allclose(turned.log_likelihood(data), fitted.log_likelihood(data), rtol=1e-13)
    np.testing.assert_allclose(turned.smooth(data)[..., ::-1], fitted.smooth(data), atol=1e-13)
    for name, value in turned.aligned_to(fitted).params.items():
        np.testing.assert_array_equal(value, fitted.params[name])


def test_experts_are_matched_within_matched_states():
    emission = lg.emissions.MixtureOfExperts(lg.gates.Softmax(num_inputs=2), lg.experts.LinearGaussian(3, num_inputs=2))
    model = lg.HMM(4, emission)
    rng = np.random.default_rng(0)
    data = lg.Sequences.from_arrays([rng.normal(size=(30, 1))], inputs=[rng.normal(size=(30, 2))])
    params = {name: np.asarray(value) for name, value in model.initialize(jax.random.key(0), data).items()}
    order = np.column_stack([rng.permutation(4), np.stack([rng.permutation(3) for _ in range(4)])])
    dims = model.interchangeable_dims()
    shuffled = permute_states(params, dims, order)
    arrays = [{name: jnp.asarray(value) for name, value in one.items()} for one in (params, shuffled)]
    likelihoods = [model.log_likelihood(one, data) for one in arrays]
    np.testing.assert_allclose(*likelihoods, rtol=1e-12)
    assert any(np.abs(shuffled[name] - params[name]).max() > 0.1 for name in params)
    for name, value in permute_states(shuffled, dims, match_params(params, shuffled, dims)).items():
        np.testing.assert_array_equal(value, params[name])


def test_an_hmm_of_mixtures_finds_states_gates_and_experts():
    model = lg.HMM(2, lg.emissions.MixtureOfExperts(lg.gates.Softmax(num_inputs=1), lg.experts.LinearGaussian(2, num_inputs=1)), lg.transitions.Sticky(5.0))
    truth = {
        "initial.probs": [0.5, 0.5],
        "transition.probs": [[0.97, 0.03], [0.05, 0.95]],
        "emission.gate.weights": [[[4.0], [-4.0]], [[-3.0], [3.0]]],
        "emission.gate.bias": [[1.0, -1.0], [0.0, 0.0]],
        "emission.experts.weights": [[[1.0], [-2.0]], [[2.0], [0.0]]],
        "emission.experts.bias": [[0.0, 1.0], [-2.0, 3.0]],
        "emission.experts.scale": [[0.2, 0.3], [0.3, 0.2]],
    }
    truth = {name: jnp.asarray(value) for name, value in truth.items()}
    rng = np.random.default_rng(0)
    inputs = [rng.uniform(-1, 1, (400, 1)) for _ in range(3)]
    data, states = model.simulate(jax.random.key(0), truth, [400] * 3, inputs=inputs)
    fit = lg.fit(model, data, lg.EM(restarts=4, max_iterations=100), seed=1)
    order = match_params({name: np.asarray(value) for name, value in truth.items()}, fit.params, model.dims())
    fit = fit.with_states(order)
    # Gate slopes have standard errors of about a tenth of themselves here, all else of a few hundredths.
    for name, value in truth.items():
        if name != "initial.probs":
            np.testing.assert_allclose(fit.params[name], value, atol=1.2 if "gate" in name else 0.15, err_msg=name)
    decoded = np.asarray(fit.most_probable_path(data))
    assert np.mean(decoded == np.stack(states)) > 0.97


def test_a_gate_without_overlap_has_no_maximum_and_the_outcome_says_so():
    rng = np.random.default_rng(0)
    inputs = np.concatenate([rng.uniform(0, 0.45, 100), rng.uniform(0.55, 1, 100)])[:, None]
    outputs = np.where(inputs < 0.5, inputs, 3 - inputs) + 0.1 * rng.normal(size=inputs.shape)
    data = lg.Sequences.from_arrays([outputs], inputs=[inputs])
    free = lg.fit(flat_model(), data, lg.EM(restarts=2), seed=0)
    assert free.outcome is lg.Outcome.GATE_SEPARATED
    penalised = lg.MixtureOfExperts(lg.gates.Softmax(weight_scale=10.0), flat_experts(2))
    fits = [lg.fit(penalised, data, lg.EM(restarts=2, tolerance=1e-12), seed=seed) for seed in (0, 1)]
    assert all(fit.outcome is lg.Outcome.CONVERGED for fit in fits)
    for name, value in fits[1].aligned_to(fits[0]).params.items():
        np.testing.assert_allclose(value, fits[0].params[name], rtol=1e-4, atol=1e-6)


def test_an_expert_on_two_rows_is_called_collapsed(crossing):
    inputs, outputs, data = crossing
    start = named(random_parameters(0, 3, 1))
    slope = (outputs[1] - outputs[0]) / (inputs[1, 0] - inputs[0, 0])
    start["experts.weights"][0], start["experts.bias"][0], start["experts.scale"][0] = slope, outputs[0] - slope * inputs[0, 0], 2e-4
    floor = lg.MixtureOfExperts(lg.gates.Softmax(), flat_experts(3, min_scale=1e-4))
    assert lg.fit(floor, data, lg.EM(max_iterations=50), seed=0, start=start).outcome is lg.Outcome.VARIANCE_COLLAPSED
    with pytest.raises(lg.NonFiniteLikelihoodError, match="an expert has collapsed"):
        lg.fit(flat_model(3), data, lg.EM(max_iterations=50), seed=0, start=start)
    kept = lg.MixtureOfExperts(lg.gates.Softmax(), lg.experts.LinearGaussian(3))
    assert lg.fit(kept, data, lg.EM(max_iterations=300), seed=0, start=start).params["experts.scale"].min() > 0.01


def test_single_precision_follows_double(crossing, fitted):
    inputs, outputs, _ = crossing
    with jax.enable_x64(False):
        data = lg.Sequences.from_arrays([outputs[:, None]], inputs=[inputs])
        fit = lg.fit(flat_model(), data, lg.EM(restarts=2, max_iterations=300), seed=0)
        assert fit.params["gate.weights"].dtype == np.float32
        np.testing.assert_allclose(fit.log_likelihood_history[-1], fitted.log_likelihood_history[-1], rtol=1e-4)


def test_a_fit_survives_the_file_and_simulates_what_it_was_fitted_to(fitted, crossing, tmp_path):
    _, _, data = crossing
    loaded = lg.Fit.load(fitted.save(tmp_path / "fit.nc"))
    np.testing.assert_array_equal(loaded.log_likelihood(data), fitted.log_likelihood(data))
    drawn, experts = fitted.simulate([4000], seed=0, inputs=[np.zeros((4000, 1))])
    gate = {name.removeprefix("gate."): jnp.asarray(value) for name, value in fitted.params.items() if name.startswith("gate.")}
    share = float(jnp.exp(fitted.model.gate.log_weights(gate, jnp.zeros(1)))[0])
    # Four standard errors: a false alarm in sixteen thousand for each of the two.
    assert abs(np.mean(experts[0] == 0) - share) < 4 * np.sqrt(share * (1 - share) / 4000)
    own = drawn.values[0, experts[0] == 0, 0]
    assert abs(own.mean() - fitted.params["experts.bias"][0]) < 4 * fitted.params["experts.scale"][0] / np.sqrt(len(own))


def test_bad_arguments_are_named():
    gate, experts = lg.gates.Softmax(), lg.experts.LinearGaussian(2)
    with pytest.raises(ValueError, match=r"gate: found 3, expected one of lg\.gates"):
        lg.MixtureOfExperts(3, experts)
    with pytest.raises(ValueError, match=r"(?s)experts: found .* expected one of lg\.experts"):
        lg.MixtureOfExperts(gate, lg.emissions.Poisson(1))
    with pytest.raises(ValueError, match="start: found 'best'"):
        lg.MixtureOfExperts(gate, experts, start="best")
    model, rows = lg.MixtureOfExperts(gate, experts), np.arange(5.0)[:, None]
    with pytest.raises(ValueError, match="inputs: found the sets none, expected 'inputs'"):
        lg.fit(model, lg.Sequences.from_arrays([rows]), seed=0)
    with pytest.raises(ValueError, match="num_inputs: found None"):
        model.log_prior({})
    sized = lg.MixtureOfExperts(lg.gates.Softmax(num_inputs=2), experts)
    with pytest.raises(ValueError, match=r"inputs\['inputs'\]: found 1 columns, expected 2"):
        lg.fit(sized, lg.Sequences.from_arrays([rows], inputs=[rows]), seed=0)
