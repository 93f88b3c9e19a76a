"""The mixture as a truth, and EM over many data sets beside EM of the library on each."""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import kstest, norm

import latentgate.studies as studies
from latentgate.models.experts import LinearGaussian
from latentgate.models.gates import Softmax
from latentgate.models.mixture_of_experts import MixtureOfExperts
from latentgate.studies.batches import padded, padded_length

PUBLISHED = {
    "gate.weights": [[25.0], [0.0]],
    "gate.bias": [-8.0, 0.0],
    "experts.weights": [[-20.0], [20.0]],
    "experts.bias": [15.0, -5.0],
    "experts.scale": [0.3, 0.4],
}


# Data sets that are fitted together, in all tests alike, so that EM is compiled once.
LANES = 10


def mixture(count=2):
    gate = Softmax(num_inputs=1, weight_scale="flat", bias_scale="flat")
    return MixtureOfExperts(gate=gate, experts=LinearGaussian(count, num_inputs=1, weight_prior="flat", bias_prior="flat", variance_prior="flat"))


def published(design="grid"):
    return studies.MixtureTruth("two lines", mixture(), PUBLISHED, design)


def test_draws_follow_the_published_law(float64):
    keys = jax.random.split(jax.random.key(0), LANES)
    inputs, values = published().draw_many(keys, 1000)
    np.testing.assert_allclose(inputs, np.broadcast_to(np.linspace(0, 1, 1000)[:, None], inputs.shape), atol=1e-12)
    x = inputs[..., 0]
    weight = 1 / (1 + np.exp(-(25 * x - 8)))
    ranks = weight * norm.cdf(values, 15 - 20 * x, 0.3) + (1 - weight) * norm.cdf(values, -5 + 20 * x, 0.4)
    assert kstest(ranks.ravel(), "uniform").pvalue > 0.01
    assert len(np.unique(values[:, 0])) == LANES
    # One by one, and many at once, are the same data.
    one = jax.jit(lambda key: published().draw(key, 1000))(keys[1])
    np.testing.assert_allclose(one[1], values[1], rtol=1e-12)
    density = weight * norm.pdf(values, 15 - 20 * x, 0.3) + (1 - weight) * norm.pdf(values, -5 + 20 * x, 0.4)
    np.testing.assert_allclose(published().log_likelihood(inputs, values), np.log(density).sum(-1), rtol=1e-10)


def test_lengths_are_few_and_little_longer_than_needed():
    lengths = [padded_length(n) for n in range(1, 5000)]
    assert all(n <= length <= max(1.25 * n, n + 8) for n, length in enumerate(lengths, 1))
    assert len(set(lengths[100:])) < 30
    assert padded(np.ones((2, 100, 3))).shape == (2, 112, 3)


def test_fits_from_k_means_starts_are_the_maxima_that_another_optimiser_finds(float64):
    truth = published()
    inputs, values = truth.draw_many(jax.random.split(jax.random.key(2), LANES), 1000)
    estimator = studies.MaximumLikelihood("EM", mixture(), "k-means", restarts=3, tolerance=1e-13)
    found = estimator.fit(jax.random.split(jax.random.key(3), LANES), truth, inputs, values)
    assert np.asarray(found.converged).all()
    x = inputs[0, :, 0]

    def cost(free, y):
        scores = free[0] * x + free[1]
        means, scales = free[2:4, None] * x + free[4:6, None], np.exp(free[6:])
        logs = norm.logpdf(y, means, scales[:, None]) - np.logaddexp(0, np.stack([-scores, scores]))
        return -np.logaddexp(*logs).sum()

    for index in range(3):
        start = np.concatenate([[25.0, -8.0, -20.0, 20.0, 15.0, -5.0], np.log([0.3, 0.4])])
        best = minimize(cost, start, args=(values[index],), method="BFGS", options={"gtol": 1e-5, "maxiter": 2000})
        np.testing.assert_allclose(np.asarray(found.log_likelihood)[index], -best.fun, rtol=1e-9)
        own = {name: np.asarray(value)[index] for name, value in found.params.items()}
        order = np.argsort(own["experts.weights"][:, 0])
        fitted = [np.diff(own["gate.weights"][order[::-1], 0]), np.diff(own["gate.bias"][order[::-1]])]
        fitted += [own["experts.weights"][order, 0], own["experts.bias"][order], np.log(own["experts.scale"][order])]
        np.testing.assert_allclose(np.concatenate(fitted), best.x, rtol=2e-4, atol=2e-5)


