"""`latentgate decode`: the states or latents of a recording under a fit, as a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentgate.cli.shared import DONE, Stages, add_command, add_precision, add_recording, path_with, prepare_jax, read_recording, require_folder_of, show

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from latentgate.data import Sequences

_QUESTIONS = {"smooth": "smooth", "filter": "filter", "path": "most_probable_path"}


def add(commands: Any) -> None:
    """Adds the command."""
    description = "Writes the states or latents of every step: netCDF for xarray, or one row a step as csv. Latents come with their variance."
    parser = add_command(commands, "decode", "write states or latents of a recording under a fit", description, run)
    parser.add_argument("fit", type=Path, metavar="FIT.nc", help="file of the fit")
    add_recording(parser, "recording")
    parser.add_argument("--out", required=True, type=path_with(".nc", ".csv"), metavar="FILE", help="file to write, .nc or .csv")
    parser.add_argument(
        "--what",
        choices=_QUESTIONS,
        default="smooth",
        help="smooth: given all data; filter: given the data up to each step; path: the most probable path (default: %(default)s)",
    )
    add_precision(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    tell = Stages()
    require_folder_of(options.out)
    prepare_jax(float64=options.float64)

    from latentgate.files import replaced_in_one_step
    from latentgate.inference import Fit

    fit = Fit.load(options.fit)
    tell(f"reading {options.recording}")
    data = read_recording(options)
    tell(f"decoding {data} (compiles first)")
    found = labelled(getattr(fit, _QUESTIONS[options.what])(data), data)
    found.attrs.update(fit=str(options.fit), recording=options.recording, what=options.what, outcome=fit.outcome.value)
    with replaced_in_one_step(options.out) as partial:
        if options.out.suffix == ".nc":
            found.to_netcdf(partial, engine="netcdf4")
        else:
            to_table(found, data).to_csv(partial, index=False)
    tell("done")
    facts = {
        "out": str(options.out),
        "what": options.what,
        "fit": str(options.fit),
        "recording": options.recording,
        "num_sequences": data.num_sequences,
        "num_steps": data.num_steps,
        "dims": dict(found.sizes),
        "variables": [str(name) for name in found.data_vars],
        "seconds": tell.all,
    }
    show(options, facts, [f"{options.what}: {data.num_sequences} sequences, {data.num_steps} steps, {' and '.join(facts['variables'])}", f"out: {options.out}"])
    return DONE


def labelled(found: xr.DataArray | xr.Dataset, data: Sequences) -> xr.Dataset:
    """The answer as a dataset with the length of every sequence, and times where they are known: [time] in s from the start, or [sequence, time] as given."""
    import numpy as np
    import xarray as xr

    dataset = found.to_dataset() if isinstance(found, xr.DataArray) else found
    dataset = dataset.assign_coords(length=("sequence", np.asarray(data.lengths)))
    if data.times is not None:
        return dataset.assign_coords(observation_time=(("sequence", "time"), np.asarray(data.times)))
    if data.bin_width is not None:
        return dataset.assign_coords(bin_start=("time", np.arange(data.max_length) * data.bin_width, {"units": "s"}))
    return dataset


def to_table(found: xr.Dataset, data: Sequences) -> pd.DataFrame:
    """One row a step, padding left out: sequence, step, time where it is known, and a column for every state or latent (mean and standard deviation)."""
    import numpy as np
    import pandas as pd

    mask = np.asarray(data.mask)
    sequence, step = np.nonzero(mask)
    columns: dict[str, Any] = {"sequence": sequence, "step": step}
    for name in ("observation_time", "bin_start"):
        if name in found.coords:
            columns[name] = np.broadcast_to(found[name].values, mask.shape)[mask]
    for name, variable in found.data_vars.items():
        values = variable.values[mask]
        if name == "covariance":
            columns |= {f"standard deviation of latent {index}": np.sqrt(values[:, index, index]) for index in range(values.shape[1])}
        elif values.ndim == 1:
            columns["state" if values.dtype.kind in "iu" else str(name)] = values
        else:
            columns |= {f"{'mean of ' * (name == 'mean')}{variable.dims[-1]} {index}": values[:, index] for index in range(values.shape[1])}
    return pd.DataFrame(columns)
