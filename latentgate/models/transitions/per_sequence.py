"""A jump process looked at on regular times, under one condition a sequence: one transition matrix a condition."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params
from ..unconstrained import maximise
from .edges import Edges, edges_of
from .jump import Jump

# L-BFGS steps of an M-step.
NUMERICAL_STEPS = 8


class PerSequence(Jump):
    """`Jump` where all gaps of a sequence are equal, and its inputs constant: the transition matrix is kept once for every sequence, not for every step.

    Its M-step maximises the expected log-likelihood of the states at the rows, not that of all jumps between them: on a fine grid there are thousands of
    hidden jumps for every row, and EM that fills all of them in hardly moves their speed.

    Parameters, arguments: as `Jump`.
    """

    def check(self, data: Sequences) -> None:
        """As `Jump`, and one gap and one condition for each sequence."""
        super().check(data)
        real = np.asarray(data.mask)
        gaps = np.diff(np.asarray(data.times), axis=1)
        latest = float(np.abs(np.asarray(data.times)).max())
        spread = np.abs(np.where(real[:, 1:], gaps - gaps[:, :1], 0.0)).max(-1)
        if (wrong := np.flatnonzero(spread > 32 * np.finfo(float).eps * max(latest, 1.0))).size:
            raise ValueError(f"times: found gaps in sequence {wrong[0]} that differ by {spread[wrong[0]]:g}, expected one width of bins in each sequence.")
        for name in self.input_sets:
            rows = np.asarray(data.inputs[name])
            changed = (np.where(real[..., None], rows != rows[:, :1], False)).any((1, 2))
            if changed.any():
                raise ValueError(f"inputs[{name!r}]: found different rows in sequence {np.flatnonzero(changed)[0]}, expected one condition a sequence.")

    def log_probs(self, params: Params, data: Sequences) -> Array:
        """See `Transition.log_probs`; [sequence, K, K] where sequences differ."""
        edges = edges_of(data, tuple(self.input_sets))
        table = self._log_edges(self._generators(params, edges), edges, params)
        return table[:1] if edges.step is None else table[edges.step[:, 0]]

    def expected(self, params: Params, data: Sequences, expected: Array) -> tuple[Array, Array]:
        """See `Jump.expected`."""
        edges = edges_of(data, tuple(self.input_sets))
        counts = self._counts(edges, expected)
        generators = self._generators(params, edges)
        slope = jax.grad(lambda generators: _expected_log_edges(counts, self._log_edges(generators, edges, None)))(generators)
        times = jnp.diagonal(slope, axis1=-2, axis2=-1)
        return jnp.where(jnp.eye(slope.shape[-1], dtype=bool), 0.0, generators * slope), times

    def m_step(self, params: Params, data: Sequences, expected: Array, also: Callable[[Params], Array] | None = None) -> Params:
        """See `Transition.m_step`.

        Args:
            params, data, expected: see there.
            also: a further term of the expected log-joint, of the same parameters: that of first states drawn from equilibrium.
        """
        edges = edges_of(data, tuple(self.input_sets))
        counts = self._counts(edges, expected)

        def objective(new: Params) -> Array:
            value = _expected_log_edges(counts, self._log_edges(self._generators(new, edges), edges, new))
            return value if also is None else value + also(new)

        return maximise(objective, self.priors(expected.shape[-1]), params, NUMERICAL_STEPS)

    def suited_to(self, data: Sequences) -> PerSequence:
        """See `Part.suited_to`."""
        return PerSequence(self.generator.suited_to(data), self.method)

    def _counts(self, edges: Edges, expected: Array) -> Array:
        """Expected transitions over every distinct edge, [U, K, K]."""
        if edges.step is None:
            return expected.sum(tuple(range(expected.ndim - 2)))[None]
        return jax.ops.segment_sum(expected, edges.step[:, 0], num_segments=edges.gaps.shape[0])


def _expected_log_edges(counts: Array, table: Array) -> Array:
    return jnp.sum(jnp.where(counts > 0, counts * jnp.where(counts > 0, table, 0.0), 0.0))
