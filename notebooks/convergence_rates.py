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
# # How fast does a gate learn, and what decides it?
#
# With four times the data an average is twice as good: errors fall like $n^{-1/2}$. Does a mixture of experts keep that promise, for its gate too? What if one
# expert too many is fitted, or a parameter that no data can settle? And how much of a published rate is the start of the optimiser?
#
# `lg.studies.convergence_rates` draws data of growing size from a known truth, fits every estimator to each, and measures how far off it was. Slopes on the
# scale of logarithms come with bootstrap intervals. `gated_experts` is about fitting such models to data of your own; here the truth is known. It takes two to
# three minutes, most of them compiling.

# %%
import os
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import numpyro.distributions as dist
import pandas as pd
from matplotlib import pyplot as plt
from numpyro.distributions import constraints
from scipy.stats import chi2

import latentgate as lg
from latentgate import studies
from latentgate.models.zero_sum import ZeroSum

# Small settings for the tests, which only ask whether everything still runs.
QUICK = bool(os.environ.get("LATENTGATE_QUICK"))
SIZES = [200, 250] if QUICK else studies.log_spaced(200, 12_800, 4)
REPLICATIONS = 3 if QUICK else 40

# %% [markdown]
# ## A truth, and losses that fit it
#
# Two lines and a gate, of a published study: means $15 - 20x$ (sd 0.3) and $-5 + 20x$ (sd 0.4), scores $25x - 8$ and 0, inputs at equal distances. All priors
# are flat, so that what is fitted is the likelihood.


# %%
def flat_mixture(num_experts, **options):
    gate = lg.gates.Softmax(num_inputs=1, weight_scale="flat", bias_scale="flat", **options)
    return lg.MixtureOfExperts(gate, lg.experts.LinearGaussian(num_experts, num_inputs=1, weight_prior="flat", bias_prior="flat", variance_prior="flat"))


params = {
    "gate.weights": [[25.0], [0.0]],
    "gate.bias": [-8.0, 0.0],
    "experts.weights": [[-20.0], [20.0]],
    "experts.bias": [15.0, -5.0],
    "experts.scale": [0.3, 0.4],
}
two_lines = studies.MixtureTruth("two lines", flat_mixture(2), params)
inputs, values = two_lines.draw(jax.random.key(0), 400)
first = 1 / (1 + np.exp(8 - 25 * np.linspace(0, 1, 200)))
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
axes[0].plot(inputs[:, 0], values, ".", color="0.5", markersize=3)
axes[0].set(xlabel="input x", ylabel="response y", title="400 draws")
axes[1].plot(np.linspace(0, 1, 200), first, label="first expert")
axes[1].plot(np.linspace(0, 1, 200), 1 - first, label="second")
axes[1].set(xlabel="input x", ylabel="weight", title="The gate")
axes[1].legend(frameon=False)
plt.show()

# %% [markdown]
# How far is a fit from the truth? Experts have no names, scores have no zero, and a fit may have more experts than there are. The **Voronoi losses** of the
# literature give every fitted expert to its nearest true one and add up what is wrong in each cell. **D1** takes first powers; **D2** takes higher powers where
# two or three fitted experts share a cell, since theory says that they come nearer more slowly. Both weigh experts by $e^{\text{bias}}$ and hardly see a gate,
# so `gate_l1` (difference of the gate's weights, averaged over inputs) and the Hellinger distance of the fitted densities stand beside them.
#
# ## As many experts as there are
#
# Theory says $n^{-1/2}$ for everything. Starts near the truth are the favour of the papers, which no analysis of data gets; k-means knows nothing.

# %%
began = time.perf_counter()
exact = studies.convergence_rates(
    truth=two_lines,
    estimators=[
        studies.MaximumLikelihood("near the truth", flat_mixture(2)),
        studies.MaximumLikelihood("k-means", flat_mixture(2), "k-means", restarts=2),
    ],
    sample_sizes=SIZES,
    replications=REPLICATIONS,
    seed=0,
)
print(f"{time.perf_counter() - began:.0f} s")


def slope_table(study, theory, statistic="mean"):
    """Slopes with their 95 % intervals beside those that theory names."""
    found = study.slopes(statistic=statistic, with_local=False)
    rows = []
    for loss, expected in theory.items():
        for estimator in found["estimator"].values:
            line = found.sel(loss=loss, estimator=estimator).squeeze()
            lower, upper = line.slope_interval.values
            rows.append((loss, estimator, f"{float(line.slope):.2f} [{lower:.2f}, {upper:.2f}]", expected))
    return pd.DataFrame(rows, columns=["loss", "estimator", "slope, 95 % interval", "theory"]).set_index(["loss", "estimator"])


def drawn(study, loss, exponent, ax, statistic="mean"):
    """The study's own figure, with a grey line of the slope of theory through the first point of the first estimator."""
    study.plot(loss, statistic=statistic, ax=ax)
    values = study.results[loss].squeeze("truth").isel(estimator=0).transpose("size", "replication").values
    sizes = study.results["size"].values
    ax.plot(sizes, getattr(np, statistic)(values[0]) * (sizes / sizes[0]) ** exponent, color="0.6", linewidth=5, alpha=0.4, zorder=0)
    ax.minorticks_off()
    ax.set_xticks(sizes, sizes)
    ax.set_title(f"{loss}, grey: slope {exponent:g}")


figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for ax, loss in zip(axes, ("D1", "gate_l1"), strict=True):
    drawn(exact, loss, -0.5, ax)
plt.show()
slope_table(exact, {"D1": "-1/2", "gate_l1": "-1/2", "hellinger": "-1/2"})

# %% [markdown]
# The gate learns as fast as the lines, and both starts end in the same maximum. A rate says nothing about the level, and a steep line may come from bad
# estimates at small n. The likelihood ratio tests both at once: where the model is regular, twice the gain of the fit over the truth is $\chi^2$ with as many
# degrees of freedom as there are parameters (eight), at *every* size.

# %%
figure, ax = plt.subplots(figsize=(4.6, 4), layout="constrained")
for colour, size in enumerate((SIZES[0], SIZES[-1])):
    gains = np.sort(exact.results.excess.sel(size=size, estimator="k-means").values.ravel())
    ax.plot(chi2(8).ppf((np.arange(len(gains)) + 0.5) / len(gains)), gains, "o", color=f"C{colour}", markersize=4, label=f"n = {size}")
ends = ax.get_xlim()
ax.plot(ends, ends, color="0.7")
ax.set(xlabel="quantile of χ²(8)", ylabel="twice the gain over the truth (nats)", title="Do the fits gain what they should?")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## One expert too many
#
# Now three experts are fitted to two. The density is learned at $n^{-1/2}$ as before; the parameters of the two that share a line are not, since a small split
# of one line into two is seen only in its second order. Theory: D1 falls like $n^{-1/4}$ at worst, and D2, whose powers make up for it, like $n^{-1/2}$.

# %%
began = time.perf_counter()
bounded = flat_mixture(3, bound=50.0)
too_many = studies.convergence_rates(
    truth=two_lines,
    estimators=[
        studies.MaximumLikelihood("near the truth", bounded, max_iterations=20 if QUICK else 400),
        studies.MaximumLikelihood("k-means", bounded, "k-means", restarts=2, max_iterations=20 if QUICK else 400),
    ],
    sample_sizes=SIZES if QUICK else SIZES[:3],
    replications=3 if QUICK else 24,
    losses=[studies.voronoi.exact(), studies.voronoi.over_specified(), studies.MixtureComparison()],
    seed=1,
)
print(f"{time.perf_counter() - began:.0f} s")
figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
for ax, (loss, exponent) in zip(axes, {"D1": -0.25, "D2": -0.5, "hellinger": -0.5}.items(), strict=True):
    drawn(too_many, loss, exponent, ax, "median")
plt.show()
slope_table(too_many, {"D1": "-1/4 at worst", "D2": "-1/2", "hellinger": "-1/2"}, "median")

# %% [markdown]
# The two starts now tell two stories, of the same model and the same data. Their densities are equally good, and fall as theory says. Their parameters are not:
# D1 from starts near the truth is several times that from k-means, so the start that is meant as a favour ends farther off. A few replications are very far
# off, hence medians. And the slopes of D1 and D2 have intervals that are too wide to tell one theory from another: three sizes and 24 replications settle a
# rate where the model is regular, and not here. So a rate of an over-specified mixture needs many more fits, and is that of estimator *and* start; `Study`
# keeps the start of each estimator in its results. Why it is so hard shows in the iterations: two experts need ten or fewer, three come near the limit of 400
# on average.

# %%
figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
for study, style, which in ((exact, "o-", "two experts"), (too_many, "s--", "three experts")):
    for colour, estimator in enumerate(study.results["estimator"].values):
        iterations = study.results.iterations.sel(estimator=estimator).squeeze("truth").mean("replication")
        ax.plot(study.results["size"], iterations, style, color=f"C{colour}", label=f"{which}, {estimator}")
ax.set(xscale="log", yscale="log", xlabel="sample size n", ylabel="iterations of EM (mean)")
ax.legend(frameon=False, fontsize="small")
plt.show()

# %% [markdown]
# ## A parameter that nothing settles
#
# A temperature divides the scores of a gate. Under *linear* scores it cannot be told from their scale: twice the temperature and twice the weights are the same
# gate. Under *activated* scores (here a sigmoid of a line) it can. The same study, two gates:

