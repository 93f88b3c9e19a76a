"""Bad input of jump processes is refused before anything is compiled, and says where and what; units of inputs do not matter."""

from __future__ import annotations

import dataclasses
import warnings

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
from numpy.testing import assert_allclose

import latentgate as lg
from latentgate.data.jump_processes import simulate_panel

pytestmark = pytest.mark.usefixtures("float64")

PROGRESSIVE = [(0, 1), (1, 2)]
generators = lg.generators


def sequences(*states, arrival=None, groups=None, gap=1.0):
    times = [gap * np.arange(len(row)) for row in states]
    inputs = None if arrival is None else {"arrival": [np.array(kinds, float)[:, None] for kinds in arrival]}
    return lg.Sequences.from_arrays([np.array(row, float) for row in states], inputs=inputs, times=times, groups=groups)


PROCESS = lg.MarkovJumpProcess(3, generator=PROGRESSIVE)


def refused(model, data, match):
    with pytest.raises(ValueError, match=match):
        lg.fit(model, data, lg.EM(), seed=0)


def test_times_out_of_order_or_equal():
    for times in ([0.0, 2.0, 1.0], [0.0, 1.0, 1.0]):
        with pytest.raises(ValueError, match=r"sequence 1.*times|times.*sequence 1"):
            lg.Sequences.from_arrays([np.zeros(3), np.zeros(3)], times=[np.arange(3.0), np.array(times)])


def test_no_times_and_no_gap():
    refused(PROCESS, lg.Sequences.from_arrays([np.zeros(3)]), "data: found no times")
    refused(PROCESS, sequences([0], [1]), "data: found sequences of one row each")


def test_a_state_outside_the_graph():
    refused(PROCESS, sequences([0, 1], [0, 3]), "data: found 3 in sequence 1, step 1, expected a state 0 to 2")
    refused(PROCESS, sequences([0, 0.5]), "data: found 0.5")
    refused(PROCESS, sequences([0, -1]), "data: found -1")


def test_impossible_transitions_are_named_by_subject_and_row():
    refused(PROCESS, sequences([0, 1, 2], [0, 2, np.nan, 1], groups=["anna", "berta"]), r"row 3 of sequence 1 \(subject berta\).*at time 3")
    # Two jumps where one was watched; a stay where an entry was seen; an entry from where no edge leads.
    refused(PROCESS, sequences([0, 2], arrival=[[0, 2]]), "row 1 of sequence 0.*watched")
    refused(PROCESS, sequences([0, 0], arrival=[[0, 1]]), "row 1 of sequence 0.*entered at that moment")
    refused(lg.MarkovJumpProcess(3, generator=PROGRESSIVE, initial=[0.0, 1.0, 0.0]), sequences([1, 2], [0, 1]), "first row of sequence 1")
    # Possible: through unseen states, and an entry after unseen ones.
    PROCESS.check(sequences([0, np.nan, 2], [0, 2, 2], arrival=[[0, 0, 1], [0, 1, 0]]))
    # A set that only together with what came before is impossible.
    hidden = lg.MarkovJumpProcess(3, lg.emissions.KnownState(3, censored={3: (0, 1)}), PROGRESSIVE)
    refused(hidden, sequences([0, 2, 3]), "row 2 of sequence 0.*found states 0, 1|found states 0, 1 in row 2 of sequence 0")
    # Labels that no state on the way can give.
    allowed = np.array([[True, False], [True, True], [False, True]])
    read = lg.MarkovJumpProcess(3, lg.emissions.Misclassified(allowed), PROGRESSIVE, initial=[1.0, 0.0, 0.0])
    refused(read, sequences([1, 0]), "first row of sequence 0")


