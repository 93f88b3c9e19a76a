"""Underdamped Langevin latents whose posterior lives in noise space."""

from __future__ import annotations

from typing import Literal, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import GaussianFiltered, GaussianSmoothed
from latentgate.kernels.langevin import flow

from ..base import Model, Params, Part, Prior, split_keys, with_prefix, without_prefix
from ..emissions.base import check_inputs
from ..emissions.checks import at_least, positive
from ..guides import Guide, NoiseLaw, Recurrent
from ..noise_space import Bound, NoiseSpaceModel
from ..observations import check_features, require_sequences
from ..potentials import Network, Potential
from . import answers
from .readout import NormalReadout, PoissonReadout, Readout
from .states import SwitchingStates, states_of

OBSERVATIONS = ("poisson", "normal")
MOTIONS = ("langevin", "white noise")
LINKS = ("exp", "softplus")
# Typical squared velocity and friction of latents of order one that move within ten steps or so.
_TEMPERATURE, _FRICTION = 0.03, 0.2


class Paths(NamedTuple):
    """Paths with time leading.

    Attributes:
        positions, velocities: [time, sequence, d].
        inputs: mean of the noise that leads on from each step, steering included, [time - 1, sequence, d].
        divergence: of the law that they were drawn from, [sequence].
    """

    positions: Array
    velocities: Array
    inputs: Array
    divergence: Array


