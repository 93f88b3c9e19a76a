"""Fits of linear Gaussian models: engines that agree, and everything that can be asked of a fit whose latents are numbers."""

import json

import arviz
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from numpyro import distributions as dist

import latentgate as lg
from latentgate.inference.fit import RestartRecord
from latentgate.inference.posterior import Posterior
from latentgate.models.linear.canonical import change_basis
from latentgate.models.specification import to_specification

from ..models.linear_table import LENGTHS, linear_models, start

pytestmark = pytest.mark.usefixtures("float64")

with jax.enable_x64(True):
    ROWS = linear_models()
# One latent whose scale the matrix fixes: nothing can be turned or rescaled.
IDENTIFIED = lg.LinearGaussianSSM(
    1,
    2,
    dynamics=lg.dynamics.Linear(
        bias=False, noise="diagonal", matrix_prior=dist.Normal(0.5, 0.3), covariance_prior=dist.InverseGamma(3.0, 1.0)
    ),
    initial=(0.0, 1.0),
    matrix=[[1.0], [0.7]],
    noise_prior=dist.InverseGamma(3.0, 1.0),
)  # fmt: skip
TRUTH = {"dynamics.matrix": np.array([[0.8]]), "dynamics.covariance": np.array([0.4]), "emission.covariance": np.array([0.5, 0.3])}


@pytest.fixture(scope="module")
def data() -> lg.Sequences:
    with jax.enable_x64(True):
        truth = {name: jnp.asarray(value) for name, value in TRUTH.items()}
        # Both folds of a cross-validation have the same shapes, and compile once.
        drawn, _ = IDENTIFIED.simulate(jax.random.key(1), truth, [30, 20, 20, 30])
        arrays = drawn.to_list()
        for array in arrays[2:]:
            array[10:14] = np.nan
        return lg.Sequences.from_arrays(arrays)


@pytest.fixture(scope="module")
def climbed(data) -> lg.Fit:
    with jax.enable_x64(True):
        return lg.fit(IDENTIFIED, data, lg.EM(restarts=2, max_iterations=600, tolerance=1e-14, block=200), seed=0, progress=False)


@pytest.fixture(scope="module")
def sampled(data) -> lg.Fit:
    with jax.enable_x64(True):
        engine = lg.NUTS(chains=2, warmup=150, draws=200, start_from=lg.EM(max_iterations=20, block=20))
        return lg.fit(IDENTIFIED, data, engine, seed=0, progress=False)


def by_hand(name: str, posterior: Posterior | None = None) -> lg.Fit:
    """A fit that no engine made."""
    row = ROWS[name]
    params = {key: np.asarray(value) for key, value in start(row).items()}
    record = RestartRecord(params, np.array([-2.0, -1.0]), np.array([-2.0, -1.5]), lg.Outcome.CONVERGED)
    return lg.Fit(row.model, params, "EM()", 0, lg.Outcome.CONVERGED, True, [record], data=row.data, posterior=posterior)


def test_em_ends_where_the_gradient_of_the_log_joint_vanishes(climbed, data):
    assert climbed.converged
    for record in climbed.restarts:
        assert (np.diff(record.log_joint_history) > -1e-10).all()
        for name, value in climbed.params.items():
            assert_allclose(record.params[name], value, rtol=1e-5)
    best = lg.fit(IDENTIFIED, data, lg.MAP(max_iterations=100, tolerance=1e-14, block=50), seed=3, progress=False)
    for name, value in best.params.items():
        assert_allclose(climbed.params[name], value, rtol=1e-4)
    assert_allclose(climbed.log_joint_history[-1], best.log_joint_history[-1], rtol=1e-10)


def test_nuts_and_svi_agree(sampled, climbed, data):
    assert sampled.posterior.largest_rhat() < 1.05
    assert sampled.posterior.num_divergences == 0
    guided = lg.fit(
        IDENTIFIED,
        data,
        lg.SVI("full-rank", max_iterations=1000, draws=1000, start_from=lg.EM(max_iterations=20, block=20)),
        seed=0,
        progress=False,
    )
    for name, draws in sampled.posterior.draws.items():
        spread = draws.std((0, 1))
        # Two samples of some hundred independent draws, and the guide's bias: a third of a posterior deviation.
        assert (np.abs(guided.params[name] - sampled.params[name]) < spread / 3).all(), name
        assert_allclose(guided.posterior.draws[name].std((0, 1)), spread, rtol=0.35)
        # The data, 100 steps of them, were drawn from the truth, and the mode is not far from the mean.
        assert (np.abs(sampled.params[name] - TRUTH[name]) < 4 * spread).all(), name
        assert (np.abs(sampled.params[name] - climbed.params[name]) < spread).all(), name


