"""Products of emissions: columns, names, computed inputs, lags, errors."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import latentgate as lg
from latentgate.models.base import log_prior, without_prefix
from latentgate.models.emissions.product import block

pytestmark = pytest.mark.usefixtures("float64")

NUM_STATES = 2


# Names out of alphabetical order: a dictionary would be sorted as a pytree, and the columns with it.
@pytest.fixture(scope="module")
def populations(float64):
    return lg.emissions.Product(zona=lg.emissions.Poisson(2), cortex=lg.emissions.Poisson(3), amygdala=lg.emissions.NegativeBinomial(1))


@pytest.fixture(scope="module")
def counts(float64):
    rng = np.random.default_rng(0)
    values = [rng.poisson(3.0, size=(length, 6)).astype(float) for length in (5, 3)]
    values[0][1, [0, 3]] = np.nan
    return lg.Sequences.from_arrays(values, names=list("abcdef"))


def test_blocks_are_independent_given_the_state(populations, counts):
    params = populations.initialize(jax.random.key(0), counts, NUM_STATES)
    parts = [(name, part, columns) for name, part, columns in populations._blocks()]
    assert [(name, columns.start, columns.stop) for name, _, columns in parts] == [("zona", 0, 2), ("cortex", 2, 5), ("amygdala", 5, 6)]
    alone = [lg.Sequences.from_arrays([array[:, columns] for array in counts.to_list()]) for _, _, columns in parts[:2]]
    expected = sum(part.log_likelihood(without_prefix(name, params), data) for (name, part, _), data in zip(parts, alone, strict=False))
    last = lg.Sequences.from_arrays([array[:, 5:] for array in counts.to_list()])
    expected = expected + populations.parts[2].log_likelihood(without_prefix("amygdala", params), last)
    assert_allclose(populations.log_likelihood(params, counts), expected, rtol=1e-12)
    assert_allclose(jax.jit(populations.log_likelihood)(params, counts), expected, rtol=1e-12)
    total = sum(log_prior(part.priors(NUM_STATES), without_prefix(name, params)) for name, part, _ in parts)
    assert_allclose(log_prior(populations.priors(NUM_STATES), params), total, rtol=1e-12)


def test_what_blocks_compute_is_kept_apart(populations, counts):
    """Three blocks that each store the log-factorials of their own counts under one name."""
    params = populations.initialize(jax.random.key(0), counts, NUM_STATES)
    prepared = populations.prepare(counts)
    assert {name.split(".")[0] for name in prepared.inputs} == {"_zona", "_cortex", "_amygdala"}
    assert_allclose(populations.log_likelihood(params, prepared), populations.log_likelihood(params, counts), rtol=1e-12)
    assert len({float(values.sum()) for values in prepared.inputs.values()}) == 3
    again = populations.prepare(prepared)
    assert set(again.inputs) == set(prepared.inputs)


def test_products_can_be_nested(populations, counts):
    nested = lg.emissions.Product(left=lg.emissions.Product(a=lg.emissions.Poisson(2)), right=lg.emissions.Product(a=lg.emissions.Poisson(4)))
    assert list(nested.dims()) == ["left.a.rates", "right.a.rates"]
    assert nested.dims()["left.a.rates"] == ("state", "left_a_neuron")
    params = nested.initialize(jax.random.key(0), counts, NUM_STATES)
    plain = lg.emissions.Poisson(6).log_likelihood({"rates": jnp.hstack([params["left.a.rates"], params["right.a.rates"]])}, counts)
    assert_allclose(nested.log_likelihood(params, nested.prepare(counts)), plain, rtol=1e-12)


def test_block_takes_its_columns_and_its_inputs(counts):
    data = counts.with_inputs({"task": [np.ones((5, 2)), np.ones((3, 2))]})
    data = lg.Sequences(**{**vars(data), "inputs": {**data.inputs, "_a.x": 1, "_b.x": 2, "_transition": 3, "_a.b._y": 4}})
    found = block("a", slice(2, 5), data)
    assert found.names == ("c", "d", "e")
    assert found.values.shape == (2, 5, 3)
    assert set(found.inputs) == {"task", "x", "b._y"}
    assert found.inputs["x"] == 1


def test_dimensions_of_blocks_differ():
    product = lg.emissions.Product(choice=lg.emissions.BernoulliGLM(3), reaction_time=lg.emissions.Gaussian(1))
    assert product.dims() == {
        "choice.weights": ("state", "choice_input"),
        "choice.bias": ("state",),
        "reaction_time.means": ("state", "reaction_time_feature"),
        "reaction_time.covariances": ("state", "reaction_time_feature", "reaction_time_feature_other"),
    }
    assert product.input_sets == {"inputs": 3}


def test_priors_that_depend_on_parameters_see_their_own_block():
    """Hierarchical priors of the one-hot kind, inside a product, inside a model."""
    coupled = lg.emissions.PoissonGLM(2, history=lg.basis.Exponential(window=3), coupling=lg.priors.GaussianTied())
    model = lg.HMM(NUM_STATES, lg.emissions.Product(first=coupled, second=coupled))
    data = lg.Sequences.from_arrays([np.random.default_rng(1).poisson(1.0, size=(12, 4))])
    params = eqx.filter_jit(model.initialize)(jax.random.key(0), data)
    alone = sum(log_prior(coupled.priors(NUM_STATES), without_prefix(f"emission.{name}", params)) for name in ("first", "second"))
    rest = {name: prior for name, prior in model.priors().items() if not name.startswith("emission")}
    assert_allclose(model.log_prior(params), alone + log_prior(rest, params), rtol=1e-10)


def test_simulation_gives_each_block_its_past():
    """A block with history of three steps beside one without, in one chain; the first block's history must be its own column."""
    memory = lg.emissions.PoissonGLM(1, history=lg.basis.Exponential(window=3), link="sigmoid")
    product = lg.emissions.Product(level=lg.emissions.Gaussian(2), spikes=memory)
    assert product.num_lags == 3
    recent = jnp.array([[50.0, -50.0, 0.0], [60.0, -60.0, 1.0], [70.0, -70.0, 2.0]])
    params = {
        "level.means": jnp.array([[0.0, 0.0], [5.0, -5.0]]),
        "level.covariances": jnp.broadcast_to(1e-12 * jnp.eye(2), (2, 2, 2)),
        "spikes.bias": jnp.zeros((2, 1)),
        "spikes.history": jnp.ones((2, 1, 1)),
    }
    keys = jax.random.split(jax.random.key(0), 4000)
    draws = jax.jit(jax.vmap(lambda key: product.sample(key, params, 1, {}, recent)))(keys)
    assert_allclose(draws[:, :2], np.broadcast_to([5.0, -5.0], (4000, 2)), atol=1e-4)
    drive = float(jnp.asarray(memory.history.matrix())[:, 0] @ recent[::-1, 2])
    rate = 1 / (1 + np.exp(-drive))
    # Five standard errors: a false alarm once in two million fresh keys.
    assert abs(float(draws[:, 2].mean()) - rate) < 5 * np.sqrt(rate / 4000)


