"""What a command knows of a fit and the fit does not: which recording, which name of the model, what was held out. Kept in the file of the fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentgate.inference import Fit

_ATTRIBUTE = "command"


def save(fit: Fit, path: Path, facts: Mapping[str, Any]) -> None:
    """Writes the fit with the facts; the file is replaced in one step, and `lg.Fit.load` reads it as any other."""
    from latentgate.files import replaced_in_one_step

    stored = fit.to_xarray().assign_attrs({_ATTRIBUTE: json.dumps(facts, default=str)})
    with replaced_in_one_step(path) as partial:
        stored.to_netcdf(partial, engine="netcdf4")


def load(path: Path) -> dict[str, Any]:
    """The facts, or {} for a fit that was saved from Python."""
    import xarray as xr

    with xr.open_dataset(path, engine="netcdf4") as stored:
        return json.loads(stored.attrs.get(_ATTRIBUTE, "{}"))


def held_out_sentence(scores: Mapping[str, Any]) -> str:
    """Scores on held-out sequences, in words."""
    number = scores["num_sequences"]
    words = f"On {number} held-out sequence{'s' * (number != 1)} the log-likelihood is {scores['log_likelihood_per_step']:.4f} nats a step"
    if scores["bits_per_spike"] is None:
        return words + "."
    return f"{words}, {scores['bits_per_spike']:.4f} bits per spike over a homogeneous Poisson."
