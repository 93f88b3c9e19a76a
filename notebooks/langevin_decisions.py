# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What pulls a population along, what pushes it, and where does it end?
#
# A monkey weighs evidence and moves its hand left or right. Fourteen neurons fire meanwhile. Is there one hidden quantity behind them, does it run downhill
# in a landscape, and does it tell the choice though nobody told it any? And where many neurons follow a richer rhythm: which forces make it, and what must have
# come from outside?
#
# In both cases the hidden position $x$ moves as a *Langevin* particle does: a potential pulls it, noise pushes it. Neurons fire at rates that depend on the
# position. From spikes alone we look for the potential, the rates, and the path on every trial.
#
# 1. **Decisions**: one dimension, two absorbing ends, an exact likelihood (`lg.LangevinOnGrid`). 2. **Rhythm**: eight dimensions, velocities, forces and
# inferred inputs (`lg.LangevinFlow`), beside a control that knows no dynamics. It takes about three minutes on two cores.

# %%
import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot as plt
from scipy.ndimage import gaussian_filter1d
from scipy.special import gammaln
from sklearn.linear_model import Ridge

import latentgate as lg
from latentgate.data import recordings
from latentgate.metrics import co_smoothing_bits_per_spike, r_squared
from latentgate.models.splines import coefficients_of
from latentgate.studies.co_smoothing import hidden

# Small settings for the tests, which only ask whether everything still runs.
QUICK = bool(os.environ.get("LATENTGATE_QUICK"))
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#7F7F7F"


def found(name):
    """Whether a recording is here; if not, the example is simulated."""
    try:
        recordings.find(name)
    except lg.RecordingUnavailable:
        print(f"{name} is not here (LATENTGATE_DATA names no folder with it): simulated instead.")
        return False
    print(f"{name}: {lg.data.RECORDINGS[name].description}")
    return True


# %% [markdown]
# ## Part 1. A decision
#
# ### Spikes of a few trials
#
# Counts in bins of 25 ms, from 100 ms after the stimulus to the first movement of the hand. Bins are laid from the movement backwards, and each trial has one
# row more, without counts, that says: *here a boundary was reached* - not which. Trials differ in length, and that is data too.
#
# Every fourth trial is for fitting, another fourth for testing, to keep this short. (All 1 056 in five folds: `benchmarks/pmd_decisions.py`.)

# %%
# A potential is read off small differences of log-likelihoods in the tens of thousands: double precision.
jax.config.update("jax_enable_x64", True)


def simulated_decisions(number):
    """Decisions of a model with a known potential: a gentle hill, the same at both sides, and a start in the middle."""
    truth = lg.LangevinOnGrid(14, 24, ends="absorbing", tuning_knots=None, bin_width=0.025)
    slopes, middles = np.random.default_rng(1).normal(0.0, 1.0, 14), np.linspace(-1.6, -0.4, 14)
    start = np.exp(-0.5 * (truth.grid / 0.25) ** 2) * truth.langevin.inside
    params = {
        "initial.weights": np.zeros(truth.initial.priors(24)["weights"].event_shape),
        "transition.potential": coefficients_of(-2.5 * truth.grid**2, truth.grid, 12),
        "transition.diffusion": np.array(0.5),
        "emission.rates": np.exp(middles + truth.grid[:, None] * slopes),
    }
    trials, points = truth.simulate(jax.random.key(0), params, [100] * number, initial=start / start.sum())
    ended = np.array([path[-1] in (0, 23) and len(path) > 5 for path in points])
    labels = {"chosen_right": np.array([path[-1] == 23 for path in points]), "hard": np.zeros(number, bool)}
    return dataclasses.replace(trials, labels=labels).select(ended)


if found("monkey_pmd_decisions"):
    decisions = lg.load("monkey_pmd_decisions", bin_width=0.025, start=0.1)
else:
    decisions = simulated_decisions(120 if QUICK else 1000)
# For the legends of pictures alone.
decisions = dataclasses.replace(decisions, labels=decisions.labels | {"chose": np.where(decisions.labels["chosen_right"], "right", "left")})
number = np.arange(decisions.num_sequences)
train, test = decisions.select(number % 4 == 0), decisions.select(number % 4 == 2)
print(train)

