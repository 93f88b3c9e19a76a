"""Curvatures of potentials: their scale, priors and starts, and what bounds them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from ..distributions import Wishart

# Names of the axes of a matrix that acts on latents.
MATRIX_AXES = ("latent", "latent_other")
# Standard deviation of the logarithm of a curvature under the default priors: that of a period is half of it.
SPREAD = 2.0
# Degrees of freedom of a weak Wishart law beyond the number of rows and one: its power of the determinant (a tenth) is nearly flat where stiffness vanishes.
_EXCESS = 0.2
# Starting periods lie within this factor of the typical one.
_STARTING_RANGE = 2.5
# Squarings of a matrix in the bound of its largest eigenvalue.
_SQUARINGS = 6


def typical_curvature(period: float) -> float:
    """ω² of an oscillation of this period: (2π / period)²."""
    return (2 * np.pi / period) ** 2


def curvature_prior(period: float, share: float = 1.0) -> dist.Distribution:
    """Weak prior of a curvature, or of something that makes up this share of one: log-normal about the typical one."""
    return dist.LogNormal(float(np.log(share * typical_curvature(period))), SPREAD)


def weak_wishart(size: int, mode: float) -> Wishart:
    """A weak, proper law of positive definite matrices [size, size] whose mode is `mode` times the identity."""
    return Wishart(size + 1.0 + _EXCESS, scale_tril=np.sqrt(mode / _EXCESS) * np.eye(size))


def normals(key: Array, *shapes: tuple[int, ...]) -> list[Array]:
    """Standard normal arrays of these shapes, from one call: every call of a random generator costs a tenth of a second of compilation."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    drawn = jax.random.normal(key, (int(ends[-1]),))
    return [part.reshape(shape) for part, shape in zip(jnp.split(drawn, ends[:-1]), shapes, strict=True)]


def starting_curvatures(noise: Array, period: float) -> Array:
    """Curvatures of periods that are spread evenly, on a logarithmic scale, from 2.5 times the typical one down to a 2.5th of it, in random order, [count].

    Args:
        noise: standard normal, [2, count].
        period: the typical one.
    """
    count = noise.shape[1]
    place = (jnp.arange(count) + jax.scipy.special.ndtr(noise[0])) / count
    factor = _STARTING_RANGE ** (2.0 * place - 1.0)
    return typical_curvature(period) * factor[jnp.argsort(noise[1])] ** 2


def starting_coupling(noise: Array, total: float) -> Array:
    """Weights by distance that halve with every step and sum to `total` or less, but for chance, [neighbour].

    Args:
        noise: standard normal, [neighbour].
        total: of the weights of a kernel without end.
    """
    return total * 0.5 ** jnp.arange(1.0, noise.shape[0] + 1) * jnp.exp(0.3 * noise)


def largest_eigenvalue(matrix: Array) -> Array:
    """An upper bound of the largest eigenvalue of a positive semidefinite matrix [d, d], at most d^(1/64) times what it is, [].

    It is the Schatten norm of order 64, (tr A⁶⁴)^(1/64), which takes a few products of matrices, no LAPACK, and has a gradient.
    """
    scale = jnp.trace(matrix)
    safe = jnp.where(scale > 0, scale, 1.0)
    # Of unit trace at each squaring, so that no power underflows; the exponents of the traces taken out add up.
    power, log_norm = matrix / safe, jnp.log(safe)
    for squaring in range(1, _SQUARINGS + 1):
        power = power @ power
        trace = jnp.trace(power)
        kept = jnp.where(trace > 0, trace, 1.0)
        power, log_norm = power / kept, log_norm + jnp.log(kept) / 2**squaring
    return jnp.where(scale > 0, jnp.exp(log_norm), 0.0)
