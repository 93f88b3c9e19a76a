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
# # Where is the rat, from 31 hippocampal units?
#
# A rat runs up and down a linear track. Each hippocampal place cell fires at a place of its own, and often in one running direction only. Read backwards, the
# spikes say where the rat is, ten times a second. How well, compared with what is known without any spike? And does a decoder know when it does not know?
#
# The steps: look at the cells, decode held-out laps in five ways, check the intervals, decode one bin at a time, and one mistake to avoid.
# It takes about a minute and a half.

# %%
import os
import time

import numpy as np
from matplotlib import pyplot as plt
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

import latentgate as lg
from latentgate.data.rat_linear_track import cut_laps

# Small settings for the tests, which only ask whether everything still runs.
QUICK = bool(os.environ.get("LATENTGATE_QUICK"))


# %% [markdown]
# ## The data
#
# `rat_linear_track` is a public recording (nelpy's example data, MIT): spikes of 31 units and the position in a video, cut into laps and binned at 100 ms. If
# the folder that `LATENTGATE_DATA` names has it, it is used here; otherwise place cells are simulated on a track like it. The camera was not calibrated, so
# positions are in pixels, and errors are also given as a share of the track.


# %%
def simulated_laps(num_units=12, num_laps=24, length=500.0, seed=0):
    """Poisson place cells, most of them active in one direction only, while an animal runs to and fro at 60 frames per s."""
    rng = np.random.default_rng(seed)
    walks = []
    for lap in range(num_laps):
        # The speed changes along the way, so that time alone does not say where the animal is.
        run = np.cumsum(np.repeat(rng.gamma(3.0, size=8), int(60 * rng.uniform(0.3, 0.7))))
        run = length * (run - run[0]) / (run[-1] - run[0])
        walks += [run if lap % 2 == 0 else run[::-1], np.full(60, length if lap % 2 == 0 else 0.0)]
    place = np.concatenate(walks)
    times = np.arange(len(place)) / 60
    forward = np.gradient(place) > 0
    spikes = []
    for _ in range(num_units):
        rate = 0.3 + 20 * np.exp(-0.5 * ((place - rng.uniform(0, length)) / 35) ** 2) * np.where(forward == (rng.random() < 0.5), 1.0, 0.2)
        spikes.append(np.repeat(times, rng.poisson(rate / 60)))
    return cut_laps(spikes, times, np.stack([place, rng.normal(0, 1, len(place))], axis=1))


if os.environ.get("LATENTGATE_DATA"):
    laps = lg.load("rat_linear_track", download=False)
else:
    laps = simulated_laps()
lengths = np.asarray(laps.lengths)
counts = [laps.values[lap, :length] for lap, length in enumerate(lengths)]
motion = [np.concatenate([laps.inputs[name][lap, :length] for name in ("position", "velocity")], axis=1) for lap, length in enumerate(lengths)]
everywhere = np.concatenate(motion)
low, high = everywhere[:, 0].min(), everywhere[:, 0].max()
print(laps)
print(f"{len(laps.lengths)} laps of {0.1 * lengths.min():.1f} to {0.1 * lengths.max():.1f} s, {lengths.sum()} bins; the track is {high - low:.0f} pixels long")

# %%
figure, axes = plt.subplots(2, 1, figsize=(9, 4.2), sharex=True, layout="constrained")
begin = 0.0
for lap in range(6):
    clock = begin + 0.1 * np.arange(lengths[lap])
    axes[0].plot(clock, motion[lap][:, 0], color="C0" if motion[lap][:, 1].mean() > 0 else "C3")
    bins, units = np.nonzero(counts[lap])
    axes[1].scatter(clock[bins], units, s=4 * counts[lap][bins, units], color="0.2", linewidth=0)
    begin = clock[-1] + 0.5
axes[0].set(ylabel="position (pixels)", title="Six laps: forward in blue, backward in red")
axes[1].set(ylabel="unit", xlabel="time, rests left out (s)")
plt.show()

# %% [markdown]
# ## Place fields
#
# Spikes over time spent, by place and running direction. Units are ordered by their best place when running forward; that the same order makes no diagonal
# on the right says that direction matters: the map is not of places alone.

# %%
NUM_PLACES = 20 if QUICK else 40
edges = np.linspace(low, high, NUM_PLACES + 1)
centres = 0.5 * (edges[1:] + edges[:-1])
near = np.exp(-0.5 * (np.subtract.outer(np.arange(NUM_PLACES), np.arange(NUM_PLACES)) / 1.5) ** 2)
near /= near.sum(1, keepdims=True)
# States are places, once for each direction: smoothing never mixes directions.
near_states = np.kron(np.eye(2), near)


