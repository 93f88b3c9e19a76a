"""One row of every kind of linear Gaussian model, with tiny ragged data: the table over which its laws and fits run."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import latentgate as lg

LENGTHS = [12, 7, 10]
NAN = np.nan


class LinearRow(NamedTuple):
    """A model with data.

    Attributes:
        model: the structure.
        data: three sequences of `LENGTHS` steps.
        noisy: latents whose edges have noise.
        closed: whether its M-step has a closed form.
    """

    model: lg.LinearGaussianSSM
    data: lg.Sequences
    noisy: list[int]
    closed: bool


def linear_models() -> dict[str, LinearRow]:
    """{name: row}."""
    rng = np.random.default_rng(5)
    inputs = [rng.normal(size=(length, 2)) for length in LENGTHS]
    times = [np.cumsum(rng.gamma(2.0, 0.5, length)) for length in LENGTHS]
    smooth = [np.cumsum(rng.normal(size=(length, 3)), 0) * 0.6 + rng.normal(size=(length, 3)) for length in LENGTHS]
    holes = []
    for array in smooth:
        array = np.where(rng.random(array.shape) < 0.25, NAN, array)
        array[3] = NAN
        holes.append(array)
    complete, missing = (lg.Sequences.from_arrays(arrays, inputs=inputs, times=times) for arrays in (smooth, holes))
    single = lg.Sequences.from_arrays([array[:, :1] for array in holes])

    def linear(*arguments, **options):
        return lg.dynamics.Linear(*arguments, **options)

    def model(dynamics, **options):
        return lg.LinearGaussianSSM(2, 3, dynamics=dynamics, **options)

    def structural(*components, **options):
        return lg.LinearGaussianSSM(
            dynamics=lg.dynamics.Structural(*components, **options), initial=(0.0, 4.0), noise_prior=dist.InverseGamma(jnp.array(2.0), jnp.array(1.0))
        )

    both = [0, 1]
    some = lg.dynamics
    # Numbers of priors are arrays, so that other numbers compile nothing.
    wishart = dist.InverseWishart(jnp.array(5.0), scale_tril=jnp.array([[1.0, 0.0], [0.3, 0.8]]))
    wider = dist.InverseWishart(jnp.array(6.0), scale_tril=1.2 * jnp.eye(3))
    gamma = dist.InverseGamma(jnp.array(3.0), jnp.array(1.5))

    def normal(mean, deviation):
        return dist.Normal(jnp.array(mean), jnp.array(deviation))

    rows = {
        "free": (model(linear(num_inputs=2, noise="diagonal", bias=False), num_inputs=2, bias=False), missing, both, True),
        "conjugate priors": (model(linear(covariance_prior=wishart), noise_prior=gamma), missing, both, True),
        "given": (
            model(linear(noise="diagonal", covariance_prior=gamma), initial=(0.5, 2.0), matrix=[[1.0, 0.0], [0.5, 1.0], [0.0, -1.0]], bias=True),
            complete,
            both,
            True,
        ),
        "other priors": (
            model(
                linear(
                    [[NAN, 1.0], [0.0, NAN]],
                    noise="diagonal",
                    num_inputs=2,
                    matrix_prior=normal(0.5, 0.3),
                    covariance_prior=dist.LogNormal(jnp.array(-1.0), jnp.array(0.5)),
                ),
                matrix_prior=normal(0.0, 1.0),
                noise_prior=dist.Gamma(jnp.array(3.0), jnp.array(3.0)),
            ),
            missing,
            both,
            False,
        ),
        "full noise": (model(linear(num_inputs=2), noise="full", noise_prior=wider, num_inputs=2), complete, both, True),
        "full noise, missing": (model(linear(bias=False), initial="stationary", noise="full"), missing, both, False),
        "rotations": (model(some.DampedRotations(), initial="stationary"), complete, both, False),
        "differential equation": (model(some.LinearSDE()), missing, both, False),
        "structural": (
            structural(some.LocalTrend(level_noise=False), some.Autoregressive(2), some.Seasonal(3), variance_prior=gamma),
            single,
            [1, 2, 4],
            True,
        ),
    }
    return {name: LinearRow(*row) for name, row in rows.items()}


def start(row: LinearRow, seed: int = 1) -> dict[str, jax.Array]:
    """Parameters away from the special values that `initialize` gives: no zero, no identity."""
    rng = np.random.default_rng(seed)
    params = row.model.initialize(jax.random.key(seed), row.data)
    moved = {}
    for name, value in params.items():
        if name.endswith(("covariance", "diffusion")) and value.ndim == 2:
            root = rng.normal(size=value.shape) * 0.3 + np.eye(len(value))
            moved[name] = jnp.asarray(root @ np.asarray(value) @ root.T)
        elif name.endswith(("covariance", "variances")):
            moved[name] = value * rng.uniform(0.5, 2.0, value.shape)
        elif name in ("dynamics.damping", "dynamics.frequency"):
            moved[name] = value * rng.uniform(0.7, 1.0, value.shape)
        else:
            moved[name] = value + 0.1 * rng.normal(size=value.shape)
    return moved
