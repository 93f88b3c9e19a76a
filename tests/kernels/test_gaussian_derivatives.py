"""Derivatives of the log-normaliser in every argument.

The gradient is compared with central differences of the joint normal in decimal arithmetic (step 1e-15, seventy digits): exact
to far more digits than the kernels have, also where a covariance is singular and a step off it would be indefinite. The bound
is 1e-8 of the largest derivative in the same argument. Covariances and precisions are moved along symmetric directions only.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.kernels import gaussian_cases as cases
from tests.kernels.gaussian_cases import Case
from tests.oracles import gaussian_chain as oracle

pytestmark = pytest.mark.usefixtures("float64")

BOUND = 1e-8
SYMMETRIC = ("initial_covariance", "covariance", "emission_covariance", "precision")


def directions(name: str, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Every single entry, or every pair of mirrored ones."""
    for index in np.ndindex(*shape):
        if name in SYMMETRIC and index[-1] < index[-2]:
            continue
        way = np.zeros(shape)
        way[index] = 1.0
        yield np.maximum(way, np.swapaxes(way, -1, -2)) if name in SYMMETRIC else way


def exact_derivative(case: Case, ways: dict[str, np.ndarray]) -> float:
    """Along directions in any of the arguments."""
    moments = oracle.observed_moments if "values" in case.arguments else oracle.informed_moments
    arguments = cases.oracle_arguments(case.arguments, case.length)
    return oracle.directional_derivative(moments, arguments, ways)


@functools.lru_cache
def general() -> list[Case]:
    """Everything per step, up to three channels: short ones are checked entry by entry, whole ones along dense directions."""
    steps = cases.GENERAL_STEPS
    return [
        cases.random_per_step(1, steps, 2, 2).but(length=3),
        cases.with_holes(cases.random_per_step(2, steps, 2, 3), 2).but(length=4),
        cases.autoregression(3, steps, channels=2).but(length=4),
        cases.known_start(4, steps, 2).but(length=3),
        cases.diffuse_trend(5, steps, channels=2).but(length=3),
        cases.with_holes(cases.random_per_step(6, steps, 2, 3), 6),
        cases.with_holes(cases.autoregression(7, steps, channels=2), 7),
        cases.diffuse_trend(8, steps),
    ]


@functools.lru_cache
def constant() -> list[Case]:
    """Constant parameters of each sequence's own, nothing missing."""
    steps = cases.GENERAL_STEPS
    return [
        cases.random_constant(9, steps, 2, 2).but(length=3),
        cases.autoregression(10, steps, channels=2).but(length=4),
        cases.singular_noise(11, steps).but(length=3),
        cases.random_constant(12, steps, 2, 2),
        cases.autoregression(13, steps, channels=2),
        cases.known_start(14, steps, 2),
    ]


@functools.lru_cache
def informed() -> list[Case]:
    return [cases.information(15, 8, 2).but(length=3), cases.information(16, 8, 2)]


BATCHES = {"general": general, "constant": constant, "information": informed}
ENTRY_BY_ENTRY = 4


def as_given(kind: str, case: Case) -> Case:
    """The case in the shape that the kernels get it in."""
    if kind == "general":
        return cases.with_channels(case, cases.GENERAL_CHANNELS)
    return cases.per_step(case) if kind == "information" else case


@functools.lru_cache
def exact_gradient(kind: str, b: int) -> list[tuple[str, np.ndarray, float]]:
    """(argument, direction, derivative): single entries of the real steps of short sequences, dense directions in whole ones."""
    case, found = as_given(kind, BATCHES[kind]()[b]), []
    rng = np.random.default_rng(b)
    for name, value in cases.split_floats(case.arguments)[0].items():
        if case.length > ENTRY_BY_ENTRY:
            along = rng.normal(size=value.shape)
            found.append((name, cases.symmetric(along) if name in SYMMETRIC else along, 0.0))
            continue
        by_step = name in cases.PER_STEP or value.ndim > cases.CONSTANT_DIMENSIONS[name]
        real = case.length - (name in cases.DYNAMICS) if by_step else len(value)
        found += [(name, along, 0.0) for along in directions(name, value.shape) if not along[real:].any()]
    return [(name, along, exact_derivative(case, {name: along})) for name, along, _ in found]


KIND_WAYS = [
    *(("general", way) for way in cases.WAYS),
    *(("constant", cases.WAYS[index]) for index in (0, 1, 2, 3)),
    *(("information", way) for way in cases.WAYS[1:]),
]


@pytest.mark.parametrize(("kind", "way"), KIND_WAYS, ids=lambda value: value if isinstance(value, str) else "-".join(value))
def test_gradient_in_every_argument(kind, way):
    batch, failures = BATCHES[kind](), []
    answers = cases.batch_answers(kind, batch, way)
    for b, case in enumerate(batch):
        if case.noise_free and way[0] == "information":
            continue
        exact = exact_gradient(kind, b)
        largest, errors = {}, {}
        for name, along, derivative in exact:
            found = np.vdot(answers[f"gradient in {name}"][b], along)
            largest[name] = max(largest.get(name, 1.0), abs(derivative))
            # NaN must not be lost in a maximum.
            errors.setdefault(name, []).append(abs(found - derivative))
        for name, error in errors.items():
            if not np.max(error) <= BOUND * largest[name]:
                failures.append(f"{case.name}, {case.length} steps, {name}: off by {np.max(error) / largest[name]:.1e}")
    if failures:
        raise AssertionError("\n" + "\n".join(failures))


