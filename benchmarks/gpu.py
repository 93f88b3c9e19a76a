"""The discrete kernels on a CUDA device, every backend, float32 and float64, beside the floor set by the bytes that must move.

    python benchmarks/gpu.py [--json FILE] [--seconds 540] [--platform cpu] [--states 3 5] [--backends sequential] ...

Needs JAX, NumPy and `latentgate.kernels` only. Times are medians of calls that were waited for, launch included, compilation apart. The floor
is the time to read the inputs once and write the results once at the bandwidth of a large copy, measured in the same run. The numbers are
compared with the sequential backend on the CPU in float64; state paths with the CPU in the same precision.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
from side_by_side import Timing, duration, load_average, machine, table, write_json

from latentgate import kernels

OPERATIONS = ("log_normaliser", "smooth", "value_and_gradient", "most_probable_path", "sample")
BACKENDS = ("sequential", "associative")
DTYPES = ("float32", "float64")
# The associative scan holds about this many arrays [T, K, K] at its widest; a cell that would not fit is left out, by name.
SCAN_COPIES = 12
Device = Any  # JAX has no public class for it.


class Potentials(NamedTuple):
    """Arguments of every kernel, NumPy, float64."""

    log_initial: np.ndarray
    log_transitions: np.ndarray
    log_nodes: np.ndarray


class Cell(NamedTuple):
    """What one row measures."""

    operation: str
    backend: str
    dtype: str
    num_states: int
    batch: int
    num_steps: int


def potentials(num_states: int, batch: int, num_steps: int) -> Potentials:
    rng = np.random.default_rng(0)
    transitions = 0.9 * np.eye(num_states) + 0.1 * rng.dirichlet(np.ones(num_states), num_states)
    log_nodes = rng.normal(scale=2.0, size=(batch, num_steps, num_states))
    return Potentials(np.log(rng.dirichlet(np.ones(num_states))), np.log(transitions), log_nodes)


def operation(name: str, backend: str) -> Callable[..., Any]:
    """The kernel as a function of a key and the potentials."""

    def total(*chain: jax.Array) -> jax.Array:
        return kernels.log_normaliser(*chain, backend=backend).sum()

    functions: dict[str, Callable[..., Any]] = {
        "log_normaliser": lambda key, *chain: kernels.log_normaliser(*chain, backend=backend),
        "smooth": lambda key, *chain: kernels.smooth(*chain, backend=backend),
        "value_and_gradient": lambda key, *chain: jax.value_and_grad(total, argnums=(0, 1, 2))(*chain),
        "most_probable_path": lambda key, *chain: kernels.most_probable_path(*chain, backend=backend),
        "sample": lambda key, *chain: kernels.sample(key, *chain, backend=backend),
    }
    return functions[name]


def prepared(device: Device, cell: Cell) -> tuple[jax.Array, ...]:
    """A key and the potentials on a device."""
    chain = potentials(cell.num_states, cell.batch, cell.num_steps)
    return jax.device_put((jax.random.key(0), *(x.astype(cell.dtype) for x in chain)), device)


def reference(cell: Cell) -> list[np.ndarray]:
    """The same answer from the CPU: in float64, but for paths, which depend on rounding where states tie."""
    paths = cell.operation in ("most_probable_path", "sample")
    return _on_cpu(cell._replace(backend="sequential", dtype=cell.dtype if paths else "float64"))


@lru_cache(maxsize=2 * len(OPERATIONS))
def _on_cpu(cell: Cell) -> list[np.ndarray]:
    with jax.enable_x64(cell.dtype == "float64"):
        arguments = prepared(jax.devices("cpu")[0], cell)
        return [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(operation(cell.operation, cell.backend))(*arguments))]


def disagreement(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Largest |difference| over the largest |value| of each array; for states, the share of steps that differ."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        if a.dtype.kind in "iub":
            worst = max(worst, float(np.mean(a != b)))
        else:
            difference = float(np.abs(a.astype(float) - b.astype(float)).max() / max(float(np.abs(b).max()), 1.0))
            # A NaN would lose every comparison, and pass unseen.
            worst = max(worst, np.inf if np.isnan(difference) else difference)
    return worst


def copy_bandwidth(device: Device, num_bytes: int) -> float:
    """Bytes a second of reading and writing, by adding one to a large array."""
    x = jax.device_put(np.ones(num_bytes // 4, np.float32), device)
    add = jax.jit(lambda x: x + 1.0)
    duration(partial(add, x), 3)
    return 2.0 * num_bytes / float(np.median([duration(partial(add, x)).wall for _ in range(20)]))


def measure(device: Device, cell: Cell, bandwidth: float, seconds: float) -> dict[str, Any]:
    """One row: compiles, times, compares. Raises what JAX raises when memory runs out."""
    with jax.enable_x64(cell.dtype == "float64"):
        arguments = prepared(device, cell)
        begun = time.perf_counter()
        compiled = jax.jit(operation(cell.operation, cell.backend)).lower(*arguments).compile()
        compilation = time.perf_counter() - begun
        call = partial(compiled, *arguments)
        first = duration(call).wall
        # A sequential scan of 1e5 steps takes seconds on a GPU: one call then has to do.
        enough = 1 if first > 1.0 else 3
        laps = [duration(call) for _ in range(max(enough, min(50, int(seconds / max(first, 1e-9)))))]
        found = [np.asarray(leaf) for leaf in jax.tree.leaves(call())]
    timing = Timing(first, tuple(laps))
    moved = sum(x.nbytes for x in arguments[1:]) + sum(x.nbytes for x in found)
    return {
        **cell._asdict(),
        **timing.to_json(),
        "compilation_s": compilation,
        "bytes": moved,
        "floor_s": moved / bandwidth,
        "times_floor": timing.median / (moved / bandwidth),
        "disagreement": disagreement(found, reference(cell)),
    }


def fits(cell: Cell, memory: int | None) -> bool:
    if memory is None or cell.backend != "associative":
        return True
    return SCAN_COPIES * cell.batch * cell.num_steps * cell.num_states**2 * np.dtype(cell.dtype).itemsize < memory


def line(row: dict[str, Any]) -> tuple[str, ...]:
    size = f"{row['operation']}  K={row['num_states']} {row['batch']}x{row['num_steps']}"
    if "skipped" in row:
        return (size, row["backend"], row["dtype"], row["skipped"], *["-"] * 5)
    return (
        size,
        row["backend"],
        row["dtype"],
        f"{row['median_s'] * 1e3:.3f}",
        f"{row['lower_quartile_s'] * 1e3:.3f}–{row['upper_quartile_s'] * 1e3:.3f}",
        f"{row['floor_s'] * 1e3:.4f}",
        f"{row['times_floor']:.3g}",
        f"{row['compilation_s']:.1f}",
        f"{row['disagreement']:.0e}",
    )


HEADERS = ("kernel", "backend", "precision", "median, ms", "quartiles", "floor, ms", "times floor", "compiling, s", "from CPU")


def shape(text: str) -> tuple[int, int]:
    batch, _, steps = text.partition("x")
    return int(batch), int(steps)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", choices=("cuda", "cpu"), default="cuda", help="cpu: a tiny run, to see that the script works")
    parser.add_argument("--json", metavar="FILE", help="write every number there, after every row")
    parser.add_argument("--seconds", type=float, default=1_500.0, help="begin no new row after this time; rows left are counted")
    parser.add_argument("--states", type=int, nargs="+", help="numbers of states")
    parser.add_argument("--shapes", type=shape, nargs="+", metavar="BATCHxSTEPS", help="for example 1x1000 256x1000")
    parser.add_argument("--operations", nargs="+", choices=OPERATIONS, default=OPERATIONS)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    options = parser.parse_args(arguments)
    tiny = options.platform == "cpu"
    try:
        device = jax.devices(options.platform)[0]
    except RuntimeError as error:
        print(f"no CUDA device: nothing measured\nJAX says: {error}")
        return 0
    begun = time.perf_counter()
    memory = (device.memory_stats() or {}).get("bytes_limit")
    size = 2**24 if tiny else min(2**30, (memory or 2**30) // 8)
    bandwidth = copy_bandwidth(device, size)
    where = machine(("latentgate", "jax", "jaxlib", "numpy"))
    print(f"{device.device_kind}: {bandwidth / 1e9:.0f} GB/s read and written by a copy of {size >> 20} MiB")
    print(f"host {where['cpu']}, load {load_average()[0]}")
    print(", ".join(f"{name} {version}" for name, version in where["versions"].items()), flush=True)
    report = {"device": device.device_kind, "platform": options.platform, "bandwidth_bytes_per_s": bandwidth, "machine": where, "rows": []}
    report["load_average"] = {"start": load_average()}
    states = options.states or ((3,) if tiny else (3, 5, 10, 30))
    shapes = options.shapes or (((2, 4),) if tiny else ((1, 1_000), (256, 1_000), (1, 100_000)))
    cells = [
        Cell(name, backend, dtype, num_states, batch, num_steps)
        for batch, num_steps in shapes
        for num_states in states
        for dtype in options.dtypes
        for backend in options.backends
        for name in options.operations
    ]
    for done, cell in enumerate(cells):
        if time.perf_counter() - begun > options.seconds:
            print(f"\n{len(cells) - done} of {len(cells)} rows not measured: {options.seconds:g} s were up (--seconds)")
            report["left"] = len(cells) - done
            break
        try:
            row = measure(device, cell, bandwidth, 0.05 if tiny else 0.5) if fits(cell, memory) else {**cell._asdict(), "skipped": "would not fit"}
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            row = {**cell._asdict(), "skipped": "out of memory"}
        report["rows"].append(row)
        report["load_average"]["end"] = load_average()
        write_json(options.json, report)
        if done % 10 == 9:
            print(".", end="", flush=True, file=sys.stderr)
    print("\n" + table(HEADERS, [line(row) for row in report["rows"]]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
