"""Elimination of states without a subtraction, and what a graph reaches.

A chain watched only while outside one state is again a chain, whose rates are the old ones plus the detours through that state. Everything added is
non-negative, so nothing cancels, however different the rates.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def off_diagonal(generator: ArrayLike) -> Array:
    """The rates of jumps, zero on the diagonal, [..., K, K]."""
    generator = jnp.asarray(generator, jnp.result_type(generator, jnp.float32))
    return jnp.where(jnp.eye(generator.shape[-1], dtype=bool), 0.0, generator)


@jax.jit
def reached(rates: Array) -> Array:
    """Whether j can be reached from i, itself included, bool [..., K, K]."""
    size = rates.shape[-1]
    onward = (rates > 0) | jnp.eye(size, dtype=bool)
    for _ in range(math.ceil(math.log2(max(size, 2)))):
        # Counts, since products of truth values are not everywhere supported.
        counts = onward.astype(jnp.float32)
        onward = counts @ counts > 0
    return onward


@jax.jit
def eliminated(rates: Array) -> Array:
    """Stationary law of the chain with these rates, [..., K]; NaN where there are several closed classes."""
    size = rates.shape[-1]
    states = jnp.arange(size)

    def eliminate(carry: tuple[Array, Array], _: None):
        rates, left = carry
        leaving = jnp.sum(rates * left[..., None, :], -1)
        # A state of a closed class that is the last of its class leaves for none; the others come first.
        chosen = states == jnp.argmax(jnp.where(left, leaving, -1.0), -1, keepdims=True)
        left = left & ~chosen
        away = jnp.sum(jnp.where(chosen[..., :, None], rates, 0.0), -2) * left
        total = jnp.sum(away, -1, keepdims=True)
        into = jnp.sum(jnp.where(chosen[..., None, :], rates, 0.0), -1) * left
        share = into / jnp.where(total > 0, total, jnp.nan)
        rates = rates + share[..., :, None] * away[..., None, :]
        return (jnp.where(jnp.eye(size, dtype=bool), 0.0, rates), left), (chosen, share)

    def restore(law: Array, step: tuple[Array, Array]):
        chosen, share = step
        return law + chosen * jnp.sum(law * share, -1, keepdims=True), None

    everything = jnp.ones(rates.shape[:-1], bool)
    (_, left), steps = jax.lax.scan(eliminate, (rates, everything), None, length=size - 1)
    law = jax.lax.scan(restore, left.astype(rates.dtype), steps, reverse=True)[0]
    return law / jnp.sum(law, -1, keepdims=True)


@jax.jit
def absorbed(rates: Array, leaks: Array, right: Array) -> Array:
    """Solution x of (leaks_i + Σ_j rates_ij) x_i = right_i + Σ_j rates_ij x_j.

    Args:
        rates: between the states, not negative, zero on the diagonal, [..., K, K].
        leaks: rates out of the states for good, not negative, [..., K]; from every state a leak is within reach.
        right: not negative, [..., K].

    Returns:
        [..., K].
    """
    size = rates.shape[-1]
    states = jnp.arange(size)

    def entry(vectors: Array, k: Array) -> Array:
        return jax.lax.dynamic_index_in_dim(vectors, k, vectors.ndim - 1)

    def eliminate(carry: tuple[Array, Array, Array], k: Array):
        rates, leaks, right = carry
        away = jax.lax.dynamic_index_in_dim(rates, k, rates.ndim - 2, keepdims=False) * (states < k)
        into = jax.lax.dynamic_index_in_dim(rates, k, rates.ndim - 1, keepdims=False) * (states < k)
        total = entry(leaks, k) + jnp.sum(away, -1, keepdims=True)
        share = into / total
        rates = jnp.where(jnp.eye(size, dtype=bool), 0.0, rates + share[..., :, None] * away[..., None, :])
        return (rates, leaks + share * entry(leaks, k), right + share * entry(right, k)), (k, away / total, entry(right, k) / total)

    def restore(solution: Array, step: tuple[Array, Array, Array]):
        k, weights, constant = step
        return jnp.where(states == k, constant + jnp.sum(weights * solution, -1, keepdims=True), solution), None

    _, steps = jax.lax.scan(eliminate, (rates, leaks, right), jnp.arange(size - 1, -1, -1))
    return jax.lax.scan(restore, jnp.zeros_like(right), steps, reverse=True)[0]
