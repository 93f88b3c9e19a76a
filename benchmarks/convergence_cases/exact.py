"""Softmax gate with as many experts as there are (Nguyen, Nguyen and Ho 2023).

Truth: scores 25x - 8 and 0, means 15 - 20x (sd 0.3) and -5 + 20x (sd 0.4), n points at equal distances in [0, 1]. 40 replications of 13 log-spaced sizes from
100 to 100 000. Maximum likelihood by EM (relative tolerance 1e-8) from near-truth starts, the papers' favour, and from one k-means start each.

Rules, fixed in advance:

1. The 95 % bootstrap interval of the slope of log mean D1 on log n, all sizes, contains -0.5.
2. The mean of D1 · √n over all replications of the sizes from 1000 on is within 10 % of 6.82, what Fisher information says. That number is computed here anew:
   the mean D1 of draws from the normal law of estimates whose covariance is the inverse information.
3. Twice the log-likelihood gain of the fit over the truth is χ²(8): Kolmogorov-Smirnov p-values of the nine sizes from 1000 on are each above 0.01 / 9
   (Bonferroni: at most one in a hundred such studies of a true χ² fails), and that of all 360 gains together is above 0.01. Both together fail a true one in at
   most one of fifty.

Reported and not judged: the error of the gate (`gate_l1`, `gate_slope_rmse`) and the Hellinger distance, since D1 weighs experts by exp(bias) and hardly sees a
gate.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import chi2, kstest
from side_by_side import table

import latentgate.studies as studies

from . import Options
from .models import TWO_LINES, softmax_model, two_lines
from .reporting import level_table, pooled_mean, progress, slope_table, verdict

LOSSES = ("D1", "gate_l1", "gate_slope_rmse", "hellinger")
NEAR, KMEANS = "near-truth", "k-means"
PUBLISHED_LEVEL = 6.82
FIRST_JUDGED = 1000
FREE_PARAMETERS = 8
ALARM = 0.01


def run(options: Options) -> list[str]:
    """The report."""
    from matplotlib import pyplot

    model = softmax_model(2)
    estimators = [
        studies.MaximumLikelihood(NEAR, model, "near-truth", tolerance=1e-8),
        studies.MaximumLikelihood(KMEANS, model, "k-means", restarts=1, tolerance=1e-8),
    ]
    sizes = [1000, 1010] if options.quick else studies.log_spaced(100, 100_000, 13)
    progress(f"exact: {len(sizes)} sizes")
    study = studies.convergence_rates(
        truth=two_lines(),
        estimators=estimators,
        sample_sizes=sizes,
        replications=4 if options.quick else 40,
        seed=options.seed,
        checkpoint=options.checkpoint_of("exact"),
    )
    level = expected_level(draws=50 if options.quick else 4000)
    lines = [__doc__ or "", *slope_table(study, LOSSES), ""]
    for name in (NEAR, KMEANS):
        lines += [*level_table(study, "two lines", name, (*LOSSES, "excess")), ""]
    for name in (NEAR, KMEANS):
        lines += [*judged(study, name, level, options.quick), ""]
    same = study.results.D1.sel(estimator=NEAR) - study.results.D1.sel(estimator=KMEANS)
    scale = study.results.D1.sel(estimator=NEAR)
    lines.append(f"Replications whose D1 from the two starts differs by more than one per cent: {int((abs(same) > 0.01 * scale).sum())} of {same.size}.")
    figure, ax = pyplot.subplots(figsize=(6.4, 4.8))
    study.plot("D1", ax=ax)
    return lines + options.save_figure(figure, "exact")


def judged(study: studies.Study, name: str, level: float, quick: bool) -> list[str]:
    """Rules 1 to 3 for one estimator."""
    results = study.results.sel(estimator=name, truth="two lines")
    line = study.slopes("D1", with_local=False).sel(estimator=name).squeeze()
    slope, (low, high) = float(line.slope), line.slope_interval.values
    lines = [f"{name}"]
    lines.append(f"  1. slope of D1 {slope:.3f}, 95 % interval [{low:.3f}, {high:.3f}], contains -0.5: {verdict(bool(low <= -0.5 <= high), quick)}")

    large = results.isel(size=np.flatnonzero(results["size"].values >= FIRST_JUDGED))
    scaled = (results.D1 * np.sqrt(results["size"])).transpose("size", "replication").values
    each = ", ".join(f"{value:.2f}" for value in scaled.mean(-1))
    mean, below, above = pooled_mean((large.D1 * np.sqrt(large["size"])).transpose("size", "replication").values)
    lines.append(f"  2. mean D1·√n by size: {each}")
    holds = bool(abs(mean / PUBLISHED_LEVEL - 1.0) <= 0.1)
    text = f"     from n = {FIRST_JUDGED} on {mean:.2f} [{below:.2f}, {above:.2f}], theory {PUBLISHED_LEVEL} (computed here {level:.2f}), within 10 %"
    lines.append(f"{text}: {verdict(holds, quick)}")

    gains = large.excess.transpose("size", "replication").values
    p_values = [float(kstest(row, chi2(FREE_PARAMETERS).cdf).pvalue) for row in gains]
    pooled = float(kstest(gains.ravel(), chi2(FREE_PARAMETERS).cdf).pvalue)
    rows = [[str(int(size)), f"{row.mean():.2f}", f"{p:.3f}"] for size, row, p in zip(large["size"].values, gains, p_values, strict=True)]
    rows.append(["all", f"{gains.mean():.2f}", f"{pooled:.3f}"])
    lines += [f"  3. gain against χ²({FREE_PARAMETERS})", *(f"     {line}" for line in table(("n", "mean gain", "p"), rows).splitlines())]
    lines.append(f"     every p above {ALARM}/{len(p_values)}: {verdict(min(p_values) > ALARM / len(p_values), quick)}; p of all above {ALARM}: ")
    lines[-1] += verdict(pooled > ALARM, quick)
    return lines


def fisher_information(num_inputs: int = 512, num_values: int = 2048) -> np.ndarray:
    """Information a row [8, 8] in (gate weight, gate bias, expert weights, expert biases, log standard deviations), by midpoint sums over x and y."""
    start = jnp.asarray(
        np.concatenate([np.ravel(value) for value in (25.0, -8.0, TWO_LINES["experts.weights"], TWO_LINES["experts.bias"], np.log(TWO_LINES["experts.scale"]))])
    )
    inputs = (jnp.arange(num_inputs) + 0.5) / num_inputs
    low, high = -8.0, 18.0
    width = (high - low) / num_values
    values = low + width * (jnp.arange(num_values) + 0.5)

    def log_density(theta: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
        score, weights, biases, log_scales = theta[0] * x + theta[1], theta[2:4], theta[4:6], theta[6:8]
        gate = jax.nn.log_sigmoid(jnp.stack([score, -score]))
        normal = -0.5 * ((y - weights * x - biases) * jnp.exp(-log_scales)) ** 2 - log_scales - 0.5 * jnp.log(2 * jnp.pi)
        return jax.scipy.special.logsumexp(gate + normal)

    @jax.jit
    def at(x: jax.Array) -> jax.Array:
        scores = jax.vmap(lambda y: jax.grad(log_density)(start, x, y))(values)
        mass = width * jnp.exp(jax.vmap(lambda y: log_density(start, x, y))(values))
        return jnp.einsum("y,yi,yj->ij", mass, scores, scores)

    return np.asarray(jax.lax.map(at, inputs).mean(0))


def expected_level(draws: int, num_samples: float = 1e10, seed: int = 0) -> float:
    """Mean of D1 · √n under the normal law of estimates that the information implies; n is so large that D1 is as good as linear."""
    covariance = np.linalg.inv(fisher_information()) / num_samples
    moved = np.random.default_rng(seed).multivariate_normal(np.zeros(FREE_PARAMETERS), covariance, draws, method="cholesky")
    loss = studies.voronoi.exact()
    truth = loss.atoms(TWO_LINES)
    found = []
    for step in moved:
        params = {
            "gate.weights": [[25.0 + step[0]], [0.0]],
            "gate.bias": [-8.0 + step[1], 0.0],
            "experts.weights": np.array(TWO_LINES["experts.weights"]) + step[2:4, None],
            "experts.bias": np.array(TWO_LINES["experts.bias"]) + step[4:6],
            "experts.scale": np.array(TWO_LINES["experts.scale"]) * np.exp(step[6:8]),
        }
        found.append(studies.voronoi_distance(loss.form, loss.atoms(params), truth).value)
    return float(np.mean(found) * np.sqrt(num_samples))
