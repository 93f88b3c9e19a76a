"""Whether what is said to be likely happens as often as it is said to: coverage, reliability, ranks."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.arguments import checked_names, plain_array
from latentgate.plotting.axes import axes_or_new, bare
from latentgate.plotting.colours import GREY, INK, PALE, state_colours, state_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Inside which pure chance stays at any one place.
_CHANCE = 0.95


def calibration(levels: Any, covered: Any, count: int | None = None, *, names: Many[str] | None = None, ax: Axes | None = None) -> Axes:
    """Share of the truth inside intervals against the share that they claim; honest intervals lie on the diagonal, too narrow ones below.

    Args:
        levels: claimed, [level], between 0 and 1.
        covered: found, [level] or [level, curve]: for instance `latentgate.metrics.interval_coverage` at each level.
        count: of independent cases behind each share, for a band of 95 % in which chance alone would leave honest intervals. Neighbouring bins of one
            recording are no independent cases: count correlation times, trials or replications. No band if None.
        names: of the curves.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for shares outside 0 to 1, arrays that do not fit, a count that is not positive, or another number of names than curves.

    Source: the band is that of the binomial distribution at each level.

    Example:
        >>> import numpy as np
        >>> levels = np.linspace(0.1, 0.9, 9)
        >>> calibration(levels, levels**2, count=200).get_ylabel()
        'share of the truth inside'
    """
    claimed, found = plain_array(levels, "levels", "shares, [level]"), plain_array(covered, "covered", "shares, [level] or [level, curve]")
    found = found[:, None] if found.ndim == 1 else found
    if claimed.ndim != 1 or found.ndim != 2 or len(found) != len(claimed) or not claimed.size:
        raise ValueError(f"covered: found shape {np.shape(covered)} for levels of shape {claimed.shape}, expected [level] or [level, curve].")
    for argument, shares in (("levels", claimed), ("covered", found)):
        if not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError(f"{argument}: found {shares.min():.4g} to {shares.max():.4g}, expected shares between 0 and 1.")
    if count is not None and count < 1:
        raise ValueError(f"count: found {count!r}, expected at least one case.")
    names = checked_names(names, found.shape[1], "curve", [f"dimension {index}" for index in range(found.shape[1])])
    order = np.argsort(claimed)
    ax = axes_or_new(ax, 4.0, 3.8)
    _diagonal(ax)
    if count is not None:
        from scipy.stats import binom

        grid = np.linspace(0, 1, 201)
        low, high = (binom.ppf(end, count, grid) / count for end in (0.5 - _CHANCE / 2, 0.5 + _CHANCE / 2))
        ax.fill_between(grid, low, high, color=PALE, alpha=0.4, linewidth=0, label=f"95 % by chance, {count} cases", zorder=0)
    for column, (name, colour) in enumerate(zip(names, state_colours(len(names)), strict=True)):
        label = name if len(names) > 1 else None
        ax.plot(claimed[order], found[order, column], "o-", color=colour, linewidth=1.6, markersize=4, label=label, clip_on=False, zorder=3)
    ax.set(xlabel="level of the interval", ylabel="share of the truth inside")
    if count is not None or len(names) > 1:
        ax.legend(loc="upper left", frameon=False, fontsize="small")
    return ax


def reliability(probabilities: Any, truth: Any, *, bins: int = 10, names: Many[str] | None = None, ax: Axes | None = None) -> Axes:
    """How often a state is the true one against the probability that it was given, in bins of equal width, with 95 % intervals as if steps were independent.

    Args:
        probabilities: of the states, [..., state], as `fit.smooth(data)` returns them; NaN at padding.
        truth: true states, [...], integers; -1 where they are not known.
        bins: number of bins of the probability.
        names: of the states.
        ax: axes to draw into; None makes a figure.

    Raises:
        TypeError: for a fit in place of its probabilities.
        ValueError: for arrays that do not fit, numbers that are no probabilities, a true state that there is none of, or less than two bins.

    Source: intervals of Wilson (1927) for a share. Neighbouring steps are correlated, so that they are too narrow where states last long.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> first = rng.uniform(size=2000)
        >>> axes = reliability(np.stack([first, 1 - first], -1), (rng.uniform(size=2000) > first).astype(int))
        >>> axes.get_xlabel()
        'probability given to the state'
    """
    given = plain_array(probabilities, "probabilities", "fit.smooth(data) of a model with states")
    states = plain_array(truth, "truth", "integers, the true state of each step")
    if given.ndim < 2 or states.shape != given.shape[:-1]:
        raise ValueError(f"truth: found shape {states.shape}, expected {given.shape[:-1]}, the probabilities' without their states.")
    if bins < 2:
        raise ValueError(f"bins: found {bins!r}, expected at least 2.")
    num_states = given.shape[-1]
    known = np.isfinite(given).all(-1) & (states >= 0)
    given, states = given[known], states[known]
    # Single precision, with room for what a recursion rounds.
    if not given.size or (given < -1e-6).any() or not (np.abs(given.sum(-1) - 1) < 1e-3).all():
        raise ValueError("probabilities: found rows that do not sum to one at the steps whose true state is known, expected probabilities of the states.")
    if (states >= num_states).any() or (states != np.round(states)).any():
        raise ValueError(f"truth: found states up to {states.max():g}, expected integers from 0 to {num_states - 1}, and -1 where not known.")
    names = checked_names(names, num_states, "state", state_names(num_states))
    ax = axes_or_new(ax, 4.0, 3.8)
    _diagonal(ax)
    for state, (name, colour) in enumerate(zip(names, state_colours(num_states), strict=True)):
        share, hits = given[:, state].clip(0, 1), states == state
        place = np.minimum((share * bins).astype(int), bins - 1)
        count = np.bincount(place, minlength=bins)
        filled = count > 0
        x = np.bincount(place, share, bins)[filled] / count[filled]
        y = np.bincount(place, hits, bins)[filled] / count[filled]
        low, high = _wilson(y, count[filled])
        ax.vlines(x, low, high, color=colour, linewidth=1.0, alpha=0.7, zorder=2)
        ax.plot(x, y, "o-", color=colour, linewidth=1.4, markersize=4, label=name, clip_on=False, zorder=3)
    ax.set(xlabel="probability given to the state", ylabel="share of steps truly in it")
    ax.legend(loc="upper left", frameon=False, fontsize="small")
    return ax


def rank_histogram(ranks: Any, num_draws: int, *, bins: int | None = None, name: str | None = None, ax: Axes | None = None) -> Axes:
    """Ranks of true quantities among their posterior draws; flat if the posterior is right, with a band of 95 % of what chance leaves in a bin.

    A hump says that posteriors are too wide, a valley that they are too narrow, a slope that they are off to one side.

    Args:
        ranks: of each replication, [replication], integers from 0 to `num_draws`: how many draws lie below the truth.
        num_draws: draws that each truth was ranked among.
        bins: number of bins, which must divide num_draws + 1; at most twenty, with some twenty replications in each, if None.
        name: of the quantity, the title.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for ranks out of range, or bins that do not divide the number of ranks.

    Source: Talts, Betancourt, Simpson, Vehtari and Gelman (2018), "Validating Bayesian inference algorithms with simulation-based calibration".

    Example:
        >>> import numpy as np
        >>> axes = rank_histogram(np.random.default_rng(0).integers(0, 100, 400), 99, name="rate of state 0")
        >>> axes.get_title()
        'rate of state 0'
    """
    values = plain_array(ranks, "ranks", "integers, [replication]")
    if values.ndim != 1 or not values.size:
        raise ValueError(f"ranks: found shape {values.shape}, expected [replication]; draw quantities one by one.")
    if not ((values == np.round(values)) & (values >= 0) & (values <= num_draws)).all():
        raise ValueError(f"ranks: found {values.min():g} to {values.max():g}, expected whole numbers from 0 to the {num_draws} draws.")
    possible = num_draws + 1
    divisors = [number for number in range(1, possible + 1) if possible % number == 0]
    if bins is None:
        bins = max(number for number in divisors if number <= max(1, min(20, len(values) // 20)))
    elif bins not in divisors:
        raise ValueError(f"bins: found {bins!r}, expected a divisor of the {possible} ranks there are: {', '.join(map(str, divisors))}.")
    from scipy.stats import binom

    counts = np.bincount((values.astype(int) * bins) // possible, minlength=bins)
    low, high = (float(binom.ppf(end, len(values), 1 / bins)) for end in (0.5 - _CHANCE / 2, 0.5 + _CHANCE / 2))
    ax = axes_or_new(ax, 4.6, 2.8)
    width = possible / bins
    ax.axhspan(low, high, color=PALE, alpha=0.4, linewidth=0, zorder=0, label="95 % by chance")
    ax.axhline(len(values) / bins, color=GREY, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    ax.bar(-0.5 + width * np.arange(bins), counts, width, align="edge", color="#A6C8DD", edgecolor="#0072B2", linewidth=1.0, zorder=2)
    ax.set(xlim=(-0.5, num_draws + 0.5), xlabel=f"rank of the truth among {num_draws} draws", ylabel="replications")
    if name is not None:
        ax.set_title(name, fontsize="medium")
    ax.set_ylim(0, 1.3 * max(high, counts.max()))
    ax.legend(loc="upper right", frameon=False, fontsize="small")
    bare(ax)
    return ax


def _wilson(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.stats import norm

    z = norm.ppf(0.5 + _CHANCE / 2)
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return middle - reach, middle + reach


def _diagonal(ax: Axes) -> None:
    ax.plot([0, 1], [0, 1], color=INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    bare(ax)
