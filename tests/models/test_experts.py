"""Laws of experts over a table, and their maxima by other libraries."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

import latentgate as lg
from latentgate.models.emissions import gated_regression

from .experts_table import INPUTS, NETWORK, ROWS, bench_of, m_step, monomials
from .laws import as_arrays, scores
from .table import NUM_STATES
from .test_emissions import assert_same

pytestmark = pytest.mark.usefixtures("float64")

BOTH = pytest.mark.parametrize("which", ["complete", "missing"])
# Weights so large that weak priors have no say: the M-step's maximum is then that of the likelihood.
HEAVY = 1e7


@pytest.fixture(scope="module", params=[row.name for row in ROWS])
def bench(request, float64):
    return bench_of(request.param)


@BOTH
def test_density_is_that_of_scipy_and_missing_adds_nothing(bench, which):
    data = bench.data(which)
    found = np.asarray(bench.inspect(data)[0][0])
    for sequence, values in enumerate(data.to_list()):
        for step, value in enumerate(values):
            truth = [bench.row.density(bench.row.params, state, value, INPUTS[sequence][step]) for state in range(NUM_STATES)]
            assert_allclose(found[sequence, step], truth, rtol=1e-10, atol=1e-10)


@BOTH
def test_m_step_never_lowers_the_expected_log_joint(bench, which):
    data, params = bench.data(which), bench.restarts
    before = np.asarray(bench.inspect(data)[1])
    assert np.isfinite(before).all()
    for _ in range(4):
        params = bench.m_step(data, params=params)
        after = np.asarray(bench.inspect(data, params)[1])
        assert (after >= before - 1e-12 * np.abs(before)).all()
        before = after


def test_repeated_m_steps_end_where_the_gradient_vanishes(bench):
    data = bench.data("missing")
    _, _, gradients = bench.inspect(data, bench.m_step(data, repeat=500))
    for name, gradient in gradients.items():
        assert_allclose(gradient, 0.0, atol=1e-6, err_msg=name)


def test_masked_steps_and_padding_have_no_influence_on_the_m_step(bench):
    data = bench.data("missing")
    expected = bench.m_step(data)
    weights = bench.weights.copy()
    assert not np.asarray(data.observed)[0, 2].any()
    weights[0, 2] = [0.9, 0.0, 0.1]
    assert_same(bench.m_step(data, weights=weights), expected, rtol=1e-12, atol=1e-13)
    outside = ~np.asarray(data.mask)[..., None]
    noisy = lg.Sequences(
        values=np.where(outside, 1.0, data.values),
        observed=data.observed,
        lengths=data.lengths,
        inputs={name: np.where(outside, 5.0, values) for name, values in data.inputs.items()},
        times=None,
        complete=False,
    )
    assert_same(bench.m_step(noisy), expected, rtol=1e-12, atol=1e-13)


def test_an_expert_without_weight_has_defined_parameters(bench):
    weights = bench.weights * [1.0, 0.0, 1.0]
    found = bench.m_step(bench.data("complete"), weights=weights, repeat=3)
    assert all(np.isfinite(value).all() for value in found.values())
    assert np.isfinite(bench.inspect(bench.data("complete"), found, weights)[1]).all()


def test_names_shapes_and_supports_agree_and_no_two_experts_start_alike(bench):
    priors, dims = bench.emission.priors(NUM_STATES), bench.emission.dims()
    assert set(priors) == set(dims) == set(bench.starts) == set(bench.params)
    for name, start in bench.starts.items():
        assert start.shape[1:] == bench.params[name].shape == priors[name].shape(), name
        assert len(set(dims[name])) == len(dims[name]) == bench.params[name].ndim, name
        assert np.all(priors[name].support(start)), name
        if "scale" not in name:
            assert len(np.unique(start)) == start.size, name


def test_draws_follow_the_density(bench):
    """The score of a draw has mean zero. With 2000 draws, |z| > 5 has probability 6e-7 a parameter; for this table, 1e-4 for fresh keys."""
    inputs = {name: jnp.asarray(values[0, 0]) for name, values in bench.complete.inputs.items()}
    found = np.asarray(scores(bench.emission, bench.params, inputs, jax.random.split(jax.random.key(1), 2000)))
    spread = found.std(1)
    informed = spread > 0
    assert informed[-1].any()
    z = found.mean(1)[informed] / (spread[informed] / np.sqrt(found.shape[1]))
    assert np.abs(z).max() < 5
    assert_array_equal(found.mean(1)[~informed], 0.0)


def test_float32(bench):
    if bench.row.name not in ("student", "network"):
        pytest.skip("the two whose steps are most delicate stand for all")
    expected = bench.m_step(bench.data("missing"))
    with jax.enable_x64(False):
        emission = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32) if hasattr(leaf, "dtype") else leaf, bench.emission)
        params = {name: jnp.asarray(np.asarray(value), jnp.float32) for name, value in bench.restarts.items()}
        found = bench.m_step(as_arrays(bench.data("missing")), params=params, emission=emission)
        assert {value.dtype for value in found.values()} == {jnp.dtype("float32")}
    assert_same(found, expected, rtol=2e-3, atol=2e-3)


def heavy_fit(name: str, repeat: int):
    """Where M-steps from the table's parameters end under heavy fractional weights; observations, inputs with a last column of ones, and weights, by rows."""
    row = bench_of(name)
    found = row.m_step(row.data("complete"), weights=HEAVY * row.weights, repeat=repeat)
    real = np.asarray(row.complete.mask)
    inputs = row.complete.inputs["inputs"][real]
    design = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=-1)
    return {key: np.asarray(value[0]) for key, value in found.items()}, row.complete.values[real][:, 0], design, row.weights[real]


