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
# # What do I believe before, and how sure am I after?
#
# Three neurons, six short trials, two hidden states. EM finds *a* value for every rate. How far could it be off? Would another prior have told another story?
# And can the machine that answers be trusted?
#
# A prior is a statement about data that have not been seen, so it can be looked at before anything is fitted. A posterior is a statement about the truth, so
# it can be checked where the truth is known. Here both are done for a small hidden Markov model: the prior predictive, a maximum with intervals from its
# curvature, variational inference, NUTS, a posterior predictive check, and a prior that is too strong. It takes about a minute and a half.

# %%
import os

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from matplotlib import pyplot as plt

import latentgate as lg

# Curvatures and samplers are worth their digits.
jax.config.update("jax_enable_x64", True)
# Small settings for the tests, which only ask whether everything still runs.
QUICK = bool(os.environ.get("LATENTGATE_QUICK"))

# %% [markdown]
# ## Before: what the prior says about data
#
# The model has rates (expected counts in a bin of 100 ms), a law of the first state and a transition matrix. Two priors for the rates: one that is nearly flat
# between 0 and 50 counts, and one that knows that cortical neurons fire a few spikes in 100 ms. And two for the transitions: one that knows nothing, and
# one that expects a state to last ten bins or so. `model.sample_prior` draws parameters, `model.simulate` draws data from them.

# %%
NUM_NEURONS, LENGTHS, BIN = 3, [50] * 6, 0.1


def model(rates=None, stickiness=9.0):
    prior = dist.Gamma(2.0, 1.0) if rates is None else rates
    return lg.HMM(2, lg.emissions.Poisson(NUM_NEURONS, prior=prior), lg.transitions.Sticky(stickiness, concentration=1.0))


def predicted(model, count):
    """The mean count of a neuron, and the share of bins in which the state changes, in data that the prior draws."""
    means, changes = [], []
    for key in jax.random.split(jax.random.key(1), count):
        for_parameters, for_data = jax.random.split(key)
        drawn, states = model.simulate(for_data, model.sample_prior(for_parameters), LENGTHS)
        means.extend(drawn.values.mean((0, 1)))
        changes.append(np.mean([np.mean(np.diff(path) != 0) for path in states]))
    return np.array(means), np.array(changes)


vague = predicted(model(dist.Gamma(1.0, 0.02), stickiness=0.0), 20 if QUICK else 150)
informed = predicted(model(), 20 if QUICK else 150)

figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for (means, changes), name in ((vague, "vague"), (informed, "informed")):
    axes[0].hist(means / BIN, np.geomspace(0.5, 3000, 30), alpha=0.6, label=name)
    axes[1].hist(changes, np.linspace(0, 1, 30), alpha=0.6, label=name)
axes[0].set(xscale="log", xlabel="mean rate of a neuron (Hz)", ylabel="neurons drawn", title="What rates the priors expect")
axes[1].set(xlabel="share of bins in which the state changes", ylabel="data sets drawn", title="What switching they expect")
axes[0].legend()
plt.show()
print(f"above 200 Hz: {np.mean(vague[0] / BIN > 200):.0%} of neurons under the vague prior, {np.mean(informed[0] / BIN > 200):.0%} under the informed one")

# %% [markdown]
# The prior that "lets the data speak" expects neurons that fire hundreds of spikes a second, and states that change at every second bin. Nobody believes that.
# The informed one is still wide.
#
# ## The data
#
# Six trials of five seconds, simulated, so that the truth is known: the second state raises two neurons and silences the third.

# %%
TRUE_RATES = np.array([[0.2, 0.5, 1.4], [1.0, 1.4, 0.4]])
simulation = lg.simulators.simulate_poisson_hmm(4, num_steps=LENGTHS[0], num_sequences=len(LENGTHS), stay_probability=0.9, rates=TRUE_RATES)
trials = lg.Sequences.from_arrays(simulation.data.to_list(), bin_width=BIN)
print(trials)

fig, ax = plt.subplots(figsize=(9, 2.6), layout="constrained")
lg.plotting.states_over_time(np.stack(simulation.states), trials, ax=ax)
ax.set_title("True states of the six trials")
plt.show()

# %% [markdown]
# ## After: four answers to one question
#
# - **MAP**: the maximum of the posterior, with intervals from the curvature there (`fit.interval`).
# - **Laplace** and **mean-field** SVI: a normal law over the unconstrained parameters, put at the maximum, or fitted by the evidence lower bound.
# - **NUTS**: draws from the posterior itself. All hidden states are summed out exactly, so it only walks in nine dimensions.

# %%
start = lg.EM(restarts=5, max_iterations=100)
laplace = lg.SVI("laplace", max_iterations=200 if QUICK else 3000, window=50 if QUICK else 500, start_from=start)
nuts = lg.NUTS(chains=2 if QUICK else 4, warmup=40 if QUICK else 400, draws=60 if QUICK else 500, start_from=start)
fits = {
    "MAP": lg.fit(model(), trials, lg.MAP(restarts=5), seed=0),
    "Laplace": lg.fit(model(), trials, laplace, seed=0),
    "mean-field": lg.fit(model(), trials, lg.SVI("mean-field", max_iterations=300 if QUICK else 5000, window=100 if QUICK else 500, start_from=start), seed=0),
    "NUTS": lg.fit(model(), trials, nuts, seed=0),
}
# States have no names: all fits are numbered like the truth.
order = np.argsort(fits["NUTS"].params["emission.rates"][:, 0])
fits["NUTS"] = fits["NUTS"].with_states(order)
fits = {name: fit.aligned_to(fits["NUTS"]) for name, fit in fits.items()}
intervals = {name: fit.interval(level=0.9) for name, fit in fits.items()}
print(fits["NUTS"])
print(fits["mean-field"])

