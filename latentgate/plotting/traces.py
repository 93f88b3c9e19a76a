"""How a fit went: the course of every restart, of a bound, of the chains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from latentgate.plotting.axes import axes_or_new, bare, legend_above, whole_ticks
from latentgate.plotting.colours import GREY, HIGHLIGHT, INK, PALE, state_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from latentgate.inference import Fit

# Below one nat the distance to the best is drawn to scale, above it on a logarithm.
_LINEAR_NATS = 1.0
# Iterations that the smooth line of a noisy bound is a mean of, as a share of all.
_SMOOTHED = 0.02
# Of the course of a bound, which is let fill the height: its first steps climb from far below.
_SHOWN_FROM = 0.1


def em_trace(fit: Fit, *, ax: Axes | None = None) -> Axes:
    """How any fit went.

    - EM and MAP: how far below the best value found each restart was at every iteration, on a scale that is logarithmic down to one nat and linear from
      there to the best value at the top. The restart that was kept is drawn in colour; every restart ends with a filled point if it converged, with an open
      one if it stopped for another reason, and with a cross if it broke down.
    - SVI: the evidence lower bound, which is an estimate and noisy, and its running mean.
    - Amortised SVI: the bound per step, and in the colour of its own axis what validation data say; a dashed line marks the epoch whose parameters were kept.
    - NUTS: the log-density of every chain, divergent transitions as ticks below.

    Args:
        fit: of any engine.
        ax: axes to draw into; None makes a figure.

    Raises:
        TypeError: for something else than a fit.
        ValueError: for a fit that kept no course.

    Example:
        >>> import numpy as np
        >>> import latentgate as lg
        >>> x = np.linspace(0, 1, 60)[:, None]
        >>> data = lg.Sequences.from_arrays([np.abs(x - 0.5)], inputs=[x], names=["response"], input_names=["contrast"])
        >>> model = lg.MixtureOfExperts(lg.gates.Softmax(), lg.experts.LinearGaussian(2))
        >>> fit = lg.fit(model, data, lg.EM(restarts=2, max_iterations=3), seed=0, progress=False)
        >>> em_trace(fit).get_ylabel()
        'log-joint below the best (nats)'
    """
    if not hasattr(fit, "log_joint_history"):
        raise TypeError(f"fit: found {type(fit).__name__}, expected what lg.fit returned.")
    if fit.posterior is not None and len(fit.posterior.elbo):
        return _bound(fit, axes_or_new(ax, 5.2, 3.4))
    if fit.posterior is not None and "lp" in fit.posterior.sample_stats:
        return _chains(fit, axes_or_new(ax, 5.2, 3.4))
    if len(fit.traces.get("elbo", ())):
        return _epochs(fit, axes_or_new(ax, 5.6, 3.4))
    if not any(np.isfinite(record.log_joint_history).any() for record in fit.restarts):
        raise ValueError("fit: found no course of its engine with a finite log-joint, expected a fit made by lg.fit.")
    return _restarts(fit, axes_or_new(ax, 5.2, 3.4))


def _restarts(fit: Fit, ax: Axes) -> Axes:
    best = max(float(np.nanmax(record.log_joint_history)) for record in fit.restarts if np.isfinite(record.log_joint_history).any())
    order = sorted(range(len(fit.restarts)), key=lambda index: index == fit.best_restart)
    for index in order:
        record = fit.restarts[index]
        kept = index == fit.best_restart
        colour = HIGHLIGHT if kept else GREY
        below = record.log_joint_history - best
        if not len(below):
            continue
        width, label, level = (2.0, "kept", 3) if kept else (1.2, None, 2)
        ax.plot(np.arange(1, len(below) + 1), below, color=colour, linewidth=width, label=label, zorder=level)
        mark = "X" if record.outcome.failed else "o"
        face = colour if record.outcome.name == "CONVERGED" or record.outcome.failed else "white"
        ax.scatter(len(below), below[-1], 30, marker=mark, facecolor=face, edgecolor=colour, zorder=4)
    if len(fit.restarts) > 1:
        ax.plot([], [], color=GREY, linewidth=1.2, label="other restarts")
    ax.set_yscale("symlog", linthresh=_LINEAR_NATS, linscale=0.5)
    ax.set_ylim(top=_LINEAR_NATS / 2)
    ax.set_yticks([tick for tick in ax.get_yticks() if tick <= 0])
    ax.axhline(0, color=PALE, linewidth=0.8, zorder=1)
    ax.set(xlabel="iteration", ylabel="log-joint below the best (nats)")
    whole_ticks(ax.xaxis)
    ax.legend(loc="lower right", frameon=False, fontsize="small")
    bare(ax)
    return ax


def _bound(fit: Fit, ax: Axes) -> Axes:
    assert fit.posterior is not None
    elbo = np.asarray(fit.posterior.elbo, float)
    iterations = np.arange(1, len(elbo) + 1)
    window = max(1, round(_SMOOTHED * len(elbo)))
    ax.plot(iterations, elbo, color=PALE, linewidth=0.8, label="estimate at one iteration")
    if window > 1:
        means = np.convolve(np.nan_to_num(elbo, nan=np.nanmean(elbo)), np.ones(window) / window, "valid")
        ax.plot(iterations[window - 1 :], means, color=HIGHLIGHT, linewidth=2.0, label=f"mean of {window} iterations")
    later = elbo[int(_SHOWN_FROM * len(elbo)) :]
    later = later[np.isfinite(later)]
    if later.size and np.ptp(later) > 0:
        ax.set_ylim(later.min() - 0.05 * np.ptp(later), later.max() + 0.05 * np.ptp(later))
    ax.set(xlabel="iteration", ylabel="evidence lower bound (nats)")
    whole_ticks(ax.xaxis)
    legend_above(ax, 2)
    bare(ax)
    return ax


def _chains(fit: Fit, ax: Axes) -> Axes:
    assert fit.posterior is not None
    density = np.asarray(fit.posterior.sample_stats["lp"], float)
    diverging = np.asarray(fit.posterior.sample_stats.get("diverging", np.zeros(density.shape)), bool)
    draws = np.arange(1, density.shape[1] + 1)
    for chain, (row, colour) in enumerate(zip(density, state_colours(len(density)), strict=True)):
        ax.plot(draws, row, color=colour, linewidth=0.9, alpha=0.85, label=f"chain {chain}")
    when = np.flatnonzero(diverging.any(0))
    if when.size:
        ax.plot(draws[when], np.zeros(len(when)), "|", transform=ax.get_xaxis_transform(), color=INK, markersize=9, clip_on=False, label="divergent")
    ax.set(xlabel="draw after warm-up", ylabel="log-density, unconstrained (nats)", xlim=(1, max(len(draws), 2)))
    whole_ticks(ax.xaxis)
    legend_above(ax, 5)
    bare(ax)
    return ax


def _epochs(fit: Fit, ax: Axes) -> Axes:
    elbo, scores = np.asarray(fit.traces["elbo"], float), np.asarray(fit.traces.get("held_out", np.zeros(0)), float)
    epochs = np.arange(1, len(elbo) + 1)
    bound, held_out = state_colours(2)
    ax.plot(epochs, elbo, color=bound, linewidth=2.0)
    ax.set(xlabel="epoch")
    ax.set_ylabel("evidence lower bound (nats a step)", color=bound)
    whole_ticks(ax.xaxis)
    bare(ax)
    if np.isfinite(scores).any():
        right = ax.twinx()
        right.plot(epochs, scores, color=held_out, linewidth=2.0)
        # Darker than the line: thin letters of its colour are hard to read.
        right.set_ylabel("held out (bits per spike, or nats a signal)", color=0.7 * held_out)
        right.spines["top"].set_visible(False)
        kept = int(np.nanargmax(scores)) + 1
        ax.axvline(kept, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        ax.annotate("kept", (kept, 1.0), (0, 2), xycoords=ax.get_xaxis_transform(), textcoords="offset points", ha="center", fontsize="small", color=INK)
    return ax
