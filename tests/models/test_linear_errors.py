"""What does not fit in a linear Gaussian model is named before anything is compiled."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import latentgate as lg

LINEAR = lg.dynamics.Linear

BAD = {
    "dynamics: found 'x'": {"latent_dim": 2, "dynamics": "x"},
    "latent_dim: found None": {},
    "latent_dim: found 3, expected 2": {"latent_dim": 3, "dynamics": LINEAR(np.eye(2))},
    "latent_dim: found 3, expected an even number": {"latent_dim": 3, "dynamics": lg.dynamics.DampedRotations()},
    "initial: found 'diffuse'": {"latent_dim": 2, "initial": "diffuse"},
    "initial: found 'stationary' with Linear": {"latent_dim": 2, "initial": "stationary"},
    "initial: found 'stationary' with LinearSDE": {"latent_dim": 2, "dynamics": lg.dynamics.LinearSDE(), "initial": "stationary"},
    r"initial: found \(0.0, \[1.0, 2.0\]\)": {"latent_dim": 2, "initial": (0.0, [1.0, 2.0])},
    "expected finite numbers and a symmetric covariance": {"latent_dim": 2, "initial": (0.0, [[1.0, 0.0], [0.9, 1.0]])},
    r"initial: found \(nan, 1.0\)": {"latent_dim": 2, "initial": (np.nan, 1.0)},
    "initial: found a covariance with eigenvalue -1": {"latent_dim": 2, "initial": (0.0, -1.0)},
    "noise: found 'scalar'": {"latent_dim": 2, "noise": "scalar"},
    "form: found": {"latent_dim": 2, "form": "cholesky"},
    "backend: found": {"latent_dim": 2, "backend": "gpu"},
    r"matrix: found shape \(2, 2\)": {"latent_dim": 2, "matrix": np.eye(2)},
    "matrix_prior: found Normal, expected None": {"latent_dim": 2, "matrix": np.ones((1, 2)), "matrix_prior": dist.Normal(0.0, 1.0)},
    "noise_prior: found InverseGamma, expected a law of covariance matrices": {"latent_dim": 2, "noise": "full", "noise_prior": dist.InverseGamma(2.0, 1.0)},
    "prior of covariance: found event shape": {"latent_dim": 2, "noise_prior": dist.InverseWishart(3.0, scale_tril=np.eye(1))},
    "noise_prior: found 3": {"latent_dim": 2, "noise_prior": 3},
}


@pytest.mark.parametrize("message", BAD)
def test_what_does_not_fit_is_named(message):
    with pytest.raises(ValueError, match=message):
        lg.LinearGaussianSSM(**BAD[message])


def test_what_does_not_fit_in_the_dynamics_is_named():
    with pytest.raises(ValueError, match=r"matrix: found shape \(1, 2\)"):
        LINEAR([[1.0, 2.0]])
    with pytest.raises(ValueError, match="expected finite numbers"):
        LINEAR([[np.inf]])
    with pytest.raises(ValueError, match="noise: found 'none'"):
        LINEAR(noise="none")
    with pytest.raises(ValueError, match="matrix_prior: found Normal, expected None, since every entry of the matrix is given"):
        LINEAR(np.eye(2), matrix_prior=dist.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="covariance_prior: found InverseGamma, expected a law of covariance matrices"):
        LINEAR(covariance_prior=dist.InverseGamma(2.0, 1.0))


def test_data_that_do_not_fit_are_named():
    data = lg.Sequences.from_arrays([np.zeros((4, 3))])
    with pytest.raises(ValueError, match="data: found 3 features, expected 2"):
        lg.LinearGaussianSSM(2, 2).check(data)
    with pytest.raises(TypeError, match="data: found ndarray"):
        lg.LinearGaussianSSM(2, 3).check(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="inputs"):
        lg.LinearGaussianSSM(2, 3, num_inputs=2).check(data)
    with pytest.raises(ValueError, match="inputs"):
        lg.LinearGaussianSSM(2, 3, dynamics=LINEAR(num_inputs=2)).check(data)
    with pytest.raises(ValueError, match="data: found no times"):
        lg.LinearGaussianSSM(2, 3, dynamics=lg.dynamics.LinearSDE()).check(data)


def test_times_that_float32_does_not_resolve_are_refused():
    times = [1.6e9 + np.arange(5.0) / 10]
    data = lg.Sequences.from_arrays([np.zeros((5, 1))], times=times)
    model = lg.LinearGaussianSSM(1, 1, dynamics=lg.dynamics.LinearSDE())
    with jax.enable_x64(False), pytest.raises(ValueError, match="float32 does not resolve"):
        model.check(data)
    with jax.enable_x64(True):
        model.check(data)
