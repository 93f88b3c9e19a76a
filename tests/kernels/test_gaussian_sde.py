"""Exact discretisation of a linear SDE."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import linalg

from latentgate.kernels import linear_sde
from tests.kernels import gaussian_cases as cases

pytestmark = pytest.mark.usefixtures("float64")


def van_loan(drift: np.ndarray, diffusion: np.ndarray, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """By the exponential of one matrix of twice the size, with SciPy."""
    size = len(drift)
    block = np.zeros((2 * size, 2 * size))
    block[:size, :size], block[:size, size:], block[size:, size:] = -drift, diffusion, drift.T
    exponential = linalg.expm(gap * block)
    matrix = exponential[size:, size:].T
    return matrix, cases.symmetric(matrix @ exponential[:size, size:])


DRIFTS = {
    "damped rotation": (np.array([[-0.4, -1.7], [1.7, -0.4]]), np.diag([0.8, 0.3])),
    "integrated noise": (np.array([[0.0, 1.0], [0.0, 0.0]]), np.diag([0.0, 0.5])),
    "unstable": (np.array([[0.3, 1.0], [0.0, -2.0]]), np.array([[1.0, 0.5], [0.5, 1.0]])),
}
GAPS = np.array([[0.0, 1e-3, 0.1], [0.7, 2.0, 5.0]])


@pytest.fixture(scope="module")
def discretise(float64):
    return cases.quick_jit(linear_sde.discretise)


@pytest.mark.parametrize("name", DRIFTS)
def test_discretisation_against_van_loan(name, discretise):
    drift, diffusion = DRIFTS[name]
    matrices, covariances = (np.asarray(part) for part in discretise(drift, diffusion, GAPS))
    assert matrices.shape == covariances.shape == (*GAPS.shape, 2, 2)
    for index, gap in np.ndenumerate(GAPS):
        matrix, covariance = van_loan(drift, diffusion, gap)
        assert_allclose(matrices[index], matrix, rtol=0, atol=1e-12 * np.abs(matrix).max())
        assert_allclose(covariances[index], covariance, rtol=0, atol=1e-11 * np.abs(covariance).max())
    assert_array_equal(covariances, np.swapaxes(covariances, -1, -2))
    assert_array_equal(matrices[0, 0], np.eye(2))
    assert_array_equal(covariances[0, 0], 0)


def test_two_gaps_make_one(discretise):
    drift, diffusion = DRIFTS["unstable"]
    gaps = np.array([[0.3, 0.9, 1.2], [0.01, 2.5, 2.51]])
    matrices, covariances = (np.asarray(part) for part in discretise(drift, diffusion, gaps))
    for matrix, covariance in zip(matrices, covariances, strict=True):
        assert_allclose(matrix[1] @ matrix[0], matrix[2], rtol=1e-11, atol=1e-13)
        assert_allclose(matrix[1] @ covariance[0] @ matrix[1].T + covariance[1], covariance[2], rtol=1e-11, atol=1e-13)


def test_matern_in_closed_form(discretise):
    """Also over short gaps, where the covariance is a small difference: its entries are of third, second and first order."""
    length_scale, scale = 1.3, 0.8
    rate = np.sqrt(3) / length_scale
    drift = np.array([[0.0, 1.0], [-(rate**2), -2 * rate]])
    diffusion = np.diag([0.0, 4 * rate**3 * scale**2])
    gaps = np.array([[0.05, 0.1, 0.3], [1.0, 3.0, 40.0]])
    matrices, covariances = (np.asarray(part) for part in discretise(drift, diffusion, gaps))
    expected, spread, stationary = cases.matern(gaps.ravel(), length_scale, scale)
    assert_allclose(matrices.reshape(-1, 2, 2), expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    sizes = np.sqrt(np.diagonal(spread, axis1=-2, axis2=-1))
    errors = np.abs(covariances.reshape(-1, 2, 2) - spread) / (sizes[:, :, None] * sizes[:, None, :])
    assert errors.max() < 1e-10
    assert_allclose(covariances[1, 2], stationary, rtol=0, atol=1e-11)


def test_discretisation_can_be_differentiated():
    """In drift, diffusion and gaps, coinciding times included, against central differences."""
    drift, diffusion = DRIFTS["unstable"]
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(2, *GAPS.shape, 2, 2))

    def value(drift, diffusion, gaps):
        matrices, covariances = linear_sde.discretise(drift, diffusion, gaps)
        return (weights[0] * matrices).sum() + (weights[1] * covariances).sum()

    arguments = [drift, diffusion, GAPS + 0.0]
    along = [rng.normal(size=(2, 2)), cases.symmetric(rng.normal(size=(2, 2))), np.abs(rng.normal(size=GAPS.shape))]
    program = cases.quick_jit(jax.value_and_grad(value, argnums=(0, 1, 2)))
    _, gradient = program(*arguments)
    found = [np.vdot(slope, way) for slope, way in zip(gradient, along, strict=True)]
    step = 1e-5
    for position in range(3):
        # Gaps are not moved below zero: a one-sided second-order difference serves all alike.
        values = [float(program(*(a + (i == position) * k * step * w for i, (a, w) in enumerate(zip(arguments, along, strict=True))))[0]) for k in (0, 1, 2)]
        difference = (-3 * values[0] + 4 * values[1] - values[2]) / (2 * step)
        assert_allclose(found[position], difference, rtol=1e-6, atol=1e-6)