@pytest.mark.parametrize("which", ["climbed", "sampled"])
def test_laws_of_latents_are_datasets(which, data, request):
    fit = request.getfixturevalue(which)
    smoothed, filtered = fit.smooth(data), fit.filter(data)
    padding = ~np.asarray(data.mask)
    for law in (smoothed, filtered):
        assert isinstance(law, xr.Dataset)
        assert law["mean"].dims == ("sequence", "time", "latent")
        assert law["covariance"].dims == ("sequence", "time", "latent", "latent_other")
        assert_array_equal(np.isnan(law["mean"].values[..., 0]), padding)
        assert_array_equal(np.isnan(law["covariance"].values[..., 0, 0]), padding)
    # What comes later only sharpens; the last step has nothing after it.
    narrower = filtered["covariance"].values - smoothed["covariance"].values
    last = np.asarray(data.lengths) - 1
    if which == "climbed":
        assert np.nanmin(narrower) > -1e-12
        assert_allclose(narrower[np.arange(4), last], 0.0, atol=1e-12)
    path = fit.most_probable_path(data)
    assert path.dims == ("sequence", "time", "latent")
    assert_array_equal(np.isnan(path.values[..., 0]), padding)
    drawn = fit.sample_latents(data, 200, seed=3)
    assert drawn.dims == ("draw", "sequence", "time", "latent")
    assert_array_equal(np.isnan(drawn.values[0, ..., 0]), padding)
    # Five standard errors of 200 draws, a few hundred correlated steps: a false alarm in some thousand keys.
    deviation = np.sqrt(smoothed["covariance"].values[..., 0, 0])
    off = np.abs(drawn.values[..., 0].mean(0) - smoothed["mean"].values[..., 0]) / deviation
    assert np.nanmax(off) < 5 / np.sqrt(200)
    if which == "climbed":
        assert_allclose(path.values, smoothed["mean"].values, atol=1e-10)
    else:
        # Moments of the mixture over draws: spread of the means adds to the mean of the covariances.
        draws = fit.posterior.flat(200)
        each = [IDENTIFIED.smooth({name: jnp.asarray(value[k]) for name, value in draws.items()}, data) for k in range(200)]
        means = np.stack([one.means[..., 0] for one in each])
        mixed = np.stack([np.broadcast_to(one.covariances[..., 0, 0], padding.shape) for one in each]).mean(0) + means.var(0)
        assert_allclose(smoothed["mean"].values[~padding][:, 0], means.mean(0)[~padding], atol=1e-10)
        assert_allclose(smoothed["covariance"].values[~padding][:, 0, 0], mixed[~padding], atol=1e-10)


@pytest.mark.parametrize("which", ["climbed", "sampled"])
def test_what_else_is_asked_of_a_fit(which, data, request):
    fit = request.getfixturevalue(which)
    drawn = fit.posterior_predictive(data, 3, seed=0)
    assert drawn.dims == ("draw", "sequence", "time", "feature")
    assert drawn.shape == (3, 4, 30, 2)
    assert_array_equal(np.isnan(drawn.values).all(-1), np.broadcast_to(~np.asarray(data.mask), (3, 4, 30)))
    simulated, latents = fit.simulate([6, 9], seed=1)
    assert simulated.num_steps == 15
    assert [latent.shape for latent in latents] == [(6, 1), (9, 1)]
    log_likelihood = fit.log_likelihood(data)
    assert log_likelihood.dims == ("sequence",)
    assert np.isfinite(log_likelihood).all()
    summary = fit.summary()
    assert len(summary) == fit.num_parameters == 4
    assert "Fit of LinearGaussianSSM" in repr(fit)


def test_summary_of_a_point_estimate_names_every_entry(climbed):
    summary = climbed.summary()
    assert list(summary.index) == ["dynamics.covariance[0]", "dynamics.matrix[0, 0]", "emission.covariance[0]", "emission.covariance[1]"]
    assert_allclose(summary["value"].to_numpy(), np.concatenate([np.ravel(value) for value in climbed.params.values()]))
    assert summary.attrs["log_joint"] == climbed.log_joint_history[-1]