def state_of(path):
    """Place and direction of every bin as one number."""
    place = np.clip(np.searchsorted(edges, path[:, 0], side="right") - 1, 0, NUM_PLACES - 1)
    return place + NUM_PLACES * (path[:, 1] > 0)


def place_fields(counts, motion):
    """Expected counts in a bin [state, unit]: smoothed spikes over smoothed time, drawn a little towards the mean."""
    states, spikes = np.concatenate([state_of(path) for path in motion]), np.concatenate(counts)
    time_spent = near_states.T @ np.bincount(states, minlength=2 * NUM_PLACES)
    fired = np.zeros((2 * NUM_PLACES, spikes.shape[1]))
    np.add.at(fired, states, spikes)
    # Half a spike for a unit that was silent in these laps, so that a spike is improbable and not impossible.
    return (near_states.T @ fired + np.maximum(spikes.sum(0), 0.5) / len(spikes)) / (time_spent[:, None] + 1)


fields = place_fields(counts, motion) / 0.1
order = np.argsort(fields[NUM_PLACES:].argmax(0))
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
for ax, rows, title in zip(axes, (fields[NUM_PLACES:], fields[:NUM_PLACES]), ("running forward", "running backward"), strict=True):
    shown = rows[:, order].T / fields.max(0)[order, None]
    picture = ax.imshow(shown, aspect="auto", extent=(0, high - low, len(order), 0), cmap="magma", vmin=0, vmax=1, interpolation="nearest")
    ax.set(xlabel="position (pixels)", title=title)
axes[0].set_ylabel("unit, ordered")
figure.colorbar(picture, ax=axes, label="rate over the unit's highest")
plt.show()

# %% [markdown]
# ## Five decoders, and two that see no spike
#
# Laps are held out in contiguous blocks: everything, place fields included, is learned from the other laps. The decoders:
#
# - **Wiener filter**: ridge regression on the last ten bins.
# - **Kalman filter**: activity linear in position and velocity, which no place cell is.
# - **Place cells in an HMM**: states are places in two directions, with rates and transitions *counted*, since in training laps the states are known. Nothing
#   is left to fit, and `model.filter` takes such parameters as they are.
# - **Discriminative Kalman filter** with two regressors: a learned position for each pattern of activity, with an uncertainty of its own, filtered with the
#   dynamics of running.
#
# What needs no spikes: the mean position, and the mean position at that time since the lap began, by an oracle that knows the direction.


# %%
class MeanPosition:
    def fit(self, neural, kinematics):
        self.mean = np.concatenate(kinematics).mean(0)
        return self

    def predict(self, neural):
        return [np.tile(self.mean, (len(one), 1)) for one in neural]


class PlaceCells:
    """Places and directions as states of a Poisson HMM whose parameters are counted from laps in which the states are known."""

    def fit(self, counts, motion):
        paths = [state_of(path) for path in motion]
        steps = np.zeros((2 * NUM_PLACES, 2 * NUM_PLACES))
        for path in paths:
            np.add.at(steps, (path[:-1], path[1:]), 1.0)
        steps = near_states.T @ steps @ near_states + 0.5 / NUM_PLACES
        starts = near_states.T @ np.bincount([path[0] for path in paths], minlength=2 * NUM_PLACES) + 0.5 / NUM_PLACES
        rates = place_fields(counts, motion)
        self.model = lg.HMM(2 * NUM_PLACES, lg.emissions.Poisson(rates.shape[1]))
        self.params = {"initial.probs": starts / starts.sum(), "transition.probs": steps / steps.sum(1, keepdims=True), "emission.rates": rates}
        return self

    def probabilities(self, counts):
        """Of each place, given the spikes up to each bin: [bin, place] of every lap."""
        # Padded to one length, so that one program is compiled.
        longest = np.full((int(lengths.max()), counts[0].shape[1]), np.nan)
        padded = [np.concatenate([one, longest[len(one) :]]) for one in counts]
        found = np.asarray(self.model.filter(self.params, lg.Sequences.from_arrays(padded)).probs)
        return [one[: len(lap), :NUM_PLACES] + one[: len(lap), NUM_PLACES:] for one, lap in zip(found, counts, strict=True)]

    def predict(self, counts):
        return [probs @ centres[:, None] for probs in self.probabilities(counts)]


