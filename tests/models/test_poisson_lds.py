"""The Poisson linear dynamical system: Laplace's approximation against dense algebra and quadrature, the bound, EM, recovery."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.special import gammaln

import latentgate as lg
from latentgate.models import PoissonLDS

pytestmark = pytest.mark.usefixtures("float64")

NUM_NEURONS, SIZE = 5, 2


def rates_of(link, predictor):
    """Rate and its first two derivatives."""
    if link == "exp":
        return (np.exp(predictor),) * 3
    slope = 1 / (1 + np.exp(-predictor))
    return np.logaddexp(0, predictor), slope, slope * (1 - slope)


def dense_law(params, num_steps):
    """Mean and covariance of the whole path before any data."""
    matrix, bias, noise = (params[f"dynamics.{name}"] for name in ("matrix", "bias", "covariance"))
    means, covariances = [params["initial.mean"]], [params["initial.covariance"]]
    for _ in range(num_steps - 1):
        means.append(matrix @ means[-1] + bias)
        covariances.append(matrix @ covariances[-1] @ matrix.T + noise)
    size = len(bias)
    joint = np.zeros((num_steps, size, num_steps, size))
    for first in range(num_steps):
        block = covariances[first]
        for second in range(first, num_steps):
            joint[second, :, first], joint[first, :, second] = block, block.T
            block = matrix @ block
    return np.concatenate(means), joint.reshape(num_steps * size, -1)


def filtered_past(counts, basis):
    """Own past spikes through a basis [lag, function], [time, neuron, function]."""
    past = np.zeros((*counts.shape, basis.shape[1]))
    for step, lag in itertools.product(range(len(counts)), range(1, len(basis) + 1)):
        if step >= lag:
            past[step] += counts[step - lag][:, None] * basis[lag - 1]
    return past


def dense_laplace(link, params, counts, basis):
    """Mode [time, latent] by damped Newton with dense matrices, and Laplace's approximation; the noise may be singular."""
    mean, covariance = dense_law(params, len(counts))
    observed, values = ~np.isnan(counts).ravel(), np.nan_to_num(counts)
    design = np.kron(np.eye(len(counts)), params["emission.matrix"])
    offset = params["emission.bias"] + (0.0 if basis is None else np.einsum("tnb,nb->tn", filtered_past(values, basis), params["emission.history"]))
    values, offset = values.ravel(), offset.ravel()
    path = mean
    for _ in range(60):
        rate, first, second = rates_of(link, design @ path + offset)
        slope = np.where(observed, values * first / rate - first, 0.0)
        curvature = np.where(observed, second - values * (second / rate - (first / rate) ** 2), 0.0)
        weighted = np.eye(len(path)) + covariance @ design.T @ (curvature[:, None] * design)
        step = np.linalg.solve(weighted, mean + covariance @ design.T @ slope - path)
        path = path + np.clip(step, -1, 1)
    log_likelihood = np.where(observed, values * np.log(rate) - rate - gammaln(values + 1), 0.0).sum()
    log_prior = -0.5 * (design.T @ slope) @ (path - mean)
    return path.reshape(len(counts), -1), log_likelihood + log_prior - 0.5 * np.linalg.slogdet(weighted)[1]


@pytest.fixture(scope="module")
def recording():
    """Two ragged sequences with a missing step and a missing entry."""
    random = np.random.default_rng(0)
    arrays = [random.poisson(1.5, (num_steps, NUM_NEURONS)).astype(float) for num_steps in (6, 4)]
    arrays[0][2], arrays[0][3, 1] = np.nan, np.nan
    return arrays


