"""Engines, and the Fit they return."""

from .alignment import match_labels, match_params, permute_states
from .amortised import AmortisedSVI
from .annealing import anneal
from .cross_validation import cross_validate
from .em import EM
from .engine import Engine
from .fit import Fit, RestartRecord
from .fitting import fit
from .maximum_a_posteriori import MAP
from .numpyro_model import numpyro_model
from .nuts import NUTS
from .outcomes import NonFiniteLikelihoodError, Outcome
from .posterior import Posterior
from .svi import SVI
from .uncertainty import Uncertainty, uncertainty

__all__ = [
    "EM",
    "MAP",
    "NUTS",
    "SVI",
    "AmortisedSVI",
    "Engine",
    "Fit",
    "NonFiniteLikelihoodError",
    "Outcome",
    "Posterior",
    "RestartRecord",
    "Uncertainty",
    "anneal",
    "cross_validate",
    "fit",
    "match_labels",
    "match_params",
    "numpyro_model",
    "permute_states",
    "uncertainty",
]
