"""What models with linear latent dynamics share: the law of the first latent, the dynamics, simulation."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

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
from latentgate.kernels.linear_sde import stationary_covariance
from latentgate.kernels.small_matrices import cholesky, log_determinant, solve_positive_definite, square_root

from ..base import Params, Prior, StateSpaceModel, split_keys, with_prefix, without_prefix
from ..distributions import InverseWishart
from ..emissions.checks import at_least
from ..observations import check_features, require_sequences
from ..unconstrained import maximise
from .canonical import canonical_basis, change_basis
from .dynamics import NUMERICAL_STEPS, ConstantDynamics, Dynamics, Linear, covariance_mode, flat
from .moments import second_moments


class LinearDynamicsModel(StateSpaceModel):
    """Latents with linear dynamics; subclasses say what is observed.

    Attributes:
        latent_dim: number of latents d.
        dynamics: how they move.
        initial: "free": mean and covariance of the first latent are parameters; "stationary": mean zero and the covariance that the dynamics keep; or
            (mean [d], covariance [d, d]), given; numbers are repeated.
    """

    latent_dim: int
    dynamics: Dynamics
    initial: Any

    def _settle(self, latent_dim: int | None, dynamics: Dynamics | None, initial: Any) -> tuple[int, Dynamics, Any]:
        """Checked arguments of the constructor."""
        dynamics = Linear() if dynamics is None else dynamics
        if not isinstance(dynamics, Dynamics):
            raise ValueError(f"dynamics: found {dynamics!r}, expected one of lg.dynamics, for example lg.dynamics.Linear().")
        own = dynamics.latent_dim
        if latent_dim is None and own is None:
            raise ValueError(f"latent_dim: found None, expected the number of latents, which {type(dynamics).__name__} leaves open.")
        if own is not None and latent_dim not in (None, own):
            raise ValueError(f"latent_dim: found {latent_dim}, expected {own}, the number of latents of the dynamics, or None.")
        given = own if latent_dim is None else latent_dim
        assert given is not None
        size = at_least("latent_dim", given)
        dynamics.priors(size)
        if isinstance(initial, str):
            if initial not in ("free", "stationary"):
                raise ValueError(f"initial: found {initial!r}, expected 'free', 'stationary' or (mean, covariance).")
            if initial == "stationary" and not dynamics.can_be_stationary:
                raise ValueError(f"initial: found 'stationary' with {type(dynamics).__name__}, expected 'free' or (mean, covariance).")
            return size, dynamics, initial
        try:
            mean, covariance = initial
            mean = np.broadcast_to(np.asarray(mean, float), (size,))
            covariance = np.asarray(covariance, float)
            covariance = covariance * np.eye(size) if covariance.ndim == 0 else covariance.reshape(size, size)
        except (TypeError, ValueError) as error:
            raise ValueError(f"initial: found {initial!r}, expected 'free', 'stationary' or (mean [{size}], covariance [{size}, {size}]).") from error
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all() and np.allclose(covariance, covariance.T, rtol=1e-6, atol=0.0)):
            raise ValueError(f"initial: found {initial!r}, expected finite numbers and a symmetric covariance.")
        if np.linalg.eigvalsh(covariance).min() < 0:
            raise ValueError(f"initial: found a covariance with eigenvalue {np.linalg.eigvalsh(covariance).min():.3g}, expected a positive semidefinite one.")
        return size, dynamics, (mean, covariance)

    @property
    @abc.abstractmethod
    def num_features(self) -> int:
        """Columns of an observation."""

    @abc.abstractmethod
    def emission_priors(self) -> dict[str, Prior]:
        """Priors of the emission's parameters, without their prefix."""

    @abc.abstractmethod
    def emission_dims(self) -> dict[str, tuple[str, ...]]:
        """Dimension names of the emission's parameters."""

    @abc.abstractmethod
    def initialize_emission(self, key: Array, data: Sequences) -> Params:
        """Starting values of the emission's parameters."""

    @abc.abstractmethod
    def m_step_emission(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Params:
        """New parameters of the emission, which do not lower the expected log-joint."""

    @abc.abstractmethod
    def sample_emission(self, key: Array, params: Params, latent: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """One observation [feature] of a latent [d], given inputs {name: [input]} and the last observations [lag, feature]."""

    @property
    def num_lags(self) -> int:
        """How many earlier observations an observation depends on, besides the latent."""
        return 0

    def priors(self) -> dict[str, Prior]:
        """See `StateSpaceModel.priors`."""
        size = self.latent_dim
        first: dict[str, Prior] = {}
        if self.initial == "free":
            first["initial.mean"] = flat(constraints.real, (size,))
            first["initial.covariance"] = self._initial_prior()
        return first | with_prefix("dynamics", self.dynamics.priors(size)) | with_prefix("emission", self.emission_priors())

    def _initial_prior(self) -> dist.Distribution:
        # One latent a sequence says little of a covariance, and nothing keeps its likelihood from growing as it shrinks.
        return InverseWishart(float(self.latent_dim + 2), scale_tril=jnp.eye(self.latent_dim))

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `StateSpaceModel.dims`."""
        first = {"initial.mean": ("latent",), "initial.covariance": ("latent", "latent_other")} if self.initial == "free" else {}
        return first | with_prefix("dynamics", self.dynamics.dims()) | with_prefix("emission", self.emission_dims())

    def check(self, data: Sequences) -> None:
        """See `StateSpaceModel.check`."""
        require_sequences(data)
        check_features(self, self.num_features, data)
        self.dynamics.check(data)

    def initialize(self, key: Array, data: Sequences) -> Params:
        """See `StateSpaceModel.initialize`."""
        keys = split_keys(key, ["dynamics", "emission"])
        dtype = jnp.asarray(data.values).dtype
        first: Params = {}
        if self.initial == "free":
            first = {"initial.mean": jnp.zeros(self.latent_dim, dtype), "initial.covariance": jnp.eye(self.latent_dim, dtype=dtype)}
        return {
            **first,
            **with_prefix("dynamics", self.dynamics.initialize(keys["dynamics"], data, self.latent_dim)),
            **with_prefix("emission", self.initialize_emission(keys["emission"], data)),
        }

    def adopt(self, other: StateSpaceModel, params: Params) -> Params:
        """Start from a fit of a model with the same parameters."""
        wanted = self.dims()
        absent = sorted(name for name in wanted if name not in params)
        if absent or (isinstance(other, LinearDynamicsModel) and other.latent_dim != self.latent_dim):
            raise ValueError(f"start: found a fit of {type(other).__name__} without {', '.join(absent) or 'as many latents'}, expected one of this model.")
        return {name: params[name] for name in wanted}

    def first_law(self, params: Params, edges: Edges) -> tuple[Array, Array]:
        """Mean and covariance of the first latent."""
        if self.initial == "free":
            return params["initial.mean"], params["initial.covariance"]
        if self.initial == "stationary":
            matrix, covariance = edges.matrix, edges.covariance
            return jnp.zeros(self.latent_dim, matrix.dtype), stationary_covariance(matrix, covariance)
        mean, covariance = self.initial
        return jnp.asarray(mean, edges.matrix.dtype), jnp.asarray(covariance, edges.matrix.dtype)

    def edges(self, params: Params, data: Sequences) -> Edges:
        """Edges of the chain of every sequence."""
        return self.dynamics.edges(without_prefix("dynamics", params), data)

    def m_step(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Params:
        """See `StateSpaceModel.m_step`."""
        dynamics, emission = without_prefix("dynamics", params), without_prefix("emission", params)
        new: Params = {}
        if self.initial == "free":
            second = second_moments(smoothed)[:, 0]
            mean = smoothed.means[:, 0].mean(0)
            scatter = second.sum(0) - len(second) * mean[:, None] * mean[None, :]
            prior = self._initial_prior()
            new = {"initial.mean": mean, "initial.covariance": covariance_mode(scatter, jnp.asarray(len(second)), prior, params["initial.covariance"])}
        if self.initial == "stationary":
            # The first latent's law depends on the dynamics too, which a regression on the edges alone would not know.
            moved = self._stationary_step(dynamics, data, smoothed)
        else:
            moved = self.dynamics.m_step(dynamics, data, smoothed)
        return {**new, **with_prefix("dynamics", moved), **with_prefix("emission", self.m_step_emission(emission, data, smoothed))}

    def _stationary_step(self, params: Params, data: Sequences, smoothed: GaussianSmoothed) -> Params:
        dynamics = self.dynamics
        assert isinstance(dynamics, ConstantDynamics)
        first = second_moments(smoothed)[:, 0].sum(0)
        count = smoothed.means.shape[0]

        def expected(params: Params) -> Array:
            edges = dynamics.edges(params, data)
            factor = cholesky(stationary_covariance(edges.matrix, edges.covariance))
            beginning = -0.5 * (count * log_determinant(factor) + jnp.trace(solve_positive_definite(factor, first)))
            return dynamics.expected(params, data, smoothed) + beginning

        return maximise(expected, self.dynamics.priors(self.latent_dim), params, NUMERICAL_STEPS)

    def canonical(self, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The same model in the basis of latents to report: see `latentgate.models.linear.canonical.canonical_basis`.

        Raises:
            ValueError: if the latents' basis is not free: dynamics other than `Linear()` with full noise, a given first law, or a given emission matrix.
        """
        free = isinstance(self.dynamics, Linear) and self.dynamics.matrix is None and self.dynamics.noise == "full"
        if not free or self.initial not in ("free", "stationary") or "emission.matrix" not in params:
            raise ValueError("model: found latents whose basis is fixed by its structure, expected free linear dynamics and a free emission matrix.")
        matrix = np.asarray(params["emission.matrix"], float)
        noise = np.asarray(params.get("emission.covariance", np.ones(len(matrix))), float)
        precision = np.diag(1 / noise) if noise.ndim == 1 else np.linalg.inv(noise)
        return change_basis(params, canonical_basis(matrix, np.asarray(params["dynamics.covariance"], float), precision))

    def simulate(self, key: Array, params: Params, lengths, inputs=None, times=None) -> tuple[Sequences, list[np.ndarray]]:
        """Draws sequences from the model.

        Args:
            key: JAX random key.
            params: parameters.
            lengths: steps of each sequence.
            inputs: as in `Sequences.from_arrays`, where the model reads inputs.
            times: as in `Sequences.from_arrays`, where the dynamics run in continuous time.

        Returns:
            the sequences and a list of their latents, [time, d].
        """
        lengths = [int(length) for length in lengths]
        given = Sequences.from_arrays([np.zeros((length, self.num_features)) for length in lengths], inputs=inputs, times=times)
        self.dynamics.check(given)
        columns = {name: jnp.asarray(value) for name, value in given.inputs.items()}
        gaps = None if given.times is None else jnp.diff(jnp.asarray(given.times), axis=1, prepend=jnp.asarray(given.times)[:, :1])
        values, latents = _simulate(self, jax.random.split(key, len(lengths)), params, columns, gaps, max(lengths))
        arrays = [np.asarray(value)[:length] for value, length in zip(values, lengths, strict=True)]
        drawn = [np.asarray(latent)[:length] for latent, length in zip(latents, lengths, strict=True)]
        return Sequences.from_arrays(arrays, inputs=inputs, times=times), drawn


@eqx.filter_jit
def _simulate(model: LinearDynamicsModel, keys: Array, params: Params, inputs: dict[str, Array], gaps: Array | None, num_steps: int):
    dynamics, emission = without_prefix("dynamics", params), without_prefix("emission", params)

    def one(key: Array, inputs: dict[str, Array], gaps: Array | None):
        def edge(columns: dict[str, Array], gap: Array | None) -> Edges:
            return model.dynamics.step(dynamics, columns.get("inputs"), gap)

        now = jax.tree.map(lambda leaf: leaf[0], (inputs, gaps))
        mean, covariance = model.first_law(params, edge(*now))
        for_first, key = jax.random.split(key)
        start = mean + square_root(covariance) @ jax.random.normal(for_first, mean.shape, mean.dtype)

        def step(carry, now):
            latent, recent, key = carry
            first, columns, gap = now
            key, for_latent, for_value = jax.random.split(key, 3)
            matrix, bias, noise = edge(columns, gap)
            moved = matrix @ latent + bias + square_root(noise) @ jax.random.normal(for_latent, latent.shape, latent.dtype)
            latent = jnp.where(first, latent, moved)
            value = model.sample_emission(for_value, emission, latent, columns, recent)
            recent = jnp.concatenate([recent[1:], value[None]]) if recent.shape[0] else recent
            return (latent, recent, key), (value, latent)

        recent = jnp.zeros((model.num_lags, model.num_features), mean.dtype)
        return jax.lax.scan(step, (start, recent, key), (jnp.arange(num_steps) == 0, inputs, gaps))[1]

    return jax.vmap(one)(keys, inputs, gaps)
