"""Coefficients of gates and experts with their standard errors, and where along an input one expert gives way to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from scipy.stats import norm

from latentgate.data import Sequences
from latentgate.inference.coordinates import double_precision
from latentgate.models.base import without_prefix
from latentgate.models.gates.linear import LinearGate

from .arguments import data_of, require_fit

if TYPE_CHECKING:
    from latentgate.inference import Fit

# Between the rows the largest weight may change twice, so it is asked of points there too.
_POINTS = 512
_BISECTIONS = 60


def with_reference(fit: Fit, expert: int = -1, *, level: float = 0.95, data: Sequences | None = None) -> xr.Dataset:
    """Coefficients of a softmax gate relative to one expert, with standard errors: the log-odds of each expert against it.

    Rows of the gate's parameters sum to zero, which singles out no expert; tables of multinomial logits have a reference whose row is zero.

    Args:
        fit: of `lg.MixtureOfExperts` with a gate whose scores are linear and of which only differences matter: `lg.gates.Softmax`, `lg.gates.TopK`.
        expert: the reference, by its index.
        level: probability inside the intervals.
        data: the sequences of a point fit that was read from a file.

    Returns:
        `estimate`, `standard_error`, `lower`, `upper` (expert, coefficient), by the curvature at a point fit (infinite where the data leave a direction open,
        for instance of a gate that has become a step), or of the posterior draws where there are some. Coefficients are the inputs by name, and "bias".

    Raises:
        ValueError: for another gate, or an expert that does not exist.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> x = np.linspace(-1, 1, 200)[:, None]
        >>> y = np.where(np.random.default_rng(0).random(x.shape) < 1 / (1 + np.exp(-2 * x)), 3.0, -3.0) + 0.1 * x
        >>> data = lg.Sequences.from_arrays([y], inputs=[x])
        >>> fit = lg.fit(lg.MixtureOfExperts(gate=lg.gates.Softmax(), experts=lg.experts.LinearGaussian(2)), data, lg.EM(restarts=2), seed=0)
        >>> sorted(lg.mixtures.with_reference(fit, 0)["estimate"].sel(coefficient="bias").values.round(1).tolist())[0]
        0.0
    """
    model = require_fit(fit)
    gate = model.gate
    if not isinstance(gate, LinearGate) or not gate.translatable or set(gate.dims()) != {"weights", "bias"}:
        raise ValueError(
            f"fit: found a gate of the kind {type(gate).__name__}, expected one of linear scores of which only differences matter, such as Softmax."
        )
    if not -model.num_experts <= expert < model.num_experts:
        raise ValueError(f"expert: found {expert}, expected 0 to {model.num_experts - 1}.")

    def relative(params: dict[str, Any]) -> Array:
        rows = jnp.concatenate([params["gate.weights"], jnp.asarray(params["gate.bias"])[:, None]], axis=-1)
        return rows - rows[expert]

    known = fit.data if data is None else data
    names = [*_names(gate.inputs, gate.columns, known), "bias"]
    found = fit.interval(relative, level, data).rename(dim_0="expert", dim_1="coefficient")
    return found.assign_coords(expert=np.arange(model.num_experts), coefficient=names).assign_attrs(reference=expert % model.num_experts)


def expert_table(fit: Fit, *, level: float = 0.95, data: Sequences | None = None) -> xr.Dataset:
    """The experts' parameters with standard errors and intervals, and how many rows are theirs.

    Args:
        fit: of `lg.MixtureOfExperts`.
        level: probability inside the intervals.
        data: the sequences of a fit that was read from a file.

    Returns:
        every parameter of the experts by its name without "experts.", with a dimension `statistic` (estimate, standard_error, lower, upper), as
        `Fit.interval` gives it; `rows` (expert), the expected number of rows of each expert, and `share`, the same over all rows.
    """
    model = require_fit(fit)
    data = data_of(fit, data)
    found = fit.interval(None, level, data)
    own = {str(name): found[name] for name in found.data_vars if str(name).startswith("experts.")}
    table = xr.Dataset({name.removeprefix("experts."): array for name, array in own.items()}, attrs=found.attrs)
    inputs = getattr(model.experts, "inputs", None)
    if isinstance(inputs, str) and "input" in table.dims and "input" not in table.coords:
        table = table.assign_coords(input=_names(inputs, table.sizes["input"], data))
    rows = np.asarray(fit.smooth(data))[np.asarray(data.mask)].sum(0)
    return table.assign(rows=("expert", rows), share=("expert", rows / rows.sum())).assign_coords(expert=np.arange(model.num_experts))


def split_points(fit: Fit, data: Sequences | None = None, *, level: float = 0.95) -> xr.Dataset:
    """Where along its one input the gate's largest weight passes from one expert to another, within the range of the data.

    Args:
        fit: of `lg.MixtureOfExperts` whose gate reads one input.
        data: the sequences; those of the fit if None.
        level: probability inside `lower` and `upper`.

    Returns:
        dataset over `split`, from left to right: `point`; `left`, `right`, the experts on either side; `row_before`, `row_after`, the inputs of the last row
        before the point and of the first after it; `separated`, whether the gate is a step there, by its own test, or a hard gate. The data then say no more
        than that the point is between these two rows, which are `lower` and `upper`; elsewhere the interval is `point` ± its `standard_error`, by the
        curvature of a point fit (infinite where data leave a direction open, NaN where the fit is no maximum), or over posterior draws, each with the point
        moved by one Newton step from that of the posterior mean.

    Raises:
        ValueError: for a gate that reads several inputs.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> x = np.linspace(-1, 1, 200)[:, None]
        >>> y = np.abs(x) + 0.1 * np.random.default_rng(0).normal(size=x.shape)
        >>> model = lg.MixtureOfExperts(gate=lg.gates.Softmax(), experts=lg.experts.LinearGaussian(2))
        >>> fit = lg.fit(model, lg.Sequences.from_arrays([y], inputs=[x]), lg.EM(restarts=2), seed=0)
        >>> abs(float(lg.mixtures.split_points(fit)["point"][0])) < 0.1
        True
    """
    model = require_fit(fit)
    data = data_of(fit, data)
    gate = model.gate
    if gate.columns != 1:
        raise ValueError(f"fit: found a gate of {gate.columns} inputs, expected one; along a line through several inputs ask gate.log_weights.")
    rows = np.unique(np.asarray(data.inputs[gate.inputs])[np.asarray(data.mask)][:, 0].astype(float))
    with double_precision():
        params = {name: jnp.asarray(value) for name, value in without_prefix("gate", fit.params).items()}
        log_weights = jax.jit(lambda points: gate.log_weights(params, points[:, None]))
        points, left, right = _changes(lambda points: np.asarray(log_weights(jnp.asarray(points))), rows)
        hard = np.array([_hard(np.asarray(log_weights(jnp.asarray([point])))[0]) for point in points], bool)
    after = np.searchsorted(rows, points)
    before, after = rows[np.maximum(after - 1, 0)], rows[np.minimum(after, len(rows) - 1)]
    step = bool(gate.degeneracy(params, data) == "GATE_SEPARATED")
    separated = hard | step
    error = np.full(len(points), np.nan)
    if len(points) and not separated.all():
        error = _standard_errors(fit, data, points, left, right, level)
    reach = norm.ppf(0.5 + 0.5 * level) * error
    columns = {
        "point": points,
        "standard_error": np.where(separated, np.nan, error),
        "lower": np.where(separated, before, points - reach),
        "upper": np.where(separated, after, points + reach),
        "left": left,
        "right": right,
        "row_before": before,
        "row_after": after,
        "separated": separated,
    }
    return xr.Dataset({name: ("split", column) for name, column in columns.items()}, coords={"split": np.arange(len(points))}, attrs={"level": level})


def _changes(log_weights: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points where the largest weight changes, and the experts on either side."""
    grid = np.union1d(rows, np.linspace(rows[0], rows[-1], _POINTS))
    winners = log_weights(grid).argmax(-1)
    found = np.flatnonzero(winners[1:] != winners[:-1])
    low, high = grid[found], grid[found + 1]
    left = winners[found]
    for _ in range(_BISECTIONS if len(found) else 0):
        middle = 0.5 * (low + high)
        same = log_weights(middle).argmax(-1) == left
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return 0.5 * (low + high), left, winners[found + 1]


