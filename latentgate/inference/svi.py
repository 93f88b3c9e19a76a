"""Stochastic variational inference, through numpyro's guides."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from numpyro import infer
from numpyro.infer.autoguide import (
    AutoContinuous,
    AutoDiagonalNormal,
    AutoGuide,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
)

from latentgate.data import Sequences
from latentgate.data.sequences import take
from latentgate.models import StateSpaceModel
from latentgate.models.base import Params

from .blocks import Block, run_in_blocks
from .engine import Task
from .fit import Fit
from .numpyro_model import natural, numpyro_model, potential, scattered_start
from .outcomes import NonFiniteLikelihoodError, Outcome
from .posterior import PARETO_K_LIMIT, Posterior, aligned
from .posterior_engine import PosteriorEngine
from .restarts import RestartEngine

GUIDES: dict[str, Any] = {
    "mean-field": AutoDiagonalNormal,
    "full-rank": AutoMultivariateNormal,
    "low-rank": AutoLowRankMultivariateNormal,
    "laplace": AutoLaplaceApproximation,
}


class SVI(PosteriorEngine):
    """Stochastic variational inference: a normal law over the unconstrained parameters, fitted to the posterior by its evidence lower bound (ELBO).

    The fit holds draws from the guide in `fit.posterior`, with the ELBO of every iteration and the Pareto k of the draws' importance ratios, which says
    how far the guide can be trusted (Yao et al. 2018). `fit.params` are means of the draws.

    Args:
        guide: "mean-field", "full-rank", "low-rank" or "laplace"; or one's own: an `AutoGuide` class of numpyro, or a function of
            `(model, data, scale)` with numpyro sample sites of the parameters' names, which may be amortised (read the data).
        max_iterations: limit.
        learning_rate: of Adam at the start; it falls to a twentieth by the limit.
        batch_size: sequences in a minibatch, drawn anew at every iteration, the log-likelihood scaled up accordingly; all sequences if None.
        particles: draws of the guide at each iteration.
        draws: draws from the fitted guide.
        tolerance: the ELBO has settled when its mean over a window no longer exceeds that of the window before by more than
            tolerance * (1 + |ELBO|) or by two standard errors, whichever is larger.
        window: iterations in a window; the variational parameters kept are their mean over about the last one.
        start_from: the engine that finds where to start.
        block: iterations between updates of the progress bar and of the checkpoint.

    Raises:
        ValueError: for options out of range.

    Example:
        >>> import latentgate as lg
        >>> lg.SVI("full-rank")
        SVI('full-rank', max_iterations=10000, learning_rate=0.02, batch_size=None, particles=1)
    """

    name = "SVI"

    def __init__(
        self,
        guide: str | type[AutoGuide] | Callable = "mean-field",
        *,
        max_iterations: int = 10_000,
        learning_rate: float = 0.02,
        batch_size: int | None = None,
        particles: int = 1,
        draws: int = 1000,
        tolerance: float = 1e-6,
        window: int = 500,
        start_from: RestartEngine | None = None,
        block: int = 100,
    ):
        super().__init__(start_from)
        if isinstance(guide, str) and guide not in GUIDES:
            raise ValueError(f"guide: found {guide!r}, expected one of {', '.join(map(repr, GUIDES))}, a numpyro AutoGuide class, or a function.")
        if not isinstance(guide, str) and not callable(guide):
            raise TypeError(f"guide: found {guide!r}, expected one of {', '.join(map(repr, GUIDES))}, a numpyro AutoGuide class, or a function.")
        if not learning_rate > 0:
            raise ValueError(f"learning_rate: found {learning_rate!r}, expected a positive number.")
        if tolerance < 0:
            raise ValueError(f"tolerance: found {tolerance!r}, expected a number that is not negative.")
        self.guide, self.learning_rate, self.tolerance = guide, float(learning_rate), float(tolerance)
        self.max_iterations, self.particles = self.whole("max_iterations", max_iterations), self.whole("particles", particles)
        self.draws, self.window, self.block = self.whole("draws", draws), self.whole("window", window, 2), self.whole("block", block)
        self.batch_size = None if batch_size is None else self.whole("batch_size", batch_size)

    def __repr__(self) -> str:
        guide = self.guide if isinstance(self.guide, str) else getattr(self.guide, "__name__", "guide")
        return (
            f"SVI({guide!r}, max_iterations={self.max_iterations}, learning_rate={self.learning_rate}, "
            f"batch_size={self.batch_size}, particles={self.particles})"
        )

    def fit(self, task: Task) -> Fit:
        """See `Engine.fit`.

        Raises:
            ValueError: if a minibatch is larger than the data.
            NonFiniteLikelihoodError: if the ELBO is NaN or infinite throughout a block.
        """
        model, data = task.model, task.prepared
        num_sequences = task.data.num_sequences
        if self.batch_size is not None and self.batch_size > num_sequences:
            raise ValueError(f"batch_size: found {self.batch_size}, expected at most the {num_sequences} sequences of the data.")
        centre, restarts, best_restart = self.starting_fit(task)
        for_scatter, for_run, for_draws = jax.random.split(jax.random.fold_in(jax.random.key(task.seed), 2), 3)
        free = scattered_start(model, data, for_scatter, centre, 1)
        start = {name: value[0, 0] for name, value in natural(model, {name: value[None] for name, value in free.items()}).items()}
        run = _Run(self._numpyro(start), self.batch_size, num_sequences, 1.0 / self.window)
        block = min(self.block, self.max_iterations)

        def note(_: Any, output: Block) -> str:
            return f"ELBO {output['elbo'].mean():.1f}"

        ran = run_in_blocks(
            "SVI",
            lambda state, _: _block(run, model, data, state, block),
            run.start(model, data, for_run),
            self.max_iterations,
            block,
            finished=lambda _, blocks: self._ended(np.concatenate([one["elbo"] for one in blocks])) is not None,
            note=note,
            progress=task.progress,
            checkpoint=task.checkpoint.child("svi"),
        )
        elbo = ran.output["elbo"]
        params = run.params(ran.state)
        if not np.isfinite(elbo[-block:]).any():
            raise NonFiniteLikelihoodError(len(elbo), None, {name: np.asarray(value) for name, value in centre.items()}, Outcome.NOT_FINITE)
        draws, pareto_k = _draws(run.svi.guide, params, model, data, {name: value[0] for name, value in free.items()}, for_draws, self.draws)
        draws, switches = aligned(draws, model.interchangeable_dims(), centre)
        posterior = Posterior(draws, {}, switches, elbo, pareto_k)
        outcome = Outcome.INTERRUPTED if ran.interrupted else self._ended(elbo) or Outcome.ITERATION_LIMIT
        converged = outcome is Outcome.ELBO_SETTLED
        if converged and pareto_k is not None and not pareto_k <= PARETO_K_LIMIT:
            outcome = Outcome.POOR_GUIDE
        return self.posterior_fit(task, posterior, outcome, converged, restarts, best_restart)

    def _numpyro(self, start: Params) -> infer.SVI:
        guide = GUIDES[self.guide] if isinstance(self.guide, str) else self.guide
        if isinstance(guide, type) and issubclass(guide, AutoGuide):
            guide = guide(numpyro_model, init_loc_fn=infer.init_to_value(values=start))
        schedule = optax.cosine_decay_schedule(self.learning_rate, self.max_iterations, alpha=0.05)
        return infer.SVI(numpyro_model, guide, optax.adam(schedule), _OrderedELBO(self.particles))

    def _ended(self, elbo: np.ndarray) -> Outcome | None:
        if not np.isfinite(elbo[-min(self.block, len(elbo)) :]).any():
            return Outcome.NOT_FINITE
        if len(elbo) < 2 * self.window:
            return None
        before, after = elbo[-2 * self.window : -self.window], elbo[-self.window :]
        error = np.sqrt((np.nanvar(before) + np.nanvar(after)) / self.window)
        rise = np.nanmean(after) - np.nanmean(before)
        return Outcome.ELBO_SETTLED if rise <= max(self.tolerance * (1 + abs(np.nanmean(after))), 2 * error) else None


class _OrderedELBO(infer.Trace_ELBO):
    """numpyro adds sites in the order of a set, so that the last digit changes from process to process; that of a resumed run must not."""

    def __init__(self, particles: int):
        super().__init__(num_particles=particles, sum_sites=False)

    def loss_with_mutable_state(self, *args: Any, **kwargs: Any) -> Any:
        """See numpyro."""
        answer = super().loss_with_mutable_state(*args, **kwargs)
        by_site: Any = answer["loss"]
        return {**answer, "loss": sum(by_site[name] for name in sorted(by_site))}


class _State(NamedTuple):
    svi: Any
    mean: Any
    done: Array
    key: Array


class _Run:
    """One optimisation; compared by identity, since numpyro's guides learn their shapes when they first run."""

    def __init__(self, svi: infer.SVI, batch_size: int | None, num_sequences: int, forgetting: float):
        self.svi, self.batch_size, self.num_sequences, self.forgetting = svi, batch_size, num_sequences, forgetting

    def start(self, model: StateSpaceModel, data: Sequences, key: Array) -> _State:
        for_start, key = jax.random.split(key)
        state = self.svi.init(for_start, model, data)
        return _State(state, self.svi.optim.get_params(state.optim_state), jnp.zeros((), jnp.int32), key)

    def params(self, state: _State) -> dict[str, Array]:
        """Variational parameters, averaged over the last iterations."""
        # numpyro sets it in `init`, which `start` calls.
        assert self.svi.constrain_fn is not None
        return self.svi.constrain_fn(state.mean)

    def step(self, model: StateSpaceModel, data: Sequences, state: _State) -> tuple[_State, dict[str, Array]]:
        key, for_batch = jax.random.split(state.key)
        if self.batch_size is None:
            batch, scale = data, 1.0
        else:
            chosen = jax.random.choice(for_batch, self.num_sequences, (self.batch_size,), replace=False)
            batch, scale = take(data, chosen), self.num_sequences / self.batch_size
        svi, loss = self.svi.stable_update(state.svi, model, batch, scale)
        weight = jnp.maximum(self.forgetting, 1.0 / (state.done + 1.0))
        now = self.svi.optim.get_params(svi.optim_state)
        mean = jax.tree.map(lambda old, new: old + (weight * (new - old)).astype(old.dtype), state.mean, now)
        return _State(svi, mean, state.done + 1, key), {"elbo": -loss}


