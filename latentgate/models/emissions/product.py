"""Several kinds of observation at once: choice and reaction time, two populations."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Part, Prior, split_keys, with_computed, with_prefix, without_prefix
from .base import Emission


class Product(Emission):
    """Emissions that are independent given the state, each over its own block of consecutive columns, in the order given.

    Parameters: those of each emission under its name, `choice.weights`, `reaction_time.means`, ...; so are the names of their dimensions, apart
    from states, since blocks differ in size.

    Args:
        **emissions: {name: emission}.

    Raises:
        ValueError: without emissions, for something that is not one, or where two of them expect different columns in one input set.

    Example:
        >>> import latentgate as lg
        >>> product = lg.emissions.Product(choice=lg.emissions.BernoulliGLM(3), reaction_time=lg.emissions.Gaussian(1))
        >>> product.num_features, list(product.dims())
        (2, ['choice.weights', 'choice.bias', 'reaction_time.means', 'reaction_time.covariances'])
    """

    # Not a dictionary: as a pytree it would be sorted by name, and the columns with it.
    names: tuple[str, ...]
    parts: tuple[Emission, ...]

    def __init__(self, **emissions: Emission):
        if not emissions:
            raise ValueError("emissions: found none, expected at least one, for example Product(choice=lg.emissions.BernoulliGLM(3)).")
        for name, emission in emissions.items():
            if not isinstance(emission, Emission):
                raise ValueError(f"{name}: found {emission!r}, expected one of lg.emissions, for example lg.emissions.Poisson(20).")
            if name.startswith("_"):
                raise ValueError(f"emissions: found the name {name!r}, expected one that does not start with an underscore.")
        self.names = tuple(emissions)
        self.parts = tuple(emissions.values())
        wanted: dict[str, int] = {}
        for name, emission in emissions.items():
            for inputs, columns in emission.input_sets.items():
                if wanted.setdefault(inputs, columns) != columns:
                    raise ValueError(
                        f"{name}: found {columns} columns of the input set {inputs!r}, expected {wanted[inputs]} as the emissions before it; "
                        "give the sets different names with inputs=...."
                    )

    @property
    def num_features(self) -> int:
        """Columns of all blocks."""
        return sum(part.num_features for part in self.parts)

    @property
    def num_lags(self) -> int:
        """See `Emission.num_lags`."""
        return max(part.num_lags for part in self.parts)

    @property
    def anchored(self) -> bool:
        """See `Emission.anchored`."""
        return any(part.anchored for part in self.parts)

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Emission.input_sets`."""
        return {name: columns for part in self.parts for name, columns in part.input_sets.items()}

    def _blocks(self) -> list[tuple[str, Emission, slice]]:
        ends = [sum(part.num_features for part in self.parts[: index + 1]) for index in range(len(self.parts))]
        starts = [0, *ends[:-1]]
        return [(name, part, slice(start, end)) for name, part, start, end in zip(self.names, self.parts, starts, ends, strict=True)]

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {key: prior for name, part, _ in self._blocks() for key, prior in with_prefix(name, part.priors(num_states)).items()}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {
            f"{name}.{parameter}": tuple(dim if dim in ("state", "next_state") else f"{name}_{dim}" for dim in dims)
            for name, part, _ in self._blocks()
            for parameter, dims in part.dims().items()
        }

    def check(self, data: Sequences) -> None:
        """Checks every block; an error names it, and counts features from its first column."""
        super().check(data)
        for name, part, columns in self._blocks():
            try:
                part.check(block(name, columns, data))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error

    def possible(self, data: Sequences, num_states: int) -> np.ndarray:
        """See `Emission.possible`: the states that every block allows."""
        return np.logical_and.reduce([part.possible(block(name, columns, data), num_states) for name, part, columns in self._blocks()])

    def prepare(self, data: Sequences) -> Sequences:
        """Prepares every block; what a block computes is kept under its name."""
        for name, part, columns in self._blocks():
            own = block(name, columns, data)
            prepared = part.prepare(own)
            for key in prepared.inputs.keys() - own.inputs.keys():
                data = with_computed(data, f"_{name}.{key}", prepared.inputs[key])
        return data

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """See `Part.initialize`."""
        keys = split_keys(key, list(self.names))
        params: Params = {}
        for name, part, columns in self._blocks():
            params |= with_prefix(name, part.initialize(keys[name], block(name, columns, data), num_states))
        return params

    def adopt(self, other: Part, params: Params) -> Params:
        """See `Part.adopt`; from a product of the same names, block by block."""
        if not isinstance(other, Product) or other.names != self.names:
            found = f"a product of {', '.join(other.names)}" if isinstance(other, Product) else type(other).__name__
            raise ValueError(f"start: found {found}, expected a product of {', '.join(self.names)}.")
        adopted: Params = {}
        for name, part, before in zip(self.names, self.parts, other.parts, strict=True):
            adopted |= with_prefix(name, part.adopt(before, without_prefix(name, params)))
        return adopted

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        terms = [part.log_likelihood(without_prefix(name, params), block(name, columns, data)) for name, part, columns in self._blocks()]
        # One by one: a forbidden block is -inf, and stays so whatever is added.
        return sum(terms[1:], start=terms[0])

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """The M-step of every block."""
        found: Params = {}
        for name, part, columns in self._blocks():
            found |= with_prefix(name, part.m_step(without_prefix(name, params), block(name, columns, data), weights))
        return found

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        keys = split_keys(key, list(self.names))
        values = []
        for name, part, columns in self._blocks():
            past = recent[recent.shape[0] - part.num_lags :, columns]
            values.append(part.sample(keys[name], without_prefix(name, params), state, inputs, past))
        return jnp.concatenate(values)


def block(name: str, columns: slice, data: Sequences) -> Sequences:
    """Some columns of the data, with the input sets of the user and what was computed for the block of this name.

    Args:
        name: of the block; arrays computed for it are stored as `_name.key` (see `Product.prepare`).
        columns: of the values.
        data: the sequences.
    """
    prefix = f"_{name}."
    inputs = {key: values for key, values in data.inputs.items() if not key.startswith("_")}
    computed = {key.removeprefix(prefix): values for key, values in data.inputs.items() if key.startswith(prefix)}
    return dataclasses.replace(
        data,
        values=data.values[..., columns],
        observed=data.observed[..., columns],
        inputs=inputs | computed,
        names=None if data.names is None else data.names[columns],
    )
