"""The distinct edges of a jump process on irregular times: which generator, over which gap, and how the row at its end came to be seen."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.core
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences
from latentgate.data.panel import ARRIVAL

_STEP = "_jump.edge"
_SHARED = "jump."


class Edges(NamedTuple):
    """Distinct edges, and where they stand.

    Attributes:
        covariates: of every distinct generator, [G, M].
        generator: int [U], which generator.
        gaps: [U], durations.
        arrivals: int [U], how the row at the end was seen; None where all are snapshots.
        step: int [sequence, time - 1], which edge leads into the later step; None where one edge serves all.
    """

    covariates: Array
    generator: Array
    gaps: Array
    arrivals: Array | None
    step: Array | None


def edges_of(data: Sequences, names: tuple[str, ...]) -> Edges:
    """The edges that `catalogued` found; in data without a catalogue every interval is an edge of its own.

    Args:
        data: sequences with times.
        names: input sets that the generator reads.
    """
    if _SHARED + "gaps" in data.shared:
        step = data.inputs[_STEP][:, 1:, 0] if _STEP in data.inputs else None
        return Edges(*(data.shared.get(_SHARED + name) for name in Edges._fields[:-1]), step=step)  # pyright: ignore[reportArgumentType]
    times = jnp.asarray(data.times)
    gaps = (times[:, 1:] - times[:, :-1]).reshape(-1)
    columns = [jnp.asarray(data.inputs[name])[:, :-1].reshape(gaps.shape[0], -1) for name in names]
    own = jnp.arange(gaps.shape[0])
    arrivals = None if ARRIVAL not in data.inputs else jnp.asarray(data.inputs[ARRIVAL])[:, 1:, 0].reshape(-1).astype(jnp.int32)
    return Edges(
        jnp.concatenate(columns, axis=1) if columns else jnp.zeros((1, 0), gaps.dtype),
        own if columns else jnp.zeros_like(own),
        gaps,
        arrivals,
        own.reshape(data.values.shape[0], -1),
    )


def catalogued(data: Sequences, names: tuple[str, ...]) -> Sequences:
    """The same data with its distinct edges, found on the host; data that have them, or are traced, as they are.

    Numbers of edges and of generators are rounded up, by edges that no step uses, so that data of like size share a compiled program.
    """
    if _SHARED + "gaps" in data.shared or data.times is None or isinstance(data.times, jax.core.Tracer) or data.max_length < 2:
        return data
    real = np.asarray(data.mask)[:, 1:]
    times = np.asarray(data.times)
    gaps = _merged((times[:, 1:] - times[:, :-1])[real], float(np.abs(times).max()))
    num_rows = len(gaps)
    columns = [np.asarray(data.inputs[name])[:, :-1][real].reshape(num_rows, -1) for name in names]
    covariates, generator = _distinct(np.concatenate(columns, axis=1)) if columns else (np.zeros((1, 0)), np.zeros(num_rows, np.int32))
    arrival = np.asarray(data.inputs[ARRIVAL])[:, 1:, 0][real].astype(np.int32) if ARRIVAL in data.inputs else np.zeros(num_rows, np.int32)
    rows, which = _distinct(np.stack([gaps, generator, arrival], axis=1))
    shared = {"covariates": _padded(covariates), "generator": rows[:, 1].astype(np.int32), "gaps": rows[:, 0]}
    if arrival.any():
        shared["arrivals"] = rows[:, 2].astype(np.int32)
    # Steps that an older catalogue left behind are those of other edges.
    inputs = {name: values for name, values in data.inputs.items() if name != _STEP}
    if len(rows) > 1:
        shared |= {name: _padded(shared[name], 0) for name in shared if name != "covariates"}
        step = np.zeros((*times.shape, 1), np.int32)
        step[:, 1:, 0][real] = which
        inputs = inputs | {_STEP: step}
    return dataclasses.replace(data, inputs=inputs, shared=data.shared | {_SHARED + name: value for name, value in shared.items()})


def _merged(gaps: np.ndarray, latest: float) -> np.ndarray:
    """Gaps that differ by the rounding of their times alone made equal."""
    distinct, which = np.unique(gaps, return_inverse=True)
    cluster = np.concatenate([[0], np.cumsum(np.diff(distinct) > 16 * np.finfo(float).eps * latest)])
    first = np.flatnonzero(np.diff(cluster, prepend=-1))
    # The middle one: a grid of regular times has its step there.
    middle = (first + np.append(first[1:], len(distinct)) - 1) // 2
    return distinct[middle][cluster[which]]


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows [n, column], and which of them each row is; column by column, which is many times faster than `np.unique` of rows."""
    code = np.zeros(len(rows), np.int64)
    for column in rows.T:
        values, own = np.unique(column, return_inverse=True)
        # Made small again, so that the product with the next column's number stays an integer.
        code = np.unique(code * len(values) + own.reshape(-1), return_inverse=True)[1].reshape(-1)
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    return rows[first], which.reshape(-1).astype(np.int32)


def _padded(rows: np.ndarray, filler: float | None = None) -> np.ndarray:
    """Rows up to the next of 1, 2, 3, 4, 6, 8, 12, 16, ...; copies of the first, or of a number."""
    size = 1
    while size < len(rows):
        size = size * 3 // 2 if size & (size - 1) == 0 and size > 1 else (size * 4 // 3 if size > 1 else 2)
    more = np.broadcast_to(rows[:1] if filler is None else np.asarray(filler, rows.dtype), (size - len(rows), *rows.shape[1:]))
    return np.concatenate([rows, more])
