"""How fits of each engine went, and how states follow each other."""

import dataclasses

import numpy as np
import pytest
from matplotlib import pyplot

import latentgate as lg
from latentgate import plotting
from latentgate.inference import Fit, Outcome, RestartRecord
from latentgate.inference.posterior import Posterior


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def fit_with(histories, outcomes):
    records = [RestartRecord({}, np.array(history), np.array(history), outcome) for history, outcome in zip(histories, outcomes, strict=True)]
    best = int(np.argmax([max(history, default=-np.inf) for history in histories]))
    model = lg.HMM(2, lg.emissions.Poisson(2))
    return Fit(model, {}, "EM", 0, outcomes[best], True, records, best)


def sampled(**posterior):
    return dataclasses.replace(fit_with([[-3.0]], [Outcome.CONVERGED]), posterior=Posterior({"rates": np.zeros((2, 5, 1))}, **posterior))


def named(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_trace_is_the_distance_below_the_best():
    fitted = fit_with([[-300.0, -120.0], [-250.0, -110.0, -100.0], [-500.0]], [Outcome.ITERATION_LIMIT, Outcome.CONVERGED, Outcome.UNDERFLOW])
    axes = plotting.em_trace(fitted)
    axes.figure.canvas.draw()
    drawn = [np.asarray(line.get_ydata()).tolist() for line in axes.lines if len(line.get_xdata()) and line.get_label() != "other restarts"]
    assert [-200.0, -20.0] in drawn
    assert [-150.0, -10.0, 0.0] in drawn
    assert [-400.0] in drawn
    assert axes.get_yscale() == "symlog"


def test_a_restart_that_broke_down_at_once_is_left_out():
    axes = plotting.em_trace(fit_with([[-300.0, -120.0], []], [Outcome.CONVERGED, Outcome.NOT_FINITE]))
    axes.figure.canvas.draw()
    assert [len(line.get_xdata()) for line in axes.lines] == [2, 0, 2]


def test_a_bound_is_drawn_with_its_running_mean_and_fills_the_height():
    elbo = np.concatenate([np.linspace(-1e6, -120.0, 20), -100.0 + np.sin(np.arange(380.0))])
    axes = plotting.em_trace(sampled(elbo=elbo))
    axes.figure.canvas.draw()
    lines = named(axes)
    np.testing.assert_allclose(lines["estimate at one iteration"].get_data(), [np.arange(1, 401), elbo])
    mean = lines["mean of 8 iterations"]
    np.testing.assert_allclose(mean.get_ydata()[-1], elbo[-8:].mean())
    assert mean.get_xdata()[-1] == 400
    low, high = axes.get_ylim()
    assert -103 < low < -100 < high < -98
    assert axes.get_ylabel() == "evidence lower bound (nats)"


def test_chains_have_a_line_each_and_divergences_ticks():
    density = np.random.default_rng(0).normal(size=(2, 5))
    diverging = np.zeros((2, 5), bool)
    diverging[1, 3] = True
    axes = plotting.em_trace(sampled(sample_stats={"lp": density, "diverging": diverging}))
    axes.figure.canvas.draw()
    lines = named(axes)
    np.testing.assert_allclose(lines["chain 1"].get_data(), [np.arange(1, 6), density[1]])
    assert lines["divergent"].get_xdata().tolist() == [4]
    assert axes.get_ylabel().endswith("(nats)")


def test_epochs_show_the_bound_and_what_held_out_data_say():
    traces = {"elbo": np.array([-3.0, -2.0, -1.0]), "divergence": np.zeros(3), "held_out": np.array([np.nan, 0.4, 0.3])}
    axes = plotting.em_trace(dataclasses.replace(fit_with([[-3.0]], [Outcome.HELD_OUT_PEAKED]), traces=traces))
    axes.figure.canvas.draw()
    np.testing.assert_allclose(axes.lines[0].get_data(), [[1, 2, 3], traces["elbo"]])
    assert axes.lines[1].get_xdata() == [2, 2]
    (right,) = [other for other in axes.figure.axes if other is not axes]
    np.testing.assert_allclose(right.lines[0].get_ydata(), traces["held_out"])
    without = plotting.em_trace(dataclasses.replace(fit_with([[-3.0]], [Outcome.EPOCH_LIMIT]), traces=traces | {"held_out": np.full(3, np.nan)}))
    assert without.figure.axes == [without]


def test_a_fit_without_a_course_is_refused():
    with pytest.raises(ValueError, match="fit: found no course"):
        plotting.em_trace(fit_with([[]], [Outcome.CONVERGED]))
    with pytest.raises(TypeError, match="fit: found list"):
        plotting.em_trace([1.0])


PROBABILITIES = np.array([[0.98, 0.0196, 0.0004], [0.0, 1.0, 0.0], [0.3, 0.2, 0.5]])


def test_transitions_are_arrows_with_loops_that_say_how_long_a_state_lasts():
    axes = plotting.transition_graph(PROBABILITIES, bin_width=0.05, names=["rest", "gone", "move"])
    axes.figure.canvas.draw()
    assert [text.get_text() for text in axes.texts] == [".020", ".300", ".200", ".980\n2.5 s", "1\n∞", ".500\n0.1 s", "rest", "gone", "move"]
    kinds = [type(patch).__name__ for patch in axes.patches]
    assert (kinds.count("FancyArrowPatch"), kinds.count("Circle"), kinds.count("Rectangle")) == (6, 2, 1)
    assert axes.get_title() == "transition probabilities in 50 ms; at loops the mean stay; below .001 left out"
    nodes = [patch for patch in axes.patches if type(patch).__name__ == "Circle"]
    np.testing.assert_allclose(nodes[1].get_facecolor()[:3], plotting.state_colours(3)[2])


def test_more_transitions_with_a_lower_bar_and_stays_in_steps():
    axes = plotting.transition_graph(PROBABILITIES, smallest=0.0)
    assert [text.get_text() for text in axes.texts[:2]] == [".020", "<.001"]
    assert axes.texts[4].get_text() == ".980\n50 steps"
    assert axes.get_title() == "transition probabilities in a step; at loops the mean stay"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probabilities": PROBABILITIES[:2]}, r"probabilities: found shape \(2, 3\)"),
        ({"probabilities": 2 * PROBABILITIES}, "found rows that sum to .*, expected one; rates belong to generator_graph"),
        ({"probabilities": PROBABILITIES, "names": ["a"]}, "names: found 1, expected 3, one a state"),
        ({"probabilities": PROBABILITIES, "positions": np.zeros((2, 2))}, r"positions: found shape \(2, 2\), expected \(3, 2\)"),
    ],
)
def test_what_is_no_transition_matrix_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        plotting.transition_graph(**arguments)
    assert pyplot.get_fignums() == []


def test_the_label_of_a_lone_edge_stands_outside():
    rates = np.zeros((3, 3))
    rates[0, 1] = rates[1, 2] = rates[2, 0] = 1.0
    middle = np.zeros(2)
    for matrix in (rates, rates.T):
        axes = plotting.generator_graph(matrix)
        nodes = np.array([patch.center for patch in axes.patches if type(patch).__name__ == "Circle" or type(patch).__name__ == "Rectangle"])
        for (i, j), text in zip(np.argwhere(matrix), axes.texts[:3], strict=True):
            line = 0.5 * (nodes[i] + nodes[j]) - middle
            assert np.array(text.get_position()) @ line > line @ line
