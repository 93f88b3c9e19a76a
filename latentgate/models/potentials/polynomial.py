"""Polynomial potentials of one or two latents."""

from __future__ import annotations

import itertools
from typing import Literal

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, with_shape
from ..emissions.checks import at_least, positive, prior_or
from .base import Potential, Rows
from .curvatures import curvature_prior, normals, starting_curvatures, typical_curvature

_MOST_LATENTS = 2
# Distance at which higher powers begin to matter at the start: far out their curvature is large, and a step of one bin must be stable there too.
_STARTING_REACH = 2.0


class Polynomial(Potential):
    """A polynomial that is confined by its highest powers: U(z) = Σ_m coefficients[m] · monomial_m(z) + Σ_i confinement_i z_i^degree.

    The monomials are all products of powers whose sum is 1, 2, ..., degree - 1, in the order of `powers`; the highest powers are those of single latents, with
    positive factors, so that U goes to infinity whatever the other coefficients are. For one or two latents, few parameters, and samplers such as NUTS.

    As in `QuarticWells`, a step that is stable near the origin need not be far out.

    Parameters: `coefficients` [monomial], `confinement` [latent] > 0.

    Args:
        degree: an even number from 2.
        period: typical period of an oscillation, in the units of the flow's step (bins): the scale of starting values and default priors.
        coefficient_prior: of every coefficient: a law of numpyro, or "flat"; if None Normal with standard deviation 10 (2π / period)², for latents of order
            one.
        confinement_prior: a positive law, or "flat"; if None log-normal about (2π / period)² / degree, the logarithm with a standard deviation of 2.

    Raises:
        ValueError: for a degree that is odd or below 2, or a period that is not positive; and, when the number of latents is known, for more than two.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> well = lg.potentials.Polynomial(degree=4)
        >>> well.powers(2).tolist()
        [[1, 0], [0, 1], [2, 0], [1, 1], [0, 2], [3, 0], [2, 1], [1, 2], [0, 3]]
        >>> params = {"coefficients": jnp.array([0.0, -1.0, 0.0]), "confinement": jnp.array([0.5])}
        >>> well.force(params, jnp.array([[-2.0], [0.5]]), {})[:, 0].tolist()
        [12.0, 0.75]
    """

    degree: int
    period: float
    coefficient_prior: dist.Distribution
    confinement_prior: dist.Distribution

    def __init__(
        self,
        degree: int = 4,
        *,
        period: float = 20.0,
        coefficient_prior: dist.Distribution | Literal["flat"] | None = None,
        confinement_prior: dist.Distribution | Literal["flat"] | None = None,
    ):
        if at_least("degree", degree, 2) % 2:
            raise ValueError(f"degree: found {degree}, expected an even number, since odd highest powers do not confine.")
        self.degree = int(degree)
        self.period = positive("period", period)
        self.coefficient_prior = prior_or("coefficient_prior", coefficient_prior, dist.Normal(0.0, 10.0 * typical_curvature(self.period)))
        self.confinement_prior = prior_or("confinement_prior", confinement_prior, curvature_prior(self.period, 1.0 / self.degree))

    def powers(self, latent_dim: int) -> np.ndarray:
        """Power of every latent in every monomial, [monomial, latent], by degree."""
        chosen = [picked for degree in range(1, self.degree) for picked in itertools.combinations_with_replacement(range(latent_dim), degree)]
        return np.array([np.bincount(picked, minlength=latent_dim) for picked in chosen])

    def check_latents(self, latent_dim: int) -> None:
        """See `Potential.check_latents`."""
        if latent_dim > _MOST_LATENTS:
            raise ValueError(f"latent_dim: found {latent_dim}, expected 1 or 2 for Polynomial; use lg.potentials.Network with more latents.")

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        self.check_latents(num_states)
        return {
            "coefficients": with_shape(self.coefficient_prior, (len(self.powers(num_states)),), "coefficients"),
            "confinement": with_shape(self.confinement_prior, (num_states,), "confinement"),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"coefficients": ("monomial",), "confinement": ("latent",)}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """One well at the origin, with a period from 2.5 times the typical one down to a 2.5th of it, but for small coefficients by chance."""
        powers, typical = self.powers(num_states), typical_curvature(self.period)
        for_squares, for_others, for_confinement = normals(key, (2, num_states), (len(powers),), (num_states,))
        coefficients = 0.1 * typical * for_others / _STARTING_REACH ** (powers.sum(1) - 1.0)
        highest = typical / self.degree / _STARTING_REACH ** (self.degree - 2)
        if self.degree > 2:
            pure = np.flatnonzero((powers.max(1) == 2) & (powers.sum(1) == 2))
            coefficients = coefficients.at[pure].add(0.5 * starting_curvatures(for_squares, self.period))
        return {"coefficients": coefficients, "confinement": highest * jnp.exp(0.2 * for_confinement)}

    def energy(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.energy`."""
        # By repeated multiplication: a power of a negative number is as exact as any.
        table = [jnp.ones_like(positions)]
        for _ in range(self.degree):
            table.append(table[-1] * positions)
        total = jnp.sum(params["confinement"] * table[self.degree], -1)
        for monomial, row in enumerate(self.powers(positions.shape[-1])):
            factors = [table[power][..., latent] for latent, power in enumerate(row) if power]
            product = factors[0]
            for factor in factors[1:]:
                product = product * factor
            total = total + params["coefficients"][monomial] * product
        return total

    def largest_curvature(self, params: Params, radius: float = jnp.inf) -> Array:
        """See `Potential.largest_curvature`; infinite without a radius, unless the degree is 2."""
        # Second derivatives of a monomial of degree n sum to no more than n (n - 1) radius^(n - 2).
        highest = self.degree * (self.degree - 1) * radius ** (self.degree - 2)
        degrees = self.powers(params["confinement"].shape[0]).sum(1)
        curved = np.flatnonzero(degrees > 1)
        if self.degree == 2 or not np.isfinite(radius):
            return highest * jnp.max(params["confinement"])
        factors = degrees[curved] * (degrees[curved] - 1) * float(radius) ** (degrees[curved] - 2)
        return highest * jnp.max(params["confinement"]) + jnp.sum(jnp.abs(params["coefficients"][curved]) * factors)
