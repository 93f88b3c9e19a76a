"""The simulated benchmark of the one-hot paper (Li et al., ICLR 2024; notes section 1.6): GLM, HMM-GLM, Gaussian prior, one-hot.

    python benchmarks/one_hot.py                 # seeds 0-4, about 40 minutes on two cores
    python benchmarks/one_hot.py --seeds 0 --sequences 6 --steps 300     # a look in a minute

Per seed it prints truth's own test log-likelihood and state accuracy (the ceiling) and for each model, on held-out sequences: log-likelihood a
sequence, state accuracy of the smoothed arg-max after alignment, mean squared error of the weights, balanced accuracy of connection types, and of
the types preferred by a⁰. For models without types these follow from the weights (paper, eq. 8). All HMM-GLMs start from the same fit, the best of several
random restarts of the HMM-GLM with a wide ridge, so that the table compares priors and not luck.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np
from sklearn.metrics import balanced_accuracy_score

jax.config.update("jax_enable_x64", True)

import latentgate as lg
from latentgate.inference import match_labels

COLUMNS = ("log_likelihood", "state_accuracy", "weight_mse", "type_accuracy", "prior_accuracy")
SMALLER_IS_BETTER = {"weight_mse"}
ONE_HOT = ("one-hot", "one-hot, categorical")


def model(num_states: int, coupling) -> lg.HMM:
    emission = lg.emissions.PoissonGLM(20, history=lg.basis.Exponential(5), coupling=coupling, self_history="coupled", link="sigmoid")
    return lg.HMM(num_states, emission)


def types_from_weights(weights: np.ndarray) -> np.ndarray:
    """Soft types [neuron, source, 3] of one state's weights (paper, eq. 8)."""
    strength = np.where(weights >= 0, weights / weights.max(), weights / weights.min())
    return np.stack([np.where(weights < 0, strength, 0), 1 - strength, np.where(weights >= 0, strength, 0)], -1)


def score(fit: lg.Fit, truth, states: np.ndarray, test: lg.Sequences) -> dict[str, float]:
    num_states = len(truth.transition)
    weights = np.asarray(fit.model.emission.coupling_weights(fit.params))[..., 0]
    coupling = fit.model.emission.coupling
    if isinstance(coupling, lg.priors.OneHot):
        own = {name.removeprefix("emission."): value for name, value in fit.params.items()}
        types, type_prior = np.asarray(coupling.type_probs(own)), own["type_prior"]
    else:
        types = np.stack([types_from_weights(w) for w in weights])
        type_prior = types.mean(0)
    result = {"log_likelihood": float(fit.log_likelihood(test).mean())}
    if fit.model.num_states == 1:
        order = np.zeros(num_states, int)
        result["state_accuracy"] = float("nan")
    else:
        inferred = fit.smooth(test).values.argmax(-1)
        order = match_labels(states, inferred, num_states)
        result["state_accuracy"] = lg.metrics.state_accuracy(states, inferred, num_states)
    result["weight_mse"] = float(((weights[order] - truth.weights) ** 2).mean())
    result["type_accuracy"] = float(balanced_accuracy_score(truth.types.ravel(), types[order].argmax(-1).ravel()))
    result["prior_accuracy"] = float(balanced_accuracy_score(truth.type_prior.argmax(-1).ravel(), np.asarray(type_prior).argmax(-1).ravel()))
    return result


