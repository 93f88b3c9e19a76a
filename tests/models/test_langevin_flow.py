"""The Langevin flow: its bound, its guides, its answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.special

import latentgate as lg


@pytest.fixture(scope="module", autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


DRAWS = 2000


def monte_carlo_error(model, data):
    """Four standard errors of E_q log p(y | path) at a normal posterior: half a chi-squared number of at most as many degrees of freedom as signals.

    False-alarm rate of three sequences together about 2e-4.
    """
    return 4 * np.sqrt(0.5 * data.max_length * model.num_neurons / DRAWS)


def linear_case(guide, sequences=3, steps=5, latents=2):
    """A flow in a quadratic potential with normal observations: a linear Gaussian model, whose evidence is a dense normal law's."""
    model = lg.LangevinFlow(latents, num_neurons=3, potential=lg.potentials.Quadratic(), observation="normal", velocities=True, guide=guide)
    values = np.random.default_rng(0).normal(size=(sequences, steps, 3)).cumsum(1) * 0.3
    data = lg.Sequences.from_arrays(list(values))
    model = model.suited_to(data)
    params = model.initialize(jax.random.key(1), data)
    params["potential.stiffness"] = jnp.array([[0.3, 0.1], [0.1, 0.2]])
    params["potential.centre"] = jnp.array([0.2, -0.1])
    params["emission.velocity_matrix"] = 0.5 * jnp.ones((3, latents))
    params["emission.variance"] = jnp.array([0.01, 0.02, 0.03])
    params["dynamics.temperature"] = jnp.array([0.05, 0.1])
    return model, data, params


def dense_evidence(model, params, values):
    """Log-density of each sequence by its mean and covariance, both read off NumPy's own transcription of the step: an affine map of noise."""
    size, steps = model.latent_dim, values.shape[1]
    stiffness, centre = (np.asarray(params[f"potential.{name}"]) for name in ("stiffness", "centre"))
    friction, temperature = np.asarray(params["dynamics.friction"]), np.asarray(params["dynamics.temperature"])
    kept = np.exp(-friction)
    spread = np.sqrt(temperature * (1 - kept**2))

    def observed(noise):
        start = np.asarray(params["initial.mean"]) + np.asarray(params["initial.scale"]) * noise[: 2 * size]
        z, v = start[:size], start[size:]
        rows = []
        for t in range(steps):
            rows.append(np.asarray(params["emission.matrix"]) @ z + np.asarray(params["emission.velocity_matrix"]) @ v + np.asarray(params["emission.bias"]))
            if t < steps - 1:
                v = v - 0.5 * stiffness @ (z - centre)
                z = z + 0.5 * v
                v = kept * v + spread * noise[2 * size + t * size :][:size]
                z = z + 0.5 * v
                v = v - 0.5 * stiffness @ (z - centre)
        return np.concatenate(rows)

    count = 2 * size + (steps - 1) * size
    mean = observed(np.zeros(count))
    effect = np.stack([observed(row) - mean for row in np.eye(count)], 1)
    covariance = effect @ effect.T + np.diag(np.tile(np.asarray(params["emission.variance"]), steps))
    deviations = values.reshape(len(values), -1) - mean
    factor = scipy.linalg.cho_factor(covariance)
    quadratic = np.einsum("si,is->s", deviations, scipy.linalg.cho_solve(factor, deviations.T))
    return -0.5 * (quadratic + 2 * np.log(np.diagonal(factor[0])).sum() + len(mean) * np.log(2 * np.pi)), effect, mean


def exact_guide(model, params, data, effect, mean):
    """Parameters of a full guide that is the exact posterior over the noise."""
    precision = np.tile(1 / np.asarray(params["emission.variance"]), data.max_length)
    posterior = np.linalg.inv(np.eye(effect.shape[1]) + effect.T @ (precision[:, None] * effect))
    deviations = np.asarray(data.values).reshape(data.num_sequences, -1) - mean
    means = deviations @ (precision[:, None] * effect) @ posterior
    factor = np.broadcast_to(np.linalg.cholesky(posterior), (len(means), *posterior.shape))
    return {
        "guide.mean": jnp.asarray(means),
        "guide.scale": jnp.asarray(np.diagonal(factor, axis1=1, axis2=2)),
        "guide.factor": jnp.asarray(np.tril(factor, -1)),
    }


