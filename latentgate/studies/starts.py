"""Where maximum likelihood starts: near the truth, as the papers do, or where an analysis of real data can start."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.distributions import biject_to, constraints

from latentgate.models.base import resolve
from latentgate.models.zero_sum import ZeroSum

from .protocol import Truth


@dataclasses.dataclass(frozen=True)
class NearTruth:
    """The favourable start of the papers on convergence rates: the truth, with noise that shrinks slowly as samples grow.

    Every true expert is the start of at least one fitted one, the others of random ones; experts that start alike share their mass evenly. All entries of an
    expert in one parameter get the same draw, Normal(0, (amplitude · n^-exponent)²); of positive parameters its absolute value is added.

    The amplitudes are those of Nguyen, Nguyen and Ho 2023 for n^-0.083.

    Args:
        gate: amplitude for parameters of the gate.
        experts: amplitude for those of the experts.
        scale: amplitude for positive parameters of either.
        exponent: of n, for all but positive parameters.
        scale_exponent: of n, for positive ones.
    """

    gate: float = 0.005
    experts: float = 0.05
    scale: float = 0.005
    exponent: float = 0.083
    scale_exponent: float = 0.25

    def check(self, model: Any, truth: Truth) -> None:
        """Raises ValueError unless the truth has the parameters of the model, and no more experts."""
        absent = sorted(set(model.dims()) - set(truth.params))
        if absent:
            raise ValueError(f"start: found 'near-truth' and a truth {truth.name!r} without {', '.join(absent)}, expected all parameters of the model.")
        if model.num_experts < truth.num_experts:
            raise ValueError(f"start: found 'near-truth' for {model.num_experts} experts, expected at least the {truth.num_experts} of {truth.name!r}.")

    def draw(self, key: Array, model: Any, truth: Truth, num_samples: Any, params: dict[str, Any]) -> dict[str, Array]:
        """Starting values of one replication, given the true ones; compiled for all n at once."""
        for_cells, for_noise = jax.random.split(key)
        extra = model.num_experts - truth.num_experts
        more = jax.random.randint(for_cells, (extra,), 0, truth.num_experts)
        cells = jnp.concatenate([more, jnp.arange(truth.num_experts)])
        shared = jnp.zeros(truth.num_experts).at[cells].add(1.0)[cells]
        rate, scale_rate = (num_samples**-exponent for exponent in (self.exponent, self.scale_exponent))
        priors, dims, found = model.priors(), model.dims(), {}
        for name, one_key in zip(dims, jax.random.split(for_noise, len(dims)), strict=True):
            value = jnp.asarray(params[name])
            prior = resolve(priors[name], {**params, **found})
            amplitude = (self.gate if name.startswith("gate.") else self.experts) * rate
            each = _along_experts(dims[name], value)
            if each is not None:
                value = jnp.take(value, cells, axis=each)
            noise = jax.random.normal(one_key, _one_draw_an_expert(value, each))
            if isinstance(prior, ZeroSum):
                value = value - jnp.log(shared) if name == "gate.bias" else value
                value = value + amplitude * noise
                found[name] = value - value.mean(0)
            elif _is(prior.support, constraints.real):
                value = value - jnp.log(shared) if name == "gate.bias" else value
                found[name] = value + amplitude * noise
            elif _is(prior.support, constraints.positive) or isinstance(_base(prior.support), type(constraints.greater_than(0.0))):
                found[name] = value + self.scale * scale_rate * jnp.abs(noise)
            elif _is(prior.support, constraints.simplex):
                value = value / shared
                found[name] = value / value.sum()
            else:
                # Noise in free coordinates keeps any other constraint.
                transform = biject_to(prior.support)
                free = transform.inv(value)
                found[name] = transform(free + self.scale * scale_rate * jax.random.normal(one_key, free.shape))
        return found


def _along_experts(dims: tuple[str, ...], value: Array) -> int | None:
    return dims.index("expert") if "expert" in dims and np.ndim(value) else None


def _one_draw_an_expert(value: Array, axis: int | None) -> tuple[int, ...]:
    return tuple(size if index == axis else 1 for index, size in enumerate(value.shape))


def _base(support: Any) -> Any:
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def _is(support: Any, kind: Any) -> bool:
    return isinstance(_base(support), type(kind))
