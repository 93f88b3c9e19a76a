"""Fits along a schedule of falling temperatures, each started from the last."""

from __future__ import annotations

from typing import Any

import jax

from latentgate.data import Sequences
from latentgate.models import StateSpaceModel
from latentgate.models.gates import Gate
from latentgate.models.gates.schedules import Schedule

from .engine import Engine
from .fit import Fit
from .fitting import fit


def anneal(
    model: StateSpaceModel,
    data: Sequences,
    schedule: Schedule,
    engine: Engine | None = None,
    *,
    seed: int,
    start: Fit | dict | None = None,
    progress: bool | None = None,
) -> list[Fit]:
    """Fits models that are alike but for the temperature of their gates, from dense to sparse; each starts from the parameters of the last.

    Only the start is what annealing gives a gate of linear scores: the temperature is not identified there, so with flat priors every stage has the maxima of
    the first, reached from a harder gate. Priors, boxes, activations and selections make the stages differ. To end sparse, go on with another gate:
    `lg.fit(lg.MixtureOfExperts(lg.gates.TopK(2), experts), data, start=fits[-1], seed=0)`.

    Args:
        model: with gates of fixed temperature; all its gates get that of the schedule.
        data: sequences.
        schedule: such as `lg.gates.schedules.Exponential(1.0, 0.1, steps=5)`; one fit for each step, 0 and the last included.
        engine: of every fit; EM with its defaults if None. Restarts after the first of each stage are random.
        seed: as for `lg.fit`.
        start: of the first fit.
        progress: as for `lg.fit`.

    Returns:
        the fits in order; the last is the answer.

    Raises:
        TypeError: for something that is no schedule.
        ValueError: for a model without gates, or with one that has no fixed temperature; and what `lg.fit` raises.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> x = np.linspace(0, 1, 100)[:, None]
        >>> data = lg.Sequences.from_arrays([np.where(x < 0.5, x, 3 - x)], inputs=[x])
        >>> model = lg.MixtureOfExperts(lg.gates.Softmax(), lg.experts.LinearGaussian(2))
        >>> fits = lg.anneal(model, data, lg.gates.schedules.Linear(1.0, 0.5, steps=1), lg.EM(max_iterations=5), seed=0)
        >>> [fit.model.gate.temperature for fit in fits]
        [1.0, 0.5]
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule: found {schedule!r}, expected one of lg.gates.schedules, for example lg.gates.schedules.Exponential(1.0, 0.1, steps=5).")
    models = [at_temperature(model, temperature) for temperature in schedule.temperatures]
    fits: list[Fit] = []
    for stage in models:
        fits.append(fit(stage, data, engine, seed=seed, start=fits[-1] if fits else start, progress=progress))
    return fits


def at_temperature(model: Any, temperature: float) -> Any:
    """The model with another temperature in all its gates.

    Raises:
        ValueError: for a model without gates, or with one that has no fixed temperature.
    """
    leaves = jax.tree_util.tree_leaves(model, is_leaf=lambda part: isinstance(part, Gate))
    if not any(isinstance(leaf, Gate) for leaf in leaves):
        raise ValueError(f"model: found {type(model).__name__} without gates, expected one with a gate of fixed temperature.")

    def cooled(part: Any) -> Any:
        return part.at_temperature(temperature) if isinstance(part, Gate) else part

    return jax.tree_util.tree_map(cooled, model, is_leaf=lambda part: isinstance(part, Gate))
