"""Structural time series: levels, trends, autoregressions and seasons, each with noise of its own, that add up to what is observed."""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from latentgate.data import Sequences
from latentgate.kernels import GaussianSmoothed
from latentgate.kernels.gaussian import Edges
from latentgate.kernels.small_matrices import cholesky, solve_positive_definite

from ..base import Params, Prior, with_shape
from ..emissions.checks import at_least
from .dynamics import Dynamics, checked_prior, flat, variance_mode
from .moments import edge_moments, residual_moment


class Component(eqx.Module):
    """A block of latents with a fixed transition and noise on some of them; see the subclasses."""

    @abc.abstractmethod
    def transition(self) -> np.ndarray:
        """[d, d], NaN where an entry is a parameter."""

    @abc.abstractmethod
    def noisy(self) -> list[int]:
        """Latents with noise."""

    def seen(self) -> np.ndarray:
        """How the observation reads the latents, [d]."""
        return np.eye(len(self.transition()))[0]


class LocalLevel(Component):
    """A random walk."""

    def transition(self) -> np.ndarray:
        """See `Component`."""
        return np.ones((1, 1))

    def noisy(self) -> list[int]:
        """See `Component`."""
        return [0]


class LocalTrend(Component):
    """A level whose slope is a random walk.

    Args:
        level_noise: whether the level has noise of its own; without, the trend is smooth.
    """

    level_noise: bool = True

    def transition(self) -> np.ndarray:
        """See `Component`."""
        return np.array([[1.0, 1.0], [0.0, 1.0]])

    def noisy(self) -> list[int]:
        """See `Component`."""
        return [0, 1] if self.level_noise else [1]


class Autoregressive(Component):
    """An autoregression; its coefficients are parameters.

    Args:
        order: how many steps back.
    """

    order: int

    def __init__(self, order: int = 1):
        self.order = at_least("order", order)

    def transition(self) -> np.ndarray:
        """See `Component`."""
        matrix = np.eye(self.order, k=-1)
        matrix[0] = np.nan
        return matrix

    def noisy(self) -> list[int]:
        """See `Component`."""
        return [0]


class Seasonal(Component):
    """A pattern that repeats after `period` steps, and may drift; it sums to zero over a period but for its noise.

    Args:
        period: steps, at least 2.
    """

    period: int

    def __init__(self, period: int):
        self.period = at_least("period", period, 2)

    def transition(self) -> np.ndarray:
        """See `Component`."""
        matrix = np.eye(self.period - 1, k=-1)
        matrix[0] = -1.0
        return matrix

    def noisy(self) -> list[int]:
        """See `Component`."""
        return [0]


