"""Whether a graph can have made the data, row by row, before anything is fitted."""

from __future__ import annotations

import warnings

import numpy as np

from latentgate.data import Sequences
from latentgate.data.panel import ARRIVAL, EXACT_ENTRY, OBSERVED_CONTINUOUSLY

from .initial import FixedInitial, Initial


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
    steps = {0: closure, EXACT_ENTRY: closure @ mask, OBSERVED_CONTINUOUSLY: np.eye(num_states, dtype=bool) | mask}
    arrivals = np.asarray(data.inputs[ARRIVAL])[..., 0] if ARRIVAL in data.inputs else np.zeros(possible.shape[:2])
    real = np.asarray(data.mask)
    first = np.asarray(initial.known) > 0 if isinstance(initial, FixedInitial) else np.ones(num_states, bool)
    before = np.broadcast_to(first, (len(possible), num_states))
    forward = []
    for step in range(possible.shape[1]):
        reached = _moved(before, steps, arrivals[:, step]) if step else before
        now = reached & possible[:, step]
        impossible = np.flatnonzero(real[:, step] & ~now.any(-1))
        if impossible.size:
            one = int(impossible[0])
            raise ValueError(_impossible(data, one, step, before[one], reached[one], possible[one, step], int(arrivals[one, step])))
        before = np.where(real[:, step, None], now, before)
        forward.append(before)
    # An absorbing state has no rates to be learned.
    idle = np.flatnonzero(mask.any(1) & ~_occupied(forward, closure, mask, steps, arrivals, real))
    if idle.size and data.max_length > 1:
        warnings.warn(
            f"data: no time can have been spent in state {idle[0]}; its rates will be those of their prior. Leave the state out, or add data that reach it.",
            UserWarning,
            stacklevel=3,
        )


def _moved(states: np.ndarray, steps: dict[int, np.ndarray], arrivals: np.ndarray) -> np.ndarray:
    """States [sequence, K] that can be reached in one step, given how the row at its end was seen."""
    return np.select([(arrivals == kind)[:, None] for kind in steps], [states @ matrix for matrix in steps.values()], False)


def _occupied(
    forward: list[np.ndarray], closure: np.ndarray, mask: np.ndarray, steps: dict[int, np.ndarray], arrivals: np.ndarray, real: np.ndarray
) -> np.ndarray:
    """States in which time can have been spent on a way through all rows, bool [K].

    Args:
        forward: of every step, the states that the rows up to it allow, [sequence, K].
        closure, mask, steps: see `check_possible`.
        arrivals, real: [sequence, time].
    """
    eye = np.eye(len(mask), dtype=bool)
    leaving = {0: closure, EXACT_ENTRY: closure, OBSERVED_CONTINUOUSLY: eye}
    arriving = {kind: matrix.T for kind, matrix in steps.items()}
    occupied = np.zeros(len(mask), bool)
    after = forward[-1]
    for step in range(len(forward) - 1, 0, -1):
        towards = _moved(after, arriving, arrivals[:, step])
        occupied |= (_moved(forward[step - 1], leaving, arrivals[:, step]) & towards)[real[:, step]].any(0)
        after = np.where(real[:, step, None], forward[step - 1] & towards, forward[step - 1])
    return occupied


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
    how = {EXACT_ENTRY: ", entered at that moment", OBSERVED_CONTINUOUSLY: ", watched all the time since"}.get(arrival, "")
    return (
        f"data: found {states(seen)} in row {step} of sequence {sequence}{subject}, at time {time:g}{how}, after {states(before)}, expected {states(reached)}: "
        "no path along the graph leads there. Correct the row, add the missing edge to the graph, or let the state be read with error "
        "(lg.emissions.Misclassified)."
    )
