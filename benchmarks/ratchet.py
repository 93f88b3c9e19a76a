"""Rates of the discrete flashing ratchet from few paths, beside a foundation model that was trained to read them off.

    LATENTGATE_DATA=../shared/recordings python benchmarks/ratchet.py [--json FILE] [--subsets 33] [--sizes 1 30 100 300 1000 5000] [--rows shrunk ...]
    python benchmarks/ratchet.py --small          # simulated paths, tiny sizes, to see that everything runs

Each row is a way to the 30 rates from a subset of the paths of `flashing_ratchet`; each entry is the root mean square error over the 30 off-diagonal rates,
mean ± standard deviation over 33 subsets. Up to 300 paths subset s is the first n of the s-th run of 300 paths in the file: disjoint, the same for every row,
and smaller subsets lie within larger ones. Beyond, where 33 disjoint subsets do not exist, they are drawn at random, seed 0, without repetition within one.

    free            30 free rates, EM, the library's default prior (nearly flat)
    shrunk          EM shrunk by one pseudo-jump an edge: q_ij = (E[N_ij] + 1) / (E[T_i] + 1/m), m the mean rate an edge, of the subset itself
    V, r, b         three parameters with the exact function from them to the rates, MAP, priors Normal(0, 10) and exponential with mean 1000
    wrong labels    every label changed with probability 0.1 to one of the other five, all equally likely; the rate of errors is not known:
                    `UniformError` has one parameter for it, `Misclassified` thirty; the law of the first state is free

Paths are conditional on their first state, except where labels are wrong. For m three readings are compared, none of which sees anything but the subset: the
mean of the posterior of a Poisson rate, (jumps seen + 1) / (5 × time), which is positive even for a path without jumps and is the one of the table; the
same without the one; and m that is equal to the mean of the 30 estimates it leads to. Beside their errors stands the mean log-likelihood of all paths outside
the subset, by which they can be compared without knowing the truth.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from scipy.linalg import expm

jax.config.update("jax_enable_x64", True)

from side_by_side import load_average, machine, table, write_json

import latentgate as lg
from latentgate.data.jump_processes import flashing_ratchet, simulate_panel, stationary_law

PACKAGES = ("latentgate", "jax", "numpy")
SIZES = (1, 30, 100, 300, 1000, 5000)
# Berghaus, Cvejoski, Seifner, Ojeda, Sanchez, NeurIPS 2024.
PUBLISHED = {1: 0.648, 30: 0.330, 100: 0.212, 300: 0.162, 1000: 0.230, 5000: 0.723}
FREE, SHRUNK, THREE = "free", "shrunk", "V, r, b"
WRONG = {kind: f"wrong labels: {kind}" for kind in (FREE, SHRUNK, THREE)} | {"table": "wrong labels: free, 30 errors"}
ROWS = (FREE, SHRUNK, THREE, *WRONG.values())
TARGETS = {(FREE, 300): 0.095, (FREE, 1000): 0.055, (SHRUNK, 1): 0.645, (SHRUNK, 30): 0.29, (THREE, 300): 0.04, (WRONG[FREE], 300): 0.11}
# Where labels are wrong EM takes hundreds of iterations.
WRONG_SIZES = (30, 100, 300)
ERROR = 0.1
NUM_STATES, NUM_EXITS, RUN = 6, 5, 300
OFF_DIAGONAL = ~np.eye(NUM_STATES, dtype=bool)
TRUTH = flashing_ratchet()
GRAPH = TRUTH > 0
CLIMB = {"max_iterations": 2000, "tolerance": 1e-9, "block": 10}

_SITE = np.arange(3)
_DISTANCE = _SITE[None, :] - _SITE[:, None]


class Estimate(NamedTuple):
    """What a row finds in one subset.

    Attributes:
        rates: [6, 6].
        inside: whether the true V, r and b lie inside their 95 % intervals, bool [3]; None where there are none.
        error: estimated probability of a wrong label, or None.
    """

    rates: np.ndarray
    inside: list[bool] | None = None
    error: float | None = None


def ratchet_rates(params: dict[str, jax.Array]) -> jax.Array:
    """Rates of the ratchet as a JAX function of V, r and b; see `latentgate.data.jump_processes.flashing_ratchet`."""
    on = jnp.exp(-params["V"] * _DISTANCE / 2)
    switch = params["r"] * jnp.eye(3)
    return jnp.block([[on, switch], [switch, jnp.full((3, 3), params["b"])]])


def three_parameters() -> lg.generators.Generator:
    priors = {"V": dist.Normal(0.0, 10.0), "r": dist.Gamma(1.0, 1e-3), "b": dist.Gamma(1.0, 1e-3)}
    return lg.generators.Parametric(ratchet_rates, priors, GRAPH)


def generators() -> dict[str, Callable[[lg.Sequences], lg.generators.Generator]]:
    """{name: generator for a subset}."""
    free, three = lg.generators.Free(), three_parameters()
    return {
        FREE: lambda _: free,
        SHRUNK: lambda data: lg.generators.Free(prior=lg.generators.pseudo_jumps(1.0, mean_rate(data))),
        THREE: lambda _: three,
    }


def mean_rate(data: lg.Sequences, more: float = 1.0) -> float:
    """Jumps seen, and some more, an edge and unit of time: of each state five edges lead out."""
    states, times = np.asarray(data.values)[..., 0], np.asarray(data.times)
    jumps = float((np.diff(states, axis=1) != 0).sum())
    # Without `more`, a path without a jump would say that there never are any, of which no prior can be made.
    return (jumps + more if jumps + more > 0 else 1.0) / (NUM_EXITS * float((times[:, -1] - times[:, 0]).sum()))


def mean_rate_of_wrong_labels(data: lg.Sequences) -> float:
    """The same where labels may be wrong: changes between neighbours would mostly be errors, so it is that of a first free fit."""
    model = lg.MarkovJumpProcess(NUM_STATES, lg.emissions.UniformError(NUM_STATES), initial="free")
    fit = lg.fit(model, data, lg.EM(**CLIMB), seed=0, progress=False)
    jumps, times = model.expected_jumps_and_times(fit.params, data)
    return (float(jumps.sum()) + 1.0) / (NUM_EXITS * float(times.sum()))


def rates_of(fit: lg.Fit) -> np.ndarray:
    return np.asarray(fit.model.generator(fit.params))


def fitted(model: lg.MarkovJumpProcess, data: lg.Sequences, **options: Any) -> lg.Fit:
    """EM where M-steps have a closed form, L-BFGS where they have none; both climb to the same maximum."""
    closed = isinstance(model.jump.generator, lg.generators.Free)
    engine = lg.EM(**CLIMB) if closed else lg.MAP(max_iterations=300, tolerance=1e-11, block=10)
    return lg.fit(model, data, engine, seed=0, progress=False, **options)


def estimate(kind: str, data: lg.Sequences) -> Estimate:
    model = lg.MarkovJumpProcess(NUM_STATES, generator=GENERATORS[kind](data))
    fit = fitted(model, data)
    return Estimate(rates_of(fit), inside_intervals(fit)[0] if kind == THREE else None)


def estimate_with_errors(kind: str, data: lg.Sequences) -> Estimate:
    emission = lg.emissions.Misclassified(NUM_STATES) if kind == "table" else lg.emissions.UniformError(NUM_STATES)
    generator = GENERATORS[FREE if kind == "table" else kind]
    if kind == SHRUNK:
        found = lg.generators.Free(prior=lg.generators.pseudo_jumps(1.0, mean_rate_of_wrong_labels(data)))
    else:
        found = generator(data)
    fit = fitted(lg.MarkovJumpProcess(NUM_STATES, emission, found, initial="free"), data)
    error = None if kind == "table" else float(fit.params["emission.error"])
    return Estimate(rates_of(fit), inside_intervals(fit)[0] if kind == THREE else None, error)


def inside_intervals(fit: lg.Fit, level: float = 0.95) -> tuple[list[bool], dict[str, list[float]]]:
    """Whether V, r and b are inside their intervals, and {name: [estimate, lower, upper]}."""
    found = fit.interval(level=level)
    ends = {name: [float(found[f"transition.{name}"].sel(statistic=part)) for part in ("estimate", "lower", "upper")] for name in ("V", "r", "b")}
    return [lower <= 1.0 <= upper for _, lower, upper in ends.values()], ends


GENERATORS = generators()


def subsets(total: int, size: int, count: int, seed: int = 0) -> list[np.ndarray]:
    """Indices of the paths of every subset; see above."""
    run = total // count if total < RUN * count else RUN
    if size <= run:
        return [np.arange(start * run, start * run + size) for start in range(count)]
    rng = np.random.default_rng([seed, size])
    return [np.sort(rng.choice(total, size, replace=False)) for _ in range(count)]


def with_errors(data: lg.Sequences, probability: float, seed: int = 1) -> lg.Sequences:
    """Every label changed with a probability to another one, all equally likely."""
    rng = np.random.default_rng(seed)
    states = np.asarray(data.values)
    other = (states + rng.integers(1, NUM_STATES, states.shape)) % NUM_STATES
    return dataclasses.replace(data, values=np.where(rng.random(states.shape) < probability, other, states))


def error_of(rates: np.ndarray) -> float:
    return float(np.sqrt(((rates - TRUTH)[OFF_DIAGONAL] ** 2).mean()))


def transition_counts(data: lg.Sequences) -> np.ndarray:
    states = np.asarray(data.values)[..., 0].astype(int)
    return np.bincount((states[:, :-1] * NUM_STATES + states[:, 1:]).ravel(), minlength=NUM_STATES**2).reshape(NUM_STATES, NUM_STATES)


class Score(NamedTuple):
    """Mean log-likelihood of a path outside a subset."""

    counts: np.ndarray
    num_paths: int
    gap: float

    def __call__(self, rates: np.ndarray, own: lg.Sequences) -> float:
        left = self.counts - transition_counts(own)
        with np.errstate(divide="ignore"):
            logs = np.log(expm(rates * self.gap))
        return float(np.sum(np.where(left > 0, left * logs, 0.0)) / (self.num_paths - own.num_sequences))


def readings(data: lg.Sequences) -> dict[str, tuple[float, np.ndarray]]:
    """{reading of m: (m, rates)}."""

    def shrunk(m: float, start: lg.Fit | None = None) -> lg.Fit:
        model = lg.MarkovJumpProcess(NUM_STATES, generator=lg.generators.Free(prior=lg.generators.pseudo_jumps(1.0, m)))
        return fitted(model, data, start=start)

    found = {}
    for name, more in (("(jumps + 1) / (5 time)", 1.0), ("jumps / (5 time)", 0.0)):
        m = mean_rate(data, more)
        found[name] = (m, rates_of(shrunk(m)))
    fit = shrunk(m := mean_rate(data))
    for _ in range(100):
        before, m = m, float(rates_of(fit)[OFF_DIAGONAL].mean())
        if abs(m - before) <= 1e-4 * m:
            break
        fit = shrunk(m, fit)
    return found | {"mean of the estimates": (m, rates_of(fit))}


def compare(paths: lg.Sequences, count: int, sizes: tuple[int, ...], wrong_sizes: tuple[int, ...], rows: Iterable[str]) -> dict[str, dict[int, dict]]:
    """{row: {size: {"errors": [subset], ...}}}."""
    noisy = with_errors(paths, ERROR)
    jobs = [(kind, kind, paths, sizes, estimate) for kind in (FREE, SHRUNK, THREE)]
    jobs += [(row, kind, noisy, wrong_sizes, estimate_with_errors) for kind, row in WRONG.items()]
    report: dict[str, dict[int, dict]] = {}
    for row, kind, data, own_sizes, make in jobs:
        for size in own_sizes if row in rows else ():
            began = time.perf_counter()
            found = [make(kind, data.select(chosen)) for chosen in subsets(paths.num_sequences, size, count)]
            entry: dict[str, Any] = {"errors": [error_of(one.rates) for one in found], "seconds": time.perf_counter() - began}
            if found[0].inside is not None:
                entry["inside"] = [one.inside for one in found]
            if found[0].error is not None:
                entry["label_errors"] = [one.error for one in found]
            report.setdefault(row, {})[size] = entry
            print(f"  {row}, {size} paths: {np.mean(entry['errors']):.4f}, {entry['seconds']:.0f} s", file=sys.stderr, flush=True)
    return report


def compare_readings(paths: lg.Sequences, count: int, sizes: tuple[int, ...]) -> dict[int, dict[str, dict]]:
    """{size: {reading: {"m", "errors", "scores"}}}, each over subsets."""
    gap = float(np.asarray(paths.times)[0, 1] - np.asarray(paths.times)[0, 0])
    score = Score(transition_counts(paths), paths.num_sequences, gap)
    report: dict[int, dict[str, dict]] = {}
    for size in sizes:
        for chosen in subsets(paths.num_sequences, size, count):
            own = paths.select(chosen)
            for name, (m, rates) in readings(own).items():
                entry = report.setdefault(size, {}).setdefault(name, {"m": [], "errors": [], "scores": []})
                entry["m"].append(m)
                entry["errors"].append(error_of(rates))
                entry["scores"].append(score(rates, own))
    return report


def pooled(paths: lg.Sequences) -> dict[str, list[float]]:
    """V, r and b of all paths: {name: [estimate, lower, upper]}."""
    fit = fitted(lg.MarkovJumpProcess(NUM_STATES, generator=GENERATORS[THREE](paths)), paths)
    return inside_intervals(fit)[1]


def entry_of(errors: list[float]) -> str:
    spread = f" ± {np.std(errors, ddof=1):.3f}" if len(errors) > 1 else ""
    return f"{np.mean(errors):.4f}{spread}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subsets", type=int, default=33)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rows", nargs="+", choices=ROWS, help="these rows of the table alone, and nothing else")
    parser.add_argument("--small", action="store_true", help="simulated paths and tiny sizes, to see that everything runs; no targets")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    where = machine(PACKAGES)
    print(f"{where['cpu']}, {where['cores']} cores, load {load_average()[0]} at the start")
    began = time.perf_counter()
    if options.small:
        # One size throughout, since every size is compiled anew.
        count, sizes, wrong_sizes, chosen = 1, (8,), (8,), (FREE, SHRUNK, THREE, WRONG[FREE])
        times = [np.linspace(0.0, 2.5, 30)] * 8
        paths = simulate_panel(0, TRUTH, times, stationary_law(TRUTH)).data
    else:
        count, sizes = options.subsets, tuple(options.sizes)
        wrong_sizes, chosen = tuple(size for size in sizes if size in WRONG_SIZES), options.rows or ROWS
        paths = lg.load("flashing_ratchet")
    report: dict[str, Any] = {"machine": where, "load_average": load_average(), "subsets": count, "published": PUBLISHED, "rows": {}}

    report["rows"] = rows = compare(paths, count, sizes, wrong_sizes, chosen)
    write_json(options.json, report)
    headers = ("root mean square error of 30 rates, paths:", *map(str, sizes))
    cells = [["foundation model, published", *(f"{PUBLISHED[size]:.3f}" if size in PUBLISHED else "" for size in sizes)]]
    cells += [[row, *(entry_of(found[size]["errors"]) if size in found else "" for size in sizes)] for row, found in rows.items()]
    print(f"\nMean ± standard deviation over {count} subsets\n\n{table(headers, cells)}\n", flush=True)

    for (row, size), target in ({} if options.small else TARGETS).items():
        if size in rows.get(row, {}):
            errors = rows[row][size]["errors"]
            standard_error = np.std(errors, ddof=1) / math.sqrt(len(errors))
            verdict = "reached" if np.mean(errors) <= target else "NOT reached"
            print(f"{row}, {size} paths: {np.mean(errors):.4f} (standard error {standard_error:.4f}), wanted at most {target:g}: {verdict}")

    if options.rows:
        return 0
    print("\nSubsets whose 95 % intervals hold the true value")
    held = [(row, size, np.array(entry["inside"])) for row, found in rows.items() for size, entry in found.items() if "inside" in entry]
    cells = [[f"{row}, {size} paths", *(f"{hits} of {count}" for hits in inside.sum(0)), f"{inside.all(1).sum()} of {count}"] for row, size, inside in held]
    print(f"\n{table(('', 'V', 'r', 'b', 'all three'), cells)}")
    report["pooled"] = ends = pooled(paths)
    listed = "; ".join(f"{name} {middle:.4f} ({lower:.4f} to {upper:.4f})" for name, (middle, lower, upper) in ends.items())
    print(f"\nAll {paths.num_sequences} paths, estimate and 95 % interval: {listed}")
    learned = [(row, size, entry["label_errors"]) for row, found in rows.items() for size, entry in found.items() if "label_errors" in entry]
    cells = [[f"{row}, {size} paths", entry_of(errors)] for row, size, errors in learned]
    print(f"\nEstimated probability of a wrong label, truly {ERROR}\n\n{table(('', 'estimate'), cells)}", flush=True)
    write_json(options.json, report)

    report["readings"] = compared = compare_readings(paths, count, tuple(size for size in sizes if size <= RUN))
    cells = [
        [f"{size} path{'s' * (size > 1)}, m = {name}", f"{np.mean(entry['m']):.3f}", entry_of(entry["errors"]), f"{np.mean(entry['scores']):.3f}"]
        for size, found in compared.items()
        for name, entry in found.items()
    ]
    print(f"\nReadings of m, the mean rate an edge\n\n{table(('', 'mean m', 'error', 'log-likelihood of a path outside'), cells)}")
    report["seconds"] = time.perf_counter() - began
    write_json(options.json, report)
    print(f"\n{report['seconds']:.0f} s, load {load_average()[0]} at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
