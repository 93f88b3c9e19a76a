"""Draws of the parameters, with their states aligned, and what they say about themselves."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jax.typing import ArrayLike

from .alignment import match_params, permute_states

RHAT_LIMIT = 1.01
PARETO_K_LIMIT = 0.7


@dataclass(frozen=True, repr=False)
class Posterior:
    """Draws from a posterior, or from an approximation of it.

    Attributes:
        draws: {parameter: [chain, draw, ...]} in natural space; states aligned across draws and chains.
        sample_stats: {name: [chain, draw]}, the sampler's own (ArviZ's names); empty for SVI.
        label_switches: [chain], how often states changed their labels between one draw and the next, before they were aligned.
        elbo: [iteration], evidence lower bound at every iteration of SVI, else empty.
        pareto_k: shape of the tail of the importance ratios of SVI's draws; above 0.7 the approximation is poor. None for NUTS, for guides
            without a density, and for fewer than 25 draws.
    """

    draws: dict[str, np.ndarray]
    sample_stats: dict[str, np.ndarray] = field(default_factory=dict)
    label_switches: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    elbo: np.ndarray = field(default_factory=lambda: np.zeros(0))
    pareto_k: float | None = None

    @property
    def num_chains(self) -> int:
        """Chains."""
        return len(next(iter(self.draws.values())))

    @property
    def num_draws(self) -> int:
        """Draws of each chain."""
        return next(iter(self.draws.values())).shape[1]

    @property
    def num_divergences(self) -> int:
        """Transitions after warm-up that diverged."""
        return int(self.sample_stats["diverging"].sum()) if "diverging" in self.sample_stats else 0

    def mean(self) -> dict[str, np.ndarray]:
        """Posterior mean of every parameter; the supports of priors are convex, so it is a parameter itself."""
        return {name: value.mean((0, 1)) for name, value in self.draws.items()}

    def flat(self, most: int | None = None) -> dict[str, np.ndarray]:
        """Draws of all chains one after the other, [sample, ...]; `most` of them, evenly spaced."""
        total = self.num_chains * self.num_draws
        index = np.arange(total) if most is None or most >= total else np.linspace(0, total - 1, most).round().astype(int)
        return {name: value.reshape(total, *value.shape[2:])[index] for name, value in self.draws.items()}

    def largest_rhat(self) -> float:
        """Largest rank-normalised split R-hat over all entries that vary; NaN for fewer than two chains or four draws."""
        return self._extreme("rhat", max)

    def smallest_ess(self) -> float:
        """Smallest bulk effective sample size over all entries that vary; NaN for fewer than four draws."""
        return self._extreme("ess", min)

    def _extreme(self, diagnostic: str, choose) -> float:
        import arviz

        if self.num_draws < 4 or (diagnostic == "rhat" and self.num_chains < 2):
            return float("nan")
        found = []
        for value in self.draws.values():
            columns = value.reshape(*value.shape[:2], -1)
            columns = columns[..., columns.std((0, 1)) > 0]
            if columns.shape[-1]:
                found.append(np.asarray(getattr(arviz, diagnostic)(np.moveaxis(columns, -1, 0), chain_axis=1, draw_axis=2)))
        return float(choose(np.concatenate([np.ravel(one) for one in found]))) if found else float("nan")

    def with_states(self, dims: Mapping[str, Sequence[str]], order: np.ndarray) -> Posterior:
        """The same draws with their states renumbered: new state k is old state order[k]."""
        return replace(self, draws=permute_states(self.draws, _sampled(dims), order))


def aligned(
    draws: Mapping[str, np.ndarray], dims: Mapping[str, Sequence[str]], reference: Mapping[str, ArrayLike], rounds: int = 2
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draws with their states renumbered by linear assignment, first to a reference, then to their own mean.

    Args:
        draws: {parameter: [chain, draw, ...]}.
        dims: dimension names of one draw.
        reference: parameters that say which state is which.
        rounds: how often.

    Returns:
        the aligned draws, and how often each chain changed its labels, [chain].
    """
    num_chains, num_draws = next(iter(draws.values())).shape[:2]
    nearest = {name: np.asarray(value) for name, value in reference.items()}
    orders = np.empty((num_chains, num_draws), object)
    result: dict[str, np.ndarray] = {}
    for _ in range(rounds):
        result = {name: np.empty_like(value) for name, value in draws.items()}
        for chain, draw in np.ndindex(num_chains, num_draws):
            one = {name: value[chain, draw] for name, value in draws.items()}
            order = match_params(nearest, one, dims)
            orders[chain, draw] = tuple(order.ravel())
            for name, value in permute_states(one, dims, order).items():
                result[name][chain, draw] = value
        nearest = {name: value.mean((0, 1)) for name, value in result.items()}
    switches = np.array([sum(a != b for a, b in itertools.pairwise(row)) for row in orders])
    return result, switches


def _sampled(dims: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    return {name: ("chain", "draw", *names) for name, names in dims.items()}
