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
# # How fast does it jump, between what, and how sure are we?
#
# A molecular motor, a disease, a channel in a membrane: something is in one of a few states and jumps between them at random moments. It is looked at now and
# then, at irregular times, with errors or through noise. What are the rates, and what do they say of the whole: does the motor burn energy, how long do
# patients stay in a stage, how long is a channel open?
#
# A Markov jump process with generator $Q$ (rates $q_{ij}$ from state $i$ to $j$) is a hidden Markov model whose transition matrix over a gap $\Delta t$ is
# $\exp(Q\,\Delta t)$. So latentgate fits it with the same engines, and the likelihood is exact however far apart the looks are. Three examples, each from the
# raw data to intervals: a ratchet, a disease, an ion channel. It takes about three minutes, most of them compiling.

# %%
import os

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
from matplotlib import pyplot as plt

import latentgate as lg
from latentgate.data import recordings
from latentgate.data.jump_processes import flashing_ratchet, simulate_ion_channel, simulate_panel, stationary_law
from latentgate.data.panel import censored_sets
from latentgate.data.times import with_times

# A record of many samples has a log-likelihood of tens of thousands, and intervals hang on its last digits.
jax.config.update("jax_enable_x64", True)
# Small settings for the tests, which only ask whether everything still runs.
QUICK = bool(os.environ.get("LATENTGATE_QUICK"))


def found(name):
    """The file of a recording, or None: then the example is simulated."""
    try:
        path = recordings.find(name)
    except lg.RecordingUnavailable:
        print(f"{name} is not here (LATENTGATE_DATA names no folder with it): simulated instead.")
        return None
    print(f"{name}: {lg.data.RECORDINGS[name].description}")
    return path


def entries(interval, labels):
    """The entries of a parameter as a table: labels name its positions."""
    rows = {label: [float(interval.sel(statistic=name).values[position]) for name in ("estimate", "lower", "upper")] for label, position in labels.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["estimate", "lower", "upper"]).round(3)


# %% [markdown]
# ## 1. A ratchet
#
# A particle on a ring of three sites, in a sawtooth potential that is switched on and off. States 0, 1, 2 are the sites with the potential on, of height $0,
# V, 2V$; 3, 4, 5 the same sites with it off. With it on, the particle jumps from $i$ to $j$ at the rate $e^{-V(j-i)/2}$; with it off, at the rate $b$ between
# any two sites; the switch flips at the rate $r$. The public file has paths of this process with $V = r = b = 1$, looked at a hundred times each.

# %%
TRUTH = flashing_ratchet()
if found("flashing_ratchet"):
    paths = lg.load("flashing_ratchet", paths=slice(0, 50 if QUICK else 300))
else:
    paths = simulate_panel(1, TRUTH, [np.linspace(0.0, 2.5, 100)] * (50 if QUICK else 300), initial=stationary_law(TRUTH)).data
print(paths)
some = paths.select(np.arange(20))
lg.plotting.states_over_time(some.values[..., 0].astype(int), some)
plt.show()

# %% [markdown]
# First without physics: thirty free rates between six states. EM climbs, the Hessian gives the intervals. A rate that the data put at zero is held there and
# has no interval.

# %%
free = lg.fit(lg.MarkovJumpProcess(6), paths, lg.EM(), seed=0)
print(free)
rates = free.interval()["transition.rates"]
off_diagonal = ~np.eye(6, dtype=bool)
estimate, lower, upper = (rates.sel(statistic=name).values[off_diagonal] for name in ("estimate", "lower", "upper"))
print(f"root-mean-square error of the 30 rates: {np.sqrt(np.mean((estimate - TRUTH[off_diagonal]) ** 2)):.3f}")
moving = TRUTH[off_diagonal] > 0
inside = (lower <= TRUTH[off_diagonal]) & (TRUTH[off_diagonal] <= upper)
print(f"of the {moving.sum()} rates that are not zero, {inside[moving].sum()} lie inside their 95 % intervals")

# %%
names = ["on 0", "on 1", "on 2", "off 0", "off 1", "off 2"]
angles = np.pi / 2 + 2 * np.pi * np.arange(3) / 3
triangle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
lg.plotting.generator_graph(
    rates.sel(statistic="estimate"),
    rates.sel(statistic=["lower", "upper"]),
    positions=np.concatenate([2 * triangle, 0.8 * triangle]),
    names=names,
    smallest=0.2,
)
plt.show()

# %% [markdown]
# Without being told, the fit finds the two triangles and the switch between them. Now with the physics: any function from parameters to rates is a generator,
# and the three numbers of the model are fitted directly.


