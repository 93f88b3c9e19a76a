"""Laws that every model obeys, over one table of models and tiny data."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import latentgate as lg
from latentgate.inference import permute_states

from ..model_table import small_models
from ..oracles.discrete_chain import enumerate_chain

MODELS = small_models()
ASSOCIATIVE = [MODELS[name][0] for name in ("poisson, missing", "gated per origin", "one state")]
pytestmark = pytest.mark.usefixtures("float64")


@eqx.filter_jit
def smooth(model, params, data):
    """One compiled program: the laws are about answers, and operation by operation most of the time would go to compiling."""
    return model.smooth(params, data)


@eqx.filter_jit
def m_step(model, params, data, smoothed):
    return model.m_step(params, data, smoothed)


@pytest.fixture(scope="module", params=MODELS)
def row(request):
    """A model, random parameters, data and the answers to compare with."""
    model, data = MODELS[request.param]
    params = model.initialize(jax.random.key(3), data)
    return model, params, data, smooth(model, params, data)


def test_semirings_and_backends_agree(row):
    model, params, data, smoothed = row
    # The associative backend takes long to compile, and sees no more of a model than the shape of its chain: one model of each.
    backends = [{"backend": "associative"}] if model in ASSOCIATIVE else []
    for options in ({"semiring": "log"}, *backends):
        (name, value) = next(iter(options.items()))
        other = smooth(eqx.tree_at(lambda model, name=name: getattr(model, name), model, value), params, data)
        np.testing.assert_allclose(other.log_normaliser, smoothed.log_normaliser, rtol=1e-11)
        np.testing.assert_allclose(other.marginals, smoothed.marginals, atol=1e-10)
        np.testing.assert_allclose(other.expected_transitions, smoothed.expected_transitions, atol=1e-9)


def test_renumbering_states_renumbers_the_answers(row):
    model, params, data, smoothed = row
    order = np.arange(model.num_states)[::-1]
    turned = {name: jnp.asarray(value) for name, value in permute_states(params, model.dims(), order).items()}
    other = smooth(model, turned, data)
    np.testing.assert_allclose(other.log_normaliser, smoothed.log_normaliser, rtol=1e-11)
    np.testing.assert_allclose(other.marginals, smoothed.marginals[..., order], atol=1e-10)
    log_prior = jax.jit(model.log_prior)
    np.testing.assert_allclose(log_prior(turned), log_prior(params), rtol=1e-10)


def test_padding_is_like_ragged_and_its_contents_do_not_matter(row):
    model, params, data, smoothed = row
    index = int(np.argmin(data.lengths))
    alone = smooth(model, params, data.select([index]))
    np.testing.assert_allclose(alone.log_normaliser[0], smoothed.log_normaliser[index], rtol=1e-11)
    np.testing.assert_allclose(alone.marginals[0], smoothed.marginals[index, : data.lengths[index]], atol=1e-10)
    padding = ~np.asarray(data.mask)[..., None]
    garbled = dataclasses.replace(
        data,
        values=np.where(padding, 1.0, data.values),
        inputs={name: np.where(padding, 17.0, value) for name, value in data.inputs.items()},
    )
    smoothed_garbled = smooth(model, params, garbled)
    np.testing.assert_allclose(smoothed_garbled.log_normaliser, smoothed.log_normaliser, rtol=1e-11)
    new, same = m_step(model, params, garbled, smoothed_garbled), m_step(model, params, data, smoothed)
    for name in new:
        np.testing.assert_allclose(new[name], same[name], rtol=1e-6, atol=1e-8)


def test_smoother_is_the_gradient_and_finite_differences_agree(row):
    model, params, data, _ = row
    chosen = sorted(params)[0]

    @jax.jit
    def value(array):
        return model.log_likelihood({**params, chosen: array}, data).sum()

    direction = jax.random.normal(jax.random.key(0), params[chosen].shape)
    if chosen.endswith("probs") or chosen.endswith("prior"):
        direction = direction - direction.mean(-1, keepdims=True)
        direction = direction * params[chosen].min() / jnp.abs(direction).max()
    step = 1e-5
    slope = (value(params[chosen] + step * direction) - value(params[chosen] - step * direction)) / (2 * step)
    _, tangent = jax.jvp(value, (params[chosen],), (direction,))
    np.testing.assert_allclose(tangent, slope, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose((jax.jit(jax.grad(value))(params[chosen]) * direction).sum(), tangent, rtol=1e-9, atol=1e-9)


def test_enumeration_of_all_paths(row):
    model, params, data, _ = row
    inputs = {name: [row[:6] for row in value] for name, value in data.inputs.items()}
    times = None if data.times is None else [row[:6] for row in data.times]
    short = lg.Sequences.from_arrays([array[:6] for array in data.to_list()], inputs=inputs, times=times)
    chain = model.potentials(params, short)
    smoothed, path = smooth(model, params, short), eqx.filter_jit(type(model).most_probable_path)(model, params, short)
    for index in range(short.num_sequences):
        transitions = chain.log_transitions[0] if chain.log_transitions.ndim == 3 else chain.log_transitions[index]
        oracle = enumerate_chain(np.asarray(chain.log_initial[0]), np.asarray(transitions), np.asarray(chain.log_nodes[index]))
        np.testing.assert_allclose(smoothed.log_normaliser[index], oracle.log_normaliser, rtol=1e-11)
        np.testing.assert_allclose(smoothed.marginals[index], oracle.marginals, atol=1e-10)
        np.testing.assert_allclose(path.log_joint[index], oracle.best_log_joint, rtol=1e-11)


def test_one_trace_per_shape(row):
    model, params, data, _ = row
    traces = []

    @eqx.filter_jit
    def ask(model, params, data):
        traces.append(1)
        return model.potentials(params, data).log_normaliser()

    ask(model, params, data)
    ask(model, {name: value * 1.0 for name, value in params.items()}, data.select(range(data.num_sequences)))
    assert len(traces) == 1


def test_a_missing_step_says_nothing(row):
    model, params, data, _ = row
    if getattr(model.emission, "num_lags", 0):
        pytest.skip("with spike history a missing bin also leaves the past of later bins")
    arrays = data.to_list()
    for array in arrays:
        array[3] = np.nan
    inputs = {name: [value[: len(array)] for value, array in zip(values, arrays, strict=True)] for name, values in data.inputs.items()}
    times = None if data.times is None else [row[: len(array)] for row, array in zip(data.times, arrays, strict=True)]
    blank = lg.Sequences.from_arrays(arrays, inputs=inputs, times=times)
    nodes = model.potentials(params, blank).log_nodes
    np.testing.assert_array_equal(nodes[:, 3], 0.0)
