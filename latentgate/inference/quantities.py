"""Functions of parameters: what they return, over draws of the parameters, and intervals as labelled arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from .coordinates import double_precision

if TYPE_CHECKING:
    from .fit import Fit

STATISTICS = ("estimate", "standard_error", "lower", "upper")
Function = Callable[[dict[str, Any]], Any]


class Quantities(NamedTuple):
    """What a function of parameters returns at one point.

    Attributes:
        arrays: by name; one without a name is called "".
        differentiable: whether it returned JAX arrays, and no xarray.
    """

    arrays: dict[str, xr.DataArray]
    differentiable: bool


def at(function: Function, params: Mapping[str, np.ndarray]) -> Quantities:
    """The function's value, called with NumPy arrays, or with JAX arrays if it can only take those."""
    return _quantities(_value(function, params))


def _value(function: Function, params: Mapping[str, np.ndarray]) -> Any:
    try:
        return function({name: np.array(value) for name, value in params.items()})
    except (AttributeError, TypeError) as error:
        try:
            return function({name: jnp.asarray(value) for name, value in params.items()})
        except Exception:
            raise error from None


def _quantities(value: Any) -> Quantities:
    whole = dict(value) if isinstance(value, Mapping | xr.Dataset) else {"": value}
    if not whole:
        raise ValueError("function: found an empty mapping, expected an array, {name: array}, or an xarray object.")
    labelled = any(isinstance(entry, xr.DataArray) for entry in whole.values())
    arrays = {}
    for name, entry in whole.items():
        array = entry if isinstance(entry, xr.DataArray) else xr.DataArray(np.asarray(entry))
        if array.dtype.kind not in "fiub":
            raise TypeError(f"function: found values of type {array.dtype}{f' of {name!r}' if name else ''}, expected real numbers.")
        arrays[str(name)] = array.astype(float)
    return Quantities(arrays, not labelled)


