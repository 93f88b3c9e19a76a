"""Escape from a well of U = h (z² - 1)²: the flow beside Kramers' formula, the exact spectrum, and the overdamped twin on a grid; temperature one."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from latentgate.kernels.langevin import flow
from tests.oracles import langevin as oracles

pytestmark = pytest.mark.usefixtures("float64")

NUM_PATHS, BLOCK = 16_000, 100
GRID = np.linspace(-2.2, 2.2, 221)
SPACING = GRID[1] - GRID[0]


@jax.jit
def drive(height, position, velocity, noise, step, friction):
    positions, velocities = flow(lambda z, _: -4 * height * z * (z**2 - 1), position, velocity, noise, step=step, friction=friction, temperature=jnp.array(1.0))
    return positions[-1], velocities[-1]


def simulate(height: float, friction: float, step: float, blocks: tuple[int, ...], seed: int) -> list[np.ndarray]:
    """Positions after each number of blocks of steps, [path] each, of paths that start at -1 with velocities of the stationary law."""
    rng = np.random.default_rng(seed)
    position, velocity, found = np.full(NUM_PATHS, -1.0), rng.normal(size=NUM_PATHS), []
    for block in range(1, blocks[-1] + 1):
        position, velocity = drive(height, position, velocity, rng.normal(size=(BLOCK, NUM_PATHS)), step, friction)
        if block in blocks:
            found.append(np.asarray(position))
    return found


def decay(early: np.ndarray, late: np.ndarray, time: float) -> tuple[float, float]:
    """Rate at which the mean side, left or right, tends to none, and its standard error: paths are independent, and both means are of the same ones."""
    sides = [np.sign(early), np.sign(late)]
    ratio = sides[1] / sides[1].mean() - sides[0] / sides[0].mean()
    return -math.log(sides[1].mean() / sides[0].mean()) / time, float(ratio.std() / math.sqrt(NUM_PATHS) / time)


def generator(height: float) -> np.ndarray:
    return oracles.grid_generator(height * (GRID**2 - 1) ** 2, SPACING, 1.0)


@functools.cache
def spectrum(height: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Square root of the stationary law, up to a factor, rates, slowest first, and vectors of the generator with D = 1 in its symmetric form."""
    root = np.exp(-height * (GRID**2 - 1) ** 2 / 2)
    values, vectors = np.linalg.eigh(root[:, None] * generator(height) / root)
    return root, -values[::-1], vectors[:, ::-1]


def law_on_grid(height: float, diffusion: float, time: float) -> np.ndarray:
    """Probabilities at a time of what starts at -1: the exponential of the generator."""
    root, rates, vectors = spectrum(height)
    start = np.argmin(np.abs(GRID + 1))
    return vectors[start] * np.exp(-rates * diffusion * time) @ vectors.T * root / root[start]


def first_passages(height: float, starts: np.ndarray, end: float) -> np.ndarray:
    return oracles.first_passage_times(lambda z: height * (z**2 - 1) ** 2, starts, end, 1.0)


@functools.cache
def overdamped_rate(height: float) -> float:
    """The slowest rate with D = 1 by the integral of first passage alone: one over the mean time to the top of the barrier from the law in the well that stays.

    That law p meets p(z) ∝ ∫ G(x, z) p(x) dx with the mean time that paths from x spend at z, so the power method on it ends there.
    """
    inside = GRID[GRID < -SPACING / 2]
    density = np.exp(-height * (inside**2 - 1) ** 2)
    # Time at z from x: exp(-Φ(z)) ∫ exp(Φ(y)) dy from the larger of both to 0, by trapezia.
    inverse = np.append(1 / density, math.exp(height))
    ahead = np.cumsum(((inverse[:-1] + inverse[1:]) / 2 * SPACING)[::-1])[::-1]
    spent = density * np.minimum(ahead[:, None], ahead)
    law = density / density.sum()
    for _ in range(60):
        law = law @ spent
        law /= law.sum()
    return float(1 / (law @ first_passages(height, inside, 0.0)))


