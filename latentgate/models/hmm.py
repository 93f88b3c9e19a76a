"""Hidden Markov models: a discrete chain made of an initial law, a transition and an emission."""

from __future__ import annotations

from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.arguments import at_least, described
from latentgate.data import Sequences
from latentgate.kernels import BACKENDS, SEMIRINGS, DiscreteChain, Smoothed, safe_log

from .base import Params, Part, Prior, StateSpaceModel, split_keys, with_prefix, without_prefix
from .emissions.base import Emission
from .initial import Initial, initial_of
from .observations import require_sequences
from .transitions import Stationary, Transition


class HMM(StateSpaceModel):
    """Hidden Markov model.

    Parameters: `initial.probs` [state] where it is free, those of the transition under `transition.`, those of the emission under `emission.`.

    Args:
        num_states: K, at least 1. One state gives the static model (a GLM, say) in the same frame.
        emission: from `lg.emissions`.
        transition: from `lg.transitions`; constant if None.
        initial_concentration: of the Dirichlet prior of the first state, where it is free.
        initial: law of the first state: "free", K known probabilities, or "given" (the likelihood is conditional on the first state).
        semiring: "scaled" (fast) or "log" (for near-deterministic chains).
        backend: "auto", "sequential" or "associative".

    Raises:
        ValueError: for fewer than one state or an unknown option.

    Example:
        >>> import latentgate as lg
        >>> sorted(lg.HMM(3, lg.emissions.Poisson(20)).dims())
        ['emission.rates', 'initial.probs', 'transition.probs']
    """

    num_states: int
    emission: Emission
    transition: Transition
    initial: Initial
    semiring: str
    backend: str

    def __init__(
        self,
        num_states: int,
        emission: Emission,
        transition: Transition | None = None,
        *,
        initial_concentration: float = 1.0,
        initial: object = "free",
        semiring: str = "scaled",
        backend: str = "auto",
    ):
        if isinstance(num_states, Emission):
            raise ValueError(f"num_states: found {described(num_states)}, expected an integer of at least 1; the order is lg.HMM(num_states, emission).")
        self.num_states = at_least("num_states", num_states)
        if not isinstance(emission, Emission):
            raise ValueError(f"emission: found {described(emission)}, expected one of lg.emissions, for example lg.emissions.Poisson(20).")
        if transition is not None and not isinstance(transition, Transition):
            raise ValueError(f"transition: found {described(transition)}, expected one of lg.transitions, for example lg.transitions.Sticky().")
        if semiring not in SEMIRINGS:
            raise ValueError(f"semiring: found {semiring!r}, expected one of {', '.join(map(repr, SEMIRINGS))}.")
        if backend not in BACKENDS:
            raise ValueError(f"backend: found {backend!r}, expected one of {', '.join(map(repr, BACKENDS))}.")
        self.emission = emission
        self.transition = Stationary() if transition is None else transition
        self.initial = initial_of(initial, initial_concentration, self.num_states)
        self.semiring = semiring
        self.backend = backend

    def priors(self) -> dict[str, Prior]:
        """See `StateSpaceModel.priors`."""
        return {
            **with_prefix("initial", self.initial.priors(self.num_states)),
            **with_prefix("transition", self.transition.priors(self.num_states)),
            **with_prefix("emission", self.emission.priors(self.num_states)),
        }

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `StateSpaceModel.dims`."""
        return {
            **with_prefix("initial", self.initial.dims()),
            **with_prefix("transition", self.transition.dims()),
            **with_prefix("emission", self.emission.dims()),
        }

    @property
    def anchored(self) -> bool:
        """Whether states keep their numbers, since the data tell them apart."""
        return self.emission.anchored

    def interchangeable_dims(self) -> dict[str, tuple[str, ...]]:
        """See `StateSpaceModel.interchangeable_dims`."""
        if not self.anchored:
            return self.dims()
        return {name: tuple(f"own_{dim}" if dim in ("state", "next_state") else dim for dim in axes) for name, axes in self.dims().items()}

    def check(self, data: Sequences) -> None:
        """See `StateSpaceModel.check`."""
        require_sequences(data)
        self.transition.check(data)
        self.emission.check(data)

    def catalogue(self, data: Sequences) -> Sequences:
        """See `Part.catalogue`."""
        return self.emission.catalogue(self.transition.catalogue(data))

    def suited_to(self, data: Sequences) -> Self:
        """See `Part.suited_to`."""
        parts = (self.transition.suited_to(data), self.emission.suited_to(data))
        return eqx.tree_at(lambda model: (model.transition, model.emission), self, parts, is_leaf=lambda leaf: isinstance(leaf, Part))

    def prepare(self, data: Sequences) -> Sequences:
        """See `StateSpaceModel.prepare`."""
        return self.emission.prepare(self.transition.prepare(data))

    def initialize(self, key: Array, data: Sequences) -> Params:
        """See `StateSpaceModel.initialize`."""
        keys = split_keys(key, ["transition", "emission"])
        return {
            **with_prefix("initial", self.initial.initialize(key, data, self.num_states)),
            **with_prefix("transition", self.transition.initialize(keys["transition"], data, self.num_states)),
            **with_prefix("emission", self.emission.initialize(keys["emission"], data, self.num_states)),
        }

    def adopt(self, other: StateSpaceModel, params: Params) -> Params:
        """Start from a fit of an HMM with as many states, part by part: a one-hot HMM-GLM from one with ridge coupling, say."""
        if not isinstance(other, HMM) or other.num_states != self.num_states:
            found = f"an HMM with {other.num_states} states" if isinstance(other, HMM) else type(other).__name__
            raise ValueError(f"start: found a fit of {found}, expected an HMM with {self.num_states} states.")
        return {
            **with_prefix("initial", self.initial.adopt(other.initial, without_prefix("initial", params))),
            **with_prefix("transition", self.transition.adopt(other.transition, without_prefix("transition", params))),
            **with_prefix("emission", self.emission.adopt(other.emission, without_prefix("emission", params))),
        }

    def degeneracy(self, params: Params, data: Sequences) -> str | None:
        """See `StateSpaceModel.degeneracy`."""
        found = self.transition.degeneracy(without_prefix("transition", params), data)
        return found or self.emission.degeneracy(without_prefix("emission", params), data)

    def potentials(self, params: Params, data: Sequences) -> DiscreteChain:
        """See `StateSpaceModel.potentials`."""
        return DiscreteChain(
            log_initial=self.initial.log_probs(without_prefix("initial", params), self.num_states)[None],
            log_transitions=self.transition.log_probs(without_prefix("transition", params), data),
            log_nodes=self.emission.log_likelihood(without_prefix("emission", params), data),
            lengths=jnp.asarray(data.lengths),
            semiring=self.semiring,
            backend=self.backend,
        )

    def m_step(self, params: Params, data: Sequences, smoothed: Smoothed) -> Params:
        """See `StateSpaceModel.m_step`."""
        transition, emission = without_prefix("transition", params), without_prefix("emission", params)
        return {
            **with_prefix("initial", self.initial.m_step(without_prefix("initial", params), smoothed.marginals[:, 0].sum(0))),
            **with_prefix("transition", self.transition.m_step(transition, data, smoothed.expected_transitions)),
            **with_prefix("emission", self.emission.m_step(emission, data, smoothed.marginals)),
        }

    def simulate(self, key: Array, params: Params, lengths, inputs=None, times=None, initial=None) -> tuple[Sequences, list[np.ndarray]]:
        """Draws sequences from the model.

        Args:
            key: JAX random key.
            params: parameters.
            lengths: steps of each sequence.
            inputs: as in `Sequences.from_arrays`, one array [time, input] a sequence, where the model reads inputs.
            times: as in `Sequences.from_arrays`; kept with the data drawn.
            initial: law of the first state [K], in place of the model's own; for models that have none.

        Returns:
            the sequences and a list of their states, int32 [time].

        Raises:
            ValueError: for missing inputs, times or a missing law of the first state.
        """
        lengths = [int(length) for length in lengths]
        longest = max(lengths)
        blank = [np.zeros((length, self.emission.num_features)) for length in lengths]
        given = Sequences.from_arrays(blank, inputs=inputs, times=times)
        self.transition.check(given)
        law = self.initial if initial is None else initial_of(initial, 1.0, self.num_states)
        first = law.probs(without_prefix("initial", params), self.num_states)
        wanted = {**self.transition.input_sets, **self.emission.input_sets}
        columns = {name: jnp.asarray(given.inputs[name]) for name in wanted if name in given.inputs}
        missing = set(wanted) - set(columns)
        if missing:
            raise ValueError(f"inputs: found none called {sorted(missing)[0]!r}, expected one array [time, input] a sequence to simulate.")
        keys = jax.random.split(key, len(lengths))
        values, states = _simulate(self, keys, params, first, columns, self.transition.step_inputs(given), longest)
        values, states = np.asarray(values), np.asarray(states)
        arrays = [value[:length] for value, length in zip(values, lengths, strict=True)]
        simulated = Sequences.from_arrays(arrays, inputs=inputs, times=times)
        return simulated, [state[:length] for state, length in zip(states, lengths, strict=True)]


@eqx.filter_jit
def _simulate(model: HMM, keys: Array, params: Params, first: Array, inputs: dict[str, Array], drives: dict[str, Array], num_steps: int) -> tuple[Array, Array]:
    transition, emission = without_prefix("transition", params), without_prefix("emission", params)

    def one(key: Array, inputs: dict[str, Array], drives: dict[str, Array]):
        def step(carry, now):
            previous, recent, key = carry
            is_first, columns, drive = now
            key, for_state, for_value = jax.random.split(key, 3)
            moved = model.transition.step_probs(transition, drive)[previous]
            state = jax.random.categorical(for_state, safe_log(jnp.where(is_first, first, moved))).astype(jnp.int32)
            value = model.emission.sample(for_value, emission, state, columns, recent)
            recent = jnp.concatenate([recent[1:], value[None]]) if recent.shape[0] else recent
            return (state, recent, key), (value, state)

        recent = jnp.zeros((model.emission.num_lags, model.emission.num_features), first.dtype)
        start = (jnp.zeros((), jnp.int32), recent, key)
        return jax.lax.scan(step, start, (jnp.arange(num_steps) == 0, inputs, drives))[1]

    return jax.vmap(one)(keys, inputs, drives)
