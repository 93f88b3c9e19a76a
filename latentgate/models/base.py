"""What a model is: structure without parameters, which turns parameters and data into the potentials of a chain."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from numpyro.distributions import Distribution

from latentgate.data import Sequences
from latentgate.kernels import DiscreteChain, Filtered, GaussianChain, GaussianFiltered, GaussianSmoothed, Path, Smoothed

from .distributions import mended

Params = dict[str, Array]
# A prior is a distribution, or a function of the parameters named before it that returns one (hierarchies).
Prior = Distribution | Callable[[Params], Distribution]


def resolve(prior: Prior, params: Mapping[str, Array]) -> Distribution:
    """The prior itself, or the distribution it becomes given the parameters before it."""
    return prior if isinstance(prior, Distribution) else prior(dict(params))


def log_prior(priors: Mapping[str, Prior], params: Mapping[str, Array]) -> Array:
    """Log-density of parameters in their natural space, scalar."""
    total = jnp.zeros(())
    for name, prior in priors.items():
        total = total + jnp.sum(jnp.asarray(resolve(prior, params).log_prob(params[name])))
    return total


def with_shape(prior: Distribution, shape: tuple[int, ...], name: str) -> Distribution:
    """A prior for an array of `shape`: a scalar prior is repeated, a shaped one must fit.

    Raises:
        ValueError: if the prior's own shape does not broadcast to `shape`.
    """
    prior = mended(prior)
    wanted = shape[: len(shape) - len(prior.event_shape)]
    if prior.event_shape != shape[len(wanted) :]:
        raise ValueError(f"prior of {name}: found event shape {prior.event_shape}, expected it to end an array of shape {shape}.")
    try:
        expanded = prior.expand(wanted)
    except ValueError as error:
        raise ValueError(
            f"prior of {name}: found batch shape {prior.batch_shape}, expected one that broadcasts to {wanted}; pass a scalar prior to use it for every entry."
        ) from error
    return expanded.to_event(len(wanted))


def repeated(name: str, prior: Prior, count: int) -> Distribution:
    """The law of `count` independent copies of an array, [count, ...], for parts that every state has one of.

    Raises:
        ValueError: for a prior that depends on other parameters.
    """
    if not isinstance(prior, Distribution):
        raise ValueError(f"prior of {name}: found one that depends on other parameters, expected a distribution, since every state has a copy of its own.")
    whole: Any = prior.expand((count, *prior.batch_shape))
    return whole.to_event(1 + len(prior.batch_shape))


class Part(eqx.Module):
    """A piece of a model with parameters of its own, named without the prefix that the model gives it."""

    @abc.abstractmethod
    def priors(self, num_states: int) -> dict[str, Prior]:
        """Prior of each parameter; its support is the parameter's constraint."""

    @abc.abstractmethod
    def dims(self) -> dict[str, tuple[str, ...]]:
        """Dimension names of each parameter; axes named "state" and "next_state" follow the states when these are reordered."""

    @abc.abstractmethod
    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Starting values for one restart, different in every state."""

    def check(self, data: Sequences) -> None:
        """Raises ValueError if the data cannot belong to this part; called outside compiled code."""

    def prepare(self, data: Sequences) -> Sequences:
        """Adds what depends on the data alone (spike history, factorials), so that it is computed once and not at every iteration."""
        return data

    def catalogue(self, data: Sequences) -> Sequences:
        """Adds what must be found on the host before anything is compiled: distinct gaps, say. Data that have it, or are traced, come back as they are."""
        return data

    def suited_to(self, data: Sequences) -> Self:
        """The same part with what it takes from the data it is fitted to, once and for all: the scale of inputs, say."""
        return self

    def degeneracy(self, params: Params, data: Sequences) -> str | None:
        """In what way parameters are at the edge of what the data can tell, or None: see `Model.degeneracy`."""
        return None

    def adopt(self, other: Part, params: Params) -> Params:
        """Parameters of another part as a start for this one: those of the same name, unless a subclass knows better.

        Raises:
            ValueError: if this part has parameters that the other has not.
        """
        absent = sorted(set(self.dims()) - set(params))
        if absent:
            raise ValueError(f"start: found a fit with {type(other).__name__}, which has no {', '.join(absent)} to start {type(self).__name__} from.")
        return {name: params[name] for name in self.dims()}


class WithoutParameters(Part):
    """A part that has nothing to learn."""

    def priors(self, num_states: int) -> dict[str, Prior]:
        """None."""
        return {}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """None."""
        return {}

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Nothing."""
        return {}


