"""Bases that turn past spikes into a few covariates."""

from __future__ import annotations

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences


def spike_history(data: Sequences, basis: Basis) -> np.ndarray:
    """Filtered past of all neurons as inputs, for models that have no `history` of their own: what the GLMs with this basis see.

    Args:
        data: counts [sequence, time, neuron]; a missing entry counts as no spike.
        basis: from `lg.basis`.

    Returns:
        [sequence, time, neuron * function], the functions of neuron 0 first, for `data.with_inputs({"history": ...})`. Before the first step of a sequence
        there is nothing. As inputs these are given numbers: a simulation from a model does not feed its own spikes back through them.

    Raises:
        TypeError: for something that is no basis.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> data = lg.Sequences.from_arrays([np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])])
        >>> history = lg.basis.spike_history(data, lg.basis.Separate(2))
        >>> history[0].tolist()
        [[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 2.0, 0.0]]
        >>> data.with_inputs({"history": history}).num_inputs
        {'history': 4}
    """
    if not isinstance(basis, Basis):
        raise TypeError(f"basis: found {type(basis).__name__}, expected one of lg.basis, for example lg.basis.RaisedCosine(4, window=20).")
    features = np.asarray(basis.features(data.values))
    # The padding after a sequence still sees its last spikes.
    return np.where(np.asarray(data.mask)[..., None], features.reshape(*features.shape[:2], -1), 0.0)


class Basis(eqx.Module):
    """Functions of the lag 1 ... window, in time steps; lag 0 never enters."""

    window: int

    @abc.abstractmethod
    def matrix(self) -> np.ndarray:
        """Values [lag, function], row k - 1 for lag k; every function sums to one."""

    @property
    def num_functions(self) -> int:
        """Columns of `matrix`."""
        return self.matrix().shape[1]

    def features(self, values: Array) -> Array:
        """Filtered past of counts [..., time, neuron]: [..., time, neuron, function]; before the first step there is nothing."""
        values = jnp.asarray(values)
        num_steps = values.shape[-2]
        padded = jnp.pad(values, [(0, 0)] * (values.ndim - 2) + [(self.window, 0), (0, 0)])
        weights = jnp.asarray(self.matrix(), values.dtype if jnp.issubdtype(values.dtype, jnp.floating) else None)
        total = jnp.zeros((*values.shape, self.num_functions), weights.dtype)
        for lag in range(1, self.window + 1):
            past = padded[..., self.window - lag : self.window - lag + num_steps, :]
            total = total + past[..., None] * weights[lag - 1]
        return total


def _check(window: int, **counts: int) -> None:
    for name, value in {"window": window, **counts}.items():
        if not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name}: found {value!r}, expected an integer of at least 1.")


class Exponential(Basis):
    """One decaying function, proportional to exp(-lag / time_constant).

    Args:
        window: number of lags, in time steps.
        time_constant: in time steps.

    Example:
        >>> import latentgate as lg
        >>> lg.basis.Exponential(window=5).matrix().ravel().round(4).tolist()
        [0.6364, 0.2341, 0.0861, 0.0317, 0.0117]
    """

    window: int
    time_constant: float

    def __init__(self, window: int, time_constant: float = 1.0):
        _check(window)
        if not time_constant > 0:
            raise ValueError(f"time_constant: found {time_constant!r}, expected a positive number of time steps.")
        self.window, self.time_constant = window, time_constant

    def matrix(self) -> np.ndarray:
        """See `Basis.matrix`."""
        values = np.exp(-np.arange(1, self.window + 1) / self.time_constant)[:, None]
        return values / values.sum()


class RaisedCosine(Basis):
    """Raised cosines on a logarithmic lag axis: narrow at short lags, wide at long ones (Pillow et al. 2008).

    Args:
        num_functions: number of bumps.
        window: number of lags, in time steps.
        stretch: the larger, the closer to evenly spaced bumps.

    Example:
        >>> import latentgate as lg
        >>> lg.basis.RaisedCosine(4, window=20).matrix().shape
        (20, 4)
    """

    count: int
    window: int
    stretch: float

    def __init__(self, num_functions: int, window: int, stretch: float = 1.0):
        _check(window, num_functions=num_functions)
        if num_functions > window:
            raise ValueError(f"num_functions: found {num_functions}, expected at most the window, {window} lags.")
        if not stretch > 0:
            raise ValueError(f"stretch: found {stretch!r}, expected a positive number of time steps.")
        self.count, self.window, self.stretch = num_functions, window, stretch

    def matrix(self) -> np.ndarray:
        """See `Basis.matrix`."""
        lags = np.log(np.arange(1, self.window + 1) + self.stretch)
        centers = np.linspace(lags[0], lags[-1], self.count)
        # Neighbouring bumps half overlap, so that between the outer centres they add up to a constant; a single one spans the window.
        width = centers[1] - centers[0] if self.count > 1 else lags[-1] - lags[0] + 1.0
        distance = np.abs(lags[:, None] - centers) / width
        values = np.where(distance < 1, (np.cos(np.pi * distance) + 1) / 2, 0.0)
        return values / values.sum(0)


class Separate(Basis):
    """One free weight a lag.

    Args:
        window: number of lags, in time steps.
    """

    window: int

    def __init__(self, window: int):
        _check(window)
        self.window = window

    def matrix(self) -> np.ndarray:
        """See `Basis.matrix`."""
        return np.eye(self.window)
