"""The protocol of co-smoothing: what methods are shown, how they are scored, and that the baselines find what is there to find."""

import dataclasses
import doctest
import importlib
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import latentgate as lg
from latentgate import metrics
from latentgate.studies import latent_baselines
from latentgate.studies.baselines import PSTH, SmoothingGLM, poisson_regressions, smoothed_counts
from latentgate.studies.co_smoothing import (
    Best,
    CoSmoothing,
    InPieces,
    Strategy,
    co_smoothing,
    hidden,
    predicted_rates,
)
from latentgate.studies.latent_baselines import FactorAnalysis, GaussianDynamics, HiddenMarkov, PoissonDynamics
from latentgate.studies.pieces import cut_into_pieces, join_pieces

NEURONS, BINS = 8, 24
HELD_IN = np.arange(NEURONS) % 4 != 3

BASELINES = {
    "PSTH": PSTH(widths=(1.0,), weights=(1.0, 4.0)),
    "PSTH by kind": PSTH("kind", widths=(0.0,), weights=(2.0,)),
    "smoothing": SmoothingGLM(widths=(2.0, 4.0), ridges=(1e-3, 1e-1)),
    "factor analysis": FactorAnalysis(1, widths=(2.0, 4.0)),
    "Gaussian": GaussianDynamics(1, 2),
    "HMM": HiddenMarkov(2, max_iterations=10),
    "Poisson": PoissonDynamics(1, 2),
}


@pytest.fixture(scope="module")
def data():
    """One slow latent of random phase in every trial; trials of kind 1 are livelier."""
    generator = np.random.default_rng(2)
    lengths = [BINS] * 28 + [BINS - 6] * 6 + [BINS] * 6
    kind = np.arange(40) % 2
    phases = generator.uniform(0, 2 * np.pi, 40)
    latent = [np.sin(2 * np.pi * np.arange(length) / BINS + phase) for length, phase in zip(lengths, phases, strict=True)]
    weights = np.array([1.4, -1.4, 1.2, 1.3, -1.2, 1.0, -1.0, -1.3])
    counts = [generator.poisson(np.exp(z[:, None] * weights + 0.5 * k - 0.3)).astype(float) for z, k in zip(latent, kind, strict=True)]
    counts[0][:3, 0] = np.nan
    counts[36][5, 3] = np.nan
    return lg.Sequences.from_arrays(counts, labels={"kind": kind}, bin_width=0.05)


@pytest.fixture(scope="module")
def parts(data):
    return data.select(slice(32)), data.select(slice(32, 40))


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def not_climbed(model, data, seed, *limits):
    """A fit that stays where it started: EM takes most of a minute to compile and has its own tests."""
    params = model.initialize(jax.random.key(seed), data)
    named = {name: np.asarray(value) for name, value in params.items()}
    return SimpleNamespace(params=named, smooth=lambda shown: {"mean": model.potentials(params, shown).smooth().means})


@pytest.mark.parametrize("name", BASELINES)
def test_no_method_sees_held_out_counts_of_test_trials(parts, name, float64, monkeypatch):
    """Absurd numbers there, or none at all, change nothing; and what comes out is worth something."""
    train, test = parts
    if name in ("Gaussian", "HMM", "Poisson"):
        # Without missing entries in training: the program that compiles soonest.
        train = train.select(slice(1, 28))
    if name in ("Gaussian", "Poisson"):
        monkeypatch.setattr(latent_baselines, "_fit", not_climbed)
    strategy = BASELINES[name]
    assert isinstance(strategy, Strategy)
    predictor = strategy.fit(train, HELD_IN, 0)
    rates = predictor(hidden(test, HELD_IN))
    absurd = dataclasses.replace(test, values=np.where(HELD_IN, test.values, 1e6))
    np.testing.assert_array_equal(predictor(hidden(absurd, HELD_IN)), rates)
    gone = np.asarray(test.observed) & HELD_IN
    np.testing.assert_array_equal(predictor(hidden(dataclasses.replace(test, values=np.where(gone, test.values, 0.0), observed=gone), HELD_IN)), rates)
    # What is held in does change the rates, of all methods that look at other neurons.
    scrambled = dataclasses.replace(test, values=np.where(HELD_IN, test.values[:, ::-1], test.values) * np.asarray(test.mask)[..., None])
    assert np.array_equal(predictor(hidden(scrambled, HELD_IN)), rates) == name.startswith("PSTH")
    constant = metrics.mean_rates(train)
    counts = np.where(test.observed, test.values, np.nan)[..., ~HELD_IN]
    bits = metrics.co_smoothing_bits_per_spike(rates[..., ~HELD_IN], counts, constant[~HELD_IN])
    assert bits > (-0.15 if name.startswith("PSTH") else 0.1)


