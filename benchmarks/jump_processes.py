"""Markov jump processes: transition matrices beside `jax.scipy.linalg.expm`, and fits of two panels beside R's msm. float64, CPU, one run.

    LATENTGATE_DATA=../shared/recordings python benchmarks/jump_processes.py [--json FILE] [--only matrices fits]
    python benchmarks/jump_processes.py --quick          # tiny sizes, to see that everything runs; no targets

Matrices: value and gradient of Σ_u Σ_ij c_uij log exp(Q_u t_u)_ij, the log-likelihood of a panel in which c_uij subjects went from i to j in the gap t_u, for
2 500 distinct gaps, in K = 4 and K = 20 states. Every way is compiled once with generators, gaps and counts as arguments.

    one generator              shared powers (`uniformisation`), eigendecomposition (`reversible`), vmapped `expm`; the generator is in detailed balance, so
                               that all three can be asked, and the gradient is in its stationary law and exchange rates
    a generator to every gap   `scaling` and vmapped `expm`, gradient in all generators
    long gaps                  one generator, gaps up to a thousand times its fastest sojourn; the other rows stay below ten

Fits: `psor` with covariates (the effects tied as in msm's manual) by MAP and EM, and `fev` without and with the effect of acute events by MAP, all with flat
priors; the first call compiles, the others do not.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

jax.config.update("jax_enable_x64", True)

from side_by_side import duration, load_average, machine, round_robin, table, write_json

import latentgate as lg
from latentgate.kernels.generators import reversible, scaling, uniformisation

PACKAGES = ("latentgate", "jax", "jaxlib", "numpy")
OURS, EIGEN, SCALING, PEER = "shared powers", "eigendecomposition", "scaling", "vmapped expm"
WANTED = 50.0
SECONDS_FOR_PSOR = 1.0
PSOR, FEV, FEV_ACUTE = 1114.899461, 51815.812541, 51597.890871
FLAT_RATE, FLAT = dist.ImproperUniform(constraints.positive, (), ()), dist.ImproperUniform(constraints.real, (), ())


class Panel(NamedTuple):
    """A made-up panel: parameters of generators in detailed balance, gaps and counts.

    Attributes:
        log_stationary: [G, K], logarithms of stationary laws up to a constant.
        log_exchange: [G, K, K], logarithms of exchange rates; those above the diagonal are used.
        gaps: [U].
        counts: [U, K, K].
    """

    log_stationary: jax.Array
    log_exchange: jax.Array
    gaps: jax.Array
    counts: jax.Array


def made_up(num_states: int, num_gaps: int, num_generators: int, longest: float) -> Panel:
    """Exit rates about one; the longest gap times the fastest exit rate is `longest`."""
    rng = np.random.default_rng(num_states)
    log_stationary = 0.5 * rng.normal(size=(num_generators, num_states))
    log_exchange = 0.5 * rng.normal(size=(num_generators, num_states, num_states)) - np.log(num_states - 1)
    panel = Panel(jnp.asarray(log_stationary), jnp.asarray(log_exchange), jnp.ones(1), jnp.ones(1))
    fastest = float(-jnp.diagonal(generators_of(panel), axis1=-2, axis2=-1).min())
    gaps = longest / fastest * np.sort(rng.permutation(np.linspace(1e-3, 1.0, num_gaps)))
    return panel._replace(gaps=jnp.asarray(gaps), counts=jnp.asarray(rng.poisson(1.0, (num_gaps, num_states, num_states)).astype(float)))


def balanced(panel: Panel) -> tuple[jax.Array, jax.Array]:
    """Stationary laws [G, K] and symmetric exchange rates [G, K, K]."""
    above = jnp.triu(jnp.exp(panel.log_exchange), 1)
    return jax.nn.softmax(panel.log_stationary, axis=-1), above + jnp.swapaxes(above, -1, -2)


def generators_of(panel: Panel) -> jax.Array:
    """[G, K, K]."""
    stationary, symmetric = balanced(panel)
    root = jnp.sqrt(stationary)
    rates = symmetric * root[:, None, :] / root[:, :, None]
    return rates - rates.sum(-1, keepdims=True) * jnp.eye(rates.shape[-1])


def by_expm(panel: Panel) -> jax.Array:
    generators = jnp.broadcast_to(generators_of(panel), (len(panel.gaps), *panel.log_exchange.shape[1:]))
    return jax.vmap(jax.scipy.linalg.expm)(generators * panel.gaps[:, None, None])


WAYS: dict[str, Callable[[Panel], jax.Array]] = {
    OURS: lambda panel: uniformisation.transition_matrices(generators_of(panel), panel.gaps),
    EIGEN: lambda panel: reversible.transition_matrices(*balanced(panel), panel.gaps),
    SCALING: lambda panel: scaling.transition_matrices(generators_of(panel), panel.gaps),
    PEER: by_expm,
}


def compare(title: str, ways: list[str], panel: Panel, rounds: int, seconds: float, wanted: float | None) -> dict[str, Any]:
    """Times of value and gradient, side by side, and how far the answers are from those of the first."""
    calls, answers = {}, {}
    for way in ways:

        def log_likelihood(free: tuple[jax.Array, jax.Array], panel: Panel, way: str = way) -> jax.Array:
            return jnp.sum(panel.counts * jnp.log(WAYS[way](panel._replace(log_stationary=free[0], log_exchange=free[1]))))

        compiled = jax.jit(jax.value_and_grad(log_likelihood))
        calls[way] = lambda compiled=compiled: jax.block_until_ready(compiled((panel.log_stationary, panel.log_exchange), panel))
    timings = round_robin(calls, rounds, seconds)
    for way, call in calls.items():
        answers[way] = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(call())])
    first = ways[0]
    ratio = timings[PEER].median / timings[first].median
    return {
        "title": title,
        "timings": {way: timing.to_json() for way, timing in timings.items()},
        "times_faster_than_expm": {way: timings[PEER].median / timing.median for way, timing in timings.items()},
        "wanted": wanted,
        "reached": None if wanted is None else ratio >= wanted,
        "differences": {way: float(np.abs(answer - answers[first]).max() / np.abs(answers[first]).max()) for way, answer in answers.items()},
    }


def matrices(quick: bool) -> list[dict[str, Any]]:
    rounds, seconds, num_gaps = (2, 0.1, 40) if quick else (9, 60.0, 2500)
    rows = []
    for num_states in (3,) if quick else (4, 20):
        wanted = None if quick else WANTED
        label = f"K = {num_states}, {num_gaps} gaps"
        short = made_up(num_states, num_gaps, 1, 10.0)
        rows.append(compare(f"{label}, one generator", [OURS, EIGEN, PEER], short, rounds, seconds, wanted))
        rows.append(compare(f"{label}, a generator to every gap", [SCALING, PEER], made_up(num_states, num_gaps, num_gaps, 10.0), rounds, seconds, None))
        rows.append(compare(f"{label}, one generator, long gaps", [OURS, EIGEN, PEER], made_up(num_states, num_gaps, 1, 1000.0), rounds, seconds, None))
    return rows


def psor_model() -> lg.MarkovJumpProcess:
    ties = {0: ["all"] * 3, 1: ["early", "early", "late"]}
    generator = lg.generators.LogLinear([(0, 1), (1, 2), (2, 3)], num_inputs=2, ties=ties, prior=FLAT_RATE, effect_prior=FLAT)
    return lg.MarkovJumpProcess(4, generator=generator)


def fev_model(acute: bool) -> tuple[lg.MarkovJumpProcess, dict[str, np.ndarray]]:
    """The model, and where its climb starts: about what a histogram shows."""
    start = {"transition.rates": np.array([[0.0, 1e-3, 3e-4], [0.0, 0.0, 1e-3], [0.0, 0.0, 0.0]])}
    start["emission.fev.covariances"] = np.array([[256.0], [324.0], [400.0]])
    means = np.array([[100.0], [54.0], [70.0]])
    if acute:
        signal = lg.emissions.LinearRegression(
            1, num_inputs=1, inputs="acute", tied=True, scale=20.0, weight_prior=FLAT, bias_prior=FLAT, covariance_prior=FLAT_RATE
        )
        start |= {"emission.fev.weights": np.array([[-8.0]]), "emission.fev.bias": means}
    else:
        signal = lg.emissions.Gaussian(1, "diagonal", scale=20.0, mean_prior=FLAT, covariance_prior=FLAT_RATE)
        start["emission.fev.means"] = means
    emission = lg.emissions.Product(fev=signal, known=lg.emissions.KnownState(3, censored={3: (0, 1)}))
    generator = lg.generators.Free([(0, 1), (0, 2), (1, 2)], FLAT_RATE, time_scale=365.0)
    return lg.MarkovJumpProcess(3, emission, generator, initial=[1, 0, 0]), start


def fit_row(title: str, model: Any, data: lg.Sequences, engine: Any, published: float, start: Any = None, repeats: int = 5) -> dict[str, Any]:
    """First call, later calls, and minus twice the log-likelihood beside msm's."""

    def call() -> lg.Fit:
        return lg.fit(model, data, engine, seed=0, start=start, progress=False)

    began = time.perf_counter()
    fit = call()
    first = time.perf_counter() - began
    laps = [duration(call).wall for _ in range(repeats)]
    deviance = -2.0 * float(np.asarray(fit.log_likelihood(data)).sum())
    print(f"  {title}: {deviance:.6f} in {np.median(laps):.2f} s", file=sys.stderr, flush=True)
    return {
        "title": title,
        "first_call_s": first,
        "median_s": float(np.median(laps)),
        "seconds": laps,
        "iterations": len(fit.log_joint_history),
        "outcome": str(fit.outcome),
        "deviance": deviance,
        "published": published,
        "difference": deviance - published,
    }