def run(seed: int, sequences: int, steps: int, restarts: int) -> dict[str, dict[str, float]]:
    truth = lg.simulators.simulate_one_hot_hmm_glm(seed, num_sequences=sequences, num_steps=steps)
    num_states, num_train = len(truth.transition), round(0.6 * sequences)
    train, test = truth.data.select(range(num_train)), truth.data.select(range(num_train, sequences))
    states = truth.states[num_train:]
    flat = model(num_states, lg.priors.Flat())
    params = {
        "initial.probs": truth.initial,
        "transition.probs": truth.transition,
        "emission.bias": np.broadcast_to(truth.bias, (num_states, 20)),
        "emission.coupling": truth.weights[..., None],
    }
    ceiling = lg.Fit(flat, params, engine="truth", seed=seed, outcome=lg.Outcome.CONVERGED, converged=True)
    inferred = ceiling.smooth(test).values.argmax(-1)
    table = {
        "truth": {
            "log_likelihood": float(ceiling.log_likelihood(test).mean()),
            "state_accuracy": lg.metrics.state_accuracy(states, inferred, num_states),
            "weight_mse": 0.0,
            "type_accuracy": 1.0,
            "prior_accuracy": 1.0,
        }
    }
    show(seed, "truth", table["truth"], 0.0)
    wide = lg.fit(model(num_states, lg.priors.Ridge(1.0)), train, lg.EM(restarts=restarts, max_iterations=60, tolerance=1e-7), seed=seed)
    variants = {
        "GLM": (1, lg.priors.Flat(), None),
        "HMM-GLM": (num_states, lg.priors.Flat(), wide),
        "Gaussian prior": (num_states, lg.priors.GaussianTied(), wide),
        "one-hot": (num_states, lg.priors.OneHot(), wide),
        "one-hot, categorical": (num_states, lg.priors.OneHot("categorical"), wide),
    }
    for name, (states_of_model, coupling, start) in variants.items():
        begin = time.perf_counter()
        fit = lg.fit(model(states_of_model, coupling), train, lg.EM(max_iterations=60, tolerance=1e-7), seed=seed, start=start)
        table[name] = score(fit, truth, states, test)
        show(seed, name, table[name], time.perf_counter() - begin)
    return table


def show(seed: int, name: str, row: dict[str, float], seconds: float) -> None:
    print(
        f"seed {seed}  {name:22s} {row['log_likelihood']:11.1f} {row['state_accuracy']:8.4f} {row['weight_mse']:9.5f} "
        f"{row['type_accuracy']:7.3f} {row['prior_accuracy']:7.3f}   {seconds:5.0f} s",
        flush=True,
    )


def judge(tables: dict[int, dict[str, dict[str, float]]]) -> dict:
    """Means over seeds, and for each one-hot form the seeds on which it beats every baseline, column by column."""
    names = list(next(iter(tables.values())))
    means = {name: {c: float(np.mean([t[name][c] for t in tables.values()])) for c in COLUMNS} for name in names}
    rivals = [name for name in names if name not in (*ONE_HOT, "truth")]
    verdict = {}
    for name in ONE_HOT:
        wins = {}
        for column in COLUMNS:
            sign = -1 if column in SMALLER_IS_BETTER else 1

            def beats(table, name=name, column=column, sign=sign) -> bool:
                others = [sign * table[rival][column] for rival in rivals if not np.isnan(table[rival][column])]
                return sign * table[name][column] > max(others)

            wins[column] = {"in_the_mean": bool(beats(means)), "seeds": int(sum(beats(table) for table in tables.values()))}
        gaps = [t["truth"]["log_likelihood"] - t[name]["log_likelihood"] for t in tables.values()]
        accuracy = [t["truth"]["state_accuracy"] - t[name]["state_accuracy"] for t in tables.values()]
        verdict[name] = {"wins": wins, "largest_gap_nats_per_sequence": max(gaps), "largest_accuracy_gap": max(accuracy)}
    return {"means": means, "verdict": verdict}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--sequences", type=int, default=50, help="60 %% of them train")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"{'':30s} {'test LL/seq':>11s} {'states':>8s} {'weight MSE':>10s} {'types':>6s} {'prior':>7s}")
    tables = {}
    for seed in options.seeds:
        tables[seed] = run(seed, options.sequences, options.steps, options.restarts)
        if options.json:
            options.json.write_text(json.dumps({"seeds": tables} | judge(tables), indent=1))
    summary = judge(tables)
    for name, row in summary["means"].items():
        show(-1, f"mean {name}", row, 0.0)
    for name, verdict in summary["verdict"].items():
        print(
            f"\n{name}: largest gap to truth {verdict['largest_gap_nats_per_sequence']:.1f} nats a sequence, {verdict['largest_accuracy_gap']:.4f} in accuracy"
        )
        for column, wins in verdict["wins"].items():
            print(f"  {column:16s} best in the mean: {'yes' if wins['in_the_mean'] else 'no':3s}  on {wins['seeds']} of {len(tables)} seeds")


if __name__ == "__main__":
    main()
