"""Errors and warnings about designs that do not determine the weights of a regression."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpyro.distributions as dist

from latentgate.data import Sequences

# A column of which the columns before it leave less than this share unexplained is a combination of them: far above rounding, far below any signal.
_DEPENDENT = 1e-10


def is_flat(prior: dist.Distribution) -> bool:
    """Whether a prior says nothing."""
    return isinstance(prior, dist.ImproperUniform)


def observed_rows(columns: np.ndarray, data: Sequences) -> np.ndarray:
    """Rows [row, column] of an array [sequence, time, column] at the steps with an observation."""
    return np.asarray(columns, float)[np.asarray(data.observed).any(-1)]


def input_names(inputs: str, data: Sequences) -> list[str]:
    """What to call the columns of an input set in an error."""
    known = data.input_names.get(inputs)
    return [f"column {column} of inputs[{inputs!r}]" + (f" ({known[column]})" if known else "") for column in range(data.inputs[inputs].shape[-1])]


def check_design(
    owner: str,
    names: Sequence[str],
    rows: np.ndarray,
    *,
    flat_weights: bool,
    flat_bias: bool | None,
    num_parameters: int,
    remedy: str = "weight_prior=None",
) -> None:
    """Raises ValueError where flat priors leave weights undetermined, and warns of a constant column that only priors tell from the bias.

    Args:
        owner: the part of the model, for the message.
        names: of the columns.
        rows: the columns at the observed steps, [row, column].
        flat_weights: whether weights have a flat prior.
        flat_bias: whether the bias has; None if there is no bias.
        num_parameters: of one expert.
        remedy: the argument that gives proper priors.
    """
    if flat_weights and len(rows) < num_parameters:
        raise ValueError(
            f"data: found {len(rows)} observed rows, expected at least {num_parameters} for {owner} with flat priors, one a parameter; "
            f"use fewer columns, or proper priors ({remedy})."
        )
    if not len(rows):
        return
    with_bias = flat_weights and flat_bias is True
    if flat_weights:
        design = np.concatenate([np.ones((len(rows), 1)), rows], axis=1) if with_bias else rows
        labels = ["the bias", *names] if with_bias else list(names)
        _refuse_dependent(owner, labels, design, remedy)
    if flat_bias is not None and not with_bias:
        constant = np.flatnonzero(np.ptp(rows, axis=0) == 0)
        if constant.size:
            warnings.warn(
                f"inputs: found {names[constant[0]]} constant, expected one that varies: only priors of {owner} tell its weight from the bias; leave it out.",
                UserWarning,
                stacklevel=4,
            )


def _refuse_dependent(owner: str, labels: list[str], design: np.ndarray, remedy: str) -> None:
    size = np.linalg.norm(design, axis=0)
    zero = np.flatnonzero(size == 0)
    if zero.size:
        raise ValueError(f"inputs: found {labels[zero[0]]} zero throughout, expected one that varies, since {owner} has flat priors; leave it out.")
    factor = np.linalg.qr(design / size, mode="r")
    dependent = np.flatnonzero(np.abs(np.diagonal(factor)) < _DEPENDENT)
    if dependent.size:
        column = int(dependent[0])
        share = np.linalg.lstsq(factor[:column, :column], factor[:column, column], rcond=None)[0]
        others = [label for label, part in zip(labels, share, strict=False) if abs(part) > 1e-6]
        found = "constant" if others == ["the bias"] else f"a linear combination of {' and '.join(others)}"
        raise ValueError(
            f"inputs: found {labels[column]} {found}, expected columns of full rank beside the bias: {owner} with flat priors has no unique maximum otherwise; "
            f"leave the column out, or use proper priors ({remedy})."
        )
