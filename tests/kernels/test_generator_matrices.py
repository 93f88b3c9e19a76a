"""Transition matrices of jump processes: every method, on every generator, against exact arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from latentgate.kernels.generators import reversible, scaling, uniformisation
from tests.oracles.jump_process import (
    end_conditioned_by_blocks,
    end_conditioned_by_sums,
    exponential_of_free_matrix,
    flashing_ratchet,
    panel_log_likelihood,
    transition_matrix,
)

pytestmark = pytest.mark.usefixtures("float64")

# Expected jumps Λt of the gaps of every table entry, from no time at all to far beyond mixing.
EXPECTED_JUMPS = np.array([0.0, 1e-3, 0.2, 3.0, 40.0, 1e3, 1e5])


def of_rates(rates: np.ndarray) -> np.ndarray:
    rates = rates * (1 - np.eye(len(rates)))
    return rates - np.diag(rates.sum(1))


def random(size: int, spread: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(size)
    return of_rates(generator.gamma(1.0, 1.0, (size, size)) * 10.0 ** generator.uniform(-spread, spread, (size, size)))


def progressive(size: int) -> np.ndarray:
    """Equal rates onward: one Jordan block, without a basis of eigenvectors."""
    return of_rates(np.eye(size, k=1))


def exchanged(size: int) -> tuple[np.ndarray, np.ndarray]:
    """A stationary law and a symmetric exchange."""
    generator = np.random.default_rng(size)
    symmetric = generator.gamma(1.0, 1.0, (size, size))
    return generator.dirichlet(np.full(size, 2.0)), symmetric + symmetric.T


GENERATORS = {
    "two states": random(2),
    "four states": random(4),
    "twenty states": random(20),
    "progressive": progressive(4),
    "long progressive": progressive(20),
    "absorbing": of_rates(np.array([[0, 1, 0.2, 0], [0.3, 0, 1, 0], [0, 0, 0, 0], [0, 0.5, 0, 0]])),
    "two speeds": of_rates(np.array([[0, 1e4, 0, 0], [2e4, 0, 0.3, 0], [0, 0.1, 0, 5e4], [0, 0, 3e4, 0]])),
    "all speeds": random(6, spread=4),
    "flashing ratchet": flashing_ratchet(1.0),
    "nothing happens": np.zeros((2, 2)),
}
METHODS: dict[str, Callable] = {"uniformisation": jax.jit(uniformisation.transition_matrices), "scaling": jax.jit(scaling.transition_matrices)}


def gaps_of(generator: np.ndarray) -> np.ndarray:
    return EXPECTED_JUMPS / (np.max(-np.diag(generator)) or 1.0)


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    return {name: np.stack([transition_matrix(generator, gap) for gap in gaps_of(generator)]) for name, generator in GENERATORS.items()}


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("method", METHODS)
def test_every_entry_is_right_to_its_own_rounding(method, name, truth):
    generator = GENERATORS[name]
    found = np.asarray(METHODS[method](generator[None], gaps_of(generator)))
    assert_allclose(found, truth[name], rtol=1e-12, atol=1e-200)
    assert_allclose(found.sum(-1), 1.0, rtol=1e-14)
    assert_array_equal(found[0], np.eye(len(generator)))


@pytest.mark.parametrize("method", METHODS)
def test_single_precision(method, truth):
    with jax.enable_x64(False):
        for name in ("four states", "two speeds", "absorbing"):
            generator = GENERATORS[name]
            found = np.asarray(METHODS[method](np.float32(generator)[None], np.float32(gaps_of(generator))))
            assert found.dtype == np.float32
            assert_allclose(found, truth[name], atol=1e-6)
            assert_allclose(found.sum(-1), 1.0, atol=5e-7)
            assert found.min() >= 0


@pytest.mark.parametrize("method", METHODS)
def test_a_generator_to_each_gap_and_one_to_many(method, truth):
    names = ["four states", "progressive", "absorbing", "two speeds"]
    generators = np.stack([GENERATORS[name] for name in names])
    index = np.array([1, 0, 2, 3, 3, 2, 1])
    gaps = np.array([gaps_of(generators[g])[u] for u, g in enumerate(index)])
    expected = np.stack([truth[names[g]][u] for u, g in enumerate(index)])
    assert_allclose(METHODS[method](generators, gaps, index), expected, rtol=1e-12, atol=1e-200)


@pytest.mark.parametrize("name", ["four states", "progressive", "absorbing", "two speeds"])
@pytest.mark.parametrize("method", METHODS)
def test_derivative_in_the_free_matrix(method, name):
    generator = GENERATORS[name]
    weights = np.random.default_rng(0).normal(size=(len(EXPECTED_JUMPS), 4, 4))
    found = jax.jit(jax.jacrev(lambda q: jnp.sum(weights * METHODS[method](q[None], gaps_of(generator)), (1, 2))))(generator)
    for gap, weight, derivative in zip(gaps_of(generator), weights, found, strict=True):
        # The adjoint of the derivative at Q is the derivative at Qᵀ, which is a block of a larger exponential.
        joint = np.block([[generator.T, weight], [np.zeros((4, 4)), generator.T]])
        for k in range(4):
            joint[k, k] = joint[4 + k, 4 + k] = 0.0
            joint[k, k] = joint[4 + k, 4 + k] = -joint[:4, k].sum()
        expected = exponential_of_free_matrix(joint, gap)[:4, 4:]
        assert_allclose(derivative, expected, rtol=0, atol=1e-11 * max(np.abs(expected).max(), 1e-300))


@pytest.mark.parametrize("method", METHODS)
def test_expected_jumps_and_times_are_derivatives(method):
    generator, gap = GENERATORS["absorbing"], 1.7
    blocks, sums = end_conditioned_by_blocks(generator, gap), end_conditioned_by_sums(generator, gap)
    assert_allclose(blocks.times, sums.times, atol=1e-14)
    assert_allclose(blocks.jumps, sums.jumps, atol=1e-14)
    assert_allclose(blocks.times.sum(-1), gap * blocks.transition, atol=1e-14)
    derivatives = np.asarray(jax.jit(jax.jacrev(lambda q: METHODS[method](q[None], jnp.array([gap]))[0]))(generator))
    assert_allclose(np.einsum("ijkk->ijk", derivatives), blocks.times, rtol=1e-12, atol=1e-15)
    assert_allclose(derivatives * generator * (1 - np.eye(4)), blocks.jumps, rtol=1e-12, atol=1e-15)


def test_scaling_has_all_derivatives():
    generator = jnp.asarray(GENERATORS["four states"])

    def total(scales):
        gaps = scales[1] * jnp.array([0.0, 0.2, 1.0, 9.0]) + jnp.array([1.0, 0.0, 0.0, 0.0]) * (scales[1] - 1.3)
        return jnp.sum(jnp.sin(scaling.transition_matrices(scales[0] * generator[None], gaps)))

    point = jnp.array([1.0, 1.3])
    gradient, hessian = jax.jit(jax.grad(total)), jax.jit(jax.hessian(total))
    step = 1e-4
    numerical = jnp.stack([(gradient(point + step * unit) - gradient(point - step * unit)) / (2 * step) for unit in jnp.eye(2)])
    # The first gap is zero at this point, where the difference of gradients would reach gaps below zero.
    assert_allclose(hessian(point)[:, 0], numerical[0], rtol=1e-5)
    first = jax.jit(jax.grad(lambda gap: scaling.transition_matrices(generator[None], gap[None])[0, 0, 1]))
    assert_allclose(first(0.0), generator[0, 1], rtol=1e-14)
    assert_allclose(jax.jit(jax.jacfwd(total))(point), gradient(point), rtol=1e-12)
    several = jnp.stack([point, 50 * point])
    assert_allclose(jax.jit(jax.vmap(jax.grad(total)))(several), [gradient(scales) for scales in several], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_no_rate_is_too_high(method):
    with jax.enable_x64(False):
        gaps = jnp.array([0.0, 1e-30, 1.0, 1e8])
        total = jax.jit(jax.value_and_grad(lambda q: jnp.sum(METHODS[method](q[None], gaps))))
        for rate in (1e8, 1e25):
            value, derivative = total(jnp.asarray(rate * flashing_ratchet(1.0), jnp.float32))
            assert_allclose(value, 24.0, rtol=1e-5)
            assert np.isfinite(derivative).all()


@pytest.mark.parametrize("size", [2, 4, 20])
def test_reversible(size):
    stationary, symmetric = exchanged(size)
    generator = np.asarray(reversible.generator(stationary, symmetric))
    flow = stationary[:, None] * generator
    assert_allclose(flow, flow.T, rtol=1e-13, atol=1e-15)
    gaps = gaps_of(generator)
    expected = np.stack([transition_matrix(generator, gap) for gap in gaps])
    found = np.asarray(jax.jit(reversible.transition_matrices)(stationary[None], symmetric[None], gaps))
    assert_allclose(found, expected, atol=1e-12)
    assert found.min() >= 0
    assert_allclose(found.sum(-1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("ties", [False, True])
def test_reversible_derivatives_hold_at_ties(ties):
    stationary, symmetric = (np.full(4, 0.25), np.ones((4, 4))) if ties else exchanged(4)
    gaps = jnp.array([0.0, 0.05, 1.0, 10.0])
    index = jnp.array([0, 1, 1, 0])
    weights = np.random.default_rng(0).normal(size=(4, 4, 4))

    def gradient(matrices):
        return jax.jit(jax.grad(lambda law, exchange, gaps: jnp.sum(weights * matrices(law, exchange, gaps)), argnums=(0, 1, 2)))

    by_eigenvalues = gradient(lambda law, exchange, gaps: reversible.transition_matrices(law, exchange, gaps, index))
    by_scaling = gradient(lambda law, exchange, gaps: scaling.transition_matrices(reversible.generator(law, exchange), gaps, index))
    arguments = np.stack([stationary, stationary]), np.stack([symmetric, 3 * symmetric]), gaps
    for found, expected in zip(by_eigenvalues(*arguments), by_scaling(*arguments), strict=True):
        assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
    with pytest.raises(NotImplementedError, match="scaling.transition_matrices"):
        jax.hessian(lambda scale: jnp.sum(reversible.transition_matrices(stationary[None], scale * symmetric[None], gaps)))(1.0)


def test_reversible_in_batches():
    stationary, symmetric = exchanged(4)
    gaps = jnp.array([0.3, 2.0])
    laws, exchanges = np.stack([stationary, stationary[::-1]])[:, None], np.stack([symmetric, 2 * symmetric])[:, None]
    together = reversible.transition_matrices(laws, exchanges, gaps)
    assert_allclose(together, jax.vmap(lambda law, exchange: reversible.transition_matrices(law, exchange, gaps))(laws, exchanges), rtol=1e-13)


def test_the_oracle_of_panels_counts_a_last_jump():
    """Two states, one absorbing at rate r: the density of an entry at t is r exp(-r t), however it is recorded."""
    generator = np.array([[-0.7, 0.7], [0.0, 0.0]])
    seen = np.array([[1.0, 0.0], [0.0, 1.0]])
    for kind, expected in [(0, np.log(-np.expm1(-0.7 * 2))), (1, np.log(0.7) - 1.4), (2, np.log(0.7) - 1.4)]:
        assert_allclose(panel_log_likelihood(generator, [1.0, 3.0], [0, kind], seen, np.array([1.0, 0.0])), expected, rtol=1e-12)
