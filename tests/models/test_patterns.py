"""Distributions with patterns of zeros: bijections against autodiff, densities against SciPy, draws, and numpyro's engines."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal
from numpyro import infer
from numpyro.distributions import biject_to

from latentgate.models.base import log_prior, with_shape
from latentgate.models.distributions import Gamma
from latentgate.models.on_entries import OnEntries
from latentgate.models.patterns import Pattern, contrasts, references
from latentgate.models.simplex_rows import SimplexRows
from latentgate.models.unconstrained import constrain, unconstrain

EDGES = np.array([[False, True, False], [True, False, True]])
ROWS = np.array([[True, True, False, False], [True, True, True, True], [False, False, True, False], [True, False, True, False]])
CONCENTRATION = np.array([1.0, 2.0, 3.0, 0.5])


def independent(density, *parameters):
    """Log-density of the free entries by SciPy, each with its own parameters."""

    def total(value):
        return sum(density(*(np.broadcast_to(p, EDGES.shape)[EDGES][i] for p in parameters)).logpdf(y) for i, y in enumerate(value[EDGES]))

    return total


def gamma(shape, rate):
    return scipy.stats.gamma(shape, scale=1 / rate)


def dirichlet_rows(value):
    free = ROWS[ROWS.sum(1) > 1]
    rows = value[ROWS.sum(1) > 1]
    return sum(scipy.stats.dirichlet(CONCENTRATION[allowed]).logpdf(row[allowed] / row[allowed].sum()) for row, allowed in zip(rows, free, strict=True))


class Row(NamedTuple):
    """A distribution, its free coordinates in natural space, its log-density by SciPy, and its moments."""

    law: dist.Distribution
    free: Pattern
    density: object
    mean: np.ndarray


def _table() -> dict[str, Row]:
    shapes = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    rows = shapes[:, :1]

    def on_edges(prior, density, mean):
        return Row(OnEntries(prior, EDGES), Pattern.of(EDGES), density, np.where(EDGES, mean, 0.0))

    return {
        "gamma": on_edges(dist.Gamma(2.0, 3.0), independent(gamma, 2.0, 3.0), 2 / 3),
        "gamma of each entry": on_edges(dist.Gamma(shapes[EDGES], 3.0), independent(gamma, shapes, 3.0), shapes / 3),
        "gamma of the matrix": on_edges(dist.Gamma(shapes, 3.0), independent(gamma, shapes, 3.0), shapes / 3),
        "gamma of rows": on_edges(dist.Gamma(rows, 3.0).expand((2, 3)), independent(gamma, rows, 3.0), rows / 3),
        "normal": on_edges(dist.Normal(1.0, 0.5), independent(scipy.stats.norm, 1.0, 0.5), 1.0),
        "uniform": on_edges(dist.Uniform(-1.0, shapes), independent(scipy.stats.uniform, -1.0, shapes + 1), (shapes - 1) / 2),
        "rows": Row(SimplexRows(ROWS, CONCENTRATION), Pattern.of(contrasts(ROWS)), dirichlet_rows, dirichlet_mean()),
    }


def dirichlet_mean() -> np.ndarray:
    weight = np.where(ROWS, CONCENTRATION, 0.0)
    return weight / weight.sum(1, keepdims=True)


@pytest.fixture(params=_table())
def row(request):
    return _table()[request.param]


@jax.jit
def _questions(law, free):
    transform = biject_to(law.support)

    def forward(free):
        return transform(free)

    value = forward(free)
    return value, transform.inv(value), transform.log_abs_det_jacobian(free, value), jax.jacfwd(forward)(free), law.log_prob(value), law.support(value)


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_bijection_and_density(row, precision):
    with jax.enable_x64(precision == "float64"):
        tolerance = {"rtol": 1e-10, "atol": 1e-12} if precision == "float64" else {"rtol": 2e-4, "atol": 2e-5}
        law = jax.tree.map(lambda leaf: jnp.asarray(leaf, precision), row.law)
        transform = biject_to(law.support)
        assert transform.inverse_shape(law.event_shape) == (row.free.num_entries,)
        assert transform.forward_shape((5, row.free.num_entries)) == (5, *law.event_shape)
        start = jnp.asarray(np.random.default_rng(0).normal(size=row.free.num_entries), precision)
        value, back, volume, jacobian, density, inside = _questions(law, start)
        assert value.dtype == precision
        assert inside
        assert_allclose(back, start, **tolerance)
        assert_allclose(volume, np.linalg.slogdet(np.asarray(row.free.take(jnp.moveaxis(jacobian, -1, 0))).T)[1], **tolerance)
        assert_allclose(density, row.density(np.asarray(value, float)), **tolerance)
        assert_array_equal(np.asarray(value)[~law.mask], 0.0)


def test_draws(row):
    draws = np.asarray(row.law.sample(jax.random.key(1), (4000,)))
    assert_array_equal(draws[:, ~row.law.mask], 0.0)
    error = draws.std(0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - row.mean) <= 5 * error + 1e-6).all()
    assert_allclose(row.law.mean, row.mean, rtol=1e-6)
    assert np.all(row.law.support(jnp.asarray(draws)))


def test_supports_are_static_and_compared_by_what_they_are():
    first, second = OnEntries(dist.Gamma(2.0, 3.0), EDGES).support, OnEntries(dist.Gamma(1.0, 1.0), EDGES).support
    assert first == second
    assert hash(first) == hash(second)
    assert first != OnEntries(dist.Normal(), EDGES).support
    assert first != OnEntries(dist.Gamma(2.0, 3.0), ~EDGES).support
    assert SimplexRows(ROWS, 1.0).support == SimplexRows(ROWS, 2.0).support != SimplexRows(np.ones((4, 4), bool), 1.0).support
    assert biject_to(first) == biject_to(second)
    leaves, structure = jax.tree.flatten(OnEntries(dist.Gamma(2.0, 3.0), EDGES))
    assert len(leaves) == 2
    assert jax.tree.unflatten(structure, leaves).event_shape == EDGES.shape
    traces = []

    @jax.jit
    def density(law, value):
        traces.append(1)
        return law.log_prob(value)

    for concentration in (2.0, 3.0):
        density(SimplexRows(ROWS, concentration), jnp.asarray(dirichlet_mean()))
    assert len(traces) == 1


def test_wrong_zeros_are_outside_and_draws_can_be_put_in_a_batch():
    rates, rows = OnEntries(dist.Gamma(2.0, 3.0), EDGES), SimplexRows(ROWS, 1.0)
    assert not rates.support(jnp.ones(EDGES.shape))
    assert not rows.support(jnp.full(ROWS.shape, 0.25))
    assert not rows.support(jnp.zeros(ROWS.shape))
    for law in (rates, rows):
        assert law.support(law.support.feasible_like(jnp.zeros(law.event_shape)))
    subjects = rates.expand((7,))
    assert subjects.sample(jax.random.key(0)).shape == (7, *EDGES.shape)
    assert subjects.log_prob(subjects.sample(jax.random.key(0))).shape == (7,)
    assert biject_to(subjects.support).inverse_shape((7, *EDGES.shape)) == (7, 4 - 1)


def test_the_faces_have_a_density():
    corner = np.where(ROWS & ~contrasts(ROWS), 1.0, 0.0)
    assert_allclose(SimplexRows(ROWS, 1.0).log_prob(corner), np.log(6.0), rtol=1e-6)
    assert SimplexRows(ROWS, 1.1).log_prob(corner) == -np.inf
    assert_array_equal(references(ROWS), [0, 1, 2, 0])


def test_as_priors_of_a_part():
    rows, rates = SimplexRows(ROWS, 1.1), OnEntries(dist.Gamma(2.0, 1.0), EDGES)
    priors = {"probs": with_shape(rows, ROWS.shape, "probs"), "rates": with_shape(rates, EDGES.shape, "rates")}
    assert isinstance(priors["rates"].prior, Gamma)

    @jax.jit
    def there_and_back(key):
        params = {name: prior.sample(key) for name, prior in priors.items()}
        free = unconstrain(priors, params)
        return params, free, constrain(priors, free), log_prior(priors, params)

    params, free, again, density = there_and_back(jax.random.key(0))
    assert free["probs"].shape == (1 + 3 + 0 + 1,)
    assert free["rates"].shape == (3,)
    for name in params:
        assert_allclose(again[name], params[name], rtol=1e-5, atol=1e-7)
    assert np.isfinite(density)


def _model():
    numpyro.sample("rates", OnEntries(dist.Gamma(jnp.array([2.0, 3.0, 4.0]), 3.0), EDGES))
    numpyro.sample("rows", SimplexRows(ROWS, CONCENTRATION + 1.0))
    numpyro.sample("nothing", OnEntries(dist.Normal(), np.zeros((2, 2), bool)))


def test_nuts_finds_the_law():
    sampler = infer.MCMC(infer.NUTS(_model, max_tree_depth=4), num_warmup=300, num_samples=1500, progress_bar=False)
    sampler.run(jax.random.key(0))
    draws = sampler.get_samples()
    concentration = np.where(ROWS, CONCENTRATION + 1.0, 0.0)
    expected = {"rates": np.array(Pattern.of(EDGES).put(np.array([2.0, 3.0, 4.0]) / 3.0)), "rows": concentration / concentration.sum(1, keepdims=True)}
    for name, mean in expected.items():
        free = np.std(draws[name], axis=0) > 0
        values = np.asarray(draws[name], float)[:, free]
        error = values.std(0) / np.sqrt(numpyro.diagnostics.effective_sample_size(values[None]))
        assert (np.abs(values.mean(0) - mean[free]) <= 5 * error).all(), name
        assert_array_equal(np.asarray(draws[name])[0][~free], mean[~free])
    assert_array_equal(draws["nothing"], 0.0)


@pytest.mark.parametrize("guide", [infer.autoguide.AutoDiagonalNormal, infer.autoguide.AutoLaplaceApproximation])
def test_guides_know_the_free_coordinates(guide):
    svi = infer.SVI(_model, guide(_model), numpyro.optim.Adam(0.02), infer.Trace_ELBO())

    @jax.jit
    def step(key):
        state = svi.init(key)
        return svi.get_params(state), svi.stable_update(state)[1]

    params, loss = step(jax.random.key(0))
    assert params["auto_loc"].shape == (3 + 5,)
    assert np.isfinite(loss)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OnEntries(dist.Gamma(2.0, 1.0), EDGES.astype(float)), "mask: found float64 of shape .*, expected an array of booleans"),
        (lambda: OnEntries(dist.Gamma(2.0, 1.0), True), r"mask: found bool of shape \(\)"),
        (lambda: OnEntries(dist.Dirichlet(np.ones(3)), EDGES), "prior: found .*, expected a univariate distribution"),
        (lambda: OnEntries(2.0, EDGES), "prior: found 2.0"),
        (lambda: OnEntries(dist.Gamma(np.ones(5), 1.0), EDGES), r"prior: found Gamma of batch shape \(5,\), expected \(\), one for each of the 3 free entries"),
        (lambda: OnEntries(dist.Gamma(np.ones((2, 5)), 1.0), EDGES), r"prior: found Gamma of batch shape \(2, 5\)"),
        (lambda: SimplexRows(ROWS, np.ones(3)), r"concentration: found shape \(3,\), expected \(\), \(4,\) or \(4, 4\)"),
        (lambda: SimplexRows(EDGES & False, 1.0), "allowed: found no True in row 0"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
