"""A recurrent network as a guide."""

from __future__ import annotations

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences

from ..base import Params
from ..emissions.checks import at_least
from .base import Guide, NoiseLaw
from .diagonal import DiagonalLaw

# Noise starts narrower than its prior, so that first paths carry what the network read and not chance alone.
_STARTING_SCALE = 0.3
# Heads start small: near the prior's mean.
_STARTING_HEAD = 0.1


class Recurrent(Guide):
    """A bidirectional gated recurrent network (GRU) that reads a whole sequence and gives mean and scale of the noise of every step.

    q(ε_t | data, z_t, v_t) = Normal(a_t + G (z_t, v_t), diag s_t²): `a` and `s` come from the network. With `steering`, a matrix G adds what position and
    velocity call for: errors of the past are corrected as they would be by a Kalman smoother, whose noise has exactly this form given the data (for a linear
    model G would also depend on the step). Without it, noise is independent over steps given the data.

    Parameters: of the network (`read`, `recur`, `bias`, `candidate_bias`), of what it says of the start (`start_weights`, `start_bias`), of the noise
    (`noise_weights`, `noise_bias`), of the states of switching potentials (`state_weights`, `state_bias`), and `steering` [latent, phase].

    Args:
        num_units: of the network, in each direction.
        steering: whether noise may depend on position and velocity.
        reads: numbers of the neurons that it may read: those held in, where others are to be predicted; all if None.

    Raises:
        ValueError: for fewer than one unit, or neurons that are not distinct numbers 0, 1, 2, ....

    Source: Cho et al., EMNLP 2014 (GRU); Sussillo et al. 2016 (as an encoder of spike counts). The reset gate acts on the recurrent product.

    Example:
        >>> import latentgate as lg
        >>> lg.guides.Recurrent(32).num_units
        32
    """

    num_units: int
    steering: bool
    reads: tuple[int, ...] | None
    latent_dim: int | None
    num_neurons: int | None
    num_inputs: int | None
    num_states: int | None
    unit: tuple[float, ...] | None

    def __init__(self, num_units: int = 64, *, steering: bool = True, reads: Any = None):
        self.num_units = at_least("num_units", num_units)
        self.steering = bool(steering)
        self.reads = None if reads is None else tuple(int(column) for column in np.ravel(reads))
        if self.reads is not None and (not self.reads or len(set(self.reads)) < len(self.reads) or min(self.reads) < 0):
            raise ValueError(f"reads: found {reads!r}, expected distinct numbers of neurons, 0, 1, 2, ....")
        self.latent_dim = self.num_neurons = self.num_inputs = self.num_states = self.unit = None

    def fitted_to(self, latent_dim: int, num_neurons: int, num_inputs: int, num_states: int) -> Self:
        """See `Guide.fitted_to`."""
        if self.reads is not None and max(self.reads) >= num_neurons:
            raise ValueError(f"reads: found neuron {max(self.reads)}, expected neurons 0 to {num_neurons - 1}.")

        def fields(guide: Recurrent) -> tuple[Any, ...]:
            return guide.latent_dim, guide.num_neurons, guide.num_inputs, guide.num_states

        return eqx.tree_at(fields, self, (latent_dim, num_neurons, num_inputs, num_states), is_leaf=lambda leaf: leaf is None)

    def readable(self) -> np.ndarray:
        """See `Guide.readable`."""
        everyone = np.arange(self.num_neurons or 0)
        return np.isin(everyone, everyone if self.reads is None else self.reads)

    def suited_to(self, data: Sequences) -> Self:
        """Takes the unit of each neuron from the data: their standard deviations, so that the network sees numbers of order one."""
        if self.unit is not None:
            return self
        observed = np.asarray(data.observed)
        count = np.maximum(observed.sum((0, 1)), 1)
        mean = np.asarray(data.values).sum((0, 1)) / count
        deviation = np.sqrt((np.where(observed, np.asarray(data.values) - mean, 0.0) ** 2).sum((0, 1)) / count)
        unit = tuple(float(one) for one in np.where(deviation > 0, deviation, 1.0))
        return eqx.tree_at(lambda guide: guide.unit, self, unit, is_leaf=lambda leaf: leaf is None)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """See `Guide.shapes`."""
        units, latents, states = self.num_units, self.latent_dim or 0, self.num_states or 0
        columns = (self.num_neurons or 0 if self.reads is None else len(self.reads)) + (self.num_inputs or 0)
        found: dict[str, tuple[int, ...]] = {
            "read": (2, columns, 3 * units),
            "recur": (2, units, 3 * units),
            "bias": (2, 3 * units),
            "candidate_bias": (2, units),
            "start_weights": (2 * units, 4 * latents),
            "start_bias": (4 * latents,),
            "noise_weights": (2 * units, 2 * latents),
            "noise_bias": (2 * latents,),
        }
        if states:
            found |= {"state_weights": (2 * units, states), "state_bias": (states,)}
        if self.steering:
            found["steering"] = (latents, 2 * latents)
        return found

    def positive(self) -> tuple[str, ...]:
        """See `Guide.positive`."""
        return ()

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        found = {
            "read": ("direction", "guide_column", "guide_gate"),
            "recur": ("direction", "guide_unit", "guide_gate"),
            "bias": ("direction", "guide_gate"),
            "candidate_bias": ("direction", "guide_unit"),
            "start_weights": ("guide_feature", "start_output"),
            "start_bias": ("start_output",),
            "noise_weights": ("guide_feature", "noise_output"),
            "noise_bias": ("noise_output",),
            "state_weights": ("guide_feature", "state"),
            "state_bias": ("state",),
            "steering": ("latent", "phase"),
        }
        return {name: found[name] for name in self.shapes()}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Random directions of unit gain, small heads, no steering."""
        shapes = self.shapes()
        keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
        params = {name: jnp.zeros(shape) for name, shape in shapes.items()}
        for name in ("read", "recur", "start_weights", "noise_weights", "state_weights"):
            if name in params:
                gain = _STARTING_HEAD if name not in ("read", "recur") else 1.0
                params[name] = gain * jax.random.normal(keys[name], shapes[name]) / jnp.sqrt(shapes[name][-2])
        narrow = jnp.log(jnp.expm1(_STARTING_SCALE)) - _UNIT
        latents = self.latent_dim or 0
        params["start_bias"] = params["start_bias"].at[2 * latents :].set(narrow)
        params["noise_bias"] = params["noise_bias"].at[latents:].set(narrow)
        return params

    def law(self, params: Params, signals: Array, shown: Array, inputs: Array, last: Array) -> tuple[NoiseLaw, Array | None]:
        """See `Guide.law`. Where some neurons are not shown, the others count for more, so that what the network hears is as loud as with all of them."""
        if self.unit is None:
            raise ValueError("guide: found one that has not seen data, expected the model of a fit (fit.model), or model.suited_to(data).")
        signals = signals / jnp.asarray(self.unit, signals.dtype)
        if self.reads is not None:
            signals, shown = (array[..., np.asarray(self.reads)] for array in (signals, shown))
        share = shown.mean(-1, keepdims=True, dtype=signals.dtype)
        heard = jnp.where(shown, signals / jnp.where(share > 0, share, 1.0), 0.0)
        features = _run(params, jnp.concatenate([heard, inputs], -1), last)
        latents = self.latent_dim or 0
        units = self.num_units
        ends = jnp.concatenate([features[-1, :, :units], features[0, :, units:]], -1)
        start = ends @ params["start_weights"] + params["start_bias"]
        noise = features[1:] @ params["noise_weights"] + params["noise_bias"]
        law = DiagonalLaw(start[:, : 2 * latents], _scale(start[:, 2 * latents :]), noise[..., :latents], _scale(noise[..., latents:]), last)
        states = features @ params["state_weights"] + params["state_bias"] if self.num_states else None
        return law, states

    def steering_matrix(self, params: Params) -> Array | None:
        """See `Guide.steering_matrix`."""
        return params["steering"] if self.steering else None


# Where softplus is one: scales are those of the prior at zero.
_UNIT = float(np.log(np.expm1(1.0)))


def _scale(value: Array) -> Array:
    return jax.nn.softplus(value + _UNIT)


def _run(params: Params, heard: Array, last: Array) -> Array:
    """Both directions in one scan, [time, sequence, 2 units]: forward, then backward. Neither is moved by steps after the last one with data."""
    both = jnp.stack([heard, heard[::-1]])
    drive = jnp.einsum("dtsc,dcg->tdsg", both, params["read"]) + params["bias"][:, None]
    units = params["recur"].shape[1]
    real = jnp.arange(len(heard))[:, None] <= last
    real = jnp.stack([real, real[::-1]], 1)[..., None]

    def advance(state: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        drive, real = now
        product = jnp.einsum("dsu,dug->dsg", state, params["recur"])
        gates = jax.nn.sigmoid(drive[..., : 2 * units] + product[..., : 2 * units])
        reset, keep = gates[..., :units], gates[..., units:]
        candidate = jnp.tanh(drive[..., 2 * units :] + reset * (product[..., 2 * units :] + params["candidate_bias"][:, None]))
        state = jnp.where(real, keep * state + (1.0 - keep) * candidate, state)
        return state, state

    start = jnp.zeros((2, heard.shape[1], units), drive.dtype)
    states = jax.lax.scan(advance, start, (drive, real))[1]
    return jnp.concatenate([states[:, 0], states[::-1, 1]], -1)
