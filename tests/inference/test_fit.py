"""What a Fit answers, and that it survives the disk."""

import jax
import numpy as np
import pytest
import xarray as xr
from scipy.stats import poisson

import latentgate as lg
from latentgate.inference import RestartRecord, match_labels

from ..model_table import small_models

MODELS = small_models()


@pytest.fixture(scope="module")
def fitted():
    data = lg.simulators.simulate_poisson_hmm(3, num_states=3, num_neurons=5, num_steps=[60, 50, 40], num_sequences=3)
    with jax.enable_x64(True):
        yield lg.fit(lg.HMM(3, lg.emissions.Poisson(5)), data.data, lg.EM(restarts=2, max_iterations=40), seed=1), data


def test_questions_have_labelled_answers(fitted):
    fit, simulation = fitted
    data = simulation.data
    smoothed, filtered = fit.smooth(data), fit.filter(data)
    assert smoothed.dims == filtered.dims == ("sequence", "time", "state")
    assert np.isnan(smoothed.values[2, 40:]).all()
    np.testing.assert_allclose(smoothed.values[2, :40].sum(-1), 1.0)
    last = np.asarray(data.lengths) - 1
    np.testing.assert_allclose(smoothed.values[np.arange(3), last], filtered.values[np.arange(3), last])
    path = fit.most_probable_path(data)
    assert (path.values[2, 40:] == -1).all()
    draws = fit.sample_latents(data, 50, seed=0)
    assert draws.dims == ("draw", "sequence", "time")
    share = (draws.values[:, 0, :, None] == np.arange(3)).mean(0)
    # Fifty draws: the standard error of a share is at most 0.071; seven of them over 180 numbers.
    assert np.abs(share - smoothed.values[0]).max() < 0.5
    assert fit.log_likelihood(data).dims == ("sequence",)
    assert lg.metrics.state_accuracy(simulation.states, path.values, 3) > 0.8


def test_bits_per_spike_and_bic_by_hand(fitted):
    fit, simulation = fitted
    data = simulation.data
    rates = lg.metrics.mean_rates(data)
    base = sum(poisson.logpmf(array, rates).sum() for array in data.to_list())
    total = float(fit.log_likelihood(data).sum())
    spikes = sum(array.sum() for array in data.to_list())
    assert fit.bits_per_spike(data, data) == pytest.approx((total - base) / spikes / np.log(2))
    assert fit.num_parameters == 2 + 3 * 2 + 3 * 5
    assert fit.bic(data) == pytest.approx(23 * np.log(150) - 2 * total)


def test_renumbering_states_changes_nothing_else(fitted):
    fit, simulation = fitted
    data = simulation.data
    turned = fit.with_states([2, 0, 1])
    np.testing.assert_allclose(turned.log_likelihood(data), fit.log_likelihood(data), rtol=1e-12)
    np.testing.assert_allclose(turned.smooth(data).values, fit.smooth(data).values[..., [2, 0, 1]])
    back = turned.aligned_to(fit)
    for name in fit.params:
        np.testing.assert_array_equal(back.params[name], fit.params[name])
    labels = fit.most_probable_path(data).values
    order = match_labels(labels, turned.most_probable_path(data).values, 3)
    np.testing.assert_array_equal(np.array([2, 0, 1])[order], [0, 1, 2])


def test_summary_and_text(fitted):
    fit, simulation = fitted
    frame = fit.summary(simulation.data)
    assert list(frame.columns) == ["initial_probability", "expected_stay_steps", "occupancy"]
    assert frame["occupancy"].sum() == pytest.approx(1.0)
    assert frame.attrs["outcome"] == fit.outcome.value
    assert "emission.rates (3, 5)" in repr(fit)


