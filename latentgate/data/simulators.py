"""Simulated data with their truth, in NumPy only: the one-hot HMM-GLM benchmark, a Poisson HMM, and jump processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from latentgate.data.jump_processes import (
    JumpPath,
    flashing_ratchet,
    ion_channel,
    simulate_ion_channel,
    simulate_jump_path,
    simulate_panel,
)
from latentgate.data.sequences import Sequences

__all__ = [
    "JumpPath",
    "OneHotSimulation",
    "PoissonHMMSimulation",
    "draw_connections",
    "exponential_basis",
    "flashing_ratchet",
    "ion_channel",
    "simulate_glm_counts",
    "simulate_ion_channel",
    "simulate_jump_path",
    "simulate_one_hot_hmm_glm",
    "simulate_panel",
    "simulate_poisson_hmm",
    "simulate_states",
    "sticky_transition",
]

INHIBITORY, NONE, EXCITATORY = 0, 1, 2


@dataclasses.dataclass(frozen=True, eq=False)
class OneHotSimulation:
    """Data from a one-hot HMM-GLM, with the truth behind them.

    Attributes:
        data: counts [sequence, time, neuron].
        states: int [sequence, time]; -1 in the padding.
        weights: [state, N, N]; weights[s, n, m] from neuron m onto neuron n.
        types: int [state, N, N]: 0 inhibitory, 1 none, 2 excitatory.
        type_prior: [N, N, 3], probabilities of (inhibitory, none, excitatory), shared by the states.
        strengths: [state, N, N], positive.
        bias: [N], shared by the states (the bundled recording: [state, N]).
        transition: [state, state], from row to column.
        initial: [state], law of the first state.
        basis: [lag]; basis[k - 1] multiplies the counts k bins back.
        link: "sigmoid", "exp" or "softplus".
        bin_width: factor of the mean count of a bin.
    """

    data: Sequences
    states: np.ndarray
    weights: np.ndarray
    types: np.ndarray
    type_prior: np.ndarray
    strengths: np.ndarray
    bias: np.ndarray
    transition: np.ndarray
    initial: np.ndarray
    basis: np.ndarray
    link: str = "sigmoid"
    bin_width: float = 1.0


@dataclasses.dataclass(frozen=True, eq=False)
class PoissonHMMSimulation:
    """Data from a Poisson HMM, with the truth behind them.

    Attributes:
        data: counts [sequence, time, neuron].
        states: int [sequence, time]; -1 in the padding.
        rates: [state, N], mean counts of a bin.
        transition: [state, state], from row to column.
        initial: [state], law of the first state.
    """

    data: Sequences
    states: np.ndarray
    rates: np.ndarray
    transition: np.ndarray
    initial: np.ndarray


def exponential_basis(num_lags: int = 5) -> np.ndarray:
    """[lag] weights proportional to exp(-k) of the bins k = 1, ..., num_lags back; they sum to 1."""
    weights = np.exp(-np.arange(1.0, num_lags + 1))
    return weights / weights.sum()


def sticky_transition(num_states: int, stay_probability: float) -> np.ndarray:
    """[state, state] with `stay_probability` on the diagonal and the rest spread evenly; 1 for a single state."""
    if num_states == 1:
        return np.ones((1, 1))
    transition = np.full((num_states, num_states), (1 - stay_probability) / (num_states - 1))
    np.fill_diagonal(transition, stay_probability)
    return transition


def simulate_one_hot_hmm_glm(
    seed: int,
    num_states: int = 5,
    num_neurons: int = 20,
    num_steps: int | Sequence[int] = 2000,
    num_sequences: int = 50,
    *,
    num_lags: int = 5,
    type_concentration: Sequence[float] = (0.2, 1.6, 0.2),
    stay_probability: float = 0.98,
    bias_range: tuple[float, float] = (-0.05, 0.05),
    link: str = "sigmoid",
) -> OneHotSimulation:
    """Simulates the benchmark of the one-hot HMM-GLM (the fully specified demonstration beside Li et al., ICLR 2024).

    Counts of neuron n in bin t: Poisson(link(b_n + sum_m w^s_nm sum_k basis_k x_{t-k,m})), with no counts before the
    first bin. For each ordered pair (n, m), self-coupling included: a0 ~ Dirichlet(type_concentration); in each state
    the type is the arg-max of a Gumbel-Softmax sample around a0, and the strength is log(1 + 3 u), u ~ U(0, 1).

    Args:
        seed: seed of `numpy.random.default_rng`.
        num_states: number of states S.
        num_neurons: number of neurons N.
        num_steps: bins of every sequence, or one number per sequence.
        num_sequences: number of sequences.
        num_lags: number of bins of history, K.
        type_concentration: Dirichlet concentration of (inhibitory, none, excitatory).
        stay_probability: diagonal of the transition matrix.
        bias_range: b_n is uniform between these.
        link: "sigmoid", "exp" or "softplus".

    Raises:
        ValueError: an argument out of range, or an unstable network (with "exp").

    Example:
        >>> from latentgate.data import simulators
        >>> simulation = simulators.simulate_one_hot_hmm_glm(0, num_neurons=4, num_steps=100, num_sequences=3)
        >>> simulation.weights.shape
        (5, 4, 4)
    """
    lengths = _lengths(num_steps, num_sequences)
    _check_positive(num_states=num_states, num_neurons=num_neurons, num_lags=num_lags)
    _check_probability("stay_probability", stay_probability)
    rng = np.random.default_rng(seed)
    types, strengths, type_prior = draw_connections(rng, num_states, num_neurons, type_concentration)
    weights = (types - 1) * strengths
    bias = rng.uniform(*bias_range, size=num_neurons)
    transition = sticky_transition(num_states, stay_probability)
    initial = np.full(num_states, 1 / num_states)
    basis = exponential_basis(num_lags)
    states = simulate_states(rng, initial, transition, lengths)
    counts = simulate_glm_counts(rng, states, weights, bias, basis, link)
    return OneHotSimulation(
        data=Sequences.from_arrays([row[:length] for row, length in zip(counts, lengths, strict=True)]),
        states=states,
        weights=weights,
        types=types,
        type_prior=type_prior,
        strengths=strengths,
        bias=bias,
        transition=transition,
        initial=initial,
        basis=basis,
        link=link,
    )


def simulate_poisson_hmm(
    seed: int,
    num_states: int = 3,
    num_neurons: int = 20,
    num_steps: int | Sequence[int] = 1000,
    num_sequences: int = 20,
    *,
    stay_probability: float = 0.98,
    rates: Any = None,
    transition: Any = None,
    initial: Any = None,
) -> PoissonHMMSimulation:
    """Simulates independent Poisson counts given the state of a Markov chain.

    Args:
        seed: seed of `numpy.random.default_rng`.
        num_states: number of states K; ignored when `rates` is given.
        num_neurons: number of neurons N; ignored when `rates` is given.
        num_steps: bins of every sequence, or one number per sequence.
        num_sequences: number of sequences.
        stay_probability: diagonal of the transition matrix, unless `transition` is given.
        rates: [K, N] mean counts of a bin; drawn from Gamma(2, scale 0.5) by default.
        transition: [K, K], from row to column.
        initial: [K], law of the first state; uniform by default.

    Raises:
        ValueError: an argument out of range or of the wrong shape.
    """
    lengths = _lengths(num_steps, num_sequences)
    _check_positive(num_states=num_states, num_neurons=num_neurons)
    _check_probability("stay_probability", stay_probability)
    rng = np.random.default_rng(seed)
    drawn = rng.gamma(2.0, 0.5, size=(num_states, num_neurons)) if rates is None else np.asarray(rates, float)
    if drawn.ndim != 2 or not (np.isfinite(drawn) & (drawn >= 0)).all():
        raise ValueError(f"`rates` has shape {drawn.shape}; expected [state, neuron], finite and not negative.")
    count = len(drawn)
    matrix = sticky_transition(count, stay_probability) if transition is None else np.asarray(transition, float)
    first = np.full(count, 1 / count) if initial is None else np.asarray(initial, float)
    states = simulate_states(rng, first, matrix, lengths)
    counts = rng.poisson(drawn[states])
    return PoissonHMMSimulation(
        data=Sequences.from_arrays([row[:length] for row, length in zip(counts, lengths, strict=True)]),
        states=states,
        rates=drawn,
        transition=matrix,
        initial=first,
    )


def draw_connections(
    rng: np.random.Generator, num_states: int, num_neurons: int, type_concentration: Sequence[float] = (0.2, 1.6, 0.2)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Types [S, N, N], strengths [S, N, N] and the shared type prior [N, N, 3] of the one-hot benchmark."""
    type_prior = rng.dirichlet(type_concentration, size=(num_neurons, num_neurons))
    gumbel = rng.gumbel(size=(num_states, num_neurons, num_neurons, 3))
    # The softmax at any temperature keeps the order of its arguments, so the arg-max needs neither.
    with np.errstate(divide="ignore"):
        types = (np.log(type_prior) + gumbel).argmax(-1)
    strengths = np.log1p(3 * rng.uniform(size=types.shape))
    return types, strengths, type_prior


