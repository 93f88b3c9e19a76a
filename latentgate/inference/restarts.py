"""The loop that EM and MAP share: many restarts in one compiled program, run in blocks of iterations.

Between blocks the host shows progress and listens for Ctrl-C. Inside, every restart carries its own status, so that one that has ended, well or
badly, keeps its best parameters while the others go on.
"""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences
from latentgate.models import StateSpaceModel
from latentgate.models.base import Params

from .outcomes import CODES, OUTCOMES, NonFiniteLikelihoodError, Outcome
from .progress import bar


class Evaluation(NamedTuple):
    """An engine's step from one point.

    Attributes:
        log_joint: at the point, [restart].
        log_likelihood: at the point, [restart, sequence].
        proposal: the next point, leaves [restart, ...].
    """

    log_joint: Array
    log_likelihood: Array
    proposal: Any


class Climber(eqx.Module):
    """An engine that raises the log-joint iteration by iteration. A point is a pytree that holds at least the parameters."""

    @abc.abstractmethod
    def start(self, model: StateSpaceModel, params: Params) -> Any:
        """First point of every restart; leaves [restart, ...]."""

    @abc.abstractmethod
    def params(self, model: StateSpaceModel, point: Any) -> Params:
        """Parameters at a point; leaves [restart, ...]."""

    @abc.abstractmethod
    def evaluate(self, model: StateSpaceModel, data: Sequences, point: Any) -> Evaluation:
        """Log-joint at a point and the next point; compiled."""


class Trace(NamedTuple):
    """What the loop leaves behind; arrays over restarts and iterations, NaN after a restart has ended.

    Attributes:
        params: best parameters of each restart, NumPy arrays [restart, ...].
        log_joint: [restart, iteration].
        log_likelihood: [restart, iteration].
        outcomes: of each restart.
    """

    params: dict[str, np.ndarray]
    log_joint: np.ndarray
    log_likelihood: np.ndarray
    outcomes: list[Outcome]


