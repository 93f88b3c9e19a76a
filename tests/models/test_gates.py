"""Laws of all gates, over one table; and what single gates promise beyond them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.special
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal
from numpyro.distributions import biject_to

import latentgate as lg
from latentgate.models.base import log_prior
from latentgate.models.gates.symmetric import SymmetricZeroSum
from latentgate.models.specification import from_specification, to_specification
from latentgate.models.unconstrained import constrain, unconstrain
from tests.oracles import gates as oracles

pytestmark = pytest.mark.usefixtures("float64")

NUM_INPUTS, STEP = 2, 1e-6
LENGTHS = (9, 6)


@dataclasses.dataclass(frozen=True)
class Row:
    """A gate, how many experts it weighs, and its log-weights [n, K] by plain formulas."""

    gate: lg.gates.Gate
    oracle: Callable[[dict, np.ndarray], np.ndarray]
    num_experts: int = 3


def hats(params, inputs):
    return -jnp.sum(jnp.sqrt(1.0 + (inputs[..., None, :] - params["centres"]) ** 2), -1) * params["sharpness"]


def hats_oracle(p, x):
    return oracles.log_softmax(np.array([[-np.sqrt(1 + (row - centre) ** 2).sum() * p["sharpness"] for centre in p["centres"]] for row in x]))


def ranked_without_bias(p, x):
    kept = oracles.top_scores(oracles.linear_scores(p["weights"], np.zeros(3), x), 2) > -np.inf
    return oracles.log_softmax(np.where(kept, oracles.linear_scores(p["weights"], p["bias"], x), -np.inf))


def shifted_cosine(p, x):
    with_bias = oracles.cosine(p["weights"], x, 0.3, 0.5, 0.2) + p["bias"]
    return oracles.log_softmax(with_bias)


def diagonal_gaussian(p, x):
    return oracles.gaussian(p["probs"], p["means"], np.array([np.diag(v) for v in p["covariances"]]), x)


def tied_gaussian(p, x):
    return oracles.gaussian(p["probs"], p["means"], np.array([p["covariances"]] * 3), x)


def tree(p, x):
    return oracles.hierarchical(p["group_weights"], p["group_bias"], np.swapaxes(p["weights"], 0, 1), np.swapaxes(p["bias"], 0, 1), x)


def silu(scores):
    return scores * scipy.special.expit(scores)


gates, size = lg.gates, {"num_inputs": NUM_INPUTS}
TABLE = {
    "softmax": Row(gates.Softmax(temperature=0.7, bound=30.0, **size), lambda p, x: oracles.tempered(p["weights"], p["bias"], x, 0.7)),
    "activation": Row(gates.Activation(**size), lambda p, x: oracles.activated(p["weights"], p["bias"], x, p["temperature"])),
    "activation, fixed": Row(
        gates.Activation(activation="silu", temperature=0.5, bound=8.0, **size), lambda p, x: oracles.activated(p["weights"], p["bias"], x, 0.5, silu)
    ),
    "top 1": Row(gates.TopK(1, **size), lambda p, x: oracles.top_softmax(p["weights"], p["bias"], x, 1)),
    "top 2, flat": Row(gates.TopK(2, weight_scale="flat", bias_scale="flat", **size), lambda p, x: oracles.top_softmax(p["weights"], p["bias"], x, 2)),
    "top 2 without bias": Row(gates.TopK(2, rank_by="score without bias", bound=20.0, **size), ranked_without_bias),
    "noisy top 2": Row(gates.NoisyTopK(2, **size), lambda p, x: oracles.top_softmax(p["weights"], p["bias"], x, 2)),
    "sigmoid": Row(gates.Sigmoid(**size), lambda p, x: oracles.normalised_sigmoid(p["weights"], p["bias"], x)),
    "laplace": Row(gates.Laplace(**size), lambda p, x: oracles.laplace(p["centres"], p["bias"], x)),
    "cosine": Row(gates.Cosine(weight_shift=0.5, input_shift=0.2, temperature=0.3, **size), shifted_cosine),
    "quadratic": Row(gates.Quadratic(**size), lambda p, x: oracles.quadratic(p["matrices"], p["weights"], p["bias"], x)),
    "monomial": Row(gates.Quadratic(monomial=True, **size), lambda p, x: oracles.quadratic(p["matrices"], np.zeros((3, 2)), p["bias"], x)),
    "gaussian": Row(gates.Gaussian(**size), lambda p, x: oracles.gaussian(p["probs"], p["means"], p["covariances"], x)),
    "gaussian, diagonal": Row(gates.Gaussian(covariance="diagonal", concentration=2.0, **size), diagonal_gaussian),
    "gaussian, tied": Row(gates.Gaussian(covariance="tied", **size), tied_gaussian),
    "residual": Row(gates.Residual(amplitude=2.0, steepness=1.5, bound=8.0, **size), lambda p, x: oracles.residual(p["weights"], p["bias"], x, 2.0, 1.5)),
    "hierarchical": Row(gates.Hierarchical(2, **size), tree, num_experts=4),
    "function": Row(
        gates.Function(hats, {"centres": ("expert", "input"), "sharpness": ()}, priors={"sharpness": dist.LogNormal(0.0, 1.0)}, **size), hats_oracle
    ),
    "fixed": Row(gates.Fixed([0.2, 0.5, 0.3], **size), lambda p, x: np.log(np.tile([0.2, 0.5, 0.3], (len(x), 1)))),
}
# Variants of a gate share its code: their formulas and files are looked at, laws are asked of one of each kind.
LAWS = ("activation", "top 1", "top 2 without bias", "sigmoid", "laplace", "cosine", "quadratic", "gaussian", "residual", "hierarchical", "function")
MOVABLE = [name for name in LAWS if not TABLE[name].gate.anchored]
# Those whose M-step is code of their own, and one that has the numerical one; True where log-likelihoods are climbed.
STEPS = {
    "activation": False,
    "top 1": True,
    "top 2 without bias": False,
    "quadratic": False,
    "gaussian": False,
    "gaussian, diagonal": False,
    "hierarchical": False,
}


class Bench:
    """A gate at several parameters, and what all laws ask of it, compiled once."""

    def __init__(self, row: Row):
        self.row, self.gate, self.num_experts = row, row.gate, row.num_experts
        self.priors: dict[str, Any] = row.gate.priors(row.num_experts)
        rng = np.random.default_rng(3)
        self.data = lg.Sequences.from_arrays(
            [np.zeros((length, 1)) for length in LENGTHS], inputs=[rng.normal(size=(length, NUM_INPUTS)) for length in LENGTHS]
        )
        self.inputs, self.real = jnp.asarray(self.data.inputs["inputs"]), self.data.mask
        targets = rng.dirichlet(np.ones(self.num_experts), size=self.real.shape) * rng.uniform(0.5, 1.5, size=(*self.real.shape, 1))
        targets[:, ::3, 0] = 0.0
        targets[:, 1] = np.eye(self.num_experts)[1]
        self.targets = np.where(self.real[..., None], targets, 0.0)
        self.log_likelihood = rng.normal(size=targets.shape) - 1.0
        self.order = np.roll(np.arange(self.num_experts), 1)

    @cached_property
    def starts(self) -> dict:
        """Parameters of a start and of a draw in unconstrained coordinates, leaves [2, ...]; and whether they are where their priors are."""

        def start(key):
            return self.gate.initialize(key, self.data, self.num_experts)

        @jax.jit
        def draw(key, free):
            first, drawn = start(key), constrain(self.priors, free)
            supported = [jnp.all(prior.support(drawn[name])) & jnp.all(prior.support(first[name])) for name, prior in self.priors.items()]
            return {name: jnp.stack([first[name], drawn[name]]) for name in first}, supported

        key, rng = jax.random.key(1), np.random.default_rng(9)
        shapes = jax.eval_shape(lambda key: unconstrain(self.priors, start(key)), key)
        params, supported = draw(key, {name: rng.normal(size=shape.shape) for name, shape in shapes.items()})
        return {"params": jax.tree.map(np.asarray, params), "supported": supported}

    def params(self, index: int) -> dict:
        return {name: jnp.asarray(value[index]) for name, value in self.starts["params"].items()}

    @cached_property
    def answers(self) -> dict:
        """At the draw: log-weights, their gradient and difference along a direction, and log-weights of renumbered experts."""
        coefficients = np.random.default_rng(6).normal(size=self.targets.shape)
        dims, here = self.gate.dims(), self.params(1)
        rng = np.random.default_rng(7)
        wild = {name: rng.normal(size=value.shape) for name, value in here.items()}
        direction = {name: value + np.swapaxes(value, -1, -2) if dims[name][-1:] == ("input_other",) else value for name, value in wild.items()}
        moved = {name: value[self.order] if dims[name][:1] == ("expert",) else value for name, value in here.items()}
        places = [here, *({name: here[name] + sign * STEP * direction[name] for name in here} for sign in (1, -1)), moved]

        @jax.jit
        def ask(stacked):
            values, backward = jax.vjp(lambda params: jax.vmap(lambda one: self.gate.log_weights(one, self.inputs))(params), stacked)
            return values, backward(jnp.where(values > -jnp.inf, coefficients, 0.0))[0]

        values, gradient = ask({name: jnp.stack([place[name] for place in places]) for name in here})
        totals = np.where(values > -np.inf, coefficients * np.where(values > -np.inf, values, 0.0), 0.0).sum((1, 2, 3))
        gradient = {name: np.asarray(value[0]) for name, value in gradient.items()}
        return {
            "log_weights": np.asarray(values[0]),
            "moved": np.asarray(values[3]),
            "gradient": gradient,
            "slope": (totals[1] - totals[2]) / (2 * STEP),
            "along": sum(np.sum(gradient[name] * direction[name]) for name in here),
        }

    def stepped(self, climb: bool) -> list[tuple[dict, float, float]]:
        """(new parameters, objective before, after) of an M-step from a start and from a draw."""

        def expected(params):
            values = self.gate.log_potentials(params, self.inputs)
            if climb:
                fit = jnp.sum(self.targets.sum(-1) * jax.nn.logsumexp(values + self.log_likelihood, axis=-1))
            else:
                fit = jnp.sum(jnp.where(self.targets > 0, self.targets * values, 0.0))
            return fit + log_prior(self.priors, params)

        @jax.jit
        def step(params):
            new = self.gate.m_step(params, self.inputs, jnp.asarray(self.targets), jnp.asarray(self.log_likelihood) if climb else None)
            return new, expected(params), expected(new), [jnp.all(prior.support(new[name])) for name, prior in self.priors.items()]

        return [step(self.params(index)) for index in (0, 1)]


@pytest.fixture(scope="module")
def benches(float64):
    return {name: Bench(row) for name, row in TABLE.items()}


@pytest.fixture(params=LAWS)
def bench(request, benches):
    return benches[request.param]


def test_weights_are_those_of_the_plain_formula_and_sum_to_one(bench):
    rows, params = np.asarray(bench.inputs).reshape(-1, NUM_INPUTS), bench.params(1)
    expected = bench.row.oracle({name: np.asarray(value) for name, value in params.items()}, rows)
    found = bench.answers["log_weights"]
    assert_allclose(found.reshape(expected.shape), expected, rtol=1e-10, atol=1e-10)
    assert_allclose(np.exp(found).sum(-1), 1.0, rtol=1e-12)
    with jax.enable_x64(False):
        single = {name: jnp.asarray(np.asarray(value), jnp.float32) for name, value in params.items()}
        rounded = jax.jit(lambda params, inputs: bench.gate.log_weights(params, inputs))(single, jnp.asarray(np.asarray(bench.inputs), jnp.float32))
    assert rounded.dtype == jnp.float32
    assert_allclose(np.exp(rounded), np.exp(found), atol=2e-5)


@pytest.mark.parametrize("name", [name for name in TABLE if name not in LAWS])
def test_variants_have_the_weights_of_the_plain_formula(benches, name):
    """At zero-sum parameters that suit all of them."""
    row, rng = TABLE[name], np.random.default_rng(8)
    draws = {key: rng.normal(size=prior.event_shape) for key, prior in benches[name].priors.items()}
    params = {key: value - value.mean(0) if value.ndim else np.exp(value) for key, value in draws.items()}
    if "matrices" in params:
        params["matrices"] = params["matrices"] + np.swapaxes(params["matrices"], 1, 2)
    if "covariances" in params:
        params["probs"] = rng.dirichlet(np.ones(3))
        params["covariances"] = np.exp(draws["covariances"]) if name.endswith("diagonal") else np.array([[1.0, 0.3], [0.3, 0.5]])
    x = rng.normal(size=(5, NUM_INPUTS))
    found = jax.jit(lambda params: row.gate.log_weights(params, jnp.asarray(x)))({key: jnp.asarray(value) for key, value in params.items()})
    assert_allclose(found, row.oracle(params, x), rtol=1e-10, atol=1e-10)


def test_parameters_have_the_shapes_and_constraints_of_their_priors(bench):
    dims, params = bench.gate.dims(), bench.params(0)
    assert set(bench.priors) == set(dims) == set(params)
    for name, prior in bench.priors.items():
        assert params[name].shape == prior.event_shape
        assert len(dims[name]) == params[name].ndim
    assert all(bench.starts["supported"])


def test_starts_differ_between_experts(bench):
    start = bench.starts["params"]
    assert all(np.ptp(value[0], axis=0).max() > 1e-6 for name, value in start.items() if value.ndim > 2 and name != "covariances")


@pytest.mark.parametrize("name", MOVABLE)
def test_renumbering_experts_renumbers_weights(benches, name):
    answers, order, real = benches[name].answers, benches[name].order, benches[name].real
    # Inputs of nought in the padding tie where there is no bias, and ties go by number.
    assert_allclose(answers["moved"][real], answers["log_weights"][real][..., order], rtol=1e-10, atol=1e-10)


def test_gradient_is_that_of_finite_differences(bench):
    assert all(np.isfinite(value).all() for value in bench.answers["gradient"].values())
    assert_allclose(bench.answers["along"], bench.answers["slope"], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", STEPS)
def test_m_step_never_lowers_its_objective(benches, name):
    (_, before, after, _), _ = steps = benches[name].stepped(climb=STEPS[name])
    # The responsibilities of a gate that selects are forbidden where others are selected.
    assert after > before or not np.isfinite(before)
    for params, before, after, supported in steps:
        assert all(np.isfinite(value).all() for value in params.values())
        assert all(supported)
        assert after >= before - 1e-12 * abs(before) if np.isfinite(before) else after >= before


@pytest.mark.parametrize("name", [name for name in TABLE if name != "function"])
def test_a_gate_survives_being_written_to_a_file(name):
    gate = TABLE[name].gate
    written = to_specification(gate)
    back = from_specification(json.loads(json.dumps(written)))
    assert type(back) is type(gate)
    assert to_specification(back) == written
    shapes = [{key: value.event_shape for key, value in found.priors(TABLE[name].num_experts).items()} for found in (gate, back)]
    assert shapes[0] == shapes[1]


def test_a_function_cannot_be_written():
    with pytest.raises(TypeError, match=r"cannot save .*hats"):
        to_specification(TABLE["function"].gate)


def test_extreme_scores_give_weights_and_gradients_that_are_numbers(benches):
    """Scores of ±10⁵, inputs on a centre, vectors of zeros."""
    inputs = jnp.asarray(np.array([[0.0, 0.0], [1e5, -1e5], [1.0, 2.0]]))
    for name in ("activation", "top 2 without bias", "sigmoid", "laplace", "cosine"):
        row = TABLE[name]
        params = {key: jnp.ones_like(value) * 1.0 for key, value in benches[name].params(0).items()}
        first = next(key for key in params if params[key].ndim > 1)
        params[first] = params[first].at[0].set(0.0).at[-1].set(jnp.array([1.0, 2.0]))

        def total(params, gate=row.gate):
            values = gate.log_weights(params, inputs)
            return jnp.sum(jnp.where(values > -jnp.inf, values, 0.0)), values

        gradient, values = jax.jit(jax.grad(total, has_aux=True))(params)
        assert not np.isnan(values).any(), name
        assert all(np.isfinite(value).all() for value in gradient.values()), name


def test_the_unnormalised_sigmoid_is_no_density():
    gate = lg.gates.Sigmoid(normalised=False, num_inputs=1)
    params = {"weights": jnp.array([[2.0], [-1.0]]), "bias": jnp.array([0.5, 0.0])}
    x = np.array([[-1.0], [3.0]])
    assert not gate.normalised
    assert lg.gates.Sigmoid().normalised
    assert_allclose(gate.log_weights(params, jnp.asarray(x)), oracles.sigmoid(np.asarray(params["weights"]), np.asarray(params["bias"]), x), rtol=1e-12)
    with pytest.raises(ValueError, match="fit gated means by gradient"):
        gate.m_step(params, jnp.asarray(x)[None], jnp.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="do not sum to one"):
        lg.MixtureOfExperts(gate, lg.experts.LinearGaussian(2))


def test_a_gaussian_gate_is_a_law_of_the_inputs(benches):
    bench = benches["gaussian"]
    params = {name: np.asarray(value) for name, value in bench.params(0).items()}
    rows = np.asarray(bench.inputs[0])
    assert bench.gate.models_inputs
    found = jax.jit(bench.gate.log_potentials)(params, rows)
    assert_allclose(found, oracles.gaussian_log_joint(params["probs"], params["means"], params["covariances"], rows), rtol=1e-10)
    # One row alone, as in sampling.
    assert_allclose(jax.jit(bench.gate.log_potentials)(params, rows[2]), found[2], rtol=1e-12)
    matrices, weights, bias = oracles.gaussian_as_quadratic(params["probs"], params["means"], params["covariances"])
    quadratic = {"matrices": jnp.asarray(matrices), "weights": jnp.asarray(weights), "bias": jnp.asarray(bias)}
    assert_allclose(oracles.log_softmax(found), jax.jit(lg.gates.Quadratic(num_inputs=2).log_weights)(quadratic, rows), rtol=1e-9)
    assert_allclose(np.exp(bench.gate.log_prevalence(params)), params["probs"])
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    turned = {**params, "covariances": jnp.asarray([covariance] * 3)}
    drawn = jax.jit(jax.vmap(lambda key: bench.gate.sample_inputs(key, turned, 1)))(jax.random.split(jax.random.key(0), 4000))
    assert_allclose(np.cov(np.asarray(drawn).T), covariance, atol=0.12)
    assert_allclose(drawn.mean(0), params["means"][1], atol=0.1)


@pytest.mark.parametrize("covariance", ["full", "diagonal", "tied"])
def test_a_flat_gaussian_gate_takes_weighted_moments(benches, covariance):
    """A step of a gate without priors is the maximum likelihood of complete data."""
    bench = benches["gaussian"]
    gate = lg.gates.Gaussian(num_inputs=2, covariance=covariance, mean_prior="flat", covariance_prior="flat")
    start = {name: value[0] if (covariance, name) == ("tied", "covariances") else value for name, value in bench.params(0).items()}
    if covariance == "diagonal":
        start["covariances"] = jnp.ones((3, 2))
    new = jax.jit(gate.m_step)(start, bench.inputs, jnp.asarray(bench.targets))
    rows, weights = np.asarray(bench.inputs).reshape(-1, 2), bench.targets.reshape(-1, 3)
    means = (weights.T @ rows) / weights.sum(0)[:, None]
    assert_allclose(new["probs"], weights.sum(0) / weights.sum(), rtol=1e-12)
    assert_allclose(new["means"], means, rtol=1e-10)
    scatter = np.array([np.einsum("n,nm,nl->ml", weights[:, k], rows - means[k], rows - means[k]) for k in range(3)])
    expected = {
        "full": scatter / weights.sum(0)[:, None, None],
        "diagonal": np.diagonal(scatter, axis1=1, axis2=2) / weights.sum(0)[:, None],
        "tied": scatter.sum(0) / weights.sum(),
    }
    assert_allclose(new["covariances"], expected[covariance], rtol=1e-10)


def test_the_gaussian_step_under_priors_is_a_maximum_in_each_block(benches):
    """At the new covariances, and for means at the old ones, the gradient of the expected log-joint is zero."""
    bench = benches["gaussian"]
    start = bench.params(1)

    @jax.jit
    def slopes(start):
        new = bench.gate.m_step(start, bench.inputs, jnp.asarray(bench.targets))
        slope = jax.grad(lambda params: jnp.sum(bench.targets * bench.gate.log_potentials(params, bench.inputs)) + log_prior(bench.priors, params))
        return slope({**new, "covariances": start["covariances"]})["means"], slope(new)["covariances"]

    for slope in slopes(start):
        assert_allclose(slope, 0.0, atol=1e-8)


def test_selecting_all_experts_is_the_softmax(benches):
    bench = benches["top 2 without bias"]
    params, inputs = bench.params(1), bench.inputs
    dense = lg.gates.Softmax(num_inputs=2).log_weights(params, inputs)
    assert_allclose(lg.gates.TopK(3, num_inputs=2).log_weights(params, inputs), dense, rtol=1e-12)
    assert (np.isfinite(bench.answers["log_weights"]).sum(-1) == 2).all()


def test_ties_select_the_first():
    params = {"weights": jnp.zeros((3, 1)), "bias": jnp.zeros(3)}
    assert_array_equal(np.exp(lg.gates.TopK(2, num_inputs=1).log_weights(params, jnp.ones(1))), [0.5, 0.5, 0.0])


def test_the_step_of_a_hard_gate_finds_the_partition():
    """Experts that explain the rows left of 0.3 and right of it; the gate starts with the border at 0.8 and the sides exchanged."""
    x = np.linspace(0, 1, 101)[None, :, None]
    likelihood = np.where(np.concatenate([x < 0.3, x >= 0.3], -1), 0.0, -3.0)
    gate = lg.gates.TopK(1, num_inputs=1)
    params = {"weights": jnp.array([[1.0], [-1.0]]), "bias": jnp.array([-0.8, 0.8])}
    step = jax.jit(lambda params: gate.m_step(params, jnp.asarray(x), jnp.full((1, 101, 2), 0.5), jnp.asarray(likelihood)))
    size = log_prior(gate.priors(2), params)
    for _ in range(6):
        params = step(params)
    assert_array_equal(np.exp(gate.log_weights(params, jnp.asarray(x)))[0, :, 0] == 1, x[0, :, 0] < 0.3)
    # The prior cannot shrink what the likelihood does not identify.
    assert_allclose(log_prior(gate.priors(2), params), size, rtol=1e-12)


def test_steps_of_a_mixture_with_a_hard_gate_never_lower_the_log_joint():
    """Experts step first, and the gate climbs with the new ones; from a gate with its border at 0.8 to the change at 0.4."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 60)[:, None]
    y = np.where(x < 0.4, 2 * x, 3 - 2 * x) + 0.1 * rng.normal(size=x.shape)
    data = lg.Sequences.from_arrays([y], inputs=[x])
    model = lg.MixtureOfExperts(lg.gates.TopK(1), lg.experts.LinearGaussian(2)).suited_to(data)

    @jax.jit
    def iterate(params):
        smoothed = model.potentials(params, data).smooth()
        return smoothed.log_normaliser.sum() + model.log_prior(params), model.m_step(params, data, smoothed)

    gate = {"gate.weights": jnp.array([[1.0], [-1.0]]), "gate.bias": jnp.array([-0.8, 0.8])}
    params = {**gate, "experts.weights": jnp.array([[0.5], [-0.5]]), "experts.bias": jnp.array([1.0, 1.0]), "experts.scale": jnp.array([0.8, 0.8])}
    history = []
    for _ in range(12):
        log_joint, params = iterate(params)
        history.append(float(log_joint))
    assert (np.diff(history) >= -1e-9).all()
    assert_allclose(np.sort(params["experts.weights"][:, 0]), [-2, 2], atol=0.3)
    scores = x * np.asarray(params["gate.weights"])[:, 0] + np.asarray(params["gate.bias"])
    assert_array_equal(scores[:, 0] > scores[:, 1], (x[:, 0] < 0.4) == (params["experts.weights"][0, 0] > 0))


