"""Published maxima of R's msm: psoriatic arthritis with and without covariates, lung function after a transplantation."""

import os
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

import latentgate as lg

pytestmark = pytest.mark.usefixtures("float64")

PROGRESSIVE = [(0, 1), (1, 2), (2, 3)]
FLAT_RATE, FLAT = dist.ImproperUniform(constraints.positive, (), ()), dist.ImproperUniform(constraints.real, (), ())


def real(name, **options):
    folder = os.environ.get("LATENTGATE_DATA")
    if not folder or not (Path(folder) / f"{name}.csv").is_file():
        pytest.skip(f"{name}.csv is not in the folder that LATENTGATE_DATA names")
    return lg.load(name, download=False, **options)


@eqx.filter_jit
def deviance_and_scores(model, params, data):
    """-2 log-likelihood, and its relative derivatives: zero at the maximum, but for what the digits of the parameters leave."""
    value, slopes = jax.value_and_grad(lambda params: -2 * model.potentials(params, data).log_normaliser().sum())(params)
    return value, {name: slope * params[name] for name, slope in slopes.items()}


def test_psoriatic_arthritis_with_tied_covariates():
    data = real("psor")
    ties = {0: ["all"] * 3, 1: ["early", "early", "late"]}
    generator = lg.generators.LogLinear(PROGRESSIVE, num_inputs=2, ties=ties, prior=FLAT_RATE, effect_prior=FLAT)
    fit = lg.fit(lg.MarkovJumpProcess(4, generator=generator), data, lg.MAP(restarts=1, tolerance=1e-13), seed=0, progress=False)
    assert abs(-2 * fit.log_likelihood_history[-1] - 1114.899461) < 1e-5
    # By scipy; see tests/data/test_jump_recordings.py.
    effects = fit.params["transition.effects"][[0, 1, 2], [1, 2, 3]]
    np.testing.assert_allclose(effects, [[0.49833736, -0.57059105], [0.49833736, -0.57059105], [0.49833736, 0.49521189]], atol=1e-4)


def test_psoriatic_arthritis_without_covariates():
    data = real("psor", covariates=False)
    model = lg.MarkovJumpProcess(4, generator=lg.generators.Free(PROGRESSIVE))
    rates = np.zeros((4, 4))
    rates[[0, 1, 2], [1, 2, 3]] = np.exp([-2.39419682, -1.85049304, -1.34776026])
    deviance, scores = deviance_and_scores(model, {"transition.rates": rates}, model.catalogue(data))
    assert abs(deviance - 1246.015280) < 1e-5
    np.testing.assert_allclose(scores["transition.rates"], 0.0, atol=1e-4)


@pytest.mark.parametrize("acute", [False, True])
def test_lung_function_with_exact_days_of_death(acute):
    """At the maxima that `lg.MAP` finds under flat priors."""
    data = real("fev")
    if acute:
        signal, published = lg.emissions.LinearRegression(1, num_inputs=1, inputs="acute", tied=True, scale=20.0), 51597.890871
        rates = np.array([[0.0, 6.27535048e-04, 7.63087292e-05], [0.0, 0.0, 8.01022575e-04], [0.0] * 3])
        fev = {"weights": [[-8.7918485]], "bias": [[100.28746642], [54.10624603], [70.0]], "covariances": [[261.95415443], [312.45255214], [400.0]]}
    else:
        signal, published = lg.emissions.Gaussian(1, "diagonal", scale=20.0), 51815.812541
        rates = np.array([[0.0, 5.65367998e-04, 7.42861058e-05], [0.0, 0.0, 8.87856224e-04], [0.0] * 3])
        fev = {"means": [[97.35695873], [49.42250018], [70.0]], "covariances": [[295.77876679], [282.85758414], [400.0]]}
    emission = lg.emissions.Product(fev=signal, known=lg.emissions.KnownState(3, censored={3: (0, 1)}))
    model = lg.MarkovJumpProcess(3, emission, lg.generators.Free([(0, 1), (0, 2), (1, 2)]), initial=[1, 0, 0])
    params = {"transition.rates": rates} | {f"emission.fev.{name}": np.array(value) for name, value in fev.items()}
    deviance, scores = deviance_and_scores(model, params, model.catalogue(data))
    assert abs(deviance - published) < 1e-5
    for name, score in scores.items():
        np.testing.assert_allclose(score, 0.0, atol=0.1, err_msg=name)