def test_scores_are_those_of_the_rates(parts, tmp_path):
    train, test = parts
    strategies = {name: BASELINES[name] for name in ("PSTH", "smoothing")}
    lines = []
    result = co_smoothing(train, test, HELD_IN, strategies, seeds=(0, 3), report=lines.append)
    rates = predicted_rates(strategies["smoothing"], train, test, HELD_IN, 3)
    real = np.asarray(test.observed)[..., ~HELD_IN]
    # By the definition, over observed entries of real bins.
    constant = np.broadcast_to(np.where(train.observed, train.values, 0).sum((0, 1)) / train.observed.sum((0, 1)), rates.shape)[..., ~HELD_IN][real]
    counts, predicted = np.asarray(test.values)[..., ~HELD_IN][real], rates[..., ~HELD_IN][real]
    gain = (counts * np.log(predicted / constant) - predicted + constant).sum() / counts.sum() / np.log(2)
    np.testing.assert_allclose(result.bits["smoothing"][1], gain, rtol=1e-12)
    assert len(lines) == 4
    assert result.table().splitlines()[0] == "| method | seed 0 | seed 3 | mean | s |"
    assert result.table().splitlines()[3].startswith(f"| smoothing | {result.bits['smoothing'][0]:.4f} | {gain:.4f} | ")
    assert CoSmoothing.load(result.save(tmp_path / "result.json")) == result
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"was not written by CoSmoothing\.save"):
        CoSmoothing.load(tmp_path / "other.json")


def test_pieces_are_put_together_again(data):
    pieces = cut_into_pieces(data, 10)
    assert pieces.lengths.tolist()[:3] == [10, 10, 4]
    assert pieces.lengths.tolist()[3 * 28 :][:2] == [10, 8]
    assert pieces.labels["kind"].tolist()[:6] == [0, 0, 0, 1, 1, 1]
    assert not pieces.complete
    np.testing.assert_array_equal(join_pieces(pieces.values, data), data.values)
    np.testing.assert_array_equal(join_pieces(pieces.observed, data), data.observed)
    timed = cut_into_pieces(lg.Sequences.from_arrays([np.arange(5.0)], inputs=[np.arange(10.0).reshape(5, 2)], times=[np.arange(5) ** 2]), 3)
    assert timed.times.tolist() == [[0, 1, 4], [9, 16, 16]]
    assert timed.inputs["inputs"][1].tolist() == [[6, 7], [8, 9], [0, 0]]
    with pytest.raises(ValueError, match="`length` is 0"):
        cut_into_pieces(data, 0)


class Recorder:
    """Constant rates; keeps what it was shown."""

    def __init__(self, factor=1.0):
        self.factor, self.trained, self.shown = factor, [], []

    def fit(self, train, held_in, seed):
        self.trained.append(train)

        def predict(data):
            self.shown.append(data)
            return np.broadcast_to(metrics.mean_rates(train) * self.factor, data.values.shape)

        return predict


def test_what_a_method_is_shown(parts):
    train, test = parts
    recorder = Recorder()
    rates = predicted_rates(InPieces(recorder, 10), train, test, HELD_IN, 0)
    assert recorder.trained[0].max_length == 10
    (shown,) = recorder.shown
    assert not np.asarray(shown.observed)[..., ~HELD_IN].any()
    assert not np.asarray(shown.values)[..., ~HELD_IN].any()
    assert rates.shape == test.values.shape
    forward = hidden(test, HELD_IN, num_forward=4)
    for row, length in enumerate(test.lengths):
        assert not np.asarray(forward.observed)[row, length - 4 :].any()
        np.testing.assert_array_equal(forward.observed[row, : length - 4], np.asarray(test.observed)[row, : length - 4] & HELD_IN)


def test_best_is_chosen_inside_the_training_trials(parts):
    train, test = parts
    good, bad = Recorder(), Recorder(5.0)
    rates = predicted_rates(Best((bad, good)), train, test, HELD_IN, 0)
    np.testing.assert_allclose(rates[0, 0], metrics.mean_rates(train))
    assert [len(one.trained) for one in (good, bad)] == [2, 1]
    assert bad.trained[0].num_sequences < train.num_sequences == good.trained[1].num_sequences
    assert all(shown.num_sequences == train.num_sequences - bad.trained[0].num_sequences for shown in bad.shown)


def test_psth_by_hand(parts):
    train, test = parts
    rates = predicted_rates(PSTH("kind", widths=(0.0,), weights=(2.0,)), train, test, HELD_IN, 0)
    constant = metrics.mean_rates(train)
    chosen = train.labels["kind"] == 1
    values, seen = train.values[chosen], np.asarray(train.observed)[chosen]
    row = int(np.flatnonzero(test.labels["kind"] == 1)[0])
    np.testing.assert_allclose(rates[row], ((values * seen).sum(0) + 2 * constant) / (seen.sum(0) + 2), rtol=1e-12)
    with pytest.raises(ValueError, match=r"`label` is 'colour' but the trials have the labels \['kind'\]"):
        PSTH("colour").fit(train, HELD_IN, 0)


