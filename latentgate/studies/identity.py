"""Descriptions of truths, estimators and losses, so that the checkpoints of one study are not taken for those of another."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import re
import types
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from numpyro.distributions import Distribution


def described(value: Any) -> Any:
    """JSON-ready description: equal for objects that do the same, as far as can be seen from fields and names of functions."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        array = np.ascontiguousarray(value)
        return {"array": f"{array.dtype}{array.shape}", "digest": hashlib.sha256(array.tobytes()).hexdigest()}
    if isinstance(value, Mapping):
        return {"mapping": [[str(key), described(entry)] for key, entry in sorted(value.items(), key=lambda item: str(item[0]))]}
    if isinstance(value, tuple | list):
        return [described(entry) for entry in value]
    if isinstance(value, set | frozenset):
        return sorted(str(entry) for entry in value)
    if isinstance(value, Distribution):
        shapes = [list(value.batch_shape), list(value.event_shape)]
        # The numbers of a wrapped law are among its leaves, the kind of its support is not.
        support = re.sub(r" at 0x[0-9a-f]+", "", f"{type(value.support).__name__} {value.support}")
        base = described(getattr(value, "base_dist", None))
        return {"class": _qualified(type(value)), "numbers": described(jax.tree.leaves(value)), "shapes": shapes, "support": support, "base": base}
    if isinstance(value, functools.partial):
        return {"partial": described([value.func, value.args, value.keywords])}
    if callable(value) and hasattr(value, "__qualname__"):
        return {"function": _qualified(value), "bound": _bound(inspect.unwrap(value))}
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        fields = vars(value) if hasattr(value, "__dict__") else {}
    return {"class": _qualified(type(value)), "fields": described(fields)}


def _bound(function: Any) -> Any:
    """Values that a function written in a function has taken from there, and its code: two lambdas of one line differ in no name."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    return [*_code(code), described(cells), described(getattr(function, "__defaults__", None))]


def _code(code: types.CodeType) -> list[Any]:
    """What the code does, without where it was written: its instructions, constants and the names it looks up."""
    constants = [
        _code(one) if isinstance(one, types.CodeType) else sorted(map(repr, one)) if isinstance(one, frozenset) else repr(one) for one in code.co_consts
    ]
    return [hashlib.sha256(code.co_code).hexdigest(), constants, list(code.co_names)]


def _qualified(what: Any) -> str:
    return f"{getattr(what, '__module__', '')}.{what.__qualname__}"