def example(link, approximation, arrays):
    """A model with history, parameters nowhere near special, and its chain's answers with the gradient of the log-normaliser."""
    model = PoissonLDS(SIZE, NUM_NEURONS, link=link, history=lg.basis.RaisedCosine(2, window=3), approximation=approximation)
    data = lg.Sequences.from_arrays(arrays)
    random = np.random.default_rng(1)
    params = {
        "initial.mean": np.array([0.5, 0.0]),
        "initial.covariance": np.array([[1.0, 0.3], [0.3, 0.7]]),
        "dynamics.matrix": np.array([[0.9, 0.2], [-0.1, 0.8]]),
        "dynamics.bias": np.array([0.3, -0.2]),
        "dynamics.covariance": np.array([[0.3, 0.1], [0.1, 0.2]]),
        "emission.matrix": 0.6 * random.normal(size=(NUM_NEURONS, SIZE)),
        "emission.bias": 0.3 * random.normal(size=NUM_NEURONS),
        "emission.history": 0.2 * random.normal(size=(NUM_NEURONS, 2)),
    }

    def answer(params):
        chain = model.potentials(params, data)
        values = chain.log_normaliser()
        return values.sum(), (values, chain.nodes.precision, chain.smooth())

    return model, params, jax.jit(jax.value_and_grad(answer, has_aux=True))


def directional(function, params, name, direction, step=1e-4):
    """Derivative in one direction by central differences of fourth order."""
    at = [function({**params, name: params[name] + factor * step * direction}) for factor in (-2, -1, 1, 2)]
    return (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)


def directions(params):
    random = np.random.default_rng(2)
    for name, value in params.items():
        direction = random.normal(size=value.shape)
        yield name, direction + direction.T if name.endswith("covariance") else direction


@pytest.mark.parametrize("link", ["exp", "softplus"])
def test_laplace_is_that_of_dense_algebra_and_so_is_its_gradient(link, recording):
    model, params, answer = example(link, "laplace", recording)
    (_, (values, _, smoothed)), gradient = answer(params)
    basis = model.history.matrix()
    for index, counts in enumerate(recording):
        path, log_likelihood = dense_laplace(link, params, counts, basis)
        np.testing.assert_allclose(smoothed.means[index, : len(counts)], path, atol=1e-12)
        np.testing.assert_allclose(values[index], log_likelihood, atol=1e-11)

    def dense(params):
        return sum(dense_laplace(link, params, counts, basis)[1] for counts in recording)

    for name, direction in directions(params):
        np.testing.assert_allclose((gradient[name] * direction).sum(), directional(dense, params, name, direction), rtol=1e-7, atol=1e-8, err_msg=name)


def test_the_bound_is_stationary_in_its_nodes_and_differentiable(recording):
    _, params, answer = example("exp", "variational", recording)
    (_, (_, precision, smoothed)), gradient = answer(params)
    loadings = params["emission.matrix"]
    # The counts' average curvature under the smoothed law: what every stationary point has for nodes.
    past = filtered_past(np.asarray(recording[1]), lg.basis.RaisedCosine(2, window=3).matrix())
    offset = params["emission.bias"] + np.einsum("tnb,nb->tn", past, params["emission.history"])
    means, covariances = np.asarray(smoothed.means)[1, :4], np.asarray(smoothed.covariances)[1, :4]
    rates = np.exp(means @ loadings.T + offset + 0.5 * np.einsum("ni,tij,nj->tn", loadings, covariances, loadings))
    np.testing.assert_allclose(precision[1, :4], np.einsum("tn,ni,nj->tij", rates, loadings, loadings), rtol=1e-6)
    for name, direction in directions(params):
        numerical = directional(lambda moved: float(answer(moved)[0][0]), params, name, direction)
        np.testing.assert_allclose((gradient[name] * direction).sum(), numerical, rtol=1e-6, atol=1e-7, err_msg=name)


def test_both_approximations_are_near_the_integral_and_the_bound_is_below():
    data = lg.Sequences.from_arrays([np.array([[3.0, 1.0], [0.0, 2.0]])])
    params = {
        "dynamics.matrix": np.array([[0.8]]),
        "dynamics.bias": np.array([0.1]),
        "dynamics.covariance": np.array([[0.5]]),
        "initial.mean": np.array([0.2]),
        "initial.covariance": np.array([[1.0]]),
        "emission.matrix": np.array([[0.7], [-0.4]]),
        "emission.bias": np.array([0.3, 0.1]),
    }
    mean, covariance = dense_law(params, 2)
    grid = np.linspace(-9, 9, 721)
    paths = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1)
    away = paths - mean
    log_density = -0.5 * np.einsum("xyi,ij,xyj->xy", away, np.linalg.inv(covariance), away) - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    predictor = paths[..., None] * params["emission.matrix"][:, 0] + params["emission.bias"]
    log_density += (data.values[0] * predictor - np.exp(predictor) - gammaln(data.values[0] + 1)).sum((-1, -2))
    exact = np.log(np.exp(log_density).sum() * (grid[1] - grid[0]) ** 2)
    laplace = PoissonLDS(1, 2).log_likelihood(params, data)[0]
    bound = PoissonLDS(1, 2, approximation="variational").log_likelihood(params, data)[0]
    assert abs(laplace - exact) < 0.03
    assert exact - 0.03 < bound < exact


