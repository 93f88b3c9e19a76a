"""What potentials that are made of several have in common."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, with_prefix, without_prefix
from .base import Potential, Rows
from .curvatures import MATRIX_AXES


class Mixed(Potential):
    """A sum of potentials with weights: U = Σ_k weight_k U_k. Parameters of the k-th are under its number: `0.stiffness`, `1.weights`, ....

    Attributes:
        potentials: the members.
    """

    potentials: eqx.AbstractVar[tuple[Potential, ...]]

    @abc.abstractmethod
    def weights(self, params: Params, positions: Array, rows: Rows) -> Array:
        """Weights of the members at positions [..., d], [..., K]."""

    @property
    def conservative(self) -> bool:
        """See `Potential.conservative`."""
        return all(member.conservative for member in self.potentials)

    @property
    def input_sets(self) -> dict[str, int]:
        """{name: number of columns} of the input sets that it and its members read."""
        return {name: columns for member in self.potentials for name, columns in member.input_sets.items()}

    @property
    def num_states(self) -> int:
        """States of the discrete chain that switches members, 0 if none is."""
        return max(member.num_states for member in self.potentials)

    def check_latents(self, latent_dim: int) -> None:
        """Checks the members; an error says which."""
        for number, member in enumerate(self.potentials):
            with _naming(number):
                member.check_latents(latent_dim)

    def check(self, data: Sequences) -> None:
        """Checks the members; an error says which."""
        for number, member in enumerate(self.potentials):
            with _naming(number):
                member.check(data)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {name: prior for number, member in enumerate(self.potentials) for name, prior in with_prefix(str(number), member.priors(num_states)).items()}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`; axes other than those of latents have the member's number before their names, since members differ in size."""
        return {
            f"{number}.{name}": tuple(axis if axis in MATRIX_AXES else f"{number}_{axis}" for axis in axes)
            for number, member in enumerate(self.potentials)
            for name, axes in member.dims().items()
        }

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Starts of the members."""
        keys = jax.random.split(key, len(self.potentials))
        members = zip(keys, self.potentials, strict=True)
        return {
            name: value
            for number, (own, member) in enumerate(members)
            for name, value in with_prefix(str(number), member.initialize(own, data, num_states)).items()
        }

    def member_params(self, params: Params) -> list[tuple[Potential, Params]]:
        """Members with their parameters."""
        return [(member, without_prefix(str(number), params)) for number, member in enumerate(self.potentials)]

    def energies(self, params: Params, positions: Array, rows: Rows) -> Array:
        """Energies of the members at positions [..., d], [..., K]."""
        return jnp.stack([member.energy(own, positions, rows) for member, own in self.member_params(params)], -1)

    def forces(self, params: Params, positions: Array, rows: Rows) -> Array:
        """Forces of the members at positions [..., d], [..., d, K]."""
        return jnp.stack([member.force(own, positions, rows) for member, own in self.member_params(params)], -1)

    def energy(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.energy`."""
        return jnp.sum(self.weights(params, positions, rows) * self.energies(params, positions, rows), -1)

    def force(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.force`; with weights that do not depend on positions."""
        return jnp.sum(self.weights(params, positions, rows)[..., None, :] * self.forces(params, positions, rows), -1)

    def member_curvatures(self, params: Params, radius: float) -> Array:
        """Bounds of the curvatures of the members, [K]."""
        return jnp.stack([member.largest_curvature(own, radius) for member, own in self.member_params(params)])


def checked_members(potentials: Any) -> tuple[Potential, ...]:
    """The potentials as a tuple.

    Raises:
        ValueError: unless it is a sequence of at least one potential.
    """
    if not isinstance(potentials, Sequence) or not potentials:
        raise ValueError(f"potentials: found {potentials!r}, expected at least one of lg.potentials, in a tuple.")
    for number, member in enumerate(potentials):
        if not isinstance(member, Potential):
            raise ValueError(f"potentials[{number}]: found {member!r}, expected one of lg.potentials, for example lg.potentials.Network().")
    # All switches read the states of the one chain.
    counts = sorted({member.num_states for member in potentials} - {0})
    if len(counts) > 1:
        raise ValueError(f"potentials: found switching potentials of {counts[0]} and {counts[1]} states, expected one number, since there is one chain.")
    return tuple(potentials)


@contextlib.contextmanager
def _naming(number: int) -> Iterator[None]:
    """Puts the number of a member before the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"potentials[{number}]: {error}") from error
