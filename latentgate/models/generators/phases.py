"""Sojourns that are not exponential: states made of phases."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpyro.distributions as dist

from ..emissions.checks import at_least
from .base import graph_mask, graph_of
from .free import Free


class PhaseType(Free):
    """Free rates between states some of which are passed through in phases, so that a stay in them has a Coxian instead of an exponential law.

    A state with n phases is entered in its first; every phase leads to the next, and to the first phase of every state that the graph allows. What is
    seen is the state, not the phase: hand `lg.emissions.Misclassified(generator.phase_of)` to the process, whose number of states is that of the phases.

    Parameters: `rates` [phase, phase] (as `Free`).

    Args:
        graph: between states, as in `Free`.
        phases: number of phases of every state.
        prior: as in `Free`.
        time_scale: as in `Free`.

    Raises:
        ValueError: for fewer than one phase, or a graph of another number of states.

    Source: Titman, Sharples, Stat. Med. 29:2104 (2010).

    Example:
        >>> import latentgate as lg
        >>> generator = lg.generators.PhaseType([(0, 1), (1, 0)], phases=[2, 1])
        >>> generator.phase_of.astype(int).tolist()
        [[1, 0], [1, 0], [0, 1]]
    """

    phases: tuple[int, ...]

    def __init__(self, graph: object, phases: Sequence[int], prior: dist.Distribution | None = None, time_scale: float = 1.0):
        self.phases = tuple(at_least("phases", number) for number in phases)
        between = graph_mask(graph_of(graph), len(self.phases))
        first = np.concatenate([[0], np.cumsum(self.phases)])
        expanded = np.zeros((first[-1], first[-1]), bool)
        for state, (start, end) in enumerate(itertools.pairwise(first)):
            expanded[np.arange(start, end - 1), np.arange(start + 1, end)] = True
            expanded[start:end, first[:-1][between[state]]] = True
        super().__init__(expanded, prior, time_scale)

    @property
    def phase_of(self) -> np.ndarray:
        """Bool [phase, state], True where a phase belongs to a state."""
        return np.repeat(np.eye(len(self.phases), dtype=bool), self.phases, axis=0)
