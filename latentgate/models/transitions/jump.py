"""Transitions in continuous time: a Markov jump process looked at on irregular times."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences
from latentgate.data.panel import ARRIVAL, EXACT_ENTRY, OBSERVED_CONTINUOUSLY
from latentgate.kernels import safe_log
from latentgate.kernels.generators import reversible, scaling, uniformisation

from ..base import Params, Part, Prior
from ..generators import Free, Generator, Reversible
from .base import Transition
from .edges import Edges, catalogued, edges_of

METHODS = ("auto", "uniformisation", "scaling", "eigendecomposition")
# With fewer gaps to a generator than this, shared powers are no gain.
_GAPS_TO_SHARE_POWERS = 4


class Jump(Transition):
    """A Markov jump process between the times of the data: P(state j at t_n | state i at t_{n-1}) = exp(Q (t_n - t_{n-1}))_ij.

    Inputs that the generator reads hold from their row until the next. An input set "arrival" [time, 1] says how a row came to be seen: 0 at a moment of
    the observer's (a snapshot; all rows, if there is no such set), 1 at the moment at which the state was entered, by a path not seen (a death), 2 after
    the process had been watched since the row before (all its jumps are rows).

    Parameters: those of the generator.

    Args:
        generator: from `lg.generators`; free rates between all states if None.
        method: of the transition matrices: "uniformisation" (powers shared by the gaps of a generator), "scaling" (for a generator of its own to nearly
            every gap), "eigendecomposition" (of `lg.generators.Reversible` alone), or "auto" for one of the first two.

    Raises:
        ValueError: for an unknown method, or one that the generator does not allow.

    Source: Jackson, J. Stat. Softw. 38(8), 2011 (R's msm), sections 1.4-1.6.

    Example:
        >>> import latentgate as lg
        >>> lg.transitions.Jump(lg.generators.Free([(0, 1), (1, 0), (1, 2)])).dims()
        {'rates': ('state', 'next_state')}
    """

    generator: Generator
    method: str

    def __init__(self, generator: Generator | None = None, method: str = "auto"):
        self.generator = Free() if generator is None else generator
        if not isinstance(self.generator, Generator):
            raise ValueError(f"generator: found {generator!r}, expected one of lg.generators, for example lg.generators.Free([(0, 1), (1, 0)]).")
        if method not in METHODS:
            raise ValueError(f"method: found {method!r}, expected one of {', '.join(map(repr, METHODS))}.")
        if method == "eigendecomposition" and not isinstance(self.generator, Reversible):
            raise ValueError(f"method: found 'eigendecomposition' with {type(self.generator).__name__}, expected it with lg.generators.Reversible alone.")
        self.method = method

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Transition.input_sets`."""
        return self.generator.input_sets

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return self.generator.priors(num_states)

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return self.generator.dims()

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """See `Part.initialize`."""
        return self.generator.initialize(key, data, num_states)

    def adopt(self, other: Part, params: Params) -> Params:
        """See `Part.adopt`."""
        return self.generator.adopt(other.generator if isinstance(other, Jump) else other, params)

    def check(self, data: Sequences) -> None:
        """Times, inputs and arrivals, and what the generator asks of its inputs."""
        super().check(data)
        self.generator.check(data)
        check_times(data)

    def catalogue(self, data: Sequences) -> Sequences:
        """See `Part.catalogue`: the distinct edges."""
        return catalogued(data, tuple(self.input_sets))

    def log_probs(self, params: Params, data: Sequences) -> Array:
        """See `Transition.log_probs`."""
        edges = edges_of(data, tuple(self.input_sets))
        table = self._log_edges(self._generators(params, edges), edges, params)
        return table[:1] if edges.step is None else table[edges.step]

    def m_step(self, params: Params, data: Sequences, expected: Array) -> Params:
        """See `Transition.m_step`: that of the generator, from expected jumps and times."""
        jumps, times = self.expected(params, data, expected)
        return self.generator.m_step(params, edges_of(data, tuple(self.input_sets)).covariates, jumps, times)

    def expected(self, params: Params, data: Sequences, expected: Array) -> tuple[Array, Array]:
        """Expected jumps [G, K, K] and times [G, K] under every distinct generator: derivatives of the expected log-edges.

        Args:
            params: parameters.
            data: the sequences.
            expected: expected transitions, as in `m_step`.
        """
        edges = edges_of(data, tuple(self.input_sets))
        if edges.step is None:
            counts = expected.sum(tuple(range(expected.ndim - 2)))[None]
        else:
            flat = expected.reshape(-1, *expected.shape[-2:])
            counts = jax.ops.segment_sum(flat, edges.step.reshape(-1), num_segments=edges.gaps.shape[0])

        def expected_log_edges(generators: Array) -> Array:
            # The eigendecomposition knows reversible generators alone, and the derivative is that of a free matrix.
            table = self._log_edges(generators, edges, None)
            return jnp.sum(jnp.where(counts > 0, counts * table, 0.0))

        generators = self._generators(params, edges)
        slope = jax.grad(expected_log_edges)(generators)
        times = jnp.diagonal(slope, axis1=-2, axis2=-1)
        return jnp.where(jnp.eye(slope.shape[-1], dtype=bool), 0.0, generators * slope), times

    def step_probs(self, params: Params, inputs: dict[str, Array]) -> Array:
        """See `Transition.step_probs`; the time since the step before is the input "_gap" [1]."""
        covariates = [inputs[name] for name in self.input_sets]
        generators = self.generator.matrices(params, jnp.concatenate(covariates)[None] if covariates else jnp.zeros((1, 0)))
        return uniformisation.transition_matrices(generators, inputs["_gap"])[0]

    def step_inputs(self, data: Sequences) -> dict[str, Array]:
        """See `Transition.step_inputs`: the gap before a step, and the inputs of the row before it."""
        gaps = jnp.diff(jnp.asarray(data.times), axis=1, prepend=jnp.asarray(data.times)[:, :1])
        before = {name: jnp.roll(jnp.asarray(data.inputs[name]), 1, axis=1) for name in self.input_sets}
        return before | {"_gap": gaps[..., None]}

    def suited_to(self, data: Sequences) -> Jump:
        """See `Part.suited_to`."""
        return Jump(self.generator.suited_to(data), self.method)

    def _generators(self, params: Params, edges: Edges) -> Array:
        return self.generator.matrices(params, edges.covariates)

    def _log_edges(self, generators: Array, edges: Edges, params: Params | None) -> Array:
        """Log-edges [U, K, K]."""
        index = None if generators.shape[0] == 1 else edges.generator
        if self.method == "eigendecomposition" and params is not None and isinstance(self.generator, Reversible):
            matrices = reversible.transition_matrices(*self.generator.stationary_and_symmetric(params), edges.gaps, index)
        elif self.method == "scaling" or (self.method == "auto" and generators.shape[0] * _GAPS_TO_SHARE_POWERS > edges.gaps.shape[0] > 1):
            matrices = scaling.transition_matrices(generators, edges.gaps, index)
        else:
            matrices = uniformisation.transition_matrices(generators, edges.gaps, index)
        if edges.arrivals is None:
            return safe_log(matrices)
        own = generators[edges.generator] if generators.shape[0] > 1 else generators
        return safe_log(with_arrivals(matrices, own, edges.gaps, edges.arrivals))


def with_arrivals(matrices: Array, generators: Array, gaps: Array, arrivals: Array) -> Array:
    """Edges [U, K, K]: probabilities, and densities where the moment of a jump was seen.

    Args:
        matrices: exp(Q gap), [U, K, K].
        generators: Q of every edge, [U, K, K] or [1, K, K].
        gaps: [U].
        arrivals: int [U].
    """
    diagonal = jnp.diagonal(generators, axis1=-2, axis2=-1)
    jumping = jnp.where(jnp.eye(generators.shape[-1], dtype=bool), 0.0, generators)
    entering = matrices @ jumping
    staying = jnp.exp(diagonal * gaps[:, None])[:, :, None] * (jumping + jnp.eye(generators.shape[-1], dtype=matrices.dtype))
    kind = arrivals[:, None, None]
    return jnp.where(kind == EXACT_ENTRY, entering, jnp.where(kind == OBSERVED_CONTINUOUSLY, staying, matrices))


def check_times(data: Sequences) -> None:
    """Raises ValueError for data without times, without a gap, or with unknown arrivals."""
    if data.times is None:
        raise ValueError(
            "data: found no times, expected them for a process in continuous time; pass Sequences.from_arrays(..., times=[...]), "
            "for bins of equal width times=[bin_width * np.arange(len(array)) for array in arrays]."
        )
    if data.max_length < 2:
        raise ValueError("data: found sequences of one row each, expected at least one with two: without time between rows there is nothing to learn from.")
    if ARRIVAL in data.inputs:
        found = np.asarray(data.inputs[ARRIVAL])
        if found.shape[-1] != 1 or not np.isin(found, (0, EXACT_ENTRY, OBSERVED_CONTINUOUSLY)).all():
            raise ValueError(
                f"inputs['{ARRIVAL}']: found shape {found.shape} and the values {np.unique(found)[:6].tolist()}, expected one column of 0 (snapshot), "
                "1 (entered at this moment) and 2 (watched since the row before)."
            )
