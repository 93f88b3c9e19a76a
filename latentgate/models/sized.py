"""Parts whose number of inputs may be left open until data are seen."""

from __future__ import annotations

from typing import Any, Self

import equinox as eqx

from latentgate.data import Sequences

from .base import Part


class ReadsInputs(Part):
    """A part that reads one input set, whose number of columns may be left open and is then taken from the data.

    Attributes:
        inputs: name of the input set.
        num_inputs: M, its columns; None until data have been seen.
    """

    inputs: eqx.AbstractVar[str]
    num_inputs: eqx.AbstractVar[int | None]

    @property
    def input_sets(self) -> dict[str, int]:
        """{name: number of columns} of the input set it reads."""
        return {self.inputs: self.columns}

    @property
    def columns(self) -> int:
        """M.

        Raises:
            ValueError: if it has been left open.
        """
        if self.num_inputs is None:
            raise ValueError(f"num_inputs: found None, expected a number of columns; pass {type(self).__name__}(num_inputs=...), or model.suited_to(data).")
        return self.num_inputs

    def suited_to(self, data: Sequences) -> Self:
        """The same part for as many inputs as the data have."""
        return sized_by_inputs(self, data)


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
