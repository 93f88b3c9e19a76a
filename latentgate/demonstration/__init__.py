"""What `latentgate demo` does: choose a recording, fit, decode, score, draw."""

from latentgate.demonstration.analysis import FREE, ONE_HOT, ONE_STATE, QUICK, Demonstration, Settings, demonstrate, most_active, precision
from latentgate.demonstration.pictures import draw
from latentgate.demonstration.recording import REAL, SIMULATED, Origin, obtain

__all__ = [
    "FREE",
    "ONE_HOT",
    "ONE_STATE",
    "QUICK",
    "REAL",
    "SIMULATED",
    "Demonstration",
    "Origin",
    "Settings",
    "demonstrate",
    "draw",
    "most_active",
    "obtain",
    "precision",
]
