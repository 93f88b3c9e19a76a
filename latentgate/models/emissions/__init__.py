"""Emissions: what the data say about the state."""

from .aggregated import Aggregated
from .base import Emission
from .bernoulli import Bernoulli
from .bernoulli_glm import BernoulliGLM
from .categorical import Categorical
from .categorical_glm import CategoricalGLM
from .count_glm import NegativeBinomialGLM, PoissonGLM
from .gated_regression import GatedRegression
from .gaussian import Gaussian
from .known_state import KnownState
from .linear_regression import LinearRegression
from .misclassified import Misclassified
from .mixture_of_experts import MixtureOfExperts
from .negative_binomial import NegativeBinomial
from .poisson import Poisson
from .product import Product
from .tuning_curves import TuningCurves
from .uniform_error import UniformError
from .until_boundary import UntilBoundary

__all__ = [
    "Aggregated",
    "Bernoulli",
    "BernoulliGLM",
    "Categorical",
    "CategoricalGLM",
    "Emission",
    "GatedRegression",
    "Gaussian",
    "KnownState",
    "LinearRegression",
    "Misclassified",
    "MixtureOfExperts",
    "NegativeBinomial",
    "NegativeBinomialGLM",
    "Poisson",
    "PoissonGLM",
    "Product",
    "TuningCurves",
    "UniformError",
    "UntilBoundary",
]
