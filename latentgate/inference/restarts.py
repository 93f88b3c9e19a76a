"""Engines that climb from many starting points and keep the best: EM and MAP."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from latentgate.data import Sequences
from latentgate.kernels import Smoothed
from latentgate.models import StateSpaceModel

from .alignment import match_params, permute_states
from .climb import Climber, Trace, climb
from .engine import Engine, Task
from .fit import Fit, RestartRecord
from .outcomes import NonFiniteLikelihoodError, Outcome


class RestartEngine(Engine):
    """An engine of `lg.fit` that climbs from many starting points; subclasses name their `Climber`."""

    climber: Climber

    def __init__(self, restarts: int = 1, max_iterations: int = 500, tolerance: float = 1e-8, block: int = 10):
        self.restarts = self.whole("restarts", restarts)
        self.max_iterations = self.whole("max_iterations", max_iterations)
        self.block = min(self.whole("block", block), max_iterations)
        if tolerance < 0:
            raise ValueError(f"tolerance: found {tolerance}, expected a number that is not negative.")
        self.tolerance = tolerance

    def __repr__(self) -> str:
        return f"{self.name}(restarts={self.restarts}, max_iterations={self.max_iterations}, tolerance={self.tolerance})"

    def fit(self, task: Task) -> Fit:
        """See `Engine.fit`: the best restart, with a record of every one, whose states are aligned to those of the best.

        Raises:
            NonFiniteLikelihoodError: if every restart broke down; it carries the last good parameters.
        """
        try:
            trace = self.run(task)
        except NonFiniteLikelihoodError as error:
            degeneracy = _degeneracy(task, error.params)
            if degeneracy is None:
                raise
            raise NonFiniteLikelihoodError(error.iteration, error.sequence, error.params, degeneracy) from None
        # A restart that broke down holds its last good parameters; it may win only if every one broke down.
        scores = np.array([np.nanmax(row, initial=-np.inf) for row in trace.log_joint])
        healthy = np.array([not outcome.failed for outcome in trace.outcomes])
        best = int(np.argmax(np.where(healthy, scores, -np.inf) if healthy.any() else scores))
        dims = task.model.interchangeable_dims()
        chosen = {name: value[best] for name, value in trace.params.items()}
        records = []
        for index, outcome in enumerate(trace.outcomes):
            own = {name: value[index] for name, value in trace.params.items()}
            records.append(
                RestartRecord(
                    params=permute_states(own, dims, match_params(chosen, own, dims)),
                    log_joint_history=_ended(trace.log_joint[index]),
                    log_likelihood_history=_ended(trace.log_likelihood[index]),
                    outcome=outcome,
                )
            )
        outcome = records[best].outcome
        occupancy = _occupancy(task.model, chosen, task.prepared) if trace.occupancy is None else trace.occupancy[best]
        if not outcome.failed and occupancy is not None and (occupancy < 1).any():
            outcome = Outcome.STATE_EMPTIED
        if not outcome.failed:
            outcome = _degeneracy(task, chosen) or outcome
        return Fit(
            model=task.model,
            params=chosen,
            engine=repr(self),
            seed=task.seed,
            outcome=outcome,
            converged=records[best].outcome is Outcome.CONVERGED,
            restarts=records,
            best_restart=best,
            feature_names=task.data.names,
            data=task.data,
        )

    def run(self, task: Task) -> Trace:
        """The climb of every restart."""
        params = starting_points(task.model, task.prepared, jax.random.split(jax.random.key(task.seed), self.restarts))
        if task.start is not None:
            params = {name: value.at[0].set(task.start[name]) for name, value in params.items()}
        return climb(
            self.climber,
            task.model,
            task.prepared,
            params,
            title=self.name,
            max_iterations=self.max_iterations,
            tolerance=self.tolerance,
            block=self.block,
            progress=task.progress,
            checkpoint=task.checkpoint.child(self.name),
        )


@eqx.filter_jit
def starting_points(model: StateSpaceModel, data: Sequences, keys: jax.Array) -> dict[str, jax.Array]:
    """Parameters of one restart a key, leaves [key, ...]."""
    params = jax.vmap(lambda key: model.initialize(key, data))(keys)
    # Weakly typed constants would change type after the first block of iterations, and each change compiles everything again.
    return {name: jnp.asarray(value, value.dtype) for name, value in params.items()}


def _degeneracy(task: Task, params: dict[str, np.ndarray]) -> Outcome | None:
    name = task.model.degeneracy({name: jnp.asarray(value) for name, value in params.items()}, task.prepared)
    return None if name is None else Outcome[name]


def _ended(history: np.ndarray) -> np.ndarray:
    return history[: int(np.max(np.flatnonzero(~np.isnan(history)), initial=-1)) + 1]


def _occupancy(model: StateSpaceModel, params: dict, data: Sequences) -> np.ndarray | None:
    """Expected steps in each state; None for a model without states."""
    smoothed = model.smooth(params, data)
    return np.asarray(smoothed.occupancy) if isinstance(smoothed, Smoothed) else None
