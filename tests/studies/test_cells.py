"""Voronoi distances beside searches over dense grids, with the distance written out in plain loops."""

import itertools

import numpy as np
import pytest

from latentgate.studies import Atoms, voronoi, voronoi_distance
from latentgate.studies.cells import Form, Term

NAMES = ("gate", "slope", "intercept", "variance")


def atoms(generator, count, dimension, spread=2.0):
    return Atoms(
        generator.normal(size=count),
        {
            "gate": spread * generator.normal(size=(count, dimension)),
            "slope": generator.normal(size=(count, dimension)),
            "intercept": generator.normal(size=count),
            "variance": generator.uniform(0.1, 1.0, count),
        },
    )


def norm(*differences):
    return np.sqrt(sum(np.sum(np.square(difference)) for difference in differences))


def atom_cost(kind, size, differences):
    """Of one atom in a cell of `size`, from the formulas as published."""
    gate, slope, intercept, variance = (differences[name] for name in NAMES)
    if kind == "exact" or size == 1:
        return norm(gate) + norm(slope) + norm(intercept) + norm(variance)
    order = {2: 4, 3: 6}[size]
    if kind == "over":
        return norm(gate, intercept) ** order + norm(slope, variance) ** (order / 2)
    assert kind == "laplace"
    return norm(gate) ** 2 + norm(slope) ** 2 + norm(intercept) ** order + norm(variance) ** (order / 2)


def at_translation(kind, estimate, truth, shift, factor, selected=None):
    masses, true_masses = np.exp(estimate.log_mass), np.exp(truth.log_mass)
    masses = masses * true_masses.sum() / masses.sum()
    moved = {**truth.params, "gate": truth.params["gate"] + shift}
    count, num_true = len(masses), len(true_masses)

    def differences(i, j):
        return {name: estimate.params[name][i] - moved[name][j] for name in NAMES}

    cells = [int(np.argmin([norm(*differences(i, j).values()) for j in range(num_true)])) for i in range(count)]
    costs = []
    for j in range(num_true):
        members = [i for i in range(count) if cells[i] == j]
        mass = sum(masses[i] for i in members)
        costs.append(abs(mass - factor * true_masses[j]) + sum(masses[i] * atom_cost(kind, len(members), differences(i, j)) for i in members))
    return max(sum(subset) for subset in itertools.combinations(costs, selected or num_true))


