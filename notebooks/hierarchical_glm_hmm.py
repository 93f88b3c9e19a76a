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
# # What do animals share? A hierarchical GLM-HMM in PyMC
#
# Animals that choose left or right on the evidence before them switch between strategies: now *engaged*, weighing the stimulus, now *disengaged*, repeating
# themselves with a bias. A GLM-HMM (Ashwood et al., Nature Neuroscience 2022) gives every hidden state its own logistic regression.
#
# With one animal there is one model. With several there is a question: fit each alone, and an animal with few trials gets poor weights; fit them all as one,
# and what makes them different is lost. A *hierarchical* model does neither. Each animal has weights of its own, drawn from a population, and the population is
# learned too. An animal lends strength to the others exactly as far as they are alike.
#
# latentgate knows HMMs; PyMC knows hierarchies. `latentgate.adapters.pymc` joins them: `log_likelihood` is the likelihood of a latentgate model, its hidden
# states summed out exactly, as a differentiable operation in a PyMC model. It takes about a minute, and needs `pip install 'latentgate[pymc]'`.

# %%
import logging
import os
import warnings

import arviz
import numpy as np
import pymc as pm
from matplotlib import pyplot as plt

import latentgate as lg
from latentgate.adapters.pymc import log_likelihood

# Small settings for the tests, which only ask whether everything still runs.
QUICK = bool(os.environ.get("LATENTGATE_QUICK"))
SEED = 0
logging.getLogger("pymc").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", category=FutureWarning)

# %% [markdown]
# ## Four animals
#
# On each trial an animal sees a stimulus, positive or negative, and remembers its previous choice. Weights are log-odds of choosing right (class 1): a
# weight of 3 on the stimulus makes a stimulus of +1 twenty times likelier to be answered by "right" than by "left".
#
# The population has two strategies. The animals vary about it, and one of them, animal D, has done a quarter of the trials of the others.

# %%
STATES, INPUTS = ("engaged", "disengaged"), ("stimulus", "previous choice", "bias")
population_truth = np.array([[3.0, 0.3, 0.2], [0.4, 1.2, -0.8]])
spread_truth = 0.4
animals = list("ABCD")
sessions = dict(zip(animals, (2, 2, 2, 1) if QUICK else (8, 8, 8, 2), strict=True))
trials_in_session = 40 if QUICK else 100

rng = np.random.default_rng(SEED)
animal_truth = population_truth + spread_truth * rng.normal(size=(len(animals), *population_truth.shape))
stay = np.array([[0.97, 0.03], [0.05, 0.95]])


def one_session(weights):
    state, previous, choices, inputs, states = rng.integers(2), 0.0, [], [], []
    for _ in range(trials_in_session):
        stimulus = rng.choice([-1.0, -0.5, -0.25, 0.25, 0.5, 1.0])
        inputs.append([stimulus, previous])
        choice = rng.random() < 1 / (1 + np.exp(-weights[state] @ [stimulus, previous, 1.0]))
        choices.append([float(choice)])
        states.append(state)
        previous = 2.0 * choice - 1.0
        state = rng.choice(2, p=stay[state])
    return np.array(choices), np.array(inputs), np.array(states)


data, states_truth = {}, {}
for animal, weights in zip(animals, animal_truth, strict=True):
    simulated = [one_session(weights) for _ in range(sessions[animal])]
    data[animal] = lg.Sequences.from_arrays([choices for choices, _, _ in simulated], inputs=[inputs for _, inputs, _ in simulated])
    states_truth[animal] = [states for _, _, states in simulated]
    print(animal, data[animal])

# %% [markdown]
# What an experimenter would look at first, the psychometric curve, mixes the strategies: flat shoulders that never reach certainty.

# %%
figure, axes = plt.subplots(1, len(animals), figsize=(10, 2.4), sharey=True, layout="constrained")
for axis, animal in zip(axes, animals, strict=True):
    seen = np.asarray(data[animal].inputs["inputs"])[np.asarray(data[animal].mask)][:, 0]
    chosen = np.asarray(data[animal].values)[np.asarray(data[animal].mask)][:, 0]
    levels = np.unique(seen)
    axis.plot(levels, [chosen[seen == level].mean() for level in levels], "o-", color="0.3")
    axis.set(title=f"animal {animal}, {len(seen)} trials", xlabel="stimulus", ylim=(0, 1))
