"""The recording "monkey_reach_flint": activity of monkey motor cortex and hand velocity while reaching, in bins of 100 ms."""

from __future__ import annotations

import os

import numpy as np

from latentgate.data.sequences import Sequences

BIN_WIDTH = 0.1


def read_csv(neural_path: str | os.PathLike[str], velocity_path: str | os.PathLike[str]) -> Sequences:
    """Reads the two text files of the recording: run 1 of Flint et al. 2012, as the authors of the discriminative Kalman filter prepared it.

    The rows of the two files are already paired with the lag of one bin that the published decoders use: row t of the activity belongs to row t of
    the velocity, and a further shift makes decoding worse.

    Args:
        neural_path: file of the 10 first principal components of the spike counts, one row a bin, numbers separated by commas.
        velocity_path: file of the two components of the hand's velocity, one row a bin.

    Returns:
        One sequence, [1, time, component] (7 792 bins x 10 components), with the input set "velocity" [1, time, 2] in the units of the file.

    Raises:
        ValueError: a row that is no list of numbers, files of unequal numbers of rows, or a velocity that is not two-dimensional.

    Source: github burkh4rt/DKF-implementations, data/x.csv and data/z.csv; Flint, Lindberg, Jordan, Miller, Slutzky, J. Neural Eng. 9:046006 (2012);
    Burkhart, Brandman, Franco, Hochberg, Harrison, Neural Computation 32:969 (2020).
    """
    neural = _read(neural_path)
    velocity = _read(velocity_path)
    if velocity.shape[1] != 2:
        raise ValueError(f"{velocity_path} has {velocity.shape[1]} columns; expected 2, the components of the velocity.")
    if len(neural) != len(velocity):
        raise ValueError(f"{neural_path} has {len(neural)} rows but {velocity_path} has {len(velocity)}; expected one row of each per bin.")
    return Sequences.from_arrays(
        [neural],
        inputs={"velocity": [velocity]},
        names=[f"component {number}" for number in range(1, neural.shape[1] + 1)],
        input_names={"velocity": ["x", "y"]},
        bin_width=BIN_WIDTH,
    )


def _read(path: str | os.PathLike[str]) -> np.ndarray:
    try:
        return np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as rows of numbers separated by commas: {error}") from error
