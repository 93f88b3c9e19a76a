"""The hierarchical gate: groups of experts, and experts within groups."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import log_sum_exp_leading

from ..base import Params, Prior
from ..emissions.checks import at_least, positive
from ..emissions.statistics import column_spread
from ..zero_sum import ZeroSum
from .base import Gate
from .linear import WIDE, Scale, clipped, linear_scores, scale_or_flat
from .logit import newton_logit


class Hierarchical(Gate):
    """Two levels (Jordan and Jacobs 1994): weight of member j of group i = softmax_i(group scores) · softmax_j(scores within group i), scores linear.

    Expert k is member k mod m of group k // m, with m experts a group. Each softmax has the freedom of a common row of its own, and rows sum to zero over
    groups, and over members within each group. Experts have places in the tree: they can be renumbered within groups and by groups only.

    Parameters: `group_weights` [group, input], `group_bias` [group]; `weights` [member, group, input], `bias` [member, group].

    Args:
        num_groups: at least one; divides the number of experts.
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        weight_scale: standard deviation of the normal prior of every weight at either level; "flat" for maximum likelihood.
        bias_scale: likewise of every bias.
        bound: largest absolute difference of a weight or bias to that of the last group, or of the last member of its group, or None.
        temperature: positive number that divides scores at both levels.

    Raises:
        ValueError: for a number of groups that does not divide that of experts, or scales that are not positive.

    Example:
        >>> import latentgate as lg
        >>> lg.gates.Hierarchical(2, num_inputs=1).dims()["weights"]
        ('member', 'group', 'input')
    """

    num_groups: int
    inputs: str
    num_inputs: int | None
    weight_scale: float | None
    bias_scale: float | None
    bound: float | None
    temperature: float

    def __init__(
        self,
        num_groups: int,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        weight_scale: Scale = WIDE,
        bias_scale: Scale = WIDE,
        bound: float | None = None,
        temperature: float = 1.0,
    ):
        self.num_groups = at_least("num_groups", num_groups)
        self.inputs = inputs
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)
        self.weight_scale, self.bias_scale = scale_or_flat("weight_scale", weight_scale), scale_or_flat("bias_scale", bias_scale)
        self.bound = None if bound is None else positive("bound", bound)
        self.temperature = positive("temperature", temperature)

    @property
    def anchored(self) -> bool:
        """See `Gate.anchored`."""
        return True

    def check_experts(self, num_experts: int) -> None:
        """See `Gate.check_experts`."""
        if num_experts % self.num_groups:
            raise ValueError(f"num_groups: found {self.num_groups} for {num_experts} experts, expected a number that divides that of experts.")

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        self.check_experts(num_states)
        groups, members = self.num_groups, num_states // self.num_groups
        return {
            "group_weights": ZeroSum((groups, self.columns), self.weight_scale, self.bound),
            "group_bias": ZeroSum((groups,), self.bias_scale, self.bound),
            "weights": ZeroSum((members, groups, self.columns), self.weight_scale, self.bound),
            "bias": ZeroSum((members, groups), self.bias_scale, self.bound),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"group_weights": ("group", "input"), "group_bias": ("group",), "weights": ("member", "group", "input"), "bias": ("member", "group")}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Scores that differ by about one over the spread of the inputs, at both levels."""
        mean, deviation = column_spread(data.inputs[self.inputs], data.lengths)
        groups, members = self.num_groups, num_states // self.num_groups

        def one(key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
            for_weights, for_bias = jax.random.split(key)
            weights = self.temperature * jax.random.normal(for_weights, (*shape, self.columns)) / deviation
            weights = weights - weights.mean(0)
            bias = 0.1 * self.temperature * jax.random.normal(for_bias, shape) - weights @ mean
            if self.bound is not None:
                weights, bias = (clipped(rows, 0.9 * self.bound, True) for rows in (weights, bias))
            return weights, bias - bias.mean(0)

        for_groups, for_members = jax.random.split(key)
        group_weights, group_bias = one(for_groups, (groups,))
        weights, bias = one(for_members, (members, groups))
        return {"group_weights": group_weights, "group_bias": group_bias, "weights": weights, "bias": bias}

    def log_weights(self, params: Params, inputs: Array) -> Array:
        """See `Gate.log_weights`."""
        outer = linear_scores(params["group_weights"], params["group_bias"], inputs) / self.temperature
        outer = outer - log_sum_exp_leading(outer)
        weights, bias = params["weights"], params["bias"]
        inner = linear_scores(weights.reshape(-1, weights.shape[-1]), bias.reshape(-1), inputs) / self.temperature
        inner = inner.reshape(*bias.shape, *inner.shape[1:])
        members_first = inner - log_sum_exp_leading(inner) + outer
        experts_first = jnp.swapaxes(members_first, 0, 1).reshape(-1, *members_first.shape[2:])
        return jnp.moveaxis(experts_first, 0, -1)

    def m_step(self, params: Params, inputs: Array, targets: Array, log_likelihood: Array | None = None) -> Params:
        """Damped Newton on a multinomial logit for the groups and one for each group: the objective is the sum of theirs."""
        step = partial(newton_logit, weight_scale=self.weight_scale, bias_scale=self.bias_scale, bound=self.bound, temperature=self.temperature)
        by_group = targets.reshape(*targets.shape[:-1], self.num_groups, -1)
        found = dict(params)
        if self.num_groups > 1:
            found["group_weights"], found["group_bias"] = step(params["group_weights"], params["group_bias"], inputs, by_group.sum(-1))
        if by_group.shape[-1] > 1:
            within = jax.vmap(lambda weights, bias, targets: step(weights, bias, inputs, targets), in_axes=(1, 1, -2), out_axes=1)
            found["weights"], found["bias"] = within(params["weights"], params["bias"], by_group)
        return found
