"""Gates: probabilities of experts, or of next states, given inputs."""

from . import balancing, schedules
from .activation import Activation
from .base import Gate
from .constant import Fixed, Random
from .cosine import Cosine
from .function import Function
from .gaussian import Gaussian
from .hierarchical import Hierarchical
from .laplace import Laplace
from .quadratic import Quadratic
from .residual import Residual
from .sigmoid import Sigmoid
from .softmax import Softmax
from .starts import kmeans_least_squares
from .top_k import NoisyTopK, TopK

__all__ = [
    "Activation",
    "Cosine",
    "Fixed",
    "Function",
    "Gate",
    "Gaussian",
    "Hierarchical",
    "Laplace",
    "NoisyTopK",
    "Quadratic",
    "Random",
    "Residual",
    "Sigmoid",
    "Softmax",
    "TopK",
    "balancing",
    "kmeans_least_squares",
    "schedules",
]
