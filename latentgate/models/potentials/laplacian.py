"""Graph Laplacians of local kernels on a ring or a line."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

BOUNDARIES = ("ring", "line")


def checked_boundary(boundary: Any) -> str:
    """The boundary.

    Raises:
        ValueError: unless it is "ring" or "line".
    """
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary: found {boundary!r}, expected one of {', '.join(map(repr, BOUNDARIES))}.")
    return boundary


def farthest(latent_dim: int, boundary: str) -> int:
    """The largest distance of two latents."""
    return latent_dim // 2 if boundary == "ring" else latent_dim - 1


def check_neighbours(neighbours: int, latent_dim: int, boundary: str) -> None:
    """Raises ValueError if no two latents are so far apart."""
    most = farthest(latent_dim, boundary)
    if neighbours > most:
        remedy = f"pass neighbours={most} or more latents"
        raise ValueError(f"neighbours: found {neighbours}, expected at most {most} for {latent_dim} latents on a {boundary}; {remedy}.")


def laplacians(neighbours: int, latent_dim: int, boundary: str) -> np.ndarray:
    """The Laplacians of the graphs that join latents at distance 1, 2, ..., neighbours, [neighbour, d, d].

    On a ring every pair counts once, also the pairs of latents that are opposite each other.
    """
    places = np.arange(latent_dim)
    distance = np.abs(places[:, None] - places)
    if boundary == "ring":
        distance = np.minimum(distance, latent_dim - distance)
    joined = (distance == np.arange(1, neighbours + 1)[:, None, None]).astype(float)
    return joined.sum(-1)[..., None] * np.eye(latent_dim) - joined


def laplacian(coupling: Array, latent_dim: int, boundary: str) -> Array:
    """The Laplacian L of a kernel [neighbour] of weights by distance, [d, d]: zᵀ L z = Σ over pairs of weight · (z_i - z_j)²."""
    return jnp.einsum("n,nij->ij", coupling, jnp.asarray(laplacians(coupling.shape[0], latent_dim, boundary), coupling.dtype))
