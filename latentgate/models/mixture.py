"""A gate and its experts: what a static mixture of experts and an emission made of one have in common."""

from __future__ import annotations

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentgate.arguments import described
from latentgate.data import Sequences

from .base import Params, Part, Prior, split_keys, with_prefix, without_prefix
from .emissions.base import NUMERICAL_STEPS
from .emissions.statistics import column_spread, feature_moments
from .experts.base import Experts
from .gates.balancing import Balance
from .gates.base import Gate
from .unconstrained import maximise

STARTS = ("k-means", "random")
# Lloyd iterations of a start, and M-steps that turn a partition into parameters: EM goes on from there.
_LLOYD_STEPS = 20
_STARTING_STEPS = 4
# Share of a row that a start leaves to the experts of other clusters.
_SPILT = 0.1


class Mixture(eqx.Module):
    """p(y | x) = Σ_k weight_k(x) p(y | x, expert k).

    Attributes:
        gate: one whose weights sum to one.
        experts: K of them.
        start: how restarts begin: "k-means" clusters of inputs and observations, or a "random" partition.
        balance: penalties on how the gate uses its experts.
    """

    gate: Gate
    experts: Experts
    start: str
    balance: tuple[Balance, ...]

    def __init__(self, gate: Gate, experts: Experts, start: str = "k-means", balance: tuple[Balance, ...] = ()):
        if not isinstance(gate, Gate):
            raise ValueError(f"gate: found {described(gate)}, expected one of lg.gates, for example lg.gates.Softmax().")
        if not isinstance(experts, Experts):
            raise ValueError(
                f"experts: found {described(experts)}, expected one of lg.experts, for example lg.experts.LinearGaussian(3); wrap an emission in "
                "lg.experts.OfEmission."
            )
        if not gate.normalised:
            raise ValueError(
                f"gate: found {type(gate).__name__} whose weights do not sum to one, expected a normalised gate: there is no density otherwise. "
                "Use lg.emissions.GatedRegression for a regression on gated means."
            )
        if start not in STARTS:
            raise ValueError(f"start: found {start!r}, expected one of {', '.join(map(repr, STARTS))}.")
        gate.check_experts(experts.num_experts)
        for term in balance:
            if not isinstance(term, Balance):
                raise ValueError(f"balance: found {term!r}, expected one of lg.gates.balancing, for example lg.gates.balancing.LoadBalance(0.01).")
            if not hasattr(gate, term.reads):
                raise ValueError(f"balance: found {type(term).__name__}, which reads the {term.reads} of a gate, expected one that {type(gate).__name__} has.")
        self.gate, self.experts, self.start, self.balance = gate, experts, start, balance

    @property
    def num_experts(self) -> int:
        """K."""
        return self.experts.num_experts

    def priors(self) -> dict[str, Prior]:
        """Priors of all parameters under `gate.` and `experts.`."""
        return {**with_prefix("gate", self.gate.priors(self.num_experts)), **with_prefix("experts", self.experts.priors(self.num_experts))}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """Dimension names."""
        return {**with_prefix("gate", self.gate.dims()), **with_prefix("experts", self.experts.dims())}

    def interchangeable_dims(self) -> dict[str, tuple[str, ...]]:
        """`dims`, but for experts that differ in kind, whose axes have another name: they must not be renumbered."""
        if not (self.gate.anchored or self.experts.anchored):
            return self.dims()
        return {name: tuple("own_expert" if dim == "expert" else dim for dim in axes) for name, axes in self.dims().items()}

    @property
    def input_sets(self) -> dict[str, int]:
        """{name: columns} of the input sets that gate and experts read."""
        return {**self.gate.input_sets, **self.experts.input_sets}

    def check(self, data: Sequences) -> None:
        """Raises ValueError if the data cannot belong to it."""
        self.gate.check(data)
        self.experts.check(data)

    def catalogue(self, data: Sequences) -> Sequences:
        """See `Part.catalogue`."""
        return self.experts.catalogue(self.gate.catalogue(data))

    def prepare(self, data: Sequences) -> Sequences:
        """See `Part.prepare`."""
        return self.experts.prepare(self.gate.prepare(data))

    def suited_to(self, data: Sequences) -> Self:
        """See `Part.suited_to`."""
        parts = (self.gate.suited_to(data), self.experts.suited_to(data))
        return eqx.tree_at(lambda mixture: (mixture.gate, mixture.experts), self, parts, is_leaf=lambda leaf: isinstance(leaf, Part))

    def adopt(self, other: Mixture, params: Params) -> Params:
        """Parameters of another mixture as a start for this one; see `Part.adopt`."""
        return {
            **with_prefix("gate", self.gate.adopt(other.gate, without_prefix("gate", params))),
            **with_prefix("experts", self.experts.adopt(other.experts, without_prefix("experts", params))),
        }

    def log_nodes(self, params: Params, data: Sequences) -> Array:
        """Log-density of each step with each expert, [sequence, time, K]."""
        weights = self.gate.log_potentials(without_prefix("gate", params), self._gate_inputs(data))
        densities = self.experts.log_likelihood(without_prefix("experts", params), data)
        # Added with the experts in front, as gates and experts make them: what turns them round then cancels, and nothing is made twice.
        return jnp.moveaxis(jnp.moveaxis(weights, -1, 0) + jnp.moveaxis(densities, -1, 0), 0, -1)

    def log_penalty(self, params: Params, data: Sequences) -> Array:
        """Minus the balancing terms times the number of steps, scalar: their weights are relative to the log-likelihood of a step."""
        return self._gate_penalty(without_prefix("gate", params), data)

    def _gate_penalty(self, gate: Params, data: Sequences) -> Array:
        mask = jnp.asarray(data.mask)
        terms = [term.penalty(getattr(self.gate, term.reads)(gate, self._gate_inputs(data)), mask) for term in self.balance]
        return -mask.sum() * jnp.asarray(sum(terms, start=jnp.zeros(())))

    def m_step(self, params: Params, data: Sequences, responsibilities: Array) -> Params:
        """Parameters that do not lower the expected log-joint; responsibilities [sequence, time, K], zero at padding."""
        # Once, with the experts in front: else the compiler makes them anew, exponentials and all, wherever they are used.
        responsibilities = jnp.moveaxis(jax.lax.optimization_barrier(jnp.moveaxis(responsibilities, -1, 0)), 0, -1)
        # Experts first: a gate may climb the log-likelihood itself, which is monotone only with the experts that will stand beside it.
        experts = self.experts.m_step(without_prefix("experts", params), data, responsibilities)
        # One after the other, so that the second can have the memory of the first.
        experts, responsibilities, gate = jax.lax.optimization_barrier((experts, responsibilities, without_prefix("gate", params)))
        densities, inputs = self.experts.log_likelihood(experts, data), self._gate_inputs(data)
        gate = self._balanced_step(gate, data, responsibilities) if self.balance else self.gate.m_step(gate, inputs, responsibilities, densities)
        return {**with_prefix("gate", gate), **with_prefix("experts", experts)}

    def _balanced_step(self, gate: Params, data: Sequences, targets: Array) -> Params:
        """The gate's M-step with the balancing terms, which no closed form knows."""

        def objective(new: Params) -> Array:
            values = self.gate.log_potentials(new, self._gate_inputs(data))
            return jnp.sum(jnp.where(targets > 0, targets * values, 0.0)) + self._gate_penalty(new, data)

        return maximise(objective, self.gate.priors(self.num_experts), gate, NUMERICAL_STEPS)

    def degeneracy(self, params: Params, data: Sequences) -> str | None:
        """See `Part.degeneracy`."""
        return self.gate.degeneracy(without_prefix("gate", params), data) or self.experts.degeneracy(without_prefix("experts", params), data)

    def sample(self, key: Array, params: Params, inputs: dict[str, Array], recent: Array) -> tuple[Array, Array]:
        """An observation [feature] of one step, and its expert."""
        for_expert, for_value = jax.random.split(key)
        expert = self.gate.sample(for_expert, without_prefix("gate", params), inputs[self.gate.inputs])
        return self.experts.sample(for_value, without_prefix("experts", params), expert, inputs, recent), expert

    def initialize(self, key: Array, data: Sequences) -> Params:
        """Parameters fitted to a partition of the steps."""
        keys = split_keys(key, ["gate", "experts", "partition"])
        partition = _k_means if self.start == "k-means" else _random_partition
        labels = partition(keys["partition"], self._features(data), jnp.asarray(data.mask), self.num_experts)
        shares = (1 - _SPILT) * jax.nn.one_hot(labels, self.num_experts) + _SPILT / self.num_experts
        shares = jnp.where(jnp.asarray(data.mask)[..., None], shares, 0.0)
        params = {
            **with_prefix("gate", self.gate.initialize(keys["gate"], data, self.num_experts)),
            **with_prefix("experts", self.experts.initialize(keys["experts"], data, self.num_experts)),
        }
        return jax.lax.fori_loop(0, _STARTING_STEPS, lambda _, params: self.m_step(params, data, shares), params)

    def _gate_inputs(self, data: Sequences) -> Array:
        return jnp.asarray(data.inputs[self.gate.inputs])

    def _features(self, data: Sequences) -> Array:
        """Inputs and observations in units of their spread, side by side, [sequence, time, column]."""
        columns = []
        for name in self.input_sets:
            mean, deviation = column_spread(data.inputs[name], data.lengths)
            columns.append((jnp.asarray(data.inputs[name]) - mean) / deviation)
        mean, deviation = feature_moments(data)
        values = (jnp.asarray(data.values) - mean) / jnp.where(deviation > 0, deviation, 1.0)
        return jnp.concatenate([*columns, jnp.where(jnp.asarray(data.observed), values, 0.0)], axis=-1)


