"""Laws of linear Gaussian models, against the joint normal of all latents and observations, which knows of no recursion.

The expected log-joint Q(θ | θ₀) is written out here from the joint normal's moments. Fisher's identity, ∇Q(θ | θ₀) at θ₀ = ∇ log-joint at θ₀, ties it to the
model; that the M-step ends where ∇Q vanishes then makes a fixed point of EM one of MAP.
"""

from __future__ import annotations

import dataclasses
from functools import cache, cached_property

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import latentgate as lg
from latentgate.kernels.small_matrices import cholesky, log_determinant, solve_positive_definite
from latentgate.models.unconstrained import constrain, unconstrain

from ..oracles import gaussian_chain as oracle
from .linear_table import LENGTHS, linear_models, start

pytestmark = pytest.mark.usefixtures("float64")

with jax.enable_x64(True):
    ROWS = linear_models()
LINEAR = lg.dynamics.Linear


@eqx.filter_jit
def asked(model, params, data, steps):
    """Log-joint, the smoother, and the parameters after `steps` M-steps of that one E-step."""
    smoothed = model.potentials(params, data).smooth()
    new = jax.lax.fori_loop(0, steps, lambda _, now: model.m_step(now, data, smoothed), params)
    return smoothed.log_normaliser.sum() + model.log_prior(params), smoothed, new


@eqx.filter_jit
def slope(model, params, data):
    """Gradient of the log-joint in unconstrained space."""
    priors = model.priors()

    def log_joint(free):
        natural = constrain(priors, free)
        return model.potentials(natural, data).log_normaliser().sum() + model.log_prior(natural)

    return jax.grad(log_joint)(unconstrain(priors, params))


@eqx.filter_jit
def expected(model, params, data, moments, noisy):
    """Q and its gradient in unconstrained space."""
    priors = model.priors()
    value, gradient = jax.value_and_grad(lambda free: expected_log_joint(model, constrain(priors, free), data, moments, noisy))(unconstrain(priors, params))
    return value, gradient


def expected_log_joint(model, params, data, moments, noisy):
    """E[log p(latents, observations, parameters)] given moments of the latents [sequence, time, ...]; latents not in `noisy` follow exactly."""
    chain, (means, covariances, lagged) = model.potentials(params, data), moments
    second = covariances + means[..., :, None] * means[..., None, :]
    offset = means[:, 0] - chain.initial_mean
    first = covariances[:, 0] + offset[..., :, None] * offset[..., None, :]
    total = model.log_prior(params) + density(chain.initial_covariance, first).sum()

    matrix, bias = chain.matrix, chain.bias
    turned = jnp.swapaxes(matrix, -1, -2)
    moved = means[:, 1:] - jnp.einsum("...ij,...j->...i", matrix, means[:, :-1])
    crossed = matrix @ lagged + moved[..., :, None] * bias[..., None, :]
    errors = second[:, 1:] + matrix @ second[:, :-1] @ turned - crossed - jnp.swapaxes(crossed, -1, -2) + bias[..., :, None] * bias[..., None, :]
    real = jnp.asarray(data.mask)
    noise = jnp.where(real[:, 1:, None, None], chain.covariance, jnp.eye(means.shape[-1]))
    each = density(noise[..., noisy, :][..., noisy], errors[..., noisy, :][..., noisy])
    total = total + jnp.where(real[:, 1:], each, 0.0).sum()

    nodes, observed = chain.nodes, jnp.asarray(data.observed)
    told = nodes.covariance if nodes.variances is None else jnp.diag(nodes.variances)
    residual = jnp.where(observed, nodes.values - nodes.bias - means @ nodes.matrix.T, 0.0)
    both = observed[..., :, None] & observed[..., None, :]
    errors = jnp.where(both, residual[..., :, None] * residual[..., None, :] + nodes.matrix @ covariances @ nodes.matrix.T, 0.0)
    each = density(jnp.where(both, told, jnp.eye(len(told))), errors) + 0.5 * jnp.log(2 * jnp.pi) * (~observed).sum(-1)
    return total + each.sum()


def density(covariance, scatter):
    """Normal log-density, expected, of an error with this second moment."""
    size = scatter.shape[-1]
    factor = cholesky(covariance)
    spread = jnp.trace(solve_positive_definite(factor, scatter), axis1=-2, axis2=-1)
    return -0.5 * (size * jnp.log(2 * jnp.pi) + log_determinant(factor) + spread)


