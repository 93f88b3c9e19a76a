"""A discrete chain without coupling: the state of each step is independent of all others, as in a mixture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import Array

from .discrete import Path
from .posterior import Filtered, Smoothed
from .sums import compensated_sum

# States up to this many are added one by one: whole arrays of steps, which the compiler turns into vector instructions; a short last axis it does not.
_MOST_UNROLLED = 32


def log_sum_exp_leading(rows: Array) -> Array:
    """Log Σ_k exp(rows[k]) over the leading axis, [...]; -inf where all are, with derivatives that are never NaN."""
    return softmax_leading(rows)[1]


def softmax_leading(rows: Array) -> tuple[Array, Array]:
    """Softmax over the leading axis [K, ...], and log Σ_k exp(rows[k]) [...]; where all are -inf, zeros and -inf. Derivatives are never NaN."""
    largest = _folded(jnp.maximum, rows)
    shift = jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0.0))
    weights = jnp.exp(rows - shift)
    total = _folded(jnp.add, weights)
    # Not "larger than zero": a NaN must stay one.
    possible = total != 0
    divisor = jnp.where(possible, total, 1.0)
    return weights / divisor, jnp.where(possible, shift + jnp.log(divisor), -jnp.inf)


def _folded(operation: Callable[[Array, Array], Array], rows: Array) -> Array:
    """A sum or maximum over the leading axis."""
    if rows.shape[0] > _MOST_UNROLLED:
        return rows.sum(0) if operation is jnp.add else rows.max(0)
    return reduce(operation, rows)


@partial(jax.tree_util.register_dataclass, data_fields=["log_nodes", "lengths"], meta_fields=[])
@dataclass(frozen=True)
class IndependentChain:
    """Potentials of steps without coupling, with the questions of `DiscreteChain` as methods.

    Attributes:
        log_nodes: log-potential of each state at each step, [..., T, K]; -inf forbids.
        lengths: real steps of each sequence, [...]; all T if None.

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels import IndependentChain
        >>> chain = IndependentChain(jnp.log(jnp.array([[0.2, 0.6], [0.1, 0.1]])))
        >>> chain.smooth().marginals.round(2).tolist()
        [[0.25, 0.75], [0.5, 0.5]]
    """

    log_nodes: Array
    lengths: Array | None = None

    def _active(self) -> Array | None:
        return None if self.lengths is None else jnp.arange(self.log_nodes.shape[-2]) < jnp.asarray(self.lengths)[..., None]

    def _normalised(self) -> tuple[Array, Array, Array]:
        """Probabilities [..., T, K], increments [..., T] and the sums of these [...]; both are zero at padding."""
        rows, active = jnp.moveaxis(self.log_nodes, -1, 0), self._active()
        if active is not None:
            rows = jnp.where(active, rows, 0.0)
        probs, increments = softmax_leading(rows)
        # A step that no state allows has no law.
        probs = jnp.where(jnp.isfinite(increments), probs, jnp.nan)
        if active is not None:
            probs, increments = jnp.where(active, probs, 0.0), jnp.where(active, increments, 0.0)
        return jnp.moveaxis(probs, 0, -1), increments, compensated_sum(jnp.moveaxis(increments, -1, 0))

    def log_normaliser(self) -> Array:
        """Log of the sum over states, added over steps, [...]."""
        return self._normalised()[2]

    def filter(self) -> Filtered:
        """Law of each state given the data up to its step: given the data of its step."""
        return Filtered(*self._normalised())

    def smooth(self) -> Smoothed:
        """Law of each state; neighbours are independent, so expected transitions are products of their laws."""
        marginals, _, total = self._normalised()
        pairs = jnp.einsum("...ti,...tj->...ij", marginals[..., :-1, :], marginals[..., 1:, :])
        return Smoothed(total, marginals, pairs, jnp.zeros(total.shape, bool))

    def most_probable_path(self) -> Path:
        """The state of largest potential at each step."""
        states, best, active = jnp.argmax(self.log_nodes, -1).astype(jnp.int32), self.log_nodes.max(-1), self._active()
        if active is not None:
            states, best = jnp.where(active, states, -1), jnp.where(active, best, 0.0)
        return Path(states, compensated_sum(jnp.moveaxis(best, -1, 0)))

    def sample(self, key: Array, num_samples: int | None = None) -> Array:
        """Exact draws of the states, int32 [..., T] or [num_samples, ..., T]; -1 at padding."""
        shape = self.log_nodes.shape[:-1] if num_samples is None else (num_samples, *self.log_nodes.shape[:-1])
        states, active = jax.random.categorical(key, self.log_nodes, shape=shape).astype(jnp.int32), self._active()
        return states if active is None else jnp.where(active, states, -1)