def _hard(log_weights: np.ndarray) -> bool:
    """Whether one expert has all the weight where two should be even."""
    return bool(np.exp(log_weights.max()) > 1.0 - 1e-9)


def _standard_errors(fit: Fit, data: Sequences, points: np.ndarray, left: np.ndarray, right: np.ndarray, level: float) -> np.ndarray:
    """Of the points, to first order: a change of the gate moves them by minus the change of the log-odds over their slope."""
    gate = require_fit(fit).gate

    def odds(params: dict[str, Any], points: Array) -> Array:
        log_weights = gate.log_weights(without_prefix("gate", params), points[:, None])
        index = jnp.arange(len(left))
        return log_weights[index, right] - log_weights[index, left]

    with double_precision():
        own = {name: jnp.asarray(value) for name, value in fit.params.items()}
        at = jnp.asarray(points)
        slopes = np.asarray(jax.grad(lambda points: odds(own, points).sum())(at))

    def moved(params: dict[str, Any]) -> Array:
        return jnp.asarray(points) - odds({name: jnp.asarray(value) for name, value in params.items()}, jnp.asarray(points)) / slopes

    return fit.interval(moved, level, data)["standard_error"].values


def _names(inputs: str, count: int, data: Sequences | None) -> list[str]:
    own = data.input_names.get(inputs) if data is not None else None
    return list(own) if own is not None and len(own) == count else [f"{inputs}[{column}]" for column in range(count)]
