"""What is refused before anything is compiled, and the pieces of the particle filter."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import latentgate.filters as filters
from latentgate.filters.particle import systematic


def build(**changes):
    arguments = {
        "initial_mean": np.zeros(2),
        "initial_covariance": np.eye(2),
        "dynamics": lambda z: 0.5 * z,
        "dynamics_covariance": np.eye(2),
        "emission": lambda z: jnp.stack([z[0], z[1], z[0] + z[1]]),
        "emission_covariance": np.eye(3),
    }
    return filters.NonlinearModel(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial_mean": np.zeros((2, 1))}, r"initial_mean: found shape \(2, 1\)"),
        ({"initial_covariance": np.eye(3)}, r"initial_covariance: found shape \(3, 3\), expected \(2, 2\)"),
        ({"dynamics_covariance": np.diag([1.0, -0.1])}, "dynamics_covariance: found the eigenvalue -0.1, expected a positive semidefinite"),
        ({"dynamics_covariance": np.array([[1.0, 0.5], [0.0, 1.0]])}, "dynamics_covariance: found a matrix that is not symmetric"),
        ({"emission_covariance": np.full((3, 3), np.nan)}, "emission_covariance: found NaN"),
        ({"emission_covariance": np.eye(2)}, r"emission_covariance: found shape \(2, 2\), expected \(3, 3\)"),
        ({"emission_covariance": None}, "emission_covariance: found None, expected both"),
        ({"emission": None}, "emission: found None, expected both"),
        ({"dynamics": lambda z: z[:1]}, r"dynamics: found a result of shape \(1,\)"),
        ({"emission": lambda z: z[0]}, r"emission: found a result of shape \(\)"),
    ],
)
def test_models(changes, message):
    with pytest.raises(ValueError, match=message):
        build(**changes)


def test_functions_are_functions():
    with pytest.raises(TypeError, match="dynamics: found ndarray, expected a function"):
        build(dynamics=np.eye(2))
    with pytest.raises(TypeError, match="log_likelihood: found float"):
        build(log_likelihood=1.0)


def test_filter_arguments():
    values = np.zeros((4, 3))
    infinite = values.copy()
    infinite[2, 1] = np.inf
    plain = build(emission=None, emission_covariance=None)
    for arguments, message in (
        ((filters.Extended(), build(), values[:, :2]), r"observations: found shape \(4, 2\), expected \[time, 3\]"),
        ((filters.Extended(), build(), values[:0]), "at least one step"),
        ((filters.Extended(), build(), infinite), "infinity at step 2, entry 1"),
        ((filters.Extended(), plain, values), "model: found no emission"),
        ((filters.Particle(), build(), values), "key: found None"),
        ((filters.Particle(), build(emission_covariance=np.ones((3, 3))), values, jax.random.key(0)), "emission_covariance: found a singular matrix"),
        ((filters.Particle(), build(log_likelihood=lambda z, y: z), values, jax.random.key(0)), r"log_likelihood: found a result of shape \(2,\)"),
        ((filters.Unscented(kappa=-2.0), build(), values), "kappa: found -2.0, expected a number above -2"),
    ):
        with pytest.raises(ValueError, match=message):
            filters.filter(*arguments)
    with pytest.raises(TypeError, match="strategy: found the class Extended, expected an instance"):
        filters.filter(filters.Extended, build(), values)
    with pytest.raises(TypeError, match="model: found ndarray"):
        filters.filter(filters.Extended(), values, values)


def test_information_arguments():
    shifts, precisions = np.zeros((4, 2)), np.zeros((4, 2, 2))
    for arguments, message in (
        ((precisions, shifts[:, :1]), r"shifts: found shape \(4, 1\)"),
        ((precisions[:3], shifts), r"precisions: found shape \(3, 2, 2\), expected \(4, 2, 2\) or \(2, 2\)"),
        ((precisions, shifts, np.zeros(3)), r"log_constants: found shape \(3,\)"),
        ((precisions, shifts * np.nan), "shifts: found NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            filters.filter_information(filters.Extended(), build(), *arguments)
    belief = filters.Extended().init(build())
    with pytest.raises(ValueError, match="precision and shift"):
        filters.update_information(belief, np.eye(3), np.zeros(3))
    with pytest.raises(TypeError, match="belief: found ndarray"):
        filters.update_information(shifts, np.eye(2), np.zeros(2))


def test_strategies():
    for wrong in (0, True, 2.0):
        with pytest.raises(ValueError, match="iterations"):
            filters.Iterated(wrong)
        with pytest.raises(ValueError, match="num_particles"):
            filters.Particle(wrong)
    for wrong in (-0.1, 1.1, np.nan, True):
        with pytest.raises(ValueError, match="resample_below"):
            filters.Particle(10, wrong)
    for arguments in ({"alpha": 0.0}, {"alpha": np.nan}, {"beta": "two"}, {"kappa": np.inf}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            filters.Unscented(**arguments)


def test_systematic_resampling():
    weights = np.array([0.0, 0.31, 0.0, 0.59, 0.1, 0.0])
    with np.errstate(divide="ignore"):
        log_weights = jnp.log(jnp.asarray(weights))
    draws = np.asarray(jax.vmap(lambda key: systematic(key, log_weights))(jax.random.split(jax.random.key(0), 2000)))
    counts = np.stack([np.bincount(row, minlength=6) for row in draws])
    assert (counts[:, weights == 0] == 0).all()
    assert (np.abs(counts - 6 * weights) < 1).all()
    # Unbiased: each count is one of two neighbours, so its mean is that of a coin; five standard deviations, a false alarm in 6e-7 for each of six.
    np.testing.assert_allclose(counts.mean(0), 6 * weights, atol=5 * 0.5 / np.sqrt(2000))


def test_improper_potential_is_not_hidden():
    update, start = eqx.filter_jit(filters.update_information), filters.Extended().init(build())
    belief, increment = update(start, -2.0 * np.eye(2), np.zeros(2))
    assert np.isnan(belief.covariance).all()
    assert np.isnan(increment)
    belief, _ = update(start, -0.5 * np.eye(2), np.zeros(2))
    np.testing.assert_allclose(belief.covariance, 2.0 * np.eye(2))
