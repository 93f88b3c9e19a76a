"""What comes after the data: laws of future latents and observations of a linear Gaussian model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from latentgate.data import Sequences
from latentgate.kernels import GaussianSmoothed

from ..base import without_prefix

if TYPE_CHECKING:
    from .gaussian import LinearGaussianSSM


class Forecast(NamedTuple):
    """Normal laws of the steps after each sequence.

    Attributes:
        means: of the observations, [sequence, step, feature].
        covariances: of the observations, noise included, [sequence, step, feature, feature].
        latent_means: [sequence, step, latent].
        latent_covariances: [sequence, step, latent, latent].
    """

    means: np.ndarray
    covariances: np.ndarray
    latent_means: np.ndarray
    latent_covariances: np.ndarray


def forecast(model: LinearGaussianSSM, params: Mapping[str, Any], data: Sequences, num_steps: int, inputs: Any = None, times: Any = None) -> Forecast:
    """The steps after the data are steps whose observations are all missing.

    Args:
        model: the model.
        params: its parameters.
        data: the sequences.
        num_steps: how far ahead.
        inputs: of the steps ahead, one array [num_steps, input] a sequence, or {name: such a list}, where the model reads inputs.
        times: of the steps ahead, one array [num_steps] a sequence, where the dynamics run in continuous time.

    Raises:
        ValueError: if inputs or times are wanted and missing, or do not fit.
    """
    if isinstance(num_steps, bool) or not isinstance(num_steps, int | np.integer) or num_steps < 1:
        raise ValueError(f"num_steps: found {num_steps!r}, expected an integer of at least 1.")
    lengths = [int(length) for length in np.asarray(data.lengths)]
    longer = [np.concatenate([array, np.full((num_steps, data.num_features), np.nan)]) for array in data.to_list()]
    given = inputs if isinstance(inputs, Mapping) else {} if inputs is None else {"inputs": inputs}
    absent = sorted(set(data.inputs) - set(given))
    if absent:
        raise ValueError(f"inputs: found none called {absent[0]!r}, expected one array [{num_steps}, input] a sequence for the steps ahead.")
    if (data.times is None) != (times is None):
        raise ValueError(f"times: found {'none' if times is None else 'some'}, expected as the data have: {'none' if data.times is None else 'some'}.")

    def joined(padded: Any, ahead: Any) -> list[np.ndarray]:
        return [np.concatenate([np.asarray(row)[:length], np.asarray(own)]) for row, length, own in zip(padded, lengths, ahead, strict=True)]

    extended = Sequences.from_arrays(
        longer,
        inputs={name: joined(data.inputs[name], given[name]) for name in data.inputs} or None,
        times=None if times is None else joined(data.times, times),
    )
    model.check(extended)
    arrays = {name: jnp.asarray(value) for name, value in params.items()}
    smoothed = model.smooth(arrays, extended)
    assert isinstance(smoothed, GaussianSmoothed)
    emission = without_prefix("emission", arrays)
    nodes = model.observations(emission, extended)
    ahead = np.array(lengths)[:, None] + np.arange(num_steps)
    which = np.arange(len(lengths))[:, None]
    means = np.asarray(smoothed.means)[which, ahead]
    covariances = np.broadcast_to(np.asarray(smoothed.covariances), (*smoothed.means.shape, smoothed.means.shape[-1]))[which, ahead]
    loadings, bias = np.asarray(nodes.matrix), np.asarray(nodes.bias)
    noise = np.asarray(nodes.covariance) if nodes.variances is None else np.diag(np.asarray(nodes.variances))
    return Forecast(
        means @ loadings.T + (bias if bias.ndim == 1 else bias[which, ahead]),
        loadings @ covariances @ loadings.T + noise,
        means,
        covariances,
    )