# %%
priors = {"weights": ZeroSum((2, 1)), "bias": ZeroSum((2,)), "temperature": dist.ImproperUniform(constraints.positive, (), ())}
dims = {"weights": ("expert", "input"), "bias": ("expert",), "temperature": ()}
divided = lg.gates.Function(lambda own, x: (x @ own["weights"].T + own["bias"]) / own["temperature"], dims, priors=priors, num_inputs=1)
activated = lg.gates.Activation(num_inputs=1, weight_scale="flat", bias_scale="flat", temperature_prior="flat")
lines = {"experts.weights": [[2.0], [-1.0]], "experts.bias": [1.0, -1.0], "experts.scale": [0.3, 0.4]}
gates = {
    "linear score": (divided, {"gate.weights": [[0.5], [-0.5]], "gate.bias": [0.1, -0.1], "gate.temperature": 0.6}),
    "activated score": (activated, {"gate.weights": [[0.8], [3.0]], "gate.bias": [0.75, 3.5], "gate.temperature": 0.08}),
}
start = studies.NearTruth(gate=0.2, experts=0.05, scale=0.05, exponent=0.0, scale_exponent=0.0)


def uniform_inputs(key, num_samples):
    return jax.random.uniform(key, (num_samples, 1), minval=-3.0, maxval=3.0)


began = time.perf_counter()
temperature = {}
for name, (gate, own) in gates.items():
    model = lg.MixtureOfExperts(gate, lg.experts.LinearGaussian(2, num_inputs=1, weight_prior="flat", bias_prior="flat", variance_prior="flat"))
    temperature[name] = studies.convergence_rates(
        truth=studies.MixtureTruth(name, model, {**own, **lines}, uniform_inputs),
        estimators=studies.MaximumLikelihood("near the truth", model, start, max_iterations=20 if QUICK else 1000),
        sample_sizes=[300, 310] if QUICK else studies.log_spaced(1000, 8000, 3),
        replications=3 if QUICK else 30,
        losses=[studies.ParameterError("gate.temperature"), studies.MixtureComparison()],
        seed=0,
    )
print(f"{time.perf_counter() - began:.0f} s")
loss_of_temperature = next(name for name in temperature["linear score"].losses if "temperature" in name)
figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for ax, loss, title in zip(axes, (loss_of_temperature, "gate_l1"), ("the temperature", "the gate as a function"), strict=True):
    for colour, (name, study) in enumerate(temperature.items()):
        level = study.results[loss].squeeze().transpose("size", "replication")
        line = study.slopes(loss, with_local=False).squeeze()
        lower, upper = line.slope_interval.values
        label = f"{name}: {float(line.slope):.2f} [{lower:.2f}, {upper:.2f}]"
        spread = level.std("replication") / np.sqrt(level.sizes["replication"])
        ax.errorbar(level["size"], level.mean("replication"), spread, fmt="o-", color=f"C{colour}", label=label)
    ax.set(xscale="log", yscale="log", xlabel="sample size n", ylabel="error", title=f"Error of {title}")
    ax.minorticks_off()
    ax.set_xticks(level["size"].values, level["size"].values)
    # Room for the legend above the curves.
    ax.set_ylim(top=4 * ax.get_ylim()[1])
    ax.legend(loc="upper right", frameon=False, fontsize="small", title="slope, 95 % interval")
plt.show()

# %% [markdown]
# The error of the unidentified temperature is that of its start (a spread of 0.2) and falls little, where the other falls at $n^{-1/2}$; the gate as a
# *function* is learned at about that rate all the same. So look at what is used: a prediction may be excellent where a parameter means nothing. For data of
# your own, `fit.uncertainty(of="likelihood").flat_directions()` names such parameters. (Longer studies of both, in `benchmarks`, find slopes of 0.08 and
# -0.48.)
#
# ## What a study costs, and how to end one and go on
#
# All replications of a size are fitted as one batch in one compiled program. At the sizes of this notebook compiling takes most of the time: the first call
# below fits what is already compiled above. Give a `checkpoint` folder, and every finished piece is kept there: the same call goes on where it was ended, or
# adds nothing. `executor=` takes a dask client.

# %%
with tempfile.TemporaryDirectory() as folder:
    asked = {
        "truth": two_lines,
        "estimators": studies.MaximumLikelihood("near the truth", flat_mixture(2)),
        "sample_sizes": SIZES,
        "replications": REPLICATIONS,
        "losses": ["D1"],
        "seed": 0,
        "checkpoint": Path(folder) / "pieces",
    }
    found, spent = [], []
    for _ in range(2):
        began = time.perf_counter()
        found.append(studies.convergence_rates(**asked))
        spent.append(time.perf_counter() - began)
    found[1].save(Path(folder) / "study.nc")
    loaded = studies.Study.load(Path(folder) / "study.nc")
print(f"first call {spent[0]:.1f} s, the same call again {spent[1]:.1f} s")
above = exact.results.D1.sel(estimator="near the truth").values.ravel()
same = all(np.array_equal(one.results.D1.values.ravel(), above) for one in (*found, loaded))
print("same numbers above, from the folder and from the file:", same)

# %% [markdown]
# ## What to keep
#
# Fix sizes, window, losses and the rule of judgement before anything is computed. Report the start. Put a likelihood ratio or Fisher information beside a
# slope: a slope alone can be right by accident. Look at functions (`gate_l1`, `hellinger`) beside parameters. `benchmarks/convergence.py` does this for
# published designs, sigmoid gates among them, and says where a published slope does not appear.
