"""Coverage of intervals and simulation-based calibration of a Markov jump process, through the public `lg.fit` and `Fit.interval`.

    python benchmarks/jump_coverage.py [--replications 200] [--first 0] [--short] [--json FILE]

An illness-death panel: 60 subjects, well at the start, looked at every half year for 2.5 years; whether they are well or ill is read with errors, the time of
death is exact. For each replication rates and errors are drawn from the prior, a panel is simulated from them in NumPy (`simulate_panel`, which knows nothing
of the model's recursions), and fitted twice: by MAP, with 90 % intervals from the Hessian, and by NUTS, with 90 % intervals between quantiles. Over the prior
both must hold the true value in 90 % of replications (NUTS exactly, the Hessian as far as the posterior is normal in logarithms and log-odds), and the rank of
the truth among the draws of NUTS must be uniform: χ² on ten bins; all tests together raise a false alarm once in a hundred runs (Bonferroni).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
import numpyro.distributions as dist
from scipy import stats

jax.config.update("jax_enable_x64", True)

from calibration import BINS, FALSE_ALARM
from side_by_side import load_average, table, write_json

import latentgate as lg
from latentgate.data.jump_processes import simulate_panel

LEVEL, TOLERANCE = 0.9, 0.05
NUM_SUBJECTS = 60
VISITS = np.linspace(0.0, 2.5, 6)
WELL, ILL, DEAD = 0, 1, 2
CLIMB = lg.MAP(max_iterations=200, tolerance=1e-11)
SAMPLER = lg.NUTS(chains=2, warmup=300, draws=500, block=100)
SHORT = lg.NUTS(chains=1, warmup=20, draws=100, block=20, max_tree_depth=3)
RATES, LABELS = "transition.rates", "emission.label.probs"
# {quantity: (parameter, entry)}: what is neither zero nor what another entry leaves.
QUANTITIES = {
    "rate well to ill": (RATES, (WELL, ILL)),
    "rate well to dead": (RATES, (WELL, DEAD)),
    "rate ill to dead": (RATES, (ILL, DEAD)),
    "well read as well": (LABELS, (WELL, WELL)),
    "ill read as well": (LABELS, (ILL, WELL)),
}


class Replication(NamedTuple):
    """Ranks of the truth, intervals that held it, and how the sampler fared."""

    ranks: dict[str, int]
    inside: dict[str, dict[str, bool]]
    divergences: int
    largest_rhat: float
    smallest_ess: float


def illness_death() -> lg.MarkovJumpProcess:
    """The model. The dead have a label of their own, which is never read, so that whoever is labelled is alive."""
    concentration = np.array([[18.0, 2.0, 1.0], [2.0, 18.0, 1.0], [1.0, 1.0, 1.0]])
    labels = lg.emissions.Misclassified({WELL: (WELL, ILL), ILL: (WELL, ILL), DEAD: (DEAD,)}, prior=dist.Dirichlet(concentration))
    emission = lg.emissions.Product(state=lg.emissions.KnownState(3), label=labels)
    generator = lg.generators.Free([(WELL, ILL), (WELL, DEAD), (ILL, DEAD)], prior=dist.Gamma(8.0, 16.0))
    return lg.MarkovJumpProcess(3, emission, generator, initial=[1.0, 0.0, 0.0])


def simulated(seed: int, truth: dict[str, np.ndarray], num_subjects: int = NUM_SUBJECTS) -> lg.Sequences:
    generator = truth[RATES] - np.diag(truth[RATES].sum(1))
    return simulate_panel(np.random.default_rng([seed, 1]), generator, [VISITS] * num_subjects, WELL, exact_entry=[DEAD], label_error=truth[LABELS]).data


def replicate(model: lg.MarkovJumpProcess, seed: int, engine: lg.NUTS, ranks_of: int, num_subjects: int = NUM_SUBJECTS) -> Replication:
    truth = {name: np.asarray(value) for name, value in model.sample_prior(jax.random.key(seed)).items()}
    data = simulated(seed, truth, num_subjects)
    top = lg.fit(model, data, CLIMB, seed=seed, progress=False)
    sampled = lg.fit(model, data, engine, seed=seed, start=top, progress=False)
    assert sampled.posterior is not None
    inside: dict[str, dict[str, bool]] = {}
    for method, fit in (("Hessian", top), ("NUTS", sampled)):
        ends = fit.interval(level=LEVEL)
        lower, upper = ({name: ends[name].sel(statistic=side).values for name in (RATES, LABELS)} for side in ("lower", "upper"))
        inside[method] = {quantity: bool(lower[name][entry] <= truth[name][entry] <= upper[name][entry]) for quantity, (name, entry) in QUANTITIES.items()}
    draws = sampled.posterior.flat(ranks_of)
    ranks = {quantity: int((draws[name][:, *entry] < truth[name][entry]).sum()) for quantity, (name, entry) in QUANTITIES.items()}
    log_likelihoods = sampled.posterior_log_likelihoods(data, draws=ranks_of).sum("sequence").values
    ranks["log-likelihood"] = int((log_likelihoods < float(np.asarray(model.log_likelihood(truth, data)).sum())).sum())
    posterior = sampled.posterior
    return Replication(ranks, inside, posterior.num_divergences, posterior.largest_rhat(), posterior.smallest_ess())


def summarised(rows: list[Replication], ranks_of: int) -> dict[str, Any]:
    """Coverage and p-values over replications."""
    edges = np.linspace(-0.5, ranks_of + 0.5, BINS + 1)
    ranks = {name: [row.ranks[name] for row in rows] for name in rows[0].ranks}
    return {
        "replications": len(rows),
        "coverage": {method: {name: float(np.mean([row.inside[method][name] for row in rows])) for name in QUANTITIES} for method in rows[0].inside},
        "ranks": ranks,
        "p_values": {name: float(stats.chisquare(np.histogram(value, edges)[0]).pvalue) for name, value in ranks.items()},
        "with_divergences": sum(row.divergences > 0 for row in rows),
        "median_largest_rhat": float(np.median([row.largest_rhat for row in rows])),
        "median_smallest_ess": float(np.median([row.smallest_ess for row in rows])),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first replication, its seed: to go on, or for replications that are all new")
    parser.add_argument("--short", action="store_true", help="chains too short to be right, to see that everything runs")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    ranks_of, began, model = 99, time.perf_counter(), illness_death()
    rows: list[Replication] = []
    report: dict[str, Any] = {}
    for seed in range(options.first, options.first + options.replications):
        rows.append(replicate(model, seed, SHORT if options.short else SAMPLER, ranks_of))
        print(".", end="", flush=True, file=sys.stderr)
        # After each, so that a run that is cut short leaves what it found.
        report = summarised(rows, ranks_of) | {"seconds": time.perf_counter() - began, "load_average": load_average()}
        write_json(options.json, report)
    print(
        f"\n{report['replications']} replications in {report['seconds']:.0f} s, load {report['load_average'][0]} at the end; {report['with_divergences']} with "
        f"divergences, median largest R-hat {report['median_largest_rhat']:.3f}, median smallest effective sample size {report['median_smallest_ess']:.0f}\n"
    )
    coverage, p_values = report["coverage"], report["p_values"]
    cells = [[name, *(f"{coverage[method][name]:.3f}" if name in coverage[method] else "" for method in coverage), f"{p:.3f}"] for name, p in p_values.items()]
    cells.append(["mean of all", *(f"{np.mean(list(coverage[method].values())):.3f}" for method in coverage), ""])
    print(table(("", *(f"coverage of 90 % intervals, {method}" for method in coverage), "ranks uniform, p"), cells))
    within = all(abs(share - LEVEL) <= TOLERANCE for shares in coverage.values() for share in shares.values())
    limit = FALSE_ALARM / len(p_values)
    uniform = all(p > limit for p in p_values.values())
    chance = math.sqrt(LEVEL * (1 - LEVEL) / report["replications"])
    print(f"\nCoverage within {LEVEL:.0%} ± {TOLERANCE:.0%} (by chance alone each varies by {chance:.1%}): {'all' if within else 'NOT all'}")
    print(f"{len(p_values)} tests at {limit:.1e} each (family-wise false-alarm rate {FALSE_ALARM}): {'all uniform' if uniform else 'NOT uniform'}")
    return 0 if options.short or (within and uniform) else 1


if __name__ == "__main__":
    sys.exit(main())
