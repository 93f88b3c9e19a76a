"""Experts given data or arguments that cannot be fitted."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import latentgate as lg
from latentgate.models.emissions.gated_regression import GatedRegression

from .experts_table import sequences

STEPS = np.linspace(-1, 1, 12)
FLAT = {"weight_prior": "flat", "bias_prior": "flat"}


@pytest.mark.parametrize(
    ("experts", "values", "inputs", "message"),
    [
        (lg.experts.LinearGaussian(2, **FLAT), STEPS, [STEPS, np.ones(12)], r"found column 1 of inputs\['inputs'\] \(context\) constant"),
        (lg.experts.StudentT(2, **FLAT), STEPS, [STEPS, 2 - 3 * STEPS], r"column 1 .* a linear combination of the bias and column 0 of .* \(contrast\)"),
        (lg.experts.Polynomial(2, 2, **FLAT), STEPS, [np.sign(STEPS), STEPS], r"column 0 of inputs\['inputs'\] \(contrast\) to the 2 constant"),
        (lg.experts.Poisson(2, **FLAT), np.ones(12), [STEPS, 0 * STEPS], r"\(context\) zero throughout"),
        (lg.experts.LinearGaussian(2, **FLAT, variance_prior="flat"), STEPS[:3], [STEPS[:3], STEPS[:3] ** 2], r"found 3 observed rows, expected at least 4"),
        (lg.experts.Bernoulli(2, **FLAT), [0, 1, np.nan, np.nan], [STEPS[:4], STEPS[:4] ** 2], r"found 2 observed rows, expected at least 3"),
        (lg.experts.Network(2, 2, hidden_prior="flat"), STEPS, [STEPS, np.ones(12)], r"column 1 .* constant, expected columns of full rank"),
        (lg.experts.Network(2, 4, hidden_prior="flat"), STEPS, [STEPS, STEPS**2], r"found 12 observed rows, expected at least 17"),
        (lg.experts.Poisson(2), STEPS, [STEPS, STEPS**2], r"found -1 in sequence 0, step 0, .* counts 0, 1, 2, ... for Poisson experts"),
        (lg.experts.Bernoulli(2), 2 + 0 * STEPS, [STEPS, STEPS**2], r"found 2 in sequence 0, .* expected 0 or 1 for Bernoulli experts"),
        (lg.experts.Multinomial(2, 3), 3 + 0 * STEPS, [STEPS, STEPS**2], r"found 3 in .* integers 0 to 2 for Multinomial experts"),
        (lg.experts.Known(dist.Uniform(-0.5, 0.5)), STEPS, [STEPS, STEPS], r"found \[-1.0\] in .* a value that the known Uniform law allows"),
        (lg.experts.Known(lambda inputs: dist.Normal(inputs, 1.0)), STEPS, [STEPS, STEPS], r"law: found batch shape \(1, 12, 2\)"),
        (lg.experts.Known(lambda inputs: inputs), STEPS, [STEPS, STEPS], r"law: found .*Array.* from the function, expected a distribution"),
        (lg.experts.Several(a=lg.experts.Poisson(2)), STEPS, [STEPS, STEPS**2], r"^a: data: found -1"),
        (lg.experts.LinearGaussian(2, "task"), STEPS, [STEPS, STEPS**2], r"found the sets 'inputs', expected 'task' for LinearGaussian"),
        (lg.experts.Nonlinear(2, lambda own, x: own["a"] * x, {"a": dist.Normal()}), STEPS, [STEPS, STEPS], r"function: found a result of shape \(2,\)"),
        (GatedRegression(lg.gates.Softmax(), lg.experts.LinearGaussian(2, **FLAT)), STEPS, [STEPS, np.ones(12)], r"\(context\) constant"),
    ],
)
def test_data_that_cannot_be_fitted(experts, values, inputs, message):
    data = sequences(values, np.stack(inputs, -1), input_names=["contrast", "context"])
    with pytest.raises(ValueError, match=message):
        experts.check(data)


@pytest.mark.parametrize("experts", [lg.experts.LinearGaussian(2), lg.experts.Poisson(2), lg.experts.Network(2, 1)], ids=lambda experts: type(experts).__name__)
def test_a_constant_column_under_proper_priors_only_warns(experts):
    data = sequences(np.arange(12) % 3, np.stack([STEPS, np.ones(12)], -1))
    with pytest.warns(UserWarning, match=r"column 1 of inputs\['inputs'\] constant, expected one that varies"):
        experts.check(data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lg.experts.Polynomial(2, 0), r"degree: found 0"),
        (lambda: lg.experts.StudentT(2, "some"), r"degrees_of_freedom: found 'some', expected a positive number or \"free\""),
        (lambda: lg.experts.StudentT(2, "free", bounds=(5.0, 1.0)), r"bounds: found \(5.0, 1.0\)"),
        (lambda: lg.experts.StudentT(2, variance_prior=dist.HalfNormal()), r"variance_prior: found .*HalfNormal"),
        (lambda: lg.experts.Multinomial(2, 1), r"num_categories: found 1"),
        (lambda: lg.experts.Network(2, 3, "sigmoid"), r"activation: found 'sigmoid', expected one of 'tanh', 'relu'"),
        (lambda: lg.experts.Network(2, 3, outputs=False, output_prior="flat"), r"output_prior: found one, expected None"),
        (lambda: lg.experts.Nonlinear(2, 3, {"a": dist.Normal()}), r"function: found 3"),
        (lambda: lg.experts.Nonlinear(2, lambda own, x: 0.0, {}), r"priors: found {}"),
        (lambda: lg.experts.Nonlinear(2, lambda own, x: 0.0, {"scale": dist.Normal()}), r"priors: found one of 'scale'"),
        (lambda: lg.experts.OfEmission(2, lg.gates.Softmax()), r"emission: found Softmax"),
        (lambda: lg.experts.OfEmission(2, lg.experts.Poisson(2)), r"emission: found Poisson, which are experts already"),
        (lambda: lg.experts.Known(3.0), r"law: found 3.0"),
        (lambda: lg.experts.Known(dist.Normal(jnp.zeros(3), 1.0)), r"law: found batch shape \(3,\)"),
        (lambda: lg.experts.Known(dist.Normal(), "inputs"), r"inputs: found 'inputs', expected None"),
        (lambda: lg.experts.Several(), r"families: found none"),
        (lambda: lg.experts.Several(a=lg.emissions.Poisson(1)), r"(?s)a: found Poisson.* wrap an emission"),
        (lambda: lg.experts.Several(a=lg.experts.Poisson(1), b=lg.experts.OfEmission(1, lg.emissions.Gaussian(2))), r"b: found experts of 2 features"),
        (lambda: lg.experts.Several(a=lg.experts.Poisson(1, num_inputs=2), b=lg.experts.Bernoulli(1, num_inputs=3)), r"b: found 3 columns of the input set"),
        (lambda: lg.experts.Poisson(2).priors(2), r"num_inputs: found None"),
        (lambda: GatedRegression(lg.gates.Softmax(), lg.experts.Poisson(2)), r"(?s)experts: found Poisson.*, expected experts with means"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