roots = [np.sqrt(one) for one in counts]
drop = {"constant_neurons": "drop"}
decoders = {
    "mean position": (MeanPosition, roots),
    "Wiener, 10 bins": (lambda: lg.decoding.WienerFilter(10, **drop), roots),
    "Kalman": (lambda: lg.KalmanDecoder(**drop), roots),
    "place cells in an HMM": (PlaceCells, counts),
    "discriminative, Nadaraya-Watson": (lambda: lg.DiscriminativeKalmanFilter("nadaraya-watson", "kernel", **drop), roots),
    "discriminative, network": (lambda: lg.DiscriminativeKalmanFilter("neural-network", "kernel", **drop), roots),
}
blocks = np.array_split(np.arange(len(lengths)), 2 if QUICK else 5)
LEVELS = [0.5, 0.8, 0.9, 0.95]


def fitted(make, neural, block):
    kept = np.setdiff1d(np.arange(len(lengths)), block)
    return make().fit([neural[lap] for lap in kept], [motion[lap] for lap in kept])


decoded, ends, laws = {}, {}, {}
for name, (make, neural) in decoders.items():
    began = time.perf_counter()
    decoded[name] = []
    for block in blocks:
        decoder, held_out = fitted(make, neural, block), [neural[lap] for lap in block]
        decoded[name] += decoder.predict(held_out)
        if hasattr(decoder, "predict_interval"):
            for level in LEVELS:
                ends.setdefault((name, level), []).extend(zip(*decoder.predict_interval(held_out, level), strict=True))
            laws.setdefault(name, []).extend(zip(*decoder.predict_distribution(held_out), strict=True))
    print(f"{name}: {time.perf_counter() - began:.1f} s")


# %% [markdown]
# The oracle of time: for a held-out lap, the mean position of the other laps in that direction at the same time since their start.


# %%
def by_time(lap, block):
    same = [one for one in range(len(lengths)) if one not in block and (motion[one][:, 1].mean() > 0) == (motion[lap][:, 1].mean() > 0)]
    return np.array([[np.mean([motion[one][min(step, lengths[one] - 1), 0] for one in same])] for step in range(lengths[lap])])


decoded["time in the lap and direction, no spikes"] = [by_time(lap, block) for block in blocks for lap in block]
errors = {name: np.concatenate([np.abs(one[:, 0] - path[:, 0]) for one, path in zip(found, motion, strict=True)]) for name, found in decoded.items()}
print(f"{'':42s} RMSE    median   median, % of track")
for name, error in sorted(errors.items(), key=lambda item: -np.sqrt(np.mean(item[1] ** 2))):
    print(f"{name:42s} {np.sqrt(np.mean(error**2)):5.1f}   {np.median(error):5.1f}    {100 * np.median(error) / (high - low):5.1f}")

# %%
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for index, (name, error) in enumerate(errors.items()):
    share = np.arange(1, len(error) + 1) / len(error)
    blind = {"mean position": ("0.6", ":"), "time in the lap and direction, no spikes": ("0.6", "-")}
    colour, style = blind.get(name, (f"C{index}", "-"))
    ax.plot(np.sort(error), share, color=colour, linestyle=style, label=name)
ax.set(xlabel="error (pixels)", ylabel="share of bins with a smaller error", xlim=(0, 0.6 * (high - low)), ylim=(0, 1))
ax.legend(loc="lower right", frameon=False)
plt.show()

# %% [markdown]
# On the recording, two numbers rank the decoders differently, and both are right. The place cells have the smallest *median* error (about 21 pixels, a
# twentieth of the track): where the units speak, the law over places is sharp. Where they are silent it may sit at the wrong end, and squares punish that. The
# discriminative filter, whose law is normal, hedges, and has the smallest mean square of the decoders. And the oracle that knows direction and start, and no
# spike, beats all of them in the mean square, for laps are much alike: an error without such a yardstick says little. What the spikes know and the clock does
# not is in the median.
#
# ## One lap
#
# Above, the place cells' probabilities with the true path; below, the discriminative filter's mean with its 90 % interval.

# %%
name = "discriminative, Nadaraya-Watson"
lap = int(np.argmax(lengths * (np.arange(len(lengths)) < len(blocks[0]))))
probs = fitted(PlaceCells, counts, blocks[0]).probabilities([counts[one] for one in blocks[0]])[lap]
figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
# A bin is shown around its middle.
extent = (-0.05, 0.1 * lengths[lap] - 0.05, low, high)
picture = ax.imshow(probs.T, aspect="auto", origin="lower", cmap="Greys", vmax=0.5, extent=extent, interpolation="nearest")
ax.plot(0.1 * np.arange(lengths[lap]), motion[lap][:, 0], color="C3", label="truth")
ax.set(xlabel="time in the lap (s)", ylabel="position (pixels)", title="Place cells in an HMM, held-out lap")
ax.legend()
figure.colorbar(picture, label="probability")
plt.show()

