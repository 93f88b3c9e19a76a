"""The log-likelihood of a jump process against the recursion written out, for every way in which a state can be seen."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

import latentgate as lg
from latentgate.data.sequences import take
from latentgate.data.times import cut_at

from ..oracles.jump_process import CONTINUOUS, ENTRY, SNAPSHOT, panel_log_likelihood

pytestmark = pytest.mark.usefixtures("float64")

# Three states of the living, and two ways to die.
GRAPH = [(0, 1), (1, 0), (1, 2), (2, 1), (0, 3), (1, 3), (2, 3), (0, 4), (2, 4)]
NUM_STATES = 5
ALIVE, ILL = 5, 6
CODES = {ALIVE: (0, 1, 2), ILL: (1, 2)}
ALLOWED = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 0, 1], [1, 0, 1]], bool)
LENGTHS = (6, 4, 1, 5, 6)
# Columns of an observation.
KNOWN, LABEL, SIGNAL, COUNT = range(4)
CENTRE = 0.3


@dataclasses.dataclass
class Panel:
    """Rows of subjects: what is seen [time, column], times, arrivals and inputs."""

    rows: list[np.ndarray]
    times: list[np.ndarray]
    arrivals: list[np.ndarray]
    inputs: list[np.ndarray]

    def data(self) -> lg.Sequences:
        inputs = {"inputs": self.inputs, "arrival": [column[:, None].astype(float) for column in self.arrivals]}
        return dataclasses.replace(lg.Sequences.from_arrays(self.rows, inputs=inputs, times=self.times), complete=False)


def blank(seed: int = 0) -> Panel:
    """Nothing but a first label; irregular times, some gaps repeated; an input that changes in time."""
    rng = np.random.default_rng(seed)
    times = [np.cumsum(np.where(rng.random(n) < 0.5, rng.choice([0.25, 0.5, 2.0], n), rng.gamma(1.0, 0.8, n))) + 3.0 for n in LENGTHS]
    inputs = [rng.choice([-1.0, 0.0, 0.7], (n, 1)) for n in LENGTHS]
    rows = [np.full((n, 4), np.nan) for n in LENGTHS]
    for row in rows:
        row[0, LABEL] = 1
    return Panel(rows, times, [np.zeros(n, int) for n in LENGTHS], inputs)


def state_seen() -> Panel:
    panel = blank()
    rng = np.random.default_rng(1)
    for row in panel.rows:
        row[:, LABEL] = np.nan
        row[:, KNOWN] = rng.integers(0, 3, len(row))
    panel.rows[1][-1, KNOWN] = 4
    return panel


def censored() -> Panel:
    panel = state_seen()
    for row in panel.rows:
        row[1::2, KNOWN] = ALIVE
    panel.rows[0][2, KNOWN] = panel.rows[2][0, KNOWN] = ILL
    return panel


def misclassified() -> Panel:
    panel = blank()
    rng = np.random.default_rng(2)
    for row in panel.rows:
        row[:, LABEL] = rng.integers(0, 3, len(row))
    return panel


def signals() -> Panel:
    panel = blank()
    rng = np.random.default_rng(3)
    for row in panel.rows:
        row[:, SIGNAL] = rng.normal(size=len(row))
    return panel


def counts() -> Panel:
    panel = blank()
    rng = np.random.default_rng(4)
    for row in panel.rows:
        row[:, COUNT] = rng.poisson(2.0, len(row))
    return panel


def one_death() -> Panel:
    panel = state_seen()
    panel.rows[1][-1, KNOWN] = 2
    for subject in (0, 3):
        panel.rows[subject][-1] = [3, np.nan, np.nan, np.nan]
        panel.arrivals[subject][-1] = ENTRY
    return panel


def two_deaths() -> Panel:
    panel = misclassified()
    for subject, cause in ((0, 3), (3, 4), (4, 3)):
        panel.rows[subject][-1] = [cause, np.nan, np.nan, np.nan]
        panel.arrivals[subject][-1] = ENTRY
    return panel


def watched() -> Panel:
    """Exact transition times: rows at every jump, and one in between at which nothing happened."""
    panel = state_seen()
    path = [0, 1, 1, 2, 1, 3]
    for subject, row in enumerate(panel.rows):
        row[:, KNOWN] = path[: len(row)]
        panel.arrivals[subject][1:] = CONTINUOUS
    panel.arrivals[4][2:4] = SNAPSHOT
    return panel


def label_beside_the_truth() -> Panel:
    """The true state known at some rows, beside a label that may be wrong."""
    panel = misclassified()
    panel.rows[0][1] = [1, 2, np.nan, np.nan]
    panel.rows[3][2] = [0, 1, np.nan, np.nan]
    panel.rows[4][0] = [ILL, 1, np.nan, np.nan]
    return panel


def missing_rows() -> Panel:
    panel = signals()
    for row in panel.rows:
        row[1:4] = np.nan
    panel.rows[0][-1] = np.nan
    return panel


def mixed() -> Panel:
    panel = two_deaths()
    rng = np.random.default_rng(6)
    panel.rows[0][1] = [ALIVE, np.nan, 0.4, 1.0]
    panel.rows[0][2] = [1, 2, -0.3, np.nan]
    panel.rows[0][3] = np.nan
    panel.rows[1][2:, SIGNAL] = rng.normal(size=2)
    panel.rows[2][0] = [ILL, 1, 0.1, 2]
    panel.rows[3][1:3, :2] = [[1, 2], [2, 1]]
    panel.arrivals[3][2] = CONTINUOUS
    panel.rows[4][1] = [1, np.nan, np.nan, np.nan]
    panel.rows[4][2] = [0, np.nan, np.nan, np.nan]
    panel.arrivals[4][2] = ENTRY
    return panel


PANELS = [state_seen, censored, misclassified, signals, counts, one_death, two_deaths, watched, label_beside_the_truth, missing_rows, mixed]


def emission(label_inputs: int = 0) -> lg.emissions.Product:
    return lg.emissions.Product(
        known=lg.emissions.KnownState(NUM_STATES, censored=CODES),
        label=lg.emissions.Misclassified(ALLOWED, label_inputs),
        signal=lg.emissions.Gaussian(1),
        count=lg.emissions.Poisson(1),
    )


def process(inputs: str = "inputs", method: str = "auto", label_inputs: int = 0) -> lg.MarkovJumpProcess:
    generator = lg.generators.LogLinear(GRAPH, num_inputs=1, inputs=inputs, centre=[CENTRE])
    return lg.MarkovJumpProcess(NUM_STATES, emission(label_inputs), generator, initial=[0.5, 0.3, 0.2, 0.0, 0.0], method=method)


def parameters(label_inputs: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    edges = np.zeros((NUM_STATES, NUM_STATES), bool)
    edges[tuple(np.array(GRAPH).T)] = True
    params = {
        "transition.rates": np.where(edges, rng.gamma(2.0, 0.3, edges.shape), 0.0),
        "transition.effects": np.where(edges, rng.normal(0.0, 0.8, edges.shape), 0.0)[..., None],
        "emission.label.probs": (weights := np.where(ALLOWED, rng.gamma(2.0, size=ALLOWED.shape), 0.0)) / weights.sum(1, keepdims=True),
        "emission.signal.means": rng.normal(size=(NUM_STATES, 1)),
        "emission.signal.covariances": rng.gamma(3.0, 0.4, (NUM_STATES, 1, 1)),
        "emission.count.rates": rng.gamma(3.0, 0.6, (NUM_STATES, 1)),
    }
    if label_inputs:
        reference = np.eye(NUM_STATES, 3, dtype=bool)
        reference[[3, 4], [2, 0]] = True
        free = ALLOWED & ~reference
        params["emission.label.weights"] = np.where(free[..., None], rng.normal(size=(*free.shape, label_inputs)), 0.0)
    return params


MODEL, PARAMS = process(), parameters()


def generator_at(params: dict[str, np.ndarray], value: float) -> np.ndarray:
    rates = params["transition.rates"] * np.exp(params["transition.effects"][..., 0] * (value - CENTRE))
    return rates - np.diag(rates.sum(1))


def likelihoods(params: dict[str, np.ndarray], row: np.ndarray, value: float) -> np.ndarray:
    """Of one row, given each state, [K]."""
    found = np.ones(NUM_STATES)
    if np.isfinite(row[KNOWN]):
        found *= np.isin(np.arange(NUM_STATES), CODES.get(int(row[KNOWN]), (int(row[KNOWN]),)))
    if np.isfinite(row[LABEL]):
        probs = params["emission.label.probs"]
        if "emission.label.weights" in params:
            probs = probs * np.exp(params["emission.label.weights"][..., 0] * value)
            probs = probs / probs.sum(1, keepdims=True)
        found *= probs[:, int(row[LABEL])]
    if np.isfinite(row[SIGNAL]):
        found *= scipy.stats.norm.pdf(row[SIGNAL], params["emission.signal.means"][:, 0], np.sqrt(params["emission.signal.covariances"][:, 0, 0]))
    if np.isfinite(row[COUNT]):
        found *= scipy.stats.poisson.pmf(row[COUNT], params["emission.count.rates"][:, 0])
    return found


def by_hand(params: dict[str, np.ndarray], panel: Panel) -> np.ndarray:
    found = []
    for row, times, arrivals, inputs in zip(panel.rows, panel.times, panel.arrivals, panel.inputs, strict=True):
        generators = np.array([generator_at(params, value) for value in inputs[:-1, 0]]).reshape(-1, NUM_STATES, NUM_STATES)
        seen = np.array([likelihoods(params, one, value) for one, value in zip(row, inputs[:, 0], strict=True)])
        found.append(panel_log_likelihood(generators, times, arrivals, seen, np.array([0.5, 0.3, 0.2, 0.0, 0.0])))
    return np.array(found)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.__name__)
def test_every_kind_of_observation(panel):
    rows = panel()
    data = rows.data()
    MODEL.check(data)
    wanted = by_hand(PARAMS, rows)
    assert np.isfinite(wanted).all()
    assert_allclose(MODEL.log_likelihood(PARAMS, data), wanted, rtol=1e-12)


def test_labels_whose_errors_depend_on_inputs():
    model, params, rows = process(label_inputs=1), parameters(label_inputs=1), mixed()
    assert_allclose(model.log_likelihood(params, rows.data()), by_hand(params, rows), rtol=1e-12)


@eqx.filter_jit
def without_catalogue(model, params, data):
    return model.potentials(params, data).log_normaliser()


def test_the_catalogue_of_gaps_changes_nothing():
    """Without it every interval has its own generator, and so goes through scaling and squaring."""
    data = mixed().data()
    assert not data.shared
    assert_allclose(without_catalogue(MODEL, PARAMS, data), MODEL.log_likelihood(PARAMS, data), rtol=1e-13)


def test_edges_that_only_fill_up_have_no_influence():
    data = MODEL.catalogue(mixed().data().select([3, 4]))
    used = np.unique(np.asarray(data.inputs["_jump.edge"])[:, 1:, 0][np.asarray(data.mask)[:, 1:]])
    filler = np.setdiff1d(np.arange(len(data.shared["jump.gaps"])), used)
    assert filler.size
    gaps, generator = data.shared["jump.gaps"].copy(), data.shared["jump.generator"].copy()
    gaps[filler], generator[filler] = 123.4, generator[used[-1]]
    garbled = dataclasses.replace(data, shared=data.shared | {"jump.gaps": gaps, "jump.generator": generator})

    @jax.jit
    def slopes(data):
        return jax.value_and_grad(lambda rates: MODEL.potentials({**PARAMS, "transition.rates": rates}, data).log_normaliser().sum())(
            PARAMS["transition.rates"]
        )

    for found, wanted in zip(slopes(garbled), slopes(data), strict=True):
        assert np.isfinite(found).all()
        assert_allclose(found, wanted, rtol=1e-12)


def test_a_minibatch_keeps_its_edges():
    rows = mixed()
    data = MODEL.catalogue(rows.data())
    chosen = np.array([4, 0, 4])
    found = jax.jit(lambda data, index: MODEL.potentials(PARAMS, take(data, index)).log_normaliser())(data, chosen)
    assert_allclose(found, by_hand(PARAMS, rows)[chosen], rtol=1e-12)


def test_selected_subjects_and_other_inputs_are_catalogued_anew():
    """What was found in all is not that of a few; a few with a single gap are the adversary's choice, and inputs that replace those catalogued."""
    model = lg.MarkovJumpProcess(2)
    states, times = [np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, 1.0])], [np.array([0.0, 0.3, 1.1]), np.array([0.0, 2.0, 4.0])]
    data = model.catalogue(lg.Sequences.from_arrays(states, times=times))
    same_leaves(model.catalogue(data.select([1])), model.catalogue(lg.Sequences.from_arrays(states[1:], times=times[1:])))
    arrival = {"arrival": [np.zeros((3, 1)), np.array([[0.0], [2.0], [2.0]])]}
    same_leaves(model.catalogue(data.with_inputs(arrival)), model.catalogue(lg.Sequences.from_arrays(states, arrival, times)))


