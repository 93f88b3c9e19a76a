"""What is read off a mixture of experts, beside closed forms, published numbers, exact sums and counts by hand."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from matplotlib import pyplot
from numpy.testing import assert_allclose

import latentgate as lg
import latentgate.mixtures as mixtures
from latentgate.data.tonedata import read_tones
from latentgate.inference import Outcome, RestartRecord
from latentgate.mixtures.estimators import exact_objective, log_parts_of
from latentgate.plotting import mixtures as pictures

NAMES = ("gate.weights", "gate.bias", "experts.weights", "experts.bias", "experts.scale")
GRID = np.linspace(0.0025, 0.9975, 200)


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def mixture(num_experts, gate=None, **options):
    return lg.MixtureOfExperts(gate=gate or lg.gates.Softmax(num_inputs=1), experts=lg.experts.LinearGaussian(num_experts, num_inputs=1, **options))


def params(*values):
    return {name: np.array(value, float) for name, value in zip(NAMES, values, strict=True)}


def given(model, values, data=None):
    """A fit whose parameters are known, without a run."""
    record = RestartRecord(values, np.zeros(1), np.zeros(1), Outcome.CONVERGED)
    return lg.Fit(model, values, "EM()", 0, Outcome.CONVERGED, True, [record], 0, None, data)


TWO = params([[8.0], [0.0]], [-4.0, 0.0], [[-5.0], [5.0]], [3.0, -2.0], [0.3, 0.4])
# The same in another gauge, with its experts the other way round.
SAME = params([[3.0], [11.0]], [10.0, 6.0], [[5.0], [-5.0]], [-2.0, 3.0], [0.4, 0.3])
# Boundary at 0.3 instead of 0.5.
MOVED = params([[10.0], [0.0]], [-3.0, 0.0], [[-5.0], [5.0]], [3.0, -2.0], [0.3, 0.4])


# Distances


@pytest.mark.parametrize("options", [{}, {"num_draws": 4000}])
def test_hellinger_of_single_normals_is_the_closed_form(options):
    here, there = params([[0.0]], [0.0], [[2.0]], [1.0], [0.5]), params([[0.0]], [0.0], [[3.0]], [1.0], [0.6])
    total = 0.25 + 0.36
    affinity = np.sqrt(2 * 0.5 * 0.6 / total) * np.exp(-(GRID**2) / (4 * total))
    found = mixtures.hellinger((mixture(1), here), (mixture(1), there), GRID, **options)
    assert_allclose(found, np.sqrt(1 - affinity.mean()), rtol=1e-2 if options else 1e-8)
    assert mixtures.hellinger((mixture(1), here), (mixture(1), here), GRID, **options) < 1e-10


def test_hellinger_of_counts_sums_over_their_support():
    model = lg.MixtureOfExperts(gate=lg.gates.Softmax(num_inputs=1), experts=lg.experts.Poisson(1, num_inputs=1))
    here, there = (
        {"gate.weights": np.zeros((1, 1)), "gate.bias": np.zeros(1), "experts.weights": np.zeros((1, 1)), "experts.bias": np.log([m])} for m in (3.0, 5.0)
    )
    expected = np.sqrt(1 - np.exp(-0.5 * (np.sqrt(3) - np.sqrt(5)) ** 2))
    assert_allclose(mixtures.hellinger((model, here), (model, there), GRID[:3], support=np.arange(60.0)), expected, rtol=1e-10)


def test_gate_distances_see_neither_gauge_nor_order():
    truth = (mixture(2), TWO)
    assert mixtures.match_experts((mixture(2), SAME), truth, GRID).tolist() == [1, 0]
    assert mixtures.hellinger((mixture(2), SAME), truth, GRID) < 1e-10
    assert mixtures.gate_error((mixture(2), SAME), truth, GRID) < 1e-12
    assert mixtures.partition_mismatch((mixture(2), SAME), truth, GRID) == 0.0
    moved = given(mixture(2), MOVED, lg.Sequences.from_arrays([np.zeros((200, 1))], inputs=[GRID[:, None]]))
    # The data of the fit say where to compare.
    assert mixtures.partition_mismatch(moved, truth) == 0.2
    first = [1 / (1 + np.exp(4 - 8 * GRID)), 1 / (1 + np.exp(3 - 10 * GRID))]
    assert_allclose(mixtures.gate_error(moved, truth), 2 * np.abs(first[0] - first[1]).mean(), rtol=1e-12)


def test_weights_of_split_experts_are_summed():
    split = params([[8.0], [0.0], [0.0]], [-4.0, np.log(0.3), np.log(0.7)], [[-5.0], [5.0], [5.0]], [3.0, -2.0, -2.0], [0.3, 0.4, 0.4])
    assert mixtures.match_experts((mixture(3), split), (mixture(2), TWO), GRID).tolist() == [0, 1, 1]
    assert mixtures.gate_error((mixture(3), split), (mixture(2), TWO), GRID) < 1e-12


def test_what_is_no_mixture_is_refused():
    with pytest.raises(ValueError, match="other: found Sequences"):
        mixtures.hellinger((mixture(2), TWO), lg.Sequences.from_arrays([np.zeros((2, 1))]), GRID)
    with pytest.raises(ValueError, match="inputs: found None"):
        mixtures.hellinger((mixture(2), TWO), (mixture(2), SAME))
    with pytest.raises(ValueError, match="inputs: found the sets 'other'"):
        mixtures.hellinger((mixture(2), TWO), (mixture(2), SAME), {"other": GRID})


# Numbers of experts


def drawn(values, num_rows, seed):
    """Draws of two lines at inputs on the unit interval, [num_rows, 1] each."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.random(num_rows))
    first = rng.random(num_rows) < 1 / (1 + np.exp(-np.diff(values["gate.weights"][::-1, 0]) * x - np.diff(values["gate.bias"][::-1])))
    expert = np.where(first, 0, 1)
    y = values["experts.weights"][expert, 0] * x + values["experts.bias"][expert] + values["experts.scale"][expert] * rng.normal(size=num_rows)
    return lg.Sequences.from_arrays([y[:, None]], inputs=[x[:, None]])


