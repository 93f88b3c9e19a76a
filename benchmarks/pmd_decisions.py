"""Choices of a monkey read from spikes without ever being told: a Langevin model with absorbing ends on `monkey_pmd_decisions`.

    LATENTGATE_DATA=../shared/recordings python benchmarks/pmd_decisions.py           # about half an hour on two cores
    LATENTGATE_DATA=../shared/recordings python benchmarks/pmd_decisions.py --quick   # tiny, to see that everything runs

float64. Five folds: every fifth trial is held out in turn. On the other trials a potential, a diffusion constant, the law of the first position and the tuning
curves of 14 neurons are fitted to spikes alone, by EM: some iterations from several starting points, and more from the one with the best log-joint. Neither
the chosen nor the correct side, nor the difficulty, enters a fit. The choice of a held-out trial is the end that the posterior says was reached; which of the
two ends is "right" is the better of the two assignments on the training trials.

Beside it: logistic regression on the counts of the whole trial, which is told the choices of the training trials, its penalty chosen by cross-validation there.

Bits per spike of held-out counts, above constant rates. The model's are those of log p(counts | duration) = log p(counts, end) - log p(end); a PSTH is the
mean of training trials in each bin, aligned to the stimulus or to the reaction, under the Gaussian that does best on every fifth of the training trials; the
last is a PSTH aligned to the reaction that is told the chosen side of every held-out trial.
"""

import argparse
import dataclasses
import time

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from scipy.ndimage import gaussian_filter1d
from scipy.special import gammaln
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import latentgate as lg

WIDTHS = (1.0, 2.0, 3.0, 5.0, 8.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-width", type=float, default=0.02, help="s")
    parser.add_argument("--start", type=float, default=0.1, help="beginning of the window, s after stimulus onset")
    parser.add_argument("--points", type=int, default=32)
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=50, help="of EM from the best start")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--save", help="fit of all trials, written here (.nc)")
    parser.add_argument("--quick", action="store_true", help="few trials, points and iterations")
    options = parser.parse_args()
    data = lg.load("monkey_pmd_decisions", bin_width=options.bin_width, start=options.start)
    if options.quick:
        data = data.select(np.arange(data.num_sequences) % 12 == 0)
        options.points, options.restarts, options.iterations, options.folds = 12, 1, 3, options.folds[:1]
    if options.save:
        begin = time.perf_counter()
        found = fitted(data, options, seed=options.seeds[0])
        found.save(options.save)
        print(f"All {data.num_sequences} trials in {time.perf_counter() - begin:.0f} s.\n", flush=True)
    print(
        f"{data.num_sequences} trials, bins of {1000 * options.bin_width:g} ms from {1000 * options.start:g} ms after the stimulus, {options.points} points\n"
    )
    print(
        "| fold | seed | accuracy, held out | on training trials | logistic regression | bits per spike | PSTH, stimulus | PSTH, reaction "
        "| PSTH, told the side | log-joint | s |\n" + "|---" * 11 + "|",
        flush=True,
    )
    table = []
    for seed in options.seeds:
        for fold in options.folds:
            held_out = np.arange(data.num_sequences) % 5 == fold
            row = scores(data.select(~held_out), data.select(held_out), options, seed)
            table.append(row)
            print(f"| {fold} | {seed} | " + " | ".join(f"{value:.4f}" for value in row[:-2]) + f" | {row[-2]:.0f} | {row[-1]:.0f} |", flush=True)
    mean = np.mean(table, 0)
    print("| mean | | " + " | ".join(f"{value:.4f}" for value in mean[:-2]) + f" | | {mean[-1]:.0f} |")


