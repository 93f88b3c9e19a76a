"""Whether a graph can have made the data, row by row, before anything is fitted."""

from __future__ import annotations

import warnings

import numpy as np

from latentgate.data import Sequences

from .initial import FixedInitial, Initial
from .transitions.edges import ARRIVAL, CONTINUOUS, EXACT_ENTRY


def check_possible(mask: np.ndarray, possible: np.ndarray, initial: Initial, data: Sequences) -> None:
    """Raises ValueError at the first row that no path along the graph can explain; warns of states in which no time can have been spent.

    Args:
        mask: edges, bool [K, K].
        possible: states that the observation of a row allows, bool [sequence, time, K].
        initial: law of the first state.
        data: sequences with times.
    """
    num_states = len(mask)
    closure = np.eye(num_states, dtype=bool) | mask
    for _ in range(num_states.bit_length()):
        closure = closure @ closure
    steps = {0: closure, EXACT_ENTRY: closure @ mask, CONTINUOUS: np.eye(num_states, dtype=bool) | mask}
    arrivals = np.asarray(data.inputs[ARRIVAL])[..., 0] if ARRIVAL in data.inputs else np.zeros(possible.shape[:2])
    real = np.asarray(data.mask)
    first = np.asarray(initial.known) > 0 if isinstance(initial, FixedInitial) else np.ones(num_states, bool)
    before = np.broadcast_to(first, (len(possible), num_states))
    occupied = np.zeros(num_states, bool)
    for step in range(possible.shape[1]):
        reached = before
        if step:
            occupied |= (before @ closure)[real[:, step]].any(0)
            kinds = arrivals[:, step]
            reached = np.select([(kinds == kind)[:, None] for kind in steps], [before @ matrix for matrix in steps.values()], False)
        now = reached & possible[:, step]
        impossible = np.flatnonzero(real[:, step] & ~now.any(-1))
        if impossible.size:
            one = int(impossible[0])
            raise ValueError(_impossible(data, one, step, before[one], reached[one], possible[one, step], int(arrivals[one, step])))
        before = np.where(real[:, step, None], now, before)
    if not occupied.all() and data.max_length > 1:
        warnings.warn(
            f"data: no time can have been spent in state {int(np.flatnonzero(~occupied)[0])}; its rates will be those of their prior. "
            "Leave the state out, or add data that reach it.",
            UserWarning,
            stacklevel=3,
        )


def _impossible(data: Sequences, sequence: int, step: int, before: np.ndarray, reached: np.ndarray, seen: np.ndarray, arrival: int) -> str:
    def states(which: np.ndarray) -> str:
        return "no state" if not which.any() else ("state " if which.sum() == 1 else "states ") + ", ".join(map(str, np.flatnonzero(which)))

    subject = "" if data.groups is None else f" (subject {data.groups[sequence]})"
    time = float(np.asarray(data.times)[sequence, step])
    if step == 0:
        return (
            f"data: found {states(seen)} in the first row of sequence {sequence}{subject}, expected one that the law of the first state allows "
            f"({states(before)}); change initial=..., or the data."
        )
    how = {EXACT_ENTRY: ", entered at that moment", CONTINUOUS: ", watched all the time since"}.get(arrival, "")
    return (
        f"data: found {states(seen)} in row {step} of sequence {sequence}{subject}, at time {time:g}{how}, after {states(before)}, expected {states(reached)}: "
        "no path along the graph leads there. Correct the row, add the missing edge to the graph, or let the state be read with error "
        "(lg.emissions.Misclassified)."
    )
