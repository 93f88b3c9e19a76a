"""Quadratic potentials."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, with_shape
from ..distributions import positive_definite
from ..emissions.checks import positive, prior_or, refuse_idle_prior
from .base import Potential, Rows
from .curvatures import MATRIX_AXES, curvature_prior, largest_eigenvalue, normals, starting_curvatures, typical_curvature, weak_wishart


class Quadratic(Potential):
    """One well of any shape: U(z) = ½ (z - centre)ᵀ stiffness (z - centre), with a positive definite stiffness. The flow is then linear and Gaussian.

    Parameters: `stiffness` [latent, latent_other], or the diagonal, [latent]; `centre` [latent] if there is one.

    Args:
        diagonal: whether the stiffness is a diagonal matrix.
        centre: whether the well has a place of its own; at the origin otherwise. A flow whose rates have a bias of their own does not need it.
        period: typical period of an oscillation, in the units of the flow's step (bins): the scale of starting values and default priors.
        stiffness_prior: of the matrix (a Wishart law, say), or with `diagonal` of every entry; or "flat". If None, weak laws about (2π / period)²:
            Wishart(d + 1.2, identity · 5 (2π / period)²), whose mode that is; on the diagonal log-normal, the logarithm with a standard deviation of 2.
        centre_prior: of every entry of the centre, or "flat"; Normal(0, 3²) if None.

    Raises:
        ValueError: for a period that is not positive, a prior of another shape, or a prior of something that is left out.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> well = lg.potentials.Quadratic()
        >>> params = {"stiffness": jnp.array([[2.0, 1.0], [1.0, 3.0]]), "centre": jnp.array([1.0, 0.0])}
        >>> well.force(params, jnp.zeros(2), {}).tolist()
        [2.0, 1.0]
    """

    diagonal: bool
    centre: bool
    period: float
    # Of a matrix: None until the number of latents is known, "flat", or a law.
    stiffness_prior: dist.Distribution | str | None
    centre_prior: dist.Distribution

    def __init__(
        self,
        diagonal: bool = False,
        *,
        centre: bool = True,
        period: float = 20.0,
        stiffness_prior: dist.Distribution | Literal["flat"] | None = None,
        centre_prior: dist.Distribution | Literal["flat"] | None = None,
    ):
        self.diagonal, self.centre = bool(diagonal), bool(centre)
        self.period = positive("period", period)
        if self.diagonal:
            self.stiffness_prior = prior_or("stiffness_prior", stiffness_prior, curvature_prior(self.period))
        elif stiffness_prior is None or (isinstance(stiffness_prior, str) and stiffness_prior == "flat"):
            self.stiffness_prior = stiffness_prior
        else:
            law = prior_or("stiffness_prior", stiffness_prior, weak_wishart(2, 1.0))
            if len(law.event_shape) != 2:
                raise ValueError(
                    f"stiffness_prior: found event shape {law.event_shape}, expected a law of positive definite matrices, such as Wishart; "
                    "pass diagonal=True for one number a latent."
                )
            self.stiffness_prior = law
        if not isinstance(centre_prior, str):
            refuse_idle_prior("centre_prior", centre_prior, self.centre, "the well is at the origin (centre=False)")
        self.centre_prior = prior_or("centre_prior", centre_prior, dist.Normal(0.0, 3.0))

    def _stiffness_law(self, latent_dim: int) -> dist.Distribution:
        law = self.stiffness_prior
        if isinstance(law, str):
            return dist.ImproperUniform(positive_definite, (), (latent_dim, latent_dim))
        # Files hold numpyro's name of a law.
        return weak_wishart(latent_dim, typical_curvature(self.period)) if law is None else law

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        shape = (num_states,) if self.diagonal else (num_states, num_states)
        found: dict[str, Prior] = {"stiffness": with_shape(self._stiffness_law(num_states), shape, "stiffness")}
        return found | ({"centre": with_shape(self.centre_prior, (num_states,), "centre")} if self.centre else {})

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        stiffness: dict[str, tuple[str, ...]] = {"stiffness": ("latent",) if self.diagonal else MATRIX_AXES}
        return stiffness | ({"centre": ("latent",)} if self.centre else {})

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Periods from 2.5 times the typical one down to a 2.5th of it along the axes, about the origin but for chance."""
        for_stiffness, for_centre = normals(key, (2, num_states), (num_states,))
        curvatures = starting_curvatures(for_stiffness, self.period)
        found = {"stiffness": curvatures if self.diagonal else jnp.diag(curvatures)}
        return found | ({"centre": 0.1 * for_centre} if self.centre else {})

    def _pull(self, params: Params, positions: Array) -> tuple[Array, Array]:
        offset = positions - params["centre"] if self.centre else positions
        return offset, offset * params["stiffness"] if self.diagonal else offset @ params["stiffness"]

    def energy(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.energy`."""
        offset, pull = self._pull(params, positions)
        return 0.5 * jnp.sum(offset * pull, -1)

    def force(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.force`."""
        return -self._pull(params, positions)[1]

    def largest_curvature(self, params: Params, radius: float = jnp.inf) -> Array:
        """See `Potential.largest_curvature`: exact on the diagonal, at most d^(1/64) times the largest eigenvalue of a matrix."""
        return jnp.max(params["stiffness"]) if self.diagonal else largest_eigenvalue(params["stiffness"])
