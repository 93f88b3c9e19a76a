"""Convex networks."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, with_shape
from ..emissions.checks import at_least, positive, prior_or
from .base import Potential, Rows
from .curvatures import curvature_prior, largest_eigenvalue, normals, typical_curvature

# Curvature of the network at its steepest, relative to that of the confinement, at the start.
_STARTING_SHARE = 0.5


class ConvexNetwork(Potential):
    """A convex energy of any shape, and a quadratic one that confines: U(z) = Σ_u heights[u] · softplus(a_u(z)) + ½ confinement |z|².

    With one layer a(z) = weights z + bias. With two, a(z) = mixing softplus(weights z + bias) + skip z + skip_bias, with mixing not negative, so that U
    remains convex (Amos, Xu, Kolter 2017). The force of the network is bounded; beyond it the force is that of the quadratic.

    Parameters: `weights` [unit, latent], `bias` [unit], `heights` [unit] > 0, `confinement` [] > 0; with two layers also `mixing` [unit, first_unit] > 0,
    `skip` [unit, latent] and `skip_bias` [unit], and the first two are those of the first layer, [first_unit, latent] and [first_unit].

    Args:
        num_units: of each layer.
        num_layers: 1 or 2.
        period: typical period of an oscillation, in the units of the flow's step (bins): the scale of starting values and default priors.
        weight_prior: of every entry of `weights`, `bias`, `skip` and `skip_bias`, or "flat"; Normal(0, 3²) if None, for latents of order one.
        height_prior: of every height: a positive law, or "flat"; HalfNormal(100 (2π / period)²) if None.
        mixing_prior: of every entry of `mixing`: likewise; HalfNormal(1) if None.
        confinement_prior: likewise; if None log-normal about (2π / period)², the logarithm with a standard deviation of 2.

    Raises:
        ValueError: for numbers below one, more than two layers, or a period that is not positive.

    Source: Amos, Xu, Kolter, "Input convex neural networks", ICML 2017, equation 2.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> params = {"weights": jnp.ones((2, 3)), "bias": jnp.zeros(2), "heights": jnp.ones(2), "confinement": jnp.ones(())}
        >>> lg.potentials.ConvexNetwork(num_units=2).force(params, jnp.zeros(3), {}).tolist()
        [-1.0, -1.0, -1.0]
    """

    num_units: int
    num_layers: int
    period: float
    weight_prior: dist.Distribution
    height_prior: dist.Distribution
    mixing_prior: dist.Distribution
    confinement_prior: dist.Distribution

    def __init__(
        self,
        num_units: int = 32,
        num_layers: int = 1,
        *,
        period: float = 20.0,
        weight_prior: dist.Distribution | Literal["flat"] | None = None,
        height_prior: dist.Distribution | Literal["flat"] | None = None,
        mixing_prior: dist.Distribution | Literal["flat"] | None = None,
        confinement_prior: dist.Distribution | Literal["flat"] | None = None,
    ):
        self.num_units = at_least("num_units", num_units)
        if at_least("num_layers", num_layers) > 2:
            raise ValueError(f"num_layers: found {num_layers}, expected 1 or 2.")
        self.num_layers = int(num_layers)
        self.period = positive("period", period)
        if mixing_prior is not None and self.num_layers == 1:
            raise ValueError("mixing_prior: found one, expected None, since one layer has no units to mix; leave it out, or pass num_layers=2.")
        typical = typical_curvature(self.period)
        self.weight_prior = prior_or("weight_prior", weight_prior, dist.Normal(0.0, 3.0))
        self.height_prior = prior_or("height_prior", height_prior, dist.HalfNormal(100.0 * typical))
        self.mixing_prior = prior_or("mixing_prior", mixing_prior, dist.HalfNormal(1.0))
        self.confinement_prior = prior_or("confinement_prior", confinement_prior, curvature_prior(self.period))

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        units, wide = (self.num_units,), (self.num_units, num_states)
        found: dict[str, tuple[dist.Distribution, tuple[int, ...]]] = {
            "weights": (self.weight_prior, wide),
            "bias": (self.weight_prior, units),
            "mixing": (self.mixing_prior, units + units),
            "skip": (self.weight_prior, wide),
            "skip_bias": (self.weight_prior, units),
            "heights": (self.height_prior, units),
            "confinement": (self.confinement_prior, ()),
        }
        return {name: with_shape(found[name][0], found[name][1], name) for name in self.dims()}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        if self.num_layers == 1:
            return {"weights": ("unit", "latent"), "bias": ("unit",), "heights": ("unit",), "confinement": ()}
        return {
            "weights": ("first_unit", "latent"),
            "bias": ("first_unit",),
            "mixing": ("unit", "first_unit"),
            "skip": ("unit", "latent"),
            "skip_bias": ("unit",),
            "heights": ("unit",),
            "confinement": (),
        }

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Units that bend within the unit ball, in opposite pairs so that they hardly pull as a whole, and add half of the confinement's curvature."""
        typical, units = typical_curvature(self.period), self.num_units
        wide, second = (units, num_states), (units, num_states) if self.num_layers == 2 else (0, num_states)
        directions, bias, scatter, skip, skip_bias, mixing = normals(key, wide, (units,), (units,), second, second[:1], (second[0], units))
        # A unit's curvature is at most a quarter of its height in its direction; directions are shared among the latents.
        height = _STARTING_SHARE * typical * 4.0 * num_states / units
        found = {
            "weights": _opposite(directions) / jnp.sqrt(num_states),
            "bias": 0.5 * bias,
            "heights": height * jnp.exp(0.1 * scatter),
            "confinement": jnp.asarray(typical, directions.dtype),
        }
        if self.num_layers == 1:
            return found
        # Inputs of the second layer are about zero where the units of the first are at rest, at log 2.
        own = {"skip": _opposite(skip) / jnp.sqrt(num_states), "skip_bias": 0.5 * skip_bias - jnp.log(2.0)}
        return found | own | {"mixing": jnp.exp(0.3 * mixing) / units}

    def _activations(self, params: Params, positions: Array) -> tuple[Array, Array]:
        """a(z), [..., unit], and what goes into the units of the first layer, [..., first_unit]."""
        first = positions @ params["weights"].T + params["bias"]
        if self.num_layers == 1:
            return first, first
        return jax.nn.softplus(first) @ params["mixing"].T + positions @ params["skip"].T + params["skip_bias"], first

    def energy(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.energy`."""
        last, _ = self._activations(params, positions)
        return jax.nn.softplus(last) @ params["heights"] + 0.5 * params["confinement"] * jnp.sum(positions**2, -1)

    def force(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.force`."""
        last, first = self._activations(params, positions)
        pull = jax.nn.sigmoid(last) * params["heights"]
        if self.num_layers == 1:
            slope = pull @ params["weights"]
        else:
            slope = pull @ params["skip"] + (pull @ params["mixing"] * jax.nn.sigmoid(first)) @ params["weights"]
        return -slope - params["confinement"] * positions

    def largest_curvature(self, params: Params, radius: float = jnp.inf) -> Array:
        """See `Potential.largest_curvature`: that of all units where each bends most."""
        weights, heights = params["weights"], params["heights"]
        if self.num_layers == 1:
            return params["confinement"] + 0.25 * largest_eigenvalue((weights.T * heights) @ weights)
        norms = jnp.linalg.norm(weights, axis=-1)
        steepest = jnp.linalg.norm(params["skip"], axis=-1) + params["mixing"] @ norms
        through = heights @ params["mixing"]
        return params["confinement"] + 0.25 * (jnp.sum(heights * steepest**2) + largest_eigenvalue((weights.T * through) @ weights))


def _opposite(directions: Array) -> Array:
    """Directions [unit, latent] of which every other is opposite to the one before it."""
    units = directions.shape[0]
    sign = jnp.where(jnp.arange(units) % 2 == 0, 1.0, -1.0)
    return jnp.repeat(directions[::2], 2, axis=0)[:units] * sign[:, None]