def fits() -> list[dict[str, Any]]:
    """Where the files are; a file that is not there is said to be missing."""
    try:
        psor, fev = lg.load("psor", download=False), lg.load("fev", download=False)
    except lg.RecordingUnavailable as error:
        print(f"fits are left out: {error}", file=sys.stderr)
        return []
    rows = [
        fit_row("psor, MAP", psor_model(), psor, lg.MAP(tolerance=1e-12), PSOR),
        fit_row("psor, EM", psor_model(), psor, lg.EM(tolerance=1e-12, max_iterations=2000), PSOR),
    ]
    for acute, published in ((False, FEV), (True, FEV_ACUTE)):
        model, start = fev_model(acute)
        title = f"fev, {'effect of acute events' if acute else 'no covariates'}, MAP"
        rows.append(fit_row(title, model, fev, lg.MAP(tolerance=1e-13), published, start, repeats=3))
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=["matrices", "fits"], default=["matrices", "fits"])
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    where = machine(PACKAGES)
    report: dict[str, Any] = {"machine": where, "load_average": {"start": load_average()}, "matrices": [], "fits": []}
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    print(f"{where['cpu']}, {where['cores']} cores, load {report['load_average']['start'][0]} at the start; {versions}", flush=True)
    if "matrices" in options.only:
        report["matrices"] = matrices(options.quick)
        cells = []
        for row in report["matrices"]:
            for number, (way, timing) in enumerate(row["timings"].items()):
                verdict = "" if row["wanted"] is None or number else f"≥ {row['wanted']:g}: {'reached' if row['reached'] else 'NOT reached'}"
                cells.append([
                    row["title"] if number == 0 else "",
                    way,
                    f"{timing['median_s'] * 1e3:.2f}",
                    f"{timing['lower_quartile_s'] * 1e3:.2f}–{timing['upper_quartile_s'] * 1e3:.2f}",
                    f"{timing['compilation_s']:.1f}",
                    f"{row['times_faster_than_expm'][way]:.1f}",
                    verdict,
                    f"{row['differences'][way]:.0e}",
                ])  # fmt: skip
        headers = ("value and gradient", "way", "median, ms", "quartiles", "compiling, s", "times faster than expm", "wanted", "difference to the first")
        print(f"\n{table(headers, cells)}", flush=True)
        write_json(options.json, report)
    if "fits" in options.only and not options.quick:
        report["fits"] = fits()
        cells = [
            [
                row["title"],
                f"{row['first_call_s']:.1f}",
                f"{row['median_s']:.3f}",
                str(row["iterations"]),
                f"{row['deviance']:.6f}",
                f"{row['published']:.6f}",
                f"{row['difference']:.1e}",
            ]
            for row in report["fits"]
        ]
        headers = ("fit", "first call, s", "later calls, s", "iterations", "-2 log L", "msm", "difference")
        print(f"\n{table(headers, cells)}")
        for row in report["fits"]:
            if row["title"].startswith("psor"):
                verdict = "reached" if row["median_s"] < SECONDS_FOR_PSOR else "NOT reached"
                print(f"{row['title']}: {row['median_s']:.3f} s, wanted below {SECONDS_FOR_PSOR:g} s: {verdict}")
    report["load_average"]["end"] = load_average()
    print(f"\nload {report['load_average']['end'][0]} at the end")
    write_json(options.json, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
