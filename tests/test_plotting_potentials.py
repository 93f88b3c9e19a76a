"""Pictures of Langevin models on a grid say what the numbers say."""

import numpy as np
import pytest
from matplotlib import pyplot

import latentgate as lg
from latentgate import plotting

GRID = np.linspace(-1, 1, 9)


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


@pytest.fixture
def trials():
    return lg.LangevinOnGrid.sequences([np.zeros((length, 2)) for length in (4, 6, 5)], 0.1, labels={"right": [True, False, True]})


def test_potential_and_its_band():
    axes = plotting.potential(
        GRID, [GRID**2, -GRID], (np.stack([GRID**2, -GRID]) - 1, np.stack([GRID**2, -GRID]) + 1), absorbing=(True, False), names=["a", "b"]
    )
    axes.figure.canvas.draw()
    np.testing.assert_allclose(axes.lines[1].get_ydata(), -GRID)
    assert len(axes.collections) == 2
    assert axes.collections[0].get_datalim(axes.transData).y0 == pytest.approx(-1)
    assert axes.lines[2].get_xdata() == [-1, -1]
    for arguments, words in (
        ((GRID, GRID[1:]), "heights: found shape"),
        ((GRID, GRID, (GRID, GRID[1:])), "band: found shape"),
    ):
        with pytest.raises(ValueError, match=words):
            plotting.potential(*arguments)
    with pytest.raises(ValueError, match="names: found 2"):
        plotting.potential(GRID, GRID, names=["a", "b"])


def test_tuning_curves_are_sorted_by_their_peaks():
    rates = np.stack([2 + GRID, 30 - 10 * GRID, 5 - GRID**2], 1)
    axes = plotting.tuning_curves(GRID, rates, names=["up", "down", "middle"])
    axes.figure.canvas.draw()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["down", "middle", "up"]
    np.testing.assert_allclose(axes.images[0].get_array()[2], (2 + GRID) / 3)
    assert [text.get_text() for text in axes.texts] == ["40", "5", "3", "Hz"]
    for arguments, words in (
        ({"rates": rates[1:]}, "rates: found shape"),
        ({"rates": rates, "names": ["a"]}, "names: found 1"),
        ({"rates": rates, "order": "size"}, "order: found 'size'"),
    ):
        with pytest.raises(ValueError, match=words):
            plotting.tuning_curves(GRID, **arguments)


def test_paths_and_their_means(trials):
    times = np.where(trials.mask, trials.times, np.nan)
    paths = np.where([[True], [False], [True]], times, -times)
    axes = plotting.position_paths(paths, trials, by="right", align="end", absorbing=(True, True))
    axes.figure.canvas.draw()
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [-0.4, -0.3, -0.2, -0.1, 0.0], atol=1e-12)
    means = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert set(means) == {"right", "not right"}
    np.testing.assert_allclose(means["right"].get_ydata()[-1], 0.45)
    np.testing.assert_allclose(means["not right"].get_ydata()[-3:], [-0.4, -0.5, -0.6])
    for arguments, words in (
        ({"paths": paths[:2]}, "paths: found shape"),
        ({"paths": paths, "by": "side"}, "by: found 'side'"),
        ({"paths": paths, "align": "middle"}, "align: found 'middle'"),
    ):
        with pytest.raises(ValueError, match=words):
            plotting.position_paths(**({"data": trials} | arguments))
    plain = lg.Sequences.from_arrays([np.zeros((3, 1))])
    with pytest.raises(ValueError, match="data: found no times"):
        plotting.position_paths(np.zeros((1, 3)), plain)