def test_arviz_knows_the_draws(sampled, data):
    tree = sampled.to_arviz(data)
    assert set(tree.children) >= {"posterior", "sample_stats", "log_likelihood", "observed_data", "latents"}
    assert tree["posterior"]["emission.covariance"].dims == ("chain", "draw", "feature")
    # Steps without any observation say nothing.
    assert tree["log_likelihood"]["steps"].sizes["step"] == 100 - 8
    assert_allclose(tree["latents"]["mean"], sampled.smooth(data)["mean"])
    assert np.isfinite(arviz.loo(tree).elpd)


def test_cross_validation_by_em(data):
    held_out = lg.cross_validate({"one": IDENTIFIED}, data, lg.EM(max_iterations=20, block=20), num_folds=2, seed=0, counts=False, progress=False)
    assert held_out["log_likelihood"].dims == ("model", "fold")
    assert np.isfinite(held_out["log_likelihood"]).all()
    assert "bits_per_spike" not in held_out


def test_files_keep_draws_and_latents(sampled, climbed, data, tmp_path):
    for name, fit in (("draws.nc", sampled), ("point.nc", climbed)):
        loaded = lg.Fit.load(fit.save(tmp_path / name))
        xr.testing.assert_allclose(loaded.smooth(data), fit.smooth(data), rtol=1e-12)
        assert_allclose(loaded.log_likelihood(data), fit.log_likelihood(data), rtol=1e-12)


@pytest.mark.parametrize("name", ROWS)
def test_every_kind_of_model_can_be_saved(name, tmp_path):
    fit = by_hand(name)
    loaded = lg.Fit.load(fit.save(tmp_path / "fit.nc"))
    for key, value in fit.params.items():
        assert_array_equal(loaded.params[key], value)
        assert_array_equal(loaded.restarts[0].params[key], value)
    assert json.dumps(to_specification(loaded.model)) == json.dumps(to_specification(fit.model))
    assert loaded.model.dims() == fit.model.dims()
    params = {key: jnp.asarray(value) for key, value in fit.params.items()}
    assert loaded.model.log_prior(params) == fit.model.log_prior(params)
    one, other = (jax.tree.leaves(model.potentials(params, ROWS[name].data)) for model in (fit.model, loaded.model))
    for a, b in zip(one, other, strict=True):
        assert_array_equal(a, b)
    assert len(loaded.summary()) == sum(np.size(value) for value in fit.params.values())


def test_predictive_draws_keep_irregular_times():
    fit = by_hand("differential equation")
    drawn = fit.posterior_predictive(fit.data, 2, seed=0)
    assert drawn.shape == (2, 3, max(LENGTHS), 3)
    assert_array_equal(np.isnan(drawn.values).any(-1)[0], ~np.asarray(fit.data.mask))


def test_canonical_fits():
    """Every draw and every restart in its own canonical basis, whatever basis it came in; predictions as before."""
    row = ROWS["conjugate priors"]
    rng = np.random.default_rng(0)
    params = {key: np.asarray(value) for key, value in start(row).items()}
    turned = [change_basis(params, rng.normal(size=(2, 2))) for _ in range(6)]
    draws = {key: np.stack([one[key] for one in turned]).reshape(2, 3, *np.shape(params[key])) for key in params}
    fit = by_hand("conjugate priors", Posterior(draws)).canonical()
    wanted = row.model.canonical(params)
    for key, value in wanted.items():
        assert_allclose(fit.posterior.draws[key], np.broadcast_to(value, (2, 3, *value.shape)), rtol=1e-6, atol=1e-8)
        assert_allclose(fit.params[key], value, rtol=1e-6, atol=1e-8)
        assert_allclose(fit.restarts[0].params[key], value, rtol=1e-6, atol=1e-8)
    point = by_hand("conjugate priors")
    turned_back = point.canonical()
    xr.testing.assert_allclose(turned_back.log_likelihood(row.data), point.log_likelihood(row.data), rtol=1e-10)


def test_no_canonical_fit_without_free_latents(climbed, poisson_data):
    with pytest.raises(ValueError, match="basis is fixed by its structure"):
        climbed.canonical()
    fit = lg.fit(lg.HMM(2, lg.emissions.Poisson(5)), poisson_data, lg.EM(max_iterations=2, block=2), seed=0, progress=False)
    with pytest.raises(ValueError, match="found HMM, expected one with linear latent dynamics"):
        fit.canonical()
