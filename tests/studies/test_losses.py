"""Distances of mixtures, each beside its closed form or a count by hand."""

import numpy as np
import pytest

import latentgate.studies as studies
from latentgate.models.experts import LinearGaussian
from latentgate.models.gates import Gaussian, Softmax
from latentgate.models.mixture_of_experts import MixtureOfExperts

NAMES = ("gate.weights", "gate.bias", "experts.weights", "experts.bias", "experts.scale")
POINTS = 200


def mixture(count):
    return MixtureOfExperts(gate=Softmax(num_inputs=1), experts=LinearGaussian(count, num_inputs=1))


def truth_of(*values):
    return studies.MixtureTruth("truth", mixture(len(values[1])), dict(zip(NAMES, map(np.array, values), strict=True)), "uniform")


def compared(truth, count, rows):
    """Distances of several sets of parameters, one after the other in a batch."""
    import jax

    params = {name: np.array([np.asarray(row[index], float) for row in rows]) for index, name in enumerate(NAMES)}
    estimator = studies.MaximumLikelihood("fit", mixture(count))
    inputs, values = truth.draw_many(jax.random.split(jax.random.key(1), len(rows)), 40)
    loss = studies.MixtureComparison(num_inputs=1000, num_densities=POINTS)
    loss.check(truth, estimator)
    estimates = studies.Estimates(params, truth.log_likelihood(inputs, values) + 4.0, None, None)
    return loss.evaluate(truth, estimator, estimates, inputs, values)


def test_hellinger_distance_of_single_normals_is_the_closed_form(float64):
    truth = truth_of([[0.0]], [0.0], [[2.0]], [1.0], [0.5])
    cases = [(2.0, 1.0, 0.5), (2.0, 1.001, 0.5), (2.0, 1.0, 0.501), (3.0, 1.0, 0.6), (2.0, 1.0, 0.05), (3.0, 2.0, 5.0)]
    found = compared(truth, 1, [([[0.0]], [0.0], [[slope]], [bias], [scale]) for slope, bias, scale in cases])["hellinger"]
    x = (np.arange(POINTS) + 0.5) / POINTS
    for index, (value, (slope, bias, scale)) in enumerate(zip(found, cases, strict=True)):
        total = 0.25 + scale**2
        affinity = np.sqrt(scale / total) * np.exp(-(((slope - 2.0) * x + bias - 1.0) ** 2) / (4 * total))
        expected = 1 - affinity.mean()
        assert abs(value**2 - expected) < (1e-10 if index < 3 else 1e-7)


def test_gate_distances_see_neither_gauge_nor_order(float64):
    truth = truth_of([[8.0], [0.0]], [-4.0, 0.0], [[-5.0], [5.0]], [3.0, -2.0], [0.3, 0.4])
    same = ([[3.0], [11.0]], [10.0, 6.0], [[5.0], [-5.0]], [-2.0, 3.0], [0.4, 0.3])
    # The boundary of the truth is at x = 1/2, of the second at x = 0.3; its slopes differ by 2 from each other's difference: 1 each after translation.
    moved = ([[10.0], [0.0]], [-3.0, 0.0], [[-5.0], [5.0]], [3.0, -2.0], [0.3, 0.4])
    found = compared(truth, 2, [same, moved])
    assert found["gate_l1"][0] < 1e-12
    assert found["hellinger"][0] < 1e-6
    assert found["gate_slope_rmse"][0] < 1e-12
    assert found["partition_mismatch"][0] == 0.0
    np.testing.assert_allclose(found["gate_slope_rmse"][1], 1.0, rtol=1e-12)
    np.testing.assert_allclose(found["partition_mismatch"][1], 0.2, atol=2e-3)
    x = np.linspace(0, 1, 100_001)
    difference = 1 / (1 + np.exp(-(8 * x - 4))) - 1 / (1 + np.exp(-(10 * x - 3)))
    np.testing.assert_allclose(found["gate_l1"][1], 2 * np.abs(difference).mean(), rtol=1e-4)
    np.testing.assert_allclose(found["excess"], 8.0, rtol=1e-9)


