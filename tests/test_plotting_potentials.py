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


def test_a_path_moves_below_its_potential_from_ball_to_diamond():
    walk = np.array([0.0, 0.25, 0.5, np.nan])
    above, below = plotting.potential_path(
        GRID, GRID**2, [walk, -walk[:3]], [0.1 * np.arange(4), 0.1 * np.arange(3)], absorbing=(False, True), names=["a", "b"]
    )
    above.figure.canvas.draw()
    np.testing.assert_allclose(above.lines[0].get_ydata(), GRID**2)
    lines = {line.get_label(): line for line in below.lines if not line.get_label().startswith("_")}
    np.testing.assert_allclose(lines["a"].get_data(), [walk[:3], [0.0, 0.1, 0.2]])
    balls = [(line.get_marker(), *np.ravel(line.get_data())) for line in above.lines if line.get_marker() in "oD"]
    assert [mark for mark, *_ in balls] == ["o", "D", "o", "D"]
    np.testing.assert_allclose([place for _, *place in balls], [[0.0, 0.0], [0.5, 0.25], [0.0, 0.0], [-0.5, 0.25]])
    # Time runs down, and the two pictures share their positions.
    assert below.get_ylim()[0] > below.get_ylim()[1]
    assert (below.get_xlim(), below.get_ylabel()) == (above.get_xlim(), "time (s)")
    for arguments, words in (
        ((GRID, np.stack([GRID, GRID]), walk), "heights: found shape"),
        ((GRID, GRID, walk, [0.0, 1.0]), r"times: found lengths \[2\], expected \[4\]"),
        ((GRID, GRID, np.full(3, np.nan)), "paths: found no finite position in path 0"),
        ((GRID, GRID, np.zeros((2, 3, 2))), "paths: found shapes"),
    ):
        with pytest.raises(ValueError, match=words):
            plotting.potential_path(*arguments)


def test_a_landscape_has_its_heights_where_they_belong_and_paths_over_them():
    across, up = np.linspace(-1, 1, 7), np.linspace(0, 3, 5)
    heights = across + 10 * up[:, None]
    path = np.array([[0.0, 1.0], [0.5, 2.0], [np.nan, np.nan]])
    axes = plotting.landscape(across, up, heights, paths=path, names=["along", "aside"], unit="noise²")
    axes.figure.canvas.draw()
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xlim(), axes.get_ylim()) == ("along", "aside", (-1, 1), (0, 3))
    np.testing.assert_allclose(np.stack(axes.lines[0].get_data(), -1), path[:2])
    assert [line.get_marker() for line in axes.lines[1:]] == ["o", "D"]
    # A level line of x + 10 y runs where they are equal.
    levels = axes.collections[1].get_paths()[4].vertices
    np.testing.assert_allclose(np.ptp(levels @ [1.0, 10.0]), 0.0, atol=1e-9)
    (bar,) = axes.child_axes
    assert bar.get_ylabel() == "potential (noise²)"
    for arguments, words in (
        ((across, up, heights.T), r"heights: found shape \(7, 5\), expected \(5, 7\)"),
        ((across[::-1], up, heights), "first: found shape"),
        ((across, up, heights, np.zeros((2, 3, 3))), "paths: found shape"),
    ):
        with pytest.raises(ValueError, match=words):
            plotting.landscape(*arguments[:3], paths=arguments[3] if len(arguments) > 3 else None)
