"""Training of a Langevin flow with its guide: it learns, it keeps the best epoch, it survives, it says what is wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import latentgate as lg


@pytest.fixture(scope="module")
def data():
    """Counts of twelve neurons about an oscillation of random phase, whose neighbours tell a hidden count."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(12, 2))
    arrays = []
    for _ in range(60):
        angle = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(30) / 20
        arrays.append(rng.poisson(np.exp(np.stack([np.cos(angle), np.sin(angle)], 1) @ loadings.T)).astype(float))
    return lg.Sequences.from_arrays(arrays)


def flow(**options):
    return lg.LangevinFlow(2, num_neurons=12, potential=lg.potentials.Quadratic(), guide=lg.guides.Recurrent(12, reads=range(9)), **options)


ENGINE = {"max_epochs": 12, "batch_size": 18, "warm_up": 2, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def fit(data):
    # float32, as flows are trained.
    with jax.enable_x64(False):
        return lg.fit(flow(), data, lg.AmortisedSVI(**ENGINE), seed=0, progress=False)


def test_training_learns_to_predict_what_it_is_not_shown(fit, data):
    held_out = fit.traces["held_out"]
    assert np.isnan(held_out[:2]).all()
    assert np.nanmax(held_out) > 0.2
    assert fit.traces["elbo"][-1] > fit.traces["elbo"][3]
    assert fit.params["emission.matrix"].dtype == np.float32
    assert fit.outcome is lg.Outcome.EPOCH_LIMIT


def test_same_seed_same_answer_and_a_killed_run_resumes_to_it(fit, data, tmp_path, monkeypatch):
    from latentgate.inference import checkpoint

    stores = checkpoint.Checkpoint.store
    count = iter(range(100))

    def store(self, *arguments):
        stores(self, *arguments)
        if next(count) == 4:
            raise RuntimeError("killed")

    monkeypatch.setattr(checkpoint.Checkpoint, "store", store)
    with jax.enable_x64(False):
        with pytest.raises(RuntimeError, match="killed"):
            lg.fit(flow(), data, lg.AmortisedSVI(**ENGINE), seed=0, progress=False, checkpoint=tmp_path / "run")
        resumed = lg.fit(flow(), data, lg.AmortisedSVI(**ENGINE), seed=0, progress=False, checkpoint=tmp_path / "run")
    for name, value in fit.params.items():
        np.testing.assert_array_equal(resumed.params[name], value)
    np.testing.assert_array_equal(resumed.traces["elbo"], fit.traces["elbo"])


def test_questions_of_a_fit_and_its_file(fit, data, tmp_path):
    with jax.enable_x64(False):
        smoothed = fit.smooth(data)
        assert smoothed["mean"].dims == ("sequence", "time", "latent")
        assert np.isfinite(smoothed["mean"]).all()
        assert (np.linalg.eigvalsh(np.asarray(smoothed["covariance"])) > -1e-5).all()
        draws = fit.sample_latents(data, num_samples=3, seed=1)
        assert draws.dims == ("draw", "sequence", "time", "latent")
        assert fit.most_probable_path(data).dims == ("sequence", "time", "latent")
        loaded = lg.Fit.load(fit.save(tmp_path / "flow.nc"))
        np.testing.assert_array_equal(loaded.log_likelihood(data), fit.log_likelihood(data))
        np.testing.assert_array_equal(loaded.traces["held_out"], fit.traces["held_out"])
        simulated, latents = fit.simulate([30, 20], seed=0)
    assert simulated.num_sequences == 2
    # The guide approximates a posterior; it is neither counted nor listed as the model's.
    assert fit.num_parameters == 2 + 2 + 4 + 4 + 3 + 2 + 12 * 2 + 12
    assert not fit.summary().index.str.startswith("guide").any()
    assert "guide.read" not in repr(fit)
    assert latents[1].shape == (20, 4)
    with pytest.raises(ValueError, match="filter"):
        fit.filter(data)
    with pytest.raises(ValueError, match="a bound from draws"):
        fit.uncertainty(data)


def test_neurons_that_the_guide_never_reads_are_predicted(fit, data):
    with jax.enable_x64(False):
        rates = np.asarray(fit.model.expected_counts({name: jnp.asarray(value) for name, value in fit.params.items()}, data))
    assert lg.metrics.co_smoothing_bits_per_spike(rates[..., 9:], np.asarray(data.values)[..., 9:]) > 0.1


def test_errors_before_anything_is_compiled(data):
    chain = lg.HMM(2, lg.emissions.Poisson(12))
    for engine, model, error, message in (
        (lg.EM(), flow(), TypeError, "found EM with LangevinFlow, whose latents cannot be integrated out"),
        (lg.AmortisedSVI(), chain, TypeError, "found AmortisedSVI with HMM"),
        (lg.AmortisedSVI(validation=0.999), flow(), ValueError, "which leaves none to train on"),
    ):
        with pytest.raises(error, match=message):
            lg.fit(model, data, engine, seed=0, progress=False)
    per_trial = lg.LangevinFlow(2, num_neurons=12, guide=lg.guides.PerTrial())
    with pytest.raises(ValueError, match="has parameters of every sequence"):
        lg.fit(per_trial, data, lg.AmortisedSVI(), seed=0, progress=False)
    for options, message in (
        ({"dropout": 1.0}, "dropout: found 1.0"),
        ({"learning_rate": 0.0}, "learning_rate: found 0.0"),
        ({"divergence_weight": 0.0}, "divergence_weight: found 0.0"),
        ({"max_epochs": 5, "warm_up": 5}, "warm_up: found 5, expected fewer than the 5 epochs"),
        ({"max_epochs": 0}, "max_epochs: found 0"),
        ({"batch_size": 0}, "batch_size: found 0"),
    ):
        with pytest.raises(ValueError, match=message):
            lg.AmortisedSVI(**options)