@pytest.fixture(scope="module")
def lines():
    """Two lines, at the parameters that the data come from."""
    centred = {name: value - value.mean(0) if name.startswith("gate.") else value for name, value in TWO.items()}
    return given(mixture(2), centred, drawn(TWO, 400, 0))


def test_icl_of_the_tones_is_the_published_one():
    folder = os.environ.get("LATENTGATE_DATA")
    if folder is None or not (Path(folder) / "tonedata.csv").exists():
        pytest.skip("LATENTGATE_DATA does not name a folder with tonedata.csv")
    flat = {"weight_prior": "flat", "bias_prior": "flat", "variance_prior": "flat"}
    model = mixture(2, lg.gates.Softmax(weight_scale="flat", bias_scale="flat", num_inputs=1), min_scale=1e-3, **flat)
    data = read_tones(Path(folder) / "tonedata.csv")
    # Of this library's EM from ten k-means starts.
    slopes, lines, scales = [[-0.39591479], [0.39591479]], [[0.0436870757], [0.9956682809]], [0.0470990018, 0.1372797112]
    fit = given(model, params(slopes, [1.338988166, -1.338988166], lines, [1.9132202094, -0.0294913236], scales), data)
    assert_allclose(float(fit.log_likelihood(data).sum()), 142.848014, atol=1e-6)
    assert abs(mixtures.icl(fit, hard=True) - -214.52) < 5e-3
    responsibilities = np.asarray(fit.smooth(data))[0]
    assert_allclose(mixtures.icl(fit), fit.bic(data) - 2 * np.sum(responsibilities * np.log(responsibilities)), rtol=1e-12)


def test_a_single_expert_is_never_in_doubt():
    data = lg.Sequences.from_arrays([np.array([[0.1], [0.3], [np.nan], [2.0]])], inputs=[np.arange(4.0)[:, None]])
    fit = given(mixture(1), params([[0.0]], [0.0], [[0.0]], [0.0], [1.0]), data)
    assert mixtures.icl(fit) == mixtures.icl(fit, hard=True) == fit.bic(data)


