"""Scores of the Neural Latents Benchmark against its own code, and few-shot co-smoothing against what it must show."""

import copy
import doctest
import importlib

import numpy as np
import pytest

from latentgate import metrics

TRIALS, TRAIN_TRIALS, BINS, FORWARD, HELD_IN, HELD_OUT = 24, 30, 20, 5, 6, 3
SETS = ("mc_maze", "mc_rtt", "area2_bump", "dmfc_rsg", "mc_maze_large", "mc_maze_medium", "mc_maze_small")


@pytest.fixture(scope="module")
def oracle():
    return pytest.importorskip("nlb_tools.evaluation", reason="nlb_tools is the oracle of these scores: pip install --no-deps nlb_tools==0.0.4, and h5py")


@pytest.fixture
def generator():
    return np.random.default_rng(11)


def rates_and_counts(generator, trials=TRIALS, bins=BINS, neurons=HELD_IN + HELD_OUT):
    rates = generator.gamma(1.5, 0.3, size=(trials, bins, neurons))
    return rates, generator.poisson(rates).astype(float)


def both_files(generator, name):
    """Targets and a submission with every kind of entry that the set has."""
    rates, counts = rates_and_counts(generator)
    forward_rates, forward_counts = rates_and_counts(generator, bins=FORWARD)
    train_rates, _ = rates_and_counts(generator, trials=TRAIN_TRIALS)
    rates[0, 0, -1] = rates[3, 4, HELD_IN] = 0.0
    counts[1, 2, -1] = 1.0
    rates[1, 2, -1] = 0.0
    forward_counts[:, :, 2] = 0.0
    targets = {"eval_spikes_heldout": counts[..., HELD_IN:]}
    if name.startswith("dmfc_rsg"):
        start = generator.integers(2, 9, TRIALS)
        targets["eval_spikes_heldout"] = np.where((np.arange(BINS) < start[:, None])[..., None], np.nan, counts[..., HELD_IN:])
        factors = np.stack([np.arange(TRIALS) % 2, np.arange(TRIALS) // 2 % 2, np.arange(TRIALS) // 4 % 2], axis=1)
        behaviour = np.column_stack([factors, generator.choice([480.0, 800.0], TRIALS), generator.normal(700.0, 50.0, TRIALS)])
        behaviour[5] = np.nan
        targets |= {"train_behavior": behaviour[:4], "eval_behavior": behaviour, "eval_jitter": generator.integers(-3, 4, TRIALS)}
    else:
        weights = generator.normal(size=(HELD_IN + HELD_OUT, 2))
        targets |= {f"{part}_behavior": x @ weights + generator.normal(size=(*x.shape[:2], 2)) for part, x in (("train", train_rates), ("eval", rates))}
        targets["train_behavior"][0, :4] = np.nan
        targets["eval_behavior"][2, 3] = np.nan
    if name.startswith("area2_bump"):
        targets |= {
            f"{part}_decode_mask": np.stack([np.arange(n) % 3 == 0, np.arange(n) % 3 > 0], 1) for part, n in (("train", TRAIN_TRIALS), ("eval", TRIALS))
        }
    if not name.startswith("mc_rtt"):
        conditions = np.empty(4, object)
        conditions[:] = [np.arange(0, 9), np.arange(9, 18), np.array([], int), np.arange(18, TRIALS)]
        targets |= {"psth": generator.gamma(2.0, 0.2, size=(4, BINS, HELD_IN + HELD_OUT)), "eval_cond_idx": conditions}
        targets["psth"][1, :6] = np.nan
        targets["psth"][:, :4] = targets["psth"][:, -4:] = np.nan
        targets["psth"][:, :, 1] = np.where(np.isnan(targets["psth"][:, :, 1]), np.nan, 0.25)
    submission = {
        "train_rates_heldin": train_rates[..., :HELD_IN],
        "train_rates_heldout": train_rates[..., HELD_IN:],
        "eval_rates_heldin": rates[..., :HELD_IN],
        "eval_rates_heldout": rates[..., HELD_IN:],
        "eval_rates_heldin_forward": forward_rates[..., :HELD_IN],
        "eval_rates_heldout_forward": forward_rates[..., HELD_IN:],
    }
    targets |= {"eval_spikes_heldin_forward": forward_counts[..., :HELD_IN], "eval_spikes_heldout_forward": forward_counts[..., HELD_IN:]}
    return targets, submission


def by_group(results):
    """The benchmark's list by split as {group: scores}."""
    found = {}
    for result in results:
        for split, scores in result.items():
            suffix = "_20" if split.endswith("_20_split") else ""
            for key, value in scores.items():
                count, _, score = key.rpartition("] ")
                size = {"": None, "[500": "large", "[250": "medium", "[100": "small"}[count]
                found.setdefault(split.removesuffix("_split") if size is None else f"mc_maze_{size}{suffix}", {})[score] = float(value)
    return found


@pytest.mark.filterwarnings("ignore:.*")
def test_every_set_as_the_benchmark_scores_it(oracle, generator):
    names = [name + suffix for name in SETS for suffix in ("", "_20")]
    files = {name: both_files(generator, name) for name in names}
    targets, submission = ({name: copy.deepcopy(files[name][which]) for name in names} for which in (0, 1))
    kept = copy.deepcopy(submission)
    found = metrics.evaluate(targets, submission)
    for name in names:
        for key, value in kept[name].items():
            np.testing.assert_array_equal(submission[name][key], value)
    # The benchmark's code replaces zeros in the arrays it is given.
    expected = by_group(oracle.evaluate(targets, copy.deepcopy(submission)))
    assert set(found) == set(expected) == set(names)
    for name in names:
        assert set(found[name]) == set(expected[name])
        for score, value in expected[name].items():
            assert np.isfinite(value)
            assert abs(found[name][score] - value) < 1e-10, (name, score)
    assert set(found["mc_rtt"]) == {"co-bps", "vel R2", "fp-bps"}
    assert set(found["dmfc_rsg_20"]) == {"co-bps", "tp corr", "psth R2", "fp-bps"}


def test_bits_per_spike_as_the_benchmark_counts_them(oracle, generator):
    rates, counts = rates_and_counts(generator)
    counts[3, :5, 2] = np.nan
    rates[3, 0, 2] = np.nan
    np.testing.assert_allclose(metrics.co_smoothing_bits_per_spike(rates, counts), oracle.bits_per_spike(rates.copy(), counts), rtol=0, atol=1e-10)
    flat = metrics.co_smoothing_bits_per_spike(rates.reshape(-1, rates.shape[-1]), counts.reshape(-1, rates.shape[-1]))
    np.testing.assert_allclose(flat, metrics.co_smoothing_bits_per_spike(rates, counts), rtol=1e-13)
    forward = metrics.forward_prediction_bits_per_spike(rates, counts, 7, zero_rate=1e-9)
    np.testing.assert_allclose(forward, oracle.bits_per_spike(rates[:, -7:].copy(), counts[:, -7:]), rtol=0, atol=1e-10)
    # Zero where there is a spike: the end of every hope, unless the benchmark's rule is asked for.
    where = tuple(np.argwhere(counts > 0)[0])
    rates[where] = 0.0
    assert metrics.co_smoothing_bits_per_spike(rates, counts) == -np.inf
    lenient = metrics.co_smoothing_bits_per_spike(rates, counts, zero_rate=1e-9)
    np.testing.assert_allclose(lenient, oracle.bits_per_spike(rates.copy(), counts), rtol=0, atol=1e-10)
    # Means of other data, and a missing count that would have counted.
    constant = np.nanmean(counts, axis=(0, 1)) * 1.2
    left_out, kept = metrics.co_smoothing_bits_per_spike(rates, counts, constant, 1e-9), np.ones(len(counts), bool)
    kept[3] = False
    assert left_out != metrics.co_smoothing_bits_per_spike(rates[kept], counts[kept], constant, 1e-9)
    blank = np.where(kept[:, None, None], counts, np.nan)
    np.testing.assert_allclose(
        metrics.co_smoothing_bits_per_spike(rates, blank, constant, 1e-9),
        metrics.co_smoothing_bits_per_spike(rates[kept], counts[kept], constant, 1e-9),
        rtol=1e-12,
    )


@pytest.mark.filterwarnings("ignore:.*")
def test_each_score_alone(oracle, generator):
    targets, submission = both_files(generator, "area2_bump")
    train, rates = (np.concatenate([submission[f"{part}_rates_heldin"], submission[f"{part}_rates_heldout"]], -1) for part in ("train", "eval"))
    behaviour = [targets["train_behavior"], targets["eval_behavior"]]
    masks = [targets["train_decode_mask"], targets["eval_decode_mask"]]
    expected = oracle.velocity_decoding(train, behaviour[0], masks[0], rates, behaviour[1], masks[1])
    np.testing.assert_allclose(metrics.velocity_r_squared(train, behaviour[0], rates, behaviour[1], *masks), expected, rtol=0, atol=1e-10)
    everything = [np.ones((len(x), 1), bool) for x in (train, rates)]
    without = oracle.velocity_decoding(train, behaviour[0], everything[0], rates, behaviour[1], everything[1])
    np.testing.assert_allclose(metrics.velocity_r_squared(train, behaviour[0], rates, behaviour[1]), without, rtol=0, atol=1e-10)
    assert abs(without - expected) > 1e-4
    jitter = generator.integers(-4, 5, TRIALS)
    expected = oracle.eval_psth(targets["psth"], rates, targets["eval_cond_idx"], jitter)
    found = metrics.psth_r_squared(targets["psth"], rates, list(targets["eval_cond_idx"]), jitter)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert abs(metrics.psth_r_squared(targets["psth"], rates, list(targets["eval_cond_idx"])) - found) > 1e-4
    targets, _ = both_files(generator, "dmfc_rsg")
    expected = oracle.speed_tp_correlation(targets["eval_spikes_heldout"], rates, targets["eval_behavior"])
    inside = ~np.isnan(targets["eval_spikes_heldout"][..., 0])
    found = metrics.speed_interval_correlation(rates, inside, targets["eval_behavior"][:, 4], targets["eval_behavior"][:, :3])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


def test_few_shot_tells_simple_latents_from_cluttered_ones(generator):
    latents = generator.normal(size=(60, 25, 2))
    cluttered = np.concatenate([latents, generator.normal(size=(60, 25, 30))], axis=2)
    counts = generator.poisson(np.exp(latents @ generator.normal(size=(2, 4)) * 0.7 - 0.5)).astype(float)
    counts[0, :3, 1] = np.nan
    counts[40:44, 1:3, 1] = np.nan
    scores = {
        (name, k): metrics.few_shot_co_smoothing(z[:40], counts[:40], z[40:], counts[40:], k, draws=5)
        for name, z in (("simple", latents), ("cluttered", cluttered))
        for k in (2, 40)
    }
    # With all trials both are read equally well; with two, clutter costs.
    assert scores["simple", 40] - scores["cluttered", 40] < 0.05
    assert scores["simple", 2] - scores["cluttered", 2] > 0.2
    # All trials: one regression, by scikit-learn; the same every draw.
    from sklearn.linear_model import PoissonRegressor

    flat = latents[:40].reshape(-1, 2)
    centre, spread = flat.mean(0), flat.std(0)
    rates = np.stack(
        [
            PoissonRegressor(alpha=1e-3, tol=1e-10, max_iter=1000)
            .fit(((flat - centre) / spread)[keep], target[keep])
            .predict((latents[40:].reshape(-1, 2) - centre) / spread)
            for target in counts[:40].reshape(-1, 4).T
            for keep in [~np.isnan(target)]
        ],
        axis=-1,
    )
    each = metrics.few_shot_co_smoothing(latents[:40], counts[:40], latents[40:], counts[40:], 40, draws=3, average=False)
    np.testing.assert_allclose(each, metrics.co_smoothing_bits_per_spike(rates.reshape(20, 25, 4), counts[40:]), rtol=1e-5)
    # A neuron that is silent in every draw: half a spike in all, whatever the latents.
    silent = np.where(np.arange(4) == 3, 0.0, counts)
    score = metrics.few_shot_co_smoothing(latents[:40], silent[:40], latents[40:], counts[40:], 40, draws=1)
    rates[:, 3] = 0.5 / 1000
    np.testing.assert_allclose(score, metrics.co_smoothing_bits_per_spike(rates.reshape(20, 25, 4), counts[40:]), rtol=1e-5)


def test_what_cannot_be_scored_is_said(generator):
    rates, counts = rates_and_counts(generator, 6, 4, 2)
    velocity = generator.normal(size=(6, 4, 2))
    with pytest.raises(ValueError, match=r"`rates` has shape \(6, 4, 2\) but `counts` has \(5, 4, 2\)"):
        metrics.co_smoothing_bits_per_spike(rates, counts[:5])
    with pytest.raises(ValueError, match="`rates` is not finite in 1 of 24 rows where there is a count, the first of them row 0"):
        metrics.co_smoothing_bits_per_spike(np.where(np.arange(24).reshape(6, 4, 1) == 0, np.nan, rates), counts)
    with pytest.raises(ValueError, match="`zero_rate` is 0"):
        metrics.co_smoothing_bits_per_spike(rates, counts, zero_rate=0.0)
    with pytest.raises(ValueError, match="`num_forward` is 5; expected a number of bins from 1 to 4"):
        metrics.forward_prediction_bits_per_spike(rates, counts, 5)
    with pytest.raises(ValueError, match="`train_rates` has shape"):
        metrics.velocity_r_squared(rates[:5], velocity, rates, velocity)
    with pytest.raises(ValueError, match="`mask` is False in every trial for group 1"):
        metrics.velocity_r_squared(rates, velocity, rates, velocity, np.ones((6, 2), bool), np.ones((6, 2), bool) & [True, False])
    with pytest.raises(ValueError, match="`train_rates` is not finite in bins whose velocity is known"):
        metrics.velocity_r_squared(rates * np.nan, velocity, rates, velocity)
    with pytest.raises(ValueError, match="`rates` is NaN, after jitter, in bins of condition 0"):
        metrics.psth_r_squared(rates[:1], rates, [[0, 1]], np.ones(6, int))
    with pytest.raises(ValueError, match="`conditions` has 1 entries for 2 histograms"):
        metrics.psth_r_squared(rates[:2], rates, [[0]])
    with pytest.raises(ValueError, match=r"one trial of condition \[5.0\]"):
        metrics.speed_interval_correlation(rates, np.ones((6, 4), bool), np.arange(6.0), [0, 0, 0, 0, 0, 5])
    with pytest.raises(ValueError, match="fewer than 2 bins in trial 2"):
        metrics.speed_interval_correlation(rates, np.arange(4) < [[4], [4], [1], [4], [4], [4]], np.arange(6.0), np.zeros(6))
    with pytest.raises(ValueError, match="`num_trials` is 7; expected a whole number from 1 to 6, the training trials"):
        metrics.few_shot_co_smoothing(rates, counts, rates, counts, 7)
    with pytest.raises(ValueError, match="expected at least one data set with eval_spikes_heldout"):
        metrics.evaluate({"mc_maze": {}}, {"mc_rtt": {}})
    with pytest.raises(ValueError, match="`submission` has no 'eval_rates_heldin' for mc_maze"):
        metrics.evaluate({"mc_maze": {"eval_spikes_heldout": counts}}, {"mc_maze": {"eval_rates_heldout": rates}})
    with pytest.raises(TypeError, match="`targets` is of type int"):
        metrics.evaluate(3, {})


@pytest.mark.parametrize("module", ["neural_latents", "few_shot", "benchmark_scores", "counts"])
def test_examples(module):
    assert doctest.testmod(importlib.import_module(f"latentgate.metrics.{module}"), raise_on_error=True).attempted > 0
