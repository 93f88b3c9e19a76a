"""Lines of reports: tables of slopes and levels, and verdicts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import numpy as np
from side_by_side import table

from latentgate.studies import Study


def progress(text: str) -> None:
    """To standard error, at once."""
    print(f"  {text}", file=sys.stderr, flush=True)


def verdict(holds: bool, quick: bool = False) -> str:
    """Tiny studies are not judged."""
    return "not judged (quick)" if quick else "holds" if holds else "DOES NOT HOLD"


def slope_table(study: Study, losses: Iterable[str], statistics: Sequence[str] = ("mean", "median", "mean-log")) -> list[str]:
    """Slopes with 95 % bootstrap intervals of every truth, estimator and loss that the estimates have."""
    found = {statistic: study.slopes(statistic=statistic, with_local=False) for statistic in statistics}
    rows = []
    for truth in study.results["truth"].values:
        for estimator in study.results["estimator"].values:
            for loss in losses:
                chosen = {"loss": loss, "truth": truth, "estimator": estimator}
                lines = [found[statistic].sel(chosen) for statistic in statistics]
                if not np.isfinite([float(line.slope) for line in lines]).any():
                    continue
                cells = [f"{float(line.slope):.3f} [{float(line.slope_interval[0]):.3f}, {float(line.slope_interval[1]):.3f}]" for line in lines]
                rows.append([f"{truth}: {estimator}, {loss}", *cells, f"{float(lines[0].prefactor):.3g}", f"{float(lines[0].curvature):.2g}"])
    low, high = study.window
    headers = (
        f"slope over n = {low} ... {high}, [95 % bootstrap interval]",
        *(f"log of {name}" if name != "mean-log" else "mean of log" for name in statistics),
    )
    return [table((*headers, "prefactor", "p of curvature"), rows)]


def level_table(study: Study, truth: str, estimator: str, losses: Iterable[str], digits: int = 3) -> list[str]:
    """Means over replications by size, with iterations and the share that met the test of convergence."""
    one = study.results.sel(truth=truth, estimator=estimator)
    names = [loss for loss in losses if np.isfinite(one[loss]).any()]
    rows = []
    for size in one["size"].values:
        at = one.sel(size=size)
        cells = [f"{float(at[name].mean()):.{digits}g}" for name in names]
        rows.append([str(int(size)), *cells, f"{float(at.iterations.mean()):.1f}", f"{int(at.iterations.max())}", f"{float(at.converged.mean()):.2f}"])
    return [table((f"{estimator}, means: n", *names, "iterations", "most", "converged"), rows)]


def pooled_mean(values: np.ndarray, draws: int = 2000, level: float = 0.95, seed: int = 0) -> tuple[float, float, float]:
    """Mean of the means of rows [size, replication], and the percentile interval of a bootstrap over replications within every size."""
    generator = np.random.default_rng(seed)
    picked = generator.integers(values.shape[1], size=(draws, *values.shape))
    drawn = np.take_along_axis(values[None], picked, -1).mean((1, 2))
    low, high = np.quantile(drawn, [0.5 - 0.5 * level, 0.5 + 0.5 * level])
    return float(values.mean()), float(low), float(high)
