"""A fit to standardised inputs, expressed for the raw ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from latentgate.models.original_units import Params, intercepts_of, to_original_units

if TYPE_CHECKING:
    from .fit import Fit


def in_original_units(fit: Fit) -> xr.Dataset:
    """See `Fit.in_original_units`."""
    intercepts = {} if fit.data is None else intercepts_of(fit.data)
    dims = fit.model.dims()

    def converted(params: Mapping[str, Any]) -> Params:
        return to_original_units(fit.model, params, fit.input_scales, intercepts)

    if fit.posterior is None:
        return xr.Dataset({name: (dims[name], value) for name, value in converted(fit.params).items()})
    draws = fit.posterior.draws
    shape = (fit.posterior.num_chains, fit.posterior.num_draws)
    each = [converted({name: value[index] for name, value in draws.items()}) for index in np.ndindex(*shape)]
    stacked = {name: np.stack([one[name] for one in each]).reshape(*shape, *np.shape(each[0][name])) for name in each[0]}
    means = {name: (dims[name], value.mean((0, 1))) for name, value in stacked.items()}
    return xr.Dataset(means | {f"posterior.{name}": (("chain", "draw", *dims[name]), value) for name, value in stacked.items()})
