"""Draws from a Langevin model on a grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from .base import Params, without_prefix
from .initial import initial_of

if TYPE_CHECKING:
    from .langevin_on_grid import LangevinOnGrid


def simulate(model: LangevinOnGrid, key: Array, params: Params, lengths: Any, inputs: Any, times: Any, initial: Any) -> tuple[Sequences, list[np.ndarray]]:
    """See `LangevinOnGrid.simulate`."""
    params = {name: jnp.asarray(value) for name, value in params.items()}
    lengths = [int(length) for length in lengths]
    generator = model.langevin
    times = [_width(model) * np.arange(length) for length in lengths] if times is None else [np.asarray(row, float) for row in times]
    gaps = np.array([row[1] - row[0] if len(row) > 1 else 1.0 for row in times])
    condition = np.zeros(len(lengths), int)
    if generator.conditions is not None:
        given = inputs.get(generator.inputs) if isinstance(inputs, dict) else None
        if given is None:
            raise ValueError(f"inputs: found none called {generator.inputs!r}, expected one array [time, 1] a sequence to simulate.")
        condition = np.array([int(np.asarray(row)[0, 0]) for row in given])
    law = np.asarray(model.log_initial(params) if initial is None else jnp.log(jnp.asarray(initial_of(initial, 1.0, model.num_states).probs({}, 0))[None]))
    law = np.exp(law)[condition if len(law) > 1 else np.zeros_like(condition)]
    states = _walks(model, key, params, lengths, gaps, condition, law)
    inside = generator.inside
    rows = [np.flatnonzero(~inside[own]) for own in states]
    states = [own[: where[0] + 1] if where.size else own for own, where in zip(states, rows, strict=True)]
    longest = max(lengths)
    padded = np.stack([np.pad(own, (0, longest - len(own))) for own in states])
    emission = without_prefix("emission", params)
    keys = jax.random.split(jax.random.fold_in(key, 1), padded.shape)
    lags = jnp.zeros((model.emission.num_lags, model.emission.num_features))
    draw = jax.jit(jax.vmap(jax.vmap(lambda own, state: model.emission.sample(own, emission, state, {}, lags))))
    values = np.asarray(draw(keys, jnp.asarray(padded)), float)
    arrays = [np.where(inside[own][:, None], row[: len(own)], np.nan) for own, row in zip(states, values, strict=True)]
    sets: dict[str, Any] = {}
    if model.absorbing:
        sets["boundary"] = [(~inside[own]).astype(float)[:, None] for own in states]
    if generator.conditions is not None:
        sets[generator.inputs] = [np.full((len(own), 1), float(which)) for own, which in zip(states, condition, strict=True)]
    cut = [row[: len(own)] for own, row in zip(states, times, strict=True)]
    return Sequences.from_arrays(arrays, inputs=sets or None, times=cut, bin_width=model.bin_width), states


def _width(model: LangevinOnGrid) -> float:
    if model.bin_width is None:
        raise ValueError("times: found None, expected times of the rows, or a model built with bin_width=....")
    return model.bin_width


def _walks(model: LangevinOnGrid, key: Array, params: Params, lengths: list[int], gaps: np.ndarray, condition: np.ndarray, law: np.ndarray) -> list[np.ndarray]:
    """States of each sequence, int32 [time]."""
    generator = np.random.default_rng(np.asarray(jax.random.bits(key, (4,), jnp.uint32)).tolist())
    distinct, which = np.unique(gaps, return_inverse=True)
    tables = np.cumsum(np.stack([np.asarray(model.transition_matrices(params, float(gap)), float) for gap in distinct]), -1)
    step = np.array([_drawn(row, uniform) for row, uniform in zip(np.cumsum(law, -1), generator.random(len(lengths)), strict=True)])
    walk = [step]
    for _ in range(max(lengths) - 1):
        rows = tables[which, condition, step]
        step = np.minimum((rows < generator.random(len(step))[:, None] * rows[:, -1:]).sum(-1), model.num_states - 1)
        walk.append(step)
    return [row[:length].astype(np.int32) for row, length in zip(np.stack(walk, 1), lengths, strict=True)]


def _drawn(cumulative: np.ndarray, uniform: float) -> int:
    return int(np.searchsorted(cumulative, uniform * cumulative[-1]))
