"""What `latentgate demo` does: choose a recording, fit, decode, score, draw."""

from latentgate.demonstration.analysis import FREE, ONE_HOT, ONE_STATE, QUICK, Demonstration, Settings, demonstrate, most_active
from latentgate.demonstration.pictures import draw
from latentgate.demonstration.recording import REAL, SIMULATED, Origin, obtain
from latentgate.demonstration.report import held_out_sentence, occupancy_sentence, write_report

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
    "held_out_sentence",
    "most_active",
    "obtain",
    "occupancy_sentence",
    "write_report",
]
