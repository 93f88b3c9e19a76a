"""Simulated jump processes against their laws. Seeds are fixed; the false-alarm rate of a test is what a fresh seed would have."""

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import expm

from latentgate.data import jump_processes
from latentgate.data.jump_processes import (
    ION_CHANNEL_OPEN,
    ION_CHANNEL_STATES,
    JumpPath,
    flashing_ratchet,
    ion_channel,
    simulate_ion_channel,
    simulate_jump_path,
    simulate_panel,
    stationary_law,
)

ILLNESS = np.array([[-0.6, 0.4, 0.2], [0.3, -0.8, 0.5], [0.0, 0.0, 0.0]])
FALSE_ALARM = 1e-4


def accepted(counts, probabilities):
    """Whether counts [row, outcome] fit the laws [row, outcome] by Pearson's chi-square; only where all expectations are large."""
    expected = counts.sum(axis=-1, keepdims=True) * probabilities
    possible = probabilities > 0
    assert (expected[possible] > 5).all()
    assert (counts[~possible] == 0).all()
    statistic = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    return stats.chi2.sf(statistic, possible.sum() - len(counts)) > FALSE_ALARM


def transition_counts(simulation, num_states):
    before, after = simulation.states[:, :-1], simulation.states[:, 1:]
    seen = after >= 0
    return np.bincount(before[seen] * num_states + after[seen], minlength=num_states**2).reshape(num_states, num_states)


def test_ratchet_of_the_issue():
    generator = flashing_ratchet()
    heights = {(0, 1): 0.60653, (1, 2): 0.60653, (0, 2): 0.36788, (1, 0): 1.64872, (2, 1): 1.64872, (2, 0): 2.71828}
    for (source, target), rate in heights.items():
        assert abs(generator[source, target] - rate) < 5e-6
    assert (generator[~np.eye(6, dtype=bool)] != 0).sum() == 18
    np.testing.assert_allclose(generator.sum(axis=1), 0, atol=1e-14)
    law = [0.30119155, 0.13654175, 0.06226671, 0.20029790, 0.15913544, 0.14056668]
    np.testing.assert_allclose(stationary_law(generator), law, atol=5e-9)
    eigenvalues = np.sort(np.linalg.eigvals(generator).real)[:-1]
    np.testing.assert_allclose(-1 / eigenvalues, [0.15885, 0.20503, 0.28056, 0.34964, 0.5], atol=5e-6)


@pytest.mark.parametrize(("V", "r", "b"), [(0.0, 0.5, 2.0), (2.5, 3.0, 0.1)])
def test_ratchet_reads_out_its_parameters(V, r, b):
    q = flashing_ratchet(V, r, b)
    logs = np.log(q[:3, :3], where=~np.eye(3, dtype=bool), out=np.zeros((3, 3)))
    found = (-2 * logs[0, 1] - 2 * logs[1, 2] + 2 * logs[1, 0] + 2 * logs[2, 1] - logs[0, 2] + logs[2, 0]) / 6
    np.testing.assert_allclose(found, V, atol=1e-14)
    site = np.arange(3)
    np.testing.assert_array_equal(np.concatenate([q[site, site + 3], q[site + 3, site]]), r)
    np.testing.assert_array_equal(q[3:, 3:][~np.eye(3, dtype=bool)], b)


@pytest.mark.parametrize(("V", "production"), [(0.0, 0.0), (1.0, 0.17919), (2.0, 0.56565), (3.0, 0.99274)])
def test_entropy_production_of_the_ratchet(V, production):
    generator = flashing_ratchet(V)
    flow = stationary_law(generator)[:, None] * generator
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j and flow[i, j] > 0]
    assert abs(sum(flow[i, j] * np.log(flow[i, j] / flow[j, i]) for i, j in pairs) - production) < 5e-6


def test_stationary_law_of_a_chain_it_is_known_for():
    birth, death = np.array([1e-8, 2.0, 3e5]), np.array([1.0, 1e3, 0.5])
    generator = np.diag(birth, 1) + np.diag(death, -1)
    generator -= np.diag(generator.sum(axis=1))
    weights = np.concatenate([[1.0], np.cumprod(birth / death)])
    np.testing.assert_allclose(stationary_law(generator), weights / weights.sum(), rtol=1e-14)
    with pytest.raises(ValueError, match="do not all communicate"):
        stationary_law(ILLNESS)


