"""Does the model agree with the data: prevalence of states, and transitions over several intervals."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from latentgate.data import Sequences
from latentgate.data.panel import ARRIVAL
from latentgate.data.times import with_times
from latentgate.models import MarkovJumpProcess

from .quantities import require_jump_process

if TYPE_CHECKING:
    from latentgate.inference import Fit

# A probability that is one but for rounding, in float32 too.
_CERTAIN = 1 - 1e-5


def prevalence(fit: Fit, data: Sequences, times: Any, follow_up: Any = None) -> xr.Dataset:
    """Number of subjects in each state over time, as the data have it and as the model foretells it from the first row of every subject.

    A subject counts from its first row until its last, or until `follow_up` if its last known state is absorbing. The data's side is the smoothed probability
    of each state, which is the state itself at rows that show it.

    Args:
        fit: of a `MarkovJumpProcess`.
        data: sequences.
        times: [time], measured from the first row of each subject, in the units of the data's times.
        follow_up: when subjects who are absorbed would have left the study, measured as `times`: one number or one a subject. For ever if None; then the
            absorbed are counted on while others drop out, and the observed share of absorbing states runs ahead of the expected one.

    Returns:
        `observed`, `expected` (time, state), numbers of subjects, and `at_risk` (time).

    Source: Jackson, J. Stat. Softw. 38(8), 2011, section 4.2 (prevalence counts).
    """
    model = require_jump_process(fit)
    times = np.sort(np.atleast_1d(np.asarray(times, float)))
    leaving = np.broadcast_to(np.inf if follow_up is None else np.asarray(follow_up, float), (data.num_sequences,))
    starts = np.asarray(data.times)[:, 0]
    last = np.asarray(data.lengths) - 1
    ends = np.asarray(data.times)[np.arange(data.num_sequences), last]
    generator_mask = model.jump.generator.mask(model.num_states)
    absorbing = ~generator_mask.any(1)
    finer, rows = with_times(data, [times[times <= end - start] + start for start, end in zip(starts, ends, strict=True)], num_states=model.num_states)
    seen = np.asarray(fit.smooth(finer))
    # What was seen after the first row is forgotten, and with it how rows came to be seen.
    first_only = np.asarray(finer.observed) & (np.arange(finer.max_length) == 0)[:, None]
    inputs = {name: value for name, value in finer.inputs.items() if name != ARRIVAL}
    names = {name: columns for name, columns in finer.input_names.items() if name in inputs}
    blind = finer.with_values(np.where(first_only, finer.values, np.nan)).with_inputs(inputs, names)
    foretold = np.asarray(fit.filter(blind))
    observed, expected = np.zeros((len(times), model.num_states)), np.zeros((len(times), model.num_states))
    for sequence, (start, end) in enumerate(zip(starts, ends, strict=True)):
        within = times <= end - start
        observed[within] += seen[sequence, rows[sequence]]
        expected[within] += foretold[sequence, rows[sequence]]
        final = seen[sequence, np.asarray(finer.lengths)[sequence] - 1]
        if final @ absorbing > _CERTAIN:
            absorbed = ~within & (times <= leaving[sequence])
            observed[absorbed] += final
            law = foretold[sequence, np.asarray(finer.lengths)[sequence] - 1]
            expected[absorbed] += _carried_on(fit, finer, sequence, law, times + start - end)[absorbed]
    coordinates = {"time": times}
    dims = ("time", "state")
    return xr.Dataset({"observed": (dims, observed), "expected": (dims, expected), "at_risk": (("time",), observed.sum(1))}, coords=coordinates)


def _carried_on(fit: Fit, data: Sequences, sequence: int, law: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """The law after gaps beyond the last row, with the inputs of that row, [gap, K]; at negative gaps as after none."""
    model = require_jump_process(fit)
    names = model.jump.input_sets
    row = jnp.concatenate([jnp.asarray(data.inputs[name])[sequence, data.lengths[sequence] - 1] for name in names]) if names else None
    params = {name: jnp.asarray(value) for name, value in fit.params.items()}
    return law @ np.asarray(_matrices(model, params, jnp.maximum(jnp.asarray(gaps, float), 0.0), row))


@eqx.filter_jit
def _matrices(model: MarkovJumpProcess, params: dict[str, Array], gaps: Array, row: Array | None) -> Array:
    return model.transition_matrix(params, gaps, row)


def chapman_kolmogorov(fit: Fit, data: Sequences, lags: Any = (1, 2, 4)) -> xr.Dataset:
    """Transitions between rows several rows apart, counted and foretold by the product of the transition matrices in between.

    In a Markov process exp(Q s) exp(Q t) = exp(Q (s + t)); memory shows as counts that leave the foretold ones as the lag grows. Counts are expected ones under
    the smoothed states, which are the states themselves where rows show them. Pairs of rows overlap, so that `z` is a guide and no test.

    Args:
        fit: of a `MarkovJumpProcess`.
        data: sequences.
        lags: numbers of rows.

    Returns:
        `observed`, `expected`, `z` (lag, state, next_state); z = (observed - expected) / sqrt(Σ p (1 - p)).

    Source: Prinz et al., J. Chem. Phys. 134:174105 (2011), section IV.F.
    """
    model = require_jump_process(fit)
    prepared = model.catalogue(data)
    params = {name: jnp.asarray(value) for name, value in fit.params.items()}
    inputs = {name: value for name, value in prepared.inputs.items() if name != ARRIVAL}
    plain = dataclasses.replace(prepared, inputs=inputs, shared={name: value for name, value in prepared.shared.items() if not name.endswith("arrivals")})
    steps = np.exp(np.asarray(model.potentials(params, plain).log_transitions))
    steps = np.broadcast_to(steps if steps.ndim == 4 else steps[:, None], (data.num_sequences, data.max_length - 1, model.num_states, model.num_states))
    smoothed = np.nan_to_num(np.asarray(fit.smooth(data)))
    real = np.asarray(data.mask)
    lags = [int(lag) for lag in np.atleast_1d(lags)]
    found = {name: np.zeros((len(lags), model.num_states, model.num_states)) for name in ("observed", "expected", "z")}
    for position, lag in enumerate(lags):
        if not 1 <= lag < data.max_length:
            raise ValueError(f"lags: found {lag}, expected 1 to {data.max_length - 1}, as the longest sequence has {data.max_length} rows.")
        product = steps[:, : data.max_length - lag]
        for more in range(1, lag):
            product = product @ steps[:, more : data.max_length - lag + more]
        pairs = real[:, lag:]
        before = smoothed[:, :-lag] * pairs[..., None]
        found["observed"][position] = np.einsum("sti,stj->ij", before, smoothed[:, lag:])
        found["expected"][position] = np.einsum("sti,stij->ij", before, product)
        variance = np.einsum("sti,stij->ij", before, product * (1 - product))
        difference = found["observed"][position] - found["expected"][position]
        found["z"][position] = difference / np.sqrt(np.where(variance > 0, variance, np.inf))
    return xr.Dataset({name: (("lag", "state", "next_state"), value) for name, value in found.items()}, coords={"lag": lags})