# %%
shown = np.argsort(np.abs(train.lengths - np.quantile(train.lengths, 0.7)), kind="stable")[:3]
figure, panels = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained", sharey=True)
for panel, trial in zip(panels, shown, strict=True):
    counts = train.values[trial, : train.lengths[trial] - 1].T
    image = panel.imshow(counts, aspect="auto", cmap="Greys", vmin=0, vmax=4, extent=(-25 * counts.shape[1], 0, 13.5, -0.5), interpolation="none")
    panel.set(xlabel="time before movement (ms)", title=f"trial {trial}")
panels[0].set_ylabel("neuron")
figure.colorbar(image, ax=panels, label="spikes in 25 ms", ticks=range(5))
plt.show()

# %% [markdown]
# ### What is assumed, what is inferred
#
# | assumed | inferred |
# |---|---|
# | one hidden position $x$ between -1 and 1, shared by all neurons | the potential $\Phi(x)$, a smooth curve of any shape |
# | $dx = -D\,\Phi'(x)\,dt + \sqrt{2D}\,dW$: downhill, plus noise | the strength $D$ of the noise |
# | a trial ends when $x$ reaches -1 or 1 | the tuning curve of every neuron, any smooth shape |
# | spikes are Poisson given $x$; $\Phi$ is the same on every trial | the law of the first position; the path on every trial |
#
# Choice, side of the stimulus and difficulty never enter. Nor is it known which end means left: the fit cannot tell $x$ from $-x$, and we shall look at the
# very end which way round it came. That $\Phi$ is one curve for all trials is a strong word, since the stimulus differs between them: what evidence does to
# a single trial is seen by this model as luck.
#
# On a grid of 24 points this is a Markov jump process, and its likelihood is exact. A quasi-Newton search climbs the log-joint. (`lg.EM()` does it too; but
# potential and tuning curves can give way to each other, and along such ridges EM creeps.)

# %%
grid_model = lg.LangevinOnGrid(14, 24, ends="absorbing", time_scale=0.5, potential_knots=8, tuning_knots=6)
decision = lg.fit(grid_model, train, lg.MAP(max_iterations=5 if QUICK else 400), seed=0, progress=False)
print(decision)
model, params = decision.model, decision.params

# %% [markdown]
# ### The landscape, and what the neurons say of it
#
# The band is a 95 % interval from the curvature of the log-joint, all parameters moving together. Only differences of $\Phi$ mean anything; here $\Phi$ is
# measured from the middle. A difference of one is what noise climbs easily; one of ten it never does.

# %%
uncertainty = decision.uncertainty()
print(uncertainty.report())
middle = len(model.grid) // 2
band = uncertainty.interval(lambda params: model.potential(params) - model.potential(params)[middle])
figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
lg.plotting.potential(model.grid, band.estimate, (band.lower, band.upper), absorbing=(True, True), ax=panels[0])
panels[0].set(ylabel="potential Φ, from the middle", xlabel="position x (dashed: absorbing ends)")
lg.plotting.tuning_curves(model.grid, model.tuning_curves(params), ax=panels[1])
plt.show()

# %% [markdown]
# In the recording $\Phi$ is a hill: from near its top the position is pulled to one side or the other, ever harder, and does not come back. How deep it falls
# towards the ends is what the data say least about.
#
# ### Single trials, coloured by a choice that was never shown
#
# Posterior means on trials that were not fitted. *That* a path ends at one of the ends is assumed; *which* is inferred. Each path is drawn with the whole trial
# known, so where colours part early it is hindsight, not prophecy. Thick lines are means, as far as half of the trials go.

# %%
paths = model.decision_variable(params, test)
figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
for panel, align in zip(panels, ("start", "end"), strict=True):
    lg.plotting.position_paths(paths, test, by="chose", align=align, absorbing=(True, True), ax=panel)
panels[0].set_xlabel("time from 100 ms after the stimulus (s)")
panels[1].set(xlabel="time before movement (s)", ylabel="")
plt.show()