def test_noise_selects_as_often_as_the_load_says(benches):
    bench = benches["noisy top 2"]
    params = {**bench.params(1), "noise_weights": jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)))}
    x = np.asarray(bench.inputs[0, :2])
    scores = oracles.linear_scores(np.asarray(params["weights"]), np.asarray(params["bias"]), x)
    deviation = np.log1p(np.exp(x @ np.asarray(params["noise_weights"]).T))
    expected = np.empty_like(scores)
    for row in range(2):
        for k in range(3):
            threshold = np.sort(np.delete(scores[row], k))[-2]
            expected[row, k] = scipy.stats.norm.cdf((scores[row, k] - threshold) / deviation[row, k])
    assert_allclose(jax.jit(bench.gate.load)(params, x), expected, rtol=1e-10)
    # Averaged over the noise of the others, the load is the probability of being selected.
    keys = jax.random.split(jax.random.key(0), 4000)
    noisy = jax.jit(jax.vmap(lambda key: (bench.gate.noisy_log_weights(key, params, jnp.asarray(x)), bench.gate.load(params, jnp.asarray(x), key))))
    log_weights, load = noisy(keys)
    assert_allclose((np.asarray(log_weights) > -np.inf).mean(0), np.asarray(load).mean(0), atol=0.03)
    assert_allclose(np.exp(log_weights).sum(-1), 1.0)
    assert_array_equal(lg.gates.NoisyTopK(3, num_inputs=2).load(params, jnp.asarray(x)), 1.0)