def test_bound_is_the_evidence_at_the_exact_posterior_and_below_it_elsewhere():
    model, data, params = linear_case(lg.guides.PerTrial("full"))
    evidence, effect, mean = dense_evidence(model, params, np.asarray(data.values))
    exact = params | exact_guide(model, params, data, effect, mean)
    # E_q log p(y | path) has a closed form here: many draws meet it, and the rest of the bound is exact.
    parts = model.bound(exact, data, jax.random.key(2), num_draws=DRAWS)
    error = monte_carlo_error(model, data)
    np.testing.assert_allclose(parts.log_likelihood - parts.divergence, evidence, atol=error)
    for scale in (0.5, 2.0):
        worse = exact | {"guide.scale": scale * exact["guide.scale"]}
        parts = model.bound(worse, data, jax.random.key(2), num_draws=DRAWS)
        assert (np.asarray(parts.log_likelihood - parts.divergence) < evidence - error).all()


def test_diagonal_guide_leaves_the_gap_that_theory_says_and_the_full_one_closes_it():
    # Of a normal posterior with precision P, the best independent law has its means and the variances 1 / P_ii, at a divergence of ½ (Σ log P_ii - log |P|).
    model, data, params = linear_case(lg.guides.PerTrial())
    evidence, effect, mean = dense_evidence(model, params, np.asarray(data.values))
    precision = np.eye(effect.shape[1]) + effect.T @ (np.tile(1 / np.asarray(params["emission.variance"]), data.max_length)[:, None] * effect)
    gap = 0.5 * (np.log(np.diagonal(precision)).sum() - np.linalg.slogdet(precision)[1])
    best = exact_guide(model, params, data, effect, mean)["guide.mean"]
    scale = jnp.broadcast_to(1 / np.sqrt(np.diagonal(precision)), best.shape)
    parts = model.bound(params | {"guide.mean": best, "guide.scale": scale}, data, jax.random.key(2), num_draws=DRAWS)
    found = evidence - np.asarray(parts.log_likelihood - parts.divergence)
    assert gap > 1.0
    np.testing.assert_allclose(found, gap, atol=monte_carlo_error(model, data))


def test_divergence_is_zero_at_the_prior_alone():
    model, data, params = linear_case(lg.guides.PerTrial())
    prior = params | {"guide.mean": jnp.zeros_like(params["guide.mean"]), "guide.scale": jnp.ones_like(params["guide.scale"])}
    np.testing.assert_array_equal(model.bound(prior, data, jax.random.key(0)).divergence, 0.0)
    for name in ("guide.mean", "guide.scale"):
        changed = prior | {name: prior[name].at[1, 3].add(0.1)}
        divergence = np.asarray(model.bound(changed, data, jax.random.key(0)).divergence)
        assert divergence[1] > 1e-3
        np.testing.assert_array_equal(np.delete(divergence, 1), 0.0)


def counts(sequences=6, steps=12, neurons=5, seed=0):
    return [np.random.default_rng(seed + index).poisson(0.7, (steps, neurons)).astype(float) for index in range(sequences)]


def small(**options):
    return lg.LangevinFlow(2, num_neurons=5, potential=options.pop("potential", lg.potentials.Network(4)), guide=lg.guides.Recurrent(6), **options)


def started(model, data):
    model = model.suited_to(data)
    params = model.initialize(jax.random.key(0), data)
    # Away from the symmetric start: heads that listen, and a guide that steers.
    for name in ("guide.noise_weights", "guide.start_weights"):
        params[name] = 10 * params[name]
    if "guide.steering" in params:
        params["guide.steering"] = -0.3 * jnp.ones_like(params["guide.steering"])
    return model, params


