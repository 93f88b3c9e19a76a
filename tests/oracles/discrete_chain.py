"""Slow, textbook answers for a discrete chain, in plain NumPy and Python.

Three oracles that share no code with the kernels, nor with one another:

* `enumerate_chain` lists all K^T paths and sums over them;
* `decimal_smoother` runs the forward-backward recursions in `decimal` arithmetic, whose exponents do not underflow;
* `blocked_smoother` runs them in extended precision (`numpy.longdouble`) for up to a million steps.

All take one sequence: `log_initial` [K], `log_transitions` [K, K] or [T-1, K, K], `log_nodes` [T, K] and, but for the
last, `length` (None: T). Entry [i, j] of a transition matrix is the potential from state i at step t to state j at step
t + 1. Steps at and after `length` are padding. Potentials may be -inf and need not be normalised.

`numpy.longdouble` has 64 bits of mantissa on x86; where it is only a double the bounds of the tests still hold for it.
"""

from __future__ import annotations

import dataclasses
import itertools
from decimal import Decimal, localcontext

import numpy as np

Extended = np.longdouble


def per_step_transitions(log_transitions: np.ndarray, num_steps: int) -> np.ndarray:
    """[T-1, K, K] whether the transitions were given as [K, K] or already per step."""
    log_transitions = np.asarray(log_transitions)
    if log_transitions.ndim == 2:
        return np.broadcast_to(log_transitions, (num_steps - 1, *log_transitions.shape))
    return log_transitions


def log_sum_exp(values: np.ndarray) -> np.number:
    """log(sum(exp(values))) over everything, -inf when nothing is finite."""
    largest = values.max()
    if largest == -np.inf:
        return largest
    return largest + np.log(np.exp(values - largest).sum())


def path_log_joint(states, log_initial, log_transitions, log_nodes, length=None) -> float:
    """Sum of the potentials along one path."""
    length = len(log_nodes) if length is None else int(length)
    edges = per_step_transitions(log_transitions, len(log_nodes))
    states = np.asarray(states)[:length]
    total = Extended(log_initial[states[0]])
    total += np.asarray(log_nodes, Extended)[np.arange(length), states].sum()
    moves = np.asarray(edges[: length - 1], Extended)[np.arange(length - 1), states[:-1], states[1:]]
    return float(total + moves.sum())


@dataclasses.dataclass(frozen=True)
class Enumeration:
    """Everything a chain can be asked, from the list of its paths.

    Attributes:
        paths: [P, length] every path over the real steps.
        path_log_weights: [P] sum of the potentials along each path.
        path_probs: [P] normalised; zero throughout when every path is impossible.
        log_normaliser: log of the sum of the path weights.
        marginals: [T, K], zero at padding.
        pair_marginals: [T-1, K, K], zero at padding.
        filter_probs: [T, K], zero at padding and from the first impossible step on.
        log_increments: [T], zero at padding; -inf at the first impossible step and, by choice, zero after it.
        best_path: [length] a path of largest weight.
        best_log_joint: its weight.
        num_best: how many paths tie with it, to a relative 1e-12.
    """

    paths: np.ndarray
    path_log_weights: np.ndarray
    path_probs: np.ndarray
    log_normaliser: float
    marginals: np.ndarray
    pair_marginals: np.ndarray
    filter_probs: np.ndarray
    log_increments: np.ndarray
    best_path: np.ndarray
    best_log_joint: float
    num_best: int

    @property
    def expected_transitions(self) -> np.ndarray:
        """[K, K] pair marginals summed over time."""
        return self.pair_marginals.sum(axis=0)


def enumerate_chain(log_initial, log_transitions, log_nodes, length=None) -> Enumeration:
    """Sum over every path."""
    num_steps, num_states = np.shape(log_nodes)
    length = num_steps if length is None else int(length)
    edges = np.asarray(per_step_transitions(log_transitions, num_steps), Extended)
    initial, nodes = np.asarray(log_initial, Extended), np.asarray(log_nodes, Extended)

    paths = np.array(list(itertools.product(range(num_states), repeat=length)))
    weights = initial[paths[:, 0]]
    prefix_log_normalisers = []
    filter_probs = np.zeros((num_steps, num_states), Extended)
    for t in range(length):
        if t > 0:
            weights = weights + edges[t - 1, paths[:, t - 1], paths[:, t]]
        weights = weights + nodes[t, paths[:, t]]
        # Paths are listed with the last step running fastest, so each prefix recurs once per continuation of it.
        repeats = num_states ** (length - 1 - t)
        prefix_log_normalisers.append(log_sum_exp(weights[::repeats]))
        if prefix_log_normalisers[-1] > -np.inf:
            probs = np.exp(weights[::repeats] - prefix_log_normalisers[-1])
            np.add.at(filter_probs[t], paths[::repeats, t], probs)

    increments = np.zeros(num_steps, Extended)
    increments[0] = prefix_log_normalisers[0]
    for t in range(1, length):
        if prefix_log_normalisers[t - 1] > -np.inf:
            increments[t] = prefix_log_normalisers[t] - prefix_log_normalisers[t - 1]

    log_normaliser = prefix_log_normalisers[-1]
    possible = log_normaliser > -np.inf
    path_probs = np.exp(weights - log_normaliser) if possible else np.zeros(len(paths), Extended)
    marginals = np.zeros((num_steps, num_states), Extended)
    pairs = np.zeros((max(num_steps - 1, 0), num_states, num_states), Extended)
    for t in range(length):
        np.add.at(marginals[t], paths[:, t], path_probs)
    for t in range(length - 1):
        np.add.at(pairs[t], (paths[:, t], paths[:, t + 1]), path_probs)
    best = int(np.argmax(weights))
    slack = 1e-12 * max(1.0, abs(float(weights[best]))) if possible else 0.0
    return Enumeration(
        paths=paths,
        path_log_weights=weights.astype(float),
        path_probs=path_probs.astype(float),
        log_normaliser=float(log_normaliser),
        marginals=marginals.astype(float),
        pair_marginals=pairs.astype(float),
        filter_probs=filter_probs.astype(float),
        log_increments=increments.astype(float),
        best_path=paths[best],
        best_log_joint=float(weights[best]),
        num_best=int((weights >= weights[best] - slack).sum()),
    )