def over_draws(function: Function, like: Quantities, draws: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The function of every draw, {name: [draw, ...]}; compiled where it is made of JAX operations, else called draw by draw.

    Raises:
        ValueError: if its shapes or names change from draw to draw.
    """
    if like.differentiable:
        try:
            found = jax.jit(lambda draws: jax.lax.map(function, draws))({name: jnp.asarray(value) for name, value in draws.items()})
            found = dict(found) if isinstance(found, Mapping) else {"": found}
            return {str(name): np.asarray(value, float) for name, value in found.items()}
        except (TypeError, AttributeError, IndexError):
            # It looks into its arguments as only NumPy lets it.
            pass
    rows: dict[str, list[np.ndarray]] = {name: [] for name in like.arrays}
    for index in range(len(next(iter(draws.values())))):
        one = at(function, {name: value[index] for name, value in draws.items()}).arrays
        for name, expected in like.arrays.items():
            if name not in one or one[name].shape != expected.shape:
                shape = one[name].shape if name in one else "nothing"
                raise ValueError(f"function: found {shape} for {name or 'its value'} in draw {index}, expected shape {expected.shape} as at the estimate.")
            rows[name].append(one[name].values)
    return {name: np.stack(found) for name, found in rows.items()}


def sensitivity(function: Function, params: Mapping[str, np.ndarray], like: Quantities) -> dict[str, np.ndarray]:
    """Derivative of a JAX function of the parameters, {name: [..., entry]}, entries in alphabetical order of the parameters.

    Raises:
        TypeError: for a function that JAX cannot differentiate.
    """
    advice = 'pass method="draws", which takes any Python function.'
    if not like.differentiable:
        raise TypeError(f'function: found one that returns xarray objects, expected a JAX function of arrays for method="delta"; {advice}')
    arrays = {name: jnp.asarray(value) for name, value in sorted(params.items())}
    outputs, inputs = sum(array.size for array in like.arrays.values()), sum(value.size for value in arrays.values())
    try:
        derivative = jax.jit((jax.jacrev if outputs < inputs else jax.jacfwd)(function))(arrays)
    except (TypeError, AttributeError) as error:
        raise TypeError(f'function: found one that JAX cannot differentiate, expected a JAX function for method="delta"; {advice} ({error})') from error
    whole = {str(name): entry for name, entry in derivative.items()} if "" not in like.arrays else {"": derivative}
    return {name: np.concatenate([np.asarray(whole[name][key], float).reshape(*like.arrays[name].shape, -1) for key in arrays], -1) for name in like.arrays}


def summarised(like: Quantities, draws: Mapping[str, np.ndarray], level: float, estimates: Mapping[str, np.ndarray] | None = None) -> dict[str, dict]:
    """Statistics of draws of quantities: standard deviation, equal-tailed quantiles, and the mean where no estimates are given."""
    tails = (0.5 - 0.5 * level, 0.5 + 0.5 * level)
    found = {}
    for name in like.arrays:
        values = draws[name]
        # Between infinite draws there is nothing to interpolate.
        finite = np.isfinite(values).all(0)
        lower, upper = np.where(finite, np.quantile(np.where(finite, values, 0.0), tails, axis=0), np.quantile(values, tails, axis=0, method="inverted_cdf"))
        with np.errstate(invalid="ignore"):
            spread = values.std(0, ddof=1)
        estimate = values.mean(0) if estimates is None else estimates[name]
        found[name] = {"estimate": estimate, "standard_error": spread, "lower": lower, "upper": upper}
    return found


def packed(like: Quantities, statistics: Mapping[str, Mapping[str, np.ndarray]], level: float) -> xr.Dataset:
    """Statistics as a dataset: of one array its four statistics; of several one variable each, with a dimension `statistic`."""
    arrays = {
        name: {statistic: array.copy(data=np.reshape(statistics[name][statistic], array.shape)) for statistic in STATISTICS}
        for name, array in like.arrays.items()
    }
    if "" in arrays:
        return xr.Dataset({key: value.rename(None) for key, value in arrays[""].items()}, attrs={"level": level})
    stacked, sizes = {}, {}
    for name, found in arrays.items():
        array = xr.concat([found[key] for key in STATISTICS], "statistic").assign_coords(statistic=list(STATISTICS))
        # Two parameters may use a word for dimensions of different sizes.
        clashes = {str(dim): f"{name}.{dim}" for dim, size in array.sizes.items() if sizes.setdefault(dim, size) != size}
        stacked[name] = array.rename(clashes)
    return xr.Dataset(stacked, attrs={"level": level})


def check_level(level: float) -> float:
    """The level itself.

    Raises:
        ValueError: outside (0, 1).
    """
    if isinstance(level, bool) or not isinstance(level, int | float | np.floating) or not 0 < level < 1:
        raise ValueError(f"level: found {level!r}, expected a number between 0 and 1, for instance 0.95.")
    return float(level)


def parameters(params: Mapping[str, np.ndarray], dims: Mapping[str, tuple[str, ...]]) -> Quantities:
    """The parameters themselves, with their dimensions."""
    return Quantities({name: xr.DataArray(np.asarray(value, float), dims=dims[name]) for name, value in params.items()}, True)


def interval_of_draws(fit: Fit, function: Function | None, level: float, num_draws: int) -> xr.Dataset:
    """Equal-tailed quantiles of parameters, or of a function of them, over at most `num_draws` posterior draws, evenly spaced; the estimate is their mean."""
    assert fit.posterior is not None
    level = check_level(level)
    draws = fit.posterior.flat(None if function is None else num_draws)
    if function is None:
        like = parameters(fit.params, fit.model.dims())
        return packed(like, summarised(like, draws, level), level)
    # As in `Uncertainty.interval`, so that a function is called with the same type in both.
    with double_precision():
        draws = {name: np.asarray(value, float) for name, value in draws.items()}
        like = at(function, {name: value[0] for name, value in draws.items()})
        return packed(like, summarised(like, over_draws(function, like, draws), level), level)