def test_random_gates_are_functions_of_the_inputs_and_spread_them_evenly():
    x = np.random.default_rng(0).normal(size=(3000, 2))
    gate = lg.gates.Random(4, num_selected=2, num_inputs=2)
    weights = np.exp(jax.jit(gate.log_weights)({}, x))
    assert_allclose(np.sort(weights, axis=1), np.tile([0, 0, 0.5, 0.5], (3000, 1)))
    assert_allclose((weights > 0).mean(0), 0.5, atol=0.04)
    single = np.exp(jax.jit(gate.log_weights)({}, x.astype(np.float32)))
    assert_array_equal(weights > 0, single > 0)
    both = (weights[:, 0] > 0) & (weights[:, 1] > 0)
    assert_allclose(both.mean(), 1 / 6, atol=0.03)
    other = jax.jit(lg.gates.Random(4, num_selected=2, seed=1, num_inputs=2).log_weights)({}, x)
    assert 0.2 < ((weights > 0) == np.isfinite(other)).mean() < 0.8
    assert_allclose(jax.jit(lg.gates.Random(3, num_inputs=2).log_weights)({}, x[:2]), -np.log(3))


def test_symmetric_matrices_have_a_law_and_coordinates():
    law = SymmetricZeroSum(2, 2, 0.7)
    transform = biject_to(law.support)
    free = np.random.default_rng(0).normal(size=3)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])

    @jax.jit
    def ask(free):
        matrices = transform(free)
        skewed = matrices.at[0, 0, 1].add(1.0).at[1, 0, 1].add(-1.0)
        density = law.log_prob(matrices) + transform.log_abs_det_jacobian(free, matrices)
        turned = law.log_prob(turn @ matrices @ turn.T) - law.log_prob(matrices)
        return law.support(matrices), law.support(skewed), transform.inv(matrices), density, turned

    inside, outside, back, density, turned = ask(free)
    assert bool(inside)
    assert not bool(outside)
    assert_allclose(back, free, rtol=1e-12)
    assert transform.inverse_shape((5, 2, 2, 2)) == (5, 3)
    assert transform.forward_shape((5, 3)) == (5, 2, 2, 2)
    # The difference of two independent entries has twice their variance.
    assert_allclose(density, scipy.stats.norm.logpdf(free, scale=np.sqrt(2) * 0.7 * np.array([1, np.sqrt(0.5), 1])).sum(), rtol=1e-12)
    assert_allclose(turned, 0.0, atol=1e-12)
    assert_allclose(law.sample(jax.random.key(0), (4,)).sum(1), 0.0, atol=1e-15)
    boxed = SymmetricZeroSum(3, 2, None, 2.0)
    cornered = np.asarray(biject_to(boxed.support)(jnp.full(6, 50.0)))
    assert_allclose(cornered[:2] - cornered[2], 2.0)


