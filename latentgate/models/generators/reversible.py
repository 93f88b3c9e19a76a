"""Generators in detailed balance."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.kernels.generators import reversible

from ..base import Params, Prior
from ..distributions import Dirichlet
from ..emissions.checks import positive, prior_or
from ..on_entries import OnEntries
from .base import Generator, Graph, graph_mask, graph_of, rough_rates, weak_rate_prior


class Reversible(Generator):
    """Rates in detailed balance: q_ij = S_ij sqrt(π_j / π_i) with a symmetric S, so that π_i q_ij = π_j q_ji and no current flows at equilibrium.

    Parameters: `stationary` π [state]; `exchange` S [state, next_state], per unit of time, above the diagonal (S_ji is S_ij).

    Args:
        graph: as in `Free`; an edge without its reverse is refused.
        prior: of every exchange rate S_ij; as in `Free` if None.
        concentration: of the Dirichlet prior of π.
        time_scale: as in `Free`.

    Raises:
        ValueError: for a graph with an edge but not its reverse.

    Example:
        >>> import latentgate as lg
        >>> sorted(lg.generators.Reversible([(0, 1), (1, 0), (1, 2), (2, 1)]).dims())
        ['exchange', 'stationary']
    """

    graph: Graph | None
    prior: dist.Distribution
    concentration: float
    time_scale: float

    def __init__(self, graph: object = None, prior: dist.Distribution | None = None, concentration: float = 1.0, time_scale: float = 1.0):
        self.graph = graph_of(graph)
        if self.graph is not None and (one_way := np.argwhere(np.asarray(self.graph) & ~np.asarray(self.graph).T)).size:
            raise ValueError(f"graph: found the edge {tuple(one_way[0].tolist())} without its reverse, expected both for rates in detailed balance.")
        self.time_scale = positive("time_scale", time_scale)
        self.prior = prior_or("prior", prior, weak_rate_prior(self.time_scale))
        self.concentration = positive("concentration", concentration)

    def mask(self, num_states: int) -> np.ndarray:
        """See `Generator.mask`."""
        return graph_mask(self.graph, num_states)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        above = np.triu(self.mask(num_states), 1)
        return {"stationary": Dirichlet(jnp.full(num_states, self.concentration)), "exchange": OnEntries(self.prior, above)}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"stationary": ("state",), "exchange": ("state", "next_state")}

    def stationary_and_symmetric(self, params: Params) -> tuple[Array, Array]:
        """π [1, K] and the symmetric exchange rates S [1, K, K], zero on the diagonal."""
        above = params["exchange"]
        return params["stationary"][None], (above + above.T)[None]

    def rates(self, params: Params, covariates: Array) -> Array:
        """See `Generator.rates`."""
        return reversible.generator(*self.stationary_and_symmetric(params))

    def from_counts(self, key: Array, jumps: Array, times: Array) -> Params:
        """See `Generator.from_counts`."""
        stationary = (times + 0.01 * times.sum()) / (times + 0.01 * times.sum()).sum()
        rates = rough_rates(key, jumps, times)
        symmetric = jnp.sqrt(rates * rates.T)
        above = jnp.asarray(np.triu(self.mask(jumps.shape[-1]), 1))
        return {"stationary": stationary, "exchange": jnp.where(above, symmetric, 0.0)}
