"""Pictures of the gallery, one function for each of `latentgate.plotting`; written to docs/images/gallery.

    python docs/gallery.py [NAME ...]

Fits are small and fixed by their seeds, so that the pictures are the same at every run.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
# Nearly all of the time is compilation of programs that run once.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

import jax
import numpy as np
from matplotlib import pyplot
from PIL import Image

import latentgate as lg
from latentgate import comparison, metrics
from latentgate.data.jump_processes import simulate_panel
from latentgate.data.times import with_times
from latentgate.inference.alignment import match_labels
from latentgate.models.splines import coefficients_of

FOLDER = Path(__file__).parent / "images" / "gallery"
DOTS_PER_INCH = 90

# --- what the pictures are of ---------------------------------------------------------------------------------------------------------------------


@functools.cache
def insula():
    """Trials of a simulated recording, and HMM-GLMs of three quarters of them: with a ridge prior, and with the one-hot prior."""
    trials = lg.load("simulated_insula")
    train, _ = trials.split(0.75, seed=0)

    def model(coupling):
        return lg.HMM(3, lg.emissions.PoissonGLM(trials.num_features, history=lg.basis.Exponential(window=5), coupling=coupling, bin_width=trials.bin_width))

    plain = lg.fit(model(lg.priors.Ridge()), train, lg.EM(restarts=3, max_iterations=40), seed=0, progress=False)
    return trials, plain, lg.fit(model(lg.priors.OneHot()), train, lg.EM(max_iterations=15), seed=0, start=plain, progress=False)


@functools.cache
def disease():
    """Visits of patients who are well, ill or dead, and a jump process fitted to them."""
    rates = [[-0.2, 0.15, 0.05], [0.05, -0.35, 0.3], [0.0, 0.0, 0.0]]
    visits = simulate_panel(0, rates, [np.arange(0.0, 10.5, 1.5)] * 300, initial=0, exact_entry=[2]).data
    model = lg.MarkovJumpProcess(3, generator=[(0, 1), (0, 2), (1, 0), (1, 2)])
    return visits, lg.fit(model, visits, lg.EM(), seed=0, progress=False)


@functools.cache
def lines():
    """Rows that follow one of two lines, and a mixture of two experts, and of four, fitted to them."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (250, 1))
    y = np.where(x < 0.5, 15 - 20 * x, -5 + 20 * x) + 0.4 * rng.normal(size=x.shape)
    data = lg.Sequences.from_arrays([y], inputs=[x], names=["response"], input_names=["stimulus"])
    models = [lg.MixtureOfExperts(lg.gates.Softmax(), lg.experts.LinearGaussian(number, scale=4.0)) for number in (2, 4)]
    return data, *[lg.fit(model, data, lg.EM(restarts=4, max_iterations=100), seed=1, progress=False) for model in models]


@functools.cache
def rotation():
    """Simulated trials of a damped rotation behind ten signals, their latents, and the fitted linear dynamics."""
    model = lg.LinearGaussianSSM(2, 10)
    rng = np.random.default_rng(0)
    turn, loadings = 0.97 * np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]), rng.normal(size=(10, 2))
    latents = np.zeros((16, 80, 2))
    latents[:, 0] = np.where(np.arange(16) % 2, 1, -1)[:, None] * [3.0, 0.0] + 0.5 * rng.normal(size=(16, 2))
    for step in range(1, 80):
        latents[:, step] = latents[:, step - 1] @ turn.T + 0.12 * rng.normal(size=(16, 2))
    signals = latents @ loadings.T + 1.5 * rng.normal(size=(16, 80, 10))
    data = lg.Sequences.from_arrays(signals, bin_width=0.02, labels={"side": np.where(np.arange(16) % 2, "right", "left")})
    return data, latents, lg.fit(model, data, lg.EM(max_iterations=25), seed=0, progress=False).canonical()


@functools.cache
def reaches():
    """Simulated activity of 20 neurons and hand velocity: a session to learn from, and one to decode."""
    rng = np.random.default_rng(0)
    velocity = np.zeros((2400, 2))
    for step in range(1, 2400):
        velocity[step] = 0.95 * velocity[step - 1] + 3.0 * rng.normal(size=2)
    rates = np.exp(0.3 + velocity @ rng.normal(0, 0.04, size=(2, 20)))
    counts = rng.poisson(rates).astype(float)
    return (counts[:1600], velocity[:1600]), (counts[1600:], velocity[1600:])


