"""Gaussian chains to test on, what the oracle says of them, and the kernels compiled once for all tests that share a shape.

A case is one sequence, made from a seed. Cases of one shape are stacked into a batch, so that easy and awkward chains run
through the same compiled program; `per_step` and `with_channels` bring cases to a common shape without changing the answer.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from latentgate.kernels import GaussianChain, Information, Observations
from tests.kernels.chains import numpy_tree, quick_jit
from tests.oracles import gaussian_chain as oracle

FORMS = ("square_root", "information")
BACKENDS = ("sequential", "associative")
WAYS = (("auto", "auto"), *((form, backend) for form in FORMS for backend in BACKENDS))
every_way_names = ["-".join(way) for way in WAYS]

DYNAMICS = ("initial_mean", "initial_covariance", "matrix", "bias", "covariance")
# Dimensions of each array of one sequence when it is the same at every step.
CONSTANT_DIMENSIONS = {
    "initial_mean": 1, "initial_covariance": 2, "matrix": 2, "bias": 1, "covariance": 2,
    "emission_matrix": 2, "emission_bias": 1, "emission_covariance": 2, "emission_variances": 1, "precision": 2,
}  # fmt: skip
PER_STEP = ("values", "observed", "shift", "log_constant")


@dataclasses.dataclass(frozen=True)
class Case:
    """One sequence.

    Attributes:
        name: what it is.
        arguments: the dynamics, and `values`, `emission_matrix`, `emission_bias`, `emission_covariance` (or
            `emission_variances`), `observed`, or `precision`, `shift`, `log_constant`.
        length: steps that are not padding.
        digits: decimal digits that the oracle needs; None: extended precision is enough.
        condition: largest variance in front of an observation times its precision, over directions: what a form that
            adds precisions, or subtracts covariances, multiplies rounding errors by.
        noise_free: some observed channel has no noise, so that there is no information form.
    """

    name: str
    arguments: Mapping[str, np.ndarray]
    length: int
    digits: int | None = None
    condition: float = 1e4
    noise_free: bool = False

    @property
    def num_steps(self) -> int:
        return len(self.arguments["values" if "values" in self.arguments else "shift"])

    def changed(self, **changes: Any) -> Case:
        """With other arguments; None takes one out."""
        arguments = {name: value for name, value in {**self.arguments, **changes}.items() if value is not None}
        return dataclasses.replace(self, arguments=arguments)

    def but(self, **changes: Any) -> Case:
        """With other attributes."""
        return dataclasses.replace(self, **changes)

    @functools.cached_property
    def truth(self) -> oracle.Answer:
        """What the joint normal says."""
        return oracle_of(self.arguments)(**oracle_arguments(self.arguments, self.length), digits=self.digits)


def oracle_of(arguments: Mapping[str, np.ndarray]) -> Callable[..., oracle.Answer]:
    return oracle.observed_chain if "values" in arguments else oracle.informed_chain


def oracle_arguments(arguments: Mapping[str, np.ndarray], length: int | None) -> dict[str, Any]:
    """The arguments as the oracle names them."""
    found = {"bias": None, "length": length, **arguments}
    if "values" in arguments:
        found.setdefault("emission_bias", None)
        if "emission_variances" in found:
            variances = found.pop("emission_variances")
            found["emission_covariance"] = variances[..., None] * np.eye(variances.shape[-1])
    return found


def symmetric(matrix: np.ndarray) -> np.ndarray:
    return (matrix + np.swapaxes(matrix, -1, -2)) / 2


def random_covariance(rng: np.random.Generator, size: int, *leading: int, scale: float = 1.0, rank: int | None = None) -> np.ndarray:
    """Wishart of the given rank (full: with some degrees of freedom to spare)."""
    factor = rng.normal(size=(*leading, size, size + 2 if rank is None else rank))
    return symmetric(scale * factor @ np.swapaxes(factor, -1, -2) / factor.shape[-1])


def contraction(rng: np.random.Generator, size: int, *leading: int, radius: float = 0.9) -> np.ndarray:
    """Matrices of spectral norm at most `radius`, so that nothing explodes over time."""
    matrix = rng.normal(size=(*leading, size, size))
    return radius * matrix / np.linalg.norm(matrix, 2, axis=(-2, -1), keepdims=True)


def square_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0))


def simulated(rng: np.random.Generator, arguments: Mapping[str, np.ndarray], num_steps: int) -> np.ndarray:
    """Observations [T, N] drawn from the chain itself."""

    def at(name: str, t: int) -> np.ndarray:
        value = arguments[name]
        return oracle.at(value, t, CONSTANT_DIMENSIONS[name])

    latent = arguments["initial_mean"] + square_root(arguments["initial_covariance"]) @ rng.normal(size=len(arguments["initial_mean"]))
    rows = []
    for t in range(num_steps):
        if t:
            noise = square_root(at("covariance", t - 1)) @ rng.normal(size=len(latent))
            latent = at("matrix", t - 1) @ latent + (at("bias", t - 1) if "bias" in arguments else 0) + noise
        mean = at("emission_matrix", t) @ latent + (at("emission_bias", t) if "emission_bias" in arguments else 0)
        rows.append(mean + square_root(at("emission_covariance", t)) @ rng.normal(size=len(mean)))
    return np.array(rows)


def observed_case(name: str, rng: np.random.Generator, num_steps: int, arguments: Mapping[str, Any], **attributes: Any) -> Case:
    """A case whose values are drawn from it; those that are hidden become garbage."""
    arrays = {key: np.asarray(value, float) for key, value in arguments.items() if key != "observed"}
    values = simulated(rng, arrays, num_steps)
    if "observed" in arguments:
        arrays["observed"] = np.asarray(arguments["observed"], bool)
        values = np.where(arrays["observed"], values, 1e3 * rng.normal(size=values.shape))
    return Case(name, {**arrays, "values": values}, num_steps, **attributes)


# Ordinary chains.


def random_constant(seed: int, num_steps: int, size: int, channels: int) -> Case:
    rng = np.random.default_rng(seed)
    return observed_case("random constant", rng, num_steps, {
        "initial_mean": rng.normal(size=size), "initial_covariance": random_covariance(rng, size),
        "matrix": contraction(rng, size), "bias": rng.normal(size=size), "covariance": random_covariance(rng, size, scale=0.5),
        "emission_matrix": rng.normal(size=(channels, size)), "emission_bias": rng.normal(size=channels),
        "emission_covariance": random_covariance(rng, channels, scale=0.5),
    })  # fmt: skip


def random_per_step(seed: int, num_steps: int, size: int, channels: int) -> Case:
    rng = np.random.default_rng(seed)
    return observed_case("random time-varying", rng, num_steps, {
        "initial_mean": rng.normal(size=size), "initial_covariance": random_covariance(rng, size),
        "matrix": contraction(rng, size, num_steps - 1, radius=1.2), "bias": rng.normal(size=(num_steps - 1, size)),
        "covariance": random_covariance(rng, size, num_steps - 1, scale=0.5),
        "emission_matrix": rng.normal(size=(num_steps, channels, size)), "emission_bias": rng.normal(size=(num_steps, channels)),
        "emission_covariance": random_covariance(rng, channels, num_steps, scale=0.5),
    })  # fmt: skip


def holes(seed: int, num_steps: int, channels: int) -> np.ndarray:
    """Which entries are observed: a third not, and two whole rows, the first among them."""
    rng = np.random.default_rng(seed)
    observed = rng.random((num_steps, channels)) > 1 / 3
    observed[[0, num_steps // 2]] = False
    return observed


def with_holes(case: Case, seed: int) -> Case:
    """Garbage wherever something is missing."""
    observed = holes(seed, *case.arguments["values"].shape)
    garbage = 1e3 * np.random.default_rng(seed + 1).normal(size=observed.shape)
    values = np.where(observed, case.arguments["values"], garbage)
    return case.changed(values=values, observed=observed).but(name=f"{case.name}, missing entries")


def irregular_gaps_with_inputs(seed: int, num_steps: int, channels: int) -> Case:
    """A damped oscillator at irregular times, two of them coinciding (A = I, Q = 0), driven by inputs, entries missing."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(size=num_steps - 1)
    gaps[3] = 0.0
    damping, frequency = 0.4, 1.7
    cosine, sine, decay = np.cos(frequency * gaps), np.sin(frequency * gaps), np.exp(-damping * gaps)
    matrix = decay[:, None, None] * np.moveaxis(np.array([[cosine, -sine], [sine, cosine]]), -1, 0)
    inputs = rng.normal(size=(num_steps, 3))
    return observed_case("irregular gaps, inputs, missing entries", rng, num_steps, {
        "initial_mean": np.zeros(2), "initial_covariance": np.eye(2),
        "matrix": matrix, "bias": inputs[1:] @ rng.normal(size=(3, 2)), "covariance": (-np.expm1(-2 * damping * gaps))[:, None, None] * np.eye(2),
        "emission_matrix": rng.normal(size=(channels, 2)), "emission_bias": inputs @ rng.normal(size=(3, channels)),
        "emission_covariance": random_covariance(rng, channels, scale=0.2), "observed": holes(seed, num_steps, channels),
    })  # fmt: skip


