"""Sequences as a JAX pytree: what is a leaf, what is static, what makes a new trace."""

import jax
import jax.numpy as jnp
import numpy as np

from latentgate.data import Sequences


def build(seed=0, missing=False, times=False, inputs=("u",), **annotations):
    rng = np.random.default_rng(seed)
    lengths = [4, 6]
    arrays = [rng.normal(size=(length, 2)) for length in lengths]
    if missing:
        arrays[0][0, 0] = np.nan
    return Sequences.from_arrays(
        arrays,
        inputs={name: [rng.normal(size=(length, 1)) for length in lengths] for name in inputs},
        times=[np.arange(length) + rng.uniform() for length in lengths] if times else None,
        **annotations,
    )


def counting():
    traces = []

    @jax.jit
    def total(data):
        traces.append(repr(data))
        return jnp.sum(data.values * data.mask[..., None]) + data.num_steps

    return total, traces


def test_one_trace_per_shape_whatever_the_annotations():
    total, traces = counting()
    plain = build(0)
    annotated = build(1, labels={"x": [1, 2]}, events={"e": [[0.1], []]}, names=["a", "b"], groups=["g", "h"], bin_width=0.1)
    np.testing.assert_allclose(total(plain), plain.values.sum() + 10, rtol=1e-5)
    np.testing.assert_allclose(total(annotated), annotated.values.sum() + 10, rtol=1e-5)
    total(annotated.select([0, 1]))
    total(jax.tree.map(lambda leaf: leaf, annotated))
    assert len(traces) == 1
    assert jax.tree.structure(plain) == jax.tree.structure(annotated)


def test_what_is_static_makes_a_new_trace():
    total, traces = counting()
    for data in (build(), build(missing=True), build(times=True), build(inputs=()), build(inputs=("v",))):
        total(data)
        total(data)
    assert len(traces) == 5


def test_leaves_and_round_trip():
    data = build(times=True, labels={"x": [1, 2]}, bin_width=0.1)
    leaves, structure = jax.tree.flatten(data)
    assert len(leaves) == 5
    back = jax.tree.unflatten(structure, leaves)
    assert isinstance(back, Sequences)
    assert back.complete is True
    assert all(one is other for one, other in zip(leaves, jax.tree.leaves(back), strict=True))
    assert back.labels == {}
    assert back.events == {}
    assert back.names is None
    assert back.groups is None
    assert back.bin_width is None
    assert back.input_names == {}
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(data)]
    assert paths == [".values", ".observed", ".lengths", ".inputs['u']", ".times"]


def test_vmap_over_sequences_and_returning_from_jit():
    data = build(missing=True)
    counts = jax.vmap(lambda one: jnp.sum(one.observed))(data)
    np.testing.assert_array_equal(counts, data.observed.sum((1, 2)))
    back = jax.jit(lambda value: value)(data)
    assert isinstance(back, Sequences)
    assert back.num_steps == 10
    np.testing.assert_allclose(back.to_list()[1], data.to_list()[1], rtol=1e-6)
    assert back.select([0]).max_length == 4
    assert "2 sequences" in repr(back)


def test_repr_inside_transformations_and_with_other_leaves():
    total, traces = counting()
    total(build())
    assert "Sequences(values=" in traces[0]
    assert "Sequences(values=" in repr(jax.tree.map(lambda leaf: leaf.shape, build()))


def test_eval_shape_gives_abstract_sequences():
    shapes = jax.eval_shape(lambda data: data, build())
    assert shapes.num_sequences == 2
    assert shapes.max_length == 6
    assert shapes.num_inputs == {"u": 1}
