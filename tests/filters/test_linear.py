"""On linear-Gaussian models every filter is the Kalman filter, here as in the textbooks: rows of missing entries deleted, inverses written out."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import latentgate.filters as filters

STEPS = 8
A = np.array([[0.9, 0.2], [-0.1, 0.7]])
B = np.array([0.3, -0.2])
H = np.array([[1.0, 0.5], [0.0, 1.0], [-1.0, 2.0]])
R = np.array([[0.5, 0.2, 0.0], [0.2, 0.4, -0.1], [0.0, -0.1, 0.8]])
Q = np.array([[0.3, 0.1], [0.1, 0.2]])
MEAN, COVARIANCE = np.array([1.0, -1.0]), np.array([[2.0, 0.3], [0.3, 1.0]])


def dynamics(z):
    return A @ z + B


def emission(z):
    return H @ z


def observations():
    values = np.random.default_rng(0).normal(size=(STEPS, 3)) * 1.5
    values[2, 1] = values[5, 0] = values[5, 2] = np.nan
    values[4] = np.nan
    return values


def model(noise=Q, start=COVARIANCE):
    return filters.NonlinearModel(MEAN, start, dynamics, noise, emission=emission, emission_covariance=R)


def textbook(values, noise=Q, covariance=COVARIANCE):
    mean, means, covariances, increments = MEAN, [], [], []
    for index, row in enumerate(values):
        if index:
            mean, covariance = A @ mean + B, A @ covariance @ A.T + noise
        seen = ~np.isnan(row)
        matrix, innovation = H[seen], row[seen] - H[seen] @ mean
        spread = matrix @ covariance @ matrix.T + R[np.ix_(seen, seen)]
        gain = covariance @ matrix.T @ np.linalg.inv(spread)
        increments.append(-0.5 * (innovation @ np.linalg.inv(spread) @ innovation + np.log(np.linalg.det(2 * np.pi * spread))) if seen.any() else 0.0)
        mean, covariance = mean + gain @ innovation, covariance - gain @ matrix @ covariance
        means.append(mean)
        covariances.append(covariance)
    return np.array(means), np.array(covariances), np.array(increments)


def same(filtered, expected):
    for found, wanted in zip((filtered.means, filtered.covariances, filtered.log_increments), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("strategy", [filters.Extended(), filters.Iterated(3), filters.Unscented(), filters.Unscented(alpha=0.5, beta=2.0, kappa=1.0)])
def test_gaussian_filters_are_the_kalman_filter(strategy):
    values = observations()
    same(filters.filter(strategy, model(), values), textbook(values))


@pytest.mark.parametrize("strategy", [filters.Extended(), filters.Unscented()])
def test_singular_noise_and_certain_start(strategy):
    values = observations()
    noise, start = np.diag([0.0, 0.3]), np.array([[1.0, 2.0], [2.0, 4.0]])
    same(filters.filter(strategy, model(noise, start), values), textbook(values, noise, start))


def potentials(values):
    """Information form of the observations, missing entries left out."""
    precisions, shifts, constants = [], [], []
    for row in values:
        seen = ~np.isnan(row)
        inverse = np.linalg.inv(R[np.ix_(seen, seen)])
        precisions.append(H[seen].T @ inverse @ H[seen])
        shifts.append(H[seen].T @ inverse @ row[seen])
        constants.append(-0.5 * (row[seen] @ inverse @ row[seen] + np.log(np.linalg.det(2 * np.pi * R[np.ix_(seen, seen)]))) if seen.any() else 0.0)
    return np.array(precisions), np.array(shifts), np.array(constants)


@pytest.mark.parametrize("strategy", [filters.Extended(), filters.Unscented()])
def test_information_updates_after_any_prediction(strategy):
    values = observations()
    plain = filters.NonlinearModel(MEAN, COVARIANCE, dynamics, Q)
    same(filters.filter_information(strategy, plain, *potentials(values)), textbook(values))


def test_steps_by_hand_mix():
    values = observations()
    expected = textbook(values)
    unscented, extended = filters.Unscented(), filters.Extended()
    belief = unscented.init(model())
    precisions, shifts, constants = potentials(values)
    update, update_information = eqx.filter_jit(extended.update), eqx.filter_jit(filters.update_information)
    predictions = [eqx.filter_jit(strategy.predict) for strategy in (unscented, extended)]
    for index in range(4):
        if index % 2:
            belief, increment = update_information(belief, precisions[index], shifts[index], constants[index])
        else:
            seen = ~np.isnan(values[index])
            belief, increment = update(model(), belief, jnp.asarray(np.where(seen, values[index], 0.0)), jnp.asarray(seen))
        np.testing.assert_allclose(belief.mean, expected[0][index], rtol=1e-10)
        np.testing.assert_allclose(belief.covariance, expected[1][index], rtol=1e-10)
        np.testing.assert_allclose(increment, expected[2][index], rtol=1e-10)
        belief = predictions[index % 2](model(), belief)


def test_particles_within_monte_carlo_error():
    values = observations()
    expected = textbook(values)
    repeats = 40
    many = jax.vmap(lambda key: filters.filter(filters.Particle(1000), model(), values, key=key))(jax.random.split(jax.random.key(1), repeats))
    information = jax.vmap(lambda key: filters.filter_information(filters.Particle(1000), model(), *potentials(values), key=key))(
        jax.random.split(jax.random.key(2), repeats)
    )
    for found in (many, information):
        # The estimate of the likelihood, and of the likelihood times any moment, is unbiased; so is no ratio of them, but its bias is smaller than the error by
        # the square root of 1000 / 40. Student's t with 39 degrees of freedom beyond 5.5: 2.6e-6 for each of 2 x (16 + 32 + 1) numbers, 3e-4 in all.
        ratio = np.exp(found.log_likelihood - expected[2].sum())
        for estimates, exact in ((found.means, expected[0]), (found.covariances, expected[1]), (ratio, 1.0)):
            estimates = np.asarray(estimates)
            error = estimates.std(0, ddof=1) / np.sqrt(repeats)
            assert (np.abs(estimates.mean(0) - exact) < 5.5 * error).all()
    np.testing.assert_array_equal(many.log_increments[:, 4], 0.0)


def test_batches_by_vmap_and_no_tracing_errors():
    values = np.stack([observations(), observations()[::-1]])
    batch = jax.vmap(lambda rows: filters.filter(filters.Extended(), model(), rows))(values)
    np.testing.assert_allclose(batch.means[1], textbook(values[1])[0], rtol=1e-9)

    def log_likelihood(shift):
        tilted = filters.NonlinearModel(MEAN + shift, COVARIANCE, dynamics, Q, emission=emission, emission_covariance=R)
        return filters.filter(filters.Extended(), tilted, values[0]).log_likelihood

    slope = jax.grad(log_likelihood)(0.0)
    step = 1e-5
    np.testing.assert_allclose(slope, (log_likelihood(step) - log_likelihood(-step)) / (2 * step), rtol=1e-6)
