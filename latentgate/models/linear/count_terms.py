"""What Poisson counts say of their linear predictors: log-probability and its derivatives, at a point or on average over normal predictors."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..emissions.links import rate

LINKS = ("exp", "softplus")

# Averages over a normal predictor are smooth: this many points leave an error of about 1e-7 nats a count where its standard deviation is one.
_POINTS, _WEIGHTS = np.polynomial.hermite_e.hermegauss(12)


class Terms(NamedTuple):
    """Of counts y and predictors η, all of one shape.

    Attributes:
        value: log-probability but for log y!.
        slope: its derivative in η.
        curvature: minus its second derivative, which is not negative.
    """

    value: Array
    slope: Array
    curvature: Array

    def where(self, observed: Array) -> Terms:
        """Zero where a count is missing."""
        return Terms(*(jnp.where(observed, term, 0.0) for term in self))


def count_terms(link: str, counts: Array, mean: Array, variance: Array | None = None) -> Terms:
    """Terms at predictors, or their averages over normal predictors.

    Args:
        link: "exp" or "softplus".
        counts: y.
        mean: η, or its mean; of the shape of the counts.
        variance: of η, of the same shape; None for η itself.
    """
    if link == "exp":
        rates = jnp.exp(mean if variance is None else mean + 0.5 * variance)
        return Terms(counts * mean - rates, counts - rates, rates)
    if variance is None:
        return _softplus(counts, mean)
    deviation = jnp.sqrt(jnp.where(variance > 0, variance, 0.0))
    weights = _WEIGHTS / _WEIGHTS.sum()

    def add(total: Terms, point: tuple[Array, Array]) -> tuple[Terms, None]:
        place, weight = point
        return jax.tree.map(lambda a, b: a + weight * b, total, _softplus(counts, mean + place * deviation)), None

    zero = jnp.zeros_like(mean * counts)
    return jax.lax.scan(add, Terms(zero, zero, zero), (jnp.asarray(_POINTS, zero.dtype), jnp.asarray(weights, zero.dtype)))[0]


def inverse_link(link: str, rates: Array) -> Array:
    """Predictors of these rates, all above zero."""
    return jnp.log(rates) if link == "exp" else rates + jnp.log(-jnp.expm1(-rates))


def expected_rates(link: str, mean: Array, variance: Array | None = None) -> Array:
    """Rate at predictors, or average rate over normal predictors."""
    if link == "exp":
        return jnp.exp(mean if variance is None else mean + 0.5 * variance)
    return -count_terms(link, jnp.zeros_like(mean), mean, variance).value


def _softplus(counts: Array, predictor: Array) -> Terms:
    rates = rate("softplus", predictor)
    slope = jax.nn.sigmoid(predictor)
    relative = jnp.exp(jax.nn.log_sigmoid(predictor) - rates.log)
    # Far below zero the second derivative of log softplus is what two numbers near one leave of each other; its series in exp(η) is used there.
    low = predictor < -8
    small = jnp.exp(jnp.where(low, predictor, -8.0))
    bend = jnp.where(low, small * (0.5 - small * (5 / 6 - 9 / 8 * small)), relative * (relative - (1 - slope)))
    return Terms(counts * rates.log - rates.value, counts * relative - slope, slope * (1 - slope) + counts * bend)
