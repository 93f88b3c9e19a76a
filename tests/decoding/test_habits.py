"""scikit-learn's habits, sessions, streams and bad input."""

import tracemalloc

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from latentgate.decoding import DiscriminativeKalmanFilter, KalmanDecoder, WienerFilter, bin_spikes
from latentgate.decoding.cross_fitting import contiguous_blocks
from latentgate.decoding.sessions import windows

from .cases import recording, session

DECODERS = [
    DiscriminativeKalmanFilter("linear"),
    DiscriminativeKalmanFilter("linear", lags=2, past="condition"),
    KalmanDecoder(lags=2),
    WienerFilter(lags=3),
]


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda one: type(one).__name__)
def test_scikit_learn_habits(decoder):
    x, z = session()
    copy = clone(decoder).set_params(lags=2)
    assert copy.get_params()["lags"] == 2
    assert cross_val_score(make_pipeline(StandardScaler(), copy), x, z, cv=KFold(3)).shape == (3,)
    # Sessions are samples where they come as lists.
    assert (cross_val_score(copy, [x, x[:40], x[9:]], [z, z[:40], z[9:]], cv=KFold(3)) > 0).all()
    fitted = copy.fit(x, z)
    assert fitted is copy
    assert fitted.predict(x).shape == z.shape
    assert 0 < fitted.score(x, z) < 1
    assert fitted.score([x[:48], x[48:]], [z[:48], z[48:]]) > 0
    with pytest.raises(Exception, match="not fitted"):
        clone(copy).predict(x)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda one: type(one).__name__)
def test_sessions_are_never_crossed(decoder):
    neural, kinematics = recording()
    decoder = clone(decoder).fit(neural, kinematics)
    together = decoder.predict_distribution(neural)
    for index, one in enumerate(neural):
        alone = decoder.predict_distribution(one)
        np.testing.assert_allclose(together[0][index], alone[0], atol=1e-9)
        np.testing.assert_allclose(together[1][index], alone[1], atol=1e-9)
    np.testing.assert_allclose(decoder.predict(neural[1][:1]), together[0][1][:1], atol=1e-9)
    changed = [neural[0], neural[1] + 100.0, neural[2]]
    np.testing.assert_allclose(decoder.predict(changed)[2], together[0][2], atol=1e-9)
    reordered = clone(decoder).fit(neural[::-1], kinematics[::-1])
    if isinstance(decoder, KalmanDecoder):
        np.testing.assert_allclose(reordered.predict(neural[0]), together[0][0], atol=1e-9)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda one: type(one).__name__)
def test_a_stream_is_the_whole(decoder):
    neural, kinematics = recording()
    neural[2][3] = np.nan
    neural[2][9, 1] = np.nan
    decoder = clone(decoder).fit(neural, kinematics)
    for one in (neural[0], neural[2]):
        means, covariances = decoder.predict_distribution(one)
        laws = [decoder.step(row) for row in one]
        decoder.reset()
        np.testing.assert_allclose([law.mean for law in laws], means, atol=1e-9)
        np.testing.assert_allclose([law.covariance for law in laws], covariances, atol=1e-9)


def test_a_stream_takes_no_memory():
    x, z = session()
    decoder = DiscriminativeKalmanFilter("linear", lags=3).fit(x, z)
    for row in x:
        decoder.step(row)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(10):
        for row in x:
            decoder.step(row)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000


def test_lags_stay_in_their_session_and_blocks_keep_their_distance():
    assert windows(np.arange(4.0)[:, None], 3).tolist() == [[0, 0, 0], [1, 0, 0], [2, 1, 0], [3, 2, 1]]
    sessions = np.repeat([0, 1], [30, 10])
    blocks = contiguous_blocks(sessions, 4, 2)
    assert np.concatenate([rows for rows, _ in blocks]).tolist() == list(range(40))
    rows, kept = blocks[1]
    assert rows.tolist() == list(range(10, 20))
    assert np.flatnonzero(~kept).tolist() == list(range(8, 22))
    # The last block is the second session, next to which nothing has to be left out.
    assert np.flatnonzero(~blocks[3][1]).tolist() == list(range(30, 40))
    whole = contiguous_blocks(np.repeat([0, 1, 2, 3], [5, 9, 4, 6]), 3, 3)
    assert all((~kept).sum() == len(rows) for rows, kept in whole)


def test_missing_bins_add_nothing():
    x, z = session()
    for decoder in (KalmanDecoder().fit(x, z), DiscriminativeKalmanFilter("linear").fit(x, z)):
        gap = x.copy()
        gap[20] = np.nan
        means, covariances = decoder.predict_distribution(gap)
        centre = decoder.dynamics_.centre
        np.testing.assert_allclose(means[20] - centre, decoder.matrix_ @ (means[19] - centre), atol=1e-9)
        np.testing.assert_allclose(covariances[20], decoder.matrix_ @ covariances[19] @ decoder.matrix_.T + decoder.noise_, atol=1e-9)


