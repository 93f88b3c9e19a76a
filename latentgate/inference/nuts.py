"""Markov chain Monte Carlo: the no-U-turn sampler of numpyro, all chains in one compiled program."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax import Array
from numpyro.infer.hmc import hmc

from latentgate.data import Sequences
from latentgate.models import StateSpaceModel
from latentgate.models.base import Params

from .blocks import Block, run_in_blocks
from .engine import Task
from .fit import Fit
from .numpyro_model import natural, potential, scattered_start
from .outcomes import Outcome
from .posterior import RHAT_LIMIT, Posterior, aligned
from .posterior_engine import PosteriorEngine
from .restarts import RestartEngine


class _Options(NamedTuple):
    """What the sampler's program depends on."""

    warmup: int
    target_accept: float
    max_tree_depth: int
    dense_mass: bool


class NUTS(PosteriorEngine):
    """The no-U-turn sampler (Hoffman & Gelman 2014), from numpyro, with vectorised chains.

    Chains start near a fit of `start_from`, each at another point, unless `lg.fit(..., start=...)` says where. After sampling, the states of all draws are
    aligned, so that R-hat, effective sample sizes and means are of the same state throughout.

    The fit holds the draws in `fit.posterior`; `fit.params` are posterior means, and `fit.smooth`, `fit.filter` and `fit.log_likelihood` average over draws.

    Args:
        chains: independent chains.
        warmup: iterations in which step size and mass matrix are adapted; not kept.
        draws: iterations kept, of each chain.
        target_accept: mean acceptance that the step size aims at; nearer to 1 is slower and diverges less.
        max_tree_depth: a trajectory has at most 2 ** max_tree_depth steps.
        dense_mass: adapt a full mass matrix instead of a diagonal one.
        start_from: the engine that finds where to start.
        block: iterations between updates of the progress bar and of the checkpoint.

    Raises:
        ValueError: for options out of range.

    Example:
        >>> import latentgate as lg
        >>> lg.NUTS(chains=2, draws=200)
        NUTS(chains=2, warmup=500, draws=200, target_accept=0.8)
    """

    name = "NUTS"

    def __init__(
        self,
        chains: int = 4,
        warmup: int = 500,
        draws: int = 500,
        *,
        target_accept: float = 0.8,
        max_tree_depth: int = 10,
        dense_mass: bool = False,
        start_from: RestartEngine | None = None,
        block: int = 50,
    ):
        super().__init__(start_from)
        self.chains, self.warmup, self.draws = self.whole("chains", chains), self.whole("warmup", warmup), self.whole("draws", draws)
        self.max_tree_depth, self.block = self.whole("max_tree_depth", max_tree_depth), self.whole("block", block)
        if not 0 < target_accept < 1:
            raise ValueError(f"target_accept: found {target_accept!r}, expected a number between 0 and 1.")
        self.target_accept, self.dense_mass = float(target_accept), bool(dense_mass)

    def __repr__(self) -> str:
        return f"NUTS(chains={self.chains}, warmup={self.warmup}, draws={self.draws}, target_accept={self.target_accept})"

    def fit(self, task: Task) -> Fit:
        """See `Engine.fit`."""
        model, data = task.model, task.prepared
        centre, restarts, best_restart = self.starting_fit(task)
        for_scatter, for_chains = jax.random.split(jax.random.fold_in(jax.random.key(task.seed), 1))
        free = scattered_start(model, data, for_scatter, centre, self.chains)
        options = _Options(self.warmup, self.target_accept, self.max_tree_depth, self.dense_mass)
        state = _first_state(model, data, options, free, jax.random.split(for_chains, self.chains))

        # One block length for both phases, so that they are one compiled program.
        block = min(self.block, self.warmup, self.draws)

        def advance(state: Any, keep: bool) -> tuple[Any, dict[str, Array]]:
            state, output = _sample_block(model, data, options, state, block)
            return state, {name: value for name, value in output.items() if keep or not name.startswith(_DRAW)}

        def phase(title: str, stage: str, state: Any, total: int, keep: bool):
            return run_in_blocks(
                title,
                lambda state, _: advance(state, keep),
                state,
                total,
                block,
                finished=lambda *_: False,
                note=_note,
                progress=task.progress,
                checkpoint=task.checkpoint.child(stage),
            )

        warm = phase("NUTS, warm-up", "warmup", state, self.warmup, False)
        if warm.interrupted:
            raise KeyboardInterrupt
        sampled = phase("NUTS, draws", "draws", warm.state, self.draws, True)
        # [iteration, chain, ...] to [chain, iteration, ...].
        output = {name: np.swapaxes(value, 0, 1) for name, value in sampled.output.items()}
        stats = {name: value for name, value in output.items() if not name.startswith(_DRAW)}
        kept = {name[len(_DRAW) :]: value for name, value in output.items() if name.startswith(_DRAW)}
        draws = {name: np.asarray(value) for name, value in natural(model, jax.tree.map(jax.numpy.asarray, kept)).items()}
        draws, switches = aligned(draws, model.interchangeable_dims(), centre)
        posterior = Posterior(draws, stats, switches)
        outcome = Outcome.INTERRUPTED if sampled.interrupted else _verdict(posterior)
        return self.posterior_fit(task, posterior, outcome, outcome is Outcome.SAMPLED, restarts, best_restart)


_DRAW = "draw."


def _kernel(model: StateSpaceModel, data: Sequences, options: _Options, free: Params, key: Array):
    init, sample = hmc(lambda free: potential(model, data, free), algo="NUTS")
    state = init(
        free,
        options.warmup,
        target_accept_prob=options.target_accept,
        max_tree_depth=options.max_tree_depth,
        dense_mass=options.dense_mass,
        trajectory_length=None,  # pyright: ignore[reportArgumentType] - of no use to NUTS
        rng_key=key,
    )
    return state, sample


@eqx.filter_jit
def _first_state(model: StateSpaceModel, data: Sequences, options: _Options, free: Params, keys: Array) -> Any:
    return jax.vmap(lambda free, key: _kernel(model, data, options, free, key)[0])(free, keys)


@eqx.filter_jit
def _sample_block(model: StateSpaceModel, data: Sequences, options: _Options, state: Any, length: int):
    # The sampler learns its settings when it is initialised; the state made there is not used, and compiles to nothing.
    first = jax.tree.map(lambda leaf: leaf[0], (state.z, state.rng_key))
    _, sample = _kernel(model, data, options, *first)

    def iterate(state: Any, _: None):
        state = jax.vmap(sample)(state)
        output = {
            "diverging": state.diverging,
            "acceptance_rate": state.accept_prob,
            "n_steps": state.num_steps,
            "step_size": state.adapt_state.step_size,
            "energy": state.energy,
            "lp": -state.potential_energy,
        }
        return state, output | {_DRAW + name: value for name, value in state.z.items()}

    return jax.lax.scan(iterate, state, None, length=length)


def _note(_: Any, block: Block) -> str:
    rate, steps = block["acceptance_rate"].mean(), block["n_steps"].mean()
    return f"acceptance {rate:.2f}, {steps:.0f} steps a draw, {int(block['diverging'].sum())} diverged"


def _verdict(posterior: Posterior) -> Outcome:
    if posterior.num_divergences:
        return Outcome.DIVERGED
    return Outcome.SAMPLED if posterior.largest_rhat() <= RHAT_LIMIT else Outcome.CHAINS_DISAGREE
