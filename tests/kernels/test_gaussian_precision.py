"""Single precision, on chains that lose everything where covariances are subtracted: tracking, a near-diffuse start, 1e5 steps.

The truth is that of the numbers as float32 holds them, in extended precision.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.kernels import gaussian_cases as cases
from tests.kernels.gaussian_cases import Case

pytestmark = pytest.mark.usefixtures("float32")

STEPS = 100
WAYS = (cases.WAYS[0], cases.WAYS[2])
NATS = 1e-2


def single(case: Case) -> Case:
    """With every number rounded to float32 and back, symmetric matrices still symmetric."""
    return case.changed(**{name: value.astype(np.float32).astype(float) for name, value in case.arguments.items() if value.dtype != bool})


def in_single(arguments):
    return {name: value.astype(np.float32) if value.dtype == float else value for name, value in arguments.items()}


@functools.lru_cache
def tracks() -> list[Case]:
    """Constant velocity at a hundred steps: from an ordinary start and from variances of 1e7, with noise of 0.25 and of 1e-4."""
    ordinary = cases.tracking(1, STEPS)
    diffuse = ordinary.changed(initial_covariance=1e7 * np.eye(2)).but(name="near-diffuse tracking")
    noise = 1e-4 * ordinary.arguments["emission_covariance"]
    rng = np.random.default_rng(2)
    precise = ordinary.changed(emission_covariance=noise)
    precise = precise.changed(values=cases.simulated(rng, precise.arguments, STEPS)).but(name="precise tracking")
    return [single(case) for case in (ordinary, diffuse, precise)]


def check(found: dict[str, np.ndarray], case: Case) -> None:
    truth = case.truth
    assert found["log_normaliser"].dtype == np.float32
    for name in ("log_normaliser", "smoothed_log_normaliser", "filtered_log_normaliser"):
        assert abs(float(found[name]) - truth.log_normaliser) < NATS, f"{case.name}: {name} is {found[name]}, not {truth.log_normaliser:.4f}"
    for moments in ("filtered", "smoothed"):
        spread = np.sqrt(np.diagonal(getattr(truth, f"{moments}_covariances"), axis1=-2, axis2=-1))
        means = np.abs(found[f"{moments}_means"] - getattr(truth, f"{moments}_means")) / (spread + np.abs(getattr(truth, f"{moments}_means")))
        covariances = found[f"{moments}_covariances"] - getattr(truth, f"{moments}_covariances")
        assert means.max() < 1e-3, f"{case.name}: {moments} means off by {means.max():.1e}"
        off = np.abs(covariances / (spread[:, :, None] * spread[:, None, :])).max()
        assert off < 1e-2, f"{case.name}: {moments} covariances off by {off:.1e}"


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_tracking(way):
    """Constant matrices, where covariances are computed once and settle."""
    found = cases.answers(in_single(cases.stacked(tracks())), *way)
    for b, case in enumerate(tracks()):
        check({name: value[b] for name, value in found.items()}, case)


@functools.lru_cache
def tracks_with_holes() -> list[Case]:
    return [single(cases.per_step(cases.with_holes(case, b))) for b, case in enumerate(tracks())]


def test_tracking_with_missing_entries():
    found = cases.answers(in_single(cases.stacked(tracks_with_holes())))
    for b, case in enumerate(tracks_with_holes()):
        check({name: value[b] for name, value in found.items()}, case)


def scalar_filter(matrix: float, noise: float, observation_noise: float, values: np.ndarray) -> tuple[float, np.ndarray]:
    """The Kalman filter of one latent seen directly, from N(0, 1), in Python's floats."""
    mean, variance, logs, means = 0.0, 1.0, [], []
    for t, value in enumerate(values.tolist()):
        if t:
            mean, variance = matrix * mean, matrix * variance * matrix + noise
        total = variance + observation_noise
        logs.append(-(math.log(2 * math.pi * total) + (value - mean) ** 2 / total) / 2)
        mean, variance = mean + variance / total * (value - mean), variance * observation_noise / total
        means.append(mean)
    return math.fsum(logs), np.array(means)


@pytest.mark.parametrize("missing", [False, True])
def test_a_hundred_thousand_steps_do_not_drift(missing):
    """The log-normaliser is right to three of its own last places, and the mean at the end is as good as at the start."""
    steps, matrix, noise, observation_noise = 100_000, 0.96875, 0.0625, 0.5
    rng = np.random.default_rng(3)
    latents = np.zeros(steps)
    draws = rng.normal(size=steps)
    for t in range(steps):
        latents[t] = draws[t] if t == 0 else matrix * latents[t - 1] + math.sqrt(noise) * draws[t]
    values = (latents + math.sqrt(observation_noise) * rng.normal(size=steps)).astype(np.float32)
    arguments = {
        "initial_mean": np.zeros(1), "initial_covariance": np.eye(1), "matrix": np.full((1, 1), matrix), "covariance": np.full((1, 1), noise),
        "emission_matrix": np.eye(1), "emission_covariance": np.full((1, 1), observation_noise), "values": values[:, None].astype(float),
    }  # fmt: skip
    if missing:
        # A mask, although it hides nothing, takes the chain off the path of constant covariances.
        arguments["observed"] = np.ones((steps, 1), bool)
    found = cases.answers(in_single(arguments))
    expected, means = scalar_filter(matrix, noise, observation_noise, values)
    assert abs(float(found["log_normaliser"]) - expected) < 3 * np.spacing(np.float32(abs(expected)))
    assert_allclose(found["filtered_means"][:, 0], means, rtol=0, atol=1e-5)
