"""Standard errors, intervals and flat directions against closed forms, finite differences and simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from numpyro.distributions import biject_to, constraints
from numpyro.distributions.transforms import Transform

import latentgate as lg
from latentgate.inference import coordinates as points
from latentgate.inference import curvature as curvatures
from latentgate.inference import uncertainty
from latentgate.inference.fit import RestartRecord
from latentgate.inference.posterior import Posterior

pytestmark = pytest.mark.usefixtures("float64")

Z = scipy.stats.norm.ppf(0.975)
STEPS = 60
GAUSSIAN = lg.HMM(1, lg.emissions.Gaussian(1, "diagonal", scale=3.0))
# As good as no prior, so that the mode is the maximum of the likelihood.
POISSON = lg.HMM(2, lg.emissions.Poisson(2, prior=dist.Gamma(1.0, 1e-9)))
CHOICES = lg.HMM(1, lg.emissions.BernoulliGLM(2, bias=False, weight_prior=dist.Normal(0.0, 1e6)))
LINEAR = lg.LinearGaussianSSM(
    1, 2, dynamics=lg.dynamics.Linear(bias=False, noise="diagonal"), initial=(0.0, 1.0), matrix=[[1.0], [0.7]], noise_prior=dist.InverseGamma(3.0, 1.0)
)


def point(model, params, data, posterior=None) -> lg.Fit:
    """A fit that no engine made."""
    params = {name: np.asarray(value) for name, value in params.items()}
    record = RestartRecord(params, np.array([-1.0]), np.array([-1.0]), lg.Outcome.CONVERGED)
    return lg.Fit(model, params, "EM()", 0, lg.Outcome.CONVERGED, True, [record], data=data, posterior=posterior)


def normal_fit(values) -> lg.Fit:
    """The maximum of the likelihood of one normal state."""
    single = {"initial.probs": np.ones(1), "transition.probs": np.ones((1, 1))}
    params = single | {"emission.means": values.mean(0)[None], "emission.covariances": values.var(0)[None]}
    return point(GAUSSIAN, params, lg.Sequences.from_arrays([values]))


def counts(seed=0) -> lg.Sequences:
    """One busy neuron and one silent one."""
    return lg.Sequences.from_arrays([np.stack([np.random.default_rng(seed).poisson(3.0, STEPS), np.zeros(STEPS)], 1).astype(float)])


def poisson_params(data, initial, transition) -> dict:
    rates = data.values[0].mean(0)
    return {"initial.probs": np.array(initial), "transition.probs": np.array(transition), "emission.rates": np.stack([rates, rates])}


@pytest.fixture(scope="module")
def normal() -> lg.Fit:
    return normal_fit(np.random.default_rng(1).normal(2.0, 3.0, (STEPS, 1)))


@pytest.fixture(scope="module")
def found(normal):
    with jax.enable_x64(True):
        return normal.uncertainty(of="likelihood")


def test_mean_and_variance_have_their_textbook_standard_errors(normal, found):
    mean, variance = normal.params["emission.means"].item(), normal.params["emission.covariances"].item()
    errors = found.standard_errors()
    assert_allclose(errors["emission.means"], np.sqrt(variance / STEPS), rtol=1e-8)
    assert_allclose(errors["emission.covariances"], variance * np.sqrt(2 / STEPS), rtol=1e-8)
    # Probabilities that cannot be anything but one.
    assert_array_equal(errors["transition.probs"], [[0.0]])
    interval = found.interval()
    assert interval["emission.means"].dims == ("statistic", "state", "feature")
    assert_allclose(interval["emission.means"].sel(statistic=["lower", "upper"]).values.ravel(), mean + np.array([-Z, Z]) * np.sqrt(variance / STEPS))
    # Symmetric in the logarithm of what is positive.
    ends = interval["emission.covariances"].sel(statistic=["lower", "upper"]).values.ravel()
    assert_allclose(ends, variance * np.exp(np.array([-Z, Z]) * np.sqrt(2 / STEPS)))
    assert found.is_maximum
    assert found.distance < 1e-6
    assert not found.flat_directions()
    assert found.covariance().sel(coordinate="emission.means[0, 0]", coordinate_other="emission.means[0, 0]") == pytest.approx(variance / STEPS)


def test_intervals_of_functions_by_the_delta_method(found):
    def signal_to_noise(params):
        return params["emission.means"] / jnp.sqrt(params["emission.covariances"])

    mean, variance = found.params["emission.means"].item(), found.params["emission.covariances"].item()
    interval = found.interval(signal_to_noise)
    ratio = mean / np.sqrt(variance)
    error = np.sqrt((1 + ratio**2 / 2) / STEPS)
    assert_allclose(interval.standard_error, error, rtol=1e-8)
    assert_allclose([interval.lower.item(), interval.upper.item()], ratio + np.array([-Z, Z]) * error, rtol=1e-8)
    several = found.interval(lambda params: {"ratio": signal_to_noise(params)[0], "twice": 2 * params["emission.means"][0, 0]}, level=0.5)
    assert several.ratio.sel(statistic="estimate").item() == pytest.approx(ratio)
    assert several.twice.sel(statistic="standard_error").item() == pytest.approx(2 * np.sqrt(variance / STEPS))
    assert several.attrs["level"] == 0.5


def test_intervals_of_any_python_function_by_draws(found):
    def deviation(params):
        return xr.DataArray(np.sqrt(np.asarray(params["emission.covariances"])), dims=("state", "feature"), coords={"feature": ["voltage"]})

    interval = found.interval(deviation, method="draws", seed=1, num_draws=500)
    assert interval.lower.dims == ("state", "feature")
    assert interval.feature.item() == "voltage"
    variance = found.params["emission.covariances"].item()
    spread = np.sqrt(0.5 / STEPS)
    exact = np.sqrt(variance) * np.exp(np.array([-Z, Z]) * spread)
    # A 2.5 % quantile of 500 draws has a standard error of 0.12 in units of the spread; six of them are passed once in 10⁹.
    assert_allclose(np.log([interval.lower.item(), interval.upper.item()]), np.log(exact), atol=6 * 0.12 * spread)
    assert found.interval(deviation, method="draws", seed=1, num_draws=500).identical(interval)
    compiled = found.interval(lambda params: jnp.sqrt(params["emission.covariances"]), method="draws", seed=1, num_draws=500)
    assert_allclose(compiled.upper.values, interval.upper.values)
    whole = found.interval(method="draws", seed=1, num_draws=500)
    assert_allclose(np.sqrt(whole["emission.covariances"].sel(statistic="upper").values), interval.upper.values, rtol=1e-3)
    assert set(found.draws(3, seed=0)) == set(found.params)


def test_nine_tenths_intervals_cover_nine_times_in_ten():
    rng, covered, replications = np.random.default_rng(7), np.zeros(2, int), 100
    for _ in range(replications):
        interval = normal_fit(rng.normal(2.0, 3.0, (STEPS, 1))).interval(level=0.9, of="likelihood")
        for index, (name, truth) in enumerate((("emission.means", 2.0), ("emission.covariances", 9.0))):
            lower, upper = interval[name].sel(statistic=["lower", "upper"]).values.ravel()
            covered[index] += lower <= truth <= upper
    # Of an honest 90 % interval the count is binomial: outside these bounds in one run of 10 000, for each of the two.
    least, most = scipy.stats.binom.ppf([0.5e-4, 1 - 0.5e-4], replications, 0.9)
    assert ((covered >= least) & (covered <= most)).all()


def test_a_fit_in_single_precision_has_the_same_standard_errors(normal, found):
    single = point(GAUSSIAN, {name: value.astype(np.float32) for name, value in normal.params.items()}, normal.data)
    with jax.enable_x64(False):
        errors = single.uncertainty(of="likelihood").standard_errors()
    for name, value in found.standard_errors().items():
        assert_allclose(errors[name], value, rtol=1e-5)


def logistic_fit(inputs, seed=0) -> lg.Fit:
    """The maximum by Newton's method."""
    choices = (np.random.default_rng(seed).random(len(inputs)) < 1 / (1 + np.exp(-inputs @ [1.0, -0.5]))).astype(float)
    weights = np.zeros(2)
    for _ in range(20):
        probs = 1 / (1 + np.exp(-inputs @ weights))
        weights = weights + np.linalg.pinv((inputs * (probs * (1 - probs))[:, None]).T @ inputs) @ (inputs.T @ (choices - probs))
    params = {"initial.probs": np.ones(1), "transition.probs": np.ones((1, 1)), "emission.weights": weights[None]}
    return point(CHOICES, params, lg.Sequences.from_arrays([choices[:, None]], inputs=[inputs]))