@pytest.fixture(scope="module")
def simulated():
    """Forty short trials of two rotating latents, fifteen neurons, the last of them silent."""
    model = PoissonLDS(2, 15)
    random = np.random.default_rng(3)
    angle = 0.3
    params = {
        "initial.mean": np.zeros(2),
        "initial.covariance": np.eye(2),
        "dynamics.matrix": 0.97 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]),
        "dynamics.bias": np.zeros(2),
        "dynamics.covariance": 0.05 * np.eye(2),
        "emission.matrix": random.normal(size=(15, 2)),
        "emission.bias": np.full(15, -0.7),
    }
    params["emission.bias"][-1] = -40.0
    data, _ = model.simulate(jax.random.key(0), {name: jnp.asarray(value) for name, value in params.items()}, [30] * 40)
    return params, data


@pytest.mark.parametrize("approximation", ["laplace", "variational"])
def test_em_climbs_and_recovers_the_latents(approximation, simulated):
    params, data = simulated
    assert np.asarray(data.values)[..., -1].sum() == 0
    fit = lg.fit(PoissonLDS(2, 15, approximation=approximation), data, lg.EM(max_iterations=20, block=20), seed=0, progress=False)
    history = fit.log_joint_history
    assert not fit.restarts[0].outcome.failed
    assert history[-1] > history[0] + 50
    assert all(np.isfinite(value).all() for value in fit.params.values())
    # Two random planes in fifteen dimensions are more than a radian apart.
    assert subspace_angles(params["emission.matrix"][:-1], fit.params["emission.matrix"][:-1]).max() < 0.2
    turn = np.abs(np.angle(np.linalg.eigvals(fit.params["dynamics.matrix"])))
    np.testing.assert_allclose(turn, 0.3, atol=0.05)
    if approximation == "variational":
        assert np.diff(history[np.isfinite(history)]).min() > -1e-9 * abs(history[0])


def test_a_refractory_history_keeps_spikes_apart():
    model = PoissonLDS(1, 2, history=lg.basis.Separate(1))
    params = {
        "initial.mean": jnp.zeros(1),
        "initial.covariance": jnp.eye(1),
        "dynamics.matrix": 0.5 * jnp.eye(1),
        "dynamics.bias": jnp.zeros(1),
        "dynamics.covariance": 0.1 * jnp.eye(1),
        "emission.matrix": jnp.zeros((2, 1)),
        "emission.bias": jnp.full(2, -0.5),
        "emission.history": jnp.array([[-20.0], [0.0]]),
    }
    values = np.asarray(model.simulate(jax.random.key(1), params, [2000])[0].values)[0] > 0
    neighbours = (values[1:] & values[:-1]).sum(0)
    assert neighbours[0] == 0
    assert neighbours[1] > 300


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="link: found 'log', expected one of 'exp', 'softplus'"):
        PoissonLDS(2, 3, link="log")
    with pytest.raises(ValueError, match="approximation: found 'exact'"):
        PoissonLDS(2, 3, approximation="exact")
    with pytest.raises(ValueError, match="history_prior: .* there is no history"):
        PoissonLDS(2, 3, history_prior=PoissonLDS(2, 3).bias_prior)
    with pytest.raises(ValueError, match=r"expected counts 0, 1, 2"):
        PoissonLDS(2, 1).check(lg.Sequences.from_arrays([np.array([0.5, 1.0])]))
    with pytest.raises(ValueError, match="found 1 features, expected 3"):
        PoissonLDS(2, 3).check(lg.Sequences.from_arrays([np.array([0.0, 1.0])]))
