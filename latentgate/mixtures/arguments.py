"""What the functions of this package take: fits, models with parameters, truths of studies; and places in the space of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences
from latentgate.models import MixtureOfExperts

if TYPE_CHECKING:
    from latentgate.inference import Fit


class Mixed(NamedTuple):
    """A mixture of experts whose numbers of inputs are known, and its parameters."""

    model: MixtureOfExperts
    params: dict[str, Array]


def mixed(name: str, one: Any) -> tuple[MixtureOfExperts, dict[str, Array]]:
    """Model and parameters of a fit, of a truth of a study, or of a pair (model, params).

    Raises:
        ValueError: for anything else, or another model than a mixture of experts.
    """
    if isinstance(one, tuple) and len(one) == 2:
        model, params = one
    else:
        model, params = getattr(one, "model", None), getattr(one, "params", None)
    if not isinstance(model, MixtureOfExperts) or not isinstance(params, Mapping):
        found = type(one).__name__ if model is None else f"one of {type(model).__name__}"
        raise ValueError(f"{name}: found {found}, expected a fit of lg.MixtureOfExperts, or a pair (model, params) of one.")
    return model, {key: jnp.asarray(value) for key, value in params.items()}


def sized(name: str, one: Any, inputs: Mapping[str, Array]) -> Mixed:
    """A mixture that reads its numbers of inputs from the inputs [x, M] of each set, where they have been left open.

    Raises:
        ValueError: as `mixed`, or for inputs without a set that it reads.
    """
    model, params = mixed(name, one)
    missing = sorted(sets_of(model) - set(inputs))
    if missing:
        raise ValueError(f"inputs: found the sets {', '.join(map(repr, inputs))}, expected {missing[0]!r} too, which {name} reads.")
    rows = {key: np.asarray(value)[None] for key, value in inputs.items()}
    shape = (1, len(next(iter(rows.values()))[0]), model.experts.num_features)
    blank = Sequences(np.zeros(shape), np.ones(shape, bool), np.array([shape[1]], np.int32), rows, None, True)
    return Mixed(model.suited_to(blank), params)


def sets_of(model: MixtureOfExperts) -> set[str]:
    """Names of the input sets of gate and experts, whether or not their numbers of columns are known."""
    names: set[str] = set()
    for part in (model.gate, model.experts):
        own = getattr(part, "inputs", None)
        names |= {own} if isinstance(own, str) else set(part.input_sets)
    return names


def places(inputs: Any, *ones: Any) -> dict[str, Array]:
    """Rows {name of the set: [x, M]} at which mixtures are compared.

    Args:
        inputs: sequences, whose real rows are taken; {name: [x, M]}; one array [x, M] or [x] for all sets; or None for the data of the first fit that has some.
        ones: the mixtures.

    Raises:
        ValueError: for no inputs, sets of different lengths, or entries that are not finite.
    """
    if inputs is None:
        inputs = next((one.data for one in ones if getattr(one, "data", None) is not None), None)
        if inputs is None:
            raise ValueError("inputs: found None and no fit that holds its data, expected sequences, or an array [x, input] of where to compare.")
    if isinstance(inputs, Sequences):
        real = np.asarray(inputs.mask)
        rows = {name: np.asarray(values)[real] for name, values in inputs.inputs.items()}
    elif isinstance(inputs, Mapping):
        rows = {name: _two_dimensional(values) for name, values in inputs.items()}
    else:
        names = sorted(set().union(*(sets_of(mixed("mixture", one)[0]) for one in ones)))
        rows = dict.fromkeys(names, _two_dimensional(inputs))
    lengths = {len(values) for values in rows.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"inputs: found sets of {', '.join(map(str, sorted(lengths))) or 'no'} rows, expected at least one row, and as many in each.")
    for name, values in rows.items():
        if not np.isfinite(values).all():
            raise ValueError(f"inputs: found entries of {name!r} that are not finite, expected numbers.")
    return {name: jnp.asarray(values, float) for name, values in rows.items()}


def _two_dimensional(values: Any) -> np.ndarray:
    array = np.asarray(values, float)
    if array.ndim not in (1, 2):
        raise ValueError(f"inputs: found an array of shape {array.shape}, expected [x, input].")
    return array[:, None] if array.ndim == 1 else array


def data_of(fit: Fit, data: Sequences | None) -> Sequences:
    """The data given, or those of the fit.

    Raises:
        ValueError: where there are none, or they do not belong to the model.
    """
    data = fit.data if data is None else data
    if data is None:
        raise ValueError("data: found None, since a saved fit holds no data; pass data=, the sequences it was fitted to.")
    fit.check(data)
    return data


def require_fit(fit: Any) -> MixtureOfExperts:
    """The model of a fit.

    Raises:
        ValueError: unless it is a mixture of experts.
    """
    if not isinstance(getattr(fit, "model", None), MixtureOfExperts) or not hasattr(fit, "interval"):
        found = f"one of {type(fit.model).__name__}" if hasattr(fit, "model") else type(fit).__name__
        raise ValueError(f"fit: found {found}, expected a fit of lg.MixtureOfExperts.")
    return fit.model
