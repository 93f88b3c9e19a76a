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
# # Which law does a response follow, and what decides?
#
# A musician who tunes a tone against a stretched fundamental either remembers the interval or matches overtones; a neuron answers a stimulus in one of two
# ways, depending on arousal. Each way is an *expert*, a regression of its own; a *gate* says how likely each expert is at a given input:
#
# $$p(y \mid x) = \sum_k \pi_k(x)\; p(y \mid x, \text{expert } k), \qquad \pi(x) = \operatorname{softmax}(Wx + b).$$
#
# This is a discrete chain without coupling, so everything that latentgate does for states it does for experts. Here: a fit and its intervals, the number of
# experts, a gate that has no maximum, and experts inside a hidden Markov model. It takes about two minutes.

# %%
import os

import jax
import numpy as np
from matplotlib import pyplot as plt

import latentgate as lg

# Gates are compared by differences of log-likelihoods in the thousands.
jax.config.update("jax_enable_x64", True)
QUICK = bool(os.environ.get("LATENTGATE_QUICK"))

# %% [markdown]
# ## Two lines and a gate
#
# The truth is the one of a published study: means $15 - 20x$ (sd 0.3) and $-5 + 20x$ (sd 0.4), and scores $25x - 8$ and 0. Only differences of scores matter;
# latentgate keeps the rows of a gate at sum zero, so that experts can be renumbered, and `with_reference` reads them relative to one of them.

# %%
rng = np.random.default_rng(0)
num_rows = 1000
x = np.linspace(0, 1, num_rows)[:, None]
first = rng.random(num_rows) < 1 / (1 + np.exp(-(25 * x[:, 0] - 8)))
y = np.where(first, 15 - 20 * x[:, 0] + 0.3 * rng.normal(size=num_rows), -5 + 20 * x[:, 0] + 0.4 * rng.normal(size=num_rows))
data = lg.Sequences.from_arrays([y[:, None]], inputs=[x], names=["response"], input_names=["stimulus"])


def lines(number):
    return lg.experts.LinearGaussian(number, scale=float(y.std()))


fit = lg.fit(lg.MixtureOfExperts(lg.gates.Softmax(), lines(2)), data, lg.EM(restarts=10), seed=0)
print(fit)

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
lg.plotting.expert_fits(fit, data, ax=axes[0])
lg.plotting.gate_weights(fit, data, ax=axes[1])
figure.tight_layout()

# %%
order = np.argsort(fit.params["experts.weights"][:, 0])
fit = fit.with_states(order)
print(lg.mixtures.with_reference(fit, expert=1))
print(lg.mixtures.expert_table(fit))

# %% [markdown]
# The gate's slope is the hard part: its standard error is a tenth of itself where those of the lines are a hundredth of theirs. What a reader wants to know is
# often not the slope but *where* the change is:

# %%
lg.mixtures.split_points(fit)

# %% [markdown]
# ## How many experts?
#
# Fit too many, and ask three ways: BIC and ICL of fits of each number, and the dendrogram of one fit, whose closest atoms are merged again and again.

# %%
numbers = [2, 3] if QUICK else [2, 3, 4]
fits = [lg.fit(lg.MixtureOfExperts(lg.gates.Softmax(), lines(number)), data, lg.EM(restarts=6, max_iterations=300), seed=1) for number in numbers]
tree = lg.mixtures.dendrogram(fits[-1], data)
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
axes[0].plot(numbers, [one.bic(data) for one in fits], "o-", label="BIC")
axes[0].plot(numbers, [lg.mixtures.icl(one, data) for one in fits], "s--", label="ICL")
axes[0].set(xlabel="experts", ylabel="smaller is better", xticks=numbers)
axes[0].legend(frameon=False)
lg.plotting.dendrogram(tree, ax=axes[1])
figure.tight_layout()

# %% [markdown]
# ## A gate without a maximum
#
# Where the inputs of experts do not overlap, a steeper gate is always likelier: there is no maximum, and an optimiser stops somewhere. latentgate says so. A
# proper prior (here standard deviation 10) has a unique answer, and the place of the change is known either way.

