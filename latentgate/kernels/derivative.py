"""The one derivative rule of the discrete chain: the gradient of the log-normaliser is the smoother (Fisher's identity).

d log Z = ⟨first marginal, d log-initial⟩ + ⟨expected transitions, d log-edges⟩ + ⟨marginals, d log-nodes⟩.

The rule is a `custom_jvp`: linear in the tangents, so JAX transposes it for reverse mode, and made of differentiable functions, so Hessians of
any order of modes exist.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from . import posterior
from .batching import natively_batched


@partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def log_normaliser(log_initial, log_transitions, log_nodes, lengths, semiring: str, backend: str):
    """See `latentgate.kernels.log_normaliser`; arguments here are already checked."""
    return natively_batched(posterior.log_normaliser, semiring, backend)(log_initial, log_transitions, log_nodes, lengths)


@partial(log_normaliser.defjvp, symbolic_zeros=True)
def _log_normaliser_jvp(semiring, backend, primals, tangents):
    log_initial, log_transitions, log_nodes, lengths = primals
    initial_tangent, transitions_tangent, nodes_tangent, _ = tangents
    smooth = natively_batched(posterior.smoothed, semiring, backend)(log_initial, log_transitions, log_nodes, lengths)
    tangent = jnp.zeros_like(smooth.log_normaliser)
    if not isinstance(initial_tangent, SymbolicZero):
        tangent += (smooth.marginals[..., 0, :] * initial_tangent).sum(-1)
    if not isinstance(transitions_tangent, SymbolicZero):
        axes = tuple(range(smooth.log_normaliser.ndim - smooth.expected_transitions.ndim, 0))
        tangent += (smooth.expected_transitions * transitions_tangent).sum(axes)
    if not isinstance(nodes_tangent, SymbolicZero):
        tangent += (smooth.marginals * nodes_tangent).sum((-1, -2))
    return smooth.log_normaliser, tangent
