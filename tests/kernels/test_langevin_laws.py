"""Laws of the underdamped flow in a quadratic potential, where a step is a linear map and they are exact: no tolerance for the step but where it is named."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from latentgate.kernels.langevin import flow
from tests.oracles import langevin as oracles

pytestmark = pytest.mark.usefixtures("float64")

# Correlated, with eigenvalues 0.71 and 2.49.
STIFFNESS = np.array([[2.0, 0.8], [0.8, 1.2]])
STEP, FRICTION, TEMPERATURE = 0.1, 1.0, 0.7


@jax.jit
def drive(stiffness, position, velocity, noise, step, friction, temperature):
    return flow(lambda z, _: -z @ stiffness, position, velocity, noise, step=step, friction=friction, temperature=temperature)


def linear_step(stiffness, step, friction, temperature):
    """A and B of x' = A x + B ε by what one step of the flow does to each unit vector."""
    units = np.eye(6)
    friction, temperature = (np.broadcast_to(part, 2).astype(float) for part in (friction, temperature))
    positions, velocities = drive(stiffness, units[:, :2], units[:, 2:4], units[None, :, 4:], float(step), friction, temperature)
    columns = np.concatenate([positions[1], velocities[1]], 1).T
    return columns[:, :4], columns[:, 4:]


def oscillator(stiffness, step, friction, temperature):
    """A [2, 2] and B [2, 1] in one dimension."""
    matrix, entry = linear_step(np.diag([stiffness, 1.0]), step, friction, temperature)
    return matrix[::2, ::2], entry[::2, :1]


@pytest.mark.parametrize("friction", [FRICTION, np.array([0.3, 4.0])])
@pytest.mark.parametrize("temperature", [TEMPERATURE, np.array([0.2, 1.5])])
@pytest.mark.parametrize("step", [0.1, 0.8])
def test_step_is_the_product_of_its_stages(friction, temperature, step):
    found, expected = (make(STIFFNESS, step, friction, temperature) for make in (linear_step, oracles.linear_step))
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=0, atol=1e-14)


@pytest.mark.parametrize("friction", [FRICTION, np.array([0.3, 4.0])])
@pytest.mark.parametrize("step", [0.1, 0.4, 0.8, 1.2])
def test_stationary_positions_are_exact(friction, step):
    """Whatever the step below 2 / ω: covariance τ K⁻¹ of positions, none with velocities, and τ (I - Δ² K / 4) of velocities, with one temperature.

    Source: Leimkuhler, Matthews, J. Chem. Phys. 138 (2013) 174102, for positions in one dimension.
    """
    found = oracles.stationary_covariance(*linear_step(STIFFNESS, step, friction, TEMPERATURE))
    none = np.zeros((2, 2))
    expected = np.block([[TEMPERATURE * np.linalg.inv(STIFFNESS), none], [none, TEMPERATURE * (np.eye(2) - step**2 / 4 * STIFFNESS)]])
    assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_stable_up_to_twice_the_inverse_frequency():
    """As the docstring of the flow says."""
    limit = 2 / np.sqrt(np.linalg.eigvalsh(STIFFNESS)[-1])
    inside, outside = (np.abs(np.linalg.eigvals(linear_step(STIFFNESS, factor * limit, FRICTION, TEMPERATURE)[0])).max() for factor in (0.999, 1.001))
    assert inside < 1 < outside


@pytest.mark.parametrize("step", [0.1, 0.8])
def test_detailed_balance(step):
    """Cov(x', x) = R Cov(x', x)ᵀ R with velocities turned by R, exactly, in the stationary law of the splitting, which R leaves alone.

    A step is a half flow, the mixing, and the turned inverse of that half flow, and the mixing is balanced: so no error in the step. With two temperatures
    heat flows from one dimension to the other, and the law says so.
    """
    turn = np.diag([1.0, 1, -1, -1])
    asymmetries = {}
    for name, temperature in (("one", TEMPERATURE), ("two", np.array([0.2, 1.5]))):
        matrix, entry = linear_step(STIFFNESS, step, np.array([0.3, 4.0]), temperature)
        covariance = oracles.stationary_covariance(matrix, entry)
        across = matrix @ covariance
        asymmetries[name] = max(np.abs(across - turn @ across.T @ turn).max(), np.abs(covariance - turn @ covariance @ turn).max())
    assert asymmetries["one"] < 1e-13
    assert asymmetries["two"] > 1e-3


def test_autocorrelation_of_a_damped_oscillator():
    """Positions and velocities are uncorrelated, so the autocorrelation is the noise-free path from (1, 0); its largest error falls as Δ²."""
    stiffness, friction, horizon = 1.7, 0.6, 8.0
    counts = 2 ** np.arange(5, 10)
    start, still, frictions = jnp.array([1.0]), jnp.zeros((counts[-1], 1)), jnp.array([friction])

    def positions(step):
        return flow(lambda z, _: -stiffness * z, start, jnp.zeros(1), still, step=step, friction=frictions, temperature=jnp.ones(1))[0][:, 0]

    paths = np.asarray(jax.jit(jax.vmap(positions))(horizon / counts))
    errors = []
    for count, path in zip(counts, paths, strict=True):
        times = np.arange(count + 1) * horizon / count
        errors.append(np.abs(path[: count + 1] - oracles.damped_oscillator(times, stiffness, friction)).max())
        matrix, entry = oscillator(stiffness, horizon / count, friction, 1.0)
        covariance = oracles.stationary_covariance(matrix, entry)
        lagged = np.linalg.matrix_power(matrix, 12) @ covariance
        assert_allclose(path[12], lagged[0, 0] / covariance[0, 0], rtol=0, atol=1e-12)
    assert errors[-1] < 1e-3
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    # The next term is of fourth order: (ω Δ)² / 20 or so relative to the first, 0.005 for the largest step of 0.25.
    assert_allclose(orders, 2.0, rtol=0, atol=0.02)


