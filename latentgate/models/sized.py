"""Parts whose number of inputs may be left open until data are seen."""

from __future__ import annotations

from typing import Any

import equinox as eqx

from latentgate.data import Sequences


def sized_by_inputs(part: Any, data: Sequences) -> Any:
    """A part that reads the input set `part.inputs`, with `num_inputs` filled in from the data if it was left open.

    Raises:
        ValueError: if the data have no such input set.
    """
    if part.num_inputs is not None:
        return part
    if part.inputs not in data.inputs:
        known = ", ".join(map(repr, data.inputs)) or "none"
        raise ValueError(
            f"inputs: found the sets {known}, expected {part.inputs!r} for {type(part).__name__}; "
            f"pass Sequences.from_arrays(..., inputs={{{part.inputs!r}: [...]}})."
        )
    return eqx.tree_at(lambda sized: sized.num_inputs, part, int(data.inputs[part.inputs].shape[-1]), is_leaf=lambda leaf: leaf is None)
