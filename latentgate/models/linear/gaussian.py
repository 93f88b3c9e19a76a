"""The linear Gaussian state-space model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import constraints

from latentgate.data import Sequences
from latentgate.kernels import BACKENDS, GaussianChain, GaussianSmoothed, Observations
from latentgate.kernels.gaussian import FORMS, expected_log_density
from latentgate.kernels.small_matrices import square_root

from ..base import Params, Prior, with_shape, without_prefix
from ..distributions import positive_definite
from ..emissions.base import check_inputs
from ..emissions.checks import at_least
from ..unconstrained import maximise
from .base import LinearDynamicsModel
from .dynamics import NUMERICAL_STEPS, Dynamics, checked_prior, covariance_mode, flat, is_conjugate, variance_mode
from .forecasting import Forecast, forecast
from .moments import regression


class LinearGaussianSSM(LinearDynamicsModel):
    """Linear Gaussian state-space model: latents with linear dynamics, seen through a linear map with normal noise.

    z_0 ~ Normal(m, P); z_{t+1} = A z_t + b + Normal(0, Q); y_t = H z_t + c + D u_t + Normal(0, R). Missing entries add nothing.

    Parameters: `initial.mean` [latent], `initial.covariance` [latent, latent_other] (initial="free"); those of the dynamics under `dynamics.`;
    `emission.matrix` [feature, latent] (unless given), `emission.bias` [feature], `emission.input_weights` [feature, input],
    `emission.covariance` [feature, feature_other] (noise="full") or variances [feature] (noise="diagonal").

    Without priors of your own, parameters have none but the first latent's covariance: EM and MAP climb to the maximum likelihood. The latents of a free
    model are known only up to a linear change of basis; `canonical` picks one to report.

    Args:
        latent_dim: number of latents; may be left out where the dynamics fix it.
        emission_dim: number of observed features.
        dynamics: from `lg.dynamics`; `Linear()` if None.
        initial: "free", "stationary" or (mean, covariance); see `LinearDynamicsModel`.
        noise: "diagonal" or "full" covariance of the observations.
        matrix: H, [emission_dim, latent_dim], where it is given; that of the dynamics if they fix one; a parameter otherwise.
        bias: whether observations have a constant; by default if the matrix is not given.
        num_inputs: columns of the input set "inputs" that act on the observations.
        matrix_prior: of every entry of a free H; none if None. With a prior the M-step is numerical.
        noise_prior: of each variance (an InverseGamma keeps the M-step closed), or of the covariance (an InverseWishart does); none if None.
        form: see `latentgate.kernels.GaussianChain`.
        backend: "auto", "sequential" or "associative".

    Raises:
        ValueError: for arguments that do not fit together, saying which.

    Example:
        >>> import latentgate as lg
        >>> sorted(lg.LinearGaussianSSM(latent_dim=6, emission_dim=100).dims())[-3:]
        ['emission.matrix', 'initial.covariance', 'initial.mean']
    """

    emission_dim: int
    noise: str
    matrix: np.ndarray | None
    bias: bool
    num_inputs: int
    matrix_prior: dist.Distribution | None
    noise_prior: dist.Distribution | None
    form: str
    backend: str

    def __init__(
        self,
        latent_dim: int | None = None,
        emission_dim: int = 1,
        *,
        dynamics: Dynamics | None = None,
        initial: Any = "free",
        noise: str = "diagonal",
        matrix=None,
        bias: bool | None = None,
        num_inputs: int = 0,
        matrix_prior: dist.Distribution | None = None,
        noise_prior: dist.Distribution | None = None,
        form: str = "auto",
        backend: str = "auto",
    ):
        self.latent_dim, self.dynamics, self.initial = self._settle(latent_dim, dynamics, initial)
        self.emission_dim = at_least("emission_dim", emission_dim)
        for name, found, known in (("noise", noise, ("diagonal", "full")), ("form", form, FORMS), ("backend", backend, BACKENDS)):
            if found not in known:
                raise ValueError(f"{name}: found {found!r}, expected one of {', '.join(map(repr, known))}.")
        self.noise, self.form, self.backend = noise, form, backend
        design = self.dynamics.design
        if matrix is None and design is not None:
            if emission_dim != 1:
                raise ValueError(f"emission_dim: found {emission_dim}, expected 1 for {type(self.dynamics).__name__}, or a matrix [{emission_dim}, d].")
            matrix = design
        if matrix is not None:
            matrix = np.asarray(matrix, float)
            if matrix.shape != (self.emission_dim, self.latent_dim) or not np.isfinite(matrix).all():
                raise ValueError(f"matrix: found shape {matrix.shape}, expected finite numbers {(self.emission_dim, self.latent_dim)}.")
            if matrix_prior is not None:
                raise ValueError(f"matrix_prior: found {type(matrix_prior).__name__}, expected None, since the matrix is given; leave one of them out.")
        self.matrix = matrix
        self.bias = matrix is None if bias is None else bool(bias)
        self.num_inputs = at_least("num_inputs", num_inputs, 0)
        self.matrix_prior = checked_prior("matrix_prior", matrix_prior)
        self.noise_prior = checked_prior("noise_prior", noise_prior, noise)
        self.emission_priors()

    @property
    def num_features(self) -> int:
        """See `LinearDynamicsModel`."""
        return self.emission_dim

    def emission_priors(self) -> dict[str, Prior]:
        """See `LinearDynamicsModel`."""
        rows, found = self.emission_dim, {}
        if self.matrix is None:
            shape = (rows, self.latent_dim)
            found["matrix"] = flat(constraints.real, shape) if self.matrix_prior is None else with_shape(self.matrix_prior, shape, "matrix")
        if self.bias:
            found["bias"] = flat(constraints.real, (rows,))
        if self.num_inputs:
            found["input_weights"] = flat(constraints.real, (rows, self.num_inputs))
        prior = self.noise_prior
        if self.noise == "full":
            found["covariance"] = flat(positive_definite, (rows, rows)) if prior is None else with_shape(prior, (rows, rows), "covariance")
        else:
            found["covariance"] = flat(constraints.positive, (rows,)) if prior is None else with_shape(prior, (rows,), "covariance")
        return found

    def emission_dims(self) -> dict[str, tuple[str, ...]]:
        """See `LinearDynamicsModel`."""
        found: dict[str, tuple[str, ...]] = {"matrix": ("feature", "latent")} if self.matrix is None else {}
        if self.bias:
            found["bias"] = ("feature",)
        if self.num_inputs:
            found["input_weights"] = ("feature", "input")
        return found | {"covariance": ("feature", "feature_other") if self.noise == "full" else ("feature",)}

    def check(self, data: Sequences) -> None:
        """See `StateSpaceModel.check`."""
        super().check(data)
        if self.num_inputs:
            check_inputs(type(self).__name__, {"inputs": self.num_inputs}, data)

    def initialize_emission(self, key: Array, data: Sequences) -> Params:
        """Random loadings that share a feature's variance with its noise."""
        values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
        count = jnp.maximum(observed.sum((0, 1)), 1)
        mean = jnp.where(observed, values, 0.0).sum((0, 1)) / count
        variance = jnp.where(observed, (values - mean) ** 2, 0.0).sum((0, 1)) / count
        variance = jnp.where(variance > 0, variance, 1.0)
        params: Params = {}
        if self.matrix is None:
            loadings = jax.random.normal(key, (self.emission_dim, self.latent_dim), values.dtype)
            params["matrix"] = loadings * jnp.sqrt(0.5 * variance / self.latent_dim)[:, None]
        if self.bias:
            params["bias"] = mean
        if self.num_inputs:
            params["input_weights"] = jnp.zeros((self.emission_dim, self.num_inputs), values.dtype)
        return params | {"covariance": jnp.diag(0.5 * variance) if self.noise == "full" else 0.5 * variance}

    def loadings(self, params: Params) -> Array:
        """H, [feature, latent], of the emission's parameters."""
        if self.matrix is None:
            return params["matrix"]
        return jnp.asarray(self.matrix, params["covariance"].dtype)

    def observations(self, params: Params, data: Sequences) -> Observations:
        """Node potentials, given the emission's parameters."""
        matrix = self.loadings(params)
        bias = params["bias"] if self.bias else jnp.zeros(self.emission_dim, matrix.dtype)
        if self.num_inputs:
            bias = bias + jnp.asarray(data.inputs["inputs"]) @ params["input_weights"].T
        return Observations(
            data.values,
            matrix,
            bias,
            covariance=params["covariance"] if self.noise == "full" else None,
            variances=None if self.noise == "full" else params["covariance"],
            observed=None if data.complete else data.observed,
        )

    def potentials(self, params: Params, data: Sequences) -> GaussianChain:
        """See `StateSpaceModel.potentials`."""
        edges = self.edges(params, data)
        mean, covariance = self.first_law(params, edges)
        nodes = self.observations(without_prefix("emission", params), data)
        return GaussianChain(mean, covariance, *edges, nodes, jnp.asarray(data.lengths), self.form, self.backend)

    def m_step_emission(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Params:
        """See `LinearDynamicsModel`: a regression, feature by feature where entries are missing."""
        regular = self.noise == "diagonal" or data.complete
        if not regular or self.matrix_prior is not None or not is_conjugate(self.noise_prior):
            return self._numerical_step(params, data, smoothed)
        values, means = jnp.asarray(data.values), smoothed.means
        known = [jnp.asarray(data.inputs["inputs"])] if self.num_inputs else []
        known += [jnp.ones((*means.shape[:-1], 1), means.dtype)] if self.bias else []
        regressors = jnp.concatenate([means, *known], -1)
        spread = jnp.zeros((*means.shape[:-1], regressors.shape[-1], regressors.shape[-1]), means.dtype)
        spread = spread.at[..., : self.latent_dim, : self.latent_dim].set(smoothed.covariances)
        second = regressors[..., :, None] * regressors[..., None, :] + spread
        given = 0 if self.matrix is None else self.latent_dim
        fixed = self.loadings(params)
        seen = jnp.asarray(data.mask)[..., None] if data.complete else jnp.asarray(data.observed)
        weights = jnp.broadcast_to(seen, values.shape).astype(means.dtype)
        # What is not free is taken to the other side.
        target = values - (means @ fixed.T if given else 0.0)
        size = regressors.shape[-1]
        if data.complete:
            moments = jnp.where(jnp.asarray(data.mask)[..., None, None], second, 0.0).sum((0, 1))
            moments = jnp.broadcast_to(moments, (self.emission_dim, size, size))
            mixed = jnp.einsum("stn,stk->nk", weights * target, regressors)
        else:
            moments = jnp.einsum("stn,stij->nij", weights, second)
            mixed = jnp.einsum("stn,stk->nk", weights * target, regressors)
        before = self._coefficients(params)
        free = regression(moments[:, given:, given:], mixed[:, None, given:], before[:, None, given:])[:, 0] if size > given else before[:, given:]
        coefficients = jnp.concatenate([fixed, free], -1) if given else free
        new = self._named(free, given)
        residual = values - regressors @ coefficients.T
        loadings = coefficients[:, : self.latent_dim]
        if self.noise == "diagonal":
            variance = jnp.einsum("ni,nij,nj->n", loadings, moments[:, : self.latent_dim, : self.latent_dim] - self._of_means(weights, means), loadings)
            squares = (weights * residual**2).sum((0, 1)) + variance
            return new | {"covariance": variance_mode(squares, weights.sum((0, 1)), self.noise_prior, params["covariance"])}
        covariance = jnp.where(jnp.asarray(data.mask)[..., None, None], smoothed.covariances, 0.0).sum((0, 1))
        scatter = jnp.einsum("stn,stm->nm", weights * residual, residual) + loadings @ covariance @ loadings.T
        return new | {"covariance": covariance_mode(scatter, jnp.asarray(data.num_steps), self.noise_prior, params["covariance"])}

    def _of_means(self, weights: Array, means: Array) -> Array:
        return jnp.einsum("stn,sti,stj->nij", weights, means, means)

    def _coefficients(self, params: Params) -> Array:
        columns = [self.loadings(params)]
        columns += [params["input_weights"]] if self.num_inputs else []
        columns += [params["bias"][:, None]] if self.bias else []
        return jnp.concatenate(columns, -1)

    def _named(self, free: Array, given: int) -> Params:
        new: Params = {}
        start = 0
        if not given:
            new["matrix"], start = free[:, : self.latent_dim], self.latent_dim
        if self.num_inputs:
            new["input_weights"] = free[:, start : start + self.num_inputs]
        if self.bias:
            new["bias"] = free[:, -1]
        return new

    def _numerical_step(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Params:
        def expected(params: Params) -> Array:
            return expected_log_density(self.observations(params, data), smoothed.means, smoothed.covariances, jnp.asarray(data.lengths)).sum()

        return maximise(expected, self.emission_priors(), params, NUMERICAL_STEPS)

    def forecast(self, params: Mapping[str, Any], data: Sequences, num_steps: int, inputs: Any = None, times: Any = None) -> Forecast:
        """Laws of the steps after each sequence: see `latentgate.models.linear.forecasting.forecast`."""
        return forecast(self, params, data, num_steps, inputs, times)

    def sample_emission(self, key: Array, params: Params, latent: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `LinearDynamicsModel`."""
        mean = self.loadings(params) @ latent + (params["bias"] if self.bias else 0.0)
        if self.num_inputs:
            mean = mean + params["input_weights"] @ inputs["inputs"]
        noise = jax.random.normal(key, mean.shape, mean.dtype)
        return mean + (square_root(params["covariance"]) @ noise if self.noise == "full" else jnp.sqrt(params["covariance"]) * noise)