def test_polynomial_experts_are_weighted_least_squares_with_one_variance():
    statsmodels = pytest.importorskip("statsmodels.api")
    found, values, design, weights = heavy_fit("polynomial", 2)
    columns, squares = np.concatenate([monomials(design[:, :2]), design[:, 2:]], axis=-1), 0.0
    for expert in range(NUM_STATES):
        fit = statsmodels.WLS(values, columns, weights=weights[:, expert]).fit()
        assert_allclose([*found["weights"][expert], found["bias"][expert]], fit.params, rtol=1e-5)
        squares += weights[:, expert] @ fit.resid**2
    assert_allclose(found["scale"], np.sqrt(squares / weights.sum()), rtol=1e-6)


def test_student_experts_maximise_the_likelihood_of_scipy():
    found, values, design, weights = heavy_fit("student", 500)
    for expert in range(NUM_STATES):

        def loss(free, expert=expert):
            law = scipy.stats.t(np.exp(free[4]), design @ free[:3], np.exp(free[3]))
            return -weights[:, expert] @ law.logpdf(values)

        best = scipy.optimize.minimize(loss, [0.0, 0.0, 0.0, 0.0, 1.0], options={"gtol": 1e-7}).x
        assert 0.3 < np.exp(best[4]) < 300.0
        own = [*found["weights"][expert], found["bias"][expert], np.log(found["scale"][expert]), np.log(found["degrees_of_freedom"][expert])]
        assert_allclose(own, best, atol=2e-5)


def test_network_experts_are_least_squares_of_scipy():
    found, values, design, weights = heavy_fit("network", 20)
    for expert in range(NUM_STATES):

        def residual(free, expert=expert):
            units = np.tanh(design @ np.stack([[*free[0:2], free[4]], [*free[2:4], free[5]]]).T)
            return np.sqrt(weights[:, expert]) * (values - units @ free[6:8] - free[8])

        start = np.concatenate([np.ravel(NETWORK[name]) for name in ("hidden", "hidden_bias", "output", "bias")])
        best = scipy.optimize.least_squares(residual, start, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        own = np.concatenate([np.ravel(found[name][expert]) for name in ("hidden", "hidden_bias", "output", "bias")])
        assert_allclose(own, best.x, rtol=1e-4)
        assert_allclose(found["scale"][expert] ** 2, 2 * best.cost / weights[:, expert].sum(), rtol=1e-6)


def test_count_experts_are_a_poisson_regression_of_statsmodels():
    statsmodels = pytest.importorskip("statsmodels.api")
    found, values, design, weights = heavy_fit("several", 30)
    for expert in range(2):
        fit = statsmodels.GLM(values, design, family=statsmodels.families.Poisson(), freq_weights=weights[:, 1 + expert]).fit(tol=1e-12)
        assert_allclose([*found["counts.weights"][expert], found["counts.bias"][expert]], fit.params, rtol=1e-5)


def test_gated_regression_is_least_squares_of_scipy():
    found, values, design, weights = heavy_fit("gated regression", 60)
    names = ["gate.weights", "gate.bias", "experts.weights", "experts.bias"]
    for state in range(NUM_STATES):

        def residual(free, state=state):
            doors = scipy.special.expit(design[:, :2] @ free[:4].reshape(2, 2).T + free[4:6])
            means = design[:, :2] @ free[6:10].reshape(2, 2).T + free[10:]
            return np.sqrt(weights[:, state]) * (values - np.sum(doors * means, axis=-1))

        own = np.concatenate([np.ravel(found[name][state]) for name in names])
        best = scipy.optimize.least_squares(residual, own, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        assert np.sum(residual(own) ** 2) <= (1 + 1e-8) * 2 * best.cost
        assert_allclose(found["scale"][state] ** 2, np.sum(residual(own) ** 2) / weights[:, state].sum(), rtol=1e-6)


def test_a_gated_regression_with_many_parameters_climbs_by_gradients(monkeypatch):
    monkeypatch.setattr(gated_regression, "MOST_PARAMETERS", 3)
    bench = bench_of("gated regression")
    found = m_step(bench.emission, bench.params, as_arrays(bench.data("missing")), jnp.asarray(bench.weights))
    before, after = (
        np.asarray(bench.inspect(bench.data("missing"), {name: value[None] for name, value in params.items()})[1]) for params in (bench.params, found)
    )
    assert after > before + 10
