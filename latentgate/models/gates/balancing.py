"""Terms that keep experts in use, and assignments that do.

All of them bias maximum likelihood: leave them out of studies of rates, or let their weight fall faster than one over the square root of the number of rows.
"""

from __future__ import annotations

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from latentgate.kernels import log_sum_exp_leading

from ..emissions.checks import at_least, positive
from .selection import selected

SCOPES = ("data", "batch")


class Balance(eqx.Module):
    """A penalty of a gate's weights over all steps, to be taken off the log-likelihood.

    Attributes:
        weight: factor of the penalty.
        reads: what `penalty` is given: "log_weights", "scores" (before they are normalised) or "load" (see `NoisyTopK.load`).
    """

    weight: eqx.AbstractVar[float]

    @property
    def reads(self) -> str:
        """See the attributes."""
        return "log_weights"

    @abc.abstractmethod
    def penalty(self, values: Array, mask: Array) -> Array:
        """The penalty, scalar, not negative.

        Args:
            values: what it reads, [sequence, time, K].
            mask: True at real steps, [sequence, time].
        """


class LoadBalance(Balance):
    """weight · K Σ_k share_k · mean weight_k, smallest (weight) where all experts are used alike (Switch Transformer 2021).

    share_k is the share of selections that go to expert k, without a derivative; the mean weight has one. Over batches, balance is forced within each, which
    keeps experts from specialising on sequences; over the whole data it is not (2025, arXiv 2501.11873).

    Args:
        weight: factor.
        over: "data", or "batch": runs of `batch_size` steps of a sequence, each with its own penalty, averaged by their real steps.
        batch_size: steps of a batch; whole sequences if None.
        num_selected: experts that a step selects: those with the largest weights.

    Raises:
        ValueError: for a weight that is not positive, an unknown scope, a batch size without batches, or numbers below one.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> even = jnp.log(jnp.array([[[0.9, 0.1], [0.1, 0.9]]]))
        >>> round(float(lg.gates.balancing.LoadBalance(1.0).penalty(even, jnp.ones((1, 2), bool))), 6)
        1.0
    """

    weight: float
    over: str
    batch_size: int | None
    num_selected: int

    def __init__(self, weight: float = 0.01, over: str = "data", batch_size: int | None = None, num_selected: int = 1):
        if over not in SCOPES:
            raise ValueError(f"over: found {over!r}, expected one of {', '.join(map(repr, SCOPES))}.")
        if batch_size is not None and over != "batch":
            raise ValueError(f'batch_size: found {batch_size!r} with over="data", expected None; pass over="batch".')
        self.weight, self.over = positive("weight", weight), over
        self.batch_size = None if batch_size is None else at_least("batch_size", batch_size)
        self.num_selected = at_least("num_selected", num_selected)

    def penalty(self, values: Array, mask: Array) -> Array:
        """See `Balance.penalty`."""
        num_experts = values.shape[-1]
        weights = jnp.where(mask, jnp.exp(jnp.moveaxis(values, -1, 0)), 0.0)
        chosen = mask & selected(jnp.moveaxis(values, -1, 0), self.num_selected)
        routed = jax.lax.stop_gradient(chosen.astype(weights.dtype))
        if self.over == "data":
            counts = mask.sum()[None]
            routed, weights = (array.sum((1, 2))[:, None] for array in (routed, weights))
        else:
            counts, routed, weights = (_by_batch(array, self.batch_size) for array in (mask[None].astype(weights.dtype), routed, weights))
            counts = counts[0]
        some = jnp.where(counts > 0, counts, 1)
        each = num_experts * jnp.sum(routed / (some * self.num_selected) * weights / some, axis=0)
        return self.weight * jnp.sum(each * counts) / jnp.where(mask.any(), mask.sum(), 1)


def _by_batch(array: Array, batch_size: int | None) -> Array:
    """Sums [K, batch] over runs of steps of arrays [K, sequence, time]."""
    if batch_size is None:
        return array.sum(-1)
    padded = jnp.pad(array, ((0, 0), (0, 0), (0, -array.shape[-1] % batch_size)))
    return padded.reshape(array.shape[0], -1, batch_size).sum(-1)


class ZLoss(Balance):
    """weight · mean over steps of (log Σ_k exp(score_k))²: keeps scores from drifting together (ST-MoE 2022).

    As a statistical device it picks one of the gates that differ by a common score, for scores without a gauge of their own.

    Args:
        weight: factor.

    Raises:
        ValueError: for a weight that is not positive.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> float(lg.gates.balancing.ZLoss(1.0).penalty(jnp.full((1, 3, 2), -jnp.log(2.0)), jnp.ones((1, 3), bool)))
        0.0
    """

    weight: float

    def __init__(self, weight: float = 1e-3):
        self.weight = positive("weight", weight)

    @property
    def reads(self) -> str:
        """See `Balance`."""
        return "scores"

    def penalty(self, values: Array, mask: Array) -> Array:
        """See `Balance.penalty`."""
        normaliser = log_sum_exp_leading(jnp.moveaxis(values, -1, 0))
        return self.weight * jnp.sum(jnp.where(mask, normaliser, 0.0) ** 2) / jnp.where(mask.any(), mask.sum(), 1)


