"""A GPU that JAX was told to use and has no package for: said before the first array fails without a word."""

from __future__ import annotations

import importlib.metadata
import importlib.util

import jax

_GPUS = ("cuda", "gpu", "rocm")


def require_platforms() -> None:
    """Raises RuntimeError if JAX was told to use a GPU, and none of its packages for GPUs is installed; starts no backend."""
    asked = [name for name in (getattr(jax.config, "jax_platforms", None) or "").split(",") if name in _GPUS]
    if asked and not importlib.metadata.entry_points(group="jax_plugins") and importlib.util.find_spec("jax_plugins") is None:
        raise RuntimeError(
            f"jax_platforms: found {asked[0]!r} (from the environment variable JAX_PLATFORMS or jax.config), but JAX has no package for GPUs here; expected a "
            "platform that is installed. To compute on the CPU set JAX_PLATFORMS=cpu or unset it; for an NVIDIA GPU install JAX for CUDA, for instance "
            "pip install 'jax[cuda13]'."
        )
