"""Overdamped Langevin dynamics in one dimension as an exact discrete chain: potential, noise, tuning curves and, where there are some, boundaries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences
from latentgate.data.boundary_trials import boundary_trials
from latentgate.kernels import DiscreteChain, Smoothed
from latentgate.kernels.generators import uniformisation

from .base import Params, split_keys, with_prefix, without_prefix
from .emissions import Poisson, TuningCurves, UntilBoundary
from .emissions.base import Emission
from .emissions.checks import at_least, positive
from .generators import Langevin
from .generators.langevin import ABSORBING, ends_of
from .grid_initial import Equilibrium, SmoothFirst, normalised
from .grid_starts import tuned_lines
from .hmm import HMM
from .initial import FreeInitial, Initial, initial_of
from .jump_process import MarkovJumpProcess
from .transitions.per_sequence import PerSequence

LAWS = ("equilibrium", "free", "dirichlet")


class LangevinOnGrid(MarkovJumpProcess):
    """A particle in a potential, dx = -D Φ'(x) dt + sqrt(2D) dW on [-1, 1], seen through Poisson counts whose rates are functions of x.

    On a grid of K points this is a Markov jump process with the rates of `lg.generators.Langevin`, so that likelihood and posterior are exact for that
    grid, and approach those of the diffusion as its step squared. Ends reflect, or absorb: then a sequence ends where the particle reaches one of them, as
    a decision does (see `sequences`). The model cannot tell x from -x: two fits that differ by that are the same.

    Parameters: `transition.potential` [(condition,) potential_knot], spline coefficients of Φ, and `transition.diffusion` [(condition)], D per unit of time;
    `emission.weights` [neuron, tuning_knot], spline coefficients of log-rates, or `emission.rates` [state, neuron] without `tuning_knots`;
    `initial.weights` [first_knot] or `initial.probs` [state] where the first position has a law of its own.

    Args:
        num_neurons: columns of the data.
        num_points: K, points of the grid.
        ends: "reflecting" or "absorbing", or a pair of them for the ends -1 and 1.
        initial: law of the first position: "equilibrium" (exp(-Φ)), "free" (smooth), "dirichlet" (free at each point), or K probabilities; "equilibrium"
            where both ends reflect and "free" elsewhere if None.
        potential_knots: splines that make up Φ.
        roughness: standard deviation, a priori, of the change of Φ' over a unit of length.
        tuning_knots: splines that make up the logarithm of a tuning curve; None for a rate of its own at each point, with a Gamma prior.
        tuning_roughness: standard deviation, a priori, of the change of a log-rate's slope over a unit of length.
        emission: in place of tuning curves, any of `lg.emissions` with K states.
        conditions: number of conditions under which sequences were recorded, read from the input set "condition"; None for one.
        varying: what differs between conditions: "potential", "diffusion" or "both".
        diffusion_prior: of D; LogNormal(-log(2 time_scale), 2) if None.
        time_scale: in which a free particle comes from the middle to an end, roughly, in the units of the data's times.
        bin_width: width of a time step, for rates in Hz; that of the data the model is fitted to if None.
        semiring, backend: see `HMM`.

    Raises:
        ValueError: for an argument out of range.

    Source: Genkin, Hughes, Engel, Nat. Commun. 12:5986 (2021); Genkin, Shenoy, Chandrasekaran, Engel, Nature 645:168 (2025).

    Example:
        >>> import numpy as np, latentgate as lg
        >>> model = lg.LangevinOnGrid(2, 16, ends="absorbing")
        >>> trials = model.sequences([np.random.default_rng(seed).poisson(1.0, (12, 2)) for seed in range(9)], bin_width=0.02)
        >>> fit = lg.fit(model, trials, lg.EM(max_iterations=3), seed=0)
        >>> model.potential(fit.params).shape, model.choice(fit.params, trials).shape
        ((16,), (9, 2))
    """

    num_neurons: int
    bin_width: float | None

    def __init__(
        self,
        num_neurons: int,
        num_points: int = 64,
        *,
        ends: object = "reflecting",
        initial: object = None,
        potential_knots: int = 12,
        roughness: float = 20.0,
        tuning_knots: int | None = 8,
        tuning_roughness: float = 5.0,
        emission: Emission | None = None,
        conditions: int | None = None,
        varying: str = "potential",
        diffusion_prior: dist.Distribution | None = None,
        time_scale: float = 1.0,
        bin_width: float | None = None,
        semiring: str = "scaled",
        backend: str = "auto",
    ):
        self.num_neurons = at_least("num_neurons", num_neurons)
        generator = Langevin(
            num_points,
            ends_of(ends),
            num_knots=at_least("potential_knots", potential_knots, 4),
            roughness=roughness,
            conditions=conditions,
            varying=varying,
            diffusion_prior=diffusion_prior,
            time_scale=time_scale,
        )
        if emission is None:
            positive("tuning_roughness", tuning_roughness)
            if tuning_knots is None:
                emission = Poisson(self.num_neurons)
            else:
                emission = TuningCurves(self.num_neurons, generator.grid, at_least("tuning_knots", tuning_knots, 4), tuning_roughness)
        elif not isinstance(emission, Emission) or emission.num_features != self.num_neurons:
            raise ValueError(f"emission: found {emission!r}, expected one of lg.emissions with {self.num_neurons} features, as num_neurons says.")
        first, last = (end == ABSORBING for end in generator.ends)
        if first or last:
            emission = UntilBoundary(emission, first, last)
        if initial is None:
            initial = "free" if first or last else "equilibrium"
        self.bin_width = None if bin_width is None else positive("bin_width", bin_width)
        super().__init__(generator.num_points, emission, generator, initial=_law_of(initial, generator), semiring=semiring, backend=backend)
        # One matrix a condition: nothing to share between gaps.
        self.transition = PerSequence(generator, "scaling")

    @staticmethod
    def sequences(counts: Any, bin_width: float, *, ended: Any = True, conditions: Any = None, **annotations: Any) -> Sequences:
        """Trials that end at a boundary: see `latentgate.data.boundary_trials.boundary_trials`."""
        return boundary_trials(counts, bin_width, ended=ended, conditions=conditions, **annotations)

    @property
    def langevin(self) -> Langevin:
        """The generator."""
        assert isinstance(self.jump.generator, Langevin)
        return self.jump.generator

    @property
    def grid(self) -> np.ndarray:
        """Positions of the points, [point]."""
        return self.langevin.grid

    @property
    def absorbing(self) -> bool:
        """Whether an end absorbs."""
        return ABSORBING in self.langevin.ends

    def check(self, data: Sequences) -> None:
        """See `StateSpaceModel.check`."""
        # Of the walk itself nothing need be checked: from any point inside it may be at any other a bin later.
        HMM.check(self, data)

    def suited_to(self, data: Sequences) -> Self:
        """See `Part.suited_to`: the width of bins, if it is not known."""
        model = super().suited_to(data)
        if model.bin_width is not None or data.bin_width is None:
            return model
        return eqx.tree_at(lambda one: one.bin_width, model, float(data.bin_width), is_leaf=lambda leaf: leaf is None)

    def initialize(self, key: Array, data: Sequences) -> Params:
        """A flat potential, and tuning curves along a direction in which smoothed counts differ, in absorbing trials towards their end."""
        keys = split_keys(key, ["lines", "emission", "potential", "diffusion"])
        own = self.emission.emission if isinstance(self.emission, UntilBoundary) else self.emission
        if isinstance(own, TuningCurves | Poisson):
            middle, slope = tuned_lines(keys["lines"], data, late=self.absorbing)
            lines = middle + jnp.asarray(self.grid)[:, None] * slope
            emission = own.from_lines(middle, slope) if isinstance(own, TuningCurves) else {"rates": jnp.exp(lines)}
        else:
            emission = own.initialize(keys["emission"], data, self.num_states)
        times, last = jnp.asarray(data.times), jnp.asarray(data.lengths) - 1
        duration = jnp.mean(jnp.take_along_axis(times, last[:, None], 1)[:, 0] - times[:, 0])
        slow = duration if self.absorbing else jnp.minimum(duration, self.langevin.time_scale)
        diffusion = 0.5 / slow * jnp.exp(0.3 * jax.random.normal(keys["diffusion"], ()))
        return {
            **with_prefix("initial", self.initial.initialize(key, data, self.num_states)),
            **with_prefix("transition", self.langevin.start(keys["potential"], diffusion)),
            **with_prefix("emission", emission),
        }

    def log_initial(self, params: Params) -> Array:
        """Log-probabilities of the first position, [condition, point]; one row where they do not depend on the condition."""
        if not isinstance(self.initial, Equilibrium):
            return self.initial.log_probs(without_prefix("initial", params), self.num_states)[None]
        return normalised(-self.langevin.potentials(without_prefix("transition", params)), self.langevin.inside)

    def _condition(self, data: Sequences) -> Array:
        """Number of the condition of each sequence, int [sequence]."""
        if self.langevin.conditions is None:
            return jnp.zeros(data.values.shape[0], jnp.int32)
        return jnp.asarray(data.inputs[self.langevin.inputs])[:, 0, 0].astype(jnp.int32)

    def potentials(self, params: Params, data: Sequences) -> DiscreteChain:
        """See `StateSpaceModel.potentials`."""
        first = self.log_initial(params)
        return dataclasses.replace(super().potentials(params, data), log_initial=first if first.shape[0] == 1 else first[self._condition(data)])

    def m_step(self, params: Params, data: Sequences, smoothed: Smoothed) -> Params:
        """See `StateSpaceModel.m_step`; where sequences start from equilibrium their first positions tell of the potential too."""
        own = without_prefix("transition", params)
        also = self._first_positions(params, data, smoothed) if isinstance(self.initial, Equilibrium) else None
        assert isinstance(self.transition, PerSequence)
        found = with_prefix("transition", self.transition.m_step(own, data, smoothed.expected_transitions, also))
        found |= with_prefix("initial", self.initial.m_step(without_prefix("initial", params), smoothed.marginals[:, 0].sum(0)))
        return found | with_prefix("emission", self.emission.m_step(without_prefix("emission", params), data, smoothed.marginals))

    def _first_positions(self, params: Params, data: Sequences, smoothed: Smoothed) -> Callable[[Params], Array]:
        """Expected log-probability of the first positions as a function of the transition's parameters."""
        num_laws = self.log_initial(params).shape[0]
        which = self._condition(data) if num_laws > 1 else jnp.zeros(data.values.shape[0], jnp.int32)
        first = jax.ops.segment_sum(smoothed.marginals[:, 0], which, num_segments=num_laws)

        def expected(new: Params) -> Array:
            law = self.log_initial(with_prefix("transition", new))
            return jnp.sum(jnp.where(first > 0, first * jnp.where(first > 0, law, 0.0), 0.0))

        return expected

    def potential(self, params: Params) -> Array:
        """Φ at the grid points, [(condition,) point], with mean zero."""
        own = {name: jnp.asarray(value) for name, value in without_prefix("transition", params).items()}
        heights = self.langevin.potentials(own)
        heights = heights - heights.mean(-1, keepdims=True)
        return heights if own["potential"].ndim > 1 else heights[0]

    def tuning_curves(self, params: Params) -> Array:
        """Rates at the grid points, [point, neuron], in Hz where the width of bins is known (in s), in counts per bin elsewhere.

        Raises:
            ValueError: for a model with another emission.
        """
        own = self.emission.emission if isinstance(self.emission, UntilBoundary) else self.emission
        known = without_prefix("emission", params)
        if isinstance(own, TuningCurves):
            rates = own.rates(known)
        elif isinstance(own, Poisson):
            rates = jnp.asarray(known["rates"])
        else:
            raise ValueError(f"emission: found {type(own).__name__}, expected tuning curves, those of a model built without emission=....")
        return rates if self.bin_width is None else rates / self.bin_width

    def decision_variable(self, params: Params, data: Sequences) -> Array:
        """Posterior mean of the position at each row given all data, [sequence, time]; NaN at padding."""
        smoothed = self.smooth(params, data)
        assert isinstance(smoothed, Smoothed)
        return jnp.where(jnp.asarray(data.mask), smoothed.marginals @ jnp.asarray(self.grid), jnp.nan)

    def choice(self, params: Params, data: Sequences) -> Array:
        """Posterior probability that a sequence has ended at -1, and that it has ended at 1: [sequence, 2]; zero in both for one that has not ended.

        Raises:
            ValueError: for a model whose ends reflect.
        """
        if not self.absorbing:
            raise ValueError('ends: found "reflecting", expected an absorbing end, for a choice to be made.')
        smoothed = self.smooth(params, data)
        assert isinstance(smoothed, Smoothed)
        last = jnp.take_along_axis(smoothed.marginals, (jnp.asarray(data.lengths) - 1)[:, None, None], 1)[:, 0]
        return jnp.where(~self.langevin.inside[[0, -1]], last[:, jnp.array([0, -1])], 0.0)

    def simulate(self, key: Array, params: Params, lengths, inputs=None, times=None, initial=None) -> tuple[Sequences, list[np.ndarray]]:
        """Draws sequences, which end earlier than asked where the particle reaches an absorbing end.

        Args:
            key: JAX random key.
            params: parameters.
            lengths: steps of each sequence, or the most of them where an end absorbs.
            inputs: {"condition": [time, 1] for each sequence} where there are conditions.
            times: as in `Sequences.from_arrays`; steps of `bin_width` if None.
            initial: law of the first position [K], in place of the model's own.

        Returns:
            the sequences and a list of their points, int32 [time].

        Raises:
            ValueError: without times or a width of bins, or without conditions where the model has some.
        """
        from .grid_simulation import simulate

        return simulate(self, key, params, lengths, inputs, times, initial)

    def transition_matrices(self, params: Params, gap: float) -> Array:
        """P(point j after the gap | point i before it), [condition, K, K]; one where there are no conditions."""
        own = {name: jnp.asarray(value) for name, value in without_prefix("transition", params).items()}
        number = self.langevin.conditions
        rows = jnp.zeros((1, 0)) if number is None else jnp.arange(float(number))[:, None]
        generators = self.langevin.matrices(own, rows)
        return uniformisation.transition_matrices(generators, jnp.full(len(generators), gap), jnp.arange(len(generators)))


def _law_of(initial: object, generator: Langevin) -> Initial:
    if isinstance(initial, str):
        if initial not in LAWS:
            raise ValueError(f"initial: found {initial!r}, expected one of {', '.join(map(repr, LAWS))}, or {generator.num_points} probabilities.")
        grid, inside = tuple(generator.grid.tolist()), tuple(bool(point) for point in generator.inside)
        return {"equilibrium": Equilibrium(), "free": SmoothFirst(grid, inside), "dirichlet": FreeInitial(1.0)}[initial]
    return initial_of(initial, 1.0, generator.num_points)
