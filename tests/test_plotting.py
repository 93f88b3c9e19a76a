"""Pictures say what the numbers say."""

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot

import latentgate as lg
from latentgate import plotting
from latentgate.data.jump_processes import JumpPath


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


@pytest.fixture
def trials():
    return lg.Sequences.from_arrays(
        [np.zeros((length, 2)) for length in (10, 6, 8)],
        labels={"rewarded": [False, True, True]},
        events={"lever": [[0.2], [], [0.1, 0.3]], "never": [[], [], []]},
        bin_width=0.05,
    )


def draw(axes):
    """Layout and drawing raise errors that building a picture does not."""
    axes.figure.canvas.draw()


def path_of(trials):
    return np.where(trials.mask, np.arange(trials.max_length) // 4 % 2, -1)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_rows_show_states_and_white_padding(trials):
    axes = plotting.states_over_time(path_of(trials), trials)
    draw(axes)
    pixels = axes.images[0].get_array()
    colours = plotting.state_colours(2)
    assert pixels.shape == (3, 10, 3)
    np.testing.assert_allclose(pixels[0, :4], np.tile(colours[0], (4, 1)))
    np.testing.assert_allclose(pixels[0, 4:8], np.tile(colours[1], (4, 1)))
    np.testing.assert_allclose(pixels[1, 6:], 1.0)
    assert axes.get_xlim() == (0, 0.5)
    assert axes.get_xlabel() == "time in trial (s)"


def test_rows_are_grouped_by_a_label_and_events_follow_their_trial(trials):
    axes = plotting.states_over_time(path_of(trials), trials, by="rewarded")
    draw(axes)
    assert texts(axes) == ["rewarded\n(2)", "not rewarded\n(1)"]
    (marks,) = axes.collections
    assert sorted(marks.get_offsets().tolist()) == [[0.1, 1.5], [0.2, 2.5], [0.3, 1.5]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["state 0", "state 1", "lever"]


def test_long_trials_keep_the_state_of_most_steps():
    data = lg.Sequences.from_arrays([np.zeros((3001, 1))])
    states = np.ones((1, 3001), int)
    states[0, ::4] = 0
    states[0, :40] = 0
    axes = plotting.states_over_time(states, data)
    pixels = axes.images[0].get_array()
    colours = plotting.state_colours(2)
    np.testing.assert_allclose(pixels[0, 0], colours[0])
    assert (np.abs(pixels[0, 10:-1] - colours[1]) < 1e-12).all()
    assert axes.get_xlim() == (0, 3001)
    assert axes.get_xlabel() == "time (steps)"


def test_bands_fill_a_row_whatever_the_probabilities(trials):
    probabilities = np.full((3, 10, 3), 1 / 3)
    probabilities[~np.asarray(trials.mask)] = np.nan
    axes = plotting.states_over_time(probabilities, trials, sequences=[2, 0])
    draw(axes)
    bands = axes.collections[:6]
    low = max(band.get_paths()[0].vertices[:, 1].max() for band in bands[:3])
    high = min(band.get_paths()[0].vertices[:, 1].min() for band in bands[:3])
    np.testing.assert_allclose([high, low], [0.05, 0.95])
    assert axes.get_xlim() == (0, 0.5)


def test_states_of_another_shape_are_refused(trials):
    with pytest.raises(ValueError, match=r"states: found shape \(3, 9\), expected \(3, 10\)"):
        plotting.states_over_time(np.zeros((3, 9), int), trials)
    with pytest.raises(ValueError, match=r"by: found 'colour', expected a label of the data: 'rewarded'"):
        plotting.states_over_time(path_of(trials), trials, by="colour")


def test_coupling_shares_one_scale_centred_at_zero():
    weights = np.random.default_rng(0).normal(size=(3, 5, 5, 2))
    panels = plotting.coupling(weights)
    draw(panels[0])
    limits = {panel.images[0].get_clim() for panel in panels}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low == -high
    shown = panels[1].images[0].get_array()
    assert np.ma.getmaskarray(shown)[np.eye(5, dtype=bool)].all()
    np.testing.assert_allclose(shown[0, 1], weights[1, 0, 1].sum())
    assert panels[0].get_xlabel() == "from neuron"
    assert panels[0].get_ylabel() == "onto neuron"


def test_coupling_that_is_zero_or_of_one_neuron_can_be_drawn():
    for weights in (np.zeros((2, 4, 4)), np.ones((1, 1, 1))):
        draw(plotting.coupling(weights)[0])


def test_coupling_checks_its_axes():
    with pytest.raises(ValueError, match="ax: found 1 axes, expected 2, one a state"):
        plotting.coupling(np.zeros((2, 4, 4)), ax=[pyplot.subplots()[1]])
    with pytest.raises(ValueError, match=r"weights: found shape \(2, 4, 3\)"):
        plotting.coupling(np.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match="weights: found NaN or infinity"):
        plotting.coupling(np.full((2, 4, 4), np.nan))
    with pytest.raises(ValueError, match="limit: found 0"):
        plotting.coupling(np.zeros((2, 4, 4)), limit=0)
    with pytest.raises(ValueError, match="type_prior: found rows that do not sum to one"):
        plotting.connection_types(np.ones((4, 4, 3)))


def test_types_mix_colours_by_probability():
    prior = np.zeros((3, 3, 3))
    prior[..., 1] = 1.0
    prior[0, 1] = [1, 0, 0]
    prior[1, 0] = [0, 0, 1]
    axes = plotting.connection_types(prior)
    draw(axes)
    pixels = axes.images[0].get_array()
    np.testing.assert_allclose(pixels[0, 2], 1.0)
    assert pixels[0, 1, 2] > pixels[0, 1, 0], "inhibition is blue"
    assert pixels[1, 0, 0] > pixels[1, 0, 2], "excitation is red"


def test_types_of_senders():
    axes = plotting.connection_types(np.full((4, 3), 1 / 3))
    draw(axes)
    assert axes.images[0].get_array().shape == (1, 4, 3)


def test_transition_matrix_prints_its_numbers():
    axes = plotting.transition_matrix([[0.99, 0.00999, 0.00001], [0.0, 1.0, 0.0], [0.25, 0.25, 0.5]], bin_width=0.1)
    draw(axes)
    assert texts(axes) == [".990", ".010", "<.001", "0", "1", "0", ".250", ".250", ".500", "10 s", "∞", "0.2 s", "mean stay"]


def test_bars_carry_their_numbers():
    axes = plotting.bits_per_spike({"one-state GLM": 0.25, "HMM": 0.5}, {"one-state GLM": [0.2, 0.3], "HMM": [0.4, 0.6]})
    draw(axes)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["one-state\nGLM\n0.250", "HMM\n0.500"]
    assert [bar.get_height() for bar in axes.patches] == [0.25, 0.5]
    with pytest.raises(ValueError, match="by_sequence: found the models"):
        plotting.bits_per_spike({"a": 0.1}, {"b": [0.1]})
    with pytest.raises(ValueError, match=r"by_sequence: found shapes \[\(1,\), \(2,\)\]"):
        plotting.bits_per_spike({"a": 0.1, "b": 0.2}, {"a": [0.1], "b": [0.1, 0.2]})
    with pytest.raises(TypeError, match=r"scores: found \{\}, expected a mapping"):
        plotting.bits_per_spike({})


def test_occupancy_draws_every_trial_and_the_means():
    occupied = np.array([[0.2, 0.8], [0.4, 0.6], [0.9, 0.1]])
    axes = plotting.occupancy(occupied, np.array([True, True, False]), name="rewarded", other_name="not rewarded")
    draw(axes)
    points = [collection for collection in axes.collections if isinstance(collection, matplotlib.collections.PathCollection)]
    assert sum(len(collection.get_offsets()) for collection in points) == 6
    means = [segment[0][1] for lines in axes.collections if hasattr(lines, "get_segments") for segment in lines.get_segments()]
    np.testing.assert_allclose(sorted(means), sorted([0.3, 0.9, 0.7, 0.1]))
    with pytest.raises(ValueError, match="labels: found shape"):
        plotting.occupancy(occupied, np.array([1, 1, 0]))


@pytest.mark.parametrize("num_states", [1, 3, 8, 20])
def test_colours_differ(num_states):
    colours = plotting.state_colours(num_states)
    assert colours.shape == (num_states, 3)
    assert len({tuple(row) for row in colours.round(4)}) == num_states


def test_first_colours_stay_apart_for_the_colour_blind():
    # Viénot, Brettel, Mollon (1999): linear RGB seen without the long- or the middle-wavelength cones.
    blind = (
        np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
        np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
    )
    colours = plotting.state_colours(6) ** 2.2
    for matrix in blind:
        seen = (colours @ matrix.T).clip(0, 1) ** (1 / 2.2)
        distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)[~np.eye(6, dtype=bool)]
        assert distances.min() > 0.12


def test_pictures_go_into_the_given_axes(trials):
    _, axes = pyplot.subplots(1, 4)
    assert plotting.states_over_time(path_of(trials), trials, ax=axes[0]) is axes[0]
    assert plotting.transition_matrix(np.eye(2), ax=axes[1]) is axes[1]
    assert plotting.bits_per_spike({"a": 0.1}, ax=axes[2]) is axes[2]
    assert plotting.connection_types(np.full((2, 2, 3), 1 / 3), ax=axes[3]) is axes[3]
    assert len(pyplot.get_fignums()) == 1


RATES = np.array([[0.0, 2.0, 0.01], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]])


