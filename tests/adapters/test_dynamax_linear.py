"""dynamax is the oracle for linear Gaussian models too: one likelihood and one posterior of the latents on both sides, inputs and first step included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamax.linear_gaussian_ssm import LinearGaussianConjugateSSM, LinearGaussianSSM, ParamsLGSSM
from dynamax.linear_gaussian_ssm.inference import make_lgssm_params
from numpy.testing import assert_allclose

import latentgate as lg
from latentgate.adapters.dynamax import from_dynamax, to_dynamax

T, SIZE, ROWS, INPUTS = 12, 2, 3, 2


@pytest.fixture(autouse=True, scope="module")
def float64():
    with jax.enable_x64(True):
        yield


def spread(rng, size):
    root = rng.normal(size=(size, size))
    return jnp.asarray(root @ root.T + np.eye(size))


@pytest.fixture(scope="module")
def made():
    """Parameters of dynamax without a special value, observations [T, feature] and inputs [T, input]."""
    rng = np.random.default_rng(2)
    params = make_lgssm_params(
        jnp.asarray(rng.normal(size=SIZE)),
        spread(rng, SIZE),
        jnp.asarray(0.5 * rng.normal(size=(SIZE, SIZE))),
        spread(rng, SIZE),
        jnp.asarray(rng.normal(size=(ROWS, SIZE))),
        spread(rng, ROWS),
        jnp.asarray(rng.normal(size=SIZE)),
        jnp.asarray(rng.normal(size=(SIZE, INPUTS))),
        jnp.asarray(rng.normal(size=ROWS)),
        jnp.asarray(rng.normal(size=(ROWS, INPUTS))),
    )
    return params, rng.normal(size=(T, ROWS)), rng.normal(size=(T, INPUTS))


smoother = jax.jit(lambda ssm, params, values, inputs: ssm.smoother(params, values, inputs), static_argnums=0)


def compare(ssm, theirs, model, ours, values, inputs):
    posterior = smoother(ssm, theirs, jnp.asarray(values), jnp.asarray(inputs))
    data = lg.Sequences.from_arrays([values], inputs=[inputs] if inputs.shape[1] else None)
    model.check(data)
    smoothed = model.smooth(ours, data)
    assert_allclose(smoothed.log_normaliser, [posterior.marginal_loglik], rtol=1e-8)
    assert_allclose(smoothed.means[0], posterior.smoothed_means, atol=1e-8)
    assert_allclose(np.broadcast_to(smoothed.covariances, (1, *posterior.smoothed_covariances.shape))[0], posterior.smoothed_covariances, atol=1e-8)


def same(one: ParamsLGSSM, other: ParamsLGSSM):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-15), one, other)


def test_both_sides_agree_both_ways(made):
    theirs, values, inputs = made
    ssm = LinearGaussianSSM(SIZE, ROWS, INPUTS)
    model, ours = from_dynamax(ssm, theirs)
    assert set(ours) == set(model.dims())
    compare(ssm, theirs, model, ours, values, inputs)
    back, their_params = to_dynamax(model, ours)
    assert type(back) is LinearGaussianSSM
    assert (back.state_dim, back.emission_dim, back.input_dim) == (SIZE, ROWS, INPUTS)
    same(their_params, theirs)


def test_what_dynamax_leaves_out_is_left_out(made):
    """No biases, no inputs, observation noise as a vector."""
    theirs, values, _ = made
    dynamics, emissions = theirs.dynamics, theirs.emissions
    bare = ParamsLGSSM(
        theirs.initial,
        dynamics._replace(bias=None, input_weights=jnp.zeros((SIZE, 0))),
        emissions._replace(bias=None, input_weights=jnp.zeros((ROWS, 0)), cov=jnp.diagonal(emissions.cov)),
    )
    ssm = LinearGaussianSSM(SIZE, ROWS, has_dynamics_bias=False, has_emissions_bias=False)
    model, ours = from_dynamax(ssm, bare)
    assert set(ours) == {"initial.mean", "initial.covariance", "dynamics.matrix", "dynamics.covariance", "emission.matrix", "emission.covariance"}
    compare(ssm, bare, model, ours, values, np.zeros((T, 0)))
    back, their_params = to_dynamax(model, ours)
    assert not back.has_dynamics_bias
    assert not back.has_emissions_bias
    same(their_params, bare._replace(emissions=bare.emissions._replace(cov=jnp.diag(bare.emissions.cov))))


def test_structure_is_written_out(made):
    """Rotations from their stationary law, and inputs to the observations alone."""
    _, values, inputs = made
    model = lg.LinearGaussianSSM(SIZE, ROWS, dynamics=lg.dynamics.DampedRotations(), initial="stationary", num_inputs=INPUTS)
    ours = model.initialize(jax.random.key(0), lg.Sequences.from_arrays([values], inputs=[inputs]))
    ours["emission.input_weights"] = jnp.asarray(np.random.default_rng(1).normal(size=(ROWS, INPUTS)))
    ssm, theirs = to_dynamax(model, ours)
    compare(ssm, theirs._replace(dynamics=theirs.dynamics._replace(bias=jnp.zeros(SIZE))), model, ours, values, inputs)
    damping, variances = ours["dynamics.damping"], ours["dynamics.variances"]
    assert_allclose(theirs.initial.cov, (variances / (1 - damping**2)) * np.eye(2), rtol=1e-12)


def test_what_has_no_counterpart_is_named(made):
    theirs, *_ = made
    ssm = LinearGaussianSSM(SIZE, ROWS, INPUTS)
    changing = theirs.dynamics._replace(weights=jnp.zeros((T, SIZE, SIZE)))
    with pytest.raises(ValueError, match=r"params\.dynamics\.weights: found shape \(12, 2, 2\)"):
        from_dynamax(ssm, theirs._replace(dynamics=changing))
    with pytest.raises(ValueError, match=r"params\.emissions\.bias: found a function of time"):
        from_dynamax(ssm, theirs._replace(emissions=theirs.emissions._replace(bias=lambda t: jnp.zeros(ROWS))))
    with pytest.warns(UserWarning, match="priors are not"):
        from_dynamax(LinearGaussianConjugateSSM(SIZE, ROWS, INPUTS), theirs)
    with pytest.raises(TypeError, match=r"model\.dynamics: found LinearSDE"):
        to_dynamax(lg.LinearGaussianSSM(SIZE, ROWS, dynamics=lg.dynamics.LinearSDE()), {})
    with pytest.raises(ValueError, match=r"params: found no 'initial\.mean'"):
        to_dynamax(lg.LinearGaussianSSM(SIZE, ROWS), {})
