"""The recording "tonedata": the tuning of a musician to stretched tones, 150 adjustments."""

from __future__ import annotations

import os

import numpy as np

from latentgate.data.sequences import Sequences

COLUMNS = ("stretchratio", "tuned")


def read_tones(path: str | os.PathLike[str]) -> Sequences:
    """Reads the recording "tonedata": a musician tuned a tone to the octave above a fundamental, whose overtones were stretched by a known ratio.

    Two hypotheses are two lines in the plane: the tuned ratio stays 2 (the interval is remembered), or follows the stretch ratio (overtones are matched).

    The rows are trials without order in time, one step each of one sequence: for a model without coupling between steps this changes nothing.

    Args:
        path: csv file with the columns stretchratio and tuned.

    Returns:
        [1, 150, 1] with the feature "tuned", the ratio of the tuned tone to the fundamental, and the input set "inputs" with the column "stretchratio".

    Raises:
        ValueError: a file of other columns or entries.

    Source: R package mixtools 2.0, data set tonedata; Cohen, PhD thesis, Stanford (1980); de Veaux, Comput. Stat. Data Anal. 8, 227 (1989).

    Example:
        >>> import pathlib, tempfile
        >>> from latentgate.data.tonedata import read_tones
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "tones.csv"
        >>> _ = path.write_text("stretchratio,tuned\\n1.35,1.461\\n1.4,1.407\\n")
        >>> read_tones(path).inputs["inputs"][0, :, 0].tolist()
        [1.35, 1.4]
    """
    with open(path, encoding="utf-8") as lines:
        header = tuple(name.strip().strip('"') for name in lines.readline().split(","))
    if header != COLUMNS:
        raise ValueError(f"{path} has the columns {', '.join(map(repr, header))}; expected {', '.join(map(repr, COLUMNS))}, in this order.")
    try:
        table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as rows of two numbers separated by a comma: {error}") from error
    return Sequences.from_arrays([table[:, 1:]], inputs=[table[:, :1]], names=[COLUMNS[1]], input_names=[COLUMNS[0]])