def test_graph_shows_rates_with_intervals_and_marks_what_absorbs():
    axes = plotting.generator_graph(RATES, np.stack([0.5 * RATES, 2 * RATES]), names=["well", "ill", "dead"], unit="year")
    draw(axes)
    assert texts(axes) == ["2\n1–4", "0.01\n0.005–0.02", "0.5\n0.25–1", "well", "ill", "dead"]
    assert [type(patch).__name__ for patch in axes.patches].count("Rectangle") == 1
    assert axes.get_title() == "rates per year, with intervals below; square: absorbing"


def test_graph_takes_quantities_and_leaves_out_what_is_slow():
    values = np.stack([RATES, 0.1 * RATES, 0.5 * RATES, 2 * RATES])
    values[2, 0, 1] = np.nan
    generator = xr.DataArray(values, dims=("statistic", "state", "next_state"), coords={"statistic": ["estimate", "standard_error", "lower", "upper"]})
    axes = plotting.generator_graph(generator, smallest=0.1)
    draw(axes)
    assert texts(axes)[:2] == ["2\n?–4", "0.5\n0.25–1"]
    with pytest.raises(ValueError, match=r"intervals: found shape \(3, 3\), expected \(2, 3, 3\)"):
        plotting.generator_graph(RATES, RATES)
    with pytest.raises(ValueError, match="names: found 1, expected 3"):
        plotting.generator_graph(RATES, names=["well"])


