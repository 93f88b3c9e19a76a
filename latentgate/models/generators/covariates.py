"""Rates that depend on inputs by log-linear effects."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior
from ..emissions.checks import at_least, prior_or
from ..on_entries import OnEntries
from ..patterns import Pattern
from .base import Generator
from .free import Free


class LogLinear(Generator):
    """Rates that inputs raise or lower: q_ij(x) = rates_ij exp(effects_ij · (x - centre)).

    The inputs of a row hold from it until the next row. Where `centre` is None it is the mean of the inputs of the data that the model is fitted to, and
    the free coordinates of the effects are in units of the inputs' standard deviations there, so that the units of inputs do not matter to the engines;
    parameters are always reported in the units given. `fit.model` remembers both.

    Parameters: `rates` [state, next_state] at the centre, per unit of time; `effects` [state, next_state, input], log-ratios of rates per unit of input.

    Args:
        graph: as in `Free`.
        num_inputs: columns of the input set; or {name of an input set: its columns} for several, whose columns then stand side by side.
        inputs: its name, where there is one.
        ties: {column of the inputs: a label for every edge, in row-major order}: edges with equal labels have equal effects of that input, and the label
            None is for no effect. Columns that are not named have an effect of their own on every edge.
        prior: of every rate, as in `Free`.
        effect_prior: of every effect; Normal(0, 2 / standard deviation of the input) if None, which is no more than a guard against effects that the data
            do not see. Pass numpyro's `ImproperUniform(constraints.real, (), ())` for maximum likelihood.
        centre: [M], where `rates` are the rates.
        time_scale: as in `Free`.

    Raises:
        ValueError: for ties that do not fit the graph.

    Example:
        >>> import latentgate as lg
        >>> progressive = [(0, 1), (1, 2), (2, 3)]
        >>> generator = lg.generators.LogLinear(progressive, num_inputs=2, ties={0: [1, 1, 1], 1: [1, 1, 2]})
        >>> generator.dims()["effects"]
        ('state', 'next_state', 'input')
    """

    base: Free
    sets: tuple[tuple[str, int], ...]
    ties: tuple[tuple[int, tuple[int | str | None, ...]], ...]
    effect_prior: dist.Distribution | None
    centre: tuple[float, ...] | None
    unit: tuple[float, ...] | None
    time_scale: float

    def __init__(
        self,
        graph: object = None,
        *,
        num_inputs: int | Mapping[str, int],
        inputs: str = "inputs",
        ties: Mapping[int, Sequence[int | str | None]] | None = None,
        prior: dist.Distribution | None = None,
        effect_prior: dist.Distribution | None = None,
        centre: Sequence[float] | None = None,
        time_scale: float = 1.0,
    ):
        self.base = Free(graph, prior, time_scale)
        self.time_scale = self.base.time_scale
        given = num_inputs if isinstance(num_inputs, Mapping) else {inputs: num_inputs}
        self.sets = tuple((name, at_least("num_inputs", columns)) for name, columns in given.items())
        self.ties = tuple((int(column), tuple(labels)) for column, labels in sorted(dict(ties or {}).items()))
        for column, _ in self.ties:
            if not 0 <= column < self.num_inputs:
                raise ValueError(f"ties: found the column {column}, expected 0 to {self.num_inputs - 1}.")
        self.effect_prior = None if effect_prior is None else prior_or("effect_prior", effect_prior, effect_prior)
        self.centre = None if centre is None else tuple(float(entry) for entry in centre)
        if self.centre is not None and len(self.centre) != self.num_inputs:
            raise ValueError(f"centre: found {len(self.centre)} numbers, expected {self.num_inputs}, one for each input.")
        self.unit = None

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Generator.input_sets`."""
        return dict(self.sets)

    @property
    def num_inputs(self) -> int:
        """Columns of all input sets."""
        return sum(columns for _, columns in self.sets)

    def mask(self, num_states: int) -> np.ndarray:
        """See `Generator.mask`."""
        return self.base.mask(num_states)

    def suited_to(self, data: Sequences) -> LogLinear:
        """See `Part.suited_to`: centre and units, once."""
        if self.unit is not None:
            return self
        columns = np.concatenate([np.asarray(data.inputs[name]) for name, _ in self.sets], axis=-1)
        rows = columns[:, :-1][np.asarray(data.mask)[:, 1:]]
        spread = rows.std(0)
        centre = tuple(rows.mean(0).tolist()) if self.centre is None else self.centre
        unit = tuple((1.0 / np.where(spread > 0, spread, 1.0)).tolist())
        return eqx.tree_at(lambda generator: (generator.centre, generator.unit), self, (centre, unit), is_leaf=lambda leaf: leaf is None)

    def _pattern(self, num_states: int) -> Pattern:
        """Entries of the effects that are free, those with one label tied."""
        edges = np.argwhere(self.mask(num_states))
        named = dict(self.ties)
        for column, labels in self.ties:
            if len(labels) != len(edges):
                raise ValueError(f"ties[{column}]: found {len(labels)} labels, expected one for each of the {len(edges)} edges, in row-major order.")
        entries, groups = [], []
        for number, (i, j) in enumerate(edges):
            for column in range(self.num_inputs):
                label = named[column][number] if column in named else number
                if label is not None:
                    entries.append((int(i) * num_states + int(j)) * self.num_inputs + column)
                    groups.append((column, label))
        known = {group: index for index, group in enumerate(dict.fromkeys(groups))}
        pattern = Pattern((num_states, num_states, self.num_inputs), tuple(entries), tuple(known[group] for group in groups))
        if self.unit is None:
            return pattern
        columns: Any = np.asarray(entries, int)[list(pattern.firsts)] % self.num_inputs
        return dataclasses.replace(pattern, units=tuple(np.asarray(self.unit)[columns].tolist()))

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        pattern = self._pattern(num_states)
        units = np.asarray(pattern.units or (1.0,) * pattern.num_entries)
        prior = dist.Normal(0.0, 2.0 * units) if self.effect_prior is None else self.effect_prior
        return {**self.base.priors(num_states), "effects": OnEntries(prior, pattern)}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {**self.base.dims(), "effects": ("state", "next_state", "input")}

    def rates(self, params: Params, covariates: Array) -> Array:
        """See `Generator.rates`."""
        centred = covariates - jnp.asarray(self.centre or (0.0,) * self.num_inputs)
        return params["rates"] * jnp.exp(jnp.einsum("gm,ijm->gij", centred, params["effects"]))

    def from_counts(self, key: Array, jumps: Array, times: Array) -> Params:
        """See `Generator.from_counts`: no effects."""
        return {**self.base.from_counts(key, jumps, times), "effects": jnp.zeros((*jumps.shape, self.num_inputs))}
