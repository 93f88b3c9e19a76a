"""Stationary first-order dynamics of the kinematics, in coordinates in which their stationary law is the standard normal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

UNSTABLE = ("refuse", "shrink")


@dataclass(frozen=True)
class StationaryDynamics:
    """Z ~ Normal(centre, S), Z_t - centre = A (Z_{t-1} - centre) + Normal(0, Γ), with A S Aᵀ + Γ = S exactly.

    Whitened coordinates are u = root⁻¹ (z - centre), in which S is the identity and Γ = I - A Aᵀ.

    Attributes:
        centre: [d].
        root: lower triangular, root rootᵀ = S, [d, d].
        whitened_matrix: A in whitened coordinates, [d, d].
    """

    centre: np.ndarray
    root: np.ndarray
    whitened_matrix: np.ndarray

    @property
    def whitened_noise(self) -> np.ndarray:
        """Γ in whitened coordinates."""
        return np.eye(len(self.centre)) - self.whitened_matrix @ self.whitened_matrix.T

    @property
    def matrix(self) -> np.ndarray:
        """A."""
        return self.root @ np.linalg.solve(self.root.T, self.whitened_matrix.T).T

    @property
    def covariance(self) -> np.ndarray:
        """S."""
        return self.root @ self.root.T

    @property
    def noise(self) -> np.ndarray:
        """Γ."""
        return self.root @ self.whitened_noise @ self.root.T

    def whiten(self, values: np.ndarray) -> np.ndarray:
        """Whitened coordinates u of z, [..., d]."""
        return np.linalg.solve(self.root, (values - self.centre).T).T

    def restore(self, values: np.ndarray) -> np.ndarray:
        """Coordinates z of u, [..., d]."""
        return self.centre + values @ self.root.T

    def restore_covariance(self, covariances: np.ndarray) -> np.ndarray:
        """Covariances of z from those of u, [..., d, d]."""
        return self.root @ covariances @ self.root.T


def estimate(sessions: list[np.ndarray], unstable: str = "refuse", matrix: Any = None, covariance: Any = None, centred: bool = True) -> StationaryDynamics:
    """S and A by the Yule-Walker equations on pairs of neighbouring bins of one session, Γ = S - A S Aᵀ.

    S is the mean over the pairs of both their outer products, and A the product moment of the pairs times S⁻¹. Least squares would take S from the earlier
    bins alone, and of short sessions it may find dynamics that grow, which no stationary law allows.

    Args:
        sessions: kinematics [time, d] of each session.
        unstable: what to do where Γ is not positive semidefinite, which no stationary law allows: "refuse" raises; "shrink" takes the nearest A that has
            one, in whitened coordinates, by lowering singular values above one to one.
        matrix: A, if it is known; else estimated.
        covariance: S, if it is known; else estimated.
        centred: whether the centre is the mean over all bins; else it is zero, and S the mean outer product.

    Raises:
        ValueError: for an unknown option, constant or linearly dependent kinematics, no two neighbouring bins, or dynamics without a stationary law.
    """
    if unstable not in UNSTABLE:
        raise ValueError(f"unstable: found {unstable!r}, expected one of {', '.join(map(repr, UNSTABLE))}.")
    rows = np.concatenate(sessions)
    size = rows.shape[1]
    centre = rows.mean(0) if centred else np.zeros(size)
    constant = np.flatnonzero(np.ptp(rows, axis=0) == 0)
    if constant.size:
        raise ValueError(f"kinematics: found constant columns {constant.tolist()}, expected columns that vary.")
    before = np.concatenate([session[:-1] for session in sessions]) - centre
    after = np.concatenate([session[1:] for session in sessions]) - centre
    if len(before) <= size:
        raise ValueError(f"kinematics: found {len(before)} pairs of neighbouring bins, expected more than {size} to estimate the dynamics.")
    moment = (before.T @ before + after.T @ after) / (2 * len(before))
    spread = moment if covariance is None else _square("stationary_covariance", covariance, size)
    try:
        root = np.linalg.cholesky(spread)
    except np.linalg.LinAlgError:
        given = "stationary_covariance" if covariance is not None else "kinematics"
        raise ValueError(f"{given}: found a covariance that is not positive definite, expected columns that are not combinations of each other.") from None
    transition = np.linalg.solve(moment, before.T @ after / len(before)).T if matrix is None else _square("dynamics_matrix", matrix, size)
    whitened = np.linalg.solve(root, transition @ root)
    left, singular, right = np.linalg.svd(whitened)
    if singular[0] > 1:
        if unstable == "refuse":
            name = "dynamics_matrix" if matrix is not None else "kinematics"
            radius = np.abs(np.linalg.eigvals(whitened)).max()
            raise ValueError(
                f"{name}: found dynamics of spectral radius {radius:.6g} whose noise S - A S Aᵀ is not positive semidefinite (largest singular value of A in "
                f"whitened coordinates {singular[0]:.6g}), expected a stable A that leaves a stationary law with covariance S: "
                'remove a trend from the kinematics, or pass unstable="shrink".'
            )
        whitened = (left * np.minimum(singular, 1.0)) @ right
    return StationaryDynamics(centre, root, whitened)


def _square(name: str, value: Any, size: int) -> np.ndarray:
    array = np.asarray(value, float)
    if array.shape != (size, size) or not np.isfinite(array).all():
        raise ValueError(f"{name}: found shape {array.shape}, expected a finite matrix ({size}, {size}), one row for each column of the kinematics.")
    return array
