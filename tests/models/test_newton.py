"""Damped Newton over rows, and the pieces of it."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from latentgate.models import newton
from latentgate.models.newton import ascent_direction, fits_newton, newton_rows, row_log_prior, value_and_derivatives, weighted_gram

pytestmark = pytest.mark.usefixtures("float64")


@partial(jax.jit, static_argnums=(0, 2))
def _climb(function, start, num_steps):
    return newton_rows(lambda rows: value_and_derivatives(function, rows), start, num_steps)


def climb(function, start, num_steps):
    return _climb(function, jnp.asarray(start), num_steps)


def test_a_quadratic_takes_one_step():
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(4, 3, 5))
    curvature, peak = roots @ roots.swapaxes(-1, -2), rng.normal(size=(4, 3))

    def function(rows):
        return -0.5 * jnp.einsum("ri,rij,rj->r", rows - peak, curvature, rows - peak)

    assert_allclose(climb(function, rng.normal(size=(4, 3)), 1), peak, rtol=1e-9)
    value, gradient, found = jax.jit(lambda rows: value_and_derivatives(function, rows))(jnp.zeros((4, 3)))
    assert_allclose(value, function(0.0), rtol=1e-12)
    assert_allclose(gradient, np.einsum("rij,rj->ri", curvature, peak), rtol=1e-12)
    assert_allclose(found, curvature, rtol=1e-12)


def test_an_overshooting_step_is_shortened_and_rows_do_not_disturb_one_another():
    """From 3, plain Newton on -log cosh x leaves for infinity; from 0.1 it converges at once."""

    def function(rows):
        x = rows[:, 0]
        return -(jnp.logaddexp(x, -x))

    start = np.array([[3.0], [0.1], [-8.0]])
    found = climb(function, start, 40)
    assert_allclose(found, 0.0, atol=1e-8)
    alone = climb(function, start[1:2], 40)
    assert_array_equal(found[1], alone[0])


def test_no_row_ever_falls():
    """A wiggly function, whose curvature is negative in many places."""

    def function(rows):
        return jnp.sin(3 * rows[:, 0]) - 0.1 * rows[:, 0] ** 2 + jnp.cos(rows[:, 0] * rows[:, 1])

    rows = jnp.asarray(np.random.default_rng(1).normal(size=(200, 2)) * 3)
    for _ in range(8):
        moved = climb(function, rows, 1)
        # Compiled and uncompiled values differ in the last bit.
        assert (function(moved) >= function(rows) - 1e-14).all()
        rows = moved
    gradient = np.abs(jax.grad(lambda rows: function(rows).sum())(climb(function, rows, 60))).max(-1)
    assert np.mean(gradient < 1e-6) > 0.95


def test_what_is_not_a_number_is_never_taken():
    """The first Newton step on log x - x from 3 leaves the domain of the logarithm."""

    def function(rows):
        return jnp.log(rows[:, 0]) - rows[:, 0]

    found = climb(function, [[3.0], [1e-3]], 30)
    assert_allclose(found, 1.0, rtol=1e-8)
    stuck = climb(lambda rows: rows[:, 0] * jnp.nan, [[2.0]], 3)
    assert_array_equal(stuck, [[2.0]])


_direction = jax.jit(ascent_direction)


@pytest.mark.parametrize(
    "curvature",
    [[[0.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]], [[-1.0, 0.0], [0.0, 2.0]], [[1.0, 5.0], [5.0, 1.0]], [[-3.0, 0.0], [0.0, -3.0]]],
    ids=["flat", "singular", "saddle", "off-diagonal", "convex"],
)
def test_the_direction_always_ascends(curvature):
    gradient = jnp.array([[1.0, -0.5]])
    direction = _direction(gradient, jnp.asarray([curvature]))
    assert np.isfinite(direction).all()
    assert float((gradient * direction).sum()) > 0
    assert_array_equal(_direction(0 * gradient, jnp.asarray([curvature])), 0.0)


@pytest.mark.parametrize("most_columns", [1, 16])
def test_weighted_gram(most_columns, monkeypatch):
    monkeypatch.setattr(newton, "_MOST_COLUMNS", most_columns)
    rng = np.random.default_rng(2)
    inputs, weights = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 4))
    assert_allclose(weighted_gram(jnp.asarray(inputs), jnp.asarray(weights)), np.einsum("str,sti,stj->rij", weights, inputs, inputs), rtol=1e-12)


def test_row_log_prior_sums_within_rows():
    values = jnp.asarray(np.random.default_rng(3).normal(size=(3, 2)))
    assert_allclose(row_log_prior(dist.Normal(0.0, 2.0), values), dist.Normal(0.0, 2.0).log_prob(values).sum(-1), rtol=1e-12)
    joint = dist.MultivariateNormal(jnp.zeros(2), jnp.array([[2.0, 0.5], [0.5, 1.0]]))
    assert_allclose(row_log_prior(joint, values), joint.log_prob(values), rtol=1e-12)


def test_which_priors_fit():
    assert fits_newton(dist.Normal(0.0, 1.0), 2)
    assert fits_newton(dist.StudentT(3.0), 1)
    assert fits_newton(dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)), 2)
    assert fits_newton(dist.Normal(0.0, 1.0).expand([2]).to_event(1), 2)
    assert not fits_newton(dist.HalfNormal(1.0), 2)
    assert not fits_newton(dist.Uniform(-1.0, 1.0), 2)
    assert not fits_newton(dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)), 1)
