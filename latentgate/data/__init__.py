"""Data: sequences, recordings by name, simulators."""

from latentgate.data import neural_latents, simulators
from latentgate.data.recordings import RECORDINGS, Recording, RecordingUnavailable, load
from latentgate.data.sequences import Sequences

__all__ = ["RECORDINGS", "Recording", "RecordingUnavailable", "Sequences", "load", "neural_latents", "simulators"]
