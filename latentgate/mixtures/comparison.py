"""How far apart two mixtures are, whatever the gauge of their gates and the order of their experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.inference.coordinates import double_precision

from .arguments import Mixed, mixed, places, sized
from .overlap import draws, gate_weights, log_parts, matched, midpoint_grid, overlaps, summed_weights

# Rows of inputs that are integrated at once.
_BLOCK = 256
_RANGE_DRAWS = 4096
# Beyond this a sum over a grid is no integral: the observations are counts, or the grid too coarse.
_NO_INTEGRAL = 1e-3


def hellinger(one: Any, other: Any, inputs: Any = None, *, support: Any = None, num_draws: int | None = None, seed: int = 0) -> float:
    """Hellinger distance of two mixtures, √(E_x ½ ∫ (√p(y | x) − √q(y | x))² dy): 0 for equal densities, 1 for those that never overlap.

    Args:
        one: a fit of `lg.MixtureOfExperts`, a pair (model, params), or a `lg.studies.MixtureTruth`.
        other: likewise.
        inputs: where to compare: sequences (their rows), an array [x, input] for all input sets, {name: [x, input]}, or None for the data of the fit.
        support: all values of y [value] (or [value, feature]) for observations that are not continuous, such as np.arange(100.0) for counts.
        num_draws: draws of y at each x, half of each mixture, to integrate with instead of a grid: for observations of any kind and several features. The
            integrand is never negative, so that small distances have a small error too.
        seed: of the draws; of those that a grid spans, too.

    Raises:
        ValueError: for something that is no mixture of experts, experts that read their own past, different numbers of features, or several features without
            draws or a support.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> model = lg.MixtureOfExperts(gate=lg.gates.Softmax(), experts=lg.experts.LinearGaussian(1))
        >>> params = {"gate.weights": [[0.0]], "gate.bias": [0.0], "experts.weights": [[2.0]], "experts.bias": [0.0], "experts.scale": [1.0]}
        >>> round(lg.mixtures.hellinger((model, params), (model, {**params, "experts.bias": [2.0]}), np.linspace(0, 1, 5)), 3)
        0.627
    """
    return float(np.sqrt(_Pair(one, other, inputs, support, num_draws, seed).squared_distance.mean()))


def match_experts(one: Any, other: Any, inputs: Any = None, *, support: Any = None, num_draws: int | None = None, seed: int = 0) -> np.ndarray:
    """Which expert of `other` each expert of `one` is, by the overlap of their densities averaged over inputs, int [expert].

    One to one, by linear assignment, where there are as many; else each is the one it overlaps most with, so that several can be the same. Arguments are those
    of `hellinger`.
    """
    return _Pair(one, other, inputs, support, num_draws, seed).cells


def gate_error(one: Any, other: Any, inputs: Any = None, *, support: Any = None, num_draws: int | None = None, seed: int = 0) -> float:
    """Mean over inputs of Σ_k |weight of expert k of `one` − its weight in `other`|, experts matched as in `match_experts`: from 0 to 2.

    Where several experts of `one` are matched to the same of `other`, their weights are summed. Arguments are those of `hellinger`.
    """
    own, others = _Pair(one, other, inputs, support, num_draws, seed).weights()
    return float(np.abs(own - others).sum(-1).mean())


def partition_mismatch(one: Any, other: Any, inputs: Any = None, *, support: Any = None, num_draws: int | None = None, seed: int = 0) -> float:
    """Share of the inputs where the expert of largest weight differs, experts matched as in `match_experts`; for gates of which only the partition matters.

    Where several experts of `one` are matched to the same of `other`, their weights are summed first. Arguments are those of `hellinger`.
    """
    own, others = _Pair(one, other, inputs, support, num_draws, seed).weights()
    return float((own.argmax(-1) != others.argmax(-1)).mean())


class _Pair:
    """Two mixtures at the same inputs: the integrals over y, and which expert is which."""

    def __init__(self, one: Any, other: Any, inputs: Any, support: Any, num_draws: int | None, seed: int):
        with double_precision():
            self._integrate(one, other, inputs, support, num_draws, seed)

    def _integrate(self, one: Any, other: Any, inputs: Any, support: Any, num_draws: int | None, seed: int) -> None:
        for name, mixture in (("one", one), ("other", other)):
            mixed(name, mixture)
        self.inputs = places(inputs, one, other)
        self.one, self.other = sized("one", one, self.inputs), sized("other", other, self.inputs)
        self.support, self.num_draws, self.key = support, num_draws, jax.random.key(seed)
        features = {mixture.model.experts.num_features for mixture in (self.one, self.other)}
        if len(features) > 1:
            raise ValueError(f"other: found experts of {self.other.model.experts.num_features} features, expected {self.one.model.experts.num_features}.")
        if any(mixture.model.experts.num_lags for mixture in (self.one, self.other)):
            raise ValueError("one, other: found experts that read past observations, expected experts whose density is given by the inputs.")
        if num_draws is not None and num_draws < 2:
            raise ValueError(f"num_draws: found {num_draws}, expected at least 2.")
        self.num_features = features.pop()
        if support is None and num_draws is None and self.num_features > 1:
            raise ValueError(f"num_draws: found None for observations of {self.num_features} features, expected a number of draws, for instance 1000.")
        self.overlap, self.squared_distance = self._integrated()
        self.cells = matched(self.overlap)

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights of the experts of `other`, as `one` and as `other` have them, [x, K] each."""
        with double_precision():
            own, others = (
                np.asarray(gate_weights(model, {name: value[None] for name, value in params.items()}, self.inputs[model.gate.inputs]))[0]
                for model, params in (self.one, self.other)
            )
        return summed_weights(own, self.cells, others.shape[-1]), others

    def _integrated(self) -> tuple[np.ndarray, np.ndarray]:
        """Overlaps averaged over x, [k, k*], and the squared distance at each x."""
        count = len(next(iter(self.inputs.values())))
        size = min(_BLOCK, count)
        grid = None if self.num_draws is not None else self._grid()
        fitted = {name: value[None] for name, value in self.one.params.items()}
        overlap, squares = [], []
        for start in range(0, count, size):
            # The last block is filled up with rows of others, so that one program serves all.
            chosen = np.arange(start, start + size) % count
            kept = min(size, count - start)
            rows = {name: values[chosen] for name, values in self.inputs.items()}
            points, widths = self._drawn(rows, start) if grid is None else (jnp.broadcast_to(part, (size, *part.shape)) for part in grid)
            found = overlaps(self.other.model, self.other.params, self.one.model, fitted, rows, points, widths)
            # The half square is never negative, and so less noisy over draws than one minus the overlap.
            distance = found.squared_hellinger() if grid is not None else np.asarray(found.half_squares)
            overlap.append(np.asarray(found.experts)[0, :kept])
            squares.append(distance[0, :kept])
        return np.concatenate(overlap).mean(0), np.concatenate(squares)

    def _grid(self) -> tuple[Array, Array]:
        """Points [y, feature] and their widths [y]."""
        if self.support is not None:
            points = jnp.asarray(self.support, float)
            points = points[:, None] if points.ndim == 1 else points
            return points, jnp.ones(len(points))
        count = len(next(iter(self.inputs.values())))
        rows = {name: values[np.linspace(0, count - 1, _RANGE_DRAWS).astype(int)] for name, values in self.inputs.items()}
        ends = [np.asarray(draws(*mixture, rows, jax.random.split(self.key, _RANGE_DRAWS))) for mixture in (self.one, self.other)]
        low, high = min(float(end.min()) for end in ends), max(float(end.max()) for end in ends)
        low, high = low - 0.5 * (high - low), high + 0.5 * (high - low)
        some = {name: values[np.linspace(0, count - 1, min(count, _BLOCK)).astype(int)] for name, values in self.inputs.items()}
        grid, width, worst = midpoint_grid((self.one, self.other), some, low, high)
        if worst > _NO_INTEGRAL:
            raise ValueError(
                f"support: found None, and a density that integrates to {1 - worst:.3g} or {1 + worst:.3g} instead of one over y from {low:.3g} to {high:.3g}; "
                "pass support= with all values of y where they are discrete, or num_draws=1000."
            )
        return grid[:, None], jnp.full(len(grid), width)

    def _drawn(self, rows: Mapping[str, Array], start: int) -> tuple[Array, Array]:
        """Points [x, y, feature] drawn from both mixtures, and one over their number and density, [x, y]."""
        assert self.num_draws is not None
        each = -(-self.num_draws // 2)
        return _mixed_draws(self.one, self.other, dict(rows), jax.random.fold_in(self.key, start), each)


@eqx.filter_jit
def _mixed_draws(one: Mixed, other: Mixed, rows: dict[str, Array], key: Array, each: int) -> tuple[Array, Array]:
    count = next(iter(rows.values())).shape[0]
    sources = []
    for mixture, own in zip((one, other), jax.random.split(key), strict=True):
        keys = jax.random.split(own, each * count).reshape(each, count)
        sources.append(jax.vmap(lambda keys, mixture=mixture: draws(*mixture, rows, keys))(keys))
    points = jnp.moveaxis(jnp.concatenate(sources), 0, 1)
    densities = []
    for mixture in (one, other):
        log_weights, log_densities = log_parts(*mixture, rows, points)
        densities.append(jax.nn.logsumexp(log_weights[:, None] + log_densities, axis=-1))
    return points, jnp.exp(jnp.log(2.0) - jnp.logaddexp(*densities)) / (2 * each)