def test_padding_changes_nothing():
    arrays = [array[: 12 - 3 * (index % 2)] for index, array in enumerate(counts())]
    together = lg.Sequences.from_arrays(arrays)
    model, params = started(small(), together)
    longer = lg.Sequences.from_arrays([*arrays, np.zeros((20, 5))])
    for question in (model.most_probable_path, model.inferred_inputs):
        short, long = np.asarray(question(params, together)), np.asarray(question(params, longer))
        for index, array in enumerate(arrays):
            np.testing.assert_allclose(short[index, : len(array)], long[index, : len(array)], atol=1e-12)


def test_nothing_is_inferred_after_the_last_observed_step():
    values = np.stack(counts())
    values[:, 8:] = np.nan
    data = lg.Sequences.from_arrays(list(values))
    model, params = started(small(), data)
    inputs = np.asarray(model.inferred_inputs(params, data))
    assert (np.abs(inputs[:, :7]).max((0, 2)) > 1e-3).all()
    np.testing.assert_array_equal(inputs[:, 7:], 0.0)
    spread = np.asarray(model.smooth(params, data).covariances)[..., 0, 0].mean(0)
    assert spread[11] > spread[8] > spread[7]


def test_columns_that_the_guide_may_not_read_have_no_influence():
    data = lg.Sequences.from_arrays(counts())
    changed = np.stack(counts())
    changed[..., 3] = 50.0
    model = lg.LangevinFlow(2, num_neurons=5, potential=lg.potentials.Network(4), guide=lg.guides.Recurrent(6, reads=[0, 1, 2, 4]))
    model, params = started(model, data)
    answers = [np.asarray(model.expected_counts(params, one)) for one in (data, lg.Sequences.from_arrays(list(changed)))]
    np.testing.assert_array_equal(*answers)
    # Nor has what is marked as missing.
    model, params = started(small(), data)
    changed[..., 3] = np.nan
    hidden = lg.Sequences.from_arrays(list(changed))
    shown = np.broadcast_to(np.arange(5) != 3, changed.shape)
    law, other = (model.noise_law(params, one, shown)[0] for one in (hidden, data))
    np.testing.assert_array_equal(law.mean, other.mean)


def test_no_way_to_the_rates_but_through_the_path():
    data = lg.Sequences.from_arrays(counts())
    model, params = started(small(), data)
    blind = params | {name: jnp.zeros_like(value) for name, value in params.items() if name.startswith("emission.matrix")}
    rates = np.asarray(model.expected_counts(blind, data))
    np.testing.assert_allclose(rates, np.broadcast_to(np.exp(np.asarray(params["emission.bias"])), rates.shape), rtol=1e-12)
    alone = np.asarray(model.expected_counts(params, data, without_inputs=True))
    assert np.abs(alone - np.asarray(model.expected_counts(params, data))).max() > 1e-2


def test_gradient_of_the_bound_against_finite_differences():
    data = lg.Sequences.from_arrays(counts(3, 8))
    model, params = started(small(velocities=True, link="softplus"), data)

    def total(params):
        parts = model.bound(params, data, jax.random.key(4))
        return (parts.log_likelihood - parts.divergence).sum()

    gradient = jax.jit(jax.grad(total))(params)
    compiled = jax.jit(total)
    for name, value in params.items():
        direction = jax.random.normal(jax.random.key(len(name)), value.shape)
        step = 1e-5
        ends = [float(compiled(params | {name: value + sign * step * direction})) for sign in (1, -1)]
        np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), float((gradient[name] * direction).sum()), rtol=2e-5, atol=1e-6, err_msg=name)