# %% [markdown]
# Which end was reached, says the posterior of trials that were not fitted. Which end means right is the better of the two on the *fitted* trials: one bit of
# what the monkey did, for all trials together.


# %%
def at_last_end(data):
    ends = np.asarray(model.choice(params, data))
    return ends[:, 1] > ends[:, 0]


right = test.labels["chosen_right"]
read = at_last_end(test) == (np.mean(at_last_end(train) == train.labels["chosen_right"]) >= 0.5)
hard = test.labels["hard"]
print(f"end reached = side chosen on {100 * np.mean(read == right):.1f} % of {len(right)} held-out trials")
if hard.any():
    print(f"easy trials {100 * np.mean((read == right)[~hard]):.1f} %, hard trials {100 * np.mean((read == right)[hard]):.1f} %")

# %% [markdown]
# ### Does it foretell spikes?
#
# Bits per spike above constant rates, on held-out trials. For the model: $\log p(\text{counts} \mid \text{duration})$, in which each bin is foretold from those
# before it and from when the trial ends. Beside it what most of us would draw: the mean over trials (PSTH), aligned to the beginning or to the movement,
# smoothed by 50 ms. It knows the time as well, but not the trial.


# %%
def bin_numbers(data, align):
    """Bins counted from the beginning or from the end, int [trial, time]; -1 where nothing was counted."""
    seen = np.asarray(data.observed).any(-1)
    forward = np.broadcast_to(np.arange(seen.shape[1]), seen.shape)
    return np.where(seen, forward if align == "start" else seen.sum(1, keepdims=True) - 1 - forward, -1)


def psth(align):
    bins, wanted = bin_numbers(train, align), bin_numbers(test, align)
    size = max(bins.max(), wanted.max()) + 1
    trials = gaussian_filter1d(np.bincount(bins[bins >= 0], minlength=size).astype(float), 2.0, mode="constant")
    spikes = np.stack([np.bincount(bins[bins >= 0], train.values[..., neuron][bins >= 0], size) for neuron in range(14)], 1)
    # A hundredth of a bin at the mean rate stands in where no trial reaches.
    rates = (gaussian_filter1d(spikes, 2.0, axis=0, mode="constant") + 0.01 * spikes.sum(0) / (bins >= 0).sum()) / (trials[:, None] + 0.01)
    return rates[np.maximum(wanted, 0)]


def log_poisson(rates):
    counts, seen = np.asarray(test.values), np.asarray(test.observed)
    return np.where(seen, counts * np.log(np.where(seen, rates, 1.0)) - rates - gammaln(counts + 1), 0.0).sum()


constant = log_poisson(np.broadcast_to(train.values.sum((0, 1)) / train.observed.sum((0, 1)), test.values.shape))
# The same trials, of which nothing is known but how long they took.
unseen = dataclasses.replace(test, values=np.zeros_like(test.values), observed=np.zeros_like(test.observed), complete=False)
gained = {
    "PSTH, from the start": log_poisson(psth("start")) - constant,
    "PSTH, to movement": log_poisson(psth("end")) - constant,
    "one hidden position": decision.log_likelihood(test).sum() - decision.log_likelihood(unseen).sum() - constant,
}
bits = {name: float(value) / (test.values.sum() * np.log(2)) for name, value in gained.items()}


def bars(values, colours, label, ax=None):
    ax = plt.subplots(figsize=(5.5, 0.6 + 0.4 * len(values)), layout="constrained")[1] if ax is None else ax
    ax.barh(list(values), list(values.values()), color=colours, height=0.6)
    for place, value in enumerate(values.values()):
        ax.text(max(value, 0.0), place, f" {value:.3f}", va="center")
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.set_xlabel(label)
    ax.spines[["top", "right"]].set_visible(False)


bars(bits, [GREY, GREY, BLUE], "bits per spike, held-out trials")
plt.show()

