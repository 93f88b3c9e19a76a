"""Rates that differ between subjects, drawn around common ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, split_keys
from ..emissions.checks import at_least, prior_or
from ..on_entries import OnEntries
from .base import Generator
from .free import Free


class PerGroup(Generator):
    """Rates of every subject around those of another generator: log q_ij(subject) = log q_ij + spread_ij deviation_ij(subject), deviations standard normal.

    The input set `inputs` holds the number of the subject, 0 to G - 1, in every row. Made for NUTS and SVI: a point estimate of a spread is zero sooner or
    later, since the density of the deviations grows without bound there.

    Parameters: those of the common generator; `spread` [state, next_state], standard deviations of log-rates; `deviations` [group, state, next_state].

    Args:
        common: the generator of a subject without deviation.
        num_groups: G, at least 2.
        inputs: name of the input set with the subject's number.
        spread_prior: of every spread; HalfNormal(1) if None.

    Raises:
        ValueError: for something that is no generator, or fewer than two groups.

    Example:
        >>> import latentgate as lg
        >>> lg.generators.PerGroup(lg.generators.Free([(0, 1), (1, 0)]), num_groups=10).input_sets
        {'group': 1}
    """

    common: Generator
    num_groups: int
    inputs: str
    spread_prior: dist.Distribution
    time_scale: float

    def __init__(self, common: Generator | None, num_groups: int, inputs: str = "group", spread_prior: dist.Distribution | None = None):
        self.common = Free() if common is None else common
        if not isinstance(self.common, Generator):
            raise ValueError(f"common: found {common!r}, expected one of lg.generators, for example lg.generators.Free([(0, 1), (1, 0)]).")
        self.time_scale = self.common.time_scale
        self.num_groups = at_least("num_groups", num_groups, 2)
        self.inputs = inputs
        self.spread_prior = prior_or("spread_prior", spread_prior, dist.HalfNormal(1.0))

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Generator.input_sets`."""
        return {**self.common.input_sets, self.inputs: 1}

    def mask(self, num_states: int) -> np.ndarray:
        """See `Generator.mask`."""
        return self.common.mask(num_states)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        mask = self.mask(num_states)
        of_groups = np.broadcast_to(mask, (self.num_groups, *mask.shape))
        return {
            **self.common.priors(num_states),
            "spread": OnEntries(self.spread_prior, mask),
            "deviations": OnEntries(dist.Normal(0.0, 1.0), of_groups),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {**self.common.dims(), "spread": ("state", "next_state"), "deviations": ("group", "state", "next_state")}

    def check(self, data: Sequences) -> None:
        """Numbers of groups."""
        self.common.check(data)
        found = np.asarray(data.inputs[self.inputs]) if self.inputs in data.inputs else np.zeros(0)
        if ((found < 0) | (found >= self.num_groups) | (found != np.floor(found))).any():
            raise ValueError(f"inputs[{self.inputs!r}]: found values up to {found.max():g}, expected the number of a subject, 0 to {self.num_groups - 1}.")

    def suited_to(self, data: Sequences) -> PerGroup:
        """See `Part.suited_to`."""
        return PerGroup(self.common.suited_to(data), self.num_groups, self.inputs, self.spread_prior)

    def rates(self, params: Params, covariates: Array) -> Array:
        """See `Generator.rates`."""
        group = covariates[:, -1].astype(jnp.int32)
        factor = jnp.exp(params["spread"] * params["deviations"][group])
        return self.common.rates(params, covariates[:, :-1]) * factor

    def from_counts(self, key: Array, jumps: Array, times: Array) -> Params:
        """See `Generator.from_counts`."""
        mask = jnp.asarray(self.mask(jumps.shape[-1]))
        keys = split_keys(key, ["common", "deviations"])
        deviations = 0.1 * jax.random.normal(keys["deviations"], (self.num_groups, *mask.shape))
        return {
            **self.common.from_counts(keys["common"], jumps, times),
            "spread": jnp.where(mask, 0.3, 0.0),
            "deviations": jnp.where(mask, deviations, 0.0),
        }
