"""One basis among the equivalent ones: how the latents of a free linear model are reported."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def canonical_basis(matrix: np.ndarray, noise: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """The change of basis M, z' = M z, after which the latents' noise is the identity and the emission's columns are orthogonal, strongest first.

    Columns are orthogonal in the metric of the observations' noise: HᵀR⁻¹H is diagonal. The largest loading of each latent is positive.

    Args:
        matrix: H, [feature, latent].
        noise: Q, positive definite, [latent, latent].
        precision: R⁻¹, [feature, feature].

    Raises:
        ValueError: if Q is singular.
    """
    try:
        root = np.linalg.cholesky(noise)
    except np.linalg.LinAlgError as error:
        raise ValueError("dynamics.covariance: found a singular matrix, expected a regular one; a canonical basis makes it the identity.") from error
    loadings = matrix @ root
    _, vectors = np.linalg.eigh(loadings.T @ precision @ loadings)
    vectors = vectors[:, ::-1]
    rotated = loadings @ vectors
    signs = np.sign(rotated[np.abs(rotated).argmax(0), np.arange(rotated.shape[1])])
    vectors = vectors * np.where(signs == 0, 1.0, signs)
    return vectors.T @ np.linalg.inv(root)


def change_basis(params: Mapping[str, np.ndarray], basis: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters of the same model in another basis, z' = M z; the likelihood stays what it is."""
    back = np.linalg.inv(basis)
    rules = {
        "initial.mean": lambda x: basis @ x,
        "initial.covariance": lambda x: basis @ x @ basis.T,
        "dynamics.matrix": lambda x: basis @ x @ back,
        "dynamics.bias": lambda x: basis @ x,
        "dynamics.input_weights": lambda x: basis @ x,
        "dynamics.covariance": lambda x: basis @ x @ basis.T,
        "emission.matrix": lambda x: x @ back,
    }
    changed = {name: np.asarray(value, float) for name, value in params.items()}
    return {name: rules[name](value) if name in rules else value for name, value in changed.items()}