# %%
def ratchet(params):
    site = jnp.arange(3)
    on = jnp.exp(-params["V"] * (site[None, :] - site[:, None]) / 2)
    switch = params["r"] * jnp.eye(3)
    return jnp.block([[on, switch], [switch, params["b"] * jnp.ones((3, 3))]])


weak = {"V": dist.Normal(0.0, 10.0), "r": dist.LogNormal(0.0, 3.0), "b": dist.LogNormal(0.0, 3.0)}
physical = lg.fit(lg.MarkovJumpProcess(6, generator=lg.generators.Parametric(ratchet, weak, graph=TRUTH != 0)), paths, lg.EM(), seed=0)
three = physical.interval()
pd.DataFrame({name: three[f"transition.{name}"].sel(statistic=["estimate", "lower", "upper"]).values for name in weak}, ["estimate", "lower", "upper"]).T.round(
    3
)

# %% [markdown]
# What is it worth? The potential drives a current round the ring, and that costs: the entropy production, in units of $k_B$ per unit of time, is zero only at
# equilibrium. Its true value here is 0.179. The three-parameter fit knows it well. Thirty free rates do not: rates that should be zero and are not quite each
# add a current.

# %%
for name, fit in (("three parameters", physical), ("thirty rates", free)):
    read = lg.jump_processes.quantities(fit, num_draws=200)["entropy_production"]
    print(f"{name}: {float(read[0]):.3f}, 95 % interval {float(read[2]):.3f} to {float(read[3]):.3f}")

# %% [markdown]
# Is the process Markov at all? If so, $\exp(Qs)\exp(Qt) = \exp(Q(s + t))$: rates that were fitted to neighbouring looks must also foretell looks far apart
# (Chapman and Kolmogorov). Points are counted transitions, lines what the three parameters foretell.

# %%
lags = [1, 2, 4, 8, 16, 32, 64]
check = lg.jump_processes.chapman_kolmogorov(physical, paths, lags)
figure, panels = plt.subplots(1, 2, figsize=(8.5, 3), layout="constrained", sharey=True)
gap = float(paths.times[0, 1] - paths.times[0, 0])
for panel, start in zip(panels, (0, 4), strict=True):
    for state, colour in enumerate(lg.plotting.state_colours(6)):
        counted, foretold = (check[which].sel(state=start) / check[which].sel(state=start).sum("next_state") for which in ("observed", "expected"))
        panel.plot(gap * np.array(lags), foretold.sel(next_state=state), color=colour, label=names[state])
        panel.plot(gap * np.array(lags), counted.sel(next_state=state), "o", color=colour, markersize=4)
    panel.set(xscale="log", ylim=(0, 1), xlabel="time later", title=f"from {names[start]}")
    panel.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("probability")
panels[1].legend(frameon=False, fontsize="small", ncols=2)
plt.show()

# %% [markdown]
# ## 2. A disease
#
# A table with one row per patient and visit: joints damaged in psoriatic arthritis, in four stages (`psor`, from the R package `msm`), with two covariates,
# five or more effusions (`hieffusn`) and a low sedimentation rate (`ollwsdrt`). Stages are only passed upwards. Visits are irregular, and covariates
# sometimes missing. `lg.panel` makes sequences of it. Where the recording is not at hand, a table of the same make is simulated.


# %%
def simulated_patients(num_patients):
    """A table of visits: rates in stages 1 to 4 with the effects 0.5 of effusions and -0.6 of a low sedimentation rate."""
    rng = np.random.default_rng(4)
    visits = [np.cumsum(rng.exponential(1.3, rng.integers(3, 10))) for _ in range(num_patients)]
    seen = [rng.random((len(times), 2)) < (0.15, 0.35) for times in visits]

    def generator(row):
        rates = np.diag(np.array([0.1, 0.16, 0.25]) * np.exp(row @ [0.5, -0.6]), k=1)
        return rates - np.diag(rates.sum(1))

    simulated = simulate_panel(rng, generator, visits, initial=[0.75, 0.17, 0.08, 0.0], covariates=[np.asarray(row, float) for row in seen])
    rows = []
    for patient, (times, covariates) in enumerate(zip(visits, seen, strict=True)):
        for visit, time in enumerate(times):
            rows.append((patient + 1, round(time, 4), 1 + simulated.states[patient, visit], *covariates[visit].astype(int)))
    return pd.DataFrame(rows, columns=["ptnum", "months", "state", "hieffusn", "ollwsdrt"])


