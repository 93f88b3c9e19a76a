"""Plain formulas of gates, one row after the other, in NumPy and SciPy; no code shared with the models.

Every gate takes inputs [n, M] and returns log-weights [n, K], which sum to one after exponentiation but for `sigmoid`; -inf marks an expert that is out.
Scores are s_k = W_k · x + b_k with `weights` W [K, M] and `bias` b [K] where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scipy.special
import scipy.stats


def linear_scores(weights: np.ndarray, bias: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """[n, K] s_k(x) = W_k · x + b_k."""
    return np.array([[np.dot(w, x) + b for w, b in zip(weights, bias, strict=True)] for x in inputs])


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """[n, K] log(exp(s_k) / Σ_l exp(s_l)); scores may be -inf."""
    return np.array([row - scipy.special.logsumexp(row) for row in scores])


def tempered(weights: np.ndarray, bias: np.ndarray, inputs: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(s / τ)."""
    return log_softmax(linear_scores(weights, bias, inputs) / temperature)


def activated(weights: np.ndarray, bias: np.ndarray, inputs: np.ndarray, temperature: float, activation: Callable = scipy.special.expit) -> np.ndarray:
    """softmax(activation(s) / τ); the activation is the logistic function unless another is given."""
    return log_softmax(activation(linear_scores(weights, bias, inputs)) / temperature)


def top_scores(scores: np.ndarray, num_selected: int) -> np.ndarray:
    """Scores [n, K] with -inf in place of all but the largest of a row; among equal scores those of lower index are kept."""
    kept = np.full(np.shape(scores), -np.inf)
    for row, values in enumerate(scores):
        ranking = sorted(range(len(values)), key=lambda k: (-values[k], k))
        for k in ranking[:num_selected]:
            kept[row, k] = values[k]
    return kept


def top_softmax(weights: np.ndarray, bias: np.ndarray, inputs: np.ndarray, num_selected: int) -> np.ndarray:
    """Softmax over the experts with the largest full scores W_k · x + b_k; the others are out."""
    return log_softmax(top_scores(linear_scores(weights, bias, inputs), num_selected))


def sigmoid(weights: np.ndarray, bias: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """log(1 / (1 + exp(-s_k))): not a probability vector."""
    return scipy.special.log_expit(linear_scores(weights, bias, inputs))


def normalised_sigmoid(weights: np.ndarray, bias: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """log(σ(s_k) / Σ_l σ(s_l))."""
    return log_softmax(sigmoid(weights, bias, inputs))


def laplace(weights: np.ndarray, bias: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """softmax(-‖W_k - x‖ + b_k), Euclidean norm."""
    return log_softmax(np.array([[-np.sqrt(np.sum((w - x) ** 2)) + b for w, b in zip(weights, bias, strict=True)] for x in inputs]))


def cosine(weights: np.ndarray, inputs: np.ndarray, temperature: float = 1.0, weight_shift: float = 0.0, input_shift: float = 0.0) -> np.ndarray:
    """Softmax of W_k · x / ((‖W_k‖ + t1)(‖x‖ + t2)) / τ; perturbed where t1, t2 are not nought."""
    rows = []
    for x in inputs:
        norms = [(np.sqrt(np.dot(w, w)) + weight_shift) * (np.sqrt(np.dot(x, x)) + input_shift) for w in weights]
        rows.append([np.dot(w, x) / norm / temperature for w, norm in zip(weights, norms, strict=True)])
    return log_softmax(np.array(rows))


def quadratic(matrices: np.ndarray, weights: np.ndarray, bias: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """softmax(x' A_k x + W_k · x + b_k), `matrices` A [K, M, M]."""
    scores = [[x @ a @ x + np.dot(w, x) + b for a, w, b in zip(matrices, weights, bias, strict=True)] for x in inputs]
    return log_softmax(np.array(scores))


def gaussian_log_joint(probs: np.ndarray, means: np.ndarray, covariances: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """[n, K] log(π_k N(x; c_k, Γ_k)), `probs` [K], `means` [K, M], `covariances` [K, M, M]."""
    laws = [scipy.stats.multivariate_normal(mean, covariance) for mean, covariance in zip(means, covariances, strict=True)]
    return np.array([[np.log(p) + law.logpdf(x) for p, law in zip(probs, laws, strict=True)] for x in inputs])


def gaussian(probs: np.ndarray, means: np.ndarray, covariances: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """π_k N(x; c_k, Γ_k) / Σ_l π_l N(x; c_l, Γ_l)."""
    return log_softmax(gaussian_log_joint(probs, means, covariances, inputs))


def gaussian_joint_log_density(
    probs: np.ndarray, means: np.ndarray, covariances: np.ndarray, inputs: np.ndarray, expert_log_densities: np.ndarray
) -> np.ndarray:
    """[n] log p(x, y) = log Σ_k π_k N(x; c_k, Γ_k) p(y | x, expert k), with the log-densities [n, K] of the experts."""
    joint = gaussian_log_joint(probs, means, covariances, inputs) + expert_log_densities
    return np.array([scipy.special.logsumexp(row) for row in joint])


def gaussian_as_quadratic(probs: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`matrices`, `weights` and `bias` of the quadratic gate that has the same weights: A = -Γ⁻¹/2, W = Γ⁻¹c, b = log π - c'Γ⁻¹c/2 - log|Γ|/2."""
    inverses = np.array([np.linalg.inv(covariance) for covariance in covariances])
    weights = np.array([inverse @ mean for inverse, mean in zip(inverses, means, strict=True)])
    bias = [
        np.log(p) - mean @ weight / 2 - np.linalg.slogdet(covariance)[1] / 2
        for p, mean, weight, covariance in zip(probs, means, weights, covariances, strict=True)
    ]
    return -inverses / 2, weights, np.array(bias)


def residual(weights: np.ndarray, bias: np.ndarray, inputs: np.ndarray, amount: float, slope: float, activation: Callable = np.tanh) -> np.ndarray:
    """softmax(s + α activation(τ s)), with α `amount` and τ `slope`."""
    scores = linear_scores(weights, bias, inputs)
    return log_softmax(scores + amount * activation(slope * scores))


def hierarchical(
    outer_weights: np.ndarray, outer_bias: np.ndarray, inner_weights: Sequence[np.ndarray], inner_bias: Sequence[np.ndarray], inputs: np.ndarray
) -> np.ndarray:
    """Two levels, π_(i, j)(x) = g_i(x) g_(j | i)(x), experts in the order (0, 0), (0, 1), ..., (1, 0), ...

    Args:
        outer_weights: [I, M] of the gate between groups.
        outer_bias: [I].
        inner_weights: to each group [J_i, M] of the gate within it.
        inner_bias: to each group [J_i].
        inputs: [n, M].
    """
    outer = log_softmax(linear_scores(outer_weights, outer_bias, inputs))
    groups = []
    for group, (weights, bias) in enumerate(zip(inner_weights, inner_bias, strict=True)):
        groups.append(outer[:, group : group + 1] + log_softmax(linear_scores(weights, bias, inputs)))
    return np.concatenate(groups, axis=1)
