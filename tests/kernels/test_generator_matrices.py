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
    flashing_ratchet,
    gradient_in_free_matrix,
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


def gradient_of(method: Callable) -> Callable:
    def weighted(generators, gaps, weights):
        return jnp.sum(weights * method(generators, gaps, jnp.arange(len(gaps))))

    return jax.jit(jax.grad(weighted))


GRADIENTS = {name: gradient_of(method) for name, method in METHODS.items()}


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
    gaps, weights = gaps_of(generator), np.random.default_rng(0).normal(size=(len(EXPECTED_JUMPS), 4, 4))
    # A row of the table of gaps to each generator, all of them the same: the derivative of every gap by itself.
    found = GRADIENTS[method](np.stack([generator] * len(gaps)), gaps, weights)
    for gap, weight, derivative in zip(gaps, weights, found, strict=True):
        expected = gradient_in_free_matrix(generator, gap, weight)
        assert_allclose(derivative, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("method", METHODS)
def test_expected_jumps_and_times_are_derivatives(method):
    generator, gap = GENERATORS["absorbing"], 1.7
    blocks, sums = end_conditioned_by_blocks(generator, gap), end_conditioned_by_sums(generator, gap)
    assert_allclose(blocks.times, sums.times, atol=1e-14)
    assert_allclose(blocks.jumps, sums.jumps, atol=1e-14)
    assert_allclose(blocks.times.sum(-1), gap * blocks.transition, atol=1e-14)
    for i in range(4):
        ends = np.eye(16).reshape(4, 4, 4, 4)[i]
        weights = np.concatenate([ends, np.zeros((3, 4, 4))])
        derivatives = np.asarray(GRADIENTS[method](np.stack([generator] * 7), np.full(7, gap), weights))[:4]
        assert_allclose(np.einsum("jkk->jk", derivatives), blocks.times[i], rtol=1e-12, atol=1e-15)
        assert_allclose(derivatives * generator * (1 - np.eye(4)), blocks.jumps[i], rtol=1e-12, atol=1e-15)


def test_scaling_sees_the_longest_path_in_the_shortest_gap():
    """Twenty-nine jumps within a thousandth of a stay: improbable, and not impossible."""
    generator = progressive(30)
    found = jax.jit(scaling.transition_matrices)(generator[None], np.array([1e-3]))[0, 0]
    assert_allclose(found, transition_matrix(generator, 1e-3)[0], rtol=1e-12)


def test_scaling_has_second_derivatives_under_vmap():
    generator = jnp.asarray(GENERATORS["four states"])

    def total(point):
        speed, stretch, first = point
        return jnp.sum(jnp.sin(scaling.transition_matrices(speed * generator[None], jnp.array([first, *(stretch * jnp.array([0.2, 1.0, 9.0]))]))))

    def gradient_twice(point):
        gradient = jax.grad(total)(point)
        return gradient, gradient

    point, step = jnp.array([1.0, 1.3, 0.0]), 1e-4
    units = step * jnp.eye(3)[:2]
    # The last has many more squarings than the others.
    points = jnp.concatenate([point + units, point - units, point[None], 50 * point[None]])
    hessians, gradients = jax.jit(jax.vmap(jax.jacfwd(gradient_twice, has_aux=True)))(points)
    assert_allclose(hessians[4, :2], (gradients[:2] - gradients[2:4]) / (2 * step), rtol=1e-6, atol=1e-8)
    assert_allclose(hessians[4], hessians[4].T, rtol=1e-10)
    assert np.isfinite(hessians).all()
    # The first gap is zero, where the transition matrix is the identity and its derivative the generator.
    assert_allclose(gradients[4, 2], jnp.sum(jnp.cos(jnp.eye(4)) * generator), rtol=1e-12)


def test_scaling_skips_squarings_under_vmap():
    """A `lax.cond` whose condition is mapped becomes a select, which would run all sixty-four levels."""
    mapped = jax.vmap(jax.grad(lambda q: jnp.sum(scaling.transition_matrices(q[None], jnp.ones(3)) ** 2)))
    assert "cond[" in str(jax.make_jaxpr(mapped)(np.stack([GENERATORS["four states"], GENERATORS["two speeds"]])))


@pytest.mark.parametrize("method", METHODS)
def test_no_rate_is_too_high(method):
    with jax.enable_x64(False):
        gaps = jnp.array([0.0, 1e-30, 1.0, 1e8])
        total = jax.jit(jax.value_and_grad(lambda q: jnp.sum(METHODS[method](q[None], gaps))))
        for rate in (1e8, 1e25):
            value, derivative = total(jnp.asarray(rate * flashing_ratchet(1.0), jnp.float32))
            assert_allclose(value, 24.0, rtol=1e-5)
            assert np.isfinite(derivative).all()


@pytest.mark.parametrize("size", [2, 20])
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


def gradient_of_exchange(matrices: Callable) -> Callable:
    def weighted(law, exchange, gaps, weights):
        return jnp.sum(weights * matrices(law, exchange, gaps, jnp.array([0, 1, 1, 0])))

    return jax.jit(jax.grad(weighted, argnums=(0, 1, 2)))


BY_EIGENVALUES = gradient_of_exchange(reversible.transition_matrices)
BY_SCALING = gradient_of_exchange(lambda law, exchange, gaps, index: scaling.transition_matrices(reversible.generator(law, exchange), gaps, index))


@pytest.mark.parametrize("ties", [False, True])
def test_reversible_derivatives_hold_at_ties(ties):
    stationary, symmetric = (np.full(4, 0.25), np.ones((4, 4))) if ties else exchanged(4)
    weights = np.random.default_rng(0).normal(size=(4, 4, 4))
    arguments = np.stack([stationary, stationary]), np.stack([symmetric, 3 * symmetric]), np.array([0.0, 0.05, 1.0, 10.0]), weights
    for found, expected in zip(BY_EIGENVALUES(*arguments), BY_SCALING(*arguments), strict=True):
        assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_reversible_refuses_second_derivatives():
    stationary, symmetric = exchanged(4)
    with pytest.raises(NotImplementedError, match=r"scaling\.transition_matrices"):
        jax.make_jaxpr(jax.hessian(lambda scale: jnp.sum(reversible.transition_matrices(stationary[None], scale * symmetric[None], np.ones(1)))))(1.0)


def test_reversible_in_batches():
    stationary, symmetric = exchanged(4)
    gaps = jnp.array([0.3, 2.0])
    laws, exchanges = np.stack([stationary, stationary[::-1]])[:, None], np.stack([symmetric, 2 * symmetric])[:, None]
    together = jax.jit(reversible.transition_matrices)(laws, exchanges, gaps)
    mapped = jax.jit(jax.vmap(lambda law, exchange: reversible.transition_matrices(law, exchange, gaps)))(laws, exchanges)
    assert_allclose(together, mapped, rtol=1e-13)


def test_the_oracle_of_panels_counts_a_last_jump():
    """Two states, one absorbing at rate r: the density of an entry at t is r exp(-r t), however it is recorded."""
    generator = np.array([[-0.7, 0.7], [0.0, 0.0]])
    seen = np.array([[1.0, 0.0], [0.0, 1.0]])
    for kind, expected in [(0, np.log(-np.expm1(-0.7 * 2))), (1, np.log(0.7) - 1.4), (2, np.log(0.7) - 1.4)]:
        assert_allclose(panel_log_likelihood(generator, [1.0, 3.0], [0, kind], seen, np.array([1.0, 0.0])), expected, rtol=1e-12)
