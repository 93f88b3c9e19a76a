"""How each data set of the benchmark is cut: what trials are aligned to, what is decoded, and how average responses are made."""

from __future__ import annotations

import dataclasses

FORWARD_MS = 200


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A data set of the benchmark.

    Attributes:
        align: column of the trial table with the time (s) that windows are aligned to.
        window: first and last ms of a window around it; forward bins follow for 200 ms.
        behaviour: the time series that is decoded; None where behaviour is a row of the trial table.
        lag_ms: by how much behaviour is taken later than the spikes.
        conditions: columns of the trial table that define a condition; empty where there is none.
        kernel_ms: standard deviation of the Gaussian under the average responses.
        decoders: column whose values False and True get decoders of their own, or None.
        start: column with the time at which the scored part of a window begins; None for the whole window.
        behaviour_columns: columns of the trial table that make up behaviour where it is no time series.
        outliers: column that is True for trials without behaviour and average responses, or None.
        max_jitter_ms: training and validation windows are cut up to so much later, by lot.
    """

    align: str = "move_onset_time"
    window: tuple[int, int] = (-250, 450)
    behaviour: str | None = "hand_vel"
    lag_ms: int = 120
    conditions: tuple[str, ...] = ("trial_type", "trial_version")
    kernel_ms: int = 50
    decoders: str | None = None
    start: str | None = None
    behaviour_columns: tuple[str, ...] = ()
    outliers: str | None = None
    max_jitter_ms: int = 0

    def num_bins(self, bin_ms: int) -> int:
        """Observed bins of a trial.

        Raises:
            ValueError: a width that does not divide the window and the forward bins.
        """
        length = self.window[1] - self.window[0]
        if isinstance(bin_ms, bool) or not isinstance(bin_ms, int) or bin_ms < 1 or length % bin_ms or FORWARD_MS % bin_ms:
            raise ValueError(f"`bin_ms` is {bin_ms!r}; expected a whole number of ms that divides {length} and {FORWARD_MS}: the benchmark has 5 and 20.")
        return length // bin_ms


# Source: PARAMS of nlb_tools 0.0.4.
RECIPES: dict[str, Recipe] = {
    "mc_maze": Recipe(lag_ms=100, kernel_ms=70),
    "mc_rtt": Recipe(align="start_time", window=(0, 600), behaviour="finger_vel", lag_ms=140, conditions=()),
    "area2_bump": Recipe(window=(-100, 500), lag_ms=-20, conditions=("cond_dir", "ctr_hold_bump"), kernel_ms=40, decoders="ctr_hold_bump"),
    "dmfc_rsg": Recipe(
        align="go_time",
        window=(-1500, 0),
        behaviour=None,
        lag_ms=0,
        conditions=("is_eye", "theta", "is_short", "ts"),
        kernel_ms=70,
        start="set_time",
        behaviour_columns=("is_eye", "theta", "is_short", "ts", "tp"),
        outliers="is_outlier",
        max_jitter_ms=300,
    ),
    "mc_maze_large": Recipe(),
    "mc_maze_medium": Recipe(),
    "mc_maze_small": Recipe(),
}


def group_name(name: str, bin_ms: int) -> str:
    """Name of a data set's group in target and submission files."""
    return name if bin_ms == 5 else f"{name}_{bin_ms}"
