"""Simulation-based calibration of NUTS (Talts et al. 2018; Modrák et al. 2023), through the public `lg.fit`.

    python benchmarks/calibration.py [--replications 200] [--short] [--case NAME] [--json FILE]

For each replication: parameters from the prior, data from the parameters, draws from the posterior; then the rank of each true quantity among its draws is
uniform if, and only if, draws and model agree. Quantities do not depend on the numbering of the states (which no posterior knows): parameters, those of the
states in the order of one of them, and the log-likelihood. Uniformity by a χ² test on ten bins; all tests of a run together raise a false alarm once in a
hundred runs (Bonferroni).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
import numpyro.distributions as dist
from scipy import stats

jax.config.update("jax_enable_x64", True)

import latentgate as lg
from latentgate.models.base import StateSpaceModel

BINS = 10
FALSE_ALARM = 0.01
ENGINE = lg.NUTS(chains=2, warmup=300, draws=500, target_accept=0.9, start_from=lg.EM(restarts=2, max_iterations=30, block=30))
SHORT = lg.NUTS(chains=1, warmup=20, draws=100, block=20, max_tree_depth=3, start_from=lg.EM(max_iterations=5, block=5))


class Case(NamedTuple):
    """A model, the shape of its data, and by which parameter its states (or experts) are ordered, if it has any."""

    model: StateSpaceModel
    lengths: list[int]
    num_inputs: int
    order_by: Callable[[dict[str, np.ndarray]], np.ndarray] | None


CASES = {
    "Poisson HMM": Case(
        lg.HMM(2, lg.emissions.Poisson(2, prior=dist.Gamma(3.0, 1.0)), lg.transitions.Stationary(concentration=2.0), initial_concentration=2.0),
        [20, 20, 15],
        0,
        lambda params: params["emission.rates"][..., 0],
    ),
    "Bernoulli GLM-HMM, gated transitions": Case(
        lg.HMM(
            2,
            lg.emissions.BernoulliGLM(1, weight_prior=dist.Normal(0.0, 2.0), bias_prior=dist.Normal(0.0, 1.0)),
            lg.transitions.Gated(1),
            initial_concentration=2.0,
        ),
        [40, 40, 30],
        1,
        lambda params: params["emission.weights"][..., 0],
    ),
    "Mixture of two experts": Case(
        lg.MixtureOfExperts(
            lg.gates.Softmax(num_inputs=1, weight_scale=2.0, bias_scale=1.0),
            lg.experts.LinearGaussian(
                2, num_inputs=1, weight_prior=dist.Normal(0.0, 1.0), bias_prior=dist.Normal(0.0, 2.0), variance_prior=dist.InverseGamma(3.0, 1.0)
            ),
        ),
        [60],
        1,
        lambda params: params["experts.bias"],
    ),
    # The given matrix says which way the latent points and in what units.
    "Linear Gaussian model": Case(
        lg.LinearGaussianSSM(
            1,
            2,
            dynamics=lg.dynamics.Linear(bias=False, noise="diagonal", matrix_prior=dist.Normal(0.5, 0.3), covariance_prior=dist.InverseGamma(3.0, 1.0)),
            initial=(0.0, 1.0),
            matrix=[[1.0], [0.7]],
            noise_prior=dist.InverseGamma(3.0, 1.0),
        ),
        [20, 20, 15],
        0,
        None,
    ),
}


def quantities(case: Case, params: dict[str, np.ndarray], log_likelihood: np.ndarray) -> dict[str, np.ndarray]:
    """{name: [sample]} of parameters [sample, ...], states in order."""
    order = None if case.order_by is None else np.argsort(case.order_by(params), -1)
    found = {"log-likelihood": log_likelihood}
    for name, dims in case.model.dims().items():
        value = np.asarray(params[name])
        for axis, dim in enumerate(dims, start=1):
            if dim in ("state", "next_state", "expert"):
                assert order is not None
                shape = [1] * value.ndim
                shape[0], shape[axis] = order.shape
                value = np.take_along_axis(value, order.reshape(shape), axis)
        # The last entry of a probability vector, and the last row of a gate, is what the others leave.
        value = value[..., :-1] if name.endswith("probs") else value[:, :-1] if name.startswith("gate.") else value
        flat = value.reshape(len(value), -1)
        found |= {f"{name}[{i}]": flat[:, i] for i in range(flat.shape[1])}
    return found


def replicate(case: Case, seed: int, ranks_of: int, engine: lg.NUTS) -> tuple[dict[str, int], lg.Fit]:
    """Rank of every true quantity among `ranks_of` nearly independent draws."""
    for_params, for_data = jax.random.split(jax.random.key(seed))
    truth = case.model.sample_prior(for_params)
    inputs = [np.random.default_rng([seed, i]).normal(size=(n, case.num_inputs)) for i, n in enumerate(case.lengths)] if case.num_inputs else None
    data, _ = case.model.simulate(for_data, truth, case.lengths, inputs)
    fit = lg.fit(case.model, data, engine, seed=seed, progress=False)
    assert fit.posterior is not None
    draws = fit.posterior.flat(ranks_of)
    drawn = quantities(case, draws, fit.posterior_log_likelihoods(data, draws=ranks_of).sum("sequence").values)
    true_log_likelihood = np.asarray(case.model.log_likelihood(truth, data)).sum(keepdims=True)
    true = quantities(case, {name: np.asarray(value)[None] for name, value in truth.items()}, true_log_likelihood)
    return {name: int((drawn[name] < value[0]).sum()) for name, value in true.items()}, fit


def calibrate(case: Case, replications: int, *, ranks_of: int = 99, engine: lg.NUTS) -> dict:
    """Ranks of every quantity over all replications, their p-values, and how the samplers fared."""
    began = time.perf_counter()
    rows, divergences, largest_rhat, smallest_ess = [], [], [], []
    for seed in range(replications):
        ranks, fit = replicate(case, seed, ranks_of, engine)
        rows.append(ranks)
        divergences.append(fit.posterior.num_divergences)
        largest_rhat.append(fit.posterior.largest_rhat())
        smallest_ess.append(fit.posterior.smallest_ess())
        print(".", end="", flush=True, file=sys.stderr)
    ranks = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    edges = np.linspace(-0.5, ranks_of + 0.5, BINS + 1)
    p_values = {name: float(stats.chisquare(np.histogram(value, edges)[0]).pvalue) for name, value in ranks.items()}
    return {
        "replications": replications,
        "seconds": time.perf_counter() - began,
        "p_values": p_values,
        "ranks": {name: value.tolist() for name, value in ranks.items()},
        "with_divergences": int((np.array(divergences) > 0).sum()),
        "median_largest_rhat": float(np.median(largest_rhat)),
        "median_smallest_ess": float(np.median(smallest_ess)),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--short", action="store_true", help="chains too short to be right, to see that everything runs")
    parser.add_argument("--case", default="", help="only the models whose name contains this")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    report = {}
    for name, case in CASES.items():
        if options.case.lower() not in name.lower():
            continue
        report[name] = result = calibrate(case, options.replications, engine=SHORT if options.short else ENGINE)
        smallest = min(result["p_values"], key=result["p_values"].get)
        print(
            f"\n{name}: {result['replications']} replications in {result['seconds']:.0f} s, {result['with_divergences']} with divergences, "
            f"median largest R-hat {result['median_largest_rhat']:.3f}, median smallest effective sample size {result['median_smallest_ess']:.0f}"
        )
        for quantity, p in result["p_values"].items():
            print(f"  {quantity:32s} p = {p:.3f}")
        print(f"  smallest p = {result['p_values'][smallest]:.4f} ({smallest})", flush=True)
    tests = sum(len(result["p_values"]) for result in report.values())
    limit = FALSE_ALARM / tests
    uniform = all(p > limit for result in report.values() for p in result["p_values"].values())
    print(f"\n{tests} tests at {limit:.1e} each (family-wise false-alarm rate {FALSE_ALARM}): {'all uniform' if uniform else 'NOT uniform'}")
    if options.json:
        Path(options.json).write_text(json.dumps(report))
    return 0 if uniform else 1


if __name__ == "__main__":
    sys.exit(main())