class Structural(Dynamics):
    """A sum of components, for one observed feature (Durbin & Koopman 2012, chapter 3).

    Parameters: `variances` [disturbance], one a latent with noise, and `entries` [entry], the autoregressive coefficients, if any.

    Args:
        *components: `LocalLevel`, `LocalTrend`, `Autoregressive`, `Seasonal`.
        variance_prior: of each variance; none (maximum likelihood) if None. An InverseGamma has a closed-form M-step, as has none.

    Raises:
        ValueError: without components, or for another kind of prior, since the M-step is closed.

    Example:
        >>> import latentgate as lg
        >>> nile = lg.LinearGaussianSSM(dynamics=lg.dynamics.Structural(lg.dynamics.LocalLevel()), initial=(0.0, 1e7))
        >>> sorted(nile.dims())
        ['dynamics.variances', 'emission.covariance']
    """

    components: tuple[Component, ...]
    variance_prior: dist.Distribution | None

    def __init__(self, *components: Component, variance_prior: dist.Distribution | None = None):
        if not components or not all(isinstance(component, Component) for component in components):
            raise ValueError(f"components: found {components!r}, expected at least one of LocalLevel, LocalTrend, Autoregressive, Seasonal.")
        self.components = tuple(components)
        self.variance_prior = checked_prior("variance_prior", variance_prior)
        if self.variance_prior is not None and not isinstance(self.variance_prior, dist.InverseGamma):
            raise ValueError(f"variance_prior: found {type(self.variance_prior).__name__}, expected an InverseGamma of numpyro, or None.")

    def _layout(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Transition with NaN at free entries [d, d], latents with noise [disturbance], design [d]."""
        blocks = [component.transition() for component in self.components]
        size = sum(len(block) for block in blocks)
        matrix, noisy, start = np.zeros((size, size)), [], 0
        for component, block in zip(self.components, blocks, strict=True):
            end = start + len(block)
            matrix[start:end, start:end] = block
            noisy += [start + index for index in component.noisy()]
            start = end
        return matrix, np.array(noisy), np.concatenate([component.seen() for component in self.components])

    @property
    def latent_dim(self) -> int | None:
        """See `Dynamics`."""
        return len(self._layout()[0])

    @property
    def design(self) -> Array | None:
        """See `Dynamics`."""
        return jnp.asarray(self._layout()[2])[None]

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        matrix, noisy, _ = self._layout()
        shape, free = (len(noisy),), int(np.isnan(matrix).sum())
        prior = flat(constraints.positive, shape) if self.variance_prior is None else with_shape(self.variance_prior, shape, "variances")
        found: dict[str, Prior] = {"variances": prior}
        return found | ({"entries": flat(constraints.real, (free,))} if free else {})

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"variances": ("disturbance",)} | ({"entries": ("entry",)} if np.isnan(self._layout()[0]).any() else {})

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """A tenth of the data's variance for each disturbance, and decaying autoregressions."""
        matrix, noisy, _ = self._layout()
        values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
        mean = jnp.where(observed, values, 0.0).sum() / observed.sum()
        variance = jnp.where(observed, (values - mean) ** 2, 0.0).sum() / observed.sum()
        scatter = jnp.exp(0.5 * jax.random.normal(key, (len(noisy),), values.dtype))
        params: Params = {"variances": 0.1 * variance * scatter}
        free = np.argwhere(np.isnan(matrix))
        if len(free):
            own = [1.0 if row == column else 0.0 for row, column in free]
            params["entries"] = 0.5 * jnp.asarray(own, values.dtype)
        return params

    def _matrix(self, params: Params) -> Array:
        matrix = self._layout()[0]
        free = np.argwhere(np.isnan(matrix))
        whole = jnp.asarray(np.nan_to_num(matrix), params["variances"].dtype)
        return whole.at[free[:, 0], free[:, 1]].set(params["entries"]) if len(free) else whole

    def edges(self, params: Params, data: Sequences) -> Edges:
        """See `Dynamics.edges`."""
        return self.step(params, None, None)

    def step(self, params: Params, inputs: Array | None, gap: Array | None) -> Edges:
        """See `Dynamics.step`."""
        matrix, noisy = self._matrix(params), self._layout()[1]
        variances = params["variances"]
        noise = jnp.zeros(len(matrix), variances.dtype).at[noisy].set(variances)
        return Edges(matrix, jnp.zeros(len(matrix), variances.dtype), jnp.diag(noise))

    def m_step(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Params:
        """See `Dynamics.m_step`: rows without noise say nothing of parameters; the others are regressions of their own."""
        matrix, noisy, _ = self._layout()
        moments = edge_moments(smoothed, data, None, False)
        whole = self._matrix(params)
        new: Params = {}
        free = np.argwhere(np.isnan(matrix))
        if len(free):
            for row in np.unique(free[:, 0]):
                columns = free[free[:, 0] == row, 1]
                fixed = jnp.asarray(np.nan_to_num(matrix[row]), whole.dtype)
                target = moments.cross[row, columns] - moments.regressors[columns] @ fixed
                factor = cholesky(moments.regressors[columns[:, None], columns])
                solved = solve_positive_definite(factor, target[:, None])[:, 0]
                whole = whole.at[row, columns].set(jnp.where(jnp.isfinite(solved).all(), solved, whole[row, columns]))
            new["entries"] = whole[free[:, 0], free[:, 1]]
        squares = jnp.diagonal(residual_moment(moments, whole))[noisy]
        return new | {"variances": variance_mode(squares, moments.count, self.variance_prior, params["variances"])}
