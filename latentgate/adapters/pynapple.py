"""Results of a fit as pynapple objects, on the clock of the recording. The other direction is `Sequences.from_spikes`, which takes a TsGroup."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentgate.data import Sequences

from . import requirement
from ._clock import rows, runs

try:
    import pynapple as nap
except ImportError as error:
    raise requirement("pynapple", "pynapple", "pynapple") from error

# s. What pynapple itself takes off an interval that ends where the next begins, with a warning each time.
_APART = 1e-6


def to_pynapple(result: Any, data: Sequences) -> Any:
    """A result on the clock of the recording: times are the centres of bins, and `time_support` is the sequences.

    Sequences come in the order of time. Where one ends as the next begins, its interval is a microsecond shorter: pynapple would do the same, with a warning.
    Sequences that overlap are refused: pynapple would join their intervals and mix their steps.

    Args:
        result: of `fit.smooth`, `fit.filter`, `fit.most_probable_path`, or one draw of `fit.sample_latents`.
        data: the sequences that it is of, with `starts` and `bin_width`; else with `times`, taken as they are.

    Returns:
        A TsdFrame of state probabilities ("state 0", "state 1", ...); of latents with mean and covariance one with the columns "latent 0", ..., "latent 0 sd",
        ..., with metadata `quantity` ("mean" or "sd") and `latent` (so that `frame[:, frame.quantity == "mean"]` is the means); of a path or draw of latents
        one of "latent 0", ...; of a path of states a Tsd of integers.

    Raises:
        ImportError: without pynapple: pip install 'latentgate[pynapple]'.
        TypeError: something else.
        ValueError: several draws, another number of sequences or steps, data without a clock, sequences that overlap.

    Example:
        >>> import numpy as np, xarray as xr
        >>> import latentgate as lg
        >>> from latentgate.adapters.pynapple import to_pynapple
        >>> data = lg.Sequences.from_spikes([[0.2, 0.7, 3.1]], bin_width=0.5, trials=[[0.0, 1.0], [3.0, 4.0]])
        >>> result = xr.DataArray(np.full((2, 2, 2), 0.5), dims=("sequence", "time", "state"))
        >>> frame = to_pynapple(result, data)
        >>> frame.t.tolist(), frame.columns.tolist(), frame.time_support.values.tolist()
        ([0.25, 0.75, 3.25, 3.75], ['state 0', 'state 1'], [[0.0, 1.0], [3.0, 4.0]])
    """
    found = rows(result, data)
    support = nap.IntervalSet(_apart(found.support))
    if "state" in found.columns:
        return nap.Tsd(t=found.times, d=found.columns["state"]["state"], time_support=support)
    named = {name: column for each in found.columns.values() for name, column in each.items()}
    metadata = None
    if len(found.columns) > 1:
        metadata = {
            "quantity": [quantity for quantity, each in found.columns.items() for _ in each],
            "latent": [place for each in found.columns.values() for place in range(len(each))],
        }
    return nap.TsdFrame(t=found.times, d=np.stack([*named.values()], axis=1), columns=[*named], time_support=support, metadata=metadata)


def state_intervals(path: Any, data: Sequences) -> dict[int, Any]:
    """When each state is visited: an IntervalSet of runs of bins for each state that occurs, to restrict other recordings to it.

    No run crosses from one sequence into another. One that ends as the next of the same state begins is a microsecond shorter; see `to_pynapple`.

    Args:
        path: of `fit.most_probable_path`, or one draw of `fit.sample_latents`, of a model with states.
        data: the sequences that it is of, with `starts` and `bin_width`.

    Returns:
        {state: IntervalSet}, with the index of the sequence as metadata `sequence`.

    Raises:
        ImportError: without pynapple: pip install 'latentgate[pynapple]'.
        TypeError: no path of states.
        ValueError: as `to_pynapple`; data without bins.

    Example:
        >>> import xarray as xr
        >>> import latentgate as lg
        >>> from latentgate.adapters.pynapple import state_intervals
        >>> data = lg.Sequences.from_spikes([[0.2, 0.7, 2.1]], bin_width=0.5, trials=[[0.0, 1.5], [2.0, 3.5]])
        >>> path = xr.DataArray([[0, 0, 1], [1, 1, 0]], dims=("sequence", "time"))
        >>> {state: intervals.values.tolist() for state, intervals in state_intervals(path, data).items()}
        {0: [[0.0, 1.0], [3.0, 3.5]], 1: [[1.0, 1.5], [2.0, 3.0]]}
    """
    found = runs(path, data)
    bounds = np.stack([found.starts, found.ends], axis=1)
    return {
        int(state): nap.IntervalSet(_apart(bounds[found.states == state]), metadata={"sequence": found.sequences[found.states == state]})
        for state in np.unique(found.states)
    }


def _apart(intervals: np.ndarray) -> np.ndarray:
    """The same intervals in the order of time, each ending a microsecond before the next at the latest."""
    ends = intervals[:, 1].copy()
    ends[:-1] = np.minimum(ends[:-1], intervals[1:, 0] - _APART)
    return np.stack([intervals[:, 0], ends], axis=1)