def simulate_states(rng: np.random.Generator, initial: np.ndarray, transition: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Paths of a Markov chain, int [sequence, time]; -1 in the padding.

    Args:
        rng: source of randomness.
        initial: [K], law of the first state.
        transition: [K, K], or [sequence, time, K, K] with the step into bin t at [:, t] (the one at t = 0 is not used).
        lengths: [sequence] numbers of bins.

    Raises:
        ValueError: shapes that do not fit, or rows that are no probabilities.
    """
    initial, transition = np.asarray(initial, float), np.asarray(transition, float)
    num_states = initial.shape[0]
    if transition.shape[-2:] != (num_states, num_states) or transition.ndim not in (2, 4):
        raise ValueError(f"`transition` has shape {transition.shape}; expected {(num_states, num_states)} to fit `initial`.")
    for argument, law in (("initial", initial), ("transition", transition)):
        if not ((law >= 0).all() and np.allclose(law.sum(-1), 1, rtol=0, atol=1e-10)):
            raise ValueError(f"`{argument}` is no probability law; expected rows of entries >= 0 that sum to 1.")
    num_sequences, longest = len(lengths), int(np.max(lengths))
    uniform = rng.uniform(size=(num_sequences, longest))
    rows = np.arange(num_sequences)
    states = np.empty((num_sequences, longest), np.int64)
    law = np.broadcast_to(initial, (num_sequences, num_states))
    for step in range(longest):
        if step:
            before = states[:, step - 1]
            law = transition[before] if transition.ndim == 2 else transition[rows, step, before]
        # Leaving out the last edge sends rounding of the sum to the last state that is possible at all.
        edges = np.cumsum(law, -1) / np.sum(law, -1, keepdims=True)
        states[:, step] = (uniform[:, step, None] >= edges[:, :-1]).sum(-1)
    states[np.arange(longest) >= np.asarray(lengths)[:, None]] = -1
    return states


def simulate_glm_counts(
    rng: np.random.Generator,
    states: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    basis: np.ndarray,
    link: str = "sigmoid",
    bin_width: float = 1.0,
) -> np.ndarray:
    """Poisson counts [sequence, time, neuron] of mean bin_width * link(bias + weights of the state @ filtered history).

    Args:
        rng: source of randomness.
        states: int [sequence, time]; -1 in the padding, where the counts are 0.
        weights: [S, N, N], [s, n, m] from m onto n.
        bias: [N], or [S, N].
        basis: [lag]; basis[k - 1] multiplies the counts k bins back. Before the first bin there are none.
        link: "sigmoid", "exp" or "softplus".
        bin_width: factor of the means.

    Raises:
        ValueError: an unknown link, or means beyond 1e6: the excitation runs away.
    """
    if link not in _LINKS:
        raise ValueError(f"`link` is {link!r}; expected one of {', '.join(map(repr, _LINKS))}.")
    num_sequences, num_steps = states.shape
    num_states, num_neurons, _ = weights.shape
    biases = np.broadcast_to(bias, (num_states, num_neurons))
    senders = weights.reshape(num_states * num_neurons, num_neurons).T
    rows = np.arange(num_sequences)
    counts = np.zeros((num_sequences, num_steps + len(basis), num_neurons))
    reversed_basis = np.asarray(basis)[::-1]
    for step in range(num_steps):
        state = states[:, step]
        filtered = np.einsum("skn,k->sn", counts[:, step : step + len(basis)], reversed_basis)
        drive = (filtered @ senders).reshape(num_sequences, num_states, num_neurons)[rows, state] + biases[state]
        with np.errstate(over="ignore"):
            means = bin_width * _LINKS[link](drive)
        if not (means < 1e6).all():
            raise ValueError(f"the mean counts run away at step {step} with `link` {link!r}; expected a stable network. Use weaker excitation or 'sigmoid'.")
        counts[:, step + len(basis)] = rng.poisson(means) * (state >= 0)[:, None]
    return counts[:, len(basis) :]


_LINKS = {
    "sigmoid": lambda drive: 0.5 * (1 + np.tanh(0.5 * drive)),
    "exp": np.exp,
    "softplus": lambda drive: np.logaddexp(0, drive),
}


def _lengths(num_steps: int | Sequence[int], num_sequences: int) -> np.ndarray:
    _check_positive(num_sequences=num_sequences)
    lengths = np.asarray(num_steps)
    if lengths.dtype.kind not in "iu" or (lengths < 1).any() or lengths.shape not in ((), (num_sequences,)):
        raise ValueError(f"`num_steps` is {num_steps!r}; expected a positive integer, or {num_sequences}, one per sequence.")
    return np.broadcast_to(lengths, (num_sequences,)).astype(np.int64)


def _check_positive(**numbers: int) -> None:
    for argument, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"`{argument}` is {value!r}; expected a positive integer.")


def _check_probability(argument: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"`{argument}` is {value!r}; expected a probability, from 0 to 1.")