def test_schedules_fall_as_published():
    step = np.arange(7)
    exponential = lg.gates.schedules.Exponential(1.0, 0.3, 5)
    assert_allclose([exponential(t) for t in range(7)], np.maximum(np.exp(step * np.log(0.3) / 5), 0.3), rtol=1e-12)
    linear = lg.gates.schedules.Linear(2.0, 0.5, 5)
    assert_allclose([linear(t) for t in range(7)], np.maximum(2.0 - step * 0.3, 0.5), rtol=1e-12)
    assert len(linear.temperatures) == 6
    assert lg.gates.Softmax(num_inputs=1).at_temperature(0.25).temperature == 0.25
    with pytest.raises(ValueError, match="without a fixed temperature"):
        lg.gates.Activation().at_temperature(0.5)
    with pytest.raises(ValueError, match="from dense to sparse"):
        lg.gates.schedules.Linear(0.5, 1.0, 5)


def test_balancing_terms_are_those_of_the_formulas():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 5, 3))
    scores[0, 1, 2] = -np.inf
    mask = np.arange(5) < np.array([[5], [3]])
    weights = scipy.special.softmax(scores, axis=-1)
    log_weights, real = jnp.log(jnp.asarray(weights)), jnp.asarray(mask)
    balancing = lg.gates.balancing

    def asked(balance, values):
        return jax.jit(lambda values: balance.penalty(values, real))(values)

    def switch(rows, num_selected=1):
        share = np.zeros(3)
        for row in rows:
            share[np.argsort(-row)[:num_selected]] += 1 / num_selected
        return 3 * np.sum(share / len(rows) * rows.mean(0))

    assert_allclose(asked(balancing.LoadBalance(0.5), log_weights), 0.5 * switch(weights[mask]), rtol=1e-12)
    by_sequence = (5 * switch(weights[0], 2) + 3 * switch(weights[1, :3], 2)) / 8
    assert_allclose(asked(balancing.LoadBalance(0.5, over="batch", num_selected=2), log_weights), 0.5 * by_sequence, rtol=1e-12)
    pieces = [weights[0, :2], weights[0, 2:4], weights[0, 4:], weights[1, :2], weights[1, 2:3]]
    by_two = sum(len(piece) * switch(piece) for piece in pieces) / 8
    assert_allclose(asked(balancing.LoadBalance(0.5, over="batch", batch_size=2), log_weights), 0.5 * by_two, rtol=1e-12)
    normaliser = np.asarray(scipy.special.logsumexp(scores, axis=-1))[mask]
    assert_allclose(asked(balancing.ZLoss(0.1), scores), 0.1 * np.mean(normaliser**2), rtol=1e-12)
    sums = weights[mask].sum(0)
    variation = sums.var() / sums.mean() ** 2
    assert_allclose(asked(balancing.Importance(0.2), log_weights), 0.2 * variation, rtol=1e-12)
    assert_allclose(asked(balancing.Load(0.3), weights), 0.3 * variation, rtol=1e-12)
    slope = jax.jit(jax.grad(lambda scores: balancing.LoadBalance().penalty(jax.nn.log_softmax(scores), real)))(jnp.asarray(scores))
    assert np.isfinite(slope).all()
    assert_array_equal(slope[1, 3:], 0.0)


