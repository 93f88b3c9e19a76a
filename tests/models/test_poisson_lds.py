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
HISTORY = lg.basis.RaisedCosine(2, window=3)


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
    """Node precisions [time, latent, latent] at the mode, found by damped Newton with dense matrices, and Laplace's approximation."""
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
    loadings = params["emission.matrix"]
    precision = np.einsum("tn,ni,nj->tij", curvature.reshape(len(counts), -1), loadings, loadings)
    return precision, log_likelihood + log_prior - 0.5 * np.linalg.slogdet(weighted)[1]


@pytest.fixture(scope="module")
def recording():
    """Ragged sequences, one of a single step, with a missing step and a missing entry."""
    random = np.random.default_rng(0)
    arrays = [random.poisson(1.5, (num_steps, NUM_NEURONS)).astype(float) for num_steps in (6, 4, 1)]
    arrays[0][2], arrays[0][3, 1] = np.nan, np.nan
    return arrays


def example(link, approximation, arrays):
    """A model with history, parameters nowhere near special, and a function that gives the log-normaliser, its gradient and the nodes."""
    model = PoissonLDS(SIZE, NUM_NEURONS, link=link, history=HISTORY, approximation=approximation)
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
        return values.sum(), (values, chain.nodes)

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


def exact_of_one_step(link, params, counts):
    """Log-likelihood of one step by summation over a grid of both latents."""
    grid = np.linspace(-8, 8, 401)
    latents = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1)
    away, covariance = latents - params["initial.mean"], params["initial.covariance"]
    log_density = -0.5 * np.einsum("xyi,ij,xyj->xy", away, np.linalg.inv(covariance), away) - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    rate = rates_of(link, latents @ params["emission.matrix"].T + params["emission.bias"])[0]
    log_density += (counts * np.log(rate) - rate - gammaln(counts + 1)).sum(-1)
    return np.log(np.exp(log_density).sum() * (grid[1] - grid[0]) ** 2)


@pytest.mark.parametrize("link", ["exp", "softplus"])
def test_laplace_is_that_of_dense_algebra_and_so_is_its_gradient(link, recording):
    _, params, answer = example(link, "laplace", recording)
    (_, (values, nodes)), gradient = answer(params)
    basis = HISTORY.matrix()
    for index, counts in enumerate(recording):
        precision, log_likelihood = dense_laplace(link, params, counts, basis)
        np.testing.assert_allclose(nodes.precision[index, : len(counts)], precision, atol=1e-11)
        np.testing.assert_allclose(values[index], log_likelihood, atol=1e-11)
    # Laplace's approximation is good to some hundredths of a nat here.
    np.testing.assert_allclose(values[2], exact_of_one_step(link, params, recording[2][0]), atol=0.03)

    def dense(params):
        return sum(dense_laplace(link, params, counts, basis)[1] for counts in recording)

    for name, direction in directions(params):
        np.testing.assert_allclose((gradient[name] * direction).sum(), directional(dense, params, name, direction), rtol=1e-7, atol=1e-8, err_msg=name)


def test_the_bound_is_below_stationary_and_differentiable(recording):
    _, params, answer = example("exp", "variational", recording)
    (_, (values, nodes)), gradient = answer(params)
    exact = exact_of_one_step("exp", params, recording[2][0])
    assert exact - 0.03 < values[2] < exact
    # Every stationary point has the counts' average curvature under the smoothed law for node precisions.
    mean, covariance = dense_law(params, 4)
    precision, shift, loadings = np.asarray(nodes.precision)[1, :4], np.asarray(nodes.shift)[1, :4], params["emission.matrix"]
    joint = np.linalg.inv(covariance)
    smoothed = np.linalg.inv(joint + np.einsum("tij,tu->tiuj", precision, np.eye(4)).reshape(8, 8))
    means = (smoothed @ (joint @ mean + shift.ravel())).reshape(4, 2)
    own = np.einsum("titj->tij", smoothed.reshape(4, 2, 4, 2))
    offset = params["emission.bias"] + np.einsum("tnb,nb->tn", filtered_past(recording[1], HISTORY.matrix()), params["emission.history"])
    rates = np.exp(means @ loadings.T + offset + 0.5 * np.einsum("ni,tij,nj->tn", loadings, own, loadings))
    np.testing.assert_allclose(precision, np.einsum("tn,ni,nj->tij", rates, loadings, loadings), rtol=1e-6)
    np.testing.assert_allclose(shift, (recording[1] - rates + rates * (means @ loadings.T)) @ loadings, rtol=1e-6, atol=1e-8)
    for name, direction in directions(params):
        numerical = directional(lambda moved: float(answer(moved)[0][0]), params, name, direction)
        np.testing.assert_allclose((gradient[name] * direction).sum(), numerical, rtol=1e-6, atol=1e-7, err_msg=name)


def test_the_filter_is_causal_and_each_step_is_laplace_given_the_ones_before(recording):
    model, params, _ = example("exp", "laplace", recording)
    basis = HISTORY.matrix()
    changed = [counts.copy() for counts in recording]
    changed[0][4:] += 3
    filtered, other = (model.filter(params, lg.Sequences.from_arrays(arrays)) for arrays in (recording, changed))
    np.testing.assert_array_equal(filtered.means[0, :4], other.means[0, :4])
    assert np.abs(filtered.means[0, 4:] - other.means[0, 4:]).min() > 0.1
    _, first = dense_laplace("exp", params, recording[0][:1], basis)
    matrix = params["dynamics.matrix"]
    after = params | {
        "initial.mean": matrix @ filtered.means[0, 0] + params["dynamics.bias"],
        "initial.covariance": matrix @ filtered.covariances[0, 0] @ matrix.T + params["dynamics.covariance"],
        "emission.bias": params["emission.bias"] + (filtered_past(recording[0], basis)[1] * params["emission.history"]).sum(-1),
    }
    _, second = dense_laplace("exp", after, recording[0][1:2], basis)
    np.testing.assert_allclose(filtered.log_increments[0, :2], [first, second], atol=1e-11)


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
    with pytest.raises(ValueError, match=r"history_prior: .* there is no history"):
        PoissonLDS(2, 3, history_prior=PoissonLDS(2, 3).bias_prior)
    with pytest.raises(ValueError, match=r"expected counts 0, 1, 2"):
        PoissonLDS(2, 1).check(lg.Sequences.from_arrays([np.array([0.5, 1.0])]))
    with pytest.raises(ValueError, match="found 1 feature, expected 3"):
        PoissonLDS(2, 3).check(lg.Sequences.from_arrays([np.array([0.0, 1.0])]))
