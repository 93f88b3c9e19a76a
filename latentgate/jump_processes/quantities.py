"""Quantities of a generator, each with an interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels.generators import summaries
from latentgate.models import MarkovJumpProcess

if TYPE_CHECKING:
    from latentgate.inference import Fit


_DIMS = {
    "generator": ("state", "next_state"),
    "stationary_law": ("state",),
    "mean_sojourn_time": ("state",),
    "jump_probability": ("state", "next_state"),
    "first_passage_time": ("state", "next_state"),
    "relaxation_time": ("mode",),
    "current": ("state", "next_state"),
    "entropy_production": (),
}
_DIMS_OVER_TIME = {"transition_matrix": ("time", "state", "next_state"), "time_in_states": ("time", "state")}


def quantities(
    fit: Fit,
    inputs: Any = None,
    *,
    level: float = 0.95,
    times: Any = (),
    initial: Any = None,
    data: Sequences | None = None,
    seed: int = 0,
    num_draws: int = 1000,
) -> xr.Dataset:
    """What a fitted generator says of the process, with intervals.

    Intervals are quantiles: over posterior draws where the fit has them, otherwise over normal draws around the fit in unconstrained coordinates (the
    Hessian's), so that they keep within the range of each quantity.

    Args:
        fit: of a `MarkovJumpProcess`.
        inputs: one row [M] of what the generator reads, where it reads inputs: the subject that the quantities are of.
        level: probability inside the intervals.
        times: durations [time] of the transition matrices and of the expected time in states.
        initial: law of the first state [K] for the expected time in states; the stationary law if None.
        data: the sequences of a point fit that was read from a file.
        seed: of the draws.
        num_draws: draws.

    Returns:
        dataset with a dimension `statistic` (estimate, lower, upper) and, per unit of the data's time: `generator` (state, next_state), `stationary_law`
        (state), `mean_sojourn_time` (state), `jump_probability` (state, next_state), `first_passage_time` (state, next_state: mean time from one to the
        other, infinite where that is not certain), `relaxation_time` (mode), `current` (state, next_state), `entropy_production` (nats per unit of time);
        with times `transition_matrix` (time, state, next_state) and `time_in_states` (time, state).

    Raises:
        ValueError: for a fit of another model, or inputs that the generator does not read.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> data = lg.Sequences.from_arrays([np.array([0.0, 0.0, 1.0, 0.0])] * 9, times=[np.array([0.0, 0.4, 1.1, 2.5])] * 9)
        >>> fit = lg.fit(lg.MarkovJumpProcess(2), data, lg.MAP(), seed=0)
        >>> lg.jump_processes.quantities(fit)["mean_sojourn_time"].sel(statistic="estimate").values.round(2).tolist()
        [0.78, 0.82]
    """
    model = require_jump_process(fit)
    durations = np.atleast_1d(np.asarray(times, float))
    num_states = model.num_states

    model.generator({name: jnp.asarray(value) for name, value in fit.params.items()}, inputs)
    dims = _DIMS | (_DIMS_OVER_TIME if durations.size else {})

    # One program for all draws: step by step, a thousand draws would take minutes.
    @jax.jit
    def values(params: dict[str, Any]) -> dict[str, Array]:
        generator = model.generator(params, inputs)
        stationary = summaries.stationary_law(generator)
        passage = [summaries.first_passage_times(generator, target) for target in range(num_states)]
        found = {
            "generator": generator,
            "stationary_law": stationary,
            "mean_sojourn_time": summaries.mean_sojourn_times(generator),
            "jump_probability": summaries.jump_probabilities(generator),
            "first_passage_time": jnp.stack(passage, axis=-1),
            "relaxation_time": summaries.relaxation_times(generator),
            "current": summaries.stationary_currents(generator),
            "entropy_production": summaries.entropy_production(generator),
        }
        if durations.size:
            law = stationary if initial is None else jnp.asarray(initial, float)
            found["transition_matrix"] = model.transition_matrix(params, durations, inputs)
            found["time_in_states"] = summaries.expected_time_in_states(generator, law, durations)
        return found

    def read_off(params: dict[str, Any]) -> dict[str, xr.DataArray]:
        return {name: xr.DataArray(np.asarray(value), dims=dims[name]) for name, value in values(params).items()}

    intervals = fit.interval(read_off, level, data, method="draws", seed=seed, num_draws=num_draws)
    return intervals.assign_coords(time=durations) if durations.size else intervals


def require_jump_process(fit: Fit) -> MarkovJumpProcess:
    """The model of the fit.

    Raises:
        ValueError: unless it is a Markov jump process.
    """
    if not isinstance(fit.model, MarkovJumpProcess):
        raise ValueError(f"fit: found one of {type(fit.model).__name__}, expected one of lg.MarkovJumpProcess.")
    return fit.model