class Bench:
    """A row of the table, its parameters, and what the joint normal says of them, each sequence alone and without padding."""

    def __init__(self, name: str):
        self.row = ROWS[name]
        self.model, self.data = self.row.model, jax.tree.map(jnp.asarray, self.row.data)
        self.params = start(self.row)

    def asked(self, params=None, data=None, steps: int = 1):
        return asked(self.model, self.params if params is None else params, self.data if data is None else data, jnp.asarray(steps))

    def expected(self, params):
        return expected(self.model, params, self.data, self.moments, np.array(self.row.noisy))

    @cached_property
    def answers(self) -> list[oracle.Answer]:
        chain = self.model.potentials(self.params, self.data)
        nodes = chain.nodes
        noise = np.asarray(nodes.covariance if nodes.variances is None else np.diag(nodes.variances))
        found = []
        for index, length in enumerate(LENGTHS):

            def own(array, rank, index=index, length=length):
                array = np.asarray(array)
                return array if array.ndim == rank else array[index][: length - (rank == 2 or array.shape[1] < self.data.max_length)]

            found.append(
                oracle.observed_chain(
                    np.asarray(chain.initial_mean), np.asarray(chain.initial_covariance), own(chain.matrix, 2), own(chain.bias, 1), own(chain.covariance, 2),
                    np.asarray(self.data.values)[index, :length], np.asarray(nodes.matrix), own(nodes.bias, 1), noise, np.asarray(self.data.observed)[index, :length],
                )
            )  # fmt: skip
        return found

    @cached_property
    def moments(self):
        """Means [S, T, d], covariances [S, T, d, d] and lagged moments [S, T-1, d, d], zero at padding."""
        longest = max(LENGTHS)

        def padded(arrays, steps):
            return jnp.asarray(np.stack([np.pad(array, [(0, steps - len(array)), *[(0, 0)] * (array.ndim - 1)]) for array in arrays]))

        return (
            padded([answer.smoothed_means for answer in self.answers], longest),
            padded([answer.smoothed_covariances for answer in self.answers], longest),
            padded([answer.lagged_moments for answer in self.answers], longest - 1),
        )


@cache
def bench(name: str) -> Bench:
    return Bench(name)


def largest(gradient) -> float:
    return max(float(jnp.abs(value).max()) for value in gradient.values())


@pytest.mark.parametrize("name", ROWS)
def test_likelihood_and_smoother_are_those_of_the_joint_normal(name):
    one = bench(name)
    _, smoothed, _ = one.asked()
    np.testing.assert_allclose(smoothed.log_normaliser, [answer.log_normaliser for answer in one.answers], rtol=1e-10)
    means, covariances, lagged = one.moments
    np.testing.assert_allclose(smoothed.means, means, atol=1e-9)
    np.testing.assert_allclose(np.broadcast_to(smoothed.covariances, covariances.shape), covariances, atol=1e-9)
    np.testing.assert_allclose(smoothed.lagged_moments, lagged if smoothed.lagged_moments.ndim == 4 else lagged.sum(1), atol=1e-8)


@pytest.mark.parametrize("name", ["free", "full noise, missing", "differential equation", "structural"])
def test_the_gradient_of_the_log_joint_is_that_of_the_expected_log_joint(name):
    """Fisher's identity."""
    one = bench(name)
    gradient, wanted = slope(one.model, one.params, one.data), one.expected(one.params)[1]
    for key, value in wanted.items():
        np.testing.assert_allclose(gradient[key], value, rtol=1e-8, atol=1e-8 * largest(wanted), err_msg=key)


@pytest.mark.parametrize("name", ROWS)
def test_m_step_climbs_to_the_top_of_the_expected_log_joint(name):
    """In closed form at once, numerically step by step; and never downwards."""
    one = bench(name)
    before, slopes = one.expected(one.params)
    after, left = one.expected(one.asked()[-1])
    assert after > before
    if not one.row.closed:
        better, left = one.expected(one.asked(steps=8)[-1])
        assert better > after - 1e-9
    assert largest(left) < (1e-8 if one.row.closed else 1e-4) * largest(slopes)


@pytest.mark.parametrize("name", ROWS)
def test_em_never_lowers_the_log_joint(name):
    one = bench(name)
    params, heights = one.params, []
    for _ in range(8):
        value, *_, params = one.asked(params)
        heights.append(float(value))
    assert (np.diff(heights) > 0).all()


@pytest.mark.parametrize("name", ROWS)
def test_what_is_masked_has_no_influence(name):
    one = bench(name)
    observed, real = np.asarray(one.data.observed), np.asarray(one.data.mask)
    garbage = np.random.default_rng(3).normal(scale=1e3, size=observed.shape)
    spoiled = dataclasses.replace(
        one.data,
        values=jnp.asarray(np.where(observed, one.data.values, garbage)),
        inputs={key: jnp.asarray(np.where(real[..., None], value, 7.0)) for key, value in one.data.inputs.items()},
    )
    for clean, dirty in zip(jax.tree.leaves(one.asked()), jax.tree.leaves(one.asked(data=spoiled)), strict=True):
        np.testing.assert_allclose(dirty, clean, rtol=1e-12, atol=1e-12)