def matern(gaps: np.ndarray, length_scale: float, scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matérn-3/2 as a linear SDE, exactly over each gap: matrices, covariances, stationary covariance."""
    rate = np.sqrt(3) / length_scale
    stationary = scale**2 * np.diag([1.0, rate**2])
    x = rate * gaps
    matrices = np.exp(-x)[:, None, None] * np.moveaxis(np.array([[1 + x, gaps], [-rate * x, 1 - x]]), -1, 0)
    # The closed form, without the difference of two nearly equal matrices that short gaps would make of P - A P A'.
    decay = np.exp(-2 * x)
    first = -np.expm1(-2 * x) - decay * (2 * x + 2 * x**2)
    second = rate**2 * (-np.expm1(-2 * x) + decay * (2 * x - 2 * x**2))
    cross = 2 * rate * x**2 * decay
    covariances = scale**2 * np.moveaxis(np.array([[first, cross], [cross, second]]), -1, 0)
    return matrices, covariances, stationary


def matern_at_irregular_times(seed: int, num_steps: int) -> Case:
    rng = np.random.default_rng(seed)
    gaps = np.geomspace(0.02, 3.0, num_steps - 1)[rng.permutation(num_steps - 1)]
    matrices, covariances, stationary = matern(gaps, length_scale=1.3, scale=0.8)
    return observed_case("Matérn-3/2 at irregular times", rng, num_steps, {
        "initial_mean": np.zeros(2), "initial_covariance": stationary, "matrix": matrices, "bias": np.zeros(2), "covariance": covariances,
        "emission_matrix": np.array([[1.0, 0.0]]), "emission_bias": np.zeros(1), "emission_covariance": np.array([[0.04]]),
    })  # fmt: skip


def tracking(seed: int, num_steps: int) -> Case:
    """Constant velocity, position and velocity measured: an ordinary radar track."""
    rng = np.random.default_rng(seed)
    step, accelerations = 0.1, 0.5
    covariance = accelerations * np.array([[step**3 / 3, step**2 / 2], [step**2 / 2, step]])
    return observed_case("tracking", rng, num_steps, {
        "initial_mean": np.zeros(2), "initial_covariance": np.diag([100.0, 10.0]), "matrix": np.array([[1.0, step], [0.0, 1.0]]), "covariance": covariance,
        "bias": np.zeros(2), "emission_matrix": np.eye(2), "emission_bias": np.zeros(2), "emission_covariance": np.diag([0.25, 1.0]),
    })  # fmt: skip


# Awkward chains.


def ill_conditioned(seed: int, num_steps: int, relative_variance: float = 1e-12) -> Case:
    """Two channels so precise that a covariance which is updated by subtraction keeps four digits."""
    rng = np.random.default_rng(seed)
    return observed_case(f"noise of {relative_variance:.0e}", rng, num_steps, {
        "initial_mean": np.zeros(2), "initial_covariance": np.eye(2), "matrix": contraction(rng, 2), "bias": np.zeros(2),
        "covariance": random_covariance(rng, 2), "emission_matrix": np.array([[1.0, 0.5], [0.2, 1.0]]), "emission_bias": np.zeros(2),
        "emission_covariance": relative_variance * np.array([[1.0, 0.3], [0.3, 2.0]]),
    }, digits=80, condition=1 / relative_variance)  # fmt: skip


def nearly_collinear(seed: int, num_steps: int) -> Case:
    """Two precise channels that differ by 1e-5 of a direction: the innovations are badly conditioned, not only small."""
    rng = np.random.default_rng(seed)
    return observed_case("nearly collinear channels", rng, num_steps, {
        "initial_mean": np.zeros(2), "initial_covariance": np.eye(2), "matrix": contraction(rng, 2), "bias": np.zeros(2), "covariance": np.diag([1.0, 0.5]),
        "emission_matrix": np.array([[1.0, 1.0], [1.0, 1.0 + 1e-5]]), "emission_bias": np.zeros(2), "emission_covariance": 1e-10 * np.eye(2),
    }, digits=80, condition=1e10)  # fmt: skip


def autoregression(seed: int, num_steps: int, channels: int = 1) -> Case:
    """AR(2) in companion form, seen without noise: Q of rank one, R = 0; a second channel, if any, sees the past with noise.

    After two steps everything is known and all posterior covariances are exactly zero.
    """
    rng = np.random.default_rng(seed)
    return observed_case("AR(2) without noise", rng, num_steps, {
        "initial_mean": np.zeros(2), "initial_covariance": np.array([[2.0, 0.5], [0.5, 1.5]]), "matrix": np.array([[1.2, -0.5], [1.0, 0.0]]),
        "bias": np.array([0.3, 0.0]), "covariance": np.diag([0.7, 0.0]), "emission_matrix": np.eye(2)[:channels], "emission_bias": np.zeros(channels),
        "emission_covariance": np.diag([0.0, 0.3][:channels]),
    }, digits=80, condition=np.inf, noise_free=True)  # fmt: skip


def diffuse_trend(seed: int, num_steps: int, channels: int = 1) -> Case:
    """A local linear trend that starts with variances of 1e7; all channels measure the level."""
    rng = np.random.default_rng(seed)
    case = observed_case("near-diffuse trend", rng, num_steps, {
        "initial_mean": np.zeros(2), "initial_covariance": np.diag([2.0, 0.5]), "matrix": np.array([[1.0, 1.0], [0.0, 1.0]]), "bias": np.zeros(2),
        "covariance": np.diag([0.5, 0.1]), "emission_matrix": np.tile([1.0, 0.0], (channels, 1)), "emission_bias": np.zeros(channels),
        "emission_covariance": np.diag([1.0, 4.0][:channels]),
    }, digits=80, condition=1e7)  # fmt: skip
    return case.changed(initial_covariance=1e7 * np.eye(2))


def known_start(seed: int, num_steps: int, channels: int) -> Case:
    """Initial covariance and process noise of rank one, in different directions that are no coordinate axes."""
    case = random_constant(seed, num_steps, 2, channels)
    initial, covariance = np.array([[1.0, 2.0], [2.0, 4.0]]), np.array([[4.0, -2.0], [-2.0, 1.0]])
    return case.changed(initial_covariance=initial, covariance=covariance).but(name="singular start and process noise", digits=60)


def singular_noise(seed: int, num_steps: int) -> Case:
    """R of rank one, not diagonal: one combination of the two channels is free of noise."""
    case = random_constant(seed, num_steps, 2, 2)
    noise = np.array([[1.0, -2.0], [-2.0, 4.0]])
    return case.changed(emission_covariance=noise).but(name="one combination of channels without noise", digits=60, condition=np.inf, noise_free=True)


def slow_and_unobserved(seed: int, num_steps: int) -> list[Case]:
    """Constant chains whose covariances settle fast, slowly, or never; two latents, one channel."""
    rng = np.random.default_rng(seed)
    common = {"initial_mean": np.zeros(2), "bias": np.zeros(2), "emission_bias": np.zeros(1), "emission_covariance": np.ones((1, 1))}
    level = {"matrix": np.eye(2), "emission_matrix": np.array([[1.0, 0.0]])}
    settings = {
        "settles at once": {"matrix": contraction(rng, 2, radius=0.7), "covariance": np.eye(2), "emission_matrix": np.array([[1.0, 1.0]])},
        "slow local level beside a constant": {**level, "covariance": np.diag([1e-4, 0.0])},
        "slow local level beside an unobserved random walk": {**level, "covariance": np.diag([1e-4, 1e-2])},
        "explosive latent that nothing sees": {**level, "matrix": np.diag([0.9, 1.02]), "covariance": np.diag([1.0, 1.0])},
        "smooth trend": {**level, "matrix": np.array([[1.0, 1.0], [0.0, 1.0]]), "covariance": np.diag([0.0, 1e-5])},
    }
    spread = {"initial_covariance": np.eye(2)}
    return [observed_case(name, rng, num_steps, {**common, **spread, **setting}) for name, setting in settings.items()]


# Node potentials in information form.


def information(seed: int, num_steps: int, size: int, constant: bool = False) -> Case:
    """Precisions of every rank from none to full, and shifts that need not lie in their range."""
    rng = np.random.default_rng(seed)
    base = random_per_step(seed, num_steps, size, 1).arguments
    if constant:
        base = random_constant(seed, num_steps, size, 1).arguments
        precision = random_covariance(rng, size, rank=size - 1)
    else:
        precision = np.stack([random_covariance(rng, size, rank=rank) if rank else np.zeros((size, size)) for rank in rng.permutation(num_steps) % (size + 1)])
    arguments = {name: base[name] for name in DYNAMICS}
    nodes = {"precision": precision, "shift": rng.normal(size=(num_steps, size)), "log_constant": rng.normal(size=num_steps)}
    return Case("constant information" if constant else "information of every rank", {**arguments, **nodes}, num_steps)


# Bringing cases to one shape.


def per_step(case: Case) -> Case:
    """The same chain with every matrix and bias given per step and every entry's observation spelt out."""
    arguments = dict(case.arguments)
    for name, value in case.arguments.items():
        if name not in PER_STEP and name not in ("initial_mean", "initial_covariance") and value.ndim == CONSTANT_DIMENSIONS[name]:
            steps = case.num_steps - (name in DYNAMICS)
            arguments[name] = np.broadcast_to(value, (steps, *value.shape))
    if "values" in arguments:
        arguments.setdefault("observed", np.ones(arguments["values"].shape, bool))
    return case.changed(**arguments)


def with_channels(case: Case, channels: int) -> Case:
    """A per-step case with further channels that are never observed."""
    arguments = dict(per_step(case).arguments)
    extra = channels - arguments["values"].shape[1]
    steps = case.num_steps
    noise = np.zeros((steps, channels, channels))
    noise[:, : -extra or None, : -extra or None] = arguments["emission_covariance"]
    for added in range(channels - extra, channels):
        noise[:, added, added] = 1.0
    rows = {"values": 17.0, "observed": False, "emission_bias": 3.0}
    for name, filling in rows.items():
        arguments[name] = np.concatenate([arguments[name], np.full((steps, extra), filling)], axis=1)
    arguments["observed"] = arguments["observed"].astype(bool)
    arguments["emission_matrix"] = np.concatenate([arguments["emission_matrix"], np.ones((steps, extra, arguments["matrix"].shape[-1]))], axis=1)
    return case.changed(**{**arguments, "emission_covariance": noise})


def stacked(cases: Iterable[Case], shared: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Arguments of a batch, with lengths; those named in `shared` are given once for all sequences."""
    cases = list(cases)
    arguments = {name: np.stack([case.arguments[name] for case in cases]) for name in cases[0].arguments}
    arguments |= {name: cases[0].arguments[name] for name in shared}
    return {**arguments, "lengths": np.array([case.length for case in cases])}


# The kernels.


def chain_of(arguments: Mapping[str, Any], form: str = "auto", backend: str = "auto") -> GaussianChain:
    """The chain that a mapping of arguments describes."""
    if "shift" in arguments:
        nodes = Information(arguments["precision"], arguments["shift"], arguments.get("log_constant"))
    else:
        noise = {name.removeprefix("emission_"): arguments[name] for name in ("emission_covariance", "emission_variances") if name in arguments}
        nodes = Observations(arguments["values"], arguments["emission_matrix"], arguments.get("emission_bias"), **noise, observed=arguments.get("observed"))
    dynamics: dict[str, Any] = {name: arguments.get(name) for name in DYNAMICS}
    return GaussianChain(**dynamics, nodes=nodes, lengths=arguments.get("lengths"), form=form, backend=backend)


def split_floats(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What can be differentiated, and the rest."""
    others = {name: value for name, value in arguments.items() if name in ("observed", "lengths")}
    return {name: value for name, value in arguments.items() if name not in others}, others


@functools.lru_cache
def _program(form: str, backend: str, gradient: bool) -> Callable:
    def log_normalisers(floats, others):
        values = chain_of({**floats, **others}, form, backend).log_normaliser()
        return values.sum(), values

    def program(arguments):
        floats, others = split_floats(arguments)
        if gradient:
            (_, log_normaliser), slopes = jax.value_and_grad(log_normalisers, has_aux=True)(floats, others)
        else:
            slopes, log_normaliser = {}, log_normalisers(floats, others)[1]
        chain = chain_of(arguments, form, backend)
        smoothed, filtered = chain.smooth(), chain.filter()
        return {
            "log_normaliser": log_normaliser,
            "smoothed_log_normaliser": smoothed.log_normaliser,
            "smoothed_means": smoothed.means,
            "smoothed_covariances": smoothed.covariances,
            "lagged_moments": smoothed.lagged_moments,
            "filtered_log_normaliser": filtered.log_normaliser,
            "log_increments": filtered.log_increments,
            "filtered_means": filtered.means,
            "filtered_covariances": filtered.covariances,
            **{f"gradient in {name}": slope for name, slope in slopes.items()},
        }

    return quick_jit(program)


def answers(arguments: Mapping[str, np.ndarray], form: str = "auto", backend: str = "auto", gradient: bool = False) -> dict[str, np.ndarray]:
    """All that log-normaliser, filter and smoother say, from one compiled program, covariances with all their dimensions.

    With `gradient`, also that of the sum of the log-normalisers in every argument, as "gradient in ...".
    """
    found = numpy_tree(_program(form, backend, gradient)(dict(arguments)))
    for moments in ("smoothed", "filtered"):
        means, covariances = found[f"{moments}_means"], found[f"{moments}_covariances"]
        found[f"{moments}_covariances"] = np.broadcast_to(covariances, (*means.shape, means.shape[-1]))
    return found


# Compiling is nearly all that these tests do: three shapes serve most of them.

GENERAL_STEPS, GENERAL_CHANNELS = 10, 3
_ROWS = {"general": 16, "constant": 9, "information": 4}


def batch_answers(kind: str, batch: Iterable[Case], way: tuple[str, str]) -> dict[str, np.ndarray]:
    """Answers and gradients of a few sequences with two latents.

    Args:
        kind: "general": everything per step, ten steps, up to three channels; "constant": each sequence with constant
            parameters of its own, ten steps, two channels, nothing missing; "information": eight steps, everything per step.
        batch: the sequences; the last one is repeated to the number of rows that all tests share.
        way: form and backend.
    """
    batch = list(batch)
    if kind == "general":
        batch = [with_channels(case, GENERAL_CHANNELS) for case in batch]
    elif kind == "information":
        batch = [per_step(case) for case in batch]
    count = len(batch)
    found = answers(stacked([*batch, *[batch[-1]] * (_ROWS[kind] - count)]), *way, gradient=True)
    return {name: value[:count] for name, value in found.items()}
