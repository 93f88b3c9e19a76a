"""Langevin latents."""

from .flow import LangevinFlow

__all__ = ["LangevinFlow"]