psor = found("psor")
table = pd.read_csv(psor) if psor else simulated_patients(100 if QUICK else 300)
table.head(4) if psor is None else table.shape

# %% [markdown]
# Effects are log-linear: $q_{ij}(x) = q_{ij} \exp(\beta_{ij} \cdot x)$. As in the published analysis, effusions act alike on all three rates, the
# sedimentation rate alike on the first two. On the recording itself this gives −2 log L = 1114.90, the value of `msm`.

# %%
covariates = ["hieffusn", "ollwsdrt"]
patients = lg.panel(table, subject="ptnum", time="months", state="state", states=[1, 2, 3, 4], covariates=covariates)
print(patients)
alike = {0: ["any", "any", "any"], 1: ["early", "early", "late"]}
flat = dist.Normal(0.0, 1000.0)
progression = lg.generators.LogLinear([(0, 1), (1, 2), (2, 3)], num_inputs=2, ties=alike, effect_prior=flat, time_scale=10.0)
disease = lg.fit(lg.MarkovJumpProcess(4, generator=progression), patients, lg.EM(), seed=0)
print(disease.outcome.value)
print(f"-2 log L = {-2 * float(disease.log_likelihood(patients).sum()):.2f}")
print("\nratios of rates:")
ratios = np.exp(disease.interval()["transition.effects"])
print(entries(ratios, {"effusions": (0, 1, 0), "low rate, stages 1 and 2": (0, 1, 1), "low rate, stage 3": (2, 3, 1)}))

# %%
typical = lg.jump_processes.quantities(disease, [0.0, 0.0], num_draws=400)
stages = [f"stage {stage}" for stage in (1, 2, 3, 4)]
lg.plotting.generator_graph(typical["generator"], positions=[(1.3 * stage, 0) for stage in range(4)], names=["1", "2", "3", "4"], unit="month")
plt.show()
print(entries(typical["mean_sojourn_time"], {stage: (number,) for number, stage in enumerate(stages[:3])}).rename_axis("mean stay (months)"))

# %% [markdown]
# Does the model describe the group? Prevalence: how many of those under observation are in each stage, as seen and as expected from first visits alone. Who
# has reached stage 4 counts to the end while others drop out, so only the first months, when most are still under observation, are shown.

# %%
lg.plotting.prevalence(lg.jump_processes.prevalence(disease, patients, np.arange(0, 6.5, 0.5)), names=stages, unit="months")
plt.show()

# %% [markdown]
# ### States read with error
#
# Often the state itself is read with errors, and death is seen exactly. Here 400 people are well, ill or dead; a test calls the well ill with probability
# 0.08 and the ill well with 0.20; the day of death is known. The table says what is known of the state ("alive" is well or ill) and what the test said.

# %%
STATES = ["well", "ill", "dead"]
Q = np.array([[-0.25, 0.15, 0.10], [0.05, -0.35, 0.30], [0.0, 0.0, 0.0]])
ERRORS = np.array([[0.92, 0.08, 0.0], [0.20, 0.80, 0.0], [0.0, 0.0, 1.0]])
rng = np.random.default_rng(3)
looks = [np.append(0.0, np.sort(rng.uniform(0.0, 12.0, 10))) for _ in range(100 if QUICK else 400)]
made = simulate_panel(rng, Q, looks, initial=[0.8, 0.2, 0.0], exact_entry=[2], label_error=ERRORS)
rows = []
for person, (values, length) in enumerate(zip(made.data.values, made.data.lengths, strict=True)):
    for visit in range(length):
        dead = made.states[person, visit] == 2
        test = None if dead else STATES[int(values[visit, 1])]
        rows.append((person, made.data.times[person, visit], "dead" if dead else "alive", test))
cohort = pd.DataFrame(rows, columns=["person", "year", "status", "test"])
cohort.head(6).round(2)

# %%
alive = {"alive": ("well", "ill")}
people = lg.panel(
    cohort, subject="person", time="year", state="status", states=STATES, censored=alive, exact_entry=["dead"], outcomes={"test": ["well", "ill"]}
)
emission = lg.emissions.Product(
    status=lg.emissions.KnownState(3, censored=censored_sets(STATES, alive)),
    # Of the dead no test is taken; their row is never used.
    test=lg.emissions.Misclassified({0: [0, 1], 1: [0, 1], 2: [0]}),
)
graph = [(0, 1), (1, 0), (0, 2), (1, 2)]
illness = lg.fit(lg.MarkovJumpProcess(3, emission, graph, initial="free"), people, lg.EM(tolerance=1e-7), seed=0)
print(illness.outcome.value)
known = illness.interval()
errors = entries(known["emission.test.probs"], {"well read as ill": (0, 1), "ill read as well": (1, 0)}).assign(truth=[0.08, 0.20])
rates = entries(known["transition.rates"], {f"{STATES[i]} to {STATES[j]}": (i, j) for i, j in graph}).assign(truth=[Q[edge] for edge in graph])
pd.concat([errors, rates])

