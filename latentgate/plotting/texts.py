"""Numbers and units as they stand in pictures."""

from __future__ import annotations

import numpy as np


def number(value: float, digits: int = 2) -> str:
    """A number with so many digits that count; "?" for NaN."""
    if np.isnan(value):
        return "?"
    # Powers of ten would be longer than the zeros they save.
    rounded = f"{value:.{digits}g}"
    return "∞" if np.isinf(value) else f"{float(rounded):.0f}" if 10**digits <= abs(value) < 1e6 else rounded


def probability(value: float) -> str:
    """A probability to three places, ".042"; "<.001" where these would all be zero, and ">.999" where they would all be nine."""
    if 0 < value < 0.0005:
        return "<.001"
    if 0.9995 <= value < 1:
        return ">.999"
    return f"{value:.0f}" if value in (0, 1) else f"{value:.3f}".removeprefix("0")


def mean_stay(stay: float, bin_width: float | None) -> str:
    """Mean time in a state that is kept with this probability from step to step, in s, or in steps for a bin width that is not known."""
    if stay >= 1:
        return "∞"
    return f"{number(1 / (1 - stay), 3)} steps" if bin_width is None else f"{number(bin_width / (1 - stay), 3)} s"


def with_unit(text: str, unit: str | None) -> str:
    """A label with its unit in brackets."""
    return text if unit is None else f"{text} ({unit})"