def test_weights_of_a_logistic_regression_have_the_fisher_information():
    inputs = np.random.default_rng(2).normal(size=(200, 2))
    fit = logistic_fit(inputs)
    probs = 1 / (1 + np.exp(-inputs @ fit.params["emission.weights"][0]))
    information = (inputs * (probs * (1 - probs))[:, None]).T @ inputs
    found = fit.uncertainty()
    assert_allclose(found.covariance().values, np.linalg.inv(information), rtol=1e-6)
    assert_allclose(found.standard_errors()["emission.weights"][0], np.sqrt(np.diag(np.linalg.inv(information))), rtol=1e-6)


def test_a_duplicated_input_is_named_and_what_it_leaves_alone_is_not():
    inputs = np.repeat(np.random.default_rng(2).normal(size=(200, 1)), 2, 1)
    found = logistic_fit(inputs).uncertainty()
    (flat,) = found.flat_directions()
    assert set(flat.names) == {"emission.weights[0, 0]", "emission.weights[0, 1]"}
    assert_allclose(flat.loadings, [1.0, -1.0], rtol=1e-6)
    assert abs(flat.curvature) < 1e-8
    assert "not tell apart" in flat.sentence
    assert flat.sentence in found.report()
    assert_array_equal(found.standard_errors()["emission.weights"], np.inf)
    ends = found.interval()["emission.weights"]
    assert_array_equal(ends.sel(statistic="lower"), -np.inf)
    assert_array_equal(ends.sel(statistic="upper"), np.inf)
    # Their sum is determined, whichever way it is asked for.
    weights = found.params["emission.weights"][0]
    probs = 1 / (1 + np.exp(-inputs @ weights))
    error = (np.sum(probs * (1 - probs) * inputs[:, 0] ** 2)) ** -0.5
    total = found.interval(lambda params: params["emission.weights"].sum())
    assert_allclose(total.standard_error, error, rtol=1e-6)
    drawn = found.interval(lambda params: np.array([params["emission.weights"].sum(), params["emission.weights"][0, 1]]), method="draws", num_draws=500)
    # A standard deviation of 500 draws has a relative standard error of 3 %.
    assert_allclose(drawn.standard_error.values, [error, np.inf], rtol=0.2)
    assert_array_equal(drawn.upper.values[1], np.inf)