# %% [markdown]
# One person: the tests (points), the probability of each state in between, and posterior draws of the whole path. A single odd test is taken for what it is.

# %%
tests = people.values[..., 1]
odd = (np.diff(tests, axis=1) != 0) & np.isfinite(np.diff(tests, axis=1))
who = int(np.argmax(np.where(people.lengths >= 8, odd.sum(1), 0)))
one = people.select([who])
finer, _ = with_times(one, np.linspace(0.0, float(one.times[0, one.lengths[0] - 1]), 200), num_states=3)
drawn = lg.jump_processes.sample_paths(illness, one, num_samples=60, seed=0)
figure, panels = plt.subplots(2, 1, figsize=(8, 4.4), layout="constrained")
lg.plotting.smoothed_states(illness.smooth(finer), finer, names=STATES, unit="years", ax=panels[0])
seen = np.where(np.isnan(one.values[0, :, 1]), np.where(one.values[0, :, 0] == 2, 2, np.nan), one.values[0, :, 1])
lg.plotting.jump_paths([paths[0] for paths in drawn], one, observations=seen, names=STATES, num_states=3, unit="years", ax=panels[1])
plt.show()

# %% [markdown]
# ## 3. An ion channel
#
# The current through a single channel jumps between nothing and 6 pA, under noise. The muscle acetylcholine receptor (Colquhoun and Hawkes 1982) has two open
# and three shut states: free, with one and with two molecules of the agonist bound. Open states pass the same current, so only the times tell them apart. The
# record is simulated: 20 kHz, noise of 1 pA, 1 µM of agonist.

# %%
channel = simulate_ion_channel(2, duration=0.2 if QUICK else 1.0)
record = channel.data
print(record)
shown = slice(*(np.argmax(channel.states < 2) + np.array([-200, 1000])).clip(0))
figure, axes = plt.subplots(figsize=(9, 2.4), layout="constrained")
axes.plot(1000 * record.times[0, shown], record.values[0, shown, 0], color="#8C8C8C", linewidth=0.6)
axes.plot(1000 * record.times[0, shown], 6.0 * (channel.states[shown] < 2), color="#0072B2", linewidth=1.2, label="open, in truth")
axes.set(xlabel="time (ms)", ylabel="current (pA)")
axes.legend(frameon=False, loc="upper right")
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# From raw current to two levels: two states, Gaussian noise, nothing else. It gives the levels and the noise with intervals, and the state at every sample.

# %%
two_levels = lg.MarkovJumpProcess(2, lg.emissions.Gaussian(1, "tied", scale=3.0), lg.generators.Free(time_scale=1e-3), initial=[0.5, 0.5])
idealised = lg.fit(two_levels, record, lg.EM(max_iterations=100), seed=0)
print(idealised.outcome.value)
known = idealised.interval()
open_state = int(np.argmax(idealised.params["emission.means"][:, 0]))
print(entries(known["emission.means"], {"shut (pA)": (1 - open_state, 0), "open (pA)": (open_state, 0)}))
print(entries(np.sqrt(known["emission.covariances"]), {"noise (pA)": (0, 0)}))
right = np.asarray(idealised.most_probable_path(record))[0] == open_state
print(f"open or shut is right at {100 * np.mean(right == (channel.states < 2)):.2f} % of the samples")

# %% [markdown]
# Now the mechanism: R ⇌ AR ⇌ A2R ⇌ A2R*, three shut states and an open one. (The fifth state, AR*, is visited about once in a hundred openings, and left
# out.) The shut states share one level (`lg.emissions.Aggregated`), and the fit starts from orders of magnitude. Are six rates too much to ask of a current
# that shows two levels? The curvature says: no, all are determined, though R and AR, which differ only in how long the channel then stays shut, by wide
# intervals; a longer record would narrow them.

