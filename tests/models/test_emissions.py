"""Laws that hold for every emission of the table."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import latentgate as lg

from .laws import NUM_RESTARTS, Bench, as_arrays, scores, with_priors
from .table import EMISSIONS, NUM_STATES

pytestmark = pytest.mark.usefixtures("float64")

BOTH = pytest.mark.parametrize("which", ["complete", "missing"])


@pytest.fixture(scope="module", params=EMISSIONS, ids=lambda row: row.name)
def bench(request, float64):
    return Bench(request.param)


def assert_same(found, expected, **tolerances):
    assert found.keys() == expected.keys()
    for name in expected:
        assert_allclose(found[name], expected[name], err_msg=name, **tolerances)


@BOTH
def test_density_is_that_of_another_library_and_missing_is_marginalised(bench, which):
    if bench.row.density is None:
        pytest.skip("no other library has this density")
    data = bench.data(which)
    found = np.asarray(bench.inspect(data)[0][0])
    assert not np.isnan(found).any()
    for sequence, values in enumerate(data.to_list()):
        for step, value in enumerate(values):
            inputs = None if bench.row.inputs is None else bench.row.inputs[sequence][step]
            truth = [bench.row.density(bench.row.params, state, value, inputs) for state in range(NUM_STATES)]
            assert_allclose(found[sequence, step], truth, rtol=1e-10, atol=1e-10)


def test_the_shortcut_for_complete_data_changes_nothing(bench):
    log_likelihood, params = bench.shortcut()
    real = np.asarray(bench.complete.mask)
    assert_allclose(log_likelihood[:, real], bench.inspect(bench.data("complete"))[0][:, real], rtol=1e-12, atol=1e-12)
    assert_same(params, bench.m_step(bench.data("complete")), rtol=1e-9, atol=1e-10)


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


@BOTH
def test_repeated_m_steps_end_where_the_gradient_vanishes(bench, which):
    if not bench.row.converges:
        pytest.skip("this M-step makes progress only")
    data = bench.data(which)
    for gradient in bench.inspect(data, bench.m_step(data, repeat=2000))[2].values():
        assert_allclose(gradient, 0.0, atol=1e-6)


def test_every_prior_changes_the_m_step(bench):
    default = bench.m_step(bench.data("complete"), repeat=5)
    for name, prior in bench.row.other_priors.items():
        found = bench.m_step(bench.data("complete"), emission=with_priors(bench.emission, {name: prior}), repeat=5)
        changed = max(float(jnp.abs(found[key] - default[key]).max()) for key in default)
        assert changed > 1e-3, f"{name} is accepted and ignored"


def test_masked_steps_and_padding_have_no_influence_on_the_m_step(bench):
    expected = bench.m_step(bench.data("missing"))
    weights = bench.weights.copy()
    weights[0, 2] = [0.9, 0.0, 0.1]
    assert_same(bench.m_step(bench.data("missing"), weights=weights), expected, rtol=1e-12, atol=1e-13)
    outside = ~np.asarray(bench.missing.mask)[..., None]
    noisy = dataclasses.replace(
        bench.data("missing"),
        values=np.where(outside, 1.0, bench.missing.values),
        inputs={name: np.where(outside, 5.0, values) for name, values in bench.missing.inputs.items()},
    )
    assert_same(bench.m_step(noisy), expected, rtol=1e-12, atol=1e-13)


def test_states_can_be_renamed(bench):
    if not bench.row.interchangeable:
        pytest.skip("the data name the states")
    order = np.array([2, 0, 1])
    dims = bench.emission.dims()

    def renamed(params):
        return {name: jnp.take(value, order, axis=1 + dims[name].index("state")) if "state" in dims[name] else value for name, value in params.items()}

    log_likelihood, objective, _ = bench.inspect(bench.data("missing"))
    found, same, _ = bench.inspect(bench.data("missing"), renamed(bench.restarts), bench.weights[..., order])
    assert_allclose(found, log_likelihood[..., order], rtol=1e-12, atol=1e-12)
    assert_allclose(same, objective, rtol=1e-12)
    moved = bench.m_step(bench.data("missing"), params=renamed(bench.restarts), weights=bench.weights[..., order])
    assert_same(moved, renamed(bench.m_step(bench.data("missing"))), rtol=1e-9, atol=1e-10)


@BOTH
def test_a_state_without_weight_has_defined_parameters(bench, which):
    weights = bench.weights * [0.0, 1.0, 1.0]
    found = bench.m_step(bench.data(which), weights=weights, repeat=3)
    for name, value in found.items():
        assert np.isfinite(value).all(), name
    assert np.isfinite(bench.inspect(bench.data(which), found, weights)[1]).all()


def test_names_shapes_and_supports_agree(bench):
    priors, dims = bench.emission.priors(NUM_STATES), bench.emission.dims()
    assert set(priors) == set(dims) == set(bench.starts) == set(bench.params)
    for name, start in bench.starts.items():
        assert start.shape[1:] == bench.params[name].shape == priors[name].shape(), name
        assert len(set(dims[name])) == len(dims[name]) == bench.params[name].ndim, name
        assert np.all(priors[name].support(start)), name
        for axis, dim in enumerate(dims[name]):
            if dim in ("state", "next_state"):
                assert start.shape[1 + axis] == NUM_STATES, name


def test_no_two_states_start_alike(bench):
    if isinstance(bench.emission, lg.emissions.Aggregated):
        pytest.skip("States of a class start alike; the rates break their symmetry.")
    for restart in range(NUM_RESTARTS - 1):
        for first in range(NUM_STATES):
            for second in range(first):
                assert any(
                    not np.allclose(value[restart].take(first, axis), value[restart].take(second, axis), rtol=1e-3)
                    for name, value in bench.starts.items()
                    for axis, dim in enumerate(bench.emission.dims()[name])
                    if dim == "state"
                )
    assert any(not np.allclose(value[0], value[1]) for value in bench.starts.values())


def test_draws_follow_the_density(bench):
    """The score of a draw has mean zero. With 2000 draws, |z| > 5 has probability 6e-7 a parameter; for this table, 1e-4 for fresh keys."""
    inputs = {} if bench.row.inputs is None else {name: jnp.asarray(values[0, 0]) for name, values in bench.complete.inputs.items()}
    found = np.asarray(scores(bench.emission, bench.params, inputs, jax.random.split(jax.random.key(1), 2000)))
    spread = found.std(1)
    informed = spread > 0
    assert informed.any(1).all()
    z = found.mean(1)[informed] / (spread[informed] / np.sqrt(found.shape[1]))
    assert np.abs(z).max() < 5
    assert_array_equal(found.mean(1)[~informed], 0.0)


def test_float32(bench):
    expected = bench.m_step(bench.data("missing"))
    with jax.enable_x64(False):
        emission = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32) if hasattr(leaf, "dtype") else leaf, bench.emission)
        params = {name: jnp.asarray(np.asarray(value), jnp.float32) for name, value in bench.restarts.items()}
        found = bench.m_step(as_arrays(bench.data("missing")), params=params, emission=emission)
        for name, value in found.items():
            assert value.dtype == jnp.float32, name
    assert_same(found, expected, rtol=2e-3, atol=2e-3)
