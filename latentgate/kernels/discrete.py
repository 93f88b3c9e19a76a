"""The discrete chain: four questions, asked of log-potentials.

Shapes, throughout: `log_initial` [K] or [..., K]; `log_nodes` [..., T, K] with any leading dimensions of independent sequences;
`log_transitions` [K, K] or [..., K, K] when constant in time, and [..., T-1, K, K] (one dimension more than `log_nodes`) when each step has its own;
entry [i, j] leads from state i to state j. Potentials need not be normalised; -inf forbids. `lengths` [...] marks what lies beyond as padding, which has
no influence.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from . import derivative, paths, posterior
from .batching import natively_batched
from .posterior import Filtered, Smoothed
from .semirings import SEMIRINGS
from .shapes import check_lengths, fits

BACKENDS = ("auto", "sequential", "associative")


class Path(NamedTuple):
    """A most probable path.

    Attributes:
        states: int32 [..., T], -1 at padding.
        log_joint: log-potential of the path, [...].
    """

    states: Array
    log_joint: Array


def log_normaliser(
    log_initial: ArrayLike,
    log_transitions: ArrayLike,
    log_nodes: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    semiring: str = "scaled",
    backend: str = "auto",
) -> Array:
    """Log of the sum over all state paths of the product of potentials.

    Its derivative is the smoother, in forward and reverse mode and to any order.

    Args:
        log_initial: log-potential of the first state, [K] or [..., K].
        log_transitions: [K, K], [..., K, K], or per step [..., T-1, K, K].
        log_nodes: log-potential of each state at each step, [..., T, K].
        lengths: real steps of each sequence, [...]; all T if None.
        semiring: "scaled" (fast) or "log" (for near-deterministic chains).
        backend: "auto" (sequential on CPU, associative elsewhere), "sequential" or "associative".

    Returns:
        [...]. -inf where no path is possible. NaN where the scaled recursion underflows: use `semiring="log"` there.

    Raises:
        ValueError: if shapes do not fit together, or an option is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels import log_normaliser
        >>> stay = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
        >>> float(jnp.round(log_normaliser(jnp.log(jnp.array([0.5, 0.5])), stay, jnp.zeros((4, 2))), 6))
        0.0
    """
    chain = _checked(log_initial, log_transitions, log_nodes, lengths, semiring, backend)
    return _log_normaliser(*chain, semiring, resolve(backend))


def filter(  # noqa: A001 - the field's word, in its own namespace
    log_initial: ArrayLike,
    log_transitions: ArrayLike,
    log_nodes: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    semiring: str = "scaled",
    backend: str = "auto",
) -> Filtered:
    """Law of each state given the data up to its step; arguments as `log_normaliser`."""
    chain = _checked(log_initial, log_transitions, log_nodes, lengths, semiring, backend)
    return _filtered(*chain, semiring, resolve(backend))


def smooth(
    log_initial: ArrayLike,
    log_transitions: ArrayLike,
    log_nodes: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    semiring: str = "scaled",
    backend: str = "auto",
) -> Smoothed:
    """Law of each state, and expected transitions, given all data; arguments as `log_normaliser`."""
    chain = _checked(log_initial, log_transitions, log_nodes, lengths, semiring, backend)
    return _smoothed(*chain, semiring, resolve(backend))


def most_probable_path(
    log_initial: ArrayLike,
    log_transitions: ArrayLike,
    log_nodes: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    backend: str = "auto",
) -> Path:
    """The path of largest potential (Viterbi); arguments as `log_normaliser`."""
    chain = _checked(log_initial, log_transitions, log_nodes, lengths, "log", backend)
    return Path(*_most_probable_path(*chain, resolve(backend)))


def sample(
    key: Array,
    log_initial: ArrayLike,
    log_transitions: ArrayLike,
    log_nodes: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    num_samples: int | None = None,
    semiring: str = "scaled",
    backend: str = "auto",
) -> Array:
    """Exact draws of the whole path given all data (forward filter, backward sample); other arguments as `log_normaliser`.

    Args:
        key: JAX random key; the same key gives the same draw, whatever the backend.
        num_samples: number of draws, a new leading dimension; one draw without it if None.

    Returns:
        int32 [..., T] or [num_samples, ..., T]; -1 at padding.
    """
    chain = _checked(log_initial, log_transitions, log_nodes, lengths, semiring, backend)
    if num_samples is None:
        return _sample(key, *chain, semiring, resolve(backend))
    if isinstance(num_samples, bool) or not isinstance(num_samples, int | np.integer) or num_samples < 1:
        raise ValueError(f"num_samples: found {num_samples!r}, expected an integer of at least 1, or None for one draw without a new dimension.")
    keys = jax.random.split(key, int(num_samples))
    return jax.vmap(lambda one: _sample(one, *chain, semiring, resolve(backend)))(keys)


_log_normaliser = jax.jit(derivative.log_normaliser, static_argnums=(4, 5))
_filtered = jax.jit(lambda *chain: natively_batched(posterior.filtered, *chain[4:])(*chain[:4]), static_argnums=(4, 5))
_smoothed = jax.jit(lambda *chain: natively_batched(posterior.smoothed, *chain[4:])(*chain[:4]), static_argnums=(4, 5))
_most_probable_path = jax.jit(paths.most_probable_path, static_argnums=(4,))
_sample = jax.jit(paths.sample, static_argnums=(5, 6))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["log_initial", "log_transitions", "log_nodes", "lengths"],
    meta_fields=["semiring", "backend"],
)
@dataclass(frozen=True)
class DiscreteChain:
    """Potentials of a discrete chain, with the questions as methods: what models make and engines ask.

    Attributes:
        log_initial, log_transitions, log_nodes, lengths: see the module.
        semiring, backend: see `log_normaliser`.

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels import DiscreteChain
        >>> chain = DiscreteChain(jnp.log(jnp.full(2, 0.5)), jnp.log(jnp.full((2, 2), 0.5)), jnp.zeros((3, 2)))
        >>> chain.smooth().marginals.shape
        (3, 2)
    """

    log_initial: Array
    log_transitions: Array
    log_nodes: Array
    lengths: Array | None = None
    semiring: str = field(default="scaled")
    backend: str = field(default="auto")

    def _potentials(self):
        return self.log_initial, self.log_transitions, self.log_nodes, self.lengths

    def log_normaliser(self) -> Array:
        """See `latentgate.kernels.log_normaliser`."""
        return log_normaliser(*self._potentials(), semiring=self.semiring, backend=self.backend)

    def filter(self) -> Filtered:
        """See `latentgate.kernels.filter`."""
        return filter(*self._potentials(), semiring=self.semiring, backend=self.backend)

    def smooth(self) -> Smoothed:
        """See `latentgate.kernels.smooth`."""
        return smooth(*self._potentials(), semiring=self.semiring, backend=self.backend)

    def most_probable_path(self) -> Path:
        """See `latentgate.kernels.most_probable_path`."""
        return most_probable_path(*self._potentials(), backend=self.backend)

    def sample(self, key: Array, num_samples: int | None = None) -> Array:
        """See `latentgate.kernels.sample`."""
        return sample(key, *self._potentials(), num_samples=num_samples, semiring=self.semiring, backend=self.backend)


def resolve(backend: str) -> str:
    """The backend that "auto" stands for here."""
    if backend != "auto":
        return backend
    return "sequential" if jax.default_backend() == "cpu" else "associative"


def _checked(log_initial, log_transitions, log_nodes, lengths, semiring: str, backend: str):
    if semiring not in SEMIRINGS:
        raise ValueError(f"semiring: found {semiring!r}, expected one of {', '.join(map(repr, SEMIRINGS))}.")
    if backend not in BACKENDS:
        raise ValueError(f"backend: found {backend!r}, expected one of {', '.join(map(repr, BACKENDS))}.")
    log_initial, log_transitions, log_nodes = map(jnp.asarray, (log_initial, log_transitions, log_nodes))
    dtype = jnp.result_type(log_initial, log_transitions, log_nodes, jnp.float32)
    log_initial, log_transitions, log_nodes = (x.astype(dtype) for x in (log_initial, log_transitions, log_nodes))
    if log_nodes.ndim < 2 or 0 in log_nodes.shape[-2:]:
        raise ValueError(f"log_nodes: found shape {log_nodes.shape}, expected [..., T, K] with at least one step and one state.")
    *batch, num_steps, num_states = log_nodes.shape
    batch = tuple(batch)
    if log_initial.ndim < 1 or not fits(log_initial.shape, (*batch, num_states), 1):
        raise ValueError(
            f"log_initial: found shape {log_initial.shape}, expected [K] = ({num_states},) or {(*batch, num_states)} to go with log_nodes {log_nodes.shape}."
        )
    per_step = log_transitions.ndim == log_nodes.ndim + 1
    wanted = (*batch, num_steps - 1, num_states, num_states) if per_step else (*batch, num_states, num_states)
    if log_transitions.ndim < 2 or not fits(log_transitions.shape, wanted, 3 if per_step else 2):
        raise ValueError(
            f"log_transitions: found shape {log_transitions.shape}, expected [K, K] = {(num_states, num_states)}, one per sequence "
            f"{(*batch, num_states, num_states)}, or one per step {(*batch, num_steps - 1, num_states, num_states)} to go with "
            f"log_nodes {log_nodes.shape}."
        )
    if lengths is not None:
        check_lengths(lengths, batch, num_steps)
        lengths = jnp.broadcast_to(jnp.asarray(lengths), batch)
    return log_initial, log_transitions, log_nodes, lengths
