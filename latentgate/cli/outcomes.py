"""How a fit ended, as numbers for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from latentgate.inference import Fit


def restarts(fit: Fit) -> list[dict[str, Any]]:
    """One entry a restart: outcome, iterations, best log-joint."""
    return [
        {
            "outcome": record.outcome.name,
            "iterations": len(record.log_joint_history),
            "log_joint": float(np.nanmax(record.log_joint_history, initial=-np.inf)),
        }
        for record in fit.restarts
    ]
