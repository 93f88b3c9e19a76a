"""First and second derivatives of the log-normaliser against enumeration and finite differences."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from latentgate import kernels
from tests.kernels.chains import SEMIRINGS, WAYS, log_probs, quick_jit
from tests.oracles import discrete_chain as oracle

pytestmark = pytest.mark.usefixtures("float64")

every_way = pytest.mark.parametrize("way", WAYS, ids="-".join)
STATES, STEPS = 2, 4
SHAPES = {
    "constant": ((STATES,), (STATES, STATES), (STEPS, STATES)),
    "per-step": ((STATES,), (STEPS - 1, STATES, STATES), (STEPS, STATES)),
}
ORDERS = {
    "hessian": jax.hessian,
    "forward-forward": lambda f: jax.jacfwd(jax.jacfwd(f)),
    "forward-reverse": lambda f: jax.jacfwd(jax.jacrev(f)),
    "reverse-forward": lambda f: jax.jacrev(jax.jacfwd(f)),
    "reverse-reverse": lambda f: jax.jacrev(jax.jacrev(f)),
}


def unflatten(flat, kind: str):
    sizes = [int(np.prod(shape)) for shape in SHAPES[kind]]
    parts = jnp.split(flat, np.cumsum(sizes)[:-1])
    return tuple(part.reshape(shape) for part, shape in zip(parts, SHAPES[kind], strict=True))


def flatten(parts) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in parts])


@functools.lru_cache
def value_of(kind: str, way: tuple[str, str]):
    """The log-normaliser as a function of one vector of all potentials and of the length."""

    def value(flat, length):
        return kernels.log_normaliser(*unflatten(flat, kind), length, semiring=way[0], backend=way[1])

    return value


@functools.lru_cache
def gradient_of(kind: str, way: tuple[str, str]):
    """Batches of vectors to their values and gradients, compiled once."""
    return quick_jit(jax.vmap(jax.value_and_grad(value_of(kind, way)), in_axes=(0, None)))


def draw(kind: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return flatten(rng.normal(scale=1.5, size=shape) for shape in SHAPES[kind])


KIND_WAYS = [("per-step", way) for way in WAYS] + [("constant", WAYS[0]), ("constant", WAYS[2])]


@pytest.mark.parametrize(("kind", "way"), KIND_WAYS, ids=str)
def test_gradient_against_finite_differences(kind, way):
    for length in (STEPS, 3, 1):
        flat = draw(kind, length)
        step = 1e-4
        shifts = step * np.eye(len(flat))
        points = np.concatenate([flat + shifts, flat - shifts, flat[None]])
        values, gradients = (np.asarray(part) for part in gradient_of(kind, way)(points, length))
        count = len(flat)
        differences = (values[:count] - values[count : 2 * count]) / (2 * step)
        assert_allclose(gradients[-1], differences, rtol=0, atol=3e-8)


@functools.lru_cache
def second_order_of(kind: str, way: tuple[str, str]):
    """Second derivatives in every order, and a first one forward and reverse, compiled together."""
    value = value_of(kind, way)
    orders = ORDERS if way[1] == "sequential" else {"forward-reverse": ORDERS["forward-reverse"]}

    def program(flat, direction, length):
        hessians = {name: order(value)(flat, length) for name, order in orders.items()}
        forward = jax.jvp(lambda x: value(x, length), (flat,), (direction,))
        result, pull = jax.vjp(lambda x: value(x, length), flat)
        return hessians, forward, (result, pull(jnp.ones(()))[0] @ direction)

    return quick_jit(program)


@pytest.mark.parametrize(("kind", "way"), KIND_WAYS, ids=str)
def test_second_derivatives(kind, way):
    """The covariance of the indicators of states and transitions, whichever way it is differentiated."""
    flat, direction = draw(kind, 7), draw(kind, 8)
    step = 1e-4
    shifts = step * np.eye(len(flat))
    for length in (STEPS, 3):
        truth = oracle.statistics_covariance(*(np.asarray(part) for part in unflatten(flat, kind)), length)
        _, gradients = gradient_of(kind, way)(np.concatenate([flat + shifts, flat - shifts, flat[None]]), length)
        gradients = np.asarray(gradients)
        differences = (gradients[: len(flat)] - gradients[len(flat) : -1]) / (2 * step)
        hessians, forward, reverse = second_order_of(kind, way)(flat, direction, length)
        for name, found in hessians.items():
            assert_allclose(found, truth, rtol=0, atol=1e-11, err_msg=name)
            assert_allclose(found, found.T, rtol=0, atol=1e-13, err_msg=name)
            assert_allclose(found, differences, rtol=0, atol=3e-8, err_msg=name)
        assert_allclose(forward, reverse, rtol=1e-13)


@every_way
def test_second_derivatives_where_potentials_are_minus_infinity(way):
    """A forbidden move, a forbidden first state and an observed one: zero rows, finite everywhere."""
    initial, edges, nodes = (np.array(part) for part in unflatten(draw("per-step", 3), "per-step"))
    initial[1] = -np.inf
    edges[1, 0, 1] = -np.inf
    nodes[3, 0] = -np.inf
    flat = flatten((initial, edges, nodes))
    truth = oracle.statistics_covariance(initial, edges, nodes)
    _, gradient = gradient_of("per-step", way)(flat[None].repeat(2 * len(flat) + 1, axis=0), STEPS)
    one = oracle.enumerate_chain(initial, edges, nodes)
    assert_allclose(gradient[0], flatten((one.marginals[0], one.pair_marginals, one.marginals)), atol=1e-12)
    hessians, forward, reverse = second_order_of("per-step", way)(flat, draw("per-step", 4), STEPS)
    assert_allclose(forward, reverse, rtol=1e-13)
    for name, found in hessians.items():
        assert_allclose(found, truth, rtol=0, atol=1e-11, err_msg=name)


@every_way
def test_derivatives_of_impossible_data_are_zero(way):
    initial, edges, nodes = (np.array(part) for part in unflatten(draw("per-step", 5), "per-step"))
    nodes[2] = -np.inf
    flat = flatten((initial, edges, nodes))
    hessians, forward, reverse = second_order_of("per-step", way)(flat, draw("per-step", 6), STEPS)
    assert forward[0] == reverse[0] == -np.inf
    assert forward[1] == reverse[1] == 0
    for name, found in hessians.items():
        assert not np.any(found), name


@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_gradient_of_some_arguments_only(semiring):
    """What is not differentiated, plain NumPy included, changes nothing."""
    parts = [np.asarray(part) for part in unflatten(draw("constant", 4), "constant")]
    one = oracle.enumerate_chain(*parts, 3)
    truth = [one.marginals[0], one.expected_transitions, one.marginals]
    function = functools.partial(kernels.log_normaliser, lengths=3, semiring=semiring)
    choices = ((0,), (1,), (2,), (0, 2), (1, 2))
    gradients = quick_jit(lambda *parts: [jax.grad(function, argnums=chosen)(*parts) for chosen in choices])(*parts)
    for chosen, gradient in zip(choices, gradients, strict=True):
        for found, index in zip(gradient, chosen, strict=True):
            assert_allclose(found, truth[index], atol=1e-12)
    # Held in the closure they are constants to the tracer.
    alone = quick_jit(jax.grad(lambda nodes: function(parts[0], parts[1], nodes)))(parts[2])
    assert_allclose(alone, truth[2], atol=1e-12)


@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_gradient_through_the_parameters_of_a_model(semiring):
    """A Poisson model with softmax transitions: the chain rule across the kernel, batched and padded."""
    rng = np.random.default_rng(0)
    counts, lengths = rng.poisson(2.0, size=(3, 8)), np.array([8, 5, 2])

    def log_likelihood(parameters):
        log_rates = parameters["log_rates"]
        nodes = counts[..., None] * log_rates - jnp.exp(log_rates)
        edges = jax.nn.log_softmax(parameters["logits"], axis=-1)
        return kernels.log_normaliser(jnp.full(3, -jnp.log(3.0)), edges, nodes, lengths, semiring=semiring).sum()

    parameters = {"log_rates": rng.normal(size=3), "logits": rng.normal(size=(3, 3))}
    gradient = quick_jit(jax.grad(log_likelihood))(parameters)
    evaluate = quick_jit(jax.vmap(log_likelihood))
    for name, values in parameters.items():
        step = 1e-4
        shifts = step * np.eye(values.size).reshape(-1, *values.shape)
        stacked = {other: np.repeat(held[None], 2 * values.size, axis=0) for other, held in parameters.items()}
        stacked[name] = np.concatenate([values + shifts, values - shifts])
        found = np.asarray(evaluate(stacked))
        differences = (found[: values.size] - found[values.size :]) / (2 * step)
        assert_allclose(gradient[name].ravel(), differences, rtol=0, atol=3e-7)


def test_gradient_of_a_batch_is_the_batch_of_gradients():
    """Per-sequence cotangents weigh each sequence's own statistics; no sequence leaks into another."""
    rng = np.random.default_rng(1)
    initial, edges = log_probs(rng, 3, 2), log_probs(rng, 2, 2)
    nodes, lengths, weights = rng.normal(size=(3, 4, 2)), np.array([4, 2, 3]), np.array([1.0, -2.0, 0.0])

    def weighted(initial, edges, nodes):
        return weights @ kernels.log_normaliser(initial, edges, nodes, lengths)

    found = quick_jit(jax.grad(weighted, argnums=(0, 1, 2)))(initial, edges, nodes)
    truth = [oracle.enumerate_chain(initial[b], edges, nodes[b], lengths[b]) for b in range(3)]
    weighed = list(zip(weights, truth, strict=True))
    assert_allclose(found[0], [weight * one.marginals[0] for weight, one in weighed], atol=1e-12)
    assert_allclose(found[1], sum(weight * one.expected_transitions for weight, one in weighed), atol=1e-12)
    assert_allclose(found[2], [weight * one.marginals for weight, one in weighed], atol=1e-12)