def _k_means(key: Array, features: Array, mask: Array, num_clusters: int) -> Array:
    """Labels [sequence, time] by Lloyd's algorithm from random rows; compiled with the restarts, which scikit-learn's cannot be."""
    # Every restart stretches the columns anew, or all would end in the same few partitions.
    for_stretch, for_centres = jax.random.split(key)
    flat = (features * jnp.exp(0.7 * jax.random.normal(for_stretch, features.shape[-1:], features.dtype))).reshape(-1, features.shape[-1])
    real = mask.reshape(-1)
    order = jnp.argsort(jnp.where(real, jax.random.uniform(for_centres, real.shape), 2.0))
    centres = flat[order[jnp.arange(num_clusters) % order.shape[0]]]

    def nearest(centres: Array) -> Array:
        return jnp.argmin(jnp.stack([jnp.sum((flat - centre) ** 2, -1) for centre in centres]), axis=0)

    def step(_, centres: Array) -> Array:
        members = jnp.where(real, jax.nn.one_hot(nearest(centres), num_clusters, axis=0, dtype=flat.dtype), 0.0)
        counts = members.sum(1, keepdims=True)
        return jnp.where(counts > 0, members @ flat / jnp.where(counts > 0, counts, 1.0), centres)

    return nearest(jax.lax.fori_loop(0, _LLOYD_STEPS, step, centres)).reshape(mask.shape)


def _random_partition(key: Array, features: Array, mask: Array, num_clusters: int) -> Array:
    """Labels [sequence, time]: slices of equal number along a random direction."""
    direction = jax.random.normal(key, features.shape[-1:], features.dtype)
    along = jnp.where(mask, features @ direction, jnp.inf).reshape(-1)
    rank = jnp.argsort(jnp.argsort(along))
    return jnp.minimum(rank * num_clusters // jnp.maximum(mask.sum(), 1), num_clusters - 1).reshape(mask.shape)