def test_a_path_keeps_its_books():
    path = simulate_jump_path(3, flashing_ratchet(), 4, 50.0)
    assert path.states[0] == 4
    assert path.times[0] == 0
    assert (np.diff(path.times) > 0).all()
    assert (np.diff(path.states) != 0).all()
    np.testing.assert_allclose(path.occupation(6).sum(), 50.0)
    assert path.jumps(6).sum() == len(path.times) - 1
    jump = path.times[7]
    assert path.at([jump, np.nextafter(jump, 0)]).tolist() == [path.states[7], path.states[6]]
    again = simulate_jump_path(np.random.default_rng(3), flashing_ratchet(), 4, 50.0)
    np.testing.assert_array_equal(again.times, path.times)
    with pytest.raises(ValueError, match="from 0 to 50"):
        path.at(50.1)


def test_occupation_and_jumps_of_a_long_path():
    """False alarms: 18 squared normals below their 1 - 1e-4 quantile, and 6 normals within 4.5: below 2e-4 in all."""
    generator, duration = flashing_ratchet(), 8000.0
    path = simulate_jump_path(11, generator, 0, duration)
    occupation, jumps = path.occupation(6), path.jumps(6)
    edges = (generator > 0) & ~np.eye(6, dtype=bool)
    assert (jumps[~edges] == 0).all()
    # Jumps less their compensator are martingales, uncorrelated between edges.
    expected = (generator * occupation[:, None])[edges]
    assert stats.chi2.sf(((jumps[edges] - expected) ** 2 / expected).sum(), edges.sum()) > FALSE_ALARM
    law = stationary_law(generator)
    deviation = np.linalg.inv(np.outer(np.ones(6), law) - generator) - np.outer(np.ones(6), law)
    spread = np.sqrt(2 * law * np.diag(deviation) / duration)
    assert (np.abs(occupation / duration - law) < 4.5 * spread).all()


def test_panel_counts_follow_the_matrix_exponential():
    """False-alarm rate 2e-4: two chi-squares at 1e-4, the transitions and the first states."""
    generator = flashing_ratchet()
    law = stationary_law(generator)
    simulation = simulate_panel(5, generator, [np.arange(20) * 0.3 + 1.0] * 400, law)
    assert simulation.data.inputs == {}
    assert simulation.data.names == ("state",)
    np.testing.assert_array_equal(simulation.data.values[:, :, 0], simulation.states)
    assert accepted(transition_counts(simulation, 6), expm(0.3 * generator))
    assert accepted(np.bincount(simulation.states[:, 0], minlength=6)[None], law[None])
    for path in simulation.paths[:5]:
        assert (path.times[0], path.end) == (1.0, 1.0 + 19 * 0.3)


def test_exact_entries_have_the_law_of_the_first_passage():
    """False-alarm rate 1e-4, a Kolmogorov-Smirnov test."""
    times = [np.array([0.0, 0.7, 2.0, 60.0])] * 1500
    simulation = simulate_panel(2, ILLNESS, times, 0, exact_entry=[2])
    data, lengths = simulation.data, simulation.data.lengths
    last = np.arange(1500), lengths - 1
    assert (simulation.states[last] == 2).all()
    assert (data.inputs["arrival"][last][:, 0] == 1).all()
    assert data.inputs["arrival"].sum() == 1500
    entered = data.times[last]
    np.testing.assert_array_equal(entered, [path.end for path in simulation.paths])
    np.testing.assert_array_equal(entered, [path.times[-1] for path in simulation.paths])
    assert set(lengths.tolist()) == {2, 3, 4}

    def survival(t):
        return np.array([expm(ILLNESS * s)[0, 2] for s in np.atleast_1d(t)])

    assert stats.kstest(entered[:400], survival).pvalue > FALSE_ALARM


def test_without_exact_entries_the_dead_stay_in_the_panel():
    simulation = simulate_panel(2, ILLNESS, [np.arange(4.0)] * 50, 0)
    assert (simulation.data.lengths == 4).all()
    assert (simulation.states[:, -1] == 2).any()