@pytest.mark.parametrize("visited", [0, 1])
def test_an_unvisited_state_is_flat_and_the_boundary_is_held(visited):
    data, idle = counts(), 1 - visited
    transition = np.full((2, 2), 0.5)
    transition[visited] = np.eye(2)[visited]
    params = poisson_params(data, np.eye(2)[visited], transition)
    found = point(POISSON, params, data).uncertainty()
    rate = params["emission.rates"][0, 0]
    errors = found.standard_errors()
    assert_allclose(errors["emission.rates"][visited, 0], np.sqrt(rate / STEPS), rtol=1e-6)
    assert errors["emission.rates"][idle, 0] == np.inf
    assert_array_equal(errors["emission.rates"][:, 1], np.nan)
    assert_array_equal(errors["initial.probs"], np.nan)
    assert_array_equal(errors["transition.probs"][visited], np.nan)
    assert_array_equal(errors["transition.probs"][idle], np.inf)
    assert sorted(found.at_boundary) == ["emission.rates[0, 1]", "emission.rates[1, 1]", "initial.probs[0]", f"transition.probs[{visited}, 0]"]
    assert sorted(flat.names for flat in found.flat_directions()) == [(f"emission.rates[{idle}, 0]",), (f"transition.probs[{idle}, 0]",)]
    assert "At the boundary" in found.report()
    interval = found.interval()
    assert_allclose(
        interval["emission.rates"].sel(statistic=["lower", "upper"]).values[:, visited, 0], rate * np.exp(np.array([-Z, Z]) / np.sqrt(rate * STEPS)), rtol=1e-6
    )
    assert_array_equal(interval["emission.rates"].sel(statistic=["lower", "upper"]).values[:, idle, 0], [0.0, np.inf])
    # A probability of which nothing is known may be any.
    assert_allclose(interval["transition.probs"].sel(statistic=["lower", "upper"]).values[:, idle, 0], [0.0, 1.0], atol=1e-12)
    drawn = found.draws(5, seed=0)
    assert_array_equal(drawn["emission.rates"][:, :, 1], 0.0)
    assert_array_equal(drawn["emission.rates"][:, idle, 0], rate)