@pytest.mark.parametrize("height", [1.0, 2.0, 4.0])
def test_grid_generator_against_first_passage(height):
    """Times to the other well by the generator with an absorbing end, and its slowest rate, against the integral: both but for the square of the spacing."""
    for end in (0.0, 1.0):
        inside = end - SPACING / 2 > GRID
        times = np.linalg.solve(-generator(height)[np.ix_(inside, inside)], np.ones(inside.sum()))
        # Second order in the spacing 0.02: (ω h)² / 12, for curvatures ω² up to 32, is one part in a thousand.
        starts = np.flatnonzero(inside & (GRID > -1.3) & (GRID < -0.5))
        assert_allclose(times[starts], first_passages(height, GRID[starts], end), rtol=1e-3)
    rates = spectrum(height)[1]
    assert abs(rates[0]) < 1e-9
    assert_allclose(rates[1], overdamped_rate(height), rtol=1e-3)


def test_underdamped_spectrum_meets_the_grid():
    """γ λ / τ of the exact underdamped spectrum tends to the slowest rate of the grid generator, and the difference falls as 1 / γ²."""
    rates = np.array([oracles.relaxation_rate(2.0, friction, 1.0) * friction for friction in (16.0, 32.0, 64.0, 128.0)])
    # Richardson's limit has no 1 / γ², the grid no less than its spacing allows.
    limit = (4 * rates[-1] - rates[-2]) / 3
    assert_allclose(limit, spectrum(2.0)[1][1], rtol=1e-3)
    orders = np.log2((limit - rates[:-2]) / (limit - rates[1:-1]))
    assert_allclose(orders, 2.0, rtol=0, atol=0.05)


def test_kramers_at_moderate_friction():
    """Barrier of 3.5 temperatures, friction of the frequency at its top: where the formula is off by 5 %, as it is of the order of the temperature over U."""
    height = 3.5
    friction = math.sqrt(4 * height)
    exact = oracles.relaxation_rate(height, friction, 1.0)
    kramers = 2 * oracles.kramers_rate(8 * height, 4 * height, height, friction, 1.0)
    # Known corrections to the formula are about τ / U or less here.
    assert_allclose(kramers, exact, rtol=0.07)
    early, late = simulate(height, friction, 0.05, (1, 6), seed=6)
    found, error = decay(early, late, 25.0)
    assert error < 0.03 * exact
    # Five standard errors: a false alarm in 6e-7 of keys. The step, Δ ω = 0.26, costs less than one of them.
    assert abs(found - exact) < 5 * error
    # What the formula is known to be good for, and five standard errors of below 3 %.
    assert abs(found / kramers - 1) < 0.2


def test_strong_friction_meets_the_grid():
    """Rate and law of positions of the flow with γ = 16, against first passage, and against the exponential of the grid generator."""
    height, friction, step = 2.0, 16.0, 1 / 64
    blocks = (3, 24)
    times = np.array(blocks) * BLOCK * step
    early, late = simulate(height, friction, step, blocks, seed=7)
    found, error = decay(early, late, times[1] - times[0])
    assert error < 0.025 * found
    # Five standard errors: a false alarm in 6e-7 of keys. The step makes diffusion (γ Δ)² / 12 = 0.5 % too fast, a fifth of one.
    assert abs(found - oracles.relaxation_rate(height, friction, 1.0)) < 5 * error
    # And the overdamped limit, 2 % away as 1 / γ² (the spectrum above): 4.5 standard errors beyond, a false alarm in 7e-6 of keys.
    overdamped = overdamped_rate(height) / friction
    assert abs(found / overdamped - 1) < 0.02 + 4.5 * error / overdamped
    for time, positions in zip(times, (early, late), strict=True):
        # Kolmogorov's bound for a false alarm in 1e-6 of keys is √(ln(2e6) / 2 n) = 0.021, and the limit of strong friction is 0.004 away.
        assert distance(positions, law_on_grid(height, 1 / friction, time)) < math.sqrt(math.log(2e6) / 2 / NUM_PATHS) + 0.004
        # It can tell: diffusion a half faster, or wells a half deeper, would be noticed.
        assert distance(positions, law_on_grid(height, 1.5 / friction, time)) > 0.03
        assert distance(positions, law_on_grid(1.5 * height, 1 / friction, time)) > 0.03


def distance(positions: np.ndarray, law: np.ndarray) -> float:
    """Largest difference between the share of paths and the probability left of the borders of the cells of the grid."""
    shares = np.searchsorted(np.sort(positions), GRID + SPACING / 2) / len(positions)
    return float(np.abs(shares - np.cumsum(law)).max())
