"""`lg.fit`: one model, one data set, one engine."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from latentgate.data import Sequences
from latentgate.models import StateSpaceModel

from .alignment import match_params, permute_states
from .em import EM
from .fit import Fit, RestartRecord
from .outcomes import Outcome
from .restarts import RestartEngine


def fit(
    model: StateSpaceModel,
    data: Sequences,
    engine: RestartEngine | None = None,
    *,
    seed: int,
    start: Fit | dict | None = None,
    progress: bool | None = None,
) -> Fit:
    """Fits a model.

    Args:
        model: for example `lg.HMM(3, lg.emissions.Poisson(20))`.
        data: sequences.
        engine: `lg.EM(...)` or `lg.MAP(...)`; EM with its defaults if None.
        seed: of the starting points; the same seed gives the same fit.
        start: where the first restart starts: parameters, or a fit of a like model whose parameters can serve (see `HMM.adopt`); the other
            restarts stay random.
        progress: show a progress bar: True, False, or None to show it on terminals and in notebooks only.

    Returns:
        the fit of the best restart, with a record of every restart, whose states are aligned to those of the best.

    Raises:
        ValueError, TypeError: if the data do not belong to the model; before anything is compiled.
        NonFiniteLikelihoodError: if every restart broke down; it carries the last good parameters.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> data = lg.Sequences.from_arrays([np.random.default_rng(0).poisson(2.0, (50, 3)).astype(float)])
        >>> lg.fit(lg.HMM(2, lg.emissions.Poisson(3)), data, lg.EM(max_iterations=5), seed=0).params["emission.rates"].shape
        (2, 3)
    """
    if not isinstance(model, StateSpaceModel):
        raise TypeError(f"model: found {type(model).__name__}, expected a latentgate model such as lg.HMM(3, lg.emissions.Poisson(20)).")
    engine = EM() if engine is None else engine
    if not isinstance(engine, RestartEngine):
        raise TypeError(f"engine: found {engine!r}, expected lg.EM(...) or lg.MAP(...).")
    model.check(data)
    prepared = jax.device_put(_prepare(model, data))
    params = _starting_points(model, prepared, jax.random.split(jax.random.key(seed), engine.restarts))
    if isinstance(start, Fit):
        start = model.adopt(start.model, {name: jnp.asarray(value) for name, value in start.params.items()})
    if start is not None:
        params = _with_start(model, params, start)
    trace = engine.run(model, prepared, params, progress)
    # A restart that broke down holds its last good parameters; it may win only if every one broke down.
    scores = np.array([np.nanmax(row, initial=-np.inf) for row in trace.log_joint])
    healthy = np.array([not outcome.failed for outcome in trace.outcomes])
    best = int(np.argmax(np.where(healthy, scores, -np.inf) if healthy.any() else scores))
    dims = model.dims()
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
    if not outcome.failed and _has_empty_state(model, chosen, prepared):
        outcome = Outcome.STATE_EMPTIED
    return Fit(
        model=model,
        params=chosen,
        engine=repr(engine),
        seed=seed,
        outcome=outcome,
        converged=records[best].outcome is Outcome.CONVERGED,
        restarts=records,
        best_restart=best,
        feature_names=data.names,
    )


@eqx.filter_jit
def _prepare(model: StateSpaceModel, data: Sequences) -> Sequences:
    return model.prepare(data)


@eqx.filter_jit
def _starting_points(model: StateSpaceModel, data: Sequences, keys: jax.Array) -> dict:
    params = jax.vmap(lambda key: model.initialize(key, data))(keys)
    # Weakly typed constants would change type after the first block of iterations, and each change compiles everything again.
    return {name: jnp.asarray(value, value.dtype) for name, value in params.items()}


def _with_start(model: StateSpaceModel, params: dict, start: dict) -> dict:
    unknown, absent = sorted(set(start) - set(params)), sorted(set(params) - set(start))
    if unknown or absent:
        raise ValueError(f"start: found the unknown names {unknown} and missed {absent}, expected exactly {sorted(params)}.")
    for name, value in start.items():
        if np.shape(value) != params[name].shape[1:]:
            raise ValueError(f"start[{name!r}]: found shape {np.shape(value)}, expected {params[name].shape[1:]} {model.dims()[name]}.")
    return {name: value.at[0].set(jnp.asarray(start[name], value.dtype)) for name, value in params.items()}


def _ended(history: np.ndarray) -> np.ndarray:
    return history[: int(np.max(np.flatnonzero(~np.isnan(history)), initial=-1)) + 1]


def _has_empty_state(model: StateSpaceModel, params: dict, data: Sequences) -> bool:
    marginals = np.asarray(model.smooth(params, data).marginals)
    return bool((marginals.sum((0, 1)) < 1).any())
