"""Recordings of jump processes: "psor" and "fev", panels of patients, and "flashing_ratchet", simulated paths."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from latentgate.data import splits
from latentgate.data.panel import ARRIVAL, EXACT_ENTRY, SNAPSHOT, STATE, panel
from latentgate.data.sequences import Sequences

DEATH_CODE = 999
DEAD, ALIVE = 2, 3
RATCHET_STATES = 6
RATCHET_END = 2.5


def read_psor(path: str | os.PathLike[str], covariates: bool = True) -> Sequences:
    """Reads the recording "psor": psoriatic arthritis in four stages by the number of damaged joints (0, 1 to 4, 5 to 9, 10 or more), as seen at visits.

    With covariates, rows where one is missing are left out except a patient's last, as msm does, and so are the patients of whom no visit has both: 271 of
    305 stay. Published fits without covariates are of all 305.

    Args:
        path: csv file with the columns ptnum, months, state (1 to 4), hieffusn and ollwsdrt.
        covariates: whether the covariates are read.

    Returns:
        [patient, visit, 1] with the feature "state" (0 to 3), times in months, with covariates the inputs "hieffusn" (1: five or more effusions) and
        "ollwsdrt" (1: erythrocyte sedimentation rate below 15 mm/h), and the patients' numbers as the label and the groups "subject".

    Raises:
        ValueError, TypeError: a file of other columns or entries; see `panel`.

    Source: R package msm 1.7, data set psor; Gladman, Farewell and Nadeau, J. Rheumatol. 22, 675 (1995).
    """
    names = ["hieffusn", "ollwsdrt"] if covariates else []
    return panel(path, subject="ptnum", time="months", state="state", states=[1, 2, 3, 4], covariates=names)


def read_fev(path: str | os.PathLike[str]) -> Sequences:
    """Reads the recording "fev": lung function after a transplantation, in per cent of the patient's baseline, until death or the end of the study.

    Of the living it is not seen whether they have the bronchiolitis obliterans syndrome: the states are 0 (without), 1 (with it) and 2 (dead).

    Args:
        path: csv file with the columns ptnum, days, fev (999: died on this day) and acute.

    Returns:
        [patient, visit, 2] with the features "fev" (missing at death) and "state" (2 at death, else 3, which stands for 0 or 1: alive), times in days,
        the input sets "acute" (1: an infection or rejection within 14 days) and "arrival" (1 at death: its day is exact; else 0), and the
        patients' numbers as the label and the groups "subject".

    Raises:
        ValueError, TypeError: a file of other columns or entries, or with rows after a death; see `panel`.

    Source: R package msm 1.7, data set fev; Jackson and Sharples, Stat. Med. 21, 113 (2002).
    """
    read = panel(path, subject="ptnum", time="days", outcomes=["fev"], covariates={"acute": ["acute"]}, missing_covariates="error")
    arrays, arrivals = [], []
    for index, array in enumerate(read.to_list()):
        dead = array[:, 0] == DEATH_CODE
        if dead[:-1].any():
            raise ValueError(f"{path} has rows of patient {read.labels['subject'][index]} after death (fev = {DEATH_CODE}); expected none.")
        arrays.append(np.column_stack([np.where(dead, np.nan, array[:, 0]), np.where(dead, DEAD, ALIVE)]))
        arrivals.append(np.where(dead, EXACT_ENTRY, SNAPSHOT)[:, None])
    lengths = np.asarray(read.lengths)
    return Sequences.from_arrays(
        arrays,
        inputs={"acute": [row[:length] for row, length in zip(read.inputs["acute"], lengths, strict=True)], ARRIVAL: arrivals},
        times=[row[:length] for row, length in zip(read.times, lengths, strict=True)],
        names=["fev", STATE],
        input_names=read.input_names,
        labels=read.labels,
        groups=read.groups,
    )


def read_flashing_ratchet(path: str | os.PathLike[str], paths: Any = None) -> Sequences:
    """Reads the recording "flashing_ratchet": simulated paths of the discrete flashing ratchet with V = r = b = 1, seen at 100 regular times without error.

    Its rates are `latentgate.data.jump_processes.flashing_ratchet()`.

    Args:
        path: text file (compressed where its name ends in .gz) with one path a row, states 0 to 5 separated by commas.
        paths: which paths: None for all, else indices, booleans or a slice.

    Returns:
        [path, 100, 1] with the feature "state", times from 0 to 2.5, and the label "path": its number in the file.

    Raises:
        ValueError, TypeError, IndexError: a file of something else, or `paths` that are no indices of its paths.

    Source: github FIM4Science/OpenFIM, 6_st_DFR_V=1 at cee2bb5; Berghaus, Cvejoski, Seifner, Ojeda and Sanchez, NeurIPS (2024).
    """
    try:
        states = np.loadtxt(path, delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as rows of numbers separated by commas: {error}") from error
    if states.shape[1] < 2 or not np.isin(states, np.arange(RATCHET_STATES)).all():
        raise ValueError(f"{path} has rows of {states.shape[1]} numbers, {states.min():g} to {states.max():g}; expected paths of states 0 to 5.")
    chosen = np.arange(len(states)) if paths is None else splits.as_indices(paths, len(states))
    times = np.linspace(0.0, RATCHET_END, states.shape[1])
    return Sequences.from_arrays(states[chosen][:, :, None], times=np.tile(times, (len(chosen), 1)), names=[STATE], labels={"path": chosen})
