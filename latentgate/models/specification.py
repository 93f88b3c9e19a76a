"""Models as plain data, so that a saved fit holds no code: {"class": name, field: value, ...} of classes that are there already."""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from .distributions import mended

_SUPPORTS: dict[str, Any] = {"real": constraints.real, "positive": constraints.positive}


def to_specification(value: Any) -> Any:
    """A model, part, prior, number, string or array as JSON-ready data.

    Raises:
        TypeError: for anything else, a user's own function for example.
    """
    if isinstance(value, eqx.Module):
        fields = {field.name: to_specification(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": _name_of(type(value)), "fields": fields}
    if isinstance(value, dist.Independent):
        return {"independent": to_specification(value.base_dist), "ndims": value.reinterpreted_batch_ndims}
    if isinstance(value, dist.ExpandedDistribution):
        return {"expanded": to_specification(value.base_dist), "shape": list(value.batch_shape)}
    if isinstance(value, dist.ImproperUniform):
        return {"flat": _support_name(value.support), "shape": list(value.batch_shape)}
    if isinstance(value, dist.Distribution):
        arguments = {name: to_specification(getattr(value, name)) for name in value.arg_constraints}
        return {"distribution": type(value).__name__, "arguments": arguments}
    if isinstance(value, dict):
        return {"mapping": {name: to_specification(entry) for name, entry in value.items()}}
    if isinstance(value, tuple | list):
        return {"sequence": [to_specification(entry) for entry in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic) or hasattr(value, "__jax_array__") or isinstance(value, np.ndarray | jnp.ndarray):
        array = np.asarray(value)
        return {"array": array.tolist(), "dtype": str(array.dtype)}
    raise TypeError(f"cannot save {value!r}: only models made of latentgate parts and numpyro priors can be written to a file.")


def from_specification(value: Any) -> Any:
    """The inverse of `to_specification`.

    Raises:
        ValueError: if a class is neither one of latentgate nor of a module that has been imported, or a distribution not one of numpyro.
    """
    if isinstance(value, list) or not isinstance(value, dict):
        return value
    if "class" in value:
        known = _classes()
        if value["class"] not in known:
            raise ValueError(
                f"model class: found {value['class']!r}, which is not known here. Import the module that defines it before you load the file; "
                f"latentgate itself knows {', '.join(sorted(name for name, cls in known.items() if cls.__module__.startswith('latentgate.')))}."
            )
        fields = {name: from_specification(entry) for name, entry in value["fields"].items()}
        return _restore(known[value["class"]], fields)
    if "independent" in value:
        return from_specification(value["independent"]).to_event(value["ndims"])
    if "expanded" in value:
        return from_specification(value["expanded"]).expand(value["shape"])
    if "flat" in value:
        return dist.ImproperUniform(_SUPPORTS[value["flat"]], tuple(value["shape"]), ())
    if "distribution" in value:
        distribution = getattr(dist, value["distribution"], None)
        if not (isinstance(distribution, type) and issubclass(distribution, dist.Distribution)):
            raise ValueError(f"prior: found {value['distribution']!r}, expected the name of a numpyro distribution.")
        return mended(distribution(**{name: from_specification(entry) for name, entry in value["arguments"].items()}))
    if "mapping" in value:
        return {name: from_specification(entry) for name, entry in value["mapping"].items()}
    if "sequence" in value:
        return tuple(from_specification(entry) for entry in value["sequence"])
    if "array" in value:
        return jnp.asarray(np.asarray(value["array"], value["dtype"]))
    raise ValueError(f"model specification: found the keys {sorted(value)}, expected a class, a prior or an array.")


def _restore(cls: type, fields: dict) -> eqx.Module:
    # The constructor checks arguments and fills defaults, which a saved model has behind it; fields are set as they were.
    module = object.__new__(cls)
    wanted = {field.name for field in dataclasses.fields(cls)}
    if set(fields) != wanted:
        raise ValueError(f"{cls.__name__}: found the fields {sorted(fields)}, expected {sorted(wanted)}; was the file written by another version?")
    for name, entry in fields.items():
        object.__setattr__(module, name, entry)
    return module


def _support_name(support: Any) -> str:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    for name, known in _SUPPORTS.items():
        if support == known:
            return name
    raise TypeError(f"cannot save a flat prior on {support!r}: only flat priors on the reals and on positive numbers can be written to a file.")


def _name_of(cls: type) -> str:
    """Name of a class in files: its own, with its family before it ("emissions.Poisson"), since experts and emissions are both Poisson.

    A class of somebody else's has the name of its module before it.
    """
    package, _, module = cls.__module__.partition(".models.")
    if package != "latentgate":
        return f"{cls.__module__}.{cls.__qualname__}"
    family, _, inner = module.partition(".")
    return f"{family}.{cls.__name__}" if inner else cls.__name__


def _classes() -> dict[str, type]:
    from .base import Model, Part
    from .basis import Basis
    from .gates.balancing import Balance
    from .linear.structural import Component
    from .mixture import Mixture
    from .priors import CouplingPrior

    found: dict[str, type] = {}
    pending: list[type] = [Part, Model, Balance, Basis, Component, CouplingPrior]
    found["Mixture"] = Mixture
    while pending:
        for cls in pending.pop().__subclasses__():
            found[_name_of(cls)] = cls
            pending.append(cls)
    return found
