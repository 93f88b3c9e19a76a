"""Underdamped Langevin dynamics as a deterministic function of its noise.

dz = v dt,  dv = -∇U(z) dt - γ v dt + √(2 γ τ) dW, with the splitting BAOAB: half a kick, half a drift, the exact friction and noise of a whole step, half a
drift, half a kick. It is second order in the step, exact for the friction part, and stable for a step below 2 / ω, with ω² the largest curvature of U.

Source: Leimkuhler, Matthews, Appl. Math. Res. Express 2013:34 (2013), section 2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def flow(
    force: Callable[[Array, Any], Array],
    position: Array,
    velocity: Array,
    noise: Array,
    rows: Any = None,
    *,
    steer: Callable[[Array, Array, Any], Array] | None = None,
    step: float,
    friction: Array,
    temperature: Array,
) -> tuple[Array, Array]:
    """The path that noise drives from a starting point.

    Forces that change with time are those of their step: at step t `force(z_t, rows_t)` closes the kick before it and opens the one after it.

    Args:
        force: (positions [..., d], rows of the step) -> -∇U, [..., d].
        position: z at the first step, [..., d].
        velocity: v at the first step, [..., d].
        noise: standard normal where the path is a draw from the prior, [T - 1, ..., d].
        rows: what the force reads besides positions: a tree of arrays [T, ...], or None.
        steer: (positions [..., d], velocities [..., d] of a step, rows of the next) -> what is added to the noise between them, [..., d]; nothing if None.
        step: Δ, in units of time.
        friction: γ, not negative, per unit of time, [d] or [].
        temperature: τ, not negative, [d] or []: the stationary variance of velocities.

    Returns:
        positions and velocities, [T, ..., d] each.

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.langevin import flow
        >>> still = jnp.zeros((2, 1))
        >>> positions, _ = flow(lambda z, _: -z, jnp.ones(1), jnp.zeros(1), still, step=0.1, friction=jnp.zeros(1), temperature=jnp.zeros(1))
        >>> [f"{z:.3f}" for z in positions[:, 0]]
        ['1.000', '0.995', '0.980']
    """
    kept = jnp.exp(-friction * step)
    # 1 - kept², exact where friction is weak.
    spread = jnp.sqrt(-temperature * jnp.expm1(-2.0 * friction * step))
    first, others = (None, None) if rows is None else (jax.tree.map(lambda leaf: leaf[0], rows), jax.tree.map(lambda leaf: leaf[1:], rows))

    def advance(carry: tuple[Array, Array, Array], now: tuple[Array, Any]):
        position, velocity, pull = carry
        noise, row = now
        if steer is not None:
            noise = noise + steer(position, velocity, row)
        velocity = velocity + 0.5 * step * pull
        position = position + 0.5 * step * velocity
        velocity = kept * velocity + spread * noise
        position = position + 0.5 * step * velocity
        pull = force(position, row)
        velocity = velocity + 0.5 * step * pull
        return (position, velocity, pull), (position, velocity)

    _, (positions, velocities) = jax.lax.scan(advance, (position, velocity, force(position, first)), (noise, others))
    return jnp.concatenate([position[None], positions]), jnp.concatenate([velocity[None], velocities])


def noise_divergence(mean: Array, scale: Array) -> Array:
    """Kullback-Leibler divergence of Normal(mean, diag scale²) from the standard normal law: not negative, and zero for mean 0 and scale 1 alone.

    The discrete form of Girsanov's ½ ∫ |u|² dt, with `mean` the input u that is inferred to drive the path.

    Args:
        mean: [..., d].
        scale: positive, [..., d].

    Returns:
        [...].

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels.langevin import noise_divergence
        >>> noise_divergence(jnp.array([2.0, 0.0]), jnp.ones(2)).tolist()
        2.0
    """
    # scale² - 1 - 2 log scale, written so that rounding never makes it negative near one.
    excess = scale - 1.0
    return 0.5 * jnp.sum(mean**2 + excess**2 + 2.0 * (excess - jnp.log(scale)), -1)
