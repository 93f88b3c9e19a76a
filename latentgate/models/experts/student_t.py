"""Robust linear experts: Student-t noise."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior, with_shape
from ..designs import input_names
from ..emissions.checks import positive
from ..emissions.negative_binomial import log_rising_ratio
from ..newton import newton_rows
from .least_squares import weighted_least_squares
from .lines import Lines

# Candidates of the step in the degrees of freedom.
_NEWTON_STEPS = 3
# Share of the box, in logarithms, that a step may reach: on its edge the unconstrained coordinate would be infinite.
_INSIDE = 1.0 - 1e-5


class StudentT(Lines):
    """Student-t observations about a line of the inputs: (y - weights[k] · inputs - bias[k]) / scale[k] ~ t(degrees_of_freedom).

    A few wild observations do not move such a line. The M-step is an ECM step: every observation is normal with a precision of its own, whose expectation is
    small where the residual is large (Lange, Little and Taylor, JASA 84:881, 1989); free degrees of freedom then take a Newton step on the likelihood itself
    (Liu and Rubin, Biometrika 81:633, 1994).

    Parameters: `weights` [expert, input], `bias` [expert], `scale` [expert], or one for all, []; `degrees_of_freedom` [expert] where they are free. The scale
    is no standard deviation: that is scale · √(ν / (ν - 2)) for ν > 2.

    Args:
        num_experts: K.
        degrees_of_freedom: a positive number, or "free".
        inputs: name of the input set.
        bounds: of free degrees of freedom, which have a uniform prior between them; data from normal noise drive them to the upper one.
        num_inputs: columns of the input set; from the data if None.
        shared_scale, scale, weight_prior, bias_prior, variance_prior, min_scale: see `LinearGaussian`; `variance_prior` is that of scale².

    Raises:
        ValueError: as `LinearGaussian`, and for degrees of freedom or bounds that are not positive, or bounds out of order.

    Example:
        >>> import latentgate as lg
        >>> lg.experts.StudentT(2, "free", num_inputs=1).dims()["degrees_of_freedom"]
        ('expert',)
    """

    degrees_of_freedom: float | None
    bounds: tuple[float, float]

    def __init__(
        self,
        num_experts: int,
        degrees_of_freedom: float | Literal["free"] = 4.0,
        inputs: str = "inputs",
        *,
        bounds: tuple[float, float] = (1.0, 100.0),
        num_inputs: int | None = None,
        shared_scale: bool = False,
        scale: float = 1.0,
        weight_prior: dist.Distribution | Literal["flat"] | None = None,
        bias_prior: dist.Distribution | Literal["flat"] | None = None,
        variance_prior: dist.Distribution | Literal["flat"] | None = None,
        min_scale: float | None = None,
    ):
        super().__init__(
            num_experts,
            inputs,
            num_inputs=num_inputs,
            shared_scale=shared_scale,
            scale=scale,
            weight_prior=weight_prior,
            bias_prior=bias_prior,
            variance_prior=variance_prior,
            min_scale=min_scale,
        )
        if isinstance(degrees_of_freedom, str) and degrees_of_freedom != "free":
            raise ValueError(f'degrees_of_freedom: found {degrees_of_freedom!r}, expected a positive number or "free".')
        self.degrees_of_freedom = None if isinstance(degrees_of_freedom, str) else positive("degrees_of_freedom", degrees_of_freedom)
        if not isinstance(bounds, tuple | list) or len(bounds) != 2:
            raise ValueError(f"bounds: found {bounds!r}, expected two positive numbers, the smaller first.")
        low, high = (positive("bounds", bound) for bound in bounds)
        if not low < high:
            raise ValueError(f"bounds: found {bounds!r}, expected two positive numbers, the smaller first.")
        self.bounds = (low, high)

    @property
    def num_weights(self) -> int:
        """M."""
        return self.columns

    @property
    def weight_axis(self) -> str:
        """See `Lines.weight_axis`."""
        return "input"

    @property
    def noise_names(self) -> tuple[str, ...]:
        """See `ExpertsWithMeans.noise_names`."""
        return ("scale",) if self.degrees_of_freedom is not None else ("scale", "degrees_of_freedom")

    def features(self, inputs: Any) -> Any:
        """The inputs themselves."""
        return inputs

    def feature_names(self, data: Sequences) -> list[str]:
        """See `Lines.feature_names`."""
        return input_names(self.inputs, data)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        priors = super().priors(num_states)
        if self.degrees_of_freedom is None:
            priors["degrees_of_freedom"] = with_shape(dist.Uniform(*self.bounds), (num_states,), "degrees_of_freedom")
        return priors

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return super().dims() | ({"degrees_of_freedom": ("expert",)} if self.degrees_of_freedom is None else {})

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Lines as those of `LinearGaussian`, degrees of freedom about the geometric middle of their bounds."""
        for_lines, for_freedom = jax.random.split(key)
        params = super().initialize(for_lines, data, num_states)
        if self.degrees_of_freedom is None:
            params["degrees_of_freedom"] = self._freedom(0.1 * jax.random.uniform(for_freedom, (num_states,), minval=-1.0))
        return params

    def _freedom(self, position: Array) -> Array:
        """Degrees of freedom at a position from -1 to 1 between the logarithms of the bounds."""
        low, high = jnp.log(jnp.asarray(self.bounds))
        return jnp.exp(0.5 * (low + high) + 0.5 * (high - low) * position)

    def _position(self, freedom: Array) -> Array:
        low, high = jnp.log(jnp.asarray(self.bounds))
        return (2.0 * jnp.log(freedom) - low - high) / (high - low)

    def _freedom_of(self, params: Params) -> Array:
        return params["degrees_of_freedom"] if self.degrees_of_freedom is None else jnp.asarray(self.degrees_of_freedom)

    def log_density(self, params: Params, residuals: Array) -> Array:
        """See `Lines.log_density`."""
        scale = params["scale"].reshape(-1, *[1] * (residuals.ndim - 1))
        return _standard_log_density(residuals / scale, self._freedom_of(params)) - jnp.log(scale)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Expected precisions of the observations, then weighted least squares; then free degrees of freedom given all else."""
        freedom = self._freedom_of(params)
        spread = params["scale"].reshape(-1, 1, 1)
        tail = freedom.reshape(-1, 1, 1)
        precisions = (tail + 1.0) / (tail + (self.residuals(params, data) / spread) ** 2)
        found = weighted_least_squares(self, params, self.design(data), data, weights, precisions)
        if self.degrees_of_freedom is not None:
            return found
        if not data.complete:
            weights = jnp.where(jnp.asarray(data.observed), weights, 0.0)
        leading = jnp.moveaxis(weights, -1, 0)
        standard = self.residuals(found, data) / found["scale"].reshape(-1, 1, 1)

        def objective(position: Array) -> Array:
            return jnp.sum(leading * _standard_log_density(standard, self._freedom(position)), axis=(1, 2))

        def evaluate(rows: Array) -> tuple[Array, Array, Array]:
            # Twice forward: each expert has one unknown.
            along = (jnp.ones_like(rows[:, 0]),)
            (value, slope), (_, bend) = jax.jvp(lambda x: jax.jvp(objective, (x,), along), (rows[:, 0],), along)
            return value, slope[:, None], -bend[:, None, None]

        position = newton_rows(evaluate, self._position(freedom)[:, None], _NEWTON_STEPS, bound=_INSIDE)
        return found | {"degrees_of_freedom": self._freedom(position[:, 0])}

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        mean = self.leading_means(params, inputs[self.inputs])[state]
        freedom = self._freedom_of(params)
        noise = jax.random.t(key, freedom[state] if freedom.ndim else freedom, (), mean.dtype)
        return (mean + self._scale_of(params, state) * noise)[None]


def _standard_log_density(standard: Array, freedom: Array) -> Array:
    """Log-density of Student's t at [K, ...] with degrees of freedom [K] or []."""
    half = 0.5 * freedom
    # The constant of a normal density and what is left, which for many degrees of freedom two log-gammas would lose.
    constant = log_rising_ratio(jnp.full_like(half, 0.5), half) - 0.5 * jnp.log(2 * jnp.pi)
    shape = (-1, *[1] * (standard.ndim - 1))
    return constant.reshape(shape) - (half.reshape(shape) + 0.5) * jnp.log1p(standard**2 / freedom.reshape(shape))
