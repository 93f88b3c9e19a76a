"""Filter, smoother and log-normaliser of every kind of chain, in every form and backend, against the joint normal.

Errors are measured in units that mean something: of the log-normaliser relative to it (one nat at least), of a mean to the
size of the mean and its posterior standard deviation, of a covariance to the posterior standard deviations, so that a
variance of 1e-12 must have its digits too. The bound is 1e-8 throughout, for the square-root form and for what "auto"
chooses, whatever the conditioning: square roots lose only the root of it. The information form adds precisions to
precisions, and loses the whole condition number: it is held to 100 roundings times that where this is more than 1e-8, and
does not exist where some channel has no noise.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.kernels import gaussian_cases as cases
from tests.kernels.gaussian_cases import Case

pytestmark = pytest.mark.usefixtures("float64")


def ways(*names: str) -> pytest.MarkDecorator:
    """Of the five; all forms and backends run on the kinds of chain that tell them apart."""
    return pytest.mark.parametrize("way", [way for way in cases.WAYS if "-".join(way) in names], ids="-".join)


every_way = pytest.mark.parametrize("way", cases.WAYS, ids="-".join)
BOUND = 1e-8
STEPS = cases.GENERAL_STEPS


def bound_of(case: Case, way: tuple[str, str]) -> float:
    return BOUND if way[0] != "information" else max(BOUND, 100 * np.finfo(float).eps * case.condition)


def assert_answers(found: dict[str, np.ndarray], case: Case, bound: float) -> None:
    """One sequence's answers against the oracle's."""
    truth, length, failures = case.truth, case.length, []

    def check(name: str, value: np.ndarray, expected: np.ndarray, scale: np.ndarray) -> None:
        assert value.shape == expected.shape, f"{case.name}: {name} has shape {value.shape}, not {expected.shape}"
        with np.errstate(invalid="ignore"):
            error = np.max(np.abs(value - expected) / scale, initial=0.0)
        if not error <= bound:
            failures.append(f"{name} off by {error:.1e}")

    for name in ("log_normaliser", "smoothed_log_normaliser", "filtered_log_normaliser"):
        check(name, found[name], np.asarray(truth.log_normaliser), np.asarray(max(1.0, abs(truth.log_normaliser))))
    check("log_increments", found["log_increments"][:length], truth.log_increments, np.maximum(1.0, np.abs(truth.log_increments)))
    scales = {}
    for moments in ("filtered", "smoothed"):
        means, covariances = getattr(truth, f"{moments}_means"), getattr(truth, f"{moments}_covariances")
        # Where nothing is left of a variance, one rounding of what was there before is all that can be asked.
        spread = np.maximum(np.sqrt(np.abs(np.diagonal(covariances, axis1=-2, axis2=-1))), 1e-3 * truth.prior_scales * (covariances_vanish(covariances, truth)))
        sizes = np.abs(means).max(axis=-1, keepdims=True) + spread
        scales[moments] = spread, sizes
        check(f"{moments} means", found[f"{moments}_means"][:length], means, np.maximum(sizes, 1e-300))
        check(f"{moments} covariances", found[f"{moments}_covariances"][:length], covariances, np.maximum(spread[:, :, None] * spread[:, None, :], 1e-300))
    sizes = scales["smoothed"][1]
    lagged, products = truth.lagged_moments, sizes[:-1, :, None] * sizes[1:, None, :]
    if found["lagged_moments"].ndim == 3:
        check("lagged moments", found["lagged_moments"][: length - 1], lagged, products)
    else:
        check("summed lagged moments", found["lagged_moments"], lagged.sum(axis=0), products.sum(axis=0) if length > 1 else np.ones(products.shape[1:]))
    if failures:
        raise AssertionError(f"{case.name} (bound {bound:.0e}): " + "; ".join(failures))


def covariances_vanish(covariances: np.ndarray, truth) -> np.ndarray:
    """[T, d] which standard deviations are zero, or would be but for the rounding of the inputs."""
    return np.sqrt(np.abs(np.diagonal(covariances, axis1=-2, axis2=-1))) <= 1e-12 * truth.prior_scales


def check_batch(batch: list[Case], way: tuple[str, str], shared: Iterable[str] = (), kind: str | None = None) -> None:
    """All cases of a batch, from one program; what fails is listed together."""
    found = cases.batch_answers(kind, batch, way) if kind else cases.answers(cases.stacked(batch, shared), *way)
    failures = []
    for b, case in enumerate(batch):
        if case.noise_free and way[0] == "information":
            continue
        try:
            assert_answers({name: value[b] for name, value in found.items() if "gradient" not in name}, case, bound_of(case, way))
        except AssertionError as error:
            failures.append(str(error))
        for name in ("filtered_means", "filtered_covariances", "log_increments"):
            assert_array_equal(found[name][b, case.length :], 0, err_msg=f"{case.name}: padding of {name}")
    if failures:
        raise AssertionError("\n" + "\n".join(failures))


@functools.lru_cache
def chains_per_step() -> list[Case]:
    """Two latents, three channels, everything per step, entries missing, ragged."""
    return [
        cases.random_per_step(1, STEPS, 2, 3),
        cases.with_holes(cases.random_per_step(2, STEPS, 2, 3), 2),
        cases.with_holes(cases.random_per_step(3, STEPS, 2, 3), 3).but(length=6, name="missing entries, six steps"),
        cases.random_per_step(4, STEPS, 2, 3).but(length=1, name="one step of ten"),
        cases.irregular_gaps_with_inputs(5, STEPS, 3),
        cases.matern_at_irregular_times(6, STEPS),
        cases.ill_conditioned(7, STEPS),
        cases.with_holes(cases.ill_conditioned(8, STEPS, 1e-10), 8),
        cases.nearly_collinear(9, STEPS),
        cases.autoregression(10, STEPS),
        cases.with_holes(cases.autoregression(11, STEPS, channels=2), 11),
        cases.diffuse_trend(12, STEPS),
        cases.with_holes(cases.diffuse_trend(13, STEPS, channels=2), 13),
        cases.known_start(14, STEPS, 3),
        cases.singular_noise(15, STEPS),
        cases.random_per_step(16, STEPS, 2, 3).changed(observed=np.zeros((STEPS, 3), bool)).but(name="nothing observed"),
    ]


@functools.lru_cache
def constant_chains() -> list[Case]:
    """Two latents, two channels, nothing missing; each sequence with parameters of its own."""
    return [
        cases.random_constant(20, STEPS, 2, 2),
        cases.random_constant(21, STEPS, 2, 2).but(length=4, name="four steps of ten"),
        cases.ill_conditioned(22, STEPS),
        cases.nearly_collinear(23, STEPS),
        cases.autoregression(24, STEPS, channels=2),
        cases.diffuse_trend(25, STEPS, channels=2),
        cases.known_start(26, STEPS, 2),
        cases.singular_noise(27, STEPS),
        cases.tracking(28, STEPS),
    ]


@every_way
def test_chains_that_change_at_every_step(way):
    check_batch(chains_per_step(), way, kind="general")


@ways("auto-auto", "square_root-sequential", "square_root-associative", "information-sequential")
def test_constant_chains(way):
    check_batch(constant_chains(), way, kind="constant")


PARAMETERS = ("initial_mean", "initial_covariance", "matrix", "bias", "covariance", "emission_matrix", "emission_bias", "emission_covariance")


def sequences_of(case: Case, lengths: list[int]) -> list[Case]:
    """Other data for the same parameters."""
    rng = np.random.default_rng(0)
    arguments = dict(case.arguments)
    return [case.changed(values=cases.simulated(rng, arguments, case.num_steps)).but(length=length) for length in lengths]


@ways("square_root-sequential")
def test_sequences_that_share_their_parameters(way):
    """Where covariances are computed once for all sequences, each with its own length."""
    check_batch(sequences_of(cases.random_constant(30, STEPS, 2, 2), [STEPS, 7, 1]), way, PARAMETERS)


@functools.lru_cache
def long_chains() -> list[Case]:
    made = cases.slow_and_unobserved(40, 400)
    return [made[index] for index in (0, 2, 4)]


@ways("square_root-sequential", "information-sequential")
def test_long_constant_chains(way):
    """Where the covariances settle fast, slowly or never: a steady state must not be taken for reached too early."""
    for case in long_chains():
        check_batch([case], way, PARAMETERS)


@functools.lru_cache
def wide_chains() -> list[Case]:
    """More channels than latents, some of them missing; noise that is not diagonal, and noise over six decades that is."""
    plain = cases.random_constant(50, 6, 8, 30)
    return [cases.with_holes(plain, 50), cases.with_holes(cases.random_constant(51, 6, 8, 30).but(length=4, name="four steps, wide"), 51)]


@ways("square_root-sequential", "information-associative")
def test_eight_latents_and_thirty_channels(way):
    check_batch(wide_chains(), way)


@functools.lru_cache
def wide_diagonal_chains() -> list[Case]:
    made = []
    rng, variances = np.random.default_rng(52), np.geomspace(1e-5, 10, 30)
    for _ in range(2):
        plain = cases.random_constant(52, 6, 8, 30).changed(emission_covariance=np.diag(variances))
        values = cases.simulated(rng, plain.arguments, 6)
        made.append(plain.changed(values=values, emission_covariance=None, emission_variances=variances).but(name="diagonal noise", condition=1e6))
    return made


@ways("square_root-sequential", "information-sequential")
def test_diagonal_noise(way):
    check_batch(wide_diagonal_chains(), way, [*set(PARAMETERS) - {"emission_covariance"}, "emission_variances"])


@functools.lru_cache
def informed_chains() -> list[Case]:
    whole = cases.information(60, 8, 2)
    return [whole, cases.information(61, 8, 2).but(length=5, name="information, five steps"), cases.information(62, 8, 2)]


@ways("square_root-sequential", "square_root-associative", "information-sequential", "information-associative")
def test_node_potentials_in_information_form(way):
    check_batch(informed_chains(), way, kind="information")


@ways("information-sequential")
def test_constant_precision(way):
    """With a shift out of the range of the precision, and edges that are constant: covariances do not depend on the data."""
    case = cases.information(63, 8, 3, constant=True)
    other = case.changed(shift=-2 * case.arguments["shift"][::-1])
    check_batch([case, other.but(length=3)], way, (*cases.DYNAMICS, "precision"))


@ways("square_root-associative")
def test_one_step(way):
    case = cases.random_constant(70, 1, 2, 2)
    found = cases.answers(case.arguments, *way)
    assert_answers(found, case, BOUND)


def test_one_sequence_without_a_batch():
    """Three dimensions are steps here, and were sequences above; biases left out are zero."""
    case = cases.with_holes(cases.random_per_step(71, STEPS, 2, 3), 71)
    case = case.changed(bias=np.zeros_like(case.arguments["bias"]), emission_bias=np.zeros_like(case.arguments["emission_bias"]))
    found = cases.answers(case.changed(bias=None, emission_bias=None).arguments)
    assert_answers(found, case, BOUND)


def test_forms_of_observation_and_information_agree():
    """The oracles with one another: J = H'R⁻¹H, h = H'R⁻¹(y - d), and the constant that makes it a density."""
    case = cases.random_per_step(72, 6, 2, 3)
    emission, noise, values = (case.arguments[name] for name in ("emission_matrix", "emission_covariance", "values"))
    residual, precise = values - case.arguments["emission_bias"], np.linalg.inv(noise)
    weighted = np.swapaxes(emission, -1, -2) @ precise
    constant = -np.einsum("ti,tij,tj->t", residual, precise, residual) / 2 - np.linalg.slogdet(2 * np.pi * noise)[1] / 2
    arguments = {name: case.arguments[name] for name in cases.DYNAMICS}
    nodes = {"precision": cases.symmetric(weighted @ emission), "shift": np.einsum("tij,tj->ti", weighted, residual), "log_constant": constant}
    same = Case("the same as information", {**arguments, **nodes}, 6)
    for left in (case.truth, case.but(digits=50).truth):
        for right in (same.truth, same.but(digits=50).truth):
            for field in dataclasses.fields(left):
                np.testing.assert_allclose(getattr(left, field.name), getattr(right, field.name), rtol=1e-11, atol=1e-12, err_msg=field.name)
