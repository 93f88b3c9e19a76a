"""The discrete chain that says which of switching potentials acts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import DiscreteChain, safe_log

from ..base import Params, Part, Prior
from ..distributions import Dirichlet
from ..potentials import Potential

# Steps that a state is expected to last before data are seen.
_STAY = 20.0


class SwitchingStates(Part):
    """A Markov chain of K states, one potential each: q(states | data) is the chain with nodes that the guide gives, and its divergence is exact.

    The states that a path follows are drawn from that chain, so that the bound is one; derivatives pass through its marginals in place of the draw
    (straight through), which is biased in the nodes and the transitions alone.

    Parameters: `initial` [state], `transition` [state, next_state].
    """

    num_states: int

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        count = self.num_states
        stay = 1.0 + np.eye(count) * (_STAY - 1.0) * max(count - 1, 1)
        return {"initial": Dirichlet(jnp.ones(count)), "transition": Dirichlet(jnp.asarray(stay)).to_event(1)}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"initial": ("state",), "transition": ("state", "next_state")}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Even odds at first, long stays."""
        count = self.num_states
        leave = 1.0 / _STAY if count > 1 else 0.0
        transition = jnp.eye(count) * (1.0 - leave) + (1.0 - jnp.eye(count)) * leave / max(count - 1, 1)
        return {"initial": jnp.full(count, 1.0 / count), "transition": transition}

    def chain(self, params: Params, nodes: Array, lengths: Array) -> DiscreteChain:
        """The chain of every sequence with log-potentials [sequence, time, state]."""
        return DiscreteChain(safe_log(params["initial"])[None], safe_log(params["transition"])[None], nodes, lengths)

    def draw(self, params: Params, nodes: Array | None, data: Sequences, key: Array | None) -> tuple[Array, Array]:
        """Weights of the potentials at every step, [time, sequence, state], and the divergence from the prior, [sequence].

        Args:
            params: of the chain.
            nodes: from the guide, [time, sequence, state].
            data: the sequences.
            key: of the draw; expected weights in its place if None.
        """
        assert nodes is not None
        real = jnp.asarray(data.mask)
        nodes = jnp.where(real[..., None], jnp.swapaxes(nodes, 0, 1), 0.0)
        chain = self.chain(params, nodes, jnp.asarray(data.lengths))
        smoothed = chain.smooth()
        divergence = (smoothed.marginals * nodes).sum((1, 2)) - smoothed.log_normaliser
        weights = smoothed.marginals
        if key is not None:
            chosen = jax.nn.one_hot(chain.sample(key), self.num_states, dtype=weights.dtype)
            weights = chosen + weights - jax.lax.stop_gradient(weights)
        return jnp.swapaxes(weights, 0, 1), divergence

    def simulate(self, params: Params, count: int, steps: int, key: Array) -> Array:
        """Weights of states drawn from the prior, [time, sequence, state]."""
        chain = self.chain(params, jnp.zeros((count, steps, self.num_states)), jnp.full(count, steps))
        return jnp.swapaxes(jax.nn.one_hot(chain.sample(key), self.num_states), 0, 1)


def states_of(potential: Potential) -> SwitchingStates | None:
    """The chain that a potential asks for, or None."""
    return SwitchingStates(potential.num_states) if potential.num_states else None
