"""Gates: probabilities of experts, or of next states, given inputs."""

from .base import Gate
from .softmax import Softmax

__all__ = ["Gate", "Softmax"]