axes[0].set_ylabel("fraction right")
plt.show()

# %% [markdown]
# ## First, each animal alone
#
# The quick way, EM: one model an animal. States have no names of their own, so the one with the larger stimulus weight is called engaged. These fits also
# tell the sampler where to start. A start matters more here than in most models: the likelihood does not care which state is called the first, and chains
# that start anywhere would have to agree on names first.

# %%
model = lg.HMM(2, lg.emissions.BernoulliGLM(num_inputs=2), lg.transitions.Stationary(concentration=2.0))
alone = {}
for animal in animals:
    fit = lg.fit(model, data[animal], lg.EM(restarts=2 if QUICK else 8, max_iterations=20 if QUICK else 200), seed=SEED, progress=False)
    alone[animal] = fit.with_states(np.argsort(-fit.params["emission.weights"][:, 0]))


def with_bias(params):
    """Weights and bias in one table, [state, input]."""
    return np.concatenate([params["emission.weights"], params["emission.bias"][:, None]], axis=1)


alone_weights = np.array([with_bias(alone[animal].params) for animal in animals])

# %% [markdown]
# ## The hierarchy
#
# In PyMC's words: the population has a mean for every state and input and a spread for every input; each animal's weights are the mean plus the spread times a
# standard normal `offset` (the *non-centred* form, in which few data do not make a funnel). Every animal enters through one `pm.Potential`.
#
# Two things keep the names of the states apart: the start, and the prior of the population, in which the first state weighs the stimulus more. The animals
# share the transitions here, to keep the picture simple.

# %%
coords = {"animal": animals, "state": list(STATES), "next_state": list(STATES), "input": list(INPUTS)}
with pm.Model(coords=coords) as hierarchy:
    population = pm.Normal("population", mu=np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), sigma=1.5, dims=("state", "input"), initval=alone_weights[:3].mean(0))
    spread = pm.HalfNormal("spread", sigma=1.0, dims="input", initval=np.full(3, 0.3))
    offset = pm.Normal("offset", dims=("animal", "state", "input"), initval=np.zeros_like(alone_weights))
    weights = pm.Deterministic("weights", population + spread * offset, dims=("animal", "state", "input"))
    transition = pm.Dirichlet("transition", a=1.0 + 9.0 * np.eye(2), dims=("state", "next_state"), initval=np.array([[0.95, 0.05], [0.05, 0.95]]))
    for index, animal in enumerate(animals):
        params = {
            "initial.probs": np.full(2, 0.5),
            "transition.probs": transition,
            "emission.weights": weights[index, :, :2],
            "emission.bias": weights[index, :, 2],
        }
        pm.Potential(f"choices of {animal}", log_likelihood(model, data[animal], params))

# %% [markdown]
# Sampling: nutpie, with the whole model compiled to JAX. PyMC's own sampler and numpyro take the same model.

# %%
with hierarchy:
    drawn = pm.sample(
        draws=30 if QUICK else 500,
        tune=30 if QUICK else 400,
        chains=2,
        cores=2,
        nuts_sampler="nutpie",
        backend="jax",
        random_seed=SEED,
        progressbar=False,
        compute_convergence_checks=False,
    )
posterior = drawn.posterior

# %% [markdown]
# ## Did it work?
#
# Chains must agree (R-hat near 1), draws must be worth something (effective sample size), and no trajectory should have diverged.

# %%
table = arviz.summary(drawn, var_names=["population", "spread", "transition"], kind="diagnostics")
print(table)
print("divergences:", int(drawn.sample_stats["diverging"].sum()))

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 2.4), layout="constrained")
for axis, state in zip(axes, STATES, strict=True):
    for chain in posterior.chain.values:
        axis.plot(posterior["population"].sel(chain=chain, state=state, input="stimulus"), linewidth=0.6, label=f"chain {chain}")
    axis.set(title=f"stimulus weight of the population, {state}", xlabel="draw", ylabel="log-odds")
axes[0].legend(frameon=False)
plt.show()

