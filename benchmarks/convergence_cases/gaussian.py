"""Gaussian gate with one or two experts too many (Nguyen, Nguyen, Nguyen and Ho 2024): eight published slopes.

Truth: three experts, weights .3, .4, .3; type II has one centre at zero, d = 2 repeats centres, variances and slopes in both inputs. Four or five experts are
fitted to 20 replications of the published sizes, thinned with their spacing: 100 ... 500 in steps of 100, then 15 sizes at equal distances to 100 000. (They
weigh the last decade most, as the published line does; log-spaced ones would estimate another slope.) The start is the published one: near the truth, noise
0.005 n^-0.083, 0.0005 n^-0.25 on variances, weights split evenly; it differs in that the expert's noise is added to the standard deviation.

Two estimators, since the published code is not the published algorithm: it compares every new parameter array with itself (`c_prev = c_start; c_new = c_start`,
then written in place), finds no change, and ends after its first step.

    one step     one step of EM from the near-truth start: what the published code does
    EM           to a relative change of the log-likelihood of 1e-5, which is what the paper says

EM from one k-means start stands beside them for type I, d = 1, k = 4, at every fourth size.

Rules, fixed in advance, for each case and for both near-truth estimators:

1. The published slope is inside the 95 % bootstrap interval of ours. The published one has an error of its own, of like size: if both estimate the same number,
   a case passes with probability 0.83, and all eight do with 0.23.
2. The difference of the two slopes is less than 2.73 of its standard errors (those of both bootstraps): 5 % over eight cases, Bonferroni.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from side_by_side import table

import latentgate as lg
import latentgate.studies as studies

from . import Options
from .models import flat_experts
from .reporting import level_table, progress, slope_table, verdict

ONE_STEP, EM, KMEANS = "one step", "EM", "k-means"
LOSSES = ("voronoi", "gate_l1", "hellinger")
# Type, d, k: slope, its bootstrap interval over replications, and prefactor, from the results stored with the published code.
PUBLISHED: dict[tuple[str, int, int], tuple[float, float, float, float]] = {
    ("I", 1, 4): (-0.50554, -0.518, -0.495, 2.61),
    ("I", 1, 5): (-0.50464, -0.521, -0.489, 2.18),
    ("II", 1, 4): (-0.50452, -0.514, -0.495, 2.49),
    ("II", 1, 5): (-0.50445, -0.517, -0.494, 2.09),
    ("I", 2, 4): (-0.51191, -0.522, -0.501, 3.71),
    ("I", 2, 5): (-0.51662, -0.530, -0.504, 3.19),
    ("II", 2, 4): (-0.50206, -0.510, -0.493, 3.19),
    ("II", 2, 5): (-0.50453, -0.515, -0.495, 2.68),
}
# Two-sided 5 % over eight cases.
BONFERRONI = 2.73
_NORMAL = 1.96


def run(options: Options) -> list[str]:
    """The report."""
    cases = [("I", 1, (4,))] if options.quick else [(kind, columns, (4, 5)) for columns in (1, 2) for kind in ("I", "II")]
    found = {(kind, columns): study_of(kind, columns, experts, options) for kind, columns, experts in cases}
    lines = [__doc__ or "", *compared(found, options.quick), ""]
    every = [*found.values(), *([] if options.quick else [kmeans_study(options)])]
    for study in every:
        lines += [*slope_table(study, LOSSES), ""]
    for study in every:
        name = str(study.results["truth"].values[0])
        lines.append(name)
        for estimator in study.results["estimator"].values:
            lines += [*level_table(study, name, str(estimator), (*LOSSES, "excess")), ""]
    return lines + drawn(found, options)


def truth_of(kind: str, columns: int) -> studies.MixtureTruth:
    """Three experts on one or two inputs."""
    centres = np.array([-0.1 if kind == "I" else 0.0, 0.1, 0.5])
    spreads, covariances = np.array([0.042824, 0.0175, 0.01]), np.array([0.017324, -0.0125, 0.0])
    slopes = covariances / spreads
    # With respect to one input, as in the published code, whatever d.
    biases = np.array([0.3, -0.4, 0.2]) - slopes * np.array([centres[0], 0.1, 0.0])
    variances = np.array([0.0081759 - slopes[0] * covariances[0] * (-0.1 if kind == "I" else 1.0), 0.0175 + 0.0125 * 0.0125 / 0.0175, 0.0175])
    params = {
        "gate.probs": [0.3, 0.4, 0.3],
        "gate.means": np.repeat(centres[:, None], columns, 1),
        "gate.covariances": spreads[:, None, None] * np.eye(columns),
        "experts.weights": np.repeat(slopes[:, None], columns, 1),
        "experts.bias": biases,
        "experts.scale": np.sqrt(variances),
    }
    return studies.MixtureTruth(f"type {kind}, d = {columns}", model_of(3, columns), params, "gate")


def model_of(num_experts: int, columns: int) -> lg.MixtureOfExperts:
    """All priors flat: the likelihood of inputs and observations."""
    gate = lg.gates.Gaussian(num_inputs=columns, mean_prior="flat", covariance_prior="flat")
    return lg.MixtureOfExperts(gate=gate, experts=flat_experts(num_experts, columns))


def sample_sizes(quick: bool) -> list[int]:
    """The published ones, thinned."""
    if quick:
        return [300, 310]
    return [*range(100, 501, 100), *(round(size) for size in np.linspace(500, 100_000, 16)[1:])]


def study_of(kind: str, columns: int, experts: tuple[int, ...], options: Options) -> studies.Study:
    """One truth, all estimators."""
    start = studies.NearTruth(gate=0.005, experts=0.005, scale=0.0005)
    estimators = []
    for num_experts in experts:
        model = model_of(num_experts, columns)
        estimators.append(studies.MaximumLikelihood(f"{ONE_STEP}, k = {num_experts}", model, start, max_iterations=1, tolerance=1e-5))
        estimators.append(studies.MaximumLikelihood(f"{EM}, k = {num_experts}", model, start, tolerance=1e-5))
    return _studied(kind, columns, estimators, sample_sizes(options.quick), options, f"gaussian-{kind}-{columns}")


def kmeans_study(options: Options) -> studies.Study:
    """Type I, d = 1, k = 4 from where an analysis of real data can start, at every fourth size."""
    estimator = studies.MaximumLikelihood(f"{EM}, k = 4, {KMEANS}", model_of(4, 1), "k-means", restarts=1, tolerance=1e-5)
    return _studied("I", 1, [estimator], sample_sizes(False)[::4], options, "gaussian-k-means")


def _studied(kind: str, columns: int, estimators: list[studies.MaximumLikelihood], sizes: list[int], options: Options, name: str) -> studies.Study:
    progress(f"{name}: {len(sizes)} sizes")
    return studies.convergence_rates(
        truth=truth_of(kind, columns),
        estimators=estimators,
        sample_sizes=sizes,
        replications=3 if options.quick else 20,
        seed=options.seed,
        checkpoint=options.checkpoint_of(name),
    )


def compared(found: dict[tuple[str, int], studies.Study], quick: bool) -> list[str]:
    """Both rules for all cases."""
    lines: list[str] = []
    for estimator in (ONE_STEP, EM):
        rows: list[list[Any]] = []
        inside, agreeing = [], []
        for (kind, columns, experts), (slope, low, high, level) in PUBLISHED.items():
            name = f"{estimator}, k = {experts}"
            study = found.get((kind, columns))
            if study is None or name not in study.results["estimator"].values:
                continue
            line = study.slopes("voronoi", with_local=False).sel(estimator=name).squeeze()
            own, (below, above) = float(line.slope), (float(end) for end in line.slope_interval.values)
            error = np.hypot(high - low, above - below) / (2 * _NORMAL)
            inside.append(below <= slope <= above)
            agreeing.append(abs(own - slope) < BONFERRONI * error)
            cells = [f"{slope:.3f} [{low:.3f}, {high:.3f}]", f"{own:.3f} [{below:.3f}, {above:.3f}]", f"{level:.2f}", f"{float(line.prefactor):.2f}"]
            rows.append([f"type {kind}, d = {columns}, k = {experts}", *cells, "yes" if inside[-1] else "no", f"{(own - slope) / error:+.1f}"])
        lines += [table((f"{estimator}: slope", "published", "here", "prefactor published", "here", "published inside ours", "difference in s.e."), rows)]
        lines.append(f"1. published slope inside our interval: {sum(inside)} of {len(inside)}, all: {verdict(all(inside), quick)}")
        lines += [f"2. no difference above {BONFERRONI} standard errors: {verdict(all(agreeing), quick)}", ""]
    return lines[:-1]


def drawn(found: dict[tuple[str, int], studies.Study], options: Options) -> list[str]:
    """One panel a truth."""
    from matplotlib import pyplot

    rows = -(-len(found) // 2)
    figure, axes = pyplot.subplots(rows, 2, figsize=(12, 4.4 * rows), squeeze=False)
    for ax, study in zip(axes.ravel(), found.values(), strict=False):
        study.plot("voronoi", ax=ax)
        ax.set_title(str(study.results["truth"].values[0]))
    return options.save_figure(figure, "gaussian")
