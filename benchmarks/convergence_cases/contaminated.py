"""A known law contaminated by one normal expert: how fast gate and expert are found where the two are far apart, and where they approach each other as n grows.

    p(y | x) = f0(y | tanh(x_1), 0.001) / (1 + exp(β · x + τ)) + N(y; tanh(η · x), ν) exp(β · x + τ) / (1 + exp(β · x + τ)),   x ~ N(0, I) in 8 dimensions

with β* = 1 / √8 in every entry, τ* = 1, e_1 the first unit vector. Losses are |exp(τ) - exp(τ*)| and |τ - τ*| (the published column says "exp(τ) or τ"),
‖β - β*‖, ‖η - η*‖ and |ν - ν*|: only the differences of the two experts' rows matter in the library's gate, and these are β and τ.

- distinguishable: f0 Laplace with variance 0.001; η* = -e_1, ν* = 0.001.
- (i): f0 normal; η* = e_1 (1 + n^-1/8), ν* = 0.001: the expert's mean moves to that of f0.
- (ii): f0 normal; η* = -e_1, ν* = 0.001 (1 + n^-1/8), as the set-up was handed down. There the means are tanh(x_1) and -tanh(x_1) at every n, so nothing
  merges, whatever ν does. The published slopes belong to laws that merge, so
- (ii, merging) is run beside it: η* = e_1, ν* = 0.001 (1 + n^-1/8).

The estimator is the maximum of the likelihood, climbed to within a hundredth of a standard error by scoring with the outer product of the rows' gradients, from
near-truth starts; the published one is EM with BFGS steps, from near-truth starts too. k-means starts, the best of four, stand beside it for the
distinguishable law.

The rule, fixed beforehand: every slope over all sizes is judged twice. "published": whether the published slope lies in the 95 % bootstrap interval. "Fisher":
whether the slope does that the information matrix predicts, i.e. that of the expected norm of a normal error with the inverse information at the truth of each
size. The second is what theory says of the maximum; where the two disagree the published program may have stopped short. Intervals are of means over 40
replications, sizes 8 from 1e3 to 1e5; for (ii, merging) 5 from 1e4, where the predicted error of τ falls below one, after a trial of six replications had shown
gates run off at n = 1e3. (Half of these data sets have no maximum at n = 1e4 all the same: gates run off, which the share that converged shows, and means are
then those of where the climb was given up.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

import latentgate as lg
from latentgate.studies import Estimates, Estimator, Loss, MixtureTruth, NearTruth, ParameterError, Study, Truth, convergence_rates, log_spaced
from latentgate.studies.batches import one_sequence, padded

from . import Options

DIMENSION = 8
VARIANCE = 0.001
LOSSES = ("exp(tau)", "tau", "beta", "eta", "nu")
PUBLISHED = {
    "distinguishable": {"exp(tau)": -0.52, "tau": -0.52, "beta": -0.45, "eta": -0.50, "nu": -0.54},
    "(i)": {"exp(tau)": -0.23, "tau": -0.23, "beta": -0.37, "eta": -0.39, "nu": -0.35},
    "(ii)": {"exp(tau)": -0.22, "tau": -0.22, "beta": -0.39, "eta": -0.37, "nu": -0.39},
}
PUBLISHED["(ii, merging)"] = PUBLISHED["(ii)"]
# Newton decrement, in squared standard errors, at which a climb ends.
_CLOSE = 1e-4
_DAMPING, _BETTER, _WORSE, _HOPELESS = 1e-6, 0.1, 10.0, 1e12


def known_mean(inputs: Array) -> Array:
    """tanh(e_1 · x)."""
    return jnp.tanh(inputs[..., 0])


def laplace(inputs: Array) -> dist.Distribution:
    """f0 of the distinguishable law: its variance is 2 scale²."""
    return dist.Laplace(known_mean(inputs), np.sqrt(VARIANCE / 2))


def normal(inputs: Array) -> dist.Distribution:
    """f0 of the others."""
    return dist.Normal(known_mean(inputs), np.sqrt(VARIANCE))


def model(law: Callable[[Array], dist.Distribution]) -> lg.MixtureOfExperts:
    """The known law beside one tanh unit with normal noise, under flat priors."""
    free = lg.experts.Network(1, 1, outputs=False, hidden_bias=False, bias=False, num_inputs=DIMENSION, hidden_prior="flat", variance_prior="flat")
    experts = lg.experts.Several(known=lg.experts.Known(law, num_inputs=DIMENSION), free=free)
    gate = lg.gates.Softmax(num_inputs=DIMENSION, weight_scale="flat", bias_scale="flat")
    return lg.MixtureOfExperts(gate=gate, experts=experts)


def params(direction: float, moves: str, num_samples: int) -> dict[str, Any]:
    """Parameters of the truth behind n samples: η* = `direction` · e_1, and what `moves` ("eta", "nu" or "") is larger by the factor 1 + n^-1/8."""
    factor = 1.0 + num_samples**-0.125
    eta = direction * (factor if moves == "eta" else 1.0) * np.eye(DIMENSION)[:1]
    variance = VARIANCE * (factor if moves == "nu" else 1.0)
    beta = np.full(DIMENSION, DIMENSION**-0.5)
    return {
        "gate.weights": np.stack([-0.5 * beta, 0.5 * beta]),
        "gate.bias": np.array([-0.5, 0.5]),
        "experts.free.hidden": eta[None],
        "experts.free.scale": np.array([np.sqrt(variance)]),
    }


def design(key: Array, num_samples: int) -> Array:
    """Standard normal inputs."""
    return jax.random.normal(key, (num_samples, DIMENSION))


def truths() -> dict[str, MixtureTruth]:
    """The four laws."""
    settings = {"distinguishable": (laplace, -1.0, ""), "(i)": (normal, 1.0, "eta"), "(ii)": (normal, -1.0, "nu"), "(ii, merging)": (normal, 1.0, "nu")}
    return {name: MixtureTruth(name, model(law), functools.partial(params, direction, moves), design) for name, (law, direction, moves) in settings.items()}


class GateAndExpertError(Loss):
    """Errors of exp(τ), τ, β, η and ν as they stand: the two experts are of different kinds, so that nothing can be exchanged."""

    @property
    def names(self) -> tuple[str, ...]:
        """Five."""
        return LOSSES

    def check(self, truth: Truth, estimator: Estimator) -> None:
        """The truth must be one of this file."""
        ParameterError("experts.free.hidden").check(truth, estimator)

    def evaluate(self, truth: Truth, estimator: Estimator, estimates: Estimates, inputs: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
        """See `Loss.evaluate`."""
        target = read(truth.params_at(values.shape[1]))
        found = jax.vmap(read)({name: jnp.asarray(value) for name, value in estimates.params.items()})
        return {name: np.linalg.norm(np.atleast_2d(np.asarray(found[name]).reshape(len(values), -1) - np.ravel(target[name])), axis=-1) for name in LOSSES}


def read(own: dict[str, Any]) -> dict[str, Any]:
    """The quantities of the published table from parameters of the model."""
    tau = own["gate.bias"][1] - own["gate.bias"][0]
    return {
        "exp(tau)": jnp.exp(tau),
        "tau": tau,
        "beta": own["gate.weights"][1] - own["gate.weights"][0],
        "eta": own["experts.free.hidden"].reshape(-1),
        "nu": own["experts.free.scale"].reshape(()) ** 2,
    }


class Scoring(Estimator):
    """Maximum likelihood of the model of this file by damped scoring with the outer product of the rows' gradients.

    Where two laws almost coincide EM takes thousands of iterations. A scoring step costs one gradient of every row, and no second derivative.

    Args:
        name: by which results are read.
        mixture: the model.
        k_means: number of k-means starts, the best of which is taken; none for one near the truth, see `NearTruth`.
        max_iterations: steps at most.
    """

    name: str
    mixture: lg.MixtureOfExperts
    k_means: int = 0
    max_iterations: int = 300

    @property
    def model(self) -> lg.MixtureOfExperts:
        """The model."""
        return self.mixture

    @property
    def start_kind(self) -> str:
        """See `Estimator.start_kind`."""
        return f"k-means, best of {self.k_means}" if self.k_means else "near-truth"

    def check(self, truth: Truth) -> None:
        """See `Estimator.check`."""
        NearTruth().check(self.mixture, truth)

    def fit(self, keys: Array, truth: Truth, inputs: np.ndarray, values: np.ndarray) -> Estimates:
        """See `Estimator.fit`."""
        own = {name: jnp.asarray(value) for name, value in truth.params_at(values.shape[1]).items()}
        data = (jnp.asarray(padded(inputs)), jnp.asarray(padded(values)), jnp.asarray(values.shape[1], jnp.int32))
        if not self.k_means:
            return _climb(self, _near_truth(self.mixture, keys, truth, own, data[2]), *data)
        tried = []
        for restart in range(self.k_means):
            again = jax.vmap(lambda key, restart=restart: jax.random.fold_in(key, restart))(keys)
            tried.append(_climb(self, _from_clusters(self.mixture, again, *data), *data))
        best = np.argmax(np.nan_to_num(np.stack([one.log_likelihood for one in tried]), nan=-np.inf), 0)
        return jax.tree.map(lambda *found: np.stack([np.asarray(found[which][row]) for row, which in enumerate(best)]), *tried)


@eqx.filter_jit
def _near_truth(mixture: lg.MixtureOfExperts, keys: Array, truth: Truth, own: dict[str, Array], length: Array) -> dict[str, Array]:
    return jax.vmap(lambda key: NearTruth().draw(key, mixture, truth, length.astype(float), own))(keys)


@eqx.filter_jit
def _from_clusters(mixture: lg.MixtureOfExperts, keys: Array, inputs: Array, values: Array, length: Array) -> dict[str, Array]:
    return jax.lax.map(lambda one: mixture.initialize(one[0], one_sequence(mixture, one[1], one[2], length)), (keys, inputs, values))


@eqx.filter_jit
def _climb(estimator: Scoring, starts: dict[str, Array], inputs: Array, values: Array, length: Array) -> Estimates:
    mixture = estimator.mixture

    def one(problem: tuple[dict[str, Array], Array, Array]) -> Estimates:
        start, rows, observed = problem

        def step(carry: tuple) -> tuple:
            vector, value, gradient, matrix, damping, iterations, _ = carry
            candidate = vector + jnp.linalg.solve(matrix + damping * jnp.diag(jnp.diagonal(matrix)), gradient)
            found = scores(mixture, candidate, rows, observed, length)
            # Written so that NaN counts as a failure.
            better = found[0] >= value
            vector, value, gradient, matrix = (jnp.where(better, new, old) for new, old in zip((candidate, *found), carry[:4], strict=True))
            decrement = gradient @ jnp.linalg.solve(matrix, gradient)
            return vector, value, gradient, matrix, damping * jnp.where(better, _BETTER, _WORSE), iterations + 1, decrement

        def unfinished(carry: tuple) -> Array:
            return (carry[6] > _CLOSE) & (carry[5] < estimator.max_iterations) & (carry[4] < _HOPELESS)

        vector = to_vector(start)
        carry = (vector, *scores(mixture, vector, rows, observed, length), jnp.asarray(_DAMPING), jnp.asarray(0), jnp.asarray(jnp.inf))
        vector, value, _, _, _, iterations, decrement = jax.lax.while_loop(unfinished, step, carry)
        return Estimates(from_vector(vector), value, iterations, decrement <= _CLOSE)

    # One data set after the other, each as long as it needs.
    return jax.lax.map(one, (starts, inputs, values))


def to_vector(own: dict[str, Any]) -> Array:
    """β, τ, η and log √ν side by side."""
    found = read(own)
    return jnp.concatenate([found["beta"], jnp.stack([found["tau"]]), found["eta"], jnp.stack([0.5 * jnp.log(found["nu"])])])


def from_vector(vector: Array) -> dict[str, Array]:
    """The inverse of `to_vector`."""
    beta, tau, eta, log_scale = vector[:DIMENSION], vector[DIMENSION], vector[DIMENSION + 1 : -1], vector[-1:]
    half = jnp.array([-0.5, 0.5])
    return {"gate.weights": half[:, None] * beta, "gate.bias": half * tau, "experts.free.hidden": eta[None, None], "experts.free.scale": jnp.exp(log_scale)}


def scores(mixture: lg.MixtureOfExperts, vector: Array, inputs: Array, values: Array, length: Array) -> tuple[Array, Array, Array]:
    """Log-likelihood, its gradient [P], and the sum over rows of outer products of their gradients [P, P].

    A row's gradient is what its expert's would be on average, given its observation (Fisher's identity): automatic derivatives row by row cost ten times more.
    """
    own = from_vector(vector)
    data = one_sequence(mixture, inputs, values, length)
    nodes = mixture.mixture.log_nodes(own, data)[0]
    weight = jnp.exp(mixture.gate.log_weights({"weights": own["gate.weights"], "bias": own["gate.bias"]}, inputs))[:, 1]
    total = jnp.logaddexp(nodes[:, 0], nodes[:, 1])
    share, mean = jnp.exp(nodes[:, 1] - total), jnp.tanh(inputs @ own["experts.free.hidden"][0, 0])
    z = (values - mean) / own["experts.free.scale"][0]
    real = jnp.arange(len(values)) < length
    of_odds = jnp.where(real, share - weight, 0.0)
    of_mean = jnp.where(real, share * z * (1.0 - mean**2) / own["experts.free.scale"][0], 0.0)
    of_log_scale = jnp.where(real, share * (z**2 - 1.0), 0.0)
    slopes = jnp.concatenate([of_odds[:, None] * inputs, of_odds[:, None], of_mean[:, None] * inputs, of_log_scale[:, None]], -1)
    return jnp.sum(jnp.where(real, total, 0.0)), slopes.sum(0), slopes.T @ slopes


def expected_errors(truth: MixtureTruth, num_samples: int, rows: int, key: Array) -> dict[str, float]:
    """Expected norms of a normal error whose covariance is the inverse information of n samples at the truth behind them; the information over random rows."""
    with jax.enable_x64(True):
        fixed = MixtureTruth(truth.name, truth.model, truth.params_at(num_samples), truth.design)
        inputs, values = fixed.draw_many(key[None], rows)
        own = {name: jnp.asarray(value) for name, value in fixed.params.items()}
        _, _, matrix = _scores(fixed.model, to_vector(own), jnp.asarray(inputs[0]), jnp.asarray(values[0]))
    covariance = np.linalg.inv(np.asarray(matrix) / rows) / num_samples
    drawn = np.random.default_rng(0).multivariate_normal(np.zeros(len(covariance)), covariance, 4000, method="cholesky")
    parts = {"tau": slice(DIMENSION, DIMENSION + 1), "beta": slice(0, DIMENSION), "eta": slice(DIMENSION + 1, -1), "nu": slice(-1, None)}
    found = {name: float(np.linalg.norm(drawn[:, part], axis=-1).mean()) for name, part in parts.items()}
    variance = float(fixed.params["experts.free.scale"][0] ** 2)
    tau = float(np.diff(fixed.params["gate.bias"])[0])
    # The delta method, as theory has it.
    return {**found, "exp(tau)": np.exp(tau) * found["tau"], "nu": 2 * variance * found["nu"]}


@eqx.filter_jit
def _scores(mixture: lg.MixtureOfExperts, vector: Array, inputs: Array, values: Array) -> tuple[Array, Array, Array]:
    return scores(mixture, vector, inputs, values, jnp.asarray(len(values)))


def run(options: Options) -> list[str]:
    """Report of the four laws; of the first alone where it is to be quick."""
    from matplotlib import pyplot

    lines: list[str] = []
    laws = dict(list(truths().items())[: 1 if options.quick else None])
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 8))
    for (name, truth), ax in zip(laws.items(), axes.flat, strict=False):
        low, count = (10_000, 5) if name == "(ii, merging)" else (1000, 8)
        sizes = log_spaced(1000, 1020, 2) if options.quick else log_spaced(low, 100_000, count)
        study = convergence_rates(
            truth=truth,
            estimators=Scoring("scoring", truth.model),
            sample_sizes=sizes,
            seed=options.seed,
            replications=3 if options.quick else 40,
            losses=[GateAndExpertError()],
            checkpoint=options.checkpoint_of(f"contaminated-{name}"),
        )
        rows = 4096 if options.quick else 2**17
        predicted = [expected_errors(truth, size, rows, jax.random.key(options.seed)) for size in sizes]
        lines += [f"## {name}, near-truth starts, n = {sizes[0]} .. {sizes[-1]}", "", *_table(name, study, predicted), ""]
        _draw(name, study, predicted, ax)
        if name == "distinguishable":
            lines += _from_k_means(truth, options)
    figure.tight_layout()
    return [*lines, *options.save_figure(figure, "contaminated")]


def _table(name: str, study: Study, predicted: list[dict[str, float]]) -> list[str]:
    sizes = study.results["size"].values
    lines = [
        "| error of | slope of mean [95 %] | published | Fisher | published inside | Fisher inside | slope of median | mean error / Fisher, by n |",
        "|---" * 8 + "|",
    ]
    for loss in LOSSES:
        found = study.slopes(loss).squeeze()
        low, high = found["slope_interval"].values
        levels = np.array([one[loss] for one in predicted])
        fisher = float(np.polyfit(np.log(sizes), np.log(levels), 1)[0])
        published = PUBLISHED[name][loss]
        ratio = study.results[loss].mean("replication").values.squeeze() / levels
        median = float(study.slopes(loss, statistic="median", draws=1)["slope"].squeeze())
        inside = ["yes" if low <= value <= high else "no" for value in (published, fisher)]
        lines.append(
            f"| {loss} | {float(found['slope']):.3f} [{low:.3f}, {high:.3f}] | {published:.2f} | {fisher:.3f} | {inside[0]} | {inside[1]} | {median:.3f} | "
            f"{' '.join(f'{value:.2f}' for value in ratio)} |"
        )
    results = study.results
    iterations, converged = results["iterations"].mean("replication").values.squeeze(), results["converged"].mean("replication").values.squeeze()
    return [*lines, f"mean iterations {' '.join(f'{value:.0f}' for value in iterations)}; converged {' '.join(f'{value:.2f}' for value in converged)}"]


def _from_k_means(truth: MixtureTruth, options: Options) -> list[str]:
    """Shares of k-means starts that reach the likelihood of near-truth ones, and their mean errors."""
    study = convergence_rates(
        truth=truth,
        estimators=[Scoring("near", truth.model), Scoring("k-means", truth.model, k_means=1 if options.quick else 4)],
        sample_sizes=[1000] if options.quick else [1000, 10_000],
        seed=options.seed,
        replications=2 if options.quick else 10,
        losses=[GateAndExpertError()],
        checkpoint=options.checkpoint_of("contaminated-k-means"),
    )
    results = study.results.squeeze("truth")
    gap = (results["log_likelihood"].sel(estimator="k-means") - results["log_likelihood"].sel(estimator="near")).transpose("size", "replication").values
    lines = [
        f"k-means starts, best of 4, {results.sizes['replication']} replications: share whose log-likelihood is within 0.01 of that from near-truth starts, or "
        "above it; mean errors"
    ]
    for index, size in enumerate(results["size"].values):
        errors = ", ".join(f"{loss} {float(results[loss].sel(estimator='k-means', size=size).mean()):.3g}" for loss in LOSSES)
        lines.append(f"- n = {size}: {(gap[index] > -0.01).mean():.2f}; {errors}")
    return [*lines, ""]


def _draw(name: str, study: Study, predicted: list[dict[str, float]], ax: Any) -> None:
    sizes = study.results["size"].values
    for number, loss in enumerate(LOSSES[1:]):
        values = study.results[loss].squeeze().transpose("size", "replication").values
        slope = float(study.slopes(loss, draws=1)["slope"].squeeze())
        ax.errorbar(
            sizes,
            values.mean(-1),
            2 * values.std(-1) / np.sqrt(values.shape[-1]),
            color=f"C{number}",
            marker="o",
            markersize=3,
            label=f"{loss}: {slope:.2f} (published {PUBLISHED[name][loss]:.2f})",
        )
        ax.plot(sizes, [one[loss] for one in predicted], "--", color=f"C{number}", linewidth=1)
    ax.set(xscale="log", yscale="log", xlabel="sample size n", ylabel="mean error (dashed: Fisher information)", title=name)
    ax.legend(frameon=False, fontsize="small")