# %% [markdown]
# ## Part 2. A rhythm, its forces and its inputs
#
# `lorenz_spikes`: 60 neurons driven by a Lorenz attractor, in bins of 20 ms. It is simulated, so the answer is known: true rates and true latents. The model
# knows neither, nor the equations, nor that there are three dimensions. It has eight latents with velocities,
#
# $$dz = v\,dt, \qquad dv = -\nabla U(z)\,dt - \gamma v\,dt + \sqrt{2\gamma\tau}\,dW, \qquad \text{rate}_n = e^{(Cz + d)_n},$$
#
# a potential $U$ of any shape (a small network), and a *guide*, a recurrent network that reads a trial and says which noise $dW$ would have led the latents
# where the spikes say they were. The mean of that noise is the **inferred input**: what the data call for beyond what $U$ does by itself. The likelihood is
# bounded from below, no longer exact.


# %%
# Training by stochastic gradients gains nothing from double precision, and is faster without.
jax.config.update("jax_enable_x64", False)


def simulated_rhythm(number):
    """Trials of three coupled oscillators, with the truth as `lorenz_spikes` has it."""
    truth = lg.LangevinFlow(3, 60, lg.potentials.CoupledOscillators(neighbours=1))
    rng = np.random.default_rng(2)
    params = truth.initialize(jax.random.key(0), lg.Sequences.from_arrays(rng.poisson(0.1, (2, 100, 60)).astype(float)))
    params |= {
        "emission.matrix": jnp.asarray(rng.normal(0.0, 0.6, (60, 3)), jnp.float32),
        "emission.bias": jnp.full(60, np.log(0.1), jnp.float32),
        "dynamics.friction": jnp.full(3, 0.02),
    }
    trials, phases = truth.simulate(jax.random.key(1), params, [100] * number)
    latents = np.stack(phases)[..., :3]
    rates = np.exp(latents @ np.asarray(params["emission.matrix"]).T + np.asarray(params["emission.bias"])) / 0.01
    labels = {"split": np.where(np.arange(number) % 5 == 4, "valid", "train")}
    return lg.Sequences.from_arrays(trials.values, inputs={"rates": rates, "latents": latents}, labels=labels, bin_width=0.01)


