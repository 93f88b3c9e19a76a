"""The Gaussian chain: latents with linear dynamics and normal noise, and what the data say of them.

Shapes, throughout: the data's leading dimensions are independent sequences; a parameter is given once, once a sequence, or once a step (one dimension more
than the data have). Edge t leads from step t to t + 1, so there are T - 1 of them, and the first data belong to the first latent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from .. import discrete
from ..batching import natively_batched_tree
from . import questions
from .arrays import Information, Observations, Seen, check, lay_out
from .questions import GaussianFiltered, GaussianSmoothed

BACKENDS = discrete.BACKENDS
FORMS = ("auto", "square_root", "information")


def _compiled(question: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(lambda given, form, backend: question(lay_out(*given), form, backend), static_argnums=(1, 2))


def _batched(question: Callable[..., Any]) -> Callable[..., Any]:
    return _compiled(lambda arrays, *options: natively_batched_tree(question, *options)(arrays))


_log_normaliser = _compiled(questions.log_normaliser)
_filtered = _batched(questions.filtered)
_smoothed = _batched(questions.smoothed)
_smoothed_means = _batched(questions.smoothed_means)
_sampled = jax.jit(lambda key, given, *options: questions.sampled(key, lay_out(*given), *options), static_argnums=(2, 3, 4))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["initial_mean", "initial_covariance", "matrix", "bias", "covariance", "nodes", "lengths"],
    meta_fields=["form", "backend"],
)
@dataclass(frozen=True)
class GaussianChain:
    """Potentials of a Gaussian chain, with the questions as methods: what models make and engines ask.

    z_0 ~ Normal(initial_mean, initial_covariance), z_{t+1} = matrix z_t + bias + Normal(0, covariance), and a node potential for every z_t.
    Covariances may be singular, variances of the first latent very large, observations missing. Nothing is ever added to a diagonal.

    Where neither edges nor nodes change in time, covariances are computed once for all sequences and only until they stand still.

    Attributes:
        initial_mean: [d] or [..., d].
        initial_covariance: [d, d] or [..., d, d].
        matrix: A, [d, d], [..., d, d], or per step [..., T-1, d, d].
        bias: [d], [..., d], or per step [..., T-1, d]; zero if None.
        covariance: Q, shapes as A.
        nodes: `Observations` or `Information`.
        lengths: real steps of each sequence, [...]; all T if None. What lies beyond has no influence.
        form: of observations. "square_root": as they are, in one orthogonal triangularisation with the prediction, for noise of any covariance;
            "information": as precision and shift, d x d however many features, for noise of regular covariance that is not smaller than what is
            predicted by more than half the digits; "auto": the first where there are no more features than latents, or few (8), else the second.
            Covariances are carried as roots in either.
        backend: "auto" (sequential on CPU, associative elsewhere), "sequential" or "associative".

    Example:
        >>> import jax.numpy as jnp
        >>> from latentgate.kernels import GaussianChain, Observations
        >>> level = Observations(jnp.array([[1120.0], [1160.0], [963.0]]), jnp.ones((1, 1)), variances=jnp.array([15099.0]))
        >>> one = jnp.ones((1, 1))
        >>> chain = GaussianChain(jnp.zeros(1), 1e7 * one, one, None, 1469.1 * one, level)
        >>> chain.smooth().means.shape
        (3, 1)
    """

    initial_mean: ArrayLike
    initial_covariance: ArrayLike
    matrix: ArrayLike
    bias: ArrayLike | None
    covariance: ArrayLike
    nodes: Observations | Information
    lengths: ArrayLike | None = None
    form: str = field(default="auto")
    backend: str = field(default="auto")

    def _checked(self) -> tuple[Any, str, str]:
        for name, found, known in (("form", self.form, FORMS), ("backend", self.backend, BACKENDS)):
            if found not in known:
                raise ValueError(f"{name}: found {found!r}, expected one of {', '.join(map(repr, known))}.")
        given = (self.initial_mean, self.initial_covariance, self.matrix, self.bias, self.covariance, self.nodes, self.lengths)
        check(*given)
        return given, self.form, discrete.resolve(self.backend)

    def log_normaliser(self) -> Array:
        """Log of the integral over all paths, [...]: the log-likelihood, where nodes are observations.

        Its derivative, in either mode, is one backward pass and exact for singular noise too. NaN where a covariance is not positive semidefinite.

        Raises:
            ValueError: if shapes do not fit together, a covariance is not positive semidefinite, or an option is unknown; as every question.
        """
        return _log_normaliser(*self._checked())

    def filter(self) -> GaussianFiltered:
        """Law of each latent given the data up to its step."""
        return _filtered(*self._checked())

    def smooth(self) -> GaussianSmoothed:
        """Law of each latent, and moments of neighbours, given all data."""
        return _smoothed(*self._checked())

    def most_probable_path(self) -> Array:
        """The path of largest density, which is that of the smoothed means, [..., T, d]; zero at padding."""
        return _smoothed_means(*self._checked())

    def sample(self, key: Array, num_samples: int | None = None) -> Array:
        """Exact draws of the whole path given all data, [..., T, d] or [num_samples, ..., T, d]; zero at padding.

        Args:
            key: JAX random key.
            num_samples: number of draws, a new leading dimension; one draw without it if None.
        """
        if num_samples is not None and (isinstance(num_samples, bool) or not isinstance(num_samples, int | np.integer) or num_samples < 1):
            raise ValueError(f"num_samples: found {num_samples!r}, expected an integer of at least 1, or None for one draw without a new dimension.")
        given, form, backend = self._checked()
        drawn = _sampled(key, given, 1 if num_samples is None else int(num_samples), form, backend)
        return drawn[0] if num_samples is None else drawn


def expected_log_density(nodes: Observations, means: ArrayLike, covariances: ArrayLike, lengths: ArrayLike | None = None) -> Array:
    """Expected log-density of observations of latents with these moments, [...]: what an M-step raises; the noise must be regular.

    Args:
        nodes: the observations.
        means: of the latents, [..., T, d].
        covariances: [..., T, d, d]; leading dimensions may be of size one.
        lengths: real steps of each sequence, [...]; all if None.
    """
    means = jnp.asarray(means)
    identity = jnp.eye(means.shape[-1], dtype=means.dtype)
    given = (jnp.zeros(means.shape[-1], means.dtype), identity, identity, None, identity, nodes, lengths)
    check(*given)
    arrays = lay_out(*given)
    assert isinstance(arrays.nodes, Seen)
    return questions.expected_log_density(arrays.nodes, means, jnp.asarray(covariances), arrays.lengths)
