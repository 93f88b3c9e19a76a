"""Chains to test on, and the kernels compiled once for all tests that share a shape."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.testing import assert_allclose

from latentgate import kernels
from tests.oracles import discrete_chain as oracle

SEMIRINGS = ("scaled", "log")
BACKENDS = ("sequential", "associative")
WAYS = tuple(itertools.product(SEMIRINGS, BACKENDS))
KINDS = ("constant", "per-sequence", "per-step")


@dataclasses.dataclass(frozen=True)
class Chains:
    """A padded batch: log_initial [K] or [B, K], log_transitions of any kind, log_nodes [B, T, K], lengths [B]."""

    log_initial: np.ndarray
    log_transitions: np.ndarray
    log_nodes: np.ndarray
    lengths: np.ndarray

    @property
    def arguments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.log_initial, self.log_transitions, self.log_nodes, self.lengths

    def astype(self, dtype) -> Chains:
        floats = (np.asarray(value, dtype) for value in self.arguments[:3])
        return Chains(*floats, self.lengths)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
        """Each sequence in the form that the oracles take."""
        for b in range(len(self.log_nodes)):
            initial = self.log_initial if self.log_initial.ndim == 1 else self.log_initial[b]
            edges = self.log_transitions
            if edges.ndim > 2:
                edges = edges[b if len(edges) > 1 else 0]
            yield initial, edges, self.log_nodes[b], int(self.lengths[b])


def log_probs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Log of Dirichlet(1) draws along the last axis."""
    weights = rng.exponential(size=shape)
    return np.log(weights / weights.sum(axis=-1, keepdims=True))


def with_zeros(rng: np.random.Generator, values: np.ndarray, fraction: float = 0.25) -> np.ndarray:
    """The potentials with some replaced by -inf."""
    return np.where(rng.random(values.shape) < fraction, -np.inf, values)


NUM_FLAVOURS = 10


def flavoured_chain(rng: np.random.Generator, flavour: int, num_states: int, num_steps: int, constant: bool):
    """One sequence's potentials: plain, unnormalised, with -inf in each place, with offsets of 1e3, impossible."""
    edge_shape = (num_states, num_states) if constant else (num_steps - 1, num_states, num_states)
    initial = log_probs(rng, num_states)
    edges = log_probs(rng, *edge_shape)
    nodes = rng.normal(scale=2.0, size=(num_steps, num_states))
    if flavour == 1:
        initial, edges = 3 * rng.normal(size=num_states), 3 * rng.normal(size=edge_shape)
    elif flavour == 2:
        nodes = with_zeros(rng, nodes)
    elif flavour == 3:
        initial = with_zeros(rng, initial, 0.5)
    elif flavour == 4:
        edges = with_zeros(rng, edges)
    elif flavour == 5:
        nodes += 1e3 * rng.choice([-1.0, 1.0], size=(num_steps, 1))
    elif flavour == 6:
        initial += 1e3
        edges += 1e3 * rng.choice([-1.0, 1.0], size=(*edge_shape[:-2], 1, 1))
    elif flavour == 7:
        nodes[:, rng.integers(num_states)] = -np.inf
    elif flavour == 8:
        nodes[rng.integers(num_steps)] = -np.inf
    elif flavour == 9:
        nodes *= 10
    return initial, edges, nodes


@functools.lru_cache
def flavoured_batches(kind: str, num_states: int, num_steps: int, seed: int = 0) -> tuple[Chains, ...]:
    """Batches of equal shape in which every flavour meets every length from one step to `num_steps`."""
    rng = np.random.default_rng(seed)
    combinations = list(itertools.product(range(NUM_FLAVOURS), range(1, num_steps + 1)))
    batches = []
    for start in range(0, len(combinations), num_steps):
        drawn, lengths = [], []
        for flavour, length in combinations[start : start + num_steps]:
            drawn.append(flavoured_chain(rng, flavour, num_states, num_steps, kind != "per-step"))
            lengths.append(length)
        initial, edges, nodes = (np.stack(values) for values in zip(*drawn, strict=True))
        batches.append(Chains(initial, edges[0] if kind == "constant" else edges, nodes, np.array(lengths)))
    return tuple(batches)