def start_of(params):
    """The published truth in the library's gauge."""
    return {name: np.array(value) - (np.mean(value, 0) if name.startswith("gate") else 0) for name, value in params.items()}


def test_start_near_the_truth_is_the_truth_but_for_noise_that_shrinks(float64):
    truth, start = published(), studies.NearTruth()
    quiet = studies.NearTruth(gate=0.0, experts=0.0, scale=0.0)
    params = {name: np.array(value) for name, value in PUBLISHED.items()}
    split = jax.jit(jax.vmap(lambda key: quiet.draw(key, mixture(4), truth, 100.0, params)))(jax.random.split(jax.random.key(4), 20))
    inputs = np.linspace(0, 1, 50)[:, None]
    for index in range(20):
        own = {name: np.asarray(value[index]) for name, value in split.items()}
        weights = softmax(inputs @ own["gate.weights"].T + own["gate.bias"], axis=1)
        first = own["experts.bias"] == 15.0
        assert 0 < first.sum() < 4
        np.testing.assert_allclose(weights[:, first].sum(1), 1 / (1 + np.exp(-(25 * inputs[:, 0] - 8))), rtol=1e-9)
    draw = jax.jit(jax.vmap(lambda key, size: start.draw(key, mixture(), truth, size, params), (0, None)))
    spreads = []
    for size in (100.0, 1e5):
        noisy = draw(jax.random.split(jax.random.key(5), 400), size)
        spreads.append(np.asarray(noisy["experts.bias"]).std(0))
        assert (np.asarray(noisy["experts.scale"]) >= np.array([0.3, 0.4])).all()
    np.testing.assert_allclose(spreads[0], 0.05 * 100**-0.083, rtol=0.12)
    np.testing.assert_allclose(spreads[0] / spreads[1], 1000**0.083, rtol=1e-6)


def test_study_of_the_published_truth(float64):
    def at_the_truth(key, truth, inputs, values):
        return {name: np.asarray(value) for name, value in start_of(PUBLISHED).items()}

    estimators = [studies.MaximumLikelihood("near", mixture()), studies.MaximumLikelihood("at", mixture(), at_the_truth)]
    study = studies.convergence_rates(truth=published(), estimators=estimators, sample_sizes=[900, 1000], replications=LANES, seed=0, losses=["D1", "excess"])
    assert study.results["start"].values.tolist() == ["near-truth", "at_the_truth"]
    # Both starts reach the maximum, so that data and not the start are measured.
    near, at = (study.results.sel(estimator=name) for name in ("near", "at"))
    np.testing.assert_allclose(near.log_likelihood, at.log_likelihood, atol=1e-3)
    assert (study.results.excess > 0).all()
    # Twice the gain is chi-square with eight degrees of freedom; 20 of them have mean 8 and a standard error of 0.9.
    assert abs(float(near.excess.mean()) - 8) < 3
    # The line of Fisher's information, 6.82 / sqrt(n), with a relative standard error of some 0.15.
    np.testing.assert_allclose(float((near.D1 * np.sqrt(study.results["size"])).mean()), 6.82, rtol=0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: studies.MixtureTruth("t", mixture(), {**PUBLISHED, "gate.bias": [0.0]}), r"params\['gate.bias'\]: found shape \(1,\), expected \(2,\)"),
        (lambda: studies.MixtureTruth("t", mixture(), {"gate.bias": [0.0]}), "params: found gate.bias, expected experts.bias"),
        (lambda: studies.MixtureTruth("t", mixture(), PUBLISHED, "square"), "design: found 'square', expected one of 'grid'"),
        (lambda: studies.MixtureTruth("t", mixture(), PUBLISHED, "gate"), "design: found 'gate' with Softmax, expected a gate that models inputs"),
        (lambda: studies.MixtureTruth("t", None, PUBLISHED), "model: found NoneType, expected an lg.MixtureOfExperts"),
        (lambda: studies.MaximumLikelihood("e", mixture(), "far"), "start: found 'far', expected 'near-truth', 'k-means'"),
        (lambda: studies.MaximumLikelihood("e", mixture(), tolerance=-1.0), "tolerance: found -1.0, expected a positive number"),
        (lambda: studies.MaximumLikelihood("e", mixture(1)).check(published()), "'near-truth' for 1 experts, expected at least the 2 of 'two lines'"),
    ],
)
def test_truths_and_estimators_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
