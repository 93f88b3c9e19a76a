"""Transitions against their formulas, and their M-steps against the objective they must raise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import latentgate as lg
from latentgate.models.base import log_prior

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    lengths = (6, 4)
    return lg.Sequences.from_arrays([np.zeros((n, 1)) for n in lengths], inputs={"task": [rng.normal(size=(n, 2)) for n in lengths]})


@pytest.mark.parametrize("per_origin", [False, True])
def test_gated_transitions_are_their_formula(per_origin, data):
    gated = lg.transitions.Gated(2, inputs="task", per_origin=per_origin)
    params = {name: np.asarray(value) for name, value in gated.initialize(jax.random.key(1), data, 3).items()}
    found = np.asarray(gated.log_probs(params, data))
    inputs = np.asarray(data.inputs["task"])
    for sequence, length in enumerate(data.lengths):
        for t in range(1, length):
            for i in range(3):
                weights = params["weights"][i] if per_origin else params["weights"]
                scores = np.log(params["probs"][i]) + weights @ inputs[sequence, t]
                np.testing.assert_allclose(found[sequence, t - 1, i], scores - np.logaddexp.reduce(scores), rtol=1e-12)
    step = gated.step_probs(params, {"task": jnp.asarray(inputs[0, 3])})
    np.testing.assert_allclose(step, np.exp(found[0, 2]), rtol=1e-12)


@pytest.mark.parametrize(
    "transition",
    [
        lg.transitions.Stationary(1.5),
        lg.transitions.Sticky(3.0),
        lg.transitions.Gated(2, inputs="task"),
        lg.transitions.Gated(2, inputs="task", per_origin=True),
    ],
    ids=["stationary", "sticky", "gated", "gated per origin"],
)
def test_m_step_raises_its_objective(transition, data):
    params = transition.initialize(jax.random.key(1), data, 3)
    constant = transition.log_probs(params, data).ndim == 3
    rng = np.random.default_rng(3)
    expected = rng.gamma(1.0, 1.0, (2, 3, 3) if constant else (2, 5, 3, 3))
    if not constant:
        expected[1, 3:] = 0

    def objective(params):
        log_probs = transition.log_probs(params, data)
        return float((expected * log_probs).sum() + log_prior(transition.priors(3), params))

    values = [objective(params)]
    for _ in range(3):
        params = transition.m_step(params, data, jnp.asarray(expected))
        values.append(objective(params))
    assert (np.diff(values) >= -1e-9).all()
    assert values[-1] > values[0] + 0.1
    if constant:
        counts = expected.sum(0) + np.asarray(transition.concentrations(3)) - 1
        np.testing.assert_allclose(params["probs"], counts / counts.sum(-1, keepdims=True))


def test_a_row_never_visited_keeps_what_it_had(data):
    transition = lg.transitions.Stationary()
    params = transition.initialize(jax.random.key(0), data, 3)
    expected = jnp.ones((2, 3, 3)).at[:, 1].set(0.0)
    new = transition.m_step(params, data, expected)
    np.testing.assert_array_equal(new["probs"][1], params["probs"][1])
    assert np.isfinite(log_prior(transition.priors(3), {"probs": jnp.eye(3)}))


def test_inputs_of_transition_and_emission_may_differ(data):
    emission = lg.emissions.PoissonGLM(1, num_inputs=1, inputs="stimulus")
    model = lg.HMM(2, emission, lg.transitions.Gated(2, inputs="task"))
    with pytest.raises(ValueError, match="stimulus"):
        model.check(data)
    both = data.with_inputs({"task": data.inputs["task"], "stimulus": np.ones((2, 6, 1))})
    model.check(both)
    params = model.initialize(jax.random.key(0), both)
    assert np.isfinite(model.log_likelihood(params, both)).all()
    with pytest.raises(ValueError, match="found 2 columns, expected 3"):
        lg.transitions.Gated(3, inputs="task").check(both)