def statistics_covariance(log_initial, log_transitions, log_nodes, length=None) -> np.ndarray:
    """Covariance of (first state, transitions, states) indicators over paths: the Hessian of the log-normaliser.

    Returns:
        [D, D] where D counts the entries of `log_initial`, then `log_transitions` (summed over time when constant),
        then `log_nodes`, each raveled in C order.
    """
    num_steps, num_states = np.shape(log_nodes)
    answer = enumerate_chain(log_initial, log_transitions, log_nodes, length)
    one_hot = np.eye(num_states)
    real_steps = answer.paths.shape[1]
    nodes = np.zeros((len(answer.paths), num_steps, num_states))
    nodes[:, :real_steps] = one_hot[answer.paths]
    pairs = nodes[:, :-1, :, None] * nodes[:, 1:, None, :]
    if np.ndim(log_transitions) == 2:
        pairs = pairs.sum(axis=1)
    count = len(answer.paths)
    features = np.concatenate([nodes[:, 0], pairs.reshape(count, -1), nodes.reshape(count, -1)], axis=1)
    centred = features - answer.path_probs @ features
    return (centred * answer.path_probs[:, None]).T @ centred


@dataclasses.dataclass(frozen=True)
class Recursion:
    """Forward-backward answers: `filter_probs` and `marginals` [T, K]; pair statistics [T-1, K, K] or summed [K, K]."""

    log_normaliser: float
    filter_probs: np.ndarray
    marginals: np.ndarray
    pair_statistics: np.ndarray


def decimal_smoother(log_initial, log_transitions, log_nodes, length=None, digits: int = 50) -> Recursion:
    """Unscaled forward-backward recursions in decimal arithmetic: exact to `digits`, with no underflow to speak of."""
    num_steps, num_states = np.shape(log_nodes)
    length = num_steps if length is None else int(length)
    states = range(num_states)
    edge_logs = per_step_transitions(log_transitions, num_steps)

    with localcontext() as context:
        context.prec = digits
        context.Emin, context.Emax = -(10**15), 10**15

        def weight(value) -> Decimal:
            return Decimal(0) if value == -np.inf else Decimal(float(value)).exp()

        constant = np.ndim(log_transitions) == 2
        shared = [[weight(log_transitions[i][j]) for j in states] for i in states] if constant else None
        edges = [shared or [[weight(edge_logs[t][i][j]) for j in states] for i in states] for t in range(length - 1)]
        nodes = [[weight(log_nodes[t][k]) for k in states] for t in range(length)]

        forward = [[weight(log_initial[k]) * nodes[0][k] for k in states]]
        for t in range(1, length):
            previous = forward[-1]
            forward.append([sum(previous[i] * edges[t - 1][i][j] for i in states) * nodes[t][j] for j in states])
        backward = [[Decimal(1)] * num_states for _ in range(length)]
        for t in range(length - 2, -1, -1):
            ahead = [nodes[t + 1][j] * backward[t + 1][j] for j in states]
            backward[t] = [sum(edges[t][i][j] * ahead[j] for j in states) for i in states]

        total = sum(forward[-1])
        filter_probs, marginals = np.zeros((num_steps, num_states)), np.zeros((num_steps, num_states))
        pairs = np.zeros((max(num_steps - 1, 0), num_states, num_states))
        for t in range(length):
            prefix = sum(forward[t])
            for k in states:
                filter_probs[t, k] = float(forward[t][k] / prefix) if prefix else 0.0
                marginals[t, k] = float(forward[t][k] * backward[t][k] / total) if total else 0.0
        for t in range(length - 1):
            for i, j in itertools.product(states, states):
                joint = forward[t][i] * edges[t][i][j] * nodes[t + 1][j] * backward[t + 1][j]
                pairs[t, i, j] = float(joint / total) if total else 0.0
        return Recursion(float(total.ln()) if total else -np.inf, filter_probs, marginals, pairs)


