"""The interface of experts: an emission of a fixed number of "states", each a conditional law of the observation given the inputs."""

from __future__ import annotations

import abc

import equinox as eqx
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences

from ..base import Params
from ..emissions.base import Emission, check_inputs
from ..observations import check_features
from ..sized import ReadsInputs, sized_by_inputs


class Experts(Emission):
    """K conditional laws of an observation given inputs.

    Everything is as in `Emission`, where "state" reads "expert": `log_likelihood` is [sequence, time, K], `m_step` takes the responsibilities as weights,
    `num_states` is always K. Experts that differ in kind are `anchored`: they must not be renumbered.

    Attributes:
        num_experts: K.
    """

    num_experts: eqx.AbstractVar[int]

    @property
    def num_features(self) -> int:
        """One, unless a subclass knows better."""
        return 1

    def families(self, prefix: str) -> list[tuple[Experts, str]]:
        """Experts of one kind each, in order, with the prefix of the names of their parameters."""
        return [(self, prefix)]


class ExpertsOnInputs(ReadsInputs, Experts):
    """Experts that read one input set, whose number of columns may be left open and is then taken from the data.

    Attributes:
        inputs: name of the input set.
        num_inputs: M, its columns; None until data have been seen.
    """

    def check(self, data: Sequences) -> None:
        """One feature and the input set; subclasses add the support and the design."""
        check_features(self, self.num_features, data)
        check_inputs(type(self).__name__, sized_by_inputs(self, data).input_sets, data)


class ExpertsWithMeans(ExpertsOnInputs):
    """Experts that are a mean function with noise about it.

    Parameters whose names are in `noise_names` do not enter the mean; all others enter nothing else.
    """

    @property
    def noise_names(self) -> tuple[str, ...]:
        """Parameters of the noise."""
        return ("scale",)

    def means(self, params: Params, inputs: Array) -> Array:
        """Mean of every expert given inputs [..., M], [..., K]."""
        return jnp.moveaxis(self.leading_means(params, inputs), 0, -1)

    @abc.abstractmethod
    def leading_means(self, params: Params, inputs: Array) -> Array:
        """The same with experts first, [K, ...], which is several times faster on a CPU."""

    @abc.abstractmethod
    def check_design(self, data: Sequences, *, flat_scale: bool) -> None:
        """Raises ValueError where the inputs do not determine the mean of a single expert; `flat_scale` says whether its variance has a flat prior."""
