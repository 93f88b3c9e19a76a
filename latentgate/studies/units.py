"""One unit of work of a study: some replications of one size of one truth for one estimator; and who runs the units."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from .batches import padded_length
from .protocol import Estimator, Loss, Truth


class Unit(NamedTuple):
    """A part of a study whose answer depends on nothing but itself.

    Attributes:
        truth_name, estimator_name: as the study calls them; they seed data and estimator.
        truth, estimator: the objects.
        losses: to compute.
        wanted: names of those to keep; None for all.
        num_samples: n.
        replications: numbers of the replications. All units of a size have equally many, so that each size is compiled once.
        seed: of the study.
    """

    truth_name: str
    estimator_name: str
    truth: Truth
    estimator: Estimator
    losses: tuple[Loss, ...]
    wanted: frozenset[str] | None
    num_samples: int
    replications: tuple[int, ...]
    seed: int


def run_unit(unit: Unit) -> dict[str, np.ndarray]:
    """{name: [replication]}: losses, and what the estimator reports.

    In float64 whatever the caller's setting is, for this call alone: the excess of a log-likelihood of -1e5 over that of the truth is of order one.
    """
    with jax.enable_x64(True):
        for_data, for_fit = replication_keys(unit)
        inputs, values = unit.truth.draw_many(for_data, unit.num_samples)
        estimates = unit.estimator.fit(for_fit, unit.truth, inputs, values)
        estimates = jax.tree.map(np.asarray, estimates)
        found = {
            "log_likelihood": np.asarray(estimates.log_likelihood, float),
            "iterations": np.asarray(estimates.iterations, int),
            "converged": np.asarray(estimates.converged, bool),
        }
        for loss in unit.losses:
            for name, value in loss.evaluate(unit.truth, unit.estimator, estimates, inputs, values).items():
                if unit.wanted is None or name in unit.wanted:
                    found[name] = np.asarray(value, float)
    return found


def replication_keys(unit: Unit) -> tuple[Array, Array]:
    """Keys of the data and of the estimator, each [replication].

    They are functions of the names, the size and the number of the replication: nothing else that is studied changes them. All estimators see the same data.
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(unit.seed), _number(unit.truth_name)), unit.num_samples)
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(np.array(unit.replications, np.uint32))
    data = jax.vmap(lambda own: jax.random.fold_in(own, 0))(keys)
    fits = jax.vmap(lambda own: jax.random.fold_in(jax.random.fold_in(own, 1), _number(unit.estimator_name)))(keys)
    return data, fits


def _number(name: str) -> int:
    return zlib.crc32(name.encode())


def chunked(num_samples: int, replications: int, rows_at_once: int) -> list[tuple[int, ...]]:
    """Replications in chunks of equal size and of about `rows_at_once` rows; the last runs over the end, and what is too much is dropped."""
    most = max(1, min(replications, rows_at_once // padded_length(num_samples)))
    count = -(-replications // most)
    size = -(-replications // count)
    return [tuple(range(start, start + size)) for start in range(0, replications, size)]


def run_all(units: list[Unit], executor: Any) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """(position, result) of every unit, as they are finished: here, in order, or by an executor in any order.

    Args:
        units: to run.
        executor: None; an object with the `submit` of `concurrent.futures`; or a `dask.distributed.Client`, which has a `get_executor`.
    """
    if executor is None:
        for position, unit in enumerate(units):
            yield position, run_unit(unit)
        return
    if hasattr(executor, "get_executor"):
        # Units are not looked up by their hash: a study that is run again is run.
        executor = executor.get_executor(pure=False)
    positions: dict[Future, int] = {executor.submit(run_unit, unit): position for position, unit in enumerate(units)}
    pending = set(positions)
    try:
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield positions[future], future.result()
    finally:
        for future in pending:
            future.cancel()
