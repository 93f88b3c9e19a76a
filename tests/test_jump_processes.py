"""What people read off a fitted jump process: paths between observations, quantities, checks against the data."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from numpy.testing import assert_allclose

import latentgate as lg
from latentgate.data.jump_processes import simulate_panel
from latentgate.data.times import with_times
from latentgate.inference import Outcome, Posterior, RestartRecord

RATES = np.array([[0.0, 0.7, 0.2], [0.4, 0.0, 0.3], [0.0, 0.0, 0.0]])
GENERATOR = RATES - np.diag(RATES.sum(1))
ERRORS = np.array([[0.8, 0.2, 0.0], [0.3, 0.7, 0.0], [0.0, 0.0, 1.0]])
NAN = np.nan


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


def given(model: lg.MarkovJumpProcess, params: dict, data: lg.Sequences | None = None) -> lg.Fit:
    """A fit whose parameters are known, without a run."""
    record = RestartRecord(params, np.zeros(1), np.zeros(1), Outcome.CONVERGED)
    return lg.Fit(model, params, "EM()", 0, Outcome.CONVERGED, True, [record], 0, None, data)


HIDDEN = given(
    lg.MarkovJumpProcess(
        3,
        lg.emissions.Product(known=lg.emissions.KnownState(3, censored={3: (0, 1)}), label=lg.emissions.Misclassified(ERRORS > 0)),
        lg.generators.Free(RATES),
        initial=[0.7, 0.3, 0.0],
    ),
    {"transition.rates": RATES, "emission.label.probs": ERRORS},
)
DATA = lg.Sequences.from_arrays(
    [
        np.array([[NAN, 0], [3, NAN], [NAN, 1], [2, NAN]], float),
        np.array([[0, NAN], [1, NAN], [1, NAN], [NAN, 0]], float),
        np.array([[3, NAN], [NAN, 1], [2, NAN]], float),
    ],
    inputs={"arrival": [np.array([[0.0], [0], [0], [1]]), np.array([[0.0], [2], [2], [0]]), np.zeros((3, 1))]},
    times=[np.array([0.0, 0.8, 2.0, 3.1]), np.array([1.0, 1.6, 2.0, 4.0]), np.array([0.0, 1.2, 2.0])],
    names=["state", "label"],
)
NUM_DRAWS = 1500


@pytest.fixture(scope="module")
def paths():
    return lg.jump_processes.sample_paths(HIDDEN, DATA, NUM_DRAWS, seed=1)


def close_to_mean(draws: np.ndarray, mean: np.ndarray, errors: float = 5.0):
    """Within five standard errors, [draw, ...]: a false alarm in two million an entry; what never varies must be equal."""
    error = draws.std(0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - mean) <= errors * error + 1e-9).all(), (draws.mean(0), mean, error)


def test_paths_have_the_jumps_and_times_of_the_e_step(paths):
    jumps, times = HIDDEN.model.expected_jumps_and_times(HIDDEN.params, DATA)
    close_to_mean(np.array([sum(path.jumps(3) for path in draw) for draw in paths]), np.asarray(jumps))
    close_to_mean(np.array([sum(path.occupation(3) for path in draw) for draw in paths]), np.asarray(times))


def test_paths_have_the_smoothed_law_between_observations(paths):
    requests = [np.array([0.3, 0.8, 1.5, 2.9]), np.array([1.2, 2.0, 3.0]), np.array([0.0, 0.7, 1.9])]
    finer, rows = with_times(DATA, requests, num_states=3)
    smoothed = np.asarray(HIDDEN.smooth(finer))
    assert_allclose(HIDDEN.log_likelihood(finer), HIDDEN.log_likelihood(DATA), rtol=1e-12)
    for sequence, (request, row) in enumerate(zip(requests, rows, strict=True)):
        states = np.array([draw[sequence].at(request) for draw in paths])
        close_to_mean(np.eye(3)[states], smoothed[sequence, row])


def test_paths_go_through_what_was_seen(paths):
    for draw in paths[:200]:
        dead, watched, found_dead = draw
        # Entered at that very moment, by the last jump.
        assert dead.times[-1] == pytest.approx(3.1)
        assert dead.states[-1] == 2
        assert (dead.at(np.array([0.8, 2.0])) < 2).all()
        # Watched: one jump until 1.6, at its end, and none until 2.
        assert watched.at(np.array([1.0, 1.59, 1.61, 2.0])).tolist() == [0, 0, 1, 1]
        assert ((watched.times <= 1.0) | np.isclose(watched.times, 1.6) | (watched.times > 2.0)).all()
        assert found_dead.states[-1] == 2
        for path in draw:
            assert (np.diff(path.times) > 0).all()
            assert (np.diff(path.states) != 0).all()
            assert (RATES[path.states[:-1], path.states[1:]] > 0).all()


def test_paths_of_many_states_in_a_short_time():
    """Twenty-nine jumps in a time for hardly one: unlikely, and yet what was seen."""
    size = 30
    chain = np.diag(np.ones(size - 1), 1)
    fit = given(lg.MarkovJumpProcess(size, generator=chain), {"transition.rates": chain})
    data = lg.Sequences.from_arrays([np.array([0.0, size - 1.0])], times=[np.array([0.0, 0.5])])
    (path,) = lg.jump_processes.sample_paths(fit, data, 1, seed=0)[0]
    assert path.states.tolist() == list(range(size))
    assert (np.diff(path.times) > 0).all()
    assert path.times[-1] <= 0.5


TWO_WAY = np.array([[-0.6, 0.6], [0.2, -0.2]])


@pytest.fixture(scope="module")
def two_way():
    """Many subjects of a process of two states, seen at regular times, and the most likely rates: their matrix of transitions is that of the counts."""
    rng = np.random.default_rng(0)
    times = [np.linspace(0.0, 4.0, 9) for _ in range(150)]
    data = simulate_panel(rng, TWO_WAY, times, [0.5, 0.5]).data
    return given(
        lg.MarkovJumpProcess(2), {"transition.rates": np.maximum(scipy.linalg.logm(transitions(data, 1) / transitions(data, 1).sum(1, keepdims=True)) / 0.5, 0)}
    ), data


def transitions(data: lg.Sequences, lag: int) -> np.ndarray:
    """Numbers of transitions from row to column over `lag` steps."""
    steps = data.values[..., 0].astype(int)
    counts = np.zeros((2, 2))
    np.add.at(counts, (steps[:, :-lag], steps[:, lag:]), 1)
    return counts


def test_quantities_are_those_of_the_generator_with_intervals_around(two_way):
    fit, data = two_way
    a, b = fit.params["transition.rates"][0, 1], fit.params["transition.rates"][1, 0]
    found = lg.jump_processes.quantities(fit, times=[0.5, 2.0], initial=[1.0, 0.0], data=data, num_draws=300)
    estimate = found.sel(statistic="estimate")
    assert_allclose(estimate["stationary_law"], [b / (a + b), a / (a + b)], rtol=1e-10)
    assert_allclose(estimate["mean_sojourn_time"], [1 / a, 1 / b], rtol=1e-10)
    assert_allclose(estimate["relaxation_time"].values.ravel(), [1 / (a + b)], rtol=1e-10)
    assert_allclose(estimate["first_passage_time"], [[0.0, 1 / a], [1 / b, 0.0]], rtol=1e-10)
    assert_allclose(estimate["jump_probability"], [[0.0, 1.0], [1.0, 0.0]], rtol=1e-12)
    assert_allclose(estimate["current"], np.zeros((2, 2)), atol=1e-12)
    assert_allclose(estimate["entropy_production"], 0.0, atol=1e-12)
    generator = np.array([[-a, a], [b, -b]])
    assert_allclose(estimate["transition_matrix"], [scipy.linalg.expm(generator * t) for t in (0.5, 2.0)], rtol=1e-10)
    spent = [b * t / (a + b) + a * (1 - np.exp(-(a + b) * t)) / (a + b) ** 2 for t in (0.5, 2.0)]
    assert_allclose(estimate["time_in_states"].sel(state=0) if "state" in estimate.coords else estimate["time_in_states"][:, 0], spent, rtol=1e-9)
    for name in ("stationary_law", "mean_sojourn_time", "relaxation_time", "transition_matrix", "time_in_states"):
        assert (found[name].sel(statistic="lower") < estimate[name]).all(), name
        assert (found[name].sel(statistic="upper") > estimate[name]).all(), name
    # A log-rate is known to one over the root of the expected jumps, at best.
    lower, upper = (found["generator"].sel(statistic=which).values[0, 1] for which in ("lower", "upper"))
    jumps = float(fit.model.expected_jumps_and_times(fit.params, data)[0][0, 1])
    assert 1.0 < np.log(upper / lower) / (2 * 1.96 / np.sqrt(jumps)) < 2.0
    assert lower < 0.6 < upper


def test_quantities_over_posterior_draws_where_death_is_certain():
    """As NUTS leaves them: the estimate is the mean over draws, and the interval holds their quantiles."""
    rng = np.random.default_rng(4)
    draws = RATES * rng.gamma(20.0, 1 / 20.0, (2, 60, 3, 3))
    model = lg.MarkovJumpProcess(3, generator=RATES)
    fit = dataclasses.replace(given(model, {"transition.rates": draws.mean((0, 1))}), posterior=Posterior({"transition.rates": draws}))
    found = lg.jump_processes.quantities(fit, level=0.9)
    rates = draws.reshape(-1, 3, 3)
    sojourn = 1 / rates[:, :2].sum(-1)
    for statistic, wanted in zip(("estimate", "lower", "upper"), (sojourn.mean(0), *np.quantile(sojourn, (0.05, 0.95), axis=0)), strict=True):
        assert_allclose(found["mean_sojourn_time"].sel(statistic=statistic)[:2], wanted, rtol=1e-10)
    one = found.sel(statistic="estimate")
    assert_allclose(one["stationary_law"], [0.0, 0.0, 1.0], atol=1e-12)
    assert np.isinf(one["mean_sojourn_time"][2])
    # To death, by (-Q of the living)^-1 1; from death, and to a state that death may keep one from, never.
    generators = rates - np.eye(3) * rates.sum(-1, keepdims=True)
    passage = one["first_passage_time"].values
    assert_allclose(passage[:2, 2], np.linalg.solve(-generators[:, :2, :2], np.ones((len(rates), 2, 1)))[..., 0].mean(0), rtol=1e-9)
    assert np.isinf(passage[[2, 2, 0, 1], [0, 1, 1, 0]]).all()


def test_prevalence_of_two_states_by_hand():
    model = lg.MarkovJumpProcess(2, generator=[(0, 1)])
    fit = given(model, {"transition.rates": np.array([[0.0, 0.5], [0.0, 0.0]])})
    arrays, times = [np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0])], [np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.5])]
    data = lg.Sequences.from_arrays(arrays, times=times)
    found = lg.jump_processes.prevalence(fit, data, [0.0, 1.0, 1.5, 2.0, 5.0])
    # The first is seen well after 1 and ill after 2: in between it is well with its smoothed probability; it stays ill. The second is gone after 1.5.
    between = np.exp(-0.25) * (1 - np.exp(-0.25)) / (1 - np.exp(-0.5))
    assert_allclose(found["observed"], [[2, 0], [2, 0], [1 + between, 1 - between], [0, 1], [0, 1]], atol=1e-12)
    well = np.exp(-0.5 * np.array([0.0, 1.0, 1.5, 2.0, 5.0]))
    number = np.array([2, 2, 2, 1, 1])
    assert_allclose(found["expected"], np.stack([number * well, number * (1 - well)], axis=1), rtol=1e-12)
    assert found["at_risk"].values.tolist() == pytest.approx([2, 2, 2, 1, 1])


def test_chapman_kolmogorov_on_data_with_and_without_memory(two_way):
    fit, data = two_way
    honest = lg.jump_processes.chapman_kolmogorov(fit, data, lags=(1, 2, 4))
    assert_allclose(honest["observed"].sum(("state", "next_state")), honest["expected"].sum(("state", "next_state")), rtol=1e-12)
    counts = transitions(data, 2)
    assert_allclose(honest["observed"].sel(lag=2), counts, atol=1e-9)
    gap = scipy.linalg.expm(np.asarray(fit.model.generator(fit.params)) * 1.0)
    assert_allclose(honest["expected"].sel(lag=2), counts.sum(1, keepdims=True) * gap, rtol=1e-9)
    # Pairs overlap, and the rates are fitted: the root mean square is of order one.
    assert np.sqrt((honest["z"] ** 2).mean()) < 2.5
    # Every label is held for two rows: one step is followed by another of like kind.
    rng = np.random.default_rng(3)
    held = [np.repeat(rng.integers(0, 2, 5), 2)[:9].astype(float) for _ in range(150)]
    memory = lg.Sequences.from_arrays(held, times=[np.linspace(0.0, 4.0, 9)] * 150)
    refit = dataclasses.replace(fit, params={"transition.rates": np.array([[0.0, 1.0], [1.0, 0.0]]) * 0.58})
    suspicious = lg.jump_processes.chapman_kolmogorov(refit, memory, lags=(1, 2, 4))
    assert np.abs(suspicious["z"]).max() > 5
    with pytest.raises(ValueError, match="lags: found 9"):
        lg.jump_processes.chapman_kolmogorov(fit, data, lags=9)


def test_simulated_states_have_the_law_of_the_transition_matrix():
    model = lg.MarkovJumpProcess(3, generator=RATES)
    fit = given(model, {"transition.rates": RATES})
    number = 4000
    times = [np.array([0.0, 0.7, 2.2])] * number
    _, states = fit.simulate([3] * number, 0, times=times, initial=[0.5, 0.5, 0.0])
    states = np.array(states)
    law = np.array([0.5, 0.5, 0.0])
    for step, gap in enumerate((0.0, 0.7, 1.5)):
        matrix = scipy.linalg.expm(GENERATOR * gap)
        law = law @ matrix
        close_to_mean(np.eye(3)[states[:, step]], law)
        if step:
            for state in range(2):
                close_to_mean(np.eye(3)[states[states[:, step - 1] == state, step]], matrix[state])


def test_simulated_inputs_hold_from_their_row_until_the_next():
    """An input that all but stops the process, and lets go of it: the row before a gap decides."""
    generator = lg.generators.LogLinear(num_inputs=1, centre=[0.0])
    effects = np.where(np.eye(2) > 0, 0.0, -40.0)[..., None]
    fit = given(lg.MarkovJumpProcess(2, generator=generator), {"transition.rates": 1.0 - np.eye(2), "transition.effects": effects})
    inputs = [np.array([[1.0], [0.0], [1.0]])] * 2000
    _, states = fit.simulate([3] * 2000, 0, inputs=inputs, times=[np.array([0.0, 1.0, 2.0])] * 2000, initial=[1.0, 0.0])
    states = np.array(states)
    assert (states[:, 1] == 0).all()
    close_to_mean(states[:, 2, None], np.array([0.5 * (1 - np.exp(-2.0))]))


@pytest.mark.parametrize("name", ["log-linear", "phases", "reversible"])
def test_fits_survive_the_disk(name, tmp_path):
    phases = lg.generators.PhaseType([(0, 1), (1, 0)], [2, 1])
    edges = np.triu(np.ones((2, 2)), 1)
    sloped = {"transition.rates": RATES, "transition.effects": np.where(RATES[..., None] > 0, 0.3, 0.0)}
    cases = {
        "log-linear": (lg.MarkovJumpProcess(3, None, lg.generators.LogLinear(RATES, num_inputs=1, ties={0: [1, None, 1, "b"]})), sloped),
        "phases": (
            lg.MarkovJumpProcess(3, lg.emissions.Misclassified(phases.phase_of), phases, initial=[1, 0, 0]),
            {"transition.rates": np.where(phases.mask(3), 0.7, 0.0), "emission.probs": phases.phase_of.astype(float)},
        ),
        "reversible": (
            lg.MarkovJumpProcess(2, None, lg.generators.Reversible(), method="eigendecomposition"),
            {"transition.stationary": np.array([0.3, 0.7]), "transition.exchange": edges},
        ),
    }
    model, params = cases[name]
    data = lg.Sequences.from_arrays([np.array([0.0, 1.0, 1.0])] * 3, inputs=[np.array([[0.0], [2.0], [5.0]])] * 3, times=[np.array([0.0, 0.4, 2.0])] * 3)
    fit = given(model.suited_to(data), params)
    back = lg.Fit.load(fit.save(tmp_path / "fit.nc"))
    assert back.model == fit.model or repr(back.model) == repr(fit.model)
    assert_allclose(back.log_likelihood(data), fit.log_likelihood(data), rtol=1e-14)
    row = [1.0] if name == "log-linear" else None
    assert_allclose(back.model.generator(back.params, row), fit.model.generator(fit.params, row), rtol=1e-14)
