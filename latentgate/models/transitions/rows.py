"""Transitions from step to step: constant, sticky, or driven by inputs."""

from __future__ import annotations

import abc

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import safe_log

from ..base import Params, Prior, with_shape
from ..distributions import Dirichlet, dirichlet_mode
from ..unconstrained import maximise
from .base import Transition

NUMERICAL_STEPS = 12


class _DirichletRows(Transition):
    @abc.abstractmethod
    def concentrations(self, num_states: int) -> Array:
        """Dirichlet concentration of each row, [K, K]."""

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {"probs": Dirichlet(self.concentrations(num_states)).to_event(1)}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"probs": ("state", "next_state")}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Rows that mostly stay, scattered."""
        return {"probs": starting_rows(key, num_states)}

    def log_probs(self, params: Params, data: Sequences) -> Array:
        """See `Transition.log_probs`."""
        return safe_log(params["probs"])[None]

    def step_probs(self, params: Params, inputs: dict[str, Array]) -> Array:
        """See `Transition.step_probs`."""
        return params["probs"]

    def m_step(self, params: Params, data: Sequences, expected: Array) -> Params:
        """Posterior mode of each row."""
        concentration = self.concentrations(params["probs"].shape[-1])
        return {"probs": dirichlet_mode(expected.sum(0), concentration, params["probs"])}


class Stationary(_DirichletRows):
    """Constant transition probabilities.

    Parameters: `probs` [state, next_state].

    Args:
        concentration: of the Dirichlet prior of each row; 1 is uniform, under which the mode is the maximum likelihood.

    Example:
        >>> import latentgate as lg
        >>> lg.transitions.Stationary().dims()
        {'probs': ('state', 'next_state')}
    """

    concentration: float = 1.0

    def concentrations(self, num_states: int) -> Array:
        """See base."""
        return jnp.full((num_states, num_states), self.concentration)


class Sticky(_DirichletRows):
    """Constant transition probabilities with a prior that favours staying: Dirichlet(concentration + stickiness on the diagonal).

    Parameters: `probs` [state, next_state].

    Args:
        stickiness: extra pseudo-transitions from each state to itself.
        concentration: as in `Stationary`.
    """

    stickiness: float = 10.0
    concentration: float = 1.0

    def concentrations(self, num_states: int) -> Array:
        """See base."""
        return self.concentration + self.stickiness * jnp.eye(num_states)


class Gated(Transition):
    """Transitions driven by inputs: log P(z_t = j | z_{t-1} = i, u_t) = log P_ij + W_j · u_t + normaliser.

    The inputs of a step gate the transition *into* it. Adding one vector to every W_j changes nothing; the prior settles it.

    Parameters: `probs` P [state, next_state]; `weights` W [next_state, input], or [state, next_state, input] per origin.

    Args:
        num_inputs: columns of the input set.
        inputs: its name.
        per_origin: give each origin its own weights, W_ij.
        weight_prior: of every weight.
        concentration: of the Dirichlet prior of the rows of P.

    Example:
        >>> import latentgate as lg
        >>> lg.transitions.Gated(2, inputs="task").input_sets
        {'task': 2}
    """

    num_inputs: int
    inputs: str
    per_origin: bool
    weight_prior: dist.Distribution
    concentration: float

    def __init__(
        self,
        num_inputs: int,
        inputs: str = "inputs",
        per_origin: bool = False,
        weight_prior: dist.Distribution | None = None,
        concentration: float = 1.0,
    ):
        self.num_inputs = num_inputs
        self.inputs = inputs
        self.per_origin = per_origin
        self.weight_prior = dist.Normal(0.0, 1.0) if weight_prior is None else weight_prior
        self.concentration = concentration

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Transition.input_sets`."""
        return {self.inputs: self.num_inputs}

    def _weights_shape(self, num_states: int) -> tuple[int, ...]:
        origins = (num_states,) if self.per_origin else ()
        return (*origins, num_states, self.num_inputs)

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        rows = Dirichlet(jnp.full((num_states, num_states), self.concentration)).to_event(1)
        return {"probs": rows, "weights": with_shape(self.weight_prior, self._weights_shape(num_states), "weights")}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        origins = ("state",) if self.per_origin else ()
        return {"probs": ("state", "next_state"), "weights": (*origins, "next_state", "input")}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Rows that mostly stay, weights near zero."""
        rows, weights = jax.random.split(key)
        return {
            "probs": starting_rows(rows, num_states),
            "weights": 0.1 * jax.random.normal(weights, self._weights_shape(num_states)),
        }

    def _gate(self, params: Params, inputs: Array) -> Array:
        drive = jnp.einsum("...jm,tm->t...j" if self.per_origin else "jm,tm->tj", params["weights"], inputs)
        if not self.per_origin:
            drive = drive[:, None, :]
        return jax.nn.log_softmax(safe_log(params["probs"]) + drive, axis=-1)

    def log_probs(self, params: Params, data: Sequences) -> Array:
        """See `Transition.log_probs`."""
        return jax.vmap(lambda inputs: self._gate(params, inputs))(jnp.asarray(data.inputs[self.inputs])[:, 1:])

    def step_probs(self, params: Params, inputs: dict[str, Array]) -> Array:
        """See `Transition.step_probs`."""
        return jnp.exp(self._gate(params, inputs[self.inputs][None])[0])

    def m_step(self, params: Params, data: Sequences, expected: Array) -> Params:
        """Multinomial logistic regression of the expected transitions on the inputs, by L-BFGS."""

        def expected_log_probs(new: Params) -> Array:
            return jnp.sum(jnp.where(expected > 0, expected * self.log_probs(new, data), 0.0))

        return maximise(expected_log_probs, self.priors(params["probs"].shape[-1]), params, NUMERICAL_STEPS)


def starting_rows(key: Array, num_states: int) -> Array:
    """Transition rows for a restart: about 0.9 on the diagonal, the rest scattered."""
    # Normalised exponentials are Dirichlet(1); JAX's own sampler takes seconds to compile.
    rows = jax.random.exponential(key, (num_states, num_states))
    rows = rows / rows.sum(-1, keepdims=True)
    return 0.9 * jnp.eye(num_states) + 0.1 * rows
