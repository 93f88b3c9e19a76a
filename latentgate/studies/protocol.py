"""What a study is made of: truths that draw data, estimators that fit them, and losses that say how far off they were."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax import Array


class Estimates(NamedTuple):
    """What an estimator found in R data sets.

    Attributes:
        params: {name: [replication, ...]}.
        log_likelihood: of each data set at its estimate, [replication].
        iterations: how many it took, int [replication].
        converged: whether the estimator's own test of convergence was met, bool [replication].
    """

    params: Mapping[str, Array]
    log_likelihood: Array
    iterations: Array
    converged: Array


class Truth(eqx.Module):
    """A law of inputs and observations whose parameters are known. Immutable, so that it can be sent to the workers of a cluster.

    Attributes:
        name: by which results are read; it also seeds the data, so that they do not depend on which other truths are studied.
        params: {name: array}.
        num_experts: K of the true mixture.
    """

    name: eqx.AbstractVar[str]
    params: eqx.AbstractVar[dict[str, Any]]
    num_experts: eqx.AbstractVar[int]

    @abc.abstractmethod
    def draw(self, key: Array, num_samples: int) -> tuple[Array, Array]:
        """Inputs [n, M] and observations [n] of one data set; can be compiled for each n."""

    def draw_many(self, keys: Array, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs [replication, n, M] and observations [replication, n], one data set a key."""
        inputs, values = _draw_many(self, keys, num_samples)
        return np.asarray(inputs), np.asarray(values)

    def params_at(self, num_samples: int) -> dict[str, Any]:
        """The true parameters behind n samples; those of a sequence of truths that come closer to each other as n grows differ."""
        return self.params

    @property
    def model(self) -> Any:
        """The library's model whose parameters `params` are, or None."""
        return None

    def log_likelihood(self, inputs: Any, values: Any) -> Any:
        """Log-likelihood of data sets [replication, n, M], [replication, n] at the truth, [replication].

        Raises:
            ValueError: for a truth without one.
        """
        raise ValueError(f"truth: found {type(self).__name__} without a log_likelihood(inputs, values), which the loss 'excess' needs; give it one.")


@eqx.filter_jit
def _draw_many(truth: Truth, keys: Array, num_samples: int) -> tuple[Array, Array]:
    return jax.vmap(lambda key: truth.draw(key, num_samples))(keys)


class Loss(eqx.Module):
    """One distance between estimates and the truth, or several that are computed together."""

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """What the distances are called in the results."""

    @abc.abstractmethod
    def check(self, truth: Truth, estimator: Estimator) -> None:
        """Raises ValueError where the distance has no meaning for this truth and estimator; called before anything is computed."""

    @abc.abstractmethod
    def evaluate(self, truth: Truth, estimator: Estimator, estimates: Estimates, inputs: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
        """{name: [replication]} given the estimates and the data they were made from; NaN where an estimate has none."""


class Estimator(eqx.Module):
    """A way to estimate the parameters of a truth from data.

    Attributes:
        name: by which results are read; it seeds what is random in the estimator.
    """

    name: eqx.AbstractVar[str]

    @property
    def start_kind(self) -> str:
        """Where it starts, for the reader of the results: "near-truth" is a favour no analysis of real data gets."""
        return ""

    @property
    def model(self) -> Any:
        """The library's model whose parameters it estimates, or None."""
        return None

    def check(self, truth: Truth) -> None:
        """Raises ValueError if it cannot be run on this truth."""

    def losses(self, truth: Truth) -> tuple[Loss, ...]:
        """The distances that are computed unless a study names its own."""
        return ()

    @abc.abstractmethod
    def fit(self, keys: Array, truth: Truth, inputs: np.ndarray, values: np.ndarray) -> Estimates:
        """Estimates from R data sets at once.

        Args:
            keys: one a data set, [replication].
            truth: where the data come from, for favourable starts and known parts only.
            inputs: [replication, n, M].
            values: [replication, n].
        """
