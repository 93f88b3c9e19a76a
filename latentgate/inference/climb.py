"""The climb that EM and MAP share: many restarts in one compiled program, run in blocks of iterations.

Every restart carries its own status, so that one that has ended, well or badly, keeps its best parameters while the others go on.
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

from .blocks import Block, run_in_blocks
from .checkpoint import Checkpoint
from .outcomes import CODES, OUTCOMES, NonFiniteLikelihoodError, Outcome


class Evaluation(NamedTuple):
    """An engine's step from one point.

    Attributes:
        log_joint: at the point, [restart].
        log_likelihood: at the point, [restart, sequence].
        proposal: the next point, leaves [restart, ...].
        occupancy: expected steps in each state at the point, [restart, state]; None where the engine does not come by it.
    """

    log_joint: Array
    log_likelihood: Array
    proposal: Any
    occupancy: Array | None = None


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
        occupancy: expected steps in each state at the best parameters, [restart, state], or None.
    """

    params: dict[str, np.ndarray]
    log_joint: np.ndarray
    log_likelihood: np.ndarray
    outcomes: list[Outcome]
    occupancy: np.ndarray | None


class _State(NamedTuple):
    point: Any
    best: Params
    best_log_joint: Array
    status: Array
    bad_sequence: Array
    occupancy: Array | None


def climb(
    climber: Climber,
    model: StateSpaceModel,
    data: Sequences,
    params: Params,
    *,
    title: str,
    max_iterations: int,
    tolerance: float,
    block: int,
    progress: bool | None,
    checkpoint: Checkpoint,
) -> Trace:
    """Climbs from every starting point at once.

    Args:
        climber: the engine's step.
        model, data: the problem; `data` is prepared.
        params: starting values, leaves [restart, ...].
        title, max_iterations, block, progress, checkpoint: see `run_in_blocks`.
        tolerance: see `RestartEngine`.

    Raises:
        NonFiniteLikelihoodError: if every restart broke down.
    """
    num_restarts = len(next(iter(params.values())))
    start = _first_state(climber, model, data, params)

    def advance(state: _State, done: int) -> tuple[_State, dict[str, Array]]:
        # The last block may be shorter; its own compilation would cost more than the iterations it saves, so what is beyond the limit stands still.
        return _run_block(climber, model, data, state, tolerance, jnp.arange(block) + done < max_iterations)

    def running(state: _State) -> int:
        return int((np.asarray(state.status) == CODES[Outcome.RUNNING]).sum())

    def note(state: _State, _: Block) -> str:
        return f"best log-joint {float(np.max(state.best_log_joint)):.1f}, {running(state)} of {num_restarts} restarts running"

    state, output, interrupted = run_in_blocks(
        title,
        advance,
        start,
        max_iterations,
        block,
        finished=lambda state, _: running(state) == 0,
        note=note,
        progress=progress,
        checkpoint=checkpoint,
    )
    left = Outcome.INTERRUPTED if interrupted else Outcome.ITERATION_LIMIT
    outcomes = [left if code == CODES[Outcome.RUNNING] else OUTCOMES[code] for code in np.asarray(state.status)]
    joints = output["log_joint"].T
    if not np.isfinite(np.asarray(state.best_log_joint)).any() or all(o in (Outcome.NOT_FINITE, Outcome.UNDERFLOW) for o in outcomes):
        _raise_broken(state, joints, outcomes)
    best = {name: np.asarray(value) for name, value in state.best.items()}
    return Trace(best, joints, output["log_likelihood"].T, outcomes, None if state.occupancy is None else np.asarray(state.occupancy))


@eqx.filter_jit
def _first_state(climber: Climber, model: StateSpaceModel, data: Sequences, params: Params) -> _State:
    point = climber.start(model, params)
    num_restarts = len(next(iter(params.values())))
    # Compiled, so that an evaluation is traced for its shapes once, and not at every fit.
    occupancy = eqx.filter_eval_shape(climber.evaluate, model, data, point).occupancy
    return _State(
        point,
        params,
        jnp.full(num_restarts, -jnp.inf, jnp.result_type(float)),
        jnp.full(num_restarts, CODES[Outcome.RUNNING], jnp.int32),
        jnp.full(num_restarts, -1, jnp.int32),
        None if occupancy is None else jnp.zeros(occupancy.shape, occupancy.dtype),
    )


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
        # An approximate log-likelihood need not rise under EM; where it falls, the climb is over, and its best point is kept.
        fallen = Outcome.CONVERGED if model.approximate else Outcome.DECREASED
        verdict = jnp.where(fell, CODES[fallen], jnp.where(settled, CODES[Outcome.CONVERGED], state.status))
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
            None if result.occupancy is None else _where(better, result.occupancy, state.occupancy),
        )
        return new, {"log_joint": jnp.where(running, result.log_joint, jnp.nan), "log_likelihood": jnp.where(running, total, jnp.nan)}

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