def same_leaves(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(assert_array_equal, found, wanted)


def test_methods_agree_for_rates_in_detailed_balance():
    rng = np.random.default_rng(8)
    stationary, exchange = np.array([0.5, 0.3, 0.2]), np.triu(rng.gamma(1.0, size=(3, 3)), 1)
    symmetric = exchange + exchange.T
    generator = symmetric * np.sqrt(stationary) / np.sqrt(stationary)[:, None]
    generator -= np.diag(generator.sum(1))
    times = np.cumsum(rng.gamma(1.0, size=8))
    states = rng.integers(0, 3, 8)
    data = lg.Sequences.from_arrays([states.astype(float)], times=[times])
    wanted = panel_log_likelihood(generator, times, np.zeros(8), np.eye(3)[states], np.ones(3))
    for method in ("uniformisation", "scaling", "eigendecomposition"):
        model = lg.MarkovJumpProcess(3, generator=lg.generators.Reversible(), method=method)
        params = {"transition.stationary": stationary, "transition.exchange": exchange}
        assert_allclose(model.log_likelihood(params, data), wanted, rtol=1e-12)
        assert_allclose(model.generator(params), generator, rtol=1e-14)


def test_single_precision_is_close(float32):
    rows = mixed()
    assert_allclose(MODEL.log_likelihood(PARAMS, rows.data()), by_hand(PARAMS, rows), rtol=2e-6)


def test_rates_constant_in_pieces():
    """Cuts by the clock; the rate at which a cause kills is that of the last piece."""
    rows = two_deaths()
    cut_points = np.array([4.1, 6.0])
    data = cut_at(rows.data(), cut_points, origin="clock")
    rng = np.random.default_rng(9)
    effects = np.where(PARAMS["transition.rates"][..., None] > 0, rng.normal(0.0, 0.7, (NUM_STATES, NUM_STATES, 2)), 0.0)
    generator = lg.generators.LogLinear(GRAPH, num_inputs=2, inputs="period", centre=[0.0, 0.0])
    model = lg.MarkovJumpProcess(NUM_STATES, emission(), generator, initial=[0.5, 0.3, 0.2, 0.0, 0.0])
    params = {**PARAMS, "transition.effects": effects}
    found = model.log_likelihood(params, data)
    pieces = [PARAMS["transition.rates"] * np.exp(extra) for extra in (np.zeros_like(effects[..., 0]), effects[..., 0], effects[..., 1])]
    pieces = [rates - np.diag(rates.sum(1)) for rates in pieces]
    for subject, (row, times, arrivals) in enumerate(zip(rows.rows, rows.times, rows.arrivals, strict=True)):
        inside = cut_points[(cut_points > times[0]) & (cut_points < times[-1])]
        fine = np.union1d(times, inside)
        seen = np.array([likelihoods(PARAMS, row[np.searchsorted(times, time)], 0.0) if time in times else np.ones(NUM_STATES) for time in fine])
        kinds = [arrivals[np.searchsorted(times, time)] if time in times else SNAPSHOT for time in fine]
        generators = np.array([pieces[np.searchsorted(cut_points, time, side="right")] for time in fine[:-1]]).reshape(-1, NUM_STATES, NUM_STATES)
        assert_allclose(found[subject], panel_log_likelihood(generators, fine, kinds, seen, np.array([0.5, 0.3, 0.2, 0, 0])), rtol=1e-12)


def test_an_event_known_to_lie_in_an_interval():
    """Not yet at 1.2, had happened by 2: S(1.2) - S(2), and unseen rows in between say nothing; and a state watched until it was left."""
    rate = 0.8
    model = lg.MarkovJumpProcess(2, generator=[(0, 1)])
    params = {"transition.rates": np.array([[0.0, rate], [0.0, 0.0]])}
    arrays = [np.array([0.0, 0.0, np.nan, 1.0]), np.array([0.0, 0.0, 0.0, 1.0])]
    inputs = {"arrival": [np.zeros((4, 1)), np.array([[0.0], [2.0], [2.0], [2.0]])]}
    times = [np.array([0.0, 1.2, 1.5, 2.0])] * 2
    found = model.log_likelihood(params, lg.Sequences.from_arrays(arrays, inputs=inputs, times=times))
    assert_allclose(found, [np.log(np.exp(-rate * 1.2) - np.exp(-rate * 2.0)), np.log(rate) - rate * 2.0], rtol=1e-13)


def test_sojourns_in_phases():
    generator = lg.generators.PhaseType([(0, 1), (1, 0)], phases=[2, 1])
    model = lg.MarkovJumpProcess(3, lg.emissions.Misclassified(generator.phase_of), generator, initial=[1.0, 0.0, 0.0])
    rates = np.array([[0.0, 2.0, 0.1], [0.0, 0.0, 1.5], [0.6, 0.0, 0.0]])
    assert_allclose(generator.mask(3), rates > 0)
    matrix = rates - np.diag(rates.sum(1))
    rng = np.random.default_rng(10)
    times = np.cumsum(rng.gamma(1.0, size=7))
    labels = np.array([0, 0, 1, 1, 0, 1, 0])
    seen = np.array([[1, 0], [1, 0], [0, 1]])[:, labels].T
    data = lg.Sequences.from_arrays([labels.astype(float)], times=[times])
    params = {"transition.rates": rates, "emission.probs": np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])}
    wanted = panel_log_likelihood(matrix, times, np.zeros(7), seen, np.array([1.0, 0.0, 0.0]))
    assert_allclose(model.log_likelihood(params, data), wanted, rtol=1e-12)
    # A stay in the two phases is a Coxian: 1 - the chance to have left by t, from the two exponentials.
    t = 0.9
    stay = model.transition_matrix(params, t)
    alone = np.array([[-2.1, 2.0], [0.0, -1.5]])
    blocked = {"transition.rates": np.array([[0.0, 2.0, 0.1], [0.0, 0.0, 1.5], [0.0, 0.0, 0.0]])}
    assert_allclose(np.asarray(model.transition_matrix(blocked, t))[0, :2].sum(), scipy.linalg.expm(alone * t)[0].sum(), rtol=1e-13)
    assert_allclose(np.asarray(stay).sum(1), 1.0, rtol=1e-14)


