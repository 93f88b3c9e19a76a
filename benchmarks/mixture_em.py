"""EM of a softmax-gated mixture of linear normal experts beside NumPy and scikit-learn loops, in one run. float64, CPU.

    python benchmarks/mixture_em.py [--json FILE] [--rows 100000] [--experts 4] [--iterations 10 50]
    python benchmarks/mixture_em.py --quick          # tiny sizes, to see that everything runs

One input, one output. All ways start from the same parameters (least squares on quantiles of the input, a flat gate), know no prior, and make the same number
of iterations without a test of convergence.

    latentgate            `lg.fit(..., lg.EM(...))` as it is called from Python, and its log-likelihood history; the gate makes one Newton step, of two lengths
    NumPy                 vectorised over rows, experts first in memory; products of the inputs made once; weighted least squares in closed form; up to three
                          Newton steps for the gate, halved where they do not climb, none where a step promises less than 1e-12 nats a row
    NumPy, one step       the same with one Newton step for the gate and no stop: latentgate's work, and its numbers where full steps climb
    NumPy, gate solved    the same with the stop, and as many Newton steps as the gate needs
    scikit-learn          `LinearRegression` with responsibilities as sample weights for every expert, and for the gate `LogisticRegression` (newton-cg, begun
                          where it ended before), which takes fractional responses as weighted copies of every row

A fit costs something before it iterates (for latentgate: checks, a random start that is not used, the record of the fit), so that the time of an iteration is
the difference of two fits of different lengths over the difference of their iterations; the whole of the longer fit is reported beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from side_by_side import duration, load_average, machine, round_robin, table, write_json

import latentgate as lg

PACKAGES = ("latentgate", "jax", "jaxlib", "numpy", "scipy", "scikit-learn")
OURS, NUMPY, ONE, SOLVED, SKLEARN = "latentgate", "NumPy", "NumPy, one step", "NumPy, gate solved", "scikit-learn"
# Newton steps that the gate of the NumPy loop makes in one M-step, at most.
NEWTON_STEPS = 3
MOST_NEWTON_STEPS = 100
# Twice the nats a row that a further Newton step of the gate must promise.
WORTH_A_STEP = 2e-12
SKLEARN_ITERATIONS = (1, 3)

Start = dict[str, np.ndarray]


def made_up(num_rows: int, num_experts: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [n, 1] and outputs [n] of experts that take over from each other along the input, and overlap: EM is not done within the iterations timed."""
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(0.0, 1.0, num_rows)
    centres = (np.arange(num_experts) + 0.5) / num_experts
    scores = -40.0 * (inputs[:, None] - centres) ** 2
    # Gumbel noise makes the largest score a draw from the softmax.
    expert = np.argmax(scores + rng.gumbel(size=scores.shape), axis=1)
    slopes = 3.0 * (-1.0) ** np.arange(num_experts)
    means = slopes[expert] * (inputs - centres[expert]) + np.sin(3.0 * expert)
    return inputs[:, None], means + rng.uniform(0.2, 0.4, num_experts)[expert] * rng.normal(size=num_rows)


def quantile_start(inputs: np.ndarray, outputs: np.ndarray, num_experts: int) -> Start:
    """Least squares on quantiles of the first input, and a flat gate; keys are latentgate's names."""
    cuts = np.quantile(inputs[:, 0], np.linspace(0, 1, num_experts + 1)[1:-1])
    group = np.searchsorted(cuts, inputs[:, 0])
    design = np.column_stack([inputs, np.ones(len(outputs))])
    lines = np.array([np.linalg.lstsq(design[group == k], outputs[group == k])[0] for k in range(num_experts)])
    residuals = outputs - np.sum(design * lines[group], axis=1)
    return {
        "gate.weights": np.zeros((num_experts, inputs.shape[1])),
        "gate.bias": np.zeros(num_experts),
        "experts.weights": lines[:, :-1],
        "experts.bias": lines[:, -1],
        "experts.scale": np.array([residuals[group == k].std() for k in range(num_experts)]),
    }


class Climbed(NamedTuple):
    """What a loop leaves.

    Attributes:
        history: [iteration] log-likelihood before every iteration.
        newton_steps: [iteration] steps of the gate.
    """

    history: np.ndarray
    newton_steps: np.ndarray


