"""Studies of estimators on simulated data: how fast they approach the truth."""

from . import voronoi
from .cells import Atoms, Form, Term
from .convergence import convergence_rates, log_spaced
from .losses import MixtureComparison, ParameterError
from .maximum_likelihood import MaximumLikelihood
from .mixture_truth import MixtureTruth
from .protocol import Estimates, Estimator, Loss, Truth
from .starts import NearTruth
from .study import Study
from .translation import Distance, voronoi_distance
from .voronoi import VoronoiLoss

__all__ = [
    "Atoms",
    "Distance",
    "Estimates",
    "Estimator",
    "Form",
    "Loss",
    "MaximumLikelihood",
    "MixtureComparison",
    "MixtureTruth",
    "NearTruth",
    "ParameterError",
    "Study",
    "Term",
    "Truth",
    "VoronoiLoss",
    "convergence_rates",
    "log_spaced",
    "voronoi",
    "voronoi_distance",
]
