"""Poisson counts whose rates are smooth functions of a position on a grid."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior
from ..newton import newton_rows
from ..observations import check_counts
from ..splines import FEWEST_KNOTS, SmoothCoefficients, cubic_basis
from .base import Emission
from .checks import at_least, positive
from .poisson import log_factorials, with_log_factorials

# Candidates of an M-step; near a maximum each is a full Newton step.
_NEWTON_STEPS = 6


class TuningCurves(Emission):
    """Independent Poisson counts whose log-rates are cubic splines of the position: y_n ~ Poisson(exp(Σ_k weights[n, k] B_k(x_z))).

    Parameters: `weights` [neuron, tuning_knot], of the logarithm of expected counts per bin.

    Args:
        num_neurons: columns of the data.
        grid: positions of the states in [-1, 1], [state].
        num_knots: splines of every curve, at least 4.
        roughness: standard deviation, a priori, of the change of a log-rate's slope over a unit of length.
        level: standard deviation, a priori, of a coefficient by itself.

    Raises:
        ValueError: for an argument out of range.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> lg.emissions.TuningCurves(14, np.linspace(-1, 1, 64)).dims()
        {'weights': ('neuron', 'tuning_knot')}
    """

    num_neurons: int
    grid: tuple[float, ...]
    num_knots: int
    roughness: float
    level: float

    def __init__(self, num_neurons: int, grid: np.ndarray, num_knots: int = 8, roughness: float = 5.0, level: float = 10.0):
        self.num_neurons = at_least("num_neurons", num_neurons)
        points = np.asarray(grid, float)
        if points.ndim != 1 or points.size < 2 or (np.diff(points) <= 0).any() or np.abs(points).max() > 1:
            raise ValueError(f"grid: found shape {points.shape}, expected positions that rise, in [-1, 1], one a state.")
        self.grid = tuple(points.tolist())
        self.num_knots = at_least("num_knots", num_knots, FEWEST_KNOTS)
        self.roughness = positive("roughness", roughness)
        self.level = positive("level", level)

    @property
    def num_features(self) -> int:
        """Number of neurons."""
        return self.num_neurons

    @property
    def anchored(self) -> bool:
        """True: states are positions."""
        return True

    @property
    def _basis(self) -> np.ndarray:
        return cubic_basis(np.asarray(self.grid), self.num_knots)

    @property
    def _law(self) -> SmoothCoefficients:
        return SmoothCoefficients(self.num_knots, self.roughness, self.level)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        if num_states != len(self.grid):
            raise ValueError(f"grid: found {len(self.grid)} positions, expected {num_states} as the model has states.")
        return {"weights": self._law.expand((self.num_neurons,)).to_event(1)}  # pyright: ignore[reportAttributeAccessIssue]

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"weights": ("neuron", "tuning_knot")}

    def check(self, data: Sequences) -> None:
        """Counts only."""
        super().check(data)
        check_counts("TuningCurves", data)

    def prepare(self, data: Sequences) -> Sequences:
        """Adds log y! summed over neurons."""
        return with_log_factorials(data)

    def rates(self, params: Params) -> Array:
        """Expected counts per bin, [state, neuron]."""
        return jnp.exp(jnp.asarray(self._basis) @ jnp.asarray(params["weights"]).T)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Monotone curves through the mean rates, of slopes about a half."""
        mean = (data.values.sum((0, 1)) + 0.5) / (data.observed.sum((0, 1)) + 1.0)
        return self.from_lines(jnp.log(mean), 0.5 * jax.random.normal(key, (self.num_neurons,)))

    def from_lines(self, middle: Array, slope: Array) -> Params:
        """Log-rates that are lines: middle + slope x, [neuron] each."""
        # The coefficients of a line lie on it: at the middle of each spline.
        spacing = 2.0 / (self.num_knots - 3)
        centres = -1.0 + spacing * (np.arange(self.num_knots) - 1.0)
        return {"weights": middle[:, None] + slope[:, None] * jnp.asarray(centres)}

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        log_rates = jnp.asarray(self._basis) @ params["weights"].T
        rates = jnp.exp(log_rates)
        exposure = rates.sum(-1) if data.complete else data.observed.astype(rates.dtype) @ rates.T
        return data.values @ log_rates.T - exposure - log_factorials(data)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Newton steps of every neuron's concave problem."""
        counts = jnp.einsum("stk,stn->nk", weights, data.values)
        exposure = jnp.einsum("stk,stn->nk", weights, jnp.asarray(data.observed).astype(weights.dtype))
        basis, precision = jnp.asarray(self._basis), jnp.asarray(self._law.precision)

        def evaluate(rows: Array) -> tuple[Array, Array, Array]:
            log_rates = rows @ basis.T
            expected = exposure * jnp.exp(log_rates)
            pull = rows @ precision
            value = jnp.sum(counts * log_rates - expected, -1) - 0.5 * jnp.sum(rows * pull, -1)
            return value, (counts - expected) @ basis - pull, jnp.einsum("ki,nk,kj->nij", basis, expected, basis) + precision

        return {"weights": newton_rows(evaluate, params["weights"], _NEWTON_STEPS)}

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        rates = self.rates(params)[state]
        return jax.random.poisson(key, rates).astype(rates.dtype)
