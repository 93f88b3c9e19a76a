"""Langevin flows on `lorenz_spikes`, beside smoothing, the Poisson linear dynamical system, and the flow's own controls; and what training costs.

    LATENTGATE_DATA=../shared/recordings python benchmarks/langevin.py lorenz           # about an hour on two cores
    LATENTGATE_DATA=../shared/recordings python benchmarks/langevin.py lorenz --quick   # tiny, to see that everything runs
    LATENTGATE_DATA=../shared/recordings python benchmarks/langevin.py cost             # seconds per epoch, and where they go

`lorenz`: the recording's own split. Every method is fitted to the counts of the training trials alone. Of the test trials three figures:

| figure | what |
|---|---|
| latents | R² of the true three latents, by ridge regression on a method's latents (on smoothed counts for smoothing), learned on training trials |
| log-rates | R² of the true log-rates, mean over neurons, given all counts of a trial |
| held-out bits per spike | every neuron predicted from the 45 not in its quarter, over its mean in these very trials; the true rates reach 0.9585 |

Latents and log-rates of test trials are smoothed ones: a method has seen their counts. The flows are in float32, the others in float64.
"""

import argparse
import dataclasses
import time

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
from lorenz import RIDGES, chosen, mapped, smoothed

import latentgate as lg
from latentgate.data.sequences import take
from latentgate.inference.amortised import Training, epoch
from latentgate.metrics import co_smoothing_bits_per_spike, r_squared
from latentgate.studies.baselines import SmoothingGLM
from latentgate.studies.co_smoothing import hidden
from latentgate.studies.langevin_strategies import Langevin

FOLDS = 4
HEADER = "| method | seed | latents | log-rates | held-out bits per spike | bound or log-likelihood, nats a bin | without inputs | epochs | s |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["lorenz", "cost"])
    parser.add_argument("--methods", nargs="+", default=["smoothing", "poisson-lds", "flow", "no-force", "white-noise"])
    parser.add_argument("--latents", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="few trials and epochs, one seed")
    options = parser.parse_args()
    data = lg.load("lorenz_spikes")
    if options.quick:
        data = data.select(np.arange(data.num_sequences) % 8 == 0)
        options.epochs, options.seeds, options.latents = 3, options.seeds[:1], 4
    if options.what == "cost":
        cost(data, options)
        return
    split = np.asarray(data.labels["split"])
    train, test = data.select(split == "train"), data.select(split == "valid")
    print(f"{HEADER}\n{'|---' * 9}|", flush=True)
    true = test.inputs["rates"] * test.bin_width
    print(f"| true rates | | | | {bits(true, test):.4f} | | | | |", flush=True)
    if "smoothing" in options.methods:
        smoothing(train, test, options.quick)
    if "poisson-lds" in options.methods:
        for size in (3, 6):
            linear(train, test, size, 3 if options.quick else 50)
    for name, controls in (("flow", {}), ("no-force", {"force": False}), ("white-noise", {"white_noise": True})):
        for seed in options.seeds if name in options.methods else ():
            engine = lg.AmortisedSVI(max_epochs=options.epochs, warm_up=min(10, options.epochs - 1), patience=30)
            flow(name, Langevin(options.latents, engine=engine, **controls), train, test, seed)


def smoothing(train: lg.Sequences, test: lg.Sequences, quick: bool) -> None:
    begin = time.perf_counter()
    width, ridge = chosen(train)
    counts, counts_test = smoothed(train.values, width), smoothed(test.values, width)
    latents = mapped(counts, train.inputs["latents"], counts_test, test.inputs["latents"], ridge)
    strategy = SmoothingGLM(widths=(width,))

    def predict(held_in: np.ndarray, data: lg.Sequences) -> np.ndarray:
        return strategy.fit(train, held_in, 0)(data)

    if quick:
        report("smoothing", "", latents, np.nan, np.nan, np.nan, np.nan, "", time.perf_counter() - begin)
        return
    held_out = by_folds(predict, test)
    # Each neuron from the smoothed counts of the others: its own would hand it its own spikes.
    report("smoothing, Poisson GLM", "", latents, log_rates(held_out, test), bits(held_out, test), np.nan, np.nan, "", time.perf_counter() - begin)


def linear(train: lg.Sequences, test: lg.Sequences, size: int, iterations: int) -> None:
    begin = time.perf_counter()
    model = lg.PoissonLDS(size, num_neurons=train.num_features)
    fit = lg.fit(model, train, lg.EM(max_iterations=iterations), seed=0, progress=False)
    params = {name: jnp.asarray(value) for name, value in fit.params.items()}
    seconds = time.perf_counter() - begin
    latents = [np.asarray(fit.smooth(part)["mean"]) for part in (train, test)]
    mean = mapped(latents[0], train.inputs["latents"], latents[1], test.inputs["latents"], RIDGES[0])
    held_out = by_folds(lambda _, data: np.asarray(model.expected_counts(params, data)), test)
    likelihood = float(fit.log_likelihood(test).sum()) / test.num_steps
    rates = np.asarray(model.expected_counts(params, test))
    report(f"Poisson LDS, {size}", "", mean, log_rates(rates, test), bits(held_out, test), likelihood, np.nan, len(fit.log_joint_history), seconds)


