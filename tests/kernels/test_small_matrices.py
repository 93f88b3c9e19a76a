"""Own small-matrix kernels against NumPy and SciPy, and their derivatives against finite differences and closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

from latentgate.kernels.conditional_gaussian import condition
from latentgate.kernels.small_matrices import (
    cholesky,
    inverse,
    log_determinant,
    solve,
    solve_positive_definite,
    solve_triangular,
    square_root,
    triangularise,
)

pytestmark = pytest.mark.usefixtures("float64")

SHAPES = [(1,), (4, 3), (2, 3, 13)]


def positive_definite(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    *batch, size = shape
    rows = np.random.default_rng(seed).normal(size=(*batch, size, size + 2))
    return rows @ rows.swapaxes(-1, -2)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_numpy_agrees(shape):
    matrices = positive_definite(shape)
    right = np.random.default_rng(1).normal(size=(*shape, 2))
    factor = cholesky(jnp.asarray(matrices))
    truth = np.linalg.cholesky(matrices)
    assert_allclose(factor, truth, rtol=1e-12, atol=1e-13)
    assert_array_equal(factor, np.tril(factor))
    assert_allclose(solve_triangular(factor, right), np.linalg.solve(truth, right), rtol=1e-10, atol=1e-11)
    assert_allclose(solve_triangular(factor, right, transposed=True), np.linalg.solve(truth.swapaxes(-1, -2), right), rtol=1e-10, atol=1e-11)
    assert_allclose(solve_positive_definite(factor, right), np.linalg.solve(matrices, right), rtol=1e-9, atol=1e-10)
    assert_allclose(inverse(factor), np.linalg.inv(matrices), rtol=1e-9, atol=1e-10)
    assert_allclose(log_determinant(factor), np.linalg.slogdet(matrices)[1], rtol=1e-12, atol=1e-12)


def test_leading_dimensions_broadcast_in_solves():
    factor = cholesky(positive_definite((4, 3)))
    right = np.random.default_rng(2).normal(size=(5, 1, 3, 2))
    found = solve_triangular(factor, right)
    assert found.shape == (5, 4, 3, 2)
    assert_allclose(factor @ found, np.broadcast_to(right, found.shape), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "matrix",
    [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, 1.0]], [[np.nan, 0.0], [0.0, 1.0]]],
    ids=["indefinite", "singular", "zero pivot", "negative", "not a number"],
)
def test_what_is_not_positive_definite_is_not_a_number_and_spoils_no_neighbour(matrix):
    good = np.array([[4.0, 2.0], [2.0, 10.0]])
    factor = cholesky(jnp.asarray([good, matrix, good]))
    assert np.isnan(factor[1]).all()
    assert np.isnan(log_determinant(factor)[1])
    assert_array_equal(factor[0], [[2.0, 0.0], [1.0, 3.0]])
    assert_array_equal(factor[2], factor[0])


def test_no_jitter():
    """A matrix of condition number 1e12 keeps its determinant, which any addition to its diagonal would spoil."""
    matrix = jnp.array([[1.0, 1.0 - 1e-12], [1.0 - 1e-12, 1.0]])
    assert_allclose(log_determinant(cholesky(matrix)), np.log(2e-12), rtol=1e-5)


def assert_differentiable(function, *arguments):
    """Reverse mode against central differences, forward over reverse against differences of the gradient; one random direction."""
    rng = np.random.default_rng(5)
    mix = jnp.asarray(rng.normal(size=jax.eval_shape(function, *arguments).shape))
    direction = tuple(jnp.asarray(rng.normal(size=argument.shape)) for argument in arguments)
    gradient = jax.jit(jax.grad(lambda *x: jnp.sum(mix * function(*x)), argnums=tuple(range(len(arguments)))))
    curve = jax.jit(lambda step: function(*(x + step * d for x, d in zip(arguments, direction, strict=True))))
    step = 1e-5
    numerical = jnp.sum(mix * (curve(step) - curve(-step))) / (2 * step)
    analytical = sum(jnp.vdot(g, d) for g, d in zip(gradient(*arguments), direction, strict=True))
    assert_allclose(analytical, numerical, rtol=1e-7)
    ahead, behind = (gradient(*(x + s * d for x, d in zip(arguments, direction, strict=True))) for s in (step, -step))
    second = jax.jvp(gradient, arguments, direction)[1]
    for found, high, low in zip(second, ahead, behind, strict=True):
        assert_allclose(found, (high - low) / (2 * step), rtol=1e-5, atol=1e-5 * float(jnp.abs(found).max()))


def test_derivatives_by_finite_differences():
    matrices = jnp.asarray(positive_definite((2, 4)))
    right = jnp.asarray(np.random.default_rng(3).normal(size=(2, 4, 3)))
    assert_differentiable(cholesky, matrices)
    assert_differentiable(lambda a, b: solve_triangular(a, solve_triangular(a, b, True)), cholesky(matrices), right)


def test_gradient_of_the_log_determinant_is_the_inverse():
    matrices = jnp.asarray(positive_definite((3, 13)))
    gradient = jax.grad(lambda a: log_determinant(cholesky(a)).sum())(matrices)
    assert_allclose(gradient, np.linalg.inv(matrices), rtol=1e-8, atol=1e-10)


def test_mapping_and_compiling_change_nothing():
    matrices = jnp.asarray(positive_definite((3, 2, 5)))
    right = jnp.ones((3, 2, 5, 1))

    def solve(matrix, right):
        return solve_positive_definite(cholesky(matrix), right)

    assert_allclose(jax.jit(jax.vmap(solve))(matrices, right), solve(matrices, right), rtol=1e-13)


def test_no_linear_algebra_library_is_called():
    """LAPACK calls in one program can deadlock; see the module."""
    matrices = jnp.asarray(positive_definite((3, 13)))
    program = jax.jit(jax.value_and_grad(lambda a: log_determinant(cholesky(a)).sum() + inverse(cholesky(a)).sum())).lower(matrices).as_text()
    assert "lapack" not in program
    assert "custom_call" not in program


def test_float32():
    matrices = positive_definite((4, 6)).astype(np.float32)
    factor = cholesky(jnp.asarray(matrices))
    assert factor.dtype == jnp.float32
    assert_allclose(factor @ factor.swapaxes(-1, -2), matrices, rtol=1e-5, atol=1e-5)


def test_conditioning_is_the_textbook_formula():
    rng = np.random.default_rng(4)
    mean, covariance, values = rng.normal(size=5), positive_definite((5,)), rng.normal(size=5)
    observed = np.array([[False, True, False, True, True], [True] * 5, [False] * 5])
    found = condition(jnp.asarray(mean), jnp.asarray(covariance), jnp.asarray(values), jnp.asarray(observed))
    for row, seen in enumerate(observed):
        if seen.any():
            truth = scipy.stats.multivariate_normal(mean[seen], covariance[np.ix_(seen, seen)]).logpdf(values[seen])
            assert_allclose(found.log_density[row], truth, rtol=1e-12)
        gain = covariance[:, seen] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
        assert_allclose(found.mean[row], np.where(seen, values, mean + gain @ (values - mean)[seen]), rtol=1e-12)
        rest = covariance - gain @ covariance[seen]
        rest[seen], rest[:, seen] = 0.0, 0.0
        assert_allclose(found.covariance[row], rest, rtol=1e-11, atol=1e-12)
    assert found.log_density[2] == 0.0


def test_conditioning_has_derivatives_where_entries_are_missing():
    covariance, values = jnp.asarray(positive_definite((3,))), jnp.array([0.3, -1.0, 2.0])
    observed = jnp.array([True, False, True])
    assert_differentiable(lambda mean, covariance: condition(mean, covariance, values, observed).log_density, jnp.zeros(3), covariance)


def test_conditioning_on_what_is_not_positive_definite_is_not_a_number():
    found = condition(jnp.zeros(2), jnp.array([[1.0, 2.0], [2.0, 1.0]]), jnp.zeros(2), jnp.array([True, True]))
    assert np.isnan(found.log_density)


def test_square_roots_of_singular_matrices():
    rng = np.random.default_rng(7)
    roots = rng.normal(size=(400, 6, 6)) * np.arange(6) ** 0.5
    singular = roots[:, :, :3] @ roots[:, :, :3].swapaxes(-1, -2)
    found = square_root(singular)
    assert_allclose(found @ found.swapaxes(-1, -2), singular, atol=1e-12 * np.abs(singular).max())
    graded = np.diag([1e7, 0.0, 1e-9])
    root = square_root(graded)
    assert_allclose(root @ root.T, graded, rtol=1e-15)
    assert_array_equal(square_root(np.zeros((2, 2))), np.zeros((2, 2)))


@pytest.mark.parametrize("matrix", [[[1.0, 2.0], [2.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, -1e-3]], [[np.nan, 0.0], [0.0, 1.0]]], ids=str)
def test_what_has_no_square_root_is_not_a_number(matrix):
    assert np.isnan(square_root(jnp.asarray(matrix))).all()


def test_triangularisation_keeps_the_product_also_without_full_rank():
    rows = np.random.default_rng(8).normal(size=(3, 4, 7))
    rows[1, 2] = rows[1, 0] - rows[1, 1]
    rows[2, 0] = 0.0
    found = triangularise(rows)
    assert_array_equal(found, np.tril(found))
    assert_allclose(found @ found.swapaxes(-1, -2), rows @ rows.swapaxes(-1, -2), atol=1e-13)


def test_triangularisation_does_not_square():
    """Squares of the second row's own part, 1e-20, would be lost beside one."""
    rows = np.array([[1.0, 0.0], [1.0, 1e-10]])
    assert_allclose(np.abs(np.asarray(triangularise(rows))[1, 1]), 1e-10, rtol=1e-5)


def test_general_solves_pivot():
    rng = np.random.default_rng(9)
    matrices, right = rng.normal(size=(5, 6, 6)), rng.normal(size=(5, 6, 2))
    matrices[0, 0, 0] = 0.0
    solution, log_volume = solve(matrices, right)
    assert_allclose(matrices @ solution, right, atol=1e-11)
    assert_allclose(log_volume, np.linalg.slogdet(matrices)[1], rtol=1e-11)