@functools.cache
def decoder():
    """A decoder of these."""
    return lg.DiscriminativeKalmanFilter("linear", lags=3, past="condition").fit(*reaches()[0])


@functools.cache
def decisions():
    """Simulated decisions on a gentle hill between two boundaries, and the model that reads the hill from spikes."""
    truth = lg.LangevinOnGrid(10, 24, ends="absorbing", tuning_knots=None, bin_width=0.025)
    slopes, start = np.random.default_rng(1).normal(0.0, 1.0, 10), np.exp(-0.5 * (truth.grid / 0.25) ** 2) * truth.langevin.inside
    params = {
        "initial.weights": np.zeros(truth.initial.priors(24)["weights"].event_shape),
        "transition.potential": coefficients_of(-2.5 * truth.grid**2, truth.grid, 12),
        "transition.diffusion": np.array(0.5),
        "emission.rates": np.exp(0.7 + truth.grid[:, None] * slopes),
    }
    trials, points = truth.simulate(jax.random.key(0), params, [100] * 120, initial=start / start.sum())
    ended = np.array([path[-1] in (0, 23) and len(path) > 8 for path in points])
    sides = np.where([path[-1] == 0 for path in points], "right", "left")
    trials = dataclasses.replace(trials, labels={"chose": sides}).select(ended)
    model = lg.LangevinOnGrid(10, 24, ends="absorbing", time_scale=0.5, potential_knots=8, tuning_knots=6)
    return trials, lg.fit(model, trials, lg.MAP(max_iterations=120), seed=0, progress=False)


@functools.cache
def rhythm():
    """Counts that follow a rhythm of twenty bins, and a Langevin flow in a potential of coupled oscillators fitted to them."""
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 2 * np.pi, (60, 1)) + 0.3 * np.arange(60)
    rates = 0.5 * np.exp(np.stack([np.cos(phase), np.sin(phase)], -1) @ rng.normal(size=(2, 20)))
    data = lg.Sequences.from_arrays(list(rng.poisson(rates).astype(float)), bin_width=0.02)
    model = lg.LangevinFlow(2, num_neurons=20, potential=lg.potentials.Quadratic())
    return data, lg.fit(model, data, lg.AmortisedSVI(max_epochs=40, batch_size=20), seed=0, progress=False)


# --- one function for each picture ----------------------------------------------------------------------------------------------------------------


def states_over_time():
    """Most probable state of every trial, with its events; trials are grouped by a label."""
    trials, _, fit = insula()
    return lg.plotting.states_over_time(fit.most_probable_path(trials), trials, by="rewarded")


def transition_graph():
    """How states follow each other, and how long each lasts."""
    trials, _, fit = insula()
    return lg.plotting.transition_graph(fit.params["transition.probs"], bin_width=trials.bin_width)


def transition_matrix():
    """The same as a table."""
    trials, _, fit = insula()
    return lg.plotting.transition_matrix(fit.params["transition.probs"], bin_width=trials.bin_width)


def occupancy():
    """Share of time in each state, in two conditions."""
    trials, _, fit = insula()
    shares = comparison.occupancy(fit.smooth(trials))
    return lg.plotting.occupancy(shares, trials.labels["rewarded"], name="rewarded", other_name="not rewarded")


def coupling():
    """How neurons drive each other in each state."""
    _, _, fit = insula()
    return lg.plotting.coupling(fit.model.emission.coupling_weights(fit.params))


def connection_types():
    """The connection types that the states share under the one-hot prior."""
    _, _, fit = insula()
    return lg.plotting.connection_types(fit.params["emission.type_prior"])


def bits_per_spike():
    """What models foretell of held-out trials, and of each of them."""
    trials, *fits = insula()
    train, test = trials.split(0.75, seed=0)
    rates, totals, by_trial = metrics.mean_rates(train), {}, {}
    for name, fit in zip(("ridge", "one-hot"), fits, strict=True):
        gains = fit.log_likelihood(test).values
        totals[name] = metrics.bits_per_spike(gains.sum(), test, rates)
        by_trial[name] = [metrics.bits_per_spike(gain, test.select([trial]), rates) for trial, gain in enumerate(gains)]
    return lg.plotting.bits_per_spike(totals, by_trial)


