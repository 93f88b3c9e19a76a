"""The splitting beside a solver of third strong order of diffrax, along the same Brownian paths."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from latentgate.kernels.langevin import flow
from tests.oracles import langevin as oracles

diffrax = pytest.importorskip("diffrax")
pytestmark = pytest.mark.usefixtures("float64")

HORIZON, NUM_CELLS, NUM_PATHS = 2.0, 256, 4000
STIFFNESS, FRICTION, TEMPERATURE = 1.0, 1.0, 0.8
START = (-0.5, 0.3)
# Half of the paths are in ½ k z², half in ½ k z² + ¼ z⁴.
QUARTIC = np.repeat([0.0, 1.0], NUM_PATHS // 2)


class Increments(diffrax.AbstractBrownianPath):
    """W, H, K of equal cells of time, drawn beforehand, so that both sides read the same: see diffrax on Lévy areas for what H and K are."""

    values: dict
    levy_area = diffrax.SpaceTimeTimeLevyArea

    @property
    def t0(self):
        return 0.0

    @property
    def t1(self):
        return HORIZON

    def evaluate(self, t0, t1=None, left=True, use_levy=False):
        cell = jnp.round(t0 * (NUM_CELLS / HORIZON)).astype(int)
        here = {name: value[cell] for name, value in self.values.items()}
        return diffrax.SpaceTimeTimeLevyArea(dt=t1 - t0, **here) if use_levy else here["W"]


@jax.jit
def reference(values):
    friction, temperature, path = jnp.full(NUM_PATHS, FRICTION), jnp.full(NUM_PATHS, TEMPERATURE), Increments(values)
    drift = diffrax.UnderdampedLangevinDriftTerm(friction, temperature, lambda z, _: (STIFFNESS * z + QUARTIC * z**3) / TEMPERATURE)
    solution = diffrax.diffeqsolve(
        diffrax.MultiTerm(drift, diffrax.UnderdampedLangevinDiffusionTerm(friction, temperature, path)),
        diffrax.QUICSORT(0.01),
        0.0,
        HORIZON,
        HORIZON / NUM_CELLS,
        tuple(jnp.full(NUM_PATHS, value) for value in START),
        adjoint=diffrax.ForwardMode(),
        max_steps=NUM_CELLS,
    )
    return [values[-1] for values in solution.ys]


@jax.jit
def drive(noise, step):
    position, velocity = (jnp.full(NUM_PATHS, value) for value in START)
    positions, velocities = flow(
        lambda z, _: -STIFFNESS * z - QUARTIC * z**3, position, velocity, noise, step=step, friction=jnp.array(FRICTION), temperature=jnp.array(TEMPERATURE)
    )
    return positions[-1], velocities[-1]


def noise_of_steps(values: dict, num_steps: int) -> np.ndarray:
    """∫ exp(-γ (Δ - s)) √(2 γ τ) dW of each step, over its standard deviation √(τ (1 - exp(-2 γ Δ))).

    In a cell of length h, with u = s / h, W = ∫ dW and H = ∫ (½ - u) dW hold all that matters of the exponential: next come (γ h)⁴ / 720 of its variance.
    """
    cell = HORIZON / NUM_CELLS
    nodes, weights = np.polynomial.legendre.leggauss(8)
    nodes, weights = (nodes + 1) / 2, weights / 2
    kernel = np.exp(-FRICTION * cell * (1 - nodes))
    integrals = np.sqrt(2 * FRICTION * TEMPERATURE) * (weights @ kernel * values["W"] + 12 * (weights @ (kernel * (0.5 - nodes))) * values["H"])
    cells = NUM_CELLS // num_steps
    kept = np.exp(-FRICTION * cell * np.arange(cells)[::-1])
    spread = np.sqrt(TEMPERATURE * (1 - np.exp(-2 * FRICTION * HORIZON / num_steps)))
    return np.einsum("c,tcn->tn", kept, integrals.reshape(num_steps, cells, NUM_PATHS)) / spread


def test_strong_order_against_diffrax():
    """One, which is all that a single normal number a step allows: it does not know the area between the path and its chord. And its constant."""
    rng = np.random.default_rng(5)
    cell = HORIZON / NUM_CELLS
    values = {name: rng.normal(size=(NUM_CELLS, NUM_PATHS)) * np.sqrt(cell / over) for name, over in (("W", 1), ("H", 12), ("K", 720))}
    exact = np.array(reference(values))
    counts = np.array([16, 32, 64, 128, 256])
    errors = []
    for count in counts.tolist():
        difference = np.array(drive(noise_of_steps(values, count), HORIZON / count)) - exact
        errors.append(np.sqrt(np.mean(difference.reshape(2, 2, -1) ** 2, -1)))
    errors = np.array(errors)
    slopes = np.polyfit(np.log(HORIZON / counts), np.log(errors.reshape(5, 4)), 1)[0]
    # A root mean square of 2000 normal numbers has 1.6 % of standard error, a slope over five of them, of nearly independent areas, 0.7 %: 0.05 is seven of
    # these, and leaves as much for kurtosis in the quartic and for the second term of the error (a false alarm in less than 1e-6 of keys).
    assert_allclose(slopes, 1.0, rtol=0, atol=0.05)
    limit = oracles.leading_strong_error(STIFFNESS, FRICTION, TEMPERATURE, HORIZON)
    # Within five standard errors, for position and velocity at the two finest steps: a false alarm in 2e-6 of keys.
    assert_allclose(errors[-2:, :, 0] * counts[-2:, None] / HORIZON, np.stack([limit, limit]), rtol=5 / np.sqrt(2 * 2000))
