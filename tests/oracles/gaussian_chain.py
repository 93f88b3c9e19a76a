"""Slow, textbook answers for a Gaussian chain: the joint normal of everything, conditioned on what is observed.

No recursion over time, and no code or algebra shared with the kernels: the joint covariance of all latents and all
observations of one sequence is written out, T d by T d, and factorised once. Two arithmetics:

* `digits=None`: `numpy.longdouble` (64 bits of mantissa on x86), for ordinary chains;
* `digits=60`, say: `decimal`, for chains so badly conditioned that the float64 answer could not be judged by 11 bits more,
  and for derivatives, which are then central differences with a step of 1e-15 and without cancellation.

Every input is a float64 and taken as that exact number. Matrices may be constant or have one entry a step; those of the
dynamics have T - 1 entries, entry t leading from step t to t + 1. The first observation belongs to the first latent.
"""

from __future__ import annotations

import dataclasses
import decimal
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

LOG_TWO_PI = math.log(2 * math.pi)
MOST_JOINT = 200


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the joint normal says, as float64; T is the length of the sequence without its padding.

    Attributes:
        log_normaliser: log-likelihood of what is observed.
        log_increments: [T] log-likelihood of step t given the steps before.
        filtered_means: [T, d]; filtered_covariances: [T, d, d].
        smoothed_means: [T, d]; smoothed_covariances: [T, d, d].
        lagged_moments: [T-1, d, d] E[z_t z_{t+1}'].
        prior_scales: [T, d] standard deviations before anything is observed, to judge a rounding error by.
        joint_mean: [T d]; joint_covariance: [T d, T d] of all latents given everything; empty for more than `MOST_JOINT` latents.
    """

    log_normaliser: float
    log_increments: np.ndarray
    filtered_means: np.ndarray
    filtered_covariances: np.ndarray
    smoothed_means: np.ndarray
    smoothed_covariances: np.ndarray
    lagged_moments: np.ndarray
    prior_scales: np.ndarray
    joint_mean: np.ndarray
    joint_covariance: np.ndarray


class Arithmetic:
    """Extended or decimal numbers in NumPy arrays."""

    def __init__(self, digits: int | None) -> None:
        self.digits = digits
        # Below this part of a variance what is left of it is rounding: the observation follows from the ones before.
        self.nothing = np.longdouble(1e-16) if digits is None else decimal.Decimal(10) ** (10 - digits)

    def numbers(self, values: Any) -> np.ndarray:
        values = np.asarray(values)
        if self.digits is None:
            return values.astype(np.longdouble)
        if values.dtype == object:
            return values
        exact = np.empty(values.size, object)
        exact[:] = [decimal.Decimal(float(value)) for value in values.ravel()]
        return exact.reshape(values.shape)

    def zeros(self, *shape: int) -> np.ndarray:
        return self.numbers(np.zeros(shape))

    def identity(self, size: int) -> np.ndarray:
        return self.numbers(np.eye(size))

    def log(self, value: Any) -> Any:
        return np.log(value) if self.digits is None else value.ln()

    def sqrt(self, value: Any) -> Any:
        return np.sqrt(value) if self.digits is None else value.sqrt()


def within(digits: int | None) -> Any:
    """The context in which decimal numbers have that many digits."""
    context = decimal.Context(prec=digits or 28, Emin=-(10**9), Emax=10**9)
    return decimal.localcontext(context)


def at(values: np.ndarray, t: int, dimensions: int) -> np.ndarray:
    """Entry t of what is constant (has that many dimensions) or given per step."""
    return values if values.ndim == dimensions else values[t]


def latent_joint(arithmetic: Arithmetic, initial_mean, initial_covariance, matrix, bias, covariance, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean [T d] and covariance [T d, T d] of all latents before anything is observed."""
    mean, spread, matrix, covariance = (arithmetic.numbers(value) for value in (initial_mean, initial_covariance, matrix, covariance))
    size = len(mean)
    bias = arithmetic.numbers(np.zeros(size) if bias is None else bias)
    means, joint = arithmetic.zeros(length, size), arithmetic.zeros(length, size, length, size)
    means[0], joint[0, :, 0] = mean, spread
    for t in range(length - 1):
        step = at(matrix, t, 2)
        means[t + 1] = step @ means[t] + at(bias, t, 1)
        joint[: t + 1, :, t + 1] = joint[: t + 1, :, t] @ step.T
        joint[t + 1, :, : t + 1] = np.moveaxis(joint[: t + 1, :, t + 1], -1, 0)
        joint[t + 1, :, t + 1] = step @ joint[t, :, t + 1] + at(covariance, t, 2)
    return means.reshape(-1), joint.reshape(length * size, length * size)


def observed_moments(
    initial_mean, initial_covariance, matrix, bias, covariance,
    values, emission_matrix, emission_bias, emission_covariance, observed=None, length=None, digits: int | None = None,
) -> Exact:  # fmt: skip
    """y_t = H_t z_t + d_t + N(0, R_t), with any entries missing and any of the covariances singular.

    An observation that follows exactly from earlier ones adds nothing where it agrees with them, and makes the
    log-likelihood -inf where it does not: the density is that of the observations that are not redundant.

    Args:
        initial_mean: [d]; initial_covariance: [d, d].
        matrix: [d, d] or [T-1, d, d]; bias: None, [d] or [T-1, d]; covariance: as `matrix`.
        values: [T, N], anything finite or not where missing.
        emission_matrix: [N, d] or [T, N, d]; emission_bias: None, [N] or [T, N]; emission_covariance: [N, N] or [T, N, N].
        observed: [T, N] or None: all.
        length: steps that are real; None: all.
        digits: None or the digits of decimal arithmetic.
    """
    arithmetic = Arithmetic(digits)
    with within(digits):
        length = len(values) if length is None else int(length)
        size, channels = len(initial_mean), np.shape(values)[1]
        means, joint = latent_joint(arithmetic, initial_mean, initial_covariance, matrix, bias, covariance, length)
        emission_matrix, emission_covariance = (arithmetic.numbers(value) for value in (emission_matrix, emission_covariance))
        emission_bias = arithmetic.numbers(np.zeros(channels) if emission_bias is None else emission_bias)
        mask = np.ones((length, channels), bool) if observed is None else np.asarray(observed, bool)[:length]
        kept = [np.flatnonzero(row) for row in mask]
        ends = np.cumsum([len(row) for row in kept])
        starts = ends - [len(row) for row in kept]

        design, residual, noise = arithmetic.zeros(ends[-1], length * size), arithmetic.zeros(ends[-1]), arithmetic.zeros(ends[-1], ends[-1])
        for t, rows in enumerate(kept):
            here, latents = slice(starts[t], ends[t]), slice(t * size, (t + 1) * size)
            design[here, latents] = at(emission_matrix, t, 2)[rows]
            noise[here, here] = at(emission_covariance, t, 2)[np.ix_(rows, rows)]
            if len(rows):
                residual[here] = arithmetic.numbers(np.asarray(values)[t, rows]) - at(emission_bias, t, 1)[rows] - design[here, latents] @ means[latents]
        cross = arithmetic.zeros(ends[-1], length * size)
        for t in range(length):
            here, latents = slice(starts[t], ends[t]), slice(t * size, (t + 1) * size)
            cross[here] = design[here, latents] @ joint[latents]
        total = noise.copy()
        for t in range(length):
            here, latents = slice(starts[t], ends[t]), slice(t * size, (t + 1) * size)
            total[:, here] = total[:, here] + cross[:, latents] @ design[here, latents].T
        whitened, explained, logs = _condition(arithmetic, total, residual, cross)

        increments = np.array([sum(logs[starts[t] : ends[t]], arithmetic.zeros(1)[0]) for t in range(length)])
        filtered = []
        for t in range(length):
            latents = slice(t * size, (t + 1) * size)
            block = explained[: ends[t], latents]
            filtered.append((means[latents] + block.T @ whitened[: ends[t]], joint[latents, latents] - block.T @ block))
        return Exact(increments, filtered, means + explained.T @ whitened, lambda i, j: joint[i, j] - explained[:, i].T @ explained[:, j], joint, size)


def _condition(arithmetic: Arithmetic, total: np.ndarray, residual: np.ndarray, cross: np.ndarray) -> tuple[np.ndarray, np.ndarray, list]:
    """With total = L L': L⁻¹ residual, L⁻¹ cross, and the log-density of each entry given the entries before it."""
    count = len(residual)
    factor = arithmetic.zeros(count, count)
    whitened, explained, logs = arithmetic.zeros(count), arithmetic.zeros(*cross.shape), []
    for j in range(count):
        left, column, gain = residual[j], total[j:, j], cross[j]
        if j:
            column = column - factor[j:, :j] @ factor[j, :j]
            left = left - factor[j, :j] @ whitened[:j]
            gain = gain - factor[j, :j] @ explained[:j]
        if column[0] <= arithmetic.nothing * total[j, j] or total[j, j] == 0:
            agrees = abs(left) <= arithmetic.sqrt(arithmetic.nothing) * (1 + abs(residual[j]))
            logs.append(arithmetic.numbers(np.array(0.0 if agrees else -np.inf))[()])
            continue
        root = arithmetic.sqrt(column[0])
        factor[j:, j] = column / root
        whitened[j], explained[j] = left / root, gain / root
        logs.append(-arithmetic.log(root) - whitened[j] * whitened[j] / 2 - arithmetic.numbers(np.array(LOG_TWO_PI / 2))[()])
    return whitened, explained, logs


def informed_moments(
    initial_mean, initial_covariance, matrix, bias, covariance, precision, shift, log_constant=None, length=None, digits: int | None = None
) -> Exact:
    """Node potentials exp(-z'Jz/2 + h'z + c), J of any rank and h in or out of its range.

    Args:
        initial_mean: [d], and so on, as in `observed_moments`.
        precision: [d, d] or [T, d, d]; shift: [T, d]; log_constant: [T] or None: 0.
        length: steps that are real; None: all.
        digits: None or the digits of decimal arithmetic.
    """
    arithmetic = Arithmetic(digits)
    with within(digits):
        length = len(shift) if length is None else int(length)
        size = len(initial_mean)
        means, joint = latent_joint(arithmetic, initial_mean, initial_covariance, matrix, bias, covariance, length)
        precision, shift = arithmetic.numbers(precision), arithmetic.numbers(np.asarray(shift)[:length]).reshape(-1)
        constants = arithmetic.numbers(np.zeros(length) if log_constant is None else np.asarray(log_constant)[:length])
        blocks = arithmetic.zeros(length * size, length * size)
        for t in range(length):
            latents = slice(t * size, (t + 1) * size)
            blocks[latents, latents] = at(precision, t, 2)

        prefixes, filtered = [], []
        for t in range(length):
            upto = slice(0, (t + 1) * size)
            prior, mean, nodes = joint[upto, upto], means[upto], blocks[upto, upto]
            system = arithmetic.identity((t + 1) * size) + prior @ nodes
            solved, log_determinant = _solve(arithmetic, system, np.concatenate([(mean + prior @ shift[upto])[:, None], prior], axis=1))
            posterior_mean, posterior = solved[:, 0], solved[:, 1:]
            force = shift[upto] - nodes @ mean
            quadratic = (force @ posterior @ force - log_determinant - mean @ nodes @ mean) / 2
            prefixes.append(constants[: t + 1].sum() + shift[upto] @ mean + quadratic)
            filtered.append((posterior_mean[-size:], posterior[-size:, -size:]))
        increments = np.array([after - before for before, after in zip([arithmetic.zeros(1)[0], *prefixes[:-1]], prefixes, strict=True)])
        return Exact(increments, filtered, posterior_mean, lambda i, j: posterior[i, j], joint, size)


def _solve(arithmetic: Arithmetic, system: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, Any]:
    """Gaussian elimination with row exchanges: the solution and log |det|."""
    rows = np.concatenate([system, right], axis=1)
    count, log_determinant = len(system), arithmetic.zeros(1)[0]
    for j in range(count):
        best = j + int(np.argmax(np.abs(rows[j:, j])))
        rows[[j, best]] = rows[[best, j]]
        log_determinant += arithmetic.log(abs(rows[j, j]))
        rows[j] = rows[j] / rows[j, j]
        others = np.arange(count) != j
        rows[others] = rows[others] - rows[others, j][:, None] * rows[j]
    return rows[:, count:], log_determinant


class Exact(NamedTuple):
    """The moments in the arithmetic they were computed in."""

    increments: np.ndarray
    filtered: list[tuple[np.ndarray, np.ndarray]]
    mean: np.ndarray
    covariance: Callable[[slice, slice], np.ndarray]
    prior: np.ndarray
    size: int

    def rounded(self) -> Answer:
        """In float64, at the very end."""
        length, size = len(self.increments), self.size
        means = self.mean.reshape(length, size)
        steps = [slice(t * size, (t + 1) * size) for t in range(length)]
        lagged = [self.covariance(*pair) + np.outer(means[t], means[t + 1]) for t, pair in enumerate(itertools.pairwise(steps))]
        everything = slice(0, length * size if length * size <= MOST_JOINT else 0)
        variances = np.diagonal(self.prior).astype(float)
        return Answer(
            log_normaliser=float(self.increments.sum()),
            log_increments=self.increments.astype(float),
            filtered_means=np.array([mean for mean, _ in self.filtered]).astype(float),
            filtered_covariances=np.array([covariance for _, covariance in self.filtered]).astype(float),
            smoothed_means=means.astype(float),
            smoothed_covariances=np.array([self.covariance(step, step) for step in steps]).astype(float),
            lagged_moments=np.array(lagged).astype(float).reshape(length - 1, size, size),
            prior_scales=np.sqrt(np.abs(variances)).reshape(length, size),
            joint_mean=self.mean.astype(float),
            joint_covariance=self.covariance(everything, everything).astype(float),
        )


def observed_chain(*arguments, digits: int | None = None, **named) -> Answer:
    """`observed_moments`, rounded to float64."""
    with within(digits):
        return observed_moments(*arguments, digits=digits, **named).rounded()


def informed_chain(*arguments, digits: int | None = None, **named) -> Answer:
    """`informed_moments`, rounded to float64."""
    with within(digits):
        return informed_moments(*arguments, digits=digits, **named).rounded()


def directional_derivative(moments: Callable[..., Exact], arguments: Mapping[str, Any], directions: Mapping[str, np.ndarray], digits: int = 70) -> float:
    """Derivative of the log-normaliser along `directions`, by central differences with a step of 1e-15 in decimal arithmetic.

    The error is the third derivative times 1e-30 / 6. Not for chains in which an observation is redundant.
    """
    arithmetic = Arithmetic(digits)
    with within(digits):
        step = decimal.Decimal(10) ** -15
        ends = []
        for sign in (1, -1):
            moved = {name: arithmetic.numbers(arguments[name]) + sign * step * arithmetic.numbers(way) for name, way in directions.items()}
            ends.append(moments(**{**arguments, **moved}, digits=digits).increments.sum())
        return float((ends[0] - ends[1]) / (2 * step))