def test_observed_continuously():
    """False-alarm rate 1e-4: jumps out of the rows of the data against rate x exposure."""
    simulation = simulate_panel(7, ILLNESS, [np.array([0.0, 4.0])] * 600, [0.5, 0.5, 0], exact_transitions=True, exact_entry=[2])
    data = simulation.data
    exposure, jumps = np.zeros(3), np.zeros((3, 3))
    for index, path in enumerate(simulation.paths):
        length = data.lengths[index]
        states, times = data.values[index, :length, 0].astype(int), data.times[index, :length]
        assert data.inputs["arrival"][index, :length, 0].tolist() == [0] + [2] * (length - 1)
        np.testing.assert_array_equal(times, np.union1d(path.times, [path.end]))
        np.add.at(exposure, states[:-1], np.diff(times))
        np.add.at(jumps, (states[:-1], states[1:]), states[:-1] != states[1:])
    edges = (ILLNESS > 0) & ~np.eye(3, dtype=bool)
    expected = (ILLNESS * exposure[:, None])[edges]
    assert stats.chi2.sf(((jumps[edges] - expected) ** 2 / expected).sum(), edges.sum()) > FALSE_ALARM


def test_wrong_labels():
    """False-alarm rate 1e-4, the labels in each state."""
    simulation = simulate_panel(4, flashing_ratchet(), [np.arange(10.0)] * 600, 0, label_error=0.1)
    assert simulation.data.names == ("label",)
    np.testing.assert_allclose(np.diag(simulation.label_probabilities), 0.9)
    labels = simulation.data.values[:, :, 0].astype(int)
    counts = np.bincount((simulation.states * 6 + labels).ravel(), minlength=36).reshape(6, 6)
    assert accepted(counts, simulation.label_probabilities)


