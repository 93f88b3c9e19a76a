"""Locally coupled oscillators."""

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
_STARTING_COUPLING = 0.2


class CoupledOscillators(Potential):
    """Oscillators that pull at their neighbours: U(z) = ½ zᵀ (L + diag stiffness) z, with L the graph Laplacian of a local kernel that is learned.

    So U = ½ Σ_i stiffness_i z_i² + ½ Σ over pairs of coupling[|i - j|] · (z_i - z_j)²: positive definite by construction, whatever the parameters are. On a
    ring L is circulant, and with one stiffness for all L + diag stiffness is too: its modes are waves around the ring.

    Parameters: `stiffness` [latent], or one for all, []; `coupling` [neighbour], one positive weight for each distance 1, 2, ..., none without neighbours.
    A latent alone has the period 2π / sqrt(stiffness).

    Args:
        neighbours: largest distance at which latents are coupled; 0 for oscillators that are not.
        boundary: "ring" or "line".
        shared_stiffness: whether all latents have the same.
        period: typical period of an oscillation, in the units of the flow's step (bins): the scale of starting values and default priors.
        stiffness_prior: of every stiffness: a positive law of numpyro, or "flat"; if None log-normal about (2π / period)², the logarithm with a standard
            deviation of 2.
        coupling_prior: of every weight: likewise; if None about a tenth of that.

    Raises:
        ValueError: for a number of neighbours below zero, another boundary, a period that is not positive, a prior of something that is left out; and, when
            the number of latents is known, for neighbours farther away than any two latents are.

    Source: Keller, Welling, "Neural wave machines", ICML 2023 (locally coupled oscillators); Song, Keller, Yue, Perona, Welling, "LangevinFlow", 2025 (as the
    potential of a latent flow).

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> ring = lg.potentials.CoupledOscillators(neighbours=1)
        >>> params = {"stiffness": jnp.ones(4), "coupling": jnp.array([0.5])}
        >>> ring.force(params, jnp.array([1.0, 0.0, 0.0, 0.0]), {}).tolist()
        [-2.0, 0.5, 0.0, 0.5]
    """

    neighbours: int
    boundary: str
    shared_stiffness: bool
    period: float
    stiffness_prior: dist.Distribution
    coupling_prior: dist.Distribution

    def __init__(
        self,
        neighbours: int = 2,
        boundary: Literal["ring", "line"] = "ring",
        *,
        shared_stiffness: bool = False,
        period: float = 20.0,
        stiffness_prior: dist.Distribution | Literal["flat"] | None = None,
        coupling_prior: dist.Distribution | Literal["flat"] | None = None,
    ):
        self.neighbours = at_least("neighbours", neighbours, 0)
        self.boundary = checked_boundary(boundary)
        self.shared_stiffness = bool(shared_stiffness)
        self.period = positive("period", period)
        if not isinstance(coupling_prior, str):
            refuse_idle_prior("coupling_prior", coupling_prior, self.neighbours > 0, "there is no coupling (neighbours=0)")
        self.stiffness_prior = prior_or("stiffness_prior", stiffness_prior, curvature_prior(self.period))
        self.coupling_prior = prior_or("coupling_prior", coupling_prior, curvature_prior(self.period, 0.1))

    def check_latents(self, latent_dim: int) -> None:
        """See `Potential.check_latents`."""
        check_neighbours(self.neighbours, latent_dim, self.boundary)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        self.check_latents(num_states)
        shapes = {"stiffness": () if self.shared_stiffness else (num_states,), "coupling": (self.neighbours,)}
        laws = {"stiffness": self.stiffness_prior, "coupling": self.coupling_prior}
        return {name: with_shape(laws[name], shapes[name], name) for name in self.dims()}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        coupled: dict[str, tuple[str, ...]] = {"coupling": ("neighbour",)} if self.neighbours else {}
        return {"stiffness": () if self.shared_stiffness else ("latent",)} | coupled

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Periods from 2.5 times the typical one down to a 2.5th of it, and coupling that falls off with distance."""
        for_stiffness, for_coupling = normals(key, (2, 1 if self.shared_stiffness else num_states), (self.neighbours,))
        stiffness = starting_curvatures(for_stiffness, self.period)
        found = {"stiffness": stiffness[0] if self.shared_stiffness else stiffness}
        if self.neighbours:
            found["coupling"] = starting_coupling(for_coupling, _STARTING_COUPLING * typical_curvature(self.period))
        return found

    def matrix(self, params: Params, latent_dim: int) -> Array:
        """L + diag stiffness, [d, d]."""
        stiffness = params["stiffness"] * jnp.eye(latent_dim, dtype=params["stiffness"].dtype)
        return stiffness + laplacian(params["coupling"], latent_dim, self.boundary) if self.neighbours else stiffness

    def energy(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.energy`."""
        return 0.5 * jnp.sum(positions * (positions @ self.matrix(params, positions.shape[-1])), -1)

    def force(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.force`."""
        return -positions @ self.matrix(params, positions.shape[-1])

    def spectrum(self, params: Params, latent_dim: int) -> Array:
        """Squared angular frequencies of the modes: the eigenvalues of L + diag stiffness, [d].

        On a ring with one stiffness for all they are the Fourier transform of the first row, by wave number around the ring, 0 to d - 1; otherwise they
        ascend.
        """
        matrix = self.matrix(params, latent_dim)
        if self.boundary == "ring" and self.shared_stiffness:
            return jnp.fft.fft(matrix[0]).real
        return jnp.linalg.eigvalsh(matrix)

    def largest_curvature(self, params: Params, radius: float = jnp.inf) -> Array:
        """See `Potential.largest_curvature`; no more than the largest stiffness and four times the weights."""
        return jnp.max(params["stiffness"]) + (4.0 * params["coupling"].sum() if self.neighbours else 0.0)
