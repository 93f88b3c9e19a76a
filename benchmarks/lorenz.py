"""Latents of simulated spike trains against the true ones: the Poisson linear dynamical system on `lorenz_spikes`.

    LATENTGATE_DATA=../shared/recordings python benchmarks/lorenz.py           # some minutes on two cores
    LATENTGATE_DATA=../shared/recordings python benchmarks/lorenz.py --quick   # tiny, to see that everything runs

float64. Two splits: the recording's own, in which training and test trials share conditions, hence true latents, and differ in spikes only; and conditions
held out (every fifth of the 20), in which nothing was trained on the test trajectories. Every method gives features of each bin (smoothed counts, their
principal components, smoothed latents of the Poisson model); a ridge regression from features to the three true latents is learned on training trials
and scored on test trials by R², mean over the three. Width of the smoothing kernel and strength of the ridge are chosen inside the training trials. The
Poisson model is fitted to spikes alone.

Co-smoothing: 15 of the 60 neurons are hidden in the test trials and their rates predicted from the other 45, by the Poisson model, and by Poisson regressions
on smoothed counts; bits per spike above the mean rates of the training trials.
"""

import argparse
import time

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import dataclasses

from scipy.ndimage import gaussian_filter1d
from sklearn.linear_model import PoissonRegressor, Ridge

import latentgate as lg
from latentgate.metrics import co_smoothing_bits_per_spike, mean_rates, r_squared

WIDTHS = (2.0, 3.0, 4.0, 6.0, 8.0)
RIDGES = (1e-4, 1e-2, 1.0, 1e2, 1e4)
NUM_HIDDEN = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latents", type=int, nargs="+", default=[3, 4, 6, 8])
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--approximation", choices=["laplace", "variational"], nargs="+", default=["laplace"])
    parser.add_argument("--link", choices=["exp", "softplus"], default="exp")
    parser.add_argument("--quick", action="store_true", help="few trials, bins and iterations")
    options = parser.parse_args()
    data = lg.load("lorenz_spikes")
    if options.quick:
        data = data.select(np.arange(data.num_sequences) % 8 == 0)
        options.latents, options.iterations = options.latents[:1], 3
    split, condition = np.asarray(data.labels["split"]), np.asarray(data.labels["condition"])
    held_out = condition % 5 == 2
    for title, train, test in (("Own split", split == "train", split == "valid"), ("Conditions held out", ~held_out, held_out)):
        print(f"## {title}: {train.sum()} training and {test.sum()} test trials\n", flush=True)
        table(data.select(train), data.select(test), options)


def table(train: lg.Sequences, test: lg.Sequences, options: argparse.Namespace) -> None:
    truth, goal = train.inputs["latents"], test.inputs["latents"]
    print("| features | number | R² | co-smoothing, bits per spike | iterations | outcome | s |\n|---|---|---|---|---|---|---|", flush=True)
    width, ridge = chosen(train)
    smooth, smooth_test = smoothed(train.values, width), smoothed(test.values, width)
    score = mapped(smooth, truth, smooth_test, goal, ridge)
    bits = regressed_bits(train, test, width, options.quick)
    print(f"| counts, Gaussian of {width:g} bins, ridge {ridge:g} | {train.num_features} | {score:.4f} | {bits:.4f} | | | |", flush=True)
    for size in options.latents:
        components = principal(smooth, size)
        score = mapped(smooth @ components, truth, smooth_test @ components, goal, RIDGES[0])
        print(f"| principal components of these | {size} | {score:.4f} | | | | |", flush=True)
    for approximation in options.approximation:
        for size in options.latents:
            begin = time.perf_counter()
            model = lg.PoissonLDS(size, num_neurons=train.num_features, approximation=approximation, link=options.link)
            fit = lg.fit(model, train, lg.EM(max_iterations=options.iterations), seed=0, progress=False)
            seconds = time.perf_counter() - begin
            latents, latents_test = (np.asarray(fit.smooth(part)["mean"]) for part in (train, test))
            score = mapped(latents, truth, latents_test, goal, RIDGES[0])
            record = fit.restarts[0]
            print(
                f"| Poisson LDS, {approximation}, {options.link} | {size} | {score:.4f} | {hidden_bits(model, fit, train, test):.4f} | "
                f"{np.isfinite(record.log_joint_history).sum()} | {record.outcome.name.lower()} | {seconds:.0f} |",
                flush=True,
            )
    print()


