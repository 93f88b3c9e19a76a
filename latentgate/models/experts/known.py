"""An expert whose law is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences

from ..base import Params, WithoutParameters
from ..distributions import mended
from ..emissions.base import check_inputs
from ..emissions.checks import at_least
from ..observations import check_features
from ..sized import sized_by_inputs
from .base import Experts


class Known(WithoutParameters, Experts):
    """One expert without parameters: a background law, the known component of a contaminated mixture. `Several` sets it beside others.

    Args:
        law: a distribution of numpyro for one observation, or a function from inputs [..., M] to a distribution of batch shape [...], for example
            `lambda x: dist.Laplace(jnp.tanh(x @ eta), 0.02)`. A fit with a function cannot be written to a file, which would have to hold code.
        inputs: name of the input set that the function reads; None for a plain distribution.
        num_inputs: its columns; from the data if None.
        num_features: N, columns of an observation that a function gives the law of; that law has event shape (N,), or () where N is one.

    Raises:
        ValueError: for a law of another kind or shape.

    Example:
        >>> import numpyro.distributions as dist, latentgate as lg
        >>> lg.experts.Several(outlier=lg.experts.Known(dist.Uniform(-100, 100)), line=lg.experts.LinearGaussian(1)).num_experts
        2
    """

    num_experts: int
    law: Any
    inputs: str | None
    num_inputs: int | None
    features: int

    def __init__(
        self,
        law: dist.Distribution | Callable[[Array], dist.Distribution],
        inputs: str | None = None,
        *,
        num_inputs: int | None = None,
        num_features: int | None = None,
    ):
        self.num_experts = 1
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)
        if isinstance(law, dist.Distribution):
            for name, found in (("inputs", inputs), ("num_inputs", num_inputs)):
                if found is not None:
                    raise ValueError(f"{name}: found {found!r}, expected None: a distribution does not read inputs; pass a function of them as law.")
            if law.batch_shape or len(law.event_shape) > 1:
                raise ValueError(f"law: found batch shape {law.batch_shape} and event shape {law.event_shape}, expected the law of one observation, [] or [N].")
            self.features = law.event_shape[0] if law.event_shape else 1
            if num_features not in (None, self.features):
                raise ValueError(f"num_features: found {num_features!r}, expected {self.features} as the law has; leave it out.")
            self.law, self.inputs = mended(law), None
        elif callable(law):
            self.law, self.inputs = law, "inputs" if inputs is None else inputs
            self.features = 1 if num_features is None else at_least("num_features", num_features)
        else:
            raise ValueError(f"law: found {law!r}, expected a distribution of numpyro, or a function from inputs to one.")

    @property
    def num_features(self) -> int:
        """Columns of an observation."""
        return self.features

    @property
    def input_sets(self) -> dict[str, int]:
        """{name: number of columns} of the input set that a function reads; of one whose size is open, none yet."""
        return {} if self.inputs is None or self.num_inputs is None else {self.inputs: self.num_inputs}

    @property
    def anchored(self) -> bool:
        """Whether experts must not be renumbered: it has a law of its own."""
        return True

    def suited_to(self, data: Sequences) -> Self:
        """The same expert for as many inputs as the data have."""
        return self if self.inputs is None else sized_by_inputs(self, data)

    def _law_at(self, inputs: Array | None) -> dist.Distribution:
        return self.law if self.inputs is None else self.law(inputs)

    def check(self, data: Sequences) -> None:
        """The number of features, the input set, and observations that the law allows."""
        check_features(self, self.features, data)
        check_inputs("Known", self.suited_to(data).input_sets, data)
        steps = np.shape(data.values)[:2]
        law = self._law_at(None if self.inputs is None else jnp.asarray(data.inputs[self.inputs]))
        if not isinstance(law, dist.Distribution):
            raise ValueError(f"law: found {type(law).__name__} from the function, expected a distribution of numpyro.")
        batch = () if self.inputs is None else steps
        if law.batch_shape != batch or law.event_shape not in ((self.features,), *([()] if self.features == 1 else [])):
            raise ValueError(
                f"law: found batch shape {law.batch_shape} and event shape {law.event_shape} for inputs of shape {(*steps, 'M')}, expected {batch} and "
                f"{() if self.features == 1 else (self.features,)}."
            )
        observed = np.asarray(data.observed)
        partly = observed.any(-1) & ~observed.all(-1)
        if partly.any():
            sequence, step = np.argwhere(partly)[0]
            raise ValueError(
                f"data: found step {step} of sequence {sequence} missing in part, expected whole observations for Known; mark all its features by NaN, or none."
            )
        allowed = np.broadcast_to(np.asarray(law.support(self._events(data, law))), steps)  # pyright: ignore[reportCallIssue, reportOptionalCall]
        wrong = observed.any(-1) & ~allowed
        if wrong.any():
            sequence, step = np.argwhere(wrong)[0]
            raise ValueError(
                f"data: found {np.asarray(data.values)[sequence, step].tolist()} in sequence {sequence}, step {step}, expected a value that the known "
                f"{type(law).__name__} law allows."
            )

    def _events(self, data: Sequences, law: dist.Distribution) -> Array:
        values = jnp.asarray(data.values)
        return values if law.event_shape else values[..., 0]

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        law = self._law_at(None if self.inputs is None else jnp.asarray(data.inputs[self.inputs]))
        terms = jnp.asarray(law.log_prob(self._events(data, law)))
        return jnp.where(jnp.asarray(data.observed).any(-1), terms, 0.0)[..., None]

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Nothing to estimate; see `Emission.m_step`."""
        return {}

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        drawn = self._law_at(None if self.inputs is None else inputs[self.inputs]).sample(key)
        return jnp.asarray(drawn, jnp.result_type(float)).reshape(self.features)