class Model(eqx.Module):
    """What can be fitted and asked: structure, priors and questions about latents, however the answers are found."""

    @abc.abstractmethod
    def priors(self) -> dict[str, Prior]:
        """{parameter name: prior}; the one source of priors for every engine. A prior may be a function of earlier parameters."""

    @abc.abstractmethod
    def dims(self) -> dict[str, tuple[str, ...]]:
        """{parameter name: dimension names}."""

    @abc.abstractmethod
    def initialize(self, key: Array, data: Sequences) -> Params:
        """Starting values for one restart; breaks the symmetry of the states, always."""

    @abc.abstractmethod
    def simulate(self, key: Array, params: Params, lengths, inputs=None, times=None) -> tuple[Sequences, list]:
        """Draws data and latents from the model."""

    @abc.abstractmethod
    def check(self, data: Sequences) -> None:
        """Raises ValueError, naming what is wrong, if the data cannot belong to this model."""

    @abc.abstractmethod
    def adopt(self, other: Model, params: Params) -> Params:
        """Parameters of another model as a start for this one; raises ValueError where they cannot serve."""

    @abc.abstractmethod
    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """Log-likelihood of each sequence with the latents integrated out, [sequence], or a bound on it; the model says which."""

    @abc.abstractmethod
    def smooth(self, params: Params, data: Sequences) -> Smoothed | GaussianSmoothed:
        """Law of the states or latents at each step given all data, and the log-likelihood."""

    @abc.abstractmethod
    def filter(self, params: Params, data: Sequences) -> Filtered | GaussianFiltered:
        """Law of the states or latents given the data so far, and one-step-ahead log-likelihoods."""

    @abc.abstractmethod
    def most_probable_path(self, params: Params, data: Sequences) -> Path | Array:
        """Most probable states (Viterbi), int32 [sequence, time], -1 at padding; of latents a most probable path, [sequence, time, latent]."""

    @abc.abstractmethod
    def sample_latents(self, key: Array, params: Params, data: Sequences, num_samples: int | None = None) -> Array:
        """Posterior draws of the states, int32 [(sample,) sequence, time], -1 at padding, or of latents, [(sample,) sequence, time, latent]."""

    def canonical(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The same model in the basis of latents to report.

        Raises:
            ValueError: if the model has no latents, or their basis is not free.
        """
        raise ValueError(f"model: found {type(self).__name__}, expected one with linear latent dynamics, whose basis is free.")

    def interchangeable_dims(self) -> dict[str, tuple[str, ...]]:
        """`dims`, but for states that data or a graph tell apart, whose axes have other names: they must not be renumbered."""
        return self.dims()

    def catalogue(self, data: Sequences) -> Sequences:
        """See `Part.catalogue`."""
        return data

    def suited_to(self, data: Sequences) -> Self:
        """See `Part.suited_to`."""
        return self

    def degeneracy(self, params: Params, data: Sequences) -> str | None:
        """In what way a fit that has ended is no maximum to rely on: the name of an outcome (see `lg.Outcome`), or None.

        Args:
            params: fitted parameters.
            data: the sequences, prepared.
        """
        return None

    def log_penalty(self, params: Params, data: Sequences) -> Array:
        """What a balancing term takes off the log-joint, scalar: neither prior nor likelihood, since it depends on parameters and inputs together."""
        return jnp.zeros(())

    @property
    def approximate(self) -> bool:
        """Whether the log-likelihood is an approximation that EM may lower; EM ends where it falls, then, and calls that the end of the climb."""
        return False

    def prepare(self, data: Sequences) -> Sequences:
        """See `Part.prepare`."""
        return data

    def log_prior(self, params: Params) -> Array:
        """Log prior density of the parameters in their natural space, scalar."""
        return log_prior(self.priors(), params)

    def sample_prior(self, key: Array) -> Params:
        """Parameters drawn from their priors: what the model believes before it has seen anything.

        Raises:
            ValueError: for a flat prior, from which nothing can be drawn.
        """
        drawn: Params = {}
        for (name, prior), own in zip(self.priors().items(), jax.random.split(key, len(self.priors())), strict=True):
            resolved = resolve(prior, drawn)
            try:
                drawn[name] = jnp.asarray(resolved.sample(own))
            except NotImplementedError as error:
                raise ValueError(f"prior of {name}: found {type(resolved).__name__}, from which nothing can be drawn; expected a proper prior.") from error
        return drawn


class StateSpaceModel(Model):
    """A model that becomes the potentials of a chain. Subclasses supply what is abstract; the rest follows from the chain."""

    @abc.abstractmethod
    def potentials(self, params: Params, data: Sequences) -> DiscreteChain | GaussianChain:
        """The chain of every sequence: batch dimension [sequence]."""

    @abc.abstractmethod
    def m_step(self, params: Params, data: Sequences, smoothed: Any) -> Params:
        """Parameters whose expected log-joint under `smoothed` is no smaller than that of `params`."""

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """Log-likelihood of each sequence with the latents integrated out, [sequence].

        NaN where the scaled recursion underflows; build the model with `semiring="log"` there.
        """
        return _log_likelihood(self, params, self.catalogue(data))

    def smooth(self, params: Params, data: Sequences) -> Smoothed | GaussianSmoothed:
        """Law of the states or latents at each step given all data, what the chain says of neighbours, and the log-likelihood."""
        return _ask(self, params, self.catalogue(data), "smooth")

    def filter(self, params: Params, data: Sequences) -> Filtered | GaussianFiltered:
        """Law of the states or latents given the data so far, and one-step-ahead log-likelihoods."""
        return _ask(self, params, self.catalogue(data), "filter")

    def most_probable_path(self, params: Params, data: Sequences) -> Path | Array:
        """Most probable states (Viterbi), int32 [sequence, time], -1 at padding; of latents the smoothed means, [sequence, time, latent]."""
        return _ask(self, params, self.catalogue(data), "most_probable_path")

    def sample_latents(self, key: Array, params: Params, data: Sequences, num_samples: int | None = None) -> Array:
        """Exact posterior draws of the states, int32 [(sample,) sequence, time], -1 at padding, or of latents, [(sample,) sequence, time, latent]."""
        return _sample_latents(self, key, params, self.catalogue(data), num_samples)


@eqx.filter_jit
def _log_likelihood(model: StateSpaceModel, params: Params, data: Sequences) -> Array:
    return model.potentials(params, data).log_normaliser()


@eqx.filter_jit
def _ask(model: StateSpaceModel, params: Params, data: Sequences, question: str):
    return getattr(model.potentials(params, data), question)()


@eqx.filter_jit
def _sample_latents(model: StateSpaceModel, key: Array, params: Params, data: Sequences, num_samples: int | None) -> Array:
    return model.potentials(params, data).sample(key, num_samples)


def with_prefix(prefix: str, params: Mapping) -> dict:
    """Names of a part as the whole model knows them; functions of parameters see the part's own names."""

    def lifted(value):
        if callable(value) and not isinstance(value, Distribution):
            return lambda whole: value(without_prefix(prefix, whole))
        return value

    return {f"{prefix}.{name}": lifted(value) for name, value in params.items()}


def without_prefix(prefix: str, params: Mapping) -> dict:
    """The parameters of one part under their own names."""
    return {name[len(prefix) + 1 :]: value for name, value in params.items() if name.startswith(prefix + ".")}


def with_computed(data: Sequences, name: str, values: Array) -> Sequences:
    """The same sequences with an array [sequence, time, ...] computed from them, for `Part.prepare`."""
    return dataclasses.replace(data, inputs={**data.inputs, name: values})


def split_keys(key: Array, names: list[str]) -> dict[str, Array]:
    """One independent key a name."""
    return dict(zip(names, jax.random.split(key, len(names)), strict=True))
