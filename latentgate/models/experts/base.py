"""The interface of experts: an emission of a fixed number of "states", each a conditional law of the observation given the inputs."""

from __future__ import annotations

from typing import Self

import equinox as eqx

from latentgate.data import Sequences

from ..emissions.base import Emission, check_inputs
from ..sized import sized_by_inputs


class Experts(Emission):
    """K conditional laws of an observation given inputs.

    Everything is as in `Emission`, where "state" reads "expert": `log_likelihood` is [sequence, time, K], `m_step` takes the responsibilities as weights,
    `num_states` is always K. The number of inputs may be left open, and is then taken from the data.

    Attributes:
        num_experts: K.
        inputs: name of the input set.
        num_inputs: M, its columns; None until data have been seen.
    """

    num_experts: eqx.AbstractVar[int]
    inputs: eqx.AbstractVar[str]
    num_inputs: eqx.AbstractVar[int | None]

    @property
    def num_features(self) -> int:
        """One, unless a subclass knows better."""
        return 1

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
            raise ValueError(
                f"num_inputs: found None, expected a number of columns; pass {type(self).__name__}(..., num_inputs=...), or model.suited_to(data)."
            )
        return self.num_inputs

    def suited_to(self, data: Sequences) -> Self:
        """The same experts for as many inputs as the data have."""
        return sized_by_inputs(self, data)

    def check(self, data: Sequences) -> None:
        """One feature and the input set; subclasses add the support."""
        if data.num_features != self.num_features:
            raise ValueError(f"data: found {data.num_features} features, expected {self.num_features} for {type(self).__name__}; arrays are [time, feature].")
        check_inputs(type(self).__name__, sized_by_inputs(self, data).input_sets, data)
