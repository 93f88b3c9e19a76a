"""Networks with several wells."""

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

# Curvature of the network relative to that of the confinement, at the start.
_STARTING_SHARE = 0.5


class Network(Potential):
    """An energy of any shape, confined: U(z) = Σ_u heights[u] · log cosh(weights[u] · z + bias[u]) + ½ confinement |z|².

    Heights of either sign make valleys and ridges, and so several wells; the force of the network is bounded, and in closed form:
    -weightsᵀ (heights ∘ tanh(weights z + bias)) - confinement z.

    Parameters: `weights` [unit, latent], `bias` [unit], `heights` [unit], `confinement` [] > 0. Units can be renumbered, and the signs of `weights` and `bias`
    of a unit changed, without a change of U: compare forces, not units.

    Args:
        num_units: of the hidden layer.
        confinement: fixed at this number, with no parameter, if given.
        period: typical period of an oscillation, in the units of the flow's step (bins): the scale of starting values and default priors.
        weight_prior: of every entry of `weights` and `bias`: a law of numpyro, or "flat"; Normal(0, 3²) if None, for latents of order one.
        height_prior: of every height, or "flat"; if None Normal with standard deviation 100 (2π / period)².
        confinement_prior: of the confinement: a positive law, or "flat"; if None log-normal about (2π / period)², the logarithm with a standard deviation of 2.

    Raises:
        ValueError: for fewer than one unit, a confinement or period that is not positive, or a prior of a confinement that is fixed.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> wells = lg.potentials.Network(num_units=1, confinement=1.0)
        >>> params = {"weights": jnp.ones((1, 1)), "bias": jnp.zeros(1), "heights": jnp.array([-2.0])}
        >>> wells.force(params, jnp.array([[-20.0], [0.0], [20.0]]), {})[:, 0].tolist()
        [18.0, 0.0, -18.0]
    """

    num_units: int
    confinement: float | None
    period: float
    weight_prior: dist.Distribution
    height_prior: dist.Distribution
    confinement_prior: dist.Distribution

    def __init__(
        self,
        num_units: int = 32,
        confinement: float | None = None,
        *,
        period: float = 20.0,
        weight_prior: dist.Distribution | Literal["flat"] | None = None,
        height_prior: dist.Distribution | Literal["flat"] | None = None,
        confinement_prior: dist.Distribution | Literal["flat"] | None = None,
    ):
        self.num_units = at_least("num_units", num_units)
        self.confinement = None if confinement is None else positive("confinement", confinement)
        self.period = positive("period", period)
        if confinement_prior is not None and self.confinement is not None:
            raise ValueError(f"confinement_prior: found one, expected None, since the confinement is fixed at {self.confinement:g}; leave one of them out.")
        self.weight_prior = prior_or("weight_prior", weight_prior, dist.Normal(0.0, 3.0))
        self.height_prior = prior_or("height_prior", height_prior, dist.Normal(0.0, 100.0 * typical_curvature(self.period)))
        self.confinement_prior = prior_or("confinement_prior", confinement_prior, curvature_prior(self.period))

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        units = (self.num_units,)
        found: dict[str, Prior] = {
            "weights": with_shape(self.weight_prior, (self.num_units, num_states), "weights"),
            "bias": with_shape(self.weight_prior, units, "bias"),
            "heights": with_shape(self.height_prior, units, "heights"),
        }
        return found | ({"confinement": with_shape(self.confinement_prior, (), "confinement")} if self.confinement is None else {})

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        confined: dict[str, tuple[str, ...]] = {"confinement": ()} if self.confinement is None else {}
        return {"weights": ("unit", "latent"), "bias": ("unit",), "heights": ("unit",)} | confined

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Units that bend within the unit ball, with heights of both signs that change the confinement's curvature by half."""
        directions, offsets, heights = normals(key, (self.num_units, num_states), (self.num_units,), (self.num_units,))
        typical, weights = typical_curvature(self.period), directions / jnp.sqrt(num_states)
        spread = _STARTING_SHARE * typical * num_states / jnp.sqrt(self.num_units)
        found = {"weights": weights, "bias": 0.5 * offsets, "heights": spread * heights}
        return found | ({"confinement": jnp.asarray(typical, weights.dtype)} if self.confinement is None else {})

    def _confinement(self, params: Params) -> Array | float:
        return params["confinement"] if self.confinement is None else self.confinement

    def energy(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.energy`."""
        drive = positions @ params["weights"].T + params["bias"]
        # log cosh x, smooth at zero and finite where cosh is not.
        units = jax.nn.softplus(2.0 * drive) - drive - jnp.log(2.0)
        return units @ params["heights"] + 0.5 * self._confinement(params) * jnp.sum(positions**2, -1)

    def force(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.force`."""
        units = jnp.tanh(positions @ params["weights"].T + params["bias"])
        return -((units * params["heights"]) @ params["weights"]) - self._confinement(params) * positions

    def largest_curvature(self, params: Params, radius: float = jnp.inf) -> Array:
        """See `Potential.largest_curvature`: that of all units where each bends most."""
        weights = params["weights"]
        return self._confinement(params) + largest_eigenvalue((weights.T * jnp.abs(params["heights"])) @ weights)
