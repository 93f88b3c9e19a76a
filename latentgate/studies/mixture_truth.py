"""A mixture of experts with known parameters, as the truth of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.models.base import without_prefix
from latentgate.models.mixture_of_experts import MixtureOfExperts

from .batches import log_likelihoods, one_sequence, padded_length
from .protocol import Truth

DESIGNS = ("grid", "uniform", "gate")


class MixtureTruth(Truth):
    """A mixture of experts from which inputs and observations are drawn.

    Args:
        name: by which results are read.
        model: with the number of inputs given, for example `lg.MixtureOfExperts(gate=lg.gates.Softmax(num_inputs=1), experts=...)`.
        params: {name: array} of all its parameters, or a function from the sample size to them, for truths that move as n grows. They may be given in any
            gauge; the papers' has a last gate row of zeros, and Voronoi losses take the scale of masses from the one given.
        design: of the inputs: "grid" (n points at equal distances from 0 to 1), "uniform" on the unit cube, "gate" (drawn from a gate that models inputs), or a
            function of a key and n that returns [n, M].

    Raises:
        ValueError: for an open number of inputs, parameters that are not those of the model, or an unknown design.

    Example:
        >>> import jax, latentgate as lg
        >>> from latentgate.studies import MixtureTruth
        >>> model = lg.MixtureOfExperts(gate=lg.gates.Softmax(num_inputs=1), experts=lg.experts.LinearGaussian(2, num_inputs=1))
        >>> params = {"gate.weights": [[25.0], [0.0]], "gate.bias": [-8.0, 0.0], "experts.weights": [[-20.0], [20.0]], "experts.bias": [15.0, -5.0]}
        >>> truth = MixtureTruth("two lines", model, {**params, "experts.scale": [0.3, 0.4]})
        >>> inputs, values = truth.draw(jax.random.key(0), 5)
        >>> inputs[:, 0].tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """

    name: str
    params: dict[str, Any]
    num_experts: int
    mixture: MixtureOfExperts
    moving: Callable[[int], Mapping[str, Any]] | None
    design: str | Callable[[Array, int], Array]

    def __init__(
        self,
        name: str,
        model: MixtureOfExperts,
        params: Mapping[str, Any] | Callable[[int], Mapping[str, Any]],
        design: str | Callable[[Array, int], Array] = "grid",
    ):
        if not isinstance(model, MixtureOfExperts):
            raise ValueError(f"model: found {type(model).__name__}, expected an lg.MixtureOfExperts.")
        self.name, self.mixture, self.num_experts = name, model, model.num_experts
        columns = set(model.mixture.input_sets.values())
        if len(columns) != 1:
            raise ValueError(f"model: found gate and experts with {' and '.join(map(str, sorted(columns)))} inputs, expected the same inputs for both.")
        if model.experts.num_features != 1:
            raise ValueError(f"model: found experts of {model.experts.num_features} features, expected one.")
        if isinstance(design, str) and design not in DESIGNS:
            raise ValueError(f"design: found {design!r}, expected one of {', '.join(map(repr, DESIGNS))}, or a function of a key and n.")
        if design == "grid" and columns != {1}:
            raise ValueError(f"design: found 'grid' with {columns.pop()} inputs, expected one input; use 'uniform', or a function of a key and n.")
        if design == "gate" and not model.gate.models_inputs:
            raise ValueError(f"design: found 'gate' with {type(model.gate).__name__}, expected a gate that models inputs.")
        self.design = design
        self.moving = params if callable(params) else None
        self.params = self._checked(params(1) if callable(params) else params)

    def _checked(self, params: Mapping[str, Any]) -> dict[str, Any]:
        columns = next(iter(self.mixture.mixture.input_sets.values()))
        shapes = _shapes(self.mixture, columns)
        if set(params) != set(shapes):
            raise ValueError(f"params: found {', '.join(sorted(params))}, expected {', '.join(sorted(shapes))}.")
        for name, shape in shapes.items():
            if np.shape(params[name]) != shape:
                raise ValueError(f"params[{name!r}]: found shape {np.shape(params[name])}, expected {shape}.")
            if not np.isfinite(np.asarray(params[name])).all():
                raise ValueError(f"params[{name!r}]: found {params[name]}, expected finite numbers.")
        # Doubles on the host: as JAX arrays they would be rounded wherever 64-bit types are not in use.
        return {name: np.asarray(params[name], float) for name in shapes}

    @property
    def model(self) -> MixtureOfExperts:
        """The model."""
        return self.mixture

    def params_at(self, num_samples: int) -> dict[str, Any]:
        """See `Truth.params_at`."""
        return self.params if self.moving is None else self._checked(self.moving(num_samples))

    def draw(self, key: Array, num_samples: int) -> tuple[Array, Array]:
        """See `Truth.draw`."""
        params = {name: jnp.asarray(value) for name, value in self.params_at(num_samples).items()}
        inputs, values = self._draw(key, params, jnp.asarray(num_samples), padded_length(num_samples))
        return inputs[:num_samples], values[:num_samples]

    def draw_many(self, keys: Array, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
        """See `Truth.draw_many`; compiled for each padded length only, where the design is one of the named ones."""
        params = {name: jnp.asarray(value) for name, value in self.params_at(num_samples).items()}
        rows = padded_length(num_samples) if isinstance(self.design, str) else num_samples
        inputs, values = _draw_padded(self, keys, params, jnp.asarray(num_samples), rows)
        return np.asarray(inputs)[:, :num_samples], np.asarray(values)[:, :num_samples]

    def log_likelihood(self, inputs: Any, values: Any) -> np.ndarray:
        """See `Truth.log_likelihood`."""
        return log_likelihoods(self.mixture, self.params_at(np.shape(values)[1]), inputs, values)

    def evaluation_inputs(self, num_points: int) -> np.ndarray:
        """Inputs [num_points, M] to average over x with: midpoints in one dimension under a named design, else a fixed draw."""
        columns = next(iter(self.mixture.mixture.input_sets.values()))
        if self.design in ("grid", "uniform") and columns == 1:
            return ((np.arange(num_points) + 0.5) / num_points)[:, None]
        return np.asarray(self.draw(jax.random.key(0), num_points)[0])

    def _draw(self, key: Array, params: dict[str, Array], num_samples: Array, rows: int) -> tuple[Array, Array]:
        for_inputs, for_experts, for_values = jax.random.split(key, 3)
        mixture = self.mixture.mixture
        inputs = self._draw_inputs(for_inputs, params, num_samples, rows)
        sets = dict.fromkeys(mixture.input_sets, inputs)
        experts = mixture.gate.sample(for_experts, without_prefix("gate", params), inputs)
        own = without_prefix("experts", params)
        recent = jnp.zeros((mixture.experts.num_lags, 1))
        keys = jax.random.split(for_values, rows)
        values = jax.vmap(lambda key, expert, sets: mixture.experts.sample(key, own, expert, sets, recent)[0])(keys, experts, sets)
        return inputs, values

    def _draw_inputs(self, key: Array, params: dict[str, Array], num_samples: Array, rows: int) -> Array:
        columns = next(iter(self.mixture.mixture.input_sets.values()))
        if callable(self.design):
            return self.design(key, rows)
        if self.design == "grid":
            return (jnp.arange(rows) / jnp.maximum(num_samples - 1, 1))[:, None]
        if self.design == "uniform":
            return jax.random.uniform(key, (rows, columns))
        gate, own = self.mixture.gate, without_prefix("gate", params)

        def one(key: Array) -> Array:
            for_expert, for_inputs = jax.random.split(key)
            return gate.sample_inputs(for_inputs, own, jax.random.categorical(for_expert, gate.log_prevalence(own)))

        return jax.vmap(one)(jax.random.split(key, rows))


@eqx.filter_jit
def _draw_padded(truth: MixtureTruth, keys: Array, params: dict[str, Array], num_samples: Array, rows: int) -> tuple[Array, Array]:
    return jax.vmap(lambda key: truth._draw(key, params, num_samples, rows))(keys)


def _shapes(model: MixtureOfExperts, columns: int) -> dict[str, tuple[int, ...]]:
    blank = one_sequence(model, jnp.zeros((8, columns)), jnp.zeros(8), jnp.asarray(8))
    return {name: leaf.shape for name, leaf in jax.eval_shape(model.initialize, jax.random.key(0), blank).items()}