def test_what_a_climb_left_on_its_way_to_the_boundary_is_held_too():
    data = counts()
    params = poisson_params(data, [1.0, 0.0], [[1.0, 0.0], [0.5, 0.5]])
    params["emission.rates"] = np.array([[params["emission.rates"][0, 0], 1e-5], [0.0, 0.0]])
    found = point(POISSON, params, data).uncertainty()
    assert "emission.rates[0, 1]" in found.at_boundary
    errors = found.standard_errors()["emission.rates"]
    assert np.isnan(errors[0, 1])
    assert_allclose(errors[0, 0], np.sqrt(params["emission.rates"][0, 0] / STEPS), rtol=1e-6)
    # Nothing is known of this one, and both ways alike.
    assert [flat.names for flat in found.flat_directions()] == [("transition.probs[1, 0]",)]


def test_a_saddle_is_no_maximum_and_says_what_to_do():
    rng = np.random.default_rng(4)
    values = np.where(np.arange(STEPS) % 20 < 10, rng.poisson(1.0, STEPS), rng.poisson(9.0, STEPS))
    data = lg.Sequences.from_arrays([np.stack([values, np.zeros(STEPS)], 1).astype(float)])
    # Two equal states that mostly stay: the gradient vanishes, and each way apart is up.
    params = poisson_params(data, [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]])
    found = point(POISSON, params, data).uncertainty()
    assert not found.is_maximum
    (upwards,) = found.negative_directions()
    assert set(upwards.names[:2]) == {"emission.rates[0, 0]", "emission.rates[1, 0]"}
    assert upwards.loadings[0] * upwards.loadings[1] < 0
    assert upwards.curvature < 0
    assert "Run more iterations" in found.report()
    assert np.isnan(found.standard_errors()["emission.rates"][:, 0]).all()


def test_the_hessian_of_a_linear_gaussian_model_is_that_of_finite_differences():
    params = {"dynamics.matrix": np.array([[0.8]]), "dynamics.covariance": np.array([0.4]), "emission.covariance": np.array([0.5, 0.3])}
    data = lg.Sequences.from_arrays([np.random.default_rng(5).normal(size=(length, 2)) for length in (30, 20)])
    at = points.coordinates(LINEAR, params)
    found = curvatures.curvature(LINEAR, data, params, at, "posterior")
    assert found.exact
    assert at.names == ("dynamics.covariance[0]", "dynamics.matrix[0, 0]", "emission.covariance[0]", "emission.covariance[1]")

    @jax.jit
    def loss(vector):
        natural = {"dynamics.covariance": jnp.exp(vector[:1]), "dynamics.matrix": vector[1:2, None], "emission.covariance": jnp.exp(vector[2:])}
        return -LINEAR.potentials(natural, data).log_normaliser().sum() - LINEAR.log_prior(natural)

    start = np.array([np.log(0.4), 0.8, *np.log([0.5, 0.3])])
    assert_allclose(at.values, start)
    step, size = 1e-3, len(start)
    numeric = np.empty((size, size))
    for i, j in np.ndindex(size, size):
        a, b = step * np.eye(size)[i], step * np.eye(size)[j]
        numeric[i, j] = (loss(start + a + b) - loss(start + a - b) - loss(start - a + b) + loss(start - a - b)) / (4 * step**2)
    # The error of a central difference is of the order of the step squared.
    assert_allclose(found.hessian, numeric, atol=1e-5 * np.abs(numeric).max())
    assert found.value == pytest.approx(-loss(start))


class FirstOrder(lg.emissions.Poisson):
    """Poisson counts whose second derivatives are lost, as those of Laplace's approximation are."""

    def log_likelihood(self, params, data):
        held = jax.lax.stop_gradient(params["rates"])
        return super().log_likelihood({"rates": held}, data) + (data.values / held - 1.0) @ (params["rates"] - held).T


class Pattern(Transform):
    """One free positive number, and a constant beside it."""

    domain, codomain = constraints.real_vector, constraints.real_matrix

    def __call__(self, x):
        return jnp.stack([jnp.exp(x), jnp.full_like(x, 2.0)], -1)

    def _inverse(self, y):
        return jnp.log(y[..., 0])

    def tree_flatten(self):
        return (), ((), {})


class OnPattern(type(constraints.real_matrix)):
    pass


biject_to.register(OnPattern)(lambda constraint: Pattern())


class PatternPrior(dist.Distribution):
    support = OnPattern()

    def __init__(self):
        super().__init__(event_shape=(1, 2))

    def log_prob(self, value):
        return jnp.zeros(())


class FixedRate(FirstOrder):
    def priors(self, num_states):
        return {"rates": PatternPrior()}


