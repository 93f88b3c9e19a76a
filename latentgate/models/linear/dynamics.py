"""How a latent moves: z_{t+1} = A z_t + b + Normal(0, Q), with A and Q made of parameters in different ways."""

from __future__ import annotations

import abc

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from latentgate.data import Sequences
from latentgate.kernels import GaussianSmoothed
from latentgate.kernels.gaussian import Edges
from latentgate.kernels.small_matrices import cholesky, log_determinant, solve_positive_definite

from ..base import Params, Part, Prior, with_shape
from ..distributions import InverseWishart, numbers_of, positive_definite
from ..emissions.base import check_inputs
from ..emissions.checks import at_least, prior_or, refuse_idle_prior
from ..unconstrained import maximise
from .moments import EdgeMoments, edge_moments, regression, residual_moment

# L-BFGS steps of an M-step without closed form.
NUMERICAL_STEPS = 12


class Dynamics(Part):
    """Interface of the dynamics; in what `Part` calls the number of states, the number of latents is given."""

    @abc.abstractmethod
    def edges(self, params: Params, data: Sequences) -> Edges:
        """Edges of the chain."""

    @abc.abstractmethod
    def m_step(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Params:
        """Parameters that do not lower the expected log-joint."""

    @property
    def can_be_stationary(self) -> bool:
        """Whether edges are constant and can keep a law of the latents."""
        return False

    @property
    def latent_dim(self) -> int | None:
        """Number of latents, where the dynamics fix it."""
        return None

    @property
    def design(self) -> Array | None:
        """How a single observed feature reads the latents, [1, d], where the dynamics fix it."""
        return None

    @abc.abstractmethod
    def step(self, params: Params, inputs: Array | None, gap: Array | None) -> Edges:
        """The edge into one step, for simulation: inputs of the step [m], time since the step before."""


def checked_prior(name: str, prior: dist.Distribution | None, noise: str = "diagonal") -> dist.Distribution | None:
    """The prior, or None for none.

    Raises:
        ValueError: unless it is a numpyro distribution or None, and one of matrices where the noise is "full".
    """
    if prior is None:
        return None
    checked = prior_or(name, prior, prior)
    if noise == "full" and len(checked.event_shape) != 2:
        raise ValueError(f"{name}: found {type(prior).__name__}, expected a law of covariance matrices with noise='full', for example InverseWishart.")
    return checked


def flat(support: constraints.Constraint, shape: tuple[int, ...]) -> dist.Distribution:
    """No prior: maximum likelihood."""
    return dist.ImproperUniform(support, (), shape)


class ConstantDynamics(Dynamics):
    """Dynamics with the same edge everywhere but for inputs, and regular noise."""

    @abc.abstractmethod
    def coefficients_and_noise(self, params: Params) -> tuple[Array, Array]:
        """Coefficients of a latent on the one before, on inputs and on a constant [d, k], and Q [d, d]."""

    @abc.abstractmethod
    def moments(self, data: Sequences, smoothed: GaussianSmoothed) -> EdgeMoments:
        """Sums for that regression."""

    def expected(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Array:
        """Expected log-density of the edges, scalar."""
        coefficients, noise = self.coefficients_and_noise(params)
        moments = self.moments(data, smoothed)
        return edge_density(coefficients, noise, moments.regressors, moments.after, moments.cross.T, moments.count)

    def m_step(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Params:
        """See `Dynamics.m_step`: numerical, on expected sums alone."""
        return maximise(lambda new: self.expected(new, data, smoothed), self.priors(smoothed.means.shape[-1]), params, NUMERICAL_STEPS)


class Linear(ConstantDynamics):
    """Any linear dynamics: z_{t+1} = A z_t + bias + weights u_{t+1} + Normal(0, Q).

    Parameters: `matrix` [latent, previous_latent], `bias` [latent], `covariance` [latent, latent_other] or, diagonal, variances [latent], and
    with inputs `input_weights` [latent, input]. Where `matrix` is given with some entries, `entries` [entry] holds the free ones in its place.

    Args:
        matrix: A with NaN where it is free, [d, d]; all free if None.
        bias: whether there is a bias.
        noise: "full" or "diagonal" covariance.
        num_inputs: columns of the input set "inputs" that drive the latents.
        matrix_prior: of every free entry; none (maximum likelihood) if None. With a prior the M-step is numerical.
        covariance_prior: of the covariance (an InverseWishart has a closed-form M-step), or of each variance (InverseGamma has); none if None.

    Raises:
        ValueError: for an unknown noise, or a matrix that is not square.

    Example:
        >>> import latentgate as lg
        >>> lg.dynamics.Linear(bias=False).dims()
        {'matrix': ('latent', 'previous_latent'), 'covariance': ('latent', 'latent_other')}
    """

    matrix: tuple[tuple[float | None, ...], ...] | None
    bias: bool
    noise: str
    num_inputs: int
    matrix_prior: dist.Distribution | None
    covariance_prior: dist.Distribution | None

    def __init__(
        self,
        matrix=None,
        *,
        bias: bool = True,
        noise: str = "full",
        num_inputs: int = 0,
        matrix_prior: dist.Distribution | None = None,
        covariance_prior: dist.Distribution | None = None,
    ):
        if noise not in ("full", "diagonal"):
            raise ValueError(f"noise: found {noise!r}, expected 'full' or 'diagonal'.")
        if matrix is not None:
            matrix = np.asarray(matrix, float)
            if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or np.isinf(matrix).any():
                raise ValueError(f"matrix: found shape {matrix.shape}, expected finite numbers [d, d], with NaN where an entry is free.")
        # Which entries are free decides shapes, so it must stay what compiled code is made for: an array here would be one of its arguments.
        self.matrix = None if matrix is None else tuple(tuple(None if np.isnan(entry) else float(entry) for entry in row) for row in matrix)
        self.bias = bool(bias)
        self.noise = noise
        self.num_inputs = at_least("num_inputs", num_inputs, 0)
        self.matrix_prior = checked_prior("matrix_prior", matrix_prior)
        self.covariance_prior = checked_prior("covariance_prior", covariance_prior, noise)
        free = self._free()
        refuse_idle_prior("matrix_prior", matrix_prior, free is None or len(free) > 0, "every entry of the matrix is given")

    @property
    def latent_dim(self) -> int | None:
        """See `Dynamics`."""
        return None if self.matrix is None else len(self.matrix)

    def _free(self) -> np.ndarray | None:
        """Row and column of each free entry, [entry, 2]; None where all are free, under their own name."""
        if self.matrix is None:
            return None
        return np.array([(i, j) for i, row in enumerate(self.matrix) for j, entry in enumerate(row) if entry is None], int).reshape(-1, 2)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        free = self._free()
        name, shape = ("matrix", (num_states, num_states)) if free is None else ("entries", (len(free),))
        found: dict[str, Prior] = {}
        if free is None or len(free):
            found[name] = flat(constraints.real, shape) if self.matrix_prior is None else with_shape(self.matrix_prior, shape, name)
        if self.bias:
            found["bias"] = flat(constraints.real, (num_states,))
        if self.num_inputs:
            found["input_weights"] = flat(constraints.real, (num_states, self.num_inputs))
        prior = self.covariance_prior
        if self.noise == "full":
            shape = (num_states, num_states)
            found["covariance"] = flat(positive_definite, shape) if prior is None else with_shape(prior, shape, "covariance")
        else:
            found["covariance"] = flat(constraints.positive, (num_states,)) if prior is None else with_shape(prior, (num_states,), "covariance")
        return found

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        free = self._free()
        found: dict[str, tuple[str, ...]] = {}
        if free is None:
            found["matrix"] = ("latent", "previous_latent")
        elif len(free):
            found["entries"] = ("entry",)
        if self.bias:
            found["bias"] = ("latent",)
        if self.num_inputs:
            found["input_weights"] = ("latent", "input")
        return found | {"covariance": ("latent", "latent_other") if self.noise == "full" else ("latent",)}

    def check(self, data: Sequences) -> None:
        """See `Part.check`."""
        if self.num_inputs:
            check_inputs(type(self).__name__, {"inputs": self.num_inputs}, data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Slow, damped rotations in random planes, with noise that keeps unit variance."""
        dtype = jnp.asarray(data.values).dtype
        basis = jnp.linalg.qr(jax.random.normal(key, (num_states, num_states)))[0]
        decay = jnp.linspace(0.95, 0.7, num_states)
        matrix = (basis * decay) @ basis.T
        free = self._free()
        params: Params = {}
        if free is None:
            params["matrix"] = matrix.astype(dtype)
        elif len(free):
            params["entries"] = matrix[free[:, 0], free[:, 1]].astype(dtype)
        if self.bias:
            params["bias"] = jnp.zeros(num_states, dtype)
        if self.num_inputs:
            params["input_weights"] = jnp.zeros((num_states, self.num_inputs), dtype)
        variances = jnp.full(num_states, 0.2, dtype)
        return params | {"covariance": jnp.diag(variances) if self.noise == "full" else variances}

    def whole_matrix(self, params: Params) -> Array:
        """A, [d, d]."""
        free = self._free()
        if free is None:
            return params["matrix"]
        assert self.matrix is not None
        whole = jnp.asarray([[entry or 0.0 for entry in row] for row in self.matrix], params["covariance"].dtype)
        return whole.at[free[:, 0], free[:, 1]].set(params["entries"]) if len(free) else whole

    def _parts(self, params: Params) -> tuple[Array, Array, Array]:
        covariance = params["covariance"] if self.noise == "full" else jnp.diag(params["covariance"])
        bias = params["bias"] if self.bias else jnp.zeros(covariance.shape[-1], covariance.dtype)
        return self.whole_matrix(params), bias, covariance

    def edges(self, params: Params, data: Sequences) -> Edges:
        """See `Dynamics.edges`."""
        matrix, bias, covariance = self._parts(params)
        if self.num_inputs:
            bias = bias + jnp.asarray(data.inputs["inputs"])[:, 1:] @ params["input_weights"].T
        return Edges(matrix, bias, covariance)

    def step(self, params: Params, inputs: Array | None, gap: Array | None) -> Edges:
        """See `Dynamics.step`."""
        matrix, bias, covariance = self._parts(params)
        if self.num_inputs:
            assert inputs is not None
            bias = bias + params["input_weights"] @ inputs
        return Edges(matrix, bias, covariance)

    def m_step(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Params:
        """See `Dynamics.m_step`: a regression, unless entries are fixed or have priors."""
        if self.matrix is not None or self.matrix_prior is not None or not is_conjugate(self.covariance_prior):
            return super().m_step(params, data, smoothed)
        size, moments = smoothed.means.shape[-1], self.moments(data, smoothed)
        before = self._coefficients(params)
        coefficients = regression(moments.regressors, moments.cross, before)
        new: Params = {"matrix": coefficients[:, :size]}
        if self.bias:
            new["bias"] = coefficients[:, -1]
        if self.num_inputs:
            new["input_weights"] = coefficients[:, size : size + self.num_inputs]
        residual = residual_moment(moments, coefficients)
        if self.noise == "full":
            return new | {"covariance": covariance_mode(residual, moments.count, self.covariance_prior, params["covariance"])}
        return new | {"covariance": variance_mode(jnp.diagonal(residual), moments.count, self.covariance_prior, params["covariance"])}

    def _coefficients(self, params: Params) -> Array:
        columns = [self.whole_matrix(params)]
        if self.num_inputs:
            columns.append(params["input_weights"])
        if self.bias:
            columns.append(params["bias"][:, None])
        return jnp.concatenate(columns, -1)

    def coefficients_and_noise(self, params: Params) -> tuple[Array, Array]:
        """See `ConstantDynamics`."""
        return self._coefficients(params), self._parts(params)[2]

    def moments(self, data: Sequences, smoothed: GaussianSmoothed) -> EdgeMoments:
        """See `ConstantDynamics`."""
        return edge_moments(smoothed, data, jnp.asarray(data.inputs["inputs"]) if self.num_inputs else None, self.bias)

    @property
    def can_be_stationary(self) -> bool:
        """Without a constant or inputs."""
        return not self.bias and not self.num_inputs


def edge_density(coefficients: Array, covariance: Array, regressors: Array, after: Array, lagged: Array, count: Array | float) -> Array:
    """Expected log-density of edges from their moments; `lagged` is Σ E[x zᵀ]."""
    explained = coefficients @ lagged
    coefficients_t = jnp.swapaxes(coefficients, -1, -2)
    residual = after - explained - jnp.swapaxes(explained, -1, -2) + coefficients @ regressors @ coefficients_t
    factor = cholesky(covariance)
    spread = jnp.trace(solve_positive_definite(factor, residual), axis1=-2, axis2=-1)
    return -0.5 * (count * log_determinant(factor) + spread)


def is_conjugate(prior: dist.Distribution | None) -> bool:
    """Whether a prior of a covariance or variance, or its absence, leaves the M-step in closed form."""
    return prior is None or isinstance(prior, InverseWishart | dist.InverseGamma)


def covariance_mode(scatter: Array, count: Array, prior: dist.Distribution | None, otherwise: Array) -> Array:
    """Mode of a covariance given Σ of squared residuals [d, d], under an inverse Wishart prior or none; `otherwise` where that is not defined."""
    size = scatter.shape[-1]
    if prior is not None:
        assert isinstance(prior, InverseWishart)
        concentration, root = numbers_of(prior.base_dist, "concentration", "scale_tril")
        scatter, count = scatter + root @ root.T, count + concentration + size + 1
    mode = scatter / count
    return jnp.where(jnp.isfinite(cholesky(mode)).all(), mode, otherwise)


def variance_mode(squares: Array, count: Array, prior: dist.Distribution | None, otherwise: Array) -> Array:
    """Mode of variances given Σ of squared residuals [d], under an inverse gamma prior or none; `otherwise` where there is nothing to go by."""
    if prior is not None:
        concentration, rate = numbers_of(prior, "concentration", "rate")
        squares, count = squares + 2 * rate, count + 2 * (concentration + 1)
    mode = squares / count
    return jnp.where((count > 0) & (mode > 0), mode, otherwise)
