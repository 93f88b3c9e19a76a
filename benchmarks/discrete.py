"""The discrete chain beside dynamax and hmmlearn: smoother, gradient and EM, float64, CPU, all peers in one run.

    python benchmarks/discrete.py [--quick] [--json FILE]

Needs latentgate's optional dependencies `peers`. A ratio is a peer's median over latentgate's: above one, latentgate is faster.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

# Before JAX is loaded: the comparison is one of CPU code, whatever else the machine has.
os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from side_by_side import Lap, Timing, duration, load_average, machine, round_robin, table, timed, write_json

PACKAGES = ("latentgate", "jax", "jaxlib", "numpy", "dynamax", "hmmlearn")


class Settings(NamedTuple):
    """Sizes of one run; targets exist for the sizes of the full run only."""

    smoother: tuple[tuple[int, int], ...]
    gradient: tuple[tuple[int, int], ...]
    states: int
    neurons: int
    sequences: int
    steps: int
    iterations: int
    em_rounds: int
    rounds: int
    seconds: float
    warm_up: bool


FULL = Settings(
    smoother=tuple((states, steps) for steps in (1_000, 100_000) for states in (3, 5, 10, 30)),
    # Reverse mode through dynamax's scan keeps several arrays [T, K] and more: 30 states at 1e5 steps are cut to 1e4.
    gradient=((3, 1_000), (5, 1_000), (10, 1_000), (30, 1_000), (3, 100_000), (5, 100_000), (10, 100_000), (30, 10_000)),
    states=5, neurons=30, sequences=20, steps=1_000, iterations=50, em_rounds=5, rounds=30, seconds=12.0, warm_up=True,
)  # fmt: skip
QUICK = Settings(
    smoother=((3, 200),), gradient=((3, 200),),
    states=2, neurons=3, sequences=2, steps=50, iterations=3, em_rounds=1, rounds=3, seconds=0.1, warm_up=False,
)  # fmt: skip

SMOOTHER_TARGETS = {"dynamax": {5: 8.0, 10: 4.0, 30: 3.0}, "hmmlearn C++": {3: 1.0, 5: 1.0, 10: 1.0, 30: 1.0}}
GRADIENT_TARGETS = {"dynamax": {3: 10.0, 5: 10.0, 10: 4.0}}
EM_TARGETS = {
    "EM, first call": {"hmmlearn": 20.0, "dynamax": 3.5},
    "EM, second call": {"hmmlearn": 20.0, "dynamax kept": 3.5},
}


def result(name: str, timings: dict[str, Timing], targets: dict[str, float], differences: dict[str, float], **size: int) -> dict[str, Any]:
    """One row of the report."""
    ours = timings["latentgate"].median
    ratios = {peer: timing.median / ours for peer, timing in timings.items() if peer != "latentgate"}
    return {
        "name": name,
        **size,
        "timings": {peer: timing.to_json() for peer, timing in timings.items()},
        "ratios": ratios,
        "targets": targets,
        "reached": {peer: ratios[peer] >= target for peer, target in targets.items()},
        "differences": differences,
    }


def compare_smoothers(settings: Settings, logs: bool) -> list[dict[str, Any]]:
    import peers

    rows = []
    for num_states, num_steps in settings.smoother:
        chain = peers.random_chain(num_states, num_steps)
        calls = (peers.log_smoothers if logs else peers.smoothers)(chain)
        timings = round_robin(calls, settings.rounds, settings.seconds)
        ours = calls["latentgate"]()[:3]
        differences = {peer: _largest_difference(ours, calls[peer]()) for peer in ("dynamax", "hmmlearn") if peer in calls}
        targets = {} if logs or num_steps != 100_000 else {peer: by[num_states] for peer, by in SMOOTHER_TARGETS.items() if num_states in by}
        rows.append(result("smoother, log" if logs else "smoother", timings, targets, differences, num_states=num_states, num_steps=num_steps))
        _tick()
    return rows


def compare_gradients(settings: Settings) -> list[dict[str, Any]]:
    import peers

    rows = []
    for num_states, num_steps in settings.gradient:
        calls = peers.gradients(peers.random_chain(num_states, num_steps))
        timings = round_robin(calls, settings.rounds, settings.seconds)
        difference = _largest_difference(calls["latentgate"](), calls["dynamax"]())
        targets = {} if num_steps < 1_000 else {peer: by[num_states] for peer, by in GRADIENT_TARGETS.items() if num_states in by}
        rows.append(result("value and gradient", timings, targets, {"dynamax": difference}, num_states=num_states, num_steps=num_steps))
        _tick()
    return rows


def compare_expectation_maximisation(settings: Settings) -> list[dict[str, Any]]:
    """First and second calls, as two rows; each first call begins with empty compilation caches."""
    import peers

    counts = peers.simulated_counts(settings.states, settings.neurons, settings.sequences, settings.steps)
    names = list(peers.expectation_maximisers(counts, settings.iterations))
    if settings.warm_up:
        # Modules that are loaded late are loaded now, so that no first call pays for an import.
        for fitter in peers.expectation_maximisers(peers.Counts(counts.values[:1, :20], *counts[1:]), 2).values():
            fitter.call()
    firsts: dict[str, list[Lap]] = {name: [] for name in names}
    seconds: dict[str, list[Lap]] = {name: [] for name in names}
    histories: dict[str, np.ndarray] = {}
    for turn in range(settings.em_rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            jax.clear_caches()
            fitter = peers.expectation_maximisers(counts, settings.iterations)[name]
            first, fitted = timed(fitter.call)
            firsts[name].append(first)
            if name == "hmmlearn":
                # It compiles nothing, and takes longest: one call a round stands for both.
                seconds[name].append(firsts[name][-1])
            else:
                seconds[name].append(duration(fitter.call))
            if turn == 0:
                histories[name] = fitter.history(fitted)
                if len(histories[name]) != settings.iterations:
                    raise RuntimeError(f"{name} made {len(histories[name])} of {settings.iterations} iterations, so the comparison is void.")
            _tick()
    differences = {name: float(np.abs(history - histories["latentgate"]).max()) for name, history in histories.items() if name != "latentgate"}
    size = {"num_states": settings.states, "num_steps": settings.sequences * settings.steps, "num_iterations": settings.iterations}
    finals = {name: float(history[-1]) for name, history in histories.items()}
    rows = []
    for label, laps in (("EM, first call", firsts), ("EM, second call", seconds)):
        timings = {name: Timing(float(np.median([lap.wall for lap in firsts[name]])), tuple(laps[name])) for name in names}
        # With compilation, the call as its users make it; without, the peer to beat is the one that keeps its program.
        targets = EM_TARGETS[label] if settings is FULL else {}
        rows.append({**result(label, timings, targets, differences, **size), "final_log_likelihoods": finals})
    return rows


def _tick() -> None:
    print(".", end="", flush=True, file=sys.stderr)


def _largest_difference(ours: Any, theirs: Any) -> float:
    """Largest |difference| over the largest |value|, array by array."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max() / max(np.abs(np.asarray(a)).max(), 1.0)) for a, b in pairs)