def test_models_known_to_first_order_and_entries_that_the_structure_fixes():
    values = np.random.default_rng(0).poisson([3.0, 2.0], (STEPS, 2)).astype(float)
    rate = values[:, 0].mean()
    params = {"initial.probs": np.ones(1), "transition.probs": np.ones((1, 1)), "emission.rates": np.array([[rate, 2.0]])}
    found = point(lg.HMM(1, FixedRate(2)), params, lg.Sequences.from_arrays([values])).uncertainty()
    assert not found.curvature.exact
    assert "differences of gradients" in found.report()
    assert found.coordinates.names == ("emission.rates[0, 0]",)
    assert_allclose(found.standard_errors()["emission.rates"], [[np.sqrt(rate / STEPS), 0.0]], rtol=1e-6)
    assert_array_equal(found.interval()["emission.rates"].sel(statistic=["lower", "upper"]).values[:, 0, 1], 2.0)
    assert not found.at_boundary


@pytest.fixture
def sampled(normal):
    rng = np.random.default_rng(3)
    draws = {
        "initial.probs": np.ones((2, 300, 1)),
        "transition.probs": np.ones((2, 300, 1, 1)),
        "emission.means": rng.normal(2.0, 0.4, (2, 300, 1, 1)),
        "emission.covariances": rng.gamma(30.0, 0.3, (2, 300, 1, 1)),
    }
    return point(GAUSSIAN, {name: value.mean((0, 1)) for name, value in draws.items()}, None, Posterior(draws))


def test_intervals_of_posterior_draws_are_their_quantiles(sampled):
    means = sampled.posterior.flat()["emission.means"]
    interval = sampled.interval(level=0.8)["emission.means"]
    assert_allclose(interval.sel(statistic=["lower", "upper"]).values.ravel(), np.quantile(means, [0.1, 0.9]))
    assert_allclose(interval.sel(statistic="estimate"), sampled.params["emission.means"])
    squares = sampled.interval(lambda params: np.asarray(params["emission.means"]) ** 2, level=0.8)
    assert_allclose([squares.lower.item(), squares.upper.item()], np.quantile(means**2, [0.1, 0.9]))
    assert_allclose(squares.standard_error, (means**2).std(ddof=1))
    with pytest.raises(ValueError, match="found posterior draws"):
        sampled.uncertainty(counts())


def test_a_loaded_fit_asks_for_its_data(normal, found, tmp_path):
    loaded = lg.Fit.load(normal.save(tmp_path / "fit.nc"))
    with pytest.raises(ValueError, match="pass data="):
        loaded.interval()
    errors = loaded.uncertainty(normal.data, of="likelihood").standard_errors()
    assert_allclose(errors["emission.means"], found.standard_errors()["emission.means"])


def test_bad_arguments_are_named(normal, found, monkeypatch):
    with pytest.raises(ValueError, match="of: found 'prior'"):
        uncertainty(normal, normal.data, "prior")
    with pytest.raises(ValueError, match="method: found 'bootstrap'"):
        found.interval(method="bootstrap")
    with pytest.raises(ValueError, match="level: found 95"):
        found.interval(level=95)
    with pytest.raises(ValueError, match="num_draws: found 1"):
        found.interval(method="draws", num_draws=1)
    with pytest.raises(TypeError, match='pass method="draws"'):
        found.interval(lambda params: np.sqrt(np.asarray(params["emission.means"])))
    with pytest.raises(TypeError, match="real numbers"):
        found.interval(lambda params: np.asarray(["a"]))
    with pytest.raises(KeyError, match="rates"):
        found.interval(lambda params: params["rates"])
    with pytest.raises(ValueError, match="features"):
        normal.uncertainty(counts())
    outside = point(GAUSSIAN, normal.params | {"emission.covariances": np.array([[-1.0]])}, normal.data)
    with pytest.raises(ValueError, match=r"found emission.covariances\[0, 0\] outside the support"):
        outside.uncertainty()
    monkeypatch.setattr(points, "MOST_COORDINATES", 1)
    with pytest.raises(ValueError, match="found 2 unconstrained coordinates"):
        normal.uncertainty()


def test_an_impossible_point_says_so():
    data = counts()
    params = poisson_params(data, [0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]])
    silent = point(POISSON, params | {"emission.rates": np.zeros((2, 2))}, data)
    with pytest.raises(FloatingPointError, match="are these the data"):
        silent.uncertainty()
