"""What a person waits for: imports, the first and the second fit of each family, the demonstration, the notebooks. Fresh processes, CPU, float32.

    python benchmarks/first_call.py [--only NAME ...] [--rounds N] [--notebooks] [--json FILE]

Every number is of a new interpreter. Each fit is made twice in it: the first call compiles, the second does not. Then the same with a cache of compiled
programs (`lg.compilation_cache`): an empty folder, which is filled, and once more, when it is full. The demonstration and the notebooks (QUICK settings;
--notebooks, slow) are whole processes. Medians over rounds, one by default; mind the load in the first line.

Wanted: `import latentgate` adds less than 0.5 s to `import jax`.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
# Before JAX is loaded, here and in the processes that are measured.
os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(ROOT))

from side_by_side import Lap, load_average, machine, table, write_json

from latentgate.cli.first_calls import IMPORTS, SMALL_HMM, in_fresh_process, twice

PACKAGES = ("latentgate", "jax", "jaxlib", "numpy")
WANTED = 0.5
_COUNTS = "rng = np.random.default_rng(0)\ndata = lg.Sequences.from_arrays(list(rng.poisson(1.0, (10, 100, 10)).astype(float)), bin_width=0.05)\n"
FAMILIES: dict[str, tuple[str, str]] = {
    "HMM": SMALL_HMM,
    "GLM-HMM": (
        _COUNTS + "glm = lg.emissions.PoissonGLM(10, history=lg.basis.Exponential(5), coupling=lg.priors.Ridge())\nmodel = lg.HMM(3, glm)",
        "lg.fit(model, data, lg.EM(max_iterations=10, tolerance=0.0), seed=0, progress=False)",
    ),
    "PoissonLDS": (_COUNTS + "model = lg.PoissonLDS(3, 10)", "lg.fit(model, data, lg.EM(max_iterations=10, tolerance=0.0), seed=0, progress=False)"),
    "jump process": (
        "from latentgate.data.jump_processes import simulate_panel\n"
        "rates = [[-0.3, 0.2, 0.1], [0.0, -0.4, 0.4], [0.0, 0.0, 0.0]]\n"
        "data = simulate_panel(0, rates, [[0.0, 0.5, 2.0, 4.5]] * 200, initial=0).data\n"
        "model = lg.MarkovJumpProcess(3, generator=[(0, 1), (0, 2), (1, 2)])",
        "lg.fit(model, data, lg.EM(max_iterations=30, tolerance=0.0), seed=0, progress=False)",
    ),
    "mixture of experts": (
        "rng = np.random.default_rng(0)\nx = rng.uniform(0, 1, (400, 1))\n"
        "y = np.where(x < 0.5, 15 - 20 * x, -5 + 20 * x) + 0.4 * rng.normal(size=x.shape)\n"
        "data = lg.Sequences.from_arrays([y], inputs=[x])\n"
        "model = lg.MixtureOfExperts(gate=lg.gates.Softmax(), experts=lg.experts.LinearGaussian(2, scale=4.0))",
        "lg.fit(model, data, lg.EM(restarts=4, max_iterations=30, tolerance=0.0), seed=0, progress=False)",
    ),
    "Langevin flow": (
        _COUNTS + "model = lg.LangevinFlow(2, 10, potential=lg.potentials.Quadratic())",
        "lg.fit(model, data, lg.AmortisedSVI(max_epochs=5, batch_size=10), seed=0, progress=False)",
    ),
}
_DEMO = "from latentgate import cli\nassert cli.main(['demo', '--quick', '--recording', 'simulated_insula', '--out', {out!r}]) == 0"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("imports", *FAMILIES, "demo"), help="these alone")
    parser.add_argument("--rounds", type=int, default=1, help="times everything is measured")
    parser.add_argument("--notebooks", action="store_true", help="also every notebook with its QUICK settings; slow")
    parser.add_argument("--json", metavar="FILE", help="write every number there")
    options = parser.parse_args(arguments)
    wanted = options.only or ("imports", *FAMILIES, "demo")
    before = load_average()
    where = machine(PACKAGES)
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    print(f"{where['cpu']}, {where['cores']} cores, {versions}, load {before[0]} at the start", flush=True)

    report: dict[str, Any] = {"machine": where, "load_average": {"start": before}, "rounds": options.rounds}
    if "imports" in wanted:
        report["imports"] = medians([in_fresh_process(IMPORTS) for _ in range(options.rounds)])
        show_imports(report["imports"])
    names = [name for name in FAMILIES if name in wanted]
    report["fits"] = {name: medians([fits(*FAMILIES[name]) for _ in range(options.rounds)]) for name in names}
    if names:
        show_fits(report["fits"])
    whole: dict[str, Callable[[dict[str, str]], Lap]] = {"latentgate demo --quick": demonstration} if "demo" in wanted else {}
    if options.notebooks:
        whole |= {f"notebook {path.stem}": lambda environment, path=path: notebook(path, environment) for path in sorted((ROOT / "notebooks").glob("*.py"))}
    report["processes"] = {name: medians([three_times(call) for _ in range(options.rounds)]) for name, call in whole.items()}
    if whole:
        show_processes(report["processes"])
    report["load_average"]["end"] = load_average()
    print(f"\nload {report['load_average']['end'][0]} at the end")
    write_json(options.json, report)
    return 0


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.median([one[name] for one in rounds])) for name in rounds[0]}


def fits(setup: str, call: str) -> dict[str, float]:
    """Seconds of first and second calls: without a cache, with an empty one, with a full one."""
    _tick()
    with tempfile.TemporaryDirectory() as folder:
        found = {"no": twice(setup, call, None), "empty": twice(setup, call, folder), "full": twice(setup, call, folder)}
    return {f"{which}, {state} cache": seconds for state, timings in found.items() for which, seconds in timings.items()}


def three_times(call: Callable[[dict[str, str]], Lap]) -> dict[str, float]:
    """Seconds of a whole process without a cache, with an empty one, with a full one."""
    from latentgate.compilation import MINIMUM_SECONDS

    with tempfile.TemporaryDirectory() as folder:
        cached = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": str(MINIMUM_SECONDS)}
        laps = {"no cache": call({}), "empty cache": call(cached), "full cache": call(cached)}
    return {name: lap.wall for name, lap in laps.items()} | {f"{name} (processor)": lap.processor for name, lap in laps.items()}


def demonstration(environment: dict[str, str]) -> Lap:
    with tempfile.TemporaryDirectory() as folder:
        return seconds_of([sys.executable, "-c", _DEMO.format(out=folder)], environment)


def notebook(path: Path, environment: dict[str, str]) -> Lap:
    """As a script: the cells of its paired file, without the seconds of a kernel."""
    return seconds_of([sys.executable, str(path)], {**environment, "LATENTGATE_QUICK": "1"})


def seconds_of(command: list[str], environment: dict[str, str]) -> Lap:
    _tick()
    # Only JAX's own switch decides, so that the command's default cache is out of the way.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE")}
    everywhere = {**inherited, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "LATENTGATE_NO_COMPILATION_CACHE": "1", **environment}
    start, spent = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=everywhere, cwd=ROOT / "notebooks", capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Lap(time.perf_counter() - start, now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime)


def show_imports(imports: dict[str, float]) -> None:
    print("\n" + table(("imports", "s"), [[name, f"{seconds:.3f}"] for name, seconds in imports.items()]))
    added = imports["import latentgate (added)"]
    print(f"import latentgate adds {added:.3f} s, wanted < {WANTED}: {'reached' if added < WANTED else 'NOT REACHED'}", flush=True)


def show_fits(found: dict[str, dict[str, float]]) -> None:
    headers = ("fit: s on the clock / of processors", "first", "second", "first, empty cache", "first, full cache", "saved")
    rows = []
    for name, one in found.items():
        cells = [(one[f"{call} cache"], one[f"{which} (processor), {state} cache"]) for call, which, state in _CALLS]
        rows.append([name, *(f"{wall:.2f} / {processor:.2f}" for wall, processor in cells), _saved(cells[0], cells[-1])])
    print("\n" + table(headers, rows), flush=True)


_CALLS = tuple((f"{which}, {state}", which, state) for which, state in (("first", "no"), ("second", "no"), ("first", "empty"), ("first", "full")))


def show_processes(found: dict[str, dict[str, float]]) -> None:
    rows = []
    for name, one in found.items():
        cells = [(one[state], one[f"{state} (processor)"]) for state in ("no cache", "empty cache", "full cache")]
        rows.append([name, *(f"{wall:.1f} / {processor:.1f}" for wall, processor in cells), _saved(cells[0], cells[-1])])
    print("\n" + table(("whole process: s on the clock / of processors", "no cache", "empty cache", "full cache", "saved"), rows), flush=True)


def _saved(without: tuple[float, float], full: tuple[float, float]) -> str:
    return " / ".join(f"{1 - after / before:.0%}" for before, after in zip(without, full, strict=True))


def _tick() -> None:
    print(".", end="", flush=True, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
