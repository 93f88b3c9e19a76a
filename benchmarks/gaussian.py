"""The Gaussian chain beside dynamax, statsmodels and pykalman: filter, smoother and gradient, float64, CPU, all peers in one run.

    python benchmarks/gaussian.py [--quick] [--json FILE]

Needs dynamax, statsmodels and pykalman. Every number is a time per step; a ratio is a peer's over latentgate's: above one,
latentgate is faster. Peers too slow, or too hungry for memory, for all steps get fewer, and the table says how many.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# Before JAX is loaded: the comparison is one of CPU code, whatever else the machine has. Four threads in XLA's pool, because on two
# cores dynamax's LAPACK calls can wait for one another for ever.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("NPROC", "4")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

from side_by_side import load_average, machine, round_robin, table, write_json

from latentgate.kernels import GaussianChain, Observations

PACKAGES = ("latentgate", "jax", "jaxlib", "numpy", "dynamax", "statsmodels", "pykalman")
OPERATIONS = ("filter", "smooth", "gradient")
TITLES = {
    "filter": "Filter: log-likelihood, filtered means and covariances",
    "smooth": "Smoother: log-likelihood, smoothed means and covariances, moments of neighbours",
    "gradient": "Log-likelihood and its gradient in the initial law, A, b, Q, H, d and R",
}

Call = Callable[[], Any]


class Settings(NamedTuple):
    """Sizes of one run; targets exist for the sizes of the full run only."""

    sizes: tuple[tuple[int, int], ...]
    steps: int
    # Steps of the peers that are too slow for all of them, (few channels, many channels): pykalman's Python loop, which inverts matrices
    # N x N by their singular values; statsmodels with its N x N algebra; dynamax's reverse mode, which keeps several arrays [T, N, N].
    pykalman_steps: tuple[int, int]
    statsmodels_steps: tuple[int, int]
    dynamax_gradient_steps: tuple[int, int]
    missing: float
    rounds: int
    seconds: float


FULL = Settings(
    ((2, 2), (4, 4), (4, 100), (10, 100)),
    steps=10_000,
    pykalman_steps=(300, 20),
    statsmodels_steps=(10_000, 200),
    dynamax_gradient_steps=(10_000, 1_000),
    missing=0.1,
    rounds=20,
    seconds=5.0,
)
QUICK = Settings(
    ((2, 2), (3, 9)), steps=60, pykalman_steps=(30, 20), statsmodels_steps=(60, 40), dynamax_gradient_steps=(60, 40), missing=0.1, rounds=3, seconds=0.1
)

WIDE = 8
SMOOTHER_TARGETS = {(4, 4): 10.0, (4, 100): 100.0, (10, 100): 20.0}
GRADIENT_TARGET, MISSING_TARGET = 10.0, 1.0


class Model(NamedTuple):
    """A constant linear Gaussian model with diagonal noise, and data from it."""

    initial_mean: np.ndarray
    initial_covariance: np.ndarray
    matrix: np.ndarray
    bias: np.ndarray
    covariance: np.ndarray
    emission_matrix: np.ndarray
    emission_bias: np.ndarray
    emission_covariance: np.ndarray
    values: np.ndarray
    observed: np.ndarray

    def first(self, steps: int) -> Model:
        return self._replace(values=self.values[:steps], observed=self.observed[:steps])


def random_model(latents: int, channels: int, steps: int, missing: float, seed: int = 0) -> Model:
    """Damped latents, all of them seen; entries missing at random."""
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.normal(size=(latents, latents)))[0]
    matrix, scale = 0.95 * rotation, 0.3 * rng.normal(size=(latents, latents))
    covariance = scale @ scale.T + 0.05 * np.eye(latents)
    emission, variances = rng.normal(size=(channels, latents)), rng.uniform(0.5, 2.0, channels)
    bias, offset = 0.1 * rng.normal(size=latents), rng.normal(size=channels)
    path = np.zeros((steps, latents))
    shocks = rng.normal(size=(steps, latents)) @ np.linalg.cholesky(covariance).T
    for t in range(1, steps):
        path[t] = matrix @ path[t - 1] + bias + shocks[t]
    values = path @ emission.T + offset + np.sqrt(variances) * rng.normal(size=(steps, channels))
    observed = rng.random((steps, channels)) >= missing
    return Model(np.zeros(latents), np.eye(latents), matrix, bias, covariance, emission, offset, np.diag(variances), values, observed)


class Peer(NamedTuple):
    """`call` is what is timed; `read` takes (log-likelihood, means) from what it returns, or None where there is nothing to compare."""

    call: Call
    steps: int
    read: Callable[[Any], tuple[Any, Any]] | None


def latentgate_call(model: Model, operation: str, masked: bool, jitted: bool, diagonal: bool = False) -> Call:
    """Ours, as called from Python, checks of the arguments included, or inside one compiled program; R whole or as variances."""
    *parameters, values, observed = (jnp.asarray(value) for value in model)
    if diagonal:
        parameters[-1] = jnp.diagonal(parameters[-1])

    def chain(parameters: list[jax.Array], values: jax.Array, observed: jax.Array) -> GaussianChain:
        mean, spread, matrix, bias, covariance, emission, offset, noise = parameters
        form: dict[str, Any] = {"variances" if diagonal else "covariance": noise}
        nodes = Observations(values, emission, offset, observed=observed if masked else None, **form)
        return GaussianChain(mean, spread, matrix, bias, covariance, nodes)

    def ask(parameters: list[jax.Array], values: jax.Array, observed: jax.Array) -> Any:
        if operation == "gradient":
            return jax.value_and_grad(lambda p: chain(p, values, observed).log_normaliser())(parameters)
        if operation == "filter":
            filtered = chain(parameters, values, observed).filter()
            return filtered.log_normaliser, filtered.means, filtered.covariances
        smoothed = chain(parameters, values, observed).smooth()
        return smoothed.log_normaliser, smoothed.means, smoothed.covariances, smoothed.lagged_moments

    program = jax.jit(ask) if jitted else ask
    return lambda: program(parameters, values, observed)


def dynamax_call(model: Model, operation: str, diagonal: bool) -> Call:
    """Compiled once. It knows nothing missing, so it always gets the whole data."""
    from dynamax.linear_gaussian_ssm import inference

    *parameters, values, _ = (jnp.asarray(value) for value in model)
    if diagonal:
        parameters[-1] = jnp.diagonal(parameters[-1])

    def ask(parameters: list[jax.Array], values: jax.Array) -> Any:
        mean, spread, matrix, bias, covariance, emission, offset, noise = parameters
        nothing: Any = None
        params = inference.ParamsLGSSM(
            initial=inference.ParamsLGSSMInitial(mean, spread),
            dynamics=inference.ParamsLGSSMDynamics(matrix, bias, nothing, covariance),
            emissions=inference.ParamsLGSSMEmissions(emission, offset, nothing, noise),
        )
        if operation == "smooth":
            found = inference.lgssm_smoother(params, values)
            return found.marginal_loglik, found.smoothed_means, found.smoothed_covariances, found.smoothed_cross_covariances
        found = inference.lgssm_filter(params, values)
        return found.marginal_loglik if operation == "gradient" else (found.marginal_loglik, found.filtered_means, found.filtered_covariances)

    program = jax.jit(jax.value_and_grad(ask) if operation == "gradient" else ask)
    return lambda: program(parameters, values)


def statsmodels_call(model: Model, operation: str, masked: bool) -> Call:
    from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother

    latents, channels = model.emission_matrix.shape[1], model.emission_matrix.shape[0]
    smoother = KalmanSmoother(channels, latents, k_posdef=latents)
    smoother.bind(np.ascontiguousarray(np.where(model.observed, model.values, np.nan) if masked else model.values))
    smoother["design"], smoother["obs_intercept"], smoother["obs_cov"] = model.emission_matrix, model.emission_bias[:, None], model.emission_covariance
    smoother["transition"], smoother["state_intercept"], smoother["state_cov"] = model.matrix, model.bias[:, None], model.covariance
    smoother["selection"] = np.eye(latents)
    smoother.initialize_known(model.initial_mean, model.initial_covariance)
    return smoother.filter if operation == "filter" else smoother.smooth


def pykalman_call(model: Model, operation: str, masked: bool) -> Call:
    """It drops a whole row where one entry is missing, so that its numbers are compared on complete data only."""
    from pykalman import KalmanFilter

    peer = KalmanFilter(
        model.matrix, model.emission_matrix, model.covariance, model.emission_covariance,
        model.bias, model.emission_bias, model.initial_mean, model.initial_covariance,
    )  # fmt: skip
    values = np.ma.masked_array(model.values, ~model.observed if masked else False)
    return (lambda: peer.filter(values)) if operation == "filter" else (lambda: peer.smooth(values))


def peers_of(model: Model, operation: str, masked: bool, settings: Settings) -> dict[str, Peer]:
    """Everyone who can do it; statsmodels and pykalman have no gradient."""
    wide = model.emission_matrix.shape[0] > WIDE
    # Nobody differentiates outside a compiled program.
    found = {"latentgate": Peer(latentgate_call(model, operation, masked, jitted=operation == "gradient"), settings.steps, None)}
    if operation != "gradient":
        found["latentgate in jit"] = Peer(latentgate_call(model, operation, masked, jitted=True), settings.steps, None)
    if wide:
        found["latentgate, diagonal R"] = Peer(latentgate_call(model, operation, masked, jitted=True, diagonal=True), settings.steps, lambda found: found[:2])
    steps = settings.dynamax_gradient_steps[wide] if operation == "gradient" else settings.steps
    for name, diagonal in {"dynamax": False, **({"dynamax, diagonal R": True} if wide else {})}.items():
        found[name] = Peer(dynamax_call(model.first(steps), operation, diagonal), steps, None if masked else lambda found: found[:2])
    if operation != "gradient":
        steps = settings.statsmodels_steps[wide]
        moments = "filtered_state" if operation == "filter" else "smoothed_state"
        found["statsmodels"] = Peer(statsmodels_call(model.first(steps), operation, masked), steps, lambda found: (found.llf, getattr(found, moments).T))
        steps = settings.pykalman_steps[wide]
        found["pykalman"] = Peer(pykalman_call(model.first(steps), operation, masked), steps, None if masked else lambda found: (None, found[0]))
    return found


def symmetrised(slopes: list[jax.Array]) -> list[np.ndarray]:
    """In the initial covariance, Q and R: only symmetric directions mean something, and dynamax's gradient is not symmetric."""
    arrays = [np.asarray(slope) for slope in slopes]
    return [(a + a.T) / 2 if position in (1, 4, 7) and a.ndim == 2 else a for position, a in enumerate(arrays)]


