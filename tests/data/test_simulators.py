"""Simulators: the exact generator of the benchmark, its statistics, and the bundled recording."""

import numpy as np
import pytest

from latentgate.data import bundled, load, simulators


@pytest.fixture(scope="module")
def benchmark():
    return simulators.simulate_one_hot_hmm_glm(0)


def filtered(counts, basis):
    """[time, neuron] history written out lag by lag, one sequence."""
    history = np.zeros_like(counts)
    for step in range(len(counts)):
        for lag, weight in enumerate(basis, start=1):
            if step - lag >= 0:
                history[step] += weight * counts[step - lag]
    return history


def test_shapes_and_constants_of_the_benchmark(benchmark):
    assert benchmark.data.values.shape == (50, 2000, 20)
    assert benchmark.states.shape == (50, 2000)
    assert benchmark.weights.shape == benchmark.types.shape == benchmark.strengths.shape == (5, 20, 20)
    assert benchmark.type_prior.shape == (20, 20, 3)
    assert benchmark.bias.shape == (20,)
    np.testing.assert_allclose(benchmark.basis, [0.6364, 0.2341, 0.0861, 0.0317, 0.0117], atol=5e-5)
    np.testing.assert_allclose(benchmark.basis.sum(), 1, rtol=1e-14)
    np.testing.assert_array_equal(np.diag(benchmark.transition), 0.98)
    np.testing.assert_allclose(benchmark.transition[~np.eye(5, dtype=bool)], 0.005, rtol=1e-12)
    np.testing.assert_allclose(benchmark.type_prior.sum(-1), 1)
    assert benchmark.data.complete
    assert (benchmark.data.values == np.floor(benchmark.data.values)).all()


def test_laws_of_the_connections(benchmark):
    np.testing.assert_array_equal(benchmark.weights, (benchmark.types - 1) * benchmark.strengths)
    assert (benchmark.strengths > 0).all()
    assert (benchmark.strengths < np.log(4)).all()
    assert (np.abs(benchmark.bias) < 0.05).all()
    uniform = np.expm1(benchmark.strengths) / 3
    np.testing.assert_allclose([uniform.mean(), uniform.var()], [0.5, 1 / 12], rtol=0.05)


def test_types_follow_their_prior():
    rng = np.random.default_rng(0)
    types, strengths, prior = simulators.draw_connections(rng, num_states=400, num_neurons=12)
    np.testing.assert_allclose(prior.mean((0, 1)), [0.1, 0.8, 0.1], atol=0.05)
    frequency = np.stack([(types == kind).mean(0) for kind in range(3)], -1)
    deviation = (frequency - prior) / np.sqrt(np.maximum(prior * (1 - prior), 1e-12) / 400)
    seen = prior * (1 - prior) > 0.01
    assert abs((deviation[seen] ** 2).mean() - 1) < 0.25
    variance = 0.1 * 0.9 / 3
    np.testing.assert_allclose(prior[..., 0].var(), variance, rtol=0.5)
    assert strengths.shape == types.shape


def test_states_follow_the_chain(benchmark):
    before, after = benchmark.states[:, :-1].ravel(), benchmark.states[:, 1:].ravel()
    stay = (before == after).mean()
    assert abs(stay - 0.98) < 4 * np.sqrt(0.98 * 0.02 / before.size)
    switches = np.zeros((5, 5))
    np.add.at(switches, (before, after), 1)
    switches /= switches.sum(1, keepdims=True)
    np.testing.assert_allclose(switches[~np.eye(5, dtype=bool)], 0.005, atol=0.0025)


def test_first_states_are_uniform():
    states = simulators.simulate_states(np.random.default_rng(0), np.full(4, 0.25), simulators.sticky_transition(4, 0.9), np.ones(20000, int))
    np.testing.assert_allclose(np.bincount(states[:, 0]) / 20000, 0.25, atol=0.02)


def test_counts_are_poisson_around_the_means(benchmark):
    residuals, squares = [], []
    for index in range(5):
        counts, states = benchmark.data.values[index], benchmark.states[index]
        drive = np.einsum("tnm,tm->tn", benchmark.weights[states], filtered(counts, benchmark.basis)) + benchmark.bias
        means = 1 / (1 + np.exp(-drive))
        residuals.append((counts - means) / np.sqrt(means))
        squares.append((counts - means) ** 2 / means)
    residuals, squares = np.concatenate(residuals), np.concatenate(squares)
    assert abs(residuals.mean()) < 4 / np.sqrt(residuals.size)
    assert abs(squares.mean() - 1) < 0.02
    shifted = benchmark.states[0][::-1]
    counts = benchmark.data.values[0]
    drive = np.einsum("tnm,tm->tn", benchmark.weights[shifted], filtered(counts, benchmark.basis)) + benchmark.bias
    means = 1 / (1 + np.exp(-drive))
    assert ((counts - means) ** 2 / means).mean() > squares[:2000].mean(), "wrong states must explain the counts worse"


def test_direction_and_lag_of_the_coupling():
    weights = np.zeros((1, 2, 2))
    weights[0, 1, 0] = 5.0
    rng = np.random.default_rng(0)
    states = np.zeros((200, 50), int)
    counts = simulators.simulate_glm_counts(rng, states, weights, np.array([-1.0, -6.0]), np.array([0.0, 1.0]))
    received, sent = counts[:, 2:, 1], counts[:, :-2, 0]
    for count in (0, 1, 2):
        chosen = received[sent == count]
        mean = 1 / (1 + np.exp(6.0 - 5.0 * count))
        assert abs(chosen.mean() - mean) < 4 * np.sqrt(mean / chosen.size)
    rate = 1 / (1 + np.exp(1.0))
    assert abs(counts[..., 0].mean() - rate) < 4 * np.sqrt(rate / counts[..., 0].size)