def test_merges_are_those_made_by_hand():
    values = params([[1.0], [1.2], [0.0]], [0.0, np.log(3.0), 0.0], [[2.0], [2.5], [-1.0]], [0.0, 0.4, 1.0], [0.5, 0.5, 0.7])
    data = lg.Sequences.from_arrays([np.linspace(-1, 1, 9)[:, None]], inputs=[np.linspace(0, 1, 9)[:, None]])
    tree = mixtures.dendrogram(given(mixture(3), values, data), standardise=False)
    assert tree.members[2].tolist() == [0, 0, 1]
    # Masses 1, 3 and 1, relative to the last expert.
    assert_allclose(tree.levels["height"].values[0], 0.75 * (0.2**2 + 0.4**2 + 0.5), rtol=1e-12)
    merged = tree.params[2]
    assert_allclose(np.diff(merged["gate.weights"][::-1], axis=0), [[0.25 * 1.0 + 0.75 * 1.2]], rtol=1e-12)
    assert_allclose(np.diff(merged["gate.bias"][::-1]), np.log(4.0), rtol=1e-12)
    assert_allclose(merged["experts.weights"][0], 0.25 * 2.0 + 0.75 * 2.5, rtol=1e-12)
    assert_allclose(merged["experts.scale"], [0.5, 0.7], rtol=1e-12)
    assert_allclose(tree.levels["height"].values[1], 0.8 * (1.15**2 + (1.0 - 0.3) ** 2 + np.sqrt(3.375**2 + 0.24**2)), rtol=1e-12)
    found = tree.levels["log_likelihood"].values[1]
    assert_allclose(found, float(given(mixture(2), merged, data).log_likelihood(data).sum()), rtol=1e-12)
    assert_allclose(tree.levels["criterion"].values[1], -(tree.levels["height"].values[1] + np.log(9) / 9 * found), rtol=1e-12)


def test_the_standard_tree_sees_neither_origin_nor_units():
    values = params([[1.0], [3.0], [0.0]], [0.0, 1.0, 0.0], [[2.0], [2.5], [-1.0]], [0.0, 0.4, 1.0], [0.5, 0.6, 0.7])
    x, y = np.linspace(0, 1, 9)[:, None], np.sin(np.arange(9.0))[:, None]
    here = mixtures.dendrogram(given(mixture(3), values, lg.Sequences.from_arrays([y], inputs=[x])))
    # Inputs 10 x - 3, observations 5 y + 1.
    slope, bias = values["experts.weights"] * 5 / 10, 5 * values["experts.bias"] + 1 + values["experts.weights"][:, 0] * 5 / 10 * 3
    moved = params(values["gate.weights"] / 10, values["gate.bias"] + 0.3 * values["gate.weights"][:, 0], slope, bias, 5 * values["experts.scale"])
    there = mixtures.dendrogram(given(mixture(3), moved, lg.Sequences.from_arrays([5 * y + 1], inputs=[10 * x - 3])))
    assert_allclose(there.levels["height"].values, here.levels["height"].values, rtol=1e-10)
    for level in (3, 2, 1):
        assert_allclose(there.params[level]["experts.weights"], here.params[level]["experts.weights"] / 2, rtol=1e-10)
    assert_allclose(here.params[3]["experts.bias"], values["experts.bias"], atol=1e-12)


def test_a_fit_with_twice_the_experts_is_merged_to_the_true_number():
    truth = params([[4.0], [-4.0]], [-2.0, 2.0], [[-2.0], [2.0]], [1.0, -1.0], [0.3, 0.4])
    model = mixture(4, lg.gates.Softmax(num_inputs=1, weight_scale="flat", bias_scale="flat", bound=50.0), min_scale=0.05)

    @jax.jit
    def fitted(params, data):
        return jax.lax.fori_loop(0, 60, lambda _, params: model.m_step(params, data, model.potentials(params, data).smooth()), params)

    chosen = []
    for replication in range(3):
        rng = np.random.default_rng(replication)
        data = drawn(truth, 5000, replication)
        near = {name: np.repeat(value, 2, 0) * np.exp(0.2 * rng.normal(size=(4, *value.shape[1:]))) for name, value in truth.items()}
        near |= {name: near[name] - near[name].mean(0) for name in ("gate.weights", "gate.bias")}
        found = {name: np.asarray(value) for name, value in fitted(near, data).items()}
        chosen.append(mixtures.dendrogram(given(model, found, data)).num_experts)
    assert chosen.count(2) >= 2


