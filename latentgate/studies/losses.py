"""Distances that do not depend on how a mixture is parametrised, reported beside every Voronoi loss."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.mixtures.overlap import gate_weights, matched, midpoint_grid, overlaps, summed_weights
from latentgate.models.zero_sum import ZeroSum

from .batches import input_names, suited
from .protocol import Estimates, Estimator, Loss, Truth

_RANGE_DRAWS = 4096


class ParameterError(Loss):
    """Euclidean distance of one parameter to its true value, with nothing matched: for parameters that are identified as they stand.

    Args:
        parameter: its name in the truth and in the estimates.
        name: in the results; the parameter's if None.
    """

    parameter: str
    name: str

    def __init__(self, parameter: str, name: str | None = None):
        self.parameter, self.name = parameter, parameter if name is None else name

    @property
    def names(self) -> tuple[str, ...]:
        """Its own name."""
        return (self.name,)

    def check(self, truth: Truth, estimator: Estimator) -> None:
        """The truth must have the parameter."""
        if self.parameter not in truth.params:
            raise ValueError(f"losses: found the error of {self.parameter!r}, expected a parameter of {truth.name!r}: {', '.join(truth.params)}.")

    def evaluate(self, truth: Truth, estimator: Estimator, estimates: Estimates, inputs: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
        """See `Loss.evaluate`."""
        target = np.asarray(truth.params_at(values.shape[1])[self.parameter], float)
        difference = np.asarray(estimates.params[self.parameter], float) - target
        return {self.name: np.sqrt(np.sum(difference.reshape(len(difference), -1) ** 2, -1))}


class MixtureComparison(Loss):
    """What two mixtures of experts differ in, whatever the gauge of their gates and the order of their experts.

    - `gate_l1`: E_x Σ_j |fitted weight of true expert j - its true weight|. Fitted experts are matched to true ones by the overlap of their densities, averaged
      over x: one to one (the best such assignment) where there are as many, else each to the true expert it overlaps most with, and weights are summed.
    - `gate_slope_rmse`: root mean square error of gate weights after the translation that makes it least (none where the gate has no such freedom); every true
      expert that was matched counts alike, and so do the fitted experts matched to it. NaN for gates without weights.
    - `hellinger`: square root of E_x of the squared Hellinger distance of the densities of y given x.
    - `partition_mismatch`: probability over x that the true expert of largest weight differs.
    - `excess`: twice the log-likelihood gain of the fit over the truth. NaN where only one of the two models inputs.

    The integral over y is a sum over a grid that spans draws of the truth and half their range on either side, refined until true densities integrate to one
    within 1e-9 and then by four. For two normal densities the squared distance agrees with its closed form to 1e-10 where they are close, and to 1e-7 where one
    is ten times wider than the other.

    Args:
        num_inputs: points x for gates.
        num_densities: points x for densities.
        support: values of y to sum over, for observations that are not continuous; None for the quadrature.
    """

    num_inputs: int = 2048
    num_densities: int = 128
    support: tuple[float, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Five."""
        return ("gate_l1", "gate_slope_rmse", "hellinger", "partition_mismatch", "excess")

    def check(self, truth: Truth, estimator: Estimator) -> None:
        """Both must be mixtures of the library, and the truth must say where in x to compare."""
        for what, one in (("truth", truth), ("estimator", estimator)):
            if getattr(one.model, "gate", None) is None:
                raise ValueError(f"losses: found a comparison of mixtures and the {what} {one.name!r} without a mixture of experts as its model.")
        if not hasattr(truth, "evaluation_inputs"):
            raise ValueError(f"losses: found a comparison of mixtures and the truth {truth.name!r} without evaluation_inputs(num_points).")

    def evaluate(self, truth: Truth, estimator: Estimator, estimates: Estimates, inputs: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
        """See `Loss.evaluate`."""
        num_samples = values.shape[1]
        true_model, model = truth.model, suited(estimator.model, inputs.shape[-1])
        target = {name: jnp.asarray(value) for name, value in truth.params_at(num_samples).items()}
        fitted = {name: jnp.asarray(value) for name, value in estimates.params.items()}
        places: Any = truth
        for_gates, for_densities = (jnp.asarray(places.evaluation_inputs(count)) for count in (self.num_inputs, self.num_densities))
        rows = dict.fromkeys(input_names(true_model) | input_names(model), for_densities)
        points, widths = self._quadrature(truth, target, rows)
        found = overlaps(true_model, target, model, fitted, rows, points, widths)
        squares = found.squared_hellinger().mean(-1)
        cells = np.array([matched(one) for one in np.asarray(found.experts).mean(1)])
        weights = np.asarray(gate_weights(model, fitted, for_gates))
        true_weights = np.asarray(gate_weights(true_model, {name: value[None] for name, value in target.items()}, for_gates))[0]
        summed = summed_weights(weights, cells, true_model.num_experts)
        known = np.isfinite(squares) & np.isfinite(weights).all((1, 2))
        mismatch = (summed.argmax(-1) != true_weights.argmax(-1)).mean(-1)
        comparable = true_model.gate.models_inputs == model.gate.models_inputs
        gain = np.asarray(estimates.log_likelihood) - np.asarray(truth.log_likelihood(inputs, values)) if comparable else np.full(len(values), np.nan)
        return {
            "gate_l1": np.where(known, np.abs(summed - true_weights).sum(-1).mean(-1), np.nan),
            "gate_slope_rmse": np.where(known, _slope_error(model, fitted, target, cells), np.nan),
            "hellinger": np.where(known, np.sqrt(squares), np.nan),
            "partition_mismatch": np.where(known, mismatch, np.nan),
            "excess": 2.0 * gain,
        }

    def _quadrature(self, truth: Truth, target: dict[str, Array], inputs: dict[str, Array]) -> tuple[Array, Array]:
        """Values of y, [x, point, 1], and the width of each, [x, point]."""
        if self.support is not None:
            grid, width = jnp.asarray(self.support, float), jnp.asarray(1.0)
        else:
            drawn = truth.draw_many(jax.random.key(0)[None], _RANGE_DRAWS)[1]
            low, high = float(drawn.min()), float(drawn.max())
            low, high = low - 0.5 * (high - low), high + 0.5 * (high - low)
            grid, width, _ = midpoint_grid([(truth.model, target)], inputs, low, high)
        shape = (next(iter(inputs.values())).shape[0], grid.shape[0])
        return jnp.broadcast_to(grid[:, None], (*shape, 1)), jnp.broadcast_to(width, shape)


def _slope_error(model: Any, fitted: dict[str, Array], target: dict[str, Array], cells: np.ndarray) -> np.ndarray:
    missing = np.full(len(cells), np.nan)
    if "gate.weights" not in fitted or "gate.weights" not in target:
        return missing
    slopes, true_slopes = np.asarray(fitted["gate.weights"]), np.asarray(target["gate.weights"])
    if slopes.shape[2:] != true_slopes.shape[1:]:
        return missing
    differences = (slopes - true_slopes[cells]).reshape(*cells.shape, -1)
    members = cells[..., None] == np.arange(len(true_slopes))
    sizes = np.take_along_axis(members.sum(1), cells, 1)
    shares = 1.0 / sizes
    shares = shares / shares.sum(1, keepdims=True)
    if isinstance(model.priors().get("gate.weights"), ZeroSum):
        differences = differences - np.einsum("rk,rkd->rd", shares, differences)[:, None]
    return np.sqrt(np.einsum("rk,rkd->r", shares, differences**2) / differences.shape[-1])