def test_switching_potentials_have_an_exact_divergence_of_their_states():
    potential = lg.potentials.Switching((lg.potentials.Quadratic(), lg.potentials.Network(3)))
    data = lg.Sequences.from_arrays(counts(3, 4))
    model, params = started(small(potential=potential), data)
    params["guide.state_weights"] = 3.0 * jax.random.normal(jax.random.key(1), params["guide.state_weights"].shape)
    params["states.transition"] = jnp.array([[0.7, 0.3], [0.2, 0.8]])
    _, nodes = model.noise_law(params, data)
    weights, divergence = model.states.draw({name[7:]: value for name, value in params.items() if name.startswith("states.")}, nodes, data, None)
    for sequence in range(3):
        paths = np.array(list(np.ndindex(*[2] * 4)))
        prior = np.log(0.5) + sum(np.log(np.asarray(params["states.transition"]))[paths[:, t], paths[:, t + 1]] for t in range(3))
        joint = prior + sum(np.asarray(nodes)[t, sequence, paths[:, t]] for t in range(4))
        posterior = np.exp(joint - scipy.special.logsumexp(joint))
        np.testing.assert_allclose(float(divergence[sequence]), (posterior * (np.log(posterior) - prior)).sum(), rtol=1e-9)
        np.testing.assert_allclose(np.asarray(weights)[:, sequence, 1], [(posterior * paths[:, t]).sum() for t in range(4)], rtol=1e-9)
    assert np.isfinite(np.asarray(model.log_likelihood(params, data))).all()
    gradient = jax.jit(jax.grad(lambda params: model.bound(params, data, jax.random.key(0)).log_likelihood.sum()))(params)
    assert np.abs(np.asarray(gradient["guide.state_weights"])).max() > 0


def test_inputs_push_and_simulations_follow_them():
    push = [np.full((300, 1), value) for value in (-1.0, 1.0)] * 20
    model = lg.LangevinFlow(1, num_neurons=2, potential=lg.potentials.Quadratic(), num_inputs=1, observation="normal")
    blank = lg.Sequences.from_arrays([np.zeros((300, 2))] * 40, inputs=push)
    params = model.initialize(jax.random.key(0), blank)
    params |= {"dynamics.input_matrix": jnp.array([[0.3]]), "potential.stiffness": jnp.array([[0.1]]), "potential.centre": jnp.zeros(1)}
    _, latents = model.simulate(jax.random.key(1), params, [300] * 40, inputs=push)
    ends = np.stack(latents)[:, 100:, 0]
    # At rest where the pull meets the push, z = ±3, and with the variance τ / k; false-alarm rate below 1e-4 at some forty independent stretches a path.
    variance = float(params["dynamics.temperature"][0]) / 0.1
    error = 4 * np.sqrt(variance / 400)
    np.testing.assert_allclose([ends[::2].mean(), ends[1::2].mean()], [-3.0, 3.0], atol=error)
    with pytest.raises(ValueError, match="inputs"):
        model.simulate(jax.random.key(1), params, [300])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"potential": 3}, "expected one of lg.potentials"),
        ({"guide": "gru"}, "expected one of lg.guides"),
        ({"observation": "gaussian"}, "observation: found 'gaussian'"),
        ({"motion": "brownian"}, "motion: found 'brownian'"),
        ({"link": "log"}, "link: found 'log'"),
        ({"step": 0.0}, "step: found 0.0, expected a positive number"),
        ({"num_inputs": -1}, "num_inputs: found -1"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        lg.LangevinFlow(2, num_neurons=5, **options)


def test_data_that_do_not_belong_are_refused():
    model = small()
    for values, message in (
        (np.zeros((4, 3)), "expected 5 for LangevinFlow"),
        (np.zeros((1, 5)), "one step each"),
        (np.full((4, 5), 0.5), "expected counts"),
    ):
        with pytest.raises(ValueError, match=message):
            model.check(lg.Sequences.from_arrays([values]))
    data = lg.Sequences.from_arrays(counts())
    with pytest.raises(ValueError, match="filter: found a LangevinFlow"):
        model.filter({}, data)
    with pytest.raises(ValueError, match=r"fit.model"):
        model.smooth(small().suited_to(data).initialize(jax.random.key(0), data), data)
    with pytest.raises(ValueError, match="reads: found neuron 7"):
        lg.LangevinFlow(2, num_neurons=5, guide=lg.guides.Recurrent(4, reads=[7]))
    other = small(potential=lg.potentials.NoForce())
    with pytest.raises(ValueError, match=r"potential.weights"):
        small().adopt(other, other.suited_to(data).initialize(jax.random.key(0), data))