def test_labels_beside_deaths():
    error = np.array([[0.8, 0.2, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    simulation = simulate_panel(4, ILLNESS, [np.arange(6.0)] * 60, 0, label_error=error, exact_entry=[2])
    assert simulation.data.names == ("state", "label")
    for index, array in enumerate(simulation.data.to_list()):
        truth = simulation.states[index, : len(array)]
        np.testing.assert_array_equal(array[:, 0], np.where(truth == 2, 2, np.nan))
        assert np.isnan(array[truth == 2, 1]).all()
        assert (array[truth == 1, 1] == 1).all()
        assert np.isin(array[truth == 0, 1], [0, 1]).all()


def by_covariate(row):
    rate = np.exp(row[0])
    return np.array([[-rate, rate], [1.0, -1.0]])


def test_rates_of_covariates_and_lists_of_generators():
    """False-alarm rate 3e-4: three chi-squares of the states at the last time, two intervals with rates of their own after the first row."""
    times = np.array([0.0, 0.8, 1.5])
    covariates = np.array([[-1.0], [1.2], [50.0]])
    generators = [by_covariate(row) for row in covariates[:2]]
    law = (expm(0.8 * generators[0]) @ expm(0.7 * generators[1]))[0]
    simulation = simulate_panel(1, by_covariate, [times] * 800, 0, covariates=[covariates] * 800)
    np.testing.assert_array_equal(simulation.data.inputs["inputs"][3], covariates)
    assert accepted(np.bincount(simulation.states[:, -1], minlength=2)[None], law[None])
    listed = [np.array([*generators, generators[0]])] * 800
    assert accepted(np.bincount(simulate_panel(2, listed, [times] * 800, 0).states[:, -1], minlength=2)[None], law[None])
    each = [generators[0]] * 400 + [generators[1]] * 400
    states = simulate_panel(3, each, [times] * 800, 0).states[:, -1]
    counts = np.array([np.bincount(states[:400], minlength=2), np.bincount(states[400:], minlength=2)])
    assert accepted(counts, np.array([expm(1.5 * generator)[0] for generator in generators]))


def test_covariates_hold_at_rows_between():
    covariates = [np.array([[1.0], [2.0]])] * 30
    simulation = simulate_panel(0, ILLNESS, [np.array([0.0, 30.0])] * 30, 0, covariates=covariates, exact_transitions=True)
    for index, length in enumerate(simulation.data.lengths):
        assert simulation.data.inputs["inputs"][index, :length, 0].tolist() == [1.0] * (length - 1) + [2.0]


def test_subjects_seen_once():
    simulation = simulate_panel(0, ILLNESS, [[3.0], [4.0]], [0.5, 0.0, 0.5], exact_entry=[2])
    assert simulation.data.lengths.tolist() == [1, 1]
    assert (simulation.data.inputs["arrival"] == 0).all()


def test_ion_channel_of_colquhoun_and_hawkes():
    generator = ion_channel()
    # The matrix printed with the example, at 100 nM.
    printed = [[-3050, 50, 0, 3000, 0], [0.66667, -500.66667, 500, 0, 0], [0, 15000, -19000, 4000, 0], [15, 0, 50, -2065, 2000], [0, 0, 0, 10, -10]]
    np.testing.assert_allclose(generator, printed, rtol=1e-5, atol=1e-12)
    for concentration, share in ((1e-7, 0.0019), (1e-6, 0.151)):
        flow = stationary_law(ion_channel(concentration))[:, None] * ion_channel(concentration)
        np.testing.assert_allclose(flow, flow.T, rtol=1e-12, atol=1e-15)
        assert abs(stationary_law(ion_channel(concentration))[ION_CHANNEL_OPEN].sum() - share) < 5e-5 + 0.005 * share
    assert len(ION_CHANNEL_STATES) == 5


def test_ion_channel_record():
    """False-alarm rate below 2e-4: mean and variance of the noise within 4 standard errors; the path is tested above."""
    simulation = simulate_ion_channel(9, 0.5, 1e-4, 0.8)
    data = simulation.data
    assert data.values.shape == (1, 5001, 1)
    np.testing.assert_allclose(data.times[0], 1e-4 * np.arange(5001), rtol=0, atol=1e-15)
    np.testing.assert_array_equal(simulation.states, simulation.path.at(data.times[0]))
    opened = ION_CHANNEL_OPEN[simulation.states]
    assert 0 < opened.mean() < 1
    residual = (data.values[0, :, 0] - 6.0 * opened) / 0.8
    assert abs(residual.mean()) < 4 / np.sqrt(5001)
    assert abs(residual.var() - 1) < 4 * np.sqrt(2 / 5001)
    np.testing.assert_array_equal(simulate_ion_channel(9, 0.5, 1e-4, 0.8).data.values, data.values)


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (np.zeros((2, 3)), r"shape \(2, 3\)"),
        ([[-1.0, np.nan], [1.0, -1.0]], "not finite"),
        ([[1.0, -1.0], [1.0, -1.0]], "rate -1 from 0 to 1"),
        ([[-1.0, 1.0], [1.0, -2.0]], "row 1 of `generator` sums to -1"),
    ],
)
def test_bad_generators(generator, message):
    with pytest.raises(ValueError, match=message):
        simulate_jump_path(0, generator, 0, 1.0)


def test_bad_arguments():
    times = [np.arange(3.0)] * 2
    for initial in (3, -1, [0.5, 0.5], [0.5, 0.6, 0.1], 0.5):
        with pytest.raises(ValueError, match="`initial`"):
            simulate_panel(0, ILLNESS, times, initial)
    for exact in ([0], [3]):
        with pytest.raises(ValueError, match=f"`exact_entry` holds {exact[0]}; expected absorbing"):
            simulate_panel(0, ILLNESS, times, 0, exact_entry=exact)
    with pytest.raises(ValueError, match="subject 1 of `observation_times`"):
        simulate_panel(0, ILLNESS, [[0.0, 1.0], [1.0, 1.0]], 0)
    with pytest.raises(ValueError, match="`covariates` is not given"):
        simulate_panel(0, by_covariate, times, 0)
    with pytest.raises(ValueError, match=r"subject 0 of `covariates` has shape \(2, 1\) for 3 times"):
        simulate_panel(0, by_covariate, times, 0, covariates=[np.zeros((2, 1))] * 2)
    with pytest.raises(ValueError, match="`generator` has 3 entries for 2 subjects"):
        simulate_panel(0, [ILLNESS] * 3, times, 0)
    with pytest.raises(ValueError, match="2 and 3 states"):
        simulate_panel(0, [ILLNESS, by_covariate([0.0])], times, 0)
    for error in (1.5, -0.1, np.eye(2)):
        with pytest.raises(ValueError, match="`label_error`"):
            simulate_panel(0, ILLNESS, times, 0, label_error=error)
    with pytest.raises(ValueError, match="`duration`"):
        simulate_jump_path(0, ILLNESS, 0, 0.0)
    with pytest.raises(ValueError, match="`concentration`"):
        ion_channel(0.0)
    with pytest.raises(ValueError, match="less than one `sampling_interval`"):
        simulate_ion_channel(0, 1e-5, 1e-4)
    with pytest.raises(ValueError, match="`noise`"):
        simulate_ion_channel(0, noise=-1.0)
    with pytest.raises(ValueError, match="`V`"):
        flashing_ratchet(r=-1.0)
    assert jump_processes.JumpPath is JumpPath
