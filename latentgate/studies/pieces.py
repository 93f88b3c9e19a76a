"""Long sequences cut into pieces of one length, and put together again."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from latentgate.data import Sequences


def cut_into_pieces(data: Sequences, length: int) -> Sequences:
    """Every sequence cut into consecutive ones of so many steps; the last of each may be shorter. Labels are repeated, events are left behind.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> from latentgate.studies.pieces import cut_into_pieces
        >>> cut_into_pieces(lg.Sequences.from_arrays([np.ones((7, 2)), np.ones((4, 2))]), 4).lengths.tolist()
        [4, 3, 4]
    """
    if isinstance(length, bool) or not isinstance(length, (int, np.integer)) or length < 1:
        raise ValueError(f"`length` is {length!r}; expected a number of steps, 1 or more.")
    places = [(row, start, min(start + length, int(size))) for row, size in enumerate(data.lengths) for start in range(0, int(size), length)]
    rows = np.array([row for row, _, _ in places])
    widest = max(stop - start for _, start, stop in places)

    def cut(array: Any) -> np.ndarray:
        array = np.asarray(array)
        pieces = np.zeros((len(places), widest, *array.shape[2:]), array.dtype)
        for piece, (row, start, stop) in zip(pieces, places, strict=True):
            piece[: stop - start] = array[row, start:stop]
        return pieces

    times = None
    if data.times is not None:
        known = [np.asarray(data.times)[row, start:stop] for row, start, stop in places]
        times = np.stack([np.pad(piece, (0, widest - len(piece)), mode="edge") for piece in known])
    return dataclasses.replace(
        data,
        values=cut(data.values),
        observed=cut(data.observed),
        lengths=np.array([stop - start for _, start, stop in places], np.int32),
        inputs={name: cut(value) for name, value in data.inputs.items()},
        times=times,
        labels={name: value[rows] for name, value in data.labels.items()},
        events={},
        groups=None if data.groups is None else data.groups[rows],
        starts=None if data.starts is None or data.bin_width is None else data.starts[rows] + data.bin_width * np.array([start for _, start, _ in places]),
        shared={},
    )


def join_pieces(pieces: Any, data: Sequences) -> np.ndarray:
    """What was computed on `cut_into_pieces(data, length)`, [piece, time, ...], put together again: [sequence, time, ...], 0 at padding."""
    pieces = np.asarray(pieces)
    length = pieces.shape[1]
    joined = np.zeros((data.num_sequences, data.max_length, *pieces.shape[2:]), pieces.dtype)
    piece = 0
    for row, size in enumerate(data.lengths):
        for start in range(0, int(size), length):
            stop = min(start + length, int(size))
            joined[row, start:stop] = pieces[piece, : stop - start]
            piece += 1
    return joined
