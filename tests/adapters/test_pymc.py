"""PyMC gets latentgate's numbers, and its samplers latentgate's posterior."""

import importlib
import os
import subprocess
import sys

import arviz
import cloudpickle
import jax
import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from numpyro import distributions as dist
from pytensor.compile.mode import Mode

import latentgate as lg
from latentgate.adapters.pymc import _KNOWN, log_likelihood, pymc_model, random_variables

PLAIN = Mode(linker="py", optimizer="fast_compile")
pytestmark = pytest.mark.filterwarnings("ignore:.*object mode:UserWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True, scope="module")
def unchanged_process():
    """PyTensor's JAX linker turns on 64-bit types, and PyMC's a hundred host devices, for the whole process."""
    double, flags = jax.config.jax_enable_x64, os.environ.get("XLA_FLAGS")
    yield
    jax.config.update("jax_enable_x64", double)
    if flags is None:
        os.environ.pop("XLA_FLAGS", None)
    else:
        os.environ["XLA_FLAGS"] = flags


def with_missing(rng):
    array = rng.normal(size=(12, 2))
    array[3, 0] = np.nan
    return array


def models():
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(length, 2)) for length in (12, 8)]
    choices = [rng.integers(0, 2, (length, 1)).astype(float) for length in (12, 8)]
    counts = [rng.poisson(2.0, (length, 2)).astype(float) for length in (12, 8)]
    history = lg.emissions.PoissonGLM(2, history=lg.basis.RaisedCosine(2, window=4), coupling=lg.priors.Ridge(0.5))
    return {
        "glm-hmm, gated": (lg.HMM(2, lg.emissions.BernoulliGLM(2), lg.transitions.Gated(2)), lg.Sequences.from_arrays(choices, inputs=inputs)),
        "poisson glm": (lg.HMM(2, history), lg.Sequences.from_arrays(counts)),
        "gaussian, missing": (lg.HMM(3, lg.emissions.Gaussian(2), semiring="log"), lg.Sequences.from_arrays([with_missing(rng)])),
    }


def expected(model, data, params):
    with jax.enable_x64(True):
        arrays = {name: jax.numpy.asarray(value) for name, value in params.items()}
        values = model.log_likelihood(arrays, data)
        gradient = jax.grad(lambda params: model.log_likelihood(params, data).sum())(arrays)
        return np.asarray(values), {name: np.asarray(value) for name, value in gradient.items()}


def starting(model, data):
    with jax.enable_x64(True):
        return {name: np.asarray(value) for name, value in model.initialize(jax.random.key(1), data).items()}


@pytest.mark.parametrize(("name", "mode"), [("glm-hmm, gated", None), ("poisson glm", PLAIN), ("gaussian, missing", PLAIN)])
def test_value_and_gradient_are_latentgates_in_double_precision(name, mode):
    model, data = models()[name]
    params = starting(model, data)
    values, gradient = expected(model, data, params)
    variables = {name: pt.tensor(name, shape=(None,) * value.ndim, dtype="float64") for name, value in params.items()}
    total = log_likelihood(model, data, variables)
    compiled = pytensor.function(list(variables.values()), [total, *pt.grad(total, list(variables.values()))], mode=mode)
    # JAX's own precision is what a user finds.
    with jax.enable_x64(False):
        found, *slopes = compiled(*params.values())
    np.testing.assert_allclose(found, values.sum(), rtol=1e-12)
    for slope, name in zip(slopes, variables, strict=True):
        np.testing.assert_allclose(slope, gradient[name], rtol=1e-10, atol=1e-10)


