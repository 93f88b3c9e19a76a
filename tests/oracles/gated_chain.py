"""Mixtures of experts inside a hidden Markov chain, by lists of all paths, in NumPy and Python; no code shared with the kernels or the models.

* `enumerate_experts`: each state emits through a mixture of experts; paths are of (state, expert) pairs, so that no sum over experts is taken beforehand;
* `enumerate_input_driven`: the probabilities of transitions depend on inputs (the input-output HMM).

One sequence of at most about six steps: (S K)^T and S^T paths.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np

from tests.oracles.mixture_of_experts import linear_log_densities, softmax_log_weights


@dataclasses.dataclass(frozen=True)
class ExpertEnumeration:
    """What is known of states and experts, from the list of their paths.

    Attributes:
        log_likelihood: of the sequence.
        state_probs: [T, S] P(z_t = s | y).
        expert_probs: [T, S, K] P(z_t = s, k_t = k | y).
        pair_probs: [T - 1, S, S] P(z_t = i, z_(t+1) = j | y).
        best_states: [T] the most probable path of states, experts summed out.
        best_log_joint: log of its joint probability with the data.
    """

    log_likelihood: float
    state_probs: np.ndarray
    expert_probs: np.ndarray
    pair_probs: np.ndarray
    best_states: np.ndarray
    best_log_joint: float

    @property
    def responsibilities(self) -> np.ndarray:
        """[T, S, K] P(k_t = k | z_t = s, y)."""
        return self.expert_probs / self.state_probs[:, :, None]


def enumerate_experts(initial: np.ndarray, transitions: np.ndarray, log_weights: np.ndarray, log_densities: np.ndarray) -> ExpertEnumeration:
    """Sum over all paths of (state, expert) pairs.

    Args:
        initial: [S] probabilities of the first state.
        transitions: [S, S] from row to column, or [T - 1, S, S] one matrix a move.
        log_weights: [T, S, K] log π_sk(x_t).
        log_densities: [T, S, K] log p(y_t | x_t, expert k of state s); zeros at a step without observation.
    """
    num_steps, num_states, num_experts = np.shape(log_weights)
    moves = np.broadcast_to(transitions, (num_steps - 1, num_states, num_states))
    pairs = list(itertools.product(range(num_states), range(num_experts)))
    total: list[float] = []
    states = np.zeros((num_steps, num_states))
    experts = np.zeros((num_steps, num_states, num_experts))
    pair_probs = np.zeros((num_steps - 1, num_states, num_states))
    of_states: dict[tuple[int, ...], list[float]] = {}
    for path in itertools.product(pairs, repeat=num_steps):
        weight = initial[path[0][0]]
        for t in range(num_steps - 1):
            weight *= moves[t, path[t][0], path[t + 1][0]]
        for t, (state, expert) in enumerate(path):
            weight *= math.exp(log_weights[t, state, expert]) * math.exp(log_densities[t, state, expert])
        total.append(weight)
        of_states.setdefault(tuple(state for state, _ in path), []).append(weight)
        for t, (state, expert) in enumerate(path):
            states[t, state] += weight
            experts[t, state, expert] += weight
        for t in range(num_steps - 1):
            pair_probs[t, path[t][0], path[t + 1][0]] += weight
    likelihood = math.fsum(total)
    best = max(of_states, key=lambda key: math.fsum(of_states[key]))
    return ExpertEnumeration(
        log_likelihood=math.log(likelihood),
        state_probs=states / likelihood,
        expert_probs=experts / likelihood,
        pair_probs=pair_probs / likelihood,
        best_states=np.array(best),
        best_log_joint=math.log(math.fsum(of_states[best])),
    )


def softmax_linear_emission(
    gate_weights: np.ndarray,
    gate_bias: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    scale: np.ndarray,
    inputs: np.ndarray,
    outputs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Gate log-weights and expert log-densities, both [T, S, K], of an emission with a softmax gate and linear normal experts to each state.

    Args:
        gate_weights: [S, K, M].
        gate_bias: [S, K].
        weights: [S, K, M] of the experts.
        bias: [S, K].
        scale: [S, K] standard deviations.
        inputs: [T, M].
        outputs: [T], NaN where missing.
    """
    log_weights = [softmax_log_weights(w, b, inputs) for w, b in zip(gate_weights, gate_bias, strict=True)]
    log_densities = [linear_log_densities(a, b, sd, inputs, outputs) for a, b, sd in zip(weights, bias, scale, strict=True)]
    return np.stack(log_weights, axis=1), np.stack(log_densities, axis=1)


def input_driven_transitions(weights: np.ndarray, bias: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """[T - 1, S, S]: P(z_(t+1) = j | z_t = i) = softmax_j(W_i u_(t+1) + b_i), driven by the input of the step that is entered.

    Args:
        weights: [S, S, M], from, to, input.
        bias: [S, S].
        inputs: [T, M]; the first is not used.
    """
    matrices = []
    for u in np.asarray(inputs, float)[1:]:
        rows = []
        for w, b in zip(weights, bias, strict=True):
            raised = np.exp([np.dot(w_j, u) + b_j for w_j, b_j in zip(w, b, strict=True)])
            rows.append(raised / raised.sum())
        matrices.append(rows)
    return np.array(matrices).reshape(len(inputs) - 1, len(bias), len(bias))


@dataclasses.dataclass(frozen=True)
class InputDrivenEnumeration:
    """What is known of the states of an input-output HMM, from the list of their paths.

    Attributes:
        log_likelihood: of the sequence.
        state_probs: [T, S] P(z_t = s | y).
        pair_probs: [T - 1, S, S] P(z_t = i, z_(t+1) = j | y).
    """

    log_likelihood: float
    state_probs: np.ndarray
    pair_probs: np.ndarray


def enumerate_input_driven(
    initial: np.ndarray, weights: np.ndarray, bias: np.ndarray, inputs: np.ndarray, log_likelihoods: np.ndarray
) -> InputDrivenEnumeration:
    """Sum over all paths of states.

    Args:
        initial: [S] probabilities of the first state.
        weights: [S, S, M]; see `input_driven_transitions`.
        bias: [S, S].
        inputs: [T, M].
        log_likelihoods: [T, S] log p(y_t | z_t = s, ...); zeros at a step without observation.
    """
    num_steps, num_states = np.shape(log_likelihoods)
    transitions = input_driven_transitions(weights, bias, inputs)
    total: list[float] = []
    states = np.zeros((num_steps, num_states))
    pair_probs = np.zeros((num_steps - 1, num_states, num_states))
    for path in itertools.product(range(num_states), repeat=num_steps):
        weight = initial[path[0]] * math.prod(math.exp(log_likelihoods[t, state]) for t, state in enumerate(path))
        weight *= math.prod(transitions[t, path[t], path[t + 1]] for t in range(num_steps - 1))
        total.append(weight)
        for t, state in enumerate(path):
            states[t, state] += weight
        for t in range(num_steps - 1):
            pair_probs[t, path[t], path[t + 1]] += weight
    likelihood = math.fsum(total)
    return InputDrivenEnumeration(math.log(likelihood), states / likelihood, pair_probs / likelihood)
