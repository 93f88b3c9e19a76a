"""Experts: conditional laws of an observation given inputs, of which a gate chooses one."""

from .base import Experts
from .generalised_linear import Bernoulli, Multinomial, Poisson
from .known import Known
from .linear_gaussian import LinearGaussian
from .network import Network
from .nonlinear import Nonlinear
from .of_emission import OfEmission
from .polynomial import Polynomial
from .several import Several
from .student_t import StudentT

__all__ = [
    "Bernoulli",
    "Experts",
    "Known",
    "LinearGaussian",
    "Multinomial",
    "Network",
    "Nonlinear",
    "OfEmission",
    "Poisson",
    "Polynomial",
    "Several",
    "StudentT",
]
