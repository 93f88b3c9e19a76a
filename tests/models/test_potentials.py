"""Laws of all potentials, over one table; and what single ones promise beyond them."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import json
from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax

import latentgate as lg
from latentgate.kernels.langevin import flow
from latentgate.models.distributions import Wishart
from latentgate.models.potentials.curvatures import largest_eigenvalue, typical_curvature, weak_wishart
from latentgate.models.specification import from_specification, to_specification
from latentgate.models.unconstrained import constrain, unconstrain

pytestmark = pytest.mark.usefixtures("float64")

POINTS, RADIUS, FAR = 6, 1.5, 1e4


@dataclasses.dataclass(frozen=True)
class Row:
    """A potential of d latents, and its energy [n] by a plain formula of parameters, positions [n, d] and rows."""

    potential: lg.potentials.Potential
    latents: int
    oracle: Callable[[dict, np.ndarray, dict], np.ndarray]
    confining: bool = True
    convex: bool = False


def pulled(p, z, boundary):
    """Energy of the springs between all pairs of latents, each counted once."""
    total, size = 0.0, z.shape[1]
    for i in range(size):
        for j in range(i):
            distance = min(i - j, size - i + j) if boundary == "ring" else i - j
            if distance <= len(p["coupling"]):
                total = total + 0.5 * p["coupling"][distance - 1] * (z[:, i] - z[:, j]) ** 2
    return total


def springs(boundary):
    return lambda p, z, rows: 0.5 * (p["stiffness"] * z**2).sum(1) + pulled(p, z, boundary)


def well(p, z, rows):
    offset = z - p["centre"]
    return 0.5 * np.array([one @ p["stiffness"] @ one for one in offset])


def diagonal_well(p, z, rows):
    return 0.5 * (p["stiffness"] * z**2).sum(1)


def quartic(p, z, rows):
    return (p["quartic"] * z**4).sum(1) / 4 - (p["splitting"] * z**2).sum(1) / 2


def soft(x):
    return np.log(1.0 + np.exp(x))


def one_layer(p, z, rows):
    return soft(z @ p["weights"].T + p["bias"]) @ p["heights"] + 0.5 * p["confinement"] * (z**2).sum(1)


def two_layers(p, z, rows):
    first = soft(z @ p["weights"].T + p["bias"])
    second = soft(first @ p["mixing"].T + z @ p["skip"].T + p["skip_bias"])
    return second @ p["heights"] + 0.5 * p["confinement"] * (z**2).sum(1)


def network(p, z, rows):
    units = np.log(np.cosh(z @ p["weights"].T + p["bias"]))
    return units @ p["heights"] + 0.5 * p["confinement"] * (z**2).sum(1)


def polynomial(p, z, rows):
    x, y = z.T
    monomials = np.stack([x, y, x**2, x * y, y**2, x**3, x**2 * y, x * y**2, y**3], -1)
    return monomials @ p["coefficients"] + (p["confinement"] * z**4).sum(1)


def spiral_energy(z, rows):
    return 0.5 * jnp.sum(z**2, -1) * rows["drive"][..., 0] ** 2


def known(p, z, rows):
    return 0.5 * (z**2).sum(1) * rows["drive"][:, 0] ** 2


def member(p, number):
    return {name[2:]: value for name, value in p.items() if name.startswith(f"{number}.")}


def by_inputs(p, z, rows):
    scores = rows["inputs"] @ p["gate.weights"].T + p["gate.bias"]
    return (expit(scores) * np.stack([known({}, z, rows), network(member(p, 1), z, rows)], 1)).sum(1)


def by_latents(p, z, rows):
    weights = softmax(z @ p["gate.weights"].T + p["gate.bias"], axis=1)
    return (weights * np.stack([diagonal_well(member(p, 0), z - p["0.centre"], rows), network(member(p, 1), z, rows)], 1)).sum(1)


def switched(p, z, rows):
    return np.where(rows["_states"][:, 0] == 1, diagonal_well(member(p, 0), z, rows), 0.0)


P, gates = lg.potentials, lg.gates
PHYSICS = P.KnownForce(lambda z, rows: -z * rows["drive"] ** 2, energy=spiral_energy, input_sets={"drive": 1})
TABLE = {
    "ring": Row(P.CoupledOscillators(), 5, springs("ring"), convex=True),
    "line": Row(P.CoupledOscillators(2, "line", shared_stiffness=True), 4, springs("line"), convex=True),
    "uncoupled": Row(P.CoupledOscillators(0), 3, diagonal_well, convex=True),
    "quadratic": Row(P.Quadratic(), 3, well, convex=True),
    "wells": Row(P.QuarticWells(1), 3, lambda p, z, rows: quartic(p, z, rows) + pulled(p, z, "ring")),
    "convex": Row(P.ConvexNetwork(5), 3, one_layer, convex=True),
    "convex, two layers": Row(P.ConvexNetwork(4, 2), 3, two_layers, convex=True),
    "network": Row(P.Network(6), 3, network),
    "polynomial": Row(P.Polynomial(), 2, polynomial),
    "none": Row(P.NoForce(), 2, lambda p, z, rows: np.zeros(len(z)), confining=False, convex=True),
    "known": Row(PHYSICS, 2, known, convex=True),
    "gated by inputs": Row(P.Gated(gates.Sigmoid(normalised=False, num_inputs=2), (PHYSICS, P.Network(3))), 2, by_inputs),
    "gated by latents": Row(P.Gated(gates.Softmax(), (P.Quadratic(diagonal=True), P.Network(3)), inputs="latents"), 2, by_latents),
    "switching": Row(P.Switching((P.Quadratic(diagonal=True, centre=False), P.NoForce())), 2, switched, confining=False, convex=True),
}


class Bench:
    """A potential at a start and at a draw, and what all laws ask of it, compiled once."""

    def __init__(self, row: Row):
        self.row, self.potential = row, row.potential
        self.priors: dict[str, Any] = row.potential.priors(row.latents)
        rng = np.random.default_rng(4)
        directions = rng.normal(size=(POINTS, row.latents))
        self.points = RADIUS * directions / np.linalg.norm(directions, axis=1, keepdims=True) * rng.uniform(0.2, 1.0, size=(POINTS, 1))
        self.rows = {
            "inputs": rng.normal(size=(POINTS, 2)),
            "drive": rng.uniform(0.5, 1.5, size=(POINTS, 1)),
            "_states": np.eye(2)[rng.integers(2, size=POINTS)],
        }
        lengths = (7, 4)
        inputs = {name: [rng.normal(size=(length, columns)) for length in lengths] for name, columns in (("inputs", 2), ("drive", 1))}
        self.data = lg.Sequences.from_arrays([np.zeros((length, 1)) for length in lengths], inputs=inputs)

    @cached_property
    def answers(self) -> dict:
        def ask(keys, free):
            starts = jax.vmap(lambda key: self.potential.initialize(key, self.data, self.row.latents))(keys)
            params = constrain(self.priors, free)
            # Near and far at once, [2, point, latent].
            points = jnp.stack([self.points, FAR * self.points])
            rows = {name: jnp.stack([value, value]) for name, value in self.rows.items()}

            def slope(points):
                energy, backward = jax.vjp(lambda points: self.potential.energy(params, points, rows), points)
                return energy, backward(jnp.ones_like(energy))[0]

            # Forces on points are their own, so that one direction of all points gives a column of every Hessian.
            force, turn = jax.linearize(lambda points: self.potential.force(params, points, rows), points)
            hessians = -jax.vmap(lambda axis: turn(jnp.broadcast_to(axis, points.shape))[0], out_axes=-1)(jnp.eye(self.row.latents))
            energy, gradient = slope(points)
            return {
                "starts": starts,
                "params": params,
                "supported": [jnp.all(prior.support(starts[name])) for name, prior in self.priors.items()],
                "densities": [jnp.asarray(prior.log_prob(starts[name])) for name, prior in self.priors.items()],
                "energy": energy,
                "force": force,
                "gradient": gradient,
                "hessians": hessians,
                "radial": jnp.sum(points * force, -1),
                # At the draw and at the starts.
                "bounds": jax.vmap(lambda _, one: self.potential.largest_curvature(one, RADIUS))(
                    jnp.arange(3), {name: jnp.concatenate([params[name][None], starts[name]]) for name in params}
                ),
            }

        keys = jax.random.split(jax.random.key(2), 2)
        shapes = jax.eval_shape(lambda key: unconstrain(self.priors, self.potential.initialize(key, self.data, self.row.latents)), keys[0])
        rng = np.random.default_rng(8)
        return jax.tree.map(np.asarray, jax.jit(ask)(keys, {name: 0.7 * rng.normal(size=shape.shape) for name, shape in shapes.items()}))


@pytest.fixture(scope="module")
def benches(float64):
    return {name: Bench(row) for name, row in TABLE.items()}


@pytest.fixture(params=TABLE)
def bench(request, benches):
    return benches[request.param]


def test_energy_is_that_of_the_plain_formula(bench):
    assert_allclose(bench.answers["energy"][0], bench.row.oracle(bench.answers["params"], bench.points, bench.rows), rtol=1e-12, atol=1e-13)


def test_force_is_minus_the_gradient_of_the_energy(bench):
    found = bench.answers
    assert_allclose(found["force"][0], -found["gradient"][0], rtol=0, atol=1e-10)
    assert_allclose(found["force"][1], -found["gradient"][1], rtol=1e-10, atol=1e-10)


def test_force_is_conservative_and_its_slope_within_the_bounds(bench):
    hessians = bench.answers["hessians"]
    assert_allclose(hessians, np.swapaxes(hessians, -1, -2), rtol=0, atol=1e-10)
    curvatures = np.linalg.eigvalsh(hessians)
    assert np.abs(curvatures).max() <= bench.answers["bounds"][0] * (1 + 1e-12)
    if bench.row.convex:
        assert curvatures.min() >= -1e-12


@pytest.mark.parametrize("bench", [name for name, row in TABLE.items() if row.confining], indirect=True)
def test_energies_confine_where_they_promise_to(bench):
    near, far = bench.answers["energy"]
    assert (bench.answers["radial"][1] < 0).all()
    assert (far > near).all()


def test_starts_are_where_priors_are_and_stable_and_differ(bench):
    found, dims = bench.answers, bench.potential.dims()
    assert set(bench.priors) == set(dims) == set(found["starts"])
    for name, prior in bench.priors.items():
        one, other = found["starts"][name]
        assert one.shape == prior.shape()
        assert len(dims[name]) == len(prior.shape()), name
        if np.prod(prior.shape()) > 1:
            assert (one != other).any(), name
    assert all(supported.all() for supported in found["supported"])
    assert np.isfinite([density.sum() for density in found["densities"]]).all()
    # A step of one bin is stable below a curvature of four.
    bounds = found["bounds"][1:]
    assert (bounds[np.isfinite(bounds)] < 4.0).all()


def test_files_hold_potentials(bench):
    if PHYSICS in (bench.potential, *getattr(bench.potential, "potentials", ())):
        with pytest.raises(TypeError, match="cannot save"):
            to_specification(bench.potential)
        return
    written = json.dumps(to_specification(bench.potential))
    read = from_specification(json.loads(written))
    assert type(read) is type(bench.potential)
    assert json.dumps(to_specification(read)) == written
    assert [prior.shape() for prior in read.priors(bench.row.latents).values()] == [prior.shape() for prior in bench.priors.values()]


@pytest.mark.parametrize(("size", "neighbours"), [(7, 3), (6, 3), (4, 1)])
def test_ring_spectrum_is_the_transform_of_the_kernel(size, neighbours):
    ring = P.CoupledOscillators(neighbours, shared_stiffness=True)
    coupling = np.random.default_rng(size).lognormal(size=neighbours)
    params = {"stiffness": jnp.asarray(0.3), "coupling": jnp.asarray(coupling)}
    # Springs to the left and to the right; the latent opposite is reached by one spring only.
    pairs = np.where(2 * np.arange(1, neighbours + 1) == size, 1, 2)
    waves = 2 * np.pi * np.arange(size)[:, None] * np.arange(1, neighbours + 1) / size
    expected = 0.3 + ((1 - np.cos(waves)) * pairs) @ coupling
    matrix = np.asarray(ring.matrix(params, size))
    assert_allclose(ring.spectrum(params, size), expected, rtol=1e-12)
    assert_allclose(np.sort(expected), np.linalg.eigvalsh(matrix), rtol=1e-12)
    assert_allclose(np.roll(matrix, (1, 1), (0, 1)), matrix, rtol=1e-15)
    assert expected.max() <= ring.largest_curvature(params) <= 0.3 + 4 * coupling.sum() * (1 + 1e-12)


def test_spectra_of_lines_ascend_to_the_largest_eigenvalue():
    line = P.CoupledOscillators(1, "line")
    params = {"stiffness": jnp.array([0.1, 0.4, 0.2]), "coupling": jnp.array([0.5])}
    chain = np.array([[0.6, -0.5, 0.0], [-0.5, 1.4, -0.5], [0.0, -0.5, 0.7]])
    assert_allclose(line.spectrum(params, 3), np.linalg.eigvalsh(chain), rtol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 12])
def test_largest_eigenvalue_is_bounded_closely(size):
    rng = np.random.default_rng(size)
    half = rng.normal(size=(size, size))
    for matrix in (half @ half.T, 1e-9 * half @ half.T, 1e9 * np.eye(size), np.diag(np.arange(size) == 0).astype(float), np.zeros((size, size))):
        exact, found = np.linalg.eigvalsh(matrix)[-1], float(largest_eigenvalue(jnp.asarray(matrix)))
        assert exact * (1 - 1e-12) <= found <= exact * size ** (1 / 64) * (1 + 1e-12)


def test_stiffness_law_is_wishart_with_its_mode_at_the_typical_curvature():
    rng = np.random.default_rng(1)
    half = rng.normal(size=(3, 3))
    value, scale = half @ half.T + np.eye(3), np.array([[1.0, 0.2, 0.0], [0.2, 2.0, 0.1], [0.0, 0.1, 0.5]])
    law = Wishart(4.5, scale_tril=jnp.linalg.cholesky(jnp.asarray(scale)))
    assert_allclose(law.log_prob(jnp.asarray(value)), scipy.stats.wishart(4.5, scale).logpdf(value), rtol=1e-12)
    slope = jax.grad(lambda matrix: weak_wishart(3, 0.1).log_prob(matrix))(0.1 * jnp.eye(3))
    assert_allclose(slope, 0.0, atol=1e-10)
    given = P.Quadratic(stiffness_prior=dist.Wishart(4.5, scale_matrix=jnp.asarray(scale)))
    read = from_specification(json.loads(json.dumps(to_specification(given))))
    for potential in (given, read):
        prior: Any = potential.priors(3)["stiffness"]
        assert_allclose(prior.log_prob(jnp.asarray(value)), law.log_prob(jnp.asarray(value)), rtol=1e-6)
        assert prior.support is Wishart.support
    flat: Any = P.Quadratic(stiffness_prior="flat").priors(3)["stiffness"]
    assert (flat.shape(), float(flat.log_prob(jnp.asarray(value)))) == ((3, 3), 0.0)


def test_periods_set_the_scale():
    for make, names in ((P.CoupledOscillators, ("stiffness", "coupling")), (P.Network, ("heights", "confinement"))):
        slow, fast = jax.jit(lambda key, make=make: [make(period=period).initialize(key, TABLE_DATA, 5) for period in (40.0, 20.0)])(jax.random.key(0))
        for name in names:
            assert_allclose(fast[name], 4.0 * slow[name], rtol=1e-10)
    # Periods of starts go from 2.5 times the typical one to a 2.5th of it.
    periods = np.sort(2 * np.pi / np.sqrt(jax.jit(lambda key: P.CoupledOscillators(0).initialize(key, TABLE_DATA, 40)["stiffness"])(jax.random.key(0))))
    edges = 20.0 * 2.5 ** np.linspace(-1.0, 1.0, 41)
    assert ((edges[:-1] <= periods) & (periods <= edges[1:])).all()
    assert typical_curvature(2 * np.pi) == pytest.approx(1.0)


def test_oscillators_swing_with_the_periods_of_their_spectrum():
    ring = P.CoupledOscillators(2, shared_stiffness=True)
    params = {"stiffness": jnp.asarray(0.02), "coupling": jnp.array([0.01, 0.005])}
    wave = jnp.cos(2 * jnp.pi * 2 * jnp.arange(6) / 6)
    still, steps, step = jnp.zeros(6), 400, 0.05
    path, _ = flow(lambda z, _: ring.force(params, z, {}), wave, still, jnp.zeros((steps, 6)), step=step, friction=jnp.zeros(6), temperature=jnp.zeros(6))
    angle = np.sqrt(ring.spectrum(params, 6)[2]) * step * np.arange(steps + 1)
    # The splitting is of second order: (ω Δ)² / 24 of the angle.
    assert_allclose(path, np.cos(angle)[:, None] * np.asarray(wave), atol=1e-4)


def test_gates_that_leave_potentials_out_have_gradients():
    mixture = P.Gated(gates.TopK(1, num_inputs=2), (P.Quadratic(diagonal=True, centre=False), P.NoForce()))
    params = {"gate.weights": jnp.array([[1.0, 0.0], [-1.0, 0.0]]), "gate.bias": jnp.zeros(2), "0.stiffness": jnp.array([2.0, 3.0])}
    rows = {"inputs": jnp.array([[3.0, 0.0], [-3.0, 0.0]])}
    points = jnp.ones((2, 2))

    @jax.jit
    def ask(params):
        force, backward = jax.vjp(lambda params: mixture.force(params, points, rows), params)
        return force, backward(jnp.ones_like(force))[0]

    force, gradient = ask(params)
    assert_array_equal(force, [[-2.0, -3.0], [0.0, 0.0]])
    assert_array_equal(gradient["0.stiffness"], [-1.0, -1.0])
    assert_array_equal(gradient["gate.weights"], 0.0)


def test_mixtures_name_the_parameters_of_their_parts():
    assert P.Gated(gates.Quadratic(inputs="latents"), (P.Quadratic(), P.Network(3))).dims() == {
        "gate.matrices": ("potential", "latent", "latent_other"),
        "gate.weights": ("potential", "latent"),
        "gate.bias": ("potential",),
        "0.stiffness": ("latent", "latent_other"),
        "0.centre": ("latent",),
        "1.weights": ("1_unit", "latent"),
        "1.bias": ("1_unit",),
        "1.heights": ("1_unit",),
        "1.confinement": (),
    }
    by_inputs = P.Gated(gates.Softmax("cue"), (P.NoForce(), PHYSICS))
    assert by_inputs.dims()["gate.weights"] == ("potential", "gate_input")
    cue = lg.Sequences.from_arrays([np.zeros((4, 1))], inputs={"cue": [np.ones((4, 3))], "drive": [np.ones((4, 1))]})
    sized = by_inputs.suited_to(cue)
    assert sized.input_sets == {"cue": 3, "drive": 1}
    sized.check(cue)
    with pytest.raises(ValueError, match=r"potentials\[1\]: inputs: found the sets 'cue'"):
        sized.check(lg.Sequences.from_arrays([np.zeros((4, 1))], inputs={"cue": [np.ones((4, 3))]}))
    assert P.Gated(gates.Softmax(), (P.NoForce(), P.Switching((P.NoForce(),) * 3))).num_states == 3


def test_a_fixed_confinement_is_no_parameter():
    free, fixed = P.Network(2), P.Network(2, confinement=0.3)
    params = {"weights": jnp.ones((2, 2)), "bias": jnp.zeros(2), "heights": jnp.array([1.0, -2.0]), "confinement": jnp.asarray(0.3)}
    shorter = {name: params[name] for name in fixed.dims()}
    assert set(params) - set(shorter) == {"confinement"} == set(free.priors(2)) - set(fixed.priors(2))
    points = jnp.ones((1, 2))
    assert_array_equal(fixed.energy(shorter, points, {}), free.energy(params, points, {}))
    assert_array_equal(fixed.force(shorter, points, {}), free.force(params, points, {}))
    assert fixed.largest_curvature(shorter) == free.largest_curvature(params)


def test_bounds_without_a_radius_are_infinite_where_curvature_grows():
    params = {"coefficients": jnp.ones(3), "confinement": jnp.ones(1)}
    assert P.Polynomial(4).largest_curvature(params) == np.inf
    # 12 + 2 + 6 at the unit circle, of z⁴ + z³ + z² + z, which is its second derivative at 1.
    assert P.Polynomial(4).largest_curvature(params, 1.0) == 20.0
    assert P.Polynomial(2).largest_curvature({"coefficients": jnp.ones(1), "confinement": jnp.array([3.0])}) == 6.0
    assert P.QuarticWells().largest_curvature({"quartic": jnp.ones(2), "splitting": jnp.ones(2)}) == np.inf
    assert P.NoForce().largest_curvature({}) == 0.0
    assert PHYSICS.largest_curvature({}) == np.inf


def test_bounds_of_mixtures_are_those_of_their_members():
    wells = (P.Quadratic(diagonal=True, centre=False),) * 2
    own = {"0.stiffness": jnp.ones(2), "1.stiffness": 3 * jnp.ones(2)}
    found = [
        float(mixture.largest_curvature(own))
        for mixture in (
            P.Switching(wells),
            P.Gated(gates.Softmax(), wells),
            P.Gated(gates.Sigmoid(normalised=False), wells),
            P.Gated(gates.Softmax("latents"), wells),
        )
    ]
    assert found == [3.0, 3.0, 4.0, np.inf]


def test_forces_far_out_are_finite_in_single_precision(benches):
    with jax.enable_x64(False):
        bench = benches["network"]
        params = {key: jnp.asarray(value, jnp.float32) for key, value in bench.answers["params"].items()}
        points = 1e4 * bench.points
        energy, force = jax.jit(lambda params, points: (bench.potential.energy(params, points, {}), bench.potential.force(params, points, {})))(params, points)
        assert energy.dtype == force.dtype == jnp.float32
        # log cosh x is |x| - log 2 there, and cosh x infinite.
        drive = points @ bench.answers["params"]["weights"].T + bench.answers["params"]["bias"]
        own = 0.5 * bench.answers["params"]["confinement"] * (points**2).sum(1)
        assert_allclose(energy, (np.abs(drive) - np.log(2.0)) @ bench.answers["params"]["heights"] + own, rtol=1e-5)
        assert np.isfinite(force).all()


TABLE_DATA = lg.Sequences.from_arrays([np.zeros((5, 1))], inputs={"inputs": [np.arange(10.0).reshape(5, 2)]})
ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "neighbours": (lambda: P.CoupledOscillators(-1), "neighbours: found -1, expected an integer of at least 0"),
    "too far": (lambda: P.CoupledOscillators(2).priors(3), "neighbours: found 2, expected at most 1 for 3 latents on a ring; pass neighbours=1"),
    "too far on a line": (lambda: P.QuarticWells(3, "line").check_latents(3), "neighbours: found 3, expected at most 2 for 3 latents on a line"),
    "boundary": (lambda: P.CoupledOscillators(boundary="torus"), "boundary: found 'torus', expected one of 'ring', 'line'"),  # pyright: ignore[reportArgumentType]
    "period": (lambda: P.Network(period=0.0), "period: found 0.0, expected a positive number"),
    "idle coupling": (lambda: P.CoupledOscillators(0, coupling_prior=dist.HalfNormal(1.0)), "coupling_prior: found HalfNormal, expected None"),
    "matrix prior": (lambda: P.Quadratic(stiffness_prior=dist.Gamma(1.0, 1.0)), r"stiffness_prior: found event shape \(\), expected a law of positive"),
    "matrix size": (lambda: P.Quadratic(stiffness_prior=weak_wishart(2, 1.0)).priors(3), "prior of stiffness: found event shape"),
    "idle centre": (lambda: P.Quadratic(centre=False, centre_prior=dist.Normal(0.0, 1.0)), "centre_prior: found Normal, expected None"),
    "prior": (lambda: P.Network(height_prior=3.0), "height_prior: found 3.0, expected a distribution of numpyro"),  # pyright: ignore[reportArgumentType]
    "layers": (lambda: P.ConvexNetwork(num_layers=3), "num_layers: found 3, expected 1 or 2"),
    "idle mixing": (lambda: P.ConvexNetwork(mixing_prior=dist.HalfNormal(1.0)), "mixing_prior: found one, expected None"),
    "fixed confinement": (lambda: P.Network(confinement=1.0, confinement_prior=dist.HalfNormal(1.0)), "confinement_prior: found one, expected None"),
    "confinement": (lambda: P.Network(confinement=-1.0), "confinement: found -1.0, expected a positive number"),
    "degree": (lambda: P.Polynomial(3), "degree: found 3, expected an even number"),
    "many latents": (lambda: P.Polynomial().priors(3), "latent_dim: found 3, expected 1 or 2 for Polynomial; use lg.potentials.Network"),
    "function": (lambda: P.KnownForce(3), "function: found 3, expected a function"),  # pyright: ignore[reportArgumentType]
    "energy": (lambda: P.KnownForce(lambda z, rows: z).energy({}, jnp.ones(2), {}), "energy: found none for KnownForce, expected a function"),
    "shape": (lambda: P.KnownForce(lambda z, rows: z[..., 0]).force({}, jnp.ones(2), {}), r"function: found a result of shape \(\) for positions of shape"),
    "gate": (lambda: P.Gated(P.NoForce(), (P.NoForce(),)), "gate: found NoForce.*expected one of lg.gates"),  # pyright: ignore[reportArgumentType]
    "no potentials": (lambda: P.Gated(gates.Softmax(), ()), r"potentials: found \(\), expected at least one"),
    "no potential": (lambda: P.Switching((P.NoForce(), "spring")), r"potentials\[1\]: found 'spring', expected one of lg.potentials"),  # pyright: ignore[reportArgumentType]
    "number": (lambda: P.Gated(gates.Fixed([0.5, 0.5]), (P.NoForce(),)), "probs: found 2 numbers, expected one for each of 1 experts"),
    "jumps": (lambda: P.Gated(gates.TopK(1, "latents"), (P.NoForce(),) * 2), "gate: found TopK, expected one with smooth weights"),
    "no energy": (
        lambda: P.Gated(gates.Softmax("latents"), (P.NoForce(), P.KnownForce(lambda z, rows: z))),
        r"potentials\[1\]: found a force without an energy",
    ),
    "gate size": (lambda: P.Gated(gates.Softmax("latents", num_inputs=3), (P.NoForce(),)).check_latents(2), "gate: found num_inputs=3, expected 2"),
    "member": (lambda: P.Switching((P.NoForce(), P.Polynomial())).check_latents(3), r"potentials\[1\]: latent_dim: found 3"),
    "two levels": (lambda: P.Switching((P.NoForce(), P.Switching((P.NoForce(),)))), r"potentials\[1\]: found switching potentials among those"),
    "two chains": (
        lambda: P.Gated(gates.Softmax(), (P.Switching((P.NoForce(),)), P.Switching((P.NoForce(),) * 2))),
        "potentials: found switching potentials of 1 and 2 states",
    ),
    "no states": (lambda: P.Switching((P.NoForce(),)).force({}, jnp.ones(2), {}), "rows: found none, expected '_states'"),
    "states": (lambda: P.Switching((P.NoForce(),)).force({}, jnp.ones(2), {"_states": jnp.ones(3)}), "found 3 states, expected 1"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_say_what_to_do(case):
    call, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_an_input_set_named_as_the_latents_is_refused():
    mixture = P.Gated(gates.Softmax("latents"), (P.NoForce(),) * 2)
    with pytest.raises(ValueError, match="found an input set 'latents'"):
        mixture.check(lg.Sequences.from_arrays([np.zeros((4, 1))], inputs={"latents": [np.ones((4, 2))]}))


@pytest.mark.parametrize("module", ["convex", "gated", "known_force", "network", "no_force", "oscillators", "polynomial", "quadratic", "quartic", "switching"])
def test_examples_run(module, float32):
    assert doctest.testmod(importlib.import_module(f"latentgate.models.potentials.{module}"), raise_on_error=True).attempted > 0
