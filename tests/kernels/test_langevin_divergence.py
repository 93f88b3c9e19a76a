"""Divergence of the noise from its prior: zero there and only there, exact beside numpyro and quadrature, sound in single precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from latentgate.kernels.langevin import noise_divergence

pytestmark = pytest.mark.usefixtures("float64")

divergence = jax.jit(noise_divergence)
numbers = st.lists(st.tuples(st.floats(-50, 50), st.floats(-8, 8)), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(numbers)
def test_divergence_against_numpyro(pairs):
    mean, scale = np.array(pairs).T[0], np.exp(np.array(pairs).T[1])
    found = float(divergence(mean, scale))
    expected = float(dist.kl_divergence(dist.Normal(mean, scale).to_event(1), dist.Normal(np.zeros(4), 1.0).to_event(1)))
    # numpyro takes 1 from scale² near one: its rounding there is absolute.
    assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    assert found >= 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(-60, 3), st.floats(-34, 5), st.booleans())
def test_divergence_is_zero_for_the_prior_alone(log_mean, log_excess, narrower):
    """However close to the standard normal law a law is, down to neighbours of 1 in double precision."""
    scale = np.exp(np.exp(log_excess) * (-1 if narrower else 1))
    zero, one = np.zeros(4), np.ones(4)
    assert float(divergence(zero, one)) == 0
    assert float(divergence(np.array([np.exp(log_mean), 0, 0, 0]), one)) > 0
    if scale != 1:
        assert float(divergence(zero, np.array([1, scale, 1, 1]))) > 0


def test_divergence_by_quadrature():
    """∫ q ln(q / p) itself, on a grid where the trapezoidal rule is exact to rounding."""
    mean, scale = 0.7, 1.6
    points = np.linspace(-40, 40, 20_001)
    log_ratio = -np.log(scale) - 0.5 * ((points - mean) / scale) ** 2 + 0.5 * points**2
    law = np.exp(-0.5 * ((points - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
    expected = (law * log_ratio).sum() * (points[1] - points[0])
    assert_allclose(noise_divergence(jnp.array([mean]), jnp.array([scale])), expected, rtol=1e-12)


def test_divergence_near_one_in_single_precision():
    """All single-precision scales within 1e-3 of one: never negative, and within roundings of log(1 + x), which are relative to x and not to one."""
    scale = np.float32(1) + np.arange(-16_000, 8_000, dtype=np.float32) * np.finfo(np.float32).epsneg
    scale = np.unique(scale)
    found = np.asarray(jax.jit(jax.vmap(noise_divergence))(np.zeros((len(scale), 1), np.float32), scale[:, None]))
    assert found.dtype == np.float32
    excess = scale.astype(float) - 1
    expected = 0.5 * (excess**2 + 2 * (excess - np.log1p(excess)))
    assert (found >= 0).all()
    assert ((found > 0) == (scale != 1)).all()
    assert (np.abs(found - expected) <= 2 * np.finfo(np.float32).eps * np.abs(excess)).all()


SCALES = np.array([1e-30, 1e-8, 1e-7, 1e-5, 1e-3, 0.3, 0.999, 1.0, 1.001, 3.0, 1e3, 1e12], np.float32)


def test_divergence_of_any_scale_in_single_precision():
    """Finite, and right to its rounding, for scales whose difference from one is one, too: a posterior may be far more certain than the prior."""
    found = np.asarray(jax.jit(jax.vmap(noise_divergence))(np.zeros((len(SCALES), 1), np.float32), SCALES[:, None]))
    exact = SCALES.astype(float)
    expected = 0.5 * (exact**2 - 1) - np.log(exact)
    # Near one the error is a rounding of s - 1, as above.
    assert_allclose(found, expected, rtol=1e-6, atol=1.2e-10)


def test_derivatives_of_the_divergence():
    """Values m and s - 1/s: finite in single precision, and zero at the prior."""
    mean = np.linspace(-3e4, 3e4, len(SCALES), dtype=np.float32)
    slopes = jax.jit(jax.grad(noise_divergence, argnums=(0, 1)))(mean, SCALES)
    assert_array_equal(slopes[0], mean)
    exact = SCALES.astype(float)
    # Next to one, 1/s is rounded as a number of size one.
    assert_allclose(slopes[1], exact - 1 / exact, rtol=1e-6, atol=2.4e-7)
    assert slopes[1][SCALES == 1] == 0
