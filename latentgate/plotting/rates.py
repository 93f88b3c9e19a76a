"""The figure of a convergence-rate study, in the style of the papers on gating."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from latentgate.plotting.axes import axes_or_new, bare
from latentgate.plotting.colours import state_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from latentgate.studies import Study

# Below the smallest loss, as a factor.
_ROOM = 4.0
_LABELLED_SIZES = 9


def convergence_rates(study: Study, loss: str | None = None, *, statistic: str = "mean", ax: Axes | None = None) -> Axes:
    """Loss of every estimator against sample size on logarithmic scales: means with two standard deviations, and the fitted power law dashed.

    Args:
        study: from `lg.studies.convergence_rates`, or loaded.
        loss: which of its losses; the first if None.
        statistic: of replications, drawn and fitted: "mean", "median" or "mean-log".
        ax: axes to draw into; None makes a figure.

    Raises:
        TypeError: for something else than a study.
        ValueError: for a loss that the study has not, an unknown statistic, or a loss that is nowhere known.

    Example:
        >>> import numpy as np, xarray as xr
        >>> from latentgate.studies import Study
        >>> noise = np.random.default_rng(0).uniform(0.9, 1.1, (1, 1, 3, 40))
        >>> losses = np.array([1.0, 0.1, 0.01])[:, None] * noise
        >>> dims = ("truth", "estimator", "size", "replication")
        >>> coords = {"truth": ["t"], "estimator": ["e"], "size": [100, 10_000, 1_000_000], "start": ("estimator", [""])}
        >>> study = Study(xr.Dataset({"error": (dims, losses)}, coords), window=(100, 1_000_000))
        >>> convergence_rates(study).get_xlabel()
        'sample size n'
    """
    # Only now: pictures that need no study should not wait for the studies to be imported.
    from latentgate.studies.slopes import log_statistic

    if not (hasattr(study, "slopes") and hasattr(study, "window")):
        raise TypeError(f"study: found {type(study).__name__}, expected what lg.studies.convergence_rates returned.")
    loss = study.losses[0] if loss is None else loss
    results = study.results
    fitted = study.slopes(loss, statistic=statistic, draws=1, with_local=False).squeeze("loss")
    pairs = [(truth, estimator) for truth in results["truth"].values for estimator in results["estimator"].values]
    if np.isnan(results[loss]).all():
        raise ValueError(f"loss: found {loss!r}, which is NaN for every estimator, expected a loss that is known.")
    ax = axes_or_new(ax, 5.6, 4.0)
    sizes = results["size"].values.astype(float)
    inside = sizes[(sizes >= study.window[0]) & (sizes <= study.window[1])]
    handles, levels = [], []
    for (truth, estimator), colour in zip(pairs, state_colours(len(pairs)), strict=True):
        chosen = {"truth": truth, "estimator": estimator}
        values = results[loss].sel(chosen).transpose("size", "replication").values
        if np.isnan(values).all():
            continue
        level = np.exp(log_statistic(values, statistic))
        levels.append(level)
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
    # A bar that reaches down to zero, or below, has no end on this scale: it must not squeeze what there is to see.
    lowest = np.nanmin(np.concatenate(levels)) / _ROOM
    if ax.get_ylim()[0] < lowest:
        ax.set_ylim(bottom=lowest)
    # Over few decades the labels of minor ticks run into each other; few sizes say more than powers of ten.
    ax.minorticks_off()
    if len(sizes) <= _LABELLED_SIZES:
        ax.set_xticks(sizes, [f"{size:g}" for size in sizes])
    ax.set(xlabel="sample size n", ylabel=loss)
    ax.legend(handles=handles, frameon=False, fontsize="small")
    bare(ax)
    return ax


def _label(truth: str, estimator: str, num_truths: int, num_estimators: int) -> str:
    if num_truths == 1:
        return estimator
    return truth if num_estimators == 1 else f"{truth}: {estimator}"