# %%
apart = np.concatenate([rng.uniform(0, 0.45, 100), rng.uniform(0.55, 1, 100)])[:, None]
step = np.where(apart < 0.5, apart, 3 - apart) + 0.1 * rng.normal(size=apart.shape)
separated = lg.Sequences.from_arrays([step], inputs=[apart])
experts = lg.experts.LinearGaussian(2)
free = lg.fit(lg.MixtureOfExperts(lg.gates.Softmax(weight_scale="flat", bias_scale="flat"), experts), separated, lg.EM(restarts=4), seed=0)
held = lg.fit(lg.MixtureOfExperts(lg.gates.Softmax(weight_scale=10.0), experts), separated, lg.EM(restarts=4), seed=0)
print(free.outcome.value)
print(held.outcome.value)
figure, axes = plt.subplots(1, 2, figsize=(11, 3.5), sharey=True)
for one, title, ax in zip((free, held), ("no prior", "prior"), axes, strict=True):
    lg.plotting.gate_weights(one, separated, ax=ax)
    ax.set_title(title)
figure.tight_layout()

# %% [markdown]
# ## Experts inside a hidden Markov model
#
# In each of two states the response follows one of two lines, by a gate of the state's own. Nothing is told: neither states, nor experts, nor gates.

# %%
emission = lg.emissions.MixtureOfExperts(lg.gates.Softmax(num_inputs=1), lg.experts.LinearGaussian(2, num_inputs=1))
model = lg.HMM(2, emission, lg.transitions.Sticky(5.0))
truth = {
    "initial.probs": [0.5, 0.5],
    "transition.probs": [[0.97, 0.03], [0.05, 0.95]],
    "emission.gate.weights": [[[4.0], [-4.0]], [[-3.0], [3.0]]],
    "emission.gate.bias": [[1.0, -1.0], [0.0, 0.0]],
    "emission.experts.weights": [[[1.0], [-2.0]], [[2.0], [0.0]]],
    "emission.experts.bias": [[0.0, 1.0], [-2.0, 3.0]],
    "emission.experts.scale": [[0.2, 0.3], [0.3, 0.2]],
}
truth = {name: np.array(value) for name, value in truth.items()}
inputs = [rng.uniform(-1, 1, (400, 1)) for _ in range(3)]
sessions, states = model.simulate(jax.random.key(0), {name: jax.numpy.asarray(value) for name, value in truth.items()}, [400] * 3, inputs=inputs)
switching = lg.fit(model, sessions, lg.EM(restarts=4), seed=1)
# States are matched first, and then the experts of each.
switching = switching.with_states(lg.inference.match_params(truth, switching.params, model.dims()))
decoded = np.asarray(switching.most_probable_path(sessions))
print(f"states found: {np.mean(decoded == np.stack(states)):.3f} of steps")
figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
for state, ax in enumerate(axes):
    rows = decoded == state
    ax.plot(np.asarray(sessions.inputs["inputs"])[rows][:, 0], np.asarray(sessions.values)[rows][:, 0], ".", color="0.7", markersize=3)
    for expert in range(2):
        weight, bias = switching.params["emission.experts.weights"][state, expert, 0], switching.params["emission.experts.bias"][state, expert]
        ax.plot([-1, 1], [bias - weight, bias + weight], linewidth=2, label=f"expert {expert}")
    ax.set(title=f"state {state}", xlabel="stimulus")
axes[0].set_ylabel("response")
axes[0].legend(frameon=False)
figure.tight_layout()

# %% [markdown]
# States follow each other slowly, and that is what tells them apart: the posterior of the state through the three sessions, and below it the responses of the
# first one, coloured by the true state.

# %%
figure, axes = plt.subplots(2, 1, figsize=(11, 4.5), layout="constrained")
lg.plotting.states_over_time(switching.smooth(sessions), sessions, ax=axes[0])
steps = np.arange(400)
for state, colour in enumerate(lg.plotting.state_colours(2)):
    rows = np.asarray(states[0]) == state
    axes[1].plot(steps[rows], np.asarray(sessions.values)[0, rows, 0], ".", color=colour)
axes[1].set(xlabel="step of the first session", ylabel="response", xlim=(0, 400), title="coloured by the true state")
plt.show()

# %% [markdown]
# How fast such estimates approach the truth as data grow, and what a start has to do with it, is the question of the notebook `convergence_rates`.
