"""Least squares on gated means with one expert too many: a sigmoid gate that is not normalised against a softmax gate, on ReLU and on linear experts.

    y = f(x) + σ ε,   f(x) = Σ_k weight_k(x) h_k(x),   x ~ U[-1, 1]^d,   data from softmax weights and k* experts, k = k* + 1 fitted

Published (d = 32, k* = 8, σ = 0.1, ten epochs of stochastic gradients at rate 0.1 from near-truth starts, 20 replications): slopes of sigmoid against softmax
gates -0.51 against -0.24 for ReLU experts, -0.40 against -0.11 for linear ones.

Scaled down here to d = 2 and k* = 3, experts' entries ~ N(0, 1 / d) and the last gate row zero as published, but gate entries ~ N(0, 4 / d) instead of N(0,
0.01 / d): with the published ones all weights are within a few hundredths of constants, and the sum of squares hardly depends on the gate. That a program which
stops after ten epochs stays near its start then, and that published slopes mix start and optimiser with the estimate, is a guess: stochastic gradients were not
run. The noise is scaled down too, to σ = 0.001: a sum of four sigmoid-gated experts comes within 3e-5 of three softmax-gated ones, so that its parameters are
nearly not determined; under σ = 0.1 the information matrix gives standard errors from 17 / √n to 4800 / √n (ReLU), so that normal theory is far away at n =
1e5. Here the sum of squares is minimised from near-truth starts: Levenberg-Marquardt until six steps lower it by less than 1e-9 of itself, at most 360 steps,
gate entries within a box of ±10 as compactness asks. The draw of the truth is that of the seed, and is not chosen.

Losses, all of first powers, so that a slope is the rate of the parameters and not of their squares:

- softmax: the Voronoi distance to the truth, translation minimised,
  Σ_j |Σ_{i in cell j} exp(β0_i) - exp(β0*_j)| + Σ_i exp(β0_i) (‖Δβ1_i‖ + ‖Δη_i‖).
- sigmoid: softmax data are no sum of sigmoids, so that an estimate goes to the best approximation (regime 2 of Nguyen, Ho and Rinaldo 2024): their D3,
  Σ_i |Δβ0_i| + ‖Δβ1_i‖ + ‖Δη_i‖ to it. It is the minimum over 100 000 inputs without noise, from the near-truth start; estimates start near it.
- beside both, the root mean square of f_fit - f on fresh inputs ("function"); for the sigmoid gate, of its difference to the best approximation.

The design was changed twice after looking: the variance of gate entries before any fit, the noise after the information matrix under σ = 0.1 was known; a trial
of 8 replications at n = 1024 and 8192 was seen before this run. The rule was fixed before any of them: over all sizes, slopes of the mean are ordered as
published (sigmoid below softmax for either kind of expert) and their ratio is within a factor of 1.5 of the published one (2.1 for ReLU, 3.6 for linear
experts).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree
from scipy.optimize import linear_sum_assignment

import latentgate as lg
from latentgate.models.experts.levenberg_marquardt import levenberg_marquardt
from latentgate.models.unconstrained import constrain, unconstrain
from latentgate.studies import Estimates, Estimator, Form, Loss, Study, Term, Truth, VoronoiLoss, convergence_rates, log_spaced
from latentgate.studies.batches import padded

from . import Options
from .reporting import slope_table, verdict

DIMENSION, TRUE_EXPERTS, FITTED_EXPERTS = 2, 3, 4
NOISE = 0.001
BOX = 10.0
GATE_VARIANCE = 4.0
PUBLISHED = {("ReLU", "sigmoid"): -0.51, ("ReLU", "softmax"): -0.24, ("linear", "sigmoid"): -0.40, ("linear", "softmax"): -0.11}
# Noise of near-truth starts: that of `NearTruth`.
GATE_START, EXPERT_START, START_EXPONENT = 0.005, 0.05, 0.083
_TOLERANCE, _MOST_CALLS = 1e-9, 60
_POPULATION = 100_000
_FRESH = 4096


def experts(kind: str, count: int) -> Any:
    """ReLU or linear means, with flat priors."""
    if kind == "ReLU":
        return lg.experts.Network(count, 1, "relu", outputs=False, bias=False, num_inputs=DIMENSION, hidden_prior="flat", variance_prior="flat")
    return lg.experts.LinearGaussian(count, num_inputs=DIMENSION, weight_prior="flat", bias_prior="flat", variance_prior="flat")


def regression(kind: str, gate: str, count: int) -> lg.emissions.GatedRegression:
    """Gated means of either gate."""
    flat: dict[str, Any] = {"num_inputs": DIMENSION, "weight_scale": "flat", "bias_scale": "flat", "bound": BOX}
    weights = lg.gates.Softmax(**flat) if gate == "softmax" else lg.gates.Sigmoid(normalised=False, **flat)
    return lg.emissions.GatedRegression(weights, experts(kind, count), variance_prior="flat")


def predicted(emission: lg.emissions.GatedRegression, params: dict[str, Any], inputs: Array) -> Array:
    """Values of f at inputs [n, d], [n]."""
    own = {name: jnp.asarray(value)[None] for name, value in params.items()} | {"scale": jnp.ones(1)}
    return emission.means(own, {"inputs": inputs})[..., 0]


class GatedMeans(Truth):
    """Softmax-weighted means with normal noise on uniform inputs.

    Args:
        name: "ReLU" or "linear".
        params: of gate and experts, with the last gate row zero.
    """

    name: str
    params: dict[str, Any]
    num_experts: int = TRUE_EXPERTS

    def draw(self, key: Array, num_samples: int) -> tuple[Array, Array]:
        """See `Truth.draw`."""
        for_inputs, for_noise = jax.random.split(key)
        inputs = jax.random.uniform(for_inputs, (num_samples, DIMENSION), minval=-1.0, maxval=1.0)
        means = predicted(regression(self.name, "softmax", TRUE_EXPERTS), self.params, inputs)
        return inputs, means + NOISE * jax.random.normal(for_noise, (num_samples,))


def truth_of(kind: str, seed: int) -> GatedMeans:
    """One draw of the parameters."""
    generator = np.random.default_rng(seed)
    gate = np.sqrt(GATE_VARIANCE / DIMENSION) * generator.standard_normal((TRUE_EXPERTS, DIMENSION + 1))
    gate[-1] = 0.0
    mean = generator.standard_normal((TRUE_EXPERTS, DIMENSION + 1)) / np.sqrt(DIMENSION)
    if kind == "ReLU":
        own = {"experts.hidden": mean[:, None, :-1], "experts.hidden_bias": mean[:, -1:]}
    else:
        own = {"experts.weights": mean[:, :-1], "experts.bias": mean[:, -1]}
    return GatedMeans(kind, {"gate.weights": gate[:, :-1], "gate.bias": gate[:, -1], **own})


class LeastSquares(Estimator):
    """Least squares on gated means, from near a point: the truth, some of whose experts are taken twice, or a point with as many experts.

    Args:
        name: by which results are read.
        emission: the regression.
        centre: {name: array} of the point.
    """

    name: str
    emission: lg.emissions.GatedRegression
    centre: dict[str, Any]

    @property
    def start_kind(self) -> str:
        """See `Estimator.start_kind`."""
        return "near-truth"

    def fit(self, keys: Array, truth: Truth, inputs: np.ndarray, values: np.ndarray) -> Estimates:
        """See `Estimator.fit`."""
        length = jnp.asarray(values.shape[1], jnp.int32)
        return _least_squares(self, keys, jnp.asarray(padded(inputs)), jnp.asarray(padded(values)), length)


@eqx.filter_jit
def _least_squares(estimator: LeastSquares, keys: Array, inputs: Array, values: Array, length: Array) -> Estimates:
    emission = estimator.emission
    count = emission.experts.num_experts
    priors = {f"gate.{name}": prior for name, prior in emission.gate.priors(count).items()}
    priors |= {f"experts.{name}": prior for name, prior in emission.experts.priors(count).items() if name not in emission.experts.noise_names}
    real = jnp.arange(values.shape[-1]) < length

    def one(problem: tuple[Array, Array, Array]) -> Estimates:
        key, rows, observed = problem
        start, unravel = ravel_pytree(unconstrain(priors, near(key, estimator.centre, count, isinstance(emission.gate, lg.gates.Softmax), length)))

        def mean(vector: Array, row: Array) -> Array:
            return predicted(emission, constrain(priors, unravel(vector)), row[None])[0]

        def squares(vector: Array) -> Array:
            return jnp.sum(jnp.where(real, (observed - predicted(emission, constrain(priors, unravel(vector)), rows)) ** 2, 0.0))

        def step(carry: tuple) -> tuple:
            vector, value, calls, _ = carry
            moved = levenberg_marquardt(mean, lambda vectors: jnp.zeros(len(vectors)), vector[None], rows, observed, real[None].astype(float), jnp.ones(1))[0]
            found = squares(moved)
            return moved, found, calls + 1, value - found <= _TOLERANCE * value

        carry = (start, squares(start), jnp.asarray(0), jnp.asarray(False))
        vector, value, calls, done = jax.lax.while_loop(lambda carry: ~carry[3] & (carry[2] < _MOST_CALLS), step, carry)
        return Estimates(constrain(priors, unravel(vector)), -0.5 * value / NOISE**2, calls, done)

    return jax.lax.map(one, (keys, inputs, values))


def near(key: Array, centre: dict[str, Any], count: int, softmax: bool, num_samples: Array) -> dict[str, Array]:
    """A start near a point; where it has one expert less than wanted, a random one is taken twice, and the two share its weight evenly."""
    for_copy, *keys = jax.random.split(key, 1 + len(centre))
    present = len(centre["gate.bias"])
    members = jnp.arange(present)
    if count > present:
        members = jnp.concatenate([jax.random.randint(for_copy, (count - present,), 0, present), members])
    copies = (members[:, None] == members).sum(-1)
    found = {}
    for own, (name, value) in zip(keys, centre.items(), strict=True):
        taken = jnp.asarray(value)[members]
        if name == "gate.bias":
            taken = taken - jnp.log(copies)
        amplitude = GATE_START if name.startswith("gate.") else EXPERT_START
        taken = taken + amplitude * num_samples**-START_EXPONENT * jax.random.normal(own, taken.shape)
        found[name] = taken - taken.mean(0) if softmax and name.startswith("gate.") else jnp.clip(taken, -BOX, BOX) if name.startswith("gate.") else taken
    return found


class ToPoint(Loss):
    """D3: the sum of the norms of all differences to a point with as many experts, over the best assignment of experts.

    Args:
        point: {name: array}.
    """

    point: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """Called as the softmax gate's distance is."""
        return ("parameters",)

    def check(self, truth: Truth, estimator: Estimator) -> None:
        """Nothing to check: the point is that of the estimator."""

    def evaluate(self, truth: Truth, estimator: Estimator, estimates: Estimates, inputs: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
        """See `Loss.evaluate`."""
        costs = np.zeros((len(values), FITTED_EXPERTS, FITTED_EXPERTS))
        for name, target in self.point.items():
            rows = np.asarray(estimates.params[name]).reshape(len(values), FITTED_EXPERTS, 1, -1)
            costs += np.linalg.norm(rows - np.asarray(target).reshape(1, 1, FITTED_EXPERTS, -1), axis=-1)
        return {"parameters": np.array([cost[linear_sum_assignment(cost)].sum() for cost in costs])}


class FunctionError(Loss):
    """Root mean square difference of f to that of a point.

    Args:
        emission: of the fit.
        target: of the point.
        point: {name: array}.
    """

    emission: lg.emissions.GatedRegression
    target: lg.emissions.GatedRegression
    point: dict[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """One."""
        return ("function",)

    def check(self, truth: Truth, estimator: Estimator) -> None:
        """Nothing to check."""

    def evaluate(self, truth: Truth, estimator: Estimator, estimates: Estimates, inputs: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
        """See `Loss.evaluate`."""
        fresh = jax.random.uniform(jax.random.key(1), (_FRESH, DIMENSION), minval=-1.0, maxval=1.0)
        fitted = jax.vmap(lambda own: predicted(self.emission, own, fresh))({name: jnp.asarray(value) for name, value in estimates.params.items()})
        return {"function": np.sqrt(np.mean((np.asarray(fitted) - np.asarray(predicted(self.target, self.point, fresh))) ** 2, -1))}


def voronoi(kind: str) -> VoronoiLoss:
    """The distance of softmax gates, all powers one."""
    slope, intercept = ("experts.hidden", "experts.hidden_bias") if kind == "ReLU" else ("experts.weights", "experts.bias")
    form = Form((Term(("gate",)), Term(("slope", "intercept"))), translated="gate", scaled=True)
    return VoronoiLoss("parameters", form, ("gate.bias", ""), {"gate": ("gate.weights", ""), "slope": (slope, ""), "intercept": (intercept, "")})


def best_approximation(truth: GatedMeans, seed: int, rows: int) -> tuple[dict[str, np.ndarray], float]:
    """The sigmoid-gated means nearest to a truth, and the root mean square of what is left: the best of four near-truth starts, without noise."""
    emission = regression(truth.name, "sigmoid", FITTED_EXPERTS)
    with jax.enable_x64(True):
        inputs = jax.random.uniform(jax.random.key(seed), (1, rows, DIMENSION), minval=-1.0, maxval=1.0)
        values = predicted(regression(truth.name, "softmax", TRUE_EXPERTS), truth.params, inputs[0])[None]
        keys = jax.random.split(jax.random.key(seed + 1), 4)
        found = [LeastSquares("best", emission, truth.params).fit(key[None], truth, np.asarray(inputs), np.asarray(values)) for key in keys]
    best = max(found, key=lambda one: float(one.log_likelihood[0]))
    left = np.sqrt(-2 * NOISE**2 * float(best.log_likelihood[0]) / rows)
    return {name: np.asarray(value[0]) for name, value in best.params.items()}, float(left)


def run(options: Options) -> list[str]:
    """Report on both gates and both kinds of experts, and the figure."""
    kinds = ("ReLU",) if options.quick else ("ReLU", "linear")
    sizes = log_spaced(300, 310, 2) if options.quick else log_spaced(1000, 31_623, 5)
    lines, studies = [], {}
    for kind in kinds:
        truth = truth_of(kind, options.seed)
        point, left = best_approximation(truth, options.seed, 1000 if options.quick else _POPULATION)
        own = regression(kind, "softmax", TRUE_EXPERTS)
        lines += [f"## {kind} experts", "", f"root mean square of f minus its best sigmoid-gated approximation: {left:.2g} (noise: {NOISE})", ""]
        for gate in ("sigmoid", "softmax"):
            emission = regression(kind, gate, FITTED_EXPERTS)
            if gate == "softmax":
                centre, losses = truth.params, [voronoi(kind), FunctionError(emission, own, truth.params)]
            else:
                centre, losses = point, [ToPoint(point), FunctionError(emission, emission, point)]
            studies[kind, gate] = convergence_rates(
                truth=truth,
                estimators=LeastSquares(f"{gate} gate", emission, centre),
                sample_sizes=sizes,
                seed=options.seed,
                replications=2 if options.quick else 20,
                losses=losses,
                checkpoint=options.checkpoint_of(f"sigmoid-{kind}-{gate}"),
                rows_at_once=2**30,
            )
            results = studies[kind, gate].results.squeeze()
            lines += [*slope_table(studies[kind, gate], ("parameters", "function"))]
            lines += [f"mean by n: {' '.join(f'{value:.3g}' for value in results.parameters.mean('replication').values)}; "]
            lines[-1] += f"met the test of convergence: {' '.join(f'{value:.2f}' for value in results.converged.mean('replication').values)}"
            lines += [f"published slope {PUBLISHED[kind, gate]:.2f}", ""]
    lines += [line for kind in kinds for line in _judged(kind, studies, options.quick)]
    return [*lines, *_figure(studies, options)]


def _slope(study: Study) -> float:
    return float(study.slopes("parameters", draws=1, with_local=False)["slope"].squeeze())


def _judged(kind: str, studies: dict[tuple[str, str], Study], quick: bool) -> list[str]:
    sigmoid, softmax = _slope(studies[kind, "sigmoid"]), _slope(studies[kind, "softmax"])
    published = PUBLISHED[kind, "sigmoid"] / PUBLISHED[kind, "softmax"]
    ratio = sigmoid / softmax
    close = softmax < 0 and published / 1.5 <= ratio <= published * 1.5
    return [
        f"{kind}: sigmoid {sigmoid:.2f} below softmax {softmax:.2f}: {verdict(sigmoid < softmax, quick)}",
        f"{kind}: ratio of slopes {ratio:.1f}, published {published:.1f}, within a factor of 1.5: {verdict(close, quick)}",
    ]


def _figure(studies: dict[tuple[str, str], Study], options: Options) -> list[str]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5))
    for ax, kind in zip(axes, ("ReLU", "linear"), strict=True):
        for gate, colour in (("sigmoid", "C0"), ("softmax", "C1")):
            if (kind, gate) not in studies:
                continue
            study = studies[kind, gate]
            for loss, style in (("parameters", "-"), ("function", ":")):
                values = study.results[loss].squeeze().transpose("size", "replication").values
                slope = float(study.slopes(loss, draws=1)["slope"].squeeze())
                label = f"{gate}, {loss}: slope {slope:.2f}" + (f" (published {PUBLISHED[kind, gate]:.2f})" if loss == "parameters" else "")
                spread = 2 * values.std(-1) / np.sqrt(values.shape[-1])
                ax.errorbar(study.results["size"], values.mean(-1), spread, color=colour, linestyle=style, marker="o", markersize=3, label=label)
        ax.set(xscale="log", yscale="log", xlabel="sample size n", ylabel="mean loss, two standard errors", title=f"{kind} experts")
        ax.legend(frameon=False, fontsize="small")
    figure.tight_layout()
    return options.save_figure(figure, "sigmoid")
