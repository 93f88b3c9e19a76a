"""latentgate: latent dynamics from noisy sequences, on JAX.

Names are loaded when they are first used, so that importing the package costs little and `latentgate.kernels` needs JAX alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "DiscriminativeKalmanFilter": "latentgate.decoding",
    "KalmanDecoder": "latentgate.decoding",
    "WienerFilter": "latentgate.decoding",
    "AmortisedSVI": "latentgate.inference",
    "EM": "latentgate.inference",
    "MAP": "latentgate.inference",
    "NUTS": "latentgate.inference",
    "SVI": "latentgate.inference",
    "Fit": "latentgate.inference",
    "NonFiniteLikelihoodError": "latentgate.inference",
    "Outcome": "latentgate.inference",
    "anneal": "latentgate.inference",
    "cross_validate": "latentgate.inference",
    "fit": "latentgate.inference",
    "HMM": "latentgate.models",
    "LangevinFlow": "latentgate.models",
    "LangevinOnGrid": "latentgate.models",
    "MarkovJumpProcess": "latentgate.models",
    "MixtureOfExperts": "latentgate.models",
    "LinearGaussianSSM": "latentgate.models",
    "PoissonLDS": "latentgate.models",
    "compilation_cache": "latentgate.compilation",
    "RecordingUnavailable": "latentgate.data",
    "Sequences": "latentgate.data",
    "load": "latentgate.data",
    "panel": "latentgate.data.panel",
}
_MODULES = {
    "basis": "latentgate.models.basis",
    "comparison": "latentgate.comparison",
    "data": "latentgate.data",
    "decoding": "latentgate.decoding",
    "dynamics": "latentgate.models.linear",
    "emissions": "latentgate.models.emissions",
    "experts": "latentgate.models.experts",
    "filters": "latentgate.filters",
    "gates": "latentgate.models.gates",
    "generators": "latentgate.models.generators",
    "guides": "latentgate.models.guides",
    "jump_processes": "latentgate.jump_processes",
    "kernels": "latentgate.kernels",
    "metrics": "latentgate.metrics",
    "mixtures": "latentgate.mixtures",
    "plotting": "latentgate.plotting",
    "potentials": "latentgate.models.potentials",
    "priors": "latentgate.models.priors",
    "simulators": "latentgate.data.simulators",
    "studies": "latentgate.studies",
    "transitions": "latentgate.models.transitions",
}

__all__ = [
    *_HOMES,
    *_MODULES,
]

if TYPE_CHECKING:
    from latentgate import comparison, data, decoding, filters, jump_processes, kernels, metrics, mixtures, plotting, studies
    from latentgate.compilation import compilation_cache
    from latentgate.data import RecordingUnavailable, Sequences, load, simulators
    from latentgate.data.panel import panel
    from latentgate.decoding import DiscriminativeKalmanFilter, KalmanDecoder, WienerFilter
    from latentgate.inference import EM, MAP, NUTS, SVI, AmortisedSVI, Fit, NonFiniteLikelihoodError, Outcome, anneal, cross_validate, fit
    from latentgate.models import (
        HMM,
        LangevinOnGrid,
        LinearGaussianSSM,
        MarkovJumpProcess,
        MixtureOfExperts,
        PoissonLDS,
        basis,
        emissions,
        experts,
        gates,
        generators,
        potentials,
        priors,
        transitions,
    )
    from latentgate.models import linear as dynamics


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    else:
        import difflib

        near = difflib.get_close_matches(name, __all__, 1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"module 'latentgate' has no attribute {name!r}; it has {', '.join(sorted(__all__))}.{meant}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
