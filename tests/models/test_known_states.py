"""What is read of the state itself: known, censored, misclassified; and weights that states share. Against enumeration and brute force."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
from numpy.testing import assert_allclose, assert_array_equal

import latentgate as lg
from latentgate.inference.numpyro_model import potential
from latentgate.models.distributions import Dirichlet
from latentgate.models.patterns import contrasts
from latentgate.models.simplex_rows import SimplexRows
from latentgate.models.specification import from_specification, to_specification
from latentgate.models.unconstrained import unconstrain

from .laws import as_arrays

pytestmark = pytest.mark.usefixtures("float64")

emissions = lg.emissions
ALLOWED = np.array([[True, True, False], [False, True, False], [True, True, True]])
LENGTHS = (30, 20)


def labels_and_weights(seed: int, num_inputs: int = 0):
    """Labels, a few missing, and state weights that respect the pattern; flat copies for the oracle."""
    rng = np.random.default_rng(seed)
    values = [rng.integers(0, 3, (length, 1)).astype(float) for length in LENGTHS]
    values[0][3] = np.nan
    inputs = [rng.normal(size=(length, num_inputs)) for length in LENGTHS] if num_inputs else None
    data = lg.Sequences.from_arrays(values, inputs=inputs)
    possible = np.where(data.observed, ALLOWED.T[data.values[..., 0].astype(int)], True)
    weights = rng.gamma(1.0, size=possible.shape) * possible * data.mask[..., None]
    flat = data.observed[..., 0]
    return data, weights, (data.values[flat][:, 0].astype(int), data.inputs["inputs"][flat] if num_inputs else np.zeros((flat.sum(), 0)), weights[flat])


def brute_force(labels, inputs, weights, concentration, scale):
    """Best probabilities and slopes of each state by BFGS, written out anew."""
    probs, slopes = np.zeros(ALLOWED.shape), np.zeros((*ALLOWED.shape, inputs.shape[1]))
    for state, (allowed, free) in enumerate(zip(ALLOWED, contrasts(ALLOWED), strict=True)):
        num_free = int(free.sum())

        def rows(vector, free=free, num_free=num_free):
            odds, slope = np.zeros(3), np.zeros((3, inputs.shape[1]))
            odds[free], slope[free] = vector[:num_free], vector[num_free:].reshape(num_free, -1)
            return odds, slope

        def loss(vector, state=state, allowed=allowed, rows=rows):
            odds, slope = rows(vector)
            each = np.where(allowed, np.exp(odds + inputs @ slope.T), 0.0)
            log_probs = np.log(np.where(allowed, each / each.sum(1, keepdims=True), 1.0))
            prior = np.where(allowed, (concentration - 1) * (odds - np.log(np.exp(odds[allowed]).sum())), 0.0).sum() - 0.5 * (slope**2).sum() / scale**2
            return -(weights[:, state] * log_probs[np.arange(len(labels)), labels]).sum() - prior

        if num_free:
            best = scipy.optimize.minimize(loss, np.zeros(num_free * (1 + inputs.shape[1])), options={"gtol": 1e-7})
            odds, slopes[state] = rows(best.x)
        else:
            odds = np.zeros(3)
        probs[state] = np.where(allowed, np.exp(odds), 0.0) / np.exp(odds[allowed]).sum()
    return probs, slopes


@pytest.mark.parametrize("num_inputs", [0, 2])
def test_the_m_step_of_labels_is_the_best_of_brute_force(num_inputs):
    concentration = np.array([1.5, 2.0, 1.2])
    weight_prior = dist.Normal(0.0, 0.8) if num_inputs else None
    emission = emissions.Misclassified(ALLOWED, num_inputs, prior=dist.Dirichlet(concentration), weight_prior=weight_prior)
    data, weights, flat = labels_and_weights(0, num_inputs)

    @jax.jit
    def fit(data, weights):
        start = emission.initialize(jax.random.key(0), data, 3)
        return jax.lax.fori_loop(0, 6, lambda _, params: emission.m_step(params, data, weights), start)

    found = fit(as_arrays(data), jnp.asarray(weights))
    probs, slopes = brute_force(*flat, concentration, 0.8)
    assert_allclose(found["probs"], probs, atol=1e-6)
    if num_inputs:
        assert_allclose(found["weights"], slopes, atol=1e-6)


class Other(SimplexRows):
    """The same law under another name, for which there is no closed form."""


def test_another_law_of_the_rows_is_fitted_numerically():
    data, weights, flat = labels_and_weights(1)
    emission = emissions.Misclassified(ALLOWED, prior=Other(ALLOWED, 1.5))
    assert emissions.Misclassified(ALLOWED, prior=SimplexRows(ALLOWED, 1.5)).prior.event_shape == (3,)

    @jax.jit
    def fit(data, weights):
        start = emission.initialize(jax.random.key(0), data, 3)
        return jax.lax.fori_loop(0, 4, lambda _, params: emission.m_step(params, data, weights), start)

    assert_allclose(fit(as_arrays(data), jnp.asarray(weights))["probs"], brute_force(*flat, np.full(3, 1.5), 1.0)[0], atol=1e-6)


def test_labels_start_mostly_right_and_fixed_rows_stay_fixed():
    emission = emissions.Misclassified({0: (0, 1), 1: (1,), 2: (0, 1, 2)})
    assert_array_equal(emission.pattern, ALLOWED)
    data, _, _ = labels_and_weights(0)
    probs = np.asarray(jax.jit(lambda key: emission.initialize(key, data, 3)["probs"])(jax.random.key(1)))
    assert (np.diagonal(probs) > 0.75).all()
    assert_array_equal(probs[1], [0.0, 1.0, 0.0])
    assert_array_equal(probs[~ALLOWED], 0.0)


def test_known_states_in_a_chain_are_products_of_probabilities():
    emission = emissions.KnownState(3, censored={7: (0, 2)})
    model = lg.HMM(3, emission)
    initial, transition = np.array([0.5, 0.3, 0.2]), np.random.default_rng(0).dirichlet(np.ones(3), 3)
    params = {"initial.probs": jnp.asarray(initial), "transition.probs": jnp.asarray(transition)}
    data = lg.Sequences.from_arrays([[0.0, 1.0, 1.0, 2.0], [0.0, 7.0, 1.0, np.nan], [np.nan, 7.0, 2.0, 0.0]])
    via = transition @ np.diag([1.0, 0.0, 1.0]) @ transition
    expected = [
        initial[0] * transition[0, 1] * transition[1, 1] * transition[1, 2],
        initial[0] * via[0, 1],
        (initial @ via)[2] * transition[2, 0],
    ]
    assert_allclose(model.log_likelihood(params, data), np.log(expected), rtol=1e-12)
    assert model.priors().keys() == model.dims().keys() == params.keys()
    simulated, states = model.simulate(jax.random.key(0), params, [6, 4])
    for values, path in zip(simulated.to_list(), states, strict=True):
        assert_array_equal(values[:, 0], path)


READINGS = emissions.Product(
    state=emissions.KnownState(3, censored={7: (0, 2)}), label=emissions.Misclassified({0: (0, 1), 1: (0, 1, 2), 2: (2,)}, num_inputs=1)
)


def readings(share_known: float) -> lg.Sequences:
    """A state known at times, and a label that is wrong in a fifth of the cases."""
    rng = np.random.default_rng(3)
    states = [rng.integers(0, 3, length) for length in (25, 25)]
    labels = [np.where((state < 2) & (rng.random(state.size) < 0.2), 1 - np.minimum(state, 1), state) for state in states]
    known = [np.where(rng.random(state.size) < share_known, state, np.nan) for state in states]
    arrays = [np.stack(pair, axis=1) for pair in zip(known, labels, strict=True)]
    return lg.Sequences.from_arrays(arrays, inputs=[rng.normal(size=(25, 1)) for _ in states])


def test_em_with_known_states_counts():
    label = emissions.Misclassified({0: (0, 1), 1: (0, 1), 2: (2,)})
    data = readings(1.0)
    fit = lg.fit(lg.HMM(3, emissions.Product(state=READINGS.parts[0], label=label)), data, lg.EM(max_iterations=5), seed=0)
    counts = np.zeros((3, 3))
    np.add.at(counts, tuple(data.values.reshape(-1, 2).astype(int).T), 1)
    weight = np.where(label.pattern, counts + 0.1, 0.0)
    assert_allclose(fit.params["emission.label.probs"], weight / weight.sum(1, keepdims=True), rtol=1e-10)


def test_the_posterior_density_has_the_free_coordinates_alone():
    model, data = lg.HMM(3, READINGS), readings(0.3)

    @jax.jit
    def question(key):
        free = unconstrain(model.priors(), model.initialize(key, data))
        return free, *jax.value_and_grad(lambda free: potential(model, data, free))(free)

    free, value, slope = question(jax.random.key(0))
    assert free["emission.label.probs"].shape == free["emission.label.weights"].shape == (3,)
    assert np.isfinite(value)
    assert all(np.isfinite(one).all() for one in slope.values())


def test_what_is_possible_is_what_has_a_likelihood():
    data = readings(0.5)
    params = READINGS.initialize(jax.random.key(0), data, 3)
    possible = READINGS.possible(data, 3)
    assert_array_equal(possible, np.isfinite(READINGS.log_likelihood(params, data)))
    assert 0 < possible.mean() < 1


def test_readings_are_restored_from_a_file():
    restored = from_specification(json.loads(json.dumps(to_specification(READINGS))))
    assert repr(restored.parts[0]) == repr(READINGS.parts[0])
    assert restored.priors(3)["label.probs"].support == READINGS.priors(3)["label.probs"].support
    assert isinstance(restored.parts[1].prior, Dirichlet)


def test_tied_weights_are_joint_weighted_least_squares():
    rng = np.random.default_rng(5)
    inputs = [rng.normal(size=(length, 2)) for length in LENGTHS]
    data = lg.Sequences.from_arrays([rng.normal(size=(length, 2)) + row[:, :1] for length, row in zip(LENGTHS, inputs, strict=True)], inputs=inputs)
    weights = rng.gamma(1.0, size=(2, 30, 3)) * data.mask[..., None]
    wide = dist.Normal(0.0, 1e6)
    emission = emissions.LinearRegression(2, 2, tied=True, weight_prior=wide, bias_prior=wide)
    params = {"weights": jnp.zeros((2, 2)), "bias": jnp.zeros((3, 2)), "covariances": jnp.asarray(rng.gamma(2.0, size=(3, 2)))}
    found = jax.jit(emission.m_step)(params, as_arrays(data), jnp.asarray(weights))
    real = np.asarray(data.mask)
    for feature in range(2):
        # Every step once for each state, with an indicator of the state beside the inputs.
        design = np.concatenate([np.hstack([data.inputs["inputs"][real], np.tile(np.eye(3)[state], (real.sum(), 1))]) for state in range(3)])
        target = np.tile(data.values[real][:, feature], 3)
        scale = np.concatenate([np.sqrt(weights[real][:, state] / params["covariances"][state, feature]) for state in range(3)])
        solution = np.linalg.lstsq(design * scale[:, None], target * scale, rcond=None)[0]
        assert_allclose(found["weights"][feature], solution[:2], rtol=1e-8)
        assert_allclose(found["bias"][:, feature], solution[2:], rtol=1e-8)


def test_tied_and_untied_regressions_start_from_each_other():
    tied, untied = emissions.LinearRegression(1, 2, tied=True), emissions.LinearRegression(1, 2)
    params = {"weights": jnp.array([[[1.0, 2.0]], [[3.0, 4.0]]]), "bias": jnp.zeros((2, 1)), "covariances": jnp.ones((2, 1))}
    shared = tied.adopt(untied, params)
    assert_array_equal(shared["weights"], [[2.0, 3.0]])
    assert_array_equal(untied.adopt(tied, shared)["weights"], [[[2.0, 3.0]], [[2.0, 3.0]]])
    assert_array_equal(untied.adopt(untied, params)["weights"], params["weights"])