# %%
truth = {"emission.rates": TRUE_RATES, "transition.probs": np.array([[0.9, 0.1], [0.1, 0.9]])}
entries = [("emission.rates", (state, neuron), f"rate {neuron}, state {state}") for state in range(2) for neuron in range(NUM_NEURONS)]
entries += [("transition.probs", (0, 1), "change 0 to 1"), ("transition.probs", (1, 0), "change 1 to 0")]

figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
for shift, (engine, found) in enumerate(intervals.items()):
    lower, upper = ([float(found[name].sel(statistic=end).values[index]) for name, index, _ in entries] for end in ("lower", "upper"))
    place = np.arange(len(entries)) + 0.15 * (shift - 1.5)
    ax.vlines(place, lower, upper, color=f"C{shift}", linewidth=3, label=engine)
ax.plot(np.arange(len(entries)), [truth[name][index] for name, index, _ in entries], "k_", markersize=26, label="truth")
ax.set_xticks(np.arange(len(entries)), [label for _, _, label in entries], rotation=30, ha="right")
ax.set(ylabel="expected counts in a bin, or probability", title="90 % intervals of four engines", ylim=(0, 1.2 * ax.get_ylim()[1]))
ax.legend(ncols=5, loc="upper right")
plt.show()

# %% [markdown]
# Where data are many for a parameter (rates) the four agree. The mean-field guide knows no correlations, and its intervals can be too narrow; those of the
# curvature are symmetric where the posterior is not (probabilities near a bound). The Pareto k above says how far a guide can be trusted: below 0.7 it can.
#
# ## Can the sampler be trusted?
#
# R-hat compares chains (below 1.01 is well), the effective sample size says what the draws are worth, divergences say where the sampler could not follow the
# curvature. The states of a hidden Markov model can change names between draws; latentgate aligns them before it compares anything, and counts the switches.

# %%
table = fits["NUTS"].summary()
print({name: table.attrs[name] for name in ("divergences", "label_switches", "largest_rhat", "smallest_ess")})
tree = fits["NUTS"].to_arviz()
arviz.plot_trace_dist(tree, var_names=["emission.rates"], compact=True, kind="kde", figure_kwargs={"figsize": (9, 4)})
plt.show()
table.round(2)

# %% [markdown]
# ## Would these parameters make such data?
#
# New data from the posterior (`fit.posterior_predictive`), and three things that the model was not told to fit: the variance of the counts over their mean,
# their correlation from one bin to the next, and the share of empty bins.


# %%
def statistics(values):
    """Of counts [trial, time, neuron]."""
    centred = values - values.mean((0, 1))
    return {
        "variance / mean of counts": float(np.mean(values.var((0, 1)) / values.mean((0, 1)))),
        "correlation with the next bin": float(np.mean((centred[:, 1:] * centred[:, :-1]).mean((0, 1)) / centred.var((0, 1)))),
        "share of bins without a spike": float(np.mean(values.sum(-1) == 0)),
    }


replicas = fits["NUTS"].posterior_predictive(trials, 20 if QUICK else 200, seed=0).values
drawn = [statistics(values) for values in replicas]
seen = statistics(np.asarray(trials.values))
figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
for ax, (name, value) in zip(axes, seen.items(), strict=True):
    ax.hist([one[name] for one in drawn], 20, color="0.7")
    ax.axvline(value, color="C3")
    ax.set(xlabel=name, yticks=[])
axes[0].set_ylabel("predicted data sets")
figure.suptitle("Posterior predictive (grey) and the data (red)")
plt.show()

# %% [markdown]
# ## A prior that is too strong
#
# `Sticky(s)` adds `s` transitions from each state to itself that nobody saw. Two trials hold a hundred. With so few the prior decides how often states
# change, and held-out trials say when it goes too far: the grey line is the log-likelihood of thirty other trials.

# %%
held_out = lg.simulators.simulate_poisson_hmm(5, num_steps=LENGTHS[0], num_sequences=30, stay_probability=0.9, rates=TRUE_RATES).data
strengths = [0.0, 10.0, 1e3, 1e5] if QUICK else [0.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5]
few = trials.select([0, 1])
rows = []
for strength in strengths:
    # An array, which the compiled program takes as an argument: it is compiled once for all strengths.
    fit = lg.fit(model(stickiness=jnp.asarray(strength)), few, lg.EM(restarts=5, max_iterations=200), seed=0)
    rows.append((np.mean(1 - np.diagonal(fit.params["transition.probs"])), float(fit.log_likelihood(held_out).sum()) / held_out.num_steps))
change, score = np.array(rows).T
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.plot(np.array(strengths) + 1, change, "C0o-", label="fitted probability of a change")
ax.axhline(0.1, color="C0", linestyle=":", label="truth")
ax.set(xscale="log", xlabel="stickiness + 1 (transitions that nobody saw)", ylabel="probability of a change")
other = ax.twinx()
other.plot(np.array(strengths) + 1, score, "o-", color="0.5")
other.set_ylabel("held-out log-likelihood\n(nats a bin)", color="0.4")
ax.legend()
plt.show()

# %% [markdown]
# ## What to keep
#
# Look at what a prior says about data before you fit. Begin with EM or MAP and its intervals; go to NUTS where intervals are asymmetric, parameters depend on
# each other, or a decision hangs on them; use a variational guide where NUTS is too slow, and read its Pareto k. Check the data that the posterior predicts,
# and score held-out trials: no diagnostic of a sampler says that the model is right. Whether posteriors are calibrated over many data sets (draw parameters
# from the prior, data from the parameters, rank the truth among the draws) is measured by `benchmarks/calibration.py`; `lg.plotting.rank_histogram` draws its
# ranks.