@jax.jit
def route(scores, mask=None):
    return lg.gates.balancing.sinkhorn(scores, 0.7, 300, mask)


def test_sinkhorn_uses_experts_alike_and_looks_at_the_whole_batch():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(12, 3)) + np.array([2.0, 0.0, 0.0])
    scores[0, 1] = -np.inf
    plan = route(scores)
    assert_allclose(plan.sum(1), 1.0, rtol=1e-12)
    assert_allclose(plan.sum(0), 4.0, rtol=1e-8)
    assert plan[0, 1] == 0
    # The optimum is scores plus one number a row and one a column.
    spread = np.log(np.asarray(plan)[1:]) - scores[1:] / 0.7
    spread = spread - spread.mean(0) - spread.mean(1, keepdims=True) + spread.mean()
    assert_allclose(spread, 0.0, atol=1e-8)
    fewer = np.asarray(route(scores, np.arange(12) < 9))
    assert_allclose(fewer[:9], route(scores[:9]), rtol=1e-10)
    assert_array_equal(fewer[9:], 0.0)
    assert not np.allclose(fewer[:9], np.asarray(plan)[:9], atol=1e-3)
    mixed = np.asarray(jax.jit(lambda key: lg.gates.balancing.selective_sinkhorn(key, jnp.asarray(scores), 0.5, 0.7, 300))(jax.random.key(0)))
    routed = np.isclose(mixed, plan).all(1)
    assert 0 < routed.sum() < 12
    assert_allclose(mixed[~routed], scipy.special.softmax(scores, 1)[~routed], rtol=1e-10)


