"""The Laplace gate: experts with centres, chosen by distance."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior
from ..emissions.checks import at_least, positive
from ..emissions.statistics import column_spread
from ..zero_sum import ZeroSum
from .linear import WIDE, Scale, ScoredGate, clipped, independent_prior, scale_or_flat


class Laplace(ScoredGate):
    """Softmax of negative distances: weight of expert k = softmax_k((bias[k] - ‖inputs - centres[k]‖) / temperature) (FuseMoE, 2024).

    The distance has a kink at a centre, where its derivative is taken to be zero. Biases sum to zero: adding one number to all changes nothing.

    Parameters: `centres` [expert, input], in the units of the inputs; `bias` [expert].

    Args:
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        centre_scale: standard deviation of the normal prior of every coordinate of a centre, about zero; "flat" for maximum likelihood.
        bias_scale: likewise of every bias.
        bound: largest absolute coordinate of a centre, and largest absolute difference of a bias to the last, or None: a box as part of the estimator.
        temperature: positive number that divides scores.

    Raises:
        ValueError: for scales, a bound or a temperature that are not positive.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> params = {"centres": jnp.array([[0.0], [3.0]]), "bias": jnp.zeros(2)}
        >>> jnp.exp(lg.gates.Laplace(num_inputs=1).log_weights(params, jnp.array([1.5]))).tolist()
        [0.5, 0.5]
    """

    inputs: str
    num_inputs: int | None
    centre_scale: float | None
    bias_scale: float | None
    bound: float | None
    temperature: float

    def __init__(
        self,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        centre_scale: Scale = WIDE,
        bias_scale: Scale = WIDE,
        bound: float | None = None,
        temperature: float = 1.0,
    ):
        self.inputs = inputs
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)
        self.centre_scale, self.bias_scale = scale_or_flat("centre_scale", centre_scale), scale_or_flat("bias_scale", bias_scale)
        self.bound = None if bound is None else positive("bound", bound)
        self.temperature = positive("temperature", temperature)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {
            "centres": independent_prior((num_states, self.columns), self.centre_scale, self.bound),
            "bias": ZeroSum((num_states,), self.bias_scale, self.bound),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"centres": ("expert", "input"), "bias": ("expert",)}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Centres scattered like the inputs."""
        mean, deviation = column_spread(data.inputs[self.inputs], data.lengths)
        for_centres, for_bias = jax.random.split(key)
        centres: Any = mean + deviation * jax.random.normal(for_centres, (num_states, self.columns))
        bias = 0.1 * self.temperature * jax.random.normal(for_bias, (num_states,))
        if self.bound is not None:
            centres, bias = clipped(centres, 0.9 * self.bound, False), clipped(bias, 0.9 * self.bound, True)
        return {"centres": centres, "bias": bias - bias.mean()}

    def leading_scores(self, params: Params, inputs: Array) -> Array:
        """See `ScoredGate.leading_scores`."""
        centres = params["centres"].reshape(-1, *[1] * (inputs.ndim - 1), inputs.shape[-1])
        bias = params["bias"].reshape(-1, *[1] * (inputs.ndim - 1))
        return (bias - euclidean_norm(inputs - centres)) / self.temperature


def euclidean_norm(vectors: Array) -> Array:
    """Lengths of vectors [..., M], [...]; derivatives are zero at zero vectors, never NaN."""
    squares = jnp.sum(vectors**2, axis=-1)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1.0)), 0.0)