def test_weights_of_split_experts_are_summed(float64):
    truth = truth_of([[8.0], [0.0]], [-4.0, 0.0], [[-5.0], [5.0]], [3.0, -2.0], [0.3, 0.4])
    split = ([[8.0], [0.0], [0.0]], [-4.0, np.log(0.25), np.log(0.75)], [[-5.0], [5.0], [5.0]], [3.0, -2.0, -2.0], [0.3, 0.4, 0.4])
    broken = ([[np.nan], [0.0], [0.0]], [0.0, 0.0, 0.0], [[-5.0], [5.0], [5.0]], [3.0, -2.0, -2.0], [0.3, 0.4, 0.4])
    found = compared(truth, 3, [split, broken])
    assert found["gate_l1"][0] < 1e-12
    assert found["gate_slope_rmse"][0] < 1e-12
    assert found["hellinger"][0] < 1e-6
    assert all(np.isnan(found[name][1]) for name in ("gate_l1", "gate_slope_rmse", "hellinger", "partition_mismatch"))


def test_voronoi_losses_read_the_parameters_of_the_model():
    truth = truth_of([[8.0], [0.0]], [-4.0, 0.0], [[-5.0], [5.0]], [3.0, -2.0], [0.3, 0.4])
    estimator = studies.MaximumLikelihood("fit", mixture(2))
    rows = {
        "gate.weights": [[[5.0], [-3.0]], [[4.0], [-4.0]]],
        "gate.bias": [[-2.0, 2.0], [-2.0, 2.0]],
        "experts.weights": [[[-5.0], [5.0]], [[-5.0], [5.5]]],
        "experts.bias": [[3.0, -2.0], [3.0, -2.0]],
        "experts.scale": [[0.3, 0.4], [0.3, np.nan]],
    }
    estimates = studies.Estimates({name: np.array(value) for name, value in rows.items()}, None, None, None)
    loss = studies.voronoi.exact()
    loss.check(truth, estimator)
    found = loss.evaluate(truth, estimator, estimates, np.zeros((2, 5, 1)), np.zeros((2, 5)))["D1"]
    assert found[0] < 1e-12
    assert np.isnan(found[1])
    # A single change of 0.1 in the standard deviation of the heavy expert: its mass is one, and the loss is of the variance.
    rows["experts.scale"][1][1] = 0.5
    rows["experts.weights"][1] = [[-5.0], [5.0]]
    estimates = studies.Estimates({name: np.array(value) for name, value in rows.items()}, None, None, None)
    found = loss.evaluate(truth, estimator, estimates, np.zeros((2, 5, 1)), np.zeros((2, 5)))["D1"]
    np.testing.assert_allclose(found[1], 0.5**2 - 0.4**2, rtol=1e-9)


def test_orders_must_be_known_for_the_experts_that_are_too_many():
    truth = truth_of([[8.0], [0.0]], [-4.0, 0.0], [[-5.0], [5.0]], [3.0, -2.0], [0.3, 0.4])
    with pytest.raises(ValueError, match=r"'fit' fits 5 experts to 2, so that a cell may have 4; pass orders"):
        studies.voronoi.over_specified().check(truth, studies.MaximumLikelihood("fit", mixture(5)))


def test_losses_proposed_are_those_of_the_gate():
    two = truth_of([[8.0], [0.0]], [-4.0, 0.0], [[-5.0], [5.0]], [3.0, -2.0], [0.3, 0.4])
    names = {count: [name for loss in studies.MaximumLikelihood("fit", mixture(count)).losses(two) for name in loss.names] for count in (2, 3, 5)}
    beside = ["gate_l1", "gate_slope_rmse", "hellinger", "partition_mismatch", "excess"]
    assert names == {2: ["D1", *beside], 3: ["D1", "D2", *beside], 5: ["D1", *beside]}
    gaussian = MixtureOfExperts(gate=Gaussian(num_inputs=1), experts=LinearGaussian(2, num_inputs=1))
    params = {"gate.probs": [0.4, 0.6], "gate.means": [[0.0], [0.5]], "gate.covariances": [[[0.1]], [[0.2]]]}
    truth = studies.MixtureTruth("type II", gaussian, {**params, **{name: two.params[name] for name in NAMES[2:]}}, "gate")
    loss = studies.MaximumLikelihood("fit", gaussian).losses(truth)[0]
    assert loss.names == ("voronoi",)
    assert [term.atoms for term in loss.form.terms if term.parameters == ("slope",)] == [None, (0,)]
