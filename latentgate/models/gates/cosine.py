"""The cosine gate, with the perturbed norms that repair its rates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior
from ..emissions.checks import at_least, positive
from ..emissions.statistics import column_spread
from ..zero_sum import ZeroSum
from .laplace import euclidean_norm
from .linear import WIDE, Scale, ScoredGate, clipped, independent_prior, scale_or_flat


class Cosine(ScoredGate):
    """Softmax of cosines: weights[k] · inputs / ((‖weights[k]‖ + weight_shift)(‖inputs‖ + input_shift)) / temperature + bias[k].

    With both shifts zero it is the cosine router, whose parameters converge more slowly than any power of the number of rows; positive shifts repair that
    (2025, arXiv 2405.14131). With `weight_shift=0` the length of the weights is not identified: its prior must be flat then, since any other would pull the
    weights to zero, where there is no angle. The score of a zero vector is its bias.

    Parameters: `weights` [expert, input]; `bias` [expert], which sums to zero.

    Args:
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        weight_shift, input_shift: added to the norms, not negative.
        weight_scale: standard deviation of the normal prior of every weight; "flat" for maximum likelihood.
        bias_scale: likewise of every bias.
        bound: largest absolute weight, and largest absolute difference of a bias to the last, or None: a box as part of the estimator.
        temperature: positive number that divides cosines. Cosines are at most one, so it says how hard the gate can be.

    Raises:
        ValueError: for scales, a bound or a temperature that are not positive, negative shifts, or a proper prior of weights whose length is not identified.

    Example:
        >>> import latentgate as lg
        >>> lg.gates.Cosine(num_inputs=2, temperature=0.1).dims()
        {'weights': ('expert', 'input'), 'bias': ('expert',)}
    """

    inputs: str
    num_inputs: int | None
    weight_shift: float
    input_shift: float
    weight_scale: float | None
    bias_scale: float | None
    bound: float | None
    temperature: float

    def __init__(
        self,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        weight_shift: float = 1.0,
        input_shift: float = 1.0,
        weight_scale: Scale = 10.0,
        bias_scale: Scale = WIDE,
        bound: float | None = None,
        temperature: float = 1.0,
    ):
        self.inputs = inputs
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)
        self.weight_shift, self.input_shift = (
            0.0 if shift == 0 else positive(name, shift) for name, shift in (("weight_shift", weight_shift), ("input_shift", input_shift))
        )
        self.weight_scale, self.bias_scale = scale_or_flat("weight_scale", weight_scale), scale_or_flat("bias_scale", bias_scale)
        if self.weight_shift == 0 and self.weight_scale is not None:
            raise ValueError(
                f'weight_scale: found {weight_scale!r} with weight_shift=0, expected "flat": the length of the weights is not identified there, '
                "and a prior would shrink them to nothing."
            )
        self.bound = None if bound is None else positive("bound", bound)
        self.temperature = positive("temperature", temperature)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {
            "weights": independent_prior((num_states, self.columns), self.weight_scale, self.bound),
            "bias": ZeroSum((num_states,), self.bias_scale, self.bound),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"weights": ("expert", "input"), "bias": ("expert",)}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Weights in random directions, in units of the spread of the inputs."""
        _, deviation = column_spread(data.inputs[self.inputs], data.lengths)
        for_weights, for_bias = jax.random.split(key)
        weights = jax.random.normal(for_weights, (num_states, self.columns)) / deviation
        bias = 0.1 * jax.random.normal(for_bias, (num_states,))
        if self.bound is not None:
            weights, bias = clipped(weights, 0.9 * self.bound, False), clipped(bias, 0.9 * self.bound, True)
        return {"weights": weights, "bias": bias - bias.mean()}

    def leading_scores(self, params: Params, inputs: Array) -> Array:
        """See `ScoredGate.leading_scores`."""
        # Norms before the product, so that the scale of neither side can overflow or underflow it.
        directions = _over(params["weights"], euclidean_norm(params["weights"]) + self.weight_shift)
        places = _over(inputs, euclidean_norm(inputs) + self.input_shift)
        cosines = jnp.einsum("km,...m->k...", directions, places)
        return cosines / self.temperature + params["bias"].reshape(-1, *[1] * (cosines.ndim - 1))


def _over(vectors: Array, norms: Array) -> Array:
    """Vectors [..., M] over norms [...]; zero where the norm is."""
    norms = norms[..., None]
    return jnp.where(norms > 0, vectors / jnp.where(norms > 0, norms, 1.0), 0.0)