def smoothed(counts: np.ndarray, width: float) -> np.ndarray:
    """Counts under a Gaussian, renormalised at the ends of a trial."""
    weight = gaussian_filter1d(np.ones(counts.shape[1]), width, mode="constant")
    return gaussian_filter1d(np.asarray(counts), width, axis=1, mode="constant") / weight[:, None]


def mapped(features: np.ndarray, truth: np.ndarray, test_features: np.ndarray, goal: np.ndarray, ridge: float) -> float:
    """R² of the linear map that training trials teach, on test trials."""
    size = features.shape[-1]
    scale = features.reshape(-1, size).std(0)
    scale = np.where(scale > 0, scale, 1.0)
    learned = Ridge(alpha=ridge).fit((features / scale).reshape(-1, size), truth.reshape(-1, truth.shape[-1]))
    predicted = learned.predict((test_features / scale).reshape(-1, size))
    return float(r_squared(goal.reshape(predicted.shape), predicted, average=True))


def chosen(train: lg.Sequences) -> tuple[float, float]:
    """Width and ridge of the smoothed counts that do best on every fourth condition when learned on the others: the baseline's choice, made for its good."""
    condition = np.asarray(train.labels["condition"])
    inner = np.isin(condition, np.unique(condition)[::4])
    truth = train.inputs["latents"]
    scores = {}
    for width in WIDTHS:
        smooth = smoothed(train.values, width)
        for ridge in RIDGES:
            scores[width, ridge] = mapped(smooth[~inner], truth[~inner], smooth[inner], truth[inner], ridge)
    return max(scores, key=lambda pair: scores[pair])


def principal(features: np.ndarray, size: int) -> np.ndarray:
    """Directions of largest variance, [feature, size]."""
    flat = features.reshape(-1, features.shape[-1])
    return np.linalg.eigh(np.cov(flat.T))[1][:, ::-1][:, :size]


def hidden(train: lg.Sequences) -> np.ndarray:
    """Neurons that are hidden in test trials."""
    return np.random.default_rng(0).permutation(train.num_features)[:NUM_HIDDEN]


def hidden_bits(model: lg.PoissonLDS, fit: lg.Fit, train: lg.Sequences, test: lg.Sequences) -> float:
    """Co-smoothing of hidden neurons by the model."""
    neurons = hidden(train)
    seen = np.asarray(test.observed).copy()
    seen[..., neurons] = False
    masked = dataclasses.replace(test, values=np.where(seen, test.values, 0.0), observed=seen, complete=False)
    rates = np.asarray(model.expected_counts({name: jax.numpy.asarray(value) for name, value in fit.params.items()}, masked))
    return bits(rates[..., neurons], train, test, neurons)


def regressed_bits(train: lg.Sequences, test: lg.Sequences, width: float, quick: bool) -> float:
    """Co-smoothing of hidden neurons by Poisson regressions on the smoothed counts of the others."""
    neurons = hidden(train)[: 2 if quick else None]
    others = np.setdiff1d(np.arange(train.num_features), hidden(train))
    features, features_test = (smoothed(part.values[..., others], width).reshape(-1, len(others)) for part in (train, test))
    scale = features.std(0)
    rates = [
        PoissonRegressor(alpha=1e-4, max_iter=300).fit(features / scale, train.values[..., neuron].ravel()).predict(features_test / scale) for neuron in neurons
    ]
    return bits(np.stack(rates, -1).reshape(*test.values.shape[:2], -1), train, test, neurons)


def bits(rates: np.ndarray, train: lg.Sequences, test: lg.Sequences, neurons: np.ndarray) -> float:
    counts = test.values[..., neurons].reshape(-1, len(neurons))
    return co_smoothing_bits_per_spike(rates.reshape(counts.shape), counts, mean_rates(train)[neurons])


if __name__ == "__main__":
    main()
