"""Markov jump processes simulated exactly, in NumPy only: paths, panels of observations, the flashing ratchet and an ion channel."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from latentgate.data._checks import DEFAULT_INPUT_NAME
from latentgate.data._jump_walks import (
    JumpPath,
    Rates,
    check_covariates,
    check_exact_entry,
    check_generator,
    check_observation_times,
    draw_initial,
    initial_law,
    label_probabilities,
    rates_of_subjects,
    walk,
    with_diagonal,
)
from latentgate.data.panel import ARRIVAL, EXACT_ENTRY, OBSERVED_CONTINUOUSLY, SNAPSHOT, STATE
from latentgate.data.sequences import Sequences

LABEL = "label"
ION_CHANNEL_STATES = ("AR*", "A2R*", "A2R", "AR", "R")
ION_CHANNEL_OPEN = np.array([True, True, False, False, False])


@dataclasses.dataclass(frozen=True, eq=False)
class JumpSimulation:
    """Observations of jump processes, one per subject, with the truth behind them.

    Attributes:
        data: features "state" and "label" as asked for; times; the input sets "inputs" and "arrival" where there are any; see `latentgate.data.panel`.
        paths: the true path of each subject, from its first observation to its last.
        states: int [sequence, time], the true states at the rows of `data`; -1 in the padding.
        label_probabilities: [K, K], law of the label (column) in each state (row), or None.
    """

    data: Sequences
    paths: list[JumpPath]
    states: np.ndarray
    label_probabilities: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class IonChannelSimulation:
    """The record of a single channel, with the truth behind it.

    Attributes:
        data: the current in pA, one sequence with the feature "current"; times in s.
        path: the true path.
        states: int [time], the true states at the samples; see `ION_CHANNEL_STATES`.
        generator: [5, 5], rates per s.
        open_current: mean current in the open states, in pA; 0 in the closed ones.
        noise: standard deviation of the current about its mean, in pA.
    """

    data: Sequences
    path: JumpPath
    states: np.ndarray
    generator: np.ndarray
    open_current: float
    noise: float


def simulate_jump_path(rng: np.random.Generator | int, generator: Any, initial: Any, duration: float) -> JumpPath:
    """Simulates a path from time 0 on, by exponential sojourns (Gillespie's direct method).

    Args:
        rng: source of randomness, or a seed.
        generator: [K, K], rates from row to column; rows sum to 0.
        initial: the first state, or its law [K].
        duration: length of the path, in the unit of time of the generator.

    Raises:
        ValueError: no generator, no law, or a duration that is not positive and finite.

    Example:
        >>> from latentgate.data.jump_processes import flashing_ratchet, simulate_jump_path
        >>> path = simulate_jump_path(0, flashing_ratchet(), initial=3, duration=2.5)
        >>> int(path.at(0.0)), len(path.times) == len(path.states)
        (3, True)
    """
    rng = np.random.default_rng(rng)
    matrix = check_generator(generator, "generator")
    if not 0 < duration < np.inf:
        raise ValueError(f"`duration` is {duration!r}; expected a positive finite time.")
    first = draw_initial(rng, initial_law(initial, len(matrix)))
    return walk(rng, [Rates(matrix)], np.array([0.0, duration]), first, frozenset())


def simulate_panel(
    rng: np.random.Generator | int,
    generator: Any,
    observation_times: Sequence[Any],
    initial: Any,
    *,
    covariates: Sequence[Any] | None = None,
    exact_entry: Sequence[int] = (),
    exact_transitions: bool = False,
    label_error: Any = None,
) -> JumpSimulation:
    """Simulates subjects that are looked at now and then: panel data, with the true paths.

    Args:
        rng: source of randomness, or a seed.
        generator: [K, K] for all subjects; a list with one per subject, each [K, K] or [time, K, K], row n then holding from its time until the next; or a
            function of one row of covariates [covariate] that gives [K, K].
        observation_times: one increasing array [time] per subject; the path begins at its first time.
        initial: state of all subjects at their first time, or its law [K].
        covariates: one array [time, covariate] per subject, which become the input set "inputs"; a row holds until the next.
        exact_entry: absorbing states whose time of entry is seen exactly: a row stands at that time, with arrival 1, and is the subject's last.
        exact_transitions: True observes subjects continuously: a row stands at every jump too, and all rows but the first have arrival 2.
        label_error: None shows the states, as the feature "state". A number is the probability that a label is wrong, all wrong ones being equally likely;
            a matrix [K, K] has in row k the law of the label in state k. The feature is then "label", and "state" (known at exact entries, which have no
            label, and missing elsewhere) stands before it if `exact_entry` has states.

    Raises:
        ValueError: arguments that are no generator, law or times, or do not fit together.

    Example:
        >>> import numpy as np
        >>> from latentgate.data.jump_processes import simulate_panel
        >>> generator = np.array([[-0.3, 0.2, 0.1], [0.1, -0.4, 0.3], [0.0, 0.0, 0.0]])
        >>> simulation = simulate_panel(0, generator, [np.arange(5.0)] * 20, initial=0, exact_entry=[2])
        >>> simulation.data.num_sequences, simulation.data.num_inputs
        (20, {'arrival': 1})
    """
    rng = np.random.default_rng(rng)
    times = [check_observation_times(row, index) for index, row in enumerate(observation_times)]
    if not times:
        raise ValueError("`observation_times` is empty; expected one array of times per subject.")
    inputs = check_covariates(covariates, times)
    rates = rates_of_subjects(generator, times, inputs)
    num_states = rates[0][0].num_states
    exact = check_exact_entry(exact_entry, rates)
    law = initial_law(initial, num_states)
    labels = None if label_error is None else label_probabilities(label_error, num_states)
    paths, rows, truths, arrays, arrivals, held = [], [], [], [], [], []
    for index, (observed, pieces) in enumerate(zip(times, rates, strict=True)):
        path = walk(rng, pieces, observed, draw_initial(rng, law), exact)
        entered = int(path.states[-1]) in exact
        seen = observed[observed < path.end] if entered else observed
        if exact_transitions:
            seen = np.union1d(seen, path.times)
        elif entered:
            seen = np.append(seen, path.end)
        states = path.at(seen)
        arrival = np.full(len(seen), OBSERVED_CONTINUOUSLY if exact_transitions else SNAPSHOT)
        arrival[-1] = EXACT_ENTRY if entered and not exact_transitions else arrival[-1]
        arrival[0] = SNAPSHOT
        paths.append(path)
        rows.append(seen)
        truths.append(states)
        arrivals.append(arrival[:, None])
        arrays.append(_observe(rng, states, labels, exact))
        if inputs is not None:
            held.append(inputs[index][np.searchsorted(observed, seen, side="right") - 1])
    sets = {} if inputs is None else {DEFAULT_INPUT_NAME: held}
    if exact or exact_transitions:
        sets[ARRIVAL] = arrivals
    states = np.full((len(rows), max(map(len, rows))), -1)
    for row, truth in zip(states, truths, strict=True):
        row[: len(truth)] = truth
    names = [STATE] if labels is None else [STATE, LABEL] if exact else [LABEL]
    return JumpSimulation(Sequences.from_arrays(arrays, inputs=sets, times=rows, names=names), paths, states, labels)


def flashing_ratchet(V: float = 1.0, r: float = 1.0, b: float = 1.0) -> np.ndarray:
    """[6, 6] generator of the discrete flashing ratchet: a particle on a ring of three sites whose potential is switched on and off.

    States 0, 1, 2 are the sites with the potential on, of heights 0, V and 2V (in units of temperature); 3, 4, 5 the same sites with it off. Rates: on, from
    i to j, exp(-V (j - i) / 2); off, b between any two sites; r between i and i + 3, both ways. `stationary_law` gives its stationary law.

    Args:
        V: step of the potential.
        r: rate of switching.
        b: rate of hopping with the potential off.

    Raises:
        ValueError: a V that is not finite, or rates that are negative or not finite.

    Source: Roldan and Parrondo, Phys. Rev. Lett. 105, 150607 (2010); Ajdari and Prost (1992).

    Example:
        >>> from latentgate.data.jump_processes import flashing_ratchet, stationary_law
        >>> stationary_law(flashing_ratchet()).round(5).tolist()
        [0.30119, 0.13654, 0.06227, 0.2003, 0.15914, 0.14057]
    """
    if not (np.isfinite(V) and 0 <= r < np.inf and 0 <= b < np.inf):
        raise ValueError(f"`V`, `r` and `b` are {V!r}, {r!r} and {b!r}; expected finite numbers, and rates r and b that are not negative.")
    site = np.arange(3)
    generator = np.zeros((6, 6))
    generator[:3, :3] = np.exp(-V * (site[None, :] - site[:, None]) / 2)
    generator[3:, 3:] = b
    generator[site, site + 3] = generator[site + 3, site] = r
    return with_diagonal(generator)


def ion_channel(concentration: float = 1e-7) -> np.ndarray:
    """[5, 5] generator of the muscle acetylcholine receptor with two binding sites, rates per second.

    States, as in `ION_CHANNEL_STATES`: 0 AR*, 1 A2R*, 2 A2R, 3 AR, 4 R: the receptor R with no, one or two molecules of the agonist A, open where starred
    (`ION_CHANNEL_OPEN`). Binding is proportional to the concentration c of the agonist, in mol/l:

        R -> AR    1e8 c      AR -> R    2000        AR -> AR*     15       AR* -> AR     3000
        AR -> A2R  5e8 c      A2R -> AR  4000        A2R -> A2R*   15000    A2R* -> A2R   500
        AR* -> A2R*  5e8 c    A2R* -> AR*  2/3

    They obey detailed balance at every concentration. The channel is open 0.2 % of the time at 100 nM, in short bursts that are far apart, and 15 % at 1 uM.

    Args:
        concentration: of the agonist, in mol/l.

    Raises:
        ValueError: a concentration that is not positive and finite.

    Source: Colquhoun and Hawkes, Phil. Trans. R. Soc. Lond. B 300, 1-59 (1982), the numerical example, whose concentration is 100 nM.

    Example:
        >>> from latentgate.data.jump_processes import ion_channel, stationary_law
        >>> stationary_law(ion_channel()).round(6).tolist()
        [2.5e-05, 0.001862, 6.2e-05, 0.004965, 0.993086]
    """
    if not 0 < concentration < np.inf:
        raise ValueError(f"`concentration` is {concentration!r}; expected a positive number, in mol/l.")
    once_open, twice_open, twice, once, free = range(5)
    rates = np.zeros((5, 5))
    rates[free, once], rates[once, free] = 1e8 * concentration, 2000.0
    rates[once, twice], rates[twice, once] = 5e8 * concentration, 4000.0
    rates[once, once_open], rates[once_open, once] = 15.0, 3000.0
    rates[twice, twice_open], rates[twice_open, twice] = 15000.0, 500.0
    rates[once_open, twice_open], rates[twice_open, once_open] = 5e8 * concentration, 2 / 3
    return with_diagonal(rates)


def simulate_ion_channel(
    rng: np.random.Generator | int,
    duration: float = 1.0,
    sampling_interval: float = 5e-5,
    noise: float = 1.0,
    *,
    concentration: float = 1e-6,
    open_current: float = 6.0,
) -> IonChannelSimulation:
    """Simulates the record of one channel in equilibrium: its current at regular times, with independent Gaussian noise.

    The open states all pass `open_current` and the closed ones none, so that the record tells the two classes apart and not the states within them. Each
    sample is of the state at its very time; there is no filter.

    Args:
        rng: source of randomness, or a seed.
        duration: of the record, in s.
        sampling_interval: time between samples, in s.
        noise: standard deviation of the noise, in pA.
        concentration: of the agonist, in mol/l; see `ion_channel`.
        open_current: current through the open channel, in pA; the default is that of 60 pS at 100 mV.

    Raises:
        ValueError: an argument that is not positive (`noise`: negative), or a record of less than one sampling interval.

    Example:
        >>> from latentgate.data.jump_processes import simulate_ion_channel
        >>> simulate_ion_channel(0, duration=0.01).data.num_steps
        201
    """
    for argument, value in (("duration", duration), ("sampling_interval", sampling_interval)):
        if not 0 < value < np.inf:
            raise ValueError(f"`{argument}` is {value!r}; expected a positive number of seconds.")
    if not 0 <= noise < np.inf or not np.isfinite(open_current):
        raise ValueError(f"`noise` and `open_current` are {noise!r} and {open_current!r}; expected finite currents in pA, and noise that is not negative.")
    # The millionth keeps a last sample that only rounding puts outside.
    count = int(np.floor(duration / sampling_interval + 1e-6))
    if count == 0:
        raise ValueError(f"`duration` is {duration!r} s, less than one `sampling_interval` of {sampling_interval!r} s; expected a longer record.")
    rng = np.random.default_rng(rng)
    generator = ion_channel(concentration)
    times = sampling_interval * np.arange(count + 1)
    path = simulate_jump_path(rng, generator, stationary_law(generator), float(times[-1]))
    states = path.at(times)
    current = open_current * ION_CHANNEL_OPEN[states] + noise * rng.standard_normal(len(times))
    data = Sequences.from_arrays([current], times=[times], names=["current"], bin_width=float(sampling_interval))
    return IonChannelSimulation(data, path, states, generator, float(open_current), float(noise))


def stationary_law(generator: Any) -> np.ndarray:
    """[K] stationary law of a generator, by the elimination of Grassmann, Taksar and Heyman: no subtractions, full relative accuracy.

    Raises:
        ValueError: no generator, or states that do not all communicate.
    """
    rates = check_generator(generator, "generator").copy()
    count = len(rates)
    for state in range(count - 1, 0, -1):
        leaving = rates[state, :state].sum()
        if leaving == 0 or not rates[:state, state].any():
            raise ValueError(f"the states of `generator` do not all communicate (see state {state}); expected every state to be reachable from every other.")
        rates[:state, state] /= leaving
        rates[:state, :state] += np.outer(rates[:state, state], rates[state, :state])
    law = np.ones(count)
    for state in range(1, count):
        law[state] = law[:state] @ rates[:state, state]
    return law / law.sum()


def _observe(rng: np.random.Generator, states: np.ndarray, labels: np.ndarray | None, exact: frozenset[int]) -> np.ndarray:
    """[time, feature] what is seen of the states."""
    if labels is None:
        return states[:, None].astype(float)
    edges = np.cumsum(labels, axis=1)[states]
    # Leaving out the last edge sends rounding of the sum to a label that exists.
    drawn = (rng.random(len(states))[:, None] >= edges[:, :-1] / edges[:, -1:]).sum(axis=1).astype(float)
    if not exact:
        return drawn[:, None]
    known = np.isin(states, list(exact))
    return np.stack([np.where(known, states, np.nan), np.where(known, np.nan, drawn)], axis=1)
