"""Fits as netCDF files: plain arrays with names, and the structure of the model as text. No code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from latentgate.files import read_netcdf, replaced_in_one_step
from latentgate.models.specification import from_specification, to_specification

from .outcomes import Outcome
from .posterior import Posterior

if TYPE_CHECKING:
    from .fit import Fit

FORMAT = "latentgate fit 1"
_TRACES, _SCALES = "traces.", "input_scales."
_HISTORIES = ("log_joint_history", "log_likelihood_history")


def to_dataset(fit: Fit) -> xr.Dataset:
    """Parameters as labelled arrays, with the histories of every restart, the draws, and what is needed to rebuild the fit in the attributes."""
    dims = fit.model.dims()
    variables: dict[str, Any] = {name: (dims[name], np.asarray(value)) for name, value in fit.params.items()}
    for label in _HISTORIES:
        rows = [getattr(record, label) for record in fit.restarts]
        longest = max((len(row) for row in rows), default=0)
        padded = [np.pad(row, (0, longest - len(row)), constant_values=np.nan) for row in rows]
        variables[label] = (("restart", "iteration"), np.array(padded).reshape(len(rows), longest))
    for name, value in fit.params.items():
        stacked = np.stack([np.asarray(record.params[name]) for record in fit.restarts]) if fit.restarts else np.empty((0, *np.shape(value)))
        variables[f"restarts.{name}"] = (("restart", *dims[name]), stacked)
    variables |= {f"{_TRACES}{name}": ("epoch", value) for name, value in fit.traces.items()}
    attributes = {
        "format": FORMAT,
        "model": json.dumps(to_specification(fit.model)),
        "engine": fit.engine,
        "seed": fit.seed,
        "outcome": fit.outcome.name,
        "converged": int(fit.converged),
        "best_restart": fit.best_restart,
        "restart_outcomes": json.dumps([record.outcome.name for record in fit.restarts]),
        "feature_names": json.dumps(fit.feature_names),
    }
    variables |= {f"{_SCALES}{name}": (("scale", f"{_SCALES}{name}.input"), np.stack(scale)) for name, scale in fit.input_scales.items()}
    if fit.posterior is not None:
        posterior = fit.posterior
        variables |= {f"posterior.{name}": (("chain", "draw", *dims[name]), value) for name, value in posterior.draws.items()}
        # netCDF has no booleans.
        plain = {name: value.astype(np.int8) if value.dtype == bool else value for name, value in posterior.sample_stats.items()}
        variables |= {f"sample_stats.{name}": (("chain", "draw"), value) for name, value in plain.items()}
        variables |= {"label_switches": ("chain", posterior.label_switches), "elbo": ("elbo_iteration", posterior.elbo)}
        attributes["pareto_k"] = json.dumps(posterior.pareto_k)
    return xr.Dataset(variables, attrs=attributes)


def save(fit: Fit, path: str | os.PathLike[str]) -> Path:
    """See `Fit.save`."""
    path = Path(path)
    with replaced_in_one_step(path) as partial:
        to_dataset(fit).to_netcdf(partial, engine="netcdf4")
    return path


def load(cls: type[Fit], path: str | os.PathLike[str]) -> Fit:
    """See `Fit.load`."""
    path = Path(path)
    stored = read_netcdf(path, "fit", "Fit.save", FORMAT)
    try:
        return _from_dataset(cls, stored)
    except (KeyError, TypeError, IndexError, json.JSONDecodeError) as error:
        raise ValueError(f"path: {str(path)!r} is not a complete fit; {error!r} is missing or damaged.") from error


def _from_dataset(cls: type[Fit], stored: xr.Dataset) -> Fit:
    from .fit import RestartRecord

    attributes = stored.attrs
    model = from_specification(json.loads(attributes["model"]))
    names = list(model.dims())
    outcomes = [Outcome[name] for name in json.loads(attributes["restart_outcomes"])]
    records = [
        RestartRecord(
            {name: stored[f"restarts.{name}"].values[index] for name in names},
            _without_padding(stored["log_joint_history"].values[index]),
            _without_padding(stored["log_likelihood_history"].values[index]),
            outcome,
        )
        for index, outcome in enumerate(outcomes)
    ]
    feature_names = json.loads(attributes["feature_names"])
    return cls(
        model=model,
        params={name: stored[name].values for name in names},
        engine=attributes["engine"],
        seed=int(attributes["seed"]),
        outcome=Outcome[attributes["outcome"]],
        converged=bool(attributes["converged"]),
        restarts=records,
        best_restart=int(attributes["best_restart"]),
        feature_names=None if feature_names is None else tuple(feature_names),
        posterior=_posterior(stored, names) if "pareto_k" in attributes else None,
        traces={str(name)[len(_TRACES) :]: value.values for name, value in stored.items() if str(name).startswith(_TRACES)},
        input_scales={str(name)[len(_SCALES) :]: (value.values[0], value.values[1]) for name, value in stored.items() if str(name).startswith(_SCALES)},
    )


def _posterior(stored: xr.Dataset, names: list[str]) -> Posterior:
    prefix = "sample_stats."
    stats = {str(name)[len(prefix) :]: value.values for name, value in stored.items() if str(name).startswith(prefix)}
    if "diverging" in stats:
        stats["diverging"] = stats["diverging"].astype(bool)
    return Posterior(
        {name: stored[f"posterior.{name}"].values for name in names},
        stats,
        stored["label_switches"].values,
        stored["elbo"].values,
        json.loads(stored.attrs["pareto_k"]),
    )


def _without_padding(history: np.ndarray) -> np.ndarray:
    return history[: int(np.max(np.flatnonzero(~np.isnan(history)), initial=-1)) + 1]