def test_same_seed_same_data():
    one, two, other = (simulators.simulate_one_hot_hmm_glm(seed, num_neurons=3, num_steps=50, num_sequences=2) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.data.values, two.data.values)
    np.testing.assert_array_equal(one.weights, two.weights)
    assert not np.array_equal(one.weights, other.weights)


def test_ragged_and_small_cases():
    ragged = simulators.simulate_one_hot_hmm_glm(0, num_neurons=3, num_steps=[5, 1, 9], num_sequences=3)
    assert ragged.data.lengths.tolist() == [5, 1, 9]
    assert (ragged.states >= 0).sum() == 15
    assert (ragged.states[1, 1:] == -1).all()
    one = simulators.simulate_one_hot_hmm_glm(0, num_states=1, num_neurons=1, num_steps=1, num_sequences=1)
    assert one.transition.tolist() == [[1.0]]
    assert one.data.num_steps == 1


def test_poisson_hmm():
    rates = np.array([[0.5, 4.0], [3.0, 1.0]])
    simulation = simulators.simulate_poisson_hmm(0, num_steps=2000, rates=rates, initial=[1.0, 0.0])
    assert (simulation.states[:, 0] == 0).all()
    assert simulation.transition.shape == (2, 2)
    for state in range(2):
        counts = simulation.data.values[simulation.states == state]
        np.testing.assert_allclose(counts.mean(0), rates[state], rtol=0.03)
        np.testing.assert_allclose(counts.var(0), rates[state], rtol=0.05)
    ragged = simulators.simulate_poisson_hmm(1, num_states=4, num_neurons=7, num_steps=[3, 8], num_sequences=2)
    assert ragged.rates.shape == (4, 7)
    assert ragged.data.lengths.tolist() == [3, 8]


def test_impossible_states_never_occur():
    transition = np.array([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    states = simulators.simulate_states(np.random.default_rng(0), np.array([1.0, 0, 0]), transition, np.full(100, 200))
    assert states.max() == 1
    assert not ((states[:, :-1] == 0) & (states[:, 1:] == 0)).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_states": 0}, "`num_states`"),
        ({"num_neurons": 1.5}, "`num_neurons`"),
        ({"num_sequences": -1}, "`num_sequences`"),
        ({"num_lags": 0}, "`num_lags`"),
        ({"num_steps": 0}, "`num_steps`"),
        ({"num_steps": [1, 2]}, "`num_steps`"),
        ({"stay_probability": 1.5}, "`stay_probability`"),
        ({"link": "tanh"}, "`link`"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        simulators.simulate_one_hot_hmm_glm(0, **({"num_steps": 10, "num_sequences": 3} | options))


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="`rates`"):
        simulators.simulate_poisson_hmm(0, rates=[[-1.0]])
    with pytest.raises(ValueError, match="`transition`"):
        simulators.simulate_poisson_hmm(0, num_states=2, transition=np.eye(3))
    with pytest.raises(ValueError, match="`transition` is no probability law"):
        simulators.simulate_poisson_hmm(0, num_states=2, transition=np.ones((2, 2)))
    with pytest.raises(ValueError, match="`initial` is no probability law"):
        simulators.simulate_poisson_hmm(0, num_states=2, initial=[0.5, 0.6])
    with pytest.raises(ValueError, match="run away"):
        simulators.simulate_glm_counts(np.random.default_rng(0), np.zeros((1, 50), int), np.full((1, 1, 1), 50.0), np.zeros(1), np.ones(1), "exp")


def test_bundled_recording_is_the_simulation():
    data, truth = load("simulated_insula"), bundled.simulate()
    np.testing.assert_array_equal(data.values, truth.data.values)
    assert data.names == truth.data.names
    assert data.bin_width == 0.05
    np.testing.assert_array_equal(data.labels["rewarded"], truth.data.labels["rewarded"])
    for name, entries in truth.data.events.items():
        for one, other in zip(entries, data.events[name], strict=True):
            np.testing.assert_array_equal(one, other)


def test_bundled_recording_is_as_described():
    truth = bundled.simulate()
    data = truth.data
    assert data.num_sequences == 24
    assert data.labels["rewarded"].sum() == 14
    assert data.num_features == 15
    assert data.lengths.min() >= 400
    assert data.lengths.max() <= 700
    rates = data.values.sum((0, 1)) / (data.num_steps * 0.05)
    assert rates.min() > 1
    assert rates.max() < 10
    occupancy = {
        reward: np.bincount(states[states >= 0], minlength=3) / (states >= 0).sum()
        for reward in (True, False)
        for states in [truth.states[data.labels["rewarded"] == reward]]
    }
    assert occupancy[True][2] > occupancy[False][2] + 0.3
    assert occupancy[False][1] > occupancy[True][1] + 0.3
    for reward, lever, press in zip(data.labels["rewarded"], data.events["lever in"], data.events["lever press"], strict=True):
        assert lever.tolist() == [5.0]
        assert len(press) == reward


def test_command_writes_the_bundled_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bundled", "--folder", str(tmp_path)])
    bundled.main()
    path = tmp_path / "simulated_insula.npz"
    assert path.stat().st_size < 300_000
    assert "24 sequences" in capsys.readouterr().out
    np.testing.assert_array_equal(load(path).values, load("simulated_insula").values)
