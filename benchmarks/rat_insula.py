"""How many states does rat insula need? K = 1 ... 4 on every unit above 0.2 Hz, trials held out.

    LATENTGATE_DATA=../shared/recordings python benchmarks/rat_insula.py          # about 30 minutes on two cores

Units above 0.2 Hz, 50 ms bins, trials from 5 s before lever-in to 30 s after port entry (rewarded) or 90 s after lever-in (unrewarded). The windows of
neighbouring trials overlap by a few seconds; by default a trial ends where the next begins, so that no held-out second is also a training second.
Every fourth trial is held out. K is chosen inside the training trials, by the score of every fourth of them; held-out trials only score. (The BIC, printed
too, counts every coupling weight, shrunk or not, as a free parameter and always asks for one state here.)
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import latentgate as lg
from latentgate.comparison import compare_groups, held_out_scores, occupancy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--overlap", choices=["trim", "keep"], default="trim")
    parser.add_argument("--minimum-rate", type=float, default=0.2, help="Hz")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    data = lg.load("rat_insula", bin_width=0.05, minimum_rate=options.minimum_rate, overlap=options.overlap)
    held_out = np.arange(data.num_sequences) % 4 == 3
    train, test = data.select(~held_out), data.select(held_out)
    print(f"{data}\ntrain {train.num_sequences} trials, test {test.num_sequences} trials", flush=True)

    def model(num_states: int, coupling) -> lg.HMM:
        history = lg.basis.Exponential(window=5, time_constant=2.0)
        return lg.HMM(num_states, lg.emissions.PoissonGLM(data.num_features, history, coupling, bin_width=data.bin_width))

    fits: dict[str, lg.Fit] = {}
    records = {}

    def run(name: str, structure: lg.HMM, engine, start=None) -> None:
        begin = time.perf_counter()
        fit = fits[name] = lg.fit(structure, train, engine, seed=0, start=start)
        steps = [np.diff(record.log_joint_history) / np.abs(record.log_joint_history[1:]) for record in fit.restarts]
        records[name] = {
            "bic": fit.bic(train),
            "outcomes": [record.outcome.name for record in fit.restarts],
            "finite": bool(all(np.isfinite(record.log_joint_history).all() for record in fit.restarts)),
            "smallest_relative_rise": float(min((step.min() for step in steps if step.size), default=0.0)),
            "iterations": [len(record.log_joint_history) for record in fit.restarts],
            "test_bits_per_spike": fit.bits_per_spike(test, train),
            "seconds": time.perf_counter() - begin,
        }
        row = records[name]
        print(
            f"{name:20s} BIC {row['bic']:14.1f}  held-out bits/spike {row['test_bits_per_spike']:.4f}  {row['outcomes']} after {row['iterations']}  "
            f"monotone and finite: {row['finite'] and row['smallest_relative_rise'] > -1e-9}  {row['seconds']:.0f} s",
            flush=True,
        )

    for k in options.states:
        engine = lg.EM(restarts=options.restarts if k > 1 else 1, max_iterations=options.iterations, tolerance=1e-6)
        run(f"ridge K={k}", model(k, lg.priors.Ridge()), engine)
    inner = np.arange(train.num_sequences) % 4 == 3
    fitted, validation = train.select(~inner), train.select(inner)
    choice = {}
    for k in options.states:
        engine = lg.EM(restarts=1, max_iterations=options.iterations, tolerance=1e-6)
        choice[k] = lg.fit(model(k, lg.priors.Ridge()), fitted, engine, seed=0).bits_per_spike(validation, fitted)
    chosen = max(choice, key=lambda k: choice[k])
    print(f"bits per spike of the inner validation trials: {choice}; chosen K = {chosen}", flush=True)
    for k in sorted({1, chosen}):
        run(f"one-hot K={k}", model(k, lg.priors.OneHot()), lg.EM(max_iterations=options.iterations, tolerance=1e-6), start=fits.get(f"ridge K={k}"))

    scores = held_out_scores({name: fit.log_likelihood(test).values for name, fit in fits.items()}, test, train)
    for family in ("ridge", "one-hot"):
        best, one = f"{family} K={chosen}", f"{family} K=1"
        print(
            f"{best}: {scores.bits_per_spike(best):.4f} bits per spike over constant rates; {scores.gain(best, one):+.4f} over {one}, "
            f"better on {scores.num_better(best, one)} of {test.num_sequences} held-out trials",
            flush=True,
        )
    if chosen > 1:
        # Conditions differ in the length of their trials, so the comparison is of a window that every trial has.
        window = int(np.asarray(data.lengths).min())
        shares = occupancy(fits[f"one-hot K={chosen}"].smooth(data).values, window)
        for block, kind in ((None, "all trials exchangeable"), (8, "neighbouring trials only")):
            found = compare_groups(shares, data.labels["rewarded"], block=block)
            without, with_reward = found.means.round(3)
            print(f"occupancy of the first {window} bins, unrewarded {without}, rewarded {with_reward}: p = {found.p_value:.4f} ({kind})")
    if options.json:
        options.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