def test_states_without_exposure_are_warned_of():
    unreachable = lg.MarkovJumpProcess(3, generator=[(0, 1), (1, 0), (2, 0)])
    with pytest.warns(UserWarning, match="no time can have been spent in state 2"):
        unreachable.check(sequences([0, 1, 0]))
    # The graph leads to state 1, but what was seen later does not let anyone have been there.
    with pytest.warns(UserWarning, match="no time can have been spent in state 1"):
        PROCESS.check(sequences([0, 0, 0], [2, 2]))
    # A watched stay is in its own state alone.
    with pytest.warns(UserWarning, match="no time can have been spent in state 1"):
        lg.MarkovJumpProcess(2, generator=[(0, 1), (1, 0)]).check(sequences([0, 0, 1], arrival=[[0, 2, 2]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PROCESS.check(sequences([0, 1, 2]))
        PROCESS.check(sequences([0, 2]))
        # State 2 has no rates to be learned.
        PROCESS.check(sequences([0, 1, 1]))


def test_rates_without_exposure_stay_finite():
    """Nobody can have been in state 1, so that its rate is that of its prior."""
    model = lg.MarkovJumpProcess(3, generator=generators.Free(PROGRESSIVE, dist.Gamma(2.0, 4.0)))
    with pytest.warns(UserWarning, match="no time"):
        fit = lg.fit(model, sequences([0, 0, 0], [2, 2]), lg.EM(restarts=1), seed=0, progress=False)
    assert_allclose(fit.params["transition.rates"][1, 2], 1.0 / 4.0, rtol=1e-6)
    assert_allclose(fit.params["transition.rates"][0, 1], 1.0 / (4.0 + 2.0), rtol=1e-6)


def test_arrivals():
    for kinds in ([0, 3], [0, 0.5], [0, -1]):
        refused(PROCESS, sequences([0, 1], arrival=[kinds]), r"inputs\['arrival'\]: found")
    wide = lg.Sequences.from_arrays([np.zeros(2)], inputs={"arrival": [np.zeros((2, 2))]}, times=[np.arange(2.0)])
    refused(PROCESS, wide, r"inputs\['arrival'\]: found shape")


@pytest.mark.parametrize(
    ("graph", "match"),
    [
        ([(0, 0), (0, 1), (1, 2)], "edge from state 0 to itself"),
        ([(0, -1), (1, 0), (1, 2)], "expected pairs"),
        ([(0, 1.5), (1, 0), (1, 2)], "expected pairs"),
        ([(0, 1), (1, 5)], "graph: found an edge of state 5, expected states 0 to 2"),
        (np.ones((4, 4)), "graph: found"),
        (np.zeros((3, 3)), "graph: found no edge"),
        (np.ones((3, 2, 2)), "graph: found"),
        ("progressive", "graph: found"),
        ([(0, 1, 2), (1, 2, 0)], "graph: found"),
        (7, "graph: found"),
    ],
)
def test_graphs(graph, match):
    with pytest.raises(ValueError, match=match):
        lg.MarkovJumpProcess(3, generator=graph)


def test_graphs_of_two_pairs_are_pairs_and_not_a_matrix():
    for graph in ([(0, 1), (1, 0)], np.array([[0, 1], [1, 0]], bool), [(1, 0), (0, 1)], {(0, 1): 1, (1, 0): 1}):
        assert generators.Free(graph).mask(2).tolist() == [[False, True], [True, False]]
    assert generators.Free([(0, 1), (0, 2)]).mask(3).tolist() == [[False, True, True], [False] * 3, [False] * 3]
    assert generators.Free([(0, 1)]).mask(2).tolist() == [[False, True], [False, False]]
    # A matrix of rates gives its edges, whatever its diagonal.
    assert generators.Free(np.array([[-1.0, 1.0], [0.0, 0.0]])).mask(2).tolist() == [[False, True], [False, False]]
    assert generators.Free(np.array([(0, 1), (1, 2), (2, 0)])).mask(3).sum() == 3


def test_ties_and_effects():
    def sloped(**options):
        return lg.MarkovJumpProcess(3, generator=generators.LogLinear(PROGRESSIVE, num_inputs=2, **options)).priors()

    with pytest.raises(ValueError, match="ties: found the column 2, expected 0 to 1"):
        sloped(ties={2: [1, 1]})
    with pytest.raises(ValueError, match=r"ties\[0\]: found 3 labels, expected one for each of the 2 edges"):
        sloped(ties={0: [1, 1, 1]})
    with pytest.raises(ValueError, match="centre: found 1 numbers, expected 2"):
        sloped(centre=[0.0])
    with pytest.raises(ValueError, match="effect_prior: found"):
        sloped(effect_prior=1.0)
    with pytest.raises(ValueError, match="num_inputs: found 0"):
        generators.LogLinear(PROGRESSIVE, num_inputs=0)
    with pytest.raises(ValueError, match="num_inputs: found -1"):
        generators.Parametric(lambda params: params["a"], {"a": dist.Normal()}, num_inputs=-1)
    model = lg.MarkovJumpProcess(3, generator=generators.LogLinear(PROGRESSIVE, num_inputs=2))
    refused(model, sequences([0, 1]), "inputs")


def test_methods_and_generators():
    with pytest.raises(ValueError, match="method: found 'eigendecomposition' with Free"):
        lg.MarkovJumpProcess(3, method="eigendecomposition")
    with pytest.raises(ValueError, match="method: found 'pade'"):
        lg.MarkovJumpProcess(3, method="pade")
    with pytest.raises(ValueError, match=r"graph: found the edge \(0, 1\) without its reverse"):
        generators.Reversible(PROGRESSIVE)
    with pytest.raises(ValueError, match="generator: found"):
        lg.transitions.Jump(PROGRESSIVE)
    with pytest.raises(ValueError, match="time_scale: found 0"):
        generators.Free(time_scale=0)
    for number, mean, name in ((0.0, 1.0, "number"), (1.0, -1.0, "mean_rate")):
        with pytest.raises(ValueError, match=name):
            generators.pseudo_jumps(number, mean)
    with pytest.raises(ValueError, match="phases: found 0"):
        generators.PhaseType([(0, 1)], [1, 0])
    with pytest.raises(ValueError, match="graph: found an edge of state 2"):
        generators.PhaseType([(0, 2)], [1, 2])


def test_numbers_of_states():
    with pytest.raises(ValueError, match="num_states: found 1, expected at least 2"):
        lg.MarkovJumpProcess(1)
    with pytest.raises(ValueError, match="found 2 for KnownState, expected 3"):
        lg.MarkovJumpProcess(3, lg.emissions.KnownState(2))
    with pytest.raises(ValueError, match="allowed: found 2 rows, expected 3"):
        lg.MarkovJumpProcess(3, lg.emissions.Misclassified(2))
    with pytest.raises(ValueError, match="initial: found"):
        lg.MarkovJumpProcess(3, initial=[0.5, 0.5])


def test_numbers_of_groups():
    model = lg.MarkovJumpProcess(2, generator=generators.PerGroup(None, num_groups=2))
    for number in (2.0, -1.0, 0.5):
        data = lg.Sequences.from_arrays([np.array([0.0, 1.0])] * 2, inputs={"group": [np.full((2, 1), number)] * 2}, times=[np.arange(2.0)] * 2)
        refused(model, data, r"inputs\['group'\]: found")


def test_questions_about_the_generator():
    with pytest.raises(ValueError, match="inputs: found 1 columns, expected 0"):
        PROCESS.generator({"transition.rates": np.ones((3, 3))}, [1.0])
    with pytest.raises(ValueError, match='initial: found "given"'):
        PROCESS.simulate(jax.random.key(0), {"transition.rates": np.ones((3, 3))}, [2], times=[np.arange(2.0)])


UNITS = np.array([1e6, 1e-6])


@pytest.fixture(scope="module")
def effects_panel():
    """Two inputs that act on the rates of two states, and the maximum of the log-joint by scipy, in units of order one."""
    rng = np.random.default_rng(0)
    rows = [np.repeat(rng.choice([-1.0, 1.0], (1, 2)) + np.array([1.0, -2.0]), 4, axis=0) for _ in range(60)]

    def generator(row):
        rates = np.array([[0.0, 0.5], [0.4, 0.0]]) * np.exp([[0.0, 0.6 * (row[0] - 1)], [-0.4 * (row[1] + 2), 0.0]])
        return rates - np.diag(rates.sum(1))

    data = simulate_panel(1, generator, [np.arange(4.0)] * 60, 0, covariates=rows).data
    inputs, states = data.inputs["inputs"][:, :-1].reshape(-1, 2), data.values[..., 0].astype(int)
    centre, deviation = inputs.mean(0), inputs.std(0)
    before, after = states[:, :-1].ravel(), states[:, 1:].ravel()

    def loss(vector):
        up, down = np.exp(vector[:2, None] + vector[2:].reshape(2, 2) @ (inputs - centre).T)
        moved = np.where(before == 0, up, down) / (up + down) * -np.expm1(-up - down)
        prior = -1e-3 * np.exp(vector[:2]).sum() - 0.5 * (vector[2:].reshape(2, 2) ** 2 * (deviation / 2) ** 2).sum()
        return -np.log(np.where(before == after, 1 - moved, moved)).sum() - prior

    best = scipy.optimize.minimize(loss, np.zeros(6), options={"gtol": 1e-8}).x
    return dataclasses.replace(data, inputs={"inputs": data.inputs["inputs"] * UNITS}), np.exp(best[:2]), best[2:].reshape(2, 2)


@pytest.mark.parametrize("engine", [lg.MAP(restarts=1, tolerance=1e-12), lg.EM(restarts=1, tolerance=1e-12)], ids=["MAP", "EM"])
def test_units_of_inputs_do_not_matter(engine, effects_panel):
    data, rates, effects = effects_panel
    fit = lg.fit(lg.MarkovJumpProcess(2, generator=generators.LogLinear(num_inputs=2)), data, engine, seed=0, progress=False)
    assert fit.converged
    assert_allclose(fit.params["transition.rates"][[0, 1], [1, 0]], rates, rtol=1e-4)
    assert_allclose(fit.params["transition.effects"][[0, 1], [1, 0]] * UNITS, effects, rtol=1e-4, atol=1e-4)
    assert np.abs(effects).max() > 0.2
