"""Two wells a latent."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, with_shape
from ..emissions.checks import at_least, positive, prior_or, refuse_idle_prior
from .base import Potential, Rows
from .curvatures import curvature_prior, normals, starting_coupling, starting_curvatures, typical_curvature
from .laplacian import check_neighbours, checked_boundary, laplacian

# Share of the typical curvature that coupling adds at the start, all distances together.
_STARTING_COUPLING = 0.1
# Of the curvature of a starting well to that of other potentials: far from the wells there is more, and a step of one bin must be stable there too.
_STARTING_SHARE = 0.16


class QuarticWells(Potential):
    """Two wells along each latent: U(z) = ¼ Σ_i quartic_i z_i⁴ - ½ Σ_i splitting_i z_i² + ½ zᵀ L z, with L as in `CoupledOscillators`.

    Where splitting_i is positive there are wells at ±sqrt(splitting_i / quartic_i), of curvature 2 splitting_i, and a barrier splitting_i² / (4 quartic_i)
    between them (without coupling); where it is negative there is one well, which stiffens.

    The force grows with the cube of the distance: a step that is stable in the wells need not be far out, where hot particles get, and then the path
    diverges. See `largest_curvature` with a radius; `Network` has wells and a bounded curvature.

    Parameters: `quartic` [latent] > 0, `splitting` [latent], and with neighbours `coupling` [neighbour] > 0.

    Args:
        neighbours: largest distance at which latents are coupled.
        boundary: "ring" or "line", of the coupling.
        period: typical period of an oscillation in a well, in the units of the flow's step (bins): the scale of starting values and default priors.
        quartic_prior: of every entry: a positive law of numpyro, or "flat"; if None log-normal about (2π / period)², the logarithm with a standard deviation
            of 2.
        splitting_prior: likewise, of either sign; if None Normal with standard deviation 10 (2π / period)².
        coupling_prior: of every weight: a positive law, or "flat"; if None about a tenth of that of `quartic`.

    Raises:
        ValueError: as `CoupledOscillators`.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> params = {"quartic": jnp.ones(1), "splitting": jnp.ones(1)}
        >>> lg.potentials.QuarticWells().energy(params, jnp.array([[-1.0], [0.0], [1.0]]), {}).tolist()
        [-0.25, 0.0, -0.25]
    """

    neighbours: int
    boundary: str
    period: float
    quartic_prior: dist.Distribution
    splitting_prior: dist.Distribution
    coupling_prior: dist.Distribution

    def __init__(
        self,
        neighbours: int = 0,
        boundary: Literal["ring", "line"] = "ring",
        *,
        period: float = 20.0,
        quartic_prior: dist.Distribution | Literal["flat"] | None = None,
        splitting_prior: dist.Distribution | Literal["flat"] | None = None,
        coupling_prior: dist.Distribution | Literal["flat"] | None = None,
    ):
        self.neighbours = at_least("neighbours", neighbours, 0)
        self.boundary = checked_boundary(boundary)
        self.period = positive("period", period)
        if not isinstance(coupling_prior, str):
            refuse_idle_prior("coupling_prior", coupling_prior, self.neighbours > 0, "there is no coupling (neighbours=0)")
        self.quartic_prior = prior_or("quartic_prior", quartic_prior, curvature_prior(self.period))
        self.splitting_prior = prior_or("splitting_prior", splitting_prior, dist.Normal(0.0, 10.0 * typical_curvature(self.period)))
        self.coupling_prior = prior_or("coupling_prior", coupling_prior, curvature_prior(self.period, 0.1))

    def check_latents(self, latent_dim: int) -> None:
        """See `Potential.check_latents`."""
        check_neighbours(self.neighbours, latent_dim, self.boundary)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        self.check_latents(num_states)
        found: dict[str, Prior] = {
            "quartic": with_shape(self.quartic_prior, (num_states,), "quartic"),
            "splitting": with_shape(self.splitting_prior, (num_states,), "splitting"),
        }
        return found | ({"coupling": with_shape(self.coupling_prior, (self.neighbours,), "coupling")} if self.neighbours else {})

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        coupled: dict[str, tuple[str, ...]] = {"coupling": ("neighbour",)} if self.neighbours else {}
        return {"quartic": ("latent",), "splitting": ("latent",)} | coupled

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Wells near ±1, with periods from the typical one to 6.25 times as long."""
        for_curvature, for_place, for_coupling = normals(key, (2, num_states), (num_states,), (self.neighbours,))
        splitting = 0.5 * _STARTING_SHARE * starting_curvatures(for_curvature, self.period)
        found = {"quartic": splitting * jnp.exp(0.2 * for_place), "splitting": splitting}
        if self.neighbours:
            found["coupling"] = starting_coupling(for_coupling, _STARTING_COUPLING * typical_curvature(self.period))
        return found

    def _coupling(self, params: Params, positions: Array) -> Array:
        """L z."""
        return positions @ laplacian(params["coupling"], positions.shape[-1], self.boundary)

    def energy(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.energy`."""
        squares = positions**2
        own = jnp.sum(0.25 * params["quartic"] * squares**2 - 0.5 * params["splitting"] * squares, -1)
        return own + 0.5 * jnp.sum(positions * self._coupling(params, positions), -1) if self.neighbours else own

    def force(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.force`."""
        own = positions * (params["splitting"] - params["quartic"] * positions**2)
        return own - self._coupling(params, positions) if self.neighbours else own

    def largest_curvature(self, params: Params, radius: float = jnp.inf) -> Array:
        """See `Potential.largest_curvature`; infinite without a radius."""
        farthest = jnp.maximum(jnp.abs(params["splitting"]), jnp.abs(3.0 * params["quartic"] * radius**2 - params["splitting"]))
        return jnp.max(farthest) + (4.0 * params["coupling"].sum() if self.neighbours else 0.0)
