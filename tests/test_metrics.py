"""Figures of merit against scikit-learn, SciPy and formulas written another way."""

import doctest
import importlib

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

import latentgate as lg
from latentgate import metrics


@pytest.fixture(scope="module")
def pair():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=(500, 3)) * [1.0, 5.0, 0.1] + [0.0, 3.0, 1.0]
    return truth, truth + generator.normal(size=truth.shape) * [0.5, 1.0, 0.2] + 0.1


def test_regression_against_scikit_learn(pair):
    truth, prediction = pair
    np.testing.assert_allclose(metrics.r_squared(truth, prediction), sklearn_metrics.r2_score(truth, prediction, multioutput="raw_values"), rtol=1e-12)
    np.testing.assert_allclose(metrics.r_squared(truth, prediction, average=True), sklearn_metrics.r2_score(truth, prediction), rtol=1e-12)
    expected = sklearn_metrics.root_mean_squared_error(truth, prediction, multioutput="raw_values")
    np.testing.assert_allclose(metrics.root_mean_square_error(truth, prediction, average=False), expected, rtol=1e-12)
    error = metrics.root_mean_square_error(truth, prediction)
    np.testing.assert_allclose(error, np.sqrt(sklearn_metrics.mean_squared_error(truth, prediction)), rtol=1e-12)
    np.testing.assert_allclose(metrics.normalised_root_mean_square_error(truth, prediction), error / np.sqrt(np.mean(truth**2)), rtol=1e-12)
    assert metrics.normalised_root_mean_square_error(truth, 0 * truth) == 1.0
    correlations = [stats.pearsonr(truth[:, k], prediction[:, k]).statistic for k in range(3)]
    np.testing.assert_allclose(metrics.correlation(truth, prediction), correlations, rtol=1e-12)
    np.testing.assert_allclose(metrics.correlation(truth, prediction, average=True), np.mean(correlations), rtol=1e-12)
    assert metrics.r_squared(truth[:, 0], prediction[:, 0]).shape == (1,)