def flow(name: str, method: Langevin, train: lg.Sequences, test: lg.Sequences, seed: int) -> None:
    begin = time.perf_counter()
    fit = method.trained(train, None, seed)
    seconds = time.perf_counter() - begin
    model = fit.model
    plain, plain_test = (dataclasses.replace(part, inputs={}, input_names={}) for part in (train, test))
    with jax.enable_x64(False):
        params = {key: jnp.asarray(value) for key, value in fit.params.items()}
        latents = [np.asarray(model.smooth(params, part).means, float) for part in (plain, plain_test)]
        rates = np.asarray(model.expected_counts(params, plain_test), float)
        alone = np.asarray(model.expected_counts(params, plain_test, without_inputs=True), float)
        held_out = by_folds(lambda _, data: np.asarray(model.expected_counts(params, data), float), plain_test)
        bound = float(model.log_likelihood(params, plain_test).sum()) / test.num_steps
    mean = mapped(latents[0], train.inputs["latents"], latents[1], test.inputs["latents"], RIDGES[0])
    share = bits(alone, test) / bits(rates, test)
    report(f"{name}, {method.latent_dim}", seed, mean, log_rates(rates, test), bits(held_out, test), bound, share, len(fit.traces["elbo"]), seconds)


def report(name: str, seed: object, latents: float, rates: float, held_out: float, bound: float, alone: float, epochs: object, seconds: float) -> None:
    figures = (f"{latents:.4f}", f"{rates:.4f}", f"{held_out:.4f}", f"{bound:.4f}", f"{alone:.3f}")
    print(f"| {name} | {seed} | {' | '.join('' if figure == 'nan' else figure for figure in figures)} | {epochs} | {seconds:.0f} |", flush=True)


def by_folds(predict, test: lg.Sequences) -> np.ndarray:
    """Rates of every neuron from those that are not in its quarter."""
    order = np.random.default_rng(0).permutation(test.num_features)
    rates = np.zeros(test.values.shape)
    for fold in range(FOLDS):
        held_in = np.ones(test.num_features, bool)
        held_in[order[fold::FOLDS]] = False
        rates[..., ~held_in] = predict(held_in, hidden(test, held_in))[..., ~held_in]
    return rates


def bits(rates: np.ndarray, test: lg.Sequences) -> float:
    """Over the mean rates of these very trials, as the figure for the true rates is."""
    return co_smoothing_bits_per_spike(rates, test.values)


def log_rates(rates: np.ndarray, test: lg.Sequences) -> float:
    flat = (np.log(array).reshape(-1, test.num_features) for array in (test.inputs["rates"] * test.bin_width, rates))
    return float(r_squared(*flat, average=True))


def cost(data: lg.Sequences, options: argparse.Namespace) -> None:
    """Seconds per epoch of 640 trials of 100 bins and 60 neurons, float32, and what is left when parts are taken away."""
    train = data.select(np.asarray(data.labels["split"]) == "train")
    print("| model | compiling, s | an epoch: median, s | quartiles |\n|---|---|---|---|", flush=True)
    with jax.enable_x64(False):
        plain = jax.device_put(take(dataclasses.replace(train, inputs={}, input_names={}), np.arange(train.num_sequences)))
        for title, method in (
            ("flow, 16 latents, guide of 64 units", Langevin(16)),
            ("flow, 8 latents, guide of 64 units", Langevin(8)),
            ("the same, guide of 8 units", Langevin(8, num_units=8)),
            ("the same without a force", Langevin(8, force=False)),
            ("the same without dynamics (white noise)", Langevin(8, white_noise=True)),
        ):
            engine = lg.AmortisedSVI(max_epochs=100)
            batch = min(64, train.num_sequences)
            run = Training(engine, batch, train.num_sequences, train.num_sequences // batch)
            model = method.model(train.num_features).suited_to(plain)
            state = run.start(model, model.initialize(jax.random.key(0), plain), jax.random.key(1))
            times = []
            for _ in range(3 if options.quick else 9):
                begin = time.perf_counter()
                state, _ = jax.block_until_ready(epoch(run, model, plain, None, state))
                times.append(time.perf_counter() - begin)
            low, median, high = np.quantile(times[1:], [0.25, 0.5, 0.75])
            print(f"| {title} | {times[0] - median:.1f} | {median:.3f} | {low:.3f}, {high:.3f} |", flush=True)


if __name__ == "__main__":
    main()
