"""The figure of a study, in the style of the papers on gating."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from latentgate.plotting.colours import axes_or_new, bare, state_colours

from .slopes import log_statistic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .study import Study


def draw_rates(study: Study, loss: str, statistic: str, ax: Axes | None) -> Axes:
    """See `Study.plot`."""
    results = study.results
    fitted = study.slopes(loss, statistic=statistic, draws=1, with_local=False).squeeze("loss")
    pairs = [(truth, estimator) for truth in results["truth"].values for estimator in results["estimator"].values]
    ax = axes_or_new(ax, 5.6, 4.0)
    sizes = results["size"].values.astype(float)
    inside = sizes[(sizes >= study.window[0]) & (sizes <= study.window[1])]
    handles = []
    for (truth, estimator), colour in zip(pairs, state_colours(len(pairs)), strict=True):
        chosen = {"truth": truth, "estimator": estimator}
        values = results[loss].sel(chosen).transpose("size", "replication").values
        if np.isnan(values).all():
            continue
        level = np.exp(log_statistic(values, statistic))
        spread = 2.0 * np.nanstd(values, axis=-1)
        if statistic == "mean-log":
            with np.errstate(divide="ignore", invalid="ignore"):
                factor = np.exp(2.0 * np.nanstd(np.log(values), axis=-1))
            bars = np.array([level - level / factor, level * factor - level])
        else:
            bars = np.array([spread, spread])
        line = fitted.sel(chosen)
        name = _label(str(truth), str(estimator), len(results["truth"]), len(results["estimator"]))
        handles.append(ax.errorbar(sizes, level, bars, color=colour, linewidth=1.0, marker="o", markersize=3, capsize=2, elinewidth=0.7, label=name))
        slope, prefactor = float(line["slope"]), float(line["prefactor"])
        if np.isfinite(slope):
            # C n^s with C itself: legends of published figures print log C in its place.
            label = f"${prefactor:.3g}\\, n^{{{slope:.3f}}}$"
            handles += ax.plot(inside, prefactor * inside**slope, "--", color=colour, linewidth=1.4, label=label)
    ax.set_xscale("log")
    ax.set_yscale("log", nonpositive="clip")
    ax.set(xlabel="sample size n", ylabel=loss)
    ax.legend(handles=handles, frameon=False, fontsize="small")
    bare(ax)
    return ax


def _label(truth: str, estimator: str, num_truths: int, num_estimators: int) -> str:
    if num_truths == 1:
        return estimator
    return truth if num_estimators == 1 else f"{truth}: {estimator}"