@eqx.filter_jit
def _block(run: _Run, model: StateSpaceModel, data: Sequences, state: _State, length: int):
    return jax.lax.scan(lambda state, _: run.step(model, data, state), state, None, length=length)


def _draws(
    guide: Any, params: dict[str, Array], model: StateSpaceModel, data: Sequences, free: Params, key: Array, num_draws: int
) -> tuple[dict[str, np.ndarray], float | None]:
    """Draws in natural space, [1, draw, ...], and the Pareto k of their importance ratios where the guide has a density."""
    if not isinstance(guide, AutoContinuous):
        sites = infer.Predictive(guide, params=params, num_samples=num_draws)(key, model, data)
        return {name: np.asarray(sites[name])[None] for name in model.priors()}, None
    law = guide.get_posterior(params)
    vectors = law.sample(key, (num_draws,))
    # numpyro lays the sites out in the order of the program, which is that of the priors.
    _, unravel = ravel_pytree(OrderedDict((name, free[name]) for name in model.priors()))
    points = jax.vmap(unravel)(vectors)
    log_joint = -jax.lax.map(lambda point: potential(model, data, point), points, batch_size=10)
    draws = {name: np.asarray(value) for name, value in natural(model, {name: value[None] for name, value in points.items()}).items()}
    density = law.log_prob(vectors).reshape(num_draws, -1).sum(-1)
    return draws, _pareto_k(np.asarray(log_joint - density))


# Below this ArviZ has fewer than five draws in the tail, and fits none.
_LEAST_FOR_A_TAIL = 25


def _pareto_k(log_ratios: np.ndarray) -> float | None:
    from arviz_stats.base.array import array_stats

    if len(log_ratios) < _LEAST_FOR_A_TAIL:
        return None
    if not np.isfinite(log_ratios).all() or np.ptp(log_ratios) == 0:
        return float("inf")
    return float(array_stats.psislw(log_ratios)[1])