def in_pairs(data):
    """The same trials in bins twice as wide: half the steps, and a period of the rhythm is still fifteen of them."""
    pairs = {name: array.reshape(len(array), data.max_length // 2, 2, -1) for name, array in (data.inputs | {"counts": data.values}).items()}
    counts = pairs.pop("counts").sum(2)
    means = {name: array.mean(2) for name, array in pairs.items()}
    return lg.Sequences.from_arrays(counts, inputs=means, labels=data.labels, bin_width=2 * data.bin_width)


rhythm = in_pairs(lg.load("lorenz_spikes") if found("lorenz_spikes") else simulated_rhythm(60 if QUICK else 800))
train, test = (rhythm.select(rhythm.labels["split"] == part) for part in ("train", "valid"))
# The truth travels with the data as inputs: the models are given trials without it.
plain_train, plain_test = (dataclasses.replace(part, inputs={}, input_names={}) for part in (train, test))
print(plain_train)

# %% [markdown]
# Two models, trained alike but for the number of epochs (the control's score is flat after a few). The second is the control: its latents are independent draws
# in every bin, *white noise*, and nothing else differs (but that its guide has no path to steer by). In training a coin decides for every count whether the
# guide may read it, and only the others are scored, so that no count can be handed to its own rate.

# %%
NUM_LATENTS = 8
flow_model = lg.LangevinFlow(NUM_LATENTS, 60, lg.potentials.Network(32), guide=lg.guides.Recurrent(64))
white_model = lg.LangevinFlow(NUM_LATENTS, 60, lg.potentials.NoForce(), guide=lg.guides.Recurrent(64, steering=False), motion="white noise")


def trained(flow, epochs):
    engine = lg.AmortisedSVI(max_epochs=2 if QUICK else epochs, warm_up=1 if QUICK else 10, batch_size=16 if QUICK else 32, learning_rate=8e-3)
    return lg.fit(flow, plain_train, engine, seed=0, progress=False)


flow, white = trained(flow_model, 60), trained(white_model, 25)
print(flow)

# %%
figure, axes = plt.subplots(figsize=(5.5, 2.8), layout="constrained")
for name, fit, colour in (("Langevin flow", flow, BLUE), ("white noise", white, ORANGE)):
    axes.plot(1 + np.arange(len(fit.traces["held_out"])), fit.traces["held_out"], color=colour, label=name)
axes.set(xlabel="epoch", ylabel="hidden counts of\nvalidation trials (bits per spike)")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# ### Rates and latents against the truth
#
# Test trials; the fit saw neither them nor any truth. (The recording's split: the same trajectories as in training, other spikes.) Latents are unique up to a
# change of coordinates only, so a linear map to the attractor is learned, on training trials. The trial drawn is the one that moves most between the lobes.

# %%
bin_width = test.bin_width
rates = np.asarray(flow.model.expected_counts(flow.params, plain_test), float) / bin_width
latents, latents_test = (np.asarray(fit, float) for fit in (flow.smooth(plain_train)["mean"], flow.smooth(plain_test)["mean"]))
ridge = Ridge(1e-4).fit(latents.reshape(-1, NUM_LATENTS), train.inputs["latents"].reshape(-1, 3))
mapped = ridge.predict(latents_test.reshape(-1, NUM_LATENTS)).reshape(test.inputs["latents"].shape)
truth = test.inputs["latents"]
print(f"latents after a linear map: R² = {r_squared(truth.reshape(-1, 3), mapped.reshape(-1, 3), average=True):.2f}")
log_rates = [np.log(array).reshape(-1, 60) for array in (test.inputs["rates"], rates)]
print(f"log-rates: R² = {r_squared(*log_rates, average=True):.2f}, mean over neurons")

# %%
trial, time = int(truth[..., 0].std(1).argmax()), 1000 * bin_width * (np.arange(test.max_length) + 0.5)
busy = np.argsort(test.inputs["rates"].std((0, 1)))[::-1][:6:2]
figure, panels = plt.subplots(2, 3, figsize=(10, 4.6), layout="constrained", sharex=True)
for panel, neuron in zip(panels[0], busy, strict=True):
    spikes = np.flatnonzero(test.values[trial, :, neuron])
    panel.plot(time, test.inputs["rates"][trial, :, neuron], color="#BFBFBF", linewidth=3, label="true")
    panel.plot(time, rates[trial, :, neuron], color=BLUE, label="inferred")
    panel.plot(time[spikes], np.full(len(spikes), -0.06 * panel.get_ylim()[1]), "|", color="#333333", markersize=7, label="spikes")
    panel.set_title(f"neuron {neuron}")
for index, panel in enumerate(panels[1]):
    panel.plot(time, truth[trial, :, index], color="#BFBFBF", linewidth=3)
    panel.plot(time, mapped[trial, :, index], color=BLUE)
    panel.set(xlabel="time (ms)", title=f"latent {index + 1}")
panels[0, 0].set_ylabel("rate (Hz)")
panels[1, 0].set_ylabel("position (s.d.)")
figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False, fontsize="small")
for panel in panels.flat:
    panel.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharex=True, sharey=True)
for panel, what, title in zip(panels, (truth, mapped), ("true", "inferred, after a linear map"), strict=True):
    for one, colour in zip(what[:40], plt.colormaps["viridis"](np.linspace(0, 0.95, len(what[:40]))), strict=True):
        panel.plot(one[:, 0], one[:, 2], color=colour, linewidth=0.9)
    panel.set(title=title, xlabel="first latent (s.d.)")
    panel.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("third latent (s.d.)")
plt.show()

# %% [markdown]
# ### Forces
#
# $-\nabla U$ in the plane of the first two principal components of the latents, through their mean, over paths of test trials. Arrows are what the potential
# alone would do to a particle at rest there; where paths cross them, it is velocity that carries them, or an input.

