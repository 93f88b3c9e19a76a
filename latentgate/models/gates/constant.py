"""Gates without parameters: the control arms of any study of gates."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params, Prior
from ..emissions.checks import at_least
from .base import Gate
from .linear import to_log_weights
from .selection import checked_selection, selected

# Constants of the 32-bit finaliser of MurmurHash3, whose every input bit changes half of the output bits.
_MIX = ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1))
_STRIDE = 0x9E3779B9


class _Settled(Gate):
    """A gate with nothing to learn, made for a number of experts."""

    def priors(self, num_states: int) -> dict[str, Prior]:
        """None."""
        self.check_experts(num_states)
        return {}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Nothing."""
        self.check_experts(num_states)
        return {}


class Fixed(_Settled):
    """Weights that are given and depend on nothing. No parameters.

    Args:
        probs: one number an expert, not negative, of sum one.
        inputs: name of an input set; its values are not used.
        num_inputs: its columns; from the data if None.

    Raises:
        ValueError: for anything else than probabilities, or another number of them than of experts.

    Example:
        >>> import latentgate as lg
        >>> lg.gates.Fixed([0.25, 0.75]).probs
        (0.25, 0.75)
    """

    probs: tuple[float, ...]
    inputs: str
    num_inputs: int | None

    def __init__(self, probs: Sequence[float], inputs: str = "inputs", *, num_inputs: int | None = None):
        array = np.asarray(probs, float)
        if array.ndim != 1 or not array.size or not (np.isfinite(array).all() and array.min() >= 0 and abs(array.sum() - 1) < 1e-6):
            raise ValueError(f"probs: found {probs!r}, expected numbers that are not negative and sum to one, one an expert.")
        self.probs = tuple((array / array.sum()).tolist())
        self.inputs = inputs
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)

    @property
    def anchored(self) -> bool:
        """See `Gate.anchored`."""
        return len(set(self.probs)) > 1

    def check_experts(self, num_experts: int) -> None:
        """See `Gate.check_experts`."""
        if len(self.probs) != num_experts:
            raise ValueError(f"probs: found {len(self.probs)} numbers, expected one for each of {num_experts} experts.")

    def log_weights(self, params: Params, inputs: Array) -> Array:
        """See `Gate.log_weights`."""
        return jnp.broadcast_to(jnp.log(jnp.asarray(self.probs, inputs.dtype)), (*inputs.shape[:-1], len(self.probs)))


class Random(_Settled):
    """Experts drawn blindly: equal weights for `num_selected` experts that a hash of the inputs picks (hash layers; with two, THOR 2022). No parameters.

    The same inputs always pick the same experts, so it is a conditional law like any other, with nothing to estimate.

    Args:
        num_experts: K.
        num_selected: experts with a weight; all of them if None, which is the uniform gate.
        seed: of the hash.
        inputs: name of the input set that is hashed.
        num_inputs: its columns; from the data if None.

    Raises:
        ValueError: for numbers below one, more selected experts than there are, or another number of experts than the mixture has.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> weights = jnp.exp(lg.gates.Random(4, num_selected=2).log_weights({}, jnp.arange(6.0)[:, None]))
        >>> weights.sum(-1).tolist(), weights.max(-1).tolist()
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    """

    num_experts: int
    num_selected: int
    seed: int
    inputs: str
    num_inputs: int | None

    def __init__(self, num_experts: int, num_selected: int | None = None, seed: int = 0, inputs: str = "inputs", *, num_inputs: int | None = None):
        self.num_experts = at_least("num_experts", num_experts)
        self.num_selected = self.num_experts if num_selected is None else at_least("num_selected", num_selected)
        checked_selection("Random", self.num_selected, self.num_experts)
        self.seed = at_least("seed", seed, 0)
        self.inputs = inputs
        self.num_inputs = None if num_inputs is None else at_least("num_inputs", num_inputs)

    @property
    def anchored(self) -> bool:
        """See `Gate.anchored`."""
        return self.num_selected < self.num_experts

    def check_experts(self, num_experts: int) -> None:
        """See `Gate.check_experts`."""
        if num_experts != self.num_experts:
            raise ValueError(f"num_experts: found {self.num_experts} in the gate, expected {num_experts}, the number of experts.")

    def log_weights(self, params: Params, inputs: Array) -> Array:
        """See `Gate.log_weights`."""
        # Of the same inputs in either precision the same hash; -0 is 0.
        bits = jax.lax.bitcast_convert_type(jnp.asarray(inputs, jnp.float32) + 0.0, jnp.uint32)
        code = jnp.full(inputs.shape[:-1], _mixed(jnp.uint32(self.seed % 2**32) + jnp.uint32(_STRIDE)), jnp.uint32)
        for column in range(inputs.shape[-1]):
            code = _mixed(code ^ bits[..., column]) + jnp.uint32(_STRIDE)
        draws = jnp.stack([_mixed(code ^ jnp.uint32((expert + 1) * _STRIDE % 2**32)) for expert in range(self.num_experts)])
        return to_log_weights(jnp.where(selected(draws, self.num_selected), jnp.zeros(draws.shape, inputs.dtype), -jnp.inf))


def _mixed(code: Array) -> Array:
    for shift, factor in _MIX:
        code = (code ^ (code >> shift)) * jnp.uint32(factor)
    return code
