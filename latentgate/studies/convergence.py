"""`lg.studies.convergence_rates`: how fast estimators approach the truth as samples grow."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

import latentgate
from latentgate.inference.checkpoint import Checkpoint
from latentgate.inference.progress import bar

from .identity import described
from .protocol import Estimator, Loss, Truth
from .study import REPORTED, Study
from .units import Unit, chunked, run_all

# Rows of all replications that are fitted together: a megabyte an array, which stays near the processor.
ROWS_AT_ONCE = 2**17
_DIMS = ("truth", "estimator", "size", "replication")


def log_spaced(low: int, high: int, count: int) -> list[int]:
    """Sizes at equal ratios, rounded to integers: a slope is fitted on the scale of logarithms, and linear spacing spends nearly all work in the last decade.

    Raises:
        ValueError: unless 1 <= low < high, and the integers between hold `count` different ones.

    Example:
        >>> from latentgate.studies import log_spaced
        >>> log_spaced(100, 10_000, 5)
        [100, 316, 1000, 3162, 10000]
    """
    if not 1 <= low < high:
        raise ValueError(f"low, high: found {low!r} and {high!r}, expected 1 <= low < high.")
    if count < 2:
        raise ValueError(f"count: found {count!r}, expected at least 2.")
    sizes = [round(size) for size in np.geomspace(low, high, count)]
    if len(set(sizes)) < count:
        raise ValueError(f"count: found {count}, expected fewer: only {len(set(sizes))} of the sizes between {low} and {high} are different integers.")
    return sizes


def convergence_rates(
    *,
    truth: Truth | Sequence[Truth] | Mapping[str, Truth],
    estimators: Estimator | Sequence[Estimator] | Mapping[str, Estimator],
    sample_sizes: Iterable[int],
    seed: int,
    replications: int = 40,
    losses: Sequence[Loss | str] | None = None,
    window: tuple[int, int] | None = None,
    executor: Any = None,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Study:
    """Fits every estimator to replicated data of every truth at every size, and measures how far it was off.

    Data of a replication depend on the seed, the name of its truth, its size and its number alone, and all estimators see the same; so leaving out an estimator
    or a size changes no number of the others. Everything is computed in float64.

    Args:
        truth: one, several, or {name: truth}.
        estimators: likewise.
        sample_sizes: increasing; see `log_spaced`.
        seed: of data and estimators.
        replications: data sets of each size.
        losses: objects, or names of losses; None for those that each estimator proposes.
        window: smallest and largest size of the range over which slopes are fitted, chosen now and not when the curve is known; all sizes if None.
        executor: None to run here; a `dask.distributed.Client`, or anything with the `submit` of `concurrent.futures`, to run elsewhere: same numbers.
        checkpoint: a folder. Every finished unit (some replications of one size) is written there, and the same call resumes the study.
        progress: show a progress bar: True, False, or None to show it on terminals and in notebooks only.
        rows_at_once: rows of all replications that are fitted together; bounds the memory.

    Returns:
        the study.

    Raises:
        ValueError: for sizes that do not increase, fewer than two replications, names used twice, unknown losses or a checkpoint of another study; before
            anything is computed.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, latentgate.studies as studies
        >>> class Normal(studies.Truth):
        ...     name: str = "normal"
        ...     params: dict = eqx.field(default_factory=lambda: {"mean": 1.0})
        ...     num_experts: int = 1
        ...     def draw(self, key, num_samples):
        ...         return jnp.zeros((num_samples, 1)), 1.0 + jax.random.normal(key, (num_samples,))
        >>> class SampleMean(studies.Estimator):
        ...     name: str = "sample mean"
        ...     def losses(self, truth):
        ...         return (studies.ParameterError("mean"),)
        ...     def fit(self, keys, truth, inputs, values):
        ...         nothing = jnp.zeros(len(values))
        ...         return studies.Estimates({"mean": values.mean(-1)}, nothing, nothing, nothing == 0)
        >>> study = studies.convergence_rates(truth=Normal(), estimators=SampleMean(), sample_sizes=[100, 1000, 10_000], replications=200, seed=0)
        >>> low, high = study.slopes().slope_interval.values.squeeze()
        >>> bool(low < -0.5 < high)
        True
    """
    truths = _named("truth", truth, Truth)
    fitted = _named("estimators", estimators, Estimator)
    sizes = _checked_sizes(sample_sizes)
    if isinstance(replications, bool) or not isinstance(replications, int | np.integer) or replications < 2:
        raise ValueError(f"replications: found {replications!r}, expected an integer of at least 2; a spread is measured over them.")
    if rows_at_once < 1:
        raise ValueError(f"rows_at_once: found {rows_at_once!r}, expected a positive integer.")
    if executor is not None and not hasattr(executor, "submit"):
        raise ValueError(f"executor: found {type(executor).__name__}, expected a dask.distributed.Client or an object with a submit method.")
    window = _checked_window(window, sizes)
    units, places = [], []
    for truth_index, (truth_name, one_truth) in enumerate(truths.items()):
        for estimator_index, (estimator_name, estimator) in enumerate(fitted.items()):
            estimator.check(one_truth)
            chosen, wanted = _chosen_losses(losses, one_truth, estimator)
            for size_index, size in enumerate(sizes):
                for numbers in chunked(size, replications, rows_at_once):
                    units.append(Unit(truth_name, estimator_name, one_truth, estimator, chosen, wanted, size, numbers, int(seed)))
                    places.append((truth_index, estimator_index, size_index))
    stored = Checkpoint.open(checkpoint, {} if checkpoint is None else _identity(units, sizes, replications, rows_at_once, seed))
    names = [f"truth{place[0]}.estimator{place[1]}.n{unit.num_samples}.from{unit.replications[0]}" for unit, place in zip(units, places, strict=True)]
    found: dict[int, dict[str, np.ndarray]] = {}
    for position, name in enumerate(names):
        restored = Checkpoint(stored.folder, name).restore({})
        if restored is not None:
            found[position] = restored[1][0]
    missing = [position for position in range(len(units)) if position not in found]
    with bar("study", len(units), progress) as report:
        report(len(found), "resumed" if found else "")
        for index, result in run_all([units[position] for position in missing], executor):
            position = missing[index]
            found[position] = result
            Checkpoint(stored.folder, names[position]).store({}, 1, result)
            report(len(found), f"n = {units[position].num_samples}")
    results = _gathered(units, places, found, (len(truths), len(fitted), len(sizes), int(replications)))
    coords = {
        "truth": list(truths),
        "estimator": list(fitted),
        "size": sizes,
        "replication": np.arange(replications),
        "start": ("estimator", [estimator.start_kind for estimator in fitted.values()]),
    }
    return Study(xr.Dataset(results, coords, attrs={"seed": int(seed)}), window)


def _named(argument: str, given: Any, kind: type) -> dict[str, Any]:
    if isinstance(given, Mapping):
        pairs: list[tuple[Any, Any]] = list(given.items())
    else:
        pairs = [(getattr(one, "name", None), one) for one in ([given] if isinstance(given, kind) else list(given))]
    if not pairs:
        raise ValueError(f"{argument}: found none, expected at least one.")
    for name, one in pairs:
        if not isinstance(one, kind):
            raise ValueError(f"{argument}: found {one!r}, expected a {kind.__name__} of latentgate.studies.")
        if not isinstance(name, str) or not name:
            raise ValueError(f"{argument}: found the name {name!r}, expected a string that is not empty.")
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{argument}: found the name {twice[0]!r} {names.count(twice[0])} times, expected different names; results are read by them.")
    return dict(pairs)


def _checked_sizes(sample_sizes: Iterable[int]) -> list[int]:
    sizes = list(sample_sizes)
    wrong = [size for size in sizes if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1]
    if wrong or not sizes:
        raise ValueError(f"sample_sizes: found {repr(wrong[0]) if wrong else 'none'}, expected positive integers.")
    for before, after in itertools.pairwise(sizes):
        if after <= before:
            raise ValueError(f"sample_sizes: found {after} after {before}, expected increasing sizes.")
    return [int(size) for size in sizes]


def _checked_window(window: tuple[int, int] | None, sizes: list[int]) -> tuple[int, int]:
    if window is None:
        return sizes[0], sizes[-1]
    low, high = window
    if sum(low <= size <= high for size in sizes) < 2:
        raise ValueError(f"window: found {low} to {high}, expected a range that holds at least two of the sample sizes, of which a slope is made.")
    return int(low), int(high)


def _chosen_losses(losses: Sequence[Loss | str] | None, truth: Truth, estimator: Estimator) -> tuple[tuple[Loss, ...], frozenset[str] | None]:
    from .losses import MixtureComparison
    from .voronoi import exact, over_specified

    wanted = None
    if losses is None:
        chosen = list(estimator.losses(truth))
        if not chosen:
            raise ValueError(f"losses: found None, and {estimator.name!r} proposes none for {truth.name!r}; pass a list of losses.")
    else:
        proposed = [*estimator.losses(truth), exact(), over_specified(), MixtureComparison()]
        by_name = {name: loss for loss in reversed(proposed) for name in loss.names}
        chosen = []
        for loss in losses:
            if isinstance(loss, str) and loss not in by_name:
                raise ValueError(f"losses: found {loss!r}, expected a Loss or one of {', '.join(map(repr, sorted(by_name)))}.")
            if not isinstance(loss, str | Loss):
                raise ValueError(f"losses: found {loss!r}, expected a Loss of latentgate.studies or the name of one.")
            one = by_name[loss] if isinstance(loss, str) else loss
            if not any(one is other for other in chosen):
                chosen.append(one)
        wanted = frozenset(name for loss in losses for name in ([loss] if isinstance(loss, str) else loss.names))
        if not chosen:
            raise ValueError("losses: found none, expected at least one, or None for those the estimators propose.")
    names = [name for loss in chosen for name in loss.names if wanted is None or name in wanted]
    clash = sorted({name for name in names if names.count(name) > 1 or name in REPORTED})
    if clash:
        raise ValueError(f"losses: found the name {clash[0]!r} twice, expected different names; give one of them another.")
    for loss in chosen:
        loss.check(truth, estimator)
    return tuple(chosen), wanted


def _identity(units: list[Unit], sizes: list[int], replications: int, rows_at_once: int, seed: int) -> dict[str, Any]:
    distinct = {(unit.truth_name, unit.estimator_name): unit for unit in units}
    return {
        "format": "latentgate study checkpoint 1",
        "version of latentgate": latentgate.__version__,
        "truth": [[name, described(truth)] for name, truth in {unit.truth_name: unit.truth for unit in distinct.values()}.items()],
        "estimators": [[name, described(one)] for name, one in {unit.estimator_name: unit.estimator for unit in distinct.values()}.items()],
        "losses": [described([unit.losses, unit.wanted]) for unit in distinct.values()],
        "sample_sizes": sizes,
        "replications": int(replications),
        "rows_at_once": int(rows_at_once),
        "seed": int(seed),
        "version of JAX": jax.__version__,
    }


def _gathered(units: list[Unit], places: list, found: dict[int, dict[str, np.ndarray]], shape: tuple[int, ...]) -> dict[str, Any]:
    names = dict.fromkeys(name for position in range(len(units)) for name in found[position])
    arrays: dict[str, np.ndarray] = {}
    for name in names:
        kind = next(found[position][name].dtype for position in range(len(units)) if name in found[position])
        arrays[name] = np.full(shape, np.nan) if kind.kind == "f" else np.zeros(shape, kind)
    for position, (unit, place) in enumerate(zip(units, places, strict=True)):
        kept = [index for index, number in enumerate(unit.replications) if number < shape[-1]]
        numbers = [unit.replications[index] for index in kept]
        for name, value in found[position].items():
            arrays[name][(*place, numbers)] = value[kept]
    ordered = [name for name in names if name not in REPORTED] + [name for name in names if name in REPORTED]
    return {name: (_DIMS, arrays[name]) for name in ordered}