def show(title: str, rows: list[dict[str, Any]], per_step: bool) -> None:
    """Prints one group: every peer's median [quartiles], ratio, compilation, target and whether it was reached."""
    unit, scale = ("ns a step", 1e9) if per_step else ("s", 1.0)
    cells = []
    for row in rows:
        divisor = row["num_steps"] if per_step else 1
        for peer, timing in row["timings"].items():
            keys = ("median_s", "lower_quartile_s", "upper_quartile_s", "processor_s")
            median, lower, upper, processor = (timing[key] * scale / divisor for key in keys)
            target = row["targets"].get(peer)
            digits = 1 if per_step else 3
            cells.append([
                f"{row['name']}  K={row['num_states']} T={row['num_steps']:g}" if peer == "latentgate" else "",
                peer,
                f"{median:.{digits}f}",
                f"{lower:.{digits}f}–{upper:.{digits}f}",
                f"{processor:.{digits}f}",
                f"{timing['compilation_s']:.2f}" if timing["compilation_s"] > 0.05 else "-",
                f"{row['ratios'][peer]:.2f}" if peer in row["ratios"] else "1",
                "-" if target is None else f"≥ {target:g}",
                "-" if target is None else ("yes" if row["reached"][peer] else "NO"),
                f"{row['differences'][peer]:.0e}" if peer in row["differences"] else "-",
            ])  # fmt: skip
    headers = ("", "peer", f"median, {unit}", "quartiles", "processor", "compiling, s", "ratio", "target", "reached", "difference")
    print(f"\n{title}\n\n{table(headers, cells)}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs; no targets")
    parser.add_argument("--json", metavar="FILE", help="write every number there")
    options = parser.parse_args(arguments)
    try:
        import peers  # noqa: F401
    except ImportError as error:
        print(f"{error}. This benchmark compares with dynamax and hmmlearn: pip install 'latentgate[peers]'.", file=sys.stderr)
        return 1
    settings = QUICK if options.quick else FULL
    before = load_average()
    where = machine(PACKAGES)
    print(f"{where['cpu']}, {where['cores']} cores, load {before[0]} at the start; " + ", ".join(f"{n} {v}" for n, v in where["versions"].items()))
    report = {"machine": where, "load_average": {"start": before}, "settings": settings._asdict(), "groups": {}}

    def add(name: str, title: str, rows: list[dict[str, Any]], per_step: bool = True) -> None:
        report["groups"][name] = rows
        report["load_average"]["end"] = load_average()
        show(title, rows, per_step)
        write_json(options.json, report)

    add("smoother", "Smoother: log-normaliser, marginals, summed expected transitions", compare_smoothers(settings, logs=False))
    add("log_smoother", "The same with sums of logarithms", compare_smoothers(settings, logs=True))
    add("gradient", "Log-normaliser and its gradient in all potentials", compare_gradients(settings))
    size = f"{settings.neurons} neurons, {settings.sequences} sequences of {settings.steps} steps"
    title = f"{settings.iterations} EM iterations of a Poisson HMM, {size}"
    add("em", title, compare_expectation_maximisation(settings), per_step=False)
    finals = report["groups"]["em"][0]["final_log_likelihoods"]
    print("\nlog-likelihood at the last iteration: " + ", ".join(f"{name} {value:.6f}" for name, value in finals.items()))
    wanted = [reached for rows in report["groups"].values() for row in rows for reached in row["reached"].values()]
    print(f"targets reached: {sum(wanted)} of {len(wanted)}; load {report['load_average']['end'][0]} at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
