"""Posterior draws against the joint normal of all latents.

Draws of a whole path are whitened by the oracle's joint covariance; then their mean is N(0, I / n) and their covariance has
the likelihood-ratio statistic of a Wishart matrix. Directions in which the posterior has no variance must not move at all.
All tests of a distribution together would fail a correct sampler with probability at most `FALSE_ALARM`; keys are fixed.
"""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats

from tests.kernels import gaussian_cases as cases
from tests.kernels.gaussian_cases import Case
from tests.oracles.gaussian_chain import Answer

pytestmark = pytest.mark.usefixtures("float64")

FALSE_ALARM = 1e-4
NUM_TESTS = 100
STEPS, DRAWS = 4, 10_000


@functools.lru_cache
def batch() -> list[Case]:
    """Ordinary, ragged with missing entries, all known from the second step on, singular in skewed directions."""
    made = [
        cases.random_per_step(1, STEPS, 2, 2),
        cases.with_holes(cases.random_per_step(2, STEPS, 2, 2), 2).but(length=3),
        cases.autoregression(3, STEPS, channels=2),
        cases.known_start(4, STEPS, 2),
    ]
    return [cases.per_step(case) for case in made]


@functools.lru_cache
def constant_batch() -> list[Case]:
    made = [cases.random_constant(5, STEPS, 2, 2)]
    return [*made, *(made[0].changed(values=-made[0].arguments["values"]).but(length=length) for length in (STEPS, 3))]


@functools.lru_cache
def sampler(form: str, backend: str, num_samples: int | None):
    return cases.quick_jit(lambda key, arguments: cases.chain_of(arguments, form, backend).sample(key, num_samples=num_samples))


def draw(chains: list[Case], way: tuple[str, str], seed: int, num_samples: int | None = DRAWS, shared: tuple[str, ...] = ()) -> np.ndarray:
    return np.asarray(sampler(*way, num_samples)(jax.random.key(seed), cases.stacked(chains, shared)))


def whitened(draws: np.ndarray, truth: Answer) -> np.ndarray:
    """[n, rank] independent standard normals, if the draws are right; checks the directions without variance."""
    values, vectors = np.linalg.eigh(truth.joint_covariance)
    deviations = (draws.reshape(len(draws), -1) - truth.joint_mean) @ vectors
    scale = truth.prior_scales.max()
    # A covariance whose entries are rounded to float64 has no eigenvalues between rounding and what is meant.
    certain = values < 1e-12 * scale**2
    assert not np.any((values > 1e-15 * scale**2) & certain)
    if certain.any():
        assert np.abs(deviations[:, certain]).max() < 1e-6 * scale
    return deviations[:, ~certain] / np.sqrt(values[~certain])


def assert_standard_normal(draws: np.ndarray) -> None:
    """Mean and covariance, each by its chi-square."""
    count, size = draws.shape
    if size == 0:
        return
    mean = draws.mean(axis=0)
    covariance = np.cov(draws.T, bias=True).reshape(size, size)
    ratio = count * (np.trace(covariance) - np.linalg.slogdet(covariance)[1] - size)
    assert stats.chi2.sf(count * (mean**2).sum(), size) > FALSE_ALARM / NUM_TESTS
    assert stats.chi2.sf(ratio, size * (size + 1) / 2) > FALSE_ALARM / NUM_TESTS


@pytest.mark.parametrize("way", cases.WAYS[1:4], ids="-".join)
def test_paths_are_drawn_from_the_posterior(way):
    draws = draw(batch(), way, 1)
    assert draws.shape == (DRAWS, len(batch()), STEPS, 2)
    for b, case in enumerate(batch()):
        if not (case.noise_free and way[0] == "information"):
            assert_standard_normal(whitened(draws[:, b, : case.length], case.truth))
    # Sequences of one call have nothing to do with one another.
    pair = [whitened(draws[:, b, : batch()[b].length], batch()[b].truth) for b in (0, 1)]
    assert_standard_normal(np.concatenate(pair, axis=1))


def test_constant_chains_that_share_their_covariances():
    shared = tuple(name for name in constant_batch()[0].arguments if name != "values")
    draws = draw(constant_batch(), cases.WAYS[0], 2, shared=shared)
    independent = []
    for b, case in enumerate(constant_batch()):
        independent.append(whitened(draws[:, b, : case.length], case.truth))
    assert_standard_normal(np.concatenate(independent, axis=1))


def test_draws_follow_one_another_independently():
    """The first half of the draws beside the second half."""
    draws = whitened(draw(batch(), cases.WAYS[1], 3)[:, 0], batch()[0].truth)
    assert_standard_normal(np.concatenate([draws[::2], draws[1::2]], axis=1))


def test_same_key_same_draws():
    first, again, other = (draw(batch(), cases.WAYS[1], seed) for seed in (4, 4, 5))
    assert_array_equal(first, again)
    assert (first[:, 0] != other[:, 0]).all()


def test_one_draw_has_no_dimension_of_draws():
    chain = cases.chain_of(cases.stacked(batch()))
    assert jax.eval_shape(lambda: chain.sample(jax.random.key(0))).shape == (len(batch()), STEPS, 2)


def test_draws_of_node_potentials_in_information_form():
    chains = [cases.per_step(cases.information(seed, STEPS, 2)) for seed in (7, 8)]
    draws = draw(chains, cases.WAYS[0], 7)
    assert_standard_normal(np.concatenate([whitened(draws[:, b], case.truth) for b, case in enumerate(chains)], axis=1))
