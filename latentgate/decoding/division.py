"""Node potentials as quotients of normal laws: what the data say of the latent beyond what was known before."""

from __future__ import annotations

import numpy as np

RULES = ("clip", "paper", "code", "robust")


def divide(mean: np.ndarray, covariance: np.ndarray, known_mean: np.ndarray, known_covariance: np.ndarray, rule: str = "clip") -> tuple[np.ndarray, np.ndarray]:
    """Precision and shift of Normal(z; f, Q) / Normal(z; m, S): J = Q⁻¹ - S⁻¹, h = Q⁻¹ f - S⁻¹ m, and a rule for steps at which J is not positive definite.

    Args:
        mean: f, [step, d].
        covariance: Q, positive definite, [step, d, d] or [1, d, d].
        known_mean: m, [step, d] or [1, d].
        known_covariance: S, positive definite, [step, d, d] or [1, d, d].
        rule: "clip": generalised eigenvalues λ of Q v = λ S v are lowered to one, so that a direction in which the data know less than nothing carries no
            precision; "paper": at such a step the denominator is dropped, J = Q⁻¹ and h = Q⁻¹ f; "code": at such a step Q becomes (Q⁻¹ + S⁻¹)⁻¹, so that
            J = Q⁻¹ and h = (Q⁻¹ + S⁻¹) f, as in the published code, from which the published tables are; "robust": the denominator is dropped at every step.

    Returns:
        J [step, d, d] (or [1, d, d] where neither covariance changes), positive semidefinite, and h [step, d].

    Source: Burkhart et al. 2020, section 2; clipping from the authors' DKF_alt.m.
    """
    size = mean.shape[-1]
    if rule == "robust":
        inverse = _inverse(covariance)
        return inverse, _times(inverse, mean)
    factor = np.linalg.cholesky(known_covariance)
    whitener = np.linalg.solve(factor, np.broadcast_to(np.eye(size), factor.shape))
    values, vectors = np.linalg.eigh(_symmetric(whitener @ covariance @ _transposed(whitener)))
    axes = _transposed(whitener) @ vectors
    known = _times(_inverse(known_covariance), known_mean)
    if rule == "clip":
        values = np.minimum(values, 1.0)
        return _weighted(axes, 1 / values - 1), _times(_weighted(axes, 1 / values), mean) - known
    inverse = _weighted(axes, 1 / values)
    proper = (values < 1).all(-1)
    precision = np.where(proper[:, None, None], _weighted(axes, np.where(proper[:, None], 1 / values - 1, 1 / values)), inverse)
    shift = _times(inverse, mean)
    failing = shift if rule == "paper" else _times(_weighted(axes, 1 / values + 1), mean) - known
    return precision, np.where(proper[:, None], shift - known, failing)


def _weighted(axes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (axes * weights[..., None, :]) @ _transposed(axes)


def _inverse(matrix: np.ndarray) -> np.ndarray:
    return _symmetric(np.linalg.inv(matrix))


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return 0.5 * (matrix + _transposed(matrix))


def _transposed(matrix: np.ndarray) -> np.ndarray:
    return np.swapaxes(matrix, -1, -2)


def _times(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return (matrix @ vector[..., None])[..., 0]
