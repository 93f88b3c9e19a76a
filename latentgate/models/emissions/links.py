"""From linear predictor to rate: value and logarithm, both stable."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

LINKS = ("exp", "softplus", "sigmoid")


class Rate(eqx.Module):
    """A rate, its logarithm and the Fisher information of a Poisson count about the predictor, all of one shape."""

    value: Array
    log: Array
    information: Array


def rate(link: str, predictor: Array) -> Rate:
    """σ(predictor), log σ, and σ'² / σ, for σ = exp, softplus or sigmoid."""
    if link == "exp":
        value = jnp.exp(predictor)
        return Rate(value, predictor, value)
    slope = jax.nn.sigmoid(predictor)
    if link == "sigmoid":
        return Rate(slope, jax.nn.log_sigmoid(predictor), slope * (1 - slope) ** 2)
    # Far below zero softplus(x) is exp(x) to rounding, and would underflow before its logarithm does.
    low = predictor < -30
    value = jax.nn.softplus(predictor)
    middle = jnp.where(low, 0.0, predictor)
    log = jnp.where(low, predictor, jnp.log(jax.nn.softplus(middle)))
    return Rate(value, log, jnp.exp(2 * jax.nn.log_sigmoid(predictor) - log))