@functools.lru_cache
def enumerated(kind: str, num_states: int, num_steps: int, seed: int = 0) -> list[list[oracle.Enumeration]]:
    """The oracle's answers to `flavoured_batches`, computed once for every semiring and backend."""
    batches = flavoured_batches(kind, num_states, num_steps, seed)
    return [[oracle.enumerate_chain(*sequence) for sequence in batch] for batch in batches]


# Compiling is nearly all that these tests do. Tests of logic, where a fault is no matter of a rounding, ask XLA for
# less of it; tests of precision and of underflow run what users run.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_parallel_codegen_split_count": 1}


def quick_jit(function: Callable) -> Callable:
    """`jax.jit`, in about half the time and with slower code."""
    return jax.jit(function, compiler_options=QUICK)


@functools.lru_cache
def compiled(name: str, semiring: str, backend: str, optimised: bool = True) -> Callable:
    """One jitted kernel; a test that meets a shape another test has met compiles nothing."""
    options = {"backend": backend} if name == "most_probable_path" else {"semiring": semiring, "backend": backend}
    return (jax.jit if optimised else quick_jit)(functools.partial(getattr(kernels, name), **options))


class Answers(NamedTuple):
    """What the kernels say about a batch, as NumPy arrays; `gradient` is that of the summed log-normalisers."""

    log_normaliser: np.ndarray
    smoothed: Any
    filtered: Any
    gradient: tuple[np.ndarray, np.ndarray, np.ndarray]


@functools.lru_cache
def _answers_program(semiring: str, backend: str, optimised: bool) -> Callable:
    options = {"semiring": semiring, "backend": backend}

    def program(log_initial, log_transitions, log_nodes, lengths):
        potentials = (log_initial, log_transitions, log_nodes)

        def total(*potentials):
            values = kernels.log_normaliser(*potentials, lengths, **options)
            return values.sum(), values

        gradient, log_normaliser = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(*potentials)
        smoothed = kernels.smooth(*potentials, lengths, **options)
        filtered = kernels.filter(*potentials, lengths, **options)
        return Answers(log_normaliser, smoothed, filtered, gradient)

    return (jax.jit if optimised else quick_jit)(program)


def answers(chains: Chains, semiring: str, backend: str, optimised: bool = False) -> Answers:
    """All that the smoother, the filter, the log-normaliser and its gradient say, from one compiled program."""
    return numpy_tree(_answers_program(semiring, backend, optimised)(*chains.arguments))


def numpy_tree(tree):
    """Arrays on the host, so that comparisons run in NumPy."""
    return jax.tree.map(np.asarray, tree)


def ordinary_chain(seed: int, num_states: int, num_steps: int, contrast: float = 1.5, stay: float = 0.9):
    """Potentials with data drawn from a sticky chain: initial [K], transitions [K, K], nodes [T, K] around -2."""
    rng = np.random.default_rng(seed)
    transitions = np.full((num_states, num_states), (1 - stay) / max(num_states - 1, 1))
    np.fill_diagonal(transitions, stay if num_states > 1 else 1.0)
    changes = rng.random(num_steps) < 1 - stay
    states = np.cumsum(changes * rng.integers(1, max(num_states, 2), num_steps)) % num_states
    nodes = -2.0 + rng.normal(size=(num_steps, num_states))
    nodes[np.arange(num_steps), states] += contrast
    return np.full(num_states, -np.log(num_states)), np.log(transitions), nodes


def assert_same(left, right, bound=1e-10):
    """Equal up to rounding, where minus infinity equals itself and NaN equals nothing."""
    assert not np.isnan(left).any()
    assert_allclose(left, right, rtol=1e-12, atol=bound)
