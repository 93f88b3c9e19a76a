"""Pictures of latents, decoders and calibration say what the numbers say."""

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from matplotlib import pyplot

import latentgate as lg
from latentgate import plotting

RNG = np.random.default_rng(0)
LENGTHS = (10, 6, 8)


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


@pytest.fixture
def trials():
    return lg.Sequences.from_arrays([np.zeros((length, 2)) for length in LENGTHS], labels={"rewarded": [False, True, True]}, bin_width=0.05)


@pytest.fixture
def smoothed(trials):
    """As `fit.smooth` returns it: NaN at padding."""
    mean = np.where(np.asarray(trials.mask)[..., None], RNG.normal(size=(3, 10, 3)), np.nan)
    factors = RNG.normal(size=(3, 10, 3, 3))
    covariance = np.where(np.asarray(trials.mask)[..., None, None], factors @ np.swapaxes(factors, -1, -2), np.nan)
    dims = ("sequence", "time", "latent")
    return xr.Dataset({"mean": (dims, mean), "covariance": ((*dims, "latent_other"), covariance)})


def named(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_latents_are_lines_in_seconds_with_bands_of_two_standard_deviations(smoothed, trials):
    panels = plotting.latent_trajectories(smoothed, trials, which=[2, 0])
    panels[0].figure.canvas.draw()
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in panels] == [
        ("time in trial (s)", "latent 2"),
        ("time in trial (s)", "latent 0"),
        ("latent 2", "latent 0"),
    ]
    line = named(panels[0])["sequence 1"]
    np.testing.assert_allclose(line.get_xdata(), 0.05 * np.arange(6) + 0.025)
    np.testing.assert_allclose(line.get_ydata(), smoothed["mean"][1, :6, 2])
    band = panels[0].collections[1].get_paths()[0].vertices
    reach = 2 * np.sqrt(smoothed["covariance"][1, :6, 2, 2].values)
    np.testing.assert_allclose(band[:, 1].max(), (smoothed["mean"][1, :6, 2].values + reach).max())
    np.testing.assert_allclose(band[:, 1].min(), (smoothed["mean"][1, :6, 2].values - reach).min())
    # In the plane: a line and the point of its start for each of the three.
    plane = panels[-1].lines
    assert len(plane) == 6
    np.testing.assert_allclose(np.stack(plane[0].get_data(), -1), smoothed["mean"][0][:, [2, 0]])
    np.testing.assert_allclose(np.ravel(plane[1].get_data()), smoothed["mean"][0, 0, [2, 0]])
    assert panels[-1].get_aspect() == 1.0


def test_conditions_share_a_colour_and_have_means_as_far_as_half_of_them_go(smoothed, trials):
    panels = plotting.latent_trajectories(smoothed, trials, by="rewarded")
    panels[0].figure.canvas.draw()
    assert len(panels) == 4
    means = named(panels[1])
    assert list(means) == ["rewarded", "not rewarded"]
    # Of trials of six and eight rows: seven rows, the last of which only the longer one has.
    own = smoothed["mean"][1:, :7, 1].values
    np.testing.assert_allclose(means["rewarded"].get_ydata(), [*own[:, :6].mean(0), own[1, 6]])
    np.testing.assert_allclose(means["not rewarded"].get_ydata(), smoothed["mean"][0, :, 1])
    thin = [line for line in panels[1].lines if line.get_linewidth() < 1]
    colours = plotting.state_colours(2)
    np.testing.assert_allclose([line.get_color() for line in thin], colours[[1, 0, 0]])
    assert not panels[1].collections


def test_one_latent_needs_no_plane_and_a_bare_array_no_bands(trials):
    (axes,) = plotting.latent_trajectories(np.zeros((3, 10, 1)), trials, sequences=[2])
    assert [len(line.get_xdata()) for line in axes.lines] == [8]
    assert not axes.collections
    steps = plotting.latent_trajectories(np.zeros((1, 4, 1)), lg.Sequences.from_arrays([np.zeros((4, 1))]))
    assert steps[0].get_xlabel() == "time (steps)"


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"latents": np.zeros((3, 9, 2))}, ValueError, r"latents: found shape \(3, 9, 2\), expected \(3, 10, number of latents\)"),
        ({"latents": xr.Dataset({"smoothed": ("x", [1.0])})}, TypeError, "latents: found a dataset with smoothed"),
        ({"which": [0, 1, 2, 3]}, ValueError, "which: found 4 latents, expected one to three"),
        ({"which": [4]}, IndexError, r"which: found \[4\], expected indices from 0 to 3"),
        ({"by": "side"}, ValueError, "by: found 'side', expected a label of the data: 'rewarded'"),
        ({"sequences": [0, 3]}, IndexError, r"sequences: found \[0, 3\], expected indices from 0 to 2"),
        ({"data": [np.zeros((10, 2))]}, TypeError, "data: found list, expected lg.Sequences"),
    ],
)
def test_latents_that_cannot_be_drawn_are_refused(trials, changes, kind, message):
    with pytest.raises(kind, match=message):
        plotting.latent_trajectories(**({"latents": np.zeros((3, 10, 4)), "data": trials} | changes))
    assert pyplot.get_fignums() == []


TRUTH = RNG.normal(size=(30, 2))


