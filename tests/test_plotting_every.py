"""What holds for every picture: it goes where it is told, names its axes, refuses what it cannot draw before it draws, and stands in the gallery."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import latentgate as lg
from latentgate import mixtures, plotting
from latentgate.data.jump_processes import JumpPath
from latentgate.inference import Fit, Outcome, RestartRecord
from latentgate.studies import Study

GALLERY = Path(__file__).parent.parent / "docs" / "gallery.py"
RNG = np.random.default_rng(0)
GRID = np.linspace(-1, 1, 9)
PICTURES = [name for name in plotting.__all__ if name != "state_colours"]


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def mixture():
    """A mixture of two experts with given parameters, as a fit of its rows."""
    x = np.linspace(0, 1, 40)[:, None]
    data = lg.Sequences.from_arrays([np.abs(x - 0.5)], inputs=[x])
    model = lg.MixtureOfExperts(lg.gates.Softmax(num_inputs=1), lg.experts.LinearGaussian(3, num_inputs=1))
    params = {
        "gate.weights": np.array([[-20.0], [20.0], [0.0]]),
        "gate.bias": np.array([10.0, -10.0, -3.0]),
        "experts.weights": np.array([[-1.0], [1.0], [0.2]]),
        "experts.bias": np.array([0.5, -0.5, 0.0]),
        "experts.scale": np.full(3, 0.1),
    }
    return Fit(model, params, "given", 0, Outcome.CONVERGED, True, [RestartRecord(params, np.zeros(1), np.zeros(1), Outcome.CONVERGED)], data=data)


TRIALS = lg.Sequences.from_arrays([np.zeros((length, 2)) for length in (10, 6, 8)], labels={"rewarded": [False, True, True]}, bin_width=0.05)
VISITS = lg.Sequences.from_arrays([np.array([0.0, np.nan, 1.0]), np.array([1.0, 0.0])], times=[[0.0, 1.0, 2.5], [0.0, 4.0]], names=["state"])
ENDED = lg.LangevinOnGrid.sequences([np.zeros((length, 2)) for length in (4, 6, 5)], 0.1)
DIMS = ("truth", "estimator", "size", "replication")
COORDS = {"truth": ["t"], "estimator": ["e"], "size": [100, 10_000], "start": ("estimator", [""])}
STUDY = Study(xr.Dataset({"error": (DIMS, RNG.uniform(0.5, 1.0, (1, 1, 2, 5)))}, COORDS), (100, 10_000))
SHARES = xr.Dataset({name: (("time", "state"), np.ones((3, 2))) for name in ("observed", "expected")}, {"time": [0.0, 1.0, 2.0]})
STEPS = np.where(TRIALS.mask, 0, -1)

# name: how many axes it takes (0 for one that is no list), and the call.
CALLS = {
    "bits_per_spike": (0, lambda fit, **to: plotting.bits_per_spike({"a": 0.1, "b": 0.2}, {"a": [0.1, 0.1], "b": [0.1, 0.3]}, **to)),
    "calibration": (0, lambda fit, **to: plotting.calibration(GRID[5:], GRID[5:], 30, **to)),
    "connection_types": (0, lambda fit, **to: plotting.connection_types(np.full((4, 4, 3), 1 / 3), **to)),
    "convergence_rates": (0, lambda fit, **to: plotting.convergence_rates(STUDY, **to)),
    "coupling": (2, lambda fit, **to: plotting.coupling(RNG.normal(size=(2, 4, 4)), **to)),
    "decoded": (2, lambda fit, **to: plotting.decoded(np.zeros((9, 2)), np.ones((9, 2)), (-np.ones((9, 2)), np.ones((9, 2))), **to)),
    "dendrogram": (0, lambda fit, **to: plotting.dendrogram(mixtures.dendrogram(fit), **to)),
    "em_trace": (0, lambda fit, **to: plotting.em_trace(fit, **to)),
    "expert_fits": (0, lambda fit, **to: plotting.expert_fits(fit, **to)),
    "force_field": (0, lambda fit, **to: plotting.force_field(RNG.normal(size=(5, 2)), np.ones((5, 2)), **to)),
    "gate_weights": (0, lambda fit, **to: plotting.gate_weights(fit, **to)),
    "generator_graph": (0, lambda fit, **to: plotting.generator_graph(np.ones((3, 3)), **to)),
    "inferred_inputs": (0, lambda fit, **to: plotting.inferred_inputs(np.zeros((3, 10, 2)), TRIALS, **to)),
    "jump_paths": (0, lambda fit, **to: plotting.jump_paths([JumpPath(np.zeros(1), np.zeros(1, int), 2.5)], VISITS, **to)),
    "landscape": (0, lambda fit, **to: plotting.landscape(GRID, GRID, GRID**2 + GRID[:, None] ** 2, paths=np.zeros((3, 2)), **to)),
    "latent_trajectories": (3, lambda fit, **to: plotting.latent_trajectories(np.zeros((3, 10, 2)), TRIALS, **to)),
    "occupancy": (0, lambda fit, **to: plotting.occupancy(np.full((3, 2), 0.5), TRIALS.labels["rewarded"], **to)),
    "position_paths": (0, lambda fit, **to: plotting.position_paths(np.zeros((3, 7)), ENDED, **to)),
    "potential": (0, lambda fit, **to: plotting.potential(GRID, GRID**2, (GRID**2 - 1, GRID**2 + 1), absorbing=(True, True), **to)),
    "potential_path": (2, lambda fit, **to: plotting.potential_path(GRID, GRID**2, [GRID, -GRID[:4]], names=["a", "b"], **to)),
    "prevalence": (2, lambda fit, **to: plotting.prevalence(SHARES.assign(at_risk=("time", [2.0, 2.0, 0.0])), **to)),
    "rank_histogram": (0, lambda fit, **to: plotting.rank_histogram(np.arange(100), 99, **to)),
    "reliability": (0, lambda fit, **to: plotting.reliability(np.full((3, 9, 2), 0.5), np.ones((3, 9), int), **to)),
    "smoothed_states": (0, lambda fit, **to: plotting.smoothed_states(np.full((2, 3, 2), 0.5), VISITS, **to)),
    "states_over_time": (0, lambda fit, **to: plotting.states_over_time(STEPS, TRIALS, by="rewarded", **to)),
    "transition_graph": (0, lambda fit, **to: plotting.transition_graph([[0.9, 0.1], [0.2, 0.8]], **to)),
    "transition_matrix": (0, lambda fit, **to: plotting.transition_matrix(np.eye(3), bin_width=0.05, **to)),
    "tuning_curves": (0, lambda fit, **to: plotting.tuning_curves(GRID, np.ones((9, 3)), **to)),
}


def test_every_picture_has_a_row():
    assert sorted(CALLS) == PICTURES


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_where_it_is_told_and_names_its_axes(name, mixture):
    count, call = CALLS[name]
    # Not of pyplot: a figure that a function made by itself would be counted there.
    figure = Figure(figsize=(4 + 3 * count, 4), layout="constrained")
    given = figure.subplots(1, count) if count else figure.subplots()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = call(mixture, ax=given)
        figure.canvas.draw()
    assert pyplot.get_fignums() == []
    assert list(found) == list(given) if count else found is given
    for axes in np.ravel(found):
        assert not axes.axison or axes.get_xlabel() or axes.get_ylabel() or [label.get_text() for label in axes.get_xticklabels()]


@pytest.mark.parametrize("name", PICTURES)
def test_without_axes_a_picture_makes_a_figure_of_its_own(name, mixture):
    count, call = CALLS[name]
    found = call(mixture)
    assert len(pyplot.get_fignums()) == 1
    assert len(found) == count if count else isinstance(found, Axes)


@pytest.mark.parametrize("name", PICTURES)
def test_axes_that_are_none_are_refused(name, mixture):
    count, call = CALLS[name]
    with pytest.raises(TypeError, match="ax: found str, expected one matplotlib axes"):
        call(mixture, ax=["axes"] * count if count else "axes")
    if count:
        with pytest.raises(ValueError, match=f"ax: found {count + 1} axes, expected {count}"):
            call(mixture, ax=pyplot.subplots(1, count + 1)[1])


FIT_FIRST = {
    "coupling": (),
    "connection_types": (),
    "states_over_time": (TRIALS,),
    "smoothed_states": (VISITS,),
    "latent_trajectories": (TRIALS,),
    "inferred_inputs": (TRIALS,),
    "position_paths": (ENDED,),
    "occupancy": (TRIALS.labels["rewarded"],),
    "transition_matrix": (),
    "transition_graph": (),
    "generator_graph": (),
    "reliability": (STEPS,),
}


@pytest.mark.parametrize("name", FIT_FIRST)
def test_a_fit_in_place_of_what_it_holds_is_told_what_to_hand_over(name, mixture):
    with pytest.raises(TypeError, match=r"found a fit, expected (fit\.|latentgate\.|\[state)"):
        getattr(plotting, name)(mixture, *FIT_FIRST[name])
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("name", PICTURES)
def test_what_is_written_about_it_is_whole(name):
    text = inspect.getdoc(getattr(plotting, name))
    assert all(f"\n{part}:" in text for part in ("Args", "Raises", "Example"))


MODULES = [module.name for module in pkgutil.iter_modules(plotting.__path__)]


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module):
    assert doctest.testmod(importlib.import_module(f"latentgate.plotting.{module}")).failed == 0


def test_the_gallery_shows_every_picture_and_stays_small():
    tree = ast.parse(GALLERY.read_text())
    drawn = {node.name: node.end_lineno - node.lineno for node in tree.body if isinstance(node, ast.FunctionDef)}
    files = {path.stem: path.stat().st_size for path in (GALLERY.parent / "images" / "gallery").glob("*.png")}
    assert sorted(files) == PICTURES
    assert all(drawn[name] <= 13 for name in PICTURES)
    assert max(files.values()) < 60_000
    assert sum(files.values()) < 900_000