class LangevinFlow(NoiseSpaceModel):
    """Latents that move as underdamped Langevin particles in a learned potential, read by neurons.

    dz = v dt,  dv = -∇U(z) dt + B u dt - γ v dt + √(2 γ τ) dW,  y_n ~ Poisson(σ(C z + D v + d)_n), with time in units of steps. A path is a deterministic
    function of parameters and noise (the splitting of `kernels.langevin.flow`), and the posterior is over the noise: a guide gives its law from the data,
    whose divergence from the prior has a closed form. The mean of that law is the input that the data call for beyond what the potential does by itself.
    There is no way from the data to the rates but through the path.

    The latents cannot be integrated out: `log_likelihood` is the evidence lower bound, smoothed laws are those of the guide, and the engine is
    `lg.AmortisedSVI`.

    Parameters: those of the potential under `potential.`, `dynamics.friction` γ and `dynamics.temperature` τ [latent], `dynamics.input_matrix` B
    [latent, input]; `initial.mean` and `initial.scale` [phase] of the first position (d numbers) and velocity (d numbers); `emission.matrix` C
    [neuron, latent], `emission.velocity_matrix` D, `emission.bias` [neuron], `emission.variance` [neuron] of continuous signals; those of the guide under
    `guide.`, and of switching potentials `states.initial` [state], `states.transition` [state, next_state].

    Args:
        latent_dim: d.
        num_neurons: columns of the data.
        potential: from `lg.potentials`; `Network()`, which may take any shape, if None.
        guide: from `lg.guides`; `Recurrent(64)` if None.
        num_inputs: columns of the input set "inputs" that push latents.
        observation: "poisson" counts, or "normal" signals.
        link: of counts, σ = "exp" or "softplus".
        velocities: whether neurons read velocities too.
        motion: "langevin"; or "white noise", the control in which positions are independent draws at every step, of variance τ, and nothing else differs.
        step: length Δ of a step, in the units of time of the potential.

    Raises:
        ValueError: for options out of range, or parts that do not fit together.

    Source: Leimkuhler, Matthews 2013 (the splitting); Song, Keller, Yue, Perona, Welling 2025 (Langevin latents for neurons); the posterior over noise is that
        of Li, Wong, Chen, Duvenaud, AISTATS 2020, in discrete time.

    Example:
        >>> import latentgate as lg
        >>> model = lg.LangevinFlow(4, num_neurons=20, potential=lg.potentials.CoupledOscillators())
        >>> model.dims()["emission.matrix"]
        ('neuron', 'latent')
    """

    latent_dim: int
    potential: Potential
    guide: Guide
    readout: Readout
    states: SwitchingStates | None
    num_inputs: int
    motion: str
    step: float

    def __init__(
        self,
        latent_dim: int,
        num_neurons: int,
        potential: Potential | None = None,
        *,
        guide: Guide | None = None,
        num_inputs: int = 0,
        observation: Literal["poisson", "normal"] = "poisson",
        link: Literal["exp", "softplus"] = "exp",
        velocities: bool = False,
        motion: Literal["langevin", "white noise"] = "langevin",
        step: float = 1.0,
    ):
        self.latent_dim = at_least("latent_dim", latent_dim)
        neurons = at_least("num_neurons", num_neurons)
        self.potential = Network() if potential is None else potential
        if not isinstance(self.potential, Potential):
            raise ValueError(f"potential: found {potential!r}, expected one of lg.potentials, for example lg.potentials.CoupledOscillators().")
        self.potential.check_latents(self.latent_dim)
        for name, found, known in (("observation", observation, OBSERVATIONS), ("link", link, LINKS), ("motion", motion, MOTIONS)):
            if found not in known:
                raise ValueError(f"{name}: found {found!r}, expected one of {', '.join(map(repr, known))}.")
        self.num_inputs = at_least("num_inputs", num_inputs, 0)
        self.motion, self.step = motion, positive("step", step)
        self.readout = PoissonReadout(neurons, bool(velocities), link) if observation == "poisson" else NormalReadout(neurons, bool(velocities))
        self.states = states_of(self.potential)
        guide = Recurrent(64) if guide is None else guide
        if not isinstance(guide, Guide):
            raise ValueError(f"guide: found {guide!r}, expected one of lg.guides, for example lg.guides.Recurrent(64).")
        self.guide = guide.fitted_to(self.latent_dim, neurons, self.num_inputs, 0 if self.states is None else self.states.num_states)

    @property
    def num_neurons(self) -> int:
        """Columns of the data."""
        return self.readout.num_signals

    def _parts(self) -> dict[str, Part]:
        parts: dict[str, Part] = {"potential": self.potential, "emission": self.readout, "guide": self.guide}
        return parts if self.states is None else parts | {"states": self.states}

    def priors(self) -> dict[str, Prior]:
        """See `Model.priors`."""
        size = self.latent_dim
        own: dict[str, Prior] = {
            "dynamics.friction": dist.LogNormal(float(np.log(_FRICTION)), 1.5).expand((size,)).to_event(1),
            "dynamics.temperature": dist.LogNormal(float(np.log(_TEMPERATURE)), 1.5).expand((size,)).to_event(1),
            "initial.mean": dist.Normal(0.0, 3.0).expand((2 * size,)).to_event(1),
            "initial.scale": dist.HalfNormal(3.0).expand((2 * size,)).to_event(1),
        }
        if self.num_inputs:
            own["dynamics.input_matrix"] = dist.Normal(0.0, 1.0).expand((size, self.num_inputs)).to_event(2)
        for name, part in self._parts().items():
            own |= with_prefix(name, part.priors(size))
        return own

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Model.dims`."""
        own: dict[str, tuple[str, ...]] = {
            "dynamics.friction": ("latent",),
            "dynamics.temperature": ("latent",),
            "initial.mean": ("phase",),
            "initial.scale": ("phase",),
        }
        if self.num_inputs:
            own["dynamics.input_matrix"] = ("latent", "input")
        for name, part in self._parts().items():
            own |= with_prefix(name, part.dims())
        return own

    def interchangeable_dims(self) -> dict[str, tuple[str, ...]]:
        """See `Model.interchangeable_dims`: a guide tells states apart."""
        return {name: tuple(f"own_{dim}" if dim in ("state", "next_state") else dim for dim in axes) for name, axes in self.dims().items()}

    def initialize(self, key: Array, data: Sequences) -> Params:
        """See `Model.initialize`."""
        size = self.latent_dim
        parts = self._parts()
        keys = split_keys(key, list(parts))
        velocity = float(np.sqrt(_TEMPERATURE))
        params: Params = {
            "dynamics.friction": jnp.full(size, _FRICTION),
            "dynamics.temperature": jnp.full(size, _TEMPERATURE if self.motion == "langevin" else 1.0),
            "initial.mean": jnp.zeros(2 * size),
            "initial.scale": jnp.concatenate([jnp.ones(size), jnp.full(size, velocity)]),
        }
        if self.num_inputs:
            params["dynamics.input_matrix"] = jnp.zeros((size, self.num_inputs))
        for name, part in parts.items():
            params |= with_prefix(name, part.initialize(keys[name], data, size))
        return {name: params[name] for name in self.priors()}

    def check(self, data: Sequences) -> None:
        """See `Model.check`."""
        require_sequences(data)
        check_features(self, self.num_neurons, data)
        if data.max_length < 2:
            raise ValueError("data: found sequences of one step each, expected at least one with two, since latents move from step to step.")
        if self.num_inputs:
            check_inputs("LangevinFlow", {"inputs": self.num_inputs}, data)
        for part in self._parts().values():
            part.check(data)

    def suited_to(self, data: Sequences) -> Self:
        """See `Model.suited_to`."""
        parts = (self.potential.suited_to(data), self.guide.suited_to(data))
        return eqx.tree_at(lambda model: (model.potential, model.guide), self, parts, is_leaf=lambda leaf: isinstance(leaf, Part))

    def adopt(self, other: Model, params: Params) -> Params:
        """Parameters of a flow of the same names as a start: with another observation of the same latents, say."""
        absent = sorted(set(self.dims()) - set(params))
        if not isinstance(other, LangevinFlow) or absent:
            raise ValueError(f"start: found a fit of {type(other).__name__}, expected a LangevinFlow with {', '.join(absent) or 'the same parameters'}.")
        return {name: params[name] for name in self.dims()}

    def bound(self, params: Params, data: Sequences, key: Array, *, shown: Array | None = None, weights: Array | None = None, num_draws: int = 1) -> Bound:
        """See `NoiseSpaceModel.bound`."""
        signals = jnp.swapaxes(jnp.asarray(data.values), 0, 1)
        weight = jnp.swapaxes(jnp.asarray(data.observed if weights is None else weights), 0, 1)
        readout = without_prefix("emission", params)
        law, states = self.noise_law(params, data, shown)

        def one(key: Array) -> Bound:
            paths = self.paths(params, data, law, states, key)
            predictor = self.readout.predictor(readout, paths.positions, paths.velocities)
            terms = jnp.where(weight > 0, weight * self.readout.log_prob(readout, jnp.where(weight > 0, signals, 0.0), predictor), 0.0)
            return Bound(terms.sum((0, 2)), paths.divergence)

        drawn = jax.lax.map(one, jax.random.split(key, num_draws)) if num_draws > 1 else jax.tree.map(lambda leaf: leaf[None], one(key))
        return Bound(*(part.mean(0) for part in drawn))

    def held_out_gain(self, params: Params, training: Sequences, data: Sequences, hidden: Array, key: Array, num_draws: int) -> Array:
        """See `NoiseSpaceModel.held_out_gain`."""
        return answers.held_out_gain(self, params, training, data, hidden, key, num_draws)

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """The evidence lower bound of each sequence, averaged over draws that are the same at every call, [sequence]."""
        parts = answers.lower_bound(self, params, data, jax.random.key(0))
        return parts.log_likelihood - parts.divergence

    def expected_counts(self, params: Params, data: Sequences, *, without_inputs: bool = False) -> Array:
        """Expected observations given all data, averaged over paths drawn from the guide, [sequence, time, neuron]; zero at padding.

        Args:
            params: of the whole model.
            data: the sequences; missing entries are predicted too, bins after the last observed one from the prior of their noise.
            without_inputs: lets the paths go on by themselves from where the guide starts them, the mean of the noise being zero at every step:
                what the potential explains without inferred inputs.
        """
        return answers.expected_counts(self, params, data, without_inputs)

    def inferred_inputs(self, params: Params, data: Sequences) -> Array:
        """Mean of the noise at every step given the data, along the mean path, [sequence, time, latent]: what drove the path beyond its potential.

        In standard deviations of the noise of a step; entry t leads from step t to t + 1, and the last of every sequence is zero.
        """
        return answers.inferred_inputs(self, params, data)

    def smooth(self, params: Params, data: Sequences) -> GaussianSmoothed:
        """Mean and covariance of positions under the guide, from draws; their lagged moments are not kept. The log-normaliser is the lower bound."""
        return answers.smoothed(self, params, data)

    def filter(self, params: Params, data: Sequences) -> GaussianFiltered:
        """Not to be had.

        Raises:
            ValueError: always.
        """
        raise ValueError("filter: found a LangevinFlow, whose guide reads whole sequences; use smooth, or pass the data up to the step of interest.")

    def most_probable_path(self, params: Params, data: Sequences) -> Array:
        """Positions along the path of the mean noise, [sequence, time, latent]."""
        return answers.mean_path(self, params, data)[0]

    def mean_velocities(self, params: Params, data: Sequences) -> Array:
        """Velocities along the path of the mean noise, [sequence, time, latent], per unit of time."""
        return answers.mean_path(self, params, data)[1]

    def sample_latents(self, key: Array, params: Params, data: Sequences, num_samples: int | None = None) -> Array:
        """Draws of positions from the guide, [(sample,) sequence, time, latent]."""
        return answers.sampled(self, key, params, data, num_samples)

    def force(self, params: Params, positions: Array, inputs: dict[str, Array] | None = None) -> Array:
        """-∇U at positions [..., latent], [..., latent], given rows {name: [..., input]} of what the potential reads."""
        return self.potential.force(without_prefix("potential", params), positions, inputs or {})

    def simulate(self, key: Array, params: Params, lengths, inputs=None, times=None) -> tuple[Sequences, list[np.ndarray]]:
        """Draws sequences and their latents from the prior.

        Args:
            key: JAX random key.
            params: parameters.
            lengths: steps of each sequence.
            inputs: as in `Sequences.from_arrays`, where the model reads inputs.
            times: None; steps are equal.

        Returns:
            the sequences and a list of their latents, positions and velocities side by side, [time, 2 latent].

        Raises:
            ValueError: for times, or missing inputs.
        """
        if times is not None:
            raise ValueError("times: found an argument, expected None: steps of a LangevinFlow are equal.")
        lengths = [int(length) for length in lengths]
        given = Sequences.from_arrays([np.zeros((length, self.num_neurons)) for length in lengths], inputs=inputs)
        self.check(given)
        values, phases = (np.asarray(part) for part in answers.simulated(self, key, params, given))
        arrays = [value[:length] for value, length in zip(values, lengths, strict=True)]
        return Sequences.from_arrays(arrays, inputs=inputs), [phase[:length] for phase, length in zip(phases, lengths, strict=True)]

    def noise_law(self, params: Params, data: Sequences, shown: Array | None = None) -> tuple[NoiseLaw, Array | None]:
        """The law of the noise given the data, and log-potentials of switching states, [time, sequence, state], or None.

        Args:
            params: parameters.
            data: sequences.
            shown: as in `bound`.
        """
        observed = jnp.asarray(data.observed)
        shown = observed if shown is None else observed & shown
        inputs = jnp.asarray(data.inputs["inputs"]) if self.num_inputs else jnp.zeros((*observed.shape[:2], 0))
        signals, leading, inputs = (jnp.swapaxes(array, 0, 1) for array in (jnp.asarray(data.values), shown, inputs))
        last = jnp.max(jnp.where(observed.any(-1), jnp.arange(observed.shape[1]), 0), 1)
        return self.guide.law(without_prefix("guide", params), signals, leading, inputs, last)

    def _rows(self, data: Sequences, states: Array | None, steered: Array | None) -> dict[str, Array]:
        wanted = set(self.potential.input_sets) | ({"inputs"} if self.num_inputs else set())
        rows = {name: jnp.swapaxes(jnp.asarray(data.inputs[name]), 0, 1) for name in wanted}
        return rows | {name: value for name, value in (("_states", states), ("_steered", steered)) if value is not None}

    def paths(self, params: Params, data: Sequences, law: NoiseLaw, states: Array | None, key: Array | None, *, without_inputs: bool = False) -> Paths:
        """Paths of drawn noise, or of the mean noise where there is no key."""
        for_noise, for_states = (None, None) if key is None else jax.random.split(key)
        start, noise = law.centre() if for_noise is None else law.draw(for_noise)
        if without_inputs:
            noise = noise - law.centre()[1]
        own, divergence = None, 0.0
        if self.states is not None:
            own, divergence = self.states.draw(without_prefix("states", params), states, data, for_states)
        matrix = None if without_inputs or self.motion != "langevin" else self.guide.steering_matrix(without_prefix("guide", params))
        positions, velocities = self._travel(params, data, start, noise, own, matrix, law)
        steering = None if matrix is None else law.steered() * (jnp.concatenate([positions, velocities], -1)[:-1] @ matrix.T)
        mean = jnp.zeros_like(noise) if without_inputs else law.centre()[1]
        inputs = mean if steering is None else mean + steering
        return Paths(positions, velocities, inputs, law.divergence(steering) + divergence)

    def _travel(
        self, params: Params, data: Sequences, start: Array, noise: Array, states: Array | None, matrix: Array | None, law: NoiseLaw | None
    ) -> tuple[Array, Array]:
        size = self.latent_dim
        temperature = params["dynamics.temperature"]
        first = params["initial.mean"] + params["initial.scale"] * start
        if self.motion != "langevin":
            positions = jnp.concatenate([first[None, :, :size], jnp.sqrt(temperature) * noise])
            return positions, jnp.zeros_like(positions)
        potential = without_prefix("potential", params)
        push = params.get("dynamics.input_matrix")

        def force(position: Array, rows: dict[str, Array]) -> Array:
            pull = self.potential.force(potential, position, rows)
            return pull if push is None else pull + rows["inputs"] @ push.T

        steered = None if matrix is None or law is None else law.steered()
        if steered is not None:
            steered = jnp.concatenate([jnp.zeros_like(steered[:1]), steered]).astype(noise.dtype)

        def steer(position: Array, velocity: Array, rows: dict[str, Array]) -> Array:
            assert matrix is not None
            return rows["_steered"] * (jnp.concatenate([position, velocity], -1) @ matrix.T)

        return flow(
            force,
            first[:, :size],
            first[:, size:],
            noise,
            self._rows(data, states, steered),
            steer=None if steered is None else steer,
            step=self.step,
            friction=params["dynamics.friction"],
            temperature=temperature,
        )
