"""What can be read off a generator: published numbers of the flashing ratchet, closed forms, simulation-free identities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from numpy.testing import assert_allclose

from latentgate.kernels.generators import summaries
from tests.oracles.jump_process import flashing_ratchet

pytestmark = pytest.mark.usefixtures("float64")

INFINITE = np.inf


def of_rates(rates) -> np.ndarray:
    rates = np.array(rates, dtype=float)
    return rates - np.diag(rates.sum(1))


# 0 and 1 exchange, 1 leaves for 2 or for 3; 2 and 3 are absorbing.
TWO_ENDS = of_rates([[0, 2, 0, 0], [1, 0, 3, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
# 0 leads to the pair 1, 2, which is never left.
ONE_END = of_rates([[0, 1, 0.5], [0, 0, 2], [0, 3, 0]])


def test_published_ratchet():
    generators = np.stack([flashing_ratchet(height) for height in (0.0, 1.0, 2.0, 3.0)])
    law = summaries.stationary_law(generators)
    assert_allclose(law[1], [0.30119155, 0.13654175, 0.06226671, 0.20029790, 0.15913544, 0.14056668], atol=1e-8)
    assert_allclose(np.einsum("gi,gij->gj", law, generators), 0.0, atol=1e-15)
    assert_allclose(summaries.relaxation_times(generators)[1], [0.5, 0.34964, 0.28056, 0.20503, 0.15885], atol=6e-6)
    assert_allclose(summaries.entropy_production(generators), [0.0, 0.17919, 0.56565, 0.99274], atol=6e-6)
    currents = summaries.stationary_currents(generators)
    assert_allclose(currents, -np.swapaxes(currents, -1, -2))
    assert_allclose(currents.sum(-1), 0.0, atol=1e-15)


def test_stationary_law_of_reducible_chains():
    assert_allclose(summaries.stationary_law(ONE_END), [0.0, 0.6, 0.4], rtol=1e-15)
    assert_allclose(summaries.stationary_law(of_rates([[0, 1], [0, 0]])), [0.0, 1.0])
    assert np.isnan(summaries.stationary_law(TWO_ENDS)).all()
    assert np.isnan(summaries.stationary_law(np.zeros((3, 3)))).all()


def test_small_rates_keep_their_digits():
    rare = 1e-18
    law = summaries.stationary_law(of_rates([[0, rare, 0], [1, 0, rare], [0, 1, 0]]))
    assert_allclose(law, np.array([1, rare, rare**2]) / (1 + rare), rtol=1e-14)
    times = summaries.first_passage_times(of_rates([[0, rare, 0], [1, 0, rare], [0, 1, 0]]), 2)
    assert_allclose(times, [1 / rare**2 + 2 / rare, 1 / rare**2 + 1 / rare, 0.0], rtol=1e-14)


def test_sojourns_and_jumps():
    assert_allclose(summaries.mean_sojourn_times(TWO_ENDS), [0.5, 0.2, INFINITE, INFINITE])
    assert_allclose(summaries.jump_probabilities(TWO_ENDS), [[0, 1, 0, 0], [0.2, 0, 0.6, 0.2], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_passages():
    assert_allclose(summaries.hitting_probabilities(TWO_ENDS, 2), [0.75, 0.75, 1.0, 0.0], rtol=1e-15)
    assert_allclose(summaries.hitting_probabilities(ONE_END, 0), [1.0, 0.0, 0.0])
    assert_allclose(summaries.first_passage_times(TWO_ENDS, 2), [INFINITE, INFINITE, 0.0, INFINITE])
    # Mean time to the end: x0 = 1/2 + x1, x1 = 1/5 + x0/5.
    for target in ([2, 3], np.array([False, False, True, True])):
        assert_allclose(summaries.first_passage_times(TWO_ENDS, target), [0.875, 0.375, 0.0, 0.0], rtol=1e-15)
    assert_allclose(summaries.first_passage_times(ONE_END, 0), [0.0, INFINITE, INFINITE])
    generators = np.stack([flashing_ratchet(1.0), flashing_ratchet(2.0)])
    times = np.asarray(summaries.first_passage_times(generators, [0, 4]))
    kept = [1, 2, 3, 5]
    expected = np.stack([np.linalg.solve(-generator[np.ix_(kept, kept)], np.ones(4)) for generator in generators])
    assert_allclose(times[:, kept], expected, rtol=1e-13)
    assert_allclose(summaries.hitting_probabilities(generators, [0, 4]), 1.0, rtol=1e-14)


def test_targets_are_checked():
    with pytest.raises(ValueError, match="flag"):
        summaries.first_passage_times(TWO_ENDS, np.array([True, False]))
    with pytest.raises(ValueError, match="state 4"):
        summaries.first_passage_times(TWO_ENDS, [0, 4])
    with pytest.raises(ValueError, match="numbers of the states"):
        summaries.hitting_probabilities(TWO_ENDS, 0.5)


def test_occupation_is_the_integral_of_the_law():
    initial, duration = np.array([0.7, 0.3, 0.0, 0.0]), 2.3
    expected, _ = scipy.integrate.quad_vec(lambda time: initial @ scipy.linalg.expm(TWO_ENDS * time), 0, duration, epsabs=1e-13)
    durations = np.array([0.0, 1e-3, duration, 1e6])
    times = jax.jit(summaries.expected_time_in_states)(TWO_ENDS, initial, durations)
    assert_allclose(times[2], expected, rtol=1e-11)
    assert_allclose(times.sum(-1), durations, rtol=1e-13)
    assert_allclose(times[3, :2], initial[:2] @ np.linalg.inv(-TWO_ENDS[:2, :2]), rtol=1e-9)


def test_relaxation_of_cycles_and_reducible_chains():
    cycle = of_rates(np.roll(np.eye(3), 1, axis=1))
    assert_allclose(summaries.relaxation_times(cycle), [1 / 1.5, 1 / 1.5], rtol=1e-12)
    assert_allclose(summaries.relaxation_times(TWO_ENDS)[0], INFINITE)
    assert np.isfinite(summaries.relaxation_times(TWO_ENDS)[1:]).all()
    assert_allclose(summaries.relaxation_times(ONE_END), [1 / 1.5, 1 / 5], rtol=1e-12)


def test_entropy_of_one_way_edges():
    cycle = of_rates(np.roll(np.eye(3), 1, axis=1))
    assert summaries.entropy_production(cycle) == INFINITE
    # The edge 0 to 1 is one-way too, but 0 is never visited again.
    assert_allclose(summaries.entropy_production(ONE_END), 0.0, atol=1e-15)


@pytest.mark.parametrize(
    ("summary", "derivative"),
    [
        (summaries.stationary_law, jax.grad),
        (lambda generator: summaries.first_passage_times(generator, [0]), jax.grad),
        (lambda generator: summaries.hitting_probabilities(generator * jnp.array([[1.0], [1.0], [0.0]]), 0), jax.grad),
        (lambda generator: summaries.expected_time_in_states(generator, jnp.array([0.2, 0.3, 0.5]), 1.5), jax.jacfwd),
        (summaries.relaxation_times, jax.grad),
        (summaries.entropy_production, jax.jacfwd),
    ],
    ids=["stationary law", "passage", "hitting", "occupation", "relaxation", "entropy"],
)
def test_derivatives(summary, derivative):
    rates = jnp.array([0.5, 2.0, 1.5, 0.7, 0.4, 1.1])

    def weighted(rates):
        matrix = jnp.zeros((3, 3)).at[jnp.array([0, 0, 1, 1, 2, 2]), jnp.array([1, 2, 0, 2, 0, 1])].set(rates)
        answer = summary(matrix)
        return jnp.sum(answer * jnp.arange(1.0, 1.0 + answer.size).reshape(answer.shape))

    step = 1e-5
    moved = step * np.concatenate([np.eye(6), -np.eye(6)])
    values = jax.jit(jax.vmap(weighted))(rates + moved)
    assert_allclose(jax.jit(derivative(weighted))(rates), (values[:6] - values[6:]) / (2 * step), rtol=1e-7, atol=1e-8)