# %% [markdown]
# ## Population and animals
#
# Grey bands: the population mean, 90 % of its posterior, and its truth, dashed. Points with bars: each animal, mean and 90 %. Crosses: its truth. Open circles:
# EM of that animal alone.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
quantiles = posterior["weights"].quantile([0.05, 0.95], dim=("chain", "draw"))
bands = posterior["population"].quantile([0.05, 0.95], dim=("chain", "draw"))
means = posterior["weights"].mean(("chain", "draw"))
colours = plt.get_cmap("viridis")(np.linspace(0.1, 0.85, len(animals)))
for k, (axis, state) in enumerate(zip(axes, STATES, strict=True)):
    for m, name in enumerate(INPUTS):
        low, high = bands.sel(state=state, input=name).values
        axis.fill_between([m - 0.4, m + 0.4], low, high, color="0.85", label="population" if m == 0 else None)
        axis.hlines(population_truth[k, m], m - 0.4, m + 0.4, color="0.4", linestyle="dashed", label="population, truth" if m == 0 else None)
        for i, animal in enumerate(animals):
            x = m + 0.18 * (i - 1.5)
            one = {"state": state, "input": name, "animal": animal}
            middle, (low, high) = float(means.sel(one)), quantiles.sel(one).values
            axis.errorbar(
                x,
                middle,
                [[middle - low], [high - middle]],
                fmt="o",
                color=colours[i],
                label=f"animal {animal}, {data[animal].num_steps} trials" if m == 0 else None,
            )
            axis.plot(x, animal_truth[i, k, m], "kx", label="truth" if m == i == 0 else None)
            axis.plot(x, alone_weights[i, k, m], "o", mfc="none", color="0.5", label="EM, alone" if m == i == 0 else None)
    axis.axhline(0, color="k", linewidth=0.5)
    axis.set(title=state, xticks=range(3), xticklabels=INPUTS)
axes[0].set_ylabel("weight (log-odds of right)")
axes[1].legend(frameon=False, fontsize=8)
plt.show()

# %% [markdown]
# What the hierarchy buys: the error of each animal's weights, alone and together. Animal D, with few trials, gains most, since it may lean on the others; those
# with many trials change little, for better or worse.

# %%
together_error = np.sqrt(((means.values - animal_truth) ** 2).mean((1, 2)))
alone_error = np.sqrt(((alone_weights - animal_truth) ** 2).mean((1, 2)))
figure, axis = plt.subplots(figsize=(5, 2.6), layout="constrained")
axis.bar(np.arange(4) - 0.2, alone_error, 0.38, color="0.7", label="each alone (EM)")
axis.bar(np.arange(4) + 0.2, together_error, 0.38, color="C0", label="hierarchy")
axis.set(xticks=range(4), xticklabels=[f"{animal}\n{data[animal].num_steps} trials" for animal in animals], ylabel="r.m.s. error of weights")
axis.legend(frameon=False)
plt.show()
inside = ((quantiles.values[0] < animal_truth) & (animal_truth < quantiles.values[1])).mean()
print(f"{100 * inside:.0f} % of the true weights lie inside their 90 % intervals.")

# %% [markdown]
# ## Back to latentgate: when was the animal engaged?
#
# With posterior means as parameters, latentgate smooths the states of any session; here one of animal D, whose weights alone would be unsure.

# %%
shown = animals.index("D")
params = {
    "initial.probs": np.full(2, 0.5),
    "transition.probs": posterior["transition"].mean(("chain", "draw")).values,
    "emission.weights": means.values[shown, :, :2],
    "emission.bias": means.values[shown, :, 2],
}
smoothed = np.asarray(model.smooth(params, data["D"]).marginals)
figure, axis = plt.subplots(figsize=(10, 2), layout="constrained")
axis.plot(smoothed[0, :, 0], color="C0", label="P(engaged | choices)")
axis.fill_between(np.arange(trials_in_session), states_truth["D"][0] == 0, step="mid", color="0.88", label="truly engaged")
axis.set(xlabel="trial", ylim=(0, 1.02))
axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
correct = np.mean([(row[:, 0] > 0.5) == (truth == 0) for row, truth in zip(smoothed, states_truth["D"], strict=True)])
print(f"The more probable state is the true one in {100 * correct:.0f} % of the trials of D.")

# %% [markdown]
# ## To go on
#
# Anything that PyMC can say may stand above the animals: groups, lesions, drugs, sessions within animals, a prior on the spread. `random_variables` makes PyMC
# variables from the priors that a latentgate model already has, and `pymc_model` does it for a whole model.
