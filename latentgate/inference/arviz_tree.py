"""A fit as an ArviZ DataTree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from latentgate.data import Sequences

from . import averaging

if TYPE_CHECKING:
    from .fit import Fit

POINTWISE = ("step", "sequence")


def to_tree(fit: Fit, data: Sequences | None, log_likelihood: str | None = "step") -> xr.DataTree:
    """Draws, the sampler's statistics, pointwise log-likelihoods, data and latents in one tree, for `arviz.summary`, `loo`, `compare` and the plots.

    Args:
        fit: with posterior draws.
        data: the sequences the pointwise log-likelihoods are of: those of the fit, unless it was read from a file.
        log_likelihood: "step": log p(data at t | data before t) of every observed step. `arviz.loo` then estimates how well one step is predicted from the
            past of its sequence, its own future left out as well (leave-future-out within a sequence). "sequence": of whole sequences, which are exchangeable,
            so that `loo` leaves one session out. None: neither this nor the groups that need data.

    Returns:
        groups `posterior`; `sample_stats` (NUTS); and, with data, `log_likelihood` (chain, draw, step or sequence), `observed_data` (sequence, time, feature),
        `latents`: what `Fit.smooth` gives, averaged over draws.

    Raises:
        ValueError: for a point estimate, an unknown option, or where data are needed and there are none.
    """
    if fit.posterior is None:
        raise ValueError(f"fit: found a point estimate by {fit.engine}, expected posterior draws; fit with lg.NUTS(...) or lg.SVI(...).")
    if log_likelihood is not None and log_likelihood not in POINTWISE:
        raise ValueError(f"log_likelihood: found {log_likelihood!r}, expected one of {', '.join(map(repr, POINTWISE))}, or None.")
    if log_likelihood is not None and data is None:
        raise ValueError("data: found None, since a saved fit holds no data; pass the sequences, or log_likelihood=None to do without.")
    dims = fit.model.dims()
    posterior = fit.posterior
    draws = {name: (("chain", "draw", *dims[name]), value) for name, value in posterior.draws.items()}
    attributes = {"inference_library": "latentgate", "engine": fit.engine, "outcome": fit.outcome.value}
    groups = {"posterior": _dataset(draws).assign_attrs(attributes)}
    if posterior.sample_stats:
        groups["sample_stats"] = _dataset({name: (("chain", "draw"), value) for name, value in posterior.sample_stats.items()})
    if log_likelihood is not None and data is not None:
        groups["log_likelihood"] = _pointwise(fit, data, log_likelihood)
        observed = np.where(data.observed, data.values, np.nan)
        groups["observed_data"] = xr.Dataset({"values": (("sequence", "time", "feature"), observed)})
        if data.names is not None:
            groups["observed_data"] = groups["observed_data"].assign_coords(feature=list(data.names))
        smoothed = fit.smooth(data)
        groups["latents"] = smoothed if isinstance(smoothed, xr.Dataset) else smoothed.to_dataset(name="smoothed")
    return xr.DataTree.from_dict(groups)


def _dataset(variables: dict) -> xr.Dataset:
    data = xr.Dataset(variables)
    return data.assign_coords({name: np.arange(size) for name, size in data.sizes.items()})


def _pointwise(fit: Fit, data: Sequences, unit: str) -> xr.Dataset:
    assert fit.posterior is not None
    fit.check(data)
    draws, shape = fit._draws(None), (fit.posterior.num_chains, fit.posterior.num_draws)
    if unit == "sequence":
        values = np.asarray(averaging.log_likelihoods(fit.model, draws, data)).reshape(*shape, -1)
        return _dataset({"sequences": (("chain", "draw", "sequence"), values)})
    # A step without any observation says nothing, and is nothing that could be left out.
    sequence, time = np.nonzero(np.asarray(data.observed).any(-1))
    values = np.asarray(averaging.one_step_ahead(fit.model, draws, data))[:, sequence, time].reshape(*shape, -1)
    result = _dataset({"steps": (("chain", "draw", "step"), values)})
    return result.assign_coords(sequence_of_step=("step", sequence), time_of_step=("step", time))
