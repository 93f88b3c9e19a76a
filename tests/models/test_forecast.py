"""Forecasts against powers of the transition written out, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

import latentgate as lg

pytestmark = pytest.mark.usefixtures("float64")


def test_forecast_is_the_law_iterated():
    rng = np.random.default_rng(0)
    model = lg.LinearGaussianSSM(2, 3, num_inputs=1, dynamics=lg.dynamics.Linear(num_inputs=1))
    lengths = [9, 6]
    data = lg.Sequences.from_arrays([rng.normal(size=(n, 3)) for n in lengths], inputs=[rng.normal(size=(n, 1)) for n in lengths])
    ahead = [rng.normal(size=(4, 1)) for _ in lengths]
    noise = rng.normal(size=(2, 2))
    params = {
        "initial.mean": np.zeros(2),
        "initial.covariance": np.eye(2),
        "dynamics.matrix": np.array([[0.9, 0.2], [-0.1, 0.8]]),
        "dynamics.bias": np.array([0.1, -0.2]),
        "dynamics.input_weights": rng.normal(size=(2, 1)),
        "dynamics.covariance": noise @ noise.T,
        "emission.matrix": rng.normal(size=(3, 2)),
        "emission.bias": rng.normal(size=3),
        "emission.input_weights": rng.normal(size=(3, 1)),
        "emission.covariance": np.array([0.5, 1.0, 2.0]),
    }
    found = model.forecast(params, data, 4, inputs=ahead)
    filtered = model.filter({name: jnp.asarray(value) for name, value in params.items()}, data)
    for i, length in enumerate(lengths):
        mean = np.asarray(filtered.means)[i, length - 1]
        covariance = np.asarray(np.broadcast_to(filtered.covariances, (2, *filtered.covariances.shape[1:])))[i, length - 1]
        for step in range(4):
            mean = params["dynamics.matrix"] @ mean + params["dynamics.bias"] + params["dynamics.input_weights"] @ ahead[i][step]
            covariance = params["dynamics.matrix"] @ covariance @ params["dynamics.matrix"].T + params["dynamics.covariance"]
            np.testing.assert_allclose(found.latent_means[i, step], mean, rtol=1e-10)
            np.testing.assert_allclose(found.latent_covariances[i, step], covariance, rtol=1e-10)
            expected = params["emission.matrix"] @ mean + params["emission.bias"] + params["emission.input_weights"] @ ahead[i][step]
            np.testing.assert_allclose(found.means[i, step], expected, rtol=1e-10)
            spread = params["emission.matrix"] @ covariance @ params["emission.matrix"].T + np.diag(params["emission.covariance"])
            np.testing.assert_allclose(found.covariances[i, step], spread, rtol=1e-10)
    with pytest.raises(ValueError, match="inputs: found none"):
        model.forecast(params, data, 4)
    with pytest.raises(ValueError, match="num_steps: found 0"):
        model.forecast(params, data, 0, inputs=ahead)