class Importance(Balance):
    """weight · squared coefficient of variation over experts of their summed weights (Shazeer et al. 2017).

    Args:
        weight: factor.

    Raises:
        ValueError: for a weight that is not positive.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> weights = jnp.log(jnp.array([[[0.75, 0.25], [0.75, 0.25]]]))
        >>> round(float(lg.gates.balancing.Importance(1.0).penalty(weights, jnp.ones((1, 2), bool))), 6)
        0.25
    """

    weight: float

    def __init__(self, weight: float = 0.1):
        self.weight = positive("weight", weight)

    def penalty(self, values: Array, mask: Array) -> Array:
        """See `Balance.penalty`."""
        return self.weight * _squared_variation(jnp.exp(values), mask)


class Load(Balance):
    """weight · squared coefficient of variation over experts of the smooth load of `NoisyTopK` (Shazeer et al. 2017).

    Args:
        weight: factor.

    Raises:
        ValueError: for a weight that is not positive.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> float(lg.gates.balancing.Load(1.0).penalty(jnp.full((1, 4, 2), 0.5), jnp.ones((1, 4), bool)))
        0.0
    """

    weight: float

    def __init__(self, weight: float = 0.1):
        self.weight = positive("weight", weight)

    @property
    def reads(self) -> str:
        """See `Balance`."""
        return "load"

    def penalty(self, values: Array, mask: Array) -> Array:
        """See `Balance.penalty`."""
        return self.weight * _squared_variation(values, mask)


def _squared_variation(values: Array, mask: Array) -> Array:
    """Variance over mean squared of the sums over steps of [sequence, time, K]."""
    sums = jnp.where(mask[..., None], values, 0.0).sum((0, 1))
    mean = sums.mean()
    return jnp.where(mean > 0, jnp.mean((sums - mean) ** 2) / jnp.where(mean > 0, mean, 1.0) ** 2, 0.0)


def sinkhorn(scores: Array, temperature: float = 1.0, iterations: int = 50, mask: Array | None = None) -> Array:
    """Weights of experts for the rows of a batch under which all experts are used alike: entropic optimal transport.

    Rows are alternately made to sum to one and columns to n / K (Sinkhorn 1967), the rows last. The weights of a row depend on the other rows of the batch:
    they are **no conditional density** p(expert | x), and a mixture with them has no likelihood. A device of training, for targets of a gate or a start.

    Args:
        scores: [n, K]; -inf forbids an expert to a row (every row and expert must have a finite one).
        temperature: positive; the lower, the closer to an assignment, and the more iterations it takes.
        iterations: of rows and columns.
        mask: real rows, bool [n]; all if None. Others have weights of zero and count for nothing.

    Returns:
        [n, K], rows of sum one.

    Raises:
        ValueError: for scores that are no matrix, or a temperature or a number of iterations that is not positive.

    Example:
        >>> import jax.numpy as jnp, latentgate as lg
        >>> weights = lg.gates.balancing.sinkhorn(jnp.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [4.0, 0.0]]), temperature=0.5)
        >>> weights.sum(0).round(3).tolist()
        [2.0, 2.0]
    """
    temperature, iterations = positive("temperature", temperature), at_least("iterations", iterations)
    if scores.ndim != 2:
        raise ValueError(f"scores: found shape {scores.shape}, expected [row, expert]; flatten sequences first.")
    real = jnp.ones(scores.shape[0], bool) if mask is None else mask
    columns = jnp.where(real, scores.T / temperature, -jnp.inf)
    share = jnp.log(jnp.maximum(real.sum(), 1) / scores.shape[1])

    def by_row(plan: Array) -> Array:
        total = log_sum_exp_leading(plan)
        return jnp.where(real, plan - jnp.where(real, total, 0.0), -jnp.inf)

    def by_column(plan: Array) -> Array:
        total = log_sum_exp_leading(plan.T)
        return plan - jnp.where(total > -jnp.inf, total, 0.0)[:, None] + share

    return jnp.exp(jax.lax.fori_loop(0, iterations, lambda _, plan: by_row(by_column(plan)), by_row(columns))).T


def selective_sinkhorn(key: Array, scores: Array, share: float = 0.1, temperature: float = 1.0, iterations: int = 50, mask: Array | None = None) -> Array:
    """Weights of which a random share of rows take theirs from `sinkhorn`, and all others from the softmax of their scores.

    A little balanced routing keeps all experts in use without a penalty. (The share is of rows drawn at random, a choice made here: published descriptions
    leave it open.) As with `sinkhorn`, the weights depend on the batch, and are **no conditional density**.

    Args:
        key: JAX random key.
        scores: [n, K].
        share: of the rows, between 0 and 1.
        temperature, iterations, mask: see `sinkhorn`.

    Returns:
        [n, K], rows of sum one.

    Raises:
        ValueError: as `sinkhorn`, or for a share that is none.

    Example:
        >>> import jax, jax.numpy as jnp, latentgate as lg
        >>> lg.gates.balancing.selective_sinkhorn(jax.random.key(0), jnp.zeros((4, 2)), share=0.5).tolist()[0]
        [0.5, 0.5]
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: found {share!r}, expected a number between 0 and 1.")
    balanced = sinkhorn(scores, temperature, iterations, mask)
    drawn = jax.random.uniform(key, scores.shape[:1]) < share
    weights = jnp.where(drawn[:, None], balanced, jax.nn.softmax(scores, axis=-1))
    return weights if mask is None else jnp.where(mask[:, None], weights, 0.0)
