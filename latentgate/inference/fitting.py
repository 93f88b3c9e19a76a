"""`lg.fit`: one model, one data set, one engine."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from latentgate.arguments import check_seed, described
from latentgate.data import Sequences
from latentgate.models.base import Model, StateSpaceModel

from .amortised import AmortisedSVI
from .checkpoint import Checkpoint, identity_of
from .em import EM
from .engine import Engine, Task
from .fit import Fit
from .suspicions import look_over


def fit(
    model: Model,
    data: Sequences,
    engine: Engine | None = None,
    *,
    seed: int,
    start: Fit | dict | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Fit:
    """Fits a model.

    Args:
        model: for example `lg.HMM(3, lg.emissions.Poisson(20))`.
        data: sequences.
        engine: `lg.EM(...)`, `lg.MAP(...)`, `lg.SVI(...)` or `lg.NUTS(...)`, or `lg.AmortisedSVI(...)` for a `LangevinFlow`; EM, or for the latter this, with
            its defaults if None.
        seed: of the starting points and of everything random; the same seed gives the same fit.
        start: where to start: parameters, or a fit of a like model whose parameters can serve (see `HMM.adopt`). EM and MAP start their first
            restart there, and the others stay random; SVI and NUTS start there instead of from a fit of their own.
        progress: show a progress bar: True, False, or None to show it on terminals and in notebooks only.
        checkpoint: a folder. The run is written there between blocks of iterations, and the same call resumes it after a crash, to the same answer.

    Returns:
        the fit; see the engine for what it holds.

    Raises:
        ValueError, TypeError: if the data do not belong to the model, or the checkpoint is of another run; before anything is compiled.
        NonFiniteLikelihoodError: if every restart broke down; it carries the last good parameters.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> data = lg.Sequences.from_arrays([np.random.default_rng(0).poisson(2.0, (50, 3)).astype(float)])
        >>> lg.fit(lg.HMM(2, lg.emissions.Poisson(3)), data, lg.EM(max_iterations=5), seed=0).params["emission.rates"].shape
        (2, 3)
    """
    if not isinstance(model, Model):
        order = " The order is lg.fit(model, data, engine, seed=...)." if isinstance(model, Sequences) else ""
        raise TypeError(f"model: found {described(model)}, expected a latentgate model such as lg.HMM(3, lg.emissions.Poisson(20)).{order}")
    if engine is None:
        engine = EM() if isinstance(model, StateSpaceModel) else AmortisedSVI()
    if not isinstance(engine, Engine):
        raise TypeError(f"engine: found {described(engine)}, expected lg.EM(...), lg.MAP(...), lg.SVI(...), lg.NUTS(...) or lg.AmortisedSVI(...).")
    engine.check_model(model)
    check_seed(seed)
    model.check(data)
    look_over(model, data, engine.copies)
    model = model.suited_to(data)
    if isinstance(start, Fit):
        start = model.adopt(start.model, {name: jnp.asarray(value) for name, value in start.params.items()})
    if start is not None:
        start = _checked_start(model, data, start)
    stored = Checkpoint.open(checkpoint, {} if checkpoint is None else identity_of(model, data, engine.identity, seed, start))
    prepared = jax.device_put(_prepare(model, model.catalogue(data)))
    return dataclasses.replace(engine.fit(Task(model, data, prepared, seed, start, progress, stored)), input_scales=dict(data.input_scales))


@eqx.filter_jit
def _prepare(model: Model, data: Sequences) -> Sequences:
    return model.prepare(data)


def _checked_start(model: Model, data: Sequences, start: Any) -> dict[str, jax.Array]:
    if not isinstance(start, Mapping):
        raise TypeError(f"start: found {described(start)}, expected a fit, or parameters {{name: array}} such as fit.params.")
    expected = jax.eval_shape(model.initialize, jax.random.key(0), data)
    unknown, absent = sorted(set(start) - set(expected)), sorted(set(expected) - set(start))
    if unknown or absent:
        raise ValueError(f"start: found the unknown names {unknown} and missed {absent}, expected exactly {sorted(expected)}.")
    for name, value in start.items():
        if np.shape(value) != expected[name].shape:
            raise ValueError(f"start[{name!r}]: found shape {np.shape(value)}, expected {expected[name].shape} {model.dims()[name]}.")
    return {name: jnp.asarray(start[name], expected[name].dtype) for name in expected}
