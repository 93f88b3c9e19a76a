"""Batches of data sets of one size, as the library's models read them: padded to few different lengths, so that few programs are compiled."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

# Lengths between two powers of two: at most a quarter of a row more than needed, and four programs an octave.
_LENGTHS_PER_OCTAVE = 4
_SHORTEST = 64


def padded_length(num_samples: int) -> int:
    """The length, n or more, to which data sets of n rows are padded."""
    step = max(_SHORTEST, 1 << (num_samples - 1).bit_length()) // (2 * _LENGTHS_PER_OCTAVE)
    return -(-num_samples // step) * step


def padded(array: Any) -> np.ndarray:
    """An array [replication, n, ...] with zeros after n."""
    array = np.asarray(array)
    more = padded_length(array.shape[1]) - array.shape[1]
    return np.pad(array, [(0, 0), (0, more), *[(0, 0)] * (array.ndim - 2)])


def one_sequence(model: Any, inputs: Array, values: Array, length: Array) -> Sequences:
    """One data set, inputs [n, M] and values [n] of which `length` rows are real, as one sequence; may be traced."""
    real = jnp.arange(values.shape[0]) < length
    data = sequences(model, inputs[None], values[None], jnp.asarray(length, jnp.int32)[None], real[None])
    return model.prepare(data)


def sequences(model: Any, inputs: Any, values: Any, lengths: Any, real: Any) -> Sequences:
    """Sequences without missing values that hold the same inputs [sequence, n, M] for gate and experts; may be traced."""
    return Sequences(values[..., None], real[..., None], lengths, dict.fromkeys(input_names(model), inputs), None, True)


def input_names(model: Any) -> set[str]:
    """Names of the input sets of gate and experts, whether or not their number of columns is known."""
    names: set[str] = set()
    for part in (model.gate, model.experts):
        names |= {part.inputs} if isinstance(getattr(part, "inputs", None), str) else set(part.input_sets)
    return names


def suited(model: Any, num_inputs: int) -> Any:
    """The model with its number of inputs filled in where it was left open. (Nothing else is taken from data: replications must not differ in their model.)"""
    rows = np.zeros((1, 2, num_inputs))
    return model.suited_to(sequences(model, rows, rows[..., 0], np.array([2], np.int32), np.ones((1, 2), bool)))


def log_likelihoods(model: Any, params: dict[str, Any], inputs: Any, values: Any) -> np.ndarray:
    """Log-likelihood of each data set [replication, n, M], [replication, n] at the same parameters, [replication]."""
    length = jnp.asarray(np.shape(values)[1], jnp.int32)
    own = {name: jnp.asarray(value) for name, value in params.items()}
    return np.asarray(_log_likelihoods(model, own, jnp.asarray(padded(inputs)), jnp.asarray(padded(values)), length))


@eqx.filter_jit
def _log_likelihoods(model: Any, params: dict[str, Array], inputs: Array, values: Array, length: Array) -> Array:
    def one(inputs: Array, values: Array) -> Array:
        return model.potentials(params, one_sequence(model, inputs, values, length)).log_normaliser()[0]

    return jax.vmap(one)(inputs, values)
