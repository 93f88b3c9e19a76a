"""Near-deterministic chains, and the check that the scaled semiring is right about them or says that it is not."""

from __future__ import annotations

import jax
import numpy as np
from numpy.testing import assert_array_equal

from tests.kernels.chains import Answers, Chains, answers

STEPS, STATES = 12, 3


def staying(num_states: int, leave: float) -> np.ndarray:
    """Transitions that keep the state, with potential `leave` for any other move."""
    return np.where(np.eye(num_states) > 0, 0.0, leave)


def left_right(num_states: int, stay: float = 0.5) -> np.ndarray:
    """Each state is kept or left for the next; none is entered again."""
    weights = stay * np.eye(num_states) + (1 - stay) * np.eye(num_states, k=1)
    weights[-1, -1] = 1.0
    with np.errstate(divide="ignore"):
        return np.log(weights)


def contrasts(*blocks: tuple[int, int, float], num_states: int = STATES) -> np.ndarray:
    """Node potentials in blocks: (steps, favoured state, nats per step)."""
    rows = [np.where(np.arange(num_states) == state, nats, 0.0) for steps, state, nats in blocks for _ in range(steps)]
    return np.stack(rows)


CROWD = 1000


def in_a_crowd(batch: Chains, semiring: str, backend: str) -> Answers:
    """The answers to a small batch, repeated to the size that all tests here share, and its first members' only."""
    count = len(batch.lengths)
    repeated = Chains(*(np.resize(part, (CROWD, *part.shape[1:])) for part in batch.arguments))
    return jax.tree.map(lambda leaf: leaf[:count], answers(repeated, semiring, backend, optimised=semiring == "scaled"))


def check_scaled_is_right_or_says_so(scaled, log, sizes: np.ndarray, bound: float) -> np.ndarray:
    """NaN exactly where underflow is declared; elsewhere the log semiring's numbers. Returns the declared ones."""
    flagged = scaled.smoothed.underflow
    assert_array_equal(np.isnan(scaled.log_normaliser), flagged)
    assert_array_equal(np.isnan(scaled.smoothed.log_normaliser), flagged)
    held = ~flagged
    impossible = np.isneginf(log.log_normaliser)
    wrong = np.isneginf(scaled.log_normaliser[held]) != impossible[held]
    assert not wrong.any(), f"-inf differs in sequences {np.flatnonzero(held)[wrong]}"
    finite = held & ~impossible
    error = np.abs(scaled.log_normaliser - np.where(impossible, 0.0, log.log_normaliser))[finite]
    wrong = ~(error <= bound * np.maximum(1.0, sizes[finite]))
    assert not wrong.any(), f"log-normaliser wrong by {error[wrong]} in sequences {np.flatnonzero(finite)[wrong]}"
    for left, right in [
        (scaled.smoothed.marginals, log.smoothed.marginals),
        (scaled.smoothed.expected_transitions, log.smoothed.expected_transitions),
        (scaled.gradient[2], log.gradient[2]),
        (scaled.gradient[0], log.gradient[0]),
    ]:
        error = np.abs(left - right)[held].max(axis=tuple(range(1, left.ndim)), initial=0.0)
        wrong = ~(error <= bound)
        assert not wrong.any(), f"smoother wrong by {error[wrong]} in sequences {np.flatnonzero(held)[wrong]}"
    return flagged


EDGE_LEVELS = np.array([-np.inf, 0.0, 0.0, -1.0, -30.0, -87.0, -104.0, -300.0, -700.0, -745.0, -2000.0])
NODE_LEVELS = np.array([0.0, 0.0, 1.0, -1.0, 50.0, -88.0, 350.0, 400.0, -700.0, 708.0, 800.0, -1600.0, -np.inf])


def rigid_chains(rng: np.random.Generator, count: int, constant: bool) -> Chains:
    """Random chains of huge contrasts, in seven manners.

    Round levels on the edges of both floating-point formats, with some nodes spread over the steps; anything up to
    1500 nats; little but what is nearly or just below the range of doubles; the same for float32; chains that only
    permute their states, or all but, whose data favour one history for some steps and then another, up to 450 nats a
    step; the same up to 60; edges that are free, closed or just below the range of doubles under nodes of up to 600.
    """
    edge_shape = (count, STATES, STATES) if constant else (count, STEPS - 1, STATES, STATES)
    node_shape = (count, STEPS, STATES)

    def either(fraction, left, right):
        return np.where(rng.random(np.shape(right)) < fraction, left, right)

    initial = rng.choice([0.0, 0.0, -np.inf, -700.0], size=(count, STATES))
    round_edges = rng.choice(EDGE_LEVELS, size=edge_shape)
    diagonal = rng.random(edge_shape[:-2]) < 0.7
    round_edges = np.where(diagonal[..., None, None] & (np.eye(STATES) > 0), 0.0, round_edges)
    edges = [
        round_edges,
        either(0.3, -rng.uniform(0, 1500, edge_shape), round_edges),
        either(0.4, -rng.uniform(680, 750, edge_shape), np.zeros(edge_shape)),
        either(0.4, -rng.uniform(80, 110, edge_shape), round_edges),
    ]
    permuted = np.eye(STATES)[np.argsort(rng.random((count, STATES)), axis=1)]
    permuted = np.where(permuted > 0, 0.0, rng.choice([-np.inf, -2000.0, -712.0], size=(count, 1, 1)))
    permuting = permuted if constant else np.repeat(permuted[:, None], STEPS - 1, axis=1)
    edges += [permuting, permuting, rng.choice([0.0, 0.0, -np.inf, -712.0], size=edge_shape)]
    round_nodes = rng.choice(NODE_LEVELS, size=node_shape)
    calm = rng.random((count, STEPS, 1)) < rng.choice([0.0, 0.5, 0.8], size=(count, 1, 1))
    gentle = rng.choice([1.0, 1 / STEPS, 0.5], size=(count, 1, 1))
    jitter = rng.normal(size=node_shape) * rng.choice([0.0, 1.0], size=(count, 1, 1))
    nodes = [
        np.where(calm, 0.0, round_nodes) * gentle + jitter,
        400 * rng.normal(size=node_shape),
        either(0.4, -rng.uniform(0, 750, node_shape), np.zeros(node_shape)),
        rng.uniform(-110, 110, node_shape),
    ]
    held = np.repeat(rng.random((count, STEPS // 4, STATES)), 4, axis=1)
    nodes += [-450 * held, -60 * held, rng.choice([0.0, 0.0, -200.0, -300.0, -400.0, -600.0], size=node_shape)]
    manner = rng.integers(len(edges), size=count)
    chosen_edges, chosen_nodes = (np.stack(drawn)[manner, np.arange(count)] for drawn in (edges, nodes))
    return Chains(initial, chosen_edges, chosen_nodes, rng.integers(1, STEPS + 1, size=count))


def sizes_of(chains: Chains) -> np.ndarray:
    """Largest finite potential of each sequence, times its steps."""
    parts = (np.abs(part).reshape(len(chains.lengths), -1) for part in chains.arguments[:3])
    return STEPS * sum(np.where(np.isfinite(part), part, 0.0).max(axis=1) for part in parts)