LOSSES = {
    "exact": (voronoi.exact(), None),
    "over": (voronoi.over_specified(), None),
    "top one": (voronoi.exact(selected=1), 1),
    "over, top two": (voronoi.over_specified(selected=2), 2),
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("sizes", [(2, 2), (3, 2)])
def test_infimum_is_that_of_a_grid_of_translations(kind, sizes):
    loss, selected = LOSSES[kind]
    generator = np.random.default_rng(3)
    written = "exact" if kind == "top one" else kind.split(",")[0]
    for _ in range(2):
        estimate, truth = atoms(generator, sizes[0], 1), atoms(generator, sizes[1], 1)
        found = voronoi_distance(loss.form, estimate, truth)
        # The minimiser's own point has the value it says ...
        np.testing.assert_allclose(at_translation(written, estimate, truth, found.shift, found.factor, selected), found.value, rtol=1e-9)
        # ... no point of a coarse grid is better, and a fine one around the best of it comes close.
        grid = [(at_translation(written, estimate, truth, shift, factor, selected), shift, factor) for shift in np.linspace(-9, 9, 61) for factor in FACTORS]
        best = min(grid)
        assert best[0] >= found.value - 1e-12
        fine = [
            at_translation(written, estimate, truth, best[1] + step, best[2] * scale, selected)
            for step in np.linspace(-0.3, 0.3, 25)
            for scale in np.linspace(0.8, 1.25, 21)
        ]
        assert found.value - 1e-12 <= min(fine) <= 1.1 * found.value


FACTORS = np.concatenate([[0.0], np.geomspace(0.05, 20, 25)])


def test_infimum_in_two_dimensions_is_that_of_a_grid():
    generator = np.random.default_rng(4)
    for kind in ("exact", "over"):
        estimate, truth = atoms(generator, 3, 2), atoms(generator, 2, 2)
        found = voronoi_distance(LOSSES[kind][0].form, estimate, truth)
        np.testing.assert_allclose(at_translation(kind, estimate, truth, found.shift, found.factor), found.value, rtol=1e-9)
        grid = [at_translation(kind, estimate, truth, np.array(shift), found.factor) for shift in itertools.product(np.linspace(-6, 6, 49), repeat=2)]
        assert min(grid) >= found.value - 1e-12
        near = [at_translation(kind, estimate, truth, found.shift + np.array(step), found.factor) for step in itertools.product([-1e-3, 0, 1e-3], repeat=2)]
        assert min(near) >= found.value - 1e-10


def test_laplace_form_scales_masses_but_moves_no_centre():
    generator = np.random.default_rng(5)
    estimate, truth = atoms(generator, 3, 1), atoms(generator, 2, 1)
    found = voronoi_distance(voronoi.laplace().form, estimate, truth)
    grid = [at_translation("laplace", estimate, truth, 0.0, factor) for factor in np.linspace(0, 10, 2001)]
    assert found.value - 1e-12 <= min(grid) <= found.value + 0.02
    assert found.shift.tolist() == []


@pytest.mark.parametrize("name", ["exact", "over_specified"])
def test_loss_does_not_see_gauges_of_estimate_or_truth_nor_the_order_of_atoms(name):
    generator = np.random.default_rng(6)
    form = getattr(voronoi, name)().form
    estimate, truth = atoms(generator, 3, 1), atoms(generator, 2, 1)
    plain = voronoi_distance(form, estimate, truth).value

    def moved(measure, shift, log_factor, order):
        params = {key: value[order] for key, value in measure.params.items()}
        return Atoms(measure.log_mass[order] + log_factor, {**params, "gate": params["gate"] + shift})

    other = moved(estimate, 7.5, -3.0, [2, 0, 1])
    np.testing.assert_allclose(voronoi_distance(form, other, truth).value, plain, rtol=1e-9)
    # The scale of masses is that of the truth as given.
    np.testing.assert_allclose(voronoi_distance(form, other, moved(truth, -4.0, np.log(5.0), [1, 0])).value, 5.0 * plain, rtol=1e-9)


def test_truth_in_another_gauge_is_at_distance_zero():
    generator = np.random.default_rng(7)
    truth = atoms(generator, 3, 1)
    estimate = Atoms(truth.log_mass + 2.0, {**truth.params, "gate": truth.params["gate"] - 11.0})
    for loss in (voronoi.exact(), voronoi.over_specified(), voronoi.exact(selected=2)):
        assert voronoi_distance(loss.form, estimate, truth).value < 1e-13


def test_published_losses_of_gaussian_gates_in_numbers():
    # Two fitted atoms about the first true one, one about the second; differences are chosen, so that each power can be read off.
    truth = Atoms(
        np.log([0.6, 0.4]),
        {"centre": np.array([0.0, 9.0]), "spread": np.ones(2), "slope": np.zeros(2), "intercept": np.zeros(2), "variance": np.ones(2)},
    )
    estimate = Atoms(
        np.log([0.3, 0.2, 0.5]),
        {
            "centre": np.array([0.5, 0.0, 9.1]),
            "spread": np.array([1.3, 1.0, 1.0]),
            "slope": np.array([0.2, 0.0, 0.3]),
            "intercept": np.array([0.7, 0.0, 0.0]),
            "variance": np.array([1.0, 1.4, 1.0]),
        },
    )
    masses = abs(0.5 - 0.6) + abs(0.5 - 0.4)
    first = 0.3 * (0.5**4 + 0.3**2 + 0.2**2 + 0.7**4) + 0.2 * 0.4**2
    third = 0.5 * (0.1 + 0.3)
    typed_one = voronoi_distance(voronoi.gaussian_gate(orders={2: 4.0}).form, estimate, truth).value
    np.testing.assert_allclose(typed_one, masses + first + third, rtol=1e-12)
    estimate.params["slope"][0] = 0.1
    by_type = [voronoi_distance(voronoi.gaussian_gate(orders={2: 6.0}, centred=centred).form, estimate, truth).value for centred in ((), (0,))]
    np.testing.assert_allclose(by_type[0] - by_type[1], 0.3 * (0.1**2 - 0.1**3), rtol=1e-9)


def test_published_loss_of_sigmoid_gates_in_numbers():
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    truth = Atoms(np.array([0.5, -1.0]), {"gate": np.array([[0.0], [8.0]]), "slope": np.zeros((2, 1)), "intercept": np.zeros(2), "variance": np.ones(2)})
    estimate = Atoms(
        np.array([-0.4, -0.2, -0.7]),
        {"gate": np.array([[0.3], [0.0], [8.2]]), "slope": np.zeros((3, 1)), "intercept": np.array([0.0, 0.6, 0.1]), "variance": np.ones(3)},
    )
    expected = abs(sigmoid(-0.4) + sigmoid(-0.2) - sigmoid(0.5)) + 0.3**2 + 0.6**2 + (0.3 + 0.2 + 0.1)
    np.testing.assert_allclose(voronoi_distance(voronoi.sigmoid().form, estimate, truth).value, expected, rtol=1e-12)


def test_larger_cells_than_orders_are_known_for_are_refused_unless_given():
    truth = Atoms(np.zeros(2), {"gate": np.array([[0.0], [1.0]]), "slope": np.zeros((2, 1)), "intercept": np.array([0.0, 50.0]), "variance": np.ones(2)})
    four = {"gate": np.zeros((4, 1)), "slope": np.zeros((4, 1)), "intercept": np.array([0.1, 0.2, 0.3, 0.4]), "variance": np.ones(4)}
    estimate = Atoms(np.zeros(4), four)
    with pytest.raises(ValueError, match="up to 3 atoms, expected more: 4 atoms are nearest to one true atom"):
        voronoi_distance(voronoi.over_specified().form, estimate, truth)
    assert voronoi_distance(voronoi.over_specified(orders={2: 4, 3: 6, 4: 7}).form, estimate, truth).value > 0
    with pytest.raises(ValueError, match=r"orders: found cells of 2, 4 atoms, expected 2, 3, ... without a gap"):
        voronoi.over_specified(orders={2: 4, 4: 7})


def test_estimates_that_are_no_numbers_and_terms_that_are_not_convex_are_refused():
    measure = Atoms(np.zeros(1), {"mean": np.zeros(1)})
    with pytest.raises(ValueError, match="estimate: found mean with entries that are not finite"):
        voronoi_distance(Form((Term(("mean",)),)), Atoms(np.zeros(1), {"mean": np.array([np.nan])}), measure)
    with pytest.raises(ValueError, match=r"powers: found 0.5, expected powers of at least 1"):
        Term(("mean",), 0.5)
    with pytest.raises(ValueError, match="selected: found 2, expected 1 to 1"):
        voronoi_distance(Form((Term(("mean",)),), selected=2), measure, measure)