# Reading


def test_a_reference_shifts_coefficients_and_standard_errors_are_those_of_differences(lines):
    found = mixtures.with_reference(lines, 1)
    assert found["estimate"].sel(expert=1).values.tolist() == [0.0, 0.0]
    assert found["estimate"].sel(expert=0).values.tolist() == [8.0, -4.0]
    # With rows that sum to zero, the difference of two is twice the first.
    own = lines.uncertainty().standard_errors()
    assert_allclose(found["standard_error"].sel(expert=0).values, 2 * np.array([own["gate.weights"][0, 0], own["gate.bias"][0]]), rtol=1e-6)
    with pytest.raises(ValueError, match="expert: found 2"):
        mixtures.with_reference(lines, 2)


def test_the_table_of_experts_counts_their_rows(lines):
    table = mixtures.expert_table(lines)
    assert_allclose(table["rows"].values, np.asarray(lines.smooth(lines.data))[0].sum(0), rtol=1e-12)
    assert_allclose(table["weights"].sel(statistic="estimate").values, lines.params["experts.weights"])
    assert (np.abs(table["weights"].sel(statistic="estimate").values - [[-5.0], [5.0]]) < 4 * table["weights"].sel(statistic="standard_error").values).all()


def test_the_split_of_a_softmax_is_where_its_log_odds_cross_zero(lines):
    split = mixtures.split_points(lines)
    assert split["point"].values.tolist() == pytest.approx([0.5], rel=1e-12)
    assert (split["left"].values[0], split["right"].values[0]) == (1, 0)
    rows = np.asarray(lines.data.inputs["inputs"])[0, :, 0]
    assert (split["row_before"].values[0], split["row_after"].values[0]) == (rows[rows < 0.5].max(), rows[rows > 0.5].min())
    ratio = lines.interval(lambda p: (p["gate.bias"][1] - p["gate.bias"][0]) / (p["gate.weights"][0, 0] - p["gate.weights"][1, 0]))
    for name in ("standard_error", "lower", "upper"):
        assert_allclose(split[name].values[0], float(ratio[name]), rtol=1e-6)


def test_a_separated_gate_is_known_to_the_gap_between_two_rows():
    x = np.array([0.0, 0.1, 0.2, 0.4, 0.7, 0.8, 0.9])[:, None]
    data = lg.Sequences.from_arrays([np.where(x < 0.5, 1.0, -1.0)], inputs=[x])
    values = params([[-400.0], [400.0]], [220.0, -220.0], [[0.0], [0.0]], [1.0, -1.0], [0.1, 0.1])
    step = mixtures.split_points(given(mixture(2, lg.gates.Softmax(num_inputs=1, weight_scale="flat")), values, data))
    hard = mixtures.split_points(given(mixture(2, lg.gates.TopK(1, num_inputs=1)), values, data))
    for found in (step, hard):
        assert found["separated"].values.tolist() == [True]
        assert (float(found["lower"][0]), float(found["upper"][0])) == (0.4, 0.7)
        assert_allclose(found["point"].values, [0.55], rtol=1e-10)


# Stochastic gates


THREE = params([[1.0], [0.0], [-1.0]], [0.3, -0.2, -0.1], [[0.5], [0.0], [-1.0]], [0.0, 0.8, -0.6], [0.8, 0.6, 1.0])
ROWS = lg.Sequences.from_arrays(
    [np.array([[0.4], [1.1], [-0.7], [0.2], [0.9]]), np.array([[-1.2], [0.3]])],
    inputs=[np.linspace(-1, 1, 5)[:, None], np.array([[0.5], [-0.4]])],
)


