"""Mean paths over sequences of different lengths."""

from __future__ import annotations

import numpy as np


def condition_means(times: np.ndarray, values: np.ndarray, lengths: np.ndarray, align: str = "start") -> tuple[np.ndarray, np.ndarray]:
    """Mean path, row by row from the start or the end, as far as half of the sequences go.

    Args:
        times: [sequence, time].
        values: [sequence, time] or [sequence, time, latent].
        lengths: [sequence], numbers of real rows.
        align: "start" or "end".

    Returns:
        mean times [row], and mean values [row] or [row, latent].
    """
    reach = int(np.median(lengths))
    place = np.arange(reach)
    index = np.broadcast_to(place, (len(lengths), reach)) if align == "start" else lengths[:, None] - reach + place
    real = (index >= 0) & (index < lengths[:, None])
    index = np.clip(index, 0, lengths[:, None] - 1)

    def mean(array: np.ndarray) -> np.ndarray:
        spread = (..., *[None] * (array.ndim - 2))
        return np.nanmean(np.where(real[spread], np.take_along_axis(array, index[spread], 1), np.nan), 0)

    return mean(times), mean(values)
