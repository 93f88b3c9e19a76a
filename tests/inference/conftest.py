"""Small models and data for the engines."""

import jax
import numpy as np
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


def small_models() -> dict[str, tuple[lg.HMM, lg.Sequences]]:
    """{name: (model, data)}: one row of every kind of transition and count emission."""
    rng = np.random.default_rng(0)
    lengths = [40, 25, 30]
    inputs = [rng.normal(size=(length, 2)) for length in lengths]
    counts = lg.Sequences.from_arrays(
        [rng.poisson(1.0 + 2.0 * (rng.random((length, 1)) > 0.5), (length, 3)).astype(float) for length in lengths], inputs=inputs
    )
    missing = []
    for array in counts.to_list():
        array[rng.random(array.shape) < 0.2] = np.nan
        missing.append(array)
    with_missing = lg.Sequences.from_arrays(missing, inputs=inputs)
    poisson = lg.emissions.Poisson(3)

    def glm(coupling, **options):
        return lg.emissions.PoissonGLM(3, history=lg.basis.RaisedCosine(2, window=4), coupling=coupling, **options)

    return {
        "poisson": (lg.HMM(2, poisson), counts),
        "poisson, missing": (lg.HMM(2, poisson), with_missing),
        "sticky": (lg.HMM(3, poisson, lg.transitions.Sticky(5.0)), counts),
        "gated": (lg.HMM(2, poisson, lg.transitions.Gated(2)), counts),
        "gated per origin": (lg.HMM(2, poisson, lg.transitions.Gated(2, per_origin=True)), counts),
        "ridge": (lg.HMM(2, glm(lg.priors.Ridge(0.5), link="softplus", num_inputs=2)), counts),
        "glm, missing": (lg.HMM(2, glm(lg.priors.Ridge(0.5))), with_missing),
        "l1": (lg.HMM(2, glm(lg.priors.L1(0.2), self_history="coupled")), counts),
        "tied": (lg.HMM(2, glm(lg.priors.GaussianTied(), self_history="none")), counts),
        "one-hot": (lg.HMM(2, glm(lg.priors.OneHot(), link="softplus")), counts),
        "one-hot, categorical": (lg.HMM(2, glm(lg.priors.OneHot("categorical"))), counts),
        "one-hot, dale": (lg.HMM(2, glm(lg.priors.OneHot(dale=True))), counts),
        "negative binomial glm": (lg.HMM(2, lg.emissions.NegativeBinomialGLM(3)), counts),
        "one state": (lg.HMM(1, glm(None)), counts),
    }