# %%
names = ["A2R*", "A2R", "AR", "R"]
levels = idealised.params["emission.means"][[open_state, 1 - open_state]]
scheme = [(3, 2), (2, 3), (2, 1), (1, 2), (1, 0), (0, 1)]
current = lg.emissions.Aggregated(lg.emissions.Gaussian(1, "tied", scale=3.0, mean_prior=dist.Normal(levels, 1.0)), [0, 1, 1, 1])
mechanism = lg.MarkovJumpProcess(4, current, lg.generators.Free(scheme, time_scale=1e-3), initial=np.full(4, 0.25))
guess = np.zeros((4, 4))
guess[tuple(zip(*scheme, strict=True))] = [1e2, 1e3, 1e3, 1e3, 1e4, 1e3]
start = {"transition.rates": guess, "emission.means": levels, "emission.covariances": np.ones((1, 1))}
gating = lg.fit(mechanism, record, lg.EM(max_iterations=20 if QUICK else 500, tolerance=1e-10), seed=0, start=start)
print(gating.outcome.value)
determined = gating.uncertainty()
print(determined.report())

# %%
rates = determined.interval()["transition.rates"]
truth = [channel.generator[i + 1, j + 1] for i, j in scheme]
print(entries(rates, {f"{names[i]} to {names[j]}": (i, j) for i, j in scheme}).round(1).assign(truth=truth).rename_axis("rates per s"))
lg.plotting.generator_graph(rates, positions=[(1.6 * state, 0.0) for state in range(4)], names=names, unit="s")
plt.show()

# %% [markdown]
# Ask for more than a record can show, and the report says so by name. One open and two shut states, each connected with each, have six rates; but a record
# that shows only open or shut determines four numbers (twice the open states times the shut ones), however long it is. Here the idealised record is taken at
# its word: a sample shows the open state, or the set of the shut ones. A prior worth a twentieth of a jump on every edge picks one of the many best fits.

# %%
start = int(np.argmax(right))
shown = np.where(right, 0.0, 3.0)[start:]
binary = lg.Sequences.from_arrays([shown], times=[record.times[0, start:]], names=["state"])
faint = lg.generators.Free(prior=lg.generators.pseudo_jumps(0.05, 1000.0), time_scale=1e-3)
loop = lg.MarkovJumpProcess(3, lg.emissions.KnownState(3, censored={3: (1, 2)}), faint, initial=[1.0, 0.0, 0.0])
print(lg.fit(loop, binary, lg.EM(max_iterations=20 if QUICK else 500), seed=0).uncertainty(of="likelihood").report())

# %% [markdown]
# How long is it open, how long shut? Counting stays in the idealised record misses those that are shorter than a few samples, and joins their neighbours.
# Posterior draws of the whole path put them back: as many, and as short, as the record and the rates allow.


# %%
def stays(times, is_open, end):
    """Durations of the open and of the shut stays of a path, in ms, without the first and the last, which are cut."""
    changes = np.flatnonzero(np.diff(is_open.astype(int))) + 1
    starts = times[changes]
    lengths = 1000 * np.diff(np.append(starts, end))[:-1]
    kinds = is_open[changes][:-1]
    return lengths[kinds], lengths[~kinds]


drawn = [paths[0] for paths in lg.jump_processes.sample_paths(gating, record, num_samples=3, seed=0)]
counted = {
    "true path": [stays(channel.path.times, channel.path.states < 2, channel.path.end)],
    "idealised record": [stays(record.times[0], right, record.times[0, -1])],
    "posterior paths": [stays(path.times, path.states == 0, path.end) for path in drawn],
}
bins = np.logspace(-3, 2.5, 30)
figure, panels = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for panel, kind, title in zip(panels, (0, 1), ("open", "shut"), strict=True):
    for (name, found_stays), colour in zip(counted.items(), ("#BFBFBF", "#E69F00", "#0072B2"), strict=True):
        numbers = np.mean([np.histogram(one[kind], bins)[0] for one in found_stays], axis=0)
        panel.stairs(numbers, bins, color=colour, fill=name == "true path", linewidth=1.6, label=name)
    panel.set(xscale="log", title=title, xlabel="duration of a stay (ms)")
    panel.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("stays in the record")
panels[0].legend(frameon=False, fontsize="small")
plt.show()
for name, found_stays in counted.items():
    print(f"{name}: {np.mean([len(one[0]) for one in found_stays]):.0f} openings, {np.mean([one[0].mean() for one in found_stays]):.2f} ms in the mean")

# %% [markdown]
# ## To go on
#
# Rates that change at known times: `latentgate.data.times.cut_at`. Patients who differ beyond their covariates: `lg.generators.PerGroup` under `lg.NUTS()`,
# which also gives posterior draws in place of normal intervals; everything above takes them. Stays that are not exponential: `lg.generators.PhaseType`.
# Detailed balance, as a channel at rest must obey: `lg.generators.Reversible`. Very little data: `lg.generators.pseudo_jumps` as the prior of the rates.
