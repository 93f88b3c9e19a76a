"""Engines, and the Fit they return."""

from .alignment import match_labels, match_params, permute_states
from .cross_validation import cross_validate
from .em import EM
from .fit import Fit, RestartRecord
from .fitting import fit
from .maximum_a_posteriori import MAP
from .outcomes import NonFiniteLikelihoodError, Outcome

__all__ = [
    "EM",
    "MAP",
    "Fit",
    "NonFiniteLikelihoodError",
    "Outcome",
    "RestartRecord",
    "cross_validate",
    "fit",
    "match_labels",
    "match_params",
    "permute_states",
]
