"""Results of a fit become a processing module of an NWB file."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from latentgate.data import Sequences

from ._clock import Runs, rows, runs
from ._nwb_contents import pynwb

MODULE = "latentgate"


def add_results(nwbfile: Any, result: Any, data: Sequences, name: str | None = None, description: str | None = None, fit: Any = None) -> list[Any]:
    """Adds a result to the processing module "latentgate" of an open NWBFile; writing the file is left to pynwb.

    State probabilities become a TimeSeries [time, state] at the centres of bins, in unit "probability"; a path of states becomes a TimeIntervals table of its
    runs, with columns `state` and `sequence`; latents become the TimeSeries `name_mean` and `name_sd`, [time, latent].

    Args:
        nwbfile: NWBFile that is open for writing, or not yet written. To keep the original as it is, read it, add, and export it to another path.
        result: of `fit.smooth`, `fit.filter`, `fit.most_probable_path`, or one draw of `fit.sample_latents`.
        data: the sequences that it is of, on the clock of the file: with `starts` and `bin_width`, as `latentgate.load` gives them, or with `times`.
        name: of what is added; by default that of the result ("smoothed", "filtered", "most_probable_path", ...).
        description: what it is, a sentence; model, engine and outcome follow where `fit` is given.
        fit: the Fit that it is from.

    Returns:
        What was added.

    Raises:
        ImportError: without pynwb: pip install 'latentgate[nwb]'.
        TypeError: no NWBFile, or no result.
        ValueError: a name that is there already, or none; several draws, data without a clock, sequences that overlap in time.

    Example:
        >>> import datetime, numpy as np, pynwb, xarray as xr
        >>> import latentgate as lg
        >>> from latentgate.adapters.nwb import add_results
        >>> file = pynwb.NWBFile("a session", "one", datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
        >>> data = lg.Sequences.from_spikes([[0.2, 0.7, 3.1]], bin_width=0.5, trials=[[0.0, 1.0], [3.0, 4.0]])
        >>> path = xr.DataArray([[0, 0], [0, 1]], dims=("sequence", "time"))
        >>> _ = add_results(file, path, data, name="states")
        >>> file.processing["latentgate"]["states"].to_dataframe()[["start_time", "stop_time", "state"]].to_numpy().tolist()
        [[0.0, 1.0, 0.0], [3.0, 3.5, 0.0], [3.5, 4.0, 1.0]]
    """
    if not isinstance(nwbfile, pynwb.NWBFile):
        raise TypeError(f"`nwbfile` is of type {type(nwbfile).__name__}; expected an open pynwb.NWBFile: pynwb.NWBHDF5IO(path, 'a').read().")
    name = name or str(getattr(result, "name", None) or "")
    # A Dataset has no name of its own.
    name = name or ("latents" if "mean" in getattr(result, "data_vars", ()) else "")
    if not name or "/" in name or ":" in name:
        raise ValueError(f"`name` is {name!r}; expected a name without / and :, for instance 'smoothed'.")
    found = rows(result, data)
    told = " ".join(part for part in (description, _provenance(fit)) if part)
    if "state" in found.columns:
        added = [_table(name, told or "Runs of the states of a path.", runs(result, data))]
    else:
        added = []
        for quantity, columns in found.columns.items():
            unit = "probability" if quantity == "probability" else "arbitrary"
            what = f"Columns: {', '.join(columns)}."
            full = f"{name}_{quantity}" if quantity in ("mean", "sd") else name
            values = np.stack([*columns.values()], axis=1)
            added.append(pynwb.TimeSeries(name=full, data=values, unit=unit, timestamps=found.times, description=f"{told} {what}".strip()))
    module = nwbfile.processing.get(MODULE)
    for entry in added:
        if module is not None and entry.name in module.data_interfaces:
            there = ", ".join(map(repr, module.data_interfaces))
            raise ValueError(f"`name` is {name!r}, but the processing module {MODULE!r} has {entry.name!r} already; it has: {there}. Choose another name.")
    if module is None:
        module = nwbfile.create_processing_module(name=MODULE, description="Latent states and trajectories inferred by latentgate.")
    for entry in added:
        module.add(entry)
    return added


def _table(name: str, description: str, found: Runs) -> Any:
    table = pynwb.epoch.TimeIntervals(name=name, description=description)
    table.add_column("state", "The state of the run, from 0.")
    table.add_column("sequence", "Index of the sequence (trial) that the run is in, from 0.")
    for start, end, state, sequence in zip(found.starts, found.ends, found.states, found.sequences, strict=True):
        table.add_row(start_time=float(start), stop_time=float(end), state=int(state), sequence=int(sequence))
    return table


def _provenance(fit: Any) -> str:
    if fit is None:
        return ""
    shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in fit.own_params.items())
    return f"Model: {_outline(fit.model)}, with {shapes}. Engine: {fit.engine}, seed {fit.seed}. Outcome: {fit.outcome.value}"


def _outline(model: Any) -> str:
    """A model and its parts by their names: HMM(num_states=2, emission=Poisson, ...)."""
    entries = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    told = {name: value if isinstance(value, (bool, int, float, str)) else type(value).__name__ for name, value in entries.items() if value is not None}
    return f"{type(model).__name__}({', '.join(f'{name}={value}' for name, value in told.items())})"
