"""Baselines of co-smoothing with latents: factor analysis, linear dynamical systems and hidden Markov models."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from latentgate.data import Sequences
from latentgate.inference import EM, Fit, fit
from latentgate.metrics import mean_rates
from latentgate.models import HMM, LinearGaussianSSM, PoissonLDS, emissions
from latentgate.studies.baselines import poisson_regressions, smoothed_counts
from latentgate.studies.co_smoothing import Predictor, hidden, inner_split, score

# Neighbouring bins of smoothed counts say nearly the same: factor analysis needs no more rows than these.
_MOST_ROWS = 20_000


@dataclasses.dataclass(frozen=True)
class PoissonDynamics:
    """A Poisson linear dynamical system of all neurons; latents are inferred from the held-in ones.

    Attributes:
        latent_dim: number of latents.
        max_iterations: limit of EM.
    """

    latent_dim: int
    max_iterations: int = 40

    def fit(self, train: Sequences, held_in: np.ndarray, seed: int) -> Predictor:
        """See `Strategy`."""
        model = PoissonLDS(self.latent_dim, num_neurons=train.num_features)
        found = _fit(model, train, seed, self.max_iterations)
        params = {name: jnp.asarray(value) for name, value in found.params.items()}
        return lambda data: np.asarray(model.expected_counts(params, data))


@dataclasses.dataclass(frozen=True)
class HiddenMarkov:
    """A hidden Markov model with Poisson counts of all neurons; states are inferred from the held-in ones.

    Attributes:
        num_states: number of states.
        restarts: of EM; the best by likelihood of the training trials is kept.
        max_iterations: limit of EM.
    """

    num_states: int
    restarts: int = 1
    max_iterations: int = 40

    def fit(self, train: Sequences, held_in: np.ndarray, seed: int) -> Predictor:
        """See `Strategy`."""
        found = _fit(HMM(self.num_states, emissions.Poisson(train.num_features)), train, seed, self.max_iterations, self.restarts)
        rates = np.asarray(found.params["emission.rates"])
        return lambda data: np.nan_to_num(np.asarray(found.smooth(data))) @ rates


@dataclasses.dataclass(frozen=True)
class FactorAnalysis:
    """Factor analysis of square roots of smoothed held-in counts, and Poisson regressions of all neurons on the factors.

    The width of the Gaussian is chosen by every fifth training trial.

    Attributes:
        latent_dim: number of factors.
        widths: standard deviations of the Gaussian to choose from, in bins.
        ridge: penalty of the regressions, per row, of factors scaled to unit variance.
    """

    latent_dim: int
    widths: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
    ridge: float = 1e-4

    def fit(self, train: Sequences, held_in: np.ndarray, seed: int) -> Predictor:
        """See `Strategy`."""
        inner, validation = inner_split(train, seed)
        masked, constant = hidden(validation, held_in), mean_rates(inner)
        width = max(self.widths, key=lambda width: score(self._learn(inner, held_in, seed, width)(masked), validation, ~held_in, constant))
        return self._learn(train, held_in, seed, width)

    def _learn(self, train: Sequences, held_in: np.ndarray, seed: int, width: float) -> Predictor:
        from sklearn.decomposition import FactorAnalysis as Factors
        from threadpoolctl import threadpool_limits

        constant = mean_rates(train)

        def roots(data: Sequences) -> np.ndarray:
            return np.sqrt(smoothed_counts(data, width, constant)[..., held_in])

        own = roots(train)
        rows = own[np.asarray(train.mask)]
        with threadpool_limits(1):
            factors = Factors(self.latent_dim, random_state=seed).fit(rows[:: max(len(rows) // _MOST_ROWS, 1)])

        def latents(features: np.ndarray) -> np.ndarray:
            return factors.transform(features.reshape(-1, features.shape[-1])).reshape(*features.shape[:2], -1)

        regress = poisson_regressions(latents(own), train, self.ridge, np.ones(train.num_features, bool))
        return lambda data: regress(latents(roots(data)))


@dataclasses.dataclass(frozen=True)
class GaussianDynamics:
    """A linear-Gaussian system of square roots of held-in counts, smoothed (a Gaussian-process factor analysis with linear dynamics for a kernel), and Poisson
    regressions of all neurons on the latents.

    Attributes:
        latent_dim: number of latents.
        max_iterations: limit of EM.
        ridge: penalty of the regressions, per row, of latents scaled to unit variance.
    """

    latent_dim: int
    max_iterations: int = 40
    ridge: float = 1e-4

    def fit(self, train: Sequences, held_in: np.ndarray, seed: int) -> Predictor:
        """See `Strategy`."""

        def roots(data: Sequences) -> Sequences:
            return data.with_values(np.sqrt(np.where(data.observed, data.values, np.nan)[..., held_in]))

        own = roots(train)
        found = _fit(LinearGaussianSSM(latent_dim=self.latent_dim, emission_dim=int(held_in.sum())), own, seed, self.max_iterations)

        def latents(data: Sequences) -> np.ndarray:
            return np.nan_to_num(np.asarray(found.smooth(data)["mean"]))

        regress = poisson_regressions(latents(own), train, self.ridge, np.ones(train.num_features, bool))
        return lambda data: regress(latents(roots(data)))


def _fit(model, train: Sequences, seed: int, max_iterations: int, restarts: int = 1) -> Fit:
    return fit(model, train, EM(restarts=restarts, max_iterations=max_iterations), seed=seed, progress=False)
