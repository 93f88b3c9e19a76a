"""Core-seconds of the published workload of `exact` (Nguyen, Nguyen and Ho 2023): wanted, at most 3 600.

40 replications of 200 sizes, 5 at equal distances from 100 to 900 and 195 from 1000 to 100 000, near-truth starts, EM to a relative change of 1e-6, D1 of every
estimate. (Published: 877 s on 8 faster cores, about 7 000 core-seconds.) Core-seconds are processor time of all threads of this process, from the draw of the
data to D1, compilation included.

A fortieth of the work (every tenth size, 10 replications) is measured first, twice: the second time nothing is compiled, so that the difference is compilation,
and forty times the second predicts the whole without it. Then the whole is run in twenty slices of ten sizes; with --checkpoint finished slices are kept, with
what they took, and not run again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from side_by_side import write_json

import latentgate.studies as studies

from . import Options
from .models import softmax_model, two_lines
from .reporting import progress, verdict

TARGET = 3600.0
SLICES = 20
REPLICATIONS = 40


class Spent(NamedTuple):
    """Core-seconds of all threads, and seconds on the clock."""

    core_s: float
    wall_s: float

    def __str__(self) -> str:
        return f"{self.core_s:.0f} core-seconds, {self.wall_s:.0f} s on the clock"


def measured(call: Callable[[], Any]) -> tuple[Spent, Any]:
    """One call and what it took."""
    wall, processor = time.perf_counter(), time.process_time()
    result = call()
    return Spent(time.process_time() - processor, time.perf_counter() - wall), result


def run(options: Options) -> list[str]:
    """The report."""
    sizes = sample_sizes(options.quick)
    step, some = (1, 2) if options.quick else (10, 10)
    part = sizes[step // 2 :: step]
    first, again = (measured(lambda: study_of(part, some, options.seed))[0] for _ in range(2))
    share = len(part) * some / (len(sizes) * REPLICATIONS)
    lines = [__doc__ or "", f"{share:.4f} of the work: {first}; again, nothing to compile: {again}"]
    lines.append(f"predicted for the whole without compilation: {again.core_s / share:.0f} core-seconds")
    progress("\n  ".join(lines[1:]))
    if options.quick:
        return lines
    total, slopes = whole(sizes, options)
    lines.append(f"whole, compilation included: {total}; at most {TARGET:.0f} core-seconds: {verdict(total.core_s <= TARGET)}")
    return [*lines, *slopes]


def sample_sizes(quick: bool) -> list[int]:
    """As published."""
    if quick:
        return [300, 310]
    return [round(size) for size in (*np.linspace(100, 900, 5), *np.linspace(1000, 100_000, 195))]


def study_of(sizes: list[int], replications: int, seed: int) -> studies.Study:
    """Near-truth maximum likelihood, D1 alone."""
    estimator = studies.MaximumLikelihood("near-truth", softmax_model(2), "near-truth", max_iterations=2000, tolerance=1e-6)
    losses = [studies.voronoi.exact()]
    return studies.convergence_rates(truth=two_lines(), estimators=estimator, sample_sizes=sizes, replications=replications, losses=losses, seed=seed)


def whole(sizes: list[int], options: Options) -> tuple[Spent, list[str]]:
    """Sum over slices, each of which is measured by itself, and the line over all sizes."""
    folder = options.checkpoint_of("speed")
    means: dict[int, float] = {}
    total = Spent(0.0, 0.0)
    for index in range(SLICES):
        record = None if folder is None else folder / f"slice{index:02d}.json"
        if record is not None and record.exists():
            found = json.loads(record.read_text())
        else:
            spent, study = measured(lambda own=sizes[index::SLICES]: study_of(own, REPLICATIONS, options.seed))
            d1 = study.results.D1.mean("replication").values.ravel()
            pairs = zip(study.results["size"].values, d1, strict=True)
            found = {**spent._asdict(), "means": [[int(size), float(mean)] for size, mean in pairs]}
            if record is not None:
                write_json(str(record), found)
        total = Spent(total.core_s + found["core_s"], total.wall_s + found["wall_s"])
        means |= {int(size): mean for size, mean in found["means"]}
        progress(f"speed: slice {index + 1} of {SLICES}, {total}")
    ordered = np.array(sorted(means))
    logs = np.log([means[size] for size in ordered])
    slope = float(np.polyfit(np.log(ordered), logs, 1)[0])
    level = float(np.mean([means[size] * np.sqrt(size) for size in ordered if size >= 1000]))
    return total, [f"slope of log mean D1 over these sizes {slope:.3f} (published -0.638), mean D1·√n from n = 1000 on {level:.2f} (theory 6.82)"]