def test_a_model_of_choice_and_reaction_time_runs_through():
    model = lg.HMM(NUM_STATES, lg.emissions.Product(choice=lg.emissions.BernoulliGLM(2), time=lg.emissions.Gaussian(1)))
    rng = np.random.default_rng(2)
    inputs = [rng.normal(size=(length, 2)) for length in (30, 20)]
    start = eqx.filter_jit(model.initialize)(jax.random.key(0), lg.Sequences.from_arrays([rng.integers(0, 2, size=(len(u), 2)) for u in inputs], inputs=inputs))
    data, states = model.simulate(jax.random.key(1), start, [30, 20], inputs)
    model.check(data)
    assert set(np.unique(data.values[data.mask][:, 0])) <= {0.0, 1.0}
    smoothed = model.smooth(start, data)
    moved = eqx.filter_jit(model.m_step)(start, data, smoothed)
    log_prior_of = eqx.filter_jit(model.log_prior)
    before = smoothed.log_normaliser.sum() + log_prior_of(start)
    assert model.log_likelihood(moved, data).sum() + log_prior_of(moved) > before
    assert [len(path) for path in states] == [30, 20]


def test_a_start_from_another_product():
    wide = lg.emissions.Product(a=lg.emissions.Poisson(1), b=lg.emissions.Gaussian(1, mean_prior=dist.Normal(0.0, 1.0)))
    plain = lg.emissions.Product(a=lg.emissions.Poisson(1), b=lg.emissions.Gaussian(1))
    params = {"a.rates": jnp.ones((2, 1)), "b.means": jnp.ones((2, 1)), "b.covariances": jnp.ones((2, 1, 1))}
    adopted = wide.adopt(plain, params)
    assert adopted.keys() == params.keys()
    assert_array_equal(adopted["b.means"], params["b.means"])
    with pytest.raises(ValueError, match="start: found a product of a, b, expected a product of c"):
        lg.emissions.Product(c=lg.emissions.Poisson(1)).adopt(plain, params)
    with pytest.raises(ValueError, match="start: found Poisson"):
        wide.adopt(lg.emissions.Poisson(1), params)


def test_errors_name_the_block():
    with pytest.raises(ValueError, match="emissions: found none"):
        lg.emissions.Product()
    with pytest.raises(ValueError, match=r"choice: found 3, expected one of lg\.emissions"):
        lg.emissions.Product(choice=3)
    with pytest.raises(ValueError, match="found the name '_a'"):
        lg.emissions.Product(_a=lg.emissions.Poisson(1))
    with pytest.raises(ValueError, match="b: found 3 columns of the input set 'inputs', expected 2"):
        lg.emissions.Product(a=lg.emissions.BernoulliGLM(2), b=lg.emissions.BernoulliGLM(3))
    product = lg.emissions.Product(a=lg.emissions.Poisson(1), b=lg.emissions.Bernoulli(1))
    with pytest.raises(ValueError, match="found 1 feature, expected 2 for Product"):
        product.check(lg.Sequences.from_arrays([np.zeros((2, 1))]))
    with pytest.raises(ValueError, match="b: data: found 4 in sequence 0, step 1, feature 0, expected 0 or 1"):
        product.check(lg.Sequences.from_arrays([np.array([[9.0, 1.0], [9.0, 4.0]])]))