def test_pointwise_and_second_derivatives():
    model, data = models()["glm-hmm, gated"]
    params = starting(model, data)
    values, gradient = expected(model, data, params)
    weights = pt.tensor("weights", shape=(2, 2), dtype="float64")
    pointwise = log_likelihood(model, data, params | {"emission.weights": weights}, pointwise=True)
    total = log_likelihood(model, data, params | {"emission.weights": weights})
    slope = pt.grad(total, weights)
    curvature = pt.grad(slope[0, 1], weights)
    outputs = [pointwise, pt.grad(pointwise.sum(), weights), slope, curvature]
    compiled = pytensor.function([weights], outputs, mode=PLAIN)
    with jax.enable_x64(False):
        found, of_sum, _, second = compiled(params["emission.weights"])
        step = np.zeros((2, 2))
        step[1, 0] = 1e-5
        above, below = (compiled(params["emission.weights"] + sign * step)[2] for sign in (1, -1))
    np.testing.assert_allclose(found, values, rtol=1e-12)
    np.testing.assert_allclose(of_sum, gradient["emission.weights"], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(second[1, 0], (above - below)[0, 1] / 2e-5, rtol=1e-6, atol=1e-8)


def test_single_precision_of_pytensor_rounds_the_result_only():
    model, data = models()["glm-hmm, gated"]
    params = {name: value.astype(np.float32) for name, value in starting(model, data).items()}
    values, _ = expected(model, data, {name: value.astype(float) for name, value in params.items()})
    with pytensor.config.change_flags(floatX="float32"):
        total = log_likelihood(model, data, params)
        assert total.dtype == "float32"
        assert pytensor.function([], total, mode=PLAIN)() == np.float32(values.sum())


def test_lost_precision_and_forks_are_refused(monkeypatch):
    model, data = models()["glm-hmm, gated"]
    node = log_likelihood(model, data, starting(model, data)).owner
    with jax.enable_x64(False), pytest.raises(ValueError, match="jax_enable_x64: found False"):
        node.op.perform_jax(*starting(model, data).values())
    monkeypatch.setattr("latentgate.adapters.pymc.os.getpid", lambda: -1)
    with pytest.raises(RuntimeError, match=r"forked this process.*cores=1"):
        pytensor.function([], node.outputs[0], mode=PLAIN)()


def test_wrong_parameters_are_named():
    model, data = models()["glm-hmm, gated"]
    params = starting(model, data)
    with pytest.raises(ValueError, match=r"params: found no 'emission.bias', expected exactly"):
        log_likelihood(model, data, {name: value for name, value in params.items() if name != "emission.bias"})
    with pytest.raises(ValueError, match="an unknown name 'rates'"):
        log_likelihood(model, data, params | {"rates": 1.0})
    with pytest.raises(ValueError, match=r"params\['emission.bias'\]: found 0 dimensions, expected 1: \[state\]"):
        log_likelihood(model, data, params | {"emission.bias": 1.0})
    with pytest.raises(TypeError, match="model: found dict"):
        log_likelihood({}, data, params)
    with pytest.raises(ValueError, match="inputs: found the sets none"):
        log_likelihood(model, lg.Sequences.from_arrays(data.to_list()), params)


PRIORS = {
    dist.Beta: dist.Beta(1.5, 2.5),
    dist.Cauchy: dist.Cauchy(0.5, 2.0),
    dist.Dirichlet: dist.Dirichlet(np.array([0.5, 1.0, 2.0])),
    dist.Exponential: dist.Exponential(3.0),
    dist.Gamma: dist.Gamma(2.0, 0.3),
    dist.Gumbel: dist.Gumbel(0.3, 2.0),
    dist.HalfCauchy: dist.HalfCauchy(2.0),
    dist.HalfNormal: dist.HalfNormal(2.0),
    dist.InverseGamma: dist.InverseGamma(2.0, 0.3),
    dist.Laplace: dist.Laplace(0.5, 2.0),
    dist.Logistic: dist.Logistic(0.5, 2.0),
    dist.LogNormal: dist.LogNormal(0.5, 2.0),
    dist.Normal: dist.Normal(0.5, 2.0),
    dist.StudentT: dist.StudentT(3.0, 0.5, 2.0),
    dist.Uniform: dist.Uniform(-1.0, 2.0),
    dist.Weibull: dist.Weibull(scale=2.0, concentration=1.5),
}


class OnePrior(lg.HMM):
    """A model with one parameter, whose prior is given."""

    prior: dist.Distribution

    def __init__(self, prior):
        super().__init__(1, lg.emissions.Poisson(1))
        self.prior = prior

    def priors(self):
        return {"parameter": self.prior}


def test_every_known_prior_is_the_same_law():
    found, wanted = [], []
    with jax.enable_x64(True):
        for kind, base in PRIORS.items():
            # Expanded and turned into an event, as models make them.
            prior = base.expand((2, 3)).to_event(2)
            value = np.broadcast_to([0.2, 0.3, 0.5], (2, 3, 3)) if kind is dist.Dirichlet else np.linspace(0.1, 0.9, 6).reshape(2, 3)
            wanted.append(prior.log_prob(value))
            with pm.Model():
                variable = random_variables(OnePrior(prior))["parameter"]
                assert tuple(variable.type.shape) == prior.shape()
                found.append(pm.logp(variable, value).sum())
    np.testing.assert_allclose(pytensor.function([], found, mode=PLAIN)(), wanted, rtol=1e-6)


def test_every_entry_of_the_table_is_tested():
    assert {_KNOWN[kind][0] for kind in PRIORS} == {kind for kind, _ in _KNOWN.values()}


def test_random_variables_given_and_started():
    model = lg.HMM(2, lg.emissions.Poisson(3), lg.transitions.Sticky(5.0))
    rates = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    with pm.Model() as built:
        shared = pm.Gamma("population", 2.0, 1.0, shape=(2, 3))
        params = random_variables(model, {"emission.rates": shared})
        assert params["emission.rates"] is shared
    assert [variable.name for variable in built.free_RVs] == ["population", "initial.probs", "transition.probs"]
    with pm.Model(name="animal") as prefixed:
        params = random_variables(model, start={"emission.rates": rates})
    assert [variable.name for variable in prefixed.free_RVs] == ["animal::initial.probs", "animal::transition.probs", "animal::emission.rates"]
    np.testing.assert_allclose(prefixed.initial_point()["animal::emission.rates_log__"], np.log(rates))
    with pm.Model():
        with pytest.raises(ValueError, match=r"given: found the name 'rates', expected some of initial.probs"):
            random_variables(model, {"rates": rates})
        with pytest.raises(ValueError, match=r"start\['initial.probs'\]: found values outside"):
            random_variables(model, start={"initial.probs": np.array([0.0, 1.0])})
    with pm.Model(), pytest.raises(ValueError, match=r"start\['emission.rates'\]: found shape \(2,\), expected \(2, 3\)"):
        random_variables(model, start={"emission.rates": np.ones(2)})


def test_priors_that_pymc_lacks_are_named():
    with pm.Model(), pytest.raises(TypeError, match=r"prior of 'emission.covariances': found InverseWishart, expected one that PyMC has too \(Beta, Cauchy"):
        random_variables(lg.HMM(2, lg.emissions.Gaussian(2)))
    tied = lg.emissions.PoissonGLM(2, history=lg.basis.RaisedCosine(2, window=4), coupling=lg.priors.GaussianTied())
    with pm.Model(), pytest.raises(TypeError, match="found a function of other parameters, expected a distribution; build this level"):
        random_variables(lg.HMM(2, tied))


@pytest.fixture(scope="module")
def problem():
    """A model, tiny data, a start inside the support, and latentgate's own posterior by NUTS."""
    states = np.arange(30) // 10 % 2
    data = lg.Sequences.from_arrays([np.random.default_rng(0).poisson(np.where(states, 8.0, 1.5))[:, None].astype(float)])
    # Flat priors have corners in which a sampler is slow.
    model = lg.HMM(2, lg.emissions.Poisson(1), lg.transitions.Stationary(2.0), initial_concentration=2.0)
    start = {"initial.probs": np.array([0.5, 0.5]), "transition.probs": np.array([[0.9, 0.1], [0.1, 0.9]]), "emission.rates": np.array([[1.5], [8.0]])}
    fit = lg.fit(model, data, lg.NUTS(chains=1, warmup=200, draws=500), seed=0, start=start, progress=False)
    return model, data, start, fit.posterior.draws


@pytest.mark.parametrize("sampler", ["pymc", "nutpie", "numpyro"])
def test_samplers_of_pymc_find_the_posterior_of_latentgate(problem, sampler):
    model, data, start, reference = problem
    # As PyTensor does for the whole process when it first compiles to JAX, undone by the fixture above.
    jax.config.update("jax_enable_x64", True)
    options = {
        "pymc": {"nuts_sampler": "pymc", "cores": 1, "backend": "jax", "chains": 2},
        "nutpie": {"nuts_sampler": "nutpie", "cores": 1, "backend": "jax", "chains": 2},
        "numpyro": {"nuts_sampler": "numpyro", "chains": 1},
    }[sampler]
    with pymc_model(model, data, start=start):
        drawn = pm.sample(draws=500, tune=300, random_seed=1, progressbar=False, compute_convergence_checks=False, quiet=True, **options)
    order = np.argsort(reference["emission.rates"].mean((0, 1, 3)))
    assert order.tolist() == [0, 1]
    for name, theirs in reference.items():
        ours = drawn.posterior[name].values
        assert ours.shape[2:] == theirs.shape[2:]
        for entry in np.ndindex(theirs.shape[2:]):
            one, other = ours[(..., *entry)], theirs[(..., *entry)]
            error = np.hypot(*(float(arviz.mcse(draws, chain_axis=0, draw_axis=1)) for draws in (one, other)))
            assert abs(one.mean() - other.mean()) < 4 * error, (name, entry)


def test_a_model_travels_to_another_process(problem):
    model, data, start, _ = problem
    built = pymc_model(model, data, start=start)
    copy = cloudpickle.loads(cloudpickle.dumps(built))
    values = [one.compile_logp(mode=PLAIN)(one.initial_point()) for one in (built, copy)]
    assert values[0] == values[1]
    assert np.isfinite(values[0])


def test_without_pymc_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "latentgate.adapters.pymc")
    monkeypatch.setitem(sys.modules, "pymc", None)
    with pytest.raises(ImportError, match=r"found no package 'pymc'.*pip install 'latentgate\[pymc\]'"):
        importlib.import_module("latentgate.adapters.pymc")


def test_adapters_import_nothing_by_themselves():
    script = "import sys, latentgate.adapters; print([name for name in ('pymc', 'pytensor', 'dynamax', 'sklearn', 'jax') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"
