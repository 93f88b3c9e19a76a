"""How well inferred states meet the true ones."""

from __future__ import annotations

import numpy as np


def state_accuracy(truth: np.ndarray, inferred: np.ndarray, num_states: int) -> float:
    """Share of steps whose inferred state is the true one after the best renumbering; negative labels (padding) are ignored."""
    from latentgate.inference.alignment import match_labels

    truth, inferred = np.asarray(truth).ravel(), np.asarray(inferred).ravel()
    order = match_labels(truth, inferred, num_states)
    renumbered = np.argsort(order)[np.maximum(inferred, 0)]
    real = (truth >= 0) & (inferred >= 0)
    return float((renumbered[real] == truth[real]).mean())