def test_decoded_lines_and_bands_of_each_dimension():
    low, high = TRUTH - [1.0, 2.0], TRUTH + 3.0
    panels = plotting.decoded(TRUTH, TRUTH + 0.5, (low, high), level=0.9, bin_width=0.1, names=["x", "y"], unit="cm/s")
    panels[0].figure.canvas.draw()
    assert [axes.get_ylabel() for axes in panels] == ["x (cm/s)", "y (cm/s)"]
    assert panels[1].get_xlabel() == "time (s)"
    lines = named(panels[1])
    np.testing.assert_allclose(lines["truth"].get_data(), [0.1 * np.arange(30), TRUTH[:, 1]])
    np.testing.assert_allclose(lines["decoded"].get_ydata(), TRUTH[:, 1] + 0.5)
    (band,) = panels[1].collections
    assert band.get_label() == "90 % interval"
    heights = band.get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([heights.min(), heights.max()], [low[:, 1].min(), high[:, 1].max()])


def test_decoded_of_one_dimension_without_interval_counts_bins():
    (axes,) = plotting.decoded(TRUTH[:, 0], TRUTH[:, 1])
    assert (axes.get_xlabel(), axes.get_ylabel(), len(axes.collections)) == ("time (bins)", "kinematics", 0)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"predicted": TRUTH[1:]}, ValueError, r"predicted: found shape \(29, 2\), expected \(30, 2\), that of the truth"),
        ({"interval": (TRUTH, TRUTH[:, :1])}, ValueError, r"interval: found shape \(30, 1\), expected \(30, 2\)"),
        ({"interval": (TRUTH,)}, ValueError, "interval: found 1 arrays, expected two"),
        ({"truth": [TRUTH, TRUTH]}, TypeError, "truth: found a list of 2 arrays, expected one array .* of one session"),
        ({"level": 90}, ValueError, "level: found 90, expected a share between 0 and 1"),
        ({"bin_width": 0.0}, ValueError, "bin_width: found 0.0, expected a positive width"),
        ({"names": ["x"]}, ValueError, "names: found 1, expected 2, one a dimension"),
        ({"names": "xy"}, TypeError, "names: found the text 'xy', expected a list of 2"),
    ],
)
def test_what_no_decoder_said_is_refused(changes, kind, message):
    with pytest.raises(kind, match=message):
        plotting.decoded(**({"truth": TRUTH, "predicted": TRUTH} | changes))
    assert pyplot.get_fignums() == []


def test_coverage_lies_over_levels_with_a_binomial_band():
    levels, covered = np.array([0.9, 0.5]), np.array([[0.8, 0.95], [0.4, 0.6]])
    axes = plotting.calibration(levels, covered, 40, names=["x", "y"])
    axes.figure.canvas.draw()
    np.testing.assert_allclose(named(axes)["y"].get_data(), [[0.5, 0.9], [0.6, 0.95]])
    (band,) = axes.collections
    at_half = band.get_paths()[0].vertices
    at_half = at_half[np.isclose(at_half[:, 0], 0.5), 1]
    # Independent of the quantile function: the shares below which, and above which, at most a fortieth of the binomial law lies.
    counts = scipy.stats.binom.pmf(np.arange(41), 40, 0.5).cumsum()
    np.testing.assert_allclose([at_half.min(), at_half.max()], [np.argmax(counts >= 0.025) / 40, np.argmax(counts >= 0.975) / 40])
    with pytest.raises(ValueError, match="covered: found 0 to 90, expected shares between 0 and 1"):
        plotting.calibration(levels, [0, 90])
    with pytest.raises(ValueError, match=r"covered: found shape \(3,\) for levels of shape \(2,\)"):
        plotting.calibration(levels, [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="count: found 0"):
        plotting.calibration(levels, levels, 0)


def test_reliability_counts_how_often_a_state_was_the_true_one():
    given = np.array([[0.05, 0.95], [0.04, 0.96], [0.62, 0.38], [0.66, 0.34], [0.64, 0.36], [0.5, 0.5], [np.nan, np.nan]])
    truth = np.array([1, 0, 0, 0, 1, -1, -1])
    axes = plotting.reliability(given, truth, names=["well", "ill"])
    axes.figure.canvas.draw()
    np.testing.assert_allclose(named(axes)["well"].get_data(), [[0.045, 0.64], [1 / 2, 2 / 3]])
    np.testing.assert_allclose(named(axes)["ill"].get_data(), [[0.36, 0.955], [1 / 3, 1 / 2]])
    ends = axes.collections[0].get_segments()[1][:, 1]
    interval = scipy.stats.binomtest(2, 3).proportion_ci(method="wilson")
    np.testing.assert_allclose(ends, [interval.low, interval.high])
    for arguments, message in (
        ((given, truth[:3]), r"truth: found shape \(3,\), expected \(7,\)"),
        ((2 * given, truth), "probabilities: found rows that do not sum to one"),
        ((given, truth + 2), "truth: found states up to 3, expected integers from 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            plotting.reliability(*arguments)


def test_ranks_are_counted_in_bins_that_divide_them():
    ranks = np.repeat(np.arange(20), 10)
    axes = plotting.rank_histogram(ranks, 19)
    axes.figure.canvas.draw()
    bars = [patch for patch in axes.patches if patch.get_width() < 20 and patch.get_label() != "95 % by chance"]
    assert [bar.get_height() for bar in bars] == [20] * 10
    np.testing.assert_allclose([bars[0].get_x(), bars[-1].get_x() + bars[-1].get_width()], [-0.5, 19.5])
    for arguments, message in (
        ((ranks, 18), "ranks: found 0 to 19, expected whole numbers from 0 to the 18 draws"),
        ((ranks.reshape(2, -1), 19), r"ranks: found shape \(2, 100\)"),
    ):
        with pytest.raises(ValueError, match=message):
            plotting.rank_histogram(*arguments)
    with pytest.raises(ValueError, match="bins: found 3, expected a divisor of the 20 ranks there are: 1, 2, 4, 5, 10, 20"):
        plotting.rank_histogram(ranks, 19, bins=3)
