"""Structural time series against statsmodels, and the flow of the Nile against the numbers of Durbin & Koopman (2012, section 2.10)."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from scipy import linalg, optimize
from statsmodels.datasets import nile
from statsmodels.tsa.statespace.sarimax import SARIMAX
from statsmodels.tsa.statespace.structural import UnobservedComponents

import latentgate as lg

pytestmark = pytest.mark.usefixtures("float64")

some = lg.dynamics
DIFFUSE = (0.0, 1e7)
# Durbin & Koopman, of the observations and of the level.
PUBLISHED = {"emission.covariance": 15_099.0, "dynamics.variances": 1_469.1}
NILE = lg.LinearGaussianSSM(dynamics=some.Structural(some.LocalLevel()), initial=DIFFUSE)


@pytest.fixture(scope="module")
def volumes() -> np.ndarray:
    """Annual flow of the Nile at Aswan, 1871 to 1970, 10^8 cubic metres."""
    return nile.load_pandas().data["volume"].to_numpy(float)


@pytest.fixture(scope="module")
def river(volumes) -> lg.Sequences:
    return lg.Sequences.from_arrays([volumes[:, None]])


def local_level_log_likelihood(values: np.ndarray, told: float, moving: float) -> float:
    """The scalar recursions of Durbin & Koopman, equation 2.15."""
    mean, variance = DIFFUSE
    total = 0.0
    for value in values:
        spread = variance + told
        total -= 0.5 * (np.log(2 * np.pi * spread) + (value - mean) ** 2 / spread)
        gain = variance / spread
        mean, variance = mean + gain * (value - mean), variance * (1 - gain) + moving
    return total


@pytest.fixture(scope="module")
def best(volumes) -> dict[str, float]:
    """Maximum likelihood by those recursions and a simplex, to eight digits."""

    def loss(logs: np.ndarray) -> float:
        return -local_level_log_likelihood(volumes, *np.exp(logs))

    found = optimize.minimize(loss, np.log([1e4, 1e3]), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 2000})
    return dict(zip(PUBLISHED, np.exp(found.x), strict=True))


def test_the_maximum_is_the_published_one(best, volumes):
    """Published to four and five digits, for the diffuse start that variance 1e7 stands for: the start moves estimates by σ²/1e7, 0.15 %, at most."""
    for name, value in PUBLISHED.items():
        assert_allclose(best[name], value, rtol=1.5e-3)
    exact = UnobservedComponents(volumes, "local level", use_exact_diffuse=True)
    by_statsmodels = exact.fit(disp=False, method="nm", maxiter=1000, xtol=1e-10, ftol=1e-12).params
    assert_allclose(by_statsmodels, list(PUBLISHED.values()), rtol=1e-4)


@pytest.mark.parametrize(
    "engine", [lg.EM(max_iterations=3000, tolerance=1e-14, block=500), lg.MAP(max_iterations=150, tolerance=1e-14, block=50)], ids=["EM", "MAP"]
)
def test_em_and_map_reach_the_maximum(engine, best, river, volumes):
    fit = lg.fit(NILE, river, engine, seed=0, progress=False)
    assert fit.converged
    assert (np.diff(fit.log_joint_history) > -1e-9).all()
    for name, value in best.items():
        assert_allclose(fit.params[name], [value], rtol=1e-4)
    assert_allclose(fit.log_likelihood_history[-1], local_level_log_likelihood(volumes, *best.values()), rtol=1e-12)


def test_the_posterior_of_the_nile_holds_the_maximum(river, best):
    fit = lg.fit(NILE, river, lg.NUTS(chains=4, warmup=200, draws=250, start_from=lg.EM(max_iterations=100, block=100)), seed=1, progress=False)
    assert fit.posterior.largest_rhat() < 1.05
    assert fit.posterior.num_divergences == 0
    for name, value in best.items():
        low, high = np.quantile(fit.posterior.draws[name], [0.05, 0.95])
        assert low < value < high
        assert low < PUBLISHED[name] < high


def test_every_component_against_statsmodels(volumes):
    """Trend, cycle and season together, with a gap, from the same known first law."""
    values = volumes[:60].copy()
    values[20:25] = np.nan
    dynamics = some.Structural(some.LocalTrend(), some.Seasonal(4), some.Autoregressive(2))
    model = lg.LinearGaussianSSM(dynamics=dynamics, initial=(0.0, 1e4))
    irregular, level, trend, season, cycle, first, second = params = [9000.0, 1200.0, 30.0, 200.0, 800.0, 1.2, -0.5]
    ours = {
        "dynamics.variances": jnp.array([level, trend, season, cycle]),
        "dynamics.entries": jnp.array([first, second]),
        "emission.covariance": jnp.array([irregular]),
    }
    assert set(ours) == set(model.dims())
    data = lg.Sequences.from_arrays([values[:, None]])
    theirs = UnobservedComponents(values, "lltrend", seasonal=4, autoregressive=2)
    assert theirs.param_names == ["sigma2.irregular", "sigma2.level", "sigma2.trend", "sigma2.seasonal", "sigma2.ar", "ar.L1", "ar.L2"]
    theirs.update(np.array(params))
    theirs.ssm.initialize_known(np.zeros(7), 1e4 * np.eye(7))
    theirs.ssm.loglikelihood_burn = 0
    smoothed = theirs.ssm.smooth()
    result = model.smooth(ours, data)
    assert_allclose(result.log_normaliser, [smoothed.llf_obs.sum()], rtol=1e-8)
    assert_allclose(result.means[0], smoothed.smoothed_state.T, rtol=1e-8, atol=1e-6)


def test_autoregression_against_sarimax(volumes):
    """From the stationary law; with measurement error."""
    values = volumes[:60] - volumes.mean()
    coefficients, noise, error = np.array([0.6, 0.25]), 9000.0, 4000.0
    companion = np.array([coefficients, [1.0, 0.0]])
    stationary = linalg.solve_discrete_lyapunov(companion, np.diag([noise, 0.0]))
    model = lg.LinearGaussianSSM(dynamics=some.Structural(some.Autoregressive(2)), initial=(0.0, stationary))
    ours = {"dynamics.variances": jnp.array([noise]), "dynamics.entries": jnp.asarray(coefficients), "emission.covariance": jnp.array([error])}
    theirs = SARIMAX(values, order=(2, 0, 0), measurement_error=True)
    assert theirs.param_names == ["ar.L1", "ar.L2", "var.measurement_error", "sigma2"]
    wanted = theirs.loglike(np.array([*coefficients, error, noise]))
    assert_allclose(model.log_likelihood(ours, lg.Sequences.from_arrays([values[:, None]])), [wanted], rtol=1e-8)


def test_a_season_sums_to_zero_and_a_trend_is_smooth_without_noise():
    dynamics = some.Structural(some.LocalTrend(level_noise=False), some.Seasonal(3))
    model = lg.LinearGaussianSSM(dynamics=dynamics, initial=(np.array([1.0, 0.5, 2.0, -3.0]), 0.0))
    params = {"dynamics.variances": jnp.zeros(2), "emission.covariance": jnp.zeros(1)}
    (values,) = model.simulate(jax.random.key(0), params, [9])[0].to_list()
    time = np.arange(9)
    assert_allclose(values[:, 0], 1.0 + 0.5 * time + np.tile([2.0, 1.0, -3.0], 3), atol=1e-12)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"components: found \(\)"):
        some.Structural()
    with pytest.raises(ValueError, match="components: found"):
        some.Structural(some.Linear())
    with pytest.raises(ValueError, match="period: found 1"):
        some.Seasonal(1)
    with pytest.raises(ValueError, match="order: found 0"):
        some.Autoregressive(0)
    with pytest.raises(ValueError, match="latent_dim: found 3, expected 1"):
        lg.LinearGaussianSSM(3, dynamics=some.Structural(some.LocalLevel()))
    with pytest.raises(ValueError, match="emission_dim: found 2, expected 1 for Structural"):
        lg.LinearGaussianSSM(emission_dim=2, dynamics=some.Structural(some.LocalLevel()))
    with pytest.raises(ValueError, match="variance_prior: found Normal"):
        some.Structural(some.LocalLevel(), variance_prior=dist.Normal(0.0, 1.0))
