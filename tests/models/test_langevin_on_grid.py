"""Langevin dynamics on a grid against closed forms of the diffusion, dense algebra and enumeration."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import cumulative_trapezoid, quad
from scipy.linalg import expm
from scipy.special import gammaln

import latentgate as lg
from latentgate.kernels.generators.summaries import stationary_law
from latentgate.models.generators.langevin import grid_of, langevin_rates
from latentgate.models.splines import SmoothCoefficients, coefficients_of, cubic_basis

pytestmark = pytest.mark.usefixtures("float64")


def double_well(height, place=0.6):
    """Φ and its second derivative at the wells and the top."""
    return (lambda x: height * (x**2 / place**2 - 1.0) ** 2), 8.0 * height / place**2, -4.0 * height / place**2


def dense_generator(potential, diffusion, step, ends):
    """Entry by entry, as the issue writes it."""
    size = len(potential)
    generator = np.zeros((size, size))
    for i in range(size):
        if (i == 0 and ends[0] == "absorbing") or (i == size - 1 and ends[1] == "absorbing"):
            continue
        for j in (i - 1, i + 1):
            if 0 <= j < size:
                generator[i, j] = diffusion / step**2 * np.exp(-(potential[j] - potential[i]) / 2)
        generator[i, i] = -generator[i].sum()
    return generator


def generator_of(potential, diffusion, num_points, ends):
    ends = lg.generators.Langevin(num_points, ends).ends
    grid, step = grid_of(num_points, ends)
    rates = langevin_rates(jnp.asarray(potential(grid)), jnp.asarray(diffusion), step, ends)
    return grid, np.asarray(rates) - np.diag(np.asarray(rates).sum(-1))


def small_model(**options):
    settings = {"num_points": 7, "ends": ("absorbing", "reflecting"), "potential_knots": 5, "tuning_knots": 4}
    return lg.LangevinOnGrid(2, **(settings | options))


def small_params(model, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {name: np.shape(value) for name, value in jax.eval_shape(lambda key: model.initialize(key, small_trials(model)), jax.random.key(0)).items()}
    params = {name: rng.normal(size=shapes[name]) for name in sorted(shapes)}
    return {name: jnp.asarray(np.exp(value) if name == "transition.diffusion" else value) for name, value in params.items()}


def small_trials(model):
    rng = np.random.default_rng(3)
    counts = [rng.poisson(1.0, (length, 2)).astype(float) for length in (3, 2, 4)]
    ended = [True, True, False] if model.absorbing else False
    conditions = None if model.langevin.conditions is None else [1, 0, 1]
    return lg.LangevinOnGrid.sequences(counts, 0.3, ended=ended, conditions=conditions)


@pytest.mark.parametrize("ends", ["reflecting", "absorbing", ("reflecting", "absorbing")])
def test_generator_is_the_formula_in_detailed_balance(ends):
    generator = lg.generators.Langevin(9, ends, num_knots=6)
    params = {"potential": jnp.asarray(np.random.default_rng(0).normal(size=6)), "diffusion": jnp.asarray(0.7)}
    found = np.asarray(generator.matrices(params, jnp.zeros((1, 0)))[0])
    potential = cubic_basis(generator.grid, 6) @ np.asarray(params["potential"])
    step = generator.grid[1] - generator.grid[0]
    np.testing.assert_allclose(found, dense_generator(potential, 0.7, step, generator.ends), rtol=1e-12, atol=1e-12)
    assert generator.mask(9).sum() == (np.asarray(found) > 0).sum()
    law = np.exp(-potential) / np.exp(-potential).sum()
    flow = law[:, None] * found
    if ends == "reflecting":
        np.testing.assert_allclose(flow, flow.T, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(stationary_law(found), law, rtol=1e-12)
        assert generator.grid[0] == pytest.approx(-1 + step / 2)
    elif ends == "absorbing":
        assert generator.grid[[0, -1]].tolist() == pytest.approx([-1, 1])
        np.testing.assert_allclose(flow[1:-1, 1:-1], flow[1:-1, 1:-1].T, rtol=1e-12, atol=1e-13)


def test_conditions_change_what_they_should():
    for varying, shapes in (("potential", ((2, 5), ())), ("diffusion", ((5,), (2,))), ("both", ((2, 5), (2,)))):
        generator = lg.generators.Langevin(6, conditions=2, varying=varying, num_knots=5)
        start = generator.start(jax.random.key(0), jnp.asarray(0.5))
        assert (start["potential"].shape, start["diffusion"].shape) == shapes
        scaled = {"potential": start["potential"], "diffusion": start["diffusion"] * jnp.asarray([1.0, 3.0] if shapes[1] else 1.0)}
        one, two = np.asarray(generator.matrices(scaled, jnp.asarray([[0.0], [1.0]])))
        if varying == "diffusion":
            np.testing.assert_allclose(two, 3 * one, rtol=1e-12)
        else:
            assert np.abs(two / np.where(one == 0, 1, one) - np.where(one == 0, 0, 3.0 if varying == "both" else 1.0)).max() > 1e-3


def test_splines_reproduce_cubics_and_their_prior_is_its_density():
    x = np.linspace(-1, 1, 33)
    np.testing.assert_allclose(cubic_basis(x, 9).sum(1), 1.0)
    cubic = 2 * x**3 - x + 0.5
    np.testing.assert_allclose(cubic_basis(x, 9) @ coefficients_of(cubic, x, 9), cubic, atol=1e-12)
    law = SmoothCoefficients(6, 2.0, 3.0)
    covariance = np.linalg.inv(law.precision)
    value = np.random.default_rng(0).normal(size=6)
    expected = -0.5 * value @ law.precision @ value - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]
    assert float(law.log_prob(jnp.asarray(value))) == pytest.approx(expected)
    drawn = np.asarray(law.sample(jax.random.key(0), (20_000,)))
    np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.05 * np.abs(covariance).max())
    # A second difference of a walk of slopes with this standard deviation, whatever the number of knots.
    for knots in (8, 23):
        spacing = 2 / (knots - 3)
        curvature = np.diff(np.asarray(SmoothCoefficients(knots, 2.0, 1e4).sample(jax.random.key(1), (5000,))), n=2, axis=1) / spacing
        assert curvature.std() == pytest.approx(2.0 * spacing**0.5, rel=0.03)


@pytest.mark.parametrize("initial", ["free", "equilibrium"])
def test_likelihood_posterior_and_choice_by_forward_recursion(initial):
    model = small_model(initial=initial, conditions=2, varying="both")
    data, params = small_trials(model), small_params(model)
    grid = model.grid
    inside = np.arange(7) > 0
    found = np.asarray(model.log_likelihood(params, data))
    choice = np.asarray(model.choice(params, data))
    for index, (condition, length, ended) in enumerate([(1, 3, True), (0, 2, True), (1, 4, False)]):
        potential = cubic_basis(grid, 5) @ np.asarray(params["transition.potential"])[condition]
        diffusion = float(params["transition.diffusion"][condition])
        moves = expm(0.3 * dense_generator(potential, diffusion, grid[1] - grid[0], model.langevin.ends))
        rates = np.exp(cubic_basis(grid, 4) @ np.asarray(params["emission.weights"]).T)
        if initial == "free":
            first = np.exp(cubic_basis(grid, 8) @ np.asarray(params["initial.weights"])) * inside
        else:
            first = np.exp(-potential) * inside
        weight = first / first.sum()
        for row in range(length):
            counts = data.values[index, row]
            weight = (weight if row == 0 else weight @ moves) * inside * np.exp(np.sum(counts * np.log(rates) - rates - gammaln(counts + 1), -1))
        if ended:
            weight = (weight @ moves) * ~inside
        assert found[index] == pytest.approx(np.log(weight.sum()), rel=1e-10)
        assert choice[index].tolist() == pytest.approx([float(ended), 0.0], abs=1e-12)
    path = np.asarray(model.decision_variable(params, data))
    np.testing.assert_array_equal(np.isnan(path), ~data.mask)
    assert path[0, 3] == pytest.approx(-1)
    assert np.abs(path[2]).max() < 1


def test_escape_from_a_double_well_by_kramers():
    diffusion, errors = 0.8, []
    for height in (8.0, 16.0):
        potential, bottom, top = double_well(height)
        grid, generator = generator_of(potential, diffusion, 101, "reflecting")
        root = np.sqrt(np.exp(-potential(grid)))
        slowest = np.sort(np.linalg.eigvalsh(-generator * root[:, None] / root))[1]
        # Mean first passage from one well to the other: the double integral of the diffusion.
        x = np.linspace(-1, 1, 100_001)
        below = cumulative_trapezoid(np.exp(-potential(x)), x, initial=0)
        start, goal = np.searchsorted(x, [-0.6, 0.6])
        exact = np.trapezoid((below * np.exp(potential(x)))[start : goal + 1], x[start : goal + 1]) / diffusion
        # Both wells empty into each other: the slowest rate is twice that of an escape.
        assert slowest == pytest.approx(2 / exact, rel=0.02)
        kramers = diffusion * np.sqrt(-bottom * top) / (2 * np.pi) * np.exp(-height)
        errors.append(exact * kramers - 1)
    # The formula is the limit of a high barrier, and its first correction is of order one over the barrier.
    assert abs(errors[1]) < 0.08
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.25)


def test_splitting_probability_of_absorbing_ends():
    def potential(x):
        return 3.0 * np.sin(2.5 * x + 0.4) - 1.5 * x

    start, whole = 0.2, quad(lambda x: np.exp(potential(x)), -1, 1)[0]
    exact = quad(lambda x: np.exp(potential(x)), -1, start)[0] / whole
    errors = []
    for num_points in (21, 41, 81):
        grid, generator = generator_of(potential, 0.3, num_points, "absorbing")
        reached = np.linalg.solve(generator[1:-1, 1:-1], -generator[1:-1, -1])
        place = np.argmin(np.abs(grid - start))
        assert grid[place] == pytest.approx(start)
        errors.append(abs(reached[place - 1] - exact))
    assert errors[-1] < 2e-4
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


def test_evidence_approaches_that_of_the_kalman_filter_as_the_step_squared():
    stiffness, diffusion, noise, gap, steps = 60.0, 0.25, 0.1, 0.05, 8
    decay = np.exp(-diffusion * stiffness * gap)
    kalman = lg.LinearGaussianSSM(1, 1)
    exact_params = {
        "initial.mean": np.zeros(1),
        "initial.covariance": np.eye(1) / stiffness,
        "dynamics.matrix": np.eye(1) * decay,
        "dynamics.bias": np.zeros(1),
        "dynamics.covariance": np.eye(1) * (1 - decay**2) / stiffness,
        "emission.matrix": np.eye(1),
        "emission.bias": np.zeros(1),
        "emission.covariance": np.eye(1) * noise**2,
    }
    rng = np.random.default_rng(0)
    data = lg.Sequences.from_arrays(list(rng.normal(scale=0.16, size=(4, steps, 1))), times=[gap * np.arange(steps)] * 4)
    known = {name: jnp.asarray(exact_params[name]) for name in kalman.dims()}
    exact = float(kalman.log_likelihood(known, dataclasses.replace(data, times=None)).sum())
    errors = []
    for num_points in (32, 64):
        model = lg.LangevinOnGrid(1, num_points, emission=lg.emissions.Gaussian(1, covariance="tied"), potential_knots=5)
        params = {
            "transition.potential": jnp.asarray(coefficients_of(0.5 * stiffness * model.grid**2, model.grid, 5)),
            "transition.diffusion": jnp.asarray(diffusion),
            "emission.means": jnp.asarray(model.grid)[:, None],
            "emission.covariances": jnp.eye(1) * noise**2,
        }
        errors.append(float(model.log_likelihood(params, data).sum()) - exact)
    assert abs(errors[-1]) < 0.01
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)


@pytest.fixture(scope="module")
def decisions():
    """A model with absorbing ends, its parameters, and trials drawn from it."""
    with jax.enable_x64(True):
        model = lg.LangevinOnGrid(5, 13, ends="absorbing", potential_knots=6, tuning_knots=5, bin_width=0.05)
        grid = model.grid
        params = {
            "initial.weights": jnp.asarray(coefficients_of(-8 * grid**2, grid, 8)),
            "transition.potential": jnp.asarray(coefficients_of(-2.5 * grid**2 + 0.5 * grid, grid, 6)),
            "transition.diffusion": jnp.asarray(0.4),
            "emission.weights": jnp.asarray(coefficients_of(np.array([[1.5], [-1.5], [1.0], [0.0], [-1.0]]) * grid + 0.2, grid, 5)),
        }
        data, states = model.simulate(jax.random.key(1), params, [32] * 100)
        return model, params, data, states


def test_simulated_trials_end_at_the_boundaries(decisions):
    model, params, data, states = decisions
    model.check(data)
    ends = np.array([own[-1] for own in states])
    assert np.isin(ends, [0, 12]).mean() > 0.95
    assert all(((own[:-1] > 0) & (own[:-1] < 12)).all() for own in states)
    assert not data.observed[np.arange(100), data.lengths - 1][np.isin(ends, [0, 12])].any()
    moves = expm(0.05 * dense_generator(np.asarray(model.potential(params)), 0.4, 1 / 6, ("absorbing", "absorbing")))
    first = np.exp(np.asarray(model.log_initial(params))[0])
    expected = (first @ np.linalg.matrix_power(moves, 31))[[0, 12]]
    assert np.bincount(ends, minlength=13)[12] / 100 == pytest.approx(expected[1], abs=4 * np.sqrt(expected[1] * (1 - expected[1]) / 100))
    right = np.asarray(model.choice(params, data))[:, 1] > 0.5
    assert np.mean(right == (ends == 12)) > 0.9


def test_em_climbs_and_finds_potential_and_tuning_curves(decisions, tmp_path):
    model, params, data, states = decisions
    fit = lg.fit(model, data, lg.EM(max_iterations=9), seed=0, progress=False)
    assert (np.diff(fit.log_joint_history) > -1e-6).all()
    found = {name: jnp.asarray(value) for name, value in fit.params.items()}
    assert fit.log_joint_history[-1] > float(model.log_likelihood(params, data).sum() + model.log_prior(params)) - 1.0
    right, ends = np.asarray(model.choice(found, data))[:, 1] > 0.5, np.array([own[-1] for own in states])
    agree = np.mean(right == (ends == 12))
    assert max(agree, 1 - agree) > 0.9
    # x and -x are the same model.
    turn = -1 if agree < 0.5 else 1
    inside = slice(2, -2)
    curves, true_curves = np.asarray(model.tuning_curves(found))[::turn], np.asarray(model.tuning_curves(params))
    assert np.sqrt(np.mean(np.log(curves / true_curves)[inside] ** 2)) < 0.25
    forces, true_forces = (-np.diff(np.asarray(model.potential(one))) for one in (found, params))
    assert np.sqrt(np.mean((forces[::turn] * turn - true_forces)[inside] ** 2)) < 0.5 * np.sqrt(np.mean(true_forces[inside] ** 2))
    fit.save(tmp_path / "fit.nc")
    loaded = lg.Fit.load(tmp_path / "fit.nc")
    assert loaded.model.langevin.ends == ("absorbing", "absorbing")
    np.testing.assert_allclose(loaded.model.potential(loaded.params), model.potential(found))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_neurons": 0}, "num_neurons: found 0"),
        ({"num_points": 3}, "num_points: found 3"),
        ({"ends": "open"}, "ends: found 'open'"),
        ({"ends": ("absorbing",)}, "ends: found"),
        ({"initial": "uniform"}, "initial: found 'uniform'"),
        ({"initial": [0.5, 0.5]}, "initial: found"),
        ({"potential_knots": 3}, "potential_knots: found 3"),
        ({"roughness": 0.0}, "roughness: found 0.0"),
        ({"tuning_knots": 2}, "tuning_knots: found 2"),
        ({"tuning_roughness": -1.0}, "tuning_roughness: found -1.0"),
        ({"emission": lg.emissions.Poisson(3)}, "emission: found"),
        ({"conditions": 0}, "conditions: found 0"),
        ({"conditions": 2, "varying": "noise"}, "varying: found 'noise'"),
        ({"diffusion_prior": 1.0}, "diffusion_prior: found 1.0"),
        ({"time_scale": 0.0}, "time_scale: found 0.0"),
        ({"bin_width": 0.0}, "bin_width: found 0.0"),
    ],
)
def test_errors_of_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        lg.LangevinOnGrid(**({"num_neurons": 2, "num_points": 8} | options))


def test_errors_of_data():
    model = small_model(conditions=2)
    data = small_trials(model)
    model.check(data)

    def changed(name, sequence, step, value):
        column = data.inputs[name].copy()
        column[sequence, step] = value
        return dataclasses.replace(data, inputs=data.inputs | {name: column})

    for wrong, words in (
        (changed("condition", 0, slice(0, 4), 2.0), r"inputs\['condition'\]: found 2"),
        (changed("condition", 0, 1, 0.0), r"inputs\['condition'\]: found different rows in sequence 0"),
        (changed("boundary", 1, 0, 1.0), r"inputs\['boundary'\]: found a boundary reached in sequence 1, step 0 of 3"),
        (changed("boundary", 1, 2, 3.0), r"inputs\['boundary'\]: found 3 in sequence 1, step 2"),
        (dataclasses.replace(data, times=np.where(data.times > 0.5, data.times + 0.1, data.times)), "times: found gaps in sequence 0"),
        (dataclasses.replace(data, times=None), "data: found no times"),
    ):
        with pytest.raises(ValueError, match=words):
            model.check(wrong)
    with pytest.raises(ValueError, match="ends: found"):
        small_model(ends="reflecting").choice({}, data)
    with pytest.raises(ValueError, match="times: found None"):
        model.simulate(jax.random.key(0), small_params(model), [4], {"condition": [np.zeros((4, 1))]})
    with pytest.raises(ValueError, match="inputs: found none called 'condition'"):
        small_model(conditions=2, bin_width=0.1).simulate(jax.random.key(0), small_params(model), [4])
    with pytest.raises(ValueError, match="emission: found Gaussian"):
        lg.LangevinOnGrid(1, 8, emission=lg.emissions.Gaussian(1)).tuning_curves({})


def test_boundary_trials_add_a_row_for_the_end():
    counts = [np.ones((3, 2)), np.zeros((2, 2)), np.ones((2, 2))]
    data = lg.LangevinOnGrid.sequences(counts, 0.1, ended=["first", False, True], conditions=[1, 0, 1], labels={"side": [1, 0, 1]})
    assert data.lengths.tolist() == [4, 2, 3]
    assert data.inputs["boundary"][:, :, 0].tolist() == [[0, 0, 0, 2], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert data.inputs["condition"][0, :, 0].tolist() == [1, 1, 1, 1]
    assert not data.observed[0, 3].any()
    np.testing.assert_allclose(data.times[0], [0, 0.1, 0.2, 0.3])
    for options, words in (
        ({"bin_width": 0.0}, "bin_width: found 0.0"),
        ({"ended": "top"}, "ended: found 'top' for trial 0"),
        ({"ended": [True]}, "ended: found 1 entries"),
        ({"conditions": [1]}, "conditions: found shape"),
        ({"counts": [np.zeros(3)]}, "counts: found shape"),
    ):
        with pytest.raises(ValueError, match=words):
            lg.LangevinOnGrid.sequences(**({"counts": counts, "bin_width": 0.1} | options))


def test_one_matrix_a_sequence_is_one_a_step(decisions):
    model = small_model(conditions=2, varying="both")
    data, params = model.catalogue(small_trials(model)), small_params(model)
    smoothed = model.smooth(params, data)
    own = {name.removeprefix("transition."): value for name, value in params.items() if name.startswith("transition.")}
    every = lg.transitions.Jump(model.langevin)
    log_probs = np.asarray(every.log_probs(own, data))
    assert np.shape(model.transition.log_probs(own, data)) == (3, 7, 7)
    jumps, times = model.expected_jumps_and_times(params, data)
    # The absorbed state is entered at some time in the last bin, and occupied until its end.
    assert float(times.sum()) == pytest.approx(float((np.asarray(data.times).max(1) - data.times[:, 0]).sum()))
    assert float(jumps[0].sum()) == 0
    assert float(jumps[:, 0].sum()) == pytest.approx(2.0)
    chain = lg.kernels.DiscreteChain(model.log_initial(params), jnp.asarray(log_probs), model.potentials(params, data).log_nodes, jnp.asarray(data.lengths))
    np.testing.assert_allclose(chain.log_normaliser(), smoothed.log_normaliser, rtol=1e-10)


def test_m_steps_of_curves_and_first_position_are_stationary(decisions):
    model, params, data, _ = decisions
    curves = model.emission.emission
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.dirichlet(np.ones(13), size=data.mask.shape) * data.mask[..., None])
    emission = {"weights": params["emission.weights"]}
    found = emission
    for _ in range(3):
        found = curves.m_step(found, data, weights)
    law = curves.priors(13)["weights"]
    slope = jax.grad(lambda new: curves.expected_log_likelihood(new, data, weights) + law.log_prob(new["weights"]).sum())(found)["weights"]
    # Beside the spikes that it is the difference of; a step that gains less than the rounding of the value is not taken.
    np.testing.assert_allclose(slope / data.values.sum(), 0, atol=1e-8)
    first = jnp.asarray(np.where(model.langevin.inside, rng.uniform(size=13), 0.0))
    best = {"weights": params["initial.weights"]}
    for _ in range(3):
        best = model.initial.m_step(best, first)
    prior = model.initial.priors(13)["weights"]

    def value(new):
        return jnp.sum(jnp.where(first > 0, first * jnp.where(first > 0, model.initial.log_probs(new, 13), 0), 0)) + prior.log_prob(new["weights"])

    np.testing.assert_allclose(jax.grad(value)(best)["weights"], 0, atol=1e-6)
    assert float(model.initial.log_probs(best, 13)[0]) == -np.inf
