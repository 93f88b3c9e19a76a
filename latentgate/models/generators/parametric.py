"""A generator that is any function of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from numpyro.distributions import biject_to

from ..base import Params, Prior, split_keys
from ..distributions import mended
from ..emissions.checks import at_least, positive
from .base import Generator, Graph, graph_mask, graph_of


class Parametric(Generator):
    """Rates by a function of the user's: a physical model with few parameters.

    Parameters: those named by `priors`.

    Args:
        function: from {name: array} (and, with inputs, a row of them [M]) to rates [K, K]; in JAX. The diagonal is not looked at.
        priors: {name: numpyro distribution}; the support is the parameter's constraint, the shape that of the parameter.
        graph: as in `Free`.
        num_inputs: columns of the input set that the function reads; 0 for none.
        inputs: its name.
        time_scale: as in `Free`.

    Raises:
        ValueError: for something that is no function, or priors that are no distributions.

    Example:
        >>> import jax.numpy as jnp, numpyro.distributions as dist, latentgate as lg
        >>> two_way = lambda params: params["speed"] * jnp.array([[0.0, 1.0], [2.0, 0.0]])
        >>> lg.generators.Parametric(two_way, {"speed": dist.LogNormal(0.0, 2.0)}).dims()
        {'speed': ()}
    """

    function: Callable[..., Array]
    given: dict[str, dist.Distribution]
    graph: Graph | None
    num_inputs: int
    inputs: str
    time_scale: float

    def __init__(
        self,
        function: Callable[..., Array],
        priors: Mapping[str, dist.Distribution],
        graph: object = None,
        *,
        num_inputs: int = 0,
        inputs: str = "inputs",
        time_scale: float = 1.0,
    ):
        if not callable(function):
            raise ValueError(f"function: found {function!r}, expected a JAX function from parameters to rates [K, K].")
        for name, prior in dict(priors).items():
            if not isinstance(prior, dist.Distribution):
                raise ValueError(f"priors[{name!r}]: found {prior!r}, expected a distribution of numpyro.")
        self.function = function
        self.given = {name: mended(prior) for name, prior in priors.items()}
        self.graph = graph_of(graph)
        self.num_inputs = at_least("num_inputs", num_inputs, 0)
        self.inputs = inputs
        self.time_scale = positive("time_scale", time_scale)

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Generator.input_sets`."""
        return {self.inputs: self.num_inputs} if self.num_inputs else {}

    def mask(self, num_states: int) -> np.ndarray:
        """See `Generator.mask`."""
        return graph_mask(self.graph, num_states)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {name: prior.to_event(len(prior.batch_shape)) for name, prior in self.given.items()}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {name: tuple(f"{name}_{axis}" for axis in range(len(prior.batch_shape) + len(prior.event_shape))) for name, prior in self.given.items()}

    def rates(self, params: Params, covariates: Array) -> Array:
        """See `Generator.rates`."""
        if self.num_inputs:
            return jax.vmap(lambda row: self.function(params, row))(covariates)
        return jnp.asarray(self.function(params))[None]

    def from_counts(self, key: Array, jumps: Array, times: Array) -> Params:
        """Near zero in unconstrained space: what the function makes of its parameters cannot be turned round."""
        params = {}
        for name, own in split_keys(key, list(self.given)).items():
            prior = self.priors(0)[name]
            transform = biject_to(prior.support)  # pyright: ignore[reportAttributeAccessIssue]
            shape = transform.inverse_shape((*prior.batch_shape, *prior.event_shape))  # pyright: ignore[reportAttributeAccessIssue]
            params[name] = transform(0.5 * jax.random.normal(own, shape))
        return params