# %%
flat = latents_test.reshape(-1, NUM_LATENTS)
centre = flat.mean(0)
_, sizes, directions = np.linalg.svd(flat - centre, full_matrices=False)
plane = directions[:2].T
print(f"the plane holds {100 * (sizes[:2] ** 2).sum() / (sizes**2).sum():.0f} % of the variance of the latents")
in_plane = (latents_test - centre) @ plane
low, high = in_plane.min((0, 1)), in_plane.max((0, 1))
points = np.stack(np.meshgrid(*(np.arange(*side, (high - low).max() / 20) for side in zip(low, high, strict=True))), -1).reshape(-1, 2)
forces = flow.model.force(flow.params, jnp.asarray(centre + points @ plane.T, jnp.float32))
axes = lg.plotting.force_field(points, np.asarray(forces) @ plane, paths=in_plane[:40])
axes.set(xlabel="first principal component", ylabel="second principal component")
plt.show()

# %% [markdown]
# ### Inputs
#
# What the guide adds to the potential, in standard deviations of the noise of a step. An autonomous rhythm would call for little of it; and yet this attractor
# *is* autonomous. A potential is symmetric (no force that goes round in circles), and a Lorenz attractor is not, so part of the true law must appear here as
# input; and in chaos what is a little wrong at the start is soon wrong altogether. How much is left if every path goes on from its start without inputs?

# %%
inputs = np.asarray(flow.model.inferred_inputs(flow.params, plain_test))
figure, panels = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
lg.plotting.inferred_inputs(inputs, plain_test, sequence=trial, ax=panels[0])
panels[0].set_title("one trial")
panels[1].plot(time[:-1], np.sqrt((inputs[:, :-1] ** 2).mean((0, 2))), color=BLUE)
panels[1].set(xlabel="time (ms)", ylabel="input, root mean square\n(s.d. of the noise)", title="all test trials", ylim=(0, None))
panels[1].spines[["top", "right"]].set_visible(False)
plt.show()

alone = np.asarray(flow.model.expected_counts(flow.params, plain_test, without_inputs=True), float)
seen, going_on = (co_smoothing_bits_per_spike(array, test.values) for array in (rates * bin_width, alone))
print(f"explained bits per spike with inputs {seen:.2f}, without {going_on:.2f}: {100 * going_on / seen:.0f} % are left")


# %% [markdown]
# ### The control
#
# Held-out bits per spike: a quarter of the neurons is taken away, and foretold from the others, for each quarter in turn.


# %%
def held_out(fit):
    order = np.random.default_rng(0).permutation(60)
    foretold = np.zeros(test.values.shape)
    for fold in range(4):
        held_in = ~np.isin(np.arange(60), order[fold::4])
        foretold[..., ~held_in] = np.asarray(fit.model.expected_counts(fit.params, hidden(plain_test, held_in)))[..., ~held_in]
    return co_smoothing_bits_per_spike(foretold, test.values)


compared = {
    "white noise": held_out(white),
    "Langevin flow": held_out(flow),
    "true rates": co_smoothing_bits_per_spike(test.inputs["rates"] * bin_width, test.values),
}
bars(compared, [ORANGE, BLUE, "#BFBFBF"], "bits per spike, held-out neurons")
plt.show()

# %% [markdown]
# Why print a control that loses? Because one that does not lose is how a model is found out. In the published Langevin flow for neurons the rates had a way
# around the latent: what the encoder read went straight to the decoder. Its Langevin part could be replaced by white noise and the score stayed what it was, so
# the score said nothing about dynamics. Here rates depend on the position alone, the posterior is over the noise at every step, and the divergence from the
# prior is paid in full: take the dynamics away and a large part of the score goes with it. Ask it of any latent model: *what is left if the part that I believe
# in is replaced by noise?*
#
# ## To go on
#
# Conditions that change $\Phi$ or $D$: `lg.LangevinOnGrid(..., conditions=2)`. Draws in place of normal bands: `lg.NUTS()` on a small grid. Other forces:
# `lg.potentials.CoupledOscillators()`, `QuarticWells()`, `Gated(...)`, or part of the force given by physics (`KnownForce`). External inputs:
# `num_inputs=`. All baselines, three seeds: `benchmarks/langevin.py`, `benchmarks/co_smoothing.py`.