@pytest.mark.parametrize("objective", ["expected", "marginal"])
def test_the_exact_gradient_is_that_of_the_objective(objective):
    model, real = mixture(3), np.asarray(ROWS.mask).reshape(-1)
    natural = {name: jnp.asarray(value) for name, value in THREE.items()}
    value, expected = jax.jit(jax.value_and_grad(lambda params: exact_objective(*log_parts_of(model, params, ROWS), jnp.asarray(real), objective)))(natural)
    x, y = np.asarray(ROWS.inputs["inputs"])[ROWS.mask], np.asarray(ROWS.values)[ROWS.mask]
    weights = scipy.special.softmax(x @ THREE["gate.weights"].T + THREE["gate.bias"], -1)
    densities = scipy.stats.norm.pdf(y, x @ THREE["experts.weights"].T + THREE["experts.bias"], THREE["experts.scale"])
    by_hand = (weights * np.log(densities)).sum() if objective == "expected" else np.log((weights * densities).sum(-1)).sum()
    assert_allclose(value, by_hand, rtol=1e-12)
    found = mixtures.Exact().gradient(model, THREE, ROWS, jax.random.key(0), objective=objective)
    assert set(found) == {"gate.weights", "gate.bias"}
    for name, gradient in found.items():
        assert_allclose(gradient, expected[name], rtol=1e-9, atol=1e-12)


def test_estimators_are_as_biased_and_as_variable_as_they_are_said_to_be():
    estimators = {
        "none": mixtures.Reinforce("none"),
        "pooled": mixtures.Reinforce("pooled"),
        "row": mixtures.Reinforce("row"),
        "exact": mixtures.Reinforce("exact"),
        "warm": mixtures.GumbelSoftmax(2.0),
        "cold": mixtures.GumbelSoftmax(0.1),
        "straight": mixtures.StraightThrough(),
    }
    found = mixtures.compare_gradients((mixture(3), THREE), ROWS, estimators, num_samples=4, replications=2500)
    off = np.abs(found["bias"]) / found["standard_error"].where(found["standard_error"] > 1e-12)
    largest, spread = np.abs(found["bias"]).max("coordinate"), found["variance"].sum("coordinate")
    for unbiased in ("none", "pooled", "row", "exact"):
        assert float(off.sel(estimator=unbiased).max()) < 4
    assert float(spread.sel(estimator="exact")) < 0.5 * float(spread.sel(estimator="none"))
    assert float(off.sel(estimator="warm").max()) > 10
    assert float(largest.sel(estimator="cold")) < 0.3 * float(largest.sel(estimator="warm"))
    assert float(spread.sel(estimator="cold")) > 2 * float(spread.sel(estimator="warm"))
    assert float(off.sel(estimator="straight").max()) > 10


def test_the_best_baseline_leaves_two_experts_no_variance():
    values = {name: value[:2] for name, value in THREE.items()}
    # Nor does a straight-through estimator of the likelihood, which is linear in the choice.
    estimators = {"best": mixtures.Reinforce("exact"), "linear": mixtures.StraightThrough()}
    best = mixtures.compare_gradients((mixture(2), values), ROWS, estimators, objective="marginal", replications=20)
    assert float(best["variance"].max()) < 1e-25
    assert float(np.abs(best["bias"]).max()) < 1e-12


def test_a_stochastic_gate_climbs_the_exact_objective():
    x = np.linspace(-1, 1, 80)[:, None]
    data = lg.Sequences.from_arrays([np.where(x < 0, -x, 2 * x) + 0.1 * np.sin(40 * x)], inputs=[x])
    start = (mixture(2), params([[-0.5], [0.5]], [0.0, 0.0], [[-0.5], [1.0]], [0.0, 0.0], [0.5, 0.5]))
    found = mixtures.fit_stochastic(mixture(2), data, mixtures.Reinforce(), seed=0, steps=205, learning_rate=0.05, start=start, record_every=20)
    history = found.history["objective"].values
    assert history.shape == (11,)
    weights = 1 / (1 + np.exp(-np.array([-x, x])))
    residuals = data.values[0] - x @ start[1]["experts.weights"].T
    assert_allclose(history[0], (weights[..., 0].T * scipy.stats.norm.logpdf(residuals, scale=0.5)).sum(), rtol=1e-9)
    assert history[-1] > history[0] + 60
    slope, bias = (np.diff(found.params[name].ravel())[0] for name in ("gate.weights", "gate.bias"))
    assert slope > 5
    assert abs(bias / slope) < 0.1


