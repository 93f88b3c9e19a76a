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
# # Does a population talk to itself differently when reward comes?
#
# A rat waits, a lever comes in, the rat presses it (or not), and finds a reward (or not). Do the recorded neurons pass through distinct *states* on the
# way, each with its own coupling between neurons, and do rewarded trials visit other states than unrewarded ones?
#
# The tool is the one-hot HMM-GLM (Li, Kim, Rodgers, Choi, Wu, ICLR 2024). In each hidden state the spike count of a neuron is Poisson with a rate that
# depends on the recent spikes of all neurons. A connection has a *type* (inhibitory, none, excitatory), which the states share through a learned prior,
# as anatomy would have it, and a *strength*, which every state sets for itself.
#
# The steps: look at the data, fit, check on held-out trials, decode the states, compare conditions. It takes about two minutes.

# %%
import os

import numpy as np
from matplotlib import pyplot as plt

import latentgate as lg
from latentgate import comparison, demonstration

# Small settings for the tests, which only ask whether everything still runs.
QUICK = bool(os.environ.get("LATENTGATE_QUICK"))
SEED = 0

# %% [markdown]
# ## The data
#
# `rat_insula` is a public recording of rat insula. If the folder that `LATENTGATE_DATA` names has it, it is used here; otherwise a small simulated
# recording that ships with latentgate, in which a lever drives the population into one state and a collected reward into another. To keep the fit quick,
# only the most active neurons stay.

# %%
name = "rat_insula" if os.environ.get("LATENTGATE_DATA") else "simulated_insula"
recorded, origin = demonstration.obtain(name)
trials = demonstration.most_active(recorded, 6 if QUICK else 24)
rewarded = trials.labels["rewarded"]
print(origin.name, "-", origin.description)
print(trials)
print(f"{rewarded.sum()} rewarded trials, {(~rewarded).sum()} unrewarded; bins of {1000 * trials.bin_width:g} ms")

# %% [markdown]
# One rewarded trial, spike counts in grey, neurons from top to bottom.

# %%
shown = int(np.flatnonzero(rewarded)[0])
length = trials.lengths[shown]
figure, axes = plt.subplots(figsize=(9, 2.6), layout="constrained")
axes.imshow(
    trials.values[shown, :length].T, aspect="auto", cmap="Greys", vmax=4, extent=(0, length * trials.bin_width, trials.num_features, 0), interpolation="nearest"
)
for (event, times), colour in zip(trials.events.items(), lg.plotting.state_colours(len(trials.events)), strict=True):
    for index, time in enumerate(times[shown]):
        axes.axvline(time, color=colour, linewidth=2, label=event if index == 0 else None)
axes.set(xlabel="time in trial (s)", ylabel="neuron", yticks=range(0, trials.num_features + 1, 5))
axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False)
plt.show()

# %% [markdown]
# ## The fit
#
# Every fourth trial is held out. Three models, each a step further: one state (an ordinary GLM), several states with independent weights (ridge), and the
# one-hot model, which starts from the second. Started at random it often ends in a worse optimum, because strong wrong types are hard to unlearn.

# %%
held_out = np.arange(trials.num_sequences) % 4 == 3
train, test = trials.select(~held_out), trials.select(held_out)


def model(num_states, coupling):
    history = lg.basis.Exponential(window=5, time_constant=2.0)
    glm = lg.emissions.PoissonGLM(trials.num_features, history=history, coupling=coupling, bin_width=trials.bin_width)
    return lg.HMM(num_states, glm)


def engine(restarts, iterations):
    return lg.EM(restarts=1 if QUICK else restarts, max_iterations=10 if QUICK else iterations, tolerance=1e-6)


one_state = lg.fit(model(1, lg.priors.Ridge()), train, engine(1, 100), seed=SEED)
free = lg.fit(model(3, lg.priors.Ridge()), train, engine(4, 30), seed=SEED)
one_hot = lg.fit(model(3, lg.priors.OneHot()), train, engine(1, 40), seed=SEED, start=free)
for label, fitted in (("one state", one_state), ("ridge", free), ("one-hot", one_hot)):
    print(f"{label}: {fitted.outcome.value}")

# %% [markdown]
# EM must never lose ground, in any restart. Restarts that end far below the best one are why one start is not enough.

# %%
lg.plotting.em_trace(free)
plt.show()

# %% [markdown]
# ## Is it better on trials it has not seen?
#
# Bits per spike above a homogeneous Poisson, which knows only each neuron's mean rate. Each point is one held-out trial.

# %%
fits = {"one-state GLM": one_state, "HMM-GLM (ridge)": free, "one-hot HMM-GLM": one_hot}
scores = comparison.held_out_scores({label: fitted.log_likelihood(test) for label, fitted in fits.items()}, test, train)
lg.plotting.bits_per_spike({label: scores.bits_per_spike(label) for label in fits}, {label: scores.bits_per_spike_by_sequence(label) for label in fits})
plt.show()
better = scores.num_better("one-hot HMM-GLM", "one-state GLM")
print(f"The one-hot HMM-GLM is better than the one-state GLM in {better} of {test.num_sequences} held-out trials.")

# %% [markdown]
# ## The states
#
# Rows are trials, colours the most probable state. The model was told nothing of levers and rewards.

# %%
smoothed, path = one_hot.smooth(trials), one_hot.most_probable_path(trials)
lg.plotting.states_over_time(path, trials, by="rewarded")
plt.show()
print(one_hot.summary(trials).round(3))

# %% [markdown]
# ## What differs between the states?
#
# The coupling of each state, and the connection types they share: where the prior is red or blue, the states agree on a type; purple says that the data
# do not tell, mostly because the connection is weak in every state.

# %%
figure = plt.figure(figsize=(11.5, 3), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=(8, 3.4))
lg.plotting.coupling(one_hot.model.emission.coupling_weights(one_hot.params), ax=left.subplots(1, 3))
lg.plotting.connection_types(one_hot.params["emission.type_prior"], ax=right.subplots())
plt.show()

# %% [markdown]
# ## Do rewarded trials visit other states?
#
# The share of each trial spent in each state, and a permutation test over trials. Two doubts are checked. Trials of the two kinds differ in length, so the
# test is repeated in the window that all have. And if like trials come in runs, a slow drift could pass for an effect of reward, so it is repeated within
# blocks of eight neighbouring trials.

# %%
common = int(trials.lengths.min())
whole, window = comparison.occupancy(smoothed), comparison.occupancy(smoothed, common)
lg.plotting.occupancy(whole, rewarded, name="rewarded", other_name="not rewarded")
plt.show()
print(f"whole trials:               p = {comparison.compare_groups(whole, rewarded, seed=SEED).p_value:.4f}")
print(f"first {common * trials.bin_width:.1f} s of all trials: p = {comparison.compare_groups(window, rewarded, seed=SEED).p_value:.4f}")
print(f"neighbouring trials only:   p = {comparison.compare_groups(whole, rewarded, block=8, seed=SEED).p_value:.4f}")

# %% [markdown]
# ## To go on
#
# How many states? `lg.cross_validate` scores several K on whole trials that were held out. Are the types of a neuron's connections all alike (Dale)?
# `lg.priors.OneHot(dale=True)`. Do the lever and the reward *drive* the switches? `lg.transitions.Gated` lets inputs act on the transitions.