@pytest.mark.parametrize("way", cases.WAYS[1:], ids="-".join)
def test_what_is_not_there_has_no_influence(way):
    """Padding and missing entries: the derivatives are exactly zero."""
    case = general()[1]
    answers = cases.batch_answers("general", [case], way)
    gradient = {name: answers[f"gradient in {name}"][0] for name in cases.split_floats(as_given("general", case).arguments)[0]}
    for name, value in gradient.items():
        if name in ("values", "emission_matrix", "emission_bias", "emission_covariance"):
            assert_array_equal(value[case.length :], 0, err_msg=name)
        elif not name.startswith("initial"):
            assert_array_equal(value[case.length - 1 :], 0, err_msg=name)
    hidden = ~case.arguments["observed"]
    for name in ("values", "emission_bias", "emission_matrix"):
        assert_array_equal(gradient[name][hidden], 0, err_msg=name)


LONG = 40
GROUPS = (("matrix", "emission_matrix"), ("covariance", "emission_covariance"), ("initial_mean", "initial_covariance", "bias", "emission_bias"))


def test_gradient_where_the_covariances_have_settled():
    """The fast path of constant chains, shared by two sequences; the derivatives in the shared arguments are sums."""
    rng = np.random.default_rng(20)
    for first in (cases.slow_and_unobserved(20, LONG)[index] for index in (0, 2)):
        batch = [first.changed(values=cases.simulated(rng, first.arguments, LONG)).but(length=length) for length in (LONG, 25)]
        shared = [name for name in first.arguments if name != "values"]
        found = cases.answers(cases.stacked(batch, shared), gradient=True)
        for names in GROUPS:
            along = random_tangent({name: first.arguments[name] for name in names}, 21)
            exact = sum(exact_derivative(case, along) for case in batch)
            total = sum(np.vdot(found[f"gradient in {name}"], along[name]) for name in names)
            assert_allclose(total, exact, rtol=BOUND, atol=BOUND, err_msg=f"{first.name}: {names}")


def random_tangent(floats: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    drawn = {name: rng.normal(size=value.shape) for name, value in floats.items()}
    return {name: cases.symmetric(value) if name in SYMMETRIC else value for name, value in drawn.items()}


@functools.lru_cache
def second_order(form: str, backend: str):
    """Forward derivative, and the derivative of the gradient along a direction: forward over reverse."""

    def program(floats, others, tangent):
        def value(floats):
            return cases.chain_of({**floats, **others}, form, backend).log_normaliser().sum()

        _, forward = jax.jvp(value, (floats,), (tangent,))
        gradient, curvature = jax.jvp(jax.grad(value), (floats,), (tangent,))
        return forward, gradient, curvature

    return cases.quick_jit(program)


@pytest.mark.parametrize("way", [cases.WAYS[1], cases.WAYS[3]], ids="-".join)
def test_forward_mode_and_second_derivatives(way):
    """Forward is the transpose of reverse; the derivative of the gradient is its central difference."""
    case = cases.tracking(30, 6)
    case = case.changed(initial_covariance=np.diag([2.0, 1.0]), covariance=case.arguments["covariance"] + 0.1 * np.eye(2))
    floats, others = cases.split_floats(case.arguments)
    tangent, step = random_tangent(floats, 31), 1e-5
    forward, gradient, curvature = second_order(*way)(floats, others, tangent)
    assert_allclose(forward, sum(np.vdot(gradient[name], tangent[name]) for name in floats), rtol=1e-11)

    ends = [second_order(*way)({name: value + sign * step * tangent[name] for name, value in floats.items()}, others, tangent)[1] for sign in (1, -1)]
    for name in floats:
        difference = (np.asarray(ends[0][name]) - np.asarray(ends[1][name])) / (2 * step)
        found = np.asarray(curvature[name])
        if name in SYMMETRIC:
            # The part that symmetric directions see.
            difference, found = cases.symmetric(difference), cases.symmetric(found)
        assert np.isfinite(found).all(), name
        assert_allclose(found, difference, rtol=0, atol=1e-6 * max(1.0, np.abs(difference).max()), err_msg=name)


def test_gradient_under_vmap_and_jit():
    """Of one sequence at a time, each with its own parameters: that of the batch; and through a diagonal noise."""
    batch = [case.but(length=cases.GENERAL_STEPS) for case in constant()[3:5]]
    floats, _ = cases.split_floats(cases.stacked(batch))
    variances = np.diagonal(floats.pop("emission_covariance"), axis1=-2, axis2=-1)

    def value(floats, variances):
        return cases.chain_of({**floats, "emission_variances": variances}).log_normaliser()

    _, slopes = cases.quick_jit(jax.vmap(jax.value_and_grad(value, argnums=(0, 1))))(floats, variances)
    for b, case in enumerate(batch):
        diagonal = case.changed(emission_covariance=np.diag(variances[b]))
        for name, slope in {**slopes[0], "emission_variances": slopes[1]}.items():
            shape = slope[b].shape
            along = random_tangent({name: np.zeros(shape)}, 40)
            way = {"emission_covariance": np.diag(along[name])} if name == "emission_variances" else along
            exact = exact_derivative(diagonal, way)
            assert_allclose(np.vdot(slope[b], along[name]), exact, rtol=BOUND, atol=BOUND, err_msg=f"{case.name}: {name}")
