"""Maximum likelihood by EM for many data sets at once, as the estimator of a study."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.models.emissions.checks import at_least, positive
from latentgate.models.mixture_of_experts import MixtureOfExperts

from .batches import one_sequence, padded, suited
from .losses import MixtureComparison
from .protocol import Estimates, Estimator, Loss, Truth
from .starts import NearTruth
from .voronoi import proposed

# A start given by the user: from a key, the truth and one data set [n, M], [n] to parameters; it is compiled.
Start = Callable[[Array, Truth, Array, Array], dict[str, Array]]


class MaximumLikelihood(Estimator):
    """EM on the library's mixture of experts, on all replications together.

    The estimator is what the model says: its priors and bounds included. For maximum likelihood give flat priors, and for over-specified mixtures bounds on
    gate weights and variances too: without them the likelihood has maxima far from the truth, or none.

    Args:
        name: by which results are read.
        model: the mixture that is fitted.
        start: "near-truth" (the papers' favour, see `NearTruth`), a `NearTruth` with other amplitudes, "k-means" (the model's own start, the best of
            `restarts`), or a function of a key, the truth, inputs [n, M] and values [n] that returns parameters.
        restarts: of "k-means"; the others have one.
        max_iterations: EM iterations at most.
        tolerance: EM ends when the log-likelihood changed by less than this times itself.

    Raises:
        ValueError: for an unknown start, or numbers out of range.

    Example:
        >>> import latentgate as lg
        >>> from latentgate.studies import MaximumLikelihood
        >>> gate = lg.gates.Softmax(num_inputs=1, weight_scale="flat", bias_scale="flat")
        >>> experts = lg.experts.LinearGaussian(2, num_inputs=1, weight_prior="flat", bias_prior="flat", variance_prior="flat")
        >>> MaximumLikelihood("EM", lg.MixtureOfExperts(gate=gate, experts=experts)).start_kind
        'near-truth'
    """

    name: str
    mixture: MixtureOfExperts
    start: NearTruth | str | Start
    restarts: int
    max_iterations: int
    tolerance: float

    def __init__(
        self,
        name: str,
        model: MixtureOfExperts,
        start: NearTruth | str | Start = "near-truth",
        *,
        restarts: int = 10,
        max_iterations: int = 2000,
        tolerance: float = 1e-8,
    ):
        if not isinstance(model, MixtureOfExperts):
            raise ValueError(f"model: found {type(model).__name__}, expected an lg.MixtureOfExperts.")
        if not (start in ("near-truth", "k-means") if isinstance(start, str) else callable(start) or isinstance(start, NearTruth)):
            raise ValueError(f"start: found {start!r}, expected 'near-truth', 'k-means', a NearTruth, or a function of a key, the truth, inputs and values.")
        self.name, self.mixture = name, model
        self.start = NearTruth() if start == "near-truth" else start
        self.restarts = at_least("restarts", restarts) if start == "k-means" else 1
        self.max_iterations = at_least("max_iterations", max_iterations)
        self.tolerance = positive("tolerance", tolerance)

    @property
    def model(self) -> MixtureOfExperts:
        """The model."""
        return self.mixture

    @property
    def start_kind(self) -> str:
        """See `Estimator.start_kind`."""
        if isinstance(self.start, str):
            return f"{self.start}, best of {self.restarts}"
        return "near-truth" if isinstance(self.start, NearTruth) else getattr(self.start, "__name__", "own")

    def check(self, truth: Truth) -> None:
        """See `Estimator.check`."""
        if isinstance(self.start, NearTruth):
            self.start.check(self.mixture, truth)

    def losses(self, truth: Truth) -> tuple[Loss, ...]:
        """The Voronoi losses of the literature for its gate, and `MixtureComparison`."""
        return () if truth.model is None else (*proposed(truth, self.mixture), MixtureComparison())

    def fit(self, keys: Array, truth: Truth, inputs: np.ndarray, values: np.ndarray) -> Estimates:
        """See `Estimator.fit`."""
        model = suited(self.mixture, np.shape(inputs)[-1])
        data = (jnp.asarray(padded(inputs)), jnp.asarray(padded(values)), jnp.asarray(np.shape(values)[1], jnp.int32))
        best: Estimates | None = None
        for restart in range(self.restarts):
            own = jax.vmap(lambda key, restart=restart: jax.random.fold_in(key, restart))(keys)
            start = self._start(own, model, truth, inputs, values, data)
            found = _climb(model, start, *data, jnp.asarray(self.max_iterations, jnp.int32), jnp.asarray(self.tolerance))
            best = found if best is None else _better(best, found)
        assert best is not None
        return best

    def _start(self, keys: Array, model: MixtureOfExperts, truth: Truth, inputs: np.ndarray, values: np.ndarray, data: Any) -> dict[str, Array]:
        if isinstance(self.start, NearTruth):
            params = {name: jnp.asarray(value) for name, value in truth.params_at(int(data[2])).items()}
            return _near_truth(self.start, keys, model, truth, data[2], params)
        if isinstance(self.start, str):
            return _initialize(keys, model, *data)
        return _given(self.start, keys, truth, jnp.asarray(inputs), jnp.asarray(values))


@eqx.filter_jit
def _near_truth(start: NearTruth, keys: Array, model: MixtureOfExperts, truth: Truth, num_samples: Array, params: dict[str, Array]) -> dict[str, Array]:
    return jax.vmap(lambda key: start.draw(key, model, truth, num_samples.astype(float), params))(keys)


@eqx.filter_jit
def _initialize(keys: Array, model: MixtureOfExperts, inputs: Array, values: Array, length: Array) -> dict[str, Array]:
    return jax.vmap(lambda key, inputs, values: model.initialize(key, one_sequence(model, inputs, values, length)))(keys, inputs, values)


@eqx.filter_jit
def _given(start: Start, keys: Array, truth: Truth, inputs: Array, values: Array) -> dict[str, Array]:
    return jax.vmap(lambda key, inputs, values: start(key, truth, inputs, values))(keys, inputs, values)


@jax.jit
def _better(first: Estimates, second: Estimates) -> Estimates:
    """The fit of higher likelihood of each data set; one without a likelihood is never better."""
    take = (second.log_likelihood > first.log_likelihood) | jnp.isnan(first.log_likelihood)
    return jax.tree.map(lambda a, b: jnp.where(take.reshape(-1, *[1] * (a.ndim - 1)), b, a), first, second)


@eqx.filter_jit
def _climb(model: MixtureOfExperts, start: dict[str, Array], inputs: Array, values: Array, length: Array, max_iterations: Array, tolerance: Array) -> Estimates:
    """EM from `start` {name: [replication, ...]} on every data set until its own test of convergence is met.

    All data sets take a step together, and those that are done stay where they are: a loop inside a loop would make each wait for the slowest at every step.
    """

    def step(params: dict[str, Array], inputs: Array, values: Array) -> tuple[Array, dict[str, Array]]:
        data = one_sequence(model, inputs, values, length)
        smoothed = model.potentials(params, data).smooth()
        return smoothed.log_normaliser[0], model.m_step(params, data, smoothed)

    def body(carry: tuple) -> tuple:
        params, log_likelihood, iterations, done, converged = carry
        found, moved = jax.vmap(step)(params, inputs, values)
        close = (iterations > 0) & (jnp.abs(found - log_likelihood) <= tolerance * jnp.abs(log_likelihood))
        ended = done | close | (iterations >= max_iterations) | ~jnp.isfinite(found)
        params = {name: jnp.where(ended.reshape(-1, *[1] * (value.ndim - 1)), value, moved[name]) for name, value in params.items()}
        log_likelihood = jnp.where(done, log_likelihood, found)
        return params, log_likelihood, iterations + ~ended, ended, jnp.where(done, converged, close)

    nothing = jnp.zeros(values.shape[0])
    carry = (start, nothing, jnp.zeros(values.shape[0], jnp.int32), nothing > 0, nothing > 0)
    params, log_likelihood, iterations, _, converged = jax.lax.while_loop(lambda carry: ~carry[3].all(), body, carry)
    return Estimates(params, log_likelihood, iterations, converged)