def test_prevalence_is_in_per_cent_of_those_at_risk():
    counts = {"observed": [[4.0, 0.0], [1.0, 1.0], [0.0, 0.0]], "expected": [[4.0, 0.0], [1.5, 0.5], [0.0, 0.0]]}
    dataset = xr.Dataset({name: (("time", "state"), value) for name, value in counts.items()}, coords={"time": [0.0, 1.0, 2.0]})
    panels = plotting.prevalence(dataset.assign(at_risk=("time", [4.0, 2.0, 0.0])), names=["well", "ill"], unit="years")
    draw(panels[0])
    observed, expected = panels[1].lines
    assert observed.get_xdata().tolist() == [0.0, 1.0]
    np.testing.assert_allclose(observed.get_ydata(), [0, 50])
    np.testing.assert_allclose(expected.get_ydata(), [0, 25])
    assert panels[1].get_xlabel() == "time (years)"
    with pytest.raises(ValueError, match="counts: found no 'at_risk'"):
        plotting.prevalence(dataset)


@pytest.fixture
def visits():
    return lg.Sequences.from_arrays([np.array([0.0, np.nan, 1.0]), np.array([1.0, 0.0])], times=[[0.0, 1.0, 2.5], [0.0, 4.0]], names=["state"])


def test_paths_are_steps_behind_the_observations(visits):
    paths = [JumpPath(np.array([0.0, when]), np.array([0, 1]), 2.5) for when in (0.5, 2.0)]
    axes = plotting.jump_paths(paths, visits, names=["well", "ill"], unit="years")
    draw(axes)
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0.0, 0.5, 2.5], [0.0, 2.0, 2.5]]
    (points,) = [found for found in axes.collections if isinstance(found, matplotlib.collections.PathCollection)]
    assert points.get_offsets().tolist() == [[0.0, 0.0], [2.5, 1.0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["well", "ill"]
    with pytest.raises(ValueError, match=r"observations: found shape \(2,\), expected \(3,\)"):
        plotting.jump_paths(paths, visits, observations=[0, 1])


def test_smoothed_states_lie_at_their_times_and_fill_the_height(visits):
    probabilities = np.full((2, 3, 2), 0.5)
    axes = plotting.smoothed_states(probabilities, visits)
    draw(axes)
    assert axes.get_xlim() == (0.0, 2.5)
    assert max(band.get_paths()[0].vertices[:, 1].max() for band in axes.collections) == 1.0
    (ticks,) = axes.lines
    assert np.asarray(ticks.get_xdata()).tolist() == [0.0, 2.5]
    with pytest.raises(ValueError, match="data: found no times"):
        plotting.smoothed_states(np.zeros((1, 2, 2)), lg.Sequences.from_arrays([np.zeros((2, 1))]))


def test_forces_are_arrows_of_one_length_coloured_by_strength_over_paths():
    points = np.array([[-1.0, 0.0], [0.0, 0.0], [2.0, 1.0], [3.0, 3.0]])
    forces = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, -2.0], [np.nan, 1.0]])
    axes = plotting.force_field(points, forces, paths=[np.zeros((4, 2)), np.ones((2, 2))])
    draw(axes)
    (arrows,) = [found for found in axes.collections if isinstance(found, matplotlib.quiver.Quiver)]
    np.testing.assert_allclose(arrows.get_offsets(), points[:3])
    np.testing.assert_allclose(np.stack([arrows.U, arrows.V], 1), [[0.6, 0.8], [0.0, 0.0], [0.0, -1.0]])
    np.testing.assert_allclose(arrows.get_array(), [5.0, 0.0, 2.0])
    assert [len(line.get_xdata()) for line in axes.lines] == [4, 2]
    assert axes.get_aspect() == 1.0


