"""Small models and data for the engines."""

import jax
import pytest

import latentgate as lg


@pytest.fixture
def float64():
    """Double precision for one test, without touching the global configuration."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def poisson_data() -> lg.Sequences:
    """Three well separated states, five neurons, six ragged sequences."""
    return lg.simulators.simulate_poisson_hmm(3, num_states=3, num_neurons=5, num_steps=[60, 50, 40, 60, 30, 55], num_sequences=6).data