def test_angles():
    angles = np.random.default_rng(1).uniform(-np.pi, np.pi, (1000, 2))
    radius = np.array([0.3, 20.0])
    truth, prediction = (radius[k] * np.exp(1j * angles[:, k]) for k in range(2))
    expected = np.abs(np.angle(truth / prediction)).mean()
    as_rows = [np.stack([z.real, z.imag], axis=1) for z in (truth, prediction)]
    np.testing.assert_allclose(metrics.mean_absolute_angular_error(*as_rows), expected, rtol=1e-12)
    # An angle too small for its cosine to differ from one.
    np.testing.assert_allclose(metrics.mean_absolute_angular_error([[1.0, 0.0]], [[1.0, 1e-12]]), 1e-12, rtol=1e-12)
    assert metrics.mean_absolute_angular_error([[1.0, 0.0]], [[-1.0, 0.0]]) == np.pi
    with_still = metrics.mean_absolute_angular_error([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(with_still, np.pi / 2)
    with pytest.raises(ValueError, match="no step at which"):
        metrics.mean_absolute_angular_error([[0.0, 0.0]], [[1.0, 1.0]])
    with pytest.raises(ValueError, match="3 dimensions"):
        metrics.mean_absolute_angular_error(np.ones((2, 3)), np.ones((2, 3)))


def test_coverage_of_gaussians():
    generator = np.random.default_rng(2)
    steps = 4000
    factors = generator.normal(size=(steps, 2, 2))
    means = generator.normal(size=(steps, 2))
    truth = means + np.einsum("tij,tj->ti", factors, generator.normal(size=(steps, 2)))
    covariances = factors @ factors.swapaxes(1, 2)
    for level in (0.5, 0.95):
        # Five standard deviations of a binomial share: a false alarm in 2e-6 of all runs.
        tolerance = 5 * np.sqrt(level * (1 - level) / steps)
        each = metrics.interval_coverage(truth, means, covariances, level)
        whole = metrics.interval_coverage(truth, means, covariances, level, joint=True)
        np.testing.assert_allclose([*each, whole], level, atol=tolerance)
        inverse = np.linalg.inv(covariances)
        distance = np.einsum("ti,tij,tj->t", truth - means, inverse, truth - means)
        assert whole == np.mean(distance <= -2 * np.log(1 - level))  # the chi-squared quantile for two dimensions
    assert (metrics.interval_coverage(truth, means, 4 * covariances, 0.5) > 0.75).all()
    np.testing.assert_allclose(metrics.interval_coverage([1.95, 1.97, -1.95], [0.0, 0.0, 0.0], [[1.0]], 0.95), 2 / 3)
    one = metrics.interval_coverage(truth, means, covariances[0], 0.9, joint=True)
    assert one == metrics.interval_coverage(truth, means, np.broadcast_to(covariances[0], (steps, 2, 2)), 0.9, joint=True)


def test_coverage_errors():
    truth = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"`covariances` has shape \(2, 3\); expected \(3, 2, 2\) or \(2, 2\)"):
        metrics.interval_coverage(truth, truth, np.ones((2, 3)))
    with pytest.raises(ValueError, match="variance -1"):
        metrics.interval_coverage(truth, truth, -np.eye(2))
    with pytest.raises(ValueError, match="not positive definite"):
        metrics.interval_coverage(truth, truth, np.ones((2, 2)), joint=True)
    with pytest.raises(ValueError, match="NaN"):
        metrics.interval_coverage(truth, truth, np.full((2, 2), np.nan))
    for level in (0, 1.0, 95, np.nan, True):
        with pytest.raises(ValueError, match="`level`"):
            metrics.interval_coverage(truth, truth, np.eye(2), level)


def test_bits_per_spike_against_scipy():
    generator = np.random.default_rng(3)
    rates = generator.gamma(2.0, 0.3, size=(400, 5))
    counts = generator.poisson(rates)
    constant = counts.mean(0) * 1.1
    difference = stats.poisson(rates).logpmf(counts).sum() - stats.poisson(constant).logpmf(counts).sum()
    expected = difference / counts.sum() / np.log(2)
    assert expected > 0
    np.testing.assert_allclose(metrics.co_smoothing_bits_per_spike(rates, counts, constant), expected, rtol=1e-10)
    # The same number as for a model whose log-likelihood is known.
    data = lg.Sequences.from_arrays([counts])
    log_likelihood = stats.poisson(rates).logpmf(counts).sum()
    np.testing.assert_allclose(metrics.bits_per_spike(log_likelihood, data, constant), expected, rtol=1e-10)
    assert metrics.co_smoothing_bits_per_spike([[0.0], [1.0]], [[1], [0]], [1.0]) == -np.inf
    assert metrics.co_smoothing_bits_per_spike(np.tile(constant, (400, 1)), counts, constant) == 0


@pytest.mark.parametrize(
    ("rates", "counts", "constant", "message"),
    [
        ([[1.0]], [[0]], [1.0], "no spike"),
        ([[-1.0]], [[1]], [1.0], "`rates` holds -1"),
        ([[1.0]], [[-1]], [1.0], "`counts` holds -1"),
        ([[1.0]], [[1]], [0.0], "`mean_rates` holds 0"),
        ([[1.0]], [[1]], [1.0, 1.0], r"`mean_rates` has shape \(2,\)"),
        ([[1.0]], [[np.nan]], [1.0], "`counts` is not finite in 1 of 1 rows"),
        ([[1.0]], [[1], [1]], [1.0], r"`rates` has shape \(1, 1\) but `counts` has \(2, 1\)"),
    ],
)
def test_bits_per_spike_errors(rates, counts, constant, message):
    with pytest.raises(ValueError, match=message):
        metrics.co_smoothing_bits_per_spike(rates, counts, constant)


@pytest.mark.parametrize(
    "metric",
    ["r_squared", "correlation", "root_mean_square_error", "normalised_root_mean_square_error", "mean_absolute_angular_error"],
)
def test_every_regression_metric_checks_its_arrays(metric):
    function = getattr(metrics, metric)
    good = np.random.default_rng(4).normal(size=(4, 2))
    bad = good.copy()
    bad[2, 1] = np.nan
    for arguments, name in (((bad, good), "truth"), ((good, bad), "prediction")):
        with pytest.raises(ValueError, match=f"`{name}` is not finite in 1 of 4 rows, the first of them row 2"):
            function(*arguments)
    with pytest.raises(ValueError, match=r"`truth` has shape \(4, 2\) but `prediction` has \(3, 2\)"):
        function(good, good[:3])
    with pytest.raises(ValueError, match=r"expected \[time, dimension\]"):
        function(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(TypeError, match="`truth`"):
        function([["a", "b"]], good[:1])


def test_what_is_not_defined():
    constant, varying = np.ones((3, 1)), np.arange(3.0)[:, None]
    with pytest.raises(ValueError, match="`truth` is constant in dimension 0"):
        metrics.r_squared(constant, varying)
    with pytest.raises(ValueError, match="`prediction` is constant in dimension 0"):
        metrics.correlation(varying, constant)
    with pytest.raises(ValueError, match="`truth` is zero throughout"):
        metrics.normalised_root_mean_square_error(0 * varying, varying)


@pytest.mark.parametrize("module", ["regression", "intervals", "counts"])
def test_examples(module):
    outcome = doctest.testmod(importlib.import_module(f"latentgate.metrics.{module}"))
    assert outcome.attempted > 0
    assert outcome.failed == 0