# %%
interval = [end[:, :1] for end in ends[name, 0.9][lap]]
(panel,) = lg.plotting.decoded(motion[lap][:, :1], decoded[name][lap][:, :1], interval, level=0.9, bin_width=0.1, names=["position"], unit="pixels")
panel.figure.set_layout_engine("constrained")
plt.show()

# %% [markdown]
# ## Does it know when it does not know?
#
# An interval at 90 % should hold the truth in nine bins of ten. `predict_interval` is as wide as held-out errors *on the training laps* ask for; the posterior
# covariance of the three filters takes the model at its word, that neighbouring bins err independently and normally, and claims too much.

# %%
positions = np.concatenate(motion)[:, 0]
figure, ax = plt.subplots(figsize=(4.8, 4.2), layout="constrained")
ax.plot([0, 1], [0, 1], color="0.8")
for index, name in enumerate(laws):
    means, covariances = (np.concatenate(part) for part in zip(*laws[name], strict=True))
    claimed = [lg.metrics.interval_coverage(positions, means[:, 0], covariances[:, :1, :1], level)[0] for level in LEVELS]
    held = []
    for level in LEVELS:
        lower, upper = (np.concatenate(part)[:, 0] for part in zip(*ends[name, level], strict=True))
        held.append(np.mean((lower <= positions) & (positions <= upper)))
    ax.plot(LEVELS, held, "o-", color=f"C{index}", label=name)
    ax.plot(LEVELS, claimed, "x:", color=f"C{index}")
    print(f"{name:34s} 90 % interval holds {held[2]:.0%}; from the posterior covariance {claimed[2]:.0%}")
ax.set(xlabel="level asked for", ylabel="share of held-out bins inside", xlim=(0.45, 1), ylim=(0, 1), title="predict_interval (o) and posterior (x)")
ax.legend(frameon=False, fontsize="small")
plt.show()

# %% [markdown]
# ## One bin at a time
#
# In an experiment bins come one by one. `step` takes a bin and gives the law of position and velocity now, in constant memory; `reset` begins a new lap. It
# says what `predict` says, since both see only the past.

# %%
decoder = fitted(*decoders["discriminative, network"], blocks[0])
decoder.reset()
streamed, seconds = [], []
for one_bin in roots[lap]:
    began = time.perf_counter()
    streamed.append(decoder.step(one_bin).mean)
    seconds.append(time.perf_counter() - began)
largest = np.abs(np.array(streamed) - decoder.predict(roots[lap])).max()
print(f"largest difference from predict: {largest:.1e} pixels; {1000 * np.median(seconds):.2f} ms a bin (the first compiles: {1000 * seconds[0]:.0f} ms)")

# %% [markdown]
# ## A mistake to avoid
#
# Hold out random *bins* instead of laps, and the bin before and the bin after are in the training set: with windows of fifteen bins they share nearly all their
# spikes, and nearest neighbours find the same moment again. The error that is reported then is not that of a new lap.

# %%
windows = np.concatenate([np.stack([one[np.maximum(np.arange(len(one)) - lag, 0)] for lag in range(15)], 1).reshape(len(one), -1) for one in roots])
lap_of_bin = np.repeat(np.arange(len(lengths)), lengths)
folds = {"random bins": KFold(5, shuffle=True, random_state=0).split(windows), "whole laps": GroupKFold(5).split(windows, groups=lap_of_bin)}
leaked = {name: np.abs(cross_val_predict(KNeighborsRegressor(3), windows, positions, cv=list(split)) - positions) for name, split in folds.items()}
figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for name, error in leaked.items():
    ax.hist(error, np.linspace(0, high - low, 50), histtype="step", linewidth=2, label=f"held out: {name}, RMSE {np.sqrt(np.mean(error**2)):.0f} pixels")
ax.set(xlabel="error (pixels)", ylabel="bins", yscale="log", title="Three nearest neighbours in windows of fifteen bins")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# ## What to keep
#
# Hold out laps, not bins. Say what is known without spikes. Give a median beside the mean square, since errors of a place code are either small or a jump to
# elsewhere. Take `predict_interval` for intervals. Other mistakes are quiet too: fields that were smoothed over both directions, a recording binned in
# milliseconds where seconds are meant, and laps joined into one session, over which a filter then carries the end of one lap into the start of the next.
