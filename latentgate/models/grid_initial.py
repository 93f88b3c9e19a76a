"""Laws of the first position on a grid: the equilibrium of a potential, or a smooth free one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from .base import Params, Prior
from .initial import Initial
from .newton import newton_rows, value_and_derivatives
from .splines import SmoothCoefficients, cubic_basis

_NEWTON_STEPS = 6


class Equilibrium(Initial):
    """exp(-Φ), normalised over the points that are no absorbing end; the model that has the potential computes it."""

    def log_probs(self, params: Params, num_states: int) -> Array:
        """Not known here: see `LangevinOnGrid.log_initial`."""
        return jnp.zeros(num_states)

    def probs(self, params: Params, num_states: int) -> Array:
        """Not known here: see `LangevinOnGrid.log_initial`."""
        raise ValueError('initial: found "equilibrium", which depends on the potential; simulate from the model itself.')


class SmoothFirst(Initial):
    """A free law whose logarithm is a cubic spline of the position, but for a constant: `weights` [first_knot].

    Attributes:
        grid: positions, [state].
        inside: points on which a sequence may start, [state].
        num_knots, roughness, level: see `latentgate.models.splines.SmoothCoefficients`.
    """

    grid: tuple[float, ...]
    inside: tuple[bool, ...]
    num_knots: int = 8
    roughness: float = 20.0
    level: float = 10.0

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {"weights": self._law}

    @property
    def _law(self) -> SmoothCoefficients:
        return SmoothCoefficients(self.num_knots, self.roughness, self.level)

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"weights": ("first_knot",)}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """A flat law."""
        return {"weights": jnp.zeros(self.num_knots)}

    def log_probs(self, params: Params, num_states: int) -> Array:
        """See `Initial.log_probs`."""
        heights = jnp.asarray(cubic_basis(np.asarray(self.grid), self.num_knots)) @ params["weights"]
        return normalised(heights, np.asarray(self.inside))

    def m_step(self, params: Params, first: Array) -> Params:
        """Newton steps of a concave problem."""
        law = self._law

        def value(rows: Array) -> Array:
            log_probs = self.log_probs({"weights": rows[0]}, first.shape[-1])
            return (jnp.sum(jnp.where(first > 0, first * jnp.where(first > 0, log_probs, 0.0), 0.0)) + law.log_prob(rows[0]))[None]

        return {"weights": newton_rows(lambda rows: value_and_derivatives(value, rows), params["weights"][None], _NEWTON_STEPS)[0]}


def normalised(heights: Array, inside: np.ndarray) -> Array:
    """Log-probabilities proportional to exp(heights) at the points inside, -inf at others, [..., point]."""
    return jax.nn.log_softmax(jnp.where(inside, heights, -jnp.inf), axis=-1)