def test_rates_of_subjects_around_common_ones():
    """Rates of a group: the common ones at the inputs of the row, times exp(spread · deviation of the group)."""
    rng = np.random.default_rng(11)
    common = lg.generators.LogLinear([(0, 1), (1, 0)], num_inputs=1, centre=[0.5])
    model = lg.MarkovJumpProcess(2, generator=lg.generators.PerGroup(common, num_groups=3))
    off = 1.0 - np.eye(2)
    rates, effects, spread = (off * rng.gamma(2.0, 0.5, (2, 2)) for _ in range(3))
    deviations = off * rng.normal(size=(3, 2, 2))
    params = {"rates": rates, "effects": effects[..., None], "spread": spread, "deviations": deviations}
    groups, times = (2, 0), [np.array([0.0, 0.5, 2.0]), np.array([1.0, 1.7])]
    inputs = [np.array([[0.0], [1.0], [1.0]]), np.array([[2.0], [0.0]])]
    states = [np.array([0, 1, 1]), np.array([1, 0])]
    data = lg.Sequences.from_arrays(
        [row.astype(float) for row in states],
        inputs={"inputs": inputs, "group": [np.full((len(row), 1), float(group)) for row, group in zip(states, groups, strict=True)]},
        times=times,
    )
    model.check(data)
    found = model.log_likelihood({f"transition.{name}": value for name, value in params.items()}, data)
    for subject, group in enumerate(groups):
        own = [rates * np.exp(effects * (value - 0.5) + spread * deviations[group]) for value in inputs[subject][:-1, 0]]
        generators = np.array([matrix - np.diag(matrix.sum(1)) for matrix in own])
        wanted = panel_log_likelihood(generators, times[subject], np.zeros(3), np.eye(2)[states[subject]], np.ones(2))
        assert_allclose(found[subject], wanted, rtol=1e-12)
