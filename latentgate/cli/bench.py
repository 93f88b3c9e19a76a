"""`latentgate bench`: what the kernels take on this machine; beside peers from a checkout of the repository."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentgate.cli.shared import DONE, FAILED, Stages, add_command, add_precision, show

_SIZES = ((3, 1_000), (3, 100_000), (10, 100_000))
_LATENTS, _FEATURES, _GAUSSIAN_STEPS = 4, 30, 10_000
_GAPS = 1_000
_PEERS = ("dynamax", "hmmlearn")


def add(commands: Any) -> None:
    """Adds the command."""
    description = (
        "Times the kernels of latentgate on this machine in less than a minute: medians and quartiles of many calls, the first call, which compiles, apart. "
        "With --peers it runs benchmarks/discrete.py beside dynamax and hmmlearn, which takes a few minutes and needs a checkout of the repository."
    )
    parser = add_command(commands, "bench", "time the kernels on this machine", description, run)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--peers", action="store_true", help="beside dynamax and hmmlearn, where they and a checkout of the repository are here")
    add_precision(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    return _beside_peers(options) if options.peers else _alone(options)


def _alone(options: argparse.Namespace) -> int:
    tell = Stages()
    import jax

    # Not `prepare_jax`: with a cache of compiled programs the first call would not be one.
    if options.float64:
        jax.config.update("jax_enable_x64", True)

    from latentgate.environment import machine
    from latentgate.timing import load_average, round_robin

    rows = []
    for name, size, steps, call in _calls(options.quick):
        tell(f"{name}, {size}, {steps} steps")
        timing = round_robin({name: call}, rounds=3 if options.quick else 25, seconds=0.1 if options.quick else 2.0)[name]
        numbers = timing.to_json()
        rows.append({"kernel": name, "size": size, "steps": steps, **numbers, "ns_per_step": 1e9 * numbers["median_s"] / steps})
    facts = {"machine": machine(), "load_average": load_average(), "rows": rows, "seconds": tell.all}
    show(options, facts, _lines(facts))
    return DONE


def _calls(quick: bool) -> list[tuple[str, str, int, Callable[[], Any]]]:
    import jax
    import jax.numpy as jnp
    import numpy as np

    from latentgate import kernels
    from latentgate.kernels.generators import uniformisation

    rng = np.random.default_rng(0)
    found: list[tuple[str, str, int, Callable[[], Any]]] = []
    for states, steps in ((3, 100),) if quick else _SIZES:
        initial = jnp.full(states, -np.log(states))
        moves = jnp.log(jnp.asarray(0.9 * np.eye(states) + 0.1 / states))
        nodes = jnp.asarray(rng.normal(size=(steps, states)))
        slope = jax.jit(jax.value_and_grad(kernels.log_normaliser, argnums=(1, 2)))
        found += [
            ("discrete smoother", f"{states} states", steps, lambda chain=(initial, moves, nodes): kernels.smooth(*chain)),
            ("log-normaliser and gradient", f"{states} states", steps, lambda slope=slope, chain=(initial, moves, nodes): slope(*chain)),
            ("most probable path", f"{states} states", steps, lambda chain=(initial, moves, nodes): kernels.most_probable_path(*chain)),
        ]
    steps = 100 if quick else _GAUSSIAN_STEPS
    one = jnp.eye(_LATENTS)
    seen = kernels.Observations(
        jnp.asarray(rng.normal(size=(steps, _FEATURES))), jnp.asarray(rng.normal(size=(_FEATURES, _LATENTS))), variances=jnp.ones(_FEATURES)
    )
    chain = kernels.GaussianChain(jnp.zeros(_LATENTS), one, 0.95 * one, None, 0.1 * one, seen)
    found.append(("Kalman smoother", f"{_LATENTS} latents, {_FEATURES} features", steps, chain.smooth))
    gaps = 10 if quick else _GAPS
    rates = rng.uniform(0.1, 1.0, (1, 4, 4)) * (1 - np.eye(4))
    generator, times = jnp.asarray(rates - np.eye(4) * rates.sum(-1, keepdims=True)), jnp.asarray(rng.uniform(0.0, 5.0, gaps))
    matrices = jax.jit(uniformisation.transition_matrices)
    found.append(("exp(Q · gap)", "4 states, distinct gaps", gaps, lambda: matrices(generator, times)))
    return found


def _lines(facts: dict[str, Any]) -> list[str]:
    head = f"{'kernel':<30}{'size':<28}{'steps':>8}{'median ms':>12}{'quartiles ms':>18}{'ns a step':>12}{'compiling s':>13}"
    lines = [f"{facts['machine']}; load {facts['load_average'][0]}", head]
    for row in facts["rows"]:
        quartiles = f"{1e3 * row['lower_quartile_s']:.3f}–{1e3 * row['upper_quartile_s']:.3f}"
        lines.append(
            f"{row['kernel']:<30}{row['size']:<28}{row['steps']:>8}{1e3 * row['median_s']:>12.3f}{quartiles:>18}{row['ns_per_step']:>12.1f}"
            f"{row['compilation_s']:>13.2f}"
        )
    return [*lines, "Beside other packages: latentgate bench --peers, from a checkout of the repository."]


def _beside_peers(options: argparse.Namespace) -> int:
    missing = [name for name in _PEERS if importlib.util.find_spec(name) is None]
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "discrete.py"
    if missing:
        raise ImportError(f"--peers: {' and '.join(missing)} not installed; pip install 'latentgate[peers]' brings them.")
    if not script.is_file():
        raise FileNotFoundError(
            "--peers: the benchmarks are not part of the installed package; clone the repository, install from the clone (pip install -e '.[peers]'), "
            "and run the command again, or python benchmarks/discrete.py there."
        )
    with tempfile.TemporaryDirectory() as folder:
        numbers = Path(folder) / "numbers.json"
        command = [sys.executable, str(script), *(["--quick"] if options.quick else []), *(["--json", str(numbers)] if options.json else [])]
        # Its table would mix with the numbers.
        done = subprocess.run(command, check=False, stdout=sys.stderr if options.json else None).returncode == 0
        if done and options.json:
            show(options, json.loads(numbers.read_text()), [])
    return DONE if done else FAILED
