"""Langevin dynamics by plain formulas, matrices, integrals and spectra, in NumPy and SciPy; no code shared with the kernels.

Potentials are U(z); positions of a point are [d], its states x = (z, v) are [2 d]. One dimension where points are a grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.integrate
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg


def path(
    gradient: Callable[[np.ndarray, Any], np.ndarray],
    position: np.ndarray,
    velocity: np.ndarray,
    noise: np.ndarray,
    rows: list,
    step: float,
    friction: np.ndarray,
    temperature: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The five formulas of a step, one after the other; the gradient of U takes what `rows` holds for the time of its position."""
    kept = np.exp(-friction * step)
    positions, velocities = [position], [velocity]
    for t, draw in enumerate(noise):
        kicked = velocities[t] - step / 2 * gradient(positions[t], rows[t])
        middle = positions[t] + step / 2 * kicked
        mixed = kept * kicked + np.sqrt(temperature * (1 - kept**2)) * draw
        positions.append(middle + step / 2 * mixed)
        velocities.append(mixed - step / 2 * gradient(positions[t + 1], rows[t + 1]))
    return np.array(positions), np.array(velocities)


def linear_step(stiffness: np.ndarray, step: float, friction: np.ndarray, temperature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A [2 d, 2 d] and B [2 d, d] of one step x' = A x + B ε where U = ½ zᵀ K z, as the product of its five stages."""
    size = len(stiffness)
    one, none = np.eye(size), np.zeros((size, size))
    kept = np.diag(np.exp(-friction * step) * np.ones(size))
    kick = np.block([[one, none], [-step / 2 * stiffness, one]])
    drift = np.block([[one, step / 2 * one], [none, one]])
    mixing = np.block([[one, none], [none, kept]])
    entry = np.vstack([none, np.sqrt(temperature * (one - kept @ kept))])
    return kick @ drift @ mixing @ drift @ kick, kick @ drift @ entry


def stationary_covariance(matrix: np.ndarray, entry: np.ndarray) -> np.ndarray:
    """Σ = A Σ Aᵀ + B Bᵀ."""
    return scipy.linalg.solve_discrete_lyapunov(matrix, entry @ entry.T)


def damped_oscillator(times: np.ndarray, stiffness: float, friction: float) -> np.ndarray:
    """Autocorrelation of positions of dz = v dt, dv = -k z dt - γ v dt + noise, where k > γ² / 4."""
    frequency = math.sqrt(stiffness - friction**2 / 4)
    return np.exp(-friction * times / 2) * (np.cos(frequency * times) + friction / (2 * frequency) * np.sin(frequency * times))


def grid_generator(potential: np.ndarray, spacing: float, diffusion: float) -> np.ndarray:
    """Rates (D / h²) exp(-(Φ_j - Φ_i) / 2) between neighbours on a grid with reflecting ends, [n, n]; Φ = U / τ, rows sum to zero."""
    size = len(potential)
    rates = np.zeros((size, size))
    for i in range(size):
        for j in (i - 1, i + 1):
            if 0 <= j < size:
                rates[i, j] = diffusion / spacing**2 * math.exp(-(potential[j] - potential[i]) / 2)
    return rates - np.diag(rates.sum(1))


def first_passage_times(potential: Callable[[np.ndarray], np.ndarray], starts: np.ndarray, end: float, diffusion: float) -> np.ndarray:
    """Mean time of dx = -D Φ'(x) dt + √(2 D) dW from each start to `end`, to its right: ∫_start^end exp(Φ(y)) ∫_-∞^y exp(-Φ(x)) dx dy / D.

    Source: Gardiner, Handbook of Stochastic Methods, section 5.2.7. By Simpson's rule on 8001 points, from where exp(-Φ) is far below rounding.
    """
    points = np.linspace(-4.0, end, 8001)
    inner = scipy.integrate.cumulative_simpson(np.exp(-potential(points)), x=points, initial=0.0)
    outer = scipy.integrate.cumulative_simpson(np.where(points > -2.5, np.exp(np.minimum(potential(points), 700)) * inner, 0.0), x=points, initial=0.0)
    return np.interp(starts, points, (outer[-1] - outer) / diffusion)


def kramers_rate(well: float, barrier: float, height: float, friction: float, temperature: float) -> float:
    """Rate of leaving a well over one barrier, for friction from moderate to strong, with ω² = `well` at the bottom and -ω² = -`barrier` at the top.

    Source: Kramers, Physica 7 (1940) 284; Hänggi, Talkner, Borkovec, Rev. Mod. Phys. 62 (1990) 251, equation 4.33.
    """
    transmission = (math.sqrt(friction**2 / 4 + barrier) - friction / 2) / math.sqrt(barrier)
    return transmission * math.sqrt(well) / (2 * math.pi) * math.exp(-height / temperature)


def relaxation_rate(height: float, friction: float, temperature: float, num_positions: int = 60, num_velocities: int = 30) -> float:
    """Smallest non-zero eigenvalue of the underdamped dynamics in U = h (z² - 1)²: twice the rate of leaving a well, where wells are deep.

    The generator v ∂_z - U' ∂_v + γ (τ ∂_vv - v ∂_v) is √τ [a (∂_z - U' / 2τ) + a† (∂_z + U' / 2τ)] - γ a†a on Hermite functions of v after multiplication by
    exp(-U / 2τ); positions are in Hermite functions too, where z and ∂_z have two diagonals. Source: Risken, The Fokker-Planck Equation, section 10.1.
    """
    extended, width = num_positions + 4, 0.25
    roots = np.sqrt(np.arange(1, extended) / 2)
    places = width * (np.diag(roots, 1) + np.diag(roots, -1))
    slope = (np.diag(roots, 1) - np.diag(roots, -1)) / width
    pull = 4 * height * (places @ places @ places - places) / (2 * temperature)
    # Products are cut after they are taken: the cubic is exact up to the last function kept.
    down, up = ((slope + sign * pull)[:num_positions, :num_positions] for sign in (-1, 1))
    lower, count = np.diag(np.sqrt(np.arange(1.0, num_velocities)), 1), np.diag(np.arange(float(num_velocities)))
    motion = math.sqrt(temperature) * (np.kron(lower, down) + np.kron(lower.T, up))
    generator = motion - friction * np.kron(count, np.eye(num_positions))
    start = np.ones(len(generator))
    values = np.asarray(scipy.sparse.linalg.eigs(scipy.sparse.csc_array(generator), k=4, sigma=1e-3, v0=start, return_eigenvectors=False))
    return float(np.sort(-np.real(values))[1])


def strong_error(matrix: np.ndarray, entry: np.ndarray, stiffness: float, friction: float, temperature: float, num_steps: int, horizon: float) -> np.ndarray:
    """[2] root mean square of x_N - x(T), but for its mean, where the noise of a step is ∫ exp(-γ (Δ - s)) √(2 γ τ) dW of the path that drives the SDE.

    Both are integrals over one Brownian path, so the variance is the integral of the squared difference of what they integrate.
    """
    step = horizon / num_steps
    drift, entry_now = np.array([[0.0, 1.0], [-stiffness, -friction]]), np.array([0.0, math.sqrt(2 * friction * temperature)])
    spread = math.sqrt(temperature * (1 - math.exp(-2 * friction * step)))
    nodes, weights = np.polynomial.legendre.leggauss(6)
    nodes, weights = step * (nodes + 1) / 2, step * weights / 2
    exact = np.array([scipy.linalg.expm(drift * (step - node)) @ entry_now for node in nodes])
    split = np.exp(-friction * (step - nodes))[:, None] * entry_now[1] / spread * entry[:, 0]
    through, power, variance = scipy.linalg.expm(drift * step), np.eye(2), np.zeros(2)
    flown = np.eye(2)
    for _ in range(num_steps):
        variance += weights @ (exact @ flown.T - split @ power.T) ** 2
        flown, power = through @ flown, matrix @ power
    return np.sqrt(variance)


def leading_strong_error(stiffness: float, friction: float, temperature: float, horizon: float) -> np.ndarray:
    """[2] what `strong_error` is, over the step, as the step goes to zero: white noise of variance γ τ Δ² / 6 a unit of time, added to positions."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    nodes, weights = horizon * (nodes + 1) / 2, horizon * weights / 2
    drift = np.array([[0.0, 1.0], [-stiffness, -friction]])
    responses = np.array([scipy.linalg.expm(drift * node)[:, 0] for node in nodes])
    return np.sqrt(friction * temperature / 6 * (weights @ responses**2))