def test_smoothing_and_intervals():
    x, z = session(num_bins=64 * 30)
    neural, kinematics = np.split(x, 30), np.split(z, 30)
    decoder = DiscriminativeKalmanFilter("linear").fit(neural[:20], kinematics[:20])
    truth = np.array(kinematics[20:])
    assert ((np.array(decoder.smooth(neural[20:])) - truth) ** 2).mean() < ((np.array(decoder.predict(neural[20:])) - truth) ** 2).mean()
    for level in (0.5, 0.9):
        lower, upper = decoder.predict_interval(neural[20:], level)
        assert abs(((lower <= truth) & (truth <= upper)).mean() - level) < 0.05


def test_one_dimension_needs_no_column():
    x, z = session()
    decoder = WienerFilter().fit(x, z[:, 0])
    assert decoder.predict(x).shape == (64,)
    assert decoder.predict([x, x])[1].shape == (64,)
    assert decoder.step(x[0]).covariance.shape == (1, 1)
    assert decoder.score(x, z[:, 0]) > 0


def test_single_precision_is_enough():
    x, z = session()
    decoder = DiscriminativeKalmanFilter("linear", lags=2, past="condition").fit(x, 1e-3 * z)
    exact = decoder.predict(x)
    with jax.enable_x64(False):
        np.testing.assert_allclose(decoder.predict(x), exact, atol=1e-8)


def test_bins():
    counts = bin_spikes([np.array([0.0, 0.1, 0.25]), np.array([0.9])], 0.1, 0.0, 0.3)
    assert counts.T.tolist() == [[1, 1, 1], [0, 0, 0]]
    with pytest.raises(ValueError, match="stop"):
        bin_spikes([np.array([0.0])], 0.5, 0.0, 0.3)


def spoiled(what):
    x, z = session()
    if what == "NaN in the kinematics":
        z[5, 1] = np.nan
    elif what == "constant":
        x[:, 3] = 2.0
    elif what == "length":
        z = z[:-1]
    elif what == "missing":
        x[:] = np.nan
    elif what == "infinite":
        x[1, 1] = np.inf
    elif what == "constant kinematics":
        z[:, 0] = 1.0
    return x, z


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("NaN in the kinematics", "kinematics: found NaN in 1 bins of session 0, the first in bin 5"),
        ("constant", r"neural: found 1 neurons that never change \(columns 3\)"),
        ("length", "kinematics: found 63 bins in session 0, expected 64"),
        ("missing", "neural: found nothing but NaN in session 0"),
        ("infinite", "neural: found an infinite number in bin 1"),
        ("constant kinematics", r"kinematics: found constant columns \[0\]"),
    ],
)
def test_bad_recordings(what, message):
    with pytest.raises(ValueError, match=message):
        DiscriminativeKalmanFilter("linear").fit(*spoiled(what))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lags": 0}, "lags"),
        ({"rule": "none"}, "rule"),
        ({"past": "forget"}, "past"),
        ({"past": "condition"}, "past"),
        ({"past": "condition", "lags": 2, "rule": "code"}, "rule"),
        ({"covariance": "diagonal"}, "covariance"),
        ({"regressor": "forest"}, "regressor"),
        ({"folds": 1}, "folds"),
        ({"gap": -1}, "gap"),
        ({"unstable": "ignore"}, "unstable"),
        ({"constant_neurons": "ignore"}, "constant_neurons"),
        ({"dynamics_matrix": 1.1 * np.eye(2)}, "dynamics_matrix: found dynamics of spectral radius 1.1"),
        ({"dynamics_matrix": np.eye(3)}, "dynamics_matrix"),
        ({"stationary_covariance": -np.eye(2)}, "stationary_covariance"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        DiscriminativeKalmanFilter(**{"regressor": "linear", **options}).fit(*session())


def test_bad_input_of_a_fitted_decoder():
    x, z = session()
    decoder = KalmanDecoder().fit(x, z)
    with pytest.raises(ValueError, match="neural: found 4 features, expected 5"):
        decoder.predict(x[:, :4])
    with pytest.raises(ValueError, match="bin_activity: found shape"):
        decoder.step(x[0, :4])
    with pytest.raises(ValueError, match="level"):
        decoder.predict_interval(x, 1.5)
    with pytest.raises(ValueError, match=r"noise covariance .* is singular"):
        KalmanDecoder().fit(np.c_[x, x[:, 0]], z)
    with pytest.raises(TypeError, match="regressor"):
        DiscriminativeKalmanFilter(3.0).fit(x, z)
    shrunk = KalmanDecoder(dynamics_matrix=1.1 * np.eye(2), unstable="shrink").fit(x, z)
    np.testing.assert_allclose(shrunk.matrix_, np.eye(2), atol=1e-12)
    assert KalmanDecoder(constant_neurons="drop").fit(np.c_[x, np.ones(64)], z).predict(np.c_[x, np.ones(64)]).shape == (64, 2)
