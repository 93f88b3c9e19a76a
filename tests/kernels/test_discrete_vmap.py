"""`jax.vmap` of the kernels: the answers of one chain after another, and the log semiring still only where there is doubt."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from latentgate import kernels
from tests.kernels.chains import log_probs

pytestmark = pytest.mark.usefixtures("float64")

STATES, STEPS, ROWS, COPIES = 3, 5, 2, 2
LENGTHS = np.array([5, 3])


def potentials(per_step: bool, batched: tuple[bool, bool, bool]):
    """Initial, edges and nodes, each with a leading mapped axis where `batched`."""
    rng = np.random.default_rng(0)
    edges = (ROWS, STEPS - 1, STATES, STATES) if per_step else (STATES, STATES)
    shapes = ((STATES,), edges, (ROWS, STEPS, STATES))
    return [log_probs(rng, *((COPIES, *shape) if mapped else shape)) for shape, mapped in zip(shapes, batched, strict=True)]


def one_by_one(question, arguments, batched):
    answers = [question(*(value[copy] if mapped else value for value, mapped in zip(arguments, batched, strict=True))) for copy in range(COPIES)]
    return jax.tree.map(lambda *rows: np.stack(rows), *answers)


@pytest.mark.parametrize("per_step", [False, True], ids=["constant", "per step"])
@pytest.mark.parametrize("batched", [mapped for mapped in itertools.product([True, False], repeat=3) if any(mapped)], ids=str)
def test_mapped_over_some_arguments(batched, per_step):
    arguments = potentials(per_step, batched)
    axes = tuple(0 if mapped else None for mapped in batched)

    def question(initial, edges, nodes):
        value, gradient = jax.value_and_grad(lambda *chain: kernels.log_normaliser(*chain, LENGTHS).sum(), argnums=(0, 1, 2))(initial, edges, nodes)
        return value, gradient, kernels.smooth(initial, edges, nodes, LENGTHS), kernels.filter(initial, edges, nodes, LENGTHS)

    mapped = jax.jit(jax.vmap(question, axes))(*arguments)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-12, atol=1e-12), mapped, one_by_one(jax.jit(question), arguments, batched))


def test_mapped_twice_with_lengths():
    initial, edges, nodes = potentials(False, (False, True, True))
    lengths = np.array([[5, 3], [1, 4]])

    def question(edges, nodes, lengths):
        return kernels.log_normaliser(initial, edges, nodes, lengths)

    twice = jax.vmap(jax.vmap(question, (None, 0, 0)), (0, None, None))(edges, nodes, lengths)
    for i, j in np.ndindex(COPIES, COPIES):
        assert_allclose(twice[i, j], question(edges[i], nodes[j], lengths[j]), rtol=1e-12)


def test_the_log_semiring_stays_a_branch_that_is_not_taken():
    initial, edges, nodes = potentials(False, (False, True, False))

    def gradient(edges):
        return jax.grad(lambda edges: kernels.log_normaliser(initial, edges, nodes, LENGTHS).sum())(edges)

    for question in (gradient, lambda edges: kernels.smooth(initial, edges, nodes), lambda edges: kernels.filter(initial, edges, nodes)):
        assert "cond[" in str(jax.make_jaxpr(jax.vmap(question))(edges))


def test_underflow_is_seen_in_the_copy_that_has_it():
    rng = np.random.default_rng(1)
    near_deterministic = jnp.array([[0.0, -800.0], [-800.0, 0.0]])
    edges = jnp.stack([log_probs(rng, 2, 2), near_deterministic])
    nodes = jnp.array([[0.0, -900.0], [-900.0, 0.0], [0.0, -900.0]])
    smoothed = jax.vmap(lambda edges: kernels.smooth(jnp.log(jnp.array([0.5, 0.5])), edges, nodes))(edges)
    np.testing.assert_array_equal(smoothed.underflow, [False, True])
    assert np.isfinite(smoothed.log_normaliser[0])
    assert np.isnan(smoothed.log_normaliser[1])
