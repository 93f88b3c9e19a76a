"""EM and MAP: monotone, reproducible, in agreement, and clear when they fail."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import latentgate as lg
from latentgate.inference import blocks

from ..model_table import small_models

MODELS = small_models()


@pytest.mark.parametrize("name", MODELS)
def test_em_is_monotone_in_every_restart(name, float64):
    model, data = MODELS[name]
    fit = lg.fit(model, data, lg.EM(restarts=2, max_iterations=12, block=6), seed=4)
    for record in fit.restarts:
        history = record.log_joint_history
        assert np.isfinite(history).all()
        assert (np.diff(history) >= -1e-9 * np.abs(history[1:])).all()
        assert not record.outcome.failed
    assert fit.log_joint_history[-1] > fit.log_joint_history[0]


@pytest.mark.parametrize("name", ["poisson", "gated", "one-hot"])
def test_gradient_of_the_auxiliary_function_is_that_of_the_marginal(name, float64):
    model, data = MODELS[name]
    params = model.initialize(jax.random.key(1), data)
    smoothed = model.smooth(params, data)

    def auxiliary(params):
        chain = model.potentials(params, data)
        active = jnp.arange(data.max_length)[None, :, None] < data.lengths[:, None, None]
        expected = (smoothed.marginals[:, 0] * chain.log_initial).sum() + (smoothed.expected_transitions * chain.log_transitions).sum()
        return expected + jnp.where(active, smoothed.marginals * chain.log_nodes, 0.0).sum()

    wanted = jax.grad(lambda p: model.log_likelihood(p, data).sum())(params)
    found = jax.grad(auxiliary)(params)
    for key in wanted:
        np.testing.assert_allclose(found[key], wanted[key], rtol=1e-8, atol=1e-8)


def test_em_and_map_climb_to_the_same_maximum(poisson_data, float64):
    model = lg.HMM(3, lg.emissions.Poisson(5), lg.transitions.Sticky(2.0), initial_concentration=2.0)
    em = lg.fit(model, poisson_data, lg.EM(max_iterations=1000, tolerance=0.0), seed=0)
    ascent = lg.fit(model, poisson_data, lg.MAP(max_iterations=300, tolerance=1e-14), seed=0, start=em)
    assert ascent.log_joint_history[-1] - em.log_joint_history[-1] < 1e-6
    for name in em.params:
        np.testing.assert_allclose(ascent.params[name], em.params[name], rtol=1e-5, atol=1e-7)
    scratch = lg.fit(model, poisson_data, lg.MAP(restarts=3, max_iterations=300, tolerance=1e-12), seed=1)
    assert abs(scratch.log_joint_history[-1] - em.log_joint_history[-1]) < 1e-4


def test_same_seed_same_fit_and_restarts_are_aligned(poisson_data, float64):
    model = lg.HMM(3, lg.emissions.Poisson(5))
    first, second = (lg.fit(model, poisson_data, lg.EM(restarts=4, max_iterations=150), seed=7) for _ in range(2))
    for name in first.params:
        np.testing.assert_array_equal(first.params[name], second.params[name])
    best = first.log_joint_history[-1]
    for record in first.restarts:
        if abs(record.log_joint_history[-1] - best) < 1e-4:
            np.testing.assert_allclose(record.params["emission.rates"], first.params["emission.rates"], rtol=1e-2)


def test_float32_fit_agrees_with_float64(poisson_data):
    model = lg.HMM(3, lg.emissions.Poisson(5))
    with jax.enable_x64(True):
        wanted = lg.fit(model, poisson_data, lg.EM(max_iterations=60, tolerance=0.0), seed=2)
    with jax.enable_x64(False):
        found = lg.fit(model, poisson_data, lg.EM(max_iterations=60, tolerance=0.0), seed=2, start={k: v.astype(np.float32) for k, v in wanted.params.items()})
    assert found.params["emission.rates"].dtype == np.float32
    np.testing.assert_allclose(found.params["emission.rates"], wanted.params["emission.rates"], rtol=1e-4)
    np.testing.assert_allclose(found.log_joint_history[-1], wanted.log_joint_history[-1], rtol=1e-5)


def test_a_prior_changes_the_answer(poisson_data, float64):
    plain = lg.fit(lg.HMM(2, lg.emissions.Poisson(5)), poisson_data, lg.EM(max_iterations=50), seed=0)
    for model, name in (
        (lg.HMM(2, lg.emissions.Poisson(5, prior=dist.Gamma(50.0, 10.0))), "emission.rates"),
        (lg.HMM(2, lg.emissions.Poisson(5, prior=dist.LogNormal(2.0, 0.1))), "emission.rates"),
        (lg.HMM(2, lg.emissions.Poisson(5), lg.transitions.Sticky(500.0)), "transition.probs"),
        (lg.HMM(2, lg.emissions.Poisson(5), lg.transitions.Stationary(concentration=30.0)), "transition.probs"),
        (lg.HMM(2, lg.emissions.Poisson(5), initial_concentration=40.0), "initial.probs"),
    ):
        other = lg.fit(model, poisson_data, lg.EM(max_iterations=50), seed=0, start=plain.params)
        assert np.abs(other.params[name] - plain.params[name]).max() > 1e-3


def test_impossible_data_stop_the_fit_naming_the_sequence(poisson_data, float64):
    model = lg.HMM(2, lg.emissions.Poisson(5, prior=dist.Gamma(1.0, 1e-12)))
    start = dict(lg.fit(model, poisson_data, lg.EM(max_iterations=2), seed=0).params)
    start["emission.rates"] = np.where(np.arange(5) == 2, 0.0, start["emission.rates"])
    with pytest.raises(lg.NonFiniteLikelihoodError, match="sequence 0") as caught:
        lg.fit(model, poisson_data, lg.EM(max_iterations=3), seed=0, start=start)
    assert caught.value.sequence == 0
    np.testing.assert_array_equal(caught.value.params["emission.rates"], start["emission.rates"])


def test_underflow_names_the_log_semiring(float64):
    # One state for ever, and data that speak for one state first and, far more, for the other later.
    data = lg.Sequences.from_arrays([np.concatenate([np.zeros((5, 1)), np.full((10, 1), 400.0)])])
    params = {
        "initial.probs": np.array([0.5, 0.5]),
        "transition.probs": np.eye(2),
        "emission.rates": np.array([[1e-3], [400.0]]),
    }
    scaled = lg.HMM(2, lg.emissions.Poisson(1))
    with pytest.raises(lg.NonFiniteLikelihoodError, match='semiring="log"'):
        lg.fit(scaled, data, lg.EM(max_iterations=3), seed=0, start=params)
    fit = lg.fit(lg.HMM(2, lg.emissions.Poisson(1), semiring="log"), data, lg.EM(max_iterations=3), seed=0, start=params)
    assert np.isfinite(fit.log_joint_history).all()
    broken = lg.Fit(scaled, params, "none", 0, lg.Outcome.CONVERGED, True)
    with pytest.raises(FloatingPointError, match='semiring="log"'):
        broken.log_likelihood(data)


def test_a_state_that_empties_has_its_own_outcome(float64):
    data = lg.Sequences.from_arrays([np.full((40, 2), 3.0)])
    model = lg.HMM(3, lg.emissions.Poisson(2))
    start = {
        "initial.probs": np.array([1.0, 0.0, 0.0]),
        "transition.probs": np.array([[1.0, 0.0, 0.0], [0.3, 0.4, 0.3], [0.3, 0.3, 0.4]]),
        "emission.rates": np.array([[3.0, 3.0], [1.0, 1.0], [8.0, 8.0]]),
    }
    fit = lg.fit(model, data, lg.EM(max_iterations=20), seed=0, start=start)
    assert fit.outcome is lg.Outcome.STATE_EMPTIED
    assert all(np.isfinite(value).all() for value in fit.params.values())


@pytest.mark.parametrize("lengths", [[1], [1, 1, 1], [1, 7]])
def test_sequences_of_one_step(lengths, float64):
    data = lg.Sequences.from_arrays([np.full((length, 2), 1.0) for length in lengths])
    fit = lg.fit(lg.HMM(2, lg.emissions.Poisson(2)), data, lg.EM(max_iterations=5), seed=0)
    assert np.isfinite(fit.log_joint_history).all()
    assert fit.smooth(data).shape == (len(lengths), max(lengths), 2)


def test_one_state_is_the_closed_form(poisson_data, float64):
    fit = lg.fit(lg.HMM(1, lg.emissions.Poisson(5, prior=dist.Gamma(1.0, 1e-12))), poisson_data, lg.EM(max_iterations=5), seed=0)
    np.testing.assert_allclose(fit.params["emission.rates"][0], lg.metrics.mean_rates(poisson_data), rtol=1e-10)
    assert fit.converged
    assert abs(fit.bits_per_spike(poisson_data, poisson_data)) < 1e-9


def test_interruption_returns_the_best_so_far(poisson_data, monkeypatch, float64):
    calls = []

    class Interrupting:
        def __enter__(self):
            def report(done, note):
                calls.append(done)
                if len(calls) == 2:
                    raise KeyboardInterrupt

            return report

        def __exit__(self, *_):
            return False

    monkeypatch.setattr(blocks, "bar", lambda *_: Interrupting())
    fit = lg.fit(lg.HMM(3, lg.emissions.Poisson(5)), poisson_data, lg.EM(max_iterations=50, tolerance=0.0, block=5), seed=0)
    assert fit.outcome is lg.Outcome.INTERRUPTED
    assert len(fit.log_joint_history) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"restarts": 0}, "restarts"), ({"max_iterations": 0}, "max_iterations"), ({"tolerance": -1.0}, "tolerance"), ({"block": 0}, "block")],
)
def test_engine_options_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        lg.EM(**arguments)


def test_wrong_arguments_of_fit(poisson_data):
    model = lg.HMM(2, lg.emissions.Poisson(5))
    with pytest.raises(TypeError, match="from_arrays"):
        lg.fit(model, np.zeros((5, 5)), seed=0)
    with pytest.raises(TypeError, match="model"):
        lg.fit("HMM", poisson_data, seed=0)
    with pytest.raises(TypeError, match="engine"):
        lg.fit(model, poisson_data, "EM", seed=0)
    with pytest.raises(ValueError, match=r"start\['emission.rates'\]"):
        lg.fit(model, poisson_data, seed=0, start={"initial.probs": np.ones(2), "transition.probs": np.ones((2, 2)), "emission.rates": np.ones(2)})
    with pytest.raises(ValueError, match="start"):
        lg.fit(model, poisson_data, seed=0, start={"rates": np.ones(2)})
    with pytest.raises(ValueError, match="found 5 features, expected 4"):
        lg.fit(lg.HMM(2, lg.emissions.Poisson(4)), poisson_data, seed=0)
    with pytest.raises(ValueError, match="num_states"):
        lg.HMM(0, lg.emissions.Poisson(5))
    for values in (-1.0, 0.5):
        bad = lg.Sequences.from_arrays([np.full((4, 5), values)])
        with pytest.raises(ValueError, match="expected counts"):
            lg.fit(model, bad, seed=0)
    with pytest.raises(ValueError, match="inputs: found the sets none"):
        lg.fit(lg.HMM(2, lg.emissions.Poisson(5), lg.transitions.Gated(2)), poisson_data, seed=0)
