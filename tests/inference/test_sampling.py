"""NUTS and SVI: agreement with each other, with EM and with numpyro's own driver; aligned states; what a fit with draws can be asked."""

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import infer
from numpyro.infer.autoguide import AutoNormal
from numpyro.infer.util import log_density

import latentgate as lg
from latentgate.inference import numpyro_model
from latentgate.inference.alignment import permute_states
from latentgate.inference.posterior import aligned

from ..model_table import small_models

MODELS = small_models()
MODEL = lg.HMM(2, lg.emissions.Poisson(3))


@pytest.fixture(scope="module")
def data() -> lg.Sequences:
    return lg.simulators.simulate_poisson_hmm(3, num_states=2, num_neurons=3, num_steps=150, num_sequences=6).data


@pytest.fixture(scope="module")
def sampled(data) -> lg.Fit:
    with jax.enable_x64(True):
        return lg.fit(MODEL, data, lg.NUTS(chains=4, warmup=300, draws=500), seed=0)


def standard_errors(fit: lg.Fit, name: str) -> np.ndarray:
    return fit.posterior.draws[name].std((0, 1)) / np.sqrt(fit.posterior.smallest_ess())


def test_nuts_mixes_and_says_so(sampled):
    assert sampled.outcome is lg.Outcome.SAMPLED
    assert sampled.converged
    assert sampled.posterior.largest_rhat() < 1.01
    assert sampled.posterior.smallest_ess() > 400
    summary = sampled.summary()
    assert summary.attrs["divergences"] == 0
    assert summary.attrs["label_switches"] == 0
    assert len(summary) == 2 + 4 + 6
    assert "R-hat" in repr(sampled)