def forward_recursion(log_initial, log_transitions, log_nodes) -> tuple[np.ndarray, np.ndarray]:
    """Scaled forward recursion in extended precision, one step after another: filter [T, K] and increments [T]."""
    num_steps, num_states = np.shape(log_nodes)
    edges = per_step_transitions(log_transitions, num_steps)
    nodes = np.asarray(log_nodes, Extended)
    constant = np.exp(np.asarray(log_transitions, Extended)) if np.ndim(log_transitions) == 2 else None
    filtered, increments = np.zeros((num_steps, num_states), Extended), np.zeros(num_steps, Extended)
    predicted = np.exp(np.asarray(log_initial, Extended))
    for t in range(num_steps):
        if t > 0:
            matrix = constant if constant is not None else np.exp(np.asarray(edges[t - 1], Extended))
            predicted = filtered[t - 1] @ matrix
        largest = nodes[t].max()
        weights = predicted * np.exp(nodes[t] - largest)
        filtered[t] = weights / weights.sum()
        increments[t] = np.log(weights.sum()) + largest
    return filtered, increments


def blocked_smoother(log_initial, log_transitions, log_nodes, num_blocks: int = 1000) -> Recursion:
    """Forward-backward recursions in extended precision, vectorised over blocks of steps, for up to a million steps.

    The transfer matrix of each block is multiplied out first; it carries the forward message to the start of every
    block and the backward message to its end, whence all blocks are swept at once. For ordinary chains: messages are
    scaled, not logarithmic. `pair_statistics` is summed over time, [K, K].
    """
    num_steps, num_states = np.shape(log_nodes)
    constant = np.ndim(log_transitions) == 2
    edges = np.exp(np.asarray(log_transitions, Extended))
    nodes = np.asarray(log_nodes, Extended)
    largest = nodes.max(axis=1)
    num_moves = num_steps - 1
    block_length = -(-num_moves // num_blocks)
    starts = np.arange(num_blocks) * block_length

    def moves(offset: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Transfer matrices [block, K, K] of the `offset`-th move of every block, identity beyond the end."""
        index = starts + offset
        real = index < num_moves
        clipped = np.where(real, index, 0)
        matrix = edges if constant else edges[clipped]
        node = np.exp(nodes[clipped + 1] - largest[clipped + 1, None])
        transfer = np.where(real[:, None, None], matrix * node[:, None, :], np.eye(num_states, dtype=Extended))
        return transfer, real, clipped

    product = np.broadcast_to(np.eye(num_states, dtype=Extended), (num_blocks, num_states, num_states))
    for offset in range(block_length):
        product = np.matmul(product, moves(offset)[0])
        product = product / product.sum(axis=(1, 2), keepdims=True)

    def normalised(message: np.ndarray) -> np.ndarray:
        return message / message.sum(axis=-1, keepdims=True)

    first = np.exp(np.asarray(log_initial, Extended)) * np.exp(nodes[0] - largest[0])
    entering = np.zeros((num_blocks, num_states), Extended)
    leaving = np.ones((num_blocks, num_states), Extended) / num_states
    entering[0] = normalised(first)
    for block in range(1, num_blocks):
        entering[block] = normalised(entering[block - 1] @ product[block - 1])
        mirror = num_blocks - 1 - block
        leaving[mirror] = normalised(product[mirror + 1] @ leaving[mirror + 1])

    filtered = np.zeros((num_steps, num_states), Extended)
    filtered[0] = entering[0]
    log_normaliser = np.log(first.sum()) + largest.sum()
    messages = np.zeros((block_length, num_blocks, num_states), Extended)
    message = entering
    for offset in range(block_length):
        messages[offset] = message
        transfer, real, clipped = moves(offset)
        message = np.einsum("bi,bij->bj", message, transfer)
        log_normaliser += np.log(message.sum(axis=-1))[real].sum()
        message = normalised(message)
        filtered[clipped[real] + 1] = message[real]

    marginals = np.zeros((num_steps, num_states), Extended)
    pair_statistics = np.zeros((num_states, num_states), Extended)
    marginals[-1] = filtered[-1]
    message = leaving
    for offset in range(block_length - 1, -1, -1):
        transfer, real, clipped = moves(offset)
        joint = messages[offset][:, :, None] * transfer * message[:, None, :]
        joint = joint / joint.sum(axis=(1, 2), keepdims=True)
        pair_statistics += joint[real].sum(axis=0)
        marginals[clipped[real]] = joint[real].sum(axis=2)
        message = normalised(np.einsum("bij,bj->bi", transfer, message))
    return Recursion(float(log_normaliser), filtered.astype(float), marginals.astype(float), pair_statistics.astype(float))
