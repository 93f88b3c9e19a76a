"""Experts of different families side by side."""

from __future__ import annotations

from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Part, Prior, split_keys, with_computed, with_prefix, without_prefix
from ..emissions.product import block
from .base import Experts

_WHOLE = slice(None)


class Several(Experts):
    """Experts of different families side by side, numbered in the order given: `Several(background=Known(...), lines=LinearGaussian(2))` are three.

    They are told apart by their kind, and so are never renumbered, when draws or restarts are compared.

    Parameters: those of each family under its name, `lines.weights`, ...; so are the names of their dimensions: axis "lines_expert".

    Args:
        **families: {name: experts}.

    Raises:
        ValueError: without families, for something that is no experts, or where they expect different observations or different columns in one input set.

    Example:
        >>> import numpyro.distributions as dist, latentgate as lg
        >>> experts = lg.experts.Several(background=lg.experts.Known(dist.Normal(0, 10)), lines=lg.experts.LinearGaussian(2, num_inputs=1))
        >>> experts.num_experts, experts.dims()["lines.weights"]
        (3, ('lines_expert', 'lines_input'))
    """

    # Not a dictionary: as a pytree it would be sorted by name, and the experts with it.
    names: tuple[str, ...]
    parts: tuple[Experts, ...]
    num_experts: int

    def __init__(self, **families: Experts):
        if not families:
            raise ValueError("families: found none, expected at least one, for example Several(lines=lg.experts.LinearGaussian(2)).")
        first = next(iter(families.values()))
        wanted: dict[str, int] = {}
        for name, experts in families.items():
            if not isinstance(experts, Experts):
                raise ValueError(f"{name}: found {experts!r}, expected one of lg.experts; wrap an emission in lg.experts.OfEmission.")
            if name.startswith("_"):
                raise ValueError(f"families: found the name {name!r}, expected one that does not start with an underscore.")
            if experts.num_features != first.num_features:
                raise ValueError(f"{name}: found experts of {experts.num_features} features, expected {first.num_features} as those before it.")
            for inputs, columns in _known_sets(experts).items():
                if wanted.setdefault(inputs, columns) != columns:
                    raise ValueError(
                        f"{name}: found {columns} columns of the input set {inputs!r}, expected {wanted[inputs]} as the experts before it; "
                        "give the sets different names with inputs=...."
                    )
        self.names = tuple(families)
        self.parts = tuple(families.values())
        self.num_experts = sum(experts.num_experts for experts in self.parts)

    @property
    def num_features(self) -> int:
        """Columns of an observation."""
        return self.parts[0].num_features

    @property
    def num_lags(self) -> int:
        """See `Emission.num_lags`."""
        return max(part.num_lags for part in self.parts)

    @property
    def anchored(self) -> bool:
        """Whether experts must not be renumbered: always."""
        return True

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Emission.input_sets`."""
        return {name: columns for part in self.parts for name, columns in part.input_sets.items()}

    def families(self, prefix: str) -> list[tuple[Experts, str]]:
        """See `Experts.families`."""
        return [family for name, part, _ in self._families() for family in part.families(f"{prefix}.{name}")]

    def _families(self) -> list[tuple[str, Experts, slice]]:
        ends = np.cumsum([part.num_experts for part in self.parts])
        return [(name, part, slice(int(end) - part.num_experts, int(end))) for name, part, end in zip(self.names, self.parts, ends, strict=True)]

    def suited_to(self, data: Sequences) -> Self:
        """See `Part.suited_to`."""
        return type(self)(**{name: part.suited_to(data) for name, part, _ in self._families()})

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {key: prior for name, part, _ in self._families() for key, prior in with_prefix(name, part.priors(part.num_experts)).items()}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {f"{name}.{key}": tuple(f"{name}_{dim}" for dim in dims) for name, part, _ in self._families() for key, dims in part.dims().items()}

    def check(self, data: Sequences) -> None:
        """Checks every family; an error names it."""
        for name, part, _ in self._families():
            try:
                part.check(data)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error

    def possible(self, data: Sequences, num_states: int) -> np.ndarray:
        """See `Emission.possible`."""
        return np.concatenate([part.possible(data, part.num_experts) for part in self.parts], axis=-1)

    def catalogue(self, data: Sequences) -> Sequences:
        """See `Part.catalogue`."""
        for part in self.parts:
            data = part.catalogue(data)
        return data

    def prepare(self, data: Sequences) -> Sequences:
        """Prepares for every family; what it computes is kept under its name."""
        for name, part, _ in self._families():
            own = block(name, _WHOLE, data)
            prepared = part.prepare(own)
            for key in prepared.inputs.keys() - own.inputs.keys():
                data = with_computed(data, f"_{name}.{key}", prepared.inputs[key])
        return data

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """See `Part.initialize`."""
        keys = split_keys(key, list(self.names))
        params: Params = {}
        for name, part, _ in self._families():
            params |= with_prefix(name, part.initialize(keys[name], block(name, _WHOLE, data), part.num_experts))
        return params

    def adopt(self, other: Part, params: Params) -> Params:
        """See `Part.adopt`; from families of the same names, one by one."""
        if not isinstance(other, Several) or other.names != self.names:
            found = f"families {', '.join(other.names)}" if isinstance(other, Several) else type(other).__name__
            raise ValueError(f"start: found experts of {found}, expected families {', '.join(self.names)}.")
        adopted: Params = {}
        for name, part, before in zip(self.names, self.parts, other.parts, strict=True):
            adopted |= with_prefix(name, part.adopt(before, without_prefix(name, params)))
        return adopted

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        terms = [part.log_likelihood(without_prefix(name, params), block(name, _WHOLE, data)) for name, part, _ in self._families()]
        return jnp.concatenate(terms, axis=-1)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """The M-step of every family."""
        found: Params = {}
        for name, part, own in self._families():
            found |= with_prefix(name, part.m_step(without_prefix(name, params), block(name, _WHOLE, data), weights[..., own]))
        return found

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        keys = split_keys(key, list(self.names))
        drawn = []
        for name, part, own in self._families():
            # Every family draws, and the draw of the expert asked for is taken: a number out of a family's range stands for its nearest expert.
            number = jnp.clip(state - own.start, 0, part.num_experts - 1)
            past = recent[recent.shape[0] - part.num_lags :]
            drawn.append(part.sample(keys[name], without_prefix(name, params), number, inputs, past))
        family = jnp.sum(state >= jnp.array([own.stop for _, _, own in self._families()]))
        return jax.lax.select_n(family, *drawn) if len(drawn) > 1 else drawn[0]


def _known_sets(experts: Experts) -> dict[str, int]:
    """The input sets whose size is known already."""
    if getattr(experts, "num_inputs", 0) is None:
        return {}
    return experts.input_sets if not isinstance(experts, Several) else {key: columns for part in experts.parts for key, columns in _known_sets(part).items()}