def em_trace():
    """How fits went: restarts of EM, the bound of SVI, epochs of amortised SVI."""
    _, plain, _ = insula()
    _, flow = rhythm()
    visits, fit = disease()
    _, panels = pyplot.subplots(1, 3, figsize=(13, 3.4), layout="constrained")
    lg.plotting.em_trace(plain, ax=panels[0])
    lg.plotting.em_trace(lg.fit(fit.model, visits, lg.SVI(max_iterations=400), seed=0, progress=False), ax=panels[1])
    lg.plotting.em_trace(flow, ax=panels[2])
    for panel, engine in zip(panels, ("EM", "SVI", "AmortisedSVI"), strict=True):
        panel.set_title(engine, pad=20)
    return panels


def generator_graph():
    """Rates of a jump process with their intervals."""
    _, fit = disease()
    found = lg.jump_processes.quantities(fit, times=[5.0], initial=[1.0, 0.0, 0.0])
    return lg.plotting.generator_graph(found["generator"], names=["well", "ill", "dead"], unit="year")


def prevalence():
    """Does the model describe the group? Shares as seen, and as expected."""
    visits, fit = disease()
    counts = lg.jump_processes.prevalence(fit, visits, np.arange(0.0, 9.5, 1.5))
    return lg.plotting.prevalence(counts, names=["well", "ill", "dead"], unit="years")


def jump_paths():
    """Posterior draws of one subject's path, and what was seen of it."""
    visits, fit = disease()
    one = visits.select([int(np.argmax(np.ptp(np.nan_to_num(visits.values[..., 0]), axis=1) * visits.lengths))])
    drawn = lg.jump_processes.sample_paths(fit, one, num_samples=60, seed=0)
    return lg.plotting.jump_paths([paths[0] for paths in drawn], one, names=["well", "ill", "dead"], num_states=3, unit="years")


def smoothed_states():
    """Probabilities of the states of one subject between its visits."""
    visits, fit = disease()
    one = visits.select([int(np.argmax(np.ptp(np.nan_to_num(visits.values[..., 0]), axis=1) * visits.lengths))])
    finer, _ = with_times(one, np.linspace(0.0, float(one.times[0, one.lengths[0] - 1]), 200), num_states=3)
    return lg.plotting.smoothed_states(fit.smooth(finer), finer, names=["well", "ill", "dead"], unit="years")


def gate_weights():
    """Which expert the gate calls, over an input."""
    data, fit, _ = lines()
    return lg.plotting.gate_weights(fit, data)


def expert_fits():
    """Rows in the colours of their experts, and the experts' lines."""
    data, fit, _ = lines()
    return lg.plotting.expert_fits(fit, data)


def dendrogram():
    """Four experts where two would do: the order in which they merge."""
    data, _, fit = lines()
    return lg.plotting.dendrogram(lg.mixtures.dendrogram(fit, data))


def convergence_rates():
    """How fast an estimator approaches the truth."""
    gate = lg.gates.Softmax(num_inputs=1, weight_scale="flat", bias_scale="flat")
    flat = {"weight_prior": "flat", "bias_prior": "flat", "variance_prior": "flat"}
    model = lg.MixtureOfExperts(gate, lg.experts.LinearGaussian(2, num_inputs=1, **flat))
    params = {"gate.weights": [[25.0], [0.0]], "gate.bias": [-8.0, 0.0], "experts.weights": [[-20.0], [20.0]], "experts.bias": [15.0, -5.0]}
    truth = lg.studies.MixtureTruth("two lines", model, params | {"experts.scale": [0.3, 0.4]}, "grid")
    estimators = [lg.studies.MaximumLikelihood("EM from near the truth", model, "near-truth", tolerance=1e-8)]
    study = lg.studies.convergence_rates(truth=truth, estimators=estimators, sample_sizes=[100, 300, 1000, 3000], replications=16, seed=0)
    return lg.plotting.convergence_rates(study, "D1")


def latent_trajectories():
    """Latents of single trials over time and in their plane, with means of the conditions."""
    data, _, fit = rotation()
    return lg.plotting.latent_trajectories(fit.smooth(data), data, by="side")


def decoded():
    """Decoded velocity against the truth, with its intervals."""
    _, (counts, velocity) = reaches()
    shown = slice(100, 300)
    interval = [end[shown] for end in decoder().predict_interval(counts, level=0.9)]
    names = ["velocity x", "velocity y"]
    return lg.plotting.decoded(velocity[shown], decoder().predict(counts)[shown], interval, level=0.9, bin_width=0.05, names=names, unit="cm/s")


