"""Spike counts of many neurons that share a few latents with linear dynamics."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import BACKENDS, GaussianChain, GaussianFiltered, GaussianSmoothed
from latentgate.kernels.gaussian.sequences_last import Law

from ..base import Params, Prior, with_computed, with_shape, without_prefix
from ..basis import Basis
from ..distributions import InverseWishart
from ..emissions.base import check_inputs
from ..emissions.checks import at_least, prior_or, refuse_idle_prior
from ..emissions.poisson import log_factorials, with_log_factorials
from ..newton import fits_newton
from ..observations import check_counts
from ..unconstrained import maximise
from .approximation import Counts, Options, Readout, laplace, variational
from .base import LinearDynamicsModel
from .causal import laplace_filter
from .count_regression import Regressors, raise_rows, row_terms
from .count_terms import LINKS, expected_rates, inverse_link
from .dynamics import NUMERICAL_STEPS, Dynamics, Linear
from .principal import principal_loadings, smoothed_counts

APPROXIMATIONS = ("laplace", "variational")

_HISTORY, _NEARBY, _EXPOSURE = "_own_history", "_nearby_counts", "_nearby_exposure"
# Candidates of an M-step's regressions: EM needs progress, not convergence, at each iteration.
_CANDIDATES = 3


class PoissonLDS(LinearDynamicsModel):
    """Poisson linear dynamical system: y_{t,n} ~ Poisson(σ(C z_t + d + history weights · own past spikes + D u_t)_n), z with linear dynamics.

    The latents cannot be integrated out exactly. "laplace" expands the log-likelihood at the most probable path, found by Newton's method on the chain;
    "variational" takes the Gaussian chain of largest evidence lower bound. Either is what the model calls its log-likelihood, and smoothed laws belong to that
    chain, except `filter`, which only uses counts up to each step.

    EM is monotone for the bound. Laplace's approximation is no bound: EM may lower it at the end of its climb, and then stops there with the best parameters.

    Parameters: `initial.mean` [latent], `initial.covariance` [latent, latent_other] (initial="free"); those of the dynamics under `dynamics.`;
    `emission.matrix` [neuron, latent], `emission.bias` [neuron], `emission.history` [neuron, basis], `emission.input_weights` [neuron, input].

    The latents are known only up to a linear change of basis.

    Args:
        latent_dim: number of latents; may be left out where the dynamics fix it.
        num_neurons: columns of the data.
        dynamics: from `lg.dynamics`; if None, `Linear` whose noise has a weak inverse Wishart prior, so that it and `matrix_prior` fix the latents' scale.
        initial: "free", "stationary" or (mean, covariance); see `LinearDynamicsModel`.
        link: σ, "exp" or "softplus"; expected counts per time step.
        history: basis of a neuron's own past spikes (`lg.basis`); None for none.
        num_inputs: columns of the input set "inputs" that act on the neurons.
        approximation: "laplace" or "variational".
        matrix_prior: of every loading; Normal(0, 1) if None.
        bias_prior: Normal(0, 3) if None.
        history_prior: Normal(0, 1) if None.
        weight_prior: of the input weights; Normal(0, 1) if None.
        backend: "auto", "sequential" or "associative".

    Raises:
        ValueError: for arguments that do not fit together, saying which.

    Source: Macke et al., NIPS 2011 (the model and Laplace-EM); Khan & Lin, AISTATS 2017 (the variational fit).

    Example:
        >>> import latentgate as lg
        >>> model = lg.PoissonLDS(6, num_neurons=100, history=lg.basis.RaisedCosine(4, window=20))
        >>> model.dims()["emission.history"]
        ('neuron', 'basis')
    """

    num_neurons: int
    link: str
    history: Basis | None
    num_inputs: int
    approximation: str
    matrix_prior: dist.Distribution
    bias_prior: dist.Distribution
    history_prior: dist.Distribution
    weight_prior: dist.Distribution
    backend: str

    def __init__(
        self,
        latent_dim: int | None = None,
        num_neurons: int = 1,
        *,
        dynamics: Dynamics | None = None,
        initial: Any = "free",
        link: str = "exp",
        history: Basis | None = None,
        num_inputs: int = 0,
        approximation: str = "laplace",
        matrix_prior: dist.Distribution | None = None,
        bias_prior: dist.Distribution | None = None,
        history_prior: dist.Distribution | None = None,
        weight_prior: dist.Distribution | None = None,
        backend: str = "auto",
    ):
        if dynamics is None and latent_dim is not None:
            size = at_least("latent_dim", latent_dim)
            # Mean 0.2, where the dynamics start: latents of about unit variance.
            dynamics = Linear(covariance_prior=InverseWishart(size + 2.0, scale_tril=jnp.sqrt(0.2) * jnp.eye(size)))
        self.latent_dim, self.dynamics, self.initial = self._settle(latent_dim, dynamics, initial)
        self.num_neurons = at_least("num_neurons", num_neurons)
        for name, found, known in (("link", link, LINKS), ("approximation", approximation, APPROXIMATIONS), ("backend", backend, BACKENDS)):
            if found not in known:
                raise ValueError(f"{name}: found {found!r}, expected one of {', '.join(map(repr, known))}.")
        if history is not None and not isinstance(history, Basis):
            raise ValueError(f"history: found {history!r}, expected one of lg.basis, for example lg.basis.RaisedCosine(4, window=20), or None.")
        self.link, self.history, self.approximation, self.backend = link, history, approximation, backend
        self.num_inputs = at_least("num_inputs", num_inputs, 0)
        refuse_idle_prior("history_prior", history_prior, history is not None, "there is no history")
        refuse_idle_prior("weight_prior", weight_prior, self.num_inputs > 0, "there are no inputs (num_inputs=0)")
        self.matrix_prior = prior_or("matrix_prior", matrix_prior, dist.Normal(0.0, 1.0))
        self.bias_prior = prior_or("bias_prior", bias_prior, dist.Normal(0.0, 3.0))
        self.history_prior = prior_or("history_prior", history_prior, dist.Normal(0.0, 1.0))
        self.weight_prior = prior_or("weight_prior", weight_prior, dist.Normal(0.0, 1.0))
        self.emission_priors()

    @property
    def approximate(self) -> bool:
        """Whether the log-likelihood is an approximation that EM may lower."""
        return self.approximation == "laplace"

    @property
    def num_features(self) -> int:
        """See `LinearDynamicsModel`."""
        return self.num_neurons

    @property
    def num_lags(self) -> int:
        """See `LinearDynamicsModel`."""
        return 0 if self.history is None else self.history.window

    def emission_priors(self) -> dict[str, Prior]:
        """See `LinearDynamicsModel`."""
        rows = self.num_neurons
        found: dict[str, Prior] = {
            "matrix": with_shape(self.matrix_prior, (rows, self.latent_dim), "matrix"),
            "bias": with_shape(self.bias_prior, (rows,), "bias"),
        }
        if self.history is not None:
            found["history"] = with_shape(self.history_prior, (rows, self.history.num_functions), "history")
        if self.num_inputs:
            found["input_weights"] = with_shape(self.weight_prior, (rows, self.num_inputs), "input_weights")
        return found

    def emission_dims(self) -> dict[str, tuple[str, ...]]:
        """See `LinearDynamicsModel`."""
        found: dict[str, tuple[str, ...]] = {"matrix": ("neuron", "latent"), "bias": ("neuron",)}
        if self.history is not None:
            found["history"] = ("neuron", "basis")
        if self.num_inputs:
            found["input_weights"] = ("neuron", "input")
        return found

    def check(self, data: Sequences) -> None:
        """See `StateSpaceModel.check`: counts only."""
        super().check(data)
        if self.num_inputs:
            check_inputs(type(self).__name__, {"inputs": self.num_inputs}, data)
        check_counts(type(self).__name__, data)

    def prepare(self, data: Sequences) -> Sequences:
        """Adds log y!, sums of nearby counts, and the filtered past of every neuron."""
        data = with_log_factorials(data)
        for name, array in zip((_NEARBY, _EXPOSURE), _nearby(data), strict=True):
            data = with_computed(data, name, array)
        return data if self.history is None else with_computed(data, _HISTORY, self.history.features(data.values))

    def initialize_emission(self, key: Array, data: Sequences) -> Params:
        """Loadings that span the principal subspace of the logarithms of smoothed counts, in a random basis, and biases that give the mean counts."""
        values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
        # Half a spike, so that a silent neuron has a logarithm.
        mean = (values.sum((0, 1)) + 0.5) / (observed.sum((0, 1)) + 1.0)
        loadings = principal_loadings(key, values, observed, mean, self.latent_dim)
        if self.link == "exp":
            bias = jnp.log(mean) - 0.5 * (loadings**2).sum(-1)
        else:
            bias = inverse_link(self.link, mean)
            # From changes of the log-rate to changes of the predictor.
            loadings = loadings * (mean / jax.nn.sigmoid(bias))[:, None]
        params: Params = {"matrix": loadings, "bias": bias}
        if self.history is not None:
            params["history"] = jnp.zeros((self.num_neurons, self.history.num_functions), values.dtype)
        if self.num_inputs:
            params["input_weights"] = jnp.zeros((self.num_neurons, self.num_inputs), values.dtype)
        return params

    def _own(self, data: Sequences) -> Array | None:
        """Filtered past of every neuron, [sequence, time, neuron, basis]."""
        if self.history is None:
            return None
        return jnp.asarray(data.inputs[_HISTORY] if _HISTORY in data.inputs else self.history.features(jnp.asarray(data.values)))

    def readout(self, params: Params, data: Sequences) -> Readout:
        """Loadings and offset, given the emission's parameters."""
        offset = params["bias"][None, :, None]
        own = self._own(data)
        if own is not None:
            offset = offset + jnp.einsum("stnb,nb->tns", own, params["history"])
        if self.num_inputs:
            offset = offset + jnp.einsum("stm,nm->tns", jnp.asarray(data.inputs["inputs"]), params["input_weights"])
        return Readout(params["matrix"], offset)

    def _problem(self, params: Params, data: Sequences) -> tuple[Options, Law, Readout, Counts, Array]:
        """What `laplace`, `variational` and `laplace_filter` take."""
        edges = self.edges(params, data)
        law = Law(*self.first_law(params, edges), edges)
        readout = self.readout(without_prefix("emission", params), data)
        dtype = readout.loadings.dtype
        nearby = (data.inputs[_NEARBY], data.inputs[_EXPOSURE]) if _NEARBY in data.inputs else _nearby(data)
        values, observed, *nearby = (jnp.transpose(jnp.asarray(array), (1, 2, 0)) for array in (data.values, data.observed, *nearby))
        counts = Counts(values.astype(dtype), observed, jnp.asarray(data.lengths), *(array.astype(dtype) for array in nearby))
        return Options(self.link, self.backend), law, readout, counts, jnp.asarray(log_factorials(data))[..., 0].T.astype(dtype)

    def potentials(self, params: Params, data: Sequences) -> GaussianChain:
        """See `StateSpaceModel.potentials`: nodes that stand for the counts in this very posterior, made from all of them."""
        return (laplace if self.approximation == "laplace" else variational)(*self._problem(params, data))

    def filter(self, params: Params, data: Sequences) -> GaussianFiltered:
        """See `StateSpaceModel.filter`: the nodes of `potentials` know later counts, so each step is expanded anew, at its own mode (Eden et al. 2004)."""
        return _filter(self, params, data)

    def _regressors(self, data: Sequences, smoothed: GaussianSmoothed) -> Regressors:
        means = smoothed.means
        columns = [means]
        if self.num_inputs:
            columns.append(jnp.asarray(data.inputs["inputs"]).astype(means.dtype))
        columns.append(jnp.ones((*means.shape[:2], 1), means.dtype))
        covariances = jnp.broadcast_to(smoothed.covariances, (*means.shape, means.shape[-1]))
        return Regressors(jnp.concatenate(columns, -1), covariances, self._own(data))

    def _columns(self) -> dict[str, slice]:
        """Where each parameter stands in the rows of the regressions."""
        ends, found = 0, {}
        sizes = {"matrix": self.latent_dim, "input_weights": self.num_inputs, "bias": 1, "history": 0 if self.history is None else self.history.num_functions}
        for name, size in sizes.items():
            if size:
                found[name] = slice(ends, ends + size)
            ends += size
        return found

    def _rows(self, params: Params) -> Array:
        return jnp.concatenate([params[name].reshape(self.num_neurons, -1) for name in self._columns()], -1)

    def m_step_emission(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Params:
        """See `LinearDynamicsModel`: damped Newton steps, a neuron at a time; L-BFGS under priors that tie neurons or are not over the reals."""
        columns = self._columns()
        named = {"matrix": self.matrix_prior, "bias": self.bias_prior, "history": self.history_prior, "input_weights": self.weight_prior}
        regressors = self._regressors(data, smoothed)
        counts, observed = jnp.asarray(data.values).astype(smoothed.means.dtype), jnp.asarray(data.observed)
        if not all(fits_newton(named[name], params[name].ndim) for name in columns):
            return self._numerical_step(params, regressors, counts, observed)
        priors = [(named[name], place, params[name].shape) for name, place in columns.items()]
        rows = raise_rows(self.link, self._rows(params), regressors, counts, observed, priors, _CANDIDATES)
        return {name: rows[:, place].reshape(params[name].shape) for name, place in columns.items()}

    def _numerical_step(self, params: Params, regressors: Regressors, counts: Array, observed: Array) -> Params:
        def expected(params: Params) -> Array:
            return row_terms(self.link, self._rows(params), regressors, counts, observed).value.sum()

        return maximise(expected, self.emission_priors(), params, NUMERICAL_STEPS)

    def expected_counts(self, params: Params, data: Sequences) -> Array:
        """Expected counts given all data (smoothed rates), [sequence, time, neuron]; zero at padding.

        Args:
            params: of the whole model.
            data: the sequences; missing entries are predicted too.
        """
        return _expected_counts(self, params, data)

    def sample_emission(self, key: Array, params: Params, latent: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `LinearDynamicsModel`."""
        predictor = params["matrix"] @ latent + params["bias"]
        if self.history is not None:
            # `recent` ends with the last observation, which has lag 1.
            filtered = jnp.asarray(self.history.matrix(), predictor.dtype).T @ recent[::-1]
            predictor = predictor + jnp.einsum("nb,bn->n", params["history"], filtered)
        if self.num_inputs:
            predictor = predictor + params["input_weights"] @ inputs["inputs"]
        rates = jnp.exp(predictor) if self.link == "exp" else jax.nn.softplus(predictor)
        return jax.random.poisson(key, rates).astype(rates.dtype)


def _nearby(data: Sequences) -> tuple[Array, Array]:
    """Sums of counts, and of what was observed, within a few steps."""
    values = jnp.asarray(data.values)
    exposure = smoothed_counts(jnp.asarray(data.observed).astype(values.dtype))
    return smoothed_counts(values), exposure


@eqx.filter_jit
def _filter(model: PoissonLDS, params: Params, data: Sequences) -> GaussianFiltered:
    return laplace_filter(*model._problem(params, data))


@eqx.filter_jit
def _expected_counts(model: PoissonLDS, params: Params, data: Sequences) -> Array:
    smoothed = model.potentials(params, data).smooth()
    readout = model.readout(without_prefix("emission", params), data)
    mean = smoothed.means @ readout.loadings.T + jnp.moveaxis(readout.offset, -1, 0)
    variance = jnp.einsum("ni,stij,nj->stn", readout.loadings, smoothed.covariances, readout.loadings)
    return jnp.where(jnp.asarray(data.mask)[..., None], expected_rates(model.link, mean, variance), 0.0)
