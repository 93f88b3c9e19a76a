"""Standard errors, intervals and flat directions of a point fit, from the Hessian of its log-joint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, get_args

import jax
import numpy as np
import xarray as xr
from scipy.special import ndtri

from latentgate.data import Sequences
from latentgate.models import StateSpaceModel

from . import quantities
from .coordinates import Coordinates, coordinates, double_precision, natural_draws, natural_entries
from .curvature import Curvature, Of, at_the_top, curvature, decomposed, with_boundary
from .directions import Decomposition, Direction, describe, listed
from .quantities import Function, Quantities

if TYPE_CHECKING:
    from .fit import Fit

METHODS = ("delta", "draws")
# Further from the top than this, in standard errors, a report advises to go on.
_FAR = 0.1
# A number that no support is finite at.
_HUGE = 1e300


@dataclass(frozen=True, repr=False, eq=False)
class Uncertainty:
    """The normal approximation of a posterior, or of a likelihood, about a point fit; made by `uncertainty` or `Fit.uncertainty`.

    It is normal in unconstrained coordinates (logarithms of what is positive, log-odds of probabilities, Cholesky factors of covariances). Coordinates at the
    boundary of their support are held there: their standard errors are NaN. Along flat directions standard errors are infinite. Where the curvature is
    negative the fit is no maximum, and they are NaN.

    Attributes:
        model: the structure.
        params: the point, {name: array} in natural space, float64.
        of: "posterior" or "likelihood".
        coordinates: the unconstrained coordinates; `coordinates.names` names each by the natural entry it moves most.
        curvature: value, gradient and Hessian there, or at the maximum next to it.
        decomposition: what the Hessian determines, and what not.
        distance: how far the maximum is from the fit along what is determined, by the gradient, in standard errors; near zero for a fit that has converged.
    """

    model: StateSpaceModel
    params: dict[str, np.ndarray]
    of: Of
    coordinates: Coordinates
    curvature: Curvature
    decomposition: Decomposition
    distance: float = 0.0

    @property
    def at_boundary(self) -> tuple[str, ...]:
        """Coordinates at the boundary of their support, such as a probability of zero, or so near it that the data cannot tell; they are held there."""
        return tuple(name for name, held in zip(self.coordinates.names, self.coordinates.held, strict=True) if held)

    @property
    def is_maximum(self) -> bool:
        """Whether no direction has negative curvature."""
        return not self.decomposition.negative.shape[1]

    def covariance(self) -> xr.DataArray:
        """Covariance of the unconstrained coordinates, dims (coordinate, coordinate_other); variances infinite where flat, NaN where there is none."""
        free, size = self.coordinates.free, len(self.coordinates.names)
        factor = self.decomposition.factor
        own = factor @ factor.T
        spread = self.decomposition.standard_errors(np.eye(len(free)))
        own[~np.isfinite(spread)] = np.nan
        own[:, ~np.isfinite(spread)] = np.nan
        np.fill_diagonal(own, spread**2)
        whole = np.full((size, size), np.nan)
        whole[np.ix_(free, free)] = own
        names = list(self.coordinates.names)
        return xr.DataArray(whole, dims=("coordinate", "coordinate_other"), coords={"coordinate": names, "coordinate_other": names}, name="covariance")

    def flat_directions(self) -> list[Direction]:
        """Directions that the data (and the prior, of a posterior) leave open; together they span all of them."""
        what = "data and prior do" if self.of == "posterior" else "data do"

        def sentence(combination: str, names: tuple[str, ...]) -> str:
            if len(names) == 1:
                return f"The {what} not determine {names[0]}: the log-{self._kind} stays the same as it moves."
            return f"The {what} not tell apart {listed(names)}: the log-{self._kind} stays the same along {combination} (in unconstrained coordinates)."

        return self._described(self.decomposition.flat, sentence)

    def negative_directions(self) -> list[Direction]:
        """Directions along which the log-density has a minimum at the fit instead of a maximum."""

        def sentence(combination: str, names: tuple[str, ...]) -> str:
            return (
                f"Not a maximum: the log-{self._kind} curves upwards along {combination} (in unconstrained coordinates). "
                "Run more iterations with a smaller tolerance, or more restarts."
            )

        return self._described(self.decomposition.negative, sentence)

    def standard_errors(self) -> dict[str, np.ndarray]:
        """Standard errors of the parameters by the delta method, {name: array} in natural space.

        NaN at the boundary and where the fit is no maximum, infinite where flat, zero where the structure of the model fixes an entry.
        """
        return self._unravelled(self._entry_errors)

    def interval(self, function: Function | None = None, level: float = 0.95, method: str = "delta", *, seed: int = 0, num_draws: int = 1000) -> xr.Dataset:
        """Intervals of the parameters, or of a function of them.

        Args:
            function: from {name: array} in natural space to an array, a mapping of arrays, or an xarray object; the parameters themselves if None.
            level: probability inside.
            method: "delta": linear. A parameter moves in unconstrained coordinates, along the direction that changes it most for its probability, and is
                mapped back, so its interval stays inside the support: symmetric in the logarithm of a rate. A function must be of JAX, and has a
                symmetric interval. "draws": equal-tailed quantiles of the function over normal draws in unconstrained coordinates; any Python function,
                its range respected.
            seed: of the draws.
            num_draws: how many.

        Returns:
            for a function that returns one array, variables `estimate`, `standard_error`, `lower` and `upper`; for the parameters and for functions that
            return several, a variable each with a dimension `statistic` of these four. `estimate` is at the fit.

        Raises:
            TypeError: for a function that JAX cannot differentiate, if method is "delta".
            ValueError: for a level, a method or a number of draws that is none.

        Example:
            >>> import numpy as np, latentgate as lg
            >>> data = lg.Sequences.from_arrays([np.random.default_rng(0).poisson(2.0, (100, 1)).astype(float)])
            >>> found = lg.fit(lg.HMM(1, lg.emissions.Poisson(1)), data, lg.EM(), seed=0).uncertainty()
            >>> float(found.interval().sel(statistic="standard_error")["emission.rates"].round(2)[0, 0])
            0.15
        """
        level = quantities.check_level(level)
        if method not in METHODS:
            raise ValueError(f"method: found {method!r}, expected one of {', '.join(map(repr, METHODS))}.")
        if num_draws < 2:
            raise ValueError(f"num_draws: found {num_draws}, expected at least 2.")
        with double_precision():
            if function is None:
                like = quantities.parameters(self.params, self.model.dims())
                found = self._of_parameters(level) if method == "delta" else self._over_draws(lambda params: params, like, level, seed, num_draws)
            else:
                like = quantities.at(function, self.params)
                found = self._linear(function, like, level) if method == "delta" else self._over_draws(function, like, level, seed, num_draws)
        return quantities.packed(like, found, level)

    def draws(self, num: int, seed: int) -> dict[str, np.ndarray]:
        """Draws of the parameters from the normal approximation, {name: [draw, ...]} in natural space.

        What is flat, negatively curved or at the boundary stays at the fit: draws know nothing of directions that the data leave open.
        """
        normal = np.random.default_rng(seed).standard_normal((num, self.decomposition.factor.shape[1]))
        with double_precision():
            return self._natural(normal @ self.decomposition.factor.T)

    def report(self) -> str:
        """What the fit determines and what not, in sentences."""
        point = self.coordinates
        count, free = len(point.names), len(point.free)
        open_ = self.decomposition.flat.shape[1] + self.decomposition.negative.shape[1]
        lines = [f"Curvature of the log-{self._kind} of {type(self.model).__name__}: {count} coordinates, {free - open_} determined."]
        lines += [one.sentence for one in self.negative_directions()]
        if self.is_maximum and self.of == "posterior" and self.distance > _FAR:
            lines.append(f"The maximum is still {self.distance:.2g} standard errors away; run more iterations with a smaller tolerance.")
        lines += [one.sentence for one in self.flat_directions()]
        if self.at_boundary:
            lines.append(f"At the boundary of their support, to what the data can tell, and held there: {', '.join(self.at_boundary)}.")
        if not self.curvature.exact:
            lines.append("Second derivatives are differences of gradients, since the model's own hold to first order only.")
        if self.model.approximate:
            lines.append("The log-likelihood of this model is itself an approximation, and so is its curvature.")
        dims = [f"{name} [{', '.join(axes)}]" for name, axes in self.model.dims().items() if axes]
        return "\n".join([*lines, f"Entries are of {'; '.join(dims)}."])

    def __repr__(self) -> str:
        return f"Uncertainty of the {self.of}\n  " + self.report().replace("\n", "\n  ")

    @property
    def _kind(self) -> str:
        return "joint" if self.of == "posterior" else "likelihood"

    @property
    def _sensitivity(self) -> np.ndarray:
        """Of every natural entry to the free coordinates, [entry, free]."""
        return self.coordinates.jacobian[:, self.coordinates.free]

    @cached_property
    def _entry_errors(self) -> np.ndarray:
        return np.where(self.coordinates.boundary, np.nan, self.decomposition.standard_errors(self._sensitivity))

    def _described(self, basis: np.ndarray, sentence) -> list[Direction]:
        names = [self.coordinates.names[index] for index in self.coordinates.free]
        return describe(basis, self.decomposition.unit, self.curvature.hessian, names, sentence)

    def _unravelled(self, entries: np.ndarray) -> dict[str, np.ndarray]:
        shapes = {name: np.shape(self.params[name]) for name in sorted(self.params)}
        parts = np.split(entries, np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1])
        found = {name: part.reshape(shape) for part, (name, shape) in zip(parts, shapes.items(), strict=True)}
        return {name: found[name] for name in self.params}

    def _at(self, steps: np.ndarray) -> np.ndarray:
        """All coordinates after steps of the free ones, [step, coordinate]."""
        values = np.tile(self.coordinates.values, (len(steps), 1))
        values[:, self.coordinates.free] += steps
        return values

    def _natural(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        found = natural_draws(self.model, self.params, self.coordinates, self._at(steps))
        return {name: found[name] for name in self.params}

    def _of_parameters(self, level: float) -> dict[str, dict[str, np.ndarray]]:
        sensitivity, errors, parts = self._sensitivity, self._entry_errors, self.decomposition
        # The direction in which an entry changes most for its probability; of an elementwise bijection it is the coordinate itself.
        steps = sensitivity @ parts.factor @ parts.factor.T
        spread = np.sqrt(((sensitivity @ parts.factor) ** 2).sum(-1))
        steps *= np.divide(ndtri(0.5 + 0.5 * level), spread, out=np.zeros_like(spread), where=spread > 0)[:, None]
        infinite = np.isinf(errors)
        along = (sensitivity[infinite] * parts.unit) @ parts.flat @ parts.flat.T * parts.unit
        largest = np.abs(along).max(1, keepdims=True, initial=0.0)
        steps[infinite] = np.where(np.abs(along) > 1e-6 * largest, _HUGE * np.sign(along), 0.0)
        entries = np.arange(len(errors))
        ends = np.stack([natural_entries(self.model, self.params, self._at(sign * steps), entries) for sign in (-1.0, 1.0)])
        broken = np.isnan(ends).any(0)
        ends = np.where(np.abs(ends) >= _HUGE / 1e50, np.copysign(np.inf, ends), ends)
        ends[:, broken] = np.array([[-np.inf], [np.inf]])
        fixed = self.coordinates.pinned
        ends[:, fixed] = self.coordinates.estimate[fixed]
        ends[:, np.isnan(errors)] = np.nan
        pieces = {"estimate": self.coordinates.estimate, "standard_error": errors, "lower": ends.min(0), "upper": ends.max(0)}
        whole = {key: self._unravelled(value) for key, value in pieces.items()}
        return {name: {key: whole[key][name] for key in pieces} for name in self.params}

    def _linear(self, function: Function, like: Quantities, level: float) -> dict[str, dict[str, np.ndarray]]:
        found = {}
        for name, derivative in quantities.sensitivity(function, self.params, like).items():
            estimate = like.arrays[name].values
            # What is at the boundary has no derivative worth having: the square root of a zero, say.
            used = np.where(self.coordinates.pinned, 0.0, derivative.reshape(-1, derivative.shape[-1]))
            spread = self.decomposition.standard_errors(used @ self._sensitivity).reshape(estimate.shape)
            reach = ndtri(0.5 + 0.5 * level) * spread
            found[name] = {"estimate": estimate, "standard_error": spread, "lower": estimate - reach, "upper": estimate + reach}
        return found

    def _over_draws(self, function: Function, like: Quantities, level: float, seed: int, num_draws: int) -> dict[str, dict[str, np.ndarray]]:
        estimates = {name: array.values for name, array in like.arrays.items()}
        drawn = quantities.over_draws(function, like, self.draws(num_draws, seed))
        found = quantities.summarised(like, drawn, level, estimates)
        parts, generator = self.decomposition, np.random.default_rng(seed)
        for basis, error, ends in ((parts.flat, np.inf, (-np.inf, np.inf)), (parts.negative, np.nan, (np.nan, np.nan))):
            if not basis.shape[1]:
                continue
            # A step along a random mixture of directions misses a function that moves along any of them with probability zero.
            steps = parts.unit * (basis @ generator.standard_normal(basis.shape[1]))
            moved = quantities.over_draws(function, like, self._natural(np.stack([steps, -steps])))
            for name, statistics in found.items():
                with np.errstate(invalid="ignore"):
                    still = (np.abs(moved[name] - estimates[name]) <= 1e-6 * np.maximum(np.abs(estimates[name]), statistics["standard_error"])).all(0)
                for key, value in zip(("standard_error", "lower", "upper"), (error, *ends), strict=True):
                    statistics[key] = np.where(still, statistics[key], value)
        if like.arrays.keys() == self.params.keys():
            boundary = self._unravelled(self.coordinates.boundary)
            for name, statistics in found.items():
                for key in ("standard_error", "lower", "upper"):
                    statistics[key] = np.where(boundary[name], np.nan, statistics[key])
        return found


def uncertainty(fit: Fit, data: Sequences, of: Of = "posterior") -> Uncertainty:
    """The normal approximation about a point fit.

    The Hessian of minus the log-joint, the density of natural parameters without a Jacobian as EM and MAP maximise it, is taken in unconstrained coordinates
    and double precision, whatever precision the fit was made in. For models whose log-likelihood is an approximation (`model.approximate`) it is that of the
    approximation, which the report says.

    Args:
        fit: by EM or MAP.
        data: the sequences it was fitted to.
        of: "posterior" for the log-joint; "likelihood" for the log-likelihood alone, to see what the data say without the prior. At a fit with an informative
            prior the latter is no maximum, and its curvature only says which directions the data leave open.

    Raises:
        ValueError: for a fit with posterior draws, data that do not belong to the model, too many coordinates, parameters outside their support.
        FloatingPointError: if the log-joint or its derivatives are not finite at the fit.

    Source: standard errors by the observed information; a flat direction is one whose standard error is more than 10 000 times what it would be were all
        other coordinates known, 10 000 times the size of the parameter, or 100 in a logarithm or log-odds.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> from latentgate.inference import uncertainty
        >>> data = lg.Sequences.from_arrays([np.random.default_rng(0).poisson(4.0, (100, 1)).astype(float)])
        >>> fit = lg.fit(lg.HMM(1, lg.emissions.Poisson(1)), data, lg.EM(), seed=0)
        >>> float(uncertainty(fit, data).standard_errors()["emission.rates"].round(1)[0, 0])
        0.2
    """
    if of not in get_args(Of):
        raise ValueError(f'of: found {of!r}, expected "posterior" or "likelihood".')
    if not isinstance(fit.model, StateSpaceModel):
        raise ValueError(
            f"fit: found one of {type(fit.model).__name__}, whose log-likelihood is a bound from draws, expected a model whose latents are integrated out."
        )
    if fit.posterior is not None:
        raise ValueError(f"fit: found posterior draws by {fit.engine}, expected a point fit by EM or MAP; Fit.interval and Fit.posterior know the draws.")
    fit.check(data)
    with double_precision():
        data = jax.device_put(fit.model.catalogue(data))
        point = coordinates(fit.model, fit.params)
        point, shape = with_boundary(fit.model, data, fit.params, point, of, curvature(fit.model, data, fit.params, point, of))
        parts = decomposed(shape, point)
        distance = float(np.linalg.norm(shape.gradient @ parts.factor))
        shape, parts = at_the_top(fit.model, data, fit.params, point, of, shape, parts)
    return Uncertainty(fit.model, {name: np.asarray(value, float) for name, value in fit.params.items()}, of, point, shape, parts, distance)
