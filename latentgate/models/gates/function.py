"""A gate from a user's own function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import Distribution, biject_to

from latentgate.data import Sequences

from ..base import Params, Prior, with_shape
from ..emissions.checks import at_least, positive
from .linear import ScoredGate


class Function(ScoredGate):
    """Softmax of a function of parameters and inputs, over the temperature.

    Nothing is known of what leaves the scores' softmax unchanged: give priors that settle it (a normal prior on all scores' parameters does).
    A model with such a gate cannot be saved, since files hold no code; save `fit.params` and build the model anew.

    Args:
        function: from (params, inputs [..., M]) to scores [..., K], in terms of jax.numpy; -inf leaves an expert out.
        parameters: {name: names of its dimensions}; "expert" is K long and "input" is M long, the lengths of others are in `sizes`. Parameters are
            renumbered with the experts along "expert".
        priors: {name: numpyro distribution}, of every entry or of the whole array; Normal(0, 1) where there is none.
        sizes: {dimension: length}.
        inputs: name of the input set.
        num_inputs: its columns; from the data if None.
        temperature: positive number that divides scores.

    Raises:
        ValueError: for something that is no function, dimensions of unknown length, priors of unknown parameters, or (when it is first used) a function whose
            result has another shape than scores.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> def hats(params, inputs):
        ...     return -jnp.sum(jnp.abs(inputs[..., None, :] - params["centres"]), -1)
        >>> gate = lg.gates.Function(hats, {"centres": ("expert", "input")}, num_inputs=1)
        >>> jnp.exp(gate.log_weights({"centres": jnp.array([[0.0], [2.0]])}, jnp.array([1.0]))).tolist()
        [0.5, 0.5]
    """

    function: Callable[[Params, Array], Array]
    parameters: dict[str, tuple[str, ...]]
    entry_priors: dict[str, Distribution]
    sizes: dict[str, int]
    inputs: str
    num_inputs: int | None
    temperature: float

    def __init__(
        self,
        function: Callable[[Params, Array], Array],
        parameters: Mapping[str, tuple[str, ...]],
        *,
        priors: Mapping[str, Distribution] | None = None,
        sizes: Mapping[str, int] | None = None,
        inputs: str = "inputs",
        num_inputs: int | None = None,
        temperature: float = 1.0,
    ):
        if not callable(function):
            raise ValueError(f"function: found {function!r}, expected a function of parameters and inputs.")
        self.sizes = {name: at_least(f"sizes[{name!r}]", size) for name, size in (sizes or {}).items()}
        for name, dims in parameters.items():
            unknown = [] if isinstance(dims, str) else [dim for dim in dims if dim not in ("expert", "input", *self.sizes)]
            if isinstance(dims, str) or unknown:
                found = repr(dims) if isinstance(dims, str) else repr(unknown[0])
                raise ValueError(f'parameters[{name!r}]: found {found}, expected a tuple of "expert", "input" and keys of sizes, such as ("expert", "input").')
        strangers = sorted(set(priors or {}) - set(parameters))
        if strangers:
            raise ValueError(f"priors: found {strangers[0]!r}, expected names of parameters: {', '.join(map(repr, parameters))}.")
        self.function = function
        self.parameters = {name: tuple(dims) for name, dims in parameters.items()}
        given = dict(priors or {})
        self.entry_priors = {name: given[name] if name in given else dist.Normal(0.0, 1.0) for name in parameters}
        self.inputs = inputs
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)
        self.temperature = positive("temperature", temperature)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        lengths = {"expert": num_states, "input": self.columns, **self.sizes}
        return {name: with_shape(self.entry_priors[name], tuple(lengths[dim] for dim in dims), name) for name, dims in self.parameters.items()}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return dict(self.parameters)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Standard normal draws in unconstrained coordinates."""
        params: Params = {}
        for name, prior in self.priors(num_states).items():
            key, own = jax.random.split(key)
            transform: Any = biject_to(prior.support)  # pyright: ignore[reportAttributeAccessIssue]
            shape = transform.inverse_shape(prior.event_shape)  # pyright: ignore[reportAttributeAccessIssue]
            params[name] = transform(jax.random.normal(own, shape))
        return params

    def leading_scores(self, params: Params, inputs: Array) -> Array:
        """See `ScoredGate.leading_scores`."""
        scores = self.function(params, inputs)
        expected = {len(params[name]) for name, dims in self.parameters.items() if dims[:1] == ("expert",)}
        found = jnp.shape(scores)
        if len(found) != inputs.ndim or found[:-1] != inputs.shape[:-1] or (expected and found[-1] not in expected):
            ends = sorted(expected) or ["K"]
            raise ValueError(f"function: found scores of shape {found} for inputs of shape {inputs.shape}, expected {(*inputs.shape[:-1], ends[0])}.")
        return jnp.moveaxis(scores, -1, 0) / self.temperature
