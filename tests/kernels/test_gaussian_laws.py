"""Laws of the Gaussian chain: what must hold whatever the numbers are.

Each law puts a chain and its transformations into one batch, so that all laws share the programs of the tests against oracles.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.kernels import gaussian_cases as cases
from tests.kernels.gaussian_cases import Case

pytestmark = pytest.mark.usefixtures("float64")

STEPS, SIZE, CHANNELS = cases.GENERAL_STEPS, 2, cases.GENERAL_CHANNELS
every_way = pytest.mark.parametrize("way", cases.WAYS[1:], ids="-".join)
SEEDS = range(3)


def chain(seed: int) -> Case:
    """Everything per step, some entries missing."""
    return cases.per_step(cases.with_holes(cases.random_per_step(seed, STEPS, SIZE, CHANNELS), seed))


def answers(batch: list[Case], way: tuple[str, str]) -> dict[str, np.ndarray]:
    """Of some sequences with everything per step."""
    return cases.batch_answers("general", batch, way)


def assert_same(left, right, bound: float = 1e-10, message: str = "") -> None:
    assert not np.isnan(left).any(), message
    assert_allclose(left, right, rtol=1e-10, atol=bound, err_msg=message)


@every_way
def test_padding_has_no_influence(way):
    """Not by a bit, whatever finite numbers it holds."""
    for seed in SEEDS:
        plain = chain(seed).but(length=4)
        changed = {name: np.array(value) for name, value in plain.arguments.items()}
        for name in ("values", "emission_matrix", "emission_bias", "emission_covariance"):
            changed[name][4:] = -1e30
        for name in ("matrix", "bias", "covariance"):
            changed[name][3:] = -1e30
        changed["observed"][4:] = True
        found = answers([plain, plain.changed(**changed)], way)
        for name, value in found.items():
            if name == "lagged_moments":
                value = value[:, :3]
            assert_array_equal(value[1], value[0], err_msg=name)
        for name in ("filtered_means", "filtered_covariances", "log_increments"):
            assert_array_equal(found[name][:, 4:], 0, err_msg=name)


@every_way
def test_an_edge_that_forgets_cuts_the_chain(way):
    """With A = 0 the log-likelihood is that of two chains, the second of which starts from N(b, Q)."""
    cut = 3
    for seed in SEEDS:
        whole = chain(seed)
        matrix = np.array(whole.arguments["matrix"])
        matrix[cut - 1] = 0
        whole = whole.changed(matrix=matrix)
        right = {"initial_mean": whole.arguments["bias"][cut - 1], "initial_covariance": whole.arguments["covariance"][cut - 1]}
        for name, value in whole.arguments.items():
            if not name.startswith("initial"):
                right[name] = np.roll(value, -cut, axis=0)
        found = answers([whole, whole.but(length=cut), whole.changed(**right).but(length=STEPS - cut)], way)
        total, *parts = found["log_normaliser"][:3]
        assert_same(total, sum(parts))
        for name in ("filtered_means", "filtered_covariances", "smoothed_means", "smoothed_covariances", "log_increments"):
            assert_same(found[name][0, :cut], found[name][1, :cut], message=name)
            assert_same(found[name][0, cut:], found[name][2, : STEPS - cut], message=name)


@every_way
def test_a_missing_step_is_marginalised(way):
    """As if it had never been there, its two edges made into one by hand."""
    gone = 2
    for seed in SEEDS:
        whole = chain(seed)
        observed = np.array(whole.arguments["observed"])
        observed[gone] = False
        whole = whole.changed(observed=observed)
        before, after = gone - 1, gone
        matrix, bias, covariance = (np.array(whole.arguments[name]) for name in ("matrix", "bias", "covariance"))
        bias[before] = matrix[after] @ bias[before] + bias[after]
        covariance[before] = cases.symmetric(matrix[after] @ covariance[before] @ matrix[after].T + covariance[after])
        matrix[before] = matrix[after] @ matrix[before]

        def without(values: np.ndarray, step: int) -> np.ndarray:
            return np.concatenate([np.delete(values, step, axis=0), values[:1]])

        shorter = {name: without(value, after) for name, value in {"matrix": matrix, "bias": bias, "covariance": covariance}.items()}
        for name in ("values", "observed", "emission_matrix", "emission_bias", "emission_covariance"):
            shorter[name] = without(whole.arguments[name], gone)
        found = answers([whole, whole.changed(**shorter).but(length=STEPS - 1)], way)
        assert_same(found["log_normaliser"][0], found["log_normaliser"][1])
        for name in ("filtered_means", "filtered_covariances", "smoothed_means", "smoothed_covariances", "log_increments"):
            assert_same(np.delete(found[name][0], gone, axis=0), found[name][1, : STEPS - 1], message=name)


@every_way
def test_another_basis_of_the_latents_changes_their_names_only(way):
    """A rotation, and a skewed basis: the likelihood stays, means and covariances are carried along."""
    for seed in SEEDS:
        plain = chain(seed)
        rng = np.random.default_rng(seed)
        bases = [np.linalg.qr(rng.normal(size=(SIZE, SIZE)))[0], np.array([[2.0, 0.5], [-1.0, 0.25]])]
        batch = [plain]
        for basis in bases:
            inverse, old = np.linalg.inv(basis), plain.arguments
            batch.append(
                plain.changed(
                    initial_mean=basis @ old["initial_mean"],
                    initial_covariance=cases.symmetric(basis @ old["initial_covariance"] @ basis.T),
                    matrix=basis @ old["matrix"] @ inverse,
                    bias=old["bias"] @ basis.T,
                    covariance=cases.symmetric(basis @ old["covariance"] @ basis.T),
                    emission_matrix=old["emission_matrix"] @ inverse,
                )
            )
        found = answers(batch, way)
        for b, basis in enumerate(bases, start=1):
            assert_same(found["log_normaliser"][b], found["log_normaliser"][0])
            assert_same(found["log_increments"][b], found["log_increments"][0])
            for moments in ("filtered", "smoothed"):
                assert_same(found[f"{moments}_means"][b], found[f"{moments}_means"][0] @ basis.T)
                assert_same(found[f"{moments}_covariances"][b], basis @ found[f"{moments}_covariances"][0] @ basis.T)
            assert_same(found["lagged_moments"][b], basis @ found["lagged_moments"][0] @ basis.T)


@every_way
def test_at_the_last_step_smoother_and_filter_agree(way):
    lengths = [STEPS, 4, 2, 1]
    found = answers([chain(seed).but(length=length) for seed, length in enumerate(lengths)], way)
    for b, length in enumerate(lengths):
        for part in ("means", "covariances"):
            assert_same(found[f"smoothed_{part}"][b, length - 1], found[f"filtered_{part}"][b, length - 1], message=part)
    assert_same(found["log_increments"].sum(axis=1), found["log_normaliser"])
    for name in ("smoothed_log_normaliser", "filtered_log_normaliser"):
        assert_same(found[name], found["log_normaliser"])


def test_covariances_are_symmetric_and_positive():
    batch = [cases.autoregression(5, STEPS, 2), cases.ill_conditioned(6, STEPS), cases.known_start(7, STEPS, CHANNELS), chain(8)]
    found = answers([cases.per_step(case) for case in batch], cases.WAYS[1])
    for name in ("filtered_covariances", "smoothed_covariances"):
        assert_allclose(found[name], np.swapaxes(found[name], -1, -2), rtol=1e-12, atol=1e-30, err_msg=name)
        assert np.linalg.eigvalsh(found[name]).min() >= -1e-15, name


def test_ways_agree():
    batch = [chain(seed).but(length=length) for seed, length in enumerate((STEPS, STEPS, 5, 1))]
    ways = [answers(batch, way) for way in cases.WAYS[1:]]
    lengths = np.array([case.length for case in batch])
    for other in ways[1:]:
        for name, value in other.items():
            steps = np.arange(value.shape[1])[None] < lengths[:, None] - (name == "lagged_moments") if value.ndim > 1 else np.ones(len(batch), bool)
            assert_same(value[steps], ways[0][name][steps], message=name)


INFORMED_STEPS = 8


@every_way
def test_a_constant_adds_to_the_log_normaliser_and_nothing_else(way):
    plain = cases.information(9, INFORMED_STEPS, SIZE)
    constant = plain.arguments["log_constant"] + np.where(np.arange(INFORMED_STEPS) == 3, 12.5, 0.0)
    found = cases.batch_answers("information", [plain, plain.changed(log_constant=constant), plain.changed(log_constant=constant).but(length=3)], way)
    assert_same(found["log_normaliser"][1], found["log_normaliser"][0] + 12.5)
    assert_same(found["log_increments"][1] - found["log_increments"][0], constant - plain.arguments["log_constant"])
    for name in ("filtered_means", "filtered_covariances", "smoothed_means", "smoothed_covariances", "lagged_moments"):
        assert_same(found[name][1], found[name][0], message=name)
    assert_same(found["log_normaliser"][2], found["log_increments"][0, :3].sum())


@every_way
def test_observations_are_information(way):
    """J = H'R⁻¹H, h = H'R⁻¹(y - d) and the constant of the density: the answers of the chain with observations."""
    batch = [cases.random_per_step(seed, INFORMED_STEPS, SIZE, CHANNELS) for seed in range(3)]
    converted = []
    for case in batch:
        emission, noise = case.arguments["emission_matrix"], case.arguments["emission_covariance"]
        residual = case.arguments["values"] - case.arguments["emission_bias"]
        weighted = np.swapaxes(np.linalg.solve(noise, emission), -1, -2)
        quadratic = np.einsum("ti,ti->t", residual, np.linalg.solve(noise, residual[..., None])[..., 0])
        nodes = {
            "precision": cases.symmetric(weighted @ emission),
            "shift": np.einsum("tij,tj->ti", weighted, residual),
            "log_constant": -(quadratic + np.linalg.slogdet(2 * np.pi * noise)[1]) / 2,
        }
        converted.append(Case("", {**{name: case.arguments[name] for name in cases.DYNAMICS}, **nodes}, INFORMED_STEPS))
    found = cases.batch_answers("information", converted, way)
    for name in ("log_normaliser", "log_increments", "filtered_means", "filtered_covariances", "smoothed_means", "smoothed_covariances", "lagged_moments"):
        for b, case in enumerate(batch):
            assert_same(found[name][b], getattr(case.truth, name), 1e-9, message=name)


def test_batch_is_a_loop_and_so_is_vmap():
    """Over data and parameters; and two batch dimensions are one."""
    batch = [chain(seed).but(length=length) for seed, length in enumerate((STEPS, 3, 5, 1))]
    together, arguments = answers(batch, cases.WAYS[0]), cases.stacked(batch)

    def log_normalisers_and_means(arguments):
        smoothed = cases.chain_of(arguments).smooth()
        return smoothed.log_normaliser, smoothed.means

    def mapped(arguments):
        square = jax.tree.map(lambda value: value.reshape(2, 2, *value.shape[1:]), arguments)
        return jax.vmap(log_normalisers_and_means)(arguments), log_normalisers_and_means(square)

    (values, means), (square_values, square_means) = cases.quick_jit(mapped)(arguments)
    real = np.arange(STEPS) < np.array([case.length for case in batch])[:, None]
    assert_same(values, together["log_normaliser"])
    assert_same(means[real], together["smoothed_means"][real])
    assert_same(square_values.ravel(), together["log_normaliser"])
    assert_same(square_means.reshape(means.shape)[real], together["smoothed_means"][real])
    alone = cases.quick_jit(log_normalisers_and_means)
    for b, case in enumerate(batch):
        value, mean = alone({**case.arguments, "lengths": np.array(case.length)})
        assert_same(value, together["log_normaliser"][b])
        assert_same(mean[: case.length], together["smoothed_means"][b, : case.length])


def test_most_probable_path_is_the_smoothed_mean():
    case = cases.random_constant(10, STEPS, SIZE, CHANNELS)
    chain = cases.chain_of(case.arguments)
    assert_same(np.asarray(chain.most_probable_path()), case.truth.smoothed_means)


def test_one_compilation_per_shape():
    """Called as a user calls it, outside any jit: the second chain of a shape compiles nothing."""

    def ask(seed: int) -> None:
        chain = cases.chain_of(cases.random_constant(seed, STEPS, SIZE, CHANNELS).arguments)
        jax.block_until_ready(jax.tree.leaves(chain.smooth()))
        jax.block_until_ready(chain.log_normaliser())

    compilations = []

    def listen(event: str, duration_secs: float, **details: str | int) -> None:
        if "backend_compile" in event:
            compilations.append(details.get("fun_name", ""))

    ask(0)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        ask(1)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compilations == []
