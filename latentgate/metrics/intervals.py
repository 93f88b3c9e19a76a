"""Whether predictive intervals hold what they claim."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from scipy.special import chdtri, ndtri

from latentgate.data._checks import as_float_array
from latentgate.metrics._checks import paired_rows


def interval_coverage(truth: Any, means: Any, covariances: Any, level: float = 0.95, joint: bool = False) -> np.ndarray | float:
    """Share of the steps at which the truth lies in the central Gaussian interval of a level.

    An honest predictive distribution covers the share `level`; more says that its covariances are too wide, less that they are too narrow.

    Args:
        truth: [time, dimension], or [time] for one dimension; without NaN.
        means: of the predictive distributions, of the same shape.
        covariances: of the predictive distributions, [time, dimension, dimension], or one [dimension, dimension] for all steps.
        level: in (0, 1).
        joint: asks for the whole vector in the ellipsoid of that level in place of each dimension in its interval.

    Returns:
        [dimension], or a float with `joint`.

    Raises:
        TypeError, ValueError: arrays that are not finite or do not fit, a negative variance, with `joint` a covariance that is not positive definite, or a
            level outside (0, 1).

    Source: intervals from the normal quantile, ellipsoids from the chi-squared quantile of the squared Mahalanobis distance.

    Example:
        >>> import latentgate.metrics as metrics
        >>> metrics.interval_coverage([[0.5], [3.0]], [[0.0], [0.0]], [[1.0]], level=0.9).tolist()
        [0.5]
    """
    truth, means = paired_rows(truth, means, ("truth", "means"))
    covariances = as_float_array(covariances, "`covariances`")
    steps, size = truth.shape
    if covariances.shape not in ((steps, size, size), (size, size)):
        raise ValueError(f"`covariances` has shape {covariances.shape}; expected ({steps}, {size}, {size}) or ({size}, {size}).")
    if not np.isfinite(covariances).all():
        raise ValueError("`covariances` holds NaN or infinity; expected finite numbers. Leave these steps out of every argument.")
    if isinstance(level, bool) or not isinstance(level, numbers.Real) or not 0 < float(level) < 1:
        raise ValueError(f"`level` is {level!r}; expected a number between 0 and 1, for instance 0.95.")
    errors = truth - means
    if not joint:
        variances = np.diagonal(covariances, axis1=-2, axis2=-1)
        if (variances < 0).any():
            raise ValueError(f"`covariances` has the variance {variances.min()}; expected none below 0.")
        return (np.abs(errors) <= ndtri(0.5 + 0.5 * float(level)) * np.sqrt(variances)).mean(0)
    try:
        factors = np.broadcast_to(np.linalg.cholesky(covariances), (steps, size, size))
    except np.linalg.LinAlgError as error:
        raise ValueError("`covariances` holds a matrix that is not positive definite; expected such matrices for joint regions.") from error
    distances = (np.linalg.solve(factors, errors[:, :, None]) ** 2).sum((1, 2))
    return float((distances <= chdtri(size, 1.0 - float(level))).mean())