def log_sum_exp(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over the first axis, with the softmax, which falls off: [n], [K, n]."""
    largest = values.max(axis=0)
    raised = values - largest
    np.exp(raised, out=raised)
    total = raised.sum(axis=0)
    raised /= total
    return largest + np.log(total), raised


class NumPyMixture:
    """EM in NumPy. Experts come first in memory, so that sums over them are sums of long rows.

    Args:
        inputs: [n, M].
        outputs: [n].
        most_steps: Newton steps of the gate in one M-step, at most.
        smallest_decrement: of a Newton step of the gate, a row; a step with less is not made.
    """

    def __init__(self, inputs: np.ndarray, outputs: np.ndarray, most_steps: int, smallest_decrement: float = WORTH_A_STEP) -> None:
        self.outputs, self.most_steps, self.smallest_decrement = outputs, most_steps, smallest_decrement * len(outputs)
        self.design = np.column_stack([inputs, np.ones(len(outputs))])
        self.columns = np.ascontiguousarray(self.design.T)
        first, second = np.triu_indices(self.design.shape[1])
        self.products = self.design[:, first] * self.design[:, second]
        # Where the product of columns d and e is found.
        self.place = np.empty((self.design.shape[1],) * 2, int)
        self.place[first, second] = self.place[second, first] = np.arange(len(first))
        self.targets = self.design * outputs[:, None]

    def fit(self, start: Start, iterations: int) -> Climbed:
        gate = np.column_stack([start["gate.weights"], start["gate.bias"]])
        lines = np.column_stack([start["experts.weights"], start["experts.bias"]])
        scale = start["experts.scale"]
        gate = gate - gate[-1]
        squares = self.squares(lines)
        scores = gate @ self.columns
        normaliser, probs = log_sum_exp(scores)
        history, steps = np.empty(iterations), np.empty(iterations, int)
        for iteration in range(iterations):
            log_joint = squares * (-0.5 / scale**2)[:, None]
            log_joint += scores
            log_joint -= np.log(scale * np.sqrt(2 * np.pi))[:, None]
            log_density, shares = log_sum_exp(log_joint)
            history[iteration] = (log_density - normaliser).sum()
            lines = np.linalg.solve((shares @ self.products)[:, self.place], (shares @ self.targets)[:, :, None])[:, :, 0]
            squares = self.squares(lines)
            scale = np.sqrt(np.einsum("kn,kn->k", shares, squares) / shares.sum(axis=1))
            gate, scores, normaliser, probs, steps[iteration] = self.gate_step(gate, scores, normaliser, probs, shares)
        return Climbed(history, steps)

    def squares(self, lines: np.ndarray) -> np.ndarray:
        """[K, n] squares of what the lines leave."""
        residuals = lines @ self.columns
        residuals -= self.outputs
        residuals *= residuals
        return residuals

    def gate_step(self, gate: np.ndarray, scores: np.ndarray, normaliser: np.ndarray, probs: np.ndarray, shares: np.ndarray) -> tuple[Any, ...]:
        """Newton steps for the logit with fractional responses; the last row of the gate stays zero."""
        num_free, num_columns = len(gate) - 1, gate.shape[1]
        moments = shares @ self.design
        value = np.sum(gate * moments) - normaliser.sum()
        first, second = np.tril_indices(num_free)
        step = 0
        for step in range(1, self.most_steps + 1):
            gradient = (moments - probs @ self.design)[:-1].ravel()
            curvature = np.empty((num_free, num_free, num_columns, num_columns))
            blocks = -((probs[first] * probs[second]) @ self.products)[:, self.place]
            blocks[first == second] += (probs[:-1] @ self.products)[:, self.place]
            curvature[first, second] = curvature[second, first] = blocks
            direction = np.linalg.solve(curvature.transpose(0, 2, 1, 3).reshape(gradient.size, gradient.size), gradient)
            # Half of the decrement is what the step promises, in nats.
            if gradient @ direction < self.smallest_decrement:
                step -= 1
                break
            direction = np.vstack([direction.reshape(num_free, num_columns), np.zeros(num_columns)])
            size = 1.0
            while True:
                candidate = gate + size * direction
                found_scores = candidate @ self.columns
                found_normaliser, found_probs = log_sum_exp(found_scores)
                found = np.sum(candidate * moments) - found_normaliser.sum()
                if found >= value:
                    gate, scores, normaliser, probs, value = candidate, found_scores, found_normaliser, found_probs, found
                    break
                size /= 2
                if size < 1e-10:
                    return gate, scores, normaliser, probs, step
        return gate, scores, normaliser, probs, step


def sklearn_fit(inputs: np.ndarray, outputs: np.ndarray, start: Start, iterations: int) -> Climbed:
    """The loop that estimators of scikit-learn give; its gate is solved to their tolerance."""
    from scipy.special import log_softmax, logsumexp
    from scipy.stats import norm
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LinearRegression, LogisticRegression

    num_experts = len(start["gate.bias"])
    weights, bias, scale = start["experts.weights"], start["experts.bias"], start["experts.scale"]
    log_gate = log_softmax(inputs @ start["gate.weights"].T + start["gate.bias"], axis=1)
    copies, labels = np.repeat(inputs, num_experts, axis=0), np.tile(np.arange(num_experts), len(outputs))
    # Newton-CG: of the solvers that scikit-learn has for unpenalised multinomials, the one that starts where it was and needs fewest passes here.
    logit = LogisticRegression(C=np.inf, solver="newton-cg", warm_start=True, tol=1e-6, max_iter=1000)
    history = np.empty(iterations)
    for iteration in range(iterations):
        log_joint = log_gate + norm.logpdf(outputs[:, None], inputs @ weights.T + bias, scale)
        log_density = np.asarray(logsumexp(log_joint, axis=1, keepdims=True))
        history[iteration] = log_density.sum()
        shares = np.exp(log_joint - log_density)
        experts = [LinearRegression().fit(inputs, outputs, sample_weight=shares[:, k]) for k in range(num_experts)]
        weights, bias = np.array([expert.coef_ for expert in experts]), np.array([expert.intercept_ for expert in experts])
        residuals = outputs[:, None] - inputs @ weights.T - bias
        scale = np.sqrt(np.sum(shares * residuals**2, axis=0) / shares.sum(axis=0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            logit.fit(copies, labels, sample_weight=shares.ravel())
        log_gate = logit.predict_log_proba(inputs)
    return Climbed(history, np.zeros(iterations, int))


def ours(inputs: np.ndarray, outputs: np.ndarray, start: Start) -> Callable[[int], Climbed]:
    data = lg.Sequences.from_arrays([outputs[:, None]], inputs=[inputs])
    experts = lg.experts.LinearGaussian(len(start["gate.bias"]), weight_prior="flat", bias_prior="flat", variance_prior="flat")
    model = lg.MixtureOfExperts(gate=lg.gates.Softmax(weight_scale="flat", bias_scale="flat"), experts=experts)

    def fit(iterations: int) -> Climbed:
        engine = lg.EM(restarts=1, max_iterations=iterations, tolerance=0.0, block=10)
        found = lg.fit(model, data, engine, seed=0, start=start, progress=False)
        return Climbed(found.log_likelihood_history, np.zeros(iterations, int))

    return fit


def per_iteration(short: list[float], long: list[float], iterations: tuple[int, int]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile of (long - short) / (difference of iterations), fit by fit of the same round."""
    paired = (np.array(long) - np.array(short)) / (iterations[1] - iterations[0])
    lower, median, upper = np.percentile(paired, (25, 50, 75))
    return float(lower), float(median), float(upper)


def compare(num_rows: int, num_experts: int, iterations: tuple[int, int], rounds: int, seconds: float) -> dict[str, Any]:
    inputs, outputs = made_up(num_rows, num_experts)
    start = quantile_start(inputs, outputs, num_experts)
    loops: dict[str, Callable[[int], Climbed]] = {
        OURS: ours(inputs, outputs, start),
        NUMPY: lambda count: NumPyMixture(inputs, outputs, NEWTON_STEPS).fit(start, count),
        ONE: lambda count: NumPyMixture(inputs, outputs, 1, -np.inf).fit(start, count),
        SOLVED: lambda count: NumPyMixture(inputs, outputs, MOST_NEWTON_STEPS).fit(start, count),
    }
    calls = {(name, count): (lambda loop=loop, count=count: loop(count)) for name, loop in loops.items() for count in iterations}
    # The first call of latentgate must be the short one: it is what compiles.
    timings = round_robin({f"{name} {count}": call for (name, count), call in calls.items()}, rounds, seconds, at_least=min(3, rounds))
    climbed = {name: loop(iterations[1]) for name, loop in loops.items()}
    rows = {}
    for name in loops:
        short, long = timings[f"{name} {iterations[0]}"], timings[f"{name} {iterations[1]}"]
        lower, median, upper = per_iteration([lap.wall for lap in short.laps], [lap.wall for lap in long.laps], iterations)
        processor = per_iteration([lap.processor for lap in short.laps], [lap.processor for lap in long.laps], iterations)[1]
        rows[name] = row_of(median, lower, upper, processor, long.median, short.compilation, climbed[name], climbed[OURS])
    rows[SKLEARN] = timed_sklearn(inputs, outputs, start, rounds, climbed[OURS])
    for row in rows.values():
        row["times_slower_than_latentgate"] = row["median_s"] / rows[OURS]["median_s"]
    return {"rows": num_rows, "experts": num_experts, "iterations": iterations, "rounds": len(timings[f"{OURS} {iterations[0]}"].laps), "ways": rows}


def timed_sklearn(inputs: np.ndarray, outputs: np.ndarray, start: Start, rounds: int, reference: Climbed) -> dict[str, Any]:
    """Too slow for its turn in every round: few iterations, right after the others."""
    shortest, longest = SKLEARN_ITERATIONS
    laps: dict[int, list[Any]] = {shortest: [], longest: []}
    # The first call also imports.
    sklearn_fit(inputs, outputs, start, 1)
    for _ in range(min(3, rounds)):
        for count in SKLEARN_ITERATIONS:
            laps[count].append(duration(lambda count=count: sklearn_fit(inputs, outputs, start, count)))
    lower, median, upper = per_iteration([lap.wall for lap in laps[shortest]], [lap.wall for lap in laps[longest]], SKLEARN_ITERATIONS)
    processor = per_iteration([lap.processor for lap in laps[shortest]], [lap.processor for lap in laps[longest]], SKLEARN_ITERATIONS)[1]
    return row_of(median, lower, upper, processor, None, None, sklearn_fit(inputs, outputs, start, longest), reference)


def row_of(
    median: float, lower: float, upper: float, processor: float, whole: float | None, compilation: float | None, climbed: Climbed, reference: Climbed
) -> dict[str, Any]:
    common = min(len(climbed.history), len(reference.history))
    return {
        "median_s": median,
        "lower_quartile_s": lower,
        "upper_quartile_s": upper,
        "processor_s": processor,
        "whole_fit_s": whole,
        "compilation_s": compilation,
        "iterations_compared": common,
        "largest_difference_nats": float(np.abs(climbed.history[:common] - reference.history[:common]).max()),
        "smallest_rise_nats": float(np.diff(climbed.history).min()),
        "newton_steps": float(climbed.newton_steps.mean()) if climbed.newton_steps.any() else None,
        "history": climbed.history.tolist(),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--experts", type=int, default=4)
    parser.add_argument("--iterations", type=int, nargs=2, default=[10, 50], metavar=("FEW", "MANY"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    few, many = options.iterations
    if not 0 < few < many:
        parser.error(f"--iterations: found {few} {many}, expected two numbers above 0 in increasing order.")
    where = machine(PACKAGES)
    report: dict[str, Any] = {"machine": where, "load_average": {"start": load_average()}}
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    print(f"{where['cpu']}, {where['cores']} cores, load {report['load_average']['start'][0]} at the start; {versions}", flush=True)
    num_rows, (few, many), rounds, seconds = (500, (2, 4), 2, 0.1) if options.quick else (options.rows, (few, many), options.rounds, 300.0)
    result = compare(num_rows, options.experts, (few, many), rounds, seconds)
    report |= result
    report["load_average"]["end"] = load_average()
    write_json(options.json, report)
    cells = [
        [
            name,
            f"{row['median_s'] * 1e3:.2f}",
            f"{row['lower_quartile_s'] * 1e3:.2f}–{row['upper_quartile_s'] * 1e3:.2f}",
            f"{row['processor_s'] * 1e3:.2f}",
            f"{row['times_slower_than_latentgate']:.2f}",
            "" if row["whole_fit_s"] is None else f"{row['whole_fit_s']:.3f}",
            f"{row['compilation_s']:.1f}" if name == OURS else "",
            "" if row["newton_steps"] is None else f"{row['newton_steps']:.1f}",
            f"{row['largest_difference_nats']:.1e} ({row['iterations_compared']})",
        ]
        for name, row in result["ways"].items()
    ]
    headers = (
        f"EM, n = {num_rows}, k = {options.experts}",
        "an iteration, ms",
        "quartiles",
        "processor, ms",
        "times latentgate's",
        f"{many} iterations, s",
        "compiling, s",
        "Newton steps",
        "difference, nats (iterations)",
    )
    print(f"\n{table(headers, cells)}")
    print(f"\n{result['rounds']} rounds; load {report['load_average']['end'][0]} at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
