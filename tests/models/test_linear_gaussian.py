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
import pytest

from latentgate.kernels.small_matrices import cholesky, log_determinant, solve_positive_definite
from latentgate.models.linear.canonical import change_basis
from latentgate.models.unconstrained import constrain, unconstrain

from ..inference.test_priors_matter import other_prior, priors_of, replaced
from ..oracles import gaussian_chain as oracle
from .linear_table import LENGTHS, linear_models, start

pytestmark = pytest.mark.usefixtures("float64")

with jax.enable_x64(True):
    ROWS = linear_models()


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

            first = (np.asarray(chain.initial_mean), np.asarray(chain.initial_covariance))
            edges = (own(chain.matrix, 2), own(chain.bias, 1), own(chain.covariance, 2))
            values, observed = (np.asarray(array)[index, :length] for array in (self.data.values, self.data.observed))
            found.append(oracle.observed_chain(*first, *edges, values, np.asarray(nodes.matrix), own(nodes.bias, 1), noise, observed))
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


@pytest.mark.parametrize("name", ["free", "differential equation"])
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


PRIORS = [pytest.param(name, path, id=f"{path[-1]} in {name}") for name, row in ROWS.items() for path, _ in priors_of(row.model)]


def test_the_table_has_every_place_for_a_prior():
    assert {case.values[1][-1] for case in PRIORS} == {"matrix_prior", "covariance_prior", "noise_prior", "variance_prior"}
    assert len(PRIORS) == 10


@pytest.mark.parametrize(("name", "path"), PRIORS)
def test_a_prior_moves_the_gradient_and_the_m_step(name, path):
    one = bench(name)
    other = replaced(one.model, path, other_prior(dict(priors_of(one.model))[path]))
    slopes = jax.jit(jax.grad(lambda params: other.log_prior(params) - one.model.log_prior(params)))(one.params)
    moved = [key for key, value in slopes.items() if float(jnp.abs(value).max()) > 1e-6]
    assert len(moved) == 1
    new, old = asked(other, one.params, one.data, jnp.asarray(1))[-1], one.asked()[-1]
    assert float(jnp.abs(new[moved[0]] - old[moved[0]]).max()) > 1e-4


@pytest.mark.parametrize("name", ["free", "differential equation", "structural"])
def test_simulated_data_have_the_moments_of_the_joint_normal(name):
    """Means and covariances, lags included, of latents and observations together: no more than 5 standard errors off.

    At most 700 numbers a model, three models: a false alarm once in 800 keys, and the key is fixed.
    """
    one, length, count = bench(name), 5, 4000
    inputs = [np.random.default_rng(0).normal(size=(length, 2))] * count if "inputs" in one.data.inputs else None
    times = [[0.0, 0.3, 1.5, 1.6, 4.0]] * count
    drawn, latents = one.model.simulate(jax.random.key(4), one.params, [length] * count, inputs, times)
    found = np.concatenate([np.stack(latents).reshape(count, -1), np.asarray(drawn.values).reshape(count, -1)], 1)

    chain = one.model.potentials(one.params, drawn.select([0]))
    nodes = chain.nodes
    edges = [
        np.asarray(array) if np.ndim(array) == rank else np.asarray(array)[0] for array, rank in ((chain.matrix, 2), (chain.bias, 1), (chain.covariance, 2))
    ]
    arithmetic = oracle.Arithmetic(None)
    mean, covariance = oracle.latent_joint(arithmetic, np.asarray(chain.initial_mean), np.asarray(chain.initial_covariance), *edges, length)
    design = np.concatenate([np.eye(len(mean)), np.kron(np.eye(length), np.asarray(nodes.matrix))])
    told = nodes.covariance if nodes.variances is None else np.diag(np.asarray(nodes.variances))
    noise = np.zeros((len(design), len(design)))
    noise[len(mean) :, len(mean) :] = np.kron(np.eye(length), np.asarray(told))
    offset = np.concatenate([np.zeros(len(mean)), np.broadcast_to(np.asarray(nodes.bias).reshape(-1, len(told)), (length, len(told))).ravel()])
    wanted = (design @ covariance @ design.T).astype(float) + noise
    variances = np.diagonal(wanted)
    np.testing.assert_array_less(np.abs(found.mean(0) - offset - (design @ mean).astype(float)), 5 * np.sqrt(variances / count))
    errors = np.sqrt((np.outer(variances, variances) + wanted**2) / count)
    np.testing.assert_array_less(np.abs(np.cov(found.T, bias=True) - wanted), 5 * errors)


@pytest.mark.parametrize("name", ["conjugate priors", "full noise"])
def test_the_canonical_basis_is_one_and_the_same_from_every_basis(name):
    one = bench(name)
    model = one.model
    turned = change_basis(one.params, np.random.default_rng(8).normal(size=(2, 2)))
    canonical, other = model.canonical(one.params), model.canonical(turned)
    for key, value in canonical.items():
        np.testing.assert_allclose(other[key], value, rtol=1e-8, atol=1e-10, err_msg=key)
        np.testing.assert_allclose(model.canonical(canonical)[key], value, rtol=1e-10, atol=1e-12, err_msg=key)
    for params in (turned, canonical):
        log_likelihood = one.asked({key: jnp.asarray(value) for key, value in params.items()})[1].log_normaliser
        np.testing.assert_allclose(log_likelihood, one.asked()[1].log_normaliser, rtol=1e-10)
    np.testing.assert_allclose(canonical["dynamics.covariance"], np.eye(2), atol=1e-12)
    matrix = canonical["emission.matrix"]
    noise = canonical["emission.covariance"]
    noise = np.diag(noise) if noise.ndim == 1 else noise
    strength = matrix.T @ np.linalg.solve(noise, matrix)
    np.testing.assert_allclose(strength - np.diag(np.diagonal(strength)), 0.0, atol=1e-10 * strength.max())
    assert strength[0, 0] > strength[1, 1] > 0
    assert (matrix[np.abs(matrix).argmax(0), [0, 1]] > 0).all()
    assert np.abs(canonical["dynamics.matrix"] - np.asarray(one.params["dynamics.matrix"])).max() > 0.01


@pytest.mark.parametrize("name", ["free", "given", "other priors", "rotations", "differential equation", "structural"])
def test_no_canonical_basis_where_structure_fixes_one(name):
    with pytest.raises(ValueError, match="basis is fixed by its structure"):
        bench(name).model.canonical(bench(name).params)


def test_a_singular_noise_has_no_canonical_basis():
    one = bench("conjugate priors")
    with pytest.raises(ValueError, match=r"dynamics\.covariance: found a singular matrix"):
        one.model.canonical({**one.params, "dynamics.covariance": jnp.zeros((2, 2))})


def test_an_input_that_is_always_zero_stops_no_other_from_being_fitted():
    one = bench("free")
    silent = dataclasses.replace(one.data, inputs={"inputs": one.data.inputs["inputs"].at[..., 1].set(0.0)})
    new = one.asked(data=silent)[-1]
    for name in ("dynamics.input_weights", "emission.input_weights"):
        assert (np.abs(new[name] - one.params[name])[:, 0] > 1e-3).all()
        np.testing.assert_array_equal(new[name][:, 1], one.params[name][:, 1])
    for name in ("dynamics.matrix", "emission.matrix"):
        assert (np.abs(new[name] - one.params[name]) > 1e-6).all()
