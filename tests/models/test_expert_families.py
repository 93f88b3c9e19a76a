"""Single families of experts: other libraries, shapes, saving, starting from another fit."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.special
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal
from numpyro.distributions import constraints

import latentgate as lg
from latentgate.models.specification import from_specification, to_specification

from .experts_table import INPUTS, LINES, ROWS, about, m_step, sequences
from .laws import as_arrays
from .test_emissions import assert_same

pytestmark = pytest.mark.usefixtures("float64")

STEPS = np.linspace(-1, 1, 12)


@pytest.fixture(scope="module")
def choices(float64):
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(80, 2))
    values = (rng.uniform(size=80) < scipy.special.expit(inputs @ [1.0, -1.0] + 0.5)).astype(float)
    return sequences(values, inputs)


def test_logit_experts_under_flat_priors_are_regressions_of_statsmodels(choices):
    statsmodels = pytest.importorskip("statsmodels.api")
    weights = np.random.default_rng(6).uniform(0.2, 1.0, size=(1, 80, 2))
    binary = lg.experts.Bernoulli(2, weight_prior="flat", bias_prior="flat").suited_to(choices)
    several = lg.experts.Multinomial(2, 2, weight_prior="flat", bias_prior="flat").suited_to(choices)
    found = {"weights": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    for _ in range(4):
        found = m_step(binary, found, as_arrays(choices), jnp.asarray(weights))
    design = np.concatenate([choices.inputs["inputs"][0], np.ones((80, 1))], axis=-1)
    for expert in range(2):
        fit = statsmodels.GLM(choices.values[0, :, 0], design, family=statsmodels.families.Binomial(), freq_weights=weights[0, :, expert]).fit(tol=1e-12)
        assert_allclose([*found["weights"][expert], found["bias"][expert]], fit.params, rtol=1e-8)
    as_contrasts = {"weights": found["weights"][:, None], "bias": found["bias"][:, None]}
    assert_allclose(several.log_likelihood(as_contrasts, choices), binary.log_likelihood(found, choices), rtol=1e-12)
    assert several.dims() == {"weights": ("expert", "contrast", "input"), "bias": ("expert", "contrast")}


def test_a_function_of_ones_own_is_the_network_with_that_mean():
    network = lg.experts.Network(3, 1, "relu", num_inputs=2, outputs=False, bias=False)
    own = lg.experts.Nonlinear(
        3,
        lambda own, x: jnp.maximum(own["hidden"][0] @ x + own["hidden_bias"][0], 0.0),
        {"hidden": dist.Normal(0.0, 3.0).expand([1, 2]), "hidden_bias": dist.Normal(0.0, 3.0).expand([1])},
        num_inputs=2,
    )
    assert network.dims() == {"hidden": ("expert", "unit", "input"), "hidden_bias": ("expert", "unit"), "scale": ("expert",)}
    assert own.dims()["hidden"] == ("expert", "hidden_0", "hidden_1")
    params = {"hidden": about(np.ones((1, 2)), 1.0), "hidden_bias": about(np.zeros(1))}
    truth = np.maximum(INPUTS[0] @ params["hidden"][:, 0].T + params["hidden_bias"][:, 0], 0.0)
    means = eqx.filter_jit(lambda experts: experts.means({name: jnp.asarray(value) for name, value in params.items()}, jnp.asarray(INPUTS[0])))
    assert_allclose(means(network), truth, rtol=1e-12)
    assert_allclose(means(own), truth, rtol=1e-12)
    with pytest.raises(TypeError, match="cannot save"):
        to_specification(own)


def test_experts_of_an_emission_are_that_emission():
    emission = lg.emissions.Gaussian(2, "tied")
    experts = lg.experts.OfEmission(3, emission)
    data = sequences(np.random.default_rng(7).normal(size=(20, 2)), np.zeros((20, 1)))
    params = {"means": jnp.arange(6.0).reshape(3, 2), "covariances": jnp.eye(2)}
    both = jax.jit(lambda: (experts.log_likelihood(params, data), emission.log_likelihood(params, data)))()
    assert_array_equal(*both)
    assert experts.dims() == {"means": ("expert", "feature"), "covariances": ("feature", "feature_other")}
    assert (experts.num_features, experts.input_sets, experts.num_experts) == (2, {}, 3)
    inner = lg.emissions.MixtureOfExperts(gate=lg.gates.Softmax(), experts=lg.experts.LinearGaussian(2))
    nested = lg.experts.OfEmission(3, inner).suited_to(sequences(np.zeros(4), np.zeros((4, 1))))
    assert nested.dims()["gate.bias"] == ("expert", "inner_expert")
    assert nested.emission.mixture.experts.num_inputs == 1


def test_several_experts_keep_names_numbers_and_draws():
    background = lg.experts.Known(lambda inputs: dist.Laplace(inputs[..., 0] - 100.0, 0.1))
    experts = lg.experts.Several(line=lg.experts.LinearGaussian(2), background=background).suited_to(sequences(np.zeros(4), np.zeros((4, 2))))
    assert experts.anchored
    assert experts.input_sets == {"inputs": 2}
    assert experts.dims()["line.weights"] == ("line_expert", "line_input")
    params = {"line.weights": jnp.zeros((2, 2)), "line.bias": jnp.array([0.0, 50.0]), "line.scale": jnp.array([0.1, 0.1])}
    keys = jax.random.split(jax.random.key(0), 300)
    inputs = {"inputs": jnp.array([7.0, 1.0])}
    draw = jax.jit(jax.vmap(jax.vmap(lambda key, state: experts.sample(key, params, state, inputs, jnp.zeros((0, 1)))[0], (0, None)), (None, 0)))
    # Standard errors of the means are 0.006 and 0.008: a false alarm has probability below 1e-9.
    assert_allclose(draw(keys, jnp.arange(3)).mean(1), [0.0, 50.0, -93.0], atol=0.06)
    values = np.array([[-93.2], [-90.0], [np.nan]])
    found = jax.jit(experts.log_likelihood)(params, sequences(values, np.tile([7.0, 1.0], (3, 1))))[0]
    assert_allclose(found[:2, 2], scipy.stats.laplace(-93.0, 0.1).logpdf(values[:2, 0]))
    assert_array_equal(found[2], 0.0)
    with pytest.raises(TypeError, match="cannot save <function"):
        to_specification(experts)


SAVED = [
    *(row.emission for row in ROWS),
    lg.experts.LinearGaussian(2, num_inputs=1, weight_prior="flat", bias_prior="flat", variance_prior="flat", min_scale=0.1),
    lg.experts.StudentT(2, 3.0),
    lg.experts.Bernoulli(2),
    lg.experts.Multinomial(2, 3, num_inputs=2),
    lg.experts.OfEmission(2, lg.emissions.NegativeBinomial(2)),
]


@pytest.mark.parametrize("experts", SAVED, ids=lambda experts: type(experts).__name__)
def test_saved_experts_are_the_same_experts(experts):
    specification = to_specification(experts)
    restored = from_specification(specification)
    assert type(restored) is type(experts)
    assert to_specification(restored) == specification


def test_a_fit_serves_as_a_start():
    lines, robust = lg.experts.LinearGaussian(3, num_inputs=2), lg.experts.StudentT(3, num_inputs=2)
    assert_same(robust.adopt(lines, LINES), LINES)
    with pytest.raises(ValueError, match=r"no degrees_of_freedom to start StudentT"):
        lg.experts.StudentT(3, "free", num_inputs=2).adopt(lines, LINES)
    one, other = lg.experts.Several(a=lines), lg.experts.Several(b=lines)
    params = {f"a.{name}": value for name, value in LINES.items()}
    assert_same(lg.experts.Several(a=robust).adopt(one, params), params)
    with pytest.raises(ValueError, match=r"families a, expected families b"):
        other.adopt(one, params)


def test_any_prior_of_weights_and_a_smallest_scale():
    """A Laplace prior goes through L-BFGS; the smallest scale holds where the data lie on a line."""
    data, weights = as_arrays(sequences(2.0 * STEPS, STEPS[:, None])), jnp.ones((1, 12, 1))
    experts = lg.experts.LinearGaussian(1, num_inputs=1, weight_prior=dist.Laplace(0.0, 0.1), variance_prior="flat", min_scale=0.2)
    plain = lg.experts.LinearGaussian(1, num_inputs=1, weight_prior="flat", bias_prior="flat", variance_prior="flat", min_scale=0.2)
    params = {"weights": jnp.array([[1.5]]), "bias": jnp.zeros(1), "scale": jnp.full(1, 0.2)}
    exact = m_step(plain, params, data, weights)
    assert_allclose([exact["weights"][0, 0], exact["bias"][0], exact["scale"][0]], [2.0, 0.0, 0.2], atol=1e-12)
    found = m_step(experts, params, data, weights)
    # The kink pulls with 1 / 0.1 against a precision of Σ x² / 0.2².
    assert_allclose(found["weights"], [[2.0 - 0.2**2 / (STEPS @ STEPS) / 0.1]], rtol=1e-6)
    assert_allclose(found["scale"], 0.2)


def test_a_prior_on_positive_numbers_is_climbed():
    slope = lg.experts.Nonlinear(1, lambda own, x: own["slope"] * x[0], {"slope": dist.HalfNormal(100.0)}, num_inputs=1, variance_prior="flat")
    data = as_arrays(sequences(3.0 * STEPS + 0.1 * np.cos(40 * STEPS), STEPS[:, None]))
    params = slope.initialize(jax.random.key(0), data, 1)
    assert constraints.positive(params["slope"]).all()
    found = m_step(slope, m_step(slope, params, data, jnp.ones((1, 12, 1))), data, jnp.ones((1, 12, 1)))
    assert_allclose(found["slope"], data.values[0, :, 0] @ STEPS / (STEPS @ STEPS), rtol=1e-4)
