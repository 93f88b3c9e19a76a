"""A force that the user knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
from jax import Array

from ..base import Params, WithoutParameters
from ..emissions.checks import at_least
from .base import Potential, Rows


class KnownForce(WithoutParameters, Potential):
    """A force from the user: physics that is known, beside what is learned. No parameters.

    `Gated(lg.gates.Softmax("latents"), (KnownForce(...), Network()))` learns where the known law holds; with a gate that reads inputs, when. The force need not
    have an energy: one that depends on time, or turns in circles, has none.

    A model with such a force cannot be saved, since files hold no code; save `fit.params` and build the model anew.

    Args:
        function: from (positions [..., d], rows {name: [..., M]}) to the force [..., d], in terms of jax.numpy.
        energy: likewise to the energy [...] whose negative gradient that force is, if it has one and it is asked for (it is where a gate reads latents).
        input_sets: {name: number of columns} of the input sets that the function reads.

    Raises:
        ValueError: for something that is no function, numbers of columns below one, or (when it is first used) a function whose result has another shape.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> gravity = lg.potentials.KnownForce(lambda positions, rows: jnp.full_like(positions, -9.81))
        >>> gravity.force({}, jnp.zeros(1), {}).tolist()
        [-9.8100004196167]
    """

    function: Callable[[Array, Rows], Array]
    known_energy: Callable[[Array, Rows], Array] | None
    sets: dict[str, int]

    def __init__(
        self,
        function: Callable[[Array, Rows], Array],
        *,
        energy: Callable[[Array, Rows], Array] | None = None,
        input_sets: Mapping[str, int] | None = None,
    ):
        if not callable(function):
            raise ValueError(f"function: found {function!r}, expected a function of positions and rows.")
        if energy is not None and not callable(energy):
            raise ValueError(f"energy: found {energy!r}, expected a function of positions and rows, or None.")
        self.function, self.known_energy = function, energy
        self.sets = {name: at_least(f"input_sets[{name!r}]", columns) for name, columns in (input_sets or {}).items()}

    @property
    def input_sets(self) -> dict[str, int]:
        """{name: number of columns} of the input sets it reads."""
        return dict(self.sets)

    @property
    def conservative(self) -> bool:
        """See `Potential.conservative`."""
        return self.known_energy is not None

    def energy(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.energy`.

        Raises:
            ValueError: if it was not given.
        """
        if self.known_energy is None:
            raise ValueError("energy: found none for KnownForce, expected a function; pass KnownForce(..., energy=...) if the force has one.")
        return _of_shape("energy", self.known_energy(positions, rows), positions, positions.shape[:-1])

    def force(self, params: Params, positions: Array, rows: Rows) -> Array:
        """See `Potential.force`."""
        return _of_shape("function", self.function(positions, rows), positions, positions.shape)


def _of_shape(name: str, result: Array, positions: Array, expected: tuple[int, ...]) -> Array:
    if jnp.shape(result) != expected:
        raise ValueError(f"{name}: found a result of shape {jnp.shape(result)} for positions of shape {positions.shape}, expected {expected}.")
    return result
