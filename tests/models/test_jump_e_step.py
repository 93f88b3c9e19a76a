"""Expected jumps and times, and the M-steps and the EM made of them, against sums over paths, formulas and scipy."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
from numpy.testing import assert_allclose

import latentgate as lg
from latentgate.data.jump_processes import simulate_panel
from latentgate.models.unconstrained import constrain, unconstrain

from ..oracles.jump_process import CONTINUOUS, ENTRY, SNAPSHOT, end_conditioned_by_blocks, end_conditioned_by_sums

pytestmark = pytest.mark.usefixtures("float64")

# Two living states and two ways to die.
GRAPH = [(0, 1), (1, 0), (0, 2), (1, 2), (1, 3)]
RATES = np.array([[0.0, 0.7, 0.1, 0.0], [0.4, 0.0, 0.3, 0.2], [0.0] * 4, [0.0] * 4])
GENERATOR = RATES - np.diag(RATES.sum(1))
GAPS = (0.5, 1.3)
TIMES = np.cumsum([0.0, GAPS[0], GAPS[1], GAPS[1], GAPS[0]])
ERRORS = np.array([[0.8, 0.2, 0.0, 0.0], [0.3, 0.7, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
INITIAL = np.array([0.6, 0.4, 0.0, 0.0])
MODEL = lg.MarkovJumpProcess(
    4,
    lg.emissions.Product(known=lg.emissions.KnownState(4, censored={4: (0, 1)}), label=lg.emissions.Misclassified(ERRORS > 0)),
    lg.generators.Free(GRAPH),
    initial=INITIAL,
)
PARAMS = {"transition.rates": RATES, "emission.label.probs": ERRORS}
NAN = np.nan

# {name: (what is known of the state, label, arrivals)}, two subjects each, the second shorter.
CASES = {
    "seen": ([[0, 1, 1, 0, 1], [1, 0, 2]], [[NAN] * 5, [NAN] * 3], [[0] * 5, [0] * 3]),
    "censored": ([[0, 4, 1, 4, 4], [4, 4, NAN]], [[NAN] * 5, [NAN] * 3], [[0] * 5, [0] * 3]),
    "hidden": ([[NAN] * 5, [NAN] * 3], [[0, 1, 1, NAN, 0], [1, 1, 2]], [[0] * 5, [0] * 3]),
    "exact entry": ([[0, 4, NAN, 4, 2], [1, 4, 3]], [[NAN] * 5, [0, 0, NAN]], [[0, 0, 0, 0, ENTRY], [0, 0, ENTRY]]),
    "watched": ([[0, 1, 1, 4, 3], [1, 0, 0]], [[NAN] * 5, [NAN] * 3], [[0, 2, 2, 0, 2], [0, 2, 0]]),
}


def sequences(case: str) -> lg.Sequences:
    known, labels, arrivals = CASES[case]
    arrays = [np.stack([np.array(one, float), np.array(other, float)], axis=1) for one, other in zip(known, labels, strict=True)]
    inputs = {"arrival": [np.array(kinds, float)[:, None] for kinds in arrivals]}
    return lg.Sequences.from_arrays(arrays, inputs=inputs, times=[TIMES[: len(array)] for array in arrays])


def of_an_edge(kind: int, blocks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edge weights [i, j], and for each pair of ends the weighted jumps [i, j, k, l] and times [i, j, k] on the way."""
    if kind == SNAPSHOT:
        return blocks.transition, blocks.jumps, blocks.times
    assert kind == ENTRY
    jumps = np.einsum("imkl,mj->ijkl", blocks.jumps, RATES)
    # The jump that was seen, from every state just before it.
    jumps += np.einsum("im,mj,mk,jl->ijkl", blocks.transition, RATES, np.eye(4), np.eye(4))
    return blocks.transition @ RATES, jumps, np.einsum("imk,mj->ijk", blocks.times, RATES)


