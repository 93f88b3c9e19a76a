"""Overdamped diffusion in a potential on a grid."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior
from ..emissions.checks import at_least, positive, prior_or
from ..splines import FEWEST_KNOTS, SmoothCoefficients, cubic_basis
from .base import Generator

REFLECTING, ABSORBING = "reflecting", "absorbing"
VARYING = ("potential", "diffusion", "both")
Ends = tuple[str, str]


def ends_of(ends: object) -> Ends:
    """What happens at -1 and at 1.

    Raises:
        ValueError: unless it is "reflecting", "absorbing", or one of them for each end.
    """
    pair = (ends, ends) if isinstance(ends, str) else tuple(ends) if isinstance(ends, tuple | list) else ()
    if len(pair) != 2 or any(end not in (REFLECTING, ABSORBING) for end in pair):
        raise ValueError(f'ends: found {ends!r}, expected "reflecting", "absorbing", or a pair of them for the ends -1 and 1.')
    return str(pair[0]), str(pair[1])


def grid_of(num_points: int, ends: Ends) -> tuple[np.ndarray, float]:
    """Positions of the points, and the distance h between them.

    An absorbing end is a point of its own, at -1 or 1; a reflecting wall lies half a step beyond the outermost point. Either way errors fall as h².
    """
    half = [0.5 * (end == REFLECTING) for end in ends]
    step = 2.0 / (num_points - 1 + sum(half))
    return -1.0 + step * (half[0] + np.arange(num_points)), step


def langevin_rates(potential: Array, diffusion: Array, step: float, ends: Ends) -> Array:
    """Rates q_{i,i±1} = (D/h²) exp(-(Φ_{i±1} - Φ_i)/2) between neighbours on a grid; zero from absorbing ends, and on the diagonal.

    In detailed balance with exp(-Φ) wherever no end absorbs, and so a walk that stays put where dx = -D Φ'(x) dt + sqrt(2D) dW does.

    Args:
        potential: Φ at the grid points, in units of the noise's energy, [..., point].
        diffusion: D, lengths squared per unit of time, [...].
        step: h.
        ends: at the first and the last point.

    Returns:
        [..., point, point].
    """
    speed = diffusion[..., None] / step**2
    rise = jnp.diff(potential, axis=-1)
    up, down = speed * jnp.exp(-0.5 * rise), speed * jnp.exp(0.5 * rise)
    if ends[0] == ABSORBING:
        up = up.at[..., 0].set(0.0)
    if ends[1] == ABSORBING:
        down = down.at[..., -1].set(0.0)
    size = potential.shape[-1]
    rows = jnp.arange(size - 1)
    rates = jnp.zeros((*potential.shape, size), up.dtype)
    return rates.at[..., rows, rows + 1].set(up).at[..., rows + 1, rows].set(down)


class Langevin(Generator):
    """Overdamped motion in a potential, dx = -D Φ'(x) dt + sqrt(2D) dW on [-1, 1], on a grid: jumps between neighbouring points.

    The rates are q_{i,i±1} = (D/h²) exp(-(Φ_{i±1} - Φ_i)/2), in detailed balance with exp(-Φ). Φ is a cubic spline; a constant added to it changes nothing.

    Parameters: `potential` [(condition,) potential_knot], coefficients of Φ, which is in units of the noise's energy; `diffusion` [] or [condition], D per
    unit of time.

    Args:
        num_points: K, points of the grid, at least 5.
        ends: "reflecting" or "absorbing", or a pair of them for the ends -1 and 1. An absorbing end is a state of its own, which is never left.
        num_knots: splines that make up Φ, at least 4.
        roughness: standard deviation, a priori, of the change of Φ' over a unit of length.
        level: standard deviation, a priori, of a coefficient of Φ by itself.
        conditions: number of conditions under which sequences were recorded; None for one.
        varying: what differs between conditions: "potential", "diffusion" or "both".
        inputs: name of the input set [time, 1] with the number of the condition.
        diffusion_prior: of D; LogNormal(-log(2 time_scale), 2) if None.
        time_scale: in which a free particle comes from the middle to an end, in the units of the data's times.

    Raises:
        ValueError: for an argument out of range.

    Source: Wang, Peskin, Elston, J. Theor. Biol. 221:491 (2003), for rates on a grid; Genkin, Hughes, Engel, Nat. Commun. 12:5986 (2021), for the model.

    Example:
        >>> import latentgate as lg
        >>> lg.generators.Langevin(32, "absorbing", conditions=2).dims()
        {'potential': ('condition', 'potential_knot'), 'diffusion': ()}
    """

    num_points: int
    ends: Ends
    num_knots: int
    roughness: float
    level: float
    conditions: int | None
    varying: str
    inputs: str
    diffusion_prior: dist.Distribution
    time_scale: float

    def __init__(
        self,
        num_points: int = 64,
        ends: object = REFLECTING,
        *,
        num_knots: int = 12,
        roughness: float = 20.0,
        level: float = 10.0,
        conditions: int | None = None,
        varying: str = "potential",
        inputs: str = "condition",
        diffusion_prior: dist.Distribution | None = None,
        time_scale: float = 1.0,
    ):
        self.num_points = at_least("num_points", num_points, 5)
        self.ends = ends_of(ends)
        self.num_knots = at_least("num_knots", num_knots, FEWEST_KNOTS)
        self.roughness = positive("roughness", roughness)
        self.level = positive("level", level)
        self.conditions = None if conditions is None else at_least("conditions", conditions)
        if varying not in VARYING:
            raise ValueError(f"varying: found {varying!r}, expected one of {', '.join(map(repr, VARYING))}.")
        self.varying = varying
        self.inputs = inputs
        self.time_scale = positive("time_scale", time_scale)
        self.diffusion_prior = prior_or("diffusion_prior", diffusion_prior, dist.LogNormal(-np.log(2.0 * self.time_scale), 2.0))

    @property
    def grid(self) -> np.ndarray:
        """Positions of the points, [point]."""
        return grid_of(self.num_points, self.ends)[0]

    @property
    def inside(self) -> np.ndarray:
        """Points that are no absorbing end, bool [point]."""
        outermost = np.zeros(self.num_points, bool)
        outermost[[0, -1]] = [end == ABSORBING for end in self.ends]
        return ~outermost

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Generator.input_sets`."""
        return {} if self.conditions is None else {self.inputs: 1}

    def _varies(self, what: str) -> bool:
        return self.conditions is not None and self.varying in (what, "both")

    def mask(self, num_states: int) -> np.ndarray:
        """See `Generator.mask`: neighbours, and nothing from absorbing ends.

        Raises:
            ValueError: for a model of another number of states.
        """
        if num_states != self.num_points:
            raise ValueError(f"num_points: found {self.num_points} for Langevin, expected {num_states} as the model has states.")
        neighbours = np.abs(np.subtract.outer(np.arange(num_states), np.arange(num_states))) == 1
        return neighbours & self.inside[:, None]

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        self.mask(num_states)
        potential: dist.Distribution = SmoothCoefficients(self.num_knots, self.roughness, self.level)
        diffusion = self.diffusion_prior
        for_each = () if self.conditions is None else (self.conditions,)
        if self._varies("potential"):
            potential = potential.expand(for_each).to_event(1)
        if self._varies("diffusion"):
            diffusion = diffusion.expand(for_each).to_event(1)
        return {"potential": potential, "diffusion": diffusion}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {
            "potential": ("condition", "potential_knot") if self._varies("potential") else ("potential_knot",),
            "diffusion": ("condition",) if self._varies("diffusion") else (),
        }

    def check(self, data: Sequences) -> None:
        """Numbers of conditions."""
        if self.conditions is None:
            return
        found = np.asarray(data.inputs[self.inputs])
        if ((found < 0) | (found >= self.conditions) | (found != np.floor(found))).any():
            wrong = found[(found < 0) | (found >= self.conditions) | (found != np.floor(found))][0]
            raise ValueError(f"inputs[{self.inputs!r}]: found {wrong:g}, expected the number of a condition, 0 to {self.conditions - 1}.")

    def potentials(self, params: Params) -> Array:
        """Φ at the grid points, [condition, point]; one row where it does not vary."""
        return jnp.atleast_2d(params["potential"]) @ jnp.asarray(cubic_basis(self.grid, self.num_knots)).T

    def rates(self, params: Params, covariates: Array) -> Array:
        """See `Generator.rates`."""
        potential, diffusion = self.potentials(params), jnp.atleast_1d(params["diffusion"])
        if self.conditions is not None:
            condition = covariates[:, 0].astype(jnp.int32)
            potential, diffusion = (array[condition if array.shape[0] > 1 else jnp.zeros_like(condition)] for array in (potential, diffusion))
        return langevin_rates(potential, diffusion, grid_of(self.num_points, self.ends)[1], self.ends)

    def start(self, key: Array, diffusion: Array) -> Params:
        """A nearly flat potential, and the same D under all conditions."""
        sizes = {"condition": self.conditions or 0, "potential_knot": self.num_knots}
        shapes = {name: tuple(sizes[axis] for axis in axes) for name, axes in self.dims().items()}
        return {
            "potential": 0.1 * jax.random.normal(key, shapes["potential"]),
            "diffusion": jnp.broadcast_to(jnp.asarray(diffusion), shapes["diffusion"]),
        }

    def from_counts(self, key: Array, jumps: Array, times: Array) -> Params:
        """See `Generator.from_counts`: D from the mean square of jumps."""
        grid = jnp.asarray(self.grid)
        squares = jnp.sum(jumps * (grid[:, None] - grid) ** 2)
        total = times.sum()
        return self.start(key, jnp.where((squares > 0) & (total > 0), squares / (2.0 * jnp.where(total > 0, total, 1.0)), 0.5 / self.time_scale))