def difference(model: Model, operation: str, masked: bool, peer: Peer) -> float | None:
    """Largest difference to ours over the same steps, over the largest number, log-likelihood and means (or gradients) alike."""
    if peer.read is None:
        return None
    ours = latentgate_call(model.first(peer.steps), operation, masked, jitted=True)()[:2]
    theirs = peer.read(peer.call())
    if operation == "gradient":
        ours, theirs = ((value, symmetrised(slopes)) for value, slopes in (ours, theirs))
    pairs = [(mine, its) for mine, its in zip(ours, theirs, strict=True) if its is not None]
    leaves = [(a, b) for mine, its in pairs for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(its), strict=True)]
    # A diagonal noise has a diagonal gradient.
    leaves = [(np.diagonal(a) if np.ndim(a) > np.ndim(b) else np.asarray(a), np.asarray(b)) for a, b in leaves]
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1.0)) for a, b in leaves)


def targets_of(size: tuple[int, int], operation: str, masked: bool) -> dict[str, float]:
    if masked:
        return {"dynamax": MISSING_TARGET}
    if operation == "gradient":
        return {"dynamax": GRADIENT_TARGET}
    return {"dynamax": SMOOTHER_TARGETS[size]} if operation == "smooth" and size in SMOOTHER_TARGETS else {}