def test_estimators_say_what_they_cannot_do():
    with pytest.raises(ValueError, match="num_samples: found 1"):
        mixtures.Reinforce("row").gradient(mixture(3), THREE, ROWS, jax.random.key(0))
    with pytest.raises(ValueError, match="temperature: found 0"):
        mixtures.GumbelSoftmax(0.0)
    with pytest.raises(ValueError, match="objective: found 'both'"):
        mixtures.compare_gradients((mixture(3), THREE), ROWS, objective="both")
    apart = params([[0.0], [0.0]], [0.0, 0.0], [[0.0], [0.0]], [0.0, 100.0], [0.1, 0.1])
    with pytest.raises(FloatingPointError, match="not finite"):
        mixtures.fit_stochastic(mixture(2), ROWS, mixtures.StraightThrough(), seed=0, steps=20, start=(mixture(2), apart))


# Pictures


def test_weights_are_drawn_over_the_input(lines):
    axes = pictures.gate_weights(lines)
    axes.figure.canvas.draw()
    curves = [line for line in axes.lines if len(line.get_xdata()) > 300 and line.get_linestyle() == "-"]
    assert_allclose(sum(curve.get_ydata() for curve in curves), 1.0, rtol=1e-12)
    at, weight = curves[0].get_data()
    odds = (lines.params["gate.weights"][0] - lines.params["gate.weights"][1]) * at + lines.params["gate.bias"][0] - lines.params["gate.bias"][1]
    assert_allclose(weight, 1 / (1 + np.exp(-odds)), rtol=1e-10)


def test_points_have_the_colours_of_their_experts(lines):
    axes = pictures.expert_fits(lines)
    axes.figure.canvas.draw()
    points = axes.collections[0]
    colours = lg.plotting.state_colours(2)
    responsibilities = np.asarray(lines.smooth(lines.data))[0]
    assert_allclose(points.get_facecolors()[:, :3], responsibilities @ colours, atol=1e-6)
    dashed = axes.lines[0]
    assert_allclose(dashed.get_ydata(), lines.params["experts.weights"][0, 0] * dashed.get_xdata() + lines.params["experts.bias"][0], rtol=1e-10)
    with pytest.raises(ValueError, match="column: found 1"):
        pictures.expert_fits(lines, column=1)


def test_the_tree_is_cut_where_the_criterion_says():
    values = params([[1.0], [1.2], [0.0]], [0.0, 1.0, 0.0], [[2.0], [2.1], [-9.0]], [0.0, 0.1, 1.0], [0.5, 0.5, 0.7])
    data = lg.Sequences.from_arrays([np.linspace(-1, 1, 9)[:, None]], inputs=[np.linspace(0, 1, 9)[:, None]])
    tree = mixtures.dendrogram(given(mixture(3), values, data), standardise=False)
    axes = pictures.dendrogram(tree)
    axes.figure.canvas.draw()
    heights = np.sqrt(tree.linkage[:, 2])
    assert tree.num_experts == 2
    assert [text.get_text() for text in axes.texts] == ["2", "1", "2 experts"]
    (cut,) = {line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == "--"}
    assert_allclose(cut, heights.mean())
    # Experts that merge first stand side by side, in one colour.
    assert [label.get_text() for label in axes.get_xticklabels()] == ["expert 2", "expert 0", "expert 1"]
    first, second, third = (label.get_color() for label in axes.get_xticklabels())
    assert tuple(second) == tuple(third) != tuple(first)
