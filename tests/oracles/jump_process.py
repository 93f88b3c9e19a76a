"""Slow, textbook answers for Markov jump processes, in plain Python, NumPy and SciPy; no code shared with the kernels.

* `transition_matrix` and `end_conditioned_by_blocks` sum the exponential series in `decimal`, with digits enough that nothing but the result is rounded;
* `end_conditioned_by_sums` is the double sum of uniformisation;
* `panel_log_likelihood` walks along the rows of one subject with `scipy.linalg.expm`.

Generators are [K, K], rates per unit time from i to j, rows that sum to zero. Floats are taken as the exact numbers that they are, but for the diagonal:
it is minus the exact sum of its row, since the rounding of the diagonal alone would be seen over long times.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from decimal import Decimal, localcontext

import numpy as np
import scipy.linalg
import scipy.stats

DIGITS = 60
SNAPSHOT, ENTRY, CONTINUOUS = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class EndConditioned:
    """What happens between a state i and a state j a time later, times the probability of j.

    Attributes:
        transition: [K, K] P_ij.
        times: [K, K, K] entry [i, j, k] is P_ij E[time in k | i, j].
        jumps: [K, K, K, K] entry [i, j, k, l] is P_ij E[jumps k to l | i, j], zero for k = l.
    """

    transition: np.ndarray
    times: np.ndarray
    jumps: np.ndarray


def transition_matrix(generator: np.ndarray, duration: float) -> np.ndarray:
    """exp(generator · duration), right to the last bit or two."""
    return _exponential(_exact(generator), duration)


def gradient_in_free_matrix(generator: np.ndarray, duration: float, weights: np.ndarray) -> np.ndarray:
    """[K, K] derivative of Σ_ij weights_ij exp(generator · duration)_ij in every entry of the generator, those of the diagonal among them.

    The adjoint of the derivative at Q is the derivative at Qᵀ, the upper right block of exp([[Qᵀ, weights], [0, Qᵀ]] t).
    """
    size = len(generator)
    joint = _decimals(np.zeros((2 * size, 2 * size)))
    joint[:size, :size] = joint[size:, size:] = _exact(generator).T
    joint[:size, size:] = _decimals(weights)
    return _exponential(joint, duration)[:size, size:]


def end_conditioned_by_blocks(generator: np.ndarray, duration: float) -> EndConditioned:
    """The upper right blocks of exp([[Q, e_k e_l'], [0, Q]] t), Van Loan's integrals."""
    size = len(generator)
    exact = _exact(generator)
    integrals = np.empty((size, size, size, size))
    for k in range(size):
        for into in range(size):
            joint = _decimals(np.zeros((2 * size, 2 * size)))
            joint[:size, :size] = joint[size:, size:] = exact
            joint[k, size + into] = Decimal(1)
            integrals[:, :, k, into] = _exponential(joint, duration)[:size, size:]
    return _collected(generator, transition_matrix(generator, duration), integrals)


def end_conditioned_by_sums(generator: np.ndarray, duration: float) -> EndConditioned:
    """Sums over the number of jumps of the uniformised chain: (1/Λ) Σ_n Poisson(n + 1; Λt) Σ_{m ≤ n} (B^m)_ik (B^{n-m})_lj."""
    fastest = float(np.max(-np.diag(generator)))
    expected = fastest * duration
    terms = math.ceil(expected + 12 * math.sqrt(expected) + 30)
    powers = [np.eye(len(generator))]
    for _ in range(terms):
        powers.append(powers[-1] @ (np.eye(len(generator)) + generator / fastest))
    stacked = np.stack(powers)
    weights = scipy.stats.poisson.pmf(np.arange(terms + 2), expected)
    transition = np.einsum("n,nij->ij", weights[: terms + 1], stacked)
    integrals = np.zeros((len(generator),) * 4)
    for n in range(terms + 1):
        integrals += weights[n + 1] / fastest * np.einsum("mik,mlj->ijkl", stacked[: n + 1], stacked[n::-1])
    return _collected(generator, transition, integrals)


def panel_log_likelihood(
    generators: np.ndarray | Sequence[np.ndarray],
    times: Sequence[float],
    kinds: Sequence[int],
    emission_likelihoods: np.ndarray,
    initial: np.ndarray,
) -> float:
    """Log-likelihood of the rows of one subject.

    Args:
        generators: [K, K], or one to each interval [N - 1, K, K].
        times: [N], increasing.
        kinds: [N], how the state of a row came about since the row before: SNAPSHOT (anything may have happened), ENTRY (it was entered at this very time)
            or CONTINUOUS (it was left alone until this time, and then perhaps entered). That of the first row is not used.
        emission_likelihoods: [N, K] likelihood of what the row shows, given each state; one-hot where the state is seen, ones where nothing is.
        initial: [K] law of the state at the first row.
    """
    generators = np.asarray(generators)
    size = generators.shape[-1]
    weights = np.asarray(initial) * emission_likelihoods[0]
    log_likelihood = 0.0
    for n in range(1, len(times)):
        total = weights.sum()
        log_likelihood += math.log(total) if total > 0 else -math.inf
        if total == 0:
            return log_likelihood
        weights = weights / total
        generator = generators if generators.ndim == 2 else generators[n - 1]
        gap = times[n] - times[n - 1]
        edge = np.zeros((size, size))
        transition = scipy.linalg.expm(generator * gap)
        for i in range(size):
            for j in range(size):
                if kinds[n] == SNAPSHOT:
                    edge[i, j] = transition[i, j]
                elif kinds[n] == ENTRY:
                    edge[i, j] = sum(transition[i, k] * generator[k, j] for k in range(size) if k != j)
                elif kinds[n] == CONTINUOUS:
                    edge[i, j] = math.exp(generator[i, i] * gap) * (generator[i, j] if i != j else 1.0)
                else:
                    raise ValueError(f"kinds[{n}] is {kinds[n]}; it must be 0, 1 or 2")
        weights = weights @ edge * emission_likelihoods[n]
    total = weights.sum()
    return log_likelihood + (math.log(total) if total > 0 else -math.inf)


def flashing_ratchet(height: float, switching: float = 1.0, off_rate: float = 1.0) -> np.ndarray:
    """The six-state ratchet on three sites: states 0-2 with the potential on, 3-5 with it off."""
    generator = np.zeros((6, 6))
    for i in range(3):
        generator[i, i + 3] = generator[i + 3, i] = switching
        for j in range(3):
            if i != j:
                generator[i, j] = math.exp(-height * (j - i) / 2)
                generator[3 + i, 3 + j] = off_rate
    return generator - np.diag(generator.sum(1))


def _collected(generator: np.ndarray, transition: np.ndarray, integrals: np.ndarray) -> EndConditioned:
    """`integrals` [i, j, k, l] = ∫ P_ik(s) P_lj(t - s) ds."""
    rates = generator * (1 - np.eye(len(generator)))
    return EndConditioned(transition, np.einsum("ijkk->ijk", integrals).copy(), integrals * rates)


def _decimals(matrix: np.ndarray) -> np.ndarray:
    return np.array([[Decimal(float(entry)) for entry in row] for row in np.asarray(matrix, dtype=float)], dtype=object)


def _exact(generator: np.ndarray) -> np.ndarray:
    with localcontext() as context:
        context.prec = 400
        exact = _decimals(generator)
        for i, row in enumerate(exact):
            exact[i, i] = -(sum(row) - row[i])
        return exact


def _exponential(matrix: np.ndarray, duration: float) -> np.ndarray:
    with localcontext() as context:
        context.prec = DIGITS
        scaled = matrix * Decimal(float(duration))
        norm = max(sum(abs(entry) for entry in row) for row in scaled)
        halvings = max(0, math.ceil(math.log2(float(norm))) + 8) if norm > 0 else 0
        scaled = scaled / Decimal(2) ** halvings
        size = len(scaled)
        # Terms fall by 2^-8 / n each, so that 22 leave less than 1e-70 of the whole; and ten more than the longest path leave as little of every entry.
        result = np.array([[Decimal(int(i == j)) for j in range(size)] for i in range(size)], dtype=object)
        for n in range(max(22, size + 10), 0, -1):
            result = scaled @ result / Decimal(n) + np.array([[Decimal(int(i == j)) for j in range(size)] for i in range(size)], dtype=object)
        for _ in range(halvings):
            result = result @ result
        return result.astype(float)
