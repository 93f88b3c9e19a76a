"""Sparse softmax gates (Nguyen, Akbarian, Yan and Ho 2024), with enough and with too few selected experts.

Two truths, of two lines and of three, on points at equal distances in [0, 1]. Scores rank with their bias. 10 replications of four log-spaced sizes from 300
to 10 000; EM to a relative change of 1e-6, as published, or 100 iterations.

    one of two      the two lines of `exact` with the better score alone: the inputs fall into two parts at x = 0.32
    two of three    a flat expert that is selected everywhere, beside one line below x = 0.5 and another above: scores 0, 4 (1/2 - x) - 1/2, 4 (x - 1/2) - 1/2

What enough is. A fit that holds m experts in place of a true one must select all m wherever that true one is selected, and nobody else: the number selected is
then the total size of the selected cells. It is one number for the whole of the inputs only if all selected sets have equal totals. So experts are split here
where they can be: both of `one of two`, the flat one of `two of three`.

    one of two      2 of 4 selected (two halves of each line)           enough
                    2 of 3 (two halves of one line)                     one too many where the other is selected: scores can only be driven apart without end
    two of three    2 of 3                                              exact
                    3 of 4 (two halves of the flat expert)              enough
                    2 of 4 from there                                   too few; but a fit may leave the neighbourhood of the split truth: with one expert that
                                                                        is selected nowhere two of four are enough, and Hellinger distance cannot see that one
                    1 of 4                                              too few whatever the parameters: two experts at one input cannot be one

With one selected expert every copy has the weight one, so that the positive distance of the theorem needs at least two; the case is not judged, it is shown by
1 of 3 on `one of two`. Starts are near the truth (experts' noise 0.05 n^-0.083, gates' 0.005 n^-0.083, as published), copies sharing their weight. Beside them
stands a start that knows nothing: 50 EM steps of a dense softmax gate from the model's k-means start, of which the parameters are taken (`dense`).

Losses: Hellinger distance and, since with one selected expert gate parameters are not identified, the mismatch of partitions.

Rules, fixed in advance:

1. Near-truth fits that are exact or enough: the 95 % bootstrap interval of the slope of log mean Hellinger distance contains -0.5.
2. 1 of 4 on `two of three`: the slope's interval contains nothing below -0.1, and the mean distance at the largest size is above 0.05.
3. 2 of 4 from the split truth: reported by replication, how many keep a distance above 0.05 at the largest size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from side_by_side import table

import latentgate as lg
import latentgate.studies as studies
from latentgate.studies.batches import one_sequence

from . import Options
from .models import TWO_LINES, flat_experts
from .reporting import level_table, progress, slope_table, verdict

ONE, TWO = "one of two", "two of three"
LOSSES = ("hellinger", "partition_mismatch", "gate_l1")
POSITIVE = 0.05
FLATTEST = -0.1
DENSE_STEPS = 50
# Standard deviations below this are not looked for: copies of an expert could else collapse onto a few rows.
MIN_SCALE = 0.05
THREE_LINES: dict[str, Any] = {
    "gate.weights": [[0.0], [-4.0], [4.0]],
    "gate.bias": [0.0, 1.5, -2.5],
    "experts.weights": [[0.0], [4.0], [-4.0]],
    "experts.bias": [0.0, 2.0, 6.0],
    "experts.scale": [0.4, 0.3, 0.3],
}


def run(options: Options) -> list[str]:
    """The report."""
    found = {name: study_of(name, options) for name in ((TWO,) if options.quick else (ONE, TWO))}
    lines = [__doc__ or "", *judged(found, options.quick), ""]
    for study in found.values():
        lines += [*slope_table(study, LOSSES), ""]
    for name, study in found.items():
        lines.append(name)
        for estimator in study.results["estimator"].values:
            lines += [*level_table(study, name, str(estimator), (*LOSSES, "excess")), ""]
    return lines + drawn(found, options)


def sparse(num_experts: int, num_selected: int) -> lg.MixtureOfExperts:
    """Maximum likelihood with a box on standard deviations."""
    gate = lg.gates.TopK(num_selected, num_inputs=1, weight_scale="flat", bias_scale="flat")
    return lg.MixtureOfExperts(gate=gate, experts=flat_experts(num_experts, min_scale=MIN_SCALE))


def truth_of(name: str) -> studies.MixtureTruth:
    """See above."""
    return studies.MixtureTruth(name, sparse(2, 1), TWO_LINES) if name == ONE else studies.MixtureTruth(name, sparse(3, 2), THREE_LINES)


class Split:
    """A start near the truth in which chosen experts are there more than once.

    Args:
        cells: true expert of each fitted one.
    """

    def __init__(self, cells: tuple[int, ...]):
        self.cells, self.__name__ = cells, "near-truth, split as " + "".join(str(cell + 1) for cell in cells)

    def __call__(self, key: Array, truth: studies.Truth, inputs: Array, values: Array) -> dict[str, Array]:
        cells = np.array(self.cells)
        copies = np.bincount(cells)[cells]
        amplitude = {"gate": 0.005, "experts": 0.05}
        found = {}
        for name, one_key in zip(sorted(truth.params), jax.random.split(key, len(truth.params)), strict=True):
            value = jnp.asarray(truth.params[name])[cells]
            noise = jax.random.normal(one_key, (len(cells),)).reshape(-1, *[1] * (value.ndim - 1))
            if name == "experts.scale":
                found[name] = value + 0.005 * values.shape[0] ** -0.25 * jnp.abs(noise)
                continue
            value = value + amplitude[name.split(".")[0]] * values.shape[0] ** -0.083 * noise
            value = value - jnp.log(copies) if name == "gate.bias" else value
            found[name] = value - value.mean(0) if name.startswith("gate.") else value
        return found


def dense_start(num_experts: int) -> Callable[..., dict[str, Array]]:
    """A start that knows nothing: EM steps of a softmax gate, whose parameters a top-K gate shares."""
    gate = lg.gates.Softmax(num_inputs=1)
    model = lg.MixtureOfExperts(gate=gate, experts=flat_experts(num_experts, min_scale=MIN_SCALE))

    def dense(key: Array, truth: studies.Truth, inputs: Array, values: Array) -> dict[str, Array]:
        data = one_sequence(model, inputs, values, jnp.asarray(values.shape[0]))

        def step(params: dict[str, Array], _: None) -> tuple[dict[str, Array], None]:
            return model.m_step(params, data, model.potentials(params, data).smooth()), None

        return jax.lax.scan(step, model.initialize(key, data), length=DENSE_STEPS)[0]

    return dense


def estimators_of(name: str, quick: bool) -> list[studies.MaximumLikelihood]:
    """{name: selected of fitted}; `near` ones are split where that can be."""
    if name == ONE:
        asked = {"1 of 2": (2, 1, (0, 1)), "1 of 3": (3, 1, (0, 0, 1)), "2 of 3": (3, 2, (0, 0, 1)), "2 of 4": (4, 2, (0, 0, 1, 1))}
        dense = {"1 of 2, dense": (2, 1)}
    else:
        asked = {"2 of 3": (3, 2, (0, 1, 2)), "3 of 4": (4, 3, (0, 0, 1, 2)), "2 of 4": (4, 2, (0, 0, 1, 2)), "1 of 4": (4, 1, (0, 0, 1, 2))}
        dense = {"2 of 3, dense": (3, 2), "3 of 4, dense": (4, 3)}
    if quick:
        asked, dense = {"2 of 3": asked["2 of 3"]}, {}
    limits: dict[str, Any] = {"max_iterations": 100, "tolerance": 1e-6}
    found = [studies.MaximumLikelihood(label, sparse(fitted, selected), Split(cells), **limits) for label, (fitted, selected, cells) in asked.items()]
    return found + [studies.MaximumLikelihood(label, sparse(fitted, selected), dense_start(fitted), **limits) for label, (fitted, selected) in dense.items()]


def study_of(name: str, options: Options) -> studies.Study:
    """All estimators of one truth."""
    sizes = [300, 310] if options.quick else studies.log_spaced(300, 10_000, 4)
    progress(f"top-k: {name}, {len(sizes)} sizes")
    # Borders of selections are off by about 1/n: fine grids over x see them.
    comparison = studies.MixtureComparison(num_inputs=2**11 if options.quick else 2**16, num_densities=2**7 if options.quick else 2**11)
    return studies.convergence_rates(
        truth=truth_of(name),
        estimators=estimators_of(name, options.quick),
        sample_sizes=sizes,
        replications=3 if options.quick else 10,
        losses=[comparison],
        seed=options.seed,
        checkpoint=options.checkpoint_of("top-k-" + name.replace(" ", "-")),
    )


def judged(found: dict[str, studies.Study], quick: bool) -> list[str]:
    """Rules 1 to 3."""
    rows = []
    for truth, estimator in ((ONE, "1 of 2"), (ONE, "2 of 4"), (TWO, "2 of 3"), (TWO, "3 of 4"), (TWO, "1 of 4")):
        study = found.get(truth)
        if study is None or estimator not in study.results["estimator"].values:
            continue
        line = study.slopes("hellinger", with_local=False).sel(estimator=estimator).squeeze()
        low, high = (float(end) for end in line.slope_interval.values)
        last = float(study.results.hellinger.sel(estimator=estimator).isel(size=-1).mean())
        holds = low > FLATTEST and last > POSITIVE if estimator == "1 of 4" else low <= -0.5 <= high
        wanted = "stays positive" if estimator == "1 of 4" else "slope -1/2"
        rows.append([f"{truth}: {estimator}, {wanted}", f"{float(line.slope):.3f} [{low:.3f}, {high:.3f}]", f"{last:.4f}", verdict(holds, quick)])
    lines = [table(("rules 1 and 2, Hellinger distance", "slope", "at the largest n", ""), rows)]
    if TWO in found and "2 of 4" in found[TWO].results["estimator"].values:
        last = found[TWO].results.hellinger.sel(estimator="2 of 4").isel(size=-1).values.ravel()
        lines.append(f"3. {TWO}, 2 of 4 from the split truth: {int((last > POSITIVE).sum())} of {len(last)} replications above {POSITIVE} at the largest n, ")
        lines[-1] += f"smallest {np.nanmin(last):.4f}, median {np.nanmedian(last):.4f}, largest {np.nanmax(last):.4f}"
    return lines


def drawn(found: dict[str, studies.Study], options: Options) -> list[str]:
    """Enough and too few in one figure, one panel a truth."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(found), figsize=(6.2 * len(found), 4.8), squeeze=False)
    for ax, (name, study) in zip(axes.ravel(), found.items(), strict=True):
        study.plot("hellinger", ax=ax)
        ax.set_title(name)
    return options.save_figure(figure, "top_k")
