"""Data: sequences, recordings by name, simulators."""

from latentgate.data.sequences import Sequences

__all__ = ["Sequences"]
