"""One step at a time, as a stream has it."""

from __future__ import annotations

import pytest
from numpy.testing import assert_allclose

from latentgate.kernels import gaussian
from tests.kernels import gaussian_cases as cases

pytestmark = pytest.mark.usefixtures("float64")


def test_streaming_is_filtering():
    """Predict and update one step each, over two sequences at once, give the filter of the joint normal."""
    batch = [cases.information(seed, 8, 2) for seed in (1, 2)]
    arguments = cases.stacked(cases.per_step(case) for case in batch)
    predict, update = cases.quick_jit(gaussian.predict), cases.quick_jit(gaussian.update)
    mean, covariance = arguments["initial_mean"], arguments["initial_covariance"]
    for t in range(8):
        if t:
            mean, covariance = predict(mean, covariance, *(arguments[name][:, t - 1] for name in ("matrix", "bias", "covariance")))
        mean, covariance, increment = update(mean, covariance, *(arguments[name][:, t] for name in ("precision", "shift", "log_constant")))
        for b, case in enumerate(batch):
            assert_allclose(mean[b], case.truth.filtered_means[t], rtol=1e-9, atol=1e-10)
            assert_allclose(covariance[b], case.truth.filtered_covariances[t], rtol=1e-9, atol=1e-10)
            assert_allclose(increment[b], case.truth.log_increments[t], rtol=1e-9, atol=1e-10)
