"""The quadratic gate."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior
from ..emissions.checks import at_least, positive
from ..emissions.statistics import column_spread
from ..zero_sum import ZeroSum
from .linear import WIDE, Scale, ScoredGate, clipped, scale_or_flat
from .logit import newton_logit
from .symmetric import SymmetricZeroSum, packed, unpacked


class Quadratic(ScoredGate):
    """Softmax of quadratic forms: inputsᵀ matrices[k] inputs + weights[k] · inputs + bias[k], over the temperature.

    It holds every Gaussian gate with full covariances (of which it is the conditional law), and parts inputs by curved borders. The monomial form, without the
    linear term, has the faster rates (2024, arXiv 2410.11222).

    Parameters: `matrices` [expert, input, input_other], symmetric; `weights` [expert, input], not in the monomial form; `bias` [expert]. All sum to zero over
    experts.

    Args:
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        monomial: leave the linear term out.
        matrix_scale: standard deviation of the normal prior of every diagonal entry (√½ times that of others: rotating the inputs changes nothing); "flat"
            for maximum likelihood.
        weight_scale, bias_scale: likewise of every weight and bias.
        bound: largest absolute difference of any parameter to that of the last expert, or None: a box as part of the estimator.
        temperature: positive number that divides scores.

    Raises:
        ValueError: for scales, a bound or a temperature that are not positive.

    Example:
        >>> import latentgate as lg
        >>> lg.gates.Quadratic(num_inputs=2, monomial=True).dims()
        {'matrices': ('expert', 'input', 'input_other'), 'bias': ('expert',)}
    """

    inputs: str
    num_inputs: int | None
    monomial: bool
    matrix_scale: float | None
    weight_scale: float | None
    bias_scale: float | None
    bound: float | None
    temperature: float

    def __init__(
        self,
        inputs: str = "inputs",
        *,
        num_inputs: int | None = None,
        monomial: bool = False,
        matrix_scale: Scale = WIDE,
        weight_scale: Scale = WIDE,
        bias_scale: Scale = WIDE,
        bound: float | None = None,
        temperature: float = 1.0,
    ):
        self.inputs = inputs
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)
        self.monomial = bool(monomial)
        self.matrix_scale = scale_or_flat("matrix_scale", matrix_scale)
        self.weight_scale, self.bias_scale = scale_or_flat("weight_scale", weight_scale), scale_or_flat("bias_scale", bias_scale)
        self.bound = None if bound is None else positive("bound", bound)
        self.temperature = positive("temperature", temperature)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        linear: dict[str, Prior] = {} if self.monomial else {"weights": ZeroSum((num_states, self.columns), self.weight_scale, self.bound)}
        matrices = SymmetricZeroSum(num_states, self.columns, self.matrix_scale, self.bound)
        return {"matrices": matrices, **linear, "bias": ZeroSum((num_states,), self.bias_scale, self.bound)}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        linear = {} if self.monomial else {"weights": ("expert", "input")}
        return {"matrices": ("expert", "input", "input_other"), **linear, "bias": ("expert",)}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Linear scores that differ by about one over the spread of the inputs, and weak curvatures; in the monomial form curvatures alone."""
        mean, deviation = column_spread(data.inputs[self.inputs], data.lengths)
        for_matrices, for_weights, for_bias = jax.random.split(key, 3)
        size = self.columns
        drawn = jax.random.normal(for_matrices, (num_states, size, size)) / (deviation[:, None] * deviation)
        matrices = (0.5 if self.monomial else 0.05) * self.temperature * (drawn + jnp.swapaxes(drawn, -1, -2))
        matrices = matrices - matrices.mean(0)
        weights = self.temperature * jax.random.normal(for_weights, (num_states, size)) / deviation
        weights = jnp.zeros_like(weights) if self.monomial else weights - weights.mean(0)
        centre = jnp.einsum("kmn,m,n->k", matrices, mean, mean) + weights @ mean
        bias = 0.1 * self.temperature * jax.random.normal(for_bias, (num_states,)) - centre
        params = {"matrices": matrices, "weights": weights, "bias": bias - bias.mean()}
        if self.bound is not None:
            params = {name: clipped(value, 0.9 * self.bound, True) for name, value in params.items()}
        return {name: params[name] for name in self.dims()}

    def leading_scores(self, params: Params, inputs: Array) -> Array:
        """See `ScoredGate.leading_scores`."""
        scores = jnp.einsum("kp,...p->k...", self._coefficients(params), self._features(inputs))
        return (scores + params["bias"].reshape(-1, *[1] * (scores.ndim - 1))) / self.temperature

    def _features(self, inputs: Array) -> Array:
        """Products of pairs of inputs, and the inputs unless the form is monomial, [..., P]."""
        rows, columns = np.triu_indices(inputs.shape[-1])
        products = inputs[..., rows] * inputs[..., columns] * np.where(rows == columns, 1.0, 2.0)
        return products if self.monomial else jnp.concatenate([products, inputs], axis=-1)

    def _coefficients(self, params: Params) -> Array:
        """Of the features, [K, P]."""
        triangles = packed(params["matrices"])
        return triangles if self.monomial else jnp.concatenate([triangles, params["weights"]], axis=-1)

    def m_step(self, params: Params, inputs: Array, targets: Array, log_likelihood: Array | None = None) -> Params:
        """Damped Newton on the multinomial logit of the features with fractional targets."""
        if targets.shape[-1] == 1:
            return params
        size = inputs.shape[-1]
        rows, columns = np.triu_indices(size)
        own = np.inf if self.matrix_scale is None else self.matrix_scale
        scales = np.where(rows == columns, own, own * np.sqrt(0.5))
        if not self.monomial:
            scales = np.concatenate([scales, np.full(size, np.inf if self.weight_scale is None else self.weight_scale)])
        coefficients, bias = newton_logit(
            self._coefficients(params),
            params["bias"],
            self._features(inputs),
            targets,
            weight_scale=jnp.asarray(scales, inputs.dtype),
            bias_scale=self.bias_scale,
            bound=self.bound,
            temperature=self.temperature,
        )
        found = {"matrices": unpacked(coefficients[:, : len(rows)], size), "weights": coefficients[:, len(rows) :], "bias": bias}
        return {name: found[name] for name in self.dims()}