def test_smoothing_and_regressions_by_hand(parts):
    train, _ = parts
    constant = np.full(NEURONS, 9.0)
    one = lg.Sequences.from_arrays([np.where(np.arange(40)[:, None] < 30, 2.0, np.nan) * np.ones((40, NEURONS))])
    smooth = smoothed_counts(one, 1.0, constant)
    # A constant stays constant up to the edge of what was observed, and where nothing near was, the constant rates are taken.
    np.testing.assert_allclose(smooth[0, :30], 2.0, rtol=1e-12)
    np.testing.assert_array_equal(smooth[0, 36:], 9.0)
    features = np.asarray(train.values)[..., :2]
    regress = poisson_regressions(features, train, 1e-6, np.arange(NEURONS) == 3)
    rates = regress(features)[..., 0]
    seen = np.asarray(train.observed)[..., 3]
    counts = np.asarray(train.values)[..., 3]
    # The maximum of the likelihood: residuals are orthogonal to one and to the features.
    residual = (counts - rates)[seen]
    np.testing.assert_allclose(residual.mean(), 0, atol=1e-4)
    np.testing.assert_allclose((residual[:, None] * features[seen]).mean(0), 0, atol=1e-3)
    silent = dataclasses.replace(train, values=np.where(np.arange(NEURONS) == 3, 0.0, train.values))
    np.testing.assert_allclose(poisson_regressions(features, silent, 1e-6, np.arange(NEURONS) == 3)(features), 0.5 / seen.sum(), rtol=1e-12)


def test_what_cannot_be_compared_is_said(parts):
    train, test = parts
    for held_in, message in ((np.ones(NEURONS, bool), "True for every neuron"), (np.ones(3, bool), "expected 8 booleans"), (np.arange(NEURONS), "dtype int64")):
        with pytest.raises(ValueError, match=message):
            co_smoothing(train, test, held_in, {"PSTH": PSTH()})
    with pytest.raises(ValueError, match="`strategies` has 0 methods"):
        co_smoothing(train, test, HELD_IN, {})

    class Wrong:
        def fit(self, train, held_in, seed):
            return lambda data: np.ones((2, 3))

    with pytest.raises(ValueError, match=r"predicts rates of shape \(2, 3\)"):
        co_smoothing(train, test, HELD_IN, {"wrong": Wrong()}, seeds=[0])


def test_the_benchmark_with_one_call(tmp_path):
    """A made-up data set of the Neural Latents Benchmark through a strategy, and through a function."""
    pytest.importorskip("h5py", reason="submissions are HDF5 files: pip install h5py")
    from latentgate.data.neural_latents import read_groups
    from latentgate.data.neural_latents.benchmark import from_tensors
    from latentgate.studies.neural_latents import run

    generator = np.random.default_rng(4)
    phase = generator.uniform(0, 2 * np.pi, 60)
    latent = np.sin(2 * np.pi * np.arange(40) / 40 + phase[:, None])
    true = np.exp(latent[..., None] * np.array([1.2, -1.2, 1.0, -1.0, 1.1]))
    counts = generator.poisson(true).astype(float)
    velocity = np.stack([latent, -2 * latent], axis=-1)[:, :30] + generator.normal(size=(60, 30, 2)) * 0.1
    tensors = {f"{part}_spikes_heldin": counts[rows, :30, :4] for part, rows in (("train", slice(45)), ("eval", slice(45, 60)))}
    tensors |= {"train_spikes_heldout": counts[:45, :30, 4:]}
    tensors |= {"train_spikes_heldin_forward": counts[:45, 30:, :4], "train_spikes_heldout_forward": counts[:45, 30:, 4:]}
    targets = {"eval_spikes_heldout": counts[45:, :30, 4:], "train_behavior": velocity[:45], "eval_behavior": velocity[45:]}
    targets |= {"eval_spikes_heldin_forward": counts[45:, 30:, :4], "eval_spikes_heldout_forward": counts[45:, 30:, 4:]}
    benchmark = from_tensors("mc_rtt", 20, tensors, targets)
    ran = run(benchmark, SmoothingGLM(widths=(3.0,), ridges=(1e-3,)), tmp_path / "submission.h5")
    assert ran.scores["co-bps"] > 0.1
    assert ran.scores["vel R2"] > 0.5
    assert set(read_groups(tmp_path / "submission.h5")["mc_rtt_20"]) == set(ran.rates)
    assert metrics.evaluate({"mc_rtt_20": targets}, {"mc_rtt_20": ran.rates})["mc_rtt_20"] == ran.scores
    given = []

    def truth(train, evaluation):
        given.append((train, evaluation))
        return true[45:]

    by_function = run(benchmark, truth)
    assert given[0][1] is benchmark.evaluation
    assert set(by_function.scores) == {"co-bps", "fp-bps"}
    assert by_function.scores["co-bps"] > ran.scores["co-bps"]
    assert by_function.scores["fp-bps"] > ran.scores["fp-bps"]
    assert run(dataclasses.replace(benchmark, targets={}), truth).scores == {}


@pytest.mark.parametrize("module", ["co_smoothing", "pieces", "neural_latents"])
def test_examples(module):
    assert doctest.testmod(importlib.import_module(f"latentgate.studies.{module}"), raise_on_error=True).attempted > 0
