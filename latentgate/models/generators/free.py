"""Free rates on a graph."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from ..base import Params, Prior
from ..distributions import numbers_of
from ..emissions.checks import positive, prior_or
from ..on_entries import OnEntries
from .base import Generator, Graph, graph_mask, graph_of, rough_rates, weak_rate_prior


class Free(Generator):
    """One constant rate for every edge of a graph.

    Parameters: `rates` [state, next_state], per unit of time; zero off the graph and on the diagonal.

    Args:
        graph: edges as pairs (from, to) or as a square matrix that is not zero at edges; all edges if None.
        prior: of every rate. A Gamma has a closed-form M-step. `lg.generators.pseudo_jumps(a, mean)` shrinks to a mean rate. If None, exponential with a
            mean of 1000 / time_scale: flat but for absurd rates.
        time_scale: typical time between jumps or looks, in the units of the data's times.

    Raises:
        ValueError: for something that is no graph, no prior or no positive number.

    Example:
        >>> import latentgate as lg
        >>> lg.generators.Free([(0, 1), (1, 0), (0, 2), (1, 2)]).mask(3).sum()
        np.int64(4)
    """

    graph: Graph | None
    prior: dist.Distribution
    time_scale: float

    def __init__(self, graph: object = None, prior: dist.Distribution | None = None, time_scale: float = 1.0):
        self.graph = graph_of(graph)
        self.time_scale = positive("time_scale", time_scale)
        self.prior = prior_or("prior", prior, weak_rate_prior(self.time_scale))

    def mask(self, num_states: int) -> np.ndarray:
        """See `Generator.mask`."""
        return graph_mask(self.graph, num_states)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {"rates": OnEntries(self.prior, self.mask(num_states))}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"rates": ("state", "next_state")}

    def rates(self, params: Params, covariates: Array) -> Array:
        """See `Generator.rates`."""
        return params["rates"][None]

    def from_counts(self, key: Array, jumps: Array, times: Array) -> Params:
        """See `Generator.from_counts`."""
        return {"rates": jnp.where(jnp.asarray(self.mask(jumps.shape[-1])), rough_rates(key, jumps, times), 0.0)}

    def m_step(self, params: Params, covariates: Array, jumps: Array, times: Array) -> Params:
        """Posterior mode of every rate: (jumps + shape - 1) / (time + rate) for a Gamma prior."""
        if not isinstance(self.prior, dist.Gamma):
            return super().m_step(params, covariates, jumps, times)
        pattern = OnEntries(self.prior, self.mask(jumps.shape[-1])).pattern
        concentration, rate = numbers_of(OnEntries(self.prior, pattern).prior, "concentration", "rate")
        number = jnp.maximum(pattern.take(jumps.sum(0)) + concentration - 1.0, 0.0)
        exposure = pattern.take(jnp.broadcast_to(times.sum(0)[:, None], jumps.shape[1:])) + rate
        found = jnp.where(exposure > 0, number / jnp.where(exposure > 0, exposure, 1.0), pattern.take(params["rates"]))
        return {"rates": pattern.put(found)}


def pseudo_jumps(number: float, mean_rate: float) -> dist.Distribution:
    """Gamma prior worth `number` jumps on every edge in the time that `mean_rate` needs for them: the mode is (jumps + a) / (time + a / m).

    Args:
        number: a, pseudo-jumps on every edge.
        mean_rate: m, jumps an edge and unit of time.
    """
    # Arrays, so that another mean rate does not compile anew.
    return dist.Gamma(np.asarray(1.0 + positive("number", number)), np.asarray(number / positive("mean_rate", mean_rate)))