@pytest.mark.parametrize(
    ("points", "forces", "paths", "message"),
    [
        (np.zeros((4, 3)), np.zeros((4, 3)), None, r"points: found shape \(4, 3\)"),
        (np.zeros((4, 2)), np.zeros((3, 2)), None, r"forces: found shape \(3, 2\), expected \(4, 2\)"),
        (np.zeros((4, 2)), np.full((4, 2), np.nan), None, "forces: found none that is finite"),
        (np.zeros((4, 2)), np.ones((4, 2)), [np.zeros((5, 2)), np.zeros((5, 3))], r"paths: found shape \(5, 3\) in path 1"),
    ],
)
def test_a_field_that_is_none_is_refused(points, forces, paths, message):
    with pytest.raises(ValueError, match=message):
        plotting.force_field(points, forces, paths=paths)


def test_inferred_inputs_are_rows_of_latents_up_to_the_last_step_that_leads_somewhere(trials):
    inputs = np.random.default_rng(0).normal(size=(3, 10, 4))
    axes = plotting.inferred_inputs(inputs, trials, sequence=1)
    draw(axes)
    (image,) = axes.images
    np.testing.assert_allclose(image.get_array(), inputs[1, :5].T)
    assert image.get_clim() == (-np.abs(inputs[1, :5]).max(), np.abs(inputs[1, :5]).max())
    np.testing.assert_allclose(axes.get_xlim(), (0.0, 0.25))
    assert axes.get_xlabel() == "time (s)"
    with pytest.raises(ValueError, match=r"inputs: found shape \(3, 9, 4\), expected \(3, 10, number of latents\)"):
        plotting.inferred_inputs(inputs[:, :9], trials)
    with pytest.raises(IndexError, match="sequence: found 3, expected 0 to 2"):
        plotting.inferred_inputs(inputs, trials, sequence=3)