def test_kmeans_start_gives_each_cluster_to_the_expert_that_fits_it():
    rng = np.random.default_rng(0)
    clusters = rng.integers(3, size=120)
    x = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 300.0]])[clusters] + rng.normal(size=(120, 2)) * [1.0, 30.0]
    # Expert 2 for cluster 0, 0 for 1, 1 for 2; cluster 0 alone would rather have expert 0.
    table = np.array([[0.0, 5.0, 0.1], [0.0, 5.0, 9.0], [5.0, 0.0, 5.0]])[clusters]
    start = lg.gates.kmeans_least_squares(x, 3, table)
    chosen = np.argmax(x @ start["weights"].T + start["bias"], axis=1)
    assert (chosen == np.array([2, 0, 1])[clusters]).mean() > 0.98
    assert_allclose(start["weights"].sum(0), 0.0, atol=1e-12)
    with pytest.raises(ValueError, match="found 2 distinct rows, expected at least one for each of 3"):
        lg.gates.kmeans_least_squares(np.array([[0.0], [1.0], [0.0], [1.0]]), 3)
    with pytest.raises(ValueError, match=r"losses: found shape \(4, 3\)"):
        lg.gates.kmeans_least_squares(x, 3, np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gates.TopK(0), "num_selected: found 0, expected an integer of at least 1"),
        (lambda: gates.TopK(3, num_inputs=1).priors(2), "num_selected: found 3 for TopK, expected at most the number of experts, 2"),
        (lambda: gates.NoisyTopK(3).check_experts(2), "num_selected: found 3 for NoisyTopK"),
        (lambda: gates.TopK(1, rank_by="bias"), "rank_by: found 'bias', expected one of 'score'"),
        (lambda: gates.Activation(activation="identity"), "activation: found 'identity'.*lg.gates.Softmax"),
        (lambda: gates.Activation(activation="relu"), "temperature: found None"),
        (lambda: gates.Activation(temperature=1.0, temperature_prior=dist.LogNormal(0.0, 1.0)), "temperature_prior: found .*expected None"),
        (lambda: gates.Softmax(temperature=0.0), "temperature: found 0.0, expected a positive number"),
        (lambda: gates.Softmax(weight_scale="wide"), "weight_scale: found 'wide', expected a positive number, or \"flat\""),
        (lambda: gates.Cosine(weight_shift=0.0), 'weight_scale: found 10.0 with weight_shift=0, expected "flat"'),
        (lambda: gates.Gaussian(covariance="round"), "covariance: found 'round'"),
        (lambda: gates.Gaussian(mean_prior=3.0), "mean_prior: found 3.0"),
        (lambda: gates.Hierarchical(2).check_experts(3), "num_groups: found 2 for 3 experts"),
        (lambda: gates.Function(3.0, {}), "function: found 3.0"),
        (lambda: gates.Function(hats, {"centres": ("expert", "hidden")}), "parameters\\['centres'\\]: found 'hidden'"),
        (lambda: gates.Function(hats, {"centres": ("expert",)}, priors={"centers": dist.Normal()}), "priors: found 'centers'"),
        (lambda: gates.Fixed([0.5, 0.6]), "probs: found"),
        (lambda: gates.Fixed([0.5, 0.5]).check_experts(3), "probs: found 2 numbers, expected one for each of 3"),
        (lambda: gates.Random(2, num_selected=3), "num_selected: found 3 for Random"),
        (lambda: gates.Random(2).check_experts(3), "num_experts: found 2 in the gate, expected 3"),
        (lambda: gates.Softmax().priors(2), "num_inputs: found None"),
        (lambda: gates.balancing.LoadBalance(over="epoch"), "over: found 'epoch'"),
        (lambda: gates.balancing.LoadBalance(batch_size=3), 'batch_size: found 3 with over="data"'),
        (lambda: gates.balancing.sinkhorn(jnp.zeros((2, 3, 4))), "scores: found shape"),
        (lambda: gates.balancing.selective_sinkhorn(jax.random.key(0), jnp.zeros((2, 3)), share=2.0), "share: found 2.0"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_function_of_the_wrong_shape_is_refused():
    gate = lg.gates.Function(lambda params, inputs: inputs, {"centres": ("expert",)}, num_inputs=2)
    with pytest.raises(ValueError, match=r"function: found scores of shape \(4, 2\) for inputs of shape \(4, 2\), expected \(4, 3\)"):
        gate.log_weights({"centres": jnp.zeros(3)}, jnp.zeros((4, 2)))
