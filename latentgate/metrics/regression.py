"""How well a prediction of continuous values, for instance a decoded velocity, meets the truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from latentgate.metrics._checks import paired_rows, varying


def r_squared(truth: Any, prediction: Any, average: bool = False) -> np.ndarray | float:
    """Coefficient of determination: 1 - squared error / squared deviation of the truth from its own mean.

    1 is perfect, 0 what the mean of these very rows would reach, and nothing bounds it below. It is not the squared correlation.

    Args:
        truth: [time, dimension], or [time] for one dimension; without NaN.
        prediction: of the same shape.
        average: the mean over dimensions in place of one value per dimension.

    Returns:
        [dimension], or a float with `average`.

    Raises:
        TypeError, ValueError: not finite arrays of one shape, or a dimension in which the truth is constant.

    Source: as scikit-learn's `r2_score` (multioutput "raw_values" and "uniform_average").

    Example:
        >>> import latentgate.metrics as metrics
        >>> metrics.r_squared([1.0, 2.0, 3.0], [1.0, 2.0, 2.0]).tolist()
        [0.5]
    """
    truth, prediction = paired_rows(truth, prediction)
    varying(truth, "truth", "R²")
    scores = 1.0 - ((truth - prediction) ** 2).sum(0) / ((truth - truth.mean(0)) ** 2).sum(0)
    return float(scores.mean()) if average else scores


def correlation(truth: Any, prediction: Any, average: bool = False) -> np.ndarray | float:
    """Pearson's correlation of truth and prediction.

    Args:
        truth: [time, dimension], or [time] for one dimension; without NaN.
        prediction: of the same shape.
        average: the mean over dimensions in place of one value per dimension.

    Returns:
        [dimension], or a float with `average`.

    Raises:
        TypeError, ValueError: not finite arrays of one shape, or a dimension in which one of them is constant.

    Source: Pearson 1895; as `numpy.corrcoef`.

    Example:
        >>> import latentgate.metrics as metrics
        >>> metrics.correlation([1.0, 2.0, 3.0], [5.0, 7.0, 9.0]).round(9).tolist()
        [1.0]
    """
    truth, prediction = paired_rows(truth, prediction)
    varying(truth, "truth", "the correlation")
    varying(prediction, "prediction", "the correlation")
    scores = (_unit(truth) * _unit(prediction)).sum(0)
    return float(scores.mean()) if average else scores


def root_mean_square_error(truth: Any, prediction: Any, average: bool = True) -> np.ndarray | float:
    """Root of the mean over time of the squared error, in the units of the truth.

    Args:
        truth: [time, dimension], or [time] for one dimension; without NaN.
        prediction: of the same shape.
        average: the mean over time and dimensions is taken under the root; False gives one value per dimension.

    Returns:
        A float, or [dimension] without `average`.

    Raises:
        TypeError, ValueError: not finite arrays of one shape.

    Source: the usual definition; scikit-learn's `root_mean_squared_error` averages the roots over dimensions instead.

    Example:
        >>> import latentgate.metrics as metrics
        >>> metrics.root_mean_square_error([[0.0, 0.0]], [[3.0, 4.0]], average=False).tolist()
        [3.0, 4.0]
    """
    truth, prediction = paired_rows(truth, prediction)
    squares = (truth - prediction) ** 2
    return float(np.sqrt(squares.mean())) if average else np.sqrt(squares.mean(0))


def normalised_root_mean_square_error(truth: Any, prediction: Any) -> float:
    """Root mean square error divided by the root mean square of the truth: 1 is what predicting zero reaches.

    Args:
        truth: [time, dimension], or [time] for one dimension; without NaN. Squares are averaged over time and dimensions together.
        prediction: of the same shape.

    Raises:
        TypeError, ValueError: not finite arrays of one shape, or a truth that is zero throughout.

    Source: Burkhart, Brandman, Franco, Hochberg, Harrison, Neural Computation 32:969 (2020).

    Example:
        >>> import latentgate.metrics as metrics
        >>> metrics.normalised_root_mean_square_error([3.0, 4.0], [0.0, 0.0])
        1.0
    """
    truth, prediction = paired_rows(truth, prediction)
    size = np.linalg.norm(truth)
    if size == 0:
        raise ValueError("`truth` is zero throughout; expected values by whose size the error can be divided.")
    return float(np.linalg.norm(truth - prediction) / size)


def mean_absolute_angular_error(truth: Any, prediction: Any) -> float:
    """Mean over time of the angle between the true and the predicted direction, in radians: 0 is perfect, pi / 2 chance.

    A step at which one of the two is the zero vector has no direction and is left out (code that takes the arctangent of (0, 0), which is 0, counts it).

    Args:
        truth: [time, 2], without NaN.
        prediction: [time, 2].

    Raises:
        TypeError, ValueError: not finite arrays of one shape, other than two dimensions, or no step at which both have a direction.

    Source: Burkhart, Brandman, Franco, Hochberg, Harrison, Neural Computation 32:969 (2020).

    Example:
        >>> import latentgate.metrics as metrics
        >>> round(metrics.mean_absolute_angular_error([[1.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [0.0, 0.5]]), 6)
        0.785398
    """
    truth, prediction = paired_rows(truth, prediction)
    if truth.shape[1] != 2:
        raise ValueError(f"`truth` and `prediction` have {truth.shape[1]} dimensions; expected 2, as angles in a plane are measured.")
    directed = truth.any(axis=1) & prediction.any(axis=1)
    if not directed.any():
        raise ValueError("there is no step at which `truth` and `prediction` both have a direction; expected at least one row that is not zero.")
    truth, prediction = truth[directed], prediction[directed]
    # The difference of two arctangents would have to be wrapped; the cosine alone loses small angles to rounding.
    cross = truth[:, 0] * prediction[:, 1] - truth[:, 1] * prediction[:, 0]
    return float(np.abs(np.arctan2(cross, (truth * prediction).sum(1))).mean())


def _unit(array: np.ndarray) -> np.ndarray:
    """Columns less their means, scaled to length one."""
    centred = array - array.mean(0)
    return centred / np.linalg.norm(centred, axis=0)