class RestartEngine:
    """An engine of `lg.fit` that climbs from many starting points; subclasses name their `Climber`."""

    name: str
    climber: Climber

    def __init__(self, restarts: int = 1, max_iterations: int = 500, tolerance: float = 1e-8, block: int = 10):
        for label, value in (("restarts", restarts), ("max_iterations", max_iterations), ("block", block)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{label}: found {value!r}, expected an integer of at least 1.")
        if tolerance < 0:
            raise ValueError(f"tolerance: found {tolerance}, expected a number that is not negative.")
        self.restarts, self.max_iterations, self.tolerance, self.block = restarts, max_iterations, tolerance, min(block, max_iterations)

    def __repr__(self) -> str:
        return f"{self.name}(restarts={self.restarts}, max_iterations={self.max_iterations}, tolerance={self.tolerance})"

    def run(self, model: StateSpaceModel, data: Sequences, params: Params, progress: bool | None = None) -> Trace:
        """Runs the restarts whose starting values are `params`, leaves [restart, ...]; `data` is prepared.

        Raises:
            NonFiniteLikelihoodError: if every restart broke down.
        """
        return climb(self, model, data, params, progress)


class _State(NamedTuple):
    point: Any
    best: Params
    best_log_joint: Array
    status: Array
    bad_sequence: Array


def climb(engine: RestartEngine, model: StateSpaceModel, data: Sequences, params: Params, progress: bool | None) -> Trace:
    """See `RestartEngine.run`."""
    climber, max_iterations, block = engine.climber, engine.max_iterations, engine.block
    num_restarts = len(next(iter(params.values())))
    log_joint_dtype = jnp.result_type(float)
    state = _State(
        climber.start(model, params),
        params,
        jnp.full(num_restarts, -jnp.inf, log_joint_dtype),
        jnp.full(num_restarts, CODES[Outcome.RUNNING], jnp.int32),
        jnp.full(num_restarts, -1, jnp.int32),
    )
    log_joint, log_likelihood = [], []
    done, interrupted = 0, False
    with bar(engine.name, max_iterations, progress) as report:
        try:
            while done < max_iterations and (np.asarray(state.status) == CODES[Outcome.RUNNING]).any():
                # The last block may be shorter; its own compilation would cost more than the iterations it saves, so it is cut afterwards.
                state, (joints, likelihoods) = _run_block(climber, model, data, state, engine.tolerance, jnp.arange(block) + done < max_iterations)
                kept = min(block, max_iterations - done)
                log_joint.append(np.asarray(joints)[:kept])
                log_likelihood.append(np.asarray(likelihoods)[:kept])
                done += kept
                running = int((np.asarray(state.status) == CODES[Outcome.RUNNING]).sum())
                report(done, f"best log-joint {float(np.max(state.best_log_joint)):.1f}, {running} of {num_restarts} restarts running")
            report(max_iterations, f"best log-joint {float(np.max(state.best_log_joint)):.1f}")
        except KeyboardInterrupt:
            if not log_joint:
                raise
            interrupted = True
    left = Outcome.INTERRUPTED if interrupted else Outcome.ITERATION_LIMIT
    outcomes = [left if code == CODES[Outcome.RUNNING] else OUTCOMES[code] for code in np.asarray(state.status)]
    joints = np.concatenate(log_joint).T
    if not np.isfinite(np.asarray(state.best_log_joint)).any() or all(o in (Outcome.NOT_FINITE, Outcome.UNDERFLOW) for o in outcomes):
        _raise_broken(state, joints, outcomes)
    best = {name: np.asarray(value) for name, value in state.best.items()}
    return Trace(best, joints, np.concatenate(log_likelihood).T, outcomes)


@eqx.filter_jit
def _run_block(climber: Climber, model: StateSpaceModel, data: Sequences, state: _State, tolerance, within_limit: Array):
    eps = float(jnp.finfo(state.best_log_joint.dtype).eps)

    def iterate(state: _State, allowed: Array):
        running = (state.status == CODES[Outcome.RUNNING]) & allowed
        result = climber.evaluate(model, data, state.point)
        total = result.log_likelihood.sum(-1)
        finite = jnp.isfinite(result.log_joint)
        scale = 1.0 + jnp.abs(result.log_joint)
        # Rounding: the log-joint is a sum over all observed values.
        fell = result.log_joint < state.best_log_joint - 64 * eps * scale
        settled = result.log_joint - state.best_log_joint <= jnp.maximum(tolerance, 2 * eps) * scale
        broken = jnp.where(jnp.isnan(total), CODES[Outcome.UNDERFLOW], CODES[Outcome.NOT_FINITE])
        verdict = jnp.where(fell, CODES[Outcome.DECREASED], jnp.where(settled, CODES[Outcome.CONVERGED], state.status))
        status = jnp.where(running, jnp.where(finite, verdict, broken), state.status).astype(jnp.int32)
        bad = jnp.argmax(~jnp.isfinite(result.log_likelihood), -1)
        has_bad = running & ~jnp.isfinite(total)
        better = running & finite & (result.log_joint > state.best_log_joint)
        moving = status == CODES[Outcome.RUNNING]
        new = _State(
            _where(moving & allowed, result.proposal, state.point),
            _where(better, climber.params(model, state.point), state.best),
            jnp.where(better, result.log_joint, state.best_log_joint),
            status,
            jnp.where(has_bad, bad, state.bad_sequence).astype(jnp.int32),
        )
        return new, (jnp.where(running, result.log_joint, jnp.nan), jnp.where(running, total, jnp.nan))

    return jax.lax.scan(iterate, state, within_limit)


def _where(condition: Array, new: Any, old: Any) -> Any:
    def choose(a: Array, b: Array) -> Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (jnp.ndim(a) - 1)), a, b)

    return jax.tree.map(choose, new, old)


def _raise_broken(state: _State, joints: np.ndarray, outcomes: list[Outcome]) -> None:
    lasted = np.array([np.max(np.flatnonzero(~np.isnan(row)), initial=-1) + 1 for row in joints])
    longest = int(lasted.argmax())
    sequence = int(np.asarray(state.bad_sequence)[longest])
    raise NonFiniteLikelihoodError(
        int(lasted[longest]),
        None if sequence < 0 else sequence,
        {name: np.asarray(value)[longest] for name, value in state.best.items()},
        outcomes[longest],
    )
