"""Slopes, their intervals and the test of curvature, beside what is known in closed form or from another library."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from latentgate.studies import Study
from latentgate.studies.slopes import fit_line, log_statistic

SIZES = np.array([100, 316, 1000, 3162, 10_000, 31_623])


def line(losses, statistic="mean", sizes=SIZES, **changes):
    return fit_line(sizes, losses, statistic, **{"level": 0.95, "draws": 2000, "seed": 0, **changes})


@pytest.mark.parametrize("statistic", ["mean", "median", "mean-log"])
def test_power_law_without_noise_is_found_exactly(statistic):
    found = line(np.repeat(6.82 * SIZES[:, None] ** -0.5, 5, 1), statistic)
    np.testing.assert_allclose([found.slope, found.prefactor], [-0.5, 6.82], rtol=1e-12)
    np.testing.assert_allclose(found.interval, -0.5, rtol=1e-12)
    np.testing.assert_allclose(found.local, -0.5, rtol=1e-10)


def test_statistics_differ_as_they_should():
    losses = np.array([[1.0, 2.0, 4.0, 100.0], [1.0, 2.0, np.nan, 9.0]])
    np.testing.assert_allclose(np.exp(log_statistic(losses, "mean")), [26.75, 4.0])
    np.testing.assert_allclose(np.exp(log_statistic(losses, "median")), [3.0, 2.0])
    np.testing.assert_allclose(log_statistic(losses, "mean-log"), [np.log(800) / 4, np.log(18) / 3])


def test_bootstrap_interval_is_that_of_the_normal_limit():
    # Logs are normal, so the mean log has standard deviation sd / sqrt(R), and the slope is a linear function of these.
    generator = np.random.default_rng(1)
    replications, spread = 400, 0.3
    losses = np.exp(-0.5 * np.log(SIZES)[:, None] + spread * generator.normal(size=(len(SIZES), replications)))
    found = line(losses, "mean-log", draws=8000)
    centred = np.log(SIZES) - np.log(SIZES).mean()
    spreads = np.log(losses).std(1)
    deviation = np.sqrt(np.sum((centred * spreads) ** 2) / replications) / (centred @ centred)
    np.testing.assert_allclose(found.interval, found.slope + norm.ppf([0.025, 0.975]) * deviation, atol=0.05 * deviation)


def test_curvature_is_the_f_test_of_a_quadratic_regression():
    import statsmodels.api as sm

    generator = np.random.default_rng(2)
    logs = -0.5 * np.log(SIZES) + 0.02 * np.log(SIZES) ** 2 + 0.05 * generator.normal(size=len(SIZES))
    design = sm.add_constant(np.stack([np.log(SIZES), np.log(SIZES) ** 2], -1))
    expected = sm.OLS(logs, design).fit().compare_f_test(sm.OLS(logs, design[:, :2]).fit())[1]
    np.testing.assert_allclose(line(np.exp(logs)[:, None], draws=1).curvature, expected, rtol=1e-6)


def test_losses_without_logarithm_have_no_slope_and_missing_ones_are_counted():
    losses = np.ones((1, 1, 3, 4))
    losses[0, 0, 0] = 0.0
    partly = np.ones((1, 1, 3, 4))
    partly[0, 0, 1, 2:] = np.nan
    dims = ("truth", "estimator", "size", "replication")
    coords = {"truth": ["t"], "estimator": ["e"], "size": [10, 20, 40]}
    found = Study(xr.Dataset({"zero": (dims, losses), "partly": (dims, partly)}, coords), window=(10, 40)).slopes(draws=10)
    assert np.isnan(found.slope.sel(loss="zero"))
    assert found.slope.sel(loss="partly").item() == 0.0
    assert found.missing.values.ravel().tolist() == [0, 2]


def test_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match=r"statistic: found 'mode', expected one of 'mean', 'median', 'mean-log'"):
        line(np.ones((len(SIZES), 2)), "mode")
