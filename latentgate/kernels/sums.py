"""Long sums that stay accurate in float32."""

import jax.numpy as jnp
from jax import Array

_BLOCK = 1024


def compensated_sum(x: Array) -> Array:
    """Sum over the leading axis, as accurate in float32 as if accumulated in twice the precision.

    Pairs are added in a tree and the rounding error of every addition is carried along (Knuth's two-sum).
    float64 input is summed plainly: at 1e9 terms it still has seven digits to spare.
    """
    if x.dtype == jnp.float64 or x.shape[0] < 2:
        return x.sum(0)
    error = jnp.zeros_like(x)
    while x.shape[0] > 1:
        if x.shape[0] % 2:
            x = jnp.concatenate([x, jnp.zeros_like(x[:1])])
            error = jnp.concatenate([error, jnp.zeros_like(error[:1])])
        a, b = x[0::2], x[1::2]
        total = a + b
        virtual = total - a
        lost = (a - (total - virtual)) + (b - virtual)
        # An infinite total has no rounding error to carry.
        x, error = total, error[0::2] + error[1::2] + jnp.where(jnp.isfinite(total), lost, 0.0)
    return x[0] + error[0]


def summed_outer_product(left: Array, right: Array) -> Array:
    """Σ_t left[t, ..., i] right[t, ..., j] as matrix products over blocks of steps, [..., i, j]."""
    num_steps = left.shape[0]
    if left.dtype == jnp.float64 or num_steps <= _BLOCK:
        return jnp.einsum("t...i,t...j->...ij", left, right)
    padding = [(0, -num_steps % _BLOCK)] + [(0, 0)] * (left.ndim - 1)
    blocked = (-1, _BLOCK)
    left = jnp.pad(left, padding).reshape(*blocked, *left.shape[1:])
    right = jnp.pad(right, padding).reshape(*blocked, *right.shape[1:])
    return compensated_sum(jnp.einsum("nt...i,nt...j->n...ij", left, right))