def compare(operation: str, settings: Settings) -> list[dict[str, Any]]:
    """One row for every size, with complete data and with entries missing."""
    rows = []
    for masked in (False, True):
        for latents, channels in settings.sizes:
            model = random_model(latents, channels, settings.steps, settings.missing)
            peers = peers_of(model, operation, masked, settings)
            timings = round_robin({name: peer.call for name, peer in peers.items()}, settings.rounds, settings.seconds)
            per_step = {name: timing.median / peers[name].steps for name, timing in timings.items()}
            ratios = {name: value / per_step["latentgate"] for name, value in per_step.items() if name != "latentgate"}
            targets = targets_of((latents, channels), operation, masked) if settings.steps == FULL.steps else {}
            differences = {name: difference(model, operation, masked, peer) for name, peer in peers.items() if name != "latentgate"}
            rows.append({
                "name": f"{operation}, missing" if masked else operation, "latents": latents, "channels": channels, "missing": masked,
                "num_steps": {name: peer.steps for name, peer in peers.items()},
                "timings": {name: timing.to_json() for name, timing in timings.items()},
                "ratios": ratios, "targets": targets, "reached": {name: ratios[name] >= target for name, target in targets.items()},
                "differences": {name: value for name, value in differences.items() if value is not None},
            })  # fmt: skip
            print(".", end="", flush=True, file=sys.stderr)
            # Programs of one size are of no use to the next, and hold memory.
            jax.clear_caches()
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Prints one group: every peer's median [quartiles] a step, steps, ratio, compilation, target and whether it was reached."""
    cells = []
    for row in rows:
        for peer, timing in row["timings"].items():
            steps = row["num_steps"][peer]
            median, lower, upper, processor = (timing[key] * 1e6 / steps for key in ("median_s", "lower_quartile_s", "upper_quartile_s", "processor_s"))
            target = row["targets"].get(peer)
            cells.append([
                f"d={row['latents']} N={row['channels']}{', missing' if row['missing'] else ''}" if peer == "latentgate" else "",
                peer, f"{steps:g}", f"{median:.3f}", f"{lower:.3f}–{upper:.3f}", f"{processor:.3f}",
                f"{timing['compilation_s']:.2f}" if timing["compilation_s"] > 0.05 else "-",
                f"{row['ratios'][peer]:.2f}" if peer in row["ratios"] else "1",
                "-" if target is None else f"≥ {target:g}",
                "-" if target is None else ("yes" if row["reached"][peer] else "NO"),
                f"{row['differences'][peer]:.0e}" if peer in row["differences"] else "-",
            ])  # fmt: skip
    headers = ("", "peer", "steps", "median, µs a step", "quartiles", "processor", "compiling, s", "ratio", "target", "reached", "difference")
    print(f"\n{title}\n\n{table(headers, cells)}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs; no targets")
    parser.add_argument("--json", metavar="FILE", help="write every number there")
    parser.add_argument("--operations", nargs="+", choices=OPERATIONS, default=OPERATIONS, help="some of the groups")
    parser.add_argument("--sizes", nargs="+", metavar="DxN", help="latents and channels, such as 4x100, in the place of all sizes")
    options = parser.parse_args(arguments)
    try:
        import dynamax  # noqa: F401
        import pykalman  # noqa: F401
        import statsmodels  # noqa: F401
    except ImportError as error:
        print(f"{error}. This benchmark compares with dynamax, statsmodels and pykalman: pip install dynamax statsmodels pykalman.", file=sys.stderr)
        return 1
    settings = QUICK if options.quick else FULL
    if options.sizes:
        settings = settings._replace(sizes=tuple(tuple(int(part) for part in size.split("x")) for size in options.sizes))
    before = load_average()
    where = machine(PACKAGES)
    print(f"{where['cpu']}, {where['cores']} cores, load {before[0]} at the start; " + ", ".join(f"{n} {v}" for n, v in where["versions"].items()))
    print(f"{settings.missing:.0%} of the entries missing where it says so; dynamax knows nothing missing and always has the complete data.")
    report = {"machine": where, "load_average": {"start": before}, "settings": settings._asdict(), "groups": {}}
    for operation in options.operations:
        rows = compare(operation, settings)
        report["groups"][operation] = rows
        report["load_average"]["end"] = load_average()
        show(TITLES[operation], rows)
        write_json(options.json, report)
    wanted = [reached for rows in report["groups"].values() for row in rows for reached in row["reached"].values()]
    print(f"\ntargets reached: {sum(wanted)} of {len(wanted)}; load {report['load_average']['end'][0]} at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