def test_long_simulation():
    """Covariance (τ K⁻¹, τ I) to 2 %; and, to its own accuracy, covariance and autocovariance of the splitting."""
    num_paths, length, lags = 4000, 100, (5, 15, 40)
    rng = np.random.default_rng(4)
    position = velocity = np.zeros((num_paths, 2))
    products, across = [], {lag: [] for lag in lags}
    arguments = STEP, np.full(2, FRICTION), np.full(2, TEMPERATURE)
    for block in range(17):
        positions, velocities = drive(STIFFNESS, position, velocity, rng.normal(size=(length, num_paths, 2)), *arguments)
        position, velocity = positions[-1], velocities[-1]
        # After 30 units of time the start at rest is forgotten to exp(-30).
        if block >= 3:
            states = np.concatenate([positions[1:], velocities[1:]], -1).transpose(1, 2, 0)
            products.append(states @ states.transpose(0, 2, 1) / length)
            for lag in lags:
                across[lag].append(states[:, :, lag:] @ states[:, :, :-lag].transpose(0, 2, 1) / (length - lag))
    matrix, entry = oracles.linear_step(STIFFNESS, STEP, np.array(FRICTION), np.array(TEMPERATURE))
    covariance = oracles.stationary_covariance(matrix, entry)
    means = {lag: np.mean(each, 0) for lag, each in ((0, products), *across.items())}
    for lag, each in means.items():
        # Paths are independent, so their spread gives the standard error. At most 58 numbers within five: a false alarm in 3e-5 of keys.
        error = each.std(0) / np.sqrt(num_paths)
        assert (np.abs(each.mean(0) - np.linalg.matrix_power(matrix, lag) @ covariance) < 5 * error).all(), lag
    none = np.zeros((2, 2))
    law = np.block([[TEMPERATURE * np.linalg.inv(STIFFNESS), none], [none, TEMPERATURE * np.eye(2)]])
    sizes = np.sqrt(np.outer(np.diag(law), np.diag(law)))
    # Standard errors are below 0.3 %, and velocities are 0.5 % short by their Δ² K / 4: 2 % is another five standard errors away.
    assert (means[0].std(0) / np.sqrt(num_paths) / sizes).max() < 3e-3
    assert (np.abs(means[0].mean(0) - law) < 0.02 * sizes).all()


def test_strong_friction_meets_the_overdamped_law():
    """Over t = γ s with D = τ / γ: mean exp(-k s) z₀ and variance (τ / k) (1 - exp(-2 k s)), but for a difference that falls as 1 / γ²."""
    stiffness, time, start = 1.3, 0.7, 2.0
    expected = np.array([np.exp(-stiffness * time) * start, (1 - np.exp(-2 * stiffness * time)) / stiffness])
    differences = []
    for friction in (8, 16, 32, 64):
        # The friction of a step falls as 1 / γ, so that what the step costs falls as 1 / γ² too.
        count = 2 * friction**3
        matrix, entry = oscillator(stiffness, friction * time / count, friction, 1.0)
        stationary, power = oracles.stationary_covariance(matrix, entry), np.linalg.matrix_power(matrix, count)
        covariance = stationary - power @ (stationary - np.diag([0.0, 1.0])) @ power.T
        differences.append(np.abs([power[0, 0] * start, covariance[0, 0]] - expected))
    orders = np.log2(np.array(differences[:-1]) / differences[1:])
    assert (np.array(differences[-1]) < 1e-3).all()
    assert_allclose(orders[-1], 2.0, rtol=0, atol=0.02)


@pytest.mark.parametrize("friction", [0.1, 1.0, 5.0])
def test_free_diffusion_is_fast_where_a_step_has_much_friction(friction):
    """Without a force D is (τ / γ) (γ Δ / 2) coth(γ Δ / 2), not τ / γ: stationary laws are exact at any γ Δ, times only for a small one (8 % off at one)."""
    matrix, entry = oscillator(0.0, 1.0, friction, TEMPERATURE)
    covariance = np.zeros((2, 2))
    for _ in range(600):
        last, covariance = covariance, matrix @ covariance @ matrix.T + entry @ entry.T
    assert_allclose((covariance - last)[0, 0] / 2, TEMPERATURE / 2 / np.tanh(friction / 2), rtol=1e-12)


def test_strong_order_in_closed_form():
    """Driven by its own Brownian path, a step misses only the area between path and chord, √(2 γ τ / 12) Δ^(3/2) in position: order one, and the constant."""
    stiffness, friction, horizon = 2.0, 1.0, 2.0
    counts = [16, 32, 64, 128, 256]
    errors = np.array(
        [oracles.strong_error(*oscillator(stiffness, horizon / n, friction, TEMPERATURE), stiffness, friction, TEMPERATURE, n, horizon) for n in counts]
    )
    orders = np.log2(errors[:-1] / errors[1:])
    assert_allclose(orders, 1.0, rtol=0, atol=0.01)
    limit = oracles.leading_strong_error(stiffness, friction, TEMPERATURE, horizon)
    assert_allclose(errors[-1] * counts[-1] / horizon, limit, rtol=1e-4)
