"""Data: sequences, recordings by name, simulators; `neural_latents`, which is loaded when it is first used, for its files need pandas."""

import importlib
from typing import TYPE_CHECKING, Any

from latentgate.data import simulators
from latentgate.data.recordings import RECORDINGS, Recording, RecordingUnavailable, load
from latentgate.data.sequences import Sequences

if TYPE_CHECKING:
    from latentgate.data import neural_latents

__all__ = ["RECORDINGS", "Recording", "RecordingUnavailable", "Sequences", "load", "neural_latents", "simulators"]


def __getattr__(name: str) -> Any:
    if name == "neural_latents":
        return importlib.import_module("latentgate.data.neural_latents")
    raise AttributeError(f"module 'latentgate.data' has no attribute {name!r}; it has {', '.join(__all__)}.")
