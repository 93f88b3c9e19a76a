"""One-layer networks as experts."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params
from ..designs import check_design, input_names, is_flat, observed_rows
from ..emissions.checks import at_least, prior_or
from ..emissions.statistics import column_spread, feature_moments
from .nonlinear import NormalAboutCurves

_ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}


class Network(NormalAboutCurves):
    """Normal observations about a network with one hidden layer: mean_k(x) = Σ_u output[k, u] · activation(hidden[k, u] · x + hidden_bias[k, u]) + bias[k].

    Without output weights the units are added as they are: `Network(K, 1, outputs=False, hidden_bias=False, bias=False)` has the means tanh(hidden[k, 0] · x),
    and `Network(K, 1, "relu", outputs=False, bias=False)` the means relu(hidden[k, 0] · x + hidden_bias[k, 0]).

    Parameters: `hidden` [expert, unit, input], `hidden_bias` [expert, unit], `output` [expert, unit], `bias` [expert], as far as there are any; standard
    deviations `scale` [expert], or one for all, []. Units of an expert can be renumbered, and with tanh change sign, without changing its mean: compare
    means of experts, not their units.

    Args:
        num_experts: K.
        num_units: of the hidden layer.
        activation: "tanh" or "relu".
        inputs: name of the input set.
        outputs: whether units have output weights.
        hidden_bias: whether units have biases.
        bias: whether experts have one.
        num_inputs: columns of the input set; from the data if None.
        hidden_prior: of every entry of `hidden` and `hidden_bias`: a numpyro distribution, or "flat". If None Normal(0, 10²), for inputs of order one;
            without output weights Normal(0, (100 scale)²).
        output_prior: of every output weight; Normal(0, (10 scale)²) if None.
        bias_prior: of every bias; Normal(0, (100 scale)²) if None.
        shared_scale, scale, variance_prior, min_scale: see `LinearGaussian`.

    Raises:
        ValueError: for fewer than one unit, an unknown activation, a prior of something that is left out; and as `LinearGaussian`.

    Example:
        >>> import latentgate as lg
        >>> lg.experts.Network(2, 1, outputs=False, hidden_bias=False, bias=False, num_inputs=8).dims()
        {'hidden': ('expert', 'unit', 'input'), 'scale': ('expert',)}
    """

    num_units: int
    activation: str
    outputs: bool
    hidden_bias: bool
    bias: bool
    hidden_prior: dist.Distribution
    output_prior: dist.Distribution
    bias_prior: dist.Distribution

    def __init__(
        self,
        num_experts: int,
        num_units: int,
        activation: Literal["tanh", "relu"] = "tanh",
        inputs: str = "inputs",
        *,
        outputs: bool = True,
        hidden_bias: bool = True,
        bias: bool = True,
        num_inputs: int | None = None,
        shared_scale: bool = False,
        scale: float = 1.0,
        hidden_prior: dist.Distribution | Literal["flat"] | None = None,
        output_prior: dist.Distribution | Literal["flat"] | None = None,
        bias_prior: dist.Distribution | Literal["flat"] | None = None,
        variance_prior: dist.Distribution | Literal["flat"] | None = None,
        min_scale: float | None = None,
    ):
        super().__init__(num_experts, inputs, num_inputs, shared_scale, scale, variance_prior, min_scale)
        self.num_units = at_least("num_units", num_units)
        if activation not in _ACTIVATIONS:
            raise ValueError(f"activation: found {activation!r}, expected one of {', '.join(map(repr, _ACTIVATIONS))}.")
        self.activation = activation
        self.outputs, self.hidden_bias, self.bias = bool(outputs), bool(hidden_bias), bool(bias)
        if output_prior is not None and not self.outputs:
            raise ValueError("output_prior: found one, expected None, since there are no output weights (outputs=False); leave it out.")
        if bias_prior is not None and not self.bias:
            raise ValueError("bias_prior: found one, expected None, since there is no bias (bias=False); leave it out.")
        self.hidden_prior = prior_or("hidden_prior", hidden_prior, dist.Normal(0.0, 10.0 if self.outputs else 100.0 * self.scale))
        self.output_prior = prior_or("output_prior", output_prior, dist.Normal(0.0, 10.0 * self.scale))
        self.bias_prior = prior_or("bias_prior", bias_prior, dist.Normal(0.0, 100.0 * self.scale))

    def mean(self, params: Params, inputs: Array) -> Array:
        """See `NormalAboutCurves.mean`."""
        drive = params["hidden"] @ inputs
        units = _ACTIVATIONS[self.activation](drive + params["hidden_bias"] if self.hidden_bias else drive)
        mean = params["output"] @ units if self.outputs else units.sum()
        return mean + params["bias"] if self.bias else mean

    def mean_priors(self) -> dict[str, tuple[dist.Distribution, tuple[int, ...]]]:
        """See `NormalAboutCurves.mean_priors`."""
        found = {
            "hidden": (self.hidden_prior, (self.num_units, self.columns)),
            "hidden_bias": (self.hidden_prior, (self.num_units,)),
            "output": (self.output_prior, (self.num_units,)),
            "bias": (self.bias_prior, ()),
        }
        return {name: found[name] for name in self.mean_dims()}

    def mean_dims(self) -> dict[str, tuple[str, ...]]:
        """See `NormalAboutCurves.mean_dims`."""
        present = {"hidden": True, "hidden_bias": self.hidden_bias, "output": self.outputs, "bias": self.bias}
        dims = {"hidden": ("unit", "input"), "hidden_bias": ("unit",), "output": ("unit",), "bias": ()}
        return {name: axes for name, axes in dims.items() if present[name]}

    def check_design(self, data: Sequences, *, flat_scale: bool) -> None:
        """See `ExpertsWithMeans.check_design`."""
        columns = data.inputs[self.inputs].shape[-1]
        per_unit = columns + self.hidden_bias + self.outputs
        check_design(
            "Network experts",
            input_names(self.inputs, data),
            observed_rows(data.inputs[self.inputs], data),
            flat_weights=is_flat(self.hidden_prior),
            flat_bias=is_flat(self.hidden_prior) if self.hidden_bias else None,
            num_parameters=self.num_units * per_unit + self.bias + flat_scale,
        )

    def initialize_means(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Units that bend within the spread of the inputs, in random directions; their sum has the spread of the observations."""
        value, deviation = (moment[0] for moment in feature_moments(data))
        deviation = jnp.where(deviation > 0, deviation, self.scale)
        centre, spread = column_spread(data.inputs[self.inputs], data.lengths)
        keys = jax.random.split(key, 4)
        hidden = jax.random.normal(keys[0], (num_states, self.num_units, self.columns)) / (spread * jnp.sqrt(self.columns))
        if not self.outputs and self.activation == "relu":
            hidden = deviation * hidden
        offset = jax.random.normal(keys[1], (num_states, self.num_units, self.columns))
        found = {
            "hidden": hidden,
            "hidden_bias": -jnp.einsum("kum,kum->ku", hidden, centre + 0.5 * spread * offset),
            "output": deviation * jax.random.normal(keys[2], (num_states, self.num_units)) / jnp.sqrt(self.num_units),
            "bias": value + 0.3 * deviation * jax.random.normal(keys[3], (num_states,)),
        }
        return {name: found[name] for name in self.mean_dims()}
