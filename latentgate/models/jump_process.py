"""Markov jump processes: hidden Markov models in continuous time."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from latentgate.data import Sequences
from latentgate.kernels.generators import uniformisation

from .base import Params, split_keys, with_prefix, without_prefix
from .emissions.base import Emission
from .emissions.known_state import KnownState
from .generators import Free, Generator
from .hmm import HMM
from .reachability import check_possible
from .transitions import Jump


class MarkovJumpProcess(HMM):
    """A Markov jump process Z(t) with generator Q, looked at on irregular times.

    An HMM whose transition is `lg.transitions.Jump`: what can be asked of an HMM can be asked of it, and the emission says what is seen: the state itself
    or a set that holds it (`lg.emissions.KnownState`), the state with errors (`Misclassified`), any other emission, or several side by side (`Product`).
    How rows came to be seen (snapshots, exact entry times, watched paths) is in the data: see `lg.transitions.Jump`, and `lg.panel`, which makes such data
    of a table. States keep their numbers: they are told apart by the data or the graph, so restarts and draws are not renumbered.

    Parameters: those of the generator under `transition.`, those of the emission under `emission.`, and `initial.probs` [state] where it is free.

    Args:
        num_states: K, at least 2.
        emission: from `lg.emissions`; the state itself if None.
        generator: from `lg.generators`, or a graph for free rates on it; all edges if None.
        initial: law of the first state: "given" (the likelihood is conditional on it: for data whose first rows show the state), "free", or K probabilities.
        initial_concentration: of the Dirichlet prior of a free law of the first state.
        method: see `lg.transitions.Jump`.
        semiring, backend: see `HMM`.

    Raises:
        ValueError: for fewer than two states, an unknown option, or a graph or emission of another number of states.

    Source: Jackson, J. Stat. Softw. 38(8), 2011; Liu et al., NeurIPS 2015.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> states, times = [np.array([0.0, 0.0, 1.0, 0.0])] * 9, [np.array([0.0, 0.4, 1.1, 2.5])] * 9
        >>> data = lg.Sequences.from_arrays(states, times=times)
        >>> fit = lg.fit(lg.MarkovJumpProcess(2), data, lg.MAP(), seed=0)
        >>> fit.params["transition.rates"].round(2).tolist()
        [[0.0, 1.27], [1.22, 0.0]]
    """

    def __init__(
        self,
        num_states: int,
        emission: Emission | None = None,
        generator: object = None,
        *,
        initial: object = "given",
        initial_concentration: float = 1.0,
        method: str = "auto",
        semiring: str = "scaled",
        backend: str = "auto",
    ):
        super().__init__(
            num_states,
            KnownState(num_states) if emission is None else emission,
            Jump(generator if isinstance(generator, Generator) else Free(generator), method),
            initial_concentration=initial_concentration,
            initial=initial,
            semiring=semiring,
            backend=backend,
        )
        if self.num_states < 2:
            raise ValueError(f"num_states: found {num_states}, expected at least 2: with one state nothing jumps.")
        # Parts that are of another number of states say so when asked for their priors.
        self.priors()

    @property
    def jump(self) -> Jump:
        """The transition."""
        assert isinstance(self.transition, Jump)
        return self.transition

    @property
    def anchored(self) -> bool:
        """True: the graph, if not the data, tells states apart."""
        return True

    def check(self, data: Sequences) -> None:
        """See `StateSpaceModel.check`; data that the graph cannot have made are named by sequence and row."""
        super().check(data)
        check_possible(self.jump.generator.mask(self.num_states), self.emission.possible(data, self.num_states), self.initial, data)

    def initialize(self, key: Array, data: Sequences) -> Params:
        """See `StateSpaceModel.initialize`: rates from rough counts of what the emission's starting values make of the data."""
        keys = split_keys(key, ["others", "rates"])
        params = super().initialize(keys["others"], data)
        nodes = self.emission.log_likelihood(without_prefix("emission", params), data)
        weights = jnp.nan_to_num(jax.nn.softmax(nodes, axis=-1)) * jnp.asarray(data.mask)[..., None]
        gaps = jnp.diff(jnp.asarray(data.times), axis=1)
        jumps = jnp.einsum("sti,stj->ij", weights[:, :-1], weights[:, 1:])
        times = jnp.einsum("sti,st->i", weights[:, :-1], gaps)
        return params | with_prefix("transition", self.jump.generator.from_counts(keys["rates"], jumps, times))

    def generator(self, params: Params, inputs: ArrayLike | None = None) -> Array:
        """The generator Q, rates per unit of time with rows that sum to zero.

        Args:
            params: parameters.
            inputs: one row [M] or several [G, M] of what the generator reads; None where it reads nothing.

        Returns:
            [K, K], or [G, K, K] for several rows.

        Raises:
            ValueError: if inputs are missing or of another number of columns.
        """
        wanted = sum(self.jump.input_sets.values())
        rows = jnp.zeros((1, 0)) if inputs is None else jnp.atleast_2d(jnp.asarray(inputs))
        if rows.shape[-1] != wanted:
            raise ValueError(f"inputs: found {rows.shape[-1]} columns, expected {wanted}, those of {', '.join(self.jump.input_sets) or 'no input set'}.")
        params = {name: jnp.asarray(value) for name, value in params.items()}
        generators = self.jump.generator.matrices(without_prefix("transition", params), rows)
        return generators if inputs is not None and np.ndim(inputs) > 1 else generators[0]

    def transition_matrix(self, params: Params, gap, inputs: ArrayLike | None = None) -> Array:
        """P(state j after the gap | state i before it), [K, K] for one gap, [U, K, K] for several.

        Args:
            params: parameters.
            gap: duration, or durations [U], in the units of the data's times.
            inputs: as in `generator`, one row.
        """
        matrices = uniformisation.transition_matrices(self.generator(params, inputs)[None], jnp.atleast_1d(jnp.asarray(gap, float)))
        return matrices if np.ndim(gap) else matrices[0]

    def expected_jumps_and_times(self, params: Params, data: Sequences) -> tuple[Array, Array]:
        """Expected jumps between states, [K, K], and times in them, [K], given all data: the E-step.

        Both are derivatives of the log-likelihood with respect to the generators as free matrices: q_ij ∂/∂q_ij and ∂/∂q_ii.
        """
        return _expected(self, params, self.catalogue(data))


@eqx.filter_jit
def _expected(model: MarkovJumpProcess, params: Params, data: Sequences) -> tuple[Array, Array]:
    smoothed = model.potentials(params, data).smooth()
    jumps, times = model.jump.expected(without_prefix("transition", params), data, smoothed.expected_transitions)
    return jumps.sum(0), times.sum(0)