def calibration():
    """Do the decoder's intervals hold what they claim?"""
    _, (counts, velocity) = reaches()
    levels = np.linspace(0.1, 0.9, 9)
    ends = [decoder().predict_interval(counts, level) for level in levels]
    covered = [((low <= velocity) & (velocity <= high)).mean(0) for low, high in ends]
    # Velocities forget themselves within some twenty bins.
    return lg.plotting.calibration(levels, covered, count=len(velocity) // 20, names=["velocity x", "velocity y"])


def reliability():
    """Is a state as often the true one as its probability says?"""
    simulation = lg.simulators.simulate_poisson_hmm(0, num_neurons=4, num_steps=400, stay_probability=0.9)
    model = lg.HMM(3, lg.emissions.Poisson(4))
    fit = lg.fit(model, simulation.data, lg.EM(restarts=4, max_iterations=100), seed=0, progress=False)
    smoothed = fit.smooth(simulation.data)
    order = match_labels(simulation.states.ravel(), np.asarray(fit.most_probable_path(simulation.data)).ravel(), 3)
    return lg.plotting.reliability(np.asarray(smoothed)[..., order], simulation.states)


def rank_histogram():
    """Are posterior draws of a latent what they should be? Ranks of the truth among them."""
    _, _, fit = rotation()
    new, latents = fit.simulate([20] * 400, seed=1)
    drawn = fit.sample_latents(new, num_samples=99, seed=2)
    ranks = (np.asarray(drawn)[:, :, 10, 0] < np.stack(latents)[:, 10, 0]).sum(0)
    return lg.plotting.rank_histogram(ranks, 99, name="latent 0 at step 10")


def potential():
    """A potential with its band, read from spikes alone."""
    _, fit = decisions()
    middle = len(fit.model.grid) // 2
    band = fit.uncertainty().interval(lambda params: fit.model.potential(params) - fit.model.potential(params)[middle])
    return lg.plotting.potential(fit.model.grid, band.estimate, (band.lower, band.upper), absorbing=(True, True))


def potential_path():
    """Two trials on their way to the two boundaries of that potential."""
    trials, fit = decisions()
    paths = np.asarray(fit.model.decision_variable(fit.params, trials))
    chosen = [int(np.argmax(np.where(trials.labels["chose"] == side, trials.lengths, 0))) for side in ("left", "right")]
    heights, times = fit.model.potential(fit.params), [trials.times[trial] for trial in chosen]
    return lg.plotting.potential_path(fit.model.grid, heights, list(paths[chosen]), times, absorbing=(True, True), names=["chose left", "chose right"])


def position_paths():
    """Single trials before their end, and the means of the two choices, which the model was never shown."""
    trials, fit = decisions()
    return lg.plotting.position_paths(fit.model.decision_variable(fit.params, trials), trials, by="chose", align="end", absorbing=(True, True))


def tuning_curves():
    """What each neuron says of the position."""
    _, fit = decisions()
    return lg.plotting.tuning_curves(fit.model.grid, fit.model.tuning_curves(fit.params))


def landscape():
    """A potential over two latents, and paths of three trials in it."""
    data, fit = rhythm()
    paths = np.asarray(fit.smooth(data)["mean"])
    side = 1.15 * np.abs(paths).max() * np.linspace(-1, 1, 60)
    plane = np.stack(np.meshgrid(side, side), -1)
    params = {name.removeprefix("potential."): value for name, value in fit.params.items() if name.startswith("potential.")}
    energy = fit.model.potential.energy(params, plane.reshape(-1, 2), {})
    return lg.plotting.landscape(side, side, np.reshape(energy, (60, 60)), paths=paths[:3], unit="noise²")


def force_field():
    """The force of that potential, over more paths."""
    data, fit = rhythm()
    paths = np.asarray(fit.smooth(data)["mean"])
    side = np.linspace(-1.1, 1.1, 15) * np.abs(paths).max()
    points = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    return lg.plotting.force_field(points, fit.model.force(fit.params, points), paths=paths[:20])


def inferred_inputs():
    """What pushed the latents of one trial besides the potential."""
    data, fit = rhythm()
    return lg.plotting.inferred_inputs(fit.model.inferred_inputs(fit.params, data), data)


def main(names: list[str]) -> None:
    """Draws the pictures of these functions, or of all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names or [name for name in lg.plotting.__all__ if name != "state_colours"]:
        began = time.perf_counter()
        axes = globals()[name]()
        figure = np.ravel(np.asarray(axes, dtype=object))[0].figure
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=DOTS_PER_INCH)
        # A palette halves the files, and takes along what Matplotlib writes into them.
        Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)
        pyplot.close("all")
        print(f"{name}.png {(FOLDER / f'{name}.png').stat().st_size / 1000:.0f} kB, {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
