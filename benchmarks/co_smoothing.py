"""Co-smoothing of many methods under one protocol: neurons hidden in test trials are predicted from the others.

    LATENTGATE_DATA=../shared/recordings python benchmarks/co_smoothing.py                # both recordings, three seeds
    LATENTGATE_DATA=../shared/recordings python benchmarks/co_smoothing.py --quick        # tiny, to see that everything runs

| recording | bins | held-out neurons | test trials |
|---|---|---|---|
| rat_insula | 50 ms, 74 units above 0.2 Hz, a trial ends where the next begins | every fourth (index % 4 == 3) | every fifth (index % 5 == 4) |
| lorenz_spikes | 10 ms, 60 neurons | 15 by lot, as in lorenz.py | the recording's own |

Bits per spike of the held-out neurons in the test trials, over their mean rates in the training trials. Settings that are not fixed by the name of a method
are chosen inside the training trials. float64, flows in float32.
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import latentgate as lg
from latentgate.metrics import co_smoothing_bits_per_spike, mean_rates
from latentgate.studies.baselines import PSTH, SmoothingGLM
from latentgate.studies.co_smoothing import InPieces, Strategy, co_smoothing
from latentgate.studies.langevin_strategies import Langevin
from latentgate.studies.latent_baselines import FactorAnalysis, GaussianDynamics, HiddenMarkov, PoissonDynamics

RECORDINGS = ("rat_insula", "lorenz_spikes")
# The trials of rat insula are up to 95 s long: models whose cost grows with the longest trial get pieces of 5 s.
PIECE = {"rat_insula": 100, "lorenz_spikes": None}
CONDITION = {"rat_insula": "rewarded", "lorenz_spikes": "condition"}
LATENTS = {"rat_insula": (8, 24), "lorenz_spikes": (6,)}
FLOW_LATENTS = {"rat_insula": 40, "lorenz_spikes": 16}
# Of the divergence in the training of flows: that of the bound, and one chosen by validation data among the training trials of rat insula.
WEIGHTS = (1.0, 0.1)
STATES = {"rat_insula": 16, "lorenz_spikes": 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", choices=RECORDINGS, nargs="+", default=list(RECORDINGS))
    parser.add_argument("--methods", nargs="+", help="beginnings of names of methods; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=25, help="limit of EM")
    parser.add_argument("--quick", action="store_true", help="few trials, bins, neurons and iterations, one seed")
    parser.add_argument("--json", type=Path, help="folder for one file of results per recording")
    options = parser.parse_args()
    if options.quick:
        options.iterations, options.seeds = 3, options.seeds[:1]
    for recording in options.recordings:
        train, test, held_in = split(recording, options.quick)
        chosen = {
            name: strategy
            for name, strategy in strategies(recording, options.iterations, options.quick).items()
            if options.methods is None or any(name.startswith(method) for method in options.methods)
        }
        if not chosen:
            parser.error(f"no method of {recording} begins with {options.methods}; there are {', '.join(strategies(recording, 1, False))}")
        print(f"## {recording}\n\n{train.num_sequences} training and {test.num_sequences} test trials;", end=" ")
        print(f"{held_in.sum()} neurons held in, {(~held_in).sum()} held out\n", flush=True)
        result = co_smoothing(train, test, held_in, chosen, options.seeds, report=lambda line: print(line, file=sys.stderr, flush=True))
        print(result.table(), "\n", flush=True)
        if "rates" in test.inputs:
            print(f"The true rates: {oracle(train, test, held_in):.4f}\n")
        if options.json:
            options.json.mkdir(parents=True, exist_ok=True)
            result.save(options.json / f"{recording}.json")


def split(recording: str, quick: bool = False) -> tuple[lg.Sequences, lg.Sequences, np.ndarray]:
    """Training trials, test trials and which neurons are held in."""
    if recording == "rat_insula":
        data = lg.load(recording, bin_width=0.05, minimum_rate=0.2, overlap="trim")
        held_in, test = np.arange(data.num_features) % 4 != 3, np.arange(data.num_sequences) % 5 == 4
    else:
        data = lg.load(recording)
        held_in, test = np.ones(data.num_features, bool), np.asarray(data.labels["split"]) == "valid"
        held_in[np.random.default_rng(0).permutation(data.num_features)[:15]] = False
    train_trials, test_trials = np.flatnonzero(~test), np.flatnonzero(test)
    if quick:
        train_trials, test_trials = train_trials[:10], test_trials[:3]
    return data.select(train_trials), data.select(test_trials), held_in


def strategies(recording: str, iterations: int, quick: bool) -> dict[str, Strategy]:
    """Every method by name."""
    wide = FLOW_LATENTS[recording]
    sizes, states, label, length = LATENTS[recording][: 1 if quick else None], STATES[recording], CONDITION[recording], PIECE[recording]
    widths = (2.0,) if quick else SmoothingGLM().widths
    # The smallest number of latents only: a fit takes minutes.
    size = sizes[0]
    dynamics: Strategy = PoissonDynamics(size, iterations)
    flows = {
        f"{name}, {wide}{'' if weight == 1 else f', divergence x {weight:g}'}": Langevin(wide, engine=engine(weight, quick), **controls)
        for weight in WEIGHTS
        for name, controls in (("Langevin flow", {}), ("no-force control", {"force": False}), ("white-noise control", {"white_noise": True}))
    }
    return {
        "PSTH": PSTH(),
        f"PSTH by {label}": PSTH(label=label),
        "smoothing + GLM": SmoothingGLM(widths=widths),
        **{f"factor analysis, {number}": FactorAnalysis(number, widths) for number in sizes},
        **{f"Gaussian LDS, {number}": GaussianDynamics(number, iterations) for number in sizes},
        f"HMM, {states}": HiddenMarkov(states, max_iterations=iterations),
        f"Poisson LDS, {size}": dynamics if length is None else InPieces(dynamics, length),
    } | {name: flow if length is None else InPieces(flow, length) for name, flow in flows.items()}


def engine(weight: float, quick: bool) -> lg.AmortisedSVI:
    """How flows are trained: the last part of the bound, the divergence, in full or by a weight."""
    epochs, warm_up = (3, 1) if quick else (80, 10)
    return lg.AmortisedSVI(max_epochs=epochs, warm_up=warm_up, batch_size=4 if quick else 16, patience=30, divergence_weight=weight)


def oracle(train: lg.Sequences, test: lg.Sequences, held_in: np.ndarray) -> float:
    """What the rates that made the spikes reach."""
    return co_smoothing_bits_per_spike(test.inputs["rates"][..., ~held_in] * test.bin_width, test.values[..., ~held_in], mean_rates(train)[~held_in])


if __name__ == "__main__":
    main()