def test_the_same_seed_gives_the_same_draws(data, float64):
    engine = lg.NUTS(chains=2, warmup=20, draws=10, block=10)
    one, two, other = (lg.fit(MODEL, data, engine, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.posterior.draws["emission.rates"], two.posterior.draws["emission.rates"])
    assert np.abs(one.posterior.draws["emission.rates"] - other.posterior.draws["emission.rates"]).max() > 0
    assert one.outcome in (lg.Outcome.CHAINS_DISAGREE, lg.Outcome.SAMPLED, lg.Outcome.DIVERGED)


def test_numpyro_itself_samples_the_same_posterior(sampled, data, float64):
    start = {name: jnp.asarray(value) for name, value in sampled.params.items()}
    kernel = infer.NUTS(numpyro_model, init_strategy=infer.init_to_value(values=start))
    sampler = infer.MCMC(kernel, num_warmup=300, num_samples=1500, progress_bar=False)
    sampler.run(jax.random.key(8), MODEL, data)
    for name, value in sampler.get_samples().items():
        # Both Monte Carlo errors; five standard errors, 12 numbers: a false alarm in 1e5.
        error = np.hypot(standard_errors(sampled, name), np.asarray(value).std(0) / np.sqrt(400))
        assert (np.abs(np.asarray(value).mean(0) - sampled.params[name]) < 5 * error).all()


@pytest.mark.parametrize(("guide", "bias"), [("full-rank", 0.15), ("mean-field", 0.25), ("low-rank", 0.25), ("laplace", 0.5)])
def test_guides_agree_with_nuts_but_for_their_bias(guide, bias, sampled, data, float64):
    """Means within a stated part of a posterior standard deviation (the laws are not quite normal), spreads within a third."""
    fit = lg.fit(MODEL, data, lg.SVI(guide, draws=2000), seed=0)
    assert fit.converged
    if guide != "laplace":
        assert fit.outcome is lg.Outcome.ELBO_SETTLED
        assert fit.posterior.pareto_k < 0.7
    for name, value in sampled.params.items():
        spread = sampled.posterior.draws[name].std((0, 1))
        assert (np.abs(fit.params[name] - value) < (bias + 0.1) * spread).all(), name
        np.testing.assert_allclose(fit.posterior.draws[name].std((0, 1)), spread, rtol=0.35)


def test_minibatches_are_scaled_to_the_whole(data, float64):
    fit = lg.fit(MODEL, data, lg.SVI(batch_size=2, draws=200), seed=0)
    whole = lg.fit(MODEL, data, lg.SVI(draws=200), seed=0)
    ends = [one.posterior.elbo[-300:] for one in (fit, whole)]
    # Minibatch noise: within four standard errors of both means.
    assert abs(ends[0].mean() - ends[1].mean()) < 4 * np.hypot(*(end.std() / np.sqrt(300) for end in ends)) + 1.0
    spread = whole.posterior.draws["emission.rates"].std((0, 1))
    assert (np.abs(fit.params["emission.rates"] - whole.params["emission.rates"]) < spread).all()


def test_guides_of_ones_own(data, float64):
    """An AutoGuide class of numpyro, and an amortised guide, which reads the data."""

    def amortised(model, data, scale=1.0):
        # The rates' guide is centred on a learned multiple of the data's mean rate.
        mean = data.values.sum((0, 1)) / data.observed.sum((0, 1))
        factor = numpyro.param("factor", jnp.array([[0.5], [1.5]]), constraint=dist.constraints.positive)
        numpyro.sample("emission.rates", dist.LogNormal(jnp.log(factor * mean), 0.1).to_event(2))
        for name, shape in (("initial.probs", (2,)), ("transition.probs", (2, 2))):
            weight = numpyro.param(name + ".concentration", jnp.full(shape, 5.0), constraint=dist.constraints.positive)
            numpyro.sample(name, dist.Dirichlet(weight).to_event(len(shape) - 1))

    for guide in (AutoNormal, amortised):
        fit = lg.fit(MODEL, data, lg.SVI(guide, max_iterations=1500, window=200, draws=50, start_from=lg.EM(max_iterations=20)), seed=0)
        assert fit.posterior.draws["emission.rates"].shape == (1, 50, 2, 3)
        assert fit.posterior.elbo[-100:].mean() > fit.posterior.elbo[:100].mean()
        assert fit.posterior.pareto_k is None


@pytest.mark.parametrize("name", MODELS)
def test_the_numpyro_model_is_prior_times_likelihood(name, float64):
    model, data = MODELS[name]
    params = model.initialize(jax.random.key(0), data)
    total, _ = log_density(numpyro_model, (model, data), {}, params)
    np.testing.assert_allclose(total, model.log_prior(params) + model.log_likelihood(params, data).sum(), rtol=1e-10)


@pytest.mark.parametrize("name", ["gated per origin", "one-hot", "gaussian, missing"])
def test_every_kind_of_prior_can_be_sampled(name, float64):
    """Hierarchical, simplex, positive-definite, log-odds: a few draws that stay in the support, with finite densities."""
    model, data = MODELS[name]
    fit = lg.fit(model, data, lg.NUTS(chains=1, warmup=6, draws=4, max_tree_depth=3, block=4, start_from=lg.EM(max_iterations=4, block=4)), seed=0)
    assert np.isfinite(fit.posterior.sample_stats["lp"]).all()
    for draw in range(4):
        params = {key: jnp.asarray(value[0, draw]) for key, value in fit.posterior.draws.items()}
        assert np.isfinite(model.log_prior(params))
    assert np.isfinite(fit.log_likelihood(data)).all()


def test_a_bound_is_no_density(float64):
    model, data = MODELS["one-hot, categorical"]
    with pytest.raises(ValueError, match=r"emission\.type_probs' is a variational bound"):
        lg.fit(model, data, lg.NUTS(chains=1, warmup=2, draws=2, start_from=lg.EM(max_iterations=2)), seed=0)


def test_draws_are_aligned_and_label_switches_counted(sampled):
    dims, rng = MODEL.dims(), np.random.default_rng(0)
    shuffled = {name: value.copy() for name, value in sampled.posterior.draws.items()}
    swapped = rng.random((4, 500)) < 0.3
    for chain, draw in np.argwhere(swapped):
        one = {name: value[chain, draw] for name, value in shuffled.items()}
        for name, value in permute_states(one, dims, np.array([1, 0])).items():
            shuffled[name][chain, draw] = value
    found, switches = aligned(shuffled, dims, sampled.params)
    for name, value in sampled.posterior.draws.items():
        np.testing.assert_array_equal(found[name], value)
    np.testing.assert_array_equal(switches, (swapped[:, 1:] != swapped[:, :-1]).sum(1))


def test_arviz_takes_the_tree(sampled, data, float64):
    tree = sampled.to_arviz()
    assert set(tree.children) == {"posterior", "sample_stats", "log_likelihood", "observed_data", "latents"}
    assert tree["posterior"]["emission.rates"].dims == ("chain", "draw", "state", "neuron")
    assert tree["latents"]["smoothed"].dims == ("sequence", "time", "state")
    np.testing.assert_allclose(tree["log_likelihood"]["steps"].sum("step").mean(), sampled.posterior_log_likelihoods(data).sum("sequence").mean(), rtol=1e-10)
    assert len(arviz.summary(tree)) == 12
    one_state = lg.fit(lg.HMM(1, lg.emissions.Poisson(3)), data, lg.NUTS(chains=2, warmup=100, draws=200), seed=0)
    for unit in ("step", "sequence"):
        compared = arviz.compare({"two": sampled.to_arviz(log_likelihood=unit), "one": one_state.to_arviz(log_likelihood=unit)})
        assert compared.index[0] == "two"
    assert arviz.loo(tree).elpd < 0
    arviz.plot_trace(tree, var_names=["emission.rates"])


def test_answers_average_over_draws(sampled, data, float64):
    draws = sampled.posterior.flat(20)
    each = [MODEL.smooth({name: jnp.asarray(value[i]) for name, value in draws.items()}, data) for i in range(20)]
    np.testing.assert_allclose(sampled.smooth(data, draws=20), np.mean([one.marginals for one in each], 0), atol=1e-12)
    wanted = np.log(np.mean(np.exp([one.log_normaliser for one in each]), 0))
    np.testing.assert_allclose(sampled.log_likelihood(data, draws=20), wanted, rtol=1e-12)
    assert sampled.sample_latents(data, 7, seed=0).shape == (7, 6, 150)
    predicted = sampled.posterior_predictive(data, 50, seed=0)
    assert predicted.shape == (50, 6, 150, 3)
    mean = float(predicted.mean())
    assert abs(mean - data.values.mean()) < 0.15 * data.values.mean()


def test_draws_are_saved(sampled, data, tmp_path, float64):
    loaded = lg.Fit.load(sampled.save(tmp_path / "fit.nc"))
    for name, value in sampled.posterior.draws.items():
        np.testing.assert_array_equal(loaded.posterior.draws[name], value)
    assert loaded.posterior.sample_stats["diverging"].dtype == bool
    assert loaded.outcome is sampled.outcome
    assert loaded.data is None
    with pytest.raises(ValueError, match="a saved fit holds no data"):
        loaded.to_arviz()
    assert "log_likelihood" in loaded.to_arviz(data).children
    turned = loaded.with_states([1, 0])
    np.testing.assert_array_equal(turned.posterior.draws["emission.rates"][..., ::-1, :], loaded.posterior.draws["emission.rates"])


def test_options_out_of_range():
    for make, message in (
        (lambda: lg.NUTS(chains=0), "chains: found 0"),
        (lambda: lg.NUTS(target_accept=1.0), "target_accept: found 1.0"),
        (lambda: lg.SVI("full"), "guide: found 'full', expected one of 'mean-field'"),
        (lambda: lg.SVI(learning_rate=0.0), "learning_rate: found 0.0"),
        (lambda: lg.SVI(batch_size=0), "batch_size: found 0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match="start_from"):
        lg.NUTS(start_from="em")


def test_a_minibatch_larger_than_the_data(data, float64):
    with pytest.raises(ValueError, match="batch_size: found 9, expected at most the 6 sequences"):
        lg.fit(MODEL, data, lg.SVI(batch_size=9), seed=0)


def test_a_point_estimate_has_no_tree(data, float64):
    with pytest.raises(ValueError, match="found a point estimate by EM"):
        lg.fit(MODEL, data, lg.EM(max_iterations=2), seed=0).to_arviz()
