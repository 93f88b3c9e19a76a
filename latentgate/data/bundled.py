"""The bundled recording "simulated_insula" and how it is made.

`python -m latentgate.data.bundled` writes data/simulated_insula.npz.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from latentgate.data import simulators
from latentgate.data.sequences import Sequences

SEED = 1
NUM_STATES, NUM_NEURONS, NUM_LAGS = 3, 15, 5
NUM_REWARDED, NUM_UNREWARDED = 14, 10
BIN_WIDTH = 0.05
# Full strengths with the exponential link let bursts of mutual excitation run away.
STRENGTH_SCALE = 0.4
LEVER_IN = 5.0
# Rows: state that is entered. Columns: lever available, reward collected. See `gated_transition`.
GATE_WEIGHTS = np.array([[0.0, 0.0], [2.5, 0.0], [0.0, 2.5]])
STAY_PROBABILITY = 0.985


def simulate(seed: int = SEED) -> simulators.OneHotSimulation:
    """Simulates the bundled recording, with its truth.

    24 lever trials, 14 rewarded and 10 not, in bins of 50 ms, of 15 neurons from a one-hot HMM-GLM with three states
    (waiting, seeking, reward): counts are Poisson with mean 0.05 s * exp(b_n^s + sum_m w^s_nm sum_k basis_k x_{t-k,m}).
    The lever and the collected reward drive the transitions: while the lever is available seeking is entered more
    often, and after the port entry reward is.

    Args:
        seed: seed of `numpy.random.default_rng`; the bundled file has the default.

    Returns:
        The simulation; `bias` is [state, neuron] and `transition` the matrix without lever and reward.
    """
    rng = np.random.default_rng(seed)
    rewarded = rng.permutation(np.arange(NUM_REWARDED + NUM_UNREWARDED) < NUM_REWARDED)
    trials = [_draw_trial(rng, bool(reward)) for reward in rewarded]
    lengths = np.array([length for length, _ in trials])
    types, strengths, type_prior = simulators.draw_connections(rng, NUM_STATES, NUM_NEURONS)
    strengths = STRENGTH_SCALE * strengths
    weights = (types - 1) * strengths
    rates = rng.uniform(1.5, 6.0, size=NUM_NEURONS)
    bias = np.log(rates) + rng.normal(0.0, 0.35, size=(NUM_STATES, NUM_NEURONS))
    initial = np.array([0.9, 0.05, 0.05])
    base = simulators.sticky_transition(NUM_STATES, STAY_PROBABILITY)
    drive = np.zeros((len(trials), int(lengths.max()), 2))
    for row, (_, events) in zip(drive, trials, strict=True):
        bins = {name: [round(time / BIN_WIDTH) for time in times] for name, times in events.items()}
        row[bins["lever in"][0] : bins["lever retracts"][0], 0] = 1
        if events["lever press"]:
            row[bins["port entry"][0] :, 1] = 1
    states = simulators.simulate_states(rng, initial, gated_transition(base, drive), lengths)
    basis = simulators.exponential_basis(NUM_LAGS)
    counts = simulators.simulate_glm_counts(rng, states, weights, bias, basis, "exp", BIN_WIDTH)
    data = Sequences.from_arrays(
        [row[:length] for row, length in zip(counts, lengths, strict=True)],
        names=[f"unit {neuron}" for neuron in range(NUM_NEURONS)],
        labels={"rewarded": rewarded},
        events={name: [events[name] for _, events in trials] for name in trials[0][1]},
        bin_width=BIN_WIDTH,
    )
    return simulators.OneHotSimulation(data, states, weights, types, type_prior, strengths, bias, base, initial, basis, link="exp", bin_width=BIN_WIDTH)


def gated_transition(base: np.ndarray, drive: np.ndarray) -> np.ndarray:
    """[sequence, time, K, K] proportional in each row to base[i, j] * exp(GATE_WEIGHTS[j] @ drive of the step)."""
    unnormalised = base * np.exp(drive @ GATE_WEIGHTS.T)[..., None, :]
    return unnormalised / unnormalised.sum(-1, keepdims=True)


def _draw_trial(rng: np.random.Generator, rewarded: bool) -> tuple[int, dict[str, list[float]]]:
    """Number of bins and events (s) of one trial."""
    if rewarded:
        press = LEVER_IN + rng.uniform(2.0, 8.0)
        retracts = press + 1.0
        port_entries = [retracts + rng.uniform(0.7, 2.0)]
        end = port_entries[0] + rng.uniform(12.0, 15.0)
    else:
        retracts = LEVER_IN + 20.0
        end = 35.0
        port_entries = sorted(rng.uniform(0.0, end, size=rng.poisson(1.0)).tolist())
    events = {
        "lever in": [LEVER_IN],
        "lever press": [press] if rewarded else [],
        "lever retracts": [retracts],
        "port entry": port_entries,
    }
    return int(np.floor(end / BIN_WIDTH + 1e-6)), events


def main() -> None:
    """Writes the bundled file."""
    folder = Path(__file__).resolve().parents[2] / "data"
    parser = argparse.ArgumentParser(description="Writes the bundled recording simulated_insula.npz.")
    parser.add_argument("--folder", type=Path, default=folder, help=f"folder to write to (default: {folder})")
    path = parser.parse_args().folder / "simulated_insula.npz"
    simulation = simulate()
    simulation.data.save(path)
    print(f"{path}: {simulation.data}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
