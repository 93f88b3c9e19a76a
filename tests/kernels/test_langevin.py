"""What one path of the underdamped flow must be: the formulas, reversibility, energy, precision, derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from latentgate.kernels.langevin import flow
from tests.oracles import langevin as oracles

pytestmark = pytest.mark.usefixtures("float64")

STIFFNESS = np.array([[2.0, 0.8], [0.8, 1.2]])
NUM_STEPS, BATCH = 64, 3
STEP, FRICTION, TEMPERATURE = 0.13, np.array([0.7, 1.9]), np.array([0.6, 1.4])


def force(position, row):
    """Of U = ½ zᵀ K z + ¼ Σ w z⁴ - p · z, with weights w of the quartic and a push p that may change with time."""
    return -position @ STIFFNESS.astype(position.dtype) - row["weights"] * position**3 + row["push"]


@jax.jit
def drive(position, velocity, noise, rows, step, friction, temperature):
    return flow(force, position, velocity, noise, rows, step=step, friction=friction, temperature=temperature)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    rows = {"weights": rng.uniform(0.2, 1.0, (NUM_STEPS + 1, 2)), "push": rng.normal(size=(NUM_STEPS + 1, 1, 2))}
    return *rng.normal(size=(2, BATCH, 2)), rng.normal(size=(NUM_STEPS, BATCH, 2)), rows


def as_list(rows):
    return [{name: values[t] for name, values in rows.items()} for t in range(NUM_STEPS + 1)]


def reversed_in_time(rows):
    return {name: values[::-1] for name, values in rows.items()}


def shifted(part, way, width):
    return jax.tree.map(lambda leaf, direction: leaf + width * direction, part, way)


def test_path_against_plain_formulas(case):
    """Forces that change with time included: the kicks before and after a position use what its own time has."""
    position, velocity, noise, rows = case
    expected = oracles.path(lambda z, row: -force(z, row), position, velocity, noise, as_list(rows), STEP, FRICTION, TEMPERATURE)
    found = drive(position, velocity, noise, rows, STEP, FRICTION, TEMPERATURE)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == (NUM_STEPS + 1, BATCH, 2)
        assert_allclose(one, other, rtol=0, atol=1e-12)


def test_path_without_rows_and_of_one_dimension():
    noise = np.random.default_rng(1).normal(size=(5, 1))
    expected = oracles.path(lambda z, _: 2.0 * z, np.ones(1), np.zeros(1), noise, [None] * 6, 0.2, np.array(0.5), np.array(0.3))
    found = flow(lambda z, _: -2.0 * z, jnp.ones(1), jnp.zeros(1), jnp.asarray(noise), step=0.2, friction=jnp.array(0.5), temperature=jnp.array(0.3))
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=0, atol=1e-14)


def test_steering_adds_to_the_noise(case):
    """What is added reads positions and velocities before the step, and the rows of the time after it."""
    position, velocity, noise, rows = case
    matrices = np.random.default_rng(8).normal(size=(2, 2, 2))

    def steer(position, velocity, row):
        return (position @ matrices[0] + velocity @ matrices[1]) * row["push"]

    arguments = {"step": STEP, "friction": jnp.asarray(FRICTION), "temperature": jnp.asarray(TEMPERATURE)}
    found = jax.jit(lambda *given: flow(force, *given, steer=steer, **arguments))(position, velocity, noise, rows)
    positions, velocities = (np.asarray(part) for part in found)
    added = steer(positions[:-1], velocities[:-1], {"push": rows["push"][1:]})
    assert np.abs(added).max() > 1
    expected = oracles.path(lambda z, row: -force(z, row), position, velocity, noise + added, as_list(rows), STEP, FRICTION, TEMPERATURE)
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=0, atol=1e-11)


def test_path_in_single_precision(case):
    """64 steps, each of whose roundings grows at most with time: some tens of units in the last place of numbers below 10."""
    expected = drive(*case, STEP, FRICTION, TEMPERATURE)
    found = drive(*jax.tree.map(np.float32, (*case, STEP, FRICTION, TEMPERATURE)))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float32
        assert_allclose(one, other, rtol=0, atol=2e-5)


def test_weak_friction_in_single_precision(case):
    """A friction of 1e-8 a step stirs by √(2 γ τ Δ), which 1 - exp(-2 γ Δ) loses wholly in single precision; 1e-5 is some hundred roundings of its size."""
    position, velocity, noise, rows = case
    still = jax.tree.map(np.zeros_like, rows)
    arguments = np.zeros_like(position), np.zeros_like(velocity), noise, still, 1e-3, np.full(2, 1e-5), np.full(2, 1.0)
    _, found = drive(*jax.tree.map(np.float32, arguments))
    _, expected = drive(*arguments)
    stirred = np.sqrt(2 * 1e-5 * 1e-3) * np.cumsum(noise, 0)
    size = np.abs(stirred).max()
    assert_allclose(found[1:], expected[1:], rtol=0, atol=1e-5 * size)
    # Over 0.064 units of time K moves velocities by no more than a half of 0.064² times its largest eigenvalue 2.5, below one per cent.
    assert_allclose(expected[1:], stirred, rtol=0, atol=0.01 * size)


def test_noise_free_path_goes_back(case):
    """No friction: the path from the last point with its velocity turned, with forces in reverse order, ends at the first point, turned."""
    position, velocity, noise, rows = case
    free = STEP, np.zeros(2), np.zeros(2)
    positions, velocities = drive(position, velocity, noise, rows, *free)
    back, turned = drive(positions[-1], -velocities[-1], noise, reversed_in_time(rows), *free)
    assert np.abs(positions[-1] - position).max() > 0.1
    assert_allclose(back, positions[::-1], rtol=0, atol=1e-12)
    assert_allclose(-turned, velocities[::-1], rtol=0, atol=1e-12)


def test_path_with_noise_goes_back(case):
    """Friction and noise turn (ε, v⁺ / √τ) into (ε', v* / √τ): with noise ε' = (c v* - v⁺) / √(τ (1 - c²)) the turned path goes back.

    So the densities of a path and of its reverse differ by the heat Σ (v*² - v⁺²) / 2 τ alone: detailed balance of a step, exact for any potential.
    """
    position, velocity, noise, rows = case
    arguments = STEP, FRICTION, TEMPERATURE
    positions, velocities = (np.asarray(part) for part in drive(position, velocity, noise, rows, *arguments))
    pulls = np.array([force(z, row) for z, row in zip(positions, as_list(rows), strict=True)])
    kicked, mixed = velocities[:-1] + STEP / 2 * pulls[:-1], velocities[1:] - STEP / 2 * pulls[1:]
    kept = np.exp(-FRICTION * STEP)
    turned_noise = (kept * mixed - kicked) / np.sqrt(TEMPERATURE * (1 - kept**2))
    back, turned = drive(positions[-1], -velocities[-1], turned_noise[::-1], reversed_in_time(rows), *arguments)
    # Friction that is undone makes roundings grow along the way: by exp(γ t) at most, but mixing with noise holds them.
    assert_allclose(back, positions[::-1], rtol=0, atol=1e-11)
    assert_allclose(-turned, velocities[::-1], rtol=0, atol=1e-11)
    assert_allclose(turned_noise**2 - noise**2, (kicked**2 - mixed**2) / TEMPERATURE, rtol=0, atol=1e-11)


def test_energy_of_the_noise_free_map():
    """Its error does not grow with time, and falls as the square of the step; noise is there but has no effect without friction."""
    steps = 0.2 / 2.0 ** np.arange(4)
    noise = jnp.asarray(np.random.default_rng(2).normal(size=(4096, 2)))
    weights, position, velocity = (jnp.array(part) for part in ([0.5, 1.0], [1.2, -0.4], [0.3, 0.9]))

    def errors(step):
        positions, velocities = flow(
            lambda z, _: -z @ STIFFNESS - weights * z**3,
            position,
            velocity,
            noise,
            step=step,
            friction=jnp.zeros(2),
            temperature=jnp.ones(2),
        )
        energy = 0.5 * jnp.sum(velocities**2, -1) + 0.5 * jnp.sum(positions * (positions @ STIFFNESS), -1) + 0.25 * jnp.sum(weights * positions**4, -1)
        return energy - energy[0]

    found = np.abs(jax.jit(jax.vmap(errors))(steps))
    # Along a quarter of the path, itself tens of periods, the largest error is as large as along all of it, but for how near an orbit comes to its extreme.
    assert_allclose(found[:, -1024:].max(1), found[:, 1:1025].max(1), rtol=0.1)
    orders = np.log2(found.max(1)[:-1] / found.max(1)[1:])
    assert_allclose(orders, 2.0, rtol=0, atol=0.05)


def test_derivatives_of_a_path(case):
    """With respect to what shapes force, friction, temperature, noise, start and step, against central differences."""
    rng = np.random.default_rng(3)
    position, velocity, noise, rows = case
    parts = {"start": (position, velocity), "noise": noise, "force": rows, "friction": FRICTION, "temperature": TEMPERATURE, "step": np.array(STEP)}
    weights = rng.normal(size=(2, NUM_STEPS + 1, BATCH, 2))

    def value(parts):
        found = drive(*parts["start"], parts["noise"], parts["force"], parts["step"], parts["friction"], parts["temperature"])
        return (weights[0] * jnp.tanh(found[0])).sum() + (weights[1] * jnp.tanh(found[1])).sum()

    gradient = jax.jit(jax.grad(value))(parts)
    evaluate = jax.jit(value)
    for name, part in parts.items():
        way = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), part)
        along = sum(np.vdot(slope, direction) for slope, direction in zip(jax.tree.leaves(gradient[name]), jax.tree.leaves(way), strict=True))
        # Central differences of fourth order: their own error is far below 1e-6 with a width of 1e-4.
        one, two = (
            (evaluate({**parts, name: shifted(part, way, width)}) - evaluate({**parts, name: shifted(part, way, -width)})) / (2 * width)
            for width in (1e-4, 2e-4)
        )
        assert abs(along) > 0.1, name
        assert_allclose(along, (4 * one - two) / 3, rtol=1e-6, err_msg=name)