def scores(train: lg.Sequences, test: lg.Sequences, options: argparse.Namespace, seed: int) -> list[float]:
    begin = time.perf_counter()
    found = fitted(train, options, seed)
    seconds = time.perf_counter() - begin
    right, goes_right = (np.asarray(part.labels["chosen_right"]) for part in (train, test))
    chosen, read = (at_last_end(found, part) for part in (train, test))
    agrees = np.mean(chosen == right)
    accuracy = np.mean(read == goes_right)
    if agrees < 0.5:
        agrees, accuracy = 1 - agrees, 1 - accuracy
    penalties = np.logspace(-3, 1, 5)
    logistic = LogisticRegressionCV(Cs=penalties, cv=5, scoring="neg_log_loss", max_iter=2000, l1_ratios=(0,), use_legacy_attributes=False)
    wide = make_pipeline(StandardScaler(), logistic)
    supervised = float(np.mean(wide.fit(train.values.sum(1), right).predict(test.values.sum(1)) == goes_right))
    constant = train.values.sum((0, 1)) / train.observed.sum((0, 1))
    floor = log_poisson(test, np.broadcast_to(constant, test.values.shape))
    spikes = test.values.sum() * np.log(2)
    bits = (conditional_log_likelihood(found, test) - floor) / spikes
    psths = []
    for aligned in ("stimulus", "reaction"):
        width = best_width(train, aligned)
        psths.append((log_poisson(test, psth(train, test, aligned, width)) - floor) / spikes)
    told = sum(
        log_poisson(test.select(goes_right == side), psth(train.select(right == side), test.select(goes_right == side), "reaction", width))
        for side in (False, True)
    )
    return [float(accuracy), float(agrees), supervised, bits, *psths, (told - floor) / spikes, float(np.nanmax(found.log_joint_history)), seconds]


def fitted(train: lg.Sequences, options: argparse.Namespace, seed: int) -> lg.Fit:
    """A short EM from several starting points, and a long one from the best of them."""
    model = lg.LangevinOnGrid(train.num_features, options.points, ends="absorbing", time_scale=0.5)
    start = lg.fit(model, train, lg.EM(restarts=options.restarts, max_iterations=max(options.iterations // 5, 1)), seed=seed, progress=False)
    return lg.fit(model, train, lg.EM(max_iterations=options.iterations), seed=seed, start=start, progress=False)


def params_of(found: lg.Fit) -> dict[str, jax.Array]:
    return {name: jax.numpy.asarray(value) for name, value in found.params.items()}


def at_last_end(found: lg.Fit, data: lg.Sequences) -> np.ndarray:
    """Whether a trial has more probably ended at 1 than at -1, bool [trial]."""
    ends = np.asarray(found.model.choice(params_of(found), data))
    return ends[:, 1] > ends[:, 0]


def conditional_log_likelihood(found: lg.Fit, data: lg.Sequences) -> float:
    """Log p(counts | durations), summed over trials."""
    unseen = dataclasses.replace(data, values=np.zeros_like(data.values), observed=np.zeros_like(data.observed), complete=False)
    return float(found.log_likelihood(data).sum() - found.log_likelihood(unseen).sum())


def log_poisson(data: lg.Sequences, rates: np.ndarray) -> float:
    """Log-probability of the counts under rates per bin, [trial, time, neuron]."""
    counts, seen = np.asarray(data.values), np.asarray(data.observed)
    return float(np.where(seen, counts * np.log(np.where(seen, rates, 1.0)) - rates - gammaln(counts + 1), 0.0).sum())


def bins_of(data: lg.Sequences, aligned: str) -> np.ndarray:
    """Bins counted from the stimulus, or backwards from the reaction, int [trial, time]; -1 where nothing was counted."""
    seen = np.asarray(data.observed).any(-1)
    forward = np.broadcast_to(np.arange(seen.shape[1]), seen.shape)
    return np.where(seen, forward if aligned == "stimulus" else seen.sum(1, keepdims=True) - 1 - forward, -1)


def psth(train: lg.Sequences, test: lg.Sequences, aligned: str, width: float) -> np.ndarray:
    """Mean counts of the training trials in each bin, under a Gaussian, at the bins of the test trials."""
    bins, wanted = bins_of(train, aligned), bins_of(test, aligned)
    size = max(bins.max(), wanted.max()) + 1
    known = bins >= 0
    number = np.bincount(bins[known], minlength=size).astype(float)
    total = np.stack([np.bincount(bins[known], column[known], minlength=size) for column in np.moveaxis(np.asarray(train.values), -1, 0)], 1)
    # Numerator and denominator alike, so that bins that few trials reach borrow from their neighbours; and a hundredth of a spike at the mean rate.
    number = gaussian_filter1d(number, width, mode="constant")
    total = gaussian_filter1d(total, width, axis=0, mode="constant")
    mean = total.sum(0) / number.sum()
    rates = (total + 0.01 * mean) / (number[:, None] + 0.01)
    return rates[np.maximum(wanted, 0)]


def best_width(train: lg.Sequences, aligned: str) -> float:
    inner = np.arange(train.num_sequences) % 5 == 0
    scores = {width: log_poisson(train.select(inner), psth(train.select(~inner), train.select(inner), aligned, width)) for width in WIDTHS}
    return max(scores, key=lambda width: scores[width])


if __name__ == "__main__":
    main()
