"""How the state moves: from step to step (constant, sticky, driven by inputs), or in continuous time."""

from .base import Transition
from .by_gate import ByGate
from .jump import Jump
from .rows import Gated, Stationary, Sticky

__all__ = ["ByGate", "Gated", "Jump", "Stationary", "Sticky", "Transition"]
