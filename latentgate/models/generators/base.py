"""The interface of a generator, and graphs."""

from __future__ import annotations

import abc
from collections.abc import Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Part
from ..unconstrained import maximise

# Of a rate times the time scale: beyond it nothing can be told apart from an equilibrium reached at once, and a line search must not overflow.
_FASTEST = 1e12
# L-BFGS steps of an M-step without closed form.
NUMERICAL_STEPS = 20

Graph = tuple[tuple[bool, ...], ...]


def graph_of(graph: object) -> Graph | None:
    """A graph as nested tuples, [from][to]: from a matrix (non-zero where there is an edge), or tuples (from, to); None for all edges.

    Raises:
        ValueError: for anything else, and for an edge from a state to itself.
    """
    if graph is None:
        return None
    if isinstance(graph, Iterable) and not isinstance(graph, np.ndarray):
        graph = list(graph)
    array = np.asarray(graph)
    # Tuples are pairs; without them two pairs would look like a matrix of two states.
    tuples = isinstance(graph, list) and bool(graph) and all(isinstance(pair, tuple) for pair in graph)
    pairs = array.ndim == 2 and array.shape[1] == 2 and array.dtype.kind in "iuf" and (tuples or len(array) != 2)
    if pairs:
        if array.min() < 0 or (array != np.floor(array)).any():
            raise ValueError(f"graph: found the pairs {array.tolist()}, expected pairs (from, to) of state numbers 0, 1, 2, ....")
        edges = array.astype(int)
        matrix = np.zeros((edges.max() + 1,) * 2, bool)
        if (edges[:, 0] == edges[:, 1]).any():
            raise ValueError(f"graph: found an edge from state {edges[edges[:, 0] == edges[:, 1]][0, 0]} to itself, expected edges between different states.")
        matrix[edges[:, 0], edges[:, 1]] = True
    elif array.ndim == 2 and array.shape[0] == array.shape[1] and array.dtype.kind in "biuf":
        matrix = (array != 0) & ~np.eye(len(array), dtype=bool)
    else:
        raise ValueError(f"graph: found {graph!r}, expected pairs (from, to), a square matrix that is not zero where there is an edge, or None for all edges.")
    return tuple(tuple(bool(entry) for entry in row) for row in matrix)


def graph_mask(graph: Graph | None, num_states: int) -> np.ndarray:
    """Bool [K, K], True at edges.

    Raises:
        ValueError: for a graph of another number of states, or without edges.
    """
    if graph is None:
        mask = ~np.eye(num_states, dtype=bool)
    else:
        found = np.asarray(graph, bool)
        if len(found) > num_states:
            raise ValueError(f"graph: found an edge of state {len(found) - 1}, expected states 0 to {num_states - 1}.")
        # Pairs need not name the last states.
        mask = np.zeros((num_states, num_states), bool)
        mask[: len(found), : len(found)] = found
    if not mask.any():
        raise ValueError("graph: found no edge, expected at least one.")
    return mask


class Generator(Part):
    """Rates of a jump process as a function of parameters and inputs.

    Attributes:
        time_scale: typical time between jumps or looks, in the units of the data.
    """

    time_scale: eqx.AbstractVar[float]

    @property
    def input_sets(self) -> dict[str, int]:
        """{name: number of columns} of the input sets it reads."""
        return {}

    @abc.abstractmethod
    def mask(self, num_states: int) -> np.ndarray:
        """Bool [K, K], True at edges."""

    @abc.abstractmethod
    def rates(self, params: Params, covariates: Array) -> Array:
        """Rates [G, K, K] at rows of inputs [G, M] (the columns of `input_sets`, side by side), G = 1 without inputs; the diagonal is not looked at."""

    @abc.abstractmethod
    def from_counts(self, key: Array, jumps: Array, times: Array) -> Params:
        """Starting values from rough numbers of jumps [K, K] and times in states [K]."""

    def matrices(self, params: Params, covariates: Array) -> Array:
        """Generators [G, K, K]: finite rates, zero off the graph, rows that sum to zero."""
        rates = self.rates(params, covariates)
        mask = jnp.asarray(self.mask(rates.shape[-1]))
        rates = jnp.where(mask, jnp.minimum(rates, _FASTEST / self.time_scale), 0.0)
        return rates - rates.sum(-1, keepdims=True) * jnp.eye(rates.shape[-1], dtype=rates.dtype)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """A few looks to a stay; models that know more start from counts."""
        gap = jnp.asarray(data.times)[:, 1:] - jnp.asarray(data.times)[:, :-1]
        real = jnp.asarray(data.mask)[:, 1:]
        typical = jnp.where(real, gap, 0.0).sum() / jnp.maximum(real.sum(), 1)
        exits = jnp.asarray(self.mask(num_states).sum(1))
        return self.from_counts(key, jnp.ones((num_states, num_states)), 5.0 * typical * jnp.maximum(exits, 1))

    def m_step(self, params: Params, covariates: Array, jumps: Array, times: Array) -> Params:
        """Parameters that do not lower Σ jumps log rates - times · exit rates + log-prior; numerical here, closed form where there is one.

        Args:
            params: current values.
            covariates: [G, M].
            jumps: expected jumps, [G, K, K].
            times: expected times in states, [G, K].
        """

        def expected(new: Params) -> Array:
            generators = self.matrices(new, covariates)
            exits = -jnp.diagonal(generators, axis1=-2, axis2=-1)
            seen = jumps > 0
            return jnp.sum(jnp.where(seen, jumps * jnp.log(jnp.where(seen, generators, 1.0)), 0.0)) - jnp.sum(times * exits)

        return maximise(expected, self.priors(jumps.shape[-1]), params, NUMERICAL_STEPS)


def rough_rates(key: Array, jumps: Array, times: Array) -> Array:
    """Rates [K, K] that half a jump more on every edge would suggest, scattered by a tenth."""
    total = jnp.maximum(times, 1e-3 * times.max())[:, None]
    return (jumps + 0.5) / jnp.where(total > 0, total, 1.0) * jnp.exp(0.1 * jax.random.normal(key, jumps.shape))


def weak_rate_prior(time_scale: float) -> dist.Distribution:
    """Exponential with a mean of a thousand jumps in a time scale: proper, and flat where rates can be told apart."""
    return dist.Gamma(1.0, 1e-3 * time_scale)
