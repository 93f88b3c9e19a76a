"""Guides: laws of the noise that drove a path, given the data, for models whose latents cannot be integrated out."""

from .base import Guide, NoiseLaw
from .per_trial import PerTrial
from .recurrent import Recurrent

__all__ = ["Guide", "NoiseLaw", "PerTrial", "Recurrent"]
