"""Sparse gates: softmax over the experts with the largest scores, without and with the noise that trains it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior
from ..emissions.checks import at_least, positive
from .linear import WIDE, LinearGate, Scale, independent_prior, linear_scores, set_linear, to_log_weights
from .selection import checked_selection, selected, selection_step

RANKINGS = ("score", "score without bias")


class TopK(LinearGate):
    """Softmax over the `num_selected` experts with the largest scores weights[k] · inputs + bias[k]; the others have weight zero.

    The weights sum to one, so a mixture with this gate has a density, which jumps where the selection changes. Gradients (of MAP, SVI, NUTS) see the weights
    within a selection but not the selection: fit it by EM, whose M-step climbs the log-likelihood itself over both (see `Gate.m_step`), or start from a fit of
    `lg.gates.Softmax` (`lg.fit(..., start=fit)`) or from `lg.gates.kmeans_least_squares`.

    With one expert selected its weight is one, and the gate is identified only through the partition of the inputs: scores of any scale, or any monotone
    change of them, are the same gate. Compare partitions then, not parameters. EM leaves the scale of the scores where it started.

    An over-specified mixture needs at least as many selected experts as the largest total size of the cells of fitted experts that true ones hold, or a
    positive Hellinger distance remains (Nguyen, Akbarian, Yan and Ho, ICLR 2024).

    Parameters: `weights` [expert, input], `bias` [expert]; rows sum to zero, as in `lg.gates.Softmax`.

    Args:
        num_selected: experts with a weight, at least one; at most the number of experts.
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        rank_by: "score", or "score without bias" (the published definition; the weights are of full scores in either case). Equal ones: the first wins.
        weight_scale: standard deviation of the normal prior of every weight; "flat" for maximum likelihood.
        bias_scale: likewise of every bias.
        bound: largest absolute difference of a weight or bias to that of the last expert, or None: a box as part of the estimator.
        temperature: positive number that divides scores.

    Raises:
        ValueError: for a number selected below one or above the number of experts, an unknown ranking, or scales that are not positive.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> params = {"weights": jnp.array([[1.0], [0.0], [-1.0]]), "bias": jnp.zeros(3)}
        >>> jnp.exp(lg.gates.TopK(1, num_inputs=1).log_weights(params, jnp.array([[2.0], [-2.0]]))).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """

    num_selected: int
    inputs: str
    num_inputs: int | None
    rank_by: str
    weight_scale: float | None
    bias_scale: float | None
    bound: float | None
    temperature: float

    def __init__(
        self,
        num_selected: int,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        rank_by: str = "score",
        weight_scale: Scale = WIDE,
        bias_scale: Scale = WIDE,
        bound: float | None = None,
        temperature: float = 1.0,
    ):
        if rank_by not in RANKINGS:
            raise ValueError(f"rank_by: found {rank_by!r}, expected one of {', '.join(map(repr, RANKINGS))}.")
        self.num_selected = at_least("num_selected", num_selected)
        self.rank_by = rank_by
        set_linear(self, inputs, num_inputs, weight_scale, bias_scale, bound)
        self.temperature = positive("temperature", temperature)

    def check_experts(self, num_experts: int) -> None:
        """See `Gate.check_experts`."""
        checked_selection("TopK", self.num_selected, num_experts)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        self.check_experts(num_states)
        return super().priors(num_states)

    @property
    def starting_spread(self) -> float:
        """See `LinearGate.starting_spread`."""
        return self.temperature

    def degeneracy(self, params: Params, data: Sequences) -> str | None:
        """A gate of one expert at a time is always a step."""
        return None if self.num_selected == 1 else super().degeneracy(params, data)

    def linear(self, params: Params, inputs: Array) -> Array:
        """Scores of all experts, selected or not, [K, ...]."""
        return linear_scores(params["weights"], params["bias"], inputs) / self.temperature

    def selection(self, params: Params, inputs: Array) -> Array:
        """Which experts are selected, bool [K, ...]."""
        return selected(linear_scores(params["weights"], self.ranking_bias(params), inputs), self.num_selected)

    def ranking_bias(self, params: Params) -> Array:
        """What is added to weights · inputs before they are ranked, [K]."""
        return params["bias"] if self.rank_by == "score" else jnp.zeros_like(params["bias"])

    def leading_scores(self, params: Params, inputs: Array) -> Array:
        """Scores [K, ...]; -inf for experts that are not selected."""
        return jnp.where(self.selection(params, inputs), self.linear(params, inputs), -jnp.inf)

    def m_step(self, params: Params, inputs: Array, targets: Array, log_likelihood: Array | None = None) -> Params:
        """See `Gate.m_step`: the log-likelihood itself where it is given; Newton proposals, then a compass search."""
        return params if targets.shape[-1] == 1 else selection_step(self, params, inputs, targets, log_likelihood)


class NoisyTopK(LinearGate):
    """Sparse gate whose selection is trained under noise: scores + noise · softplus(noise_weights[k] · inputs) (Shazeer et al. 2017).

    Noise is a device of training by gradient on samples (`noisy_log_weights`) and makes the load of experts a smooth function (`load`). As a density, the gate
    has the weights without noise, those of `lg.gates.TopK`; the likelihood does not know `noise_weights`, and EM leaves them where they are.

    Parameters: `weights` [expert, input], `bias` [expert], whose rows sum to zero; `noise_weights` [expert, input].

    Args:
        num_selected: experts with a weight, at least one; at most the number of experts.
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        weight_scale: standard deviation of the normal prior of every weight; "flat" for maximum likelihood.
        bias_scale: likewise of every bias.
        noise_scale: likewise of every noise weight.
        bound: largest absolute difference of a weight or bias to that of the last expert, or None.
        temperature: positive number that divides scores, noisy or not.

    Raises:
        ValueError: for a number selected below one or above the number of experts, or scales that are not positive.

    Example:
        >>> import latentgate as lg
        >>> lg.gates.NoisyTopK(2, num_inputs=3).dims()["noise_weights"]
        ('expert', 'input')
    """

    num_selected: int
    inputs: str
    num_inputs: int | None
    weight_scale: float | None
    bias_scale: float | None
    noise_scale: float
    bound: float | None
    temperature: float

    def __init__(
        self,
        num_selected: int,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        weight_scale: Scale = WIDE,
        bias_scale: Scale = WIDE,
        noise_scale: float = 1.0,
        bound: float | None = None,
        temperature: float = 1.0,
    ):
        self.num_selected = at_least("num_selected", num_selected)
        set_linear(self, inputs, num_inputs, weight_scale, bias_scale, bound)
        self.noise_scale = positive("noise_scale", noise_scale)
        self.temperature = positive("temperature", temperature)

    def check_experts(self, num_experts: int) -> None:
        """See `Gate.check_experts`."""
        checked_selection("NoisyTopK", self.num_selected, num_experts)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        self.check_experts(num_states)
        return {**super().priors(num_states), "noise_weights": independent_prior((num_states, self.columns), self.noise_scale)}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {**super().dims(), "noise_weights": ("expert", "input")}

    @property
    def starting_spread(self) -> float:
        """See `LinearGate.starting_spread`."""
        return self.temperature

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """As `lg.gates.TopK`; noise weights of zero, which is noise of log 2 everywhere."""
        start = super().initialize(key, data, num_states)
        return {**start, "noise_weights": jnp.zeros_like(start["weights"])}

    def degeneracy(self, params: Params, data: Sequences) -> str | None:
        """A gate of one expert at a time is always a step."""
        return None if self.num_selected == 1 else super().degeneracy(params, data)

    def linear(self, params: Params, inputs: Array) -> Array:
        """Scores of all experts without noise, [K, ...]."""
        return linear_scores(params["weights"], params["bias"], inputs) / self.temperature

    def noise_deviation(self, params: Params, inputs: Array) -> Array:
        """Standard deviation of the noise of each score, [K, ...]."""
        return jax.nn.softplus(jnp.einsum("km,...m->k...", params["noise_weights"], inputs)) / self.temperature

    def selection(self, params: Params, inputs: Array) -> Array:
        """Which experts are selected without noise, bool [K, ...]."""
        return selected(self.linear(params, inputs), self.num_selected)

    def ranking_bias(self, params: Params) -> Array:
        """What is added to weights · inputs before they are ranked, [K]."""
        return params["bias"]

    def leading_scores(self, params: Params, inputs: Array) -> Array:
        """Scores without noise, [K, ...]; -inf for experts that are not selected."""
        return self._kept(self.linear(params, inputs))

    def _kept(self, scores: Array) -> Array:
        return jnp.where(selected(scores, self.num_selected), scores, -jnp.inf)

    def noisy_scores(self, key: Array, params: Params, inputs: Array) -> Array:
        """Scores of all experts with a draw of noise, [..., K]."""
        return jnp.moveaxis(self._noisy(key, params, inputs), 0, -1)

    def _noisy(self, key: Array, params: Params, inputs: Array) -> Array:
        scores = self.linear(params, inputs)
        return scores + self.noise_deviation(params, inputs) * jax.random.normal(key, scores.shape, scores.dtype)

    def noisy_log_weights(self, key: Array, params: Params, inputs: Array) -> Array:
        """Log-weights under a draw of noise, [..., K]."""
        return to_log_weights(self._kept(self._noisy(key, params, inputs)))

    def load(self, params: Params, inputs: Array, key: Array | None = None) -> Array:
        """Probability that each expert is selected if its own noise is drawn anew, [..., K]: smooth in the parameters; sum over steps for the load.

        Args:
            params: parameters.
            inputs: [..., M].
            key: of the noise of the other scores; without it they have none.
        """
        scores = self.linear(params, inputs)
        if scores.shape[0] == self.num_selected:
            return jnp.ones((*scores.shape[1:], scores.shape[0]), scores.dtype)
        others = scores if key is None else self._noisy(key, params, inputs)
        ordered = -jnp.sort(-others, axis=0)
        # The score to beat: of the others the one in the last selected place.
        inside = selected(others, self.num_selected)
        threshold = jnp.where(inside, ordered[self.num_selected], ordered[self.num_selected - 1])
        deviation = self.noise_deviation(params, inputs)
        # Noise so small that it underflows decides nothing.
        smooth = jax.scipy.stats.norm.cdf((scores - threshold) / jnp.where(deviation > 0, deviation, 1.0))
        return jnp.moveaxis(jnp.where(deviation > 0, smooth, inside), 0, -1)

    def m_step(self, params: Params, inputs: Array, targets: Array, log_likelihood: Array | None = None) -> Params:
        """See `TopK.m_step`; noise weights stay as they are."""
        return params if targets.shape[-1] == 1 else selection_step(self, params, inputs, targets, log_likelihood)