def test_simulated_data_look_like_the_model(fitted):
    fit, _ = fitted
    rates = np.array([[0.5, 1.0, 2.0, 4.0, 8.0], [8.0, 4.0, 2.0, 1.0, 0.5], [3.0, 3.0, 0.2, 3.0, 3.0]])
    probs = np.full((3, 3), 0.05) + 0.85 * np.eye(3)
    params = {"initial.probs": np.full(3, 1 / 3), "transition.probs": probs, "emission.rates": rates}
    data, states = lg.Fit(fit.model, params, "none", 0, lg.Outcome.CONVERGED, True).simulate([4000], seed=3)
    for k in range(3):
        values = data.to_list()[0][states[0] == k]
        error = np.sqrt(rates[k] / len(values))
        # Fifteen means, each within 4.5 standard errors: a false alarm in 1e-4 of keys.
        assert (np.abs(values.mean(0) - rates[k]) < 4.5 * error).all()


@pytest.mark.parametrize("name", MODELS)
def test_save_and_load(name, tmp_path):
    with jax.enable_x64(True):
        model, data = MODELS[name]
        params = {key: np.asarray(value) for key, value in model.initialize(jax.random.key(0), data).items()}
        history = np.array([-3.0, -2.0, -1.5])
        records = [
            RestartRecord(params, history, history - 1, lg.Outcome.CONVERGED),
            RestartRecord(params, history[:2], history[:2], lg.Outcome.UNDERFLOW),
        ]
        fit = lg.Fit(model, params, "EM", 0, lg.Outcome.CONVERGED, True, records, 0, ("a", "b", "c"))
        loaded = lg.Fit.load(fit.save(tmp_path / "fit.nc"))
        np.testing.assert_allclose(loaded.model.log_prior(params), model.log_prior(params), rtol=1e-6)
        assert loaded.model.dims() == model.dims()
        for key in fit.params:
            np.testing.assert_array_equal(loaded.params[key], fit.params[key])
        np.testing.assert_array_equal(loaded.restarts[1].log_joint_history, history[:2])
        assert loaded.feature_names == ("a", "b", "c")
        assert [r.outcome for r in loaded.restarts] == [r.outcome for r in fit.restarts]
        np.testing.assert_array_equal(loaded.log_joint_history, fit.log_joint_history)
        with xr.open_dataset(tmp_path / "fit.nc") as opened:
            assert opened["initial.probs"].dims == ("state",)


def test_damaged_files_are_clear_errors(fitted, tmp_path):
    fit, _ = fitted
    path = fit.save(tmp_path / "fit.nc")
    with pytest.raises(FileNotFoundError, match="no file"):
        lg.Fit.load(tmp_path / "other.nc")
    truncated = tmp_path / "short.nc"
    truncated.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="truncated"):
        lg.Fit.load(truncated)
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "foreign.nc")
    with pytest.raises(ValueError, match="expected 'latentgate fit 1'"):
        lg.Fit.load(tmp_path / "foreign.nc")
    dataset = fit.to_xarray()
    dataset.drop_vars("emission.rates").to_netcdf(tmp_path / "missing.nc")
    with pytest.raises(ValueError, match="missing or damaged"):
        lg.Fit.load(tmp_path / "missing.nc")
    dataset.attrs["model"] = '{"class": "Popen", "fields": {}}'
    dataset.to_netcdf(tmp_path / "tampered.nc")
    with pytest.raises(ValueError, match="Popen"):
        lg.Fit.load(tmp_path / "tampered.nc")


def test_cross_validation_never_cuts_a_group(fitted):
    _, simulation = fitted
    data = lg.Sequences.from_arrays(simulation.data.to_list() * 2, groups=np.array(["a", "a", "b", "b", "c", "c"]))
    models = {k: lg.HMM(k, lg.emissions.Poisson(5)) for k in (1, 3)}
    with jax.enable_x64(True):
        scores = lg.cross_validate(models, data, lg.EM(max_iterations=20), num_folds=3, seed=0)
    assert scores.sizes == {"model": 2, "fold": 3}
    assert (scores["bits_per_spike"].sel(model=3) > scores["bits_per_spike"].sel(model=1)).all()
    for train, test in data.folds(3):
        assert not set(data.groups[train]) & set(data.groups[test])
    with pytest.raises(ValueError, match="num_folds"):
        lg.cross_validate(models, data, lg.EM(), num_folds=1, seed=0)