def watched_edge(gap: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    edge = np.exp(np.diag(GENERATOR) * gap)[:, None] * (RATES + np.eye(4))
    jumps = np.einsum("ij,ik,jl->ijkl", edge * (1 - np.eye(4)), np.eye(4), np.eye(4))
    return edge, jumps, gap * np.einsum("ij,ik->ijk", edge, np.eye(4))


def expected(case: str, method) -> tuple[np.ndarray, np.ndarray]:
    """By the chain of edges: forward and backward weights, and what happens on each edge given its ends."""
    blocks = {gap: method(GENERATOR, gap) for gap in GAPS}
    known, labels, arrivals = CASES[case]
    jumps, times = np.zeros((4, 4)), np.zeros(4)
    for one, other, kinds in zip(known, labels, arrivals, strict=True):
        nodes = np.ones((len(one), 4))
        for step, (state, label) in enumerate(zip(one, other, strict=True)):
            if state == state:
                nodes[step] *= np.isin(np.arange(4), {4: (0, 1)}.get(int(state), (state,)))
            if label == label:
                nodes[step] *= ERRORS[:, int(label)]
        gaps = [GAPS[0], GAPS[1], GAPS[1], GAPS[0]][: len(one) - 1]
        edges = [watched_edge(gap) if kind == CONTINUOUS else of_an_edge(kind, blocks[gap]) for gap, kind in zip(gaps, kinds[1:], strict=True)]
        forward, backward = [INITIAL * nodes[0]], [np.ones(4)]
        for edge, node in zip(edges, nodes[1:], strict=True):
            forward.append(forward[-1] @ edge[0] * node)
        for edge, node in zip(edges[::-1], nodes[:0:-1], strict=True):
            backward.insert(0, edge[0] @ (node * backward[0]))
        total = forward[-1].sum()
        for step, edge in enumerate(edges):
            after = nodes[step + 1] * backward[step + 1] / total
            jumps += np.einsum("i,ijkl,j->kl", forward[step], edge[1], after)
            times += np.einsum("i,ijk,j->k", forward[step], edge[2], after)
    return jumps, times


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_van_loan_and_the_sums(case):
    data = sequences(case)
    MODEL.check(data)
    jumps, times = MODEL.expected_jumps_and_times(PARAMS, data)
    for method in (end_conditioned_by_blocks, end_conditioned_by_sums):
        wanted_jumps, wanted_times = expected(case, method)
        assert_allclose(jumps, wanted_jumps, rtol=1e-10, atol=1e-13)
        assert_allclose(times, wanted_times, rtol=1e-10, atol=1e-13)
    exposure = sum(TIMES[int(length) - 1] for length in data.lengths)
    assert_allclose(times.sum(), exposure, rtol=1e-13)


# Small panels of a progressive illness, seen now and then.
def simulated(num_subjects: int = 40, exact_entry=(2,)) -> lg.Sequences:
    rng = np.random.default_rng(0)
    rates = np.array([[0.0, 0.5, 0.1], [0.2, 0.0, 0.4], [0.0, 0.0, 0.0]])
    grid = [np.arange(5.0) for _ in range(num_subjects)]
    covariates = [np.repeat(rng.choice([-1.0, 1.0], (1, 1)), 5, axis=0) for _ in grid]

    def generator(row):
        scaled = rates * np.exp(0.5 * row[0])
        return scaled - np.diag(scaled.sum(1))

    return simulate_panel(rng, generator, grid, 0, covariates=covariates, exact_entry=exact_entry).data


ILLNESS = [(0, 1), (1, 0), (0, 2), (1, 2)]


@eqx.filter_jit
def m_step(generator, params, covariates, jumps, times):
    return generator.m_step(params, covariates, jumps, times)


def counts(seed: int, groups: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = lg.generators.Free(ILLNESS).mask(3)
    return np.where(mask, rng.gamma(3.0, size=(groups, 3, 3)), 0.0), rng.gamma(3.0, size=(groups, 3))


def test_closed_forms_of_free_rates():
    """Ratios: jumps / time; (jumps + a) / (time + a / m); (jumps + shape - 1) / (time + rate), from zero up."""
    jumps, times = counts(1)
    jumps[0, 1, 2] = 0.0
    mask = lg.generators.Free(ILLNESS).mask(3)
    start = {"rates": jnp.where(mask, 1.0, 0.0)}
    number, mean = 0.7, 0.3
    cases = [
        (dist.Gamma(1.0, 1e-3), 0.0, 1e-3),
        (lg.generators.pseudo_jumps(number, mean), number, number / mean),
        (dist.Gamma(0.5, 2.0), -0.5, 2.0),
    ]
    for prior, more, exposure in cases:
        found = m_step(lg.generators.Free(ILLNESS, prior), start, jnp.zeros((1, 0)), jumps, times)["rates"]
        wanted = np.where(mask, np.maximum(jumps[0] + more, 0.0) / (times[0][:, None] + exposure), 0.0)
        assert_allclose(found, wanted, rtol=1e-13)


def test_the_m_step_of_effects_is_the_best_of_scipy():
    jumps, times = counts(2, groups=3)
    covariates = np.array([[-1.0], [0.2], [1.5]])
    centre, scale = 0.1, 0.8
    generator = lg.generators.LogLinear(
        ILLNESS, num_inputs=1, ties={0: ["a", "b", "a", None]}, prior=dist.Gamma(1.5, 0.3), effect_prior=dist.Normal(0.0, scale), centre=[centre]
    )
    mask = generator.mask(3)

    def unpacked(vector):
        rates, effects = np.zeros((3, 3)), np.zeros((3, 3))
        rates[mask] = np.exp(vector[:4])
        effects[mask] = np.array([vector[4], vector[5], vector[4], 0.0])
        return rates, effects

    def loss(vector):
        rates, effects = unpacked(vector)
        value = 0.5 * (vector[4:] ** 2).sum() / scale**2 - (0.5 * np.log(rates[mask]) - 0.3 * rates[mask]).sum()
        for row, number, spent in zip(covariates[:, 0], jumps, times, strict=True):
            own = rates * np.exp(effects * (row - centre))
            value -= (number[mask] * np.log(own[mask])).sum() - (spent[:, None] * own).sum()
        return value

    best = scipy.optimize.minimize(loss, np.zeros(6), options={"gtol": 1e-9})
    rates, effects = unpacked(best.x)
    params = {"rates": jnp.where(mask, 1.0, 0.0), "effects": jnp.zeros((3, 3, 1))}
    for _ in range(2):
        params = m_step(generator, params, covariates, jumps, times)
    assert_allclose(params["rates"], rates, rtol=2e-5)
    assert_allclose(params["effects"][..., 0], effects, rtol=2e-5, atol=1e-6)
    assert params["effects"][0, 1, 0] == params["effects"][1, 0, 0]


def illness_with_inputs(params, row):
    return params["speed"] * jnp.exp(0.1 * row[0]) * jnp.array([[0.0, 1.0, 0.2], [params["back"], 0.0, 1.0], [0.0, 0.0, 0.0]])


def two_way() -> lg.Sequences:
    rates = np.array([[0.0, 0.6, 0.2], [0.3, 0.0, 0.4], [0.2, 0.8, 0.0]])
    return simulate_panel(1, rates - np.diag(rates.sum(1)), [np.arange(5.0)] * 40, [0.4, 0.3, 0.3]).data


def labels_of(data: lg.Sequences) -> lg.Sequences:
    """Two of the three states look alike."""
    return lg.Sequences.from_arrays([np.minimum(array, 1.0) for array in data.to_list()], times=[np.arange(5.0)] * data.num_sequences)


PRIOR, PHASES = dist.Gamma(1.2, 0.5), lg.generators.PhaseType([(0, 1), (1, 0)], [1, 2], dist.Gamma(2.0, 2.0))
MASK = lg.generators.Free(ILLNESS).mask(3)
SLOPED = lg.generators.LogLinear(ILLNESS, num_inputs=1, ties={0: [1, 2, 1, None]}, prior=PRIOR)
PHYSICAL = lg.generators.Parametric(illness_with_inputs, {"speed": PRIOR, "back": dist.LogNormal(0.0, 1.0)}, ILLNESS, num_inputs=1)
# {name: (generator, emission, law of the first state, data, start)}
FITTED = {
    "log-linear": (SLOPED, None, "given", simulated, {"rates": np.where(MASK, 1.0, 0.0), "effects": np.zeros((3, 3, 1))}),
    "parametric": (PHYSICAL, None, "given", simulated, {"speed": 1.0, "back": 1.0}),
    "reversible": (
        lg.generators.Reversible(prior=PRIOR, concentration=1.5),
        None,
        "given",
        two_way,
        {"stationary": np.ones(3) / 3, "exchange": np.triu(np.ones((3, 3)), 1)},
    ),
    "phases": (
        PHASES,
        lg.emissions.Misclassified(PHASES.phase_of),
        [0.6, 0.4, 0.0],
        lambda: labels_of(two_way()),
        {"rates": np.where(PHASES.mask(3), np.array([[1.0], [0.7], [1.5]]), 0.0)},
    ),
}


@eqx.filter_jit
def climb(model, params, data, steps: int):
    def step(params, _):
        smoothed = model.potentials(params, data).smooth()
        return model.m_step(params, data, smoothed), smoothed.log_normaliser.sum() + model.log_prior(params)

    params, history = jax.lax.scan(step, params, None, length=steps)
    priors = model.priors()

    def log_joint(free):
        natural = constrain(priors, free)
        return model.potentials(natural, data).log_normaliser().sum() + model.log_prior(natural)

    return params, history, jax.grad(log_joint)(unconstrain(priors, params))


@pytest.mark.parametrize("name", FITTED)
def test_em_climbs_to_where_the_log_joint_is_stationary(name):
    """So that EM and MAP end at the same maximum: the log-joint never falls, and its gradient is zero where EM stands still."""
    generator, emission, initial, simulate, start = FITTED[name]
    data = simulate()
    model = lg.MarkovJumpProcess(3, emission, generator, initial=initial)
    model = model.suited_to(data)
    start = {f"transition.{parameter}": jnp.asarray(value) for parameter, value in start.items()}
    if emission is not None:
        start["emission.probs"] = jnp.asarray(PHASES.phase_of, float)
    _, history, slope = climb(model, start, model.catalogue(data), 300)
    assert (np.diff(history) > -1e-9 * np.abs(history[1:])).all()
    assert history[-1] > history[0] + 1
    for parameter, value in slope.items():
        assert_allclose(value, 0.0, atol=2e-3, err_msg=parameter)
