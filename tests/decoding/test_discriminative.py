"""The discriminative Kalman filter against the equations written out, and against the Kalman filter that it contains."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.neighbors import KNeighborsRegressor

from latentgate.decoding import DiscriminativeKalmanFilter, KalmanDecoder, NadarayaWatson

from .cases import A, recording, session
from .oracle import conditioned_posterior, discriminative_filter


class Given(RegressorMixin, BaseEstimator):
    """A regressor that knows f and learns nothing."""

    def __init__(self, weights=None):
        self.weights = weights

    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return X @ self.weights


def wide(x):
    """Covariances, several of them larger than the stationary one in some direction."""
    scale = np.exp(0.7 * x[:, 0])
    return scale[:, None, None] * np.array([[0.5, 0.2], [0.2, 0.3]]) + 0.05 * np.eye(2)


@pytest.mark.parametrize("rule", ["clip", "paper", "code", "robust"])
def test_the_four_rules_are_the_published_equations(rule):
    x, z = session()
    S = np.array([[1.0, 0.3], [0.3, 0.8]])
    given = Given(0.2 * np.random.default_rng(1).normal(size=(5, 2)))
    root = np.linalg.cholesky(S)
    whitening = Given(np.linalg.solve(root, given.weights.T).T)
    matrix = 0.7 * A
    decoder = DiscriminativeKalmanFilter(whitening, wide, rule=rule, dynamics_matrix=matrix, stationary_covariance=S, centred=False).fit(x, z)
    Q = wide(x)
    failing = np.array([np.linalg.eigvals(np.linalg.inv(one) - np.linalg.inv(S)).real.min() < 0 for one in Q])
    assert 10 < failing.sum() < 60
    means, covariances = discriminative_filter(x @ given.weights, Q, matrix, S - matrix @ S @ matrix.T, S, rule)
    found = decoder.predict_distribution(x)
    np.testing.assert_allclose(found[0], means, atol=1e-9)
    np.testing.assert_allclose(found[1], covariances, atol=1e-9)
    streamed = [decoder.step(row) for row in x]
    np.testing.assert_allclose([law.mean for law in streamed], means, atol=1e-9)
    np.testing.assert_allclose([law.covariance for law in streamed], covariances, atol=1e-9)


def test_the_kalman_filter_is_a_special_case():
    x, z = session()
    kalman = KalmanDecoder(centred=False).fit(x, z)
    H, R, S = kalman.observation_matrix_, kalman.observation_covariance_, kalman.stationary_covariance_
    Q = np.linalg.inv(np.linalg.inv(S) + H.T @ np.linalg.inv(R) @ H)
    np.testing.assert_allclose(np.linalg.inv(Q) - np.linalg.inv(S), H.T @ np.linalg.inv(R) @ H, atol=1e-9)
    weights = np.linalg.solve(R, H @ Q)
    whitened = Given(np.linalg.solve(kalman.dynamics_.root, weights.T).T)
    decoder = DiscriminativeKalmanFilter(whitened, lambda rows: np.tile(Q, (len(rows), 1, 1)), centred=False).fit(x, z)
    for ours, theirs in zip(decoder.predict_distribution(x), kalman.predict_distribution(x), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    np.testing.assert_allclose(decoder.smooth(x), kalman.smooth(x), atol=1e-9)


def test_kalman_decoder_is_the_textbook_filter():
    x, z = session()
    decoder = KalmanDecoder().fit(x, z)
    H, c, R = decoder.observation_matrix_, decoder.observation_bias_, decoder.observation_covariance_
    mean, cov, expected = z.mean(0), decoder.stationary_covariance_, []
    for t, row in enumerate(x):
        if t:
            mean = z.mean(0) + decoder.matrix_ @ (mean - z.mean(0))
            cov = decoder.matrix_ @ cov @ decoder.matrix_.T + decoder.noise_
        gain = cov @ H.T @ np.linalg.inv(H @ cov @ H.T + R)
        mean, cov = mean + gain @ (row - H @ mean - c), cov - gain @ H @ cov
        expected.append(mean)
    np.testing.assert_allclose(decoder.predict(x), expected, atol=1e-9)


def test_dynamics_leave_their_stationary_law():
    decoder = KalmanDecoder().fit(*recording())
    transition, noise, covariance = decoder.matrix_, decoder.noise_, decoder.stationary_covariance_
    np.testing.assert_allclose(transition @ covariance @ transition.T + noise, covariance, atol=1e-12)
    assert np.linalg.eigvalsh(noise)[0] > 0
    assert np.abs(np.linalg.eigvals(transition)).max() < 1


def test_conditioning_on_the_past_is_the_product_of_its_conditionals():
    x, z = session()
    decoder = DiscriminativeKalmanFilter("linear", lags=3, past="condition").fit(x, z)
    rows = np.concatenate([x, x[[0, *range(63)]], x[[0, 0, *range(62)]]], axis=1)
    f, g = decoder.regressor_.predict(rows), decoder.past_regressor_.predict(rows[:-1, :10])
    assert np.linalg.eigvalsh(decoder._first_covariance[0])[-1] < 1
    means, covariance = conditioned_posterior(f, g, decoder._first_covariance[0], decoder._covariance.value[0], decoder._conditioned)
    np.testing.assert_allclose(decoder.dynamics_.whiten(decoder.smooth(x)), means, atol=1e-8)
    last = decoder.dynamics_.restore_covariance(covariance[-2:, -2:])
    np.testing.assert_allclose(decoder.predict_distribution(x)[1][-1], last, atol=1e-8)


def test_no_bin_is_counted_twice():
    """Linear and normal throughout: conditioning on the past must reach the Kalman filter, which is then exact, and claim the error that it makes."""
    neural, kinematics = recording((64,) * 60, noise=2.0)
    new_neural, new_kinematics = (np.array(one) for one in zip(*(session(seed, 64, noise=2.0) for seed in range(100, 140)), strict=True))
    errors, claims = {}, {}
    options = {
        "Kalman": KalmanDecoder(),
        "count": DiscriminativeKalmanFilter("linear", lags=4),
        "condition": DiscriminativeKalmanFilter("linear", lags=4, past="condition"),
    }
    for name, decoder in options.items():
        means, covariances = decoder.fit(neural, kinematics).predict_distribution(list(new_neural))
        errors[name] = ((np.array(means) - new_kinematics) ** 2).sum(-1).mean()
        claims[name] = np.trace(np.array(covariances), axis1=-2, axis2=-1).mean()
    assert errors["condition"] < 1.03 * errors["Kalman"] < 0.97 * errors["count"]
    assert 0.9 < claims["condition"] / errors["condition"] < 1.1
    assert claims["count"] < 0.7 * errors["count"]


def test_conditioning_on_the_past_is_one_bin_at_a_time_what_it_is_at_once():
    neural, kinematics = recording()
    neural[1][7, 2] = np.nan
    decoder = DiscriminativeKalmanFilter("nadaraya-watson", "kernel", lags=3, past="condition").fit(neural, kinematics)
    means, covariances = decoder.predict_distribution(neural[1])
    decoder.reset()
    streamed = [decoder.step(row) for row in neural[1]]
    np.testing.assert_allclose([law.mean for law in streamed], means, atol=1e-9)
    np.testing.assert_allclose([law.covariance for law in streamed], covariances, atol=1e-9)


def test_a_window_that_tells_all_is_returned_unchanged():
    """White kinematics and one informative bin: the past says nothing, and conditioning on it must not invent anything."""
    rng = np.random.default_rng(3)
    z = [rng.normal(size=(64, 2)) for _ in range(60)]
    x = [one + rng.normal(size=(64, 2)) for one in z]
    decoder = DiscriminativeKalmanFilter("linear", lags=2, past="condition").fit(x, z)
    assert np.abs(np.array(decoder.predict(x)) - decoder.predict_unfiltered(x)).max() < 0.05


def test_seeds_decide_everything():
    x, z = recording()
    for regressor in ("neural-network", "gaussian-process"):
        one, same = (DiscriminativeKalmanFilter(regressor, folds=2, random_state=1).fit(x, z).predict(x[0]) for _ in range(2))
        assert np.array_equal(one, same)
    other = DiscriminativeKalmanFilter("neural-network", folds=2, random_state=2).fit(x, z).predict(x[0])
    same = DiscriminativeKalmanFilter("neural-network", folds=2, random_state=1).fit(x, z).predict(x[0])
    assert not np.array_equal(other, same)


def test_any_scikit_learn_regressor_will_do():
    x, z = recording()
    decoder = DiscriminativeKalmanFilter(KNeighborsRegressor(5), "kernel").fit(x, z)
    assert decoder.score(x, z) > 0.5


def test_nadaraya_watson_gradient_and_means():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    fixed = NadarayaWatson(bandwidth=0.7).fit(x, y)
    weights = np.exp(-0.5 * ((x[:5, None] - x[None]) ** 2).sum(-1) / 0.49)
    np.testing.assert_allclose(fixed.predict(x[:5]), weights @ y / weights.sum(1, keepdims=True), atol=1e-10)
    far = fixed.predict(np.full((1, 3), 1e3))
    assert np.isfinite(far).all()
    learned = NadarayaWatson(groups=[0, 0, 1], gap=1).fit(np.cumsum(x, 0), np.cumsum(x[:, :2], 0))
    assert learned.scales_[0] == learned.scales_[1]
    # The third feature says nothing of the targets.
    assert learned.scales_[2] < learned.scales_[0]
